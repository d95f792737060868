//! Who gets a slot: a pure queue with a limit and a sense of fairness.
//!
//! A silent target holds its slot until its deadline, a live one for a moment. So those that are *doubtful* (never probed,
//! or silent the last time) share at most half of the slots, and wait for each other; the *prompt* ones have the other half
//! for themselves and never stand behind them. When both wait and there is room, they take turns.

use std::collections::VecDeque;

use crate::engine::probe::ProbeId;

#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    prompt: VecDeque<ProbeId>,
    doubtful: VecDeque<ProbeId>,
    in_flight: usize,
    doubtful_in_flight: usize,
    watches: usize,
    doubtful_turn: bool,
}

/// Which share a target draws on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Prompt,
    Doubtful,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Slots {
        Slots {
            limit: limit.max(2),
            prompt: VecDeque::new(),
            doubtful: VecDeque::new(),
            in_flight: 0,
            doubtful_in_flight: 0,
            watches: 0,
            doubtful_turn: false,
        }
    }

    /// Lets a target wait for a slot; an urgent one (its watch broke) stands first.
    pub(super) fn wait(&mut self, id: ProbeId, share: Share, urgent: bool) {
        let queue = match share {
            Share::Prompt => &mut self.prompt,
            Share::Doubtful => &mut self.doubtful,
        };
        if urgent { queue.push_front(id) } else { queue.push_back(id) }
    }

    /// The next that may start; doubtful ones only if `doubtful`. Taken slots are marked by [`Slots::take`].
    pub(super) fn next(&mut self, doubtful: bool) -> Option<(ProbeId, Share)> {
        if self.in_flight + self.watches >= self.limit {
            return None;
        }
        let doubtful_may = doubtful && self.doubtful_in_flight < self.limit.saturating_sub(self.watches).div_ceil(2);
        let doubtful_first = doubtful_may && (self.doubtful_turn || self.prompt.is_empty());
        if doubtful_first && let Some(id) = self.doubtful.pop_front() {
            self.doubtful_turn = false;
            return Some((id, Share::Doubtful));
        }
        self.doubtful_turn = true;
        self.prompt.pop_front().map(|id| (id, Share::Prompt))
    }

    pub(super) fn take(&mut self, share: Share) {
        self.in_flight += 1;
        self.doubtful_in_flight += usize::from(share == Share::Doubtful);
    }

    pub(super) fn release(&mut self, share: Share) {
        self.in_flight -= 1;
        self.doubtful_in_flight -= usize::from(share == Share::Doubtful);
    }

    /// Takes a descriptor for a watch, if they have any left: half of all.
    pub(super) fn take_watch(&mut self) -> bool {
        let free = self.watches < self.limit / 2;
        self.watches += usize::from(free);
        free
    }

    pub(super) fn release_watch(&mut self) {
        self.watches -= 1;
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn watches(&self) -> usize {
        self.watches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubtful_targets_never_take_more_than_half() {
        let mut slots = Slots::new(10);
        (0..100).for_each(|n| slots.wait(ProbeId(n), Share::Doubtful, false));
        let mut taken = 0;
        while let Some((_, share)) = slots.next(true) {
            slots.take(share);
            taken += 1;
        }
        assert_eq!(taken, 5);
        slots.wait(ProbeId(1000), Share::Prompt, false);
        assert_eq!(slots.next(true), Some((ProbeId(1000), Share::Prompt)), "the other half stays open");
    }

    #[test]
    fn doubtful_targets_get_their_turn_among_prompt_ones() {
        let mut slots = Slots::new(100);
        (0..10).for_each(|n| slots.wait(ProbeId(n), Share::Prompt, false));
        (100..110).for_each(|n| slots.wait(ProbeId(n), Share::Doubtful, false));
        let first: Vec<u32> = std::iter::from_fn(|| slots.next(true)).take(4).map(|(id, _)| id.0).collect();
        assert_eq!(first, [0, 100, 1, 101]);
    }

    #[test]
    fn watches_take_at_most_half_of_the_descriptors() {
        let mut slots = Slots::new(6);
        assert_eq!((0..10).filter(|_| slots.take_watch()).count(), 3);
        (0..10).for_each(|n| slots.wait(ProbeId(n), Share::Prompt, false));
        let mut taken = 0;
        while let Some((_, share)) = slots.next(true) {
            slots.take(share);
            taken += 1;
        }
        assert_eq!(taken, 3);
    }
}
