//! What is due when. Pure: time and chance are arguments.
//!
//! Every target has a grid of its own: points one interval apart, its phase the hash of its number, so that targets added
//! together end up spread over the whole interval. The first probe is at once; the second falls on the grid, a tenth to eleven
//! tenths of an interval later. From then on a turn is one interval (± jitter) after the turn before, counted from when that was
//! *due*, so that lateness never adds up.
//!
//! Points and jitter are whole thousandths of the interval ([`STEPS`]), counted from one moment for all: of many targets, those
//! that are due within such a step begin together, and find the processor's caches warm from the one before.
//!
//! Turns that were missed are skipped, never made up for; a stopped process that goes on finds every target at its own
//! place in the interval, and no burst. One probe a target is in flight; one still running delays the next.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::engine::probe::{Cadence, ProbeId, Timing};

/// Between the starts of two probes of a burst.
pub(crate) const BURST_GAP: Duration = Duration::from_millis(10);

/// Parts of an interval in which turns are counted.
const STEPS: u64 = 1000;

/// Later than this by no fault of the targets: the whole process stood still.
pub(crate) const STALL: Duration = Duration::from_secs(1);

/// All targets and their turns.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    entries: HashMap<ProbeId, Entry, RandomState>,
    /// Those that wait, by when they are due.
    queue: BTreeSet<(Instant, ProbeId)>,
    announced: Option<Instant>,
    /// Where all grids begin.
    origin: Option<Instant>,
}

/// Why a probe runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its interval has passed.
    Regular,
    /// Somebody asked.
    Asked,
    /// Its watch broke.
    Burst,
}

/// A probe that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) turn: Turn,
    /// How long after its due time.
    pub(crate) late: Duration,
}

#[derive(Debug)]
struct Entry {
    interval: Duration,
    fast_interval: Option<Duration>,
    jitter_permille: u16,
    cadence: Cadence,
    state: State,
    due: Instant,
    /// The next turn of the normal cadence.
    grid: Instant,
    /// The next turn of the fast cadence.
    fast: Instant,
    last_start: Option<Instant>,
    asked: bool,
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Due, and handed out to wait for a slot.
    Ready,
    Running(Turn),
}

#[derive(Debug)]
struct Burst {
    next: Instant,
    left: u32,
    fall: u32,
    failures: u32,
    /// Bounds the burst as a whole: twice `fall`.
    spare: u32,
}

impl Schedule {
    /// Adds a target whose first probe is due at `first`. `phase` is any number that tells targets apart.
    pub(crate) fn insert(&mut self, id: ProbeId, timing: &Timing, first: Instant, phase: u64) {
        self.remove(id);
        let interval = timing.interval.max(Duration::from_millis(1));
        let offset = Duration::from_nanos(phase % nanos(interval));
        let origin = *self.origin.get_or_insert(first);
        let entry = Entry {
            interval,
            fast_interval: timing.fast_interval,
            jitter_permille: timing.jitter_permille.min(900),
            cadence: Cadence::Normal,
            state: State::Waiting,
            due: first,
            grid: align(origin, step(interval), first + offset),
            fast: first,
            last_start: None,
            asked: false,
            burst: None,
        };
        self.entries.insert(id, entry);
        self.queue.insert((first, id));
    }

