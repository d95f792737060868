//! The UDP loop: one thread a worker and address, one `recvmmsg` and one `sendmmsg` a batch, nothing allocated.
//!
//! ```text
//! recvmmsg -> fixed slots -> respond() each -> fixed out-slots -> sendmmsg
//!                ^ the snapshot pointer is read here, once for the whole batch
//! ```
//!
//! A worker with several addresses has a thread for each rather than a `poll` over all: a second system call a batch
//! would cost the usual case (one busy address) a tenth of its speed, and an idle thread costs a stack.
//! It may not log, lock or wait for anything but its socket.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
    sendmmsg,
};

use super::counters::{Block, is_truncated};
use super::respond;
use crate::engine::rate_limit::{self, RateLimit, RateLimiter, Verdict};
use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, Reply, Transport};

/// Packets a system call under load. More does not lower the cost a packet measurably.
const MANY: usize = 32;
/// Packets a system call while there are few: every slot is prepared for every call, and 32 cost as much as an answer.
const FEW: usize = 4;
/// Octets of a query that are looked at. Queries are some 50 octets; what is longer than this is judged by its beginning.
const RECEIVE_SLOT: usize = 4096;
/// From one receive slot to the next: not a power of two, or all slots would fall on the same lines of the cache.
const RECEIVE_STRIDE: usize = RECEIVE_SLOT + 128;
/// The smallest reply limit (RFC 1035 4.2.1), and what is tried when a reply is too long for its path.
const SMALLEST_REPLY: usize = 512;
/// How long a worker sleeps in the kernel before it looks at the stop flag and lets go of an old snapshot.
pub(super) const WAKE_EVERY: Duration = Duration::from_millis(100);
/// Pause after a receive call that failed for a reason of the system's, so that no failure makes a busy loop.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// Batches still answered after the stop flag is seen: what already waits in the socket, but not a flood without end.
const BATCHES_AFTER_STOP: usize = 256;

/// One socket, and what is needed to serve it.
pub(super) struct Worker {
    /// Bound, blocking, with a receive timeout of [`WAKE_EVERY`].
    pub(super) socket: UdpSocket,
    /// Chooses the draw counters.
    pub(super) index: usize,
    /// Bound to all addresses: each reply must name the address that was asked.
    pub(super) wildcard: bool,
    pub(super) max_payload: usize,
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(super) counters: Arc<Block>,
    pub(super) stop: Arc<AtomicBool>,
    /// Balances of this worker's clients.
    pub(super) limiter: RefCell<RateLimiter>,
}

