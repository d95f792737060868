//! The journal: every load and transition, override, start and stop, kept in `state_dir` for longer than `status` remembers.
//!
//! Plain files and not an embedded store: records are only appended and read by time, people look at them with `jq`, and a
//! torn end is found by a checksum a line. A thread of its own writes them, so that a slow or full disk holds up neither
//! queries nor verdicts: what cannot be written waits, some thousands of records; what does not fit is counted, and the
//! count is written as soon as there is room.

mod segments;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

pub use segments::Record;
use segments::{Segment, Segments};

use super::events::{Event, What};
use super::status::time_text;

/// Records that wait for the disk, some 300 octets each.
const MOST_WAITING: usize = 16_384;
/// Records written by one call.
const AT_ONCE: usize = 256;
/// Between attempts while the disk refuses.
const RETRY: Duration = Duration::from_secs(1);
/// Longest that a reader or a hand-over waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most records of one answer.
pub const MOST_RECORDS: usize = 10_000;

/// What is wrong with what is kept; for `status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Why the latest record could not be written.
    pub error: Option<String>,
    /// Records that wait for the disk.
    pub waiting: usize,
    /// Records that were lost since the start.
    pub lost: u64,
}

/// Which records are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalQuery {
    /// From then on.
    pub since: Option<SystemTime>,
    /// Until then.
    pub until: Option<SystemTime>,
    /// The latest so many; [`MOST_RECORDS`] at most.
    pub limit: Option<usize>,
}

/// Records, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct JournalPage {
    /// The latest that were asked for.
    pub records: Vec<Record>,
    /// Whether older ones were left out for the limit.
    pub more: bool,
    /// Lines of the files looked at that cannot be read.
    pub damaged: usize,
}

/// Handle to the writing thread; it ends with the last handle.
#[derive(Debug, Clone)]
pub struct Journal {
    jobs: Sender<Job>,
    shared: Arc<Mutex<JournalState>>,
    on_way: Arc<OnWay>,
    state_dir: PathBuf,
}

/// Records that the thread has not taken yet: a disk that hangs holds it in one call.
#[derive(Debug, Default)]
struct OnWay {
    records: AtomicUsize,
    /// For which there was no room there, and the thread does not know it yet.
    lost: AtomicU64,
}

enum Job {
    Record(Event),
    /// This server writes from now on.
    Begin,
    /// Another one does. Answered when all before it was tried.
    Pause(Sender<()>),
    /// Answered when all before it was tried.
    Settle(Sender<()>),
}

impl Journal {
    /// Starts the thread. Until [`Journal::begin`] records wait: another server may write still.
    pub(crate) fn start(state_dir: &Path) -> Journal {
        let (jobs, inbox) = channel();
        let journal = Journal { jobs, shared: Arc::default(), on_way: Arc::default(), state_dir: state_dir.to_owned() };
        let writer = Writer {
            state_dir: state_dir.to_owned(),
            shared: journal.shared.clone(),
            on_way: journal.on_way.clone(),
            may_write: false,
            segments: None,
            waiting: VecDeque::new(),
            untold: 0,
        };
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_or_else(|error| tracing::error!("no thread to write the journal with: {error}"), drop);
        journal
    }

    pub(crate) fn begin(&self) {
        let _ = self.jobs.send(Job::Begin);
    }

    /// Stops writing; returns when what was recorded is on disk, or cannot be written. An error, after 5 s: the disk hangs, and
    /// the thread may write yet.
    pub(crate) fn pause(&self) -> Result<(), String> {
        let (done, paused) = channel();
        let _ = self.jobs.send(Job::Pause(done));
        match paused.recv_timeout(PATIENCE) {
            // Without a thread nothing writes.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("the journal's disk did not answer within {} s", PATIENCE.as_secs()))
            }
        }
    }

    pub(crate) fn record(&self, event: Event) {
        if self.on_way.records.load(Relaxed) >= MOST_WAITING {
            self.on_way.lost.fetch_add(1, Relaxed);
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).lost += 1;
            return;
        }
        self.on_way.records.fetch_add(1, Relaxed);
        let _ = self.jobs.send(Job::Record(event));
    }

    /// Waits until what was recorded before was tried, 5 s at most.
    pub(crate) fn settle(&self) {
        self.settle_within(PATIENCE);
    }

    /// The same for that long; whether it was.
    pub(crate) fn settle_within(&self, patience: Duration) -> bool {
        let (done, settled) = channel();
        self.jobs.send(Job::Settle(done)).is_ok() && settled.recv_timeout(patience).is_ok()
    }

    pub(crate) fn state(&self) -> JournalState {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads; blocks on the disk.
    pub(crate) fn read(&self, query: &JournalQuery) -> io::Result<JournalPage> {
        self.settle();
        read(&self.state_dir, query)
    }
}

