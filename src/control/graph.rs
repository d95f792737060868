//! What a name may lead to, whoever is up: the pools and routes below it, and the counters they draw from. Made once a load,
//! so that counters stay theirs whatever health does.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::plan::{OnAllDown, Plan, RouteKind, Target};

/// Everything below one pool or route.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    /// Where it begins.
    pub(crate) root: Target,
    /// Pools and routes, each once.
    pub(crate) targets: BTreeSet<Target>,
    /// A counter for each pool that chooses between its addresses and aliases.
    pub(crate) splits: HashMap<usize, u32>,
    /// A counter for each that draws, from the name's first on.
    pub(crate) counters: HashMap<Target, u32>,
}

impl Graph {
    pub(crate) fn new(plan: &Plan, root: Target) -> Graph {
        let mut graph = Graph { root, targets: BTreeSet::new(), counters: HashMap::new(), splits: HashMap::new() };
        let mut open = vec![root];
        while let Some(target) = open.pop() {
            if !graph.targets.insert(target) {
                continue;
            }
            // In the order of the walk, which the files alone decide.
            if draws(plan, target) {
                let next = graph.length_so_far();
                graph.counters.insert(target, next);
            }
            if let Target::Pool(pool) = target
                && has_aliases(plan, pool)
            {
                let next = graph.length_so_far();
                graph.splits.insert(pool, next);
            }
            open.extend(below(plan, target).into_iter().rev());
        }
        graph
    }

    /// Counters of a name that begins here; one at least.
    pub(crate) fn length(&self) -> u32 {
        self.length_so_far().max(1)
    }

    fn length_so_far(&self) -> u32 {
        (self.counters.len() + self.splits.len()) as u32
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = usize> + '_ {
        self.targets.iter().filter_map(|target| match target {
            Target::Pool(pool) => Some(*pool),
            Target::Route(_) => None,
        })
    }
}

/// Graphs by where they begin.
#[derive(Debug, Default)]
pub(crate) struct Graphs(HashMap<Target, Arc<Graph>>);

impl Graphs {
    pub(crate) fn of(&mut self, plan: &Plan, root: Target) -> Arc<Graph> {
        self.0.entry(root).or_insert_with(|| Arc::new(Graph::new(plan, root))).clone()
    }
}

/// What a pool or route leads to directly.
pub(crate) fn below(plan: &Plan, target: Target) -> Vec<Target> {
    match target {
        Target::Pool(pool) => match plan.pools[pool].on_all_down {
            OnAllDown::To(other) => vec![other],
            _ => Vec::new(),
        },
        Target::Route(route) => plan.routes[route].choices(),
    }
}

/// Whether some backend of the pool lives elsewhere, under a name of its own.
pub(crate) fn has_aliases(plan: &Plan, pool: usize) -> bool {
    plan.pools[pool].backends.iter().any(|backend| backend.cname.is_some())
}

/// Pool and backend of every alias.
pub(crate) fn aliases_of<'p>(
    plan: &'p Plan,
    pools: impl Iterator<Item = usize> + 'p,
) -> impl Iterator<Item = (usize, usize)> + 'p {
    pools.flat_map(move |pool| {
        let backends = plan.pools[pool].backends.iter().enumerate();
        backends.filter(|(_, backend)| backend.cname.is_some()).map(move |(number, _)| (pool, number))
    })
}

/// Whether a route is on the way, or an alias: else the name answers from its pool and needs no program.
pub(crate) fn is_routed(plan: &Plan, target: Target) -> bool {
    let mut at = target;
    // Circles are refused at load; the bound makes that assumption harmless.
    for _ in 0..=plan.pools.len() {
        match at {
            Target::Route(_) => return true,
            Target::Pool(pool) if has_aliases(plan, pool) => return true,
            Target::Pool(pool) => match plan.pools[pool].on_all_down {
                OnAllDown::To(other) => at = other,
                _ => return false,
            },
        }
    }
    false
}

fn draws(plan: &Plan, target: Target) -> bool {
    match target {
        Target::Pool(_) => true,
        Target::Route(route) if plan.routes[route].together.is_some() => false,
        Target::Route(route) => match &plan.routes[route].kind {
            RouteKind::Weighted { .. } => true,
            RouteKind::Failover { trickle, .. } => *trickle > 0,
            _ => false,
        },
    }
}
