//! Routes to programs: all that health and the clock decide is decided here, when publishing. What is left to a query is the
//! client's address and a draw.
//!
//! A branch is alive when the pool it leads to has a tier that reaches `min_healthy` in the family asked for; a route, when
//! one of its branches is; a map, for each client by the branches of its region. What is alive for some clients alone is a
//! table by address, and whoever chooses among such branches chooses by address too. When nothing is alive, those that could
//! answer if their backends lived come before those that have no backend to answer with ([`Level`]).

use std::collections::HashMap;
use std::sync::Arc;

use super::graph::Graph;
use super::levels::partial;
pub(crate) use super::levels::{Level, Levels, Live, best};
use super::world::{HOST, PoolState};
use crate::config::plan::{Classes, HashKey, Plan, PolicyKind, RouteKind, Target};
use crate::engine::client::as_seen;
use crate::engine::policy::{Because, Selection, heed};
use crate::engine::ranges::ByAddress;
use crate::engine::rendezvous::Rendezvous;
use crate::engine::route::{Node, Program};
use crate::engine::share::Firsts;
use crate::engine::weight;

/// Who is up, in one family, and what the clock says.
#[derive(Clone, Copy)]
pub(crate) struct Health<'w> {
    pub(crate) plan: &'w Plan,
    pub(crate) pools: &'w [PoolState],
    /// Of each schedule the order in which its choices are tried now; empty for the other routes.
    pub(crate) moments: &'w [Vec<usize>],
    /// Into [`PoolState::families`].
    pub(crate) family: usize,
}

impl Health<'_> {
    /// How well the pool can answer.
    pub(crate) fn pool_level(&self, pool: usize) -> Level {
        let family = &self.pools[pool].families[self.family];
        match &family.selection {
            Selection::Answer { because: Because::Healthy, .. } => Level::Alive,
            // Somebody else answers for it.
            Selection::To(_) => Level::Failed,
            _ if family.candidates.is_empty() => Level::Empty,
            _ => Level::Failed,
        }
    }

    /// The pool that answers in its place, or the route: by `on_all_down`.
    pub(crate) fn diverted(&self, pool: usize) -> Target {
        let mut at = pool;
        for _ in 0..self.plan.pools.len() {
            match self.pools[at].families[self.family].selection {
                Selection::To(Target::Pool(other)) => at = other,
                Selection::To(route) => return route,
                _ => break,
            }
        }
        Target::Pool(at)
    }

    /// Where a schedule leads now, the first choice first.
    pub(crate) fn scheduled(&self, route: usize) -> Vec<Target> {
        let choices = self.plan.routes[route].choices();
        match self.moments.get(route).map(Vec::as_slice) {
            Some(order @ [_, ..]) => order.iter().filter_map(|&at| choices.get(at).copied()).collect(),
            _ => choices,
        }
    }
}

/// Tables that an earlier program was made with: while the same choices live, the same table serves.
#[derive(Debug, Default)]
pub(crate) struct Tables(HashMap<usize, Vec<Kept>>);

/// The choice of each class, and for every address.
type Kept = (Vec<u16>, Arc<ByAddress<u16>>);

/// Tables kept of a route; both families, and each of them as it was before.
const KEPT_TABLES: usize = 4;

impl Tables {
    /// The choice for every address, where each class takes the one that `chosen` says.
    fn table(&mut self, route: usize, classes: &Classes, chosen: Vec<u16>) -> Arc<ByAddress<u16>> {
        let kept = self.0.entry(route).or_default();
        if let Some((_, table)) = kept.iter().find(|(known, _)| *known == chosen) {
            return table.clone();
        }
        let table = Arc::new(as_seen(classes.table.map(|class| chosen[class as usize])));
        if kept.len() == KEPT_TABLES {
            kept.remove(0);
        }
        kept.push((chosen, table.clone()));
        table
    }

    /// Those of another load say nothing of this one.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// The views that a program ends in.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    /// Of pools.
    pub(crate) pools: HashMap<usize, u32>,
    /// Of backends elsewhere, by pool and backend.
    pub(crate) aliases: HashMap<(usize, usize), u32>,
}

