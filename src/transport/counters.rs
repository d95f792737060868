//! What the transports count. A counter belongs to the thread that counts; readers add up.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::cells::{ByZone, Durations, Timed, ZoneCounted};
use super::certificate::Certificates;
use super::tap::{Tap, Watchers};
use crate::engine::{Reply, Transport};

/// RCODEs counted by number; IANA has assigned 0 to 23. Others share one counter.
pub const RCODES: usize = 24;

/// All blocks of one running server; cheap to share, read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    blocks: Vec<Arc<Block>>,
    /// What servers counted that this one replaced.
    carried: Mutex<Vec<Counted>>,
    certificates: Option<Arc<Certificates>>,
    watchers: Watchers,
}

/// A copy of one block: a UDP worker on one address, or a whole stream transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// What was counted.
    #[serde(with = "transport_word")]
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
    /// Times that a worker or an accept loop died of a panic and was started anew.
    pub restarts: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed because others needed the room.
    pub evicted: u64,
    /// Connections closed because a message, a handshake or a reader took too long.
    pub timed_out: u64,
    /// Times that accepting had to wait because descriptors or memory ran out.
    pub accept_waits: u64,
    /// Replies by zone, family, type and RCODE; those without any are left out.
    pub zones: Vec<ZoneCounted>,
    /// How long some of the answers took.
    pub timed: Timed,
}

impl Counters {
    /// A block for a transport whose clients may be of both families.
    pub(super) fn add(&mut self, transport: Transport, worker: usize) -> Arc<Block> {
        self.push(Block::new(transport, worker, true, self.tap()))
    }

    /// A block for a UDP worker on an address of that family.
    pub(super) fn add_udp(&mut self, worker: usize, ipv6: bool) -> Arc<Block> {
        self.push(Block { ipv6, ..Block::new(Transport::Udp, worker, false, self.tap()) })
    }

    fn tap(&self) -> Tap {
        Tap::new(self.watchers.wanted.clone())
    }

    fn push(&mut self, block: Block) -> Arc<Block> {
        let block = Arc::new(block);
        self.blocks.push(block.clone());
        block
    }

    /// Tells what `status` and the metrics say of the certificate in use.
    pub(super) fn certificate(&mut self, certificates: Arc<Certificates>) {
        self.certificates = Some(certificates);
    }

    /// When the certificate of DNS over TLS, HTTPS and QUIC ends, Unix seconds; `None` where there is none.
    pub fn certificate_ends(&self) -> Option<i64> {
        self.certificates.as_ref()?.not_after()
    }

    /// Every block as it is now, and what was counted by servers that this one replaced.
    pub fn read(&self) -> Vec<Counted> {
        let carried = self.carried.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.blocks.iter().map(|block| block.read()).chain(carried).collect()
    }

    /// The same with one entry for each transport and worker: what a successor carries on.
    pub fn totals(&self) -> Vec<Counted> {
        let mut totals: Vec<Counted> = Vec::new();
        for one in self.read() {
            match totals.iter_mut().find(|total| (total.transport, total.worker) == (one.transport, one.worker)) {
                Some(total) => total.add(&one),
                None => totals.push(one),
            }
        }
        totals
    }

    /// Sets what a replaced server counted; what was set before is forgotten.
    pub fn carry(&self, counted: Vec<Counted>) {
        *self.carried.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    /// Who watches live replies.
    pub(super) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Where live replies can be tapped.
    pub(super) fn taps(&self) -> impl Iterator<Item = &Tap> {
        self.blocks.iter().map(|block| &block.tap)
    }

    /// How often each UDP worker has gone round; all rise within a second while none hangs.
    pub fn beats(&self) -> Vec<u64> {
        self.blocks.iter().filter(|block| block.transport == Transport::Udp).map(|block| block.beats.read()).collect()
    }
}

impl Default for Counted {
    fn default() -> Counted {
        Block { by_zone: Box::default(), ..Block::new(Transport::Udp, 0, false, Tap::default()) }.read()
    }
}

impl Counted {
    fn add(&mut self, other: &Counted) {
        for (mine, others) in self.numbers_mut().into_iter().zip(other.clone().numbers_mut()) {
            *mine += *others;
        }
        for (mine, others) in self.rcodes.iter_mut().zip(other.rcodes) {
            *mine += others;
        }
        for theirs in &other.zones {
            match self.zones.iter_mut().find(|mine| (mine.zone, mine.ipv6) == (theirs.zone, theirs.ipv6)) {
                Some(mine) => mine.add(theirs),
                None => self.zones.push(theirs.clone()),
            }
        }
        self.timed.add(&other.timed);
    }

