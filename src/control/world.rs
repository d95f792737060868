//! The world as control knows it: plan, verdicts, overrides; and the snapshot that follows from them. Plain values in,
//! plain values out: no socket, no file, and the time is passed in. [`super`] runs it; tests run it in virtual time.

mod by_zone;
mod calm;
mod figures;
mod frozen;
mod handover;
mod kept;
mod ledger;
mod maintenance;
mod observe;
mod preview;
mod returns;
mod said;
mod states;
mod tallies;
mod told;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::changes::Changes as ChangeRing;
use super::doubt::Doubt;
use super::graph::{Graphs, has_aliases};
use super::memory::{Saved, SavedVerdict};
use super::names::{DrawSlots, Source, ViewPlan, Views, pool_ttl, prepare_view, view_plans};
pub use super::overrides::Override;
use super::overrides::Overrides;
use super::probes::{Probes, Start};
use super::program::{Health, Level, Tables};
use super::schedules::{Turn, moments, next_turn};
use super::view::PoolChange;
use super::{Now, zone_text};
use crate::config::plan::{AdminState, BackendPlan, Initial, Plan, PoolPlan, SerialPlan, Target};
use crate::engine::chaos;
use crate::engine::cookie::Secrets;
use crate::engine::draw::Draws;
use crate::engine::feedback::Said;
use crate::engine::health::Verdict;
use crate::engine::load::Balance;
use crate::engine::policy::{Candidate, Selection};
use crate::engine::probe::{Cadence, ProbeId, ProbeSpec};
use crate::engine::rrtype::{A, AAAA, SOA};
use crate::engine::snapshot::{Apexes, Chunked, NameSlot, Options, Snapshot, Zone};
use crate::engine::soa::SoaTemplate;
use crate::engine::view::View;
use crate::engine::zone::{SetData, ZoneData, records};
pub(crate) use by_zone::Belongings;
use calm::Changes;
use figures::Figures;
pub(crate) use figures::{CheckFigures, SECONDS, Times, slug};
pub(crate) use frozen::Freeze;
use kept::{next_serial, use_key};
pub use ledger::Clock;
use ledger::Ledger;
use returns::Standing;
pub(crate) use said::mode_word;
pub(crate) use tallies::Answers;
use tallies::Tallies;

/// Transitions kept for `status`.
const REMEMBERED_TRANSITIONS: usize = 100;
/// A kept verdict is used at once while its latest result is younger than that many intervals.
const KEPT_INTERVALS: u32 = 10;

/// A host as a whole, behind both families in [`PoolState::families`]: what SRV, SVCB and HTTPS speak of.
pub(crate) const HOST: usize = 2;

/// Where a type's answers are in [`PoolState::families`].
pub(crate) fn slot_of(rtype: u16) -> usize {
    FAMILIES.iter().position(|&family| family == rtype).unwrap_or(HOST)
}

