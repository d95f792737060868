//! gdnsd's zone files: master files with DYNA and DYNC, TTLs of the form MAX/MIN, and the names @Z and @F.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::draft::{Draft, Owner, Val};
use super::super::refused;
use super::plugins::{Plugins, Target};
use crate::cli::Failure;
use crate::config::master;
use crate::config::present::type_text;
use crate::engine::name::Name;
use crate::engine::rrtype;

/// Private types (RFC 6895 3.1) that stand for DYNA and DYNC while a file is read.
const DYNA: u16 = 65_281;
const DYNC: u16 = 65_282;

/// Every zone file, in order of their names.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory)
        .map_err(|error| Failure::wrong(format!("{}: cannot be read: {error}", directory.display())))?;
    let is_zone = |path: &PathBuf| {
        path.is_file() && path.file_name().is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
    };
    let mut all: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_zone).collect();
    all.sort();
    Ok(all)
}

/// The zone that a file's name says: `@` stands for a slash, and ROOT_ZONE for the root.
fn zone_of(path: &Path) -> Result<Name, Failure> {
    let text = path.file_name().map(|name| name.to_string_lossy().replace('@', "/")).unwrap_or_default();
    if text == "ROOT_ZONE" {
        return Ok(Name::root());
    }
    Name::parse(&text, Some(&Name::root()))
        .map_err(|error| Failure::wrong(format!("{}: the file's name is no zone's: {error}", path.display())))
}

pub(super) fn draft(
    path: &Path,
    default_ttl: u32,
    plugins: &mut Plugins,
    notes: &mut Vec<String>,
) -> Result<Draft, Failure> {
    let zone = zone_of(path)?;
    let name = zone.to_string();
    let filter = Box::new(move |_: &Path, text: String| plain(&text, &name));
    let master = master::read(path, Some(&zone), (default_ttl, true), Some(filter)).map_err(|error| refused(&error))?;
    let mut draft = Draft::new(zone.clone());
    draft.head = vec![format!("Imported from {} (gdnsd) by rollcall {}.", path.display(), crate::VERSION)];
    notes.extend(master.warnings.iter().map(|warning| warning.message.clone()));
    let mut dynamic: BTreeMap<Owner, Vec<Dynamic>> = BTreeMap::new();
    for row in master.rows {
        if row.rtype == DYNA || row.rtype == DYNC {
            match Dynamic::read(&row.rdata, row.rtype, row.ttl) {
                Some(read) => dynamic.entry(Owner(row.owner)).or_default().push(read),
                None => notes.push(format!("{}: a dynamic record could not be read", row.owner)),
            }
        } else if draft.add(row.owner.clone(), row.rtype, row.ttl, row.rdata) {
            notes.push(format!("{} {}: TTLs differ in one set; the least is used", row.owner, type_text(row.rtype)));
        }
    }
    draft.choose_ttl(default_ttl);
    for (owner, all) in dynamic {
        for one in all {
            place(&owner, &one, plugins, &mut draft, notes);
        }
    }
    draft.soa = Some(master.soa);
    Ok(draft)
}

/// A DYNA or DYNC record.
struct Dynamic {
    /// `plugin!resource`
    target: String,
    max: u32,
    min: u32,
    may_be_cname: bool,
}

impl Dynamic {
    fn read(rdata: &[u8], rtype: u16, ttl: u32) -> Option<Dynamic> {
        let text = std::str::from_utf8(rdata).ok()?;
        let (min, target) = text.split_once(' ')?;
        // MIN is half of MAX where it is not said.
        let min = min.parse().unwrap_or(ttl / 2).min(ttl);
        Some(Dynamic { target: target.to_owned(), max: ttl, min, may_be_cname: rtype == DYNC })
    }
}

