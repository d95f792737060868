//! Which answer a client gets, and every step that led to it. The answer itself comes from the engine, by the same door
//! as any query; the steps are read from the same world.

use std::net::IpAddr;

use domain::base::name::ToName;
use domain::base::wire::ParseError;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, ParsedName};
use domain::rdata::ZoneRecordData;

use super::ControlError;
use super::overrides::Override;
use super::status::{policy_word, tier_text, time_text};
use super::view::{ExplainQuery, Explanation};
use super::world::{FAMILIES, World, state_word, verdict_word};
use super::zone_text;
use crate::config::plan::{AdminState, NamePlan, OnAllDown, PolicyKind};
use crate::engine::name::{Name, labels, presentation};
use crate::engine::policy::{Because, Nothing, Selection};
use crate::engine::query::QueryName;
use crate::engine::rrtype::{self, A};
use crate::engine::zone::{Found, SetData, records};
use crate::engine::{Asker, MAX_REPLY, Transport, respond};

/// Links that the steps follow, as the engine does.
const LINKS: usize = 17;

/// Explains one question.
pub(crate) fn explain(world: &World, query: &ExplainQuery) -> Result<Explanation, ControlError> {
    let invalid = |text: String| ControlError::Invalid(text);
    let name = Name::parse(&query.name, Some(&Name::root()))
        .map_err(|error| invalid(format!("\"{}\" is no name: {error}", query.name)))?;
    let type_text = query.rtype.as_deref().unwrap_or("A");
    let rtype = rrtype::parse(type_text).ok_or_else(|| invalid(format!("\"{type_text}\" is no record type")))?;
    let client: IpAddr = match &query.client {
        None => IpAddr::from([127, 0, 0, 1]),
        Some(text) => text
            .split('/')
            .next()
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| invalid(format!("\"{text}\" is no IP address")))?,
    };
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name.as_wire());
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    let snapshot = world.snapshot();
    let asker = Asker { address: client, transport: Transport::Tcp, worker: snapshot.draws.len().saturating_sub(1) };
    let mut out = vec![0; MAX_REPLY];
    let reply = respond(snapshot, &asker, &message, &mut out);
    let answer = answer_text(&out[..reply.length])
        .map_err(|error| ControlError::Failed(format!("the reply could not be read back: {error}")))?;
    let mut steps = vec![format!("client {client}: no pool here reads the client, every client gets this answer")];
    let zone = zone_of(world, &name, rtype);
    let mut exists = false;
    match zone {
        None => steps.push(format!("no zone here holds {name}: REFUSED")),
        Some(number) => {
            let plan = &world.plan().zones[number];
            let serial = snapshot.zones.get(number as u32).map_or(0, |zone| zone.soa.serial());
            steps.push(format!("zone {} ({}), serial {serial}", zone_text(&plan.origin), plan.file.display()));
            exists = walk(world, number, &name, rtype, &mut steps);
        }
    }
    Ok(Explanation {
        question: format!("{name} {}", rrtype::text(rtype)),
        zone: zone.map(|number| zone_text(&world.plan().zones[number].origin)),
        exists,
        rcode: rcode_text(reply.rcode),
        answer,
        steps,
    })
}

/// The answer section as a master file has it (RFC 1035 5.1, RFC 3597 5).
fn answer_text(reply: &[u8]) -> Result<Vec<String>, ParseError> {
    let message = Message::from_octets(reply).map_err(|_| ParseError::ShortInput)?;
    let records = message.answer()?.limit_to::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>();
    records
        .map(|record| {
            let record = record?;
            let owner = presentation(record.owner().to_vec().as_slice());
            let data = record.data().display_zonefile(DisplayKind::Simple);
            let rtype = rrtype::text(record.rtype().to_int());
            Ok(format!("{owner} {} IN {rtype} {data}", record.ttl().as_secs()))
        })
        .collect()
}

fn zone_of(world: &World, name: &Name, rtype: u16) -> Option<usize> {
    let apexes = &world.snapshot().apexes;
    let skip = usize::from(rtype == rrtype::DS && apexes.exact(name.as_wire()).is_some() && !name.is_root());
    let find = |skip| name.ancestors().skip(skip).find_map(|suffix| apexes.exact(suffix)).map(|zone| zone as usize);
    find(skip).or_else(|| find(0))
}