/// Makes the program of a graph.
pub(crate) fn program(health: Health<'_>, graph: &Graph, leaves: &Leaves, tables: &mut Tables) -> Option<Program> {
    let mut build =
        Build { health, graph, leaves, tables, nodes: Vec::new(), made: HashMap::new(), levels: Levels::new(health) };
    let root = build.node(graph.root);
    Program::new(reached(build.nodes, root))
}

/// The nodes that a walk from `root` may come to, the root last: what a map took into itself, and what came behind the root
/// for another's sake, is left out.
fn reached(mut nodes: Vec<Node>, root: u32) -> Vec<Node> {
    nodes.truncate(root as usize + 1);
    let mut needed = vec![false; nodes.len()];
    needed[root as usize] = true;
    for (at, node) in nodes.iter().enumerate().rev() {
        if needed[at] {
            node.children().iter().for_each(|&child| needed[child as usize] = true);
        }
    }
    let mut places = vec![0; nodes.len()];
    let mut kept = Vec::with_capacity(nodes.len());
    for (at, mut node) in nodes.into_iter().enumerate().filter(|(at, _)| needed[*at]) {
        node.children_mut().iter_mut().for_each(|child| *child = places[*child as usize]);
        places[at] = kept.len() as u32;
        kept.push(node);
    }
    kept
}

struct Build<'w> {
    health: Health<'w>,
    graph: &'w Graph,
    leaves: &'w Leaves,
    tables: &'w mut Tables,
    nodes: Vec<Node>,
    made: HashMap<Target, u32>,
    levels: Levels<'w>,
}

