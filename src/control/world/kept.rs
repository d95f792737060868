//! What survives a restart or a reload: verdicts, serials, the last healthy set.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::memory::{Saved, SavedAnswer, SavedSerial, SavedStart, SavedVerdict};
use super::super::probes::Start;
use super::super::{Now, zone_text};
use super::returns::{Began, Standing, machine};
use super::{FAMILIES, Family, PoolState, World};
use crate::config::plan::{BackendPlan, OnAllDown, Plan, PoolPlan, SerialPlan, ZonePlan};
use crate::engine::health::Verdict;
use crate::engine::policy::Selection;
use crate::engine::probe::ProbeSpec;
use crate::engine::rrtype::{A, AAAA, SRV};
use crate::engine::snapshot::{Chunked, NameSlot};
use crate::engine::view::{Prepared, View};

impl World {
    /// What is to survive a restart.
    pub fn saved(&self) -> Saved {
        let verdicts = self.probes.iter().filter_map(|(_, probe)| {
            let up = probe.verdict()? == Verdict::Up;
            let last = probe.last?;
            let reason = probe.reason.clone();
            let said = probe.said.to_string();
            let said = if said.is_empty() { None } else { Some(said) };
            let since = probe.since.unwrap_or(last);
            Some(SavedVerdict { probe: probe.spec.fingerprint(), up, since, last, reason, said })
        });
        let serials = self.plan.zones.iter().zip(self.snapshot.zones.iter());
        let mut answered = Vec::new();
        for (pool, state) in self.plan.pools.iter().zip(&self.pools) {
            for (rtype, family) in FAMILIES.into_iter().zip(&state.families) {
                if let (OnAllDown::Last, Some(last)) = (pool.on_all_down, &family.last) {
                    let backends = last.iter().map(|&backend| pool.backends[backend].name.clone()).collect();
                    answered.push(SavedAnswer {
                        zone: zone_text(&pool.zone),
                        pool: pool.name.clone(),
                        rtype,
                        backends,
                    });
                }
            }
        }
        Saved {
            overrides: self.overrides.saved(),
            verdicts: verdicts.collect(),
            serials: serials
                .map(|(plan, zone)| SavedSerial { zone: zone_text(&plan.origin), serial: zone.soa.serial() })
                .collect(),
            answered,
            starting: self.saved_starting(),
            left: self.saved_clocks(),
            longest_ttl: Some(self.saved_ttl()),
        }
    }

    fn saved_starting(&self) -> Vec<SavedStart> {
        let mut all = Vec::new();
        for (pool, state) in self.plan.pools.iter().zip(&self.pools) {
            for (slot, (rtype, family)) in [A, AAAA, SRV].into_iter().zip(&state.families).enumerate() {
                for (backend, standing) in pool.backends.iter().zip(&family.standings) {
                    let (Some(machine), Some(began)) = (machine(backend, slot), standing.began()) else {
                        continue;
                    };
                    let (zone, pool) = (zone_text(&pool.zone), pool.name.clone());
                    all.push(SavedStart { zone, pool, rtype, machine, since: began.at });
                }
            }
        }
        all
    }

    /// Gives the pools of a new plan what is known of their machines: from the plan before, or at the start from what was
    /// kept. A machine that joins a pool which answered already is as cold as one that returns.
    pub(super) fn carry_over(&mut self, before: &Plan, states: &[PoolState]) {
        let old: HashMap<(&crate::engine::name::Name, &str), (&PoolPlan, &PoolState)> = before
            .pools
            .iter()
            .zip(states)
            .map(|(pool, state)| ((&pool.zone, pool.name.as_str()), (pool, state)))
            .collect();
        let plan = self.plan.clone();
        for (number, pool) in plan.pools.iter().enumerate() {
            let known = old.get(&(&pool.zone, pool.name.as_str()));
            for (slot, rtype) in [A, AAAA, SRV].into_iter().enumerate() {
                let family = &mut self.pools[number].families[slot];
                let Some((old_pool, old_state)) = known else {
                    family.standings = pool
                        .backends
                        .iter()
                        .map(|backend| {
                            let key = (zone_text(&pool.zone), pool.name.clone(), rtype, machine(backend, slot)?);
                            let since = *self.kept.starting.get(&key)?;
                            Some(Standing::restored(Began::earlier(since, self.now)))
                        })
                        .map(Option::unwrap_or_default)
                        .collect();
                    continue;
                };
                let old_family = &old_state.families[slot];
                let place = |backend: &BackendPlan| {
                    let key = machine(backend, slot);
                    old_pool.backends.iter().position(|other| key.is_some() && machine(other, slot) == key)
                };
                let places: Vec<Option<usize>> = pool.backends.iter().map(place).collect();
                family.changes = old_family.changes.renumbered(|at| places.iter().position(|&one| one == Some(at)));
                family.standings = places
                    .into_iter()
                    .map(|place| match place {
                        Some(at) => old_family.standings.get(at).copied().unwrap_or_default(),
                        None => Standing::joining(),
                    })
                    .collect();
            }
        }
        // Uneasy pools have other numbers now; those that are calm leave at the next tick.
        self.uneasy = (0..plan.pools.len())
            .filter(|&pool| self.pools[pool].families.iter().any(|one| !one.changes.is_empty()))
            .collect();
    }

