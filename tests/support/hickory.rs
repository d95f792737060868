//! hickory-server as somebody else's name server: its `Catalog` over zones in memory, on real sockets, in this process.
#![allow(unreachable_pub, reason = "a test program has no outside")]

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::Name;
use hickory_server::proto::serialize::txt::Parser;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// A TCP connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Replies that may wait on a TCP connection.
const QUEUE: usize = 32;

/// A server that answers as long as this is kept and the runtime runs.
pub struct Hickory {
    /// Where it answers, over UDP and TCP.
    pub address: SocketAddr,
    _server: Server<Catalog>,
}

impl Hickory {
    /// Serves zones: the name of each, and its master file. A zone without text is known and not loaded.
    pub async fn serve(zones: &[(&str, Option<&str>)]) -> Hickory {
        let mut catalog = Catalog::new();
        for (origin, text) in zones {
            let origin = Name::from_str(origin).expect("a name");
            let handlers = text.map(|text| load(&origin, text)).into_iter().collect();
            catalog.upsert(origin.into(), handlers);
        }
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().expect("bound");
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, IDLE, QUEUE);
        Hickory { address, _server: server }
    }
}

fn load(origin: &Name, text: &str) -> Arc<dyn ZoneHandler> {
    let (_, records) = Parser::new(text, None, Some(origin.clone())).parse().expect("a master file");
    let zone =
        InMemoryZoneHandler::<TokioRuntimeProvider>::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny);
    Arc::new(zone.expect("a zone"))
}

/// One port that is free for both.
async fn bind() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("bound")).await {
            return (udp, tcp);
        }
    }
}
