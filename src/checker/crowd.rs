//! Keeps the checker from overrunning its own processors. Pure: time is an argument.
//!
//! When thousands of probes start together, each waits for a processor while its timeout runs, and live backends look
//! silent; the first result decides alone, so they would go down for it. Hence: of the doubtful probes (first ones above
//! all) only so many may be *young*, that is unfinished and begun within the last 250 ms. Live backends finish young and make
//! room at once, silent ones grow old and make room too. As long as the driver itself is woken late, which only a want of
//! processor time explains, that holds for every probe: they then start late rather than fail wrongly. Backends that are merely
//! slow delay nobody by it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::slots::Share;

/// Most young probes of each share. Even at a millisecond of processor each, they are through well within usual timeouts.
const LIMIT: usize = 512;
/// Older than this is old.
const YOUTH: Duration = Duration::from_millis(250);
/// Woken later than this: processors are short …
const LAG: Duration = Duration::from_millis(50);
/// … and for so long after, that is assumed to last.
const LAG_LASTS: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// In order of their start, and of their numbers, which follow each other. Finished ones stay in until they would be old.
    begun: VecDeque<Begun>,
    young: [usize; 2],
    lagging_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    number: u64,
    share: Share,
    finished: bool,
}

impl Crowd {
    /// The driver meant to wake at `meant`.
    pub(super) fn woken(&mut self, meant: Instant, now: Instant) {
        if now.saturating_duration_since(meant) > LAG {
            self.lagging_until = Some(now + LAG_LASTS);
        }
    }

    pub(super) fn begin(&mut self, number: u64, share: Share, now: Instant) {
        self.begun.push_back(Begun { at: now, number, share, finished: false });
        self.young[share as usize] += 1;
    }

    pub(super) fn end(&mut self, number: u64, share: Share) {
        // What is older than the oldest here is not young any more.
        let place = self.begun.front().and_then(|oldest| number.checked_sub(oldest.number));
        if let Some(one) = place.and_then(|place| self.begun.get_mut(place as usize))
            && !std::mem::replace(&mut one.finished, true)
        {
            self.young[share as usize] -= 1;
        }
    }

    /// Lets probes grow old.
    pub(super) fn age(&mut self, now: Instant) {
        while let Some(&Begun { at, share, finished, .. }) = self.begun.front()
            && at + YOUTH <= now
        {
            self.begun.pop_front();
            if !finished {
                self.young[share as usize] -= 1;
            }
        }
    }

    /// Whether doubtful probes may start.
    pub(super) fn admits_doubtful(&self) -> bool {
        self.young[Share::Doubtful as usize] < LIMIT
    }

    /// Whether any probe may start.
    pub(super) fn admits_any(&self, now: Instant) -> bool {
        self.lagging_until.is_none_or(|until| now >= until) || self.young.iter().sum::<usize>() < LIMIT
    }

    /// When the next grows old, if that may let others start.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let full = !self.admits_doubtful() || !self.admits_any(now);
        self.begun.front().filter(|_| full).map(|oldest| oldest.at + YOUTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_doubtful_probes_are_limited_and_make_room_by_ending_or_ageing() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        (0..LIMIT as u64).for_each(|n| crowd.begin(n, Share::Doubtful, now));
        assert!(!crowd.admits_doubtful() && crowd.admits_any(now));
        crowd.end(7, Share::Doubtful);
        assert!(crowd.admits_doubtful());
        crowd.begin(LIMIT as u64, Share::Doubtful, now + YOUTH / 2);
        assert!(!crowd.admits_doubtful());
        assert_eq!(crowd.next_change(now), Some(now + YOUTH));
        crowd.age(now + YOUTH);
        assert!(crowd.admits_doubtful());
        crowd.end(8, Share::Doubtful);
        assert_eq!(crowd.young, [0, 1], "an old one that ends is not counted twice");
    }

    #[test]
    fn prompt_probes_are_limited_only_while_processors_are_short() {
        let now = Instant::now();
        let mut crowd = Crowd::default();
        (0..2 * LIMIT as u64).for_each(|n| crowd.begin(n, Share::Prompt, now));
        assert!(crowd.admits_any(now) && crowd.admits_doubtful());
        crowd.woken(now, now + LAG * 2);
        assert!(!crowd.admits_any(now + LAG * 2));
        assert!(crowd.admits_any(now + LAG * 2 + LAG_LASTS));
    }
}
