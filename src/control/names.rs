//! From names to views: which views a plan needs, what each prepares, and which counters names draw from.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::graph::{Graph, Graphs, aliases_of, is_routed};
use super::looked::looked_at;
use super::program::{Leaves, Tables, program};
use super::services;
use super::world::{HOST, World, families_of, slot_of};
use crate::config::plan::{AdminState, NamePlan, Plan, PoolPlan, Target, TtlRule, ZonePlan};
use crate::engine::policy::{Because, Nothing, Selection};
use crate::engine::view::{Addresses, Form, MAX_MEMBERS, Member, Prepared, View};

/// What names share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ViewPlan {
    pub(crate) source: Source,
    pub(crate) rtype: u16,
    /// The name's own.
    pub(crate) ttl: Option<TtlRule>,
    /// The name's own.
    pub(crate) answers: Option<u16>,
    /// SvcParams of the name, by their place in [`Views::params`].
    pub(crate) params: u32,
}

/// Where a view's answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A pool.
    Pool(usize),
    /// A pool, to which routes from `root` on lead: its TTL follows all that is looked at on the way.
    Leaf { pool: usize, root: Target },
    /// A backend elsewhere: its CNAME.
    Alias { pool: usize, backend: usize },
    /// The routes themselves.
    Program(Target),
}

/// The views of a plan, and what each name answers.
#[derive(Debug, Default)]
pub(crate) struct Views {
    pub(crate) plans: Vec<ViewPlan>,
    /// SvcParams of names, each once.
    pub(crate) params: Vec<Arc<[u8]>>,
    /// For each view that is a program: its graph, and the views of its pools.
    pub(crate) programs: HashMap<u32, ProgramPlan>,
    /// For each zone and name the view, and how many counters it draws from.
    pub(crate) of_names: Vec<Vec<(u32, u32)>>,
}

/// What a program is made of, whoever is up.
#[derive(Debug)]
pub(crate) struct ProgramPlan {
    pub(crate) graph: Arc<Graph>,
    pub(crate) leaves: Leaves,
}

impl ViewPlan {
    /// The TTL that holds for answers of that pool.
    fn rule(&self, plan: &Plan, pool: usize) -> TtlRule {
        self.ttl.unwrap_or(plan.pools[pool].ttl)
    }

    /// Whether its TTL follows health.
    pub(crate) fn adapts(&self, plan: &Plan) -> bool {
        match self.source {
            Source::Pool(pool) | Source::Leaf { pool, .. } => {
                matches!(self.rule(plan, pool), TtlRule::Adaptive { .. })
            }
            Source::Alias { .. } | Source::Program(_) => false,
        }
    }

    pub(crate) fn family(&self) -> usize {
        slot_of(self.rtype)
    }
}

/// The distinct views of a plan. A hundred thousand names of one pool or route share one: a verdict costs what it changes.
pub(crate) fn view_plans(plan: &Plan) -> Views {
    let mut made = Views::default();
    let mut numbers: HashMap<ViewPlan, u32> = HashMap::new();
    let mut graphs = Graphs::default();
    for zone in &plan.zones {
        let names = zone.names.iter().map(|name| {
            let NamePlan { to, rtype, ttl, answers, .. } = *name;
            let params = made.params.iter().position(|known| *known == name.params).unwrap_or_else(|| {
                made.params.push(name.params.clone());
                made.params.len() - 1
            }) as u32;
            let view = |source| ViewPlan { source, rtype, ttl, answers, params };
            match to {
                Target::Pool(pool) if !is_routed(plan, to) => (made.number(&mut numbers, view(Source::Pool(pool))), 1),
                root => {
                    let graph = graphs.of(plan, root);
                    let length = graph.length();
                    let number = made.number(&mut numbers, view(Source::Program(root)));
                    if !made.programs.contains_key(&number) {
                        let leaf = |pool: usize| {
                            let own = view(Source::Pool(pool));
                            let leaf = if own.adapts(plan) { view(Source::Leaf { pool, root }) } else { own };
                            (pool, made.number(&mut numbers, leaf))
                        };
                        let pools = graph.pools().map(leaf).collect();
                        let mut alias = |(pool, backend)| {
                            ((pool, backend), made.number(&mut numbers, view(Source::Alias { pool, backend })))
                        };
                        let aliases = aliases_of(plan, graph.pools()).map(&mut alias).collect();
                        let leaves = Leaves { pools, aliases };
                        made.programs.insert(number, ProgramPlan { graph, leaves });
                    }
                    (number, length)
                }
            }
        });
        let names = names.collect();
        made.of_names.push(names);
    }
    made
}

