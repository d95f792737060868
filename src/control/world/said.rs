//! What backends say of themselves, and what it does: who is left out, and the weights.

use super::super::{Now, zone_text};
use super::{Effect, FAMILIES, Transition, World, backend_id, families_of, slot_of, verdict_word};
use crate::config::plan::{AdminState, BackendPlan, PoolPlan, TtlRule};
use crate::engine::feedback::{Load, Mode, Said};
use crate::engine::load::{self, Balance, Member, SCALE};
use crate::engine::policy::{Candidate, Selection};
use crate::engine::probe::{ProbeId, ProbeKind};
use crate::engine::rrtype::SRV;
use crate::engine::weight;

impl World {
    /// What one address says of itself: all that its checks heard, the least of each.
    pub(crate) fn said_by(&self, backend: &BackendPlan, rtype: u16) -> Said {
        self.said_with(backend, rtype, None)
    }

    fn said_with(&self, backend: &BackendPlan, rtype: u16, instead: Option<(ProbeId, &Said)>) -> Said {
        let mut all = Said::default();
        // Of a host as a whole (SRV), what either address says.
        for probe_use in families_of(slot_of(rtype)).iter().flat_map(|&family| backend.probes(family)) {
            let id = self.ids[probe_use.probe];
            let said = match instead {
                Some((other, said)) if other == id => Some(said),
                _ => self.probes.get(id).map(|probe| &probe.said),
            };
            let Some(said) = said else { continue };
            if all.mode() == Mode::Ready {
                all.mode = said.mode.or(all.mode);
                all.note.clone_from(&said.note);
            }
            all.percent = [all.percent, said.percent].into_iter().flatten().min();
            let times = |one: u64, two: u64| u128::from(one) * u128::from(two);
            let fuller = |one: Load, two: Load| times(one.used, two.capacity) >= times(two.used, one.capacity);
            all.load = match (all.load, said.load) {
                (Some(one), Some(two)) => Some(if fuller(one, two) { one } else { two }),
                (one, two) => one.or(two),
            };
        }
        all
    }

    /// Whether the backend wants to be answered.
    pub(crate) fn mode(&self, backend: &BackendPlan, rtype: u16) -> Mode {
        let uses = families_of(slot_of(rtype)).iter().flat_map(|&family| backend.probes(family));
        let mut modes = uses.filter_map(|one| Some(self.probes.get(self.ids[one.probe])?.said.mode()));
        modes.find(|&mode| mode != Mode::Ready).unwrap_or(Mode::Ready)
    }

    /// A probe heard something else of its backend than before.
    pub(super) fn said(&mut self, id: ProbeId, before: &Said, now: Now, effect: &mut Effect) {
        let plan = self.plan.clone();
        for user in self.users.get(&id).cloned().unwrap_or_default() {
            let pool = &plan.pools[user.pool];
            let backend = &pool.backends[user.backend];
            let rtype = FAMILIES[user.family];
            let was = self.said_with(backend, rtype, Some((id, before)));
            let is = self.said_by(backend, rtype);
            if was.mode() != is.mode() {
                let verdict = verdict_word(self.verdict(backend, rtype));
                effect.transitions.push(Transition {
                    at: now.wall,
                    id: self.backend_ids[user.pool][user.backend].clone(),
                    address: backend.address(rtype),
                    from: mode_word(was.mode()).unwrap_or(verdict).into(),
                    to: mode_word(is.mode()).unwrap_or(verdict).into(),
                    reason: if is.note.is_empty() { "by its own word".into() } else { is.note.as_str().into() },
                    took: None,
                });
            }
            if was.mode() != is.mode() || was.percent != is.percent {
                self.touch(user.pool);
            }
            if pool.least_load && was.load != is.load {
                self.rebalance(user.pool, user.family, now);
            }
        }
    }

    /// Moves the weights of a `least-load` pool towards the free capacity; publishes them when that is worth it.
    fn rebalance(&mut self, number: usize, family: usize, now: Now) {
        let plan = self.plan.clone();
        let pool = &plan.pools[number];
        let rtype = FAMILIES[family];
        // Those that answer: how full a standby is says nothing of them.
        let state = &self.pools[number].families[family];
        let Selection::Answer { members, .. } = &state.selection else { return };
        // Nor of one that starts slowly, which is idle because it is given little.
        let warm = |backend: &usize| state.percent(*backend, pool, now) >= 100;
        let up: Vec<usize> = members.iter().map(|member| member.0).filter(warm).collect();
        let said: Vec<Said> =
            up.iter().map(|&backend| self.said_by(&pool.backends[backend], heard_in(pool, rtype))).collect();
        let members: Vec<Member<'_>> =
            up.iter().zip(&said).map(|(&backend, said)| member(&pool.backends[backend], said, said.load)).collect();
        let ttl = match pool.ttl {
            TtlRule::Fixed(ttl) => ttl,
            TtlRule::Adaptive { max, .. } => max,
        };
        let delay = std::time::Duration::from_secs(ttl.into()) + self.interval(pool, rtype);
        let key = (zone_text(&pool.zone), pool.name.clone(), families_of(slot_of(heard_in(pool, rtype)))[0]);
        self.balances.entry(key).or_default().step(&members, now.mono, delay);
        let weights = |candidates: &[Candidate]| candidates.iter().map(|one| one.weight).collect::<Vec<u16>>();
        let in_force = weights(&self.pools[number].families[family].candidates);
        let (new, _) = self.candidates(pool, rtype);
        if load::worth_it(&in_force, &weights(&new)) {
            self.touch(number);
        }
    }