impl Build<'_> {
    /// The node that answers for it, made once.
    fn node(&mut self, target: Target) -> u32 {
        if let Some(&known) = self.made.get(&target) {
            return known;
        }
        let made = match target {
            Target::Pool(pool) => match self.health.diverted(pool) {
                Target::Pool(answering) => self.pool(pool, answering),
                route => self.node(route),
            },
            Target::Route(route) => self.route(route),
        };
        self.made.insert(target, made);
        made
    }

    /// A pool, of which `answering` answers: its addresses together, and each alias for itself, with their shares.
    fn pool(&mut self, pool: usize, answering: usize) -> u32 {
        let view = self.leaves.pools.get(&pool).copied().unwrap_or(u32::MAX);
        let leaf = Node::Leaf { view, counter: self.counter(Target::Pool(pool)) };
        let plan = &self.health.plan.pools[answering];
        let selection = &self.health.pools[answering].families[self.health.family].selection;
        let Selection::Answer { members, .. } = selection else { return self.push(leaf) };
        // For SRV an alias is a target like any other.
        if self.health.family == HOST || members.iter().all(|&(backend, _)| plan.backends[backend].cname.is_none()) {
            return self.push(leaf);
        }
        // Where somebody starts slowly weights count, whatever the policy.
        let policy = self.health.pools[answering].families[self.health.family].policy(plan.policy);
        let even = policy != PolicyKind::Weighted || members.iter().all(|&(_, weight)| weight == 0);
        let (mut addresses, mut branches) = (0u32, Vec::new());
        for &(backend, weight) in members {
            let weight = if even { 1 } else { u32::from(weight) };
            match self.leaves.aliases.get(&(answering, backend)) {
                Some(&view) => branches.push((Node::Leaf { view, counter: 0 }, weight)),
                None => addresses += weight,
            }
        }
        branches.push((leaf, addresses));
        branches.retain(|&(_, weight)| weight > 0);
        let weights: Vec<u32> = branches.iter().map(|&(_, weight)| weight).collect();
        let weights = weight::fitting(&weights);
        let children: Box<[u32]> = branches.into_iter().map(|(node, _)| self.push(node)).collect();
        match *children {
            [child] => child,
            _ => {
                let counter = self.graph.splits.get(&answering).copied().unwrap_or(0);
                self.push(Node::Split { firsts: Firsts::new(&weights), children, counter })
            }
        }
    }

    fn push(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn counter(&self, target: Target) -> u32 {
        self.graph.counters.get(&target).copied().unwrap_or(0)
    }

    fn route(&mut self, number: usize) -> u32 {
        let plan = self.health.plan;
        match &plan.routes[number].kind {
            RouteKind::Failover { choices, trickle } => self.in_order(number, choices, *trickle as u16),
            RouteKind::Schedule { .. } => self.in_order(number, &self.health.scheduled(number), 0),
            RouteKind::Weighted { choices } => {
                let lives = self.levels.of_all(&targets(choices));
                self.compose(&lives, |build, levels| {
                    let heard = heed_choices(choices, levels);
                    build.split(number, &heard)
                })
            }
            RouteKind::Hash { choices, key } => {
                let lives = self.levels.of_all(&targets(choices));
                self.compose(&lives, |build, levels| {
                    let heard = heed_choices(choices, levels);
                    build.hash(number, *key, &heard)
                })
            }
            RouteKind::Map { choices, classes, .. } => {
                let choices: Vec<Target> = choices.iter().map(|&(_, to)| to).collect();
                self.by_class(number, &choices, classes)
            }
            RouteKind::Nearest { choices, classes, .. } => self.by_class(number, choices, classes),
        }
    }

    /// The first of the best choices, and a trickle to the second.
    fn in_order(&mut self, route: usize, choices: &[Target], trickle: u16) -> u32 {
        let lives = self.levels.of_all(choices);
        self.compose(&lives, |build, levels| {
            let mut taken = best(levels).map(|at| choices[at]);
            let first = taken.next().unwrap_or(choices[0]);
            match taken.next().filter(|_| trickle > 0) {
                None => build.node(first),
                Some(second) => build.split(route, &[(first, 1000 - trickle), (second, trickle)]),
            }
        })
    }

    /// By rendezvous; one alone owns all.
    fn hash(&mut self, route: usize, key: HashKey, choices: &[(Target, u16)]) -> u32 {
        let children: Box<[u32]> = choices.iter().map(|&(to, _)| self.node(to)).collect();
        if let [child] = *children {
            return child;
        }
        let table = rendezvous(self.health.plan, route, choices);
        self.push(Node::Hash { key, table, children })
    }

    /// Shares kept among children; of one alone there is nothing to keep. Where A and AAAA are to name the same hosts, the
    /// client decides instead of a counter.
    fn split(&mut self, route: usize, choices: &[(Target, u16)]) -> u32 {
        if let Some(key) = self.health.plan.routes[route].together {
            return self.hash(route, key, choices);
        }
        let children: Box<[u32]> = choices.iter().map(|&(to, _)| self.node(to)).collect();
        if let [child] = *children {
            return child;
        }
        let even = choices.iter().all(|&(_, weight)| weight == 0);
        let weights: Vec<u16> = choices.iter().map(|&(_, weight)| if even { 1 } else { weight }).collect();
        let counter = self.counter(Target::Route(route));
        self.push(Node::Split { firsts: Firsts::new(&weights), children, counter })
    }

    /// For every address the first of the best choices of its class.
    fn by_class(&mut self, route: usize, choices: &[Target], classes: &Classes) -> u32 {
        let lives = self.levels.of_all(choices);
        let masks = partial(&lives);
        let first = |order: &[u16], mask: u32| {
            let levels: Vec<Level> = order.iter().map(|&choice| masks.level(&lives, mask, choice.into())).collect();
            best(&levels).next().map_or(order[0], |at| order[at])
        };
        let mut used = vec![false; choices.len()];
        let mut table = None;
        let mut chosen = Vec::new();
        if masks.are_whole() {
            chosen.extend(classes.orders.iter().map(|order| first(order, 0)));
            chosen.iter().for_each(|&choice| used[usize::from(choice)] = true);
        } else {
            let made = classes.table.overlay(&masks.table, |class, mask| first(&classes.orders[class as usize], mask));
            made.values().for_each(|choice| used[usize::from(choice)] = true);
            table = Some(made);
        }
        let first_used = used.iter().position(|&used| used).unwrap_or(0);
        // What no address leads to is never looked at; its place holds another's node.
        let some = self.node(choices[first_used]);
        let children: Box<[u32]> =
            used.iter().zip(choices).map(|(&used, &to)| if used { self.node(to) } else { some }).collect();
        // Choices that lead to the same are one, so that scopes are as wide as they may be.
        let one_of = |choice: u16| {
            let same = children.iter().position(|&child| child == children[usize::from(choice)]);
            same.map_or(choice, |first| first as u16)
        };
        let merged: Vec<u16> = (0..children.len() as u16).map(one_of).collect();
        if children.iter().all(|&child| child == some) {
            return some;
        }
        let table = match table {
            None => {
                chosen.iter_mut().for_each(|choice| *choice = merged[usize::from(*choice)]);
                self.tables.table(route, classes, chosen)
            }
            Some(table) => Arc::new(as_seen(table.map(|choice| merged[usize::from(choice)]))),
        };
        self.map(table, children)
    }

    /// One node where all branches are the same for all, else one for each set of levels, by address.
    fn compose(&mut self, lives: &[Live], mut make: impl FnMut(&mut Self, &[Level]) -> u32) -> u32 {
        let masks = partial(lives);
        if masks.are_whole() {
            return make(self, &masks.levels(lives, 0));
        }
        let mut children: Vec<u32> = Vec::new();
        let mut slots: HashMap<u32, u16> = HashMap::new();
        let table = masks.table.map(|mask| {
            *slots.entry(mask).or_insert_with(|| {
                let made = make(self, &masks.levels(lives, mask));
                let known = children.iter().position(|&child| child == made);
                known.unwrap_or_else(|| {
                    children.push(made);
                    children.len() - 1
                }) as u16
            })
        });
        if let [child] = *children {
            return child;
        }
        self.map(Arc::new(as_seen(table)), children.into())
    }

    /// By address. What a map leads to that is a map itself becomes part of it: one look, and a scope as wide as the answer
    /// allows.
    fn map(&mut self, table: Arc<ByAddress<u16>>, children: Box<[u32]>) -> u32 {
        let inner = |at: u32| match &self.nodes[at as usize] {
            Node::Map { table, children } => Some((table, children)),
            _ => None,
        };
        if children.iter().all(|&child| inner(child).is_none()) {
            return self.push(Node::Map { table, children });
        }
        let mut ends: Vec<u32> = Vec::new();
        let mut numbers: HashMap<u32, u32> = HashMap::new();
        let mut number = |node: u32| {
            *numbers.entry(node).or_insert_with(|| {
                ends.push(node);
                ends.len() as u32 - 1
            })
        };
        // The node for every address; where it is a map, what that leads to.
        let mut made = table.map(|child| children[usize::from(child)]);
        let maps: std::collections::BTreeSet<u32> =
            children.iter().copied().filter(|&at| inner(at).is_some()).collect();
        for at in maps {
            let Some((table, children)) = inner(at) else { continue };
            made = made.overlay(table, |node, child| if node == at { children[usize::from(child)] } else { node });
        }
        let made = made.map(&mut number);
        match ends.len() {
            1 => ends[0],
            // More than a table can tell apart: behind each other, as they are.
            more if more > usize::from(u16::MAX) => self.push(Node::Map { table, children }),
            _ => {
                let table = Arc::new(as_seen(made.map(|end| end as u16)));
                self.push(Node::Map { table, children: ends.into() })
            }
        }
    }
}

