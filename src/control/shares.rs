//! Shares in closed form: how much of a name's answers each backend has, as its first address. Through routes too, for the
//! health there is or for one that is only thought of.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::graph::{Graph, aliases_of};
use super::names::drawn_from;
use super::program::{Health, Leaves, Tables, program};
use super::world::{HOST, PoolState, World, backend_id, slot_of};
use crate::config::plan::{NamePlan, PolicyKind, PoolPlan, Target};
use crate::engine::client::{Client, HashKey};
use crate::engine::name::Name;
use crate::engine::policy::{Because, Selection, select};
use crate::engine::ranges::ByAddress;
use crate::engine::rendezvous::Rendezvous;
use crate::engine::route::{Node, Program};
use crate::engine::rrtype::SRV;
use crate::engine::view::{Addresses, Form, Member, Pick};

/// Different places of clients that are told apart in one name.
const MOST_REGIONS: usize = 1000;

/// Who asks, as far as answers depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Shared<'q> {
    /// Where routes by address find themselves.
    pub client: Client,
    /// The question's name, for hashes of it.
    pub question: &'q Name,
    /// What is decided by a hash of the client is spread over all clients instead, by weight.
    pub over_clients: bool,
}

/// The share of first places of each backend that answers for a name of a zone: its id and a number above 0. They add up to
/// 1, or are empty where nothing is answered. `down` are ids of backends that are thought to be down.
///
/// A name without a balanced set of that type has no shares: `None`.
pub fn shares(
    world: &World,
    zone: &Name,
    owner: &Name,
    rtype: u16,
    asker: &Shared<'_>,
    down: &[String],
) -> Option<Vec<(String, f64)>> {
    let plan = world.plan();
    let zone = plan.zones.iter().find(|one| one.origin == *zone)?;
    let name = zone.names.iter().find(|name| name.owner == *owner && name.rtype == rtype)?;
    Some(of_name(world, name, asker, down))
}

/// As [`shares`], of a name that was found.
pub(crate) fn of_name(world: &World, name: &NamePlan, asker: &Shared<'_>, down: &[String]) -> Vec<(String, f64)> {
    let thought = if down.is_empty() { None } else { Some(thought(world, down)) };
    let way = Way::new(world, name, thought.as_deref().unwrap_or(&world.pools));
    way.map_or_else(Vec::new, |way| way.shares(asker))
}

/// The way from a name to its backends, for some health.
pub(crate) struct Way<'w> {
    health: Health<'w>,
    program: Program,
    leaves: Leaves,
    rtype: u16,
}

impl<'w> Way<'w> {
    /// `None` where nothing leads anywhere.
    pub(crate) fn new(world: &'w World, name: &NamePlan, pools: &'w [PoolState]) -> Option<Way<'w>> {
        let plan = world.plan();
        let graph = Graph::new(plan, name.to);
        let health = Health { pools, ..world.health(slot_of(name.rtype)) };
        // The view of a pool is the pool itself here.
        let leaves = Leaves {
            pools: graph.pools().map(|pool| (pool, pool as u32)).collect(),
            aliases: aliases_of(plan, graph.pools()).zip(plan.pools.len() as u32..).collect(),
        };
        let program = program(health, &graph, &leaves, &mut Tables::default())?;
        Some(Way { health, program, leaves, rtype: name.rtype })
    }

    /// Where clients take different ways: a number for every address, and an address of each number. Of very many different
    /// places the maps that come last are not told apart.
    pub(crate) fn regions(&self) -> (ByAddress<u32>, Vec<IpAddr>) {
        let mut table = ByAddress::all(0);
        let mut count = 1;
        for node in self.program.nodes() {
            let Node::Map { table: own, .. } = node else { continue };
            if count > MOST_REGIONS {
                break;
            }
            let mut numbers: HashMap<(u32, u16), u32> = HashMap::new();
            table = table.overlay(own, |before, choice| {
                let next = numbers.len() as u32;
                *numbers.entry((before, choice)).or_insert(next)
            });
            count = numbers.len();
        }
        let mut places: Vec<Option<IpAddr>> = vec![None; count];
        let v4 = table.v4.iter().map(|(start, number)| (IpAddr::from(start.to_be_bytes()), number));
        let v6 = table.v6.iter().map(|(start, number)| (IpAddr::from(start.to_be_bytes()), number));
        v4.chain(v6).for_each(|(start, number)| {
            places[number as usize].get_or_insert(start);
        });
        (table, places.into_iter().flatten().collect())
    }

    /// The share of each backend that answers.
    pub(crate) fn shares(&self, asker: &Shared<'_>) -> Vec<(String, f64)> {
        let Way { health, leaves, .. } = self;
        let (plan, pools) = (health.plan, health.pools);
        let nodes = self.program.nodes();
        // From the root down: a node stands behind its children.
        let mut reached = vec![0f64; nodes.len()];
        reached[nodes.len() - 1] = 1.0;
        let mut found: BTreeMap<String, f64> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate().rev() {
            let share = reached[at];
            if share == 0.0 {
                continue;
            }
            match node {
                Node::Leaf { view, .. } if *view as usize >= plan.pools.len() => {
                    let Some((&(pool, backend), _)) = leaves.aliases.iter().find(|(_, alias)| *alias == view) else {
                        continue;
                    };
                    let pool = &plan.pools[pool];
                    *found.entry(backend_id(pool, &pool.backends[backend])).or_default() += share;
                }
                Node::Leaf { view, .. } => {
                    let Target::Pool(number) = health.diverted(*view as usize) else { continue };
                    let family = &pools[number].families[health.family];
                    let Selection::Answer { members, .. } = &family.selection else { continue };
                    let plan = &plan.pools[number];
                    for (backend, part) in
                        pool_shares(plan, family.policy(plan.policy), members, self.rtype, Some(asker))
                    {
                        *found.entry(backend_id(plan, &plan.backends[backend])).or_default() += share * part;
                    }
                }
                Node::Split { firsts, children, .. } => {
                    for (&child, part) in children.iter().zip(firsts.shares()) {
                        reached[child as usize] += share * part;
                    }
                }
                Node::Map { table, children } => {
                    let chosen = table.find(asker.client.address).0;
                    reached[children[usize::from(chosen)] as usize] += share;
                }
                Node::Hash { key, table, children } => {
                    for (member, part) in hashed(table, *key, asker) {
                        reached[children[member] as usize] += share * part;
                    }
                }
            }
        }
        found.into_iter().filter(|(_, share)| *share > 0.0).collect()
    }
}

