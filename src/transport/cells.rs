//! What is counted of each reply: its zone, type and RCODE; and how long some of them took. Worker-owned memory of a fixed
//! size, whatever is asked: no name and no number from outside makes a new counter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{Counter, RCODES};
use crate::engine::Reply;

/// Zones counted apart. Number 0 stands for replies without a zone and for zones beyond.
pub const ZONES: usize = 128;
/// Types counted apart, by number and name; the last stands for all others. A and AAAA come first: with RCODEs 0 to 5 they
/// share a line.
pub const TYPES: [(u16, &str); 17] = [
    (1, "A"),
    (28, "AAAA"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (48, "DNSKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
    (257, "CAA"),
    (0, "other"),
];
/// Upper bounds of the times that are told apart, nanoseconds; what is longer is counted behind the last.
pub const BOUNDS: [u64; 20] = [
    100,
    150,
    200,
    300,
    400,
    500,
    700,
    1_000,
    1_500,
    2_000,
    3_000,
    5_000,
    7_000,
    10_000,
    20_000,
    50_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// RCODEs that share a line with the first types.
const FIRST_RCODES: usize = 6;
/// Types that share it.
const FIRST_TYPES: usize = 2;
/// All cells: RCODEs, the others, types.
const CELLS: usize = RCODES + 1 + TYPES.len();
/// Where the types behind the first begin.
const LATER_TYPES: usize = RCODES + 1 + FIRST_TYPES;

/// The cell of each type.
static CELL_OF_TYPE: [u8; 258] = {
    let mut cells = [type_cell(TYPES.len() - 1) as u8; 258];
    let mut at = 0;
    while at < TYPES.len() - 1 {
        cells[TYPES[at].0 as usize] = type_cell(at) as u8;
        at += 1;
    }
    cells
};

const fn type_cell(at: usize) -> usize {
    if at < FIRST_TYPES { FIRST_RCODES + at } else { LATER_TYPES + at - FIRST_TYPES }
}

const fn rcode_cell(rcode: usize) -> usize {
    if rcode < FIRST_RCODES { rcode } else { rcode + FIRST_TYPES }
}

/// Replies of one zone.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct ByZone([Counter; CELLS]);

impl ByZone {
    /// One for each number.
    pub(super) fn all() -> Box<[ByZone]> {
        (0..ZONES).map(|_| ByZone(std::array::from_fn(|_| Counter::default()))).collect()
    }

    #[inline]
    pub(super) fn count_alone(&self, reply: &Reply) {
        let (qtype, rcode) = cells(reply);
        self.0[qtype].add_alone(1);
        self.0[rcode].add_alone(1);
    }

    pub(super) fn count(&self, reply: &Reply) {
        let (qtype, rcode) = cells(reply);
        self.0[qtype].add(1);
        self.0[rcode].add(1);
    }

    /// What was counted; `None` when nothing was.
    pub(super) fn read(&self, zone: u8, ipv6: bool) -> Option<ZoneCounted> {
        let types: Vec<u64> = (0..TYPES.len()).map(|at| self.0[type_cell(at)].read()).collect();
        let rcodes: Vec<u64> = (0..=RCODES).map(|rcode| self.0[rcode_cell(rcode)].read()).collect();
        types.iter().chain(&rcodes).any(|&count| count > 0).then_some(ZoneCounted { zone, ipv6, types, rcodes })
    }
}

#[inline]
fn cells(reply: &Reply) -> (usize, usize) {
    let qtype = CELL_OF_TYPE.get(usize::from(reply.qtype)).map_or(CELLS - 1, |&cell| usize::from(cell));
    (qtype, rcode_cell(usize::from(reply.rcode).min(RCODES)))
}

/// A copy of what was counted of one zone in one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneCounted {
    /// The zone's number.
    pub zone: u8,
    /// Clients over IPv6.
    pub ipv6: bool,
    /// In the order of [`TYPES`].
    pub types: Vec<u64>,
    /// RCODEs 0 to 23, then all others.
    pub rcodes: Vec<u64>,
}

impl ZoneCounted {
    pub(super) fn add(&mut self, other: &ZoneCounted) {
        add(&mut self.types, &other.types);
        add(&mut self.rcodes, &other.rcodes);
    }
}

/// How long answers took that were timed: a histogram.
#[derive(Debug, Default)]
pub(super) struct Durations {
    buckets: [Counter; BOUNDS.len() + 1],
    nanoseconds: Counter,
}

impl Durations {
    /// Notes one, where this thread is the only writer.
    pub(super) fn note_alone(&self, took: Duration) {
        let (bucket, nanoseconds) = self.place(took);
        bucket.add_alone(1);
        self.nanoseconds.add_alone(nanoseconds);
    }

    /// Notes one from any thread.
    pub(super) fn note(&self, took: Duration) {
        let (bucket, nanoseconds) = self.place(took);
        bucket.add(1);
        self.nanoseconds.add(nanoseconds);
    }

    fn place(&self, took: Duration) -> (&Counter, u64) {
        let nanoseconds = took.as_nanos().min(u128::from(u64::MAX)) as u64;
        (&self.buckets[BOUNDS.partition_point(|&bound| bound < nanoseconds)], nanoseconds)
    }

    pub(super) fn read(&self) -> Timed {
        Timed { buckets: self.buckets.iter().map(Counter::read).collect(), nanoseconds: self.nanoseconds.read() }
    }
}

/// A copy of a histogram of times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timed {
    /// How many took at most each of [`BOUNDS`] and longer than the one before; then how many took longer than all.
    pub buckets: Vec<u64>,
    /// Sum of all.
    pub nanoseconds: u64,
}

impl Timed {
    /// How many were timed.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Timed) {
        add(&mut self.buckets, &other.buckets);
        self.nanoseconds += other.nanoseconds;
    }
}

/// Adds place by place; another version may know fewer or more of them.
fn add(mine: &mut Vec<u64>, others: &[u64]) {
    if mine.len() < others.len() {
        mine.resize(others.len(), 0);
    }
    mine.iter_mut().zip(others).for_each(|(mine, others)| *mine += others);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_and_rcode_has_a_cell_of_its_own_and_others_share_one() {
        let zone = &ByZone::all()[0];
        let asked = |qtype, rcode| Reply { qtype, rcode, ..Reply::SILENCE };
        for (qtype, _) in TYPES {
            zone.count_alone(&asked(qtype, 0));
        }
        for rcode in 0..30 {
            zone.count(&asked(65_280, rcode));
        }
        for qtype in [0, 3, 254, 256, 258, 65_535] {
            zone.count(&asked(qtype, 3));
        }
        let read = zone.read(7, false).unwrap();
        assert_eq!(read.types, [vec![1; TYPES.len() - 1], vec![1 + 30 + 6]].concat());
        let mut rcodes = [vec![1; RCODES], vec![6]].concat();
        rcodes[0] += TYPES.len() as u64;
        rcodes[3] += 6;
        assert_eq!((read.zone, read.rcodes), (7, rcodes));
        assert_eq!(ByZone::all()[1].read(1, true), None);
    }

    #[test]
    fn times_fall_between_their_bounds() {
        let durations = Durations::default();
        for nanoseconds in [0, 100, 101, 1_000_000_000] {
            durations.note(Duration::from_nanos(nanoseconds));
        }
        let read = durations.read();
        assert_eq!((read.buckets[0], read.buckets[1], *read.buckets.last().unwrap()), (2, 1, 1));
        assert_eq!((read.count(), read.nanoseconds), (4, 1_000_000_201));
    }
}
