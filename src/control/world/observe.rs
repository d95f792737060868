//! Verdicts in, selections out: who is up, which members each pool answers with, and what depends on what.

use super::super::Now;
use super::super::probes::Seen;
use super::{Effect, FAMILIES, Transition, User, World, backend_id, verdict_word};
use crate::config::plan::{AdminState, BackendPlan, Initial, PoolPlan, Target};
use crate::engine::feedback::Mode;
use crate::engine::health::Verdict;
use crate::engine::policy::{Because, Candidate, OnAllDown, Selection, select};
use crate::engine::probe::{Outcome, ProbeId};
use crate::engine::rrtype::{A, AAAA, SRV};

impl World {
    /// Takes one result in. Publish afterwards.
    pub fn observe(&mut self, id: ProbeId, outcome: &Outcome, now: Now) -> Effect {
        let Some(seen) = self.probes.observe(id, outcome, now) else { return Effect::default() };
        let mut effect = Effect { cadence: Some(seen.observed.cadence), decided: vec![id], ..Effect::default() };
        self.take_in(id, outcome, &seen, now, &mut effect);
        self.note(&effect.transitions);
        effect
    }

    fn take_in(&mut self, id: ProbeId, outcome: &Outcome, seen: &Seen, now: Now, effect: &mut Effect) {
        if let Some(before) = &seen.said_before {
            self.said(id, before, now, effect);
        }
        if !seen.observed.counters_moved {
            return;
        }
        let Some((from, _)) = seen.observed.transition else {
            return self.touch_adapting(id);
        };
        let plan = self.plan.clone();
        for user in self.users.get(&id).cloned().unwrap_or_default() {
            let pool = &plan.pools[user.pool];
            let backend = &pool.backends[user.backend];
            let rtype = FAMILIES[user.family];
            let before = self.combined(backend, rtype, Some((id, from)));
            let after = self.combined(backend, rtype, None);
            if before != after {
                effect.transitions.push(Transition {
                    at: now.wall,
                    id: backend_id(pool, backend),
                    address: backend.address(rtype),
                    from: verdict_word(before).to_owned(),
                    to: verdict_word(after).to_owned(),
                    reason: outcome.reason.clone(),
                    took: seen.took,
                });
            }
            self.touch(user.pool);
        }
        for counting in self.probes.counting(id).to_vec() {
            self.calculate(counting, now, effect);
        }
    }

    /// Brings a calculated probe up to date.
    pub(super) fn calculate(&mut self, id: ProbeId, now: Now, effect: &mut Effect) {
        let Some(outcome) = self.probes.calculate(id) else { return };
        let Some(seen) = self.probes.observe(id, &outcome, now) else { return };
        effect.decided.push(id);
        self.take_in(id, &outcome, &seen, now, effect);
    }

    /// Pools whose TTL follows the counters of this probe, or of one that counts it.
    fn touch_adapting(&mut self, id: ProbeId) {
        for user in self.users.get(&id).cloned().unwrap_or_default() {
            if self.view_plans_adapt(user.pool) {
                self.touch(user.pool);
            }
        }
        for counting in self.probes.counting(id).to_vec() {
            self.touch_adapting(counting);
        }
    }

    pub(super) fn combined(
        &self,
        backend: &BackendPlan,
        rtype: u16,
        instead: Option<(ProbeId, Option<Verdict>)>,
    ) -> Option<Verdict> {
        let mut unknown = false;
        for probe_use in backend.probes(rtype) {
            let id = self.ids[probe_use.probe];
            let verdict = match instead {
                Some((other, verdict)) if other == id => verdict,
                _ => self.probes.get(id).and_then(|probe| probe.tracker.verdict()),
            };
            match verdict {
                Some(Verdict::Down) => return Some(Verdict::Down),
                None => unknown = true,
                Some(Verdict::Up) => {}
            }
        }
        if unknown { None } else { Some(Verdict::Up) }
    }

