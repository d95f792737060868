//! Runs the [`World`]: one task that takes observations, commands, edits and the clock, and stores the snapshots that
//! follow. The only writer.
//!
//! ```text
//! observations ─┐
//! commands ─────┼─> world ─> snapshot ─> ArcSwap <─ workers
//! loads, clock ─┘     └────> checker (targets, cadence), memory (what survives), log
//! ```

mod life;
mod loads;
mod said;
mod told;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::events::What;
use super::files::{self, Edited, Edits, Watched};
use super::handle::{Aim, Command, ControlError, ReloadCause};
use super::hooks::Hooks;
use super::journal::Journal;
use super::memory::{Memory, Saved};
use super::metrics::Gathered;
use super::overrides::Override;
use super::reaper::Reaper;
use super::saver::Saver;
use super::status;
use super::view::{OverrideChange, Push, Pushed, ReloadStatus, StateChange, StateChanged, Status};
use super::world::{Effect, Prepared, Transition, World};
use super::{Now, drill, explain, export, traffic};
use crate::checker::{Checker, Observation};
use crate::config::diagnostic::LoadError;
use crate::config::plan::{AdminState, Plan, ServerPlan};
use crate::engine::feedback::Said;
use crate::engine::probe::{Cadence, ProbeId};
use crate::engine::snapshot::Snapshot;
use crate::transport::{Counters, ZONES};

pub use life::Pulse;
pub(super) use life::{Life, PULSE_PATIENCE};

/// A burst of verdicts becomes one snapshot: at most one in this time.
const COALESCE: Duration = Duration::from_millis(3);
/// Added to the loading thread's nice value.
const LOADER_NICE: i32 = 5;
/// Longest that a start or a reload waits for first verdicts.
const WAIT: Duration = Duration::from_secs(5);
/// Longest time that an override may be given. Past the year 9999 its end could not be written as text.
pub(super) const LONGEST_OVERRIDE: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Observations that may wait before probes do.
pub(super) const BACKLOG: usize = 4096;
/// Transitions logged one by one in a second; the others are counted. A network that fails takes thousands along.
const LOGGED: usize = 50;
/// A prepared plan that waits for first verdicts.
struct Pending {
    prepared: Prepared,
    deadline: Instant,
    cause: ReloadCause,
    waiters: Vec<oneshot::Sender<ReloadStatus>>,
    /// A newer load that was refused meanwhile: its word stays until the files are mended.
    refused: Option<ReloadStatus>,
}

/// What a load brought.
struct Loaded {
    result: Result<Plan, LoadError>,
    cause: ReloadCause,
    /// When it began to read.
    began: SystemTime,
    /// Files changed again while they were read: another edit follows.
    stale: bool,
}

pub(super) struct Supervisor {
    world: World,
    checker: Checker,
    saver: Option<Saver>,
    journal: Option<Journal>,
    hooks: Hooks,
    told: told::Told,
    reaper: Reaper,
    config_file: Option<PathBuf>,
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    /// Who may ask the control listener for what.
    pub(super) tokens: super::api::Tokens,
    pub(super) generations: watch::Sender<u64>,
    /// The number of the latest change.
    pub(super) changes: watch::Sender<u64>,
    pub(super) ready: watch::Sender<bool>,
    watched: watch::Sender<Watched>,
    started: Instant,
    started_wall: SystemTime,
    /// The settings in force that a reload cannot change.
    bound: Option<ServerPlan>,
    listening: Vec<String>,
    traffic: Arc<Counters>,
    pending: Option<Pending>,
    reload: ReloadStatus,
    loads: mpsc::Sender<Loaded>,
    loading: bool,
    /// Asked for while a load was running: taken together afterwards.
    asked: VecDeque<(ReloadCause, Option<oneshot::Sender<ReloadStatus>>, Option<Edited>)>,
    waiters: Vec<oneshot::Sender<ReloadStatus>>,
    cadences: HashMap<ProbeId, Cadence, foldhash::fast::RandomState>,
    unlogged: Vec<Transition>,
    logged: usize,
    logged_since: Instant,
    /// Transitions beyond [`LOGGED`], not yet said.
    unsaid: usize,
    /// Since when something is to be published, on the clock of [`Now`].
    dirty_since: Option<Duration>,
    published: Instant,
    /// When the snapshot that answers began to.
    stored: SystemTime,
    /// When files were last taken, at a start or a reload.
    taken: SystemTime,
    /// Reloads that were taken, and that were refused.
    reloads: [u64; 2],
    last_save: Instant,
    unsaved: bool,
    /// Another server decides and keeps the state: the one that this one replaces, or its successor.
    handed_over: bool,
}

