//! The journal's files: `journal/00000001.jsonl` and so on, the highest number is written to.
//!
//! One record a line, one JSON object a record, whose last field is the CRC-32 (IEEE) of the object without that field. A
//! line is written by one call and synced; what a kill, a full disk or a broken sector leaves of one fails its checksum.
//! Files are only appended to, and cut at their end where that is half a line. The oldest go when there are too many.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::events::Event;

/// Of the format that the first line of each file names. Raised when an older program could misread the lines; kinds and
/// fields that are only added do not raise it.
const FORMAT: u32 = 1;
/// A file that is longer is followed by the next one: 4 MiB are some 15,000 records, and are read at once.
pub(super) const SEGMENT_OCTETS: u64 = 4 << 20;
/// Files that are kept: 64 MiB in all.
pub(super) const SEGMENTS: usize = 16;
const DIRECTORY: &str = "journal";
const SUFFIX: &str = ".jsonl";
/// `,"crc":"` and `"}` around eight digits.
const CRC_LENGTH: usize = 18;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Record {
    /// Rises by one; goes on over restarts.
    pub seq: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The first line of a file.
#[derive(Serialize, Deserialize)]
struct Header {
    journal: u32,
    version: String,
}

/// What of a file cannot be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// Octets behind the last whole line.
    pub(super) torn: u64,
    /// Lines whose checksum is wrong.
    pub(super) broken: usize,
}

/// The end of the journal, where records are added.
#[derive(Debug)]
pub(super) struct Segments {
    directory: PathBuf,
    open: Option<Open>,
    /// Highest number in use.
    number: u64,
    next: u64,
    limit: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Of whole lines.
    length: u64,
}

impl Segments {
    /// Finds the end, and cuts half a line away.
    pub(super) fn open(state_dir: &Path) -> io::Result<(Segments, Damage)> {
        Segments::open_limited(state_dir, SEGMENT_OCTETS)
    }

    pub(super) fn open_limited(state_dir: &Path, limit: u64) -> io::Result<(Segments, Damage)> {
        let directory = directory(state_dir);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let files = numbers(&directory)?;
        let mut segments =
            Segments { directory, open: None, number: files.last().copied().unwrap_or(0), next: 1, limit };
        let mut damage = Damage::default();
        for (back, &number) in files.iter().rev().enumerate() {
            let read = Segment::read(&segments.directory, number)?;
            if back == 0 {
                damage = read.damage;
                segments.open = segments.reopen(&read);
            }
            if let Some(last) = read.records.last() {
                segments.next = last.seq + 1;
                break;
            }
        }
        Ok((segments, damage))
    }

    /// The newest file, where records may follow; `None`: a new one is begun.
    fn reopen(&self, read: &Segment) -> Option<Open> {
        if !read.known || read.length >= self.limit {
            return None;
        }
        let file = OpenOptions::new().append(true).open(path(&self.directory, self.number)).ok()?;
        if read.damage.torn > 0 {
            file.set_len(read.length).and_then(|()| file.sync_data()).ok()?;
        }
        Some(Open { file, length: read.length })
    }

    /// Adds records. On an error none of them is there: what was written of them is cut off again.
    pub(super) fn append(&mut self, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::with_capacity(events.len() * 256);
        for (seq, event) in (self.next..).zip(events) {
            line(&Record { seq, event: event.clone() }, &mut lines)?;
        }
        if self.open.as_ref().is_none_or(|open| open.length + lines.len() as u64 > self.limit) {
            self.begin()?;
        }
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = open.file.write_all(&lines).and_then(|()| open.file.sync_data()) {
            if open.file.set_len(open.length).is_err() {
                // Half a line may stay: the next record must not stand behind it.
                self.open = None;
            }
            return Err(error);
        }
        open.length += lines.len() as u64;
        self.next += events.len() as u64;
        Ok(())
    }

    /// Begins the next file, and lets the oldest go.
    fn begin(&mut self) -> io::Result<()> {
        self.open = None;
        let path = path(&self.directory, self.number + 1);
        let mut file = match OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.number += 1;
                return Err(error);
            }
            other => other?,
        };
        let mut header = Vec::new();
        line(&Header { journal: FORMAT, version: crate::VERSION.to_owned() }, &mut header)?;
        if let Err(error) = file.write_all(&header).and_then(|()| File::open(&self.directory)?.sync_all()) {
            // On a full disk every octet counts.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        self.number += 1;
        self.open = Some(Open { file, length: header.len() as u64 });
        self.forget();
        Ok(())
    }

    /// Removes the oldest files. Those of a newer format are not this version's to remove.
    fn forget(&self) {
        let files = numbers(&self.directory).unwrap_or_default();
        let surplus = files.len().saturating_sub(SEGMENTS);
        for &number in &files[..surplus] {
            if Segment::read(&self.directory, number).is_ok_and(|read| read.known) {
                let _ = fs::remove_file(path(&self.directory, number));
            }
        }
    }
}

/// One file, read whole.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) records: Vec<Record>,
    pub(super) damage: Damage,
    /// Of whole lines.
    length: u64,
    /// Whether this version understands its format.
    known: bool,
}

impl Segment {
    pub(super) fn read(directory: &Path, number: u64) -> io::Result<Segment> {
        Ok(Segment::parse(&fs::read(path(directory, number))?))
    }

    pub(super) fn parse(text: &[u8]) -> Segment {
        let end = text.iter().rposition(|&octet| octet == b'\n').map_or(0, |last| last + 1);
        let mut segment = Segment { known: true, length: end as u64, ..Segment::default() };
        segment.damage.torn = (text.len() - end) as u64;
        for (number, line) in text[..end].split(|&octet| octet == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let Some(object) = checked(line) else {
                segment.damage.broken += 1;
                continue;
            };
            if let (0, Ok(header)) = (number, serde_json::from_slice::<Header>(&object)) {
                if header.journal != FORMAT {
                    return Segment { length: text.len() as u64, ..Segment::default() };
                }
                continue;
            }
            match serde_json::from_slice(&object) {
                Ok(record) => segment.records.push(record),
                Err(_) => segment.damage.broken += 1,
            }
        }
        segment
    }
}

/// Where the journal of a state directory lies.
pub(super) fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join(DIRECTORY)
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}{SUFFIX}"))
}

/// The numbers of the files, sorted; whatever else lies there is let alone.
pub(super) fn numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        let name = entry.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
        all.extend(number);
    }
    all.sort_unstable();
    Ok(all)
}

/// Writes an object with its checksum.
fn line(object: &impl Serialize, lines: &mut Vec<u8>) -> io::Result<()> {
    let begin = lines.len();
    serde_json::to_writer(&mut *lines, object)?;
    let crc = crc32fast::hash(&lines[begin..]);
    lines.pop();
    writeln!(lines, ",\"crc\":\"{crc:08x}\"}}")
}

/// The object without its checksum, where that is right.
fn checked(line: &[u8]) -> Option<Vec<u8>> {
    let (object, crc) = line.split_at_checked(line.len().checked_sub(CRC_LENGTH)?)?;
    let digits = crc.strip_prefix(b",\"crc\":\"")?.strip_suffix(b"\"}")?;
    let crc = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    let object = [object, b"}"].concat();
    (crc32fast::hash(&object) == crc).then_some(object)
}
