//! What is told of pools: that one answers otherwise than it was last told to.

use std::collections::HashMap;

use super::super::status;
use super::super::view::{PoolChange, What};
use super::super::zone_text;
use super::{FAMILIES, World};
use crate::config::plan::Plan;
use crate::engine::rrtype;

/// The state of each family of a pool, as it was told.
pub(super) type Told = [&'static str; FAMILIES.len()];

/// Turns kept for who takes them: a server does so at each publication, a simulation never.
const MOST_TURNED: usize = 1 << 17;
/// Of a pool that nothing was told of yet.
const NEW: &str = "new";

impl World {
    /// Pools that answer otherwise since this was asked last, in the order in which they turned.
    pub(crate) fn take_turned_pools(&mut self) -> Vec<PoolChange> {
        std::mem::take(&mut self.turned_pools)
    }

    /// Tells where a pool answers otherwise than told before.
    pub(super) fn tell_pool(&mut self, number: usize) {
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
