//! Reads RFC 1035 master files through `domain`'s reader, record by record, and follows `$INCLUDE`.
//!
//! Nothing of a file is kept but its text: each record goes to the caller as it is read. The reader tells no record's
//! place, so this file finds the line that each record starts on.

use std::ops::ControlFlow;
use std::path::PathBuf;

use bytes::Bytes;
use domain::base::iana::Class;
use domain::base::rdata::ComposeRecordData;
use domain::base::{Rtype, ToName};
use domain::zonefile::inplace::{Entry, Zonefile};

use super::guard::guarded;
use super::pools::MOST_TTL;
use super::rewrite::{Rewritten, rewrite};
use super::source::{Place, Problem, Report};
use super::{rdata, server};
use crate::engine::name::Name;
use crate::engine::zone::roomy;

/// Deepest nesting of `$INCLUDE`.
const DEEPEST_INCLUDE: usize = 10;
/// Most `$INCLUDE`s in one zone: nested ones multiply.
const MOST_INCLUDES: usize = 1000;

/// One record of a master file.
#[derive(Debug)]
pub(super) struct MasterRecord<'r> {
    pub(super) owner: &'r Name,
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    /// Uncompressed wire form.
    pub(super) rdata: &'r [u8],
    pub(super) place: Place,
}

/// Takes records as they are read, until it has enough.
type Take<'t> = &'t mut dyn FnMut(MasterRecord<'_>, &mut Report) -> ControlFlow<()>;

/// Reads file number `file` and all that it includes; hands every record to `take`. Errors go to the report.
pub(super) fn read(file: usize, origin: Option<&Name>, ttl: u32, report: &mut Report, take: Take<'_>) {
    read_with(file, origin, ttl, false, report, take);
}

/// As [`read`]; `is_default` is whether `ttl` holds like one that `$TTL` says (RFC 2308 4), not until a record has its own.
pub(super) fn read_with(
    file: usize,
    origin: Option<&Name>,
    ttl: u32,
    is_default: bool,
    report: &mut Report,
    take: Take<'_>,
) {
    let origin = origin.and_then(|origin| rdata::domain_name(origin).ok());
    let mut stack = Includes { open: Vec::new(), count: 0, is_done: false };
    let start = Start { origin, owner: None, ttl, is_default };
    read_file(file, start, &mut stack, report, take);
}

/// What an included file starts with.
struct Start {
    origin: Option<domain::base::Name<Bytes>>,
    owner: Option<Name>,
    ttl: u32,
    /// The TTL comes from `$TTL` (RFC 2308 4), not from the last record.
    is_default: bool,
}

struct Includes {
    /// Canonical paths from the outermost file to this one.
    open: Vec<PathBuf>,
    count: usize,
    /// The caller wants no more.
    is_done: bool,
}

fn read_file(file: usize, start: Start, includes: &mut Includes, report: &mut Report, take: Take<'_>) {
    let text = report.text(file);
    let path = report.path(file).to_owned();
    includes.open.push(std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone()));
    if let Some(at) = text.find('\0') {
        report.add(Problem::error(Place::new(file, at..at + 1), "a NUL octet: this is no text file"));
        includes.open.pop();
        return;
    }
    let prologue = prologue(&start);
    let origin = start.origin.as_ref().and_then(|origin| Name::from_wire(origin.as_slice()).ok());
    let rewritten = rewrite(&text, origin.as_ref());
    for (start, end, why) in &rewritten.broken {
        report.add(Problem::error(Place::new(file, *start..*end), why.as_str()));
    }
    // As much as a vector that gives its memory back.
    let room = roomy::<u8>(prologue.len() + rewritten.text.len() + 1).capacity();
    let mut source = Zonefile::with_capacity(room);
    source.extend_from_slice(prologue.as_bytes());
    source.extend_from_slice(rewritten.text.as_bytes());
    source.extend_from_slice(b"\n");
    if let Some(origin) = start.origin.clone() {
        source.set_origin(origin);
    }
    source.set_default_class(Class::IN);

    let mut state =
        State { dollar_ttl: start.is_default.then_some(start.ttl), last_ttl: start.ttl, last_owner: start.owner };
    let mut wire = Vec::new();
    let mut owner_wire = Vec::new();
    let mut is_prologue = true;
    // Where the reader stands in the text as rewritten, whose lines are those of the text itself.
    let mut at = 0;
    loop {
        let entry = guarded(|| Ok(source.next_entry()));
        let entry = match entry {
            Ok(Ok(Some(entry))) => entry,
            Ok(Ok(None)) => {
                // The reader takes the end of the file for the end of all parentheses: so would a file that was cut.
                if let Some(start) = rewritten.open {
                    report
                        .add(Problem::error(line_place(&text, file, start), "a quote or a parenthesis is not closed"));
                }
                break;
            }
            Ok(Err(error)) => {
                let (place, why) = place_of_error(&error.to_string(), &rewritten, file, prologue.lines().count());
                report.add(Problem::error(place, format!("this record cannot be read: {why}")));
                break;
            }
            Err(why) => {
                let (start, _) = next_entry(&rewritten.text, at, &mut state);
                let place = line_place(&text, file, rewritten.original(start));
                report.add(Problem::error(place, format!("this record: {why}")));
                break;
            }
        };
        if is_prologue {
            is_prologue = false;
            continue;
        }
        let (start, end) = next_entry(&rewritten.text, at, &mut state);
        // The reader counts one octet of its own in front; it never stands behind the end of the record it has read.
        let stands = source.current_offset().saturating_sub(prologue.len() + 1).min(rewritten.text.len());
        at = stands.max(end);
        let place = line_place(&text, file, rewritten.original(start));
        match entry {
            Entry::Record(record) => {
                owner_wire.clear();
                wire.clear();
                let composed =
                    record.owner().compose(&mut owner_wire).is_ok() && record.data().compose_rdata(&mut wire).is_ok();
                let owner = Name::from_wire(&owner_wire).ok().filter(|_| composed);
                let Some(owner) = owner else {
                    report.add(Problem::error(place, "this record's name or data is too long"));
                    continue;
                };
                let entry_text =
                    rewritten.text.get(start..end_of_line(rewritten.text.as_bytes(), at)).unwrap_or_default();
                if entry_text.contains('@')
                    && rdata::has_at_sign(entry_text, false)
                    && let Ok(origin) = source.origin()
                {
                    let rtype = domain::base::rdata::RecordData::rtype(record.data()).to_int();
                    rdata::resolve_at_sign(rtype, &mut wire, origin.as_slice());
                }
                let ttl = record.ttl().as_secs();
                state.last_ttl = ttl;
                let rtype = domain::base::rdata::RecordData::rtype(record.data());
                if let Some(why) = refusal(record.class(), rtype, ttl, &wire) {
                    report.add(Problem::error(place, why).key(owner.to_string()));
                } else {
                    let record = MasterRecord { owner: &owner, rtype: rtype.to_int(), ttl, rdata: &wire, place };
                    includes.is_done |= take(record, report).is_break();
                }
                state.last_owner = Some(owner);
            }
            Entry::Include { path: included, origin } => {
                let origin = origin.or_else(|| source.origin().ok());
                let ttl = state.dollar_ttl.unwrap_or(state.last_ttl);
                let start =
                    Start { origin, owner: state.last_owner.clone(), ttl, is_default: state.dollar_ttl.is_some() };
                let target = server::directory_of(&path).join(&*included);
                include(target, place, start, includes, report, take);
            }
        }
        if includes.is_done {
            break;
        }
    }
    includes.open.pop();
}