impl Worker {
    /// Serves on a thread of its own until the stop flag is set.
    pub(super) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        let ipv6 = self.socket.local_addr()?.is_ipv6();
        std::thread::Builder::new().name(format!("udp-{}", self.index)).spawn(move || {
            // Panics in respond() are contained packet by packet. Should the loop itself panic, it starts anew.
            while catch_unwind(AssertUnwindSafe(|| match ipv6 {
                true => self.run::<SockaddrIn6>(),
                false => self.run::<SockaddrIn>(),
            }))
            .is_err()
            {
                self.counters.panics.add_alone(1);
                tracing::error!(worker = self.index, "a UDP worker panicked and was started again");
                std::thread::sleep(FAILURE_PAUSE);
            }
        })
    }

    fn run<A: Peer>(&self) {
        let mut buffers = Buffers::<A>::new(self.max_payload, self.wildcard);
        let mut snapshots = Cache::new(self.snapshots.as_ref());
        let mut left = BATCHES_AFTER_STOP;
        let mut busy = false;
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let flags = match stopping {
                true => MsgFlags::MSG_DONTWAIT,
                false => MsgFlags::MSG_WAITFORONE,
            };
            let served = match busy {
                true => self.serve_batch::<A, MANY>(&mut buffers, &mut snapshots, flags),
                false => self.serve_batch::<A, FEW>(&mut buffers, &mut snapshots, flags),
            };
            match served {
                Ok(served) => {
                    busy = served.packets >= FEW;
                    if served.address_missing {
                        buffers.renew_receive_headers();
                    }
                }
                Err(Errno::EAGAIN) if stopping => return,
                // Idle: let go of a snapshot that has been replaced meanwhile.
                Err(Errno::EAGAIN) => drop(snapshots.load()),
                Err(Errno::EINTR) => {}
                // A socket's pending error (an ICMP message about an earlier reply) is reported once, then gone.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH) => {
                    self.counters.receive_failed.add_alone(1);
                }
                Err(_) => {
                    self.counters.receive_failed.add_alone(1);
                    std::thread::sleep(FAILURE_PAUSE);
                }
            }
            if stopping {
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }

    fn serve_batch<A: Peer, const BATCH: usize>(
        &self,
        buffers: &mut Buffers<A>,
        snapshots: &mut Cache<&ArcSwap<Snapshot>, Arc<Snapshot>>,
        flags: MsgFlags,
    ) -> Result<Served, Errno> {
        let mut chunks = buffers.received.chunks_exact_mut(RECEIVE_STRIDE);
        let mut slots: [[IoSliceMut; 1]; BATCH] = std::array::from_fn(|_| {
            let chunk = chunks.next().unwrap_or_default();
            let length = chunk.len().min(RECEIVE_SLOT);
            [IoSliceMut::new(&mut chunk[..length])]
        });
        let received = recvmmsg(self.socket.as_raw_fd(), &mut buffers.receive_headers, slots.iter_mut(), flags, None)?;

        let snapshot: &Snapshot = snapshots.load();
        let mut served = Served { packets: 0, address_missing: false };
        let mut batch = Batch::<A, BATCH>::new();
        let mut out_slots = buffers.replies.chunks_exact_mut(buffers.reply_slot);
        let mut out = out_slots.next().unwrap_or_default();
        for message in received {
            served.packets += 1;
            self.counters.queries.add_alone(1);
            let Some(peer) = message.address else {
                continue;
            };
            if ignores_port(peer.port()) {
                self.counters.dropped_port.add_alone(1);
                continue;
            }
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                self.counters.oversize.add_alone(1);
            }
            let local = match self.wildcard {
                true => message.cmsgs().ok().and_then(|mut all| all.find_map(|one| A::local(&one))),
                false => None,
            };
            if self.wildcard && local.is_none() {
                served.address_missing = true;
            }
            let query = message.iovs().next().unwrap_or_default();
            #[cfg(all(feature = "panic-drill", not(test)))]
            super::panic_drill::outside(query);
            let reply = self.respond(snapshot, peer.ip(), query, out);
            if reply.length == 0 {
                continue;
            }
            self.counters.rcode(reply.rcode).add_alone(1);
            let (bytes, _) = out.split_at(reply.length);
            if is_truncated(bytes) {
                self.counters.truncated.add_alone(1);
            }
            batch.queries[batch.count] = query;
            batch.peers[batch.count] = Some(peer);
            batch.locals[batch.count] = local;
            batch.replies[batch.count] = [IoSlice::new(bytes)];
            batch.count += 1;
            out = out_slots.next().unwrap_or_default();
        }
        self.send_batch(&batch, &mut buffers.send_headers, snapshot);
        Ok(served)
    }

    /// Answers one query; a panic costs this packet and nothing else.
    fn respond(&self, snapshot: &Snapshot, address: IpAddr, query: &[u8], out: &mut [u8]) -> Reply {
        let asker = Asker { address, transport: Transport::Udp, worker: self.index };
        let limit = out.len();
        let reply = catch_unwind(AssertUnwindSafe(|| respond(snapshot, &asker, query, out)));
        let Ok(reply) = reply else {
            self.counters.panics.add_alone(1);
            return Reply::SILENCE;
        };
        if reply.length == 0 {
            self.counters.silent.add_alone(1);
        }
        let reply = Reply { length: reply.length.min(limit), ..reply };
        match &snapshot.options.rate_limit {
            Some(rate_limit) if reply.length > 0 => self.limited(rate_limit, address, reply, snapshot, out),
            _ => reply,
        }
    }

    /// The reply as rate limiting leaves it: whole, cut, or none.
    fn limited(&self, limit: &RateLimit, client: IpAddr, reply: Reply, snapshot: &Snapshot, out: &mut [u8]) -> Reply {
        let now = snapshot.clock.load(Ordering::Relaxed);
        match self.limiter.borrow_mut().judge(limit, client, &reply, now) {
            Verdict::Send => reply,
            Verdict::WouldDrop => {
                self.counters.rate_limited.add_alone(1);
                reply
            }
            Verdict::Slip => {
                self.counters.slipped.add_alone(1);
                Reply { length: rate_limit::slip(out, &reply), ..reply }
            }
            Verdict::Drop => {
                self.counters.rate_limited.add_alone(1);
                Reply { length: 0, ..reply }
            }
        }
    }

    /// Sends all replies. A packet that the kernel refuses costs that packet: it is counted, and the rest goes on.
    fn send_batch<A: Peer, const BATCH: usize>(
        &self,
        batch: &Batch<'_, A, BATCH>,
        headers: &mut MultiHeaders<A>,
        snapshot: &Snapshot,
    ) {
        let mut next = 0;
        while next < batch.count {
            // One call sends packets of one local address: without a wildcard that is the whole batch.
            let local = batch.locals[next];
            let end = match self.wildcard {
                true => next + batch.locals[next..batch.count].iter().take_while(|other| **other == local).count(),
                false => batch.count,
            };
            match self.send(headers, &batch.replies[next..end], &batch.peers[next..end], local) {
                Ok(sent) => {
                    self.counters.replies.add_alone(sent as u64);
                    // The kernel stops at the packet it refuses; asked again, it says why.
                    next += sent;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EMSGSIZE) => {
                    self.counters.too_long.add_alone(1);
                    self.send_shorter(batch, next, headers, snapshot);
                    next += 1;
                }
                Err(_) => {
                    self.counters.send_failed.add_alone(1);
                    next += 1;
                }
            }
        }
    }

    /// A reply longer than the path takes is made again within 512 octets: TC, so that the client comes by TCP (RFC 9715).
    fn send_shorter<A: Peer, const BATCH: usize>(
        &self,
        batch: &Batch<'_, A, BATCH>,
        slot: usize,
        headers: &mut MultiHeaders<A>,
        snapshot: &Snapshot,
    ) {
        let Some(peer) = batch.peers[slot] else {
            return;
        };
        let mut out = [0; SMALLEST_REPLY];
        let reply = self.respond(snapshot, peer.ip(), batch.queries[slot], &mut out);
        if reply.length == 0 {
            return;
        }
        let slices = [[IoSlice::new(&out[..reply.length])]];
        match self.send(headers, &slices, &[Some(peer)], batch.locals[slot]) {
            Ok(sent) => self.counters.replies.add_alone(sent as u64),
            Err(_) => self.counters.send_failed.add_alone(1),
        }
    }

    fn send<A: Peer>(
        &self,
        headers: &mut MultiHeaders<A>,
        slices: &[[IoSlice<'_>; 1]],
        peers: &[Option<A>],
        local: Option<A::Local>,
    ) -> Result<usize, Errno> {
        let descriptor = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let sent = match local.map(A::packet_info) {
            Some(info) => {
                let control = [A::control(&info)];
                sendmmsg(descriptor, headers, slices, peers, &control[..], flags)?.count()
            }
            None if self.wildcard => {
                // The headers have room for an address that is not known: send with the kernel's choice instead.
                let mut plain = MultiHeaders::preallocate(slices.len(), None);
                let none: [ControlMessage; 0] = [];
                sendmmsg(descriptor, &mut plain, slices, peers, &none[..], flags)?.count()
            }
            None => {
                let none: [ControlMessage; 0] = [];
                sendmmsg(descriptor, headers, slices, peers, &none[..], flags)?.count()
            }
        };
        // nix tells the number sent only through the iterator; the items themselves mean nothing after a send.
        // Zero packets without an error does not happen; were it to, the loop must still go on.
        if sent == 0 { Err(Errno::EIO) } else { Ok(sent) }
    }
}

struct Served {
    packets: usize,
    /// A packet came without its local address on a wildcard socket: the kernel has shrunk that header's control space.
    address_missing: bool,
}

/// What a worker keeps between batches.
struct Buffers<A> {
    received: Vec<u8>,
    replies: Vec<u8>,
    reply_slot: usize,
    wildcard: bool,
    receive_headers: MultiHeaders<A>,
    send_headers: MultiHeaders<A>,
}

impl<A: Peer> Buffers<A> {
    fn new(max_payload: usize, wildcard: bool) -> Buffers<A> {
        let reply_slot = max_payload.max(SMALLEST_REPLY);
        Buffers {
            received: vec![0; MANY * RECEIVE_STRIDE],
            replies: vec![0; MANY * reply_slot],
            reply_slot,
            wildcard,
            receive_headers: MultiHeaders::preallocate(MANY, wildcard.then(A::control_space)),
            send_headers: MultiHeaders::preallocate(MANY, wildcard.then(A::control_space)),
        }
    }

    fn renew_receive_headers(&mut self) {
        self.receive_headers = MultiHeaders::preallocate(MANY, self.wildcard.then(A::control_space));
    }
}

/// The queries of a batch that get a reply, packed to the front.
struct Batch<'q, A: Peer, const BATCH: usize> {
    count: usize,
    replies: [[IoSlice<'q>; 1]; BATCH],
    queries: [&'q [u8]; BATCH],
    peers: [Option<A>; BATCH],
    locals: [Option<A::Local>; BATCH],
}

impl<A: Peer, const BATCH: usize> Batch<'_, A, BATCH> {
    fn new() -> Self {
        Batch {
            count: 0,
            replies: [[IoSlice::new(&[])]; BATCH],
            queries: [&[]; BATCH],
            peers: [None; BATCH],
            locals: [None; BATCH],
        }
    }
}

/// Ports that nobody asks from, and whose services answer whatever they get, so that two servers could answer each other
/// for ever: echo, daytime, quote of the day, chargen, time, and kpasswd, as BIND drops them.
fn ignores_port(port: u16) -> bool {
    matches!(port, 0 | 7 | 13 | 17 | 19 | 37 | 464)
}

/// What differs between the address families.
trait Peer: SockaddrLike + Copy {
    /// The local address that was asked.
    type Local: Copy + PartialEq;
    /// How the kernel is told to answer from it.
    type PacketInfo;

    fn ip(&self) -> IpAddr;
    fn port(&self) -> u16;
    fn local(message: &ControlMessageOwned) -> Option<Self::Local>;
    fn packet_info(local: Self::Local) -> Self::PacketInfo;
    fn control(info: &Self::PacketInfo) -> ControlMessage<'_>;
    fn control_space() -> Vec<u8>;
}

impl Peer for SockaddrIn {
    type Local = libc::in_addr_t;
    type PacketInfo = libc::in_pktinfo;

    fn ip(&self) -> IpAddr {
        SockaddrIn::ip(self).into()
    }

    fn port(&self) -> u16 {
        SockaddrIn::port(self)
    }

    fn local(message: &ControlMessageOwned) -> Option<Self::Local> {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(info.ipi_spec_dst.s_addr),
            _ => None,
        }
    }

    fn packet_info(local: Self::Local) -> Self::PacketInfo {
        libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: local },
            ipi_addr: libc::in_addr { s_addr: 0 },
        }
    }

    fn control(info: &Self::PacketInfo) -> ControlMessage<'_> {
        ControlMessage::Ipv4PacketInfo(info)
    }

    fn control_space() -> Vec<u8> {
        nix::cmsg_space!(libc::in_pktinfo)
    }
}

