//! The world as control knows it: plan, verdicts, overrides; and the snapshot that follows from them. Plain values in,
//! plain values out: no socket, no file, and the time is passed in. [`super`] runs it; tests run it in virtual time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::memory::{Saved, SavedAnswer, SavedSerial, SavedVerdict};
use super::names::{DrawSlots, ViewPlan, pool_ttl, prepare_view, view_plans};
pub use super::overrides::Override;
use super::overrides::{BackendKey, Overrides, glob};
use super::probes::{Probes, Seen, Start};
use super::{Now, zone_text};
use crate::config::plan::{AdminState, BackendPlan, Initial, Plan, PoolPlan, SerialPlan, ZonePlan};
use crate::engine::chaos;
use crate::engine::cookie::Secrets;
use crate::engine::draw::Draws;
use crate::engine::health::Verdict;
use crate::engine::policy::{Because, Candidate, OnAllDown, Selection, select};
use crate::engine::probe::{Cadence, Outcome, ProbeId, ProbeSpec};
use crate::engine::rrtype::{A, AAAA, SOA};
use crate::engine::snapshot::{Apexes, Chunked, NameSlot, Options, Snapshot, Zone};
use crate::engine::soa::SoaTemplate;
use crate::engine::view::View;
use crate::engine::zone::{SetData, ZoneData, records};

/// Transitions kept for `status`.
const REMEMBERED_TRANSITIONS: usize = 100;
/// A kept verdict is used at once while its latest result is younger than that many intervals.
const KEPT_INTERVALS: u32 = 10;

/// Both families, in the order of [`PoolState::families`].
pub(crate) const FAMILIES: [u16; 2] = [A, AAAA];

/// Everything that decides what is answered.
pub struct World {
    pub(crate) plan: Arc<Plan>,
    /// Probe numbers by their index in the plan.
    pub(crate) ids: Vec<ProbeId>,
    pub(crate) probes: Probes,
    pub(crate) overrides: Overrides,
    pub(crate) pools: Vec<PoolState>,
    pub(crate) view_plans: Vec<ViewPlan>,
    pub(crate) transitions: VecDeque<Transition>,
    pub(crate) snapshot: Arc<Snapshot>,
    users: HashMap<ProbeId, Vec<User>>,
    diverters: Vec<Vec<usize>>,
    views_of_pool: Vec<Vec<u32>>,
    zone_of_pool: Vec<usize>,
    dirty: BTreeSet<usize>,
    first_failures: Vec<Transition>,
    slots: DrawSlots,
    kept: Kept,
    random_secret: [u8; 16],
    clock: Arc<AtomicU32>,
}

/// What one pool answers now.
#[derive(Debug, Clone)]
pub(crate) struct PoolState {
    pub(crate) families: [Family; 2],
}

/// One address family of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) has_family: bool,
    pub(crate) selection: Selection,
    /// The last set answered while healthy.
    pub(crate) last: Option<Vec<usize>>,
}

/// Who depends on a probe.
#[derive(Debug, Clone, Copy)]
struct User {
    pool: usize,
    backend: usize,
    family: usize,
}

/// What came from the state directory and was not yet used.
#[derive(Debug, Default)]
struct Kept {
    verdicts: HashMap<String, SavedVerdict>,
    serials: HashMap<String, u32>,
    answered: HashMap<(String, String, u16), Vec<String>>,
}

/// A plan whose probes have numbers, not yet in force.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    ids: Vec<ProbeId>,
    /// Probes that did not exist before.
    pub added: Vec<(ProbeId, Arc<ProbeSpec>)>,
    /// Those whose first verdict is waited for.
    pub waiting: HashSet<ProbeId>,
}

/// One change of one address's verdict, for log, status and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// When.
    pub at: std::time::SystemTime,
    /// `zone/pool/backend`.
    pub id: String,
    /// The address; `None` for a change of the whole backend's state.
    pub address: Option<IpAddr>,
    /// `up`, `down`, `unknown`, or a state.
    pub from: String,
    /// As above.
    pub to: String,
    /// Why.
    pub reason: String,
    /// From the first contrary result to the verdict.
    pub took: Option<Duration>,
}

/// What an observation did.
#[derive(Debug, Default)]
pub struct Effect {
    /// Verdicts of addresses that changed.
    pub transitions: Vec<Transition>,
    /// How often the target wants to be probed now.
    pub cadence: Option<Cadence>,
    /// The probe has a verdict now.
    pub decided: bool,
}

