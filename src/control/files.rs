//! Finds edits by itself: watches the directories of all files that were loaded, waits until what was written is whole,
//! and says so. Never loads anything; a signal or a command takes what lies there without asking this module.
//!
//! ```text
//! inotify ─> Edit ─> settle (250 ms of quiet, nobody writing) ─> look (links followed, contents compared) ─> Edited
//!   poll every 30 s beside it, for file systems without events; every 300 ms where nothing can be watched at all
//! ```

mod look;
mod settle;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use look::Look;
use settle::{Edit, QUIET, Settle};

/// Between two looks at everything, beside the events: network and overlay file systems may send none.
const POLL: Duration = Duration::from_secs(30);
/// The same where a directory cannot be watched. Two equal looks make an edit: live within a second of the last write.
const POLL_ONLY: Duration = Duration::from_millis(300);
/// Events that may wait. When more come, they are dropped and everything is looked at.
const EVENT_BACKLOG: usize = 4096;
/// Links may lead on to further directories while they are followed.
const WATCH_ROUNDS: usize = 4;

/// What to watch.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Files, and directories whose zone files matter. Links are followed.
    pub paths: Vec<PathBuf>,
    /// When the load that read them began: what changed since is an edit.
    pub loaded: SystemTime,
}

/// Edits that have come to rest.
#[derive(Debug)]
pub struct Edits(watch::Receiver<Option<Edited>>);

/// One or several edits: the files have lain still and nobody is writing them.
#[derive(Debug, Clone)]
pub struct Edited {
    paths: Arc<Vec<PathBuf>>,
    look: Arc<Look>,
    missed: Arc<AtomicBool>,
}

/// Starts watching on the current runtime. A new [`Watched`] after each load replaces the old one; dropping its sender or
/// the [`Edits`] ends the watch.
pub fn watch(watched: watch::Receiver<Watched>) -> Edits {
    let (edits, receiver) = watch::channel(None);
    tokio::spawn(run(watched, edits));
    Edits(receiver)
}

impl Edits {
    /// Waits for the next edit; `None` when the watch has ended. Several edits while nobody waited are one.
    pub async fn next(&mut self) -> Option<Edited> {
        loop {
            self.0.changed().await.ok()?;
            if let Some(edited) = self.0.borrow_and_update().clone() {
                return Some(edited);
            }
        }
    }
}

impl Edited {
    /// Whether the files are still those that had come to rest. Asked after loading: if not, somebody was writing
    /// meanwhile, what was loaded may be half a file, and another [`Edited`] follows. Blocks for some `stat` calls.
    pub fn still_holds(&self) -> bool {
        let holds = Look::take(&self.paths, &self.look).same_stamps(&self.look);
        if !holds {
            self.missed.store(true, Ordering::Release);
        }
        holds
    }
}

struct Files {
    paths: Arc<Vec<PathBuf>>,
    known: Arc<Look>,
    settle: Settle,
    /// The last look differed from what is known, and no event said so.
    polled: Option<Look>,
    next_poll: Instant,
    /// An edit was announced but could not be used, or may have happened before the watch began.
    missed: Arc<AtomicBool>,
    notifier: Option<RecommendedWatcher>,
    /// Why something is not watched, as last logged.
    blind: Option<String>,
}

