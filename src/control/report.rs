//! What came of a failure, played or real: what happened when, how long somebody was still led to a backend that was gone,
//! and where the traffic went. `simulate` and `drill` report in the same shape, so that one can be held against the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Stands for the backend of clients who got no address.
pub const NOBODY: &str = "(none)";

/// What came of it. Times are milliseconds since the beginning: since the server was ready, or since the drill began.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DrillOutcome)]
pub struct Report {
    /// Everything that happened, in order.
    pub timeline: Vec<Line>,
    /// One entry for each backend that left a name's answers.
    pub withdrawals: Vec<Withdrawal>,
    /// Whom clients were led to, from one step to the next.
    pub traffic: Vec<Traffic>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DrillLine)]
pub struct Line {
    /// When.
    pub at_ms: u64,
    /// What, in words.
    pub what: String,
}

/// A backend's way out of the answers, and back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawal {
    /// `zone/pool/backend`
    pub backend: String,
    /// The step that began it: `kill`, `hang`, `drain`, `down`.
    pub step: String,
    /// When that was.
    pub at_ms: u64,
    /// Time to detect: from the step until what the server answers no longer names it; `None` when answers went on naming it.
    pub detected_ms: Option<u64>,
    /// From the step until the first answer that a client got without it, after which none named it.
    #[serde(default)]
    pub first_without_ms: Option<u64>,
    /// From the step until no client could have it in its cache any more.
    pub exposed_ms: Option<u64>,
    /// From the step that brought it back until an answer named it again.
    #[serde(default)]
    pub returned_ms: Option<u64>,
}

/// Shares of clients, by backend, in one stretch of time. Each client counts alike; it takes the first address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = DrillTraffic)]
pub struct Traffic {
    /// What the stretch stands behind: `before`, `kill b1`, `restore b1`; of a drill `before`, `during`, `after`.
    #[serde(default)]
    pub phase: String,
    /// Beginning of the stretch.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
    /// Share of each backend, 0 to 1; [`NOBODY`] for those who got no address.
    pub shares: BTreeMap<String, f64>,
}

/// Caches, one a client, and what they led to in which stretch of time. `T` is a moment: virtual or real.
#[derive(Debug)]
pub(crate) struct Stretches {
    /// Phase, beginning, and the seconds that clients spent on each backend.
    all: Vec<(String, u64, BTreeMap<String, f64>)>,
}

impl Stretches {
    pub(crate) fn begin(phase: &str, at_ms: u64) -> Stretches {
        Stretches { all: vec![(phase.to_owned(), at_ms, BTreeMap::new())] }
    }

    /// Another stretch from that moment on; several steps of one moment are one.
    pub(crate) fn next(&mut self, phase: &str, at_ms: u64) {
        match self.all.last_mut() {
            Some((last, from, _)) if *from == at_ms => phase.clone_into(last),
            _ => self.all.push((phase.to_owned(), at_ms, BTreeMap::new())),
        }
    }

    /// One client was led there for so many seconds of the present stretch.
    pub(crate) fn add(&mut self, backend: &str, seconds: f64) {
        let Some((.., shares)) = self.all.last_mut() else { return };
        match shares.get_mut(backend) {
            Some(share) => *share += seconds,
            None => drop(shares.insert(backend.to_owned(), seconds)),
        }
    }

    pub(crate) fn traffic(self, end_ms: u64) -> Vec<Traffic> {
        let ends: Vec<u64> = self.all.iter().skip(1).map(|(_, from, _)| *from).chain([end_ms]).collect();
        let stretches = self.all.into_iter().zip(ends).map(|((phase, from_ms, shares), to_ms)| {
            let whole: f64 = shares.values().sum();
            let part = |share: f64| share / whole.max(f64::MIN_POSITIVE);
            let shares = shares.into_iter().map(|(backend, share)| (backend, part(share))).collect();
            Traffic { phase, from_ms, to_ms, shares }
        });
        stretches.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stretch_adds_up_to_one() {
        let mut stretches = Stretches::begin("before", 0);
        stretches.add("a", 3.0);
        stretches.add("b", 1.0);
        stretches.next("down b", 1000);
        stretches.next("down b, c", 1000);
        stretches.add("a", 2.0);
        let traffic = stretches.traffic(2500);
        assert_eq!(traffic.len(), 2);
        assert_eq!((traffic[0].to_ms, traffic[0].shares["a"], traffic[0].shares["b"]), (1000, 0.75, 0.25));
        assert_eq!((traffic[1].phase.as_str(), traffic[1].to_ms, traffic[1].shares["a"]), ("down b, c", 2500, 1.0));
    }
}
