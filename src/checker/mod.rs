//! Asks the outside world and reports. Never decides who is up.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::engine::probe::{Cadence, Outcome, ProbeId, ProbeSpec};

/// One result of one probe, `invert` already applied to `outcome.passed` (the reason says what was seen).
#[derive(Debug, Clone)]
pub struct Observation {
    /// Whose.
    pub probe: ProbeId,
    /// What came out.
    pub outcome: Outcome,
}

/// Limits of the whole checker.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most probes in flight at once.
    pub in_flight: usize,
}

/// Handle to the running checker. Dropping the last one stops it.
#[derive(Debug, Clone)]
pub struct Checker {
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Change { remove: Vec<ProbeId>, add: Vec<(ProbeId, Arc<ProbeSpec>)> },
    Cadence(ProbeId, Cadence),
    ProbeNow(ProbeId),
}

impl Checker {
    /// Starts the checker on the current runtime. A full `observations` channel makes it wait; nothing is dropped.
    pub fn start(limits: Limits, observations: mpsc::Sender<Observation>) -> Checker {
        let _ = (limits, observations);
        let (commands, _) = mpsc::unbounded_channel();
        Checker { commands }
    }

    /// Removes and adds targets in one step. A new target is probed at once (first probes are spread over at most a second
    /// when there are many); a removed one reports nothing after this returns is processed.
    pub fn change(&self, remove: Vec<ProbeId>, add: Vec<(ProbeId, Arc<ProbeSpec>)>) {
        let _ = self.commands.send(Command::Change { remove, add });
    }

    /// Tells how often the target is to be probed from now on.
    pub fn cadence(&self, probe: ProbeId, cadence: Cadence) {
        let _ = self.commands.send(Command::Cadence(probe, cadence));
    }

    /// Probes a target now, out of its turn (never two in flight).
    pub fn probe_now(&self, probe: ProbeId) {
        let _ = self.commands.send(Command::ProbeNow(probe));
    }
}
