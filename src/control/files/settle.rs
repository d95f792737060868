//! When do edits count? Pure: events and the time go in, "look now" comes out. `control::files` feeds it and acts.
//!
//! A file counts once its writer has closed or renamed it and [`QUIET`] has passed without another edit. Where edits never
//! cease, files are looked at [`PATIENCE`] after the first one, but never while one of them is being written: a
//! half-written file never counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// Time without edits before they count: joins the many steps of an editor's save or of a checkout into one reload.
pub(crate) const QUIET: Duration = Duration::from_millis(250);
/// Longest time that unrelated edits may put a look off.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// A file that stays open this long without a further edit is worth a word to the operator.
pub(crate) const LONG_OPEN: Duration = Duration::from_secs(10);

/// What happened to one path that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Its content changes, its writer has not closed it.
    Writing,
    /// It is whole: closed after writing, renamed to this name, linked, or its metadata changed.
    Whole,
    /// It left this name.
    Gone,
}

/// Edits that have not counted yet.
#[derive(Debug, Default)]
pub(crate) struct Settle {
    span: Option<Span>,
    writing: BTreeMap<PathBuf, Writer>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    first: Instant,
    last: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Writer {
    last: Instant,
    told: bool,
}

impl Settle {
    /// Takes in one edit.
    pub(crate) fn edit(&mut self, path: &Path, edit: Edit, now: Instant) {
        match edit {
            Edit::Writing => {
                self.writing.insert(path.to_path_buf(), Writer { last: now, told: false });
            }
            Edit::Whole | Edit::Gone => {
                self.writing.remove(path);
            }
        }
        self.touch(now);
    }

    /// Something changed, no matter where.
    pub(crate) fn touch(&mut self, now: Instant) {
        let first = self.span.map_or(now, |span| span.first);
        self.span = Some(Span { first, last: now });
    }

    /// Events were lost: whoever was writing may have closed long since.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.writing.clear();
        self.touch(now);
    }

    /// Forgets writers of paths that no longer matter or no longer exist.
    pub(crate) fn retain_writers(&mut self, keep: impl Fn(&Path) -> bool) {
        self.writing.retain(|path, _| keep(path));
    }

    /// When the files are to be looked at; `None` while nothing changed or something is being written.
    pub(crate) fn due(&self) -> Option<Instant> {
        let span = self.span?;
        if !self.writing.is_empty() {
            return None;
        }
        Some((span.last + QUIET).min((span.first + PATIENCE).max(span.last)))
    }

    /// The files are looked at now: all edits so far have counted.
    pub(crate) fn taken(&mut self) {
        self.span = None;
    }

    /// Whether nothing awaits a look.
    pub(crate) fn calm(&self) -> bool {
        self.span.is_none()
    }

    /// Files that have been open for [`LONG_OPEN`] without an edit, each told once.
    pub(crate) fn long_open(&mut self, now: Instant) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for (path, writer) in &mut self.writing {
            if !writer.told && now.saturating_duration_since(writer.last) >= LONG_OPEN {
                writer.told = true;
                found.push(path.clone());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "zones/a.toml";
    const B: &str = "zones/b.toml";

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn nothing_is_due_without_edits() {
        assert_eq!(Settle::default().due(), None);
    }

    #[test]
    fn an_edit_counts_after_a_quiet_time() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.edit(Path::new(A), Edit::Whole, start);
        assert_eq!(settle.due(), Some(start + QUIET));
        settle.edit(Path::new(B), Edit::Whole, start + ms(100));
        assert_eq!(settle.due(), Some(start + ms(100) + QUIET));
        settle.taken();
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn a_file_being_written_never_counts_however_long_it_takes() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.edit(Path::new(A), Edit::Writing, start);
        assert_eq!(settle.due(), None);
        // Edits elsewhere do not make it count either, not even past the patience: loading reads every file.
        settle.edit(Path::new(B), Edit::Whole, start + ms(60_000));
        assert_eq!(settle.due(), None);
        settle.edit(Path::new(A), Edit::Whole, start + ms(61_000));
        assert!(settle.due().is_some_and(|due| due >= start + ms(61_000) && due <= start + ms(61_000) + QUIET));
    }

    #[test]
    fn a_writer_that_removes_or_renames_its_file_is_done_with_it() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.edit(Path::new(A), Edit::Writing, start);
        settle.edit(Path::new(A), Edit::Gone, start + ms(10));
        assert_eq!(settle.due(), Some(start + ms(10) + QUIET));
    }

    #[test]
    fn constant_churn_is_cut_short_after_two_seconds() {
        let start = Instant::now();
        let mut settle = Settle::default();
        for step in 0..=19 {
            settle.edit(Path::new(B), Edit::Whole, start + ms(100 * step));
            assert!(settle.due().is_some_and(|due| due > start + ms(100 * step)), "not before: step {step}");
        }
        assert_eq!(settle.due(), Some(start + PATIENCE));
    }

    #[test]
    fn lost_events_free_whoever_was_writing() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.edit(Path::new(A), Edit::Writing, start);
        settle.lost(start + ms(5));
        assert_eq!(settle.due(), Some(start + ms(5) + QUIET));
    }

    #[test]
    fn a_file_left_open_is_told_once() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.edit(Path::new(A), Edit::Writing, start);
        assert!(settle.long_open(start + LONG_OPEN - ms(1)).is_empty());
        assert_eq!(settle.long_open(start + LONG_OPEN), vec![PathBuf::from(A)]);
        assert!(settle.long_open(start + LONG_OPEN * 2).is_empty());
    }
}
