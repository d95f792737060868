//! Asks faster than a server on one core can answer, so that the server is never done and every batch of its is full. dnsperf, which
//! looks at each reply, is slower than what it measures.
//!
//! `flood ADDRESS:PORT SECONDS OUTSTANDING FILE` keeps so many queries on their way, from 16 ports, in turn from the lines of the file
//! (`name A`, as dnsperf reads them), and prints a line of JSON: queries completed, lost, and completed a second.

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
/// What a port is waiting for so long is lost.
const PATIENCE: Duration = Duration::from_millis(300);

struct Port {
    socket: UdpSocket,
    outstanding: usize,
    heard: Instant,
}

fn main() -> std::io::Result<()> {
    let usage = "flood ADDRESS:PORT SECONDS OUTSTANDING FILE";
    let [address, seconds, outstanding, file]: [String; 4] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect(usage);
    let address: SocketAddr = address.parse().expect(usage);
    let lasts = Duration::from_secs_f64(seconds.parse().expect(usage));
    let window = (outstanding.parse::<usize>().expect(usage) / PORTS).max(1);
    let queries: Vec<Vec<u8>> = std::fs::read_to_string(file)?.lines().map(query).collect();
    assert!(!queries.is_empty(), "no queries");

    let begun = Instant::now();
    let mut ports = Vec::new();
    for _ in 0..PORTS {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        ports.push(Port { socket, outstanding: 0, heard: begun });
    }
    let mut receive_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut send_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let none: [ControlMessage; 0] = [];
    let mut replies = vec![[0; REPLY]; BATCH];
    let (mut at, mut completed, mut lost) = (0, 0, 0);
    let mut now = begun;
    while now - begun < lasts {
        now = Instant::now();
        for port in &mut ports {
            loop {
                let mut slots: Vec<[IoSliceMut; 1]> =
                    replies.iter_mut().map(|reply| [IoSliceMut::new(reply)]).collect();
                let descriptor = port.socket.as_raw_fd();
                let flags = MsgFlags::MSG_DONTWAIT;
                let count = match recvmmsg(descriptor, &mut receive_headers, slots.iter_mut(), flags, None) {
                    Ok(received) => received.count(),
                    Err(Errno::EAGAIN | Errno::EINTR) => 0,
                    Err(error) => return Err(error.into()),
                };
                if count > 0 {
                    completed += count;
                    port.outstanding = port.outstanding.saturating_sub(count);
                    port.heard = now;
                }
                if count < BATCH {
                    break;
                }
            }
            if port.outstanding > 0 && now - port.heard > PATIENCE {
                lost += std::mem::take(&mut port.outstanding);
                port.heard = now;
            }
            let count = window.saturating_sub(port.outstanding).min(BATCH);
            if count < LEAST.min(window) {
                continue;
            }
            let slices: [[IoSlice; 1]; BATCH] =
                std::array::from_fn(|slot| [IoSlice::new(&queries[(at + slot) % queries.len()])]);
            let peers: [Option<SockaddrIn>; BATCH] = [None; BATCH];
            let flags = MsgFlags::MSG_DONTWAIT;
            let descriptor = port.socket.as_raw_fd();
            match sendmmsg(descriptor, &mut send_headers, &slices[..count], &peers[..count], none, flags) {
                Ok(sent) => {
                    let sent = sent.count();
                    port.outstanding += sent;
                    at = (at + sent) % queries.len();
                }
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    let took = (now - begun).as_secs_f64();
    println!("{{\"completed\": {completed}, \"lost\": {lost}, \"qps\": {:.0}}}", completed as f64 / took);
    Ok(())
}

/// A query for the line's name and type A.
fn query(line: &str) -> Vec<u8> {
    let name = line.split_whitespace().next().unwrap_or_default();
    let name = Name::parse(&format!("{}.", name.trim_end_matches('.')), None).expect("a name");
    [&[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.as_wire(), &[0, 1, 0, 1]].concat()
}
