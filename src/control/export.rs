//! A zone as a master file (RFC 1035 5), as it answers now: static records, the serial in force, and for each balanced name
//! the addresses that may be answered; where routes read the client, those that one client may get. Comments say of which
//! pool or route they are.
//!
//! The supervisor only gathers what it alone knows, pool by pool; a large zone is written elsewhere, from the plan and the
//! snapshot, which do not change.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::graph::{Graph, is_routed};
use super::memory::Saved;
use super::names::{name_ttl, target_name};
use super::shares::{Shared, of_name};
use super::status;
use super::world::{FAMILIES, World, backend_id};
use super::{ControlError, Now, zone_text};
use crate::config::plan::{NamePlan, Plan, RouteKind, Target};
use crate::config::present::{canonical_order, name_text, rdata_text, type_text};
use crate::engine::client::{Client, HashKey};
use crate::engine::name::Name;
use crate::engine::policy::Selection;
use crate::engine::rrtype;
use crate::engine::snapshot::Snapshot;
use crate::engine::zone::{NodeId, SetData, ZoneData, records};

/// A zone at one moment, ready to be written.
pub(crate) struct Exported {
    plan: Arc<Plan>,
    snapshot: Arc<Snapshot>,
    zone: usize,
    /// Of each balanced name of the zone, in the plan's order.
    names: Vec<Balanced>,
    said: String,
}

struct Balanced {
    answer: Arc<Answer>,
    ttl: u32,
}

/// What one pool or route answers in one family.
struct Answer {
    /// The pool or route, in words; `{}` stands for how many go into an answer.
    from: String,
    why: String,
    addresses: Vec<IpAddr>,
}

/// Gathers a zone of a running server.
pub(crate) fn gather(world: &World, zone: &str, client: IpAddr, now: SystemTime) -> Result<Exported, ControlError> {
    let generation = world.snapshot().generation;
    let said =
        format!("as rollcall {} answered it at {}, generation {generation}", crate::VERSION, status::time_text(now));
    exported(world, zone, client, said)
}