impl Views {
    fn number(&mut self, numbers: &mut HashMap<ViewPlan, u32>, view: ViewPlan) -> u32 {
        *numbers.entry(view).or_insert_with(|| {
            self.plans.push(view);
            self.plans.len() as u32 - 1
        })
    }

    /// The pools that a view depends on.
    pub(crate) fn pools_of(&self, view: u32, graphs: &mut Graphs, plan: &Plan) -> Vec<usize> {
        match self.plans[view as usize].source {
            Source::Pool(pool) | Source::Alias { pool, .. } => vec![pool],
            Source::Leaf { root, .. } => graphs.of(plan, root).pools().collect(),
            // Whether its members change is its leaves' business.
            Source::Program(_) => Vec::new(),
        }
    }
}

/// What the view answers now.
pub(crate) fn prepare_view(world: &World, number: u32, tables: &mut Tables) -> View {
    let view = &world.views.plans[number as usize];
    match (view.source, world.views.programs.get(&number)) {
        (Source::Pool(pool) | Source::Leaf { pool, .. }, _) => prepare_pool(world, view, pool),
        (Source::Alias { pool, backend }, _) => services::alias(world, view, pool, backend),
        (Source::Program(_), Some(plan)) => {
            let made = program(world.health(view.family()), &plan.graph, &plan.leaves, tables);
            View::new(made.map_or(Prepared::ServFail, Prepared::Route), None)
        }
        (Source::Program(_), None) => View::new(Prepared::ServFail, None),
    }
}

fn prepare_pool(world: &World, view: &ViewPlan, first: usize) -> View {
    let plan = world.plan();
    // Where a route answers in its place, the program leads there and never here.
    let pool = match world.health(view.family()).diverted(first) {
        Target::Pool(other) => other,
        Target::Route(_) => return View::new(Prepared::ServFail, None),
    };
    let family = &world.pools[pool].families[view.family()];
    let answering = &plan.pools[pool];
    let all_down = Some((0, "no backend is healthy"));
    match &family.selection {
        Selection::Answer { members, because, .. } => {
            let extended_error = said_of(world, answering, members, *because);
            if view.family() == HOST {
                return View::new(services::prepare(world, view, pool, members), extended_error);
            }
            let members = drawn_from(answering, members, view.rtype);
            if members.is_empty() {
                return View::new(Prepared::NoData, None);
            }
            let members: Vec<Member<'_>> = members.into_iter().map(|(_, member)| member).collect();
            let form = Form {
                policy: family.policy(answering.policy),
                // A name without `answers` of its own takes those of the pool that answers.
                answers: family.most_answers(view.answers.unwrap_or(answering.answers)),
                ttl: view_ttl(world, view),
                reads: answering.reads,
                spread: answering.spread.is_some(),
            };
            View::new(Prepared::Addresses(Addresses::of(&members, form)), extended_error)
        }
        Selection::Nothing(Nothing::NoCandidate) => {
            let extended_error = world.has_maintenance(answering).then_some((0, "in maintenance: no backend is left"));
            View::new(Prepared::NoData, extended_error)
        }
        Selection::Nothing(Nothing::NoData) => View::new(Prepared::NoData, all_down),
        Selection::Nothing(Nothing::Refused) => View::new(Prepared::Refused, all_down),
        Selection::Nothing(Nothing::ServFail) | Selection::To(_) => View::new(Prepared::ServFail, all_down),
    }
}

