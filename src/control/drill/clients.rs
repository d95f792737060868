//! The clients of a drill: real queries over UDP to the server's own listener. Most keep what they are told for its TTL, as
//! resolvers do; some keep nothing and ask on and on, so that moments are seen as moments.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Assessed;
use crate::control::report::NOBODY;
use crate::engine::draw::mix;
use crate::engine::rrtype;
use crate::engine::zone::records;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// A client whose answer has no TTL, or whose query had no answer, asks again after that.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Clients that keep nothing, each from another network: hashes lead them to different backends.
const WATCHERS: u32 = 32;
/// Between two queries of theirs together.
const WATCH_EVERY: Duration = Duration::from_millis(20);
/// Largest reply without EDNS.
const REPLY: usize = 512;

/// An answer that somebody got.
#[derive(Debug)]
pub(super) struct Told {
    /// Which caching client; `None` for those who keep nothing.
    pub(super) client: Option<usize>,
    pub(super) at: Instant,
    /// Backends in the order of the answer; never empty.
    pub(super) backends: Vec<String>,
    /// How long it is kept.
    pub(super) until: Instant,
    /// How long it could be kept.
    pub(super) ttl: Duration,
}

/// All clients of a drill; they go when it is dropped.
pub(super) struct Clients {
    pub(super) told: mpsc::Receiver<Told>,
    counted: Arc<Counted>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counted {
    queries: AtomicU64,
    unanswered: AtomicU64,
}

struct Asking {
    /// Queries of the name, one for each type.
    queries: Vec<Vec<u8>>,
    backends: HashMap<IpAddr, String>,
    counted: Arc<Counted>,
}

impl Clients {
    /// Begins to ask. The first answers of caching clients have expired partly, as if they had come over time.
    pub(super) async fn start(assessed: &Assessed, count: u32) -> io::Result<Clients> {
        let counted = Arc::new(Counted::default());
        let asking = Arc::new(Asking {
            queries: assessed.rtypes.iter().map(|&rtype| query(assessed.question.as_wire(), rtype)).collect(),
            backends: assessed.backends.clone(),
            counted: counted.clone(),
        });
        let (sender, told) = mpsc::channel(1024);
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let socket = connected(assessed.server, 77, number).await?;
            tasks.spawn(cache(asking.clone(), socket, number as usize, sender.clone()));
        }
        let mut watchers = Vec::new();
        for number in 0..WATCHERS {
            watchers.push(connected(assessed.server, 78, number).await?);
        }
        tasks.spawn(watch(asking, watchers, sender));
        Ok(Clients { told, counted, _tasks: tasks })
    }

    /// Queries asked, and those of them that had no answer in time.
    pub(super) fn counted(&self) -> (u64, u64) {
        (self.counted.queries.load(Relaxed), self.counted.unanswered.load(Relaxed))
    }
}

/// A socket with an address of its own where that can be: on loopback, each client from another network.
async fn connected(server: SocketAddr, net: u8, number: u32) -> io::Result<UdpSocket> {
    let [.., high, low] = number.to_be_bytes();
    let own: SocketAddr = match server {
        SocketAddr::V4(address) if address.ip().is_loopback() => (Ipv4Addr::new(127, net, low, high + 1), 0).into(),
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = match UdpSocket::bind(own).await {
        Ok(socket) => socket,
        // Where loopback is one address alone.
        Err(_) => UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
    };
    socket.connect(server).await?;
    Ok(socket)
}

async fn cache(asking: Arc<Asking>, socket: UdpSocket, client: usize, sender: mpsc::Sender<Told>) {
    let mut asked = client as u64;
    let mut first = true;
    loop {
        asked += 1;
        let Some((backends, ttl)) = asking.ask(&socket, asked, client).await else {
            sleep(ASK_AGAIN).await;
            continue;
        };
        let at = Instant::now();
        let mut kept = if ttl.is_zero() { ASK_AGAIN } else { ttl };
        if std::mem::take(&mut first) {
            kept = kept.mul_f64((mix(client as u64 + 1) >> 11) as f64 / (1u64 << 53) as f64);
        }
        if sender.send(Told { client: Some(client), at, backends, until: at + kept, ttl }).await.is_err() {
            return;
        }
        sleep(kept).await;
    }
}

async fn watch(asking: Arc<Asking>, sockets: Vec<UdpSocket>, sender: mpsc::Sender<Told>) {
    let mut asked = 0;
    loop {
        for (number, socket) in sockets.iter().enumerate() {
            asked += 1;
            if let Some((backends, _)) = asking.ask(socket, asked, number).await {
                let at = Instant::now();
                if sender.send(Told { client: None, at, backends, until: at, ttl: Duration::ZERO }).await.is_err() {
                    return;
                }
            }
            sleep(WATCH_EVERY).await;
        }
    }
}

impl Asking {
    /// The backends of an answer and its TTL; `None` when there was none in time.
    async fn ask(&self, socket: &UdpSocket, asked: u64, client: usize) -> Option<(Vec<String>, Duration)> {
        // Half of the clients ask for the one type, half for the other, where the name has both.
        let mut query = self.queries[client % self.queries.len()].clone();
        let id = (mix(asked ^ ((client as u64) << 32)) as u16).to_be_bytes();
        query[..2].copy_from_slice(&id);
        self.counted.queries.fetch_add(1, Relaxed);
        let reply = timeout(PATIENCE, async {
            socket.send(&query).await.ok()?;
            let mut reply = [0; REPLY];
            loop {
                let length = socket.recv(&mut reply).await.ok()?;
                // An answer that comes late is of an earlier query.
                if reply[..2] == id && length >= query.len() {
                    return Some(reply[..length].to_vec());
                }
            }
        });
        let Ok(Some(reply)) = reply.await else {
            self.counted.unanswered.fetch_add(1, Relaxed);
            return None;
        };
        Some(self.read(&reply[query.len()..]))
    }

    fn read(&self, answer: &[u8]) -> (Vec<String>, Duration) {
        let (mut backends, mut ttl) = (Vec::new(), Duration::ZERO);
        for record in records(answer) {
            let address: IpAddr = match (record.rtype, record.rdata) {
                (rrtype::A, &[a, b, c, d]) => Ipv4Addr::new(a, b, c, d).into(),
                (rrtype::AAAA, octets) => match <[u8; 16]>::try_from(octets) {
                    Ok(octets) => octets.into(),
                    Err(_) => break,
                },
                _ => break,
            };
            ttl = Duration::from_secs(record.ttl.into());
            backends.push(self.backends.get(&address).cloned().unwrap_or_else(|| address.to_string()));
        }
        if backends.is_empty() {
            backends.push(NOBODY.to_owned());
        }
        (backends, ttl)
    }
}

fn query(name: &[u8], rtype: u16) -> Vec<u8> {
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(name);
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    query
}
