//! Makes the sockets: options, port 0 shared by UDP and TCP, and errors that say what to do.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use super::udp::{WAKE_EVERY, is_wildcard};

/// A listener that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// Address, cause, remedy.
    pub message: String,
}

/// Asked of the kernel for each UDP socket, octets: a burst of some ten thousand queries waits there while a worker is
/// off the processor. The kernel gives at most `net.core.rmem_max`.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often a port is sought that is free for UDP and TCP.
const PORT_ATTEMPTS: usize = 64;

/// One address of `listen.dns`: as many UDP sockets as workers, and a TCP listener on the same port.
#[derive(Debug)]
pub(super) struct DnsSockets {
    /// As the configuration has it.
    pub(super) configured: SocketAddr,
    /// Port 0 resolved.
    pub(super) address: SocketAddr,
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: TcpListener,
}

/// Binds UDP and TCP on one address; port 0 finds a port that is free for both.
///
/// `Ok(None)`: an optional address that this machine does not have.
pub(super) fn bind_dns(address: SocketAddr, optional: bool, workers: usize) -> Result<Option<DnsSockets>, BindError> {
    let mut attempts = PORT_ATTEMPTS;
    loop {
        attempts -= 1;
        let result = bind_both(address, workers.max(1));
        let (protocol, error) = match result {
            Ok(sockets) => return Ok(Some(sockets)),
            Err(failure) => failure,
        };
        let errno = error.raw_os_error().map(Errno::from_raw);
        if address.port() == 0 && attempts > 0 && errno == Some(Errno::EADDRINUSE) {
            continue;
        }
        if optional && matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)) {
            tracing::info!("not listening on {address}: this machine has no such address ({error})");
            return Ok(None);
        }
        return Err(explain(address, protocol, &error));
    }
}

/// Binds a TCP listener (DoT, DoH).
pub(super) fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    tcp_listener(address).map_err(|error| explain(address, "TCP", &error))
}

/// Binds a non-blocking UDP socket (DoQ).
pub(super) fn bind_quic(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let bind = || {
        let socket = udp_socket(address)?;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from(socket))
    };
    bind().map_err(|error| explain(address, "UDP", &error))
}

fn bind_both(configured: SocketAddr, workers: usize) -> Result<DnsSockets, (&'static str, io::Error)> {
    let tcp = tcp_listener(configured).map_err(|error| ("TCP", error))?;
    let address = tcp.local_addr().map_err(|error| ("TCP", error))?;
    let udp = worker_sockets(address, workers).map_err(|error| ("UDP", error))?;
    Ok(DnsSockets { configured, address, udp, tcp })
}

/// Makes inherited sockets ready for the workers; what is missing of UDP and TCP is bound beside them.
///
/// Each socket gets a worker, whatever their number: one that nobody reads would swallow its share of the queries. Workers
/// beyond the sockets share them.
pub(super) fn adopt_dns(
    configured: SocketAddr,
    udp: Vec<OwnedFd>,
    tcp: Vec<OwnedFd>,
    workers: usize,
) -> Result<DnsSockets, BindError> {
    let tcp = tcp.into_iter().next().map(|listener| adopt_tcp(configured, listener)).transpose()?;
    let mut distinct: Vec<(u64, UdpSocket)> = Vec::new();
    for socket in udp {
        let inode = rustix::fs::fstat(&socket).map_or(0, |found| found.st_ino);
        if distinct.iter().all(|(known, _)| *known != inode) {
            distinct.push((inode, adopt_udp(configured, socket)?));
        }
    }
    let adopt = || -> Result<DnsSockets, (&'static str, io::Error)> {
        let address = match (&tcp, distinct.first()) {
            (Some(tcp), _) => tcp.local_addr(),
            (None, Some((_, udp))) => udp.local_addr(),
            (None, None) => Ok(configured),
        };
        let address = address.map_err(|error| ("TCP", error))?;
        let tcp = tcp.map_or_else(|| tcp_listener(address), Ok).map_err(|error| ("TCP", error))?;
        if distinct.is_empty() {
            let udp = worker_sockets(address, workers).map_err(|error| ("UDP", error))?;
            return Ok(DnsSockets { configured, address, udp, tcp });
        }
        let (sockets, mut udp) = (distinct.len(), Vec::new());
        for worker in sockets..workers.max(sockets) {
            udp.push(distinct[worker % sockets].1.try_clone().map_err(|error| ("UDP", error))?);
        }
        let udp = distinct.into_iter().map(|(_, socket)| socket).chain(udp).collect();
        Ok(DnsSockets { configured, address, udp, tcp })
    };
    adopt().map_err(|(protocol, error)| explain(configured, protocol, &error))
}