/// What an exceptional answer says of itself (RFC 8914).
pub(crate) fn said_of(
    world: &World,
    pool: &PoolPlan,
    members: &[(usize, u16)],
    because: Because,
) -> Option<(u16, &'static str)> {
    let forced = |&(backend, _): &(usize, u16)| world.state_of(pool, &pool.backends[backend]).0 == AdminState::Up;
    match because {
        Because::FailOpen | Because::Every => Some((0, "fail open: no backend is healthy")),
        Because::LastKnown => Some((3, "last known answer: no backend is healthy")),
        Because::Healthy if world.holds(pool) => Some((0, "health is frozen: the checker doubts itself")),
        Because::Healthy if members.iter().any(forced) => Some((0, "a backend is forced up")),
        Because::Healthy => None,
    }
}

/// The selected backends with what an answer is made of; those without an address of the type left out.
pub(crate) fn drawn_from<'p>(pool: &'p PoolPlan, members: &[(usize, u16)], rtype: u16) -> Vec<(usize, Member<'p>)> {
    let mut domains: HashMap<&str, u16> = HashMap::new();
    let mut domain_of = |label: Option<&'p String>| {
        let next = domains.len() as u16;
        *domains.entry(label.map_or("", String::as_str)).or_insert(next)
    };
    let member = |&(backend, weight): &(usize, u16)| {
        let plan = &pool.backends[backend];
        let address = plan.address(rtype)?;
        // Those without the label are in one domain together: nothing says that they are not.
        let domain = pool.spread.as_ref().map_or(0, |label| domain_of(plan.labels.get(label)));
        Some((backend, Member { name: &plan.name, address, weight, domain }))
    };
    members.iter().filter_map(member).take(MAX_MEMBERS).collect()
}

/// The TTL in force of a view that answers, seconds.
pub(crate) fn view_ttl(world: &World, view: &ViewPlan) -> u32 {
    let plan = world.plan();
    let (pool, looked) = match view.source {
        Source::Pool(pool) => return pool_ttl(world, pool, view.family(), view.rule(plan, pool)),
        Source::Leaf { pool, root } => {
            let looked = looked_at(world.health(view.family()), &Graph::new(plan, root)).remove(&pool);
            (pool, looked.unwrap_or_else(|| [Target::Pool(pool)].into()))
        }
        Source::Alias { pool, .. } => return pool_ttl(world, pool, view.family(), view.rule(plan, pool)),
        Source::Program(_) => return 0,
    };
    let rule = view.rule(plan, pool);
    let ttl = |one: Target| match one {
        Target::Pool(pool) => pool_ttl(world, pool, view.family(), rule),
        Target::Route(route) => world.ttl_before_turn(route, rule),
    };
    looked.into_iter().map(ttl).min().unwrap_or(0)
}

/// The TTL in force of a name, seconds; through routes the least of those that may be answered.
pub(crate) fn name_ttl(world: &World, view: u32) -> u32 {
    match world.views.programs.get(&view) {
        None => world.views.plans.get(view as usize).map_or(0, |view| view_ttl(world, view)),
        Some(program) => {
            let leaf = |number: &u32| view_ttl(world, &world.views.plans[*number as usize]);
            let family = world.views.plans[view as usize].family();
            let looked = looked_at(world.health(family), &program.graph);
            let answering = program.leaves.pools.iter().filter(|(pool, _)| looked.contains_key(pool));
            answering.map(|(_, number)| leaf(number)).min().unwrap_or(0)
        }
    }
}

/// The name of a pool or route.
pub(crate) fn target_name(plan: &Plan, target: Target) -> &str {
    match target {
        Target::Pool(pool) => &plan.pools[pool].name,
        Target::Route(route) => &plan.routes[route].name,
    }
}

/// The TTL in force, seconds: fixed, or the least time until a candidate of the tiers up to the answering one can change
/// (gdnsd) and no longer than its set has held, clamped; shorter ahead of maintenance.
pub(crate) fn pool_ttl(world: &World, pool: usize, family: usize, rule: TtlRule) -> u32 {
    let ttl = match rule {
        TtlRule::Fixed(ttl) => ttl,
        TtlRule::Adaptive { max, min } => adaptive_ttl(world, pool, family, max, min),
    };
    ttl.min(world.ttl_before_maintenance(pool, family))
}

