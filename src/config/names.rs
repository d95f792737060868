//! Reads `[names]`: owners that answer from a pool.

use std::collections::HashMap;

use super::plan::TtlRule;
use super::pools::{MOST_ANSWERS, Named, ttl_rule};
use super::rdata::rtype;
use super::reader::{Table, Value, found};
use super::records::{explain_dots, note_owner, owner_name};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;

const KEYS: &[&str] = &["to", "type", "ttl", "answers"];

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
            && let Some((first, stray)) = inner.entries().into_iter().find(|(key, _)| !KEYS.contains(key))
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
                        let kind = if rtype == rtype::A { "A" } else { "AAAA" };
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
    table.expect_keys(KEYS, &[], report);
    if let Some(kind) = table.get("type") {
        name.rtypes = types(&kind, report)?;
    }
    name.ttl = table.get("ttl").and_then(|value| ttl_rule(&value, report));
    name.answers =
        table.get("answers").and_then(|value| value.integer(1..=MOST_ANSWERS, report)).map(|count| count as u16);
    let Some(to) = table.get("to") else {
        let message = format!("{:?} does not say which pool answers: it lacks \"to\"", value.path);
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
        return None;
    };
    name.to = Named { name: to.string(report)?.to_owned(), place: to.place };
    Some(name)
}

fn types(value: &Value<'_>, report: &mut Report) -> Option<&'static [u16]> {
    match value.string(report)? {
        "A" => Some(&[rtype::A]),
        "AAAA" => Some(&[rtype::AAAA]),
        _ => {
            let message = format!(
                "type {} is not supported by this version: a balanced name answers A and AAAA",
                found(value.value)
            );
            report.add(Problem::error(value.place, message).key(value.path.as_str()));
            None
        }
    }
}
