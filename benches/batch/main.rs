//! A UDP worker and one who asks it, for valgrind: `lines.py` counts which cache lines the worker touches for a batch.
//!
//! `batch KIND SIZE ROUNDS`: sends ROUNDS times SIZE queries of that kind in one system call and awaits the replies.

#[path = "../world/mod.rs"]
mod world;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use arc_swap::ArcSwap;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use rollcall::transport::{Bound, Listen};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    // `cargo bench` passes options; without a kind there is nothing to do.
    let Some(kind) = arguments.next().filter(|argument| !argument.starts_with('-')) else {
        return Ok(());
    };
    let mut number = |otherwise| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (size, rounds): (usize, usize) = (number(1), number(100));

    let snapshots = Arc::new(ArcSwap::from_pointee(world::snapshot(1_000)));
    let queries = world::kinds(1_000).into_iter().find(|(name, _)| *name == kind).expect("a kind that there is").1;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listen = Listen { dns: vec![(any, false)], udp_workers: 1, max_udp_payload: 1232, ..Listen::default() };
    let bound = Bound::bind(&listen).expect("a free port");
    let address = bound.addresses()[0].1;
    let running = bound.start(snapshots);

    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(size, None);
    let none: [ControlMessage; 0] = [];
    let mut reply = [0; 4096];
    for round in 0..rounds {
        let slices: Vec<[IoSlice; 1]> =
            (0..size).map(|at| [IoSlice::new(&queries[(round * size + at) % queries.len()])]).collect();
        let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, vec![None; size], none, MsgFlags::empty())?;
        for _ in 0..sent.count() {
            socket.recv(&mut reply)?;
        }
    }
    runtime.block_on(running.drain());
    Ok(())
}
