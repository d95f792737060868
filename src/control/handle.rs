//! The handle by which everything else talks to the supervisor.

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::api::Tokens;
use super::drill::{Assessed, DrillRequest};
use super::export::Exported;
use super::handover::Live;
use super::journal::{Journal, JournalPage, JournalQuery};
use super::memory::{Memory, OpenError, Saved};
use super::metrics::Gathered;
use super::replacing::Replacing;
use super::supervisor::{BACKLOG, Life, Supervisor};
use super::view::{
    ChangesPage, ExplainQuery, Explanation, Push, Pushed, ReloadStatus, StateChange, StateChanged, Status, What,
};
use super::world::World;
use crate::checker::{self, Checker};
use crate::config::plan::Plan;
use crate::engine::snapshot::Snapshot;
use crate::transport::Counters;

/// Handle to the running supervisor. Cheap to clone; every call is answered by the one task that owns the world.
#[derive(Clone)]
pub struct Control {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) replacing: Arc<Replacing>,
    journal: Option<Journal>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    tokens: Tokens,
    generations: watch::Receiver<u64>,
    changes: watch::Receiver<u64>,
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
    /// The process begins.
    Start,
    /// A watched file changed.
    Edit,
    /// SIGHUP.
    Signal,
    /// `rollcall reload`.
    Command,
    /// `rollcall reload --force`: taken whatever it moves.
    Force,
}

impl ReloadCause {
    pub(super) fn word(self) -> &'static str {
        match self {
            ReloadCause::Start => "start",
            ReloadCause::Edit => "edit",
            ReloadCause::Signal => "SIGHUP",
            ReloadCause::Command => "command",
            ReloadCause::Force => "command, forced",
        }
    }
}

/// Why control could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// `state_dir` cannot be used.
    #[error(transparent)]
    Memory(#[from] OpenError),
    /// The system gives no thread, or no descriptors.
    #[error("the health checker cannot be started: {0}")]
    Checker(std::io::Error),
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
    /// As things stand it may not be done, and says why.
    #[error("{0}")]
    Refused(String),
    /// It could not be kept; nothing changed.
    #[error("{0}")]
    Failed(String),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Gone,
}

/// How a state change is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Aim {
    /// Its backend is the name of one, no pattern.
    pub(super) exact: bool,
    /// When it ends by itself, to the millisecond, rather than how long it lasts.
    pub(super) until: Option<SystemTime>,
}

pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Metrics(oneshot::Sender<Box<Gathered>>),
    Look(Box<dyn FnOnce(&World) + Send>),
    Explain(ExplainQuery, oneshot::Sender<Result<Explanation, ControlError>>),
    Export(String, IpAddr, oneshot::Sender<Result<Exported, ControlError>>),
    SetState(StateChange, Aim, oneshot::Sender<Result<StateChanged, ControlError>>),
    Assess(DrillRequest, oneshot::Sender<Result<Assessed, ControlError>>),
    Counters(oneshot::Sender<Arc<Counters>>),
    Push(Push, oneshot::Sender<Result<Pushed, ControlError>>),
    Reload(ReloadCause, oneshot::Sender<ReloadStatus>),
    Listening(Vec<String>),
    Life(Life),
    Traffic(Arc<Counters>),
    Shutdown(oneshot::Sender<()>),
}

impl Control {
    /// Starts the supervisor on the current runtime, and the checker beside it. Opens the plan's `state_dir`, which must be
    /// writable for the user that the process is now.
    pub fn start(start: Start) -> Result<Control, LaunchError> {
        Control::launch(start, None, None)
    }

    /// The same for a server that replaces another: it begins with what that one knows, and with its lock on `state_dir`.
    /// Until [`Control::catch_up`] nothing is kept.
    pub fn take_over(start: Start, live: Live, lock: Option<File>) -> Result<Control, LaunchError> {
        Control::launch(start, Some(live), lock)
    }

