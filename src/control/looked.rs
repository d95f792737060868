//! What an answer through routes depended on: the pools that were looked at on the way to the one that answers. A TTL that
//! follows health follows all of them.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::program::{Health, Level, best, live};
use crate::config::plan::{RouteKind, Target};

/// For each pool that may answer below the graph's root, the pools looked at on any way to it, itself included.
pub(crate) fn looked_at(health: Health<'_>, graph: &Graph) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut found = BTreeMap::new();
    let mut walk = Walk { health, graph, found: &mut found };
    walk.go(graph.root, &BTreeSet::new());
    found
}

struct Walk<'w> {
    health: Health<'w>,
    graph: &'w Graph,
    found: &'w mut BTreeMap<usize, BTreeSet<usize>>,
}

impl Walk<'_> {
    fn go(&mut self, target: Target, carried: &BTreeSet<usize>) {
        let route = match target {
            Target::Pool(pool) => match self.health.diverted(pool) {
                Target::Pool(other) => {
                    let own = self.found.entry(pool).or_default();
                    own.extend(carried);
                    own.extend([pool, other]);
                    return;
                }
                route => return self.go(route, &carried.iter().copied().chain([pool]).collect()),
            },
            Target::Route(route) => route,
        };
        let plan = self.health.plan;
        match &plan.routes[route].kind {
            RouteKind::Schedule { .. } => {
                let choices = self.health.scheduled(route);
                let order: Vec<usize> = (0..choices.len()).collect();
                self.in_order(&choices, &[order], 1, carried);
            }
            RouteKind::Weighted { choices } | RouteKind::Hash { choices, .. } => {
                let all: Vec<Target> = choices.iter().map(|&(to, _)| to).collect();
                let seen = self.with(carried, &all);
                all.iter().for_each(|&choice| self.go(choice, &seen));
            }
            RouteKind::Failover { choices, trickle } => {
                let order: Vec<usize> = (0..choices.len()).collect();
                self.in_order(choices, &[order], 1 + usize::from(*trickle > 0), carried);
            }
            RouteKind::Nearest { choices, classes, .. } => self.by_class(choices, &classes.orders, carried),
            RouteKind::Map { choices, classes, .. } => {
                let choices: Vec<Target> = choices.iter().map(|&(_, to)| to).collect();
                self.by_class(&choices, &classes.orders, carried);
            }
        }
    }

    fn by_class(&mut self, choices: &[Target], orders: &[Box<[u16]>], carried: &BTreeSet<usize>) {
        let orders: Vec<Vec<usize>> =
            orders.iter().map(|order| order.iter().map(|&choice| usize::from(choice)).collect()).collect();
        self.in_order(choices, &orders, 1, carried);
    }

    /// Of each order the first so many that live; before them those that do not were looked at.
    fn in_order(&mut self, choices: &[Target], orders: &[Vec<usize>], most: usize, carried: &BTreeSet<usize>) {
        let bounds: Vec<(Level, Level)> =
            choices.iter().map(|&choice| live(self.health, self.graph, choice).bounds()).collect();
        let mut before: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for order in orders {
            let mut taken = 0;
            for (place, &choice) in order.iter().enumerate() {
                if bounds[choice].0 < Level::Alive {
                    continue;
                }
                before.entry(choice).or_default().extend(&order[..=place]);
                taken += usize::from(bounds[choice].1 == Level::Alive);
                if taken == most {
                    break;
                }
            }
            if taken == 0 {
                let levels: Vec<Level> = order.iter().map(|&choice| bounds[choice].0).collect();
                best(&levels).take(most).for_each(|at| before.entry(order[at]).or_default().extend(order));
            }
        }
        for (choice, looked) in before {
            let looked: Vec<Target> = looked.into_iter().map(|one| choices[one]).collect();
            let seen = self.with(carried, &looked);
            self.go(choices[choice], &seen);
        }
    }

    fn with(&self, carried: &BTreeSet<usize>, targets: &[Target]) -> BTreeSet<usize> {
        let mut all = carried.clone();
        for &target in targets {
            all.extend(Graph::new(self.health.plan, target).pools());
        }
        all
    }
}