    /// The verdict of one address: the worst of its probes; up without any.
    pub(crate) fn verdict(&self, backend: &BackendPlan, rtype: u16) -> Option<Verdict> {
        self.combined(backend, rtype, None)
    }

    pub(super) fn candidates(&self, pool: &PoolPlan, rtype: u16) -> (Vec<Candidate>, bool) {
        let mut has_family = false;
        let mut candidates = Vec::new();
        for (number, backend) in pool.backends.iter().enumerate() {
            // A backend elsewhere has whatever is asked for.
            let elsewhere = backend.cname.is_some();
            if rtype != SRV && backend.address(rtype).is_none() && !elsewhere {
                continue;
            }
            has_family = true;
            // Of families that answer together, both must be up; of a host as a whole, one will do.
            let families = || {
                let all = FAMILIES.into_iter().filter(|&one| one == rtype || pool.together || rtype == SRV);
                all.filter(|&one| backend.address(one).is_some())
            };
            let up = match self.state_of(pool, backend).0 {
                AdminState::Drain | AdminState::Down => continue,
                AdminState::Up => true,
                // Its own word, as an operator's: no longer answered, and no failure.
                AdminState::Auto if families().any(|one| self.mode(backend, one) != Mode::Ready) => continue,
                AdminState::Auto => {
                    let counts_as_up = |verdict| match verdict {
                        Some(verdict) => verdict == Verdict::Up,
                        None => pool.initial != Initial::Down,
                    };
                    let mut verdicts = families().map(|one| counts_as_up(self.verdict(backend, one)));
                    if rtype == SRV && !pool.together {
                        elsewhere || verdicts.any(|up| up)
                    } else {
                        verdicts.all(|up| up)
                    }
                }
            };
            candidates.push(Candidate { backend: number, tier: backend.tier, weight: backend.weight, up });
        }
        self.weigh(pool, rtype, &mut candidates);
        (candidates, has_family)
    }

    pub(super) fn select_pool(&mut self, number: usize) {
        let plan = self.plan.clone();
        let pool = &plan.pools[number];
        for (slot, rtype) in [A, AAAA, SRV].into_iter().enumerate() {
            let (candidates, has_family) = self.candidates(pool, rtype);
            let family = &mut self.pools[number].families[slot];
            let last = family.last.as_deref();
            let selection = select(&candidates, has_family, pool.min_healthy, pool.on_all_down, last);
            if let Selection::Answer { members, because: Because::Healthy, .. } = &selection {
                family.last = Some(members.iter().map(|member| member.0).collect());
            }
            family.candidates = candidates;
            family.has_family = has_family;
            family.selection = selection;
        }
    }

    /// Marks a pool, and those that answer from it when all of theirs are down.
    pub(super) fn touch(&mut self, pool: usize) {
        if self.dirty.insert(pool) {
            for diverter in self.diverters[pool].clone() {
                self.touch(diverter);
            }
        }
    }

    /// Whether a TTL follows the pool's counters: one of its own names, or of a pool that answers from it by `{ to }`.
    pub(super) fn view_plans_adapt(&self, pool: usize) -> bool {
        self.views_of_pool[pool].iter().any(|&view| self.views.plans[view as usize].adapts(&self.plan))
            || self.diverters[pool].iter().any(|&diverter| self.view_plans_adapt(diverter))
    }

    pub(super) fn index_users(&mut self) {
        let plan = &self.plan;
        self.users.clear();
        self.diverters = vec![Vec::new(); plan.pools.len()];
        for (number, pool) in plan.pools.iter().enumerate() {
            if let OnAllDown::To(Target::Pool(other)) = pool.on_all_down {
                self.diverters[other].push(number);
            }
            for (at, backend) in pool.backends.iter().enumerate() {
                for (family, rtype) in FAMILIES.into_iter().enumerate() {
                    for probe_use in backend.probes(rtype) {
                        let user = User { pool: number, backend: at, family };
                        self.users.entry(self.ids[probe_use.probe]).or_default().push(user);
                    }
                }
            }
        }
    }
}
