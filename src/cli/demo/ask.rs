//! A small DNS client: what the server answers, as any client sees it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;

/// For one answer on loopback.
const PATIENCE: Duration = Duration::from_millis(500);

/// An answer in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The A records, in their order.
    pub(super) addresses: Vec<IpAddr>,
    /// `NOERROR`, …
    pub(super) rcode: String,
}

/// Asks `server` for the A records of `name` over UDP.
pub(super) async fn ask(server: SocketAddr, name: &str) -> io::Result<Answer> {
    static LAST_ID: AtomicU16 = AtomicU16::new(0);
    let id = LAST_ID.fetch_add(1, Ordering::Relaxed);
    let name = Name::from_str(name).map_err(io::Error::other)?;
    let mut query = Message::new(id, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(name, RecordType::A));
    let query = query.to_vec().map_err(io::Error::other)?;

    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = [0; 4096];
    let length =
        tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let reply = Message::from_vec(&buffer[..length]).map_err(io::Error::other)?;
    let addresses = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        })
        .collect();
    Ok(Answer { addresses, rcode: reply.metadata.response_code.to_string() })
}

/// The answer in words.
pub(super) async fn ask_in_words(server: SocketAddr, name: &str) -> String {
    match ask(server, name).await {
        Ok(answer) if answer.addresses.is_empty() => format!("no address ({})", answer.rcode),
        Ok(answer) => answer.addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => "nothing in time".to_string(),
        Err(error) => format!("nothing: {error}"),
    }
}
