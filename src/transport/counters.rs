//! What the transports count. A counter belongs to the thread that counts; readers add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::engine::{Reply, Transport};

/// RCODEs counted by number; IANA has assigned 0 to 23. Others share one counter.
pub const RCODES: usize = 24;

/// All blocks of one running server; cheap to share, read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    blocks: Vec<Arc<Block>>,
}

/// A copy of one block: a UDP worker on one address, or a whole stream transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What was counted.
    pub transport: Transport,
    /// The UDP worker's index; the number of UDP workers for stream transports.
    pub worker: usize,
    /// Messages received, whatever became of them.
    pub queries: u64,
    /// Replies handed to the kernel.
    pub replies: u64,
    /// Replies by RCODE 0 to 23.
    pub rcodes: [u64; RCODES],
    /// Replies with an RCODE above 23.
    pub other_rcodes: u64,
    /// Replies with TC set.
    pub truncated: u64,
    /// Dropped: source port 0 or an old echo service's.
    pub dropped_port: u64,
    /// Not answered because the engine chose silence (a response, or too short to be a query).
    pub silent: u64,
    /// Queries longer than a receive slot; judged by their beginning.
    pub oversize: u64,
    /// Replies too long for the path (`EMSGSIZE`), sent again as TC.
    pub too_long: u64,
    /// Replies that rate limiting withheld (or would have, in `log_only`).
    pub rate_limited: u64,
    /// Replies that rate limiting cut to TC.
    pub slipped: u64,
    /// Replies that the kernel did not take.
    pub send_failed: u64,
    /// Receive calls that failed with anything but "nothing there".
    pub receive_failed: u64,
    /// Panics contained; each cost one packet or one connection.
    pub panics: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed because others needed the room.
    pub evicted: u64,
    /// Connections closed because a message, a handshake or a reader took too long.
    pub timed_out: u64,
    /// Times that accepting had to wait because descriptors or memory ran out.
    pub accept_waits: u64,
}

impl Counters {
    pub(super) fn add(&mut self, transport: Transport, worker: usize) -> Arc<Block> {
        let block = Arc::new(Block::new(transport, worker));
        self.blocks.push(block.clone());
        block
    }

    /// Every block as it is now.
    pub fn read(&self) -> Vec<Counted> {
        self.blocks.iter().map(|block| block.read()).collect()
    }
}

/// One counter of a [`Block`].
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts from any thread.
    pub(super) fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    /// Counts where this thread is the block's only writer: two plain moves instead of a locked instruction.
    pub(super) fn add_alone(&self, number: u64) {
        self.0.store(self.0.load(Relaxed) + number, Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One writer's counters, on cache lines of their own (two lines: x86 fetches them in pairs). What each query counts
/// stands first: queries, replies, and RCODEs 0 to 5 share a line.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Block {
    pub(super) queries: Counter,
    pub(super) replies: Counter,
    rcodes: [Counter; RCODES],
    other_rcodes: Counter,
    pub(super) truncated: Counter,
    pub(super) dropped_port: Counter,
    pub(super) silent: Counter,
    pub(super) oversize: Counter,
    pub(super) too_long: Counter,
    pub(super) rate_limited: Counter,
    pub(super) slipped: Counter,
    pub(super) send_failed: Counter,
    pub(super) receive_failed: Counter,
    pub(super) panics: Counter,
    pub(super) accepted: Counter,
    pub(super) evicted: Counter,
    pub(super) timed_out: Counter,
    pub(super) accept_waits: Counter,
    transport: Transport,
    worker: usize,
}

impl Block {
    fn new(transport: Transport, worker: usize) -> Block {
        Block {
            transport,
            worker,
            queries: Counter::default(),
            replies: Counter::default(),
            rcodes: std::array::from_fn(|_| Counter::default()),
            other_rcodes: Counter::default(),
            truncated: Counter::default(),
            dropped_port: Counter::default(),
            silent: Counter::default(),
            oversize: Counter::default(),
            too_long: Counter::default(),
            rate_limited: Counter::default(),
            slipped: Counter::default(),
            send_failed: Counter::default(),
            receive_failed: Counter::default(),
            panics: Counter::default(),
            accepted: Counter::default(),
            evicted: Counter::default(),
            timed_out: Counter::default(),
            accept_waits: Counter::default(),
        }
    }

    /// The counter of that RCODE.
    pub(super) fn rcode(&self, rcode: u16) -> &Counter {
        self.rcodes.get(usize::from(rcode)).unwrap_or(&self.other_rcodes)
    }

    /// Counts a reply of a stream transport.
    pub(super) fn answered(&self, reply: Reply, bytes: &[u8]) {
        self.replies.add(1);
        self.rcode(reply.rcode).add(1);
        if is_truncated(bytes) {
            self.truncated.add(1);
        }
    }

    fn read(&self) -> Counted {
        Counted {
            transport: self.transport,
            worker: self.worker,
            queries: self.queries.read(),
            replies: self.replies.read(),
            rcodes: std::array::from_fn(|rcode| self.rcodes[rcode].read()),
            other_rcodes: self.other_rcodes.read(),
            truncated: self.truncated.read(),
            dropped_port: self.dropped_port.read(),
            silent: self.silent.read(),
            oversize: self.oversize.read(),
            too_long: self.too_long.read(),
            rate_limited: self.rate_limited.read(),
            slipped: self.slipped.read(),
            send_failed: self.send_failed.read(),
            receive_failed: self.receive_failed.read(),
            panics: self.panics.read(),
            accepted: self.accepted.read(),
            evicted: self.evicted.read(),
            timed_out: self.timed_out.read(),
            accept_waits: self.accept_waits.read(),
        }
    }
}

/// Whether a reply carries TC (RFC 1035 4.1.1: the second lowest bit of the third octet).
pub(super) fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 2 != 0)
}
