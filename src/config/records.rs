//! Reads `[records]`: static data, owner by owner, straight into the zone. Nothing is kept for a record but its place.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::did_you_mean;
use super::pools::MOST_TTL;
use super::rdata::{self, rtype, type_number};
use super::reader::{found, join};
use super::sink::{From, Record, Sink};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;

/// Types that are suggested for a mistyped one.
const COMMON_TYPES: &[&str] = &[
    "A", "AAAA", "CAA", "CNAME", "DNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SRV", "SSHFP", "SVCB", "TLSA",
    "TXT",
];

/// Hands every record of the table to `sink`. `ttl` is the zone's.
pub(super) fn read(table: &DeTable<'_>, file: usize, ttl: u32, sink: &mut Sink<'_>, report: &mut Report) {
    let text = report.text(file);
    let mut reader = Reader { file, text: &text, ttl, wire: Vec::new(), types: HashMap::new() };
    let mut owners: HashMap<Name, Place> = HashMap::with_capacity(table.len());
    for (key, value) in table.iter() {
        let place = Place::new(file, key.span());
        let Some(owner) = owner_name(key.get_ref(), place, "records", sink.origin, report) else {
            continue;
        };
        match value.get_ref() {
            DeValue::Table(types) => reader.read_owner(key, &owner, types, sink, report),
            other => {
                let message = format!(
                    "{:?} must be a table of types, like {{ A = \"192.0.2.1\" }}, not {}",
                    join("records", key.get_ref()),
                    found(other)
                );
                report.add(Problem::error(Place::new(file, value.span()), message).key(join("records", key.get_ref())));
            }
        }
        note_owner(owner, place, &mut owners, report);
    }
}

/// An owner, which must lie in the zone. TOML keys that differ only in case are one name.
pub(super) fn owner_name(key: &str, place: Place, table: &str, origin: &Name, report: &mut Report) -> Option<Name> {
    let why = match Name::parse(key, Some(origin)) {
        Ok(owner) if owner.is_at_or_below(origin) => return Some(owner),
        Ok(owner) => format!("{owner} is not in the zone {origin}"),
        Err(why) => format!("{key:?} is no owner name: {why}"),
    };
    report.add(Problem::error(place, why).key(join(table, key)));
    None
}

/// Refuses an owner that was there before.
pub(super) fn note_owner(owner: Name, place: Place, owners: &mut HashMap<Name, Place>, report: &mut Report) {
    if let Some(first) = owners.get(&owner) {
        let message = format!("the owner {owner} stands here twice");
        report.add(Problem::error(place, message).key(owner.to_string()).beside(*first, "first here"));
    } else {
        owners.insert(owner, place);
    }
}

/// Whether TOML made the table at `key` out of a dotted key, `api.eu = …`.
pub(super) fn is_dotted(text: &str, key: &Spanned<DeString<'_>>) -> bool {
    text.get(key.span().end..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('.'))
}

/// `TOML reads api.eu as a table "api" with a key "eu": write "api.eu" = …`
pub(super) fn explain_dots(owner: &str, inner: &str) -> String {
    let whole = format!("{owner}.{inner}");
    format!(
        "an owner with a dot needs quotes, or TOML reads it as a table {owner:?} with a key {inner:?}: write {whole:?} = …"
    )
}

struct Reader<'t> {
    file: usize,
    text: &'t str,
    ttl: u32,
    wire: Vec<u8>,
    /// Types of the owner at hand, to find `a` beside `A`.
    types: HashMap<u16, Place>,
}

