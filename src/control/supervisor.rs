//! Runs the [`World`]: one task that takes observations, commands, edits and the clock, and stores the snapshots that
//! follow. The only writer.
//!
//! ```text
//! observations ─┐
//! commands ─────┼─> world ─> snapshot ─> ArcSwap <─ workers
//! loads, clock ─┘     └────> checker (targets, cadence), memory (what survives), log
//! ```

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::files::{self, Edited, Edits, Watched};
use super::memory::{Memory, OpenError, Saved};
use super::overrides::Override;
use super::saver::Saver;
use super::status;
use super::view::{ExplainQuery, Explanation, ReloadStatus, StateChange, StateChanged, Status};
use super::world::{Effect, Prepared, Transition, World};
use super::{Now, explain};
use crate::checker::{self, Checker, Observation};
use crate::config::diagnostic::{Diagnostic, LoadError, Severity};
use crate::config::plan::{AdminState, Plan, ServerPlan};
use crate::engine::probe::{Cadence, ProbeId};
use crate::engine::snapshot::Snapshot;

/// A burst of verdicts becomes one snapshot: at most one in this time.
const COALESCE: Duration = Duration::from_millis(3);
/// Added to the loading thread's nice value.
const LOADER_NICE: i32 = 5;
/// Longest that a start or a reload waits for first verdicts.
const WAIT: Duration = Duration::from_secs(5);
/// Longest time that an override may be given. Past the year 9999 its end could not be written as text.
const LONGEST_OVERRIDE: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
/// Observations that may wait before probes do.
const BACKLOG: usize = 4096;
/// Transitions logged one by one in a second; the others are counted. A network that fails takes thousands along.
const LOGGED: usize = 50;

/// Handle to the running supervisor. Cheap to clone; every call is answered by the one task that owns the world.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    generations: watch::Receiver<u64>,
    ready: watch::Receiver<bool>,
}

/// What a [`Control`] is started with.
#[derive(Debug)]
pub struct Start {
    /// The plan of the first load.
    pub plan: Plan,
    /// Read again at each reload.
    pub config_file: Option<PathBuf>,
}

/// Why a reload is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadCause {
    /// A watched file changed.
    Edit,
    /// SIGHUP.
    Signal,
    /// `rollcall reload`.
    Command,
}

impl ReloadCause {
    fn word(self) -> &'static str {
        match self {
            ReloadCause::Edit => "edit",
            ReloadCause::Signal => "SIGHUP",
            ReloadCause::Command => "command",
        }
    }
}

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Nothing here has that name.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It could not be kept; nothing changed.
    #[error("{0}")]
    Failed(String),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Gone,
}

enum Command {
    Status(oneshot::Sender<Status>),
    Explain(ExplainQuery, oneshot::Sender<Result<Explanation, ControlError>>),
    SetState(StateChange, oneshot::Sender<Result<StateChanged, ControlError>>),
    Reload(ReloadCause, oneshot::Sender<ReloadStatus>),
    Listening(Vec<String>),
    Shutdown(oneshot::Sender<()>),
}

impl Control {
    /// Starts the supervisor and the checker on the current runtime. Opens the plan's `state_dir`, which must be writable
    /// for the user that the process is now.
    pub fn start(start: Start) -> Result<Control, OpenError> {
        let (memory, saved) = match &start.plan.server.state_dir {
            Some(directory) => {
                let (memory, saved) = Memory::open(directory)?;
                (Some(memory), saved)
            }
            None => (None, Saved::default()),
        };
        let (commands, inbox) = mpsc::channel(64);
        let (observations, results) = mpsc::channel(BACKLOG);
        let limit =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let checker = Checker::start(checker::limits_for(limit), observations);
        let supervisor = Supervisor::new(&saved, memory, checker, start.config_file);
        let control = Control {
            commands,
            snapshots: supervisor.snapshots.clone(),
            generations: supervisor.generations.subscribe(),
            ready: supervisor.ready.subscribe(),
        };
        let running = tokio::spawn(supervisor.run(start.plan, inbox, results));
        tokio::spawn(async move {
            if running.await.is_err_and(|error| error.is_panic()) {
                // Static stability: the last snapshot goes on answering, but nothing changes it any more.
                tracing::error!(
                    "control panicked: answers stay as they are now, health is no longer heeded; restart the server"
                );
            }
        });
        Ok(control)
    }

    /// Where the present snapshot is read; workers hold an `arc_swap::Cache` of it.
    pub fn snapshots(&self) -> Arc<ArcSwap<Snapshot>> {
        self.snapshots.clone()
    }