fn include(path: PathBuf, place: Place, start: Start, includes: &mut Includes, report: &mut Report, take: Take<'_>) {
    includes.count += 1;
    let canonical = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    if includes.open.contains(&canonical) {
        report.add(Problem::error(place, format!("{} includes itself", path.display())));
    } else if includes.open.len() >= DEEPEST_INCLUDE {
        report.add(Problem::error(place, format!("$INCLUDE is nested more than {DEEPEST_INCLUDE} deep")));
    } else if includes.count > MOST_INCLUDES {
        if includes.count == MOST_INCLUDES + 1 {
            report.add(Problem::error(place, format!("more than {MOST_INCLUDES} files are included")));
        }
    } else if let Some(file) = report.read(&path, Some(place)) {
        read_file(file, start, includes, report, take);
    }
}

/// What this file sees of the reader's own state, which it does not tell.
struct State {
    dollar_ttl: Option<u32>,
    last_ttl: u32,
    last_owner: Option<Name>,
}

/// A line of text in front of the file that puts the reader in the state the file starts with: owner and TTL.
fn prologue(start: &Start) -> String {
    let owner = start.owner.as_ref().map_or_else(|| ".".to_owned(), Name::to_string);
    let ttl = start.ttl;
    let default = if start.is_default { format!("$TTL {ttl}\n") } else { String::new() };
    format!("{default}{owner} {ttl} IN TYPE65534 \\# 0\n")
}