fn adaptive_ttl(world: &World, pool: usize, family: usize, max: u32, min: u32) -> u32 {
    let mut least = Duration::MAX;
    let mut ceiling = u32::MAX;
    let mut pool = pool;
    for _ in 0..world.plan().pools.len() {
        let plan = &world.plan().pools[pool];
        let state = &world.pools[pool].families[family];
        ceiling = ceiling.min(state.changes.ceiling(world.now));
        let up_to = match state.selection {
            Selection::Answer { tier, .. } => tier,
            _ => u16::MAX,
        };
        let by_clock = plan.backends.iter().filter(|backend| backend.tier <= up_to);
        if let Some(moment) = by_clock.filter_map(|backend| world.next_by_clock(plan, backend)).min() {
            least = least.min(moment.duration_since(world.now.wall).unwrap_or_default());
        }
        for candidate in state.candidates.iter().filter(|candidate| candidate.tier <= up_to) {
            let backend = &plan.backends[candidate.backend];
            if world.state_of(plan, backend).0 != AdminState::Auto {
                continue;
            }
            for probe_use in families_of(family).iter().flat_map(|&rtype| backend.probes(rtype)) {
                if let Some(probe) = world.probes.get(world.ids[probe_use.probe]) {
                    least = least.min(world.probes.time_to_change(probe));
                }
            }
        }
        match state.selection {
            Selection::To(Target::Pool(other)) => pool = other,
            _ => break,
        }
    }
    u32::try_from(least.as_secs()).unwrap_or(u32::MAX).min(ceiling).clamp(min, max.max(min))
}

/// Zone, owner and type.
type SlotKey = (Box<[u8]>, Box<[u8]>, u16);

/// Counters by zone, owner and type: the same over reloads, so that no name loses its place in the round. A name has as many
/// in a row as its routes draw from; when that number changes it begins anew.
#[derive(Debug, Default)]
pub(crate) struct DrawSlots {
    taken: HashMap<SlotKey, (u32, u32)>,
    /// First counters of runs that are free, by their length.
    free: HashMap<u32, Vec<u32>>,
    length: u32,
}

impl DrawSlots {
    /// The first counter of each zone's names, where each needs as many as `lengths` says; those of names that are gone
    /// become free.
    pub(crate) fn assign(&mut self, zones: &[ZonePlan], lengths: &[Vec<(u32, u32)>]) -> Vec<Vec<u32>> {
        let mut before = std::mem::take(&mut self.taken);
        let mut assigned: Vec<Vec<Option<u32>>> = Vec::with_capacity(zones.len());
        let key = |zone: &ZonePlan, name: &NamePlan| {
            (Box::from(zone.origin.as_wire()), Box::from(name.owner.as_wire()), name.rtype)
        };
        for (zone, lengths) in zones.iter().zip(lengths) {
            let known = |(name, &(_, length)): (&NamePlan, &(u32, u32))| {
                let key = key(zone, name);
                let same = before.get(&key).is_some_and(|&(_, known)| known == length);
                if same { before.remove(&key).map(|(slot, _)| slot) } else { None }
            };
            assigned.push(zone.names.iter().zip(lengths).map(known).collect());
        }
        for (slot, length) in before.into_values() {
            self.free.entry(length).or_default().push(slot);
        }
        zones
            .iter()
            .zip(lengths)
            .zip(assigned)
            .map(|((zone, lengths), known)| {
                zone.names
                    .iter()
                    .zip(lengths)
                    .zip(known)
                    .map(|((name, &(_, length)), slot)| {
                        let slot = slot.or_else(|| self.free.get_mut(&length)?.pop()).unwrap_or_else(|| {
                            self.length += length;
                            self.length - length
                        });
                        self.taken.insert(key(zone, name), (slot, length));
                        slot
                    })
                    .collect()
            })
            .collect()
    }

    /// The counters of each name and type in use, by the wire forms of zone and owner: the first, and how many.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], u16, (u32, u32))> {
        self.taken.iter().map(|((zone, owner, rtype), run)| (&**zone, &**owner, *rtype, *run))
    }

    /// Counters in use or free.
    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }
}
