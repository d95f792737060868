//! Routes to programs: all that health and the clock decide is decided here, when publishing. What is left to a query is the
//! client's address and a draw.
//!
//! A branch is alive when the pool it leads to has a tier that reaches `min_healthy` in the family asked for; a route, when
//! one of its branches is; a map, for each client by the branches of its region. What is alive for some clients alone is a
//! table by address, and whoever chooses among such branches chooses by address too.

use std::collections::HashMap;
use std::sync::Arc;

use super::graph::Graph;
use super::world::{HOST, PoolState};
use crate::config::plan::{Classes, Plan, PolicyKind, RouteKind, Target};
use crate::engine::policy::{Because, Selection, heed};
use crate::engine::ranges::ByAddress;
use crate::engine::rendezvous::Rendezvous;
use crate::engine::route::{Node, Program};
use crate::engine::share::Firsts;

/// Who is up, in one family, and what the clock says.
#[derive(Clone, Copy)]
pub(crate) struct Health<'w> {
    pub(crate) plan: &'w Plan,
    pub(crate) pools: &'w [PoolState],
    /// Of each route the choice that the clock says; 0 of those that do not ask it.
    pub(crate) moments: &'w [usize],
    /// Into [`PoolState::families`].
    pub(crate) family: usize,
}

impl Health<'_> {
    /// Whether a tier of the pool reaches `min_healthy`.
    pub(crate) fn pool_is_alive(&self, pool: usize) -> bool {
        let selection = &self.pools[pool].families[self.family].selection;
        matches!(selection, Selection::Answer { because: Because::Healthy, .. })
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

    /// Where a schedule leads now.
    pub(crate) fn scheduled(&self, route: usize) -> Target {
        let choices = self.plan.routes[route].choices();
        let moment = self.moments.get(route).copied().unwrap_or(0);
        choices[moment.min(choices.len() - 1)]
    }
}

/// For whom a branch is alive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Live {
    Yes,
    No,
    By(Arc<ByAddress<bool>>),
}