    /// The generation of the present snapshot; changes with every publication.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generations.clone()
    }

    /// Returns once every waited-for backend has a verdict, 5 s at most: from then on queries may be answered.
    pub async fn ready(&self) {
        let _ = self.ready.clone().wait_for(|ready| *ready).await;
    }

    /// Tells what `status` shows as the listening addresses.
    pub async fn set_listening(&self, addresses: Vec<String>) {
        let _ = self.commands.send(Command::Listening(addresses)).await;
    }

    /// Pools, backends, verdicts, overrides.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.call(Command::Status).await
    }

    /// Which answer a client gets, and why.
    pub async fn explain(&self, query: ExplainQuery) -> Result<Explanation, ControlError> {
        self.call(|reply| Command::Explain(query, reply)).await?
    }

    /// Overrides backends. On disk, where there is a `state_dir`, before this returns.
    pub async fn set_state(&self, change: StateChange) -> Result<StateChanged, ControlError> {
        self.call(|reply| Command::SetState(change, reply)).await?
    }

    /// Loads the files again; returns when the new data answers, or with what is wrong.
    pub async fn reload(&self, cause: ReloadCause) -> Result<ReloadStatus, ControlError> {
        self.call(|reply| Command::Reload(cause, reply)).await
    }

    /// Writes what is to be kept (verdicts, serials) and stops the checker.
    pub async fn shutdown(&self) {
        let _ = self.call(Command::Shutdown).await;
    }

    async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControlError::Gone)?;
        answer.await.map_err(|_| ControlError::Gone)
    }
}

/// A prepared plan that waits for first verdicts.
struct Pending {
    prepared: Prepared,
    deadline: Instant,
    cause: &'static str,
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

struct Supervisor {
    world: World,
    checker: Checker,
    saver: Option<Saver>,
    config_file: Option<PathBuf>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    generations: watch::Sender<u64>,
    ready: watch::Sender<bool>,
    watched: watch::Sender<Watched>,
    started: Instant,
    started_wall: SystemTime,
    /// The settings in force that a reload cannot change.
    bound: Option<ServerPlan>,
    listening: Vec<String>,
    pending: Option<Pending>,
    reload: ReloadStatus,
    loads: mpsc::Sender<Loaded>,
    loading: bool,
    /// Asked for while a load was running: taken together afterwards.
    asked: VecDeque<(ReloadCause, Option<oneshot::Sender<ReloadStatus>>, Option<Edited>)>,
    waiters: Vec<oneshot::Sender<ReloadStatus>>,
    cadences: HashMap<ProbeId, Cadence>,
    unlogged: Vec<Transition>,
    logged: usize,
    logged_since: Instant,
    /// Transitions beyond [`LOGGED`], not yet said.
    unsaid: usize,
    published: Instant,
    last_save: Instant,
    unsaved: bool,
}

impl Supervisor {
    fn new(saved: &Saved, memory: Option<Memory>, checker: Checker, config_file: Option<PathBuf>) -> Supervisor {
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
            config_file,
            generations: watch::channel(0).0,
            ready: watch::channel(false).0,
            watched: watch::channel(Watched { paths: Vec::new(), loaded: started_wall }).0,
            started,
            started_wall,
            bound: None,
            listening: Vec::new(),
            pending: None,
            reload: ReloadStatus {
                ok: true,
                at: status::time_text(started_wall),
                cause: "start".to_owned(),
                messages: Vec::new(),
                rendered: Vec::new(),
            },
            loads,
            loading: false,
            asked: VecDeque::new(),
            waiters: Vec::new(),
            cadences: HashMap::new(),
            unlogged: Vec::new(),
            logged: 0,
            logged_since: started,
            unsaid: 0,
            published: started,
            last_save: started,
            unsaved: false,
        }
    }

