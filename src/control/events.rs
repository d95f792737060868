//! What happens in a server, as values: what the journal keeps, `rollcall history` shows and hooks send out.
//!
//! The JSON is stable for scripts: fields and kinds are added, never renamed. Times are RFC 3339 in UTC with milliseconds.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::time_text;
use super::view::ReloadStatus;
use super::world::Transition;
use crate::config::plan::{AdminState, EventKind};

/// Most messages of a load that an event carries; a broken file of a million lines has more.
const MOST_MESSAGES: usize = 20;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When.
    pub at: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened; its kind stands in the field `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Happened)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The server answers.
    Start {
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
        /// It replaced another one without a gap.
        took_over: bool,
    },
    /// The server was told to stop.
    Stop {
        /// Its version.
        version: String,
        /// Its process.
        pid: u32,
    },
    /// Configuration was loaded, or refused.
    Load {
        /// Whether it was taken.
        ok: bool,
        /// `start`, `edit`, `SIGHUP`, `command`, `command, forced`.
        cause: String,
        /// Of the snapshot that answers now.
        generation: u64,
        /// Zones served now.
        zones: usize,
        /// Pools there are now.
        pools: usize,
        /// Names whose answers it moved, or would have moved.
        moved: usize,
        /// Why it was refused; else warnings.
        messages: Vec<String>,
    },
    /// A verdict changed, or what a backend says of itself.
    Transition {
        /// `zone/pool/backend`
        id: String,
        /// The address, where it is about one.
        address: Option<String>,
        /// `up`, `down`, `unknown`, …
        from: String,
        /// As above.
        to: String,
        /// Why.
        reason: String,
        /// From the first contrary result to the verdict.
        took_ms: Option<u64>,
    },
    /// A pool begins or ceases to answer otherwise than from its healthy backends.
    Pool {
        /// `zone/pool`
        id: String,
        /// `A` or `AAAA`.
        #[serde(rename = "type")]
        rtype: String,
        /// `healthy`, `degraded`, `frozen`, `diverted`, `panic`, `closed`; `new` at the start and after its file was edited in.
        from: String,
        /// As above.
        to: String,
        /// In words.
        why: String,
    },
    /// Somebody overrode a backend, or took an override back (`auto`).
    Override {
        /// `zone/pool/backend`
        id: String,
        /// What it is now.
        state: AdminState,
        /// When it ends by itself.
        until: Option<String>,
        /// Why.
        reason: Option<String>,
        /// Who.
        by: Option<String>,
    },
    /// An override ended by itself.
    OverrideEnded {
        /// `zone/pool/backend`
        id: String,
    },
    /// The checker doubts itself: no backend goes down.
    Frozen {
        /// Why.
        reason: String,
        /// When failures are believed at the latest.
        until: String,
    },
    /// The checker believes what it sees again.
    Unfrozen {
        /// Since when it doubted.
        since: String,
    },
    /// Records that the journal has not: there was no room for them.
    Lost {
        /// How many.
        count: u64,
    },
    /// Of a kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Event {
    pub(crate) fn new(at: SystemTime, what: What) -> Event {
        Event { at: time_text(at), what }
    }

    pub(crate) fn transition(one: &Transition) -> Event {
        let what = What::Transition {
            id: one.id.to_string(),
            address: one.address.map(|address| address.to_string()),
            from: one.from.to_string(),
            to: one.to.to_string(),
            reason: one.reason.to_string(),
            took_ms: one.took.map(|took| took.as_millis() as u64),
        };
        Event::new(one.at, what)
    }

    /// As `on` of a hook names it; `None` for what hooks are not told.
    pub fn kind(&self) -> Option<EventKind> {
        Some(match self.what {
            What::Start { .. } | What::Stop { .. } => EventKind::Server,
            What::Load { ok: true, .. } => EventKind::Reload,
            What::Load { ok: false, .. } => EventKind::ReloadFailed,
            What::Transition { .. } => EventKind::Transition,
            What::Pool { .. } => EventKind::Pool,
            What::Override { .. } | What::OverrideEnded { .. } => EventKind::Override,
            What::Frozen { .. } | What::Unfrozen { .. } => EventKind::Frozen,
            What::Lost { .. } | What::Unknown => return None,
        })
    }

    /// The backend or pool that it is about.
    pub fn id(&self) -> Option<&str> {
        match &self.what {
            What::Transition { id, .. }
            | What::Pool { id, .. }
            | What::Override { id, .. }
            | What::OverrideEnded { id } => Some(id),
            _ => None,
        }
    }
}

/// A load, as the server stands after it.
pub(crate) fn load(status: &ReloadStatus, generation: u64, zones: usize, pools: usize) -> What {
    let mut messages: Vec<String> = status.messages.iter().take(MOST_MESSAGES).cloned().collect();
    if let Some(more) = status.messages.len().checked_sub(MOST_MESSAGES + 1) {
        messages.push(format!("and {} more", more + 1));
    }
    let moved = status.moves.as_ref().map_or(0, |moves| moves.moved.len() + moves.further);
    What::Load { ok: status.ok, cause: status.cause.clone(), generation, zones, pools, moved, messages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_reads_as_one_flat_object() {
        let event = Event {
            at: "2026-11-21T02:48:00.123Z".to_owned(),
            what: What::OverrideEnded { id: "lb.example.com/web/a".to_owned() },
        };
        let text = serde_json::to_string(&event).unwrap();
        let expected = r#"{"at":"2026-11-21T02:48:00.123Z","event":"override-ended","id":"lb.example.com/web/a"}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn what_a_newer_version_adds_is_read_as_far_as_it_is_known() {
        let text = r#"{"at":"2026-11-21T02:48:00.123Z","event":"eclipse","id":"x"}"#;
        assert_eq!(serde_json::from_str::<Event>(text).unwrap().what, What::Unknown);
        let text = r#"{"at":"2026-11-21T02:48:00.123Z","event":"override-ended","id":"x","mood":"calm"}"#;
        assert_eq!(serde_json::from_str::<Event>(text).unwrap().what, What::OverrideEnded { id: "x".to_owned() });
    }
}
