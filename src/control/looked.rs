//! What an answer through routes depended on: the pools that were looked at on the way to the one that answers, and the
//! clocks. A TTL that follows health follows all of them.
//!
//! Ways to a route are counted together before it is gone on from: each route is looked at once, however many ways lead to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::graph::{Graph, below};
use super::program::{Health, Level, Levels, best};
use crate::config::plan::{RouteKind, Target};

/// Pools, and routes of type `schedule`.
pub(crate) type Seen = BTreeSet<Target>;

/// For each pool that may answer below the graph's root, what was looked at on any way to it, itself included.
pub(crate) fn looked_at(health: Health<'_>, graph: &Graph) -> BTreeMap<usize, Seen> {
    let levels = Levels::new(health);
    let carried = HashMap::from([(graph.root, Seen::new())]);
    let mut walk = Walk { health, levels, carried, all_below: HashMap::new(), found: BTreeMap::new() };
    let order = from_the_root_down(health, graph.root);
    walk.note_below(&order);
    for target in order {
        // Who is not there was not led to by anybody before.
        if let Some(seen) = walk.carried.remove(&target) {
            walk.go(target, &seen);
        }
    }
    walk.found
}

/// Everything below, each behind all that lead to it.
fn from_the_root_down(health: Health<'_>, root: Target) -> Vec<Target> {
    let mut order = Vec::new();
    let mut begun: BTreeSet<Target> = BTreeSet::from([root]);
    let mut open = vec![(root, below(health.plan, root).into_iter())];
    while let Some((target, rest)) = open.last_mut() {
        match rest.next() {
            Some(next) if begun.insert(next) => open.push((next, below(health.plan, next).into_iter())),
            Some(_) => {}
            None => {
                order.push(*target);
                open.pop();
            }
        }
    }
    order.reverse();
    order
}

struct Walk<'w> {
    health: Health<'w>,
    levels: Levels<'w>,
    /// What was looked at on the ways so far to those that are still to be gone on from.
    carried: HashMap<Target, Seen>,
    all_below: HashMap<Target, Rc<Seen>>,
    found: BTreeMap<usize, Seen>,
}

impl Walk<'_> {
    /// What each depends on by all that is below it.
    fn note_below(&mut self, order: &[Target]) {
        for &target in order.iter().rev() {
            let mut all: Seen = Seen::new();
            for next in below(self.health.plan, target) {
                all.extend(self.all_below.get(&next).into_iter().flat_map(|seen| seen.iter()));
            }
            if matches!(target, Target::Pool(_)) || self.is_schedule(target) {
                all.insert(target);
            }
            self.all_below.insert(target, Rc::new(all));
        }
    }

    fn is_schedule(&self, target: Target) -> bool {
        match target {
            Target::Pool(_) => false,
            Target::Route(route) => matches!(self.health.plan.routes[route].kind, RouteKind::Schedule { .. }),
        }
    }

    fn go(&mut self, target: Target, carried: &Seen) {
        let route = match target {
            Target::Pool(pool) => match self.health.diverted(pool) {
                Target::Pool(other) => {
                    let own = self.found.entry(pool).or_default();
                    own.extend(carried);
                    own.extend([target, Target::Pool(other)]);
                    return;
                }
                route => return self.pass(route, carried, [target]),
            },
            Target::Route(route) => route,
        };
        let plan = self.health.plan;
        match &plan.routes[route].kind {
            RouteKind::Schedule { .. } => {
                let choices = self.health.scheduled(route);
                let order: Vec<usize> = (0..choices.len()).collect();
                let carried = carried.iter().copied().chain([target]).collect();
                self.in_order(&choices, &[order], 1, &carried);
            }
            RouteKind::Weighted { choices } | RouteKind::Hash { choices, .. } => {
                let all: Vec<Target> = choices.iter().map(|&(to, _)| to).collect();
                let seen = self.with(carried, &all);
                all.iter().for_each(|&choice| self.pass(choice, &seen, []));
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

    /// One more way to that.
    fn pass<const N: usize>(&mut self, target: Target, seen: &Seen, more: [Target; N]) {
        self.carried.entry(target).or_default().extend(seen.iter().copied().chain(more));
    }

    fn by_class(&mut self, choices: &[Target], orders: &[Box<[u16]>], carried: &Seen) {
        let orders: Vec<Vec<usize>> =
            orders.iter().map(|order| order.iter().map(|&choice| usize::from(choice)).collect()).collect();
        self.in_order(choices, &orders, 1, carried);
    }

    /// Of each order the first so many that live; before them those that do not were looked at.
    fn in_order(&mut self, choices: &[Target], orders: &[Vec<usize>], most: usize, carried: &Seen) {
        let bounds: Vec<(Level, Level)> = self.levels.of_all(choices).iter().map(|live| live.bounds()).collect();
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
            self.pass(choices[choice], &seen, []);
        }
    }

    fn with(&self, carried: &Seen, targets: &[Target]) -> Seen {
        let mut all = carried.clone();
        targets.iter().filter_map(|target| self.all_below.get(target)).for_each(|seen| all.extend(seen.iter()));
        all
    }
}
