//! The `icmp` check: an echo request comes back. Sockets are shared by all targets of one family and source.
//!
//! Linux lets groups in `net.ipv4.ping_group_range` open an ICMP socket without privilege; else CAP_NET_RAW is needed.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};
use tokio::time::Duration;

use super::{Report, reason};
use crate::engine::probe::ProbeSpec;

const NOT_PERMITTED: &str = "this host does not permit ICMP to the server: let its group into the sysctl \
                             net.ipv4.ping_group_range, or give it CAP_NET_RAW";
/// As many octets as `ping` sends by default.
const PAYLOAD: [u8; 56] = [b'r'; 56];

/// One socket a family and source; opened at the first probe, and tried again at each while it cannot be opened.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    open: Arc<Mutex<HashMap<Key, Client>>>,
    /// Numbers echoes: unprivileged sockets tell them apart by nothing else.
    sequence: Arc<AtomicU16>,
}

/// Whether IPv4, and the source.
type Key = (bool, Option<IpAddr>);

impl Sockets {
    fn client(&self, address: IpAddr, source: Option<IpAddr>) -> io::Result<Client> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.is_ipv4(), source);
        if let Some(client) = open.get(&key) {
            return Ok(client.clone());
        }
        let mut config = Config::builder().kind(if address.is_ipv4() { ICMP::V4 } else { ICMP::V6 });
        if let Some(source) = source {
            config = config.bind(SocketAddr::new(source, 0));
        }
        let client = Client::new(&config.build())?;
        open.insert(key, client.clone());
        Ok(client)
    }
}

pub(super) async fn probe(spec: &ProbeSpec, sockets: &Sockets) -> Report {
    let address = spec.target.ip();
    let client = match sockets.client(address, spec.source) {
        Ok(client) => client,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Report::Broken(NOT_PERMITTED.into()),
        Err(error) => return reason::of_io(&error),
    };
    let sequence = sockets.sequence.fetch_add(1, Relaxed);
    let mut pinger = client.pinger(address, PingIdentifier(std::process::id() as u16)).await;
    pinger.timeout(spec.timing.timeout);
    match pinger.ping(PingSequence(sequence), &PAYLOAD).await {
        Ok((packet, latency)) => of_packet(&packet, latency),
        Err(SurgeError::Timeout { .. }) => Report::TimedOut("timed out waiting for the echo".into()),
        // EACCES when sending is a firewall's or the route's word, not the socket's.
        Err(SurgeError::IOError(error)) => reason::of_io(&error),
        Err(SurgeError::IdenticalRequests { .. }) => Report::Unable("more than 65,536 echoes are on their way".into()),
        Err(error) => Report::Failed(error.to_string()),
    }
}

/// A raw socket also hears routers that say no.
fn of_packet(packet: &IcmpPacket, latency: Duration) -> Report {
    let (is_reply, kind, from) = match packet {
        IcmpPacket::V4(packet) => {
            let kind = packet.get_icmp_type().0;
            (kind == 0, kind, IpAddr::V4(packet.get_source()))
        }
        IcmpPacket::V6(packet) => {
            let kind = packet.get_icmpv6_type().0;
            (kind == 129, kind, IpAddr::V6(packet.get_source()))
        }
    };
    if is_reply {
        return Report::Passed(format!("echo after {:.1} ms", latency.as_secs_f64() * 1000.0));
    }
    let what = match (packet, kind) {
        (IcmpPacket::V4(_), 3) | (IcmpPacket::V6(_), 1) => "destination unreachable".to_owned(),
        (IcmpPacket::V4(_), 11) | (IcmpPacket::V6(_), 3) => "time to live exceeded".to_owned(),
        (_, kind) => format!("ICMP type {kind}"),
    };
    Report::Failed(format!("{what}, says {from}"))
}