    /// A pool before its first selection: with the last set that was answered under its name.
    pub(super) fn first_state(&self, pool: &PoolPlan) -> PoolState {
        let family = |rtype: u16| {
            let key = (zone_text(&pool.zone), pool.name.clone(), rtype);
            let last = self.kept.answered.get(&key).map(|names| {
                (0..pool.backends.len()).filter(|&number| names.contains(&pool.backends[number].name)).collect()
            });
            let selection = Selection::Nothing(crate::engine::policy::Nothing::NoCandidate);
            Family {
                candidates: Vec::new(),
                has_family: false,
                selection,
                last,
                standings: Vec::new(),
                starting: 0,
                changes: Default::default(),
            }
        };
        PoolState { families: [family(A), family(AAAA), family(SRV)] }
    }

    /// A zone that goes and comes back later goes on from its last serial.
    pub(super) fn remember_serials(&mut self) {
        for (plan, zone) in self.plan.zones.iter().zip(self.snapshot.zones.iter()) {
            self.kept.serials.insert(zone_text(&plan.origin), zone.soa.serial());
        }
    }

    pub(super) fn remember_answered(&mut self) {
        for (pool, state) in self.plan.pools.iter().zip(&self.pools) {
            for (rtype, family) in FAMILIES.into_iter().zip(&state.families) {
                if let Some(last) = &family.last {
                    let names = last.iter().map(|&backend| pool.backends[backend].name.clone()).collect();
                    self.kept.answered.insert((zone_text(&pool.zone), pool.name.clone(), rtype), names);
                }
            }
        }
    }

    /// The serial of a zone at a load: kept while nothing in it changed.
    pub(super) fn installed_serial(
        &self,
        zone: &ZonePlan,
        before: &Plan,
        names: &[NameSlot],
        views: &Chunked<Arc<View>>,
        now: Now,
    ) -> u32 {
        let floor = match zone.serial {
            SerialPlan::Fixed(serial) => return serial,
            SerialPlan::Auto { floor } => floor,
        };
        // The snapshot is still the one before: its zones stand in the order of its plan.
        let present = self
            .snapshot
            .apexes
            .exact(zone.origin.as_wire())
            .and_then(|old| Some((before.zones.get(old as usize)?, self.snapshot.zones.get(old)?)));
        let Some((old_plan, old)) = present else {
            let kept = self.kept.serials.get(&zone_text(&zone.origin)).copied();
            let after_kept = kept.map_or(0, |kept| kept.wrapping_add(1));
            return now.unix().max(after_kept).max(floor);
        };
        let same_views = names.len() == old.names.len()
            && names.iter().zip(old.names.iter()).all(|(new, old)| {
                match (views.get(new.view), self.snapshot.views.get(old.view)) {
                    (Some(new), Some(old)) => match (&new.prepared, &old.prepared) {
                        (Prepared::Route(one), Prepared::Route(two)) => one.same(two, |one, two| {
                            let pair = views.get(one).zip(self.snapshot.views.get(two));
                            pair.is_some_and(|(one, two)| one.same_but_ttl(two))
                        }),
                        _ => new.same_but_ttl(old),
                    },
                    _ => false,
                }
            });
        let same_owners = old_plan.names.len() == zone.names.len()
            && old_plan.names.iter().zip(&zone.names).all(|(a, b)| (&a.owner, a.rtype) == (&b.owner, b.rtype));
        if same_views && same_owners && old.data.same_records(&zone.data) && old.soa.serial() >= floor {
            return old.soa.serial();
        }
        next_serial(old.soa.serial(), now.unix()).max(floor)
    }

    /// Verdicts of the present plan by zone, pool, backend, family and check.
    pub(super) fn verdicts_by_use(&self) -> Held {
        let mut held = Held::default();
        for pool in &self.plan.pools {
            for backend in &pool.backends {
                for rtype in FAMILIES {
                    for probe_use in backend.probes(rtype) {
                        let Some(probe) = self.probes.get(self.ids[probe_use.probe]) else { continue };
                        let Some(verdict) = probe.verdict() else { continue };
                        let start = Start::Held(verdict, probe.since, probe.reason.clone(), probe.said.clone());
                        let entry = (probe.spec.target.ip(), start);
                        if backend.probes(rtype).len() == 1 {
                            held.alone.insert(use_key(pool, backend, rtype, ""), entry.clone());
                        }
                        held.exact.insert(use_key(pool, backend, rtype, &probe_use.check), entry);
                    }
                }
            }
        }
        held
    }
}

type UseKey = (String, String, String, u16, String);

/// Verdicts that a changed check may start from.
#[derive(Default)]
pub(super) struct Held {
    exact: HashMap<UseKey, (IpAddr, Start)>,
    /// Of addresses with one check: its name may change.
    alone: HashMap<UseKey, (IpAddr, Start)>,
}

impl Held {
    /// The verdict held under that use, for the same address only: another address is another backend.
    pub(super) fn take(&mut self, key: &UseKey, spec: &ProbeSpec, checks: usize) -> Option<Start> {
        let found = self.exact.get(key).or_else(|| {
            let mut alone = key.clone();
            alone.4.clear();
            if checks == 1 { self.alone.get(&alone) } else { None }
        });
        found.filter(|(address, _)| *address == spec.target.ip()).map(|(_, start)| start.clone())
    }
}

pub(super) fn use_key(pool: &PoolPlan, backend: &BackendPlan, rtype: u16, check: &str) -> UseKey {
    (zone_text(&pool.zone), pool.name.clone(), backend.name.clone(), rtype, check.to_owned())
}

/// RFC 1982: Unix seconds, or the last plus one if that is higher.
pub(super) fn next_serial(last: u32, now: u32) -> u32 {
    let behind = now.wrapping_sub(last) as i32;
    if behind > 0 { now } else { last.wrapping_add(1) }
}
