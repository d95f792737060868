//! Pools and routes of each zone, counted and in the order of their names: made once a load, so that who asks for one zone, or
//! for one page, is not shown by a walk over all that there is.

use std::collections::HashMap;

use crate::config::plan::Plan;
use crate::engine::name::Name;

/// What one zone has.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    /// Numbers of its pools, by name.
    pub(crate) pools: Vec<u32>,
    /// Numbers of its routes, by name.
    pub(crate) routes: Vec<u32>,
    /// Backends of all its pools.
    pub(crate) backends: usize,
}

/// By the zone's number.
pub(super) fn belongings(plan: &Plan) -> Vec<Belongings> {
    let numbers: HashMap<&Name, usize> = plan.zones.iter().map(|zone| &zone.origin).zip(0..).collect();
    let mut all: Vec<Belongings> = plan.zones.iter().map(|_| Belongings::default()).collect();
    for (number, pool) in (0..).zip(&plan.pools) {
        if let Some(&zone) = numbers.get(&pool.zone) {
            all[zone].pools.push(number);
            all[zone].backends += pool.backends.len();
        }
    }
    for (number, route) in (0..).zip(&plan.routes) {
        if let Some(&zone) = numbers.get(&route.zone) {
            all[zone].routes.push(number);
        }
    }
    for one in &mut all {
        one.pools.sort_by_key(|&number| &plan.pools[number as usize].name);
        one.routes.sort_by_key(|&number| &plan.routes[number as usize].name);
    }
    all
}
