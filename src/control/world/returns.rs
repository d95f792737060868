//! Slow start: who comes back to a pool, since when, and the weight that it has meanwhile.
//!
//! A backend that returns is cold: empty caches, connections still to be made. Its weight grows as Envoy has it,
//! w x max(10 %, t / window). It is answered by weight even where the policy heeds none.

use std::time::{Duration, SystemTime};

use super::super::Now;
use super::{FAMILIES, Family, World, families_of};
use crate::config::plan::{AdminState, BackendPlan, PolicyKind, PoolPlan};
use crate::engine::policy::{Candidate, Selection};
use crate::engine::weight;

/// Least part of its weight, in percent (Envoy's `min_weight_percent`).
const LEAST_PERCENT: u32 = 10;

/// How one backend stands in one family of its pool.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    /// Whether it counted as up when last looked at; `None` while that was not known.
    up: Option<bool>,
    /// When it came back, while that matters.
    began: Option<Began>,
}

/// The beginning of a slow start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began {
    /// For people, and to be kept over a restart.
    pub(crate) at: SystemTime,
    noticed: Duration,
    /// Its age when it was noticed: what passed before a restart.
    before: Duration,
}

impl Began {
    fn now(now: Now) -> Began {
        Began { at: now.wall, noticed: now.mono, before: Duration::ZERO }
    }

    /// One that began before this process did.
    pub(crate) fn earlier(at: SystemTime, now: Now) -> Began {
        Began { at, noticed: now.mono, before: now.wall.duration_since(at).unwrap_or_default() }
    }

    fn percent(&self, window: Duration, now: Now) -> u32 {
        let age = self.before + now.mono.saturating_sub(self.noticed);
        let percent = age.as_millis().saturating_mul(100) / window.as_millis().max(1);
        u32::try_from(percent).unwrap_or(100).clamp(LEAST_PERCENT, 100)
    }
}

impl Standing {
    /// A machine that joins a pool which answers already: it is as cold as one that returns.
    pub(crate) fn joining() -> Standing {
        Standing { up: Some(false), began: None }
    }

    pub(crate) fn restored(began: Began) -> Standing {
        Standing { up: None, began: Some(began) }
    }

    pub(crate) fn began(&self) -> Option<&Began> {
        self.began.as_ref()
    }
}

impl Family {
    /// Takes in who is up now: who is so again begins slowly, unless nobody else of its tier is up to carry the load.
    fn note_returns(&mut self, candidates: &[Candidate], known: impl Fn(usize) -> bool, window: Duration, now: Now) {
        let up_now = |backend: usize| candidates.iter().any(|one| one.backend == backend && one.up);
        let before: Vec<Option<bool>> = self.standings.iter().map(|standing| standing.up).collect();
        let carried = |tier: u16, but: usize| {
            candidates
                .iter()
                .any(|one| one.up && one.tier == tier && one.backend != but && before[one.backend] == Some(true))
        };
        for (backend, standing) in self.standings.iter_mut().enumerate() {
            if !known(backend) {
                continue;
            }
            let up = up_now(backend);
            let tier = candidates.iter().find(|one| one.backend == backend).map_or(0, |one| one.tier);
            let returns = up && before[backend] == Some(false) && carried(tier, backend);
            standing.up = Some(up);
            standing.began = match standing.began {
                _ if !up => None,
                _ if returns => Some(Began::now(now)),
                Some(began) if began.percent(window, now) >= 100 => None,
                began => began,
            };
        }
    }

    /// The part of its weight that a backend has now, percent.
    pub(crate) fn percent(&self, backend: usize, pool: &PoolPlan, now: Now) -> u32 {
        let began = self.standings.get(backend).and_then(Standing::began);
        match (began, pool.slow_start) {
            (Some(began), Some(window)) => began.percent(window, now),
            _ => 100,
        }
    }

    /// The policy by which the members are ordered: while one of them starts slowly, by weight.
    pub(crate) fn policy(&self, policy: PolicyKind) -> PolicyKind {
        match policy {
            PolicyKind::RoundRobin | PolicyKind::Random if self.starting > 0 => PolicyKind::Weighted,
            policy => policy,
        }
    }

    /// Most addresses in an answer: were there room for all, one that starts slowly would be in each.
    pub(crate) fn most_answers(&self, answers: u16) -> u16 {
        let Selection::Answer { members, .. } = &self.selection else { return answers };
        match members.len() - self.starting.min(members.len()) {
            warm if warm > 0 && self.starting > 0 => answers.min(u16::try_from(warm).unwrap_or(u16::MAX)),
            _ => answers,
        }
    }
}

