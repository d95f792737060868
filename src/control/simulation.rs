//! The server in virtual time: the same world, schedule and engine, with backends that die by script and resolvers that
//! cache. What happened when, and who was still told of a dead backend, is the report.
//!
//! Deterministic: the same files, script, seed and start give the same report.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::memory::Saved;
use super::overrides::{Override, glob, names_backend};
use super::report::{Line, NOBODY, Report, Stretches, Withdrawal};
use super::world::{World, backend_id};
use super::{Now, zone_text};
use crate::checker::schedule::Schedule;
use crate::config::plan::{AdminState, Plan};
use crate::engine::draw::mix;
use crate::engine::name::Name;
use crate::engine::probe::{Outcome, ProbeId, ProbeKind, ProbeSpec};
use crate::engine::zone::records;
use crate::engine::{Asker, Transport, respond, rrtype};

/// How long a probe that is answered, or refused, takes.
const QUICK: Duration = Duration::from_millis(1);
/// Longest that the start waits for first verdicts, as the server does.
const WAIT: Duration = Duration::from_secs(5);
/// A resolver that got no address asks again after that.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Most resolvers times names: each is a cache entry.
const MOST_CACHES: usize = 1_000_000;
/// Largest UDP reply.
const REPLY: usize = 4096;

/// What a simulation is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Ends after that, counted from the moment the server is ready.
    pub duration: Duration,
    /// Resolvers; each asks every name again when its answer has expired.
    pub resolvers: usize,
    /// Chance: phases of resolvers and the jitter of probes.
    pub seed: u64,
    /// What the wall clock says when the server is ready.
    pub start: SystemTime,
    /// What happens to whom.
    pub script: Vec<Step>,
    /// Glob of the names that resolvers ask, relative to nothing, without the final dot.
    pub names: String,
}

/// One step of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Since the server is ready.
    pub at: Duration,
    /// What is done.
    pub action: Action,
    /// `zone/pool/backend`, `pool/backend` or `backend`, each part a glob.
    pub backend: String,
}

/// What is done to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Its process ends: connections are refused.
    Kill,
    /// It no longer answers anything: connections run into their timeout.
    Hang,
    /// It answers again.
    Restore,
    /// An operator's word.
    Set(AdminState),
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Action::Kill => "kill",
            Action::Hang => "hang",
            Action::Restore => "restore",
            Action::Set(AdminState::Auto) => "auto",
            Action::Set(AdminState::Up) => "up",
            Action::Set(AdminState::Down) => "down",
            Action::Set(AdminState::Drain) => "drain",
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Script(usize),
    ProbeEnds(ProbeId, bool),
    Ask(usize, usize),
    Tick,
}

/// A name as resolvers ask it.
struct Asked {
    query: Vec<u8>,
    zone: String,
}

/// Runs a plan against a script. An error says what of the script fits nothing.
pub fn simulate(plan: Plan, settings: &Settings) -> Result<Report, String> {
    let mut run = Run::new(plan, settings)?;
    run.start();
    run.play();
    Ok(run.report())
}

struct Run<'s> {
    settings: &'s Settings,
    world: World,
    schedule: Schedule,
    specs: BTreeMap<ProbeId, Arc<ProbeSpec>>,
    /// Whose backends each probe is.
    users: HashMap<ProbeId, Vec<String>>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    chance: u64,
    base: Instant,
    /// Virtual time since `base`.
    now: Duration,
    /// When the server was ready.
    ready: Duration,
    dead: HashSet<String>,
    hanging: HashSet<String>,
    asked: Vec<Asked>,
    /// For each resolver and name: since when, until when, and who was told first.
    caches: Vec<Option<Cached>>,
    timeline: Vec<Line>,
    open: Vec<Open>,
    /// Until when some cache names a backend.
    exposed: BTreeMap<String, Duration>,
    stretches: Stretches,
}

/// A withdrawal under way.
struct Open {
    so_far: Withdrawal,
    /// It was answered when the step came: else there is nothing to withdraw.
    answered: bool,
    /// When a step brought it back.
    back: Option<u64>,
}

struct Cached {
    since: Duration,
    until: Duration,
    first: String,
}

