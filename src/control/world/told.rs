//! What is told of backends and pools: that one changed, that one answers otherwise than it was last told to.

use std::collections::HashMap;
use std::time::SystemTime;

use super::super::status;
use super::super::view::{PoolChange, What};
use super::super::zone_text;
use super::{FAMILIES, REMEMBERED_TRANSITIONS, Transition, World};
use crate::config::plan::Plan;
use crate::engine::rrtype;

/// What is to be said still. Words cost more than the answers that they are about, so they come after these.
#[derive(Debug, Default)]
pub(super) struct Untold {
    transitions: Vec<Transition>,
    /// Pools whose members were chosen anew.
    pub(super) pools: Vec<usize>,
}

/// The state of each family of a pool, as it was told.
pub(super) type Told = [&'static str; FAMILIES.len()];

/// Turns kept for who takes them: a server does so at each publication, a simulation never.
const MOST_TURNED: usize = 1 << 17;
/// Of a pool that nothing was told of yet.
const NEW: &str = "new";

impl World {
    /// Says what is to be said: counts transitions, and puts them and pools that turned among the changes.
    pub(crate) fn tell(&mut self) {
        for transition in std::mem::take(&mut self.untold.transitions) {
            self.figures.transition(&transition.id, &transition.to);
            self.changes.add(transition.at, What::Transition(status::transition_status(&transition)));
        }
        for pool in std::mem::take(&mut self.untold.pools) {
            self.tell_pool(pool);
        }
    }

    /// Puts something else among the changes, after all that came before it.
    pub(crate) fn say(&mut self, at: SystemTime, what: What) {
        self.tell();
        self.changes.add(at, what);
    }

    /// Keeps transitions for `status`, and to be told.
    pub(super) fn note(&mut self, transitions: &[Transition]) {
        self.untold.transitions.extend_from_slice(transitions);
        let surplus = (self.transitions.len() + transitions.len()).saturating_sub(REMEMBERED_TRANSITIONS);
        self.transitions.drain(..surplus.min(self.transitions.len()));
        let last = transitions.len().saturating_sub(REMEMBERED_TRANSITIONS);
        self.transitions.extend(transitions[last..].iter().cloned());
    }

    /// Pools that answer otherwise since this was asked last, in the order in which they turned.
    pub(crate) fn take_turned_pools(&mut self) -> Vec<PoolChange> {
        self.tell();
        std::mem::take(&mut self.turned_pools)
    }

    /// Tells where a pool answers otherwise than told before.
    fn tell_pool(&mut self, number: usize) {
        for (slot, rtype) in FAMILIES.into_iter().enumerate() {
            if !self.pools[number].families[slot].has_family {
                continue;
            }
            let (from, to) = (self.told[number][slot], status::family_state(self, number, slot));
            if from == to {
                continue;
            }
            self.told[number][slot] = to;
            // A pool that is new and well is what its file says.
            if from == NEW && to == "healthy" {
                continue;
            }
            let plan = &self.plan.pools[number];
            let change = PoolChange {
                pool: format!("{}/{}", zone_text(&plan.zone), plan.name),
                rtype: rrtype::text(rtype),
                from: from.to_owned(),
                to: to.to_owned(),
                why: status::why(self, number, slot),
            };
            if self.turned_pools.len() < MOST_TURNED {
                self.turned_pools.push(change.clone());
            }
            self.changes.add(self.now.wall, What::Pool(change));
        }
    }

    /// The same for all pools of a plan that has come in the place of `before`.
    pub(super) fn tell_pools(&mut self, before: &Plan) {
        let told = std::mem::take(&mut self.told);
        let known: HashMap<_, Told> =
            before.pools.iter().map(|pool| (&pool.zone, pool.name.as_str())).zip(told).collect();
        let plan = self.plan.clone();
        let of = |pool: &crate::config::plan::PoolPlan| known.get(&(&pool.zone, pool.name.as_str())).copied();
        self.told = plan.pools.iter().map(|pool| of(pool).unwrap_or([NEW; FAMILIES.len()])).collect();
        (0..plan.pools.len()).for_each(|pool| self.tell_pool(pool));
    }
}