impl Supervisor {
    pub(super) fn new(
        saved: &Saved,
        memory: Option<Memory>,
        journal: Option<Journal>,
        checker: Checker,
        config_file: Option<PathBuf>,
    ) -> Supervisor {
        let started = Instant::now();
        let started_wall = SystemTime::now();
        let now = Now { wall: started_wall, mono: Duration::ZERO };
        let world = World::new(saved, random_secret(), now);
        let (loads, _) = mpsc::channel(1);
        Supervisor {
            snapshots: Arc::new(ArcSwap::new(world.snapshot().clone())),
            world,
            checker,
            saver: memory.map(Saver::start),
            journal,
            hooks: Hooks::default(),
            told: told::Told::default(),
            reaper: Reaper::start(),
            config_file,
            tokens: Arc::new(ArcSwap::new(Arc::new(None))),
            generations: watch::channel(0).0,
            changes: watch::channel(0).0,
            ready: watch::channel(false).0,
            watched: watch::channel(Watched { paths: Vec::new(), loaded: started_wall }).0,
            started,
            started_wall,
            bound: None,
            listening: Vec::new(),
            traffic: Arc::default(),
            pending: None,
            reload: ReloadStatus {
                ok: true,
                at: status::time_text(started_wall),
                cause: "start".to_owned(),
                messages: Vec::new(),
                rendered: Vec::new(),
                moves: None,
            },
            loads,
            loading: false,
            asked: VecDeque::new(),
            waiters: Vec::new(),
            cadences: HashMap::default(),
            unlogged: Vec::new(),
            logged: 0,
            logged_since: started,
            unsaid: 0,
            dirty_since: None,
            published: started,
            stored: started_wall,
            taken: started_wall,
            reloads: [0; 2],
            last_save: started,
            unsaved: false,
            handed_over: false,
        }
    }

