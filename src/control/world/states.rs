//! What operators say of backends, and what `status` remembers of changes.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::super::overrides::{Override, Overrides, backend_key, glob};
use super::super::view::{OverrideChange, What};
use super::super::{Now, zone_text};
use super::{Effect, FAMILIES, Transition, World, backend_id, state_word, verdict_word};
use crate::config::plan::{AdminState, BackendPlan, PoolPlan};
use crate::engine::health::Verdict;
use crate::engine::probe::ProbeId;

impl World {
    /// Overrides all backends that `pattern` (`zone/pool/backend`, each part a glob) names; returns their ids.
    pub fn set_state(&mut self, pattern: &str, entry: &Override, now: Now) -> Result<Vec<String>, String> {
        let aimed = self.aimed_at(pattern)?;
        Ok(self.override_all(&aimed, entry, now))
    }

    /// The backends that a pattern names, by the numbers of pool and backend.
    pub(crate) fn aimed_at(&self, pattern: &str) -> Result<Vec<(usize, usize)>, String> {
        let parts: Vec<&str> = pattern.split('/').collect();
        let &[zone, pool, backend] = parts.as_slice() else {
            return Err(format!("\"{pattern}\" is not zone/pool/backend (each part may hold * and ?)"));
        };
        let zone = zone.strip_suffix('.').unwrap_or(zone);
        let of_pool = |candidate: &PoolPlan| glob(zone, &zone_text(&candidate.zone)) && glob(pool, &candidate.name);
        let aimed = self.backends_where(of_pool, |_, one| glob(backend, &one.name));
        if aimed.is_empty() { Err(format!("no backend matches \"{pattern}\"")) } else { Ok(aimed) }
    }

    /// The one backend of that id.
    pub(crate) fn aimed_at_one(&self, id: &str) -> Result<Vec<(usize, usize)>, String> {
        let aimed = self.backends_where(|_| true, |pool, one| backend_id(pool, one) == id);
        if aimed.is_empty() { Err(format!("no backend is \"{id}\"")) } else { Ok(aimed) }
    }

    fn backends_where(
        &self,
        of_pool: impl Fn(&PoolPlan) -> bool,
        of_backend: impl Fn(&PoolPlan, &BackendPlan) -> bool,
    ) -> Vec<(usize, usize)> {
        let pools = self.plan.pools.iter().enumerate().filter(|(_, pool)| of_pool(pool));
        let of_each = pools.flat_map(|(number, pool)| {
            let backends = pool.backends.iter().enumerate().filter(|(_, one)| of_backend(pool, one));
            backends.map(move |(at, _)| (number, at)).collect::<Vec<_>>()
        });
        of_each.collect()
    }

    /// All overrides as they would be with these.
    pub(crate) fn overrides_with(&self, aimed: &[(usize, usize)], entry: &Override) -> Overrides {
        let mut overrides = self.overrides.clone();
        for &(number, at) in aimed {
            let pool = &self.plan.pools[number];
            overrides.set(backend_key(pool, &pool.backends[at]), entry.clone());
        }
        overrides
    }

    /// Puts an override of these in force, and notes what it changes; returns their ids.
    pub(crate) fn override_all(&mut self, aimed: &[(usize, usize)], entry: &Override, now: Now) -> Vec<String> {
        self.now = now;
        let plan = self.plan.clone();
        let mut ids = Vec::new();
        for &(number, at) in aimed {
            let (pool, one) = (&plan.pools[number], &plan.pools[number].backends[at]);
            let from = state_word(self.state_of(pool, one).0);
            self.overrides.set(backend_key(pool, one), entry.clone());
            let to = state_word(self.state_of(pool, one).0);
            let reason = entry.reason.as_deref().unwrap_or("by command");
            self.note_state(pool, one, from, to, reason, now);
            ids.push(backend_id(pool, one));
            self.touch(number);
        }
        self.index_windowed();
        ids.sort();
        ids
    }

