//! The UDP loop: one thread a worker and address, one `recvmmsg` and one `sendmmsg` a batch, nothing allocated.
//!
//! ```text
//! recvmmsg -> fixed slots -> respond_in_place() each -> sendmmsg from the same slots
//!                ^ the snapshot pointer is read here, once for all answers of the batch
//! ```
//!
//! A worker with several addresses has a thread for each rather than a `poll` over all: a second system call a batch
//! would cost the usual case (one busy address) a tenth of its speed, and an idle thread costs a stack.
//! It may not log, lock or wait for anything but its socket.
//!
//! Each call into the kernel leaves the near caches cold, so a batch touches as little as it can: a reply is made where
//! its query lies, no more slots are offered than the last batches filled, and what belongs to a packet lies together.

use std::cell::RefCell;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, MultiResults, RecvMsg, SockaddrIn, SockaddrIn6,
    SockaddrLike, recvmmsg, sendmmsg,
};
use rustix::net::{SendFlags, sendto};

use super::counters::{Block, is_truncated};
use super::respond_in_place;
use crate::engine::plain::Plain;
use crate::engine::rate_limit::{self, RateLimit, RateLimiter, Verdict};
use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, Reply, Transport};

/// Packets a system call under load. More does not lower the cost a packet measurably.
const MANY: usize = 32;
/// Packets a system call while there are few: every slot is prepared for every call, and 32 cost as much as an answer.
const FEW: usize = 2;
/// Packets a system call between the two.
const SEVERAL: usize = 8;
/// Octets of a query that are looked at. Queries are some 50 octets; what is longer than this is
/// judged by its beginning.
const SLOT: usize = 4096;
/// Octets between two slots: were their distance a power of two, all would fall on the same lines of the cache.
const ASIDE: usize = 128;
/// The smallest reply limit (RFC 1035 4.2.1).
const SMALLEST_REPLY: usize = 512;
/// How long a worker sleeps in the kernel before it looks at the stop flag and lets go of an old snapshot.
pub(super) const WAKE_EVERY: Duration = Duration::from_millis(100);
/// Pause after a receive call that failed for a reason of the system's, so that no failure makes a busy loop.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
/// One batch of so many is timed, packet by packet: looking at the clock costs a tenth of an answer.
const TIMED_BATCHES: u64 = 64;
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
                self.counters.restarts.add_alone(1);
                tracing::error!(worker = self.index, "a UDP worker panicked and was started again");
                std::thread::sleep(FAILURE_PAUSE);
            }
        })
    }

    fn run<A: Peer>(&self) {
        let mut buffers = Buffers::<A>::new(self.max_payload, self.wildcard);
        let mut snapshots = Cache::new(self.snapshots.as_ref());
        let mut left = BATCHES_AFTER_STOP;
        let mut width = Width::Few;
        loop {
            self.counters.beats.add_alone(1);
            let stopping = self.stop.load(Ordering::Relaxed);
            let flags = match stopping {
                true => MsgFlags::MSG_DONTWAIT,
                false => MsgFlags::MSG_WAITFORONE,
            };
            let received = match width {
                Width::Few => self.receive::<A, FEW>(&mut buffers, &mut snapshots, flags),
                Width::Several => self.receive::<A, SEVERAL>(&mut buffers, &mut snapshots, flags),
                Width::Many => self.receive::<A, MANY>(&mut buffers, &mut snapshots, flags),
            };
            match received {
                Ok(received) => {
                    self.serve(&mut buffers, snapshots.load(), received.kept);
                    width = Width::after(received.packets);
                    if received.address_missing {
                        buffers.renew_receive_headers();
                    }
                }
                Err(Errno::EAGAIN) if stopping => return,
                // Idle: let go of a snapshot that has been replaced meanwhile.
                Err(Errno::EAGAIN) => drop(snapshots.load()),
                Err(error) => self.receive_failed(error),
            }
            if stopping {
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
    }

    #[cold]
    fn receive_failed(&self, error: Errno) {
        match error {
            Errno::EINTR => {}
            // A socket's pending error (an ICMP message about an earlier reply) is reported once, then gone.
            Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH => {
                self.counters.receive_failed.add_alone(1);
            }
            _ => {
                self.counters.receive_failed.add_alone(1);
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
    }

    /// Takes up to `WIDTH` packets, and notes those that may be answered.
    fn receive<A: Peer, const WIDTH: usize>(
        &self,
        buffers: &mut Buffers<A>,
        snapshots: &mut Cache<&ArcSwap<Snapshot>, Arc<Snapshot>>,
        flags: MsgFlags,
    ) -> Result<Received, Errno> {
        let mut chunks = buffers.slots.chunks_exact_mut(buffers.stride);
        let mut slots: [[IoSliceMut; 1]; WIDTH] = std::array::from_fn(|_| {
            let chunk = chunks.next().and_then(|chunk| chunk.first_chunk_mut::<SLOT>());
            [IoSliceMut::new(chunk.map_or(&mut [], |chunk| chunk))]
        });
        let headers = &mut buffers.receive_headers;
        let messages = recvmmsg(self.socket.as_raw_fd(), headers, slots.iter_mut(), flags, None)?;
        // Most likely these are for the zone of those before; what they will read comes while they are noted.
        snapshots.load().approach(buffers.zone);
        let (packets, peers) = (&mut buffers.packets, &mut buffers.peers);
        let received = match self.wildcard {
            false => self.note(messages, packets, peers, |_, _| true),
            true => self.note(messages, packets, peers, |at, message| {
                buffers.locals[at] = local_address(message);
                buffers.locals[at].is_some()
            }),
        };
        self.counters.queries.add_alone(received.packets as u64);
        Ok(received)
    }

    /// Notes where each packet lies and whose it is. `local` keeps the address that it was sent to, and says whether that
    /// is known.
    #[inline]
    fn note<'m, A: Peer>(
        &self,
        messages: MultiResults<'m, A>,
        packets: &mut [Packet; MANY],
        peers: &mut [Option<A>; MANY],
        mut local: impl FnMut(usize, RecvMsg<'m, 'm, A>) -> bool,
    ) -> Received {
        let mut received = Received { packets: 0, kept: 0, address_missing: false };
        for message in messages.take(MANY) {
            let slot = received.packets;
            received.packets += 1;
            let Some(peer) = message.address else { continue };
            if ignores_port(peer.port()) {
                self.counters.dropped_port.add_alone(1);
                continue;
            }
            if message.flags.contains(MsgFlags::MSG_TRUNC) {
                self.counters.oversize.add_alone(1);
            }
            let at = received.kept;
            packets[at] = Packet { slot: slot as u16, length: message.bytes.min(SLOT) as u16, ..Packet::default() };
            peers[at] = Some(peer);
            received.kept += 1;
            received.address_missing |= !local(at, message);
        }
        received
    }

    /// Answers the first `count` packets and sends the replies.
    #[inline]
    fn serve<A: Peer>(&self, buffers: &mut Buffers<A>, snapshot: &Snapshot, count: usize) {
        let (mut read, mut next, mut replies) = (0, 0, 0);
        let timed = self.counters.beats.read().is_multiple_of(TIMED_BATCHES);
        #[cfg(all(feature = "panic-drill", not(test)))]
        (0..count).for_each(|at| super::panic_drill::outside(buffers.reply(at)));
        while next < count {
            // A panic costs its packet and nothing else.
            let all = catch_unwind(AssertUnwindSafe(|| {
                // All are read before the first is answered, so that their waits for memory overlap.
                while read < count && !timed {
                    let at = read;
                    read += 1;
                    buffers.read(snapshot, at);
                }
                if buffers.needs_aim {
                    buffers.aim(snapshot, count);
                }
                while next < count {
                    let at = next;
                    next += 1;
                    let answered = match timed {
                        false => self.answer(buffers, snapshot, at),
                        true => self.answer_timed(buffers, snapshot, at),
                    };
                    if answered {
                        buffers.keep(at, replies, self.wildcard);
                        replies += 1;
                    }
                }
            }));
            if all.is_err() {
                self.counters.panics.add_alone(1);
            }
        }
        if self.counters.tap.is_on() {
            self.tap(buffers, replies);
        }
        self.send_all(buffers, replies);
    }

    /// Reads and answers one packet, and notes how long that took.
    #[cold]
    #[inline(never)]
    fn answer_timed<A: Peer>(&self, buffers: &mut Buffers<A>, snapshot: &Snapshot, at: usize) -> bool {
        let begun = Instant::now();
        buffers.read(snapshot, at);
        let answered = self.answer(buffers, snapshot, at);
        self.counters.durations.note_alone(begun.elapsed());
        answered
    }

    /// Shows the first `count` replies to whoever watches.
    #[cold]
    #[inline(never)]
    fn tap<A: Peer>(&self, buffers: &Buffers<A>, count: usize) {
        for at in 0..count {
            if let Some(Some(peer)) = buffers.peers.get(at) {
                self.counters.tap.offer(Transport::Udp, peer.ip(), buffers.reply(at));
            }
        }
    }

    /// Answers one packet in its slot; whether there is something to send.
    #[inline]
    fn answer<A: Peer>(&self, buffers: &mut Buffers<A>, snapshot: &Snapshot, at: usize) -> bool {
        let (Some(packet), Some(plain)) = (buffers.packets.get_mut(at), buffers.plain.get(at)) else { return false };
        let start = usize::from(packet.slot) * buffers.stride;
        let Some(slot) = buffers.slots.get_mut(start..start + buffers.stride) else { return false };
        #[cfg(all(feature = "panic-drill", not(test)))]
        super::panic_drill::inside(slot);
        let address =
            || buffers.peers.get(at).copied().flatten().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let answered = match packet.plain {
            true => plain.answer(snapshot, self.index, slot),
            false => None,
        };
        let mut reply = match answered {
            Some(reply) => reply,
            None => {
                let asker = Asker { address: address(), transport: Transport::Udp, worker: self.index };
                let length = usize::from(packet.length);
                respond_in_place(snapshot, &asker, slot, length, buffers.reply_limit, &mut buffers.spare)
            }
        };
        if reply.length == 0 {
            self.counters.silent.add_alone(1);
            return false;
        }
        if let Some(limit) = &snapshot.options.rate_limit
            && !limit.spares(address(), &reply)
        {
            reply = self.limited(limit, address(), reply, snapshot, slot);
            if reply.length == 0 {
                return false;
            }
        }
        self.counters.answered_alone(&reply);
        if is_truncated(slot) {
            self.counters.truncated.add_alone(1);
        }
        packet.length = reply.length.min(slot.len()) as u16;
        packet.options = reply.options_length;
        true
    }

    /// The reply as rate limiting leaves it: whole, cut, or none.
    #[cold]
    #[inline(never)]
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

    /// Sends the first `count` replies. A packet that the kernel refuses costs that packet: it is counted, and the rest
    /// goes on. So does one for which there is no room: replies to clients that do not exist wait in the kernel for their
    /// neighbour's address and fill the socket's buffer, and nobody else may wait for them.
    #[inline]
    fn send_all<A: Peer>(&self, buffers: &mut Buffers<A>, count: usize) {
        let mut next = 0;
        while next < count {
            match self.send(buffers, next, count) {
                Ok(sent) => {
                    self.counters.replies.add_alone(sent as u64);
                    // The kernel stops at the packet it refuses; asked again, it says why.
                    next += sent;
                }
                Err(error) => next += self.send_failed(buffers, next, error),
            }
        }
    }

    /// Packets to go on behind.
    #[cold]
    #[inline(never)]
    fn send_failed<A: Peer>(&self, buffers: &mut Buffers<A>, at: usize, error: Errno) -> usize {
        match error {
            Errno::EINTR => return 0,
            // Longer than the path takes: question and TC, so that the client comes by TCP (RFC 9715).
            Errno::EMSGSIZE => {
                self.counters.too_long.add_alone(1);
                let Packet { slot, length, options, .. } = buffers.packets[at];
                let start = usize::from(slot) * buffers.stride;
                let whole = Reply { length: length.into(), options_length: options, ..Reply::SILENCE };
                let cut = rate_limit::slip(&mut buffers.slots[start..start + whole.length], &whole);
                buffers.packets[at].length = cut as u16;
                if cut < whole.length && self.send(buffers, at, at + 1).is_ok() {
                    self.counters.truncated.add_alone(1);
                    self.counters.replies.add_alone(1);
                    return 1;
                }
            }
            _ => {}
        }
        self.counters.send_failed.add_alone(1);
        1
    }

    /// Sends the replies from `from` on, of those before `end`; returns how many went in this call.
    #[inline]
    fn send<A: Peer>(&self, buffers: &mut Buffers<A>, from: usize, end: usize) -> Result<usize, Errno> {
        if self.wildcard {
            return self.send_from_their_address(buffers, from, end);
        }
        if end - from == 1
            && let Some(peer) = buffers.peers[from]
        {
            // Without the headers of a batch, and without the C library: half the lines of the cache.
            return match peer.send(&self.socket, buffers.reply(from)) {
                Ok(_) => Ok(1),
                Err(error) => Err(Errno::from_raw(error.raw_os_error())),
            };
        }
        let none: [ControlMessage; 0] = [];
        self.send_batch(buffers, from, end, &none)
    }

    /// One call sends packets of one local address.
    #[inline(never)]
    fn send_from_their_address<A: Peer>(
        &self,
        buffers: &mut Buffers<A>,
        from: usize,
        end: usize,
    ) -> Result<usize, Errno> {
        let local = buffers.locals[from];
        let end = from + buffers.locals[from..end].iter().take_while(|other| **other == local).count();
        match local.map(A::packet_info) {
            Some(info) => self.send_batch(buffers, from, end, &[A::control(&info)]),
            None => {
                // The headers have room for an address that is not known: send with the kernel's choice instead.
                let plain = MultiHeaders::preallocate(end - from, None);
                let kept = std::mem::replace(&mut buffers.send_headers, plain);
                let none: [ControlMessage; 0] = [];
                let sent = self.send_batch(buffers, from, end, &none);
                buffers.send_headers = kept;
                sent
            }
        }
    }

    fn send_batch<A: Peer>(
        &self,
        buffers: &mut Buffers<A>,
        from: usize,
        end: usize,
        control: &[ControlMessage<'_>],
    ) -> Result<usize, Errno> {
        let Buffers { slots, stride, packets, peers, send_headers, .. } = buffers;
        // Filled where it lies: what `collect` makes is copied whole.
        let mut slices: ArrayVec<[IoSlice; 1], MANY> = ArrayVec::new();
        for packet in &packets[from..end] {
            slices.push([IoSlice::new(reply(slots, *stride, packet))]);
        }
        let (descriptor, peers) = (self.socket.as_raw_fd(), &peers[from..end]);
        let sent = sendmmsg(descriptor, send_headers, slices.iter(), peers, control, MsgFlags::MSG_DONTWAIT)?;
        // nix tells the number sent only through the iterator; the items themselves mean nothing after a send.
        // Zero packets without an error does not happen; were it to, the loop must still go on.
        match sent.count() {
            0 => Err(Errno::EIO),
            sent => Ok(sent),
        }
    }
}

/// Slots that a call offers.
#[derive(Clone, Copy)]
enum Width {
    Few,
    Several,
    Many,
}

impl Width {
    /// For the call behind one that brought so many packets.
    fn after(packets: usize) -> Width {
        match packets {
            ..FEW => Width::Few,
            FEW..SEVERAL => Width::Several,
            _ => Width::Many,
        }
    }
}

struct Received {
    packets: usize,
    /// Those that may be answered.
    kept: usize,
    /// A packet came without its local address on a wildcard socket: the kernel has shrunk that header's control space.
    address_missing: bool,
}

/// A query, then its reply.
#[derive(Clone, Copy, Default)]
struct Packet {
    slot: u16,
    length: u16,
    /// Octets of the OPT at the reply's end.
    options: u16,
    /// The query was read as one that has a short way to its answer.
    plain: bool,
}

/// What a worker keeps between batches.
struct Buffers<A: Peer> {
    slots: Box<[u8]>,
    /// From one slot to the next.
    stride: usize,
    spare: Box<[u8]>,
    reply_limit: usize,
    wildcard: bool,
    receive_headers: MultiHeaders<A>,
    send_headers: MultiHeaders<A>,
    packets: [Packet; MANY],
    peers: [Option<A>; MANY],
    locals: [Option<A::Local>; MANY],
    plain: [Plain; MANY],
    /// Some of these wait for a second look.
    needs_aim: bool,
    /// The zone of a plain query just before.
    zone: u32,
}

impl<A: Peer> Buffers<A> {
    fn new(max_payload: usize, wildcard: bool) -> Buffers<A> {
        let stride = SLOT.max(max_payload) + ASIDE;
        Buffers {
            slots: vec![0; MANY * stride].into(),
            stride,
            spare: vec![0; SLOT].into(),
            reply_limit: max_payload.max(SMALLEST_REPLY),
            wildcard,
            receive_headers: MultiHeaders::preallocate(MANY, wildcard.then(A::control_space)),
            send_headers: MultiHeaders::preallocate(MANY, wildcard.then(A::control_space)),
            packets: [Packet::default(); MANY],
            peers: [None; MANY],
            locals: [None; MANY],
            plain: [Plain::NONE; MANY],
            needs_aim: false,
            zone: 0,
        }
    }

    #[inline]
    fn read(&mut self, snapshot: &Snapshot, at: usize) {
        let (Some(packet), Some(plain)) = (self.packets.get_mut(at), self.plain.get_mut(at)) else { return };
        let start = usize::from(packet.slot) * self.stride;
        let Some(slot) = self.slots.get(start..start + self.stride) else { return };
        let read = plain.read(snapshot, Transport::Udp, slot, packet.length.into(), self.reply_limit);
        packet.plain = read.is_some();
        self.needs_aim |= packet.plain && plain.needs_aim();
        self.zone = plain.zone();
    }

    /// The second look for those that need one. What an earlier batch left behind may get one too, and is not used.
    #[inline(never)]
    fn aim(&mut self, snapshot: &Snapshot, count: usize) {
        self.needs_aim = false;
        self.plain.iter_mut().take(count).for_each(|plain| plain.aim(snapshot));
    }

    #[cold]
    fn renew_receive_headers(&mut self) {
        self.receive_headers = MultiHeaders::preallocate(MANY, self.wildcard.then(A::control_space));
    }

    /// Moves a packet to the replies.
    #[inline]
    fn keep(&mut self, from: usize, to: usize, wildcard: bool) {
        if from != to {
            self.packets[to] = self.packets[from];
            self.peers[to] = self.peers[from];
            if wildcard {
                self.locals[to] = self.locals[from];
            }
        }
    }

    /// What lies in a packet's slot: its query, or its reply.
    fn reply(&self, at: usize) -> &[u8] {
        reply(&self.slots, self.stride, &self.packets[at])
    }
}

/// The address that the packet was sent to, where the kernel says so.
#[inline(never)]
fn local_address<A: Peer>(message: RecvMsg<'_, '_, A>) -> Option<A::Local> {
    message.cmsgs().ok()?.find_map(|one| A::local(&one))
}

/// The octets of a packet's reply.
fn reply<'s>(slots: &'s [u8], stride: usize, packet: &Packet) -> &'s [u8] {
    let start = usize::from(packet.slot) * stride;
    &slots[start..start + usize::from(packet.length)]
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
    /// Sends one packet there.
    fn send(&self, socket: &UdpSocket, octets: &[u8]) -> rustix::io::Result<usize>;
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

    #[inline]
    fn send(&self, socket: &UdpSocket, octets: &[u8]) -> rustix::io::Result<usize> {
        sendto(socket, octets, SendFlags::DONTWAIT, &SocketAddrV4::from(*self))
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

    #[inline]
    fn send(&self, socket: &UdpSocket, octets: &[u8]) -> rustix::io::Result<usize> {
        sendto(socket, octets, SendFlags::DONTWAIT, &SocketAddrV6::from(*self))
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