/// An inherited TCP listener as the runtime wants it.
pub(super) fn adopt_tcp(address: SocketAddr, listener: OwnedFd) -> Result<TcpListener, BindError> {
    let listener = Socket::from(listener);
    refuse_dual_stack(address, &listener)?;
    listener.set_nonblocking(true).map_err(|error| explain(address, "TCP", &error))?;
    Ok(listener.into())
}

/// An inherited UDP socket for DoQ.
pub(super) fn adopt_quic(address: SocketAddr, socket: OwnedFd) -> Result<UdpSocket, BindError> {
    let socket = Socket::from(socket);
    refuse_dual_stack(address, &socket)?;
    let set = set_udp_options(&socket, address).and_then(|()| socket.set_nonblocking(true));
    set.map_err(|error| explain(address, "UDP", &error))?;
    Ok(socket.into())
}

fn adopt_udp(configured: SocketAddr, socket: OwnedFd) -> Result<UdpSocket, BindError> {
    let socket = Socket::from(socket);
    refuse_dual_stack(configured, &socket)?;
    let set = || -> io::Result<()> {
        let address = socket.local_addr()?.as_socket().unwrap_or(configured);
        set_udp_options(&socket, address)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(WAKE_EVERY))
    };
    set().map_err(|error| explain(configured, "UDP", &error))?;
    Ok(socket.into())
}

/// `[::]` that also takes IPv4 cannot be told otherwise once it is bound, and would serve addresses that nobody listed.
fn refuse_dual_stack(address: SocketAddr, socket: &Socket) -> Result<(), BindError> {
    if address.is_ipv6() && is_wildcard(address) && !socket.only_v6().unwrap_or(true) {
        let message = format!(
            "the inherited socket on {address} takes IPv4 too: set `BindIPv6Only=ipv6-only` in the socket unit, and \
             list 0.0.0.0 beside it"
        );
        return Err(BindError { message });
    }
    Ok(())
}

/// The first socket is bound without `SO_REUSEPORT` and gets it afterwards: so a port that another server holds, even
/// another rollcall of the same user, is refused instead of silently shared. The other workers then join it.
fn worker_sockets(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(workers);
    for worker in 0..workers {
        let socket = udp_socket(address)?;
        socket.set_reuse_port(worker > 0)?;
        socket.bind(&address.into())?;
        socket.set_reuse_port(true)?;
        socket.set_read_timeout(Some(WAKE_EVERY))?;
        if worker == 0 {
            let got = socket.recv_buffer_size().unwrap_or(0);
            // Linux doubles what it grants, for its own bookkeeping.
            if got < 2 * SOCKET_BUFFER {
                tracing::debug!(
                    "UDP receive buffer on {address}: asked for {SOCKET_BUFFER} octets, got {}; \
                     raise net.core.rmem_max for more",
                    got / 2
                );
            }
        }
        sockets.push(UdpSocket::from(socket));
    }
    Ok(sockets)
}

fn udp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_udp_options(&socket, address)?;
    Ok(socket)
}

