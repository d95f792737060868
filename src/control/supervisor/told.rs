//! What happened, told to the journal and to the hooks: once, by the server that decides.

use std::time::{Duration, SystemTime};

use super::super::events::{self, Event, What};
use super::super::handover::Live;
use super::super::overrides::Override;
use super::super::status::time_text;
use super::super::view::{MemoryStatus, PoolChange, ReloadStatus};
use super::super::world::{Freeze, Transition};
use super::Supervisor;

/// In which a pool does not answer as it should: entering and leaving them is told.
const TELLING: [&str; 3] = ["panic", "closed", "diverted"];
/// Longer than a server and its successor see the same: what the other one told before that is another failure.
const TOGETHER: Duration = Duration::from_secs(60);

/// What was told last, to see what is new.
#[derive(Default)]
pub(super) struct Told {
    frozen: Option<Freeze>,
    /// Seen while another server decides.
    held: Vec<Transition>,
}

impl Supervisor {
    /// Tells one thing.
    pub(super) fn tell(&self, what: What) {
        self.tell_event(Event::new(SystemTime::now(), what));
    }

    fn tell_event(&self, event: Event) {
        if self.handed_over {
            return;
        }
        self.hooks.offer(&event);
        if let Some(journal) = &self.journal {
            journal.record(event);
        }
    }

    /// A verdict from before a restart was told when it was reached. After the clock was set back, all look as old.
    pub(super) fn tell_transition(&mut self, one: &Transition) {
        if one.at < self.started_wall && self.started_wall <= SystemTime::now() {
            return;
        }
        if self.handed_over {
            self.told.held.push(one.clone());
        } else {
            self.tell_event(Event::transition(one));
        }
    }

    pub(super) fn tell_load(&self, status: &ReloadStatus) {
        let plan = self.world.plan();
        let generation = self.world.snapshot().generation;
        self.tell(events::load(status, generation, plan.zones.len(), plan.pools.len()));
    }

    pub(super) fn tell_override(&self, ids: &[String], entry: &Override) {
        for id in ids {
            self.tell(What::Override {
                id: id.clone(),
                state: entry.state,
                until: entry.until.map(time_text),
                reason: entry.reason.clone(),
                by: entry.by.clone(),
            });
        }
    }

    /// The server begins to decide. `predecessor`: where another one did until now, what that one knew last.
    pub(super) fn tell_start(&mut self, predecessor: Option<&Live>) {
        if let Some(journal) = &self.journal {
            journal.begin();
        }
        let what = What::Start {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            took_over: predecessor.is_some(),
        };
        self.tell(what);
        // What both saw, the other one has told.
        let told = |one: &Transition| {
            let same = |other: &super::super::handover::LiveTransition| {
                let lately = one.at.duration_since(other.at).unwrap_or_default() < TOGETHER;
                lately && *other.id == *one.id && other.address == one.address && other.to == one.to
            };
            predecessor.is_some_and(|live| live.transitions.iter().any(same))
        };
        for one in std::mem::take(&mut self.told.held) {
            if !told(&one) {
                self.tell_event(Event::transition(&one));
            }
        }
        self.tell_pools();
        self.tell_doubt();
    }

    pub(super) fn tell_stop(&self) {
        self.tell(What::Stop { version: crate::VERSION.to_owned(), pid: std::process::id() });
    }

    /// The successor did not come up: this server decides again.
    pub(super) fn tell_on(&mut self) {
        if let Some(journal) = &self.journal {
            journal.begin();
        }
        for one in std::mem::take(&mut self.told.held) {
            self.tell_event(Event::transition(&one));
        }
        self.tell_pools();
    }

    /// Pools that entered or left a state in which they do not answer as they should. While another server decides they are left
    /// where they are: should that one not come up, they are still to be told.
    pub(super) fn tell_pools(&mut self) {
        if self.handed_over {
            return;
        }
        for PoolChange { pool, rtype, from, to, why } in self.world.take_turned_pools() {
            if TELLING.contains(&from.as_str()) || TELLING.contains(&to.as_str()) {
                self.tell(What::Pool { id: pool, rtype, from, to, why });
            }
        }
    }

    /// Whether the checker began or ceased to doubt itself.
    pub(super) fn tell_doubt(&mut self) {
        if self.handed_over {
            return;
        }
        let now = self.world.freeze();
        match (&self.told.frozen, &now) {
            (None, Some(freeze)) => {
                self.tell(What::Frozen { reason: freeze.reason.clone(), until: time_text(freeze.until) });
            }
            (Some(freeze), None) => self.tell(What::Unfrozen { since: time_text(freeze.since) }),
            _ => {}
        }
        self.told.frozen = now;
    }

    /// Whether what is to survive a restart is written.
    pub(super) fn memory_status(&self) -> Option<MemoryStatus> {
        let (saver, journal) = (self.saver.as_ref()?, self.journal.as_ref()?.state());
        Some(MemoryStatus {
            state_error: saver.error(),
            journal_error: journal.error,
            journal_waiting: journal.waiting,
            journal_lost: journal.lost,
        })
    }
}