impl World {
    /// A world without zones, with what the state directory kept.
    pub fn new(saved: &Saved, random_secret: [u8; 16], now: Now) -> World {
        let kept = Kept {
            verdicts: saved.verdicts.iter().map(|one| (one.probe.clone(), one.clone())).collect(),
            serials: saved.serials.iter().map(|one| (one.zone.clone(), one.serial)).collect(),
            answered: saved
                .answered
                .iter()
                .map(|one| ((one.zone.clone(), one.pool.clone(), one.rtype), one.backends.clone()))
                .collect(),
        };
        let clock = Arc::new(AtomicU32::new(now.unix()));
        World {
            plan: Arc::new(Plan::empty()),
            ids: Vec::new(),
            probes: Probes::default(),
            overrides: Overrides::restore(&saved.overrides, now.wall),
            pools: Vec::new(),
            view_plans: Vec::new(),
            transitions: VecDeque::new(),
            snapshot: Arc::new(Snapshot { clock: clock.clone(), ..Snapshot::default() }),
            users: HashMap::new(),
            diverters: Vec::new(),
            views_of_pool: Vec::new(),
            zone_of_pool: Vec::new(),
            dirty: BTreeSet::new(),
            first_failures: Vec::new(),
            slots: DrawSlots::default(),
            kept,
            random_secret,
            clock,
        }
    }

    /// Gives the plan's probes their numbers. The present plan goes on answering; `install` puts the new one in force.
    pub fn prepare(&mut self, plan: Plan, now: Now) -> Prepared {
        let mut held = self.verdicts_by_use();
        let mut starts: HashMap<usize, Start> = HashMap::new();
        let mut awaited: HashSet<usize> = HashSet::new();
        for pool in &plan.pools {
            for backend in &pool.backends {
                for rtype in FAMILIES {
                    for probe_use in backend.probes(rtype) {
                        let key = use_key(pool, backend, rtype, &probe_use.check);
                        let spec = &plan.probes[probe_use.probe];
                        if let Some(start) = held.take(&key, spec, backend.probes(rtype).len()) {
                            starts.entry(probe_use.probe).or_insert(start);
                        }
                        if pool.initial == Initial::Wait && self.state_of(pool, backend).0 == AdminState::Auto {
                            awaited.insert(probe_use.probe);
                        }
                    }
                }
            }
        }
        let mut added = Vec::new();
        let mut waiting = HashSet::new();
        let mut ids = Vec::with_capacity(plan.probes.len());
        let present: HashSet<ProbeId> = self.ids.iter().copied().collect();
        for (index, spec) in plan.probes.iter().enumerate() {
            let kept = &mut self.kept.verdicts;
            let start = || {
                starts.remove(&index).unwrap_or_else(|| {
                    let young = |last| {
                        now.wall.duration_since(last).unwrap_or_default() < spec.timing.interval * KEPT_INTERVALS
                    };
                    match if kept.is_empty() { None } else { kept.remove(&spec.fingerprint()) } {
                        Some(one) if young(one.last) => {
                            let verdict = if one.up { Verdict::Up } else { Verdict::Down };
                            Start::Restored(verdict, one.since, one.last, one.reason)
                        }
                        _ => Start::Unknown,
                    }
                })
            };
            let (id, new) = self.probes.register(spec, start);
            ids.push(id);
            if new {
                added.push((id, spec.clone()));
            }
            // A probe that an overtaken plan brought is registered but was never part of an answer: it is waited for still.
            let undecided = self.probes.get(id).is_some_and(|probe| probe.tracker.verdict().is_none());
            if undecided && !present.contains(&id) && awaited.contains(&index) {
                waiting.insert(id);
            }
        }
        Prepared { plan, ids, added, waiting }
    }

