//! The files of one load: each read once, its text kept so that a place in it can be shown. Collects what is wrong.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{self, Diagnostic, LoadError, Severity};
use crate::engine::zone::{SourceTag, ZoneProblem, roomy};

/// Largest file that is read. A million records take about 60 MB.
const LARGEST_FILE: u64 = 1 << 30;
/// Most errors and warnings of one load that are kept; a broken file of a million lines has a million errors.
const MOST_DIAGNOSTICS: usize = 200;
/// How the offset and the file share a [`SourceTag`]: files are smaller than 2^40 octets.
const OFFSET_BITS: u32 = 40;

/// A span in a file that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Index into [`Report`]'s files.
    pub(super) file: usize,
    /// First octet.
    pub(super) start: usize,
    /// Behind the last octet.
    pub(super) end: usize,
}

/// One problem on its way into the report.
#[derive(Debug)]
pub(super) struct Problem {
    severity: Severity,
    place: Place,
    other: Option<(Place, &'static str)>,
    key: String,
    message: String,
    help: Option<String>,
}

/// Changes a text before it is read; errors then show the changed text.
pub(crate) type Filter = Box<dyn Fn(&Path, String) -> String>;

/// Everything read so far, and everything wrong so far.
#[derive(Default)]
pub(super) struct Report {
    /// Sees each text file; none when files are read for serving.
    pub(super) filter: Option<Filter>,
    files: Vec<(PathBuf, Arc<String>)>,
    by_path: HashMap<PathBuf, usize>,
    touched: Vec<PathBuf>,
    secret: Vec<usize>,
    diagnostics: Vec<(Severity, usize, usize, Diagnostic)>,
    errors: usize,
    left_out: usize,
}

/// A point in time of a report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    diagnostics: usize,
    errors: usize,
    left_out: usize,
}

impl Place {
    pub(super) fn new(file: usize, span: Range<usize>) -> Place {
        Place { file, start: span.start, end: span.end }
    }

    /// The number under which the engine gives this place back.
    pub(super) fn tag(self) -> SourceTag {
        (self.file as u64) << OFFSET_BITS | self.start as u64
    }
}

impl Problem {
    pub(super) fn error(place: Place, message: impl Into<String>) -> Problem {
        Problem {
            severity: Severity::Error,
            place,
            other: None,
            key: String::new(),
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn warning(place: Place, message: impl Into<String>) -> Problem {
        Problem { severity: Severity::Warning, ..Problem::error(place, message) }
    }

    pub(super) fn key(self, key: impl Into<String>) -> Problem {
        Problem { key: key.into(), ..self }
    }

    pub(super) fn help(self, help: impl Into<Option<String>>) -> Problem {
        Problem { help: help.into(), ..self }
    }

    /// A second place, and what it is: `first here`.
    pub(super) fn beside(self, other: Place, label: &'static str) -> Problem {
        Problem { other: Some((other, label)), ..self }
    }
}

impl Report {
    /// Reads a text file once; `None` when that failed, and the report says why. `from` is the place that names the file.
    pub(super) fn read(&mut self, path: &Path, from: Option<Place>) -> Option<usize> {
        if let Some(&known) = self.by_path.get(path) {
            return Some(known);
        }
        let octets = self.read_octets(path, from)?;
        match String::from_utf8(octets) {
            Ok(text) => {
                let text = match &self.filter {
                    Some(filter) => filter(path, text),
                    None => text,
                };
                self.files.push((path.to_owned(), Arc::new(text)));
                self.by_path.insert(path.to_owned(), self.files.len() - 1);
                Some(self.files.len() - 1)
            }
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|&&octet| octet == b'\n').count() + 1;
                self.unreadable(path, from, format!("is not UTF-8 text (line {line})"));
                None
            }
        }
    }

    /// Reads any file, and makes sure that it did not change meanwhile: half a file must never count.
    pub(super) fn read_octets(&mut self, path: &Path, from: Option<Place>) -> Option<Vec<u8>> {
        self.touched.push(path.to_owned());
        match read_whole(path) {
            Ok(octets) => Some(octets),
            Err(why) => {
                self.unreadable(path, from, why);
                None
            }
        }
    }

    /// No line of that file is ever shown: errors go into logs, and its lines hold secrets.
    pub(super) fn keep_secret(&mut self, file: usize) {
        self.secret.push(file);
    }

    pub(super) fn text(&self, file: usize) -> Arc<String> {
        self.files[file].1.clone()
    }

    pub(super) fn path(&self, file: usize) -> &Path {
        &self.files[file].0
    }

    /// Every file that was read, or tried, in order and once.
    pub(super) fn touched(&self) -> Vec<PathBuf> {
        let mut seen = std::collections::HashSet::new();
        self.touched.iter().filter(|path| seen.insert(path.as_path())).cloned().collect()
    }

    /// Errors so far; a caller compares before and after to know whether a part went well.
    pub(super) fn error_count(&self) -> usize {
        self.errors
    }

    /// What was said so far.
    pub(super) fn mark(&self) -> Mark {
        Mark { diagnostics: self.diagnostics.len(), errors: self.errors, left_out: self.left_out }
    }

