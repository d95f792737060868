//! A DNS client over plain sockets: one query, one reply, no retry and no cache, so that every lost or wrong answer shows.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// A reply that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client with one socket.
pub struct Client {
    socket: UdpSocket,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `NoError`, `NXDomain`, …
    pub rcode: ResponseCode,
    /// A and AAAA of the answer section, in order.
    pub addresses: Vec<IpAddr>,
    /// Serial of an SOA in the answer section.
    pub serial: Option<u32>,
    /// TXT of the answer section, strings joined.
    pub texts: Vec<String>,
}

impl Client {
    /// A client of the server at `server`.
    pub fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { socket }
    }

    /// Asks; panics when no answer comes.
    #[track_caller]
    pub fn ask(&self, name: &str, rtype: RecordType) -> Reply {
        self.try_ask(name, rtype).unwrap_or_else(|error| panic!("{name} {rtype}: no answer: {error}"))
    }

    /// Asks; an error when no answer comes in time.
    pub fn try_ask(&self, name: &str, rtype: RecordType) -> std::io::Result<Reply> {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
        let id = query.metadata.id;
        self.socket.send(&query.to_vec().unwrap())?;
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer)?;
            let reply = Message::from_vec(&buffer[..length]).expect("a reply that parses");
            if reply.metadata.id == id {
                assert_eq!(reply.queries, query.queries, "the question comes back");
                return Ok(Reply::from(&reply));
            }
        }
    }

    /// The addresses of a name that must exist, in order.
    #[track_caller]
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let reply = self.ask(name, RecordType::A);
        assert_eq!(reply.rcode, ResponseCode::NoError, "{name}");
        reply.addresses
    }

    /// The same as a set.
    #[track_caller]
    pub fn set(&self, name: &str) -> BTreeSet<IpAddr> {
        self.addresses(name).into_iter().collect()
    }
}

impl From<&Message> for Reply {
    fn from(message: &Message) -> Reply {
        let mut reply =
            Reply { rcode: message.metadata.response_code, addresses: Vec::new(), serial: None, texts: Vec::new() };
        for record in &message.answers {
            match &record.data {
                RData::A(address) => reply.addresses.push(address.0.into()),
                RData::AAAA(address) => reply.addresses.push(address.0.into()),
                RData::SOA(soa) => reply.serial = Some(soa.serial),
                RData::TXT(text) => {
                    let octets: Vec<u8> = text.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
                    reply.texts.push(String::from_utf8_lossy(&octets).into_owned());
                }
                _ => {}
            }
        }
        reply
    }
}

/// A set of addresses, for comparison.
pub fn set_of<const COUNT: usize>(addresses: [Ipv4Addr; COUNT]) -> BTreeSet<IpAddr> {
    addresses.into_iter().map(IpAddr::V4).collect()
}