    /// Puts a prepared plan in force and publishes it; returns the probes that nobody needs any more.
    pub fn install(&mut self, prepared: Prepared, now: Now) -> Vec<ProbeId> {
        let Prepared { plan, ids, .. } = prepared;
        self.remember_answered();
        self.remember_serials();
        let before = std::mem::replace(&mut self.plan, Arc::new(plan));
        let plan = self.plan.clone();
        let known: HashSet<ProbeId> = std::mem::replace(&mut self.ids, ids).into_iter().collect();
        self.note_first_failures(&known, now);
        self.index_users();
        self.pools = plan.pools.iter().map(|pool| self.first_state(pool)).collect();
        for pool in 0..plan.pools.len() {
            self.select_pool(pool);
        }
        self.dirty.clear();
        let (view_plans, name_views) = view_plans(&plan);
        self.view_plans = view_plans;
        self.views_of_pool = vec![Vec::new(); plan.pools.len()];
        for (number, view) in self.view_plans.iter().enumerate() {
            self.views_of_pool[view.pool].push(number as u32);
        }
        let views: Chunked<Arc<View>> = self.view_plans.iter().map(|view| Arc::new(prepare_view(self, view))).collect();
        let draws_of_names = self.slots.assign(&plan.zones);
        let zones: Chunked<Arc<Zone>> = plan
            .zones
            .iter()
            .enumerate()
            .filter_map(|(number, zone)| {
                let names: Arc<[NameSlot]> = name_views[number]
                    .iter()
                    .zip(&draws_of_names[number])
                    .map(|(&view, &draw)| NameSlot { view, draw })
                    .collect();
                let serial = self.installed_serial(zone, &before, &names, &views, now);
                let soa = soa_template(&zone.data, serial)?;
                Some(Arc::new(Zone { data: zone.data.clone(), names, soa }))
            })
            .collect();
        let apexes = Apexes::new(plan.zones.iter().map(|zone| zone.origin.as_wire()));
        let workers = plan.server.udp_workers + 2;
        let draws: Arc<[Draws]> = (0..workers)
            .map(|worker| {
                let grown = |draws: &Draws| draws.grown(self.slots.len());
                self.snapshot.draws.get(worker).map_or_else(|| grown(&Draws::new(worker as u32)), grown)
            })
            .collect();
        self.snapshot = Arc::new(Snapshot {
            generation: self.snapshot.generation + 1,
            options: Arc::new(self.options(&plan)),
            apexes: Arc::new(apexes),
            zones,
            views,
            draws,
            clock: self.clock.clone(),
        });
        let kept: HashSet<ProbeId> = self.ids.iter().copied().collect();
        self.probes.retain(&kept)
    }

    /// Forgets a prepared plan that was overtaken: probes that neither the present plan nor `next` needs are returned.
    pub fn abandon(&mut self, next: Option<&Prepared>) -> Vec<ProbeId> {
        let kept = self.ids.iter().chain(next.iter().flat_map(|next| &next.ids)).copied().collect();
        self.probes.retain(&kept)
    }