impl Live {
    fn of(table: ByAddress<bool>) -> Live {
        let only = |value: bool| {
            let all = ByAddress::all(value);
            table == all
        };
        if only(true) {
            Live::Yes
        } else if only(false) {
            Live::No
        } else {
            Live::By(Arc::new(table))
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
        let table = Arc::new(classes.table.map(|class| chosen[class as usize]));
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
        Build { health, graph, leaves, tables, nodes: Vec::new(), made: HashMap::new(), lives: HashMap::new() };
    let root = build.node(graph.root);
    // The root is the last: where it was made for another's sake before, what came behind it is not needed.
    build.nodes.truncate(root as usize + 1);
    Program::new(build.nodes)
}

/// For whom it is alive.
pub(crate) fn live(health: Health<'_>, graph: &Graph, target: Target) -> Live {
    let mut tables = Tables::default();
    let leaves = Leaves::default();
    let (nodes, made, lives) = Default::default();
    Build { health, graph, leaves: &leaves, tables: &mut tables, nodes, made, lives }.live(target)
}

struct Build<'w> {
    health: Health<'w>,
    graph: &'w Graph,
    leaves: &'w Leaves,
    tables: &'w mut Tables,
    nodes: Vec<Node>,
    made: HashMap<Target, u32>,
    lives: HashMap<Target, Live>,
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
        let even = plan.policy != PolicyKind::Weighted || members.iter().all(|&(_, weight)| weight == 0);
        let (mut addresses, mut branches) = (0u32, Vec::new());
        for &(backend, weight) in members {
            let weight = if even { 1 } else { weight };
            match self.leaves.aliases.get(&(answering, backend)) {
                Some(&view) => branches.push((Node::Leaf { view, counter: 0 }, weight)),
                None => addresses += u32::from(weight),
            }
        }
        if addresses > 0 {
            branches.push((leaf, addresses.min(u32::from(u16::MAX)) as u16));
        }
        branches.retain(|&(_, weight)| weight > 0);
        let weights: Vec<u16> = branches.iter().map(|&(_, weight)| weight).collect();
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
            RouteKind::Failover { choices, trickle } => {
                let lives = self.lives(choices);
                let trickle = *trickle as u16;
                self.compose(&lives, |build, up| {
                    let all = !up.contains(&true);
                    let mut living = (0..choices.len()).filter(|&at| all || up[at]).map(|at| choices[at]);
                    let first = living.next().unwrap_or(choices[0]);
                    match living.next().filter(|_| trickle > 0) {
                        None => build.node(first),
                        Some(second) => build.split(number, &[(first, 1000 - trickle), (second, trickle)]),
                    }
                })
            }
            RouteKind::Weighted { choices } => {
                let lives = self.lives(&targets(choices));
                self.compose(&lives, |build, up| {
                    let heard = heed_choices(choices, up);
                    build.split(number, &heard)
                })
            }
            RouteKind::Hash { choices, key } => {
                let lives = self.lives(&targets(choices));
                self.compose(&lives, |build, up| {
                    let heard = heed_choices(choices, up);
                    let children: Box<[u32]> = heard.iter().map(|&(to, _)| build.node(to)).collect();
                    if let [child] = *children {
                        return child;
                    }
                    let table = rendezvous(plan, number, &heard);
                    build.push(Node::Hash { key: *key, table, children })
                })
            }
            RouteKind::Map { choices, classes, .. } => {
                let choices: Vec<Target> = choices.iter().map(|&(_, to)| to).collect();
                self.by_class(number, &choices, classes)
            }
            RouteKind::Nearest { choices, classes, .. } => self.by_class(number, choices, classes),
            RouteKind::Schedule { .. } => self.node(self.health.scheduled(number)),
        }
    }

    /// Shares kept among children; of one alone there is nothing to keep.
    fn split(&mut self, route: usize, choices: &[(Target, u16)]) -> u32 {
        let children: Box<[u32]> = choices.iter().map(|&(to, _)| self.node(to)).collect();
        if let [child] = *children {
            return child;
        }
        let even = choices.iter().all(|&(_, weight)| weight == 0);
        let weights: Vec<u16> = choices.iter().map(|&(_, weight)| if even { 1 } else { weight }).collect();
        let counter = self.counter(Target::Route(route));
        self.push(Node::Split { firsts: Firsts::new(&weights), children, counter })
    }

    /// For every address the first choice of its class that lives there; when none does, the first.
    fn by_class(&mut self, route: usize, choices: &[Target], classes: &Classes) -> u32 {
        let lives = self.lives(choices);
        let first = |order: &[u16], up: &dyn Fn(usize) -> bool| {
            order.iter().copied().find(|&choice| up(usize::from(choice))).unwrap_or(order[0])
        };
        let table = match partial(&lives) {
            None => {
                let up = |choice: usize| lives[choice] == Live::Yes;
                let chosen = classes.orders.iter().map(|order| first(order, &up)).collect();
                self.tables.table(route, classes, chosen)
            }
            Some(masks) => Arc::new(classes.table.overlay(&masks.table, |class, mask| {
                first(&classes.orders[class as usize], &|choice| masks.up(&lives, mask, choice))
            })),
        };
        let mut used = vec![false; choices.len()];
        let values = table.v4.iter().map(|(_, choice)| choice).chain(table.v6.iter().map(|(_, choice)| choice));
        values.for_each(|choice| used[usize::from(choice)] = true);
        let first_used = used.iter().position(|&used| used).unwrap_or(0);
        if used.iter().filter(|&&used| used).count() == 1 {
            return self.node(choices[first_used]);
        }
        // What no address leads to is never looked at; its place holds another's node.
        let some = self.node(choices[first_used]);
        let children = used.iter().zip(choices).map(|(&used, &to)| if used { self.node(to) } else { some }).collect();
        self.push(Node::Map { table, children })
    }

    /// One node where all branches are alive for all or for none, else one for each set of those alive, by address.
    fn compose(&mut self, lives: &[Live], mut make: impl FnMut(&mut Self, &[bool]) -> u32) -> u32 {
        let Some(masks) = partial(lives) else {
            let up: Vec<bool> = lives.iter().map(|live| *live == Live::Yes).collect();
            return make(self, &up);
        };
        let mut children: Vec<u32> = Vec::new();
        let mut slots: HashMap<u32, u16> = HashMap::new();
        let table = masks.table.map(|mask| {
            *slots.entry(mask).or_insert_with(|| {
                let up: Vec<bool> = (0..lives.len()).map(|choice| masks.up(lives, mask, choice)).collect();
                children.push(make(self, &up));
                children.len() as u16 - 1
            })
        });
        if children.iter().all(|&child| child == children[0]) {
            return children[0];
        }
        self.push(Node::Map { table: Arc::new(table), children: children.into() })
    }

    fn lives(&mut self, choices: &[Target]) -> Vec<Live> {
        choices.iter().map(|&choice| self.live(choice)).collect()
    }

    fn live(&mut self, target: Target) -> Live {
        if let Some(known) = self.lives.get(&target) {
            return known.clone();
        }
        let found = match target {
            Target::Pool(pool) if self.health.pool_is_alive(pool) => Live::Yes,
            Target::Pool(_) => Live::No,
            Target::Route(route) => self.route_is_alive(route),
        };
        self.lives.insert(target, found.clone());
        found
    }

    fn route_is_alive(&mut self, number: usize) -> Live {
        let (choices, classes) = match &self.health.plan.routes[number].kind {
            RouteKind::Schedule { .. } => return self.live(self.health.scheduled(number)),
            RouteKind::Map { choices, classes, .. } => (choices.iter().map(|&(_, to)| to).collect(), Some(classes)),
            _ => (self.health.plan.routes[number].choices(), None),
        };
        let lives = self.lives(&choices);
        match (partial(&lives), classes) {
            (None, None) if lives.contains(&Live::Yes) => Live::Yes,
            (None, None) => Live::No,
            (Some(masks), None) => {
                Live::of(masks.table.map(|mask| (0..lives.len()).any(|at| masks.up(&lives, mask, at))))
            }
            (None, Some(classes)) => {
                let any = |order: &[u16]| order.iter().any(|&choice| lives[usize::from(choice)] == Live::Yes);
                let alive: Vec<bool> = classes.orders.iter().map(|order| any(order)).collect();
                match (alive.contains(&true), alive.contains(&false)) {
                    (true, false) => Live::Yes,
                    (false, _) => Live::No,
                    (true, true) => Live::of(classes.table.map(|class| alive[class as usize])),
                }
            }
            (Some(masks), Some(classes)) => Live::of(classes.table.overlay(&masks.table, |class, mask| {
                let order = &classes.orders[class as usize];
                order.iter().any(|&choice| masks.up(&lives, mask, usize::from(choice)))
            })),
        }
    }
}