/// Reads a journal, also that of a server that does not run.
pub fn read(state_dir: &Path, query: &JournalQuery) -> io::Result<JournalPage> {
    let directory = segments::directory(state_dir);
    let files = match segments::numbers(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(JournalPage::default()),
        other => other?,
    };
    // Times of one form sort as they are.
    let (since, until) = (query.since.map(time_text), query.until.map(time_text));
    let limit = query.limit.unwrap_or(MOST_RECORDS).min(MOST_RECORDS);
    let mut page = JournalPage::default();
    let mut newest_first: Vec<Vec<Record>> = Vec::new();
    let mut found = 0;
    for &number in files.iter().rev() {
        let segment = match Segment::read(&directory, number) {
            // The oldest may go while it is read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        page.damaged += segment.damage.broken;
        let begins_before =
            segment.records.first().zip(since.as_ref()).is_some_and(|(first, since)| first.event.at < *since);
        let fits = |record: &Record| {
            since.as_ref().is_none_or(|since| record.event.at >= *since)
                && until.as_ref().is_none_or(|until| record.event.at <= *until)
        };
        let records: Vec<Record> = segment.records.into_iter().filter(fits).collect();
        found += records.len();
        newest_first.push(records);
        if begins_before || found > limit {
            break;
        }
    }
    page.records = newest_first.into_iter().rev().flatten().collect();
    page.more = page.records.len() > limit;
    page.records.drain(..page.records.len().saturating_sub(limit));
    Ok(page)
}

struct Writer {
    state_dir: PathBuf,
    shared: Arc<Mutex<JournalState>>,
    on_way: Arc<OnWay>,
    may_write: bool,
    segments: Option<Segments>,
    waiting: VecDeque<Event>,
    /// Lost, and the journal does not say so yet.
    untold: u64,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Job>) {
        let mut settled: Vec<Sender<()>> = Vec::new();
        loop {
            let behind = self.may_write && !self.waiting.is_empty();
            let next = if behind {
                inbox.recv_timeout(RETRY)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(job) => {
                    self.take(job, &mut settled);
                    while let Ok(job) = inbox.try_recv() {
                        self.take(job, &mut settled);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.write_all();
                    return;
                }
            }
            self.write_all();
            for done in settled.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn take(&mut self, job: Job, settled: &mut Vec<Sender<()>>) {
        match job {
            Job::Record(event) => {
                self.on_way.records.fetch_sub(1, Relaxed);
                if self.waiting.len() == MOST_WAITING {
                    // What came first is worth most: how a trouble began.
                    self.untold += 1;
                    self.change(|state| state.lost += 1);
                } else {
                    self.waiting.push_back(event);
                }
            }
            Job::Begin => self.may_write = true,
            Job::Pause(done) => {
                self.write_all();
                settled.push(done);
                self.may_write = false;
                // The other one appends: where the end is must be looked for anew.
                self.segments = None;
            }
            Job::Settle(done) => settled.push(done),
        }
    }

    fn write_all(&mut self) {
        self.untold += self.on_way.lost.swap(0, Relaxed);
        while self.may_write && !self.waiting.is_empty() {
            if let Err(error) = self.write_some() {
                let error = error.to_string();
                let before = self.change(|state| state.error.replace(error.clone()));
                if before.is_none() {
                    tracing::error!("the journal could not be written: {error}; records wait until it can");
                }
                break;
            }
            if self.change(|state| state.error.take()).is_some() {
                tracing::info!("the journal is written again");
            }
            if self.waiting.is_empty() && self.untold > 0 {
                let count = std::mem::take(&mut self.untold);
                tracing::warn!("the journal lacks {count} records: there was no room for them");
                self.waiting.push_back(Event::new(SystemTime::now(), What::Lost { count }));
            }
        }
        let waiting = self.waiting.len();
        self.change(|state| state.waiting = waiting);
    }

    fn write_some(&mut self) -> io::Result<()> {
        if self.segments.is_none() {
            let (segments, damage) = Segments::open(&self.state_dir)?;
            if damage.torn > 0 {
                tracing::warn!("the journal's last record was torn: {} octets of it are dropped", damage.torn);
            }
            if damage.broken > 0 {
                tracing::warn!("the journal holds {} damaged lines, which are passed over", damage.broken);
            }
            self.segments = Some(segments);
        }
        let Some(segments) = &mut self.segments else { return Ok(()) };
        let some: Vec<Event> = self.waiting.iter().take(AT_ONCE).cloned().collect();
        segments.append(&some)?;
        self.waiting.drain(..some.len());
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut JournalState) -> T) -> T {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
