//! A zone file or server file while it is put together, and how it is written: keys in the order of the reference, owners
//! in canonical order, notes as comments. What this version would not read is said by [`Draft::unread`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use toml_writer::{TomlKeyBuilder, TomlStringBuilder, TomlWrite};

use crate::config::keys::{self, Section};
use crate::config::master::MasterSoa;
use crate::config::present::{canonical_order, name_text, toml_text, type_text};
use crate::engine::name::Name;

/// Lines are not made longer than this where they can be cut.
const WIDTH: usize = 110;

/// A TOML value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Val {
    Text(String),
    Int(i64),
    Num(f64),
    Bool(bool),
    List(Vec<Val>),
    Table(Vec<(String, Val)>),
}

/// A table with a name: a check, a pool, a route, a map.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) keys: Vec<(String, Val)>,
}

/// The tables that a zone file and the server file may both hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) checks: Vec<Item>,
    pub(super) maps: Vec<Item>,
    pub(super) pools: Vec<Item>,
    pub(super) routes: Vec<Item>,
}

/// An owner, ordered as RFC 4034 6.1 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner(pub(super) Name);

/// The records of one owner and type.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) ttl: u32,
    pub(super) data: Vec<Vec<u8>>,
}

/// A zone file.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) zone: Name,
    pub(super) ttl: u32,
    pub(super) soa: Option<MasterSoa>,
    /// Whether the SOA's serial is written, or left to count by itself.
    pub(super) keeps_serial: bool,
    pub(super) records: BTreeMap<Owner, BTreeMap<u16, Set>>,
    pub(super) names: BTreeMap<Owner, Val>,
    pub(super) parts: Parts,
    /// Said in front: where it comes from, one line each.
    pub(super) head: Vec<String>,
}

impl Ord for Owner {
    fn cmp(&self, other: &Owner) -> Ordering {
        canonical_order(self.0.as_wire(), other.0.as_wire())
    }
}