/// Which branches that live for some alone live where.
struct Masks {
    /// Number of a set, for every address.
    table: ByAddress<u32>,
    /// Sets of choices.
    sets: Vec<Vec<usize>>,
}

impl Masks {
    fn up(&self, lives: &[Live], mask: u32, choice: usize) -> bool {
        match lives[choice] {
            Live::Yes => true,
            Live::No => false,
            Live::By(_) => self.sets[mask as usize].contains(&choice),
        }
    }
}

/// The branches that live for some alone, laid over each other; `None` when there is none.
fn partial(lives: &[Live]) -> Option<Masks> {
    let mut masks = Masks { table: ByAddress::all(0), sets: vec![Vec::new()] };
    let mut numbers: HashMap<(u32, usize), u32> = HashMap::new();
    let mut any = false;
    for (choice, live) in lives.iter().enumerate() {
        let Live::By(table) = live else { continue };
        any = true;
        let sets = &mut masks.sets;
        masks.table = masks.table.overlay(table, |mask, alive| {
            if !alive {
                return mask;
            }
            *numbers.entry((mask, choice)).or_insert_with(|| {
                let mut set = sets[mask as usize].clone();
                set.push(choice);
                sets.push(set);
                sets.len() as u32 - 1
            })
        });
    }
    any.then_some(masks)
}

fn living(up: &[bool]) -> impl Iterator<Item = usize> + '_ {
    up.iter().enumerate().filter(|(_, up)| **up).map(|(at, _)| at)
}

fn targets(choices: &[(Target, u16)]) -> Vec<Target> {
    choices.iter().map(|&(to, _)| to).collect()
}

/// Route 53's table: those alive that have a weight, else those alive, else as if all were.
pub(crate) fn heed_choices(choices: &[(Target, u16)], up: &[bool]) -> Vec<(Target, u16)> {
    let number = |at: usize| (at, choices[at].1);
    let alive: Vec<(usize, u16)> = living(up).map(number).collect();
    let heard = heed(if alive.is_empty() { (0..choices.len()).map(number).collect() } else { alive });
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