    /// Takes back all that was said since.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.diagnostics.truncate(mark.diagnostics);
        self.errors = mark.errors;
        self.left_out = mark.left_out;
    }

    pub(super) fn add(&mut self, problem: Problem) {
        if self.full(problem.severity) {
            return;
        }
        let Problem { severity, place, other, key, message, help } = problem;
        let (file, text) = &self.files[place.file];
        if self.secret.contains(&place.file) {
            let line = text[..place.start.min(text.len())].matches('\n').count() + 1;
            let made = Diagnostic::about_file(severity, file, format!("line {line}: {message}"), help);
            self.diagnostics.push((severity, place.file, place.start, made));
            return;
        }
        let other = other.and_then(|(place, label)| {
            let (file, text) = self.files.get(place.file)?;
            Some((file.as_path(), text.as_str(), diagnostic::Mark { span: place.start..place.end, label }))
        });
        let mark = diagnostic::Mark { span: place.start..place.end, label: "" };
        let made = Diagnostic::about_place(severity, file, text, mark, other, (key, message, help));
        self.diagnostics.push((severity, place.file, place.start, made));
    }

    /// About a file that has no text to show.
    pub(super) fn add_file(
        &mut self,
        severity: Severity,
        path: &Path,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if !self.full(severity) {
            let made = Diagnostic::about_file(severity, path, message, help);
            self.diagnostics.push((severity, 0, 0, made));
        }
    }

    /// What the engine found in a zone, shown at the places that it names.
    pub(super) fn add_zone_problem(&mut self, problem: ZoneProblem) {
        let place = self.place_of(problem.tag);
        let made = if problem.fatal {
            Problem::error(place, problem.message)
        } else {
            Problem::warning(place, problem.message)
        };
        match problem.other {
            Some(other) => {
                let other = self.place_of(other);
                self.add(made.beside(other, "and here"));
            }
            None => self.add(made),
        }
    }

    /// All that was found: errors first, then by file and line.
    pub(super) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.diagnostics.sort_by_key(|(severity, file, start, _)| (*severity, *file, *start));
        let mut all: Vec<Diagnostic> = self.diagnostics.into_iter().map(|(.., made)| made).collect();
        if self.left_out > 0
            && let Some(last) = all.last().cloned()
        {
            let message = format!("and {} more like these", self.left_out);
            all.push(Diagnostic::about_file(last.severity, &last.file, message, None));
        }
        all
    }

    pub(super) fn into_error(self) -> LoadError {
        LoadError { diagnostics: self.into_diagnostics() }
    }

    fn full(&mut self, severity: Severity) -> bool {
        if severity == Severity::Error {
            self.errors += 1;
        }
        // A flood of warnings must not hide the error behind it.
        let kept = self.diagnostics.iter().filter(|(kept, ..)| *kept == severity).count();
        if kept >= MOST_DIAGNOSTICS {
            self.left_out += 1;
        }
        kept >= MOST_DIAGNOSTICS
    }

    fn unreadable(&mut self, path: &Path, from: Option<Place>, why: String) {
        let message = format!("{} {why}", path.display());
        match from {
            Some(place) => self.add(Problem::error(place, message)),
            None => self.add_file(Severity::Error, path, message, None),
        }
    }

    /// The engine keeps only where a thing starts; where it ends is read from the text.
    fn place_of(&self, tag: SourceTag) -> Place {
        let file = ((tag >> OFFSET_BITS) as usize).min(self.files.len().saturating_sub(1));
        self.place_at(file, (tag & ((1 << OFFSET_BITS) - 1)) as usize)
    }

    /// The place of the word, or the string, that begins there.
    pub(super) fn place_at(&self, file: usize, start: usize) -> Place {
        let rest = self.files[file].1.as_bytes().get(start..).unwrap_or_default();
        let length = match rest.first() {
            Some(&quote @ (b'"' | b'\'')) => {
                rest[1..].iter().position(|&octet| octet == quote || octet == b'\n').map(|at| at + 2)
            }
            _ => rest.iter().position(|octet| b" \t\r\n=,]}".contains(octet)),
        };
        Place { file, start, end: start + length.unwrap_or(rest.len()) }
    }
}

fn read_whole(path: &Path) -> Result<Vec<u8>, String> {
    let say = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    // Asked before opening: opening a pipe would wait for its writer.
    let before = std::fs::metadata(path).map_err(say)?;
    if !before.is_file() {
        return Err("is not a regular file".to_owned());
    }
    if before.len() > LARGEST_FILE {
        return Err(format!("is larger than {} MiB", LARGEST_FILE >> 20));
    }
    let mut file = std::fs::File::open(path).map_err(say)?;
    let mut octets = roomy(before.len() as usize + 1);
    (&mut file).take(LARGEST_FILE + 1).read_to_end(&mut octets).map_err(say)?;
    let after = file.metadata().map_err(say)?;
    if after.len() != octets.len() as u64
        || before.len() != after.len()
        || before.modified().ok() != after.modified().ok()
    {
        return Err("changed while it was read; it is read again when its writer is done".to_owned());
    }
    Ok(octets)
}