    /// Takes one result in. Publish afterwards.
    pub fn observe(&mut self, id: ProbeId, outcome: &Outcome, now: Now) -> Effect {
        let Some(Seen { observed, took }) = self.probes.observe(id, outcome, now) else { return Effect::default() };
        let mut effect = Effect { cadence: Some(observed.cadence), decided: true, ..Effect::default() };
        if !observed.counters_moved {
            return effect;
        }
        let plan = self.plan.clone();
        for user in self.users.get(&id).cloned().unwrap_or_default() {
            let pool = &plan.pools[user.pool];
            let backend = &pool.backends[user.backend];
            let rtype = FAMILIES[user.family];
            if let Some((from, _)) = observed.transition {
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
                        took,
                    });
                }
                self.touch(user.pool);
            } else if self.view_plans_adapt(user.pool) {
                self.touch(user.pool);
            }
        }
        self.note(&effect.transitions);
        effect
    }

    /// Overrides all backends that `pattern` (`zone/pool/backend`, each part a glob) names; returns their ids.
    pub fn set_state(&mut self, pattern: &str, entry: &Override, now: Now) -> Result<Vec<String>, String> {
        let parts: Vec<&str> = pattern.split('/').collect();
        let &[zone, pool, backend] = parts.as_slice() else {
            return Err(format!("\"{pattern}\" is not zone/pool/backend (each part may hold * and ?)"));
        };
        let zone = zone.strip_suffix('.').unwrap_or(zone);
        let mut matched = Vec::new();
        let plan = self.plan.clone();
        for (number, candidate) in plan.pools.iter().enumerate() {
            if !glob(zone, &zone_text(&candidate.zone)) || !glob(pool, &candidate.name) {
                continue;
            }
            for one in candidate.backends.iter().filter(|one| glob(backend, &one.name)) {
                let from = state_word(self.state_of(candidate, one).0);
                self.overrides.set(backend_key(candidate, one), entry.clone());
                let to = state_word(self.state_of(candidate, one).0);
                let reason = entry.reason.clone().unwrap_or_else(|| "by command".to_owned());
                self.note_state(candidate, one, from, to, reason, now);
                matched.push(backend_id(candidate, one));
                self.touch(number);
            }
        }
        matched.sort();
        if matched.is_empty() { Err(format!("no backend matches \"{pattern}\"")) } else { Ok(matched) }
    }

    /// Takes overrides back that could not be kept.
    pub(crate) fn restore_overrides(&mut self, overrides: Overrides) {
        self.overrides = overrides;
        (0..self.plan.pools.len()).for_each(|pool| self.touch(pool));
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
        self.clock.store(now.unix(), Ordering::Relaxed);
        let gone = self.overrides.expire(now.wall);
        let plan = self.plan.clone();
        for key in &gone {
            for (number, pool) in plan.pools.iter().enumerate() {
                for backend in pool.backends.iter().filter(|backend| backend_key(pool, backend) == *key) {
                    let to = state_word(self.state_of(pool, backend).0);
                    self.note_state(pool, backend, "overridden", to, "the override ended".to_owned(), now);
                    self.touch(number);
                }
            }
        }
        gone.into_iter().map(|(zone, pool, backend)| format!("{zone}/{pool}/{backend}")).collect()
    }

    /// Whether something waits to be published.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Prepares anew what depends on what changed; `Some` when answers or TTLs are different now.
    pub fn publish(&mut self, now: Now) -> Option<Arc<Snapshot>> {
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.is_empty() {
            return None;
        }
        for &pool in &dirty {
            self.select_pool(pool);
        }
        let mut next: Option<Snapshot> = None;
        let mut new_data = BTreeSet::new();
        for &pool in &dirty {
            for &number in &self.views_of_pool[pool] {
                let prepared = prepare_view(self, &self.view_plans[number as usize]);
                let Some(present) = self.snapshot.views.get(number) else { continue };
                if **present == prepared {
                    continue;
                }
                if !present.same_but_ttl(&prepared) {
                    new_data.insert(self.zone_of_pool[pool]);
                }
                next.get_or_insert_with(|| (*self.snapshot).clone()).views.set(number, Arc::new(prepared));
            }
        }
        let mut next = next?;
        for zone in new_data {
            let plan = &self.plan.zones[zone];
            let SerialPlan::Auto { .. } = plan.serial else { continue };
            let Some(present) = next.zones.get(zone as u32).cloned() else { continue };
            let serial = next_serial(present.soa.serial(), now.unix());
            if let Some(soa) = soa_template(&present.data, serial) {
                let changed = Zone { data: present.data.clone(), names: present.names.clone(), soa };
                next.zones.set(zone as u32, Arc::new(changed));
            }
        }
        next.generation += 1;
        self.snapshot = Arc::new(next);
        Some(self.snapshot.clone())
    }

    /// The snapshot in force.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The numbers of the present plan's probes, in its order.
    pub fn probe_ids(&self) -> &[ProbeId] {
        &self.ids
    }

    /// The plan in force.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What is to survive a restart.
    pub fn saved(&self) -> Saved {
        let verdicts = self.probes.iter().filter_map(|(_, probe)| {
            let up = probe.tracker.verdict()? == Verdict::Up;
            let last = probe.last?;
            let reason = probe.reason.clone();
            Some(SavedVerdict { probe: probe.spec.fingerprint(), up, since: probe.since.unwrap_or(last), last, reason })
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
        }
    }

    /// State in force and whether a command set it.
    pub(crate) fn state_of(&self, pool: &PoolPlan, backend: &BackendPlan) -> (AdminState, Option<&Override>) {
        match self.overrides.get(&backend_key(pool, backend)) {
            Some(entry) => (entry.state, Some(entry)),
            None => (backend.state, None),
        }
    }

    /// The verdict of one address: the worst of its probes; up without any.
    pub(crate) fn verdict(&self, backend: &BackendPlan, rtype: u16) -> Option<Verdict> {
        self.combined(backend, rtype, None)
    }

    fn combined(
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

    fn candidates(&self, pool: &PoolPlan, rtype: u16) -> (Vec<Candidate>, bool) {
        let mut has_family = false;
        let mut candidates = Vec::new();
        for (number, backend) in pool.backends.iter().enumerate() {
            if backend.address(rtype).is_none() {
                continue;
            }
            has_family = true;
            let up = match self.state_of(pool, backend).0 {
                AdminState::Drain | AdminState::Down => continue,
                AdminState::Up => true,
                AdminState::Auto => match self.verdict(backend, rtype) {
                    Some(verdict) => verdict == Verdict::Up,
                    None => pool.initial != Initial::Down,
                },
            };
            candidates.push(Candidate { backend: number, tier: backend.tier, weight: backend.weight, up });
        }
        (candidates, has_family)
    }

    fn select_pool(&mut self, number: usize) {
        let plan = self.plan.clone();
        let pool = &plan.pools[number];
        for (slot, rtype) in FAMILIES.into_iter().enumerate() {
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
    fn touch(&mut self, pool: usize) {
        if self.dirty.insert(pool) {
            for diverter in self.diverters[pool].clone() {
                self.touch(diverter);
            }
        }
    }

    /// Whether a TTL follows the pool's counters: one of its own names, or of a pool that answers from it by `{ to }`.
    fn view_plans_adapt(&self, pool: usize) -> bool {
        self.views_of_pool[pool].iter().any(|&view| self.view_plans[view as usize].adapts())
            || self.diverters[pool].iter().any(|&diverter| self.view_plans_adapt(diverter))
    }

    fn index_users(&mut self) {
        let plan = &self.plan;
        self.users.clear();
        self.diverters = vec![Vec::new(); plan.pools.len()];
        let zones: HashMap<&[u8], usize> =
            plan.zones.iter().enumerate().map(|(number, zone)| (zone.origin.as_wire(), number)).collect();
        self.zone_of_pool =
            plan.pools.iter().map(|pool| zones.get(pool.zone.as_wire()).copied().unwrap_or(0)).collect();
        for (number, pool) in plan.pools.iter().enumerate() {
            if let OnAllDown::To(other) = pool.on_all_down {
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

    /// A pool before its first selection: with the last set that was answered under its name.
    fn first_state(&self, pool: &PoolPlan) -> PoolState {
        let family = |rtype: u16| {
            let key = (zone_text(&pool.zone), pool.name.clone(), rtype);
            let last = self.kept.answered.get(&key).map(|names| {
                (0..pool.backends.len()).filter(|&number| names.contains(&pool.backends[number].name)).collect()
            });
            let selection = Selection::Nothing(crate::engine::policy::Nothing::NoCandidate);
            Family { candidates: Vec::new(), has_family: false, selection, last }
        };
        PoolState { families: [family(A), family(AAAA)] }
    }

    /// A zone that goes and comes back later goes on from its last serial.
    fn remember_serials(&mut self) {
        for (plan, zone) in self.plan.zones.iter().zip(self.snapshot.zones.iter()) {
            self.kept.serials.insert(zone_text(&plan.origin), zone.soa.serial());
        }
    }

    fn remember_answered(&mut self) {
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
    fn installed_serial(
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
                    (Some(new), Some(old)) => new.same_but_ttl(old),
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

    fn options(&self, plan: &Plan) -> Options {
        let dns = &plan.server.dns_options;
        let secrets: Box<[[u8; 16]]> = match (dns.cookies, dns.cookie_secrets.as_slice()) {
            (false, _) => Box::default(),
            (true, []) => Box::new([self.random_secret]),
            (true, secrets) => secrets.into(),
        };
        Options {
            max_udp_payload: dns.max_udp_payload,
            nsid: dns.nsid.clone().into(),
            version: chaos::record(&dns.version),
            id: chaos::record(&dns.id),
            cookies: Secrets(secrets),
            rate_limit: dns.rate_limit.clone(),
        }
    }

    /// Addresses whose first verdict, reached while the plan was waited for, is down.
    fn note_first_failures(&mut self, known: &HashSet<ProbeId>, now: Now) {
        let plan = self.plan.clone();
        let mut transitions = Vec::new();
        for pool in &plan.pools {
            for backend in &pool.backends {
                for rtype in FAMILIES {
                    let down = backend.probes(rtype).iter().find_map(|probe_use| {
                        let id = self.ids[probe_use.probe];
                        let probe = self.probes.get(id).filter(|_| !known.contains(&id))?;
                        (probe.tracker.verdict() == Some(Verdict::Down)).then_some(probe)
                    });
                    if let Some(probe) = down {
                        transitions.push(Transition {
                            at: probe.since.unwrap_or(now.wall),
                            id: backend_id(pool, backend),
                            address: backend.address(rtype),
                            from: verdict_word(None).to_owned(),
                            to: verdict_word(Some(Verdict::Down)).to_owned(),
                            reason: probe.reason.clone(),
                            took: None,
                        });
                    }
                }
            }
        }
        self.note(&transitions);
        self.first_failures = transitions;
    }

    /// What the last [`World::install`] brought to light; each is told once.
    pub fn take_first_failures(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.first_failures)
    }

    fn note(&mut self, transitions: &[Transition]) {
        for transition in transitions {
            if self.transitions.len() == REMEMBERED_TRANSITIONS {
                self.transitions.pop_front();
            }
            self.transitions.push_back(transition.clone());
        }
    }

    fn note_state(&mut self, pool: &PoolPlan, backend: &BackendPlan, from: &str, to: &str, reason: String, now: Now) {
        if from != to {
            self.note(&[Transition {
                at: now.wall,
                id: backend_id(pool, backend),
                address: None,
                from: from.to_owned(),
                to: to.to_owned(),
                reason,
                took: None,
            }]);
        }
    }

    /// Verdicts of the present plan by zone, pool, backend, family and check.
    fn verdicts_by_use(&self) -> Held {
        let mut held = Held::default();
        for pool in &self.plan.pools {
            for backend in &pool.backends {
                for rtype in FAMILIES {
                    for probe_use in backend.probes(rtype) {
                        let Some(probe) = self.probes.get(self.ids[probe_use.probe]) else { continue };
                        let Some(verdict) = probe.tracker.verdict() else { continue };
                        let start = Start::Held(verdict, probe.since, probe.reason.clone());
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

    /// TTL in force of a name of that pool without a TTL of its own, seconds.
    pub(crate) fn pool_ttl(&self, pool: usize, family: usize) -> u32 {
        pool_ttl(self, pool, family, self.plan.pools[pool].ttl)
    }
}

type UseKey = (String, String, String, u16, String);

/// Verdicts that a changed check may start from.
#[derive(Default)]
struct Held {
    exact: HashMap<UseKey, (IpAddr, Start)>,
    /// Of addresses with one check: its name may change.
    alone: HashMap<UseKey, (IpAddr, Start)>,
}

impl Held {
    /// The verdict held under that use, for the same address only: another address is another backend.
    fn take(&mut self, key: &UseKey, spec: &ProbeSpec, checks: usize) -> Option<Start> {
        let found = self.exact.get(key).or_else(|| {
            let mut alone = key.clone();
            alone.4.clear();
            if checks == 1 { self.alone.get(&alone) } else { None }
        });
        found.filter(|(address, _)| *address == spec.target.ip()).map(|(_, start)| start.clone())
    }
}

fn use_key(pool: &PoolPlan, backend: &BackendPlan, rtype: u16, check: &str) -> UseKey {
    (zone_text(&pool.zone), pool.name.clone(), backend.name.clone(), rtype, check.to_owned())
}

fn backend_key(pool: &PoolPlan, backend: &BackendPlan) -> BackendKey {
    (zone_text(&pool.zone), pool.name.clone(), backend.name.clone())
}

/// `zone/pool/backend`
pub(crate) fn backend_id(pool: &PoolPlan, backend: &BackendPlan) -> String {
    format!("{}/{}/{}", zone_text(&pool.zone), pool.name, backend.name)
}

/// `up`, `down` or `unknown`.
pub(crate) fn verdict_word(verdict: Option<Verdict>) -> &'static str {
    verdict.map_or("unknown", Verdict::word)
}

/// The state as the file says it.
pub(crate) fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Auto => "auto",
        AdminState::Up => "forced up",
        AdminState::Down => "forced down",
        AdminState::Drain => "drain",
    }
}

/// RFC 1982: Unix seconds, or the last plus one if that is higher.
fn next_serial(last: u32, now: u32) -> u32 {
    let behind = now.wrapping_sub(last) as i32;
    if behind > 0 { now } else { last.wrapping_add(1) }
}

fn soa_template(data: &ZoneData, serial: u32) -> Option<SoaTemplate> {
    let apex = data.find(data.apex().as_wire())?;
    let SetData::Static(octets) = data.data(data.set(apex, SOA)?) else { return None };
    SoaTemplate::new(data.apex(), &records(octets).next()?, serial)
}
