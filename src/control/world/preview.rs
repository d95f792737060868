//! What a prepared plan would move, before it is put in force.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::Now;
use super::super::schedules::moments;
use super::super::shift::{compare, missing, picture};
use super::super::view::Moves;
use super::{Prepared, World};
use crate::engine::probe::ProbeId;

impl World {
    /// Compares what would be answered with what is. Nothing changes.
    pub fn preview(&mut self, prepared: &Prepared, now: Now) -> Moves {
        self.now = now;
        self.remember_answered();
        let before = picture(self);
        let present = (self.plan.clone(), self.ids.clone(), self.uneasy.clone(), self.moments.clone());
        let pools = std::mem::take(&mut self.pools);
        self.plan = Arc::clone(&prepared.plan);
        self.ids.clone_from(&prepared.ids);
        self.moments = moments(&self.plan, now.wall);
        self.pools = self.plan.clone().pools.iter().map(|pool| self.first_state(pool)).collect();
        self.carry_over(&present.0, &pools);
        (0..self.pools.len()).for_each(|pool| self.select_pool(pool));
        let after = picture(self);
        (self.plan, self.ids, self.uneasy, self.moments) = present;
        self.pools = pools;
        let old: HashSet<ProbeId> = self.ids.iter().copied().collect();
        let new: HashSet<ProbeId> = prepared.ids.iter().copied().collect();
        Moves { checks_new: missing(&new, &old), checks_gone: missing(&old, &new), ..compare(&before, &after) }
    }
}
