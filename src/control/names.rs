//! From names to views: which views a plan needs, what each prepares, and which counters names draw from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::time::Duration;

use super::world::World;
use crate::config::plan::{AdminState, Plan, TtlRule, ZonePlan};
use crate::engine::policy::{Because, Nothing, OnAllDown, Selection};
use crate::engine::rrtype::AAAA;
use crate::engine::view::{Addresses, Prepared, View};

/// What names share: pool, type, TTL and number of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ViewPlan {
    pub(crate) pool: usize,
    pub(crate) rtype: u16,
    pub(crate) ttl: TtlRule,
    pub(crate) answers: u16,
}

impl ViewPlan {
    /// Whether its TTL follows health.
    pub(crate) fn adapts(&self) -> bool {
        matches!(self.ttl, TtlRule::Adaptive { .. })
    }

    pub(crate) fn family(&self) -> usize {
        usize::from(self.rtype == AAAA)
    }
}

/// The distinct views of a plan, and for each zone and name which it answers. A hundred thousand names of one pool share
/// one view: a verdict costs what it changes.
pub(crate) fn view_plans(plan: &Plan) -> (Vec<ViewPlan>, Vec<Vec<u32>>) {
    let mut numbers: HashMap<ViewPlan, u32> = HashMap::new();
    let mut views = Vec::new();
    let mut number = |view: ViewPlan| {
        *numbers.entry(view).or_insert_with(|| {
            views.push(view);
            views.len() as u32 - 1
        })
    };
    let names = plan
        .zones
        .iter()
        .map(|zone| {
            zone.names
                .iter()
                .map(|name| {
                    number(ViewPlan { pool: name.pool, rtype: name.rtype, ttl: name.ttl, answers: name.answers })
                })
                .collect()
        })
        .collect();
    (views, names)
}

/// What the view answers now.
pub(crate) fn prepare_view(world: &World, view: &ViewPlan) -> View {
    let plan = world.plan();
    let mut pool = view.pool;
    // Loops are refused at load; the bound makes that assumption harmless.
    for _ in 0..plan.pools.len() {
        match world.pools[pool].families[view.family()].selection {
            Selection::To(other) => pool = other,
            _ => break,
        }
    }
    let family = &world.pools[pool].families[view.family()];
    let own = &plan.pools[view.pool];
    let answering = &plan.pools[pool];
    let all_down = Some((0, "no backend is healthy"));
    match &family.selection {
        Selection::Answer { members, because, .. } => {
            // A name without `answers` of its own takes those of the pool that answers.
            let answers = if view.answers == own.answers { answering.answers } else { view.answers };
            let mut addresses: Vec<(IpAddr, u16)> = Vec::with_capacity(members.len());
            let mut places: HashMap<IpAddr, usize> = HashMap::with_capacity(members.len());
            for &(backend, weight) in members {
                let Some(address) = answering.backends[backend].address(view.rtype) else { continue };
                // Backends that differ by port alone share an address: an RRset holds it once (RFC 2181 5), and its share
                // is that of both.
                match places.entry(address) {
                    Entry::Occupied(place) => {
                        let known = &mut addresses[*place.get()];
                        known.1 = known.1.saturating_add(weight);
                    }
                    Entry::Vacant(place) => {
                        place.insert(addresses.len());
                        addresses.push((address, weight));
                    }
                }
            }
            if addresses.is_empty() {
                return View { prepared: Prepared::NoData, extended_error: None };
            }
            let ttl = pool_ttl(world, view.pool, view.family(), view.ttl);
            let forced = members
                .iter()
                .any(|&(backend, _)| world.state_of(answering, &answering.backends[backend]).0 == AdminState::Up);
            let extended_error = match because {
                Because::FailOpen | Because::Every => Some((0, "fail open: no backend is healthy")),
                Because::LastKnown => Some((3, "last known answer: no backend is healthy")),
                Because::Healthy if forced => Some((0, "a backend is forced up")),
                Because::Healthy => None,
            };
            let prepared = Prepared::Addresses(Addresses::new(answering.policy, &addresses, answers, ttl));
            View { prepared, extended_error }
        }
        Selection::Nothing(Nothing::NoCandidate) => View { prepared: Prepared::NoData, extended_error: None },
        Selection::Nothing(Nothing::NoData) => View { prepared: Prepared::NoData, extended_error: all_down },
        Selection::Nothing(Nothing::Refused) => View { prepared: Prepared::Refused, extended_error: all_down },
        Selection::Nothing(Nothing::ServFail) | Selection::To(_) => {
            View { prepared: Prepared::ServFail, extended_error: all_down }
        }
    }
}

/// The TTL in force, seconds: fixed, or the least time until a candidate of the tiers up to the answering one can change,
/// clamped (gdnsd).
pub(crate) fn pool_ttl(world: &World, pool: usize, family: usize, rule: TtlRule) -> u32 {
    let (max, min) = match rule {
        TtlRule::Fixed(ttl) => return ttl,
        TtlRule::Adaptive { max, min } => (max, min),
    };
    let mut least = Duration::MAX;
    let mut pool = pool;
    for _ in 0..world.plan().pools.len() {
        let plan = &world.plan().pools[pool];
        let state = &world.pools[pool].families[family];
        let up_to = match state.selection {
            Selection::Answer { tier, .. } => tier,
            _ => u16::MAX,
        };
        for candidate in state.candidates.iter().filter(|candidate| candidate.tier <= up_to) {
            let backend = &plan.backends[candidate.backend];
            if world.state_of(plan, backend).0 != AdminState::Auto {
                continue;
            }
            for probe_use in backend.probes(super::world::FAMILIES[family]) {
                if let Some(probe) = world.probes.get(world.ids[probe_use.probe]) {
                    least = least.min(probe.tracker.time_to_change());
                }
            }
        }
        match (&state.selection, plan.on_all_down) {
            (Selection::To(_), OnAllDown::To(other)) => pool = other,
            _ => break,
        }
    }
    u32::try_from(least.as_secs()).unwrap_or(u32::MAX).clamp(min, max.max(min))
}

/// Zone, owner and type.
type SlotKey = (Box<[u8]>, Box<[u8]>, u16);

/// Counters by zone, owner and type: the same over reloads, so that no name loses its place in the round.
#[derive(Debug, Default)]
pub(crate) struct DrawSlots {
    taken: HashMap<SlotKey, u32>,
    free: Vec<u32>,
    length: u32,
}

impl DrawSlots {
    /// The counters of each zone's names; those of names that are gone become free.
    pub(crate) fn assign(&mut self, zones: &[ZonePlan]) -> Vec<Vec<u32>> {
        let mut before = std::mem::take(&mut self.taken);
        let mut assigned: Vec<Vec<Option<u32>>> = Vec::with_capacity(zones.len());
        let key = |zone: &ZonePlan, name: &crate::config::plan::NamePlan| {
            (Box::from(zone.origin.as_wire()), Box::from(name.owner.as_wire()), name.rtype)
        };
        for zone in zones {
            assigned.push(zone.names.iter().map(|name| before.remove(&key(zone, name))).collect());
        }
        self.free.extend(before.into_values());
        zones
            .iter()
            .zip(assigned)
            .map(|(zone, known)| {
                zone.names
                    .iter()
                    .zip(known)
                    .map(|(name, slot)| {
                        let slot = slot.or_else(|| self.free.pop()).unwrap_or_else(|| {
                            self.length += 1;
                            self.length - 1
                        });
                        self.taken.insert(key(zone, name), slot);
                        slot
                    })
                    .collect()
            })
            .collect()
    }

    /// Counters in use or free.
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }
}