impl Peer for SockaddrIn6 {
    /// Address and interface; the interface only where the address needs it (link-local).
    type Local = ([u8; 16], libc::c_uint);
    type PacketInfo = libc::in6_pktinfo;

    fn ip(&self) -> IpAddr {
        IpAddr::from(SockaddrIn6::ip(self)).to_canonical()
    }

    fn port(&self) -> u16 {
        SockaddrIn6::port(self)
    }

    fn local(message: &ControlMessageOwned) -> Option<Self::Local> {
        let ControlMessageOwned::Ipv6PacketInfo(info) = message else {
            return None;
        };
        let octets = info.ipi6_addr.s6_addr;
        let link_local = octets[0] == 0xfe && octets[1] & 0xc0 == 0x80;
        Some((octets, if link_local { info.ipi6_ifindex } else { 0 }))
    }

    fn packet_info((octets, interface): Self::Local) -> Self::PacketInfo {
        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: octets }, ipi6_ifindex: interface }
    }

    fn control(info: &Self::PacketInfo) -> ControlMessage<'_> {
        ControlMessage::Ipv6PacketInfo(info)
    }

    fn control_space() -> Vec<u8> {
        nix::cmsg_space!(libc::in6_pktinfo)
    }
}

/// Whether a socket bound to this address receives for all of the machine's addresses.
pub(super) fn is_wildcard(address: SocketAddr) -> bool {
    address.ip().is_unspecified()
}
