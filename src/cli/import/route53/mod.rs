//! Record sets of Amazon Route 53 as zone TOML: simple records stay records, routing policies become pools and routes,
//! health checks become checks.
//!
//! | there | here |
//! |---|---|
//! | weighted, one value a record | a pool, policy `weighted` |
//! | failover, multivalue | a pool, with tiers, with all |
//! | the same with several values or aliases | a pool for each record, and a route |
//! | geolocation, CIDR | a route of type `map` |
//! | latency, geoproximity | a route of type `nearest` |
//! | alias in the zone | the same pool or route, or a CNAME |

mod checks;
mod input;
mod places;
mod policies;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::bind::file_name;
use super::draft::{Draft, Owner, Val};
use super::{Imported, Route53Args, read};
use crate::cli::Failure;
use crate::config::master;
use crate::config::present::strings;
use crate::engine::name::Name;
use crate::engine::rrtype;
use input::{CidrBlock, CidrBlocks, HealthChecks, RecordSet, RecordSets, decimal_escapes};
use policies::Policies;

/// Where an alias says none; the usual of its targets.
const ALIAS_TTL: u32 = 60;

pub(super) fn import(args: &Route53Args) -> Result<Imported, Failure> {
    let input: RecordSets = json(&args.file)?;
    let health: HealthChecks = args.health_checks.as_deref().map(json).transpose()?.unwrap_or_default();
    let mut blocks: HashMap<String, Vec<CidrBlock>> = HashMap::new();
    for part in &args.cidr_blocks {
        let Some((id, path)) = part.split_once('=') else {
            return Err(Failure::wrong(format!("--cidr-blocks {part}: must be ID=FILE")));
        };
        let read: CidrBlocks = json(Path::new(path))?;
        blocks.entry(id.to_owned()).or_default().extend(read.blocks);
    }
    let mut notes = Vec::new();
    let mut draft = convert(input, health, blocks, &mut notes).map_err(Failure::wrong)?;
    draft.head = vec![format!("Imported from {} (Route 53) by rollcall {}.", args.file.display(), crate::VERSION)];
    let unread = draft.unread();
    let text = draft.write(&notes);
    Ok(Imported { files: vec![(file_name(&draft.zone).into(), text)], notes, unread })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    serde_json::from_str(&read(path)?).map_err(|error| Failure::wrong(format!("{}: {error}", path.display())))
}

/// A record set whose name and type were read.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    owner: Name,
    rtype: u16,
    set: RecordSet,
}

fn convert(
    input: RecordSets,
    health: HealthChecks,
    blocks: HashMap<String, Vec<CidrBlock>>,
    notes: &mut Vec<String>,
) -> Result<Draft, String> {
    if input.is_truncated {
        notes.push("the file says IsTruncated: there are more record sets than it holds".to_owned());
    }
    let entries: Vec<Entry> = input.sets.into_iter().map(entry).collect::<Result<_, _>>()?;
    let apex = entries.iter().find(|entry| entry.rtype == rrtype::SOA).map(|entry| entry.owner.clone());
    let zone = apex.ok_or("there is no SOA record set, so the zone's name is not known")?;
    let mut draft = Draft::new(zone.clone());
    // It is 1 there, whatever changes.
    draft.keeps_serial = false;
    let mut groups: BTreeMap<(Owner, u16), Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        groups.entry((Owner(entry.owner.clone()), entry.rtype)).or_default().push(entry);
    }
    let mut aliases = Vec::new();
    // An owner that is balanced in one family is in both: it may hold no static address.
    let is_address = |rtype: u16| rtype == rrtype::A || rtype == rrtype::AAAA;
    let mut chosen: BTreeMap<Owner, Vec<u16>> = BTreeMap::new();
    for (owner, rtype) in groups.keys().filter(|(_, rtype)| is_address(*rtype)) {
        let has_policy =
            |rtype| groups.get(&(owner.clone(), rtype)).is_some_and(|group| group[0].set.set_identifier.is_some());
        if has_policy(rrtype::A) || has_policy(rrtype::AAAA) {
            chosen.entry(owner.clone()).or_default().push(*rtype);
        }
    }
    for ((owner, rtype), group) in &groups {
        let first = &group[0];
        if *rtype == rrtype::SOA {
            draft.soa = Some(soa(first)?);
        } else if first.set.traffic_policy_instance_id.is_some() {
            notes.push(format!(
                "{}: made by a traffic policy; its records are carried over, the policy is not",
                first.title()
            ));
        }
        if *rtype == rrtype::SOA {
        } else if is_address(*rtype) && chosen.contains_key(owner) {
            // Its pools come below.
        } else if first.set.set_identifier.is_some() {
            let best = policies::foremost(group);
            notes.push(format!(
                "{}: rollcall chooses among A and AAAA only; of {} record sets {:?} is carried over as static records",
                first.title(),
                group.len(),
                best.set.set_identifier.as_deref().unwrap_or_default()
            ));
            if best.set.alias_target.is_none() { put(best, &mut draft, notes)? } else { aliases.push(best) }
        } else if first.set.alias_target.is_some() {
            aliases.push(first);
        } else {
            put(first, &mut draft, notes)?;
        }
    }
    draft.choose_ttl(300);
    let mut policies = Policies::new(&groups, checks::Checks::new(health), blocks, zone.clone(), draft.ttl);
    for (owner, rtypes) in &chosen {
        if let Some(value) = policies.name(owner, rtypes) {
            draft.names.insert(owner.clone(), value);
        }
    }
    put_aliases(&aliases, &groups, &mut policies, &mut draft, notes)?;
    let Policies { parts, checks, notes: said, .. } = policies;
    draft.parts = parts;
    draft.parts.checks = checks.items;
    notes.extend(said);
    notes.extend(checks.notes);
    Ok(draft)
}