impl PartialOrd for Owner {
    fn partial_cmp(&self, other: &Owner) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Val {
    pub(super) fn text(text: impl Into<String>) -> Val {
        Val::Text(text.into())
    }

    pub(super) fn list<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Val {
        Val::List(texts.into_iter().map(Val::text).collect())
    }

    pub(super) fn table(keys: impl IntoIterator<Item = (&'static str, Val)>) -> Val {
        Val::Table(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

impl Item {
    pub(super) fn new(name: impl Into<String>, keys: impl IntoIterator<Item = (&'static str, Val)>) -> Item {
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
        Item { name: name.into(), keys: keys.collect() }
    }
}

impl Draft {
    pub(super) fn new(zone: Name) -> Draft {
        Draft {
            zone,
            ttl: 0,
            soa: None,
            keeps_serial: true,
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            parts: Parts::default(),
            head: Vec::new(),
        }
    }

    /// Adds a record. Of differing TTLs in a set the least holds (RFC 2181 5.2); `true` when they differ.
    pub(super) fn add(&mut self, owner: Name, rtype: u16, ttl: u32, data: Vec<u8>) -> bool {
        let set = self.records.entry(Owner(owner)).or_default().entry(rtype);
        let set = set.or_insert_with(|| Set { ttl, data: Vec::new() });
        let differ = set.ttl != ttl;
        set.ttl = set.ttl.min(ttl);
        if !set.data.contains(&data) {
            set.data.push(data);
        }
        differ
    }

    /// Makes the TTL that most sets have the zone's, so that few need one of their own.
    pub(super) fn choose_ttl(&mut self, otherwise: u32) {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for set in self.records.values().flat_map(BTreeMap::values) {
            *counts.entry(set.ttl).or_default() += 1;
        }
        self.ttl = counts.into_iter().max_by_key(|&(_, count)| count).map_or(otherwise, |(ttl, _)| ttl);
    }

    /// The zone file. `notes` are what could not be carried over.
    pub(super) fn write(&self, notes: &[String]) -> String {
        let mut text = String::new();
        put_head(&self.head, notes, &mut text);
        let zone = self.zone.to_string();
        let zone = if self.zone.is_root() { "." } else { zone.trim_end_matches('.') };
        let _ = writeln!(text, "zone = {}\nttl  = {}", string(zone), self.ttl);
        if let Some(soa) = &self.soa {
            self.put_soa(soa, &mut text);
        }
        if !self.records.is_empty() {
            text.push_str("\n[records]\n");
        }
        for (owner, sets) in &self.records {
            self.put_owner(&owner.0, sets, &mut text);
        }
        self.parts.put(&keys::ZONE, &mut text);
        if !self.names.is_empty() {
            text.push_str("\n[names]\n");
        }
        for (owner, value) in &self.names {
            let _ = writeln!(text, "{} = {}", key(&name_text(owner.0.as_wire(), Some(&self.zone))), inline(value));
        }
        text
    }

    fn put_soa(&self, soa: &MasterSoa, text: &mut String) {
        let name = |wire: &[u8]| string(&name_text(wire, Some(&self.zone)));
        let _ = writeln!(text, "\n[soa]\nmname        = {}\nrname        = {}", name(&soa.mname), name(&soa.rname));
        for (key, value) in [
            ("ttl", soa.ttl),
            ("negative_ttl", soa.minimum),
            ("refresh", soa.refresh),
            ("retry", soa.retry),
            ("expire", soa.expire),
        ] {
            let _ = writeln!(text, "{key:<12} = {value}");
        }
        if self.keeps_serial {
            let _ = writeln!(
                text,
                "serial       = {}  # as it was; {}",
                soa.serial,
                about_auto(soa.serial, SystemTime::now())
            );
        }
    }

    fn put_owner(&self, owner: &Name, sets: &BTreeMap<u16, Set>, text: &mut String) {
        let mut values: Vec<(String, String)> = Vec::new();
        for (&rtype, set) in sets {
            let data = set.data.iter().map(|data| Val::Text(toml_text(rtype, data, &self.zone)));
            let mut data: Vec<Val> = data.collect();
            let data = if data.len() == 1 { data.remove(0) } else { Val::List(data) };
            let value = if set.ttl == self.ttl {
                inline(&data)
            } else {
                format!("{{ ttl = {}, data = {} }}", set.ttl, inline(&data))
            };
            values.push((type_text(rtype), value));
        }
        let owner = key(&name_text(owner.as_wire(), Some(&self.zone)));
        let parts: Vec<String> = values.iter().map(|(rtype, value)| format!("{rtype} = {value}")).collect();
        let _ = writeln!(text, "{owner} = {{ {} }}", parts.join(", "));
    }

    /// What is written here and not read by this version, in words.
    pub(super) fn unread(&self) -> Vec<String> {
        self.parts.unread(&keys::ZONE)
    }
}

impl Parts {
    /// Writes the tables that are there; keys that this version does not read become comments.
    pub(super) fn put(&self, section: &Section, text: &mut String) {
        for (table, items) in self.tables() {
            if !items.is_empty() && !section.has(table) {
                let _ = writeln!(text, "\n# rollcall {} does not read [{table}] yet.", crate::VERSION);
            }
            for item in items {
                let _ = writeln!(text, "\n[{table}.{}]", key(&item.name));
                let width = item.keys.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
                for (name, value) in &item.keys {
                    let mark = if is_read(table, item, name) { "" } else { "# not read by this version: " };
                    let _ = writeln!(text, "{mark}{:<width$} = {}", key(name), spread(value, mark));
                }
            }
        }
    }

    fn tables(&self) -> [(&'static str, &[Item]); 4] {
        [("checks", &self.checks), ("maps", &self.maps), ("pools", &self.pools), ("routes", &self.routes)]
    }

    pub(super) fn unread(&self, section: &Section) -> Vec<String> {
        let mut said = Vec::new();
        for (table, items) in self.tables() {
            if !items.is_empty() && !section.has(table) {
                said.push(format!("[{table}], of which there are {}", items.len()));
                continue;
            }
            for item in items {
                if table == "checks" && !is_known_type(item) {
                    said.push(format!("the type of check {:?}", item.name));
                }
                let unread = item.keys.iter().filter(|(name, _)| !is_read(table, item, name));
                said.extend(unread.map(|(name, _)| format!("{name:?} of {table}.{}, now a comment", item.name)));
            }
        }
        said
    }
}

/// What `serial = "auto"` would mean in place of this one (RFC 1982).
fn about_auto(serial: u32, now: SystemTime) -> &'static str {
    let clock = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
    if (clock.wrapping_sub(serial) as i32) > 0 {
        "\"auto\" counts by itself, from the clock on"
    } else {
        "\"auto\" would begin at the clock, which is lower: secondaries would not follow"
    }
}

fn is_known_type(check: &Item) -> bool {
    let kind = check.keys.iter().find(|(name, _)| name == "type");
    kind.is_some_and(|(_, kind)| keys::CHECK_TYPES.iter().any(|(known, _)| *kind == Val::text(*known)))
}

/// Whether this version reads a key of an item.
fn is_read(table: &str, item: &Item, name: &str) -> bool {
    match table {
        "pools" => keys::POOL.has(name),
        "checks" if is_known_type(item) => {
            let kind = item.keys.iter().find(|(name, _)| name == "type").map(|(_, kind)| kind);
            let own = keys::CHECK_TYPES.iter().find(|(known, _)| kind == Some(&Val::text(*known)));
            keys::CHECK.has(name) || own.is_some_and(|(_, sections)| sections.iter().any(|section| section.has(name)))
        }
        _ => true,
    }
}

/// The comments that a file begins with.
pub(super) fn put_head(head: &[String], notes: &[String], text: &mut String) {
    for line in head {
        let _ = writeln!(text, "# {line}");
    }
    if !notes.is_empty() {
        text.push_str("#\n# Not carried over, or not as it was:\n");
    }
    for note in notes {
        // A note may quote what it is about: no line of it may become TOML.
        let _ = writeln!(text, "# - {}", note.replace(|char: char| char.is_control(), " "));
    }
    text.push('\n');
}

/// A value, a list of tables one a line.
fn spread(value: &Val, mark: &str) -> String {
    match value {
        Val::List(items) if items.iter().any(|item| matches!(item, Val::Table(_))) => {
            let lines = items.iter().map(|item| format!("{}  {},\n", comment(mark), inline(item)));
            format!("[\n{}{}]", lines.collect::<String>(), comment(mark))
        }
        Val::Table(keys) if inline(value).len() > WIDTH => {
            // Inline tables have no line breaks in TOML 1.0, but the lists in them may.
            let keys = keys.iter().map(|(name, value)| format!("{} = {}", key(name), wrapped(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
        other => wrapped(other),
    }
}

fn comment(mark: &str) -> &'static str {
    if mark.is_empty() { "" } else { "# " }
}

fn wrapped(value: &Val) -> String {
    match value {
        Val::List(items) if inline(value).len() > WIDTH => {
            let lines = items.iter().map(|item| format!("  {},\n", inline(item)));
            format!("[\n{}]", lines.collect::<String>())
        }
        other => inline(other),
    }
}

pub(super) fn inline(value: &Val) -> String {
    match value {
        Val::Text(text) => string(text),
        Val::Int(number) => number.to_string(),
        Val::Num(number) => format!("{number:?}"),
        Val::Bool(value) => value.to_string(),
        Val::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Val::Table(keys) => {
            let keys = keys.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
        }
    }
}

/// On one line, whatever it holds.
fn string(text: &str) -> String {
    let builder = TomlStringBuilder::new(text);
    let string = builder.as_basic_pretty().or_else(|| builder.as_literal()).unwrap_or_else(|| builder.as_basic());
    let mut written = String::new();
    let _ = written.value(string);
    written
}

fn key(name: &str) -> String {
    let mut written = String::new();
    let _ = written.key(TomlKeyBuilder::new(name).as_default());
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text, Some(&Name::parse("example.com.", None).unwrap())).unwrap()
    }

    #[test]
    fn a_draft_is_written_in_order_and_with_its_notes() {
        let mut draft = Draft::new(name("@"));
        draft.head = vec!["From db.example.com".to_owned()];
        draft.add(name("www"), 1, 300, vec![192, 0, 2, 1]);
        draft.add(name("www"), 1, 300, vec![192, 0, 2, 2]);
        draft.add(name("a.b"), 16, 60, b"\x03a\"b".to_vec());
        draft.add(name("@"), 2, 300, name("ns1").as_wire().to_vec());
        draft.choose_ttl(1);
        let pool = Item::new(
            "web",
            [
                ("policy", Val::text("weighted")),
                ("backends", Val::List(vec![Val::table([("address", Val::text("192.0.2.9"))])])),
            ],
        );
        draft.parts.pools.push(pool);
        draft.names.insert(Owner(name("lb.x")), Val::text("web"));
        let text = draft.write(&["two\nlines".to_owned()]);
        let expected = r#"# From db.example.com
#
# Not carried over, or not as it was:
# - two lines

zone = "example.com"
ttl  = 300

[records]
"@" = { NS = "ns1" }
"a.b" = { TXT = { ttl = 60, data = 'a"b' } }
www = { A = ["192.0.2.1", "192.0.2.2"] }

[pools.web]
policy   = "weighted"
backends = [
  { address = "192.0.2.9" },
]

[names]
"lb.x" = "web"
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn what_this_version_does_not_read_is_a_comment_and_is_said() {
        let mut draft = Draft::new(name("@"));
        draft.parts.checks.push(Item::new("c", [("type", Val::text("tcp")), ("nonsense", Val::Int(1))]));
        assert_eq!(draft.unread(), ["\"nonsense\" of checks.c, now a comment"]);
        assert!(draft.write(&[]).contains("# not read by this version: nonsense = 1\n"), "{}", draft.write(&[]));
    }

    #[test]
    fn a_serial_above_the_clock_is_warned_of() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        assert!(about_auto(2_024_010_101, at(1_795_000_000)).contains("is lower"));
        assert!(about_auto(1, at(1_795_000_000)).contains("counts by itself"));
        assert!(about_auto(1_795_000_000, at(1_795_000_000)).contains("is lower"));
    }

    #[test]
    fn strings_stay_on_their_line() {
        assert_eq!(string("a\nb'"), "\"a\\nb'\"");
        assert_eq!(string("\\# 1 00"), "'\\# 1 00'");
        assert_eq!((key("a.b"), key("www"), key("*.x")), ("\"a.b\"".into(), "www".into(), "\"*.x\"".into()));
    }
}
