//! Reads `[records]`: static data, owner by owner, straight into the zone. Nothing is kept for a record but its place.

use std::collections::HashMap;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::did_you_mean;
use super::keys;
use super::pools::MOST_TTL;
use super::rdata::{self, rtype, type_number};
use super::reader::{Piece, Table, found, join};
use super::sink::{From, Record, Sink};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;

/// Types that are suggested for a mistyped one.
const COMMON_TYPES: &[&str] = &[
    "A", "AAAA", "CAA", "CNAME", "DNAME", "DS", "HTTPS", "MX", "NAPTR", "NS", "PTR", "SRV", "SSHFP", "SVCB", "TLSA",
    "TXT",
];

/// Hands every record of a part of the table to `sink`. `text` is the whole file's, `ttl` the zone's.
pub(super) fn read(table: &Table<'_>, text: &str, ttl: u32, sink: &mut Sink<'_>, report: &mut Report) {
    let mut reader = Reader { piece: table.piece, text, ttl, wire: Vec::new(), types: HashMap::new() };
    for (key, value) in table.keys.iter() {
        let place = table.piece.place(key.span());
        let Some(owner) = owner_name(key.get_ref(), place, "records", sink.origin, report) else {
            continue;
        };
        match value.get_ref() {
            DeValue::Table(types) => {
                if let Some(number) = reader.read_owner(key, &owner, types, sink, report) {
                    sink.note_owner(&owner, number, place, report);
                }
            }
            other => {
                let message = format!(
                    "{:?} must be a table of types, like {{ A = \"192.0.2.1\" }}, not {}",
                    join("records", key.get_ref()),
                    found(other)
                );
                let place = table.piece.place(value.span());
                report.add(Problem::error(place, message).key(join("records", key.get_ref())));
            }
        }
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

/// Whether TOML made the table at the key that ends there out of a dotted key, `api.eu = …`.
fn is_dotted(text: &str, key_end: usize) -> bool {
    text.get(key_end..).is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('.'))
}

/// `TOML reads api.eu as a table "api" with a key "eu": write "api.eu" = …`
pub(super) fn explain_dots(owner: &str, inner: &str) -> String {
    let whole = format!("{owner}.{inner}");
    format!(
        "an owner with a dot needs quotes, or TOML reads it as a table {owner:?} with a key {inner:?}: write {whole:?} = …"
    )
}

struct Reader<'t> {
    piece: Piece<'t>,
    text: &'t str,
    ttl: u32,
    wire: Vec<u8>,
    /// Types of the owner at hand, to find `a` beside `A`.
    types: HashMap<u16, Place>,
}

impl Reader<'_> {
    /// Reads one owner's records; its number in the zone, once it has a record.
    fn read_owner(
        &mut self,
        key: &Spanned<DeString<'_>>,
        owner: &Name,
        types: &DeTable<'_>,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) -> Option<usize> {
        self.types.clear();
        let mut owner_number = None;
        for (kind, value) in types.iter() {
            let place = self.piece.place(kind.span());
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
            owner_number = self.read_type(owner, number, value, &path, sink, report).or(owner_number);
        }
        owner_number
    }

    fn read_type(
        &mut self,
        owner: &Name,
        rtype: u16,
        value: &Spanned<DeValue<'_>>,
        path: &dyn Fn() -> String,
        sink: &mut Sink<'_>,
        report: &mut Report,
    ) -> Option<usize> {
        let DeValue::Table(table) = value.get_ref() else {
            return self.read_data(owner, rtype, self.ttl, value, path, sink, report);
        };
        let view = Table { keys: table, path: path(), place: self.piece.place(value.span()), piece: self.piece };
        view.expect_keys(&[&keys::RECORD], &[], report);
        let ttl = view.get("ttl").map_or(Some(self.ttl), |ttl| Some(ttl.integer(0..=MOST_TTL, report)? as u32));
        match (table.get("data"), ttl) {
            (Some(data), Some(ttl)) => self.read_data(owner, rtype, ttl, data, path, sink, report),
            (None, _) => {
                report.add(Problem::error(view.place, format!("{:?} lacks \"data\"", view.path)).key(view.path));
                None
            }
            (Some(_), None) => None,
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
    ) -> Option<usize> {
        match value.get_ref() {
            DeValue::String(text) => {
                let place = self.piece.place(value.span());
                match rdata::encode(rtype, text, sink.origin, &mut self.wire) {
                    Ok(()) => {
                        sink.add(Record { owner, rtype, ttl, rdata: &self.wire, place, from: From::Table }, report)
                    }
                    Err(why) => {
                        let message = format!("bad {} data: {why}", rdata::type_name(rtype));
                        report.add(Problem::error(place, message).key(path()));
                        None
                    }
                }
            }
            DeValue::Array(items) if items.is_empty() => {
                let message = format!("{:?} must have a value; leave the key out to have no record", path());
                report.add(Problem::error(self.piece.place(value.span()), message).key(path()));
                None
            }
            DeValue::Array(items) => {
                let mut number = None;
                for item in items.iter() {
                    if item.get_ref().is_array() {
                        self.wrong(item, path, report);
                    } else {
                        number = self.read_data(owner, rtype, ttl, item, path, sink, report).or(number);
                    }
                }
                number
            }
            _ => {
                self.wrong(value, path, report);
                None
            }
        }
    }

    fn wrong(&self, value: &Spanned<DeValue<'_>>, path: &dyn Fn() -> String, report: &mut Report) {
        let message = format!(
            "{:?} must be a string, a list of strings, or {{ ttl, data }}, not {}",
            path(),
            found(value.get_ref())
        );
        report.add(Problem::error(self.piece.place(value.span()), message).key(path()));
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
        if is_known {
            holds_types && !inner.contains_key("data")
        } else {
            holds_types || is_dotted(self.text, self.piece.place(key.span()).end)
        }
    }
}
