//! The probes that run, by identity, with their counters. Numbers live as long as the identity does, over reloads.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::Now;
use super::memory::SavedVerdict;
use crate::engine::feedback::Said;
use crate::engine::health::{Observed, Tracker, Verdict, calculated};
use crate::engine::probe::{OfProbe, Outcome, ProbeId, ProbeKind, ProbeSpec};

/// All probes.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    by_spec: HashMap<Arc<ProbeSpec>, ProbeId>,
    by_id: HashMap<ProbeId, Probe, RandomState>,
    /// Calculated probes by what they count.
    counting: HashMap<ProbeId, Vec<ProbeId>>,
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
    /// What the backend says of itself, all that still holds.
    pub(crate) said: Said,
    /// Counts as up although it fails: verdicts are frozen.
    pub(crate) held: bool,
    /// The verdict is that of before a restart, and no result came since.
    pub(crate) restored: bool,
    /// When the first of the contrary results in a row came.
    contrary_since: Option<Duration>,
}

/// A verdict from which a new probe starts.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// Nothing is known.
    Unknown,
    /// The check was changed: the old verdict holds until the first result.
    Held(Verdict, Option<SystemTime>, String, Said),
    /// Kept over a restart: verdict, since when, the latest result's time and reason, what the backend said of itself.
    Restored(Verdict, SystemTime, SystemTime, String, Said),
}

/// What a result did.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) observed: Observed,
    /// What the backend said of itself before, where that changed.
    pub(crate) said_before: Option<Said>,
    /// It is the first since a restart.
    pub(crate) first: bool,
    /// From the first contrary result to this one.
    pub(crate) took: Option<Duration>,
}

impl Probe {
    /// The verdict in force: what the counters say, but for one that is held up.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self.tracker.verdict() {
            Some(Verdict::Down) if self.held => Some(Verdict::Up),
            verdict => verdict,
        }
    }
}

impl Probes {
    /// Holds a probe that fails as up, or no longer.
    pub(crate) fn set_held(&mut self, id: ProbeId, held: bool) {
        if let Some(probe) = self.by_id.get_mut(&id) {
            probe.held = held;
        }
    }

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
            said: Said::default(),
            held: false,
            restored: false,
            contrary_since: None,
        };
        match start() {
            Start::Unknown => {}
            Start::Held(verdict, since, reason, said) => {
                probe.said = said;
                probe.tracker = Tracker::holding(&spec.timing, verdict);
                probe.since = since;
                probe.reason = reason;
            }
            Start::Restored(verdict, since, last, reason, said) => {
                probe.said = said;
                probe.tracker = Tracker::restored(&spec.timing, verdict);
                probe.restored = true;
                probe.since = Some(since);
                probe.last = Some(last);
                probe.reason = reason;
            }
        }
        if let ProbeKind::Of(of) = &spec.kind {
            // What it counts stands before it in the plan, so it has its number.
            for member in of.members.iter().filter_map(|member| self.by_spec.get(&member.spec)) {
                let counting = self.counting.entry(*member).or_default();
                if !counting.contains(&id) {
                    counting.push(id);
                }
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
        if !gone.is_empty() {
            self.counting.retain(|counted, counting| {
                counting.retain(|id| kept.contains(id));
                kept.contains(counted) && !counting.is_empty()
            });
        }
        gone
    }

    /// Takes a result in; `None` when the probe is gone.
    pub(crate) fn observe(&mut self, id: ProbeId, outcome: &Outcome, now: Now) -> Option<Seen> {
        let probe = self.by_id.get_mut(&id)?;
        let observed = probe.tracker.observe(outcome.passed);
        let first = std::mem::take(&mut probe.restored);
        let mut said_before = None;
        if let Some(now) = &outcome.said {
            let before = probe.said.clone();
            said_before = probe.said.add(now).then_some(before);
        }
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
        if observed.transition.is_some_and(|(_, verdict)| verdict == Verdict::Up) {
            probe.held = false;
        }
        let took = observed.transition.map(|_| now.mono.saturating_sub(began));
        Some(Seen { observed, said_before, first, took })
    }

    /// The calculated probes that count this one.
    pub(crate) fn counting(&self, id: ProbeId) -> &[ProbeId] {
        self.counting.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What a calculated probe says now; `None` while too little is known, and for a probe of another kind.
    pub(crate) fn calculate(&self, id: ProbeId) -> Option<Outcome> {
        let spec = &self.by_id.get(&id)?.spec;
        let ProbeKind::Of(of) = &spec.kind else { return None };
        let passing = |index: usize| -> Option<bool> {
            let member = &of.members[index];
            Some((self.verdict_of(&member.spec)? == Verdict::Up) != member.inverted)
        };
        let passed = calculated(of.need, (0..of.members.len()).map(passing))?;
        let reason = reason(of, passing, spec.invert);
        Some(Outcome { passed: passed != spec.invert, reason, latency: Duration::ZERO, said: None })
    }

    /// A verdict taken over from a server that runs is as good as this one's own.
    pub(crate) fn believe(&mut self, id: ProbeId) {
        if let Some(probe) = self.by_id.get_mut(&id) {
            probe.restored = false;
        }
    }

    /// The least time until the verdict can change: of a calculated probe, until one that it counts can. None at all while
    /// it is that of before a restart: what happened meanwhile nobody saw.
    pub(crate) fn time_to_change(&self, probe: &Probe) -> Duration {
        let ProbeKind::Of(of) = &probe.spec.kind else {
            return if probe.restored { Duration::ZERO } else { probe.tracker.time_to_change() };
        };
        let members = of.members.iter().filter_map(|member| self.by_id.get(self.by_spec.get(&member.spec)?));
        members.map(|member| self.time_to_change(member)).min().unwrap_or(Duration::MAX)
    }

    fn verdict_of(&self, spec: &Arc<ProbeSpec>) -> Option<Verdict> {
        self.by_id.get(self.by_spec.get(spec)?)?.verdict()
    }

    /// Takes a verdict over from a server that knows better: unless this one has a later result of its own.
    pub(crate) fn catch_up(&mut self, fingerprints: &HashMap<String, ProbeId>, one: &SavedVerdict, contrary: u32) {
        let Some(probe) = fingerprints.get(&one.probe).and_then(|id| self.by_id.get_mut(id)) else { return };
        if probe.last.is_some_and(|last| last > one.last) {
            return;
        }
        let verdict = if one.up { Verdict::Up } else { Verdict::Down };
        probe.tracker = Tracker::resumed(&probe.spec.timing, verdict, contrary);
        probe.restored = false;
        probe.since = Some(one.since);
        probe.last = Some(one.last);
        probe.reason.clone_from(&one.reason);
        probe.contrary_since = None;
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

/// `1 of 2 pass, 2 needed: a up, !b failing`
fn reason(of: &OfProbe, passing: impl Fn(usize) -> Option<bool>, inverted: bool) -> String {
    let mut passed = 0;
    let mut words = Vec::with_capacity(of.members.len());
    for (index, member) in of.members.iter().enumerate() {
        let not = if member.inverted { "!" } else { "" };
        let word = match passing(index) {
            Some(true) => {
                passed += 1;
                "passes"
            }
            Some(false) => "fails",
            None => "unknown",
        };
        words.push(format!("{not}{} {word}", member.check));
    }
    let inverted = if inverted { " (inverted)" } else { "" };
    format!("{passed} of {} pass, {} needed: {}{inverted}", of.members.len(), of.need, words.join(", "))
}