fn entry(set: RecordSet) -> Result<Entry, String> {
    let text = decimal_escapes(&set.name);
    let owner =
        Name::parse(&text, Some(&Name::root())).map_err(|error| format!("{:?} is no name: {error}", set.name))?;
    let rtype = rrtype::parse(&set.rtype).ok_or_else(|| format!("{}: {:?} is no record type", set.name, set.rtype))?;
    Ok(Entry { owner, rtype, set })
}

impl Entry {
    fn title(&self) -> String {
        format!("{} {}", self.owner, self.set.rtype)
    }

    /// The addresses of an A or AAAA.
    fn values(&self) -> Vec<String> {
        self.set.resource_records.iter().map(|record| record.value.trim().to_owned()).collect()
    }
}

fn soa(entry: &Entry) -> Result<master::MasterSoa, String> {
    let text = entry.set.resource_records.first().map(|record| record.value.clone()).unwrap_or_default();
    let (_, wire) = master::encode("SOA", &decimal_escapes(&text), &Name::root())
        .map_err(|why| format!("{}: {why}", entry.title()))?;
    master::MasterSoa::from_wire(&wire, entry.set.ttl.unwrap_or(900))
        .ok_or_else(|| format!("{}: no SOA data", entry.title()))
}

/// Puts the records of a set into the zone. Names in them are absolute there, with or without the final dot.
fn put(entry: &Entry, draft: &mut Draft, notes: &mut Vec<String>) -> Result<(), String> {
    let ttl = entry.set.ttl.unwrap_or(ALIAS_TTL);
    if let Some(id) = &entry.set.health_check_id {
        notes.push(format!("{}: health check {id} on a simple record has no effect, and is left out", entry.title()));
    }
    for record in &entry.set.resource_records {
        let text = decimal_escapes(&record.value);
        match master::encode(&entry.set.rtype, &text, &Name::root()) {
            Ok((rtype, data)) => {
                if rtype == rrtype::TXT && strings(&data).is_none() {
                    notes.push(format!("{}: the value {:?} is no text", entry.title(), record.value));
                    continue;
                }
                draft.add(entry.owner.clone(), rtype, ttl, data);
            }
            Err(why) => notes.push(format!("{}: the value {:?} is left out: {why}", entry.title(), record.value)),
        }
    }
    Ok(())
}

/// Aliases without a policy: what they lead to answers for them.
fn put_aliases(
    aliases: &[&Entry],
    groups: &BTreeMap<(Owner, u16), Vec<Entry>>,
    policies: &mut Policies<'_>,
    draft: &mut Draft,
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let mut names: BTreeMap<Owner, Vec<(u16, String)>> = BTreeMap::new();
    for alias in aliases {
        let Some(target) = &alias.set.alias_target else { continue };
        let text = decimal_escapes(&target.name);
        let name = Name::parse(&text, Some(&Name::root()))
            .map_err(|error| format!("{:?} is no name: {error}", target.name))?;
        let key = (Owner(name.clone()), alias.rtype);
        if let Some(to) = policies.target_of(&key) {
            names.entry(Owner(alias.owner.clone())).or_default().push((alias.rtype, to));
        } else if let Some(group) = groups.get(&key).filter(|group| group[0].set.alias_target.is_none()) {
            for record in &group[0].set.resource_records {
                let (rtype, data) = master::encode(&alias.set.rtype, &decimal_escapes(&record.value), &Name::root())?;
                draft.add(alias.owner.clone(), rtype, group[0].set.ttl.unwrap_or(ALIAS_TTL), data);
            }
            notes.push(format!("{}: was an alias of {name}, and is a copy of its records now", alias.title()));
        } else {
            put_foreign(alias, &name, groups, draft, notes);
        }
    }
    for (owner, targets) in names {
        let both = groups.keys().filter(|(known, rtype)| *known == owner && [rrtype::A, rrtype::AAAA].contains(rtype));
        let value = match &targets[..] {
            [(_, to), (_, other)] if to == other => Val::text(to),
            [(_, to)] if both.count() == 1 => Val::text(to),
            _ => {
                let tables = targets
                    .iter()
                    .map(|(rtype, to)| Val::table([("to", Val::text(to)), ("type", Val::Text(rrtype::text(*rtype)))]));
                Val::List(tables.collect())
            }
        };
        draft.names.insert(owner, value);
    }
    Ok(())
}

/// An alias of a load balancer, a distribution, a bucket: a CNAME says the same where one may stand.
fn put_foreign(
    alias: &Entry,
    target: &Name,
    groups: &BTreeMap<(Owner, u16), Vec<Entry>>,
    draft: &mut Draft,
    notes: &mut Vec<String>,
) {
    let others = groups.keys().filter(|(owner, _)| owner.0 == alias.owner);
    let alone = others.into_iter().all(|(_, rtype)| *rtype == rrtype::A || *rtype == rrtype::AAAA);
    if alias.owner == draft.zone || !alone || target.is_at_or_below(&draft.zone) {
        notes.push(format!(
            "{}: an alias of {target}, whose addresses AWS alone knows; it is left out, since no CNAME may stand there",
            alias.title()
        ));
        return;
    }
    if !draft.records.contains_key(&Owner(alias.owner.clone())) {
        notes.push(format!("{}: was an alias of {target}, and is a CNAME now", alias.title()));
    }
    draft.add(alias.owner.clone(), rrtype::CNAME, ALIAS_TTL, target.as_wire().to_vec());
}

#[cfg(test)]
mod tests;