    pub(super) async fn run(
        mut self,
        plan: Plan,
        mut inbox: mpsc::Receiver<Command>,
        mut results: mpsc::Receiver<Observation>,
    ) {
        let (loads, mut loaded) = mpsc::channel(1);
        self.loads = loads;
        self.watched.send_replace(Watched { paths: plan.server.watched.clone(), loaded: plan.began });
        let mut edits: Edits = files::watch(self.watched.subscribe());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.bound = Some(plan.server.clone());
        self.tokens.store(Arc::new(plan.server.tokens.clone()));
        self.hooks.configure(&plan.server.hooks);
        if !self.handed_over {
            self.tell_start(None);
        }
        self.take_plan(plan, ReloadCause::Start, Vec::new());
        let mut batch = Vec::with_capacity(256);
        let mut edits_end = false;
        loop {
            let publish_at = self.world.is_dirty().then(|| tokio::time::Instant::from_std(self.published + COALESCE));
            let wait_until = self.pending.as_ref().map(|pending| tokio::time::Instant::from_std(pending.deadline));
            tokio::select! {
                count = results.recv_many(&mut batch, 256) => {
                    if count == 0 { return; }
                    for observation in batch.drain(..) {
                        self.observe(&observation);
                    }
                }
                command = inbox.recv() => match command {
                    None => return,
                    Some(Command::Shutdown(reply)) => {
                        self.stop().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.command(command),
                },
                Some(load) = loaded.recv() => self.loaded(load),
                edited = edits.next(), if !edits_end => match edited {
                    Some(edited) => self.ask_load(ReloadCause::Edit, None, Some(edited)),
                    None => edits_end = true,
                },
                () = sleep_until(publish_at), if publish_at.is_some() => {}
                () = sleep_until(wait_until), if wait_until.is_some() => self.wait_is_over(),
                _ = tick.tick() => self.tick(),
            }
            if self.world.is_dirty() && self.published.elapsed() >= COALESCE {
                self.publish();
            }
            if !self.world.is_dirty() {
                // Also where a load has put it in force, and not a publication.
                self.dirty_since = None;
                self.world.tell();
            }
            let latest = self.world.changes.last();
            self.changes.send_if_modified(|known| std::mem::replace(known, latest) != latest);
        }
    }

    fn now(&self) -> Now {
        Now { wall: SystemTime::now(), mono: self.started.elapsed() }
    }

    fn observe(&mut self, observation: &Observation) {
        let now = self.now();
        let Effect { transitions, cadence, decided } = self.world.observe(observation.probe, &observation.outcome, now);
        if self.world.is_dirty() {
            self.dirty_since.get_or_insert(now.mono);
        }
        if let Some(cadence) = cadence {
            let present = self.cadences.entry(observation.probe).or_default();
            if *present != cadence {
                *present = cadence;
                self.checker.cadence(observation.probe, cadence);
            }
        }
        self.unsaved |= !transitions.is_empty();
        self.unlogged.extend(transitions);
        if !decided.is_empty()
            && let Some(pending) = &mut self.pending
        {
            decided.iter().for_each(|id| _ = pending.prepared.waiting.remove(id));
            if pending.prepared.waiting.is_empty() {
                self.install();
            }
        }
    }

    fn command(&mut self, command: Command) {
        // Who looks sees all that is in force.
        self.world.tell();
        match command {
            // Dropping the reply says that this server is going; asked again, the successor answers.
            Command::SetState(..) | Command::Reload(..) | Command::Push(..) if self.handed_over => {}
            Command::Status(reply) => contained(|| _ = reply.send(self.status())),
            Command::Metrics(reply) => contained(|| _ = reply.send(Box::new(self.gather()))),
            Command::Look(look) => contained(|| look(&self.world)),
            Command::Explain(query, reply) => {
                contained(|| _ = reply.send(explain::explain(&self.world, &query)));
            }
            Command::Export(zone, client, reply) => {
                contained(|| _ = reply.send(export::gather(&self.world, &zone, client, SystemTime::now())));
            }
            Command::SetState(change, aim, reply) => self.set_state(change, aim, reply),
            Command::Assess(request, reply) => {
                contained(|| _ = reply.send(drill::assess(&self.world, &self.listening, &request)));
            }
            Command::Counters(reply) => {
                let _ = reply.send(self.traffic.clone());
            }
            Command::Reload(cause, reply) => self.ask_load(cause, Some(reply), None),
            Command::Push(push, reply) => {
                let _ = reply.send(self.push(&push));
            }
            Command::Listening(addresses) => self.listening = addresses,
            Command::Life(life) => self.life(life),
            Command::Traffic(counters) => self.traffic = counters,
            Command::Shutdown(reply) => {
                let _ = reply.send(());
            }
        }
    }

    fn status(&self) -> Status {
        Status {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            started: status::time_text(self.started_wall),
            now: status::time_text(SystemTime::now()),
            generation: self.world.snapshot().generation,
            frozen: status::frozen(&self.world),
            health: status::health(&self.world, self.reload.ok),
            listening: self.listening.clone(),
            reload: self.reload.clone(),
            traffic: traffic::traffic(&self.traffic),
            probing: traffic::probing(&self.checker.statistics()),
            memory: self.memory_status(),
            hooks: self.hooks.status(),
            zones: status::zones(&self.world),
            transitions: self.world.transitions.iter().map(status::transition_status).collect(),
        }
    }

    /// All that the metrics say, as of now.
    fn gather(&self) -> Gathered {
        Gathered {
            status: self.status(),
            counted: self.traffic.totals(),
            zones: (0..ZONES as u8).map(|number| self.world.figures.zone(number).to_owned()).collect(),
            publications: self.world.figures.publications.clone(),
            checks: self.world.figures.checks(),
            transitions: self.world.figures.transitions.clone(),
            last_result: self.world.figures.last_result,
            certificate_ends: self.traffic.certificate_ends(),
            stored: self.stored,
            taken: self.taken,
            reloads: self.reloads,
            started: self.started_wall,
        }
    }

    /// Overrides are on disk before they take effect: of what cannot be kept nobody sees or hears anything.
    fn set_state(&mut self, change: StateChange, aim: Aim, reply: oneshot::Sender<Result<StateChanged, ControlError>>) {
        let now = self.now();
        let lasting = change.for_ms.map(Duration::from_millis);
        let ends = [lasting.and_then(|lasting| now.wall.checked_add(lasting)), aim.until].into_iter().flatten().min();
        let too_long = |end: SystemTime| end.duration_since(now.wall).is_ok_and(|lasting| lasting > LONGEST_OVERRIDE);
        if (lasting.is_some() && ends.is_none()) || ends.is_some_and(too_long) {
            let message = "an override ends within a century; without an end it holds until it is removed".to_owned();
            let _ = reply.send(Err(ControlError::Invalid(message)));
            return;
        }
        let entry =
            Override { state: change.state, since: now.wall, until: ends, reason: change.reason, by: change.by };
        let found = match aim.exact {
            true => self.world.aimed_at_one(&change.backend),
            false => self.world.aimed_at(&change.backend),
        };
        let aimed = match found {
            Ok(aimed) => aimed,
            Err(message) if message.starts_with("no backend") => {
                let _ = reply.send(Err(ControlError::NotFound(message)));
                return;
            }
            Err(message) => {
                let _ = reply.send(Err(ControlError::Invalid(message)));
                return;
            }
        };
        let saved = || Saved { overrides: self.world.overrides_with(&aimed, &entry).saved(), ..self.world.saved() };
        if let Some(saver) = &self.saver
            && let Err(error) = saver.save_and_wait(saved())
        {
            // A disk that answers too late has it after all: it is written anew as things are.
            self.unsaved = true;
            let message = format!("the override could not be kept, nothing changed: {error}");
            let _ = reply.send(Err(ControlError::Failed(message)));
            return;
        }
        self.dirty_since.get_or_insert(self.now().mono);
        let backends = self.world.override_all(&aimed, &entry, now);
        for backend in &backends {
            tracing::info!(
                "{backend} override={} by={} reason={:?}",
                super::world::state_word(entry.state),
                entry.by.as_deref().unwrap_or("-"),
                entry.reason.as_deref().unwrap_or("")
            );
            let told = OverrideChange {
                backend: backend.clone(),
                state: entry.state,
                until: entry.until.map(status::time_text),
                reason: entry.reason.clone(),
                by: entry.by.clone(),
            };
            self.world.say(now.wall, super::view::What::Override(told));
        }
        self.tell_override(&backends, &entry);
        self.publish();
        // With what the publication added: the drain clock.
        self.unsaved = true;
        let mut warnings = Vec::new();
        if self.saver.is_none() && entry.state != AdminState::Auto {
            warnings.push("no state_dir: the override ends with the process".to_owned());
        }
        warnings.extend(self.world.pools_without_candidates(&backends));
        let clocks = status::drains(&self.world, &backends);
        let _ = reply.send(Ok(StateChanged { backends, kept: self.saver.is_some(), warnings, clocks }));
    }

    /// A heartbeat: handed to the probes that wait for it, which report at once.
    fn push(&self, push: &Push) -> Result<Pushed, ControlError> {
        let status = push.status.as_deref().filter(|status| !status.trim().is_empty()).unwrap_or("up");
        let Some(said) = Said::read(status) else {
            let words = "up, down, fail, stopped, ready, drain, maint, 75% or load=30/100";
            return Err(ControlError::Invalid(format!("{status:?} has no word that is known: {words}")));
        };
        let probes = self.world.pushed_probes(&push.backend, push.check.as_deref());
        if probes.is_empty() {
            let id = &push.backend;
            let message = match (self.world.has_backend(id), &push.check) {
                (false, _) => format!("no backend is {id:?} (zone/pool/backend)"),
                (true, None) => format!("{id} has no check of type \"push\""),
                (true, Some(check)) => format!("{id} has no check {check:?} of type \"push\""),
            };
            return Err(ControlError::NotFound(message));
        }
        probes.iter().for_each(|&probe| self.checker.pushed(probe, said.clone()));
        Ok(Pushed { probes: probes.len() })
    }

    fn tick(&mut self) {
        let now = self.now();
        let ended = self.world.tick(now);
        if self.world.is_dirty() {
            self.dirty_since.get_or_insert(now.mono);
        }
        for backend in ended {
            tracing::info!("{backend}: the override ended");
            self.tell(What::OverrideEnded { id: backend });
            self.unsaved = true;
        }
        self.unlogged.extend(self.world.take_first_failures());
        self.say_further_transitions();
        self.say_news();
        // Verdicts carry the time of their latest result, so they are written now and then even when calm.
        let calm = Duration::from_secs(2).max(Duration::from_millis(self.world.probes.len() as u64));
        if let Some(saver) = self.keeper()
            && (self.unsaved || self.last_save.elapsed() > calm)
        {
            saver.save(self.world.saved());
            self.unsaved = false;
            self.last_save = Instant::now();
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        self.published = Instant::now();
        let since = self.dirty_since.take().unwrap_or(now.mono);
        if let Some(snapshot) = self.world.publish(now) {
            self.store(snapshot);
            let stored = self.now();
            self.world.figures.publications.note(stored.mono.saturating_sub(since));
            self.world.settle(now, stored);
        }
        self.log_transitions();
        self.say_news();
        self.tell_pools();
    }

    fn store(&mut self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        self.reaper.take(self.snapshots.swap(snapshot));
        self.stored = SystemTime::now();
        self.generations.send_replace(generation);
    }
}

/// A panic of what only looks costs the request that asked for it: the world is as it was, and health goes on being heeded.
fn contained(look: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(look)).is_err() {
        tracing::error!("a request for what the server knows panicked; that is a defect, please report it");
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// A cookie secret for this process, from the operating system.
fn random_secret() -> [u8; 16] {
    let mut secret = [0; 16];
    if let Err(error) = getrandom::fill(&mut secret) {
        // Cookies only spare clients rate limits: a guessable secret costs no answer.
        tracing::warn!("no random numbers from the system ({error}): the cookie secret is made of the clock");
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        secret = nanos.to_be_bytes();
    }
    secret
}