/// The address families of that slot.
pub(crate) fn families_of(slot: usize) -> &'static [u16] {
    FAMILIES.get(slot..=slot).unwrap_or(&FAMILIES)
}

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
    pub(crate) views: Views,
    /// Of each schedule the order of its choices that the clock says.
    pub(crate) moments: Vec<Vec<usize>>,
    /// Of each schedule, when that is another one.
    turns: Vec<Option<Turn>>,
    pub(crate) transitions: VecDeque<Transition>,
    pub(crate) snapshot: Arc<Snapshot>,
    /// What each zone of the plan has.
    pub(crate) of_zones: Vec<Belongings>,
    users: HashMap<ProbeId, Vec<User>, RandomState>,
    diverters: Vec<Vec<usize>>,
    views_of_pool: Vec<Vec<u32>>,
    /// Programs whose way depends on a pool or route.
    programs_of: HashMap<Target, Vec<u32>>,
    tables: Tables,
    zone_of_view: Vec<usize>,
    dirty: BTreeSet<usize>,
    /// Schedules whose moment has come.
    turned: BTreeSet<usize>,
    first_failures: Vec<Transition>,
    /// The time as last told; what depends on it is prepared by it.
    pub(crate) now: Now,
    pub(crate) doubt: Doubt,
    ledger: Ledger,
    /// Pools with windows of maintenance.
    windowed: Vec<usize>,
    in_maintenance: BTreeSet<(usize, usize)>,
    /// Pools whose TTLs are still short for what changed lately.
    uneasy: BTreeSet<usize>,
    news: Vec<News>,
    /// What changed lately, for those who watch.
    pub(crate) changes: ChangeRing,
    /// What was told of each pool.
    told: Vec<told::Told>,
    untold: told::Untold,
    /// What was told of pools, and the supervisor has not taken yet.
    turned_pools: Vec<PoolChange>,
    /// `zone/pool/backend` of the plan's backends, by pool.
    backend_ids: Vec<Box<[Arc<str>]>>,
    slots: DrawSlots,
    tallies: Tallies,
    /// Tallies that workers have room for.
    tallied: usize,
    pub(crate) figures: Figures,
    /// By zone and pool: weights of `least-load` pools.
    balances: HashMap<(String, String, u16), Balance>,
    kept: Kept,
    random_secret: [u8; 16],
    clock: Arc<AtomicU32>,
}

/// What one pool answers now.
#[derive(Debug, Clone)]
pub(crate) struct PoolState {
    pub(crate) families: [Family; 3],
}

/// One address family of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Family {
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) has_family: bool,
    pub(crate) selection: Selection,
    /// The last set answered while healthy.
    pub(crate) last: Option<Vec<usize>>,
    /// By backend, where the pool starts slowly.
    pub(crate) standings: Vec<Standing>,
    /// Members of the selection that start slowly now.
    pub(crate) starting: usize,
    pub(crate) changes: Changes,
}

/// Something that the log should say once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Somebody should look.
    pub grave: bool,
    /// One sentence.
    pub text: String,
}

impl Family {
    /// Whether that backend, by its index in the pool, may be answered now.
    pub(crate) fn answers(&self, backend: usize) -> bool {
        matches!(&self.selection, Selection::Answer { members, .. } if members.iter().any(|&(member, _)| member == backend))
    }
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
    /// From a server that runs, not from before a restart.
    live: bool,
    verdicts: HashMap<String, SavedVerdict>,
    serials: HashMap<String, u32>,
    answered: HashMap<(String, String, u16), Vec<String>>,
    starting: HashMap<(String, String, u16, String), std::time::SystemTime>,
}

/// A plan whose probes have numbers, not yet in force.
#[derive(Debug)]
pub struct Prepared {
    plan: Arc<Plan>,
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
    pub id: Arc<str>,
    /// The address; `None` for a change of the whole backend's state.
    pub address: Option<IpAddr>,
    /// `up`, `down`, `unknown`, or a state.
    pub from: Cow<'static, str>,
    /// As above.
    pub to: Cow<'static, str>,
    /// Why.
    pub reason: Arc<str>,
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
    /// The probe, where it had no verdict before, and those that count it, which have one now.
    pub decided: Vec<ProbeId>,
}

