//! Reads `[names]`: owners that answer from a pool or route.

use std::collections::HashMap;

use super::keys;
use super::plan::TtlRule;
use super::pools::{MOST_ANSWERS, Named, ttl_rule};
use super::promise::{self, Promise};
use super::rdata::{encode, rtype, type_name};
use super::reader::{Table, Value};
use super::records::{explain_dots, note_owner, owner_name};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;

/// One owner with one pool, for one type or for both.
#[derive(Debug, Clone)]
pub(super) struct NameDef {
    pub(super) owner: Name,
    /// Where the owner stands.
    pub(super) place: Place,
    pub(super) rtypes: &'static [u16],
    pub(super) to: Named,
    pub(super) ttl: Option<TtlRule>,
    pub(super) answers: Option<u16>,
    pub(super) max_failover: Option<Promise>,
    /// SvcParams in wire form.
    pub(super) params: Vec<u8>,
}

/// The owners found so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) list: Vec<NameDef>,
    owners: HashMap<Name, Place>,
}

/// Reads a part of the table `names`, whose path `table` says.
pub(super) fn read(table: &Table<'_>, origin: &Name, names: &mut Names, report: &mut Report) {
    for (key, value) in table.entries() {
        let Some(owner) = owner_name(key, value.key_place, "names", origin, report) else {
            continue;
        };
        note_owner(owner.clone(), value.key_place, &mut names.owners, report);
        if let Some(inner) = value.as_table()
            && inner.get("to").is_none()
            && let Some((first, stray)) = inner.entries().into_iter().find(|(key, _)| !keys::NAME.has(key))
        {
            let message = format!("{:?} does not say which pool answers: it lacks \"to\"", value.path);
            report
                .add(Problem::error(stray.key_place, message).key(value.path.as_str()).help(explain_dots(key, first)));
            continue;
        }
        let mut taken: Vec<(u16, Place)> = Vec::new();
        let is_list = value.value.is_array();
        if is_list && value.items().is_empty() {
            value.wrong("a pool's name, or a table like { to = \"web\" }", report);
        }
        for item in value.items() {
            let Some(name) = read_name(&owner, value.key_place, &item, is_list, report) else {
                continue;
            };
            for &rtype in name.rtypes {
                match taken.iter().find(|(other, _)| *other == rtype) {
                    Some((_, first)) => {
                        let kind = type_name(rtype);
                        let problem =
                            Problem::error(item.place, format!("{:?} says twice what answers {kind}", value.path));
                        report.add(problem.key(value.path.as_str()).beside(*first, "first here"));
                        break;
                    }
                    None => taken.push((rtype, item.place)),
                }
            }
            names.list.push(name);
        }
    }
}

fn read_name(owner: &Name, place: Place, value: &Value<'_>, in_list: bool, report: &mut Report) -> Option<NameDef> {
    let mut name = NameDef {
        owner: owner.clone(),
        place,
        rtypes: &[rtype::A, rtype::AAAA],
        to: Named { name: String::new(), place: value.place },
        ttl: None,
        answers: None,
        max_failover: None,
        params: Vec::new(),
    };
    if let Some(text) = value.value.as_str().filter(|_| !in_list) {
        name.to.name = text.to_owned();
        return Some(name);
    }
    let Some(table) = value.as_table() else {
        let expected = if in_list {
            "a table like { to = \"web\", type = \"A\" }"
        } else {
            "a pool's name, or a table like { to = \"web\" }"
        };
        value.wrong(expected, report);
        return None;
    };
    table.expect_keys(&[&keys::NAME], &[], report);
    if let Some(kind) = table.get("type") {
        name.rtypes = types(&kind, report)?;
    }
    name.ttl = table.get("ttl").and_then(|value| ttl_rule(&value, report));
    name.answers =
        table.get("answers").and_then(|value| value.integer(1..=MOST_ANSWERS, report)).map(|count| count as u16);
    name.max_failover = promise::read(&table, report);
    if let Some(value) = table.get("params") {
        name.params = params(&value, name.rtypes, report)?;
    }
    let Some(to) = table.get("to") else {
        let message = format!("{:?} does not say which pool answers: it lacks \"to\"", value.path);
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
        return None;
    };
    name.to = Named { name: to.string(report)?.to_owned(), place: to.place };
    Some(name)
}

fn types(value: &Value<'_>, report: &mut Report) -> Option<&'static [u16]> {
    let known: [(&str, &'static [u16]); 5] = [
        ("A", &[rtype::A]),
        ("AAAA", &[rtype::AAAA]),
        ("SRV", &[rtype::SRV]),
        ("HTTPS", &[rtype::HTTPS]),
        ("SVCB", &[rtype::SVCB]),
    ];
    value.word(&known, report)
}

/// SvcParams as RFC 9460 2.1 writes them. The hints are made of the pool's addresses, so they may not be given.
fn params(value: &Value<'_>, rtypes: &[u16], report: &mut Report) -> Option<Vec<u8>> {
    let text = value.string(report)?;
    let wrong = |why: String| Problem::error(value.place, why).key(value.path.as_str());
    if !matches!(rtypes, [rtype::HTTPS | rtype::SVCB]) {
        let message = format!("{:?} belongs to type \"HTTPS\" or \"SVCB\"", value.path);
        report.add(Problem::error(value.key_place, message).key(value.path.as_str()));
        return None;
    }
    let mut wire = Vec::new();
    if let Err(why) = encode(rtypes[0], &format!("1 . {text}"), &Name::root(), &mut wire) {
        let help = "write params = \"alpn=h2,h3 port=8443\"".to_owned();
        report.add(wrong(format!("{:?} are no service parameters (RFC 9460): {why}", value.path)).help(help));
        return None;
    }
    // Priority and the root's one octet stand before them.
    let params = wire.split_off(3);
    let mut rest = params.as_slice();
    while let Some((&[k0, k1, l0, l1], behind)) = rest.split_first_chunk::<4>() {
        if matches!(u16::from_be_bytes([k0, k1]), 4 | 6) {
            let message =
                format!("{:?} has a hint; hints are made of the addresses that A and AAAA answer", value.path);
            report.add(wrong(message));
            return None;
        }
        rest = behind.get(usize::from(u16::from_be_bytes([l0, l1]))..).unwrap_or_default();
    }
    Some(params)
}
