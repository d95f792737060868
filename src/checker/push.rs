//! The `push` check: the backend says itself, through the control listener, that it lives. Silence longer than `ttl` fails.
//!
//! A target that has just come (a start, a new check) has a whole `ttl` to be heard: until then there is no result.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Report;
use super::watch::Ended;
use crate::engine::feedback::{Health, Said};
use crate::engine::probe::PushProbe;

pub(super) struct PushTarget {
    ttl: Duration,
    heard: Mutex<Heard>,
}

struct Heard {
    /// The latest heartbeat, or when listening began.
    at: Instant,
    /// What it said, until a probe has taken it in.
    new: Option<Said>,
}

impl PushTarget {
    pub(super) fn new(push: &PushProbe) -> PushTarget {
        PushTarget { ttl: push.ttl, heard: Mutex::new(Heard { at: Instant::now(), new: None }) }
    }

    /// A heartbeat came.
    pub(super) fn push(&self, said: Said) {
        *self.lock() = Heard { at: Instant::now(), new: Some(said) };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes in the heartbeat since the last look; each counts once.
pub(super) fn probe(target: &PushTarget) -> Report {
    let mut heard = target.lock();
    if let Some(said) = heard.new.take() {
        let down = matches!(said.health, Some(Health::Down | Health::Failed | Health::Stopped));
        let words = said.to_string();
        let mut reason = if words.is_empty() { "heartbeat".to_owned() } else { format!("heartbeat says {words:?}") };
        if !said.note.is_empty() {
            reason.push_str(&format!(": {}", said.note));
        }
        return Report::Heard { passed: !down, reason, said };
    }
    if heard.at.elapsed() >= target.ttl {
        return Report::Failed(format!("no heartbeat for {}", humantime::format_duration(target.ttl)));
    }
    Report::Unknown
}

/// Ends when the silence has lasted for `ttl`; never if it has already, since then the next news is a heartbeat.
pub(super) async fn silent(target: Arc<PushTarget>) -> Ended {
    let mut until = target.lock().at + target.ttl;
    if until <= Instant::now() {
        std::future::pending::<()>().await;
    }
    while until > Instant::now() {
        tokio::time::sleep_until(until).await;
        until = target.lock().at + target.ttl;
    }
    Ended::Broken
}