impl Reader<'_> {
    fn read_owner(
        &mut self,
        key: &Spanned<DeString<'_>>,
        owner: &Name,
        types: &DeTable<'_>,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) {
        self.types.clear();
        for (kind, value) in types.iter() {
            let place = Place::new(self.file, kind.span());
            let path = || join(&join("records", key.get_ref()), kind.get_ref());
            if self.looks_like_an_owner(key, kind, value.get_ref()) {
                let message = format!("{:?} is no record type", &**kind.get_ref());
                report
                    .add(Problem::error(place, message).key(path()).help(explain_dots(key.get_ref(), kind.get_ref())));
                continue;
            }
            let number = match type_number(kind.get_ref()) {
                Ok(rtype::SOA) => {
                    let message = "the SOA is not a record here: the table [soa] makes it";
                    report.add(Problem::error(place, message).key(path()));
                    continue;
                }
                Ok(number) => number,
                Err(why) => {
                    let help = did_you_mean(kind.get_ref(), COMMON_TYPES.iter().copied());
                    report.add(Problem::error(place, why).key(path()).help(help));
                    continue;
                }
            };
            if let Some(first) = self.types.insert(number, place) {
                let message = format!("{} {} stands here twice", owner, rdata::type_name(number));
                report.add(Problem::error(place, message).key(path()).beside(first, "first here"));
                continue;
            }
            self.read_type(owner, number, value, &path, sink, report);
        }
    }

    fn read_type(
        &mut self,
        owner: &Name,
        rtype: u16,
        value: &Spanned<DeValue<'_>>,
        path: &dyn Fn() -> String,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.read_data(owner, rtype, self.ttl, value, path, sink, report);
        };
        let view = super::reader::Table { keys: table, path: path(), place: Place::new(self.file, value.span()) };
        view.expect_keys(&["ttl", "data"], &[], report);
        let ttl = view.get("ttl").map_or(Some(self.ttl), |ttl| Some(ttl.integer(0..=MOST_TTL, report)? as u32));
        match (table.get("data"), ttl) {
            (Some(data), Some(ttl)) => self.read_data(owner, rtype, ttl, data, path, sink, report),
            (None, _) => {
                report.add(Problem::error(view.place, format!("{:?} lacks \"data\"", view.path)).key(view.path))
            }
            (Some(_), None) => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn read_data(
        &mut self,
        owner: &Name,
        rtype: u16,
        ttl: u32,
        value: &Spanned<DeValue<'_>>,
        path: &dyn Fn() -> String,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) {
        match value.get_ref() {
            DeValue::String(text) => {
                let place = Place::new(self.file, value.span());
                match rdata::encode(rtype, text, sink.origin, &mut self.wire) {
                    Ok(()) => {
                        sink.add(Record { owner, rtype, ttl, rdata: &self.wire, place, from: From::Table }, report)
                    }
                    Err(why) => {
                        let message = format!("bad {} data: {why}", rdata::type_name(rtype));
                        report.add(Problem::error(place, message).key(path()));
                    }
                }
            }
            DeValue::Array(items) if items.is_empty() => {
                let message = format!("{:?} must have a value; leave the key out to have no record", path());
                report.add(Problem::error(Place::new(self.file, value.span()), message).key(path()));
            }
            DeValue::Array(items) => {
                for item in items.iter() {
                    if item.get_ref().is_array() {
                        self.wrong(item, path, report);
                    } else {
                        self.read_data(owner, rtype, ttl, item, path, sink, report);
                    }
                }
            }
            _ => self.wrong(value, path, report),
        }
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, path: &dyn Fn() -> String, report: &mut Report) {
        let message = format!(
            "{:?} must be a string, a list of strings, or {{ ttl, data }}, not {}",
            path(),
            found(value.get_ref())
        );
        report.add(Problem::error(Place::new(self.file, value.span()), message).key(path()));
    }

    /// `api.eu = { A = "192.0.2.1" }` makes "eu" look like a type of "api".
    fn looks_like_an_owner(
        &self,
        key: &Spanned<DeString<'_>>,
        kind: &Spanned<DeString<'_>>,
        value: &DeValue<'_>,
    ) -> bool {
        let DeValue::Table(inner) = value else {
            return false;
        };
        let is_known = type_number(kind.get_ref()).is_ok();
        let holds_types = inner.keys().any(|key| type_number(key.get_ref()).is_ok() || &**key.get_ref() == "CNAME");
        if is_known { holds_types && !inner.contains_key("data") } else { holds_types || is_dotted(self.text, key) }
    }
}
