//! The supervisor's part in the life of the process: a pulse for the service manager, and handing over to a successor.

use std::time::Duration;

use tokio::sync::oneshot;

use super::super::handover::Live;
use super::super::status;
use super::super::view::Health;
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
            Life::Live(last, reply) => {
                let _ = reply.send(self.hand_over(last));
            }
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

    /// What is on its way to the disk goes there before the successor may write.
    fn hand_over(&mut self, last: bool) -> Result<Box<Live>, String> {
        if last {
            if let Some(saver) = &self.saver {
                saver.save_and_wait(self.world.saved())?;
            }
            if let Some(journal) = &self.journal {
                journal.pause();
            }
            self.handed_over = true;
        }
        Ok(Box::new(self.world.live()))
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

/// Longest that a pulse may take before the supervisor counts as hung.
pub(in super::super) const PULSE_PATIENCE: Duration = Duration::from_secs(5);