/// Who owns what of a hash.
fn hashed(table: &Rendezvous, key: HashKey, asker: &Shared<'_>) -> Vec<(usize, f64)> {
    if asker.over_clients && key != HashKey::Name {
        return table.shares().into_iter().enumerate().collect();
    }
    vec![(table.first(asker.client.hash(key, asker.question.as_wire()).0), 1.0)]
}

/// Each backend's share of the first places of a pool's answers. Without an asker, of a hash over all clients.
pub(crate) fn pool_shares(
    pool: &PoolPlan,
    policy: PolicyKind,
    members: &[(usize, u16)],
    rtype: u16,
    asker: Option<&Shared<'_>>,
) -> Vec<(usize, f64)> {
    if slot_of(rtype) == HOST {
        return of_hosts(members, rtype == SRV || policy == PolicyKind::Weighted);
    }
    let members = drawn_from(pool, members, rtype);
    if pool.policy == PolicyKind::Hash {
        let table = Rendezvous::new(members.iter().map(|(_, member)| (member.name, member.weight)));
        let owners = match (asker, pool.reads) {
            (Some(asker), Some(key)) => hashed(&table, key, asker),
            _ => table.shares().into_iter().enumerate().collect(),
        };
        return owners.into_iter().map(|(member, share)| (members[member].0, share)).collect();
    }
    if let (Some(asker), Some(key)) = (asker.filter(|asker| !asker.over_clients), pool.reads) {
        return first_for(pool, &members, asker.client.hash(key, asker.question.as_wire()).0);
    }
    // Backends on one address have its share together: nobody can tell them apart, so each has an equal part.
    let mut addresses: BTreeMap<IpAddr, (u64, usize)> = BTreeMap::new();
    for (_, member) in &members {
        let entry = addresses.entry(member.address).or_default();
        *entry = (entry.0 + u64::from(member.weight), entry.1 + 1);
    }
    let total: u64 = addresses.values().map(|(weight, _)| (*weight).min(u64::from(u16::MAX))).sum();
    let even = policy != PolicyKind::Weighted || total == 0;
    members
        .iter()
        .map(|(backend, member)| {
            let (weight, sharing) = addresses[&member.address];
            let of_address =
                if even { 1.0 / addresses.len() as f64 } else { weight.min(u64::from(u16::MAX)) as f64 / total as f64 };
            (*backend, of_address / sharing as f64)
        })
        .collect()
}

/// Of hosts as a whole: by weight as clients of SRV read it, else evenly.
fn of_hosts(members: &[(usize, u16)], by_weight: bool) -> Vec<(usize, f64)> {
    let total: u64 = members.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let share = |weight: u16| match by_weight && total > 0 {
        true => f64::from(weight) / total as f64,
        false => 1.0 / members.len() as f64,
    };
    members.iter().map(|&(backend, weight)| (backend, share(weight))).collect()
}

/// The backends behind the first address that a hash gets.
fn first_for(pool: &PoolPlan, members: &[(usize, Member<'_>)], hash: u64) -> Vec<(usize, f64)> {
    let plain: Vec<Member<'_>> = members.iter().map(|(_, member)| *member).collect();
    let form = Form { policy: pool.policy, answers: 1, ttl: 0, reads: pool.reads, spread: false };
    let addresses = Addresses::of(&plain, form);
    let mut record = vec![0; addresses.length()];
    addresses.write(Pick::hash(hash), &mut record);
    let is_first = |member: &Member<'_>| match member.address {
        IpAddr::V4(address) => record.ends_with(&address.octets()),
        IpAddr::V6(address) => record.ends_with(&address.octets()),
    };
    let firsts: Vec<usize> =
        members.iter().filter(|(_, member)| is_first(member)).map(|(backend, _)| *backend).collect();
    firsts.iter().map(|&backend| (backend, 1.0 / firsts.len() as f64)).collect()
}

/// The pools as they would be with these backends down.
fn thought(world: &World, down: &[String]) -> Vec<PoolState> {
    let plan = world.plan();
    let mut pools = world.pools.clone();
    for (pool, state) in plan.pools.iter().zip(&mut pools) {
        let is_down = |backend: usize| down.contains(&backend_id(pool, &pool.backends[backend]));
        for family in &mut state.families {
            if !family.candidates.iter().any(|candidate| is_down(candidate.backend)) {
                continue;
            }
            let before = match &family.selection {
                Selection::Answer { members, because: Because::Healthy, .. } => {
                    Some(members.iter().map(|member| member.0).collect::<Vec<_>>())
                }
                _ => family.last.clone(),
            };
            family.candidates.iter_mut().filter(|one| is_down(one.backend)).for_each(|one| one.up = false);
            family.selection =
                select(&family.candidates, family.has_family, pool.min_healthy, pool.on_all_down, before.as_deref());
        }
    }
    pools
}