fn targets(choices: &[(Target, u16)]) -> Vec<Target> {
    choices.iter().map(|&(to, _)| to).collect()
}

/// Route 53's table: those alive that have a weight, else those alive, else as if all were.
pub(crate) fn heed_choices(choices: &[(Target, u16)], levels: &[Level]) -> Vec<(Target, u16)> {
    let heard = heed(best(levels).map(|at| (at, choices[at].1)).collect());
    heard.into_iter().map(|(at, weight)| (choices[at].0, weight)).collect()
}

/// The choices of a hash route. Each draws under the route's name too: were a choice to draw the same number in two routes
/// behind each other, or as a backend of the same name below, who lost by it above would lose by it again.
pub(crate) fn rendezvous(plan: &Plan, route: usize, choices: &[(Target, u16)]) -> Rendezvous {
    let own = &plan.routes[route].name;
    let names: Vec<String> = choices.iter().map(|&(to, _)| format!("{own}/{}", name(plan, to))).collect();
    Rendezvous::new(names.iter().map(String::as_str).zip(choices.iter().map(|&(_, weight)| weight)))
}

fn name(plan: &Plan, target: Target) -> &str {
    match target {
        Target::Pool(pool) => &plan.pools[pool].name,
        Target::Route(route) => &plan.routes[route].name,
    }
}