/// What a UDP socket needs, whoever has bound it.
fn set_udp_options(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    // Best effort: a smaller buffer serves too.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    // RFC 9715 3.1: never fragment, and believe no ICMP message that claims a smaller path. A reply longer than the
    // interface takes fails with EMSGSIZE, and the worker sends TC instead.
    if address.is_ipv4() {
        set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::PROBE)?;
    } else {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::PROBE)?;
        setsockopt(socket, sockopt::Ipv6DontFrag, &true)?;
    }
    // Before binding, so that no packet can wait in the socket without the address it was sent to.
    if is_wildcard(address) {
        match address.is_ipv4() {
            true => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
            false => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    Ok(())
}

fn tcp_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections in TIME_WAIT. Two listeners on one port remain impossible.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn explain(address: SocketAddr, protocol: &str, error: &io::Error) -> BindError {
    let port = address.port();
    let message = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRINUSE) => {
            let option = if protocol == "TCP" { "-ltnp" } else { "-lunp" };
            format!(
                "cannot listen on {address} ({protocol}): the port is taken, by another program or by another line of \
                 `listen`; find the program with `ss {option} sport = :{port}`, stop it or choose another port"
            )
        }
        Some(Errno::EACCES | Errno::EPERM) if port < 1024 => format!(
            "cannot listen on {address} ({protocol}): ports below 1024 need root or CAP_NET_BIND_SERVICE: start as root \
             with `user = \"rollcall\"` set, or run `setcap cap_net_bind_service=+ep` on the binary, or choose a port \
             above 1023"
        ),
        Some(Errno::EACCES | Errno::EPERM) => format!(
            "cannot listen on {address} ({protocol}): forbidden by the system ({error}); look for a service unit's or a \
             container's restrictions"
        ),
        Some(Errno::EADDRNOTAVAIL) => format!(
            "cannot listen on {address} ({protocol}): this machine does not have that address; `ip address` lists those it has"
        ),
        Some(Errno::EAFNOSUPPORT) => format!(
            "cannot listen on {address} ({protocol}): this machine has no IPv{}; remove the address from `listen`",
            if address.is_ipv4() { 4 } else { 6 }
        ),
        Some(Errno::EMFILE | Errno::ENFILE) => format!(
            "cannot listen on {address} ({protocol}): too many open files; raise `ulimit -n` (LimitNOFILE= in a service unit)"
        ),
        _ => format!("cannot listen on {address} ({protocol}): {error}"),
    };
    BindError { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn port_zero_is_one_port_for_udp_and_tcp_and_all_workers() {
        let sockets = bind_dns(loopback(0), false, 3).unwrap().unwrap();
        assert_ne!(sockets.address.port(), 0);
        assert_eq!(sockets.udp.len(), 3);
        for udp in &sockets.udp {
            assert_eq!(udp.local_addr().unwrap(), sockets.address);
        }
        assert_eq!(sockets.tcp.local_addr().unwrap(), sockets.address);
    }

    #[test]
    fn a_port_held_by_another_server_is_refused_though_it_would_share() {
        let first = bind_dns(loopback(0), false, 2).unwrap().unwrap();
        let error = bind_dns(first.address, false, 2).unwrap_err();
        assert!(error.message.contains("ss -ltnp sport"), "{error}");
        // UDP alone, too: the TCP listener is not what protects it.
        let udp = worker_sockets(first.address, 1).unwrap_err();
        assert_eq!(udp.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_absent_address_is_named_and_an_optional_one_is_skipped() {
        let absent: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let error = bind_dns(absent, false, 1).unwrap_err();
        assert!(error.message.contains("does not have that address"), "{error}");
        assert!(bind_dns(absent, true, 1).unwrap().is_none());
    }

    #[test]
    fn replies_are_never_fragmented() {
        use rustix::net::sockopt::ip_mtu_discover;
        let sockets = bind_dns(loopback(0), false, 1).unwrap().unwrap();
        assert_eq!(ip_mtu_discover(&sockets.udp[0]).unwrap(), Ipv4PathMtuDiscovery::PROBE);
    }
}