fn refusal(class: Class, rtype: Rtype, ttl: u32, wire: &[u8]) -> Option<String> {
    if class != Class::IN {
        return Some(format!("class {class}: only IN is served"));
    }
    if u64::from(ttl) > MOST_TTL {
        return Some(format!("a TTL may be {MOST_TTL} at most (RFC 2181 8), not {ttl}"));
    }
    rdata::storable(rtype.to_int()).and_then(|rtype| rdata::check(rtype, wire)).err()
}

/// Where the next entry at or behind `at` starts and where its first line ends. Looks at `$TTL` on the way.
fn next_entry(text: &str, at: usize, state: &mut State) -> (usize, usize) {
    let octets = text.as_bytes();
    let mut line = if at == 0 { 0 } else { end_of_line(octets, at) + 1 };
    while line < octets.len() {
        let end = end_of_line(octets, line);
        let content = text[line..end].trim_start_matches([' ', '\t', '\r', ')']);
        let start = end - content.len();
        if let Some(rest) = content.strip_prefix('$')
            && !rest.get(..7).is_some_and(|word| word.eq_ignore_ascii_case("INCLUDE"))
        {
            if rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("TTL")) {
                let number = rest[3..].split([';', ' ', '\t', '\r', '(', ')']).find(|word| !word.is_empty());
                state.dollar_ttl = number.and_then(|number| number.parse().ok()).or(state.dollar_ttl);
            }
        } else if !content.is_empty() && !content.starts_with(';') {
            return (start, end);
        }
        line = end + 1;
    }
    (octets.len(), octets.len())
}

fn end_of_line(octets: &[u8], at: usize) -> usize {
    octets
        .get(at..)
        .and_then(|rest| rest.iter().position(|&octet| octet == b'\n'))
        .map_or(octets.len(), |found| at + found)
}

/// From an offset to the end of its line.
fn line_place(text: &str, file: usize, start: usize) -> Place {
    Place::new(file, start..trimmed_end(text, start, end_of_line(text.as_bytes(), start)))
}

fn line_span(text: &str, line: usize) -> (usize, usize) {
    let mut start = 0;
    for _ in 0..line {
        start = end_of_line(text.as_bytes(), start) + 1;
    }
    let start = start.min(text.len());
    (start, end_of_line(text.as_bytes(), start))
}

fn trimmed_end(text: &str, start: usize, end: usize) -> usize {
    text.get(start..end).map_or(end, |content| start + content.trim_end().len())
}

/// The reader's errors begin with its line and column, which count the prologue's lines too.
fn place_of_error(error: &str, rewritten: &Rewritten<'_>, file: usize, prologue_lines: usize) -> (Place, String) {
    let text = &*rewritten.text;
    let place = |start: usize, end: usize| Place::new(file, rewritten.original(start)..rewritten.original(end));
    let mut parts = error.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.trim().parse::<usize>().ok()).unwrap_or(1);
    let (line, column) = (number().saturating_sub(prologue_lines).max(1), number().max(1));
    let why = rdata::explain(parts.next().unwrap_or(error).trim());
    let (mut start, mut end) = line_span(text, line - 1);
    // At the end of a line the reader already stands on the next one; the record is the one before. At a broken escape it
    // stands where it says.
    while !why.contains("escape")
        && start > 0
        && (column == 1 || text.get(start..end).is_none_or(|content| content.trim().is_empty()))
    {
        // The last line may end without a newline.
        let last = if text.as_bytes()[start - 1] == b'\n' { start - 1 } else { start };
        let before = text[..last].rfind('\n').map_or(0, |at| at + 1);
        (start, end) = (before, last);
        if text.get(start..end).is_some_and(|content| !content.trim().is_empty()) {
            return (place(start, trimmed_end(text, start, end)), why);
        }
    }
    let mut at = (start + column - 1).min(trimmed_end(text, start, end));
    let is_between = |octet: u8| b" \t\r;()".contains(&octet);
    // The reader often stands behind the word that it stumbled over.
    if text.as_bytes().get(at).is_none_or(|&octet| octet == b'\n' || is_between(octet)) {
        let word = text.as_bytes()[start..at].iter().rev().take_while(|&&octet| !is_between(octet)).count();
        at -= word;
    }
    let word = text.get(at..end).map_or(0, |rest| rest.find([' ', '\t', '\r', ';']).unwrap_or(rest.len()));
    (place(at, at + word), why)
}