async fn run(mut watched: watch::Receiver<Watched>, edits: watch::Sender<Option<Edited>>) {
    let (sender, mut events) = mpsc::channel(EVENT_BACKLOG);
    let lost = Arc::new(AtomicBool::new(false));
    let (notifier, blind) = match notify::recommended_watcher(forward(sender.clone(), lost.clone())) {
        Ok(notifier) => (Some(notifier), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut files = Files {
        paths: Arc::default(),
        known: Arc::default(),
        settle: Settle::default(),
        polled: None,
        next_poll: Instant::now() + POLL,
        missed: Arc::default(),
        notifier,
        blind: None,
    };
    files.note_blindness(blind);
    let first = watched.borrow_and_update().clone();
    files.replace(first).await;
    loop {
        if lost.swap(false, Ordering::AcqRel) {
            files.settle.lost(Instant::now());
        }
        let due = files.settle.due();
        tokio::select! {
            changed = watched.changed() => {
                if changed.is_err() {
                    return;
                }
                let next = watched.borrow_and_update().clone();
                files.replace(next).await;
            }
            Some(event) = events.recv() => files.event(&event),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => files.settled(&edits).await,
            () = sleep_until(files.next_poll) => files.poll(&edits).await,
            () = edits.closed() => return,
        }
    }
}

/// Hands on what may matter. Runs on the notifier's thread and never waits: the thread is also needed to add watches.
fn forward(events: mpsc::Sender<Event>, lost: Arc<AtomicBool>) -> impl FnMut(notify::Result<Event>) + Send {
    let mut born: Option<PathBuf> = None;
    move |event| {
        let Ok(event) = event else {
            lost.store(true, Ordering::Release);
            return;
        };
        match event.kind {
            EventKind::Create(CreateKind::File) => born = event.paths.first().cloned(),
            // Created and opened at once: somebody is about to write it. A link is created and not opened. All other
            // opens are readers, ourselves among them.
            EventKind::Access(AccessKind::Open(_)) if event.paths.first() != born.as_ref() => {
                return;
            }
            EventKind::Access(AccessKind::Open(_)) => born = None,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            EventKind::Access(_) => return,
            _ => {}
        }
        if events.try_send(event).is_err() {
            lost.store(true, Ordering::Release);
        }
    }
}

impl Files {
    /// Watches another set of files.
    async fn replace(&mut self, watched: Watched) {
        self.paths = Arc::new(watched.paths);
        let look = self.look().await;
        if look.changed_since(watched.loaded, &self.known) {
            self.missed.store(true, Ordering::Release);
            self.settle.touch(Instant::now());
        }
        self.polled = None;
        self.know(look);
    }

    fn event(&mut self, event: &Event) {
        let now = Instant::now();
        if event.need_rescan() {
            self.settle.lost(now);
            return;
        }
        for path in &event.paths {
            let edit = match event.kind {
                EventKind::Access(AccessKind::Open(_)) => Some(Edit::Writing),
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Edit::Whole),
                EventKind::Modify(ModifyKind::Data(_)) => Some(Edit::Writing),
                EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => Some(Edit::Gone),
                EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Edit::Whole),
                // `Both` repeats `From` and `To`.
                EventKind::Modify(ModifyKind::Name(_)) | EventKind::Access(_) => continue,
                _ => None,
            };
            if edit == Some(Edit::Gone) && self.known.parents.contains(path) {
                // The watch went with the directory; the next look sets a new one on what then lies there.
                if let Some(notifier) = &mut self.notifier {
                    let _ = notifier.unwatch(path);
                }
            }
            if !self.known.matters(path) {
                continue;
            }
            match edit {
                Some(edit) => self.settle.edit(path, edit, now),
                None => self.settle.touch(now),
            }
        }
    }

    /// Edits have come to rest: says so if anything is different.
    async fn settled(&mut self, edits: &watch::Sender<Option<Edited>>) {
        self.settle.taken();
        let look = self.look().await;
        self.publish(look, edits);
    }

    async fn poll(&mut self, edits: &watch::Sender<Option<Edited>>) {
        let now = Instant::now();
        self.next_poll = now + if self.blind.is_some() { POLL_ONLY } else { POLL };
        for path in self.settle.long_open(now) {
            tracing::warn!(
                "{}: changed and still open for writing; it counts once closed, a reload takes it as it is",
                path.display()
            );
        }
        self.settle.retain_writers(|path| path.exists());
        if !self.settle.calm() {
            return;
        }
        let look = self.look().await;
        if look.same_stamps(&self.known) && !self.missed.load(Ordering::Acquire) {
            self.polled = None;
            return;
        }
        if self.polled.as_ref().is_some_and(|polled| polled.same_stamps(&look)) {
            self.polled = None;
            self.publish(look, edits);
        } else {
            self.polled = Some(look);
            self.next_poll = now + POLL_ONLY.max(QUIET);
        }
    }

    fn publish(&mut self, look: Look, edits: &watch::Sender<Option<Edited>>) {
        let same = look.same_as(&self.known);
        self.know(look);
        if same && !self.missed.swap(false, Ordering::AcqRel) {
            return;
        }
        self.missed.store(false, Ordering::Release);
        let edited = Edited { paths: self.paths.clone(), look: self.known.clone(), missed: self.missed.clone() };
        edits.send_replace(Some(edited));
    }

    fn know(&mut self, look: Look) {
        self.settle.retain_writers(|path| look.matters(path));
        self.known = Arc::new(look);
    }

    /// Looks at everything and sees to it that every directory on the way is watched; in this order round by round, so
    /// that no edit falls between look and watch.
    async fn look(&mut self) -> Look {
        let (paths, known) = (self.paths.clone(), self.known.clone());
        let mut notifier = self.notifier.take();
        let work = move || {
            let mut watching = BTreeSet::new();
            let mut blind = None;
            let mut look = Look::take(&paths, &known);
            for _ in 0..WATCH_ROUNDS {
                let fresh: Vec<PathBuf> = look.parents.difference(&watching).cloned().collect();
                if fresh.is_empty() {
                    break;
                }
                if let Some(notifier) = &mut notifier {
                    blind = fresh.iter().filter_map(|directory| watch_directory(notifier, directory)).last().or(blind);
                }
                watching.extend(fresh);
                look = Look::take(&paths, &look);
            }
            if let Some(notifier) = &mut notifier {
                for directory in known.parents.difference(&watching) {
                    let _ = notifier.unwatch(directory);
                }
            }
            (notifier, look, blind)
        };
        let Ok((notifier, look, blind)) = tokio::task::spawn_blocking(work).await else {
            // Only a runtime that shuts down cancels it.
            return Look::default();
        };
        if notifier.is_some() {
            self.note_blindness(blind);
        }
        self.notifier = notifier;
        look
    }

    fn note_blindness(&mut self, blind: Option<String>) {
        if self.blind == blind {
            return;
        }
        match &blind {
            Some(why) => {
                tracing::warn!("cannot watch for edits ({why}): looking every {} ms instead", POLL_ONLY.as_millis());
                self.next_poll = Instant::now() + POLL_ONLY;
            }
            None => tracing::info!("watching for edits again"),
        }
        self.blind = blind;
    }
}

/// Watching again what is watched already costs nothing and heals a watch whose directory was replaced.
fn watch_directory(notifier: &mut RecommendedWatcher, directory: &Path) -> Option<String> {
    match notifier.watch(directory, RecursiveMode::NonRecursive) {
        Ok(()) => None,
        // Gone between look and watch: its own parent is watched and will tell.
        Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => None,
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
