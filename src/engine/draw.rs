//! Draws: counters, not generators. Each worker has its own counter for each name and type, so nothing is shared and
//! nothing waits; the answer that a counter value stands for is fixed ahead by [`super::share`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const CHUNK: usize = 512;
/// Tallies a chunk.
const TALLIES: usize = 256;

/// One worker's counters, one for each balanced name and type. Grows by whole chunks that the old and the new snapshot
/// share, so that a reload forgets no step.
#[derive(Clone, Debug, Default)]
pub struct Draws {
    chunks: Vec<Arc<[AtomicU32]>>,
    tallies: Vec<Arc<[AtomicU64; TALLIES]>>,
    worker: u32,
}

impl Draws {
    /// Counters of worker `worker`, none yet.
    pub fn new(worker: u32) -> Draws {
        Draws { worker, ..Draws::default() }
    }

    /// These counters and enough further ones for `slots` in all. Each starts at its own offset, so that workers and names
    /// do not march in step.
    pub fn grown(&self, slots: usize) -> Draws {
        let mut grown = self.clone();
        while grown.chunks.len() * CHUNK < slots {
            let first = (grown.chunks.len() * CHUNK) as u64;
            grown.chunks.push((first..first + CHUNK as u64).map(|slot| AtomicU32::new(self.start(slot))).collect());
        }
        grown
    }

    /// These counters and enough for `tallies` in all, shared with the old ones likewise.
    pub fn with_tallies(&self, tallies: usize) -> Draws {
        let mut grown = self.clone();
        while grown.tallies.len() * TALLIES < tallies {
            grown.tallies.push(Arc::new(std::array::from_fn(|_| AtomicU64::new(0))));
        }
        grown
    }

    /// Counts an answer. A locked instruction, since threads of one worker (one an address) may count in one tally.
    #[inline]
    pub fn count(&self, tally: u32) {
        if let Some(chunk) = self.tallies.get(tally as usize / TALLIES) {
            chunk[tally as usize % TALLIES].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted in that tally.
    pub fn counted(&self, tally: u32) -> u64 {
        let chunk = self.tallies.get(tally as usize / TALLIES);
        chunk.map_or(0, |chunk| chunk[tally as usize % TALLIES].load(Ordering::Relaxed))
    }

    fn start(&self, slot: u64) -> u32 {
        mix(u64::from(self.worker) << 32 | slot) as u32 >> 8
    }

    fn counter(&self, slot: u32) -> Option<&AtomicU32> {
        self.chunks.get(slot as usize / CHUNK)?.get(slot as usize % CHUNK)
    }

    /// Where that slot's counter stands, if it has been drawn from.
    pub fn moved(&self, slot: u32) -> Option<u32> {
        let value = self.counter(slot)?.load(Ordering::Relaxed);
        (value != self.start(u64::from(slot))).then_some(value)
    }

    /// Lets that slot's counter go on from `value`.
    pub fn resume(&self, slot: u32, value: u32) {
        if let Some(counter) = self.counter(slot) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// The next draw of that slot; 0 for a slot that is not there.
    pub fn next(&self, slot: u32) -> u32 {
        match self.chunks.get(slot as usize / CHUNK) {
            Some(chunk) => chunk[slot as usize % CHUNK].fetch_add(1, Ordering::Relaxed),
            None => 0,
        }
    }
}

/// Spreads a counter over 64 bits (the finaliser of SplitMix64, Steele, Lea and Flood 2014): where an order behind the
/// first place is drawn, it is drawn from this.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
