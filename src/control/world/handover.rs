//! What a successor must know to answer as this server would: said by the one, taken up by the other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::handover::{Live, LiveDraws, LiveTransition};
use super::super::overrides::Overrides;
use super::super::zone_text;
use super::kept::next_serial;
use super::{Now, REMEMBERED_TRANSITIONS, Transition, World, soa_template};
use crate::config::plan::SerialPlan;
use crate::engine::name::Name;
use crate::engine::snapshot::{Snapshot, Zone};

impl World {
    /// All that is known now.
    pub(crate) fn live(&self) -> Live {
        let each =
            |(zone, owner, rtype, (first, length))| (0..length).map(move |at| (zone, owner, rtype, at, first + at));
        let draws = self.slots.iter().flat_map(each).filter_map(|(zone, owner, rtype, at, slot)| {
            let counters: Vec<Option<u32>> = self.snapshot.draws.iter().map(|draws| draws.moved(slot)).collect();
            let asked = counters.iter().any(Option::is_some);
            let (zone, owner) = (Name::from_wire(zone).ok()?, Name::from_wire(owner).ok()?);
            asked.then(|| LiveDraws { zone: zone.to_string(), owner: owner.to_string(), rtype, at, counters })
        });
        let contrary = self.probes.iter().filter(|(_, probe)| probe.tracker.contrary() > 0);
        Live {
            saved: self.saved(),
            contrary: contrary.map(|(_, probe)| (probe.spec.fingerprint(), probe.tracker.contrary())).collect(),
            cookie_secret: self.random_secret,
            generation: self.snapshot.generation,
            transitions: self.transitions.iter().map(LiveTransition::from).collect(),
            udp_workers: self.plan.server.udp_workers,
            draws: draws.collect(),
            answers: self.answers_by_id(),
            traffic_zones: self.figures.zones(),
        }
    }

    /// Begins where another server is, before the first plan: its cookies stay valid, generations go on.
    pub(crate) fn begin_from(&mut self, live: &Live) {
        self.kept.live = true;
        self.random_secret = live.cookie_secret;
        Arc::make_mut(&mut self.snapshot).generation = live.generation;
        self.figures.begin_with(&live.traffic_zones);
    }

    /// Takes up what happened in the server that is replaced while this one got ready, and its draw counters. Returns the
    /// snapshot that answers from now on.
    pub(crate) fn catch_up(&mut self, live: &Live, now: Now) -> Arc<Snapshot> {
        self.overrides = Overrides::restore(&live.saved.overrides, now.wall);
        self.index_windowed();
        self.catch_up_verdicts(live);
        let mut transitions: Vec<Transition> = live.transitions.iter().map(Transition::from).collect();
        // A verdict that was taken over is news here only, and told there.
        let told: HashSet<_> = transitions.iter().map(|one| (one.at, one.id.clone(), one.address)).collect();
        transitions
            .extend(self.transitions.drain(..).filter(|one| !told.contains(&(one.at, one.id.clone(), one.address))));
        let surplus = transitions.len().saturating_sub(REMEMBERED_TRANSITIONS);
        self.transitions = transitions.into_iter().skip(surplus).collect();
        (0..self.plan.pools.len()).for_each(|pool| self.touch(pool));
        let _ = self.publish(now);
        self.catch_up_serials(live, now);
        self.catch_up_draws(live);
        self.catch_up_answers(&live.answers);
        self.snapshot.clone()
    }

    /// The other's verdict is the better one unless this server has a later result.
    fn catch_up_verdicts(&mut self, live: &Live) {
        let contrary: HashMap<&str, u32> =
            live.contrary.iter().map(|(probe, count)| (probe.as_str(), *count)).collect();
        let ids = self.probes.iter().map(|(id, probe)| (probe.spec.fingerprint(), id)).collect();
        for one in &live.saved.verdicts {
            let contrary = contrary.get(one.probe.as_str()).copied().unwrap_or(0);
            self.probes.catch_up(&ids, one, contrary);
        }
    }

    /// A serial never goes back: the other may have published while this one got ready.
    fn catch_up_serials(&mut self, live: &Live, now: Now) {
        let serials: HashMap<&str, u32> =
            live.saved.serials.iter().map(|one| (one.zone.as_str(), one.serial)).collect();
        let plan = self.plan.clone();
        let mut next = (*self.snapshot).clone();
        for (number, zone) in plan.zones.iter().enumerate() {
            let Some(&theirs) = serials.get(zone_text(&zone.origin).as_str()) else { continue };
            let Some(present) = next.zones.get(number as u32).cloned() else { continue };
            let behind = theirs.wrapping_sub(present.soa.serial()) as i32 >= 0;
            if let (SerialPlan::Auto { .. }, true) = (&zone.serial, behind)
                && let Some(soa) = soa_template(&present.data, next_serial(theirs, now.unix()))
            {
                let (data, names) = (present.data.clone(), present.names.clone());
                let zone = Zone { data, names, traffic: present.traffic, soa };
                next.zones.set(number as u32, Arc::new(zone));
            }
        }
        next.generation = next.generation.max(live.generation) + 1;
        self.snapshot = Arc::new(next);
    }

    /// Shares go on where they were. While both servers answer each draws from its own copy, so that a window over this
    /// moment may be off by two more answers.
    fn catch_up_draws(&mut self, live: &Live) {
        let text = |wire: &[u8]| Name::from_wire(wire).map(|name| name.to_string()).unwrap_or_default();
        let mut wanted: HashMap<(&str, &str, u16), Vec<&LiveDraws>> = HashMap::new();
        for one in &live.draws {
            wanted.entry((one.zone.as_str(), one.owner.as_str(), one.rtype)).or_default().push(one);
        }
        let workers = self.plan.server.udp_workers;
        for (zone, owner, rtype, (first, length)) in self.slots.iter() {
            let (zone, owner) = (text(zone), text(owner));
            let known = wanted.get(&(zone.as_str(), owner.as_str(), rtype)).map(Vec::as_slice).unwrap_or_default();
            // Routes that draw otherwise now begin anew.
            let counters = known.iter().filter(|one| one.at < length);
            for (slot, (worker, counter)) in
                counters.flat_map(|one| one.counters.iter().enumerate().map(move |each| (first + one.at, each)))
            {
                // UDP workers by number; behind them stand the stream transports and `explain`.
                let worker = match worker.checked_sub(live.udp_workers) {
                    Some(behind) => workers + behind,
                    None if worker < workers => worker,
                    None => continue,
                };
                if let (Some(draws), Some(counter)) = (self.snapshot.draws.get(worker), counter) {
                    draws.resume(slot, *counter);
                }
            }
        }
    }
}

impl From<&Transition> for LiveTransition {
    fn from(one: &Transition) -> LiveTransition {
        LiveTransition {
            at: one.at,
            id: one.id.to_string(),
            address: one.address,
            from: one.from.to_string(),
            to: one.to.to_string(),
            reason: one.reason.to_string(),
            took: one.took,
        }
    }
}

impl From<&LiveTransition> for Transition {
    fn from(one: &LiveTransition) -> Transition {
        Transition {
            at: one.at.max(SystemTime::UNIX_EPOCH),
            id: one.id.as_str().into(),
            address: one.address,
            from: one.from.clone().into(),
            to: one.to.clone().into(),
            reason: one.reason.as_str().into(),
            took: one.took,
        }
    }
}