    /// The ids of the backends that the patterns name: `zone/pool/backend`, each part a glob, or the backend's part alone.
    pub(crate) fn backends_named(&self, patterns: &[&str]) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        for pattern in patterns {
            let parts: Vec<&str> = pattern.split('/').collect();
            let (zone, pool, backend) = match parts.as_slice() {
                [backend] => ("*", "*", *backend),
                [zone, pool, backend] => (zone.strip_suffix('.').unwrap_or(zone), *pool, *backend),
                _ => return Err(format!("\"{pattern}\" is not zone/pool/backend, nor a backend's name")),
            };
            let before = found.len();
            let of_pool = |candidate: &PoolPlan| glob(zone, &zone_text(&candidate.zone)) && glob(pool, &candidate.name);
            let named = self.backends_where(of_pool, |_, one| glob(backend, &one.name)).into_iter();
            let pools = &self.plan.pools;
            found.extend(named.map(|(number, at)| backend_id(&pools[number], &pools[number].backends[at])));
            if found.len() == before {
                return Err(format!("no backend matches \"{pattern}\""));
            }
        }
        Ok(found)
    }

    /// What the operator should know after overriding `backends`: pools in which nobody may be answered any more.
    pub(crate) fn pools_without_candidates(&self, backends: &[String]) -> Vec<String> {
        let mut warnings = Vec::new();
        for (pool, state) in self.plan.pools.iter().zip(&self.pools) {
            let concerned = pool.backends.iter().any(|one| backends.contains(&backend_id(pool, one)));
            let empty = state.families.iter().any(|family| family.has_family && family.candidates.is_empty());
            if concerned && empty {
                let zone = zone_text(&pool.zone);
                warnings.push(format!("pool {zone}/{} has no backend left that may be answered", pool.name));
            }
        }
        warnings
    }

    /// Ends overrides whose time has come, and moves the clock on; returns the ids.
    pub fn tick(&mut self, now: Now) -> Vec<String> {
        self.now = now;
        self.clock.store(now.unix(), Ordering::Relaxed);
        self.turn_schedules(now);
        let gone = self.overrides.expire(now.wall);
        let plan = self.plan.clone();
        for key in &gone {
            let ended = OverrideChange {
                backend: format!("{}/{}/{}", key.0, key.1, key.2),
                state: AdminState::Auto,
                until: None,
                reason: Some("the override ended".to_owned()),
                by: None,
            };
            self.say(now.wall, What::Override(ended));
            for (number, pool) in plan.pools.iter().enumerate() {
                for backend in pool.backends.iter().filter(|backend| backend_key(pool, backend) == *key) {
                    let to = state_word(self.state_of(pool, backend).0);
                    self.note_state(pool, backend, "overridden", to, "the override ended", now);
                    self.touch(number);
                }
            }
        }
        self.tick_maintenance(now);
        self.tick_calm(now);
        self.starting_pools().into_iter().for_each(|pool| self.touch(pool));
        let doubts = self.doubt.tick(now);
        let mut effect = Effect::default();
        self.doubt_changed(doubts, now, &mut effect);
        self.note(&effect.transitions);
        self.first_failures.extend(effect.transitions);
        self.note_drained(now);
        self.tallies.settle(&self.snapshot.draws, now.mono);
        self.tell();
        gone.into_iter().map(|(zone, pool, backend)| format!("{zone}/{pool}/{backend}")).collect()
    }

    /// State in force and whether a command set it.
    pub(crate) fn state_of(&self, pool: &PoolPlan, backend: &BackendPlan) -> (AdminState, Option<&Override>) {
        match self.override_of(pool, backend) {
            Some(entry) => (entry.state, Some(entry)),
            None if self.is_in_maintenance(pool, backend) => (AdminState::Drain, None),
            None => (backend.state, None),
        }
    }

    /// Addresses whose first verdict, reached while the plan was waited for, is down.
    pub(super) fn note_first_failures(&mut self, known: &HashSet<ProbeId>, now: Now) {
        let plan = self.plan.clone();
        let mut transitions = Vec::new();
        for (number, pool) in plan.pools.iter().enumerate() {
            for (at, backend) in pool.backends.iter().enumerate() {
                for rtype in FAMILIES {
                    let down = backend.probes(rtype).iter().find_map(|probe_use| {
                        let id = self.ids[probe_use.probe];
                        let probe = self.probes.get(id).filter(|_| !known.contains(&id))?;
                        (probe.tracker.verdict() == Some(Verdict::Down)).then_some(probe)
                    });
                    if let Some(probe) = down {
                        transitions.push(Transition {
                            at: probe.since.unwrap_or(now.wall),
                            id: self.backend_ids[number][at].clone(),
                            address: backend.address(rtype),
                            from: verdict_word(None).into(),
                            to: verdict_word(Some(Verdict::Down)).into(),
                            reason: probe.reason.as_str().into(),
                            took: None,
                        });
                    }
                }
            }
        }
        self.note(&transitions);
        self.first_failures.extend(transitions);
    }

    /// What [`World::install`] and [`World::tick`] brought to light; each is told once.
    pub fn take_first_failures(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.first_failures)
    }

    pub(super) fn note_state(
        &mut self,
        pool: &PoolPlan,
        backend: &BackendPlan,
        from: &'static str,
        to: &'static str,
        reason: &str,
        now: Now,
    ) {
        if from != to {
            self.note(&[Transition {
                at: now.wall,
                id: backend_id(pool, backend).into(),
                address: None,
                from: from.into(),
                to: to.into(),
                reason: reason.into(),
                took: None,
            }]);
        }
    }
}