fn place(owner: &Owner, one: &Dynamic, plugins: &mut Plugins, draft: &mut Draft, notes: &mut Vec<String>) {
    let Some(target) = plugins.target(&one.target) else {
        notes.push(format!("{} {}: not carried over, see the notes of the server file", owner.0, one.target));
        return;
    };
    match target {
        Target::Name(to) => {
            let ttl = if one.max == one.min {
                Val::Int(one.max.into())
            } else {
                Val::table([("max", Val::Int(one.max.into())), ("min", Val::Int(one.min.into()))])
            };
            let value = Val::table([("to", Val::Text(to)), ("ttl", ttl)]);
            if draft.names.insert(owner.clone(), value).is_some() {
                notes.push(format!("{}: has two dynamic records; the last is carried over", owner.0));
            }
        }
        Target::Address(address) => {
            let (rtype, data) = match address {
                std::net::IpAddr::V4(address) => (rrtype::A, address.octets().to_vec()),
                std::net::IpAddr::V6(address) => (rrtype::AAAA, address.octets().to_vec()),
            };
            draft.add(owner.0.clone(), rtype, one.max, data);
        }
        Target::Cname(name) if one.may_be_cname => match Name::parse(&name, None) {
            Ok(name) => drop(draft.add(owner.0.clone(), rrtype::CNAME, one.max, name.as_wire().to_vec())),
            Err(error) => notes.push(format!("{}: {name:?} is no name: {error}", owner.0)),
        },
        Target::Cname(name) => notes.push(format!("{}: DYNA leads to the name {name}, which only DYNC may", owner.0)),
    }
}

/// The text as a master file: dynamic records become private types, whose data is `MIN plugin!resource`; @Z and @F become
/// the zone. Lines stay lines.
fn plain(text: &str, zone: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        match dynamic(line) {
            Some(made) => out.push_str(&made),
            None => out.push_str(line),
        }
    }
    // Where a word ends in them: `@Z`, `www.@F`.
    for mark in ["@Z", "@F"] {
        if out.contains(mark) {
            out = out
                .split_inclusive(|char: char| char.is_whitespace())
                .map(|word| {
                    let (bare, space) = word.split_at(word.trim_end().len());
                    match bare.strip_suffix(mark) {
                        Some(front) if front.is_empty() || front.ends_with('.') => format!("{front}{zone}{space}"),
                        _ => word.to_owned(),
                    }
                })
                .collect();
        }
    }
    out
}

fn dynamic(line: &str) -> Option<String> {
    let bare = line.split(';').next().unwrap_or("");
    let words: Vec<&str> = bare.split_whitespace().collect();
    let at = words.iter().position(|word| word.eq_ignore_ascii_case("DYNA") || word.eq_ignore_ascii_case("DYNC"))?;
    // Owner, TTL and class may stand before it, and one word behind.
    if at > 3 || words.len() != at + 2 {
        return None;
    }
    let rtype = if words[at].eq_ignore_ascii_case("DYNA") { DYNA } else { DYNC };
    let mut made = if bare.starts_with([' ', '\t']) { "\t".to_owned() } else { String::new() };
    let mut min = "-";
    for word in &words[..at] {
        let word = match word.split_once('/') {
            Some((max, rest)) if max.bytes().all(|octet| octet.is_ascii_alphanumeric()) && !max.is_empty() => {
                min = rest;
                max
            }
            _ => word,
        };
        made.push_str(word);
        made.push(' ');
    }
    let data: String = format!("{min} {}", words[at + 1]).bytes().map(|octet| format!("{octet:02x}")).collect();
    Some(format!("{made}TYPE{rtype} \\# {} {data}\n", data.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_passes_and_keeps_its_lines(text in "([a-z@/.0-9;\"\t ]|DYNA|DYNC|@Z|\n|é){0,40}") {
            let plain = plain(&text, "ex.org.");
            // A last line without an end gets one where it is dynamic.
            proptest::prop_assert_eq!(plain.trim_end_matches('\n').lines().count(), text.trim_end_matches('\n').lines().count());
            let _ = super::super::super::generate::expand(&text);
        }
    }

    #[test]
    fn dynamic_records_become_private_types_on_their_line() {
        assert_eq!(dynamic("www 300/30 DYNA a!b ; so\n").unwrap(), "www 300 TYPE65281 \\# 6 333020612162\n");
        assert_eq!(dynamic("\tIN dync a!b\n").unwrap(), "\tIN TYPE65282 \\# 5 2d20612162\n");
        assert_eq!(dynamic("www A 192.0.2.1 ; DYNA\n"), None);
        assert_eq!(plain("@Z NS ns.@F\nx TXT \"a@Z\"\n", "ex.org."), "ex.org. NS ns.ex.org.\nx TXT \"a@Z\"\n");
    }
}