impl World {
    /// A world without zones, with what the state directory kept.
    pub fn new(saved: &Saved, random_secret: [u8; 16], now: Now) -> World {
        let kept = Kept {
            live: false,
            verdicts: saved.verdicts.iter().map(|one| (one.probe.clone(), one.clone())).collect(),
            serials: saved.serials.iter().map(|one| (one.zone.clone(), one.serial)).collect(),
            answered: saved
                .answered
                .iter()
                .map(|one| ((one.zone.clone(), one.pool.clone(), one.rtype), one.backends.clone()))
                .collect(),
            starting: saved.starting.iter().map(|one| (one.key(), one.since)).collect(),
        };
        let clock = Arc::new(AtomicU32::new(now.unix()));
        World {
            plan: Arc::new(Plan::empty()),
            ids: Vec::new(),
            probes: Probes::default(),
            overrides: Overrides::restore(&saved.overrides, now.wall),
            pools: Vec::new(),
            views: Views::default(),
            moments: Vec::new(),
            turns: Vec::new(),
            transitions: VecDeque::new(),
            snapshot: Arc::new(Snapshot { clock: clock.clone(), ..Snapshot::default() }),
            of_zones: Vec::new(),
            users: HashMap::default(),
            diverters: Vec::new(),
            views_of_pool: Vec::new(),
            programs_of: HashMap::new(),
            tables: Tables::default(),
            zone_of_view: Vec::new(),
            dirty: BTreeSet::new(),
            turned: BTreeSet::new(),
            first_failures: Vec::new(),
            now,
            doubt: Doubt::default(),
            ledger: Ledger::restore(&saved.left, saved.longest_ttl, now),
            windowed: Vec::new(),
            in_maintenance: BTreeSet::new(),
            uneasy: BTreeSet::new(),
            news: Vec::new(),
            changes: ChangeRing::new(now.wall),
            told: Vec::new(),
            untold: told::Untold::default(),
            turned_pools: Vec::new(),
            backend_ids: Vec::new(),
            slots: DrawSlots::default(),
            tallies: Tallies::default(),
            tallied: 0,
            figures: Figures::default(),
            balances: HashMap::new(),
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
                            let said = one.said.as_deref().and_then(Said::read).unwrap_or_default();
                            Start::Restored(verdict, one.since, one.last, one.reason, said)
                        }
                        _ => Start::Unknown,
                    }
                })
            };
            let (id, new) = self.probes.register(spec, start);
            if new && self.kept.live {
                self.probes.believe(id);
            }
            ids.push(id);
            if spec.is_calculated() {
                // What it counts is registered already, and may have a verdict.
                self.calculate(id, now, &mut Effect::default());
            } else if new {
                added.push((id, spec.clone()));
            }
            // A probe that an overtaken plan brought is registered but was never part of an answer: it is waited for still.
            let undecided = self.probes.get(id).is_some_and(|probe| probe.tracker.verdict().is_none());
            if undecided && !present.contains(&id) && awaited.contains(&index) {
                waiting.insert(id);
            }
        }
        self.figures.expect(&plan, &ids);
        Prepared { plan: Arc::new(plan), ids, added, waiting }
    }

    /// Puts a prepared plan in force and publishes it; returns the probes that nobody needs any more, and the plan before, which
    /// is the caller's to free: it may be large.
    pub fn install(&mut self, prepared: Prepared, now: Now) -> (Vec<ProbeId>, Arc<Plan>) {
        let Prepared { plan, ids, .. } = prepared;
        self.now = now;
        // By the numbers of the plan before.
        self.tell();
        self.remember_answered();
        let first = self.snapshot.generation == 0;
        let before_pools = std::mem::take(&mut self.pools);
        self.remember_serials();
        let before = std::mem::replace(&mut self.plan, plan);
        let plan = self.plan.clone();
        let ids_in = |pool: &PoolPlan| pool.backends.iter().map(|one| backend_id(pool, one).into()).collect();
        self.backend_ids = plan.pools.iter().map(ids_in).collect();
        let known: HashSet<ProbeId> = std::mem::replace(&mut self.ids, ids).into_iter().collect();
        self.note_first_failures(&known, now);
        self.of_zones = by_zone::belongings(&plan);
        self.index_users();
        self.forget_balances();
        self.doubt.configure(&plan, &self.ids);
        self.pools = plan.pools.iter().map(|pool| self.first_state(pool)).collect();
        self.carry_over(&before, &before_pools);
        self.note_windowed();
        for pool in 0..plan.pools.len() {
            self.select_pool(pool);
        }
        self.tell_pools(&before);
        self.dirty.clear();
        self.turned.clear();
        self.moments = moments(&plan, now.wall);
        self.turns = plan.routes.iter().map(|route| next_turn(&route.kind, now.wall)).collect();
        self.index_views(&plan);
        let mut tables = std::mem::take(&mut self.tables);
        tables.clear();
        self.tallies.begin(&self.backend_ids, self.views.plans.len(), now.mono);
        self.figures.begin(&plan, &self.ids);
        let prepared = (0..self.views.plans.len() as u32).map(|number| {
            let mut view = prepare_view(self, number, &mut tables);
            view.tally = self.tally(number, &view);
            Arc::new(view)
        });
        let views: Chunked<Arc<View>> = prepared.collect();
        self.tables = tables;
        self.keep_ledger(first, now);
        let draws_of_names = self.slots.assign(&plan.zones, &self.views.of_names);
        let zones: Chunked<Arc<Zone>> = plan
            .zones
            .iter()
            .enumerate()
            .filter_map(|(number, zone)| {
                let names: Arc<[NameSlot]> = self.views.of_names[number]
                    .iter()
                    .zip(&draws_of_names[number])
                    .map(|(&(view, _), &draw)| NameSlot { view, draw })
                    .collect();
                let serial = self.installed_serial(zone, &before, &names, &views, now);
                let soa = soa_template(&zone.data, serial)?;
                let traffic = self.figures.number_of(&zone_text(&zone.origin));
                Some(Arc::new(Zone { data: zone.data.clone(), names, traffic, soa }))
            })
            .collect();
        let apexes = Apexes::new(plan.zones.iter().map(|zone| zone.origin.as_wire()));
        // Workers do not become fewer before a restart, whatever the file says now.
        let workers = (plan.server.udp_workers + 2).max(self.snapshot.draws.len());
        self.tallied = self.tallies.len();
        let draws: Arc<[Draws]> = (0..workers)
            .map(|worker| {
                let grown = |draws: &Draws| draws.grown(self.slots.len()).with_tallies(self.tallies.len());
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
        self.kept.starting.clear();
        let kept: HashSet<ProbeId> = self.ids.iter().copied().collect();
        (self.probes.retain(&kept), before)
    }

    /// Forgets a prepared plan that was overtaken: probes that neither the present plan nor `next` needs are returned.
    pub fn abandon(&mut self, next: Option<&Prepared>) -> Vec<ProbeId> {
        let kept = self.ids.iter().chain(next.iter().flat_map(|next| &next.ids)).copied().collect();
        self.probes.retain(&kept)
    }

    /// Whether something waits to be published.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.turned.is_empty()
    }

    /// Prepares anew what depends on what changed; `Some` when answers or TTLs are different now. What there is to say of it is
    /// said by the next `tick`, or when it is asked for.
    pub fn publish(&mut self, now: Now) -> Option<Arc<Snapshot>> {
        self.now = now;
        let dirty = std::mem::take(&mut self.dirty);
        let turned = std::mem::take(&mut self.turned);
        let mut views: BTreeSet<u32> = BTreeSet::new();
        let mut concerned = |target: Target| views.extend(self.programs_of.get(&target).into_iter().flatten());
        turned.into_iter().for_each(|route| concerned(Target::Route(route)));
        for &pool in &dirty {
            let before = self.ways_of(pool);
            self.select_pool(pool);
            // The way of a program depends on who lives, not on who is drawn from.
            if has_aliases(&self.plan, pool) || self.ways_of(pool) != before {
                views.extend(self.programs_of.get(&Target::Pool(pool)).into_iter().flatten());
            }
            views.extend(&self.views_of_pool[pool]);
        }
        self.untold.pools.extend(&dirty);
        let mut next: Option<Snapshot> = None;
        let mut new_data = BTreeSet::new();
        let mut tables = std::mem::take(&mut self.tables);
        for number in views {
            let mut prepared = prepare_view(self, number, &mut tables);
            prepared.tally = self.tally(number, &prepared);
            self.note_held(number, now);
            let Some(present) = self.snapshot.views.get(number) else { continue };
            if **present == prepared {
                continue;
            }
            if !present.same_but_ttl(&prepared) {
                new_data.insert(self.zone_of_view[number as usize]);
            }
            next.get_or_insert_with(|| (*self.snapshot).clone()).views.set(number, Arc::new(prepared));
        }
        self.tables = tables;
        let mut next = next?;
        for zone in new_data {
            let plan = &self.plan.zones[zone];
            let SerialPlan::Auto { .. } = plan.serial else { continue };
            let Some(present) = next.zones.get(zone as u32).cloned() else { continue };
            let serial = next_serial(present.soa.serial(), now.unix());
            if let Some(soa) = soa_template(&present.data, serial) {
                let (data, names) = (present.data.clone(), present.names.clone());
                let changed = Zone { data, names, traffic: present.traffic, soa };
                next.zones.set(zone as u32, Arc::new(changed));
            }
        }
        if self.tallies.len() > self.tallied {
            self.tallied = self.tallies.len();
            next.draws = next.draws.iter().map(|draws| draws.with_tallies(self.tallied)).collect();
        }
        next.generation += 1;
        self.snapshot = Arc::new(next);
        Some(self.snapshot.clone())
    }

    /// What the log should say; each is told once.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// All zones with their pools, as `status` shows them.
    pub fn status(&self) -> Vec<super::view::ZoneStatus> {
        super::status::zones(self)
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

    /// Who is up in that family (an index of [`FAMILIES`]), as routes see it.
    pub(crate) fn health(&self, family: usize) -> Health<'_> {
        Health { plan: &self.plan, pools: &self.pools, moments: &self.moments, family }
    }

    /// What of a pool decides the way of a program: how well it can answer, and who answers in its place.
    fn ways_of(&self, pool: usize) -> [(Level, Target); 3] {
        [0, 1, HOST].map(|family| (self.health(family).pool_level(pool), self.health(family).diverted(pool)))
    }

    /// Which views the plan needs, and what each depends on.
    fn index_views(&mut self, plan: &Plan) {
        self.views = view_plans(plan);
        self.views_of_pool = vec![Vec::new(); plan.pools.len()];
        self.programs_of.clear();
        let mut graphs = Graphs::default();
        for view in 0..self.views.plans.len() as u32 {
            for pool in self.views.pools_of(view, &mut graphs, plan) {
                self.views_of_pool[pool].push(view);
            }
            for &target in self.views.programs.get(&view).iter().flat_map(|program| &program.graph.targets) {
                self.programs_of.entry(target).or_default().push(view);
            }
        }
        let zones: HashMap<&[u8], usize> =
            plan.zones.iter().enumerate().map(|(number, zone)| (zone.origin.as_wire(), number)).collect();
        let zone_of = |view: &ViewPlan| {
            let zone = match view.source {
                Source::Pool(pool)
                | Source::Alias { pool, .. }
                | Source::Leaf { pool, .. }
                | Source::Program(Target::Pool(pool)) => &plan.pools[pool].zone,
                Source::Program(Target::Route(route)) => &plan.routes[route].zone,
            };
            zones.get(zone.as_wire()).copied().unwrap_or(0)
        };
        self.zone_of_view = self.views.plans.iter().map(zone_of).collect();
    }

    /// TTL in force of a name of that pool without a TTL of its own, seconds.
    pub(crate) fn pool_ttl(&self, pool: usize, family: usize) -> u32 {
        pool_ttl(self, pool, family, self.plan.pools[pool].ttl)
    }
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

fn soa_template(data: &ZoneData, serial: u32) -> Option<SoaTemplate> {
    let apex = data.find(data.apex().as_wire())?;
    let SetData::Static(octets) = data.data(data.set(apex, SOA)?) else { return None };
    SoaTemplate::new(data.apex(), &records(octets).next()?, serial)
}
