//! Asks faster than a server on one core can answer, so that the server is never done and every batch of its is full. dnsperf, which
//! looks at each reply, is slower than what it measures.
//!
//! `flood ADDRESS:PORT SECONDS OUTSTANDING FILE` keeps so many queries on their way, from 16 ports, in turn from the lines of the file
//! (`name A`, as dnsperf reads them), and prints a line of JSON: queries completed, lost (sent and not answered 300 ms after the last
//! was), and completed a second; of those completed, how many were no response, or one with another RCODE than NOERROR.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use rollcall::engine::name::Name;

const PORTS: usize = 16;
const BATCH: usize = 64;
/// Fewer are not sent at a time, unless fewer may be on their way.
const LEAST: usize = 16;
/// Octets of a reply that are taken.
const REPLY: usize = 512;
/// A port that has heard nothing for so long waits no more for what it has sent, and nor does the end.
const PATIENCE: Duration = Duration::from_millis(300);

struct Port {
    socket: UdpSocket,
    /// Sent, and waited for.
    outstanding: usize,
    heard: Instant,
}

/// What came and went, and the room for it.
struct Flood {
    queries: Vec<Vec<u8>>,
    at: usize,
    sent: usize,
    completed: usize,
    wrong: usize,
    replies: Vec<[u8; REPLY]>,
    receive_headers: MultiHeaders<SockaddrIn>,
    send_headers: MultiHeaders<SockaddrIn>,
}

fn main() -> std::io::Result<()> {
    let usage = "flood ADDRESS:PORT SECONDS OUTSTANDING FILE";
    let [address, seconds, outstanding, file]: [String; 4] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect(usage);
    let address: SocketAddr = address.parse().expect(usage);
    let lasts = Duration::from_secs_f64(seconds.parse().expect(usage));
    let window = (outstanding.parse::<usize>().expect(usage) / PORTS).max(1);
    let mut flood = Flood {
        queries: std::fs::read_to_string(file)?.lines().map(query).collect(),
        at: 0,
        sent: 0,
        completed: 0,
        wrong: 0,
        replies: vec![[0; REPLY]; BATCH],
        receive_headers: MultiHeaders::preallocate(BATCH, None),
        send_headers: MultiHeaders::preallocate(BATCH, None),
    };
    assert!(!flood.queries.is_empty(), "no queries");
    let begun = Instant::now();
    let mut ports = Vec::new();
    for _ in 0..PORTS {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        ports.push(Port { socket, outstanding: 0, heard: begun });
    }

    let mut now = begun;
    while now - begun < lasts {
        now = Instant::now();
        for port in &mut ports {
            if flood.receive(port)? > 0 {
                port.heard = now;
            } else if now - port.heard > PATIENCE {
                (port.outstanding, port.heard) = (0, now);
            }
            let room = window.saturating_sub(port.outstanding).min(BATCH);
            if room >= LEAST.min(window) {
                flood.send(port, room)?;
            }
        }
    }
    let rate = flood.completed as f64 / (now - begun).as_secs_f64();
    let mut heard = now;
    while flood.completed < flood.sent && heard.elapsed() < PATIENCE {
        for port in &mut ports {
            if flood.receive(port)? > 0 {
                heard = Instant::now();
            }
        }
    }
    let Flood { sent, completed, wrong, .. } = flood;
    let lost = sent.saturating_sub(completed);
    println!("{{\"completed\": {completed}, \"lost\": {lost}, \"wrong\": {wrong}, \"qps\": {rate:.0}}}");
    Ok(())
}

impl Flood {
    /// Takes what has come, and returns how many that is.
    fn receive(&mut self, port: &mut Port) -> std::io::Result<usize> {
        let mut all = 0;
        loop {
            let mut slots: Vec<[IoSliceMut; 1]> =
                self.replies.iter_mut().map(|reply| [IoSliceMut::new(reply)]).collect();
            let (descriptor, flags) = (port.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            let count = match recvmmsg(descriptor, &mut self.receive_headers, slots.iter_mut(), flags, None) {
                Ok(received) => received.count(),
                Err(Errno::EAGAIN | Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            let right = |reply: &&[u8; REPLY]| reply[2] & 0x80 != 0 && reply[3] & 0xf == 0;
            self.wrong += count - self.replies[..count].iter().filter(right).count();
            self.completed += count;
            port.outstanding = port.outstanding.saturating_sub(count);
            all += count;
            if count < BATCH {
                return Ok(all);
            }
        }
    }

    /// Sends the next queries, at most so many.
    fn send(&mut self, port: &mut Port, count: usize) -> std::io::Result<()> {
        let Flood { queries, at, send_headers, .. } = self;
        let slices: [[IoSlice; 1]; BATCH] =
            std::array::from_fn(|slot| [IoSlice::new(&queries[(*at + slot) % queries.len()])]);
        let (peers, none): ([Option<SockaddrIn>; BATCH], [ControlMessage; 0]) = ([None; BATCH], []);
        let (descriptor, flags) = (port.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        match sendmmsg(descriptor, send_headers, &slices[..count], &peers[..count], none, flags) {
            Ok(sent) => {
                let sent = sent.count();
                port.outstanding += sent;
                self.sent += sent;
                self.at = (self.at + sent) % self.queries.len();
                Ok(())
            }
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A query for the line's name and type A.
fn query(line: &str) -> Vec<u8> {
    let name = line.split_whitespace().next().unwrap_or_default();
    let name = Name::parse(&format!("{}.", name.trim_end_matches('.')), None).expect("a name");
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.as_wire(), &[0, 1, 0, 1]].concat()
}