    fn numbers_mut(&mut self) -> [&mut u64; 18] {
        [
            &mut self.queries,
            &mut self.replies,
            &mut self.other_rcodes,
            &mut self.truncated,
            &mut self.dropped_port,
            &mut self.silent,
            &mut self.oversize,
            &mut self.too_long,
            &mut self.rate_limited,
            &mut self.slipped,
            &mut self.send_failed,
            &mut self.receive_failed,
            &mut self.panics,
            &mut self.restarts,
            &mut self.accepted,
            &mut self.evicted,
            &mut self.timed_out,
            &mut self.accept_waits,
        ]
    }
}

/// Transports by name, for the successor that reads the counters.
mod transport_word {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::engine::Transport;

    const WORDS: [(Transport, &str); 5] = [
        (Transport::Udp, "udp"),
        (Transport::Tcp, "tcp"),
        (Transport::Tls, "tls"),
        (Transport::Https, "https"),
        (Transport::Quic, "quic"),
    ];

    pub(super) fn serialize<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
        let word = WORDS.iter().find(|(one, _)| one == transport).map_or("udp", |(_, word)| word);
        serializer.serialize_str(word)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Transport, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = WORDS.iter().find(|(_, one)| *one == word);
        found.map(|(transport, _)| *transport).ok_or_else(|| D::Error::custom(format!("no transport {word:?}")))
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
    #[inline]
    pub(super) fn add_alone(&self, number: u64) {
        self.0.store(self.0.load(Relaxed) + number, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One writer's counters, on cache lines of their own (two lines: x86 fetches them in pairs). What each query counts
/// stands first; its zone, type and RCODE are one line of `by_zone`.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Block {
    pub(super) queries: Counter,
    pub(super) replies: Counter,
    by_zone: Box<[ByZone]>,
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
    pub(super) restarts: Counter,
    pub(super) accepted: Counter,
    pub(super) evicted: Counter,
    pub(super) timed_out: Counter,
    pub(super) accept_waits: Counter,
    pub(super) durations: Durations,
    /// Of clients over IPv6, where the block counts both families.
    by_zone6: Option<Box<[ByZone]>>,
    /// Of a block for one family.
    ipv6: bool,
    /// Times that a UDP worker went round: the sign that it lives.
    pub(super) beats: Counter,
    /// Looked at where `beats` is written: its flag is on the same line.
    pub(super) tap: Tap,
    transport: Transport,
    worker: usize,
}

impl Block {
    fn new(transport: Transport, worker: usize, both: bool, tap: Tap) -> Block {
        Block {
            tap,
            transport,
            worker,
            ipv6: false,
            by_zone: ByZone::all(),
            by_zone6: both.then(ByZone::all),
            durations: Durations::default(),
            queries: Counter::default(),
            replies: Counter::default(),
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
            restarts: Counter::default(),
            beats: Counter::default(),
            accepted: Counter::default(),
            evicted: Counter::default(),
            timed_out: Counter::default(),
            accept_waits: Counter::default(),
        }
    }

    /// Counts a reply of the UDP worker that alone writes this block.
    #[inline]
    pub(super) fn answered_alone(&self, reply: &Reply) {
        if let Some(zone) = self.by_zone.get(usize::from(reply.zone)) {
            zone.count_alone(reply);
        }
    }

    /// Counts a reply of a stream transport, and shows it to whoever watches.
    pub(super) fn answered(&self, reply: Reply, client: IpAddr, bytes: &[u8]) {
        if self.tap.is_on() {
            self.tap.offer(self.transport, client, bytes);
        }
        self.replies.add(1);
        let by_zone = match &self.by_zone6 {
            Some(by_zone6) if client.is_ipv6() => by_zone6,
            _ => &self.by_zone,
        };
        if let Some(zone) = by_zone.get(usize::from(reply.zone)) {
            zone.count(&reply);
        }
        if is_truncated(bytes) {
            self.truncated.add(1);
        }
    }

    fn read(&self) -> Counted {
        let zones = |by_zone: &[ByZone], ipv6| -> Vec<ZoneCounted> {
            by_zone.iter().zip(0u8..).filter_map(|(zone, number)| zone.read(number, ipv6)).collect()
        };
        let mut zones = [
            zones(&self.by_zone, self.ipv6),
            self.by_zone6.as_ref().map_or_else(Vec::new, |by_zone6| zones(by_zone6, true)),
        ]
        .concat();
        zones.sort_by_key(|zone| (zone.zone, zone.ipv6));
        let of = |rcode: usize| zones.iter().map(|zone| zone.rcodes[rcode]).sum();
        Counted {
            transport: self.transport,
            worker: self.worker,
            queries: self.queries.read(),
            replies: self.replies.read(),
            rcodes: std::array::from_fn(of),
            other_rcodes: of(RCODES),
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
            restarts: self.restarts.read(),
            accepted: self.accepted.read(),
            evicted: self.evicted.read(),
            timed_out: self.timed_out.read(),
            accept_waits: self.accept_waits.read(),
            timed: self.durations.read(),
            zones,
        }
    }
}

/// Whether a reply carries TC (RFC 1035 4.1.1: the second lowest bit of the third octet).
pub(super) fn is_truncated(reply: &[u8]) -> bool {
    reply.get(2).is_some_and(|flags| flags & 2 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_of_the_tap_is_on_a_line_that_a_worker_writes_anyway() {
        let line = |offset: usize| offset / 64;
        assert_eq!(line(std::mem::offset_of!(Block, tap)), line(std::mem::offset_of!(Block, beats)));
    }

    #[test]
    fn a_successor_goes_on_from_what_was_counted() {
        let mut first = Counters::default();
        for _ in 0..2 {
            let block = first.add_udp(0, true);
            block.queries.add(5);
            for _ in 0..2 {
                block.answered_alone(&Reply { rcode: 3, qtype: 28, zone: 1, ..Reply::SILENCE });
            }
            block.durations.note_alone(std::time::Duration::from_nanos(250));
        }
        first.add(Transport::Tcp, 1).accepted.add(1);
        let told = serde_json::to_string(&first.totals()).unwrap();
        let mut second = Counters::default();
        second.add_udp(0, true).queries.add(1);
        second.carry(serde_json::from_str(&told).unwrap());
        let totals = second.totals();
        assert_eq!(totals.len(), 2);
        assert_eq!((totals[0].queries, totals[0].rcodes[3], totals[1].accepted), (11, 4, 1));
        let [zone] = totals[0].zones.as_slice() else { panic!("one zone: {totals:?}") };
        assert_eq!((zone.zone, zone.ipv6, zone.types.iter().sum::<u64>(), zone.rcodes[3]), (1, true, 4, 4));
        assert_eq!((totals[0].timed.count(), totals[0].timed.nanoseconds), (2, 500));
        // Of an older or newer version: what is not known counts from zero, what is unknown is passed over.
        let odd: Counted = serde_json::from_str(r#"{"transport":"tls","queries":7,"novelty":1}"#).unwrap();
        assert_eq!((odd.transport, odd.queries, odd.replies), (Transport::Tls, 7, 0));
    }
}
