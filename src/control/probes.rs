//! The probes that run, by identity, with their counters. Numbers live as long as the identity does, over reloads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Now;
use crate::engine::health::{Observed, Tracker, Verdict};
use crate::engine::probe::{Outcome, ProbeId, ProbeSpec};

/// All probes.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    by_spec: HashMap<Arc<ProbeSpec>, ProbeId>,
    by_id: HashMap<ProbeId, Probe>,
    next: u32,
}

/// One probe and what it has seen.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) spec: Arc<ProbeSpec>,
    pub(crate) tracker: Tracker,
    /// Since when the verdict holds.
    pub(crate) since: Option<SystemTime>,
    /// When the latest result came.
    pub(crate) last: Option<SystemTime>,
    /// What the latest result was, in words.
    pub(crate) reason: String,
    pub(crate) latency: Option<Duration>,
    /// When the first of the contrary results in a row came.
    contrary_since: Option<Duration>,
}

/// A verdict from which a new probe starts.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// Nothing is known.
    Unknown,
    /// The check was changed: the old verdict holds until the first result.
    Held(Verdict, Option<SystemTime>, String),
    /// Kept over a restart.
    Restored(Verdict, SystemTime, SystemTime, String),
}

/// What a result did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) observed: Observed,
    /// From the first contrary result to this one.
    pub(crate) took: Option<Duration>,
}

impl Probes {
    /// The number of that identity, and whether it is new.
    pub(crate) fn register(&mut self, spec: &Arc<ProbeSpec>, start: impl FnOnce() -> Start) -> (ProbeId, bool) {
        if let Some(&id) = self.by_spec.get(spec) {
            return (id, false);
        }
        let id = ProbeId(self.next);
        self.next += 1;
        let mut probe = Probe {
            spec: spec.clone(),
            tracker: Tracker::new(&spec.timing),
            since: None,
            last: None,
            reason: String::new(),
            latency: None,
            contrary_since: None,
        };
        match start() {
            Start::Unknown => {}
            Start::Held(verdict, since, reason) => {
                probe.tracker = Tracker::holding(&spec.timing, verdict);
                probe.since = since;
                probe.reason = reason;
            }
            Start::Restored(verdict, since, last, reason) => {
                probe.tracker = Tracker::restored(&spec.timing, verdict);
                probe.since = Some(since);
                probe.last = Some(last);
                probe.reason = reason;
            }
        }
        self.by_spec.insert(spec.clone(), id);
        self.by_id.insert(id, probe);
        (id, true)
    }

    /// Removes all but `kept`; returns the removed.
    pub(crate) fn retain(&mut self, kept: &HashSet<ProbeId>) -> Vec<ProbeId> {
        let gone: Vec<ProbeId> = self.by_id.keys().filter(|id| !kept.contains(id)).copied().collect();
        for id in &gone {
            if let Some(probe) = self.by_id.remove(id) {
                self.by_spec.remove(&probe.spec);
            }
        }
        gone
    }

    /// Takes a result in; `None` when the probe is gone.
    pub(crate) fn observe(&mut self, id: ProbeId, outcome: &Outcome, now: Now) -> Option<Seen> {
        let probe = self.by_id.get_mut(&id)?;
        let observed = probe.tracker.observe(outcome.passed);
        probe.last = Some(now.wall);
        probe.latency = Some(outcome.latency);
        if probe.reason != outcome.reason {
            probe.reason.clone_from(&outcome.reason);
        }
        let began = *probe.contrary_since.get_or_insert(now.mono);
        if observed.transition.is_some() {
            probe.since = Some(now.wall);
        }
        if probe.tracker.contrary() == 0 {
            probe.contrary_since = None;
        }
        let took = observed.transition.map(|_| now.mono.saturating_sub(began));
        Some(Seen { observed, took })
    }

    pub(crate) fn get(&self, id: ProbeId) -> Option<&Probe> {
        self.by_id.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProbeId, &Probe)> {
        self.by_id.iter().map(|(&id, probe)| (id, probe))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}
