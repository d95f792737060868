//! What the world counts of its own: transitions, results of checks and how long they took; and under which numbers the
//! transports count the replies of zones. For metrics.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::FAMILIES;
use crate::config::plan::Plan;
use crate::control::zone_text;
use crate::engine::probe::{Outcome, ProbeId};
use crate::transport::ZONES;

/// Upper bounds of the times that are told apart, of checks and of publications, seconds.
pub(crate) const SECONDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// By zone, pool and new state.
    pub(crate) transitions: BTreeMap<(String, String, String), u64>,
    checks: Vec<(String, CheckFigures)>,
    /// Places in `checks`, by the check's name and by probe.
    places: HashMap<String, u32>,
    place_of: HashMap<ProbeId, u32, RandomState>,
    /// How long publications took.
    pub(crate) publications: Times,
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
    /// How long they took.
    pub(crate) times: Times,
}

/// How long something took, each time.
#[derive(Debug, Default, Clone)]
pub(crate) struct Times {
    /// How many took at most each of [`SECONDS`] and longer than the one before; then the rest.
    pub(crate) buckets: [u64; SECONDS.len() + 1],
    /// Sum of all.
    pub(crate) took: Duration,
}

impl Times {
    pub(crate) fn note(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.buckets[SECONDS.partition_point(|&bound| bound < seconds)] += 1;
        self.took += took;
    }
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
                let place = self.places.get(&probe_use.check).copied().unwrap_or_else(|| {
                    let next = self.checks.len() as u32;
                    self.places.insert(probe_use.check.clone(), next);
                    self.checks.push((probe_use.check.clone(), CheckFigures::default()));
                    next
                });
                self.place_of.entry(ids[probe_use.probe]).or_insert(place);
            }
        }
    }

    /// Forgets the checks and pools of plans that are no longer in force.
    pub(super) fn begin(&mut self, plan: &Plan, ids: &[ProbeId]) {
        self.place_of.clear();
        self.places.clear();
        let mut before: HashMap<String, CheckFigures> = std::mem::take(&mut self.checks).into_iter().collect();
        self.expect(plan, ids);
        for (check, figures) in &mut self.checks {
            *figures = before.remove(check).unwrap_or_default();
        }
        let pools: HashSet<(String, &str)> =
            plan.pools.iter().map(|pool| (zone_text(&pool.zone), pool.name.as_str())).collect();
        self.transitions.retain(|(zone, pool, _), _| pools.contains(&(zone.clone(), pool.as_str())));
    }

    /// By the check's name.
    pub(crate) fn checks(&self) -> BTreeMap<String, CheckFigures> {
        self.checks.iter().cloned().collect()
    }

    pub(super) fn transition(&mut self, id: &str, to: &str) {
        let mut parts = id.splitn(3, '/');
        let (Some(zone), Some(pool)) = (parts.next(), parts.next()) else { return };
        *self.transitions.entry((zone.to_owned(), pool.to_owned(), slug(to).to_owned())).or_default() += 1;
    }

    pub(super) fn result(&mut self, id: ProbeId, outcome: &Outcome, at: std::time::SystemTime) {
        self.last_result = Some(at);
        let Some((_, check)) = self.place_of.get(&id).and_then(|&place| self.checks.get_mut(place as usize)) else {
            return;
        };
        check.results[usize::from(!outcome.passed)] += 1;
        check.times.note(outcome.latency);
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