impl<'s> Run<'s> {
    fn new(plan: Plan, settings: &'s Settings) -> Result<Run<'s>, String> {
        let asked = asked(&plan, &settings.names)?;
        if asked.len() * settings.resolvers > MOST_CACHES {
            return Err(format!(
                "{} names asked by {} resolvers are more than {MOST_CACHES} cache entries: choose names with a glob",
                asked.len(),
                settings.resolvers
            ));
        }
        for step in &settings.script {
            if !plan
                .pools
                .iter()
                .any(|pool| pool.backends.iter().any(|one| names_backend(&step.backend, &backend_id(pool, one))))
            {
                return Err(format!("no backend matches \"{}\"", step.backend));
            }
        }
        let mut run = Run {
            settings,
            world: World::new(&Saved::default(), [0; 16], Now { wall: settings.start, mono: Duration::ZERO }),
            schedule: Schedule::default(),
            specs: BTreeMap::new(),
            users: HashMap::new(),
            events: BinaryHeap::new(),
            sequence: 0,
            chance: settings.seed,
            base: Instant::now(),
            now: Duration::ZERO,
            ready: Duration::ZERO,
            dead: HashSet::new(),
            hanging: HashSet::new(),
            caches: Vec::new(),
            asked,
            timeline: Vec::new(),
            open: Vec::new(),
            exposed: BTreeMap::new(),
            stretches: Stretches::begin("before", 0),
        };
        let prepared = run.world.prepare(plan, run.clock());
        for (id, spec) in &prepared.added {
            let phase = run.draw();
            run.schedule.insert(*id, &spec.timing, run.instant(), phase);
            run.specs.insert(*id, spec.clone());
        }
        let mut waiting = prepared.waiting.clone();
        while !waiting.is_empty() && run.now < WAIT {
            let Some((at, event)) = run.next(WAIT) else { break };
            run.now = at;
            if let Event::ProbeEnds(id, passed) = event {
                for decided in run.probe_ends(id, passed) {
                    waiting.remove(&decided);
                }
            }
        }
        run.ready = run.now;
        let now = run.clock();
        run.world.install(prepared, now);
        Ok(run)
    }

    /// Puts the script, the resolvers and the clock's seconds into the queue.
    fn start(&mut self) {
        let plan = self.world.plan().clone();
        self.leave_out_names_without_addresses();
        for pool in &plan.pools {
            for backend in &pool.backends {
                for probe_use in [rrtype::A, rrtype::AAAA].iter().flat_map(|&rtype| backend.probes(rtype)) {
                    let own = self.world.probe_ids()[probe_use.probe];
                    let counted = self.counted_by(&plan, &plan.probes[probe_use.probe]);
                    for probe in counted.into_iter().chain([own]) {
                        self.users.entry(probe).or_default().push(backend_id(pool, backend));
                    }
                }
            }
        }
        self.say(format!(
            "ready: {} zones, {} pools, {} probes; {} resolvers ask {} names",
            plan.zones.len(),
            plan.pools.len(),
            plan.probes.len(),
            self.settings.resolvers,
            self.asked.len()
        ));
        for (number, step) in self.settings.script.iter().enumerate() {
            self.put(self.ready + step.at, Event::Script(number));
        }
        self.caches.resize_with(self.settings.resolvers * self.asked.len(), || None);
        for resolver in 0..self.settings.resolvers {
            for name in 0..self.asked.len() {
                // Resolvers did not all come at once: their first answers have expired partly.
                let ttl = self.ask(resolver, name);
                let part = ttl.mul_f64((self.draw() >> 11) as f64 / (1u64 << 53) as f64);
                if let Some(cached) = &mut self.caches[resolver * self.asked.len() + name] {
                    cached.until = self.now + part;
                }
                self.put(self.now + part, Event::Ask(resolver, name));
            }
        }
        self.exposed.clear();
        for cached in self.caches.iter().flatten() {
            let until = self.exposed.entry(cached.first.clone()).or_default();
            *until = (*until).max(cached.until);
        }
        self.put(self.now + Duration::from_secs(1), Event::Tick);
    }

    /// The probes that a calculated one counts, and those that these count.
    fn counted_by(&self, plan: &Plan, spec: &ProbeSpec) -> Vec<ProbeId> {
        let ProbeKind::Of(of) = &spec.kind else { return Vec::new() };
        let mut found = Vec::new();
        for member in &of.members {
            let number = plan.probes.iter().position(|one| *one == member.spec);
            found.extend(number.map(|number| self.world.probe_ids()[number]));
            found.extend(self.counted_by(plan, &member.spec));
        }
        found
    }

    /// A family in which a pool has nobody would be one half of the traffic that goes nowhere.
    fn leave_out_names_without_addresses(&mut self) {
        self.caches.resize_with(self.asked.len(), || None);
        for name in 0..self.asked.len() {
            self.ask(0, name);
        }
        let told = std::mem::take(&mut self.caches);
        let mut has_addresses = told.iter().map(|cached| cached.as_ref().is_some_and(|cached| cached.first != NOBODY));
        self.asked.retain(|_| has_addresses.next().unwrap_or(false));
    }

    fn play(&mut self) {
        let end = self.ready + self.settings.duration;
        while let Some((at, event)) = self.next(end) {
            self.now = at;
            match event {
                Event::Script(number) => self.act(number),
                Event::ProbeEnds(id, passed) => drop(self.probe_ends(id, passed)),
                Event::Ask(resolver, name) => {
                    let ttl = self.ask(resolver, name);
                    self.put(self.now + ttl, Event::Ask(resolver, name));
                }
                Event::Tick => {
                    for backend in self.world.tick(self.clock()) {
                        self.say(format!("{backend}: the override ended"));
                    }
                    self.publish();
                    self.put(self.now + Duration::from_secs(1), Event::Tick);
                }
            }
        }
        self.now = end;
        for cache in 0..self.caches.len() {
            self.account(cache);
        }
    }

    /// The next event before `end`: of the queue, or a probe that is due and begins.
    fn next(&mut self, end: Duration) -> Option<(Duration, Event)> {
        loop {
            let due = self.schedule.next_due().map(|due| due.saturating_duration_since(self.base).max(self.now));
            let queued = self.events.peek().map(|Reverse((at, ..))| *at);
            match (due, queued) {
                (Some(due), queued) if queued.is_none_or(|queued| due <= queued) => {
                    if due > end {
                        return None;
                    }
                    self.now = due;
                    self.begin_probes();
                }
                (_, Some(at)) if at <= end => {
                    let Reverse((at, _, event)) = self.events.pop()?;
                    return Some((at, event));
                }
                _ => return None,
            }
        }
    }

    fn begin_probes(&mut self) {
        let now = self.instant();
        while let Some((id, _)) = self.schedule.pop_due(now) {
            let chance = (self.draw() % 2001) as i32 - 1000;
            if self.schedule.start(id, now, chance).is_none() {
                continue;
            }
            let Some(spec) = self.specs.get(&id).cloned() else { continue };
            let (refuses, hangs) = self.state_of(id);
            let takes = if hangs { spec.timing.timeout } else { QUICK };
            self.put(self.now + takes, Event::ProbeEnds(id, !refuses && !hangs));
        }
    }

    /// Whether the probe's target refuses, or hangs.
    fn state_of(&self, probe: ProbeId) -> (bool, bool) {
        let users = self.users.get(&probe).map(Vec::as_slice).unwrap_or_default();
        let any = |set: &HashSet<String>| users.iter().any(|id| set.contains(id));
        (any(&self.dead), any(&self.hanging))
    }

    /// Returns the probes that have a verdict by it.
    fn probe_ends(&mut self, id: ProbeId, answered: bool) -> Vec<ProbeId> {
        let Some(spec) = self.specs.get(&id).cloned() else { return Vec::new() };
        let passed = answered != spec.invert;
        let (_, hangs) = self.state_of(id);
        let reason = match (answered, hangs) {
            (true, _) => "answers",
            (false, true) => "timed out",
            (false, false) => "connection refused",
        };
        let latency = if hangs { spec.timing.timeout } else { QUICK };
        let outcome = Outcome { passed, reason: reason.to_owned(), latency, said: None };
        let effect = self.world.observe(id, &outcome, self.clock());
        let now = self.instant();
        self.schedule.finish(id, now, passed);
        if let Some(cadence) = effect.cadence {
            self.schedule.cadence(id, now, cadence);
        }
        for one in effect.transitions {
            let address = one.address.map(|address| address.to_string()).unwrap_or_default();
            self.say(format!("{} {address} {} -> {}: {}", one.id, one.from, one.to, one.reason));
        }
        self.publish();
        effect.decided
    }

    fn act(&mut self, number: usize) {
        let step = &self.settings.script[number];
        let plan = self.world.plan().clone();
        let ids: Vec<String> = plan
            .pools
            .iter()
            .flat_map(|pool| pool.backends.iter().map(|backend| backend_id(pool, backend)))
            .filter(|id| names_backend(&step.backend, id))
            .collect();
        self.say(format!("{} {}", step.action.word(), ids.join(", ")));
        let phase = format!("{} {}", step.action.word(), step.backend);
        self.new_stretch(&phase);
        for id in &ids {
            match step.action {
                Action::Kill => drop(self.dead.insert(id.clone())),
                Action::Hang => drop(self.hanging.insert(id.clone())),
                Action::Restore => {
                    self.dead.remove(id);
                    self.hanging.remove(id);
                }
                Action::Set(state) => {
                    let now = self.clock();
                    let by = Some("script".to_owned());
                    let entry = Override { state, since: now.wall, until: None, reason: None, by };
                    let _ = self.world.set_state(id, &entry, now);
                }
            }
            let at_ms = self.since(self.now);
            if matches!(step.action, Action::Kill | Action::Hang | Action::Set(AdminState::Down | AdminState::Drain)) {
                let (backend, step) = (id.clone(), step.action.word().to_owned());
                let so_far = Withdrawal { backend, step, at_ms, ..Withdrawal::default() };
                self.open.push(Open { so_far, answered: self.is_answered(id), back: None });
            } else if let Some(open) = self.open.iter_mut().rev().find(|open| open.so_far.backend == *id) {
                open.back.get_or_insert(at_ms);
            }
        }
        if step.action == Action::Kill {
            self.break_watches();
        }
        self.publish();
    }

    /// A process that ends closes its connections: whoever watches knows at once.
    fn break_watches(&mut self) {
        let watched: Vec<(ProbeId, u32)> = self
            .specs
            .iter()
            .filter(|(id, spec)| spec.watch && self.state_of(**id).0)
            .map(|(&id, spec)| (id, spec.timing.fall))
            .collect();
        let now = self.instant();
        watched.into_iter().for_each(|(id, fall)| self.schedule.burst(id, now, fall));
    }

    fn publish(&mut self) {
        self.world.publish(self.clock());
        for news in self.world.take_news() {
            self.say(news.text);
        }
        let at = self.since(self.now);
        for number in 0..self.open.len() {
            let Open { so_far, answered, back } = &self.open[number];
            if !answered || (so_far.detected_ms.is_some() && (back.is_none() || so_far.returned_ms.is_some())) {
                continue;
            }
            let (backend, begun, back) = (so_far.backend.clone(), so_far.at_ms, *back);
            let (named, detected) = (self.is_answered(&backend), so_far.detected_ms.is_some());
            if !named && !detected {
                let took = at - begun;
                let until = self.exposed.get(&backend).map_or(0, |&until| self.since(until)).max(at);
                self.open[number].so_far.detected_ms = Some(took);
                self.open[number].so_far.exposed_ms = Some(until.saturating_sub(begun));
                self.say(format!("{backend} is answered no more, {took} ms after; in caches until {}", seconds(until)));
            } else if let Some(back) = back.filter(|_| named && detected) {
                self.open[number].so_far.returned_ms = Some(at - back);
                self.say(format!("{backend} is answered again, {} ms after", at - back));
            }
        }
    }

    /// Whether some family of its pool answers it.
    fn is_answered(&self, id: &str) -> bool {
        let plan = self.world.plan();
        plan.pools.iter().zip(&self.world.pools).any(|(pool, state)| {
            pool.backends.iter().enumerate().any(|(number, backend)| {
                backend_id(pool, backend) == id && state.families.iter().any(|family| family.answers(number))
            })
        })
    }

    /// A resolver asks; what it is told stays in its cache. Returns for how long.
    fn ask(&mut self, resolver: usize, name: usize) -> Duration {
        let cache = resolver * self.asked.len() + name;
        self.account(cache);
        let number = resolver as u32;
        let address = IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number));
        let asker = Asker { address, transport: Transport::Udp, worker: 0 };
        let mut out = [0; REPLY];
        let asked = &self.asked[name];
        let reply = respond(self.world.snapshot(), &asker, &asked.query, &mut out);
        let (mut backends, mut ttl) = (Vec::new(), ASK_AGAIN);
        for record in records(out.get(asked.query.len()..reply.length).unwrap_or_default()) {
            let address: Option<IpAddr> = match record.rtype {
                rrtype::A => record.rdata.first_chunk::<4>().map(|octets| (*octets).into()),
                rrtype::AAAA => record.rdata.first_chunk::<16>().map(|octets| (*octets).into()),
                _ => None,
            };
            let Some(address) = address else { break };
            ttl = Duration::from_secs(u64::from(record.ttl)).max(QUICK);
            backends.push(self.backend_at(&asked.zone, address));
        }
        for backend in &backends {
            let until = self.exposed.entry(backend.clone()).or_default();
            *until = (*until).max(self.now + ttl);
        }
        let now = self.since(self.now);
        for open in &mut self.open {
            let gone = open.so_far.detected_ms.is_some() && open.so_far.first_without_ms.is_none();
            if gone && !backends.is_empty() && !backends.contains(&open.so_far.backend) {
                open.so_far.first_without_ms = Some(now - open.so_far.at_ms);
            }
        }
        let first = backends.into_iter().next().unwrap_or_else(|| NOBODY.to_owned());
        self.caches[cache] = Some(Cached { since: self.now, until: self.now + ttl, first });
        ttl
    }

    fn backend_at(&self, zone: &str, address: IpAddr) -> String {
        let plan = self.world.plan();
        let rtype = if address.is_ipv4() { rrtype::A } else { rrtype::AAAA };
        let pools = plan.pools.iter().filter(|pool| zone_text(&pool.zone) == zone);
        pools
            .flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend)))
            .find(|(_, backend)| backend.address(rtype) == Some(address))
            .map_or_else(|| address.to_string(), |(pool, backend)| backend_id(pool, backend))
    }

    /// Adds what a cache has given out since it was looked at last.
    fn account(&mut self, cache: usize) {
        let now = self.now;
        let Some(cached) = &mut self.caches[cache] else { return };
        let span = now.min(cached.until).saturating_sub(cached.since);
        cached.since = now;
        self.stretches.add(&cached.first, span.as_secs_f64());
    }

    fn new_stretch(&mut self, phase: &str) {
        for cache in 0..self.caches.len() {
            self.account(cache);
        }
        self.stretches.next(phase, self.since(self.now));
    }

    fn report(self) -> Report {
        let end = self.since(self.now);
        let withdrawals = self.open.into_iter().filter(|one| one.answered).map(|one| one.so_far);
        Report { timeline: self.timeline, withdrawals: withdrawals.collect(), traffic: self.stretches.traffic(end) }
    }

    fn put(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn say(&mut self, what: String) {
        self.timeline.push(Line { at_ms: self.since(self.now), what });
    }

    fn draw(&mut self) -> u64 {
        self.chance = mix(self.chance);
        self.chance
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn since(&self, at: Duration) -> u64 {
        at.saturating_sub(self.ready).as_millis() as u64
    }

    fn clock(&self) -> Now {
        // The wall clock shows `start` when the server is ready: what comes before is a moment earlier.
        Now { wall: self.settings.start + self.now.saturating_sub(self.ready), mono: self.now }
    }
}

/// `12.3 s`
fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// The balanced names of the plan that the glob fits, as queries.
fn asked(plan: &Plan, pattern: &str) -> Result<Vec<Asked>, String> {
    let mut all = Vec::new();
    for zone in &plan.zones {
        for name in zone.names.iter().filter(|name| matches!(name.rtype, rrtype::A | rrtype::AAAA)) {
            // Who asks for a wildcard asks for something below it.
            let text = zone_text(&name.owner);
            let concrete = text.strip_prefix("*.").map_or(text.clone(), |parent| format!("any.{parent}"));
            if !glob(pattern, &text) {
                continue;
            }
            let owner = Name::parse(&concrete, Some(&Name::root())).map_err(|error| format!("{concrete}: {error}"))?;
            let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend_from_slice(owner.as_wire());
            query.extend_from_slice(&name.rtype.to_be_bytes());
            query.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
            all.push(Asked { query, zone: zone_text(&zone.origin) });
        }
    }
    if all.is_empty() { Err(format!("no balanced name matches \"{pattern}\"")) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_backends_by_one_part_or_all() {
        for pattern in ["b1", "web/b1", "lb.example.com/web/b1", "*/web/*", "b?"] {
            assert!(names_backend(pattern, "lb.example.com/web/b1"), "{pattern}");
        }
        for pattern in ["b2", "api/b1", "x/lb.example.com/web/b1", ""] {
            assert!(!names_backend(pattern, "lb.example.com/web/b1"), "{pattern}");
        }
    }
}
