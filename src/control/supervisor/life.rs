//! The supervisor's part in the life of the process: a pulse for the service manager, and handing over to a successor.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::handover::Live;
use super::super::view::Health;
use super::super::{saver, status};
use super::{Saver, Supervisor};
use crate::engine::health::Verdict;

/// What the rest of the process asks of the supervisor.
pub(in super::super) enum Life {
    /// Whether it lives, and what it would say in one line.
    Pulse(oneshot::Sender<Pulse>),
    /// What a successor must know. With `true` it is the last word: from then on nothing is changed and nothing is kept.
    Live(bool, oneshot::Sender<Result<Box<Live>, String>>),
    /// The successor did not come up: go on.
    Resume,
    /// What happened in the replaced server meanwhile; from then on this server keeps the state.
    CatchUp(Box<Live>, oneshot::Sender<()>),
}

/// A sign of life with the whole in a few numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// In one word.
    pub health: Health,
    /// Zones that are served.
    pub zones: usize,
    /// Things probed.
    pub probes: usize,
    /// Of these, how many are down.
    pub down: usize,
    /// Whether the last reload was taken.
    pub reload_ok: bool,
}

impl std::fmt::Display for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let health = match self.health {
            Health::Ok => "ok",
            Health::Degraded => "degraded",
            Health::Critical => "critical",
        };
        write!(f, "{health}: {} zones, {} of {} probes down", self.zones, self.down, self.probes)?;
        if self.reload_ok { Ok(()) } else { f.write_str(", the last reload was refused") }
    }
}

impl Supervisor {
    pub(super) fn life(&mut self, life: Life) {
        match life {
            Life::Pulse(reply) => {
                let _ = reply.send(self.pulse());
            }
            Life::Live(last, reply) => self.hand_over(last, reply),
            Life::Resume => {
                self.handed_over = false;
                self.tell_on();
            }
            Life::CatchUp(live, reply) => {
                let now = self.now();
                let snapshot = self.world.catch_up(&live, now);
                self.store(snapshot);
                self.handed_over = false;
                self.unsaved = true;
                self.tell_start(Some(&live));
                let _ = reply.send(());
            }
        }
    }

    fn pulse(&self) -> Pulse {
        let down = self.world.probes.iter().filter(|(_, probe)| probe.tracker.verdict() == Some(Verdict::Down));
        Pulse {
            health: status::health(&self.world, self.reload.ok),
            zones: self.world.plan().zones.len(),
            probes: self.world.probes.len(),
            down: down.count(),
            reload_ok: self.reload.ok,
        }
    }

    /// What is on its way to the disk goes there before the successor may write. It is waited for aside: a disk that hangs ends
    /// the hand-over, and holds up no verdict.
    fn hand_over(&mut self, last: bool, reply: oneshot::Sender<Result<Box<Live>, String>>) {
        let live = Box::new(self.world.live());
        if !last {
            let _ = reply.send(Ok(live));
            return;
        }
        let saving = self.saver.as_ref().map(|saver| saver.begin(self.world.saved()));
        let journal = self.journal.clone();
        self.handed_over = true;
        tokio::task::spawn_blocking(move || {
            let kept = saving.map_or(Ok(()), |saving| saving.wait(saver::PATIENCE));
            // Who asked has given up meanwhile: this server goes on, and its journal too.
            if reply.is_closed() {
                return;
            }
            let kept = kept.and_then(|()| journal.as_ref().map_or(Ok(()), |journal| journal.pause()));
            if reply.send(kept.map(|()| live)).is_err()
                && let Some(journal) = journal
            {
                journal.begin();
            }
        });
    }

    /// The end of the process: keeps what is to be kept and tells hooks the last, each for 3 s at most and at the same time.
    pub(super) async fn stop(&mut self) {
        self.tell_stop();
        let saving = self.keeper().map(|saver| saver.begin(self.world.saved()));
        let journal = self.journal.take();
        let deadline = Instant::now() + LAST_PATIENCE;
        let disk = tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = saving.map(|saving| saving.wait(LAST_PATIENCE)) {
                tracing::error!("what is to be kept could not be written: {error}");
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if journal.is_some_and(|journal| !journal.settle_within(left)) {
                tracing::error!("the journal lacks its end: the disk did not answer in time");
            }
        });
        let _ = tokio::join!(self.hooks.finish(LAST_PATIENCE), disk);
    }

    /// Begins where another server is. Nothing is kept before that one has let go.
    pub(in super::super) fn begin_from(&mut self, live: &Live) {
        self.world.begin_from(live);
        self.snapshots.store(self.world.snapshot().clone());
        self.handed_over = true;
    }

    /// Whom to tell what is to be kept; nobody while another server does.
    pub(super) fn keeper(&self) -> Option<&Saver> {
        self.saver.as_ref().filter(|_| !self.handed_over)
    }
}

/// For the disk and the receivers of events, at the end of the process.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// Longest that a pulse may take before the supervisor counts as hung.
pub(in super::super) const PULSE_PATIENCE: Duration = Duration::from_secs(5);
