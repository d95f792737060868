//! What the world counts of its own: transitions, results of checks and how long they took; and under which numbers the
//! transports count the replies of zones. For metrics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::FAMILIES;
use crate::config::plan::Plan;
use crate::control::zone_text;
use crate::engine::probe::{Outcome, ProbeId};
use crate::transport::ZONES;

/// Upper bounds of the times of checks that are told apart, seconds.
pub(crate) const CHECK_BOUNDS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By zone, pool and new state.
    pub(crate) transitions: BTreeMap<(String, String, String), u64>,
    /// By the check's name.
    pub(crate) checks: BTreeMap<String, CheckFigures>,
    check_of: HashMap<ProbeId, String>,
    /// When the latest result of all came.
    pub(crate) last_result: Option<std::time::SystemTime>,
    /// Zones by the number under which replies are counted, from 1 on.
    zones: Vec<String>,
}

/// What the probes of one check saw.
#[derive(Debug, Default, Clone)]
pub(crate) struct CheckFigures {
    /// Results that passed, and that failed.
    pub(crate) results: [u64; 2],
    /// How many took at most each of [`CHECK_BOUNDS`] and longer than the one before; then the rest.
    pub(crate) buckets: [u64; CHECK_BOUNDS.len() + 1],
    /// Sum of all.
    pub(crate) took: Duration,
}

impl Figures {
    /// The name of the zone whose replies are counted under that number.
    pub(crate) fn zone(&self, number: u8) -> &str {
        let name = usize::from(number).checked_sub(1).and_then(|at| self.zones.get(at));
        name.map_or("other", String::as_str)
    }

    /// Under which number a zone's replies are counted: the same over reloads. The first 127 have one of their own.
    pub(super) fn number_of(&mut self, zone: &str) -> u8 {
        let known = self.zones.iter().position(|known| known == zone);
        let at = known.or_else(|| {
            (self.zones.len() + 1 < ZONES).then(|| {
                self.zones.push(zone.to_owned());
                self.zones.len() - 1
            })
        });
        at.map_or(0, |at| at as u8 + 1)
    }

    pub(super) fn zones(&self) -> Vec<String> {
        self.zones.clone()
    }

    /// The numbers that a replaced server counted by.
    pub(super) fn begin_with(&mut self, zones: &[String]) {
        self.zones = zones.iter().take(ZONES - 1).cloned().collect();
    }

    /// Which check each probe of a plan is counted under: by the first use of it.
    pub(super) fn expect(&mut self, plan: &Plan, ids: &[ProbeId]) {
        for backend in plan.pools.iter().flat_map(|pool| &pool.backends) {
            for probe_use in FAMILIES.iter().flat_map(|&rtype| backend.probes(rtype)) {
                self.checks.entry(probe_use.check.clone()).or_default();
                self.check_of.entry(ids[probe_use.probe]).or_insert_with(|| probe_use.check.clone());
            }
        }
    }

    /// Forgets the checks and pools of plans that are no longer in force.
    pub(super) fn begin(&mut self, plan: &Plan, ids: &[ProbeId]) {
        self.check_of.clear();
        self.expect(plan, ids);
        let named: HashSet<&String> = self.check_of.values().collect();
        self.checks.retain(|check, _| named.contains(check));
        let pools: HashSet<(String, &str)> =
            plan.pools.iter().map(|pool| (zone_text(&pool.zone), pool.name.as_str())).collect();
        self.transitions.retain(|(zone, pool, _), _| pools.contains(&(zone.clone(), pool.as_str())));
    }

    pub(super) fn transition(&mut self, id: &str, to: &str) {
        let mut parts = id.splitn(3, '/');
        let (Some(zone), Some(pool)) = (parts.next(), parts.next()) else { return };
        *self.transitions.entry((zone.to_owned(), pool.to_owned(), slug(to).to_owned())).or_default() += 1;
    }

    pub(super) fn result(&mut self, id: ProbeId, outcome: &Outcome, at: std::time::SystemTime) {
        self.last_result = Some(at);
        let Some(check) = self.check_of.get(&id).and_then(|check| self.checks.get_mut(check)) else { return };
        check.results[usize::from(!outcome.passed)] += 1;
        let seconds = outcome.latency.as_secs_f64();
        check.buckets[CHECK_BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        check.took += outcome.latency;
    }
}

/// A state as a label: one word, and few of them.
pub(crate) fn slug(state: &str) -> &str {
    match state {
        "drain" | "draining (says the backend)" => "draining",
        "in maintenance (says the backend)" => "maintenance",
        "forced up" => "forced_up",
        "forced down" => "forced_down",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_of_pools_that_are_gone_are_forgotten() {
        let mut figures = Figures::default();
        figures.transition("lb.example.com/web/a", "down");
        assert_eq!(figures.transitions.len(), 1);
        figures.begin(&Plan::empty(), &[]);
        assert!(figures.transitions.is_empty());
    }
}
