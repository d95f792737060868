//! The `tcp` check: the connection opens and, where asked, the right text comes back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::Report;
use super::reason::{self, CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use crate::engine::probe::{ProbeKind, ProbeSpec};

/// Most of an answer that is searched for `expect`, octets.
const ANSWER_LIMIT: usize = 64 * 1024;

pub(super) async fn probe(spec: &ProbeSpec) -> Report {
    let ProbeKind::Tcp { send, expect } = &spec.kind else {
        return Report::Failed("not a tcp check".into());
    };
    let deadline = Instant::now() + spec.timing.timeout;
    if send.is_none() && expect.is_none() {
        return match timeout_at(deadline, open(spec.target, spec.source)).await {
            Err(_) => Report::TimedOut(CONNECT_TIMEOUT.into()),
            Ok(Err(error)) => reason::of_io(&error),
            Ok(Ok(())) => Report::Passed("connected".into()),
        };
    }
    let mut stream = match timeout_at(deadline, connect(spec.target, spec.source)).await {
        Err(_) => return Report::TimedOut(CONNECT_TIMEOUT.into()),
        Ok(Err(error)) => return reason::of_io(&error),
        Ok(Ok(stream)) => stream,
    };
    match timeout_at(deadline, converse(&mut stream, send.as_deref(), expect.as_deref())).await {
        Err(_) => Report::TimedOut(RESPONSE_TIMEOUT.into()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Report::TimedOut(RESPONSE_TIMEOUT.into()),
        Ok(Err(error)) => reason::of_io(&error),
        Ok(Ok(report)) => report,
    }
}

/// Opens a connection that leaves nothing behind: closing it sends RST instead of FIN (zero linger).
///
/// A probe closes first, so an orderly close would leave each port in TIME_WAIT for a minute: 28,000 ports allow 470 probes a
/// second to one address and port, and ten thousand probes leave as many entries in the kernel. The price: some backends log
/// a reset connection.
pub(super) async fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(socket(target, source)?.into()).connect(target).await
}

/// Ready to connect from there, without waiting; closing it sends RST.
fn socket(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

/// Whether a connection opens, as [`connect`] opens it.
///
/// The handshake's last ACK is held back, and RST goes in its place when the socket is closed: that the peer's SYN-ACK came says all
/// that is asked. So the backend's program is not woken, and has no reset connection to log (HAProxy's checks do the same).
///
/// One within this host is open when `connect` comes back, although it says that it is in progress. So it is asked once more
/// before readiness is waited for, which costs more than all the rest.
async fn open(target: SocketAddr, source: Option<IpAddr>) -> io::Result<()> {
    let socket = socket(target, source)?;
    socket.set_tcp_quickack(false)?;
    let target = target.into();
    for _ in 0..2 {
        match socket.connect(&target) {
            Ok(()) => return Ok(()),
            Err(error) if under_way(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(()), Err)
}

/// `EINPROGRESS`, and `EALREADY` when it is asked again.
fn under_way(error: &io::Error) -> bool {
    [nix::libc::EINPROGRESS, nix::libc::EALREADY].map(Some).contains(&error.raw_os_error())
}

async fn converse(stream: &mut TcpStream, send: Option<&str>, expect: Option<&str>) -> io::Result<Report> {
    if let Some(send) = send {
        stream.write_all(send.as_bytes()).await?;
    }
    let Some(expect) = expect else {
        // A close with zero linger throws away what the peer has not taken yet: here it must be an orderly one.
        socket2::SockRef::from(&*stream).set_linger(None)?;
        return Ok(Report::Passed("connected".into()));
    };
    let mut search = Search::new(expect, ANSWER_LIMIT);
    let mut buffer = [0; 2048];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 && search.is_empty() {
            return Ok(Report::Failed("connection closed without a response".into()));
        }
        match search.push(&buffer[..length]) {
            Found::Yes => return Ok(Report::Passed(format!("response has {expect:?}"))),
            Found::Never => return Ok(Report::Failed(format!("response lacks {expect:?}"))),
            Found::NotYet if length == 0 => {
                return Ok(Report::Failed(format!("response lacks {expect:?}")));
            }
            Found::NotYet => {}
        }
    }
}

/// Looks for a text in what arrives in pieces, up to a limit.
pub(super) struct Search<'a> {
    text: &'a [u8],
    seen: Vec<u8>,
    limit: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    NotYet,
    Never,
}

impl<'a> Search<'a> {
    pub(super) fn new(text: &'a str, limit: usize) -> Search<'a> {
        Search { text: text.as_bytes(), seen: Vec::new(), limit }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Found {
        if self.text.is_empty() {
            return Found::Yes;
        }
        // Only what is new, and as much before it as a match could begin in.
        let from = self.seen.len().saturating_sub(self.text.len() - 1);
        let room = self.limit - self.seen.len();
        self.seen.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.seen[from..].windows(self.text.len()).any(|window| window == self.text) {
            Found::Yes
        } else if self.seen.len() >= self.limit {
            Found::Never
        } else {
            Found::NotYet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_across_pieces_and_only_within_the_limit() {
        let mut search = Search::new("PONG", 16);
        assert_eq!(search.push(b"..PO"), Found::NotYet);
        assert_eq!(search.push(b"NG"), Found::Yes);
        let mut search = Search::new("PONG", 6);
        assert_eq!(search.push(b"...PONG"), Found::Never);
    }
}