    async fn run(mut self, plan: Plan, mut inbox: mpsc::Receiver<Command>, mut results: mpsc::Receiver<Observation>) {
        let (loads, mut loaded) = mpsc::channel(1);
        self.loads = loads;
        self.watched.send_replace(Watched { paths: plan.server.watched.clone(), loaded: plan.began });
        let mut edits: Edits = files::watch(self.watched.subscribe());
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        self.bound = Some(plan.server.clone());
        self.take_plan(plan, "start", Vec::new());
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
                        self.save_now().await;
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
        }
    }

    fn now(&self) -> Now {
        Now { wall: SystemTime::now(), mono: self.started.elapsed() }
    }

    fn observe(&mut self, observation: &Observation) {
        let now = self.now();
        let Effect { transitions, cadence, decided } = self.world.observe(observation.probe, &observation.outcome, now);
        if let Some(cadence) = cadence {
            let present = self.cadences.entry(observation.probe).or_default();
            if *present != cadence {
                *present = cadence;
                self.checker.cadence(observation.probe, cadence);
            }
        }
        self.unsaved |= !transitions.is_empty();
        self.unlogged.extend(transitions);
        if decided && let Some(pending) = &mut self.pending {
            pending.prepared.waiting.remove(&observation.probe);
            if pending.prepared.waiting.is_empty() {
                self.install();
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Command::Explain(query, reply) => {
                let _ = reply.send(explain::explain(&self.world, &query));
            }
            Command::SetState(change, reply) => self.set_state(change, reply),
            Command::Reload(cause, reply) => self.ask_load(cause, Some(reply), None),
            Command::Listening(addresses) => self.listening = addresses,
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
            health: status::health(&self.world, self.reload.ok),
            listening: self.listening.clone(),
            reload: self.reload.clone(),
            zones: status::zones(&self.world),
            transitions: self.world.transitions.iter().map(status::transition_status).collect(),
        }
    }

    /// Overrides take effect at once and are answered when they are on disk; what cannot be kept is taken back.
    fn set_state(&mut self, change: StateChange, reply: oneshot::Sender<Result<StateChanged, ControlError>>) {
        let now = self.now();
        let lasting = change.for_ms.map(Duration::from_millis);
        if lasting.is_some_and(|lasting| lasting > LONGEST_OVERRIDE) {
            let message = "an override ends within a century; without an end it holds until it is removed".to_owned();
            let _ = reply.send(Err(ControlError::Invalid(message)));
            return;
        }
        let entry = Override {
            state: change.state,
            since: now.wall,
            until: lasting.map(|lasting| now.wall + lasting),
            reason: change.reason,
            by: change.by,
        };
        let before = self.world.overrides.clone();
        let backends = match self.world.set_state(&change.backend, &entry, now) {
            Ok(backends) => backends,
            Err(message) if message.starts_with("no backend") => {
                let _ = reply.send(Err(ControlError::NotFound(message)));
                return;
            }
            Err(message) => {
                let _ = reply.send(Err(ControlError::Invalid(message)));
                return;
            }
        };
        if let Some(saver) = &self.saver
            && let Err(error) = saver.save_and_wait(self.world.saved())
        {
            self.world.restore_overrides(before);
            let message = format!("the override could not be kept, nothing changed: {error}");
            let _ = reply.send(Err(ControlError::Failed(message)));
            return;
        }
        for backend in &backends {
            tracing::info!(
                "{backend} override={} by={} reason={:?}",
                super::world::state_word(entry.state),
                entry.by.as_deref().unwrap_or("-"),
                entry.reason.as_deref().unwrap_or("")
            );
        }
        self.publish();
        let mut warnings = Vec::new();
        if self.saver.is_none() && entry.state != AdminState::Auto {
            warnings.push("no state_dir: the override ends with the process".to_owned());
        }
        warnings.extend(self.world.pools_without_candidates(&backends));
        let _ = reply.send(Ok(StateChanged { backends, kept: self.saver.is_some(), warnings }));
    }

    fn tick(&mut self) {
        let now = self.now();
        for backend in self.world.tick(now) {
            tracing::info!("{backend}: the override ended");
            self.unsaved = true;
        }
        self.say_further_transitions();
        // Verdicts carry the time of their latest result, so they are written now and then even when calm.
        let calm = Duration::from_secs(2).max(Duration::from_millis(self.world.probes.len() as u64));
        if let Some(saver) = &self.saver
            && (self.unsaved || self.last_save.elapsed() > calm)
        {
            self.unsaved = false;
            self.last_save = Instant::now();
            saver.save(self.world.saved());
        }
    }

    async fn save_now(&self) {
        if let Some(saver) = &self.saver
            && let Err(error) = saver.save_and_wait(self.world.saved())
        {
            tracing::error!("what is to be kept could not be written: {error}");
        }
    }

    fn publish(&mut self) {
        let now = self.now();
        self.published = Instant::now();
        if let Some(snapshot) = self.world.publish(now) {
            self.store(snapshot);
        }
        self.log_transitions();
    }

    fn store(&mut self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation;
        self.snapshots.store(snapshot);
        self.generations.send_replace(generation);
    }

    /// Once, on the edge, both states.
    fn log_transitions(&mut self) {
        self.say_further_transitions();
        let alone = self.unlogged.len().min(LOGGED.saturating_sub(self.logged));
        self.logged += alone;
        self.unsaid += self.unlogged.len() - alone;
        for one in self.unlogged.drain(..).take(alone) {
            let address = one.address.map(|address| address.to_string()).unwrap_or_default();
            let took = one.took.map(|took| format!(" after {} ms", took.as_millis())).unwrap_or_default();
            if one.to == "down" {
                tracing::warn!("{} {address} {} -> {}: {}{took}", one.id, one.from, one.to, one.reason);
            } else {
                tracing::info!("{} {address} {} -> {}: {}{took}", one.id, one.from, one.to, one.reason);
            }
        }
    }

    /// Once a second, what was too much to be logged one by one.
    fn say_further_transitions(&mut self) {
        if self.logged_since.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.unsaid > 0 {
            tracing::warn!("{} further transitions; `rollcall status` shows what holds now", self.unsaid);
        }
        (self.logged, self.unsaid, self.logged_since) = (0, 0, Instant::now());
    }

    /// One load at a time; what is asked meanwhile is one more load afterwards.
    fn ask_load(&mut self, cause: ReloadCause, reply: Option<oneshot::Sender<ReloadStatus>>, edited: Option<Edited>) {
        if self.loading {
            self.asked.push_back((cause, reply, edited));
            return;
        }
        self.loading = true;
        self.waiters.extend(reply);
        let (file, loads) = (self.config_file.clone(), self.loads.clone());
        let load = move || {
            // Loading a large zone takes a core for seconds: answers come first. The nice value is the thread's own on
            // Linux, and the thread ends with the load.
            let _ = rustix::process::nice(LOADER_NICE);
            let began = SystemTime::now();
            // A load that never ended would be the last one: no other starts before it is done.
            let result = std::panic::catch_unwind(|| crate::config::load(file.as_deref())).unwrap_or_else(|_| {
                let message = "reading it failed inside rollcall; that is a defect, please report it".to_owned();
                let file = file.clone().unwrap_or_default();
                Err(LoadError { diagnostics: vec![Diagnostic::about_file(Severity::Error, &file, message, None)] })
            });
            let stale = cause == ReloadCause::Edit && edited.is_some_and(|edited| !edited.still_holds());
            let _ = loads.blocking_send(Loaded { result, cause, began, stale });
        };
        if let Err(error) = std::thread::Builder::new().name("loader".to_owned()).spawn(load) {
            self.loading = false;
            let file = self.config_file.clone().unwrap_or_default();
            let message = format!("no thread to load with: {error}");
            let error = LoadError { diagnostics: vec![Diagnostic::about_file(Severity::Error, &file, message, None)] };
            let waiters = std::mem::take(&mut self.waiters);
            self.refuse_load(&error, SystemTime::now(), cause.word(), waiters);
        }
    }

    fn loaded(&mut self, load: Loaded) {
        self.loading = false;
        let waiters = std::mem::take(&mut self.waiters);
        let cause = load.cause.word();
        match load.result {
            // Somebody is still writing: what was read may be half a file. Another edit follows.
            _ if load.stale && waiters.is_empty() => tracing::debug!("files changed while they were read"),
            Ok(plan) => self.take_plan(plan, cause, waiters),
            Err(error) => self.refuse_load(&error, load.began, cause, waiters),
        }
        let mut next: Option<(ReloadCause, Option<Edited>)> = None;
        while let Some((cause, reply, edited)) = self.asked.pop_front() {
            self.waiters.extend(reply);
            // A command takes what lies there, whatever else was asked.
            let cause = if next.as_ref().is_some_and(|(known, _)| *known != ReloadCause::Edit) {
                next.as_ref().map_or(cause, |(known, _)| *known)
            } else {
                cause
            };
            next = Some((cause, edited));
        }
        if let Some((cause, edited)) = next {
            self.ask_load(cause, None, edited);
        }
    }

    fn refuse_load(
        &mut self,
        error: &LoadError,
        began: SystemTime,
        cause: &str,
        waiters: Vec<oneshot::Sender<ReloadStatus>>,
    ) {
        // Files that only the new text names, a certificate still to come perhaps: creating them is an edit too.
        // What changed before this load is refused already: only what changes after its beginning is an edit.
        let named = error.diagnostics.iter().map(|diagnostic| diagnostic.file.clone());
        self.watched.send_if_modified(|watched| {
            let known = watched.paths.len();
            for file in named {
                if !watched.paths.contains(&file) {
                    watched.paths.push(file);
                }
            }
            let more = watched.paths.len() > known;
            if more {
                watched.loaded = began;
            }
            more
        });
        for diagnostic in &error.diagnostics {
            tracing::error!("reload refused, the old data goes on serving: {}", diagnostic.rendered);
        }
        let status = ReloadStatus {
            ok: false,
            at: status::time_text(SystemTime::now()),
            cause: cause.to_owned(),
            messages: error.diagnostics.iter().map(ToString::to_string).collect(),
            rendered: error.diagnostics.iter().map(|diagnostic| diagnostic.rendered.clone()).collect(),
        };
        if let Some(pending) = &mut self.pending {
            pending.refused = Some(status.clone());
        }
        self.finish_reload(status, waiters);
    }

    fn finish_reload(&mut self, status: ReloadStatus, waiters: Vec<oneshot::Sender<ReloadStatus>>) {
        self.reload = status.clone();
        for waiter in waiters {
            let _ = waiter.send(status.clone());
        }
        // A new status is news for those who watch, even when no answer changed.
        self.generations.send_modify(|_| {});
    }

    /// Gives the plan's probes to the checker, and installs it once the awaited ones have a verdict.
    fn take_plan(&mut self, plan: Plan, cause: &'static str, waiters: Vec<oneshot::Sender<ReloadStatus>>) {
        let now = self.now();
        let prepared = self.world.prepare(plan, now);
        let mut waiters = waiters;
        let mut removed = Vec::new();
        let mut deadline = Instant::now() + WAIT;
        if let Some(overtaken) = self.pending.take() {
            waiters.extend(overtaken.waiters);
            removed = self.world.abandon(Some(&prepared));
            // Reloads do not lengthen the wait: not that of the start at all, later only by probes that are new with them.
            if !*self.ready.borrow() || prepared.waiting.is_subset(&overtaken.prepared.waiting) {
                deadline = overtaken.deadline;
            }
        }
        for id in &removed {
            self.cadences.remove(id);
        }
        self.checker.change(removed, prepared.added.clone());
        self.pending = Some(Pending { prepared, deadline, cause, waiters, refused: None });
        if self.pending.as_ref().is_some_and(|pending| pending.prepared.waiting.is_empty()) {
            self.install();
        }
    }

    fn wait_is_over(&mut self) {
        if let Some(pending) = &self.pending
            && Instant::now() >= pending.deadline
        {
            tracing::warn!("{} probes gave no verdict within 5 s: they count as up", pending.prepared.waiting.len());
            self.install();
        }
    }

    fn install(&mut self) {
        let Some(Pending { prepared, cause, waiters, refused, .. }) = self.pending.take() else { return };
        let now = self.now();
        let removed = self.world.install(prepared, now);
        self.unlogged.extend(self.world.take_first_failures());
        for id in &removed {
            self.cadences.remove(id);
        }
        self.checker.change(removed, Vec::new());
        self.store(self.world.snapshot().clone());
        self.log_transitions();
        self.unsaved = true;
        let plan = self.world.plan().clone();
        self.watched.send_replace(Watched { paths: plan.server.watched.clone(), loaded: plan.began });
        if let Err(error) = crate::telemetry::change(&plan.server.log_level, plan.server.log_json) {
            tracing::warn!("log.level: {error}");
        }
        let mut messages: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        messages.extend(self.at_restart(&plan.server));
        if cause != "start" {
            let (zones, pools) = (plan.zones.len(), plan.pools.len());
            tracing::info!(
                "reload ({cause}): {zones} zones, {pools} pools, generation {}",
                self.world.snapshot().generation
            );
            messages.iter().for_each(|message| tracing::warn!("{message}"));
        }
        let rendered = Vec::new();
        let at = status::time_text(now.wall);
        self.finish_reload(ReloadStatus { ok: true, at, cause: cause.to_owned(), messages, rendered }, waiters);
        if let Some(refused) = refused {
            self.finish_reload(refused, Vec::new());
        }
        self.ready.send_replace(true);
    }

    /// Settings that were changed but wait for a restart.
    fn at_restart(&self, new: &ServerPlan) -> Vec<String> {
        let Some(old) = &self.bound else { return Vec::new() };
        let listen = |plan: &ServerPlan| {
            (plan.dns.clone(), plan.tls.clone(), plan.https.clone(), plan.quic.clone(), plan.control.clone())
        };
        [
            ("listen", listen(old) != listen(new)),
            ("user", old.user != new.user),
            ("state_dir", old.state_dir != new.state_dir),
            ("dns.udp_workers", old.udp_workers != new.udp_workers),
            ("dns.max_udp_payload", old.dns_options.max_udp_payload < new.dns_options.max_udp_payload),
            ("tls", old.certificate != new.certificate),
        ]
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| format!("{key} changed: takes effect at restart"))
        .collect()
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
