//! A zone as a master file (RFC 1035 5), as it answers now: static records, the serial in force, and for each balanced name
//! the addresses that may be answered. Comments say of which pool they are.
//!
//! The supervisor only gathers what it alone knows, pool by pool; a large zone is written elsewhere, from the plan and the
//! snapshot, which do not change.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::memory::Saved;
use super::names::pool_ttl;
use super::status;
use super::world::{FAMILIES, World};
use super::{ControlError, Now, zone_text};
use crate::config::plan::Plan;
use crate::config::present::{canonical_order, name_text, rdata_text, type_text};
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

/// What one pool answers in one family.
struct Answer {
    pool: String,
    why: String,
    addresses: Vec<IpAddr>,
}

/// Gathers a zone of a running server.
pub(crate) fn gather(world: &World, zone: &str, now: SystemTime) -> Result<Exported, ControlError> {
    let generation = world.snapshot().generation;
    let said =
        format!("as rollcall {} answered it at {}, generation {generation}", crate::VERSION, status::time_text(now));
    exported(world, zone, said)
}

/// A zone as the files have it: no probe has run, and no override is known.
pub fn offline(plan: Plan, zone: &str) -> Result<String, ControlError> {
    let now = Now { wall: SystemTime::now(), mono: std::time::Duration::ZERO };
    let mut world = World::new(&Saved::default(), [0; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    let said = format!(
        "as rollcall {} reads it from the files: no backend was probed, each counts as before its first verdict",
        crate::VERSION
    );
    Ok(exported(&world, zone, said)?.master_file())
}

fn exported(world: &World, zone: &str, said: String) -> Result<Exported, ControlError> {
    let origin = Name::parse(zone, Some(&Name::root()))
        .map_err(|error| ControlError::Invalid(format!("\"{zone}\" is no name: {error}")))?;
    let plan = world.plan().clone();
    let found = plan.zones.iter().position(|plan| plan.origin == origin);
    let zone = found.ok_or_else(|| ControlError::NotFound(format!("no zone here is named {}", zone_text(&origin))))?;
    let mut answers: HashMap<(usize, usize), Arc<Answer>> = HashMap::new();
    let names = plan.zones[zone].names.iter().map(|name| {
        let slot = FAMILIES.iter().position(|&rtype| rtype == name.rtype).unwrap_or(0);
        let answer = answers.entry((name.pool, slot)).or_insert_with(|| Arc::new(answer(world, name.pool, slot)));
        Balanced { answer: answer.clone(), ttl: pool_ttl(world, name.pool, slot, name.ttl) }
    });
    let names = names.collect();
    Ok(Exported { snapshot: world.snapshot().clone(), plan, zone, names, said })
}

fn answer(world: &World, pool: usize, slot: usize) -> Answer {
    let plan = world.plan();
    let name = plan.pools[pool].name.clone();
    let mut why = String::new();
    let mut number = pool;
    // Pools that lead to each other in a ring were refused at load.
    for _ in 0..=plan.pools.len() {
        let family = &world.pools[number].families[slot];
        if !family.has_family {
            why.push_str(&format!("has no {} address", rrtype::text(FAMILIES[slot])));
            break;
        }
        why.push_str(&status::family(world, number, slot).why);
        match &family.selection {
            Selection::To(other) => {
                why.push_str("; ");
                number = *other;
            }
            Selection::Nothing(_) => break,
            Selection::Answer { members, .. } => {
                let backends = &plan.pools[number].backends;
                let mut addresses: Vec<IpAddr> = Vec::with_capacity(members.len());
                for address in members.iter().filter_map(|&(member, _)| backends[member].address(FAMILIES[slot])) {
                    // Two services of one machine may stand in one pool; an RRset holds the address once.
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                return Answer { pool: name, why, addresses };
            }
        }
    }
    Answer { pool: name, why, addresses: Vec::new() }
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
        let policy = status::policy_word(self.plan.pools[plan.pool].policy);
        let rtype = type_text(rtype);
        let _ = writeln!(
            text,
            "; {owner} {rtype}: pool {} ({policy}, {} in an answer), {}",
            answer.pool, plan.answers, answer.why
        );
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
