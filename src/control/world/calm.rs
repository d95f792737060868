//! How long an answer may be trusted: gdnsd's arithmetic says when a verdict can change at the soonest; how often verdicts
//! did change says how soon one will.
//!
//! A set that changed t seconds ago is believed for t seconds, for t / n once a backend of it changed n times within ten
//! minutes. So the TTL is short while anything flaps, and grows back as calm lasts.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::Now;
use super::{HOST, World};
use crate::config::plan::TtlRule;

/// Changes older than this are forgotten.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Changes kept for each pool and family; more than that is flapping however it is counted.
const MOST: usize = 64;

/// When verdicts of one family of a pool changed lately, and whose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(VecDeque<(Duration, usize)>);

impl Changes {
    pub(crate) fn note(&mut self, backend: usize, now: Now) {
        self.0.push_back((now.mono, backend));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// The longest TTL that the latest changes allow, seconds; `u32::MAX` when there were none.
    pub(crate) fn ceiling(&self, now: Now) -> u32 {
        let recent = || self.0.iter().filter(|(at, _)| at.saturating_add(REMEMBERED) > now.mono);
        let Some(&(last, _)) = recent().next_back() else { return u32::MAX };
        let of = |backend: usize| recent().filter(|(_, other)| *other == backend).count();
        let flaps = recent().map(|&(_, backend)| of(backend)).max().unwrap_or(1);
        u32::try_from(now.mono.saturating_sub(last).as_secs() / flaps as u64).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The machines' numbers after a reload; `None` for those that are gone.
    pub(crate) fn renumbered(&self, number: impl Fn(usize) -> Option<usize>) -> Changes {
        Changes(self.0.iter().filter_map(|&(at, backend)| Some((at, number(backend)?))).collect())
    }
}

impl World {
    /// Pools whose TTLs grow back: prepared anew each second until they have.
    pub(super) fn tick_calm(&mut self, now: Now) {
        let longest = self.longest_ttl();
        for number in self.uneasy.clone() {
            let ceiling = self.pools[number].families.iter().map(|family| family.changes.ceiling(now)).min();
            if ceiling.is_none_or(|ceiling| ceiling > longest) {
                self.uneasy.remove(&number);
            }
            self.touch(number);
        }
    }

    pub(super) fn note_change(&mut self, pool: usize, family: usize, backend: usize) {
        let adapts = |rule: TtlRule| matches!(rule, TtlRule::Adaptive { .. });
        for slot in [family, HOST] {
            self.pools[pool].families[slot].changes.note(backend, self.now);
        }
        if self.view_plans_adapt(pool) || adapts(self.plan.pools[pool].ttl) {
            self.uneasy.insert(pool);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { wall: SystemTime::UNIX_EPOCH, mono: Duration::from_secs(seconds) }
    }

    #[test]
    fn an_answer_is_believed_as_long_as_it_has_held_and_less_where_it_flaps() {
        let mut changes = Changes::default();
        assert_eq!(changes.ceiling(at(0)), u32::MAX);
        changes.note(0, at(100));
        assert_eq!([100, 101, 160].map(|now| changes.ceiling(at(now))), [0, 1, 60]);
        // Others that change at the same time are one failure, not a flapping.
        changes.note(1, at(101));
        changes.note(2, at(102));
        assert_eq!(changes.ceiling(at(162)), 60);
        changes.note(0, at(170));
        changes.note(0, at(180));
        assert_eq!(changes.ceiling(at(240)), 20);
        assert_eq!(changes.ceiling(at(780)), u32::MAX);
    }
}