/// A zone as the files have it: no probe has run, and no override is known.
pub fn offline(plan: Plan, zone: &str, client: IpAddr) -> Result<String, ControlError> {
    let now = Now { wall: SystemTime::now(), mono: std::time::Duration::ZERO };
    let mut world = World::new(&Saved::default(), [0; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    let said = format!(
        "as rollcall {} reads it from the files: no backend was probed, each counts as before its first verdict",
        crate::VERSION
    );
    Ok(exported(&world, zone, client, said)?.master_file())
}

fn exported(world: &World, zone: &str, client: IpAddr, said: String) -> Result<Exported, ControlError> {
    let origin = Name::parse(zone, Some(&Name::root()))
        .map_err(|error| ControlError::Invalid(format!("\"{zone}\" is no name: {error}")))?;
    let plan = world.plan().clone();
    let found = plan.zones.iter().position(|plan| plan.origin == origin);
    let zone = found.ok_or_else(|| ControlError::NotFound(format!("no zone here is named {}", zone_text(&origin))))?;
    let slots = world.snapshot().zones.get(zone as u32).map(|zone| zone.names.clone()).unwrap_or_default();
    let mut answers: HashMap<(Target, usize), Arc<Answer>> = HashMap::new();
    let names = plan.zones[zone].names.iter().zip(slots.iter()).map(|(name, slot)| {
        let family = FAMILIES.iter().position(|&rtype| rtype == name.rtype).unwrap_or(0);
        let answer = match name.to {
            to if !is_routed(&plan, to) => {
                let made = || Arc::new(of_pool(world, to, family));
                answers.entry((to, family)).or_insert_with(made).clone()
            }
            // Whoever hashes the name answers each differently.
            to if reads_name(&plan, to) => Arc::new(of_route(world, name, client)),
            to => answers.entry((to, family)).or_insert_with(|| Arc::new(of_route(world, name, client))).clone(),
        };
        Balanced { answer, ttl: name_ttl(world, slot.view) }
    });
    let names = names.collect();
    Ok(Exported { snapshot: world.snapshot().clone(), plan, zone, names, said })
}

/// Whether an answer may depend on the name that is asked for.
fn reads_name(plan: &Plan, to: Target) -> bool {
    Graph::new(plan, to).targets.iter().any(|target| match target {
        Target::Pool(pool) => plan.pools[*pool].reads == Some(HashKey::Name),
        Target::Route(route) => matches!(plan.routes[*route].kind, RouteKind::Hash { key: HashKey::Name, .. }),
    })
}

/// What a pool, or the one that stands in for it, answers in one family.
fn of_pool(world: &World, to: Target, family: usize) -> Answer {
    let plan = world.plan();
    let mut answer = Answer { from: String::new(), why: String::new(), addresses: Vec::new() };
    let mut at = to;
    // Pools that lead to each other in a ring were refused at load.
    for _ in 0..=plan.pools.len() {
        let Target::Pool(number) = at else { break };
        if answer.from.is_empty() {
            let pool = &plan.pools[number];
            answer.from = format!("pool {} ({}, {{}} in an answer)", pool.name, status::policy_word(pool));
        }
        let state = &world.pools[number].families[family];
        if !state.has_family {
            answer.why.push_str(&format!("has no {} address", rrtype::text(FAMILIES[family])));
            break;
        }
        answer.why.push_str(&status::family(world, number, family).why);
        match &state.selection {
            Selection::To(other) => {
                answer.why.push_str("; ");
                at = *other;
            }
            Selection::Nothing(_) => break,
            Selection::Answer { members, .. } => {
                let backends = &plan.pools[number].backends;
                let all = members.iter().filter_map(|&(member, _)| backends[member].address(FAMILIES[family]));
                answer.add(all);
                break;
            }
        }
    }
    answer
}

/// What routes answer one client: every backend that has a share of its answers.
fn of_route(world: &World, name: &NamePlan, client: IpAddr) -> Answer {
    let plan = world.plan();
    let from = format!("{} {}", target_word(name.to), target_name(plan, name.to));
    let asker = Shared { client: Client::source(client), question: &name.owner, over_clients: false };
    let shares = of_name(world, name, &asker, &[]);
    let graph = Graph::new(plan, name.to);
    let addresses: HashMap<String, Option<IpAddr>> = graph
        .pools()
        .flat_map(|pool| plan.pools[pool].backends.iter().map(move |backend| (&plan.pools[pool], backend)))
        .map(|(pool, backend)| (backend_id(pool, backend), backend.address(name.rtype)))
        .collect();
    let why = if shares.is_empty() { format!("answers {client} nothing") } else { format!("as it answers {client}") };
    let mut answer = Answer { from, why, addresses: Vec::new() };
    answer.add(shares.iter().filter_map(|(id, _)| *addresses.get(id)?));
    answer
}

fn target_word(to: Target) -> &'static str {
    match to {
        Target::Pool(_) => "pool",
        Target::Route(_) => "route",
    }
}

impl Answer {
    /// Two services of one machine may stand in one pool; an RRset holds the address once.
    fn add(&mut self, addresses: impl Iterator<Item = IpAddr>) {
        for address in addresses {
            if !self.addresses.contains(&address) {
                self.addresses.push(address);
            }
        }
    }
}

impl Exported {
    /// The master file.
    pub(crate) fn master_file(&self) -> String {
        let zone = &self.plan.zones[self.zone];
        let origin = &zone.origin;
        let mut text = format!("; {} {}\n$ORIGIN {origin}\n", zone_text(origin), self.said);
        let data = &zone.data;
        let mut nodes: Vec<NodeId> = data.nodes().filter(|&node| !data.sets(node).is_empty()).collect();
        nodes.sort_by(|&a, &b| canonical_order(data.wire_of(a), data.wire_of(b)));
        for node in nodes {
            let owner = name_text(data.wire_of(node), Some(origin));
            let mut sets: Vec<_> = data.sets(node).iter().collect();
            // SOA first: readers want it so.
            sets.sort_by_key(|set| (set.rtype != rrtype::SOA, set.rtype != rrtype::NS, set.rtype));
            for set in sets {
                match data.data(set) {
                    SetData::Static(octets) => self.put_static(&owner, set.rtype, octets, &mut text),
                    SetData::Balanced(index) => self.put_balanced(&owner, set.rtype, index as usize, data, &mut text),
                }
            }
        }
        text
    }

    fn put_static(&self, owner: &str, rtype: u16, octets: &[u8], text: &mut String) {
        let origin = &self.plan.zones[self.zone].origin;
        for record in records(octets) {
            let data = match self.snapshot.zones.get(self.zone as u32) {
                Some(zone) if rtype == rrtype::SOA => {
                    rdata_text(rtype, &with_serial(record.rdata, zone.soa.serial()), Some(origin))
                }
                _ => rdata_text(rtype, record.rdata, Some(origin)),
            };
            put_line(owner, record.ttl, &type_text(rtype), &data, text);
        }
    }

    fn put_balanced(&self, owner: &str, rtype: u16, index: usize, _: &ZoneData, text: &mut String) {
        let Some(Balanced { answer, ttl }) = self.names.get(index) else { return };
        let plan = &self.plan.zones[self.zone].names[index];
        let of_pool = |to| if let Target::Pool(pool) = to { self.plan.pools[pool].answers } else { 0 };
        let answers = plan.answers.unwrap_or_else(|| of_pool(plan.to));
        let from = answer.from.replace("{}", &answers.to_string());
        let rtype = type_text(rtype);
        let _ = writeln!(text, "; {owner} {rtype}: {from}, {}", answer.why);
        for address in &answer.addresses {
            put_line(owner, *ttl, &rtype, &address.to_string(), text);
        }
    }
}

fn put_line(owner: &str, ttl: u32, rtype: &str, data: &str, text: &mut String) {
    let _ = writeln!(text, "{owner:<23} {ttl:>6} IN {rtype:<5} {data}");
}

/// The SOA's RDATA with another serial: the first of the five numbers that end it.
fn with_serial(rdata: &[u8], serial: u32) -> Vec<u8> {
    let mut octets = rdata.to_vec();
    if let Some(at) = octets.len().checked_sub(20) {
        octets[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
    octets
}
