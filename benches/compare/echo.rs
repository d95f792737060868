//! What the kernel alone costs: sends every packet back with as many octets more as a DNS answer has, and does nothing else.
//!
//! `echo ADDRESS:PORT OCTETS [WORKERS]`. The sockets are made as rollcall makes its own, one a worker, and the batches are as large.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

const BATCH: usize = 32;
const SLOT: usize = 4096 + 128;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "echo ADDRESS:PORT OCTETS [WORKERS]";
    let address: SocketAddr = arguments.next().expect(usage).parse().expect(usage);
    let more: usize = arguments.next().expect(usage).parse().expect(usage);
    let workers: usize = arguments.next().map_or(1, |text| text.parse().expect(usage));
    let others: Vec<_> = (1..workers).map(|_| std::thread::spawn(move || serve(address, more, true))).collect();
    serve(address, more, workers > 1)?;
    others.into_iter().try_for_each(|other| other.join().expect("an echo does not panic"))
}

/// Sends back what comes to a socket of its own.
fn serve(address: SocketAddr, more: usize, shared: bool) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    let socket = UdpSocket::from(socket);

    let mut octets = vec![0u8; BATCH * SLOT];
    let mut receive_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut send_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let none: [ControlMessage; 0] = [];
    loop {
        let mut lengths = [0usize; BATCH];
        let mut peers: [Option<SockaddrIn>; BATCH] = [None; BATCH];
        let mut count = 0;
        {
            let mut chunks = octets.chunks_exact_mut(SLOT);
            let mut slots: [[IoSliceMut; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(&mut chunks.next().unwrap_or_default()[..512])]);
            let flags = MsgFlags::MSG_WAITFORONE;
            match recvmmsg(socket.as_raw_fd(), &mut receive_headers, slots.iter_mut(), flags, None) {
                Ok(received) => {
                    for message in received {
                        lengths[count] = message.bytes + more;
                        peers[count] = message.address;
                        count += 1;
                    }
                }
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
        }
        // QR, so that the load generator takes it for a response.
        for slot in 0..count {
            octets[slot * SLOT + 2] |= 0x80;
        }
        let slices: [[IoSlice; 1]; BATCH] =
            std::array::from_fn(|slot| [IoSlice::new(&octets[slot * SLOT..slot * SLOT + lengths[slot]])]);
        let mut next = 0;
        while next < count {
            let flags = MsgFlags::empty();
            let sent =
                sendmmsg(socket.as_raw_fd(), &mut send_headers, &slices[next..count], &peers[next..count], none, flags);
            next += sent.map_or(1, |sent| sent.count().max(1));
        }
    }
}
