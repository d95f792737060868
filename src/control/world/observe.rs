//! Verdicts in, selections out: who is up, which members each pool answers with, and what depends on what.

use super::super::Now;
use super::super::probes::Seen;
use super::{Effect, FAMILIES, User, World};
use crate::config::plan::{AdminState, BackendPlan, Initial, PoolPlan, Target};
use crate::engine::feedback::Mode;
use crate::engine::health::Verdict;
use crate::engine::policy::{Because, Candidate, OnAllDown, Selection, select};
use crate::engine::probe::{Outcome, ProbeId};
use crate::engine::rrtype::{A, AAAA, SRV};

impl World {
    /// Takes one result in. Publish afterwards.
    pub fn observe(&mut self, id: ProbeId, outcome: &Outcome, now: Now) -> Effect {
        self.now = now;
        let before = self.probes.get(id).and_then(|probe| probe.verdict());
        let Some(seen) = self.probes.observe(id, outcome, now) else { return Effect::default() };
        self.figures.result(id, outcome, now.wall);
        let mut effect = Effect { cadence: Some(seen.observed.cadence), ..Effect::default() };
        if before.is_none() {
            effect.decided.push(id);
        }
        self.doubt_result(id, outcome, before, &seen, now, &mut effect);
        self.take_in(id, outcome, before, &seen, now, &mut effect);
        self.note(&effect.transitions);
        effect
    }

    /// Lets the checker doubt itself: what brings a target down is held where it does.
    fn doubt_result(
        &mut self,
        id: ProbeId,
        outcome: &Outcome,
        before: Option<Verdict>,
        seen: &Seen,
        now: Now,
        effect: &mut Effect,
    ) {
        let falls = seen.observed.transition.is_some_and(|(_, verdict)| verdict == Verdict::Down);
        let doubts = self.doubt.result(id, outcome.passed, before == Some(Verdict::Up), falls, now);
        let frozen = self.doubt.freezes(id);
        if !outcome.passed && !frozen {
            // One that was held, and passed since, fails again after the doubt.
            self.probes.set_held(id, false);
        }
        if falls && before == Some(Verdict::Up) && frozen {
            self.probes.set_held(id, true);
            self.users.get(&id).cloned().unwrap_or_default().iter().for_each(|user| self.touch(user.pool));
        }
        self.doubt_changed(doubts, now, effect);
    }

    fn take_in(
        &mut self,
        id: ProbeId,
        outcome: &Outcome,
        before: Option<Verdict>,
        seen: &Seen,
        now: Now,
        effect: &mut Effect,
    ) {
        if let Some(said) = &seen.said_before {
            self.said(id, said, now, effect);
        }
        if self.probes.get(id).and_then(|probe| probe.verdict()) != before {
            self.verdict_moved(id, before, &outcome.reason, seen.took, now, effect);
        } else if seen.observed.counters_moved || seen.first {
            self.touch_adapting(id);
        }
    }

    /// Brings a calculated probe up to date.
    pub(super) fn calculate(&mut self, id: ProbeId, now: Now, effect: &mut Effect) {
        let before = self.probes.get(id).and_then(|probe| probe.verdict());
        let Some(outcome) = self.probes.calculate(id) else { return };
        let Some(seen) = self.probes.observe(id, &outcome, now) else { return };
        effect.decided.push(id);
        self.take_in(id, &outcome, before, &seen, now, effect);
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
                _ => self.probes.get(id).and_then(|probe| probe.verdict()),
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
                all.filter(|&one| elsewhere || backend.address(one).is_some())
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
                    if rtype == SRV && !pool.together { verdicts.any(|up| up) } else { verdicts.all(|up| up) }
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
            let (mut candidates, has_family) = self.candidates(pool, rtype);
            self.start_slowly(number, slot, &mut candidates);
            let family = &mut self.pools[number].families[slot];
            let last = family.last.as_deref();
            let selection = select(&candidates, has_family, pool.min_healthy, pool.on_all_down, last);
            if let Selection::Answer { members, because: Because::Healthy, .. } = &selection {
                family.last = Some(members.iter().map(|member| member.0).collect());
            }
            family.candidates = candidates;
            family.has_family = has_family;
            family.selection = selection;
            self.count_starting(number, slot);
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
