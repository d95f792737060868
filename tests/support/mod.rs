//! What the end-to-end stories share: the real program as a child, real backends that can be killed, a DNS client over
//! plain sockets, and waits that end.
#![allow(dead_code, unreachable_pub, reason = "each file of stories uses a part, and a test program has no outside")]

pub mod backend;
pub mod dns;
pub mod server;

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// Every wait for a state ends here, and fails. Long, because a loaded machine is no failure.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An address that nobody has, over UDP and TCP. It is this process's own part of 127.0.0.0/8: where all tests take ports of
/// 127.0.0.1, a port that was just free is soon somebody's.
pub fn free_address() -> (UdpSocket, TcpListener) {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::new(127, 91, high, low), 0)).unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

/// Asks again and again until there is something; panics with `what` at the deadline.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// As [`eventually`], for a condition.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// For a while, a condition holds at every look: for what must not happen.
#[track_caller]
pub fn throughout(span: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(holds(), "after {:?}: {what}", start.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The least, the middle and the greatest, for people who read the figures.
pub fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let (Some(least), Some(greatest)) = (times.first(), times.last()) else { return "none".to_string() };
    let middle = times[times.len() / 2];
    format!("{} times: least {least:.1?}, median {middle:.1?}, greatest {greatest:.1?}", times.len())
}
