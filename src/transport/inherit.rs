//! Sockets that somebody else has bound: the service manager (socket activation), or the server that this one replaces.
//!
//! What waits in such a socket's queue is not lost: whoever holds the socket next reads it.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// The list of `[listen]` that a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum List {
    /// `listen.dns`: UDP and TCP.
    Dns,
    /// `listen.tls`
    Tls,
    /// `listen.https`
    Https,
    /// `listen.quic`
    Quic,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Whom it serves.
    pub list: List,
    /// `false`: a TCP listener.
    pub udp: bool,
    /// The address as the configuration has it, with port 0 perhaps.
    pub configured: SocketAddr,
    /// The address that it is bound to.
    pub bound: SocketAddr,
}

/// Bound sockets that wait to be taken by those who are configured for their addresses. What is not taken is closed.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Label, OwnedFd)>);

impl Inherited {
    /// Adds one.
    pub fn add(&mut self, label: Label, socket: OwnedFd) {
        self.0.push((label, socket));
    }

    /// What is still there.
    pub fn labels(&self) -> impl Iterator<Item = &Label> {
        self.0.iter().map(|(label, _)| label)
    }

    /// The bound address that serves this configured one: the same in the configuration before, or the very address.
    fn serving(&self, list: List, address: SocketAddr) -> Option<SocketAddr> {
        let of_list = || self.labels().filter(|label| label.list == list);
        let configured = of_list().find(|label| label.configured == address);
        configured.or_else(|| of_list().find(|label| label.bound == address)).map(|label| label.bound)
    }

    /// Takes all sockets that serve an address: UDP, then TCP. Both are empty where there are none.
    pub(super) fn take(&mut self, list: List, address: SocketAddr) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        if let Some(bound) = self.serving(list, address) {
            let wanted = |(label, _): &mut (Label, OwnedFd)| label.list == list && label.bound == bound;
            for (label, socket) in self.0.extract_if(.., wanted) {
                if label.udp { udp.push(socket) } else { tcp.push(socket) }
            }
        }
        (udp, tcp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn port_zero_takes_the_port_that_it_became_and_each_only_once() {
        let mut inherited = Inherited::default();
        let configured: SocketAddr = "127.0.0.1:0".parse().unwrap();
        for _ in 0..2 {
            let socket = UdpSocket::bind(configured).unwrap();
            let bound = socket.local_addr().unwrap();
            inherited.add(Label { list: List::Dns, udp: true, configured, bound }, socket.try_clone().unwrap().into());
            inherited.add(Label { list: List::Dns, udp: true, configured, bound }, socket.into());
        }
        assert!(inherited.take(List::Quic, configured).0.is_empty());
        for _ in 0..2 {
            let (udp, tcp) = inherited.take(List::Dns, configured);
            assert_eq!((udp.len(), tcp.len()), (2, 0));
            let [one, two] = udp.try_into().unwrap();
            assert_eq!(UdpSocket::from(one).local_addr().unwrap(), UdpSocket::from(two).local_addr().unwrap());
        }
        assert!(inherited.take(List::Dns, configured).0.is_empty());
    }
}
