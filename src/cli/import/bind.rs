//! Master files (RFC 1035 5) as zone TOML: the same records, served alike.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use super::draft::Draft;
use super::{BindArgs, Imported, Progress, generate, refused};
use crate::cli::Failure;
use crate::config::master::{self, Master};
use crate::config::present::type_text;
use crate::engine::name::Name;

/// Until a file says one; as NSD has it.
const DEFAULT_TTL: u32 = 3600;
/// Of a signed zone: RRSIG, NSEC, DNSKEY, NSEC3, NSEC3PARAM.
const SIGNED: [u16; 5] = [46, 47, 48, 50, 51];

pub(super) fn import(args: &BindArgs, progress: &Progress) -> Result<Imported, Failure> {
    if args.zone.is_some() && args.files.len() > 1 {
        return Err(Failure::wrong("--zone names one zone, and there are several files"));
    }
    let mut imported = Imported::default();
    let mut seen = BTreeSet::new();
    for (number, path) in args.files.iter().enumerate() {
        progress.say(format!("{} of {}: {}", number + 1, args.files.len(), path.display()));
        let origin = match &args.zone {
            Some(zone) => {
                let name = Name::parse(zone, Some(&Name::root()));
                Some(name.map_err(|error| Failure::wrong(format!("--zone {zone}: {error}")))?)
            }
            None => named_by(path),
        };
        let generated = Rc::new(Cell::new(0));
        let count = generated.clone();
        let filter = Box::new(move |_: &Path, text: String| {
            let (text, made) = generate::expand(&text);
            count.set(count.get() + made);
            text
        });
        let master = master::read(path, origin.as_ref(), (DEFAULT_TTL, false), Some(filter));
        let master = master.map_err(|error| refused(&error))?;
        let mut notes = Vec::new();
        if generated.get() > 0 {
            notes.push(format!("$GENERATE is written out: {} records", generated.get()));
        }
        let draft = draft(master, path, &mut notes);
        if !seen.insert(draft.zone.clone()) {
            return Err(Failure::wrong(format!("{}: the zone {} is in another file too", path.display(), draft.zone)));
        }
        imported.files.push((file_name(&draft.zone).into(), draft.write(&notes)));
        imported.notes.extend(notes.into_iter().map(|note| format!("{}: {note}", path.display())));
    }
    Ok(imported)
}

/// `example.com.toml`, as a zones directory has it.
pub(super) fn file_name(zone: &Name) -> String {
    let text = zone.to_string();
    let text = if zone.is_root() { "root" } else { text.trim_end_matches('.') };
    // A slash is legal in a name (RFC 2317) and none in a file's.
    format!("{}.toml", text.replace('/', "_"))
}

/// The zone that a file's name speaks of: `db.example.com`, `example.com.zone`.
fn named_by(path: &Path) -> Option<Name> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_prefix("db.").unwrap_or(name);
    let name =
        [".zone", ".db", ".hosts", ".txt", ".signed"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    Name::parse(name, Some(&Name::root())).ok()
}

fn draft(master: Master, path: &Path, notes: &mut Vec<String>) -> Draft {
    let mut draft = Draft::new(master.origin.clone());
    draft.head = vec![format!("Imported from {} by rollcall {}.", path.display(), crate::VERSION)];
    if master.files.len() > 1 {
        notes.push(format!("{} files it includes are one with it now", master.files.len() - 1));
    }
    notes.extend(master.warnings.iter().map(|warning| warning.message.clone()));
    let mut outside: BTreeMap<Name, usize> = BTreeMap::new();
    let mut signed = BTreeSet::new();
    for row in master.rows {
        if !row.owner.is_at_or_below(&master.origin) {
            *outside.entry(row.owner).or_default() += 1;
            continue;
        }
        if SIGNED.contains(&row.rtype) {
            signed.insert(row.rtype);
        }
        if draft.add(row.owner.clone(), row.rtype, row.ttl, row.rdata) {
            notes.push(format!(
                "{} {}: TTLs differ in one set; the least is used (RFC 2181 5.2)",
                row.owner,
                type_text(row.rtype)
            ));
        }
    }
    for (owner, count) in outside {
        notes.push(format!("{owner}: {count} record(s) left out, since it is not in the zone"));
    }
    if !signed.is_empty() {
        let types: Vec<String> = signed.into_iter().map(type_text).collect();
        notes.push(format!(
            "{}: carried over as they are; rollcall does not sign, so signatures run out and do not cover changes",
            types.join(", ")
        ));
    }
    if std::fs::read_to_string(path).is_ok_and(|text| text.contains(';')) {
        notes.push("comments of the master file are not kept".to_owned());
    }
    draft.choose_ttl(master.soa.ttl);
    draft.soa = Some(master.soa);
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_speak_of_zones() {
        let name = |path: &str| named_by(Path::new(path)).map(|name| name.to_string());
        assert_eq!(name("/etc/bind/db.example.com").as_deref(), Some("example.com."));
        assert_eq!(name("example.com.zone").as_deref(), Some("example.com."));
        assert_eq!(name("2.0.192.in-addr.arpa").as_deref(), Some("2.0.192.in-addr.arpa."));
        assert_eq!(
            file_name(&Name::parse("0/25.2.0.192.in-addr.arpa.", None).unwrap()),
            "0_25.2.0.192.in-addr.arpa.toml"
        );
    }
}