/// Says what each name of the chain is; returns whether the first exists.
fn walk(world: &World, zone: usize, name: &Name, rtype: u16, steps: &mut Vec<String>) -> bool {
    let plan = &world.plan().zones[zone];
    let data = &plan.data;
    let mut name = name.clone();
    let mut exists = false;
    for link in 0..LINKS {
        let mut asked = QueryName::empty();
        if asked.read(name.as_wire()).is_none() {
            break;
        }
        let found = data.lookup(asked.wire(), asked.starts(), rtype);
        exists |= link == 0 && found != Found::NxDomain;
        match found {
            Found::NxDomain => {
                steps.push(format!("{name} does not exist, and no wildcard covers it: NXDOMAIN"));
                return exists;
            }
            Found::Delegation(cut) => {
                let cut = presentation(data.wire_of(cut));
                steps.push(format!("{name} is at or below the delegation {cut}: a referral to its name servers"));
                return exists;
            }
            Found::Dname(at) => {
                let above = presentation(data.wire_of(at));
                let Some(target) = data.set(at, rrtype::DNAME).and_then(|set| first_rdata(data.data(set))) else {
                    return exists;
                };
                let keep = name.label_count() - labels(data.wire_of(at)).count();
                let mut wire: Vec<u8> = Vec::new();
                for label in labels(name.as_wire()).take(keep) {
                    wire.push(label.len() as u8);
                    wire.extend_from_slice(label);
                }
                wire.extend_from_slice(target);
                let Ok(next) = Name::from_wire(&wire) else {
                    steps.push(format!("{name}: the DNAME at {above} makes a name that is too long: YXDOMAIN"));
                    return exists;
                };
                steps.push(format!("{name}: the DNAME at {above} leads to {next}"));
                name = next;
            }
            Found::Node(id) => {
                let owner = data.wire_of(id);
                if owner != name.as_wire() {
                    let wildcard = presentation(owner);
                    steps.push(format!("{name} does not exist; the wildcard {wildcard} stands for it"));
                }
                if let Some(set) = data.set(id, rtype) {
                    match data.data(set) {
                        SetData::Balanced(index) => pool_steps(world, &plan.names[index as usize], &name, steps),
                        SetData::Static(_) => steps.push(format!(
                            "{name} {}: {} static record{}",
                            rrtype::text(rtype),
                            set.count,
                            if set.count == 1 { "" } else { "s" }
                        )),
                    }
                    return exists;
                }
                let Some(target) = data.set(id, rrtype::CNAME).and_then(|set| first_rdata(data.data(set))) else {
                    steps.push(format!("{name} has no {} record: NODATA", rrtype::text(rtype)));
                    return exists;
                };
                let Ok(next) = Name::from_wire(target) else { return exists };
                steps.push(format!("{name} is an alias of {next}"));
                name = next;
            }
        }
        if !name.is_at_or_below(&plan.origin) {
            steps.push(format!("{name} is outside the zone: the resolver goes on from there"));
            return exists;
        }
    }
    steps.push("the chain is longer than 16 links: answered so far".to_owned());
    exists
}

fn first_rdata(data: SetData<'_>) -> Option<&[u8]> {
    match data {
        SetData::Static(octets) => records(octets).next().map(|record| record.rdata),
        SetData::Balanced(_) => None,
    }
}

