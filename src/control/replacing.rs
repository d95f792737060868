//! The handle's part in the life of the process: pulses, reloads as the service manager counts them, and replacement by a
//! successor, which the program that runs the server carries out.

use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use super::handle::Command;
use super::handover::Live;
use super::supervisor::{Life, PULSE_PATIENCE, Pulse};
use super::{Control, ControlError};

/// Requests to be replaced that may wait: one is carried out at a time.
const WAITING: usize = 4;

/// A server that was replaced: the answer of `POST /v1/replace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Replaced {
    /// The process that answers now.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where it listens.
    pub listening: Vec<String>,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// From the request until the successor answered.
    pub took_ms: u64,
}

/// What a request to be replaced waits for: the successor, or why there is none.
pub type ReplaceReply = oneshot::Sender<Result<Replaced, String>>;

/// Requests to be replaced, for the program that runs the server. While nobody listens they are refused.
pub type Replacements = mpsc::Receiver<ReplaceReply>;

/// What all handles of one server share.
#[derive(Debug)]
pub(super) struct Replacing {
    requests: Mutex<Option<mpsc::Sender<ReplaceReply>>>,
    lock: Option<File>,
    /// How many reloads have begun, and how many are under way.
    reloads: watch::Sender<(u64, u64)>,
}

/// A reload under way, until it is dropped.
pub(super) struct Reloading<'a>(&'a watch::Sender<(u64, u64)>);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|(_, active)| *active -= 1);
    }
}

impl Replacing {
    pub(super) fn new(lock: Option<File>) -> Replacing {
        Replacing { requests: Mutex::default(), lock, reloads: watch::channel((0, 0)).0 }
    }

    pub(super) fn reloading(&self) -> Reloading<'_> {
        self.reloads.send_modify(|(begun, active)| {
            *begun += 1;
            *active += 1;
        });
        Reloading(&self.reloads)
    }
}

impl Control {
    /// The requests to be replaced, from now on.
    pub fn replacements(&self) -> Replacements {
        let (sender, receiver) = mpsc::channel(WAITING);
        *self.replacing.requests.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Has this server replaced by a new process of the same program on the same sockets; returns when that one answers.
    /// On an error nothing has changed.
    pub async fn replace(&self) -> Result<Replaced, ControlError> {
        let requests = self.replacing.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let nobody =
            || ControlError::Invalid("this server is part of another program and cannot be replaced".to_owned());
        let (reply, answer) = oneshot::channel();
        requests.ok_or_else(nobody)?.send(reply).await.map_err(|_| ControlError::Gone)?;
        answer.await.map_err(|_| ControlError::Gone)?.map_err(ControlError::Failed)
    }

    /// How many explicit reloads have begun, and how many are under way.
    pub fn reloads(&self) -> watch::Receiver<(u64, u64)> {
        self.replacing.reloads.subscribe()
    }

    /// The lock on `state_dir` once more, where there is one.
    pub fn duplicate_lock(&self) -> Option<io::Result<File>> {
        self.replacing.lock.as_ref().map(File::try_clone)
    }

    /// A sign of life; an error when the supervisor is gone or did not answer within 5 s.
    pub async fn pulse(&self) -> Result<Pulse, ControlError> {
        let pulse = self.call(|reply| Command::Life(Life::Pulse(reply)));
        tokio::time::timeout(PULSE_PATIENCE, pulse).await.unwrap_or(Err(ControlError::Gone))
    }

    /// What a successor must know. After the `last` word this server changes and keeps nothing any more, until
    /// [`Control::resume`].
    pub async fn live(&self, last: bool) -> Result<Box<Live>, ControlError> {
        self.call(|reply| Command::Life(Life::Live(last, reply))).await?.map_err(ControlError::Failed)
    }

    /// The successor did not come up: this server decides again.
    pub async fn resume(&self) {
        let _ = self.commands.send(Command::Life(Life::Resume)).await;
    }

    /// Takes up what the replaced server says last. From then on this server decides and keeps.
    pub async fn catch_up(&self, live: Box<Live>) -> Result<(), ControlError> {
        self.call(|reply| Command::Life(Life::CatchUp(live, reply))).await
    }
}