    /// Forgets a target.
    pub(crate) fn remove(&mut self, id: ProbeId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.queue.remove(&(entry.due, id));
        }
    }

    /// To be called first whenever the driver wakes: after a standstill, overdue turns are skipped.
    pub(crate) fn wake(&mut self, now: Instant) {
        let Some(announced) = self.announced.take() else {
            return;
        };
        if now < announced + STALL {
            return;
        }
        let overdue: Vec<ProbeId> = self.queue.range(..=(now, ProbeId(u32::MAX))).map(|&(_, id)| id).collect();
        for id in overdue {
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let due = entry.due;
            if entry.last_start.is_some() {
                entry.grid = align(entry.grid, entry.interval, now);
                entry.fast = align(entry.fast, entry.fast_interval.unwrap_or(entry.interval), now);
            }
            entry.due = entry.next();
            self.queue.remove(&(due, id));
            self.queue.insert((entry.due, id));
        }
    }

    /// The next target that is due. It is `Ready` until [`Schedule::start`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(ProbeId, Turn)> {
        let &(due, id) = self.queue.first()?;
        if due > now {
            return None;
        }
        self.queue.pop_first();
        let entry = self.entries.get_mut(&id)?;
        entry.state = State::Ready;
        Some((id, entry.turn()))
    }

    /// When to wake next.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        self.announced = self.queue.first().map(|&(due, _)| due);
        self.announced
    }

    /// Begins the probe of a target that is ready; `None` when it is not (any more). `chance`: −1000 to 1000, the part of the
    /// jitter to take for the next turn.
    pub(crate) fn start(&mut self, id: ProbeId, now: Instant, chance: i32) -> Option<Start> {
        let entry = self.entries.get_mut(&id)?;
        if entry.state != State::Ready {
            return None;
        }
        let turn = entry.turn();
        entry.state = State::Running(turn);
        let first = entry.last_start.replace(now).is_none();
        // The soonest that a turn of the grid may follow another probe.
        let soonest = now + entry.interval / 10;
        match turn {
            Turn::Burst => {
                if let Some(burst) = &mut entry.burst {
                    burst.left -= 1;
                    burst.next = now + BURST_GAP;
                }
            }
            Turn::Asked | Turn::Regular => entry.asked = false,
        }
        if first {
            entry.grid = align(entry.grid, entry.interval, soonest);
        } else if turn == Turn::Regular && entry.effective() == Cadence::Normal {
            entry.grid = entry.grid.max(entry.due) + jittered(entry.interval, entry.jitter_permille, chance);
            if entry.grid <= now {
                entry.grid = align(entry.grid, entry.interval, soonest);
            }
        }
        let fast = entry.fast_interval.unwrap_or(entry.interval);
        entry.fast = now + jittered(fast, entry.jitter_permille, chance);
        Some(Start { turn, late: now.saturating_duration_since(entry.due) })
    }

    /// A probe ended; the next turn is set.
    pub(crate) fn finish(&mut self, id: ProbeId, now: Instant, passed: bool) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let State::Running(turn) = entry.state else {
            return;
        };
        if let (Turn::Burst, Some(burst)) = (turn, &mut entry.burst) {
            burst.note(passed);
            if burst.left == 0 {
                entry.burst = None;
            }
        }
        entry.state = State::Waiting;
        entry.due = entry.next().max(now);
        self.queue.insert((entry.due, id));
    }

    /// Changes the cadence: `Fast` is one fast interval after the last start, `Normal` the next turn of the target's own grid.
    pub(crate) fn cadence(&mut self, id: ProbeId, now: Instant, cadence: Cadence) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.cadence == cadence {
            return;
        }
        entry.cadence = cadence;
        if let (Cadence::Normal, Some(last)) = (cadence, entry.last_start) {
            // Not simply last start plus interval: after a failure of many, all of them would keep step for good.
            entry.grid = align(entry.grid, entry.interval, now.max(last + entry.interval / 10));
        }
        self.reschedule(id, now);
    }

    /// Makes the target due now, or as soon as its running probe ends.
    pub(crate) fn ask(&mut self, id: ProbeId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        entry.asked = true;
        self.reschedule(id, now);
    }

    /// Makes the target due now and `fall` times in all, [`BURST_GAP`] apart. When a backend still answers the first of them
    /// while it dies, the burst goes on until `fall` failures in a row are seen, twice `fall` probes at most.
    pub(crate) fn burst(&mut self, id: ProbeId, now: Instant, fall: u32) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let fall = fall.max(1);
        entry.burst = Some(Burst { next: now, left: fall, fall, failures: 0, spare: fall });
        self.reschedule(id, now);
    }

    fn reschedule(&mut self, id: ProbeId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        // The first probe is at once anyway, and runs as such.
        if entry.state != State::Waiting || entry.last_start.is_none() {
            return;
        }
        self.queue.remove(&(entry.due, id));
        entry.due = entry.next().max(now);
        self.queue.insert((entry.due, id));
    }
}

impl Entry {
    fn effective(&self) -> Cadence {
        if self.fast_interval.is_some() { self.cadence } else { Cadence::Normal }
    }

    fn turn(&self) -> Turn {
        match &self.burst {
            Some(_) => Turn::Burst,
            None if self.asked && self.last_start.is_some() => Turn::Asked,
            None => Turn::Regular,
        }
    }

    /// The next turn; may lie in the past.
    fn next(&self) -> Instant {
        let Some(last) = self.last_start else {
            return self.due;
        };
        match &self.burst {
            Some(burst) => burst.next,
            None if self.asked => last,
            None if self.effective() == Cadence::Fast => self.fast,
            None => self.grid,
        }
    }
}

impl Burst {
    fn note(&mut self, passed: bool) {
        if passed {
            self.failures = 0;
            return;
        }
        self.failures += 1;
        while self.failures + self.left < self.fall && self.spare > 0 {
            self.left += 1;
            self.spare -= 1;
        }
    }
}

/// The first point of the grid through `point` that is not before `from`.
fn align(point: Instant, interval: Duration, from: Instant) -> Instant {
    let step = nanos(interval);
    if point >= from {
        let whole = nanos(point - from) / step;
        return point - Duration::from_nanos(whole * step);
    }
    let behind = nanos(from - point);
    point + Duration::from_nanos(behind.div_ceil(step) * step)
}

fn jittered(interval: Duration, permille: u16, chance: i32) -> Duration {
    let steps = i64::from(permille) * i64::from(chance.clamp(-1000, 1000)) * STEPS as i64 / 1_000_000;
    let spread = nanos(step(interval)) as i64 * steps;
    Duration::from_nanos((nanos(interval) as i64 + spread).max(1) as u64)
}

/// The shortest time between two turns that do not begin together.
fn step(interval: Duration) -> Duration {
    Duration::from_nanos((nanos(interval) / STEPS).max(1))
}

fn nanos(duration: Duration) -> u64 {
    (duration.as_nanos() as u64).max(1)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