    fn launch(start: Start, live: Option<Live>, lock: Option<File>) -> Result<Control, LaunchError> {
        let (memory, saved) = match &start.plan.server.state_dir {
            Some(directory) => {
                let (memory, saved) = Memory::open_inheriting(directory, lock)?;
                (Some(memory), saved)
            }
            None => (None, Saved::default()),
        };
        let lock = memory.as_ref().and_then(|memory| memory.duplicate_lock().ok());
        let saved = live.as_ref().map_or(saved, |live| live.saved.clone());
        let (commands, inbox) = mpsc::channel(64);
        let (observations, results) = mpsc::channel(BACKLOG);
        let limit =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        let checker = Checker::start(checker::limits_for(limit), observations).map_err(LaunchError::Checker)?;
        let journal = start.plan.server.state_dir.as_deref().map(Journal::start);
        let mut supervisor = Supervisor::new(&saved, memory, journal.clone(), checker, start.config_file);
        if let Some(live) = live {
            supervisor.begin_from(&live);
        }
        let control = Control {
            commands,
            replacing: Arc::new(Replacing::new(lock)),
            journal,
            snapshots: supervisor.snapshots.clone(),
            tokens: supervisor.tokens.clone(),
            generations: supervisor.generations.subscribe(),
            changes: supervisor.changes.subscribe(),
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

    /// The tokens in force; a reload replaces them.
    pub(crate) fn tokens(&self) -> Tokens {
        self.tokens.clone()
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

    /// Tells where `status` reads what the transports count.
    pub async fn set_traffic(&self, counters: Arc<Counters>) {
        let _ = self.commands.send(Command::Traffic(counters)).await;
    }

    /// Pools, backends, verdicts, overrides.
    pub async fn status(&self) -> Result<Status, ControlError> {
        self.call(Command::Status).await
    }

    /// Everything that `/metrics` says, in the text format of OpenMetrics 1.0 or, without it, of Prometheus 0.0.4.
    pub async fn metrics(&self, openmetrics: bool) -> Result<String, ControlError> {
        let gathered = self.call(Command::Metrics).await?;
        // A hundred thousand backends take some hundred milliseconds to write.
        let written = tokio::task::spawn_blocking(move || gathered.text(openmetrics)).await;
        written
            .map_err(|error| ControlError::Failed(format!("the metrics could not be written: {error}")))?
            .map_err(|error| ControlError::Failed(format!("the metrics could not be written: {error}")))
    }

    /// Which answer a client gets, and why.
    pub async fn explain(&self, query: ExplainQuery) -> Result<Explanation, ControlError> {
        self.call(|reply| Command::Explain(query, reply)).await?
    }

    /// A zone as a master file, as it answers `client` now.
    pub async fn export(&self, zone: String, client: IpAddr) -> Result<String, ControlError> {
        let exported = self.call(|reply| Command::Export(zone, client, reply)).await??;
        // A million records take seconds to write.
        let written = tokio::task::spawn_blocking(move || exported.master_file()).await;
        written.map_err(|error| ControlError::Failed(format!("the zone could not be written: {error}")))
    }

    /// What the journal has of that time, oldest first. Errors: there is no `state_dir`, or it cannot be read.
    pub async fn journal(&self, query: JournalQuery) -> Result<JournalPage, ControlError> {
        let Some(journal) = self.journal.clone() else {
            return Err(ControlError::NotFound("no state_dir: this server keeps no journal".to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || journal.read(&query)).await.map_err(std::io::Error::other);
        read.and_then(|page| page).map_err(|error| ControlError::Failed(format!("the journal cannot be read: {error}")))
    }

    /// Overrides backends. On disk, where there is a `state_dir`, before this returns.
    pub async fn set_state(&self, change: StateChange) -> Result<StateChanged, ControlError> {
        self.call(|reply| Command::SetState(change, Aim::default(), reply)).await?
    }

    /// Overrides the one backend of that name, until then.
    pub(super) async fn set_state_of(
        &self,
        change: StateChange,
        until: Option<SystemTime>,
    ) -> Result<StateChanged, ControlError> {
        self.call(|reply| Command::SetState(change, Aim { exact: true, until }, reply)).await?
    }

    /// What changed after `since`, the oldest first, `limit` at most; only what is `wanted`.
    pub async fn changed(
        &self,
        since: Option<String>,
        limit: usize,
        wanted: impl Fn(&What) -> bool + Send + 'static,
    ) -> Result<ChangesPage, ControlError> {
        self.look(move |world| world.changes.after(since.as_deref(), limit, wanted)).await
    }

    /// Changes when there is something new among [`Control::changed`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// Looks at the world: briefly, since nothing is decided meanwhile.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&World) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        self.call(|reply| {
            Command::Look(Box::new(move |world: &World| {
                let _ = reply.send(look(world));
            }))
        })
        .await
    }

    /// Whether a drill may be done now, and what it needs to know.
    pub(crate) async fn assess(&self, request: DrillRequest) -> Result<Assessed, ControlError> {
        self.call(|reply| Command::Assess(request, reply)).await?
    }

    /// What the transports count, and where live answers can be tapped.
    pub async fn counters(&self) -> Result<Arc<Counters>, ControlError> {
        self.call(Command::Counters).await
    }

    /// Takes a heartbeat in.
    pub async fn push(&self, push: Push) -> Result<Pushed, ControlError> {
        self.call(|reply| Command::Push(push, reply)).await?
    }

    /// Loads the files again; returns when the new data answers, or with what is wrong.
    pub async fn reload(&self, cause: ReloadCause) -> Result<ReloadStatus, ControlError> {
        let _reloading = self.replacing.reloading();
        self.call(|reply| Command::Reload(cause, reply)).await
    }

    /// Writes what is to be kept (verdicts, serials) and stops the checker.
    pub async fn shutdown(&self) {
        let _ = self.call(Command::Shutdown).await;
    }

    pub(super) async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControlError::Gone)?;
        answer.await.map_err(|_| ControlError::Gone)
    }
}