/// Each candidate, the tier, the policy, the TTL.
fn pool_steps(world: &World, name: &NamePlan, asked: &Name, steps: &mut Vec<String>) {
    let slot = usize::from(name.rtype != A);
    let mut number = name.pool;
    for _ in 0..=world.plan().pools.len() {
        let pool = &world.plan().pools[number];
        steps.push(format!(
            "{asked} {} answers from pool {} (policy {}, at most {} address{})",
            rrtype::text(name.rtype),
            pool.name,
            policy_word(pool.policy),
            name.answers,
            if name.answers == 1 { "" } else { "es" }
        ));
        let family = &world.pools[number].families[slot];
        for (at, backend) in pool.backends.iter().enumerate() {
            let Some(address) = backend.address(FAMILIES[slot]) else {
                steps.push(format!("  {}: has no {} address", backend.name, rrtype::text(name.rtype)));
                continue;
            };
            let (state, forced) = world.state_of(pool, backend);
            let candidate = family.candidates.iter().find(|candidate| candidate.backend == at);
            let verdict = world.verdict(backend, FAMILIES[slot]);
            let mut text = format!("  {} {address} tier {} weight {}: ", backend.name, backend.tier, backend.weight);
            match (state, backend.probes(FAMILIES[slot]).is_empty()) {
                (AdminState::Auto, true) => text.push_str("no check, always up"),
                (AdminState::Auto, false) => {
                    text.push_str(verdict_word(verdict));
                    for probe_use in backend.probes(FAMILIES[slot]) {
                        if let Some(probe) = world.probes.get(world.ids[probe_use.probe]) {
                            let since = probe.since.map(|since| format!(" since {}", time_text(since)));
                            let reason = if probe.reason.is_empty() { "no result yet" } else { &probe.reason };
                            text.push_str(&format!(
                                ", check {}: {reason}{}",
                                probe_use.check,
                                since.unwrap_or_default()
                            ));
                        }
                    }
                    if verdict.is_none() {
                        text.push_str(if candidate.is_some_and(|one| one.up) {
                            ", counts as up"
                        } else {
                            ", counts as down"
                        });
                    }
                }
                (forced, _) => {
                    text.push_str(state_word(forced));
                    text.push_str(&format!(" (its checks say {})", verdict_word(verdict)));
                }
            }
            if let Some(entry) = forced {
                text.push_str(&override_text(entry));
            }
            steps.push(text);
        }
        match &family.selection {
            Selection::To(other) => {
                steps.push(format!(
                    "no tier reaches min_healthy: on_all_down leads to pool {}",
                    world.plan().pools[*other].name
                ));
                number = *other;
                continue;
            }
            Selection::Nothing(nothing) => {
                let text = match nothing {
                    Nothing::NoCandidate if family.has_family => "no backend may be answered: NODATA",
                    Nothing::NoCandidate => "the pool has no backend in this family: NODATA",
                    Nothing::NoData => "no tier reaches min_healthy: on_all_down answers NODATA",
                    Nothing::ServFail => "no tier reaches min_healthy: on_all_down answers SERVFAIL",
                    Nothing::Refused => "no tier reaches min_healthy: on_all_down answers REFUSED",
                };
                steps.push(text.to_owned());
            }
            Selection::Answer { members, because, tier } => {
                let why = match (because, pool.on_all_down) {
                    (Because::Healthy, _) => format!("{}: it answers alone", tier_text(family, pool, *tier)),
                    (Because::FailOpen, OnAllDown::Last) => {
                        "no tier reaches min_healthy and no last set is known: failing open, as if all were up"
                            .to_owned()
                    }
                    (Because::FailOpen, _) => "no tier reaches min_healthy: failing open, as if all were up".to_owned(),
                    (Because::Every, _) => "no tier reaches min_healthy: every candidate answers".to_owned(),
                    (Because::LastKnown, _) => "no tier reaches min_healthy: the last healthy set answers".to_owned(),
                };
                steps.push(why);
                steps.push(shares_text(pool.policy, members, |backend| pool.backends[backend].name.clone()));
                let ttl = super::names::pool_ttl(world, name.pool, slot, name.ttl);
                steps.push(format!("TTL {ttl}"));
            }
        }
        return;
    }
}

/// Chance of each member to be first.
fn shares_text(policy: PolicyKind, members: &[(usize, u16)], name: impl Fn(usize) -> String) -> String {
    let total: u64 = members.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let even = policy != PolicyKind::Weighted || total == 0;
    let shares: Vec<String> = members
        .iter()
        .map(|&(backend, weight)| {
            let share = if even { 1.0 / members.len() as f64 } else { f64::from(weight) / total as f64 };
            format!("{} {:.1} %", name(backend), share * 100.0)
        })
        .collect();
    format!("first place: {}", shares.join(", "))
}

fn override_text(entry: &Override) -> String {
    let mut text = format!(" by override since {}", time_text(entry.since));
    if let Some(by) = &entry.by {
        text.push_str(&format!(", by {by}"));
    }
    if let Some(reason) = &entry.reason {
        text.push_str(&format!(", reason: {reason}"));
    }
    match entry.until {
        Some(until) => text.push_str(&format!(", until {}", time_text(until))),
        None => text.push_str(", until removed"),
    }
    text
}

fn rcode_text(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        other => format!("RCODE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply with one answer record, whose owner is the question's name.
    fn reply(owner: &str, rtype: u16, data: &[u8]) -> Vec<u8> {
        let name = Name::parse(owner, Some(&Name::root())).unwrap();
        let mut reply = vec![0, 0, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        reply.extend_from_slice(name.as_wire());
        reply.extend([rtype.to_be_bytes(), [0, 1], [0xc0, 12], rtype.to_be_bytes(), [0, 1], [0, 0], [0, 30]].concat());
        reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend_from_slice(data);
        reply
    }

    #[test]
    fn answers_are_said_as_master_files_have_them() {
        for (owner, rtype, data, expected) in [
            ("www.a.test.", 1, b"\xc0\0\x02\x01".as_slice(), "www.a.test. 30 IN A 192.0.2.1"),
            ("al.a.test.", 5, b"\x01x\xc0\x0f", "al.a.test. 30 IN CNAME x.a.test."),
            (r"\000\255x.a\.b.test.", 1, b"\xc0\0\x02\x01", r"\000\255x.a\.b.test. 30 IN A 192.0.2.1"),
            ("odd.test.", 65280, b"\x0a\0\0\x01", r"odd.test. 30 IN TYPE65280 \# 4 0a 00 00 01"),
            ("t.test.", 16, b"\x03a b\x01\"", r#"t.test. 30 IN TXT "a b" "\"""#),
            ("any.test.", 13, b"\x07RFC8482\0", r#"any.test. 30 IN HINFO "RFC8482" """#),
        ] {
            assert_eq!(answer_text(&reply(owner, rtype, data)).unwrap(), [expected]);
        }
    }
}
