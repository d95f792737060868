//! Writes what is to be kept on a thread of its own, so that a slow disk holds up no verdict.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::memory::{Memory, Saved};

/// Longest that an override or a hand-over waits for the disk.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Handle to the writing thread; it ends with the handle.
pub(crate) struct Saver {
    jobs: Sender<Job>,
    error: Arc<Mutex<Option<String>>>,
}

struct Job {
    saved: Saved,
    done: Option<Sender<Result<(), String>>>,
}

impl Saver {
    /// Starts the thread.
    pub(crate) fn start(memory: Memory) -> Saver {
        let (jobs, inbox) = channel();
        let error: Arc<Mutex<Option<String>>> = Arc::default();
        let latest = error.clone();
        thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || run(&memory, &inbox, &latest))
            .map_or_else(|error| tracing::error!("no thread to keep state with: {error}"), drop);
        Saver { jobs, error }
    }

    /// Why the latest attempt to write failed.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes in the background; errors are logged.
    pub(crate) fn save(&self, saved: Saved) {
        let _ = self.jobs.send(Job { saved, done: None });
    }

    /// Returns once it is on disk.
    pub(crate) fn save_and_wait(&self, saved: Saved) -> Result<(), String> {
        self.begin(saved).wait(PATIENCE)
    }

    /// Writes; what comes of it is waited for elsewhere.
    pub(crate) fn begin(&self, saved: Saved) -> Saving {
        let (done, result) = channel();
        // Without the thread the channel is closed, and that is what the wait says.
        let _ = self.jobs.send(Job { saved, done: Some(done) });
        Saving(result)
    }
}

/// What is on its way to the disk.
pub(crate) struct Saving(Receiver<Result<(), String>>);

impl Saving {
    /// Blocks until it is there, or for that long.
    pub(crate) fn wait(self, patience: Duration) -> Result<(), String> {
        self.0.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("the disk did not answer within {} s", patience.as_secs_f32().ceil()),
            RecvTimeoutError::Disconnected => "the writing thread is gone".to_owned(),
        })?
    }
}

fn run(memory: &Memory, inbox: &Receiver<Job>, latest: &Mutex<Option<String>>) {
    let mut failing = false;
    while let Ok(first) = inbox.recv() {
        // Only the newest of what has queued up is written; it holds all that the others held.
        let mut waiting: Vec<Sender<Result<(), String>>> = Vec::new();
        let mut newest = first;
        waiting.extend(newest.done.take());
        while let Ok(mut next) = inbox.try_recv() {
            waiting.extend(next.done.take());
            newest = next;
        }
        let result = memory.save(&newest.saved).map_err(|error| error.to_string());
        if let Err(error) = &result
            && !failing
        {
            tracing::error!("state could not be written: {error}; the last good file stays");
        }
        if failing && result.is_ok() {
            tracing::info!("state is written again");
        }
        failing = result.is_err();
        latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&result.clone().err());
        for done in waiting {
            let _ = done.send(result.clone());
        }
    }
}
