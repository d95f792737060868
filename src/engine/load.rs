//! Weights that follow the free capacity which backends report: the policy `least-load`. Pure; time is an argument.
//!
//! What a backend reports is the work of answers given one TTL ago and more, and whoever follows such a report at once sends
//! everybody to the idle backend until that one is the busy one (Akamai's `balanceByDownloadScore` is deprecated for it).
//! So weights *move towards* free capacity, slowly enough for their effect to come back before they have gone too far:
//!
//! ```text
//! lean     = what a backend gets of its part by capacity; 1 at first
//! towards    its free share of capacity, over the mean free share of all
//! by         1 - exp(-seconds * mean free share / (2 * (TTL + interval)))     of the way, on a logarithmic scale
//! weight   = configured weight * capacity * lean
//! ```
//!
//! Near full load the free share answers a small shift of load with a large change: by the factor 1 / mean free share. The mean
//! free share in the exponent takes that back, so that the loop is as calm at 90 % load as at 10 %.

use std::collections::HashMap;
use std::time::Duration;

use super::feedback::Load;

/// No backend counts as fuller than this: it keeps a trickle, by which it is seen to recover.
const LEAST_FREE: f64 = 0.05;
/// Bounds of `lean`.
const LEAN: std::ops::RangeInclusive<f64> = 0.05..=20.0;
/// The largest weight: shares in steps of a thousandth of it.
pub const SCALE: u16 = 1000;
/// Steps are at least that far apart.
const STEP: Duration = Duration::from_secs(1);
/// A weight that moved by less, in hundredths of itself, is not worth an answer that differs.
const WORTH: f64 = 1.0;

/// What the policy remembers of one pool and family.
#[derive(Debug, Clone, Default)]
pub struct Balance {
    lean: HashMap<String, f64>,
    stepped: Option<Duration>,
}

/// A backend that may be answered.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Its name.
    pub name: &'a str,
    /// As configured, and as it asks for in percent.
    pub weight: f64,
    /// What it reported last.
    pub load: Option<Load>,
}

impl Balance {
    /// Moves the weights towards what `members`, those that are answered now, report. `delay`: how old the effect of an answer
    /// is when it is reported: the TTL and the probe's interval.
    pub fn step(&mut self, members: &[Member<'_>], now: Duration, delay: Duration) {
        let Some(before) = self.stepped else {
            self.stepped = Some(now);
            return;
        };
        let passed = now.saturating_sub(before);
        if passed < STEP {
            return;
        }
        self.stepped = Some(now);
        let parts =
            members.iter().filter_map(|member| Some((member, free(member.load?), member.load?.capacity as f64)));
        let (mut all, mut all_free) = (0.0, 0.0);
        for (member, free, capacity) in parts.clone() {
            all += member.weight * capacity;
            all_free += member.weight * capacity * free;
        }
        if all <= 0.0 {
            return;
        }
        let mean = all_free / all;
        let calm = 2.0 * delay.max(STEP).as_secs_f64();
        let part = 1.0 - (-passed.as_secs_f64() * mean / calm).exp();
        for (member, free, _) in parts {
            let lean = self.lean.entry(member.name.to_owned()).or_insert(1.0);
            *lean = (lean.ln() + (free / mean).ln().mul_add(part, -lean.ln() * part)).exp();
            *lean = lean.clamp(*LEAN.start(), *LEAN.end());
        }
    }

    /// The weights, in the order of `members`; as configured while nobody has reported. Who does not report counts as one of
    /// the mean capacity.
    pub fn weights(&self, members: &[Member<'_>]) -> Vec<f64> {
        let capacities: Vec<f64> = members.iter().filter_map(|member| Some(member.load?.capacity as f64)).collect();
        if capacities.is_empty() {
            return members.iter().map(|member| member.weight).collect();
        }
        let mean = capacities.iter().sum::<f64>() / capacities.len() as f64;
        let one = |member: &Member<'_>| match member.load {
            Some(load) => member.weight * load.capacity as f64 * self.lean.get(member.name).copied().unwrap_or(1.0),
            None => member.weight * mean,
        };
        members.iter().map(one).collect()
    }

    /// Forgets backends that are gone.
    pub fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.lean.retain(|name, _| known(name));
    }
}

/// Whether new weights differ enough from those in force to be published.
pub fn worth_it(present: &[u16], new: &[u16]) -> bool {
    present.len() != new.len()
        || present.iter().zip(new).any(|(&present, &new)| {
            let (present, new) = (f64::from(present), f64::from(new));
            (new - present).abs() > (present * WORTH / 100.0).max(1.0)
        })
}

fn free(load: Load) -> f64 {
    (1.0 - load.used as f64 / load.capacity as f64).clamp(LEAST_FREE, 1.0)
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