impl World {
    /// Gives those that start slowly their part of the weight.
    pub(super) fn start_slowly(&mut self, number: usize, slot: usize, candidates: &mut [Candidate]) {
        let plan = self.plan.clone();
        let pool = &plan.pools[number];
        let Some(window) = pool.slow_start else { return };
        let known: Vec<bool> = pool.backends.iter().map(|backend| self.is_known(pool, backend, slot)).collect();
        let family = &mut self.pools[number].families[slot];
        family.standings.resize(pool.backends.len(), Standing::default());
        family.note_returns(candidates, |backend| known[backend], window, self.now);
        let now = self.now;
        let percents: Vec<u32> = candidates.iter().map(|one| family.percent(one.backend, pool, now)).collect();
        scale(candidates, &percents, matches!(pool.policy, PolicyKind::RoundRobin | PolicyKind::Random));
    }

    /// Counts the members that are starting, once it is decided who they are.
    pub(super) fn count_starting(&mut self, number: usize, slot: usize) {
        let pool = &self.plan.pools[number];
        let family = &self.pools[number].families[slot];
        let starting = match &family.selection {
            Selection::Answer { members, .. } => {
                members.iter().filter(|&&(backend, _)| family.percent(backend, pool, self.now) < 100).count()
            }
            _ => 0,
        };
        self.pools[number].families[slot].starting = starting;
    }

    /// Pools in which somebody starts slowly: their weights are other ones each second.
    pub(super) fn starting_pools(&self) -> Vec<usize> {
        let starts = |family: &Family| family.standings.iter().any(|standing| standing.began.is_some());
        let slow = self.plan.pools.iter().enumerate().filter(|(_, pool)| pool.slow_start.is_some());
        slow.filter(|&(number, _)| self.pools[number].families.iter().any(starts)).map(|(number, _)| number).collect()
    }

    fn is_known(&self, pool: &PoolPlan, backend: &BackendPlan, slot: usize) -> bool {
        let families = if pool.together { &FAMILIES } else { families_of(slot) };
        let mut has = families.iter().filter(|&&rtype| backend.cname.is_some() || backend.address(rtype).is_some());
        self.state_of(pool, backend).0 != AdminState::Auto || has.all(|&rtype| self.verdict(backend, rtype).is_some())
    }
}

/// Weights times each one's percent; `even`: a weight says only whether it is zero.
fn scale(candidates: &mut [Candidate], percents: &[u32], even: bool) {
    if percents.iter().all(|&percent| percent >= 100) {
        return;
    }
    let weight = |one: &Candidate| if even { one.weight.min(1) } else { one.weight };
    let parts: Vec<(u16, u8)> =
        candidates.iter().zip(percents).map(|(one, &percent)| (weight(one), percent.min(100) as u8)).collect();
    candidates.iter_mut().zip(weight::percent(&parts)).for_each(|(one, weight)| one.weight = weight);
}

/// What tells one machine of a pool from another, over reloads that rename it: where it is, in the families of a slot.
pub(super) fn machine(backend: &BackendPlan, slot: usize) -> Option<String> {
    let address = families_of(slot).iter().find_map(|&rtype| backend.address(rtype)).map(|one| one.to_string());
    let place = address.or_else(|| backend.cname.as_ref().map(ToString::to_string))?;
    Some(backend.port.map_or(place.clone(), |port| format!("{place} port {port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(list: &[u16], percents: &[u32], even: bool) -> Vec<u16> {
        let candidate = |(backend, &weight): (usize, &u16)| Candidate { backend, tier: 0, weight, up: true };
        let mut candidates: Vec<Candidate> = list.iter().enumerate().map(candidate).collect();
        scale(&mut candidates, percents, even);
        candidates.iter().map(|one| one.weight).collect()
    }

    #[test]
    fn weights_are_scaled_and_zero_stays_zero() {
        assert_eq!(weights(&[3, 1, 0], &[100, 100, 100], false), [3, 1, 0]);
        assert_eq!(weights(&[3, 1, 0], &[100, 10, 10], false), [300, 10, 0]);
        assert_eq!(weights(&[3, 7, 0], &[100, 40, 100], true), [100, 40, 0]);
        assert_eq!(weights(&[65535, 1, 65535], &[100, 100, 10], false), [65535, 1, 6554]);
    }

    #[test]
    fn the_weight_grows_from_a_tenth_to_the_whole() {
        let now = |seconds| Now {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + seconds),
            mono: Duration::from_secs(seconds),
        };
        let window = Duration::from_secs(60);
        let began = Began::now(now(5));
        let seen = [5, 8, 11, 20, 35, 64, 65, 100].map(|second| began.percent(window, now(second)));
        assert_eq!(seen, [10, 10, 10, 25, 50, 98, 100, 100]);
        // Over a restart, whose monotonic clock begins anew; and when the clock was set back.
        let restored = Began::earlier(SystemTime::UNIX_EPOCH + Duration::from_secs(980), now(10));
        assert_eq!(restored.percent(window, now(10)), 50);
        let ahead = Began::earlier(SystemTime::UNIX_EPOCH + Duration::from_secs(9_999), now(10));
        assert_eq!((ahead.percent(window, now(10)), ahead.percent(window, now(70))), (10, 100));
    }
}