    /// The longest interval at which a backend of the pool is heard.
    fn interval(&self, pool: &PoolPlan, rtype: u16) -> std::time::Duration {
        let uses = pool.backends.iter().flat_map(|backend| backend.probes(rtype));
        let heard = uses.map(|one| &self.plan.probes[one.probe]).filter(|spec| match &spec.kind {
            ProbeKind::Http(http) => http.feedback.0,
            ProbeKind::Agent(agent) => agent.feedback,
            ProbeKind::File(_) | ProbeKind::Push(_) => true,
            _ => false,
        });
        heard.map(|spec| spec.timing.interval).max().unwrap_or_default()
    }

    /// Gives candidates the weights that they have now: as configured, times what each asks for in percent, and for
    /// `least-load` by free capacity.
    pub(super) fn weigh(&self, pool: &PoolPlan, rtype: u16, candidates: &mut [Candidate]) {
        let rtype = heard_in(pool, rtype);
        if !candidates.iter().any(|one| self.says_how_much(&pool.backends[one.backend], rtype)) {
            return;
        }
        let said: Vec<Said> = candidates.iter().map(|one| self.said_by(&pool.backends[one.backend], rtype)).collect();
        let new = if pool.least_load && said.iter().any(|said| said.load.is_some()) {
            let none = Balance::default();
            let key = |&family: &u16| (zone_text(&pool.zone), pool.name.clone(), family);
            let balance = families_of(slot_of(rtype)).iter().find_map(|family| self.balances.get(&key(family)));
            let members: Vec<Member<'_>> = candidates
                .iter()
                .zip(&said)
                .map(|(one, said)| member(&pool.backends[one.backend], said, said.load))
                .collect();
            weight::whole(&balance.unwrap_or(&none).weights(&members), SCALE)
        } else if said.iter().any(|said| said.percent.is_some()) {
            let parts: Vec<(u16, u8)> =
                candidates.iter().zip(&said).map(|(one, said)| (one.weight, said.percent.unwrap_or(100))).collect();
            weight::percent(&parts)
        } else {
            return;
        };
        candidates.iter_mut().zip(new).for_each(|(one, weight)| one.weight = weight);
    }

    /// Whether one of the backend's checks heard what a weight follows.
    fn says_how_much(&self, backend: &BackendPlan, rtype: u16) -> bool {
        let mut uses = families_of(slot_of(rtype)).iter().flat_map(|&family| backend.probes(family));
        let said = |id| self.probes.get(id).map(|probe| &probe.said);
        uses.any(|one| said(self.ids[one.probe]).is_some_and(|said| said.percent.is_some() || said.load.is_some()))
    }

    /// The probes by which a backend of that id sends heartbeats, all or those of one check.
    pub(crate) fn pushed_probes(&self, id: &str, check: Option<&str>) -> Vec<ProbeId> {
        let mut found = Vec::new();
        for pool in &self.plan.pools {
            for backend in pool.backends.iter().filter(|backend| backend_id(pool, backend) == id) {
                for probe_use in FAMILIES.iter().flat_map(|&rtype| backend.probes(rtype)) {
                    let pushed = self.plan.probes[probe_use.probe].is_pushed();
                    let named = check.is_none_or(|check| check == probe_use.check);
                    let probe = self.ids[probe_use.probe];
                    if pushed && named && !found.contains(&probe) {
                        found.push(probe);
                    }
                }
            }
        }
        found
    }

    /// Whether an id means a backend.
    pub(crate) fn has_backend(&self, id: &str) -> bool {
        self.plan.pools.iter().any(|pool| pool.backends.iter().any(|backend| backend_id(pool, backend) == id))
    }

    /// Balances of pools and backends that are gone.
    pub(super) fn forget_balances(&mut self) {
        let plan = self.plan.clone();
        self.balances.retain(|(zone, pool, _), balance| {
            let kept =
                plan.pools.iter().find(|one| one.least_load && one.name == *pool && zone_text(&one.zone) == *zone);
            if let Some(kept) = kept {
                balance.retain(|name| kept.backends.iter().any(|backend| backend.name == name));
            }
            kept.is_some()
        });
    }

    /// `draining (says the backend)`, for one that an operator has not decided about.
    pub(crate) fn said_state(&self, pool: &PoolPlan, backend: &BackendPlan) -> Option<&'static str> {
        if self.state_of(pool, backend).0 != AdminState::Auto {
            return None;
        }
        FAMILIES.into_iter().find_map(|rtype| mode_word(self.mode(backend, rtype)))
    }
}

/// Of families that answer together what either address says counts for both: else they would name other hosts.
fn heard_in(pool: &PoolPlan, rtype: u16) -> u16 {
    if pool.together { SRV } else { rtype }
}

fn member<'p>(backend: &'p BackendPlan, said: &Said, load: Option<Load>) -> Member<'p> {
    let percent = f64::from(said.percent.unwrap_or(100)) / 100.0;
    Member { name: &backend.name, weight: f64::from(backend.weight) * percent, load }
}

/// As `status` and `explain` say it; `None` for `Ready`.
pub(crate) fn mode_word(mode: Mode) -> Option<&'static str> {
    match mode {
        Mode::Ready => None,
        Mode::Drain => Some("draining (says the backend)"),
        Mode::Maintenance => Some("in maintenance (says the backend)"),
    }
}
