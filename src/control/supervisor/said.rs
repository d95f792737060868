//! What is logged of transitions: each once, a flood of them counted.

use std::time::{Duration, Instant};

use super::{LOGGED, Supervisor};

impl Supervisor {
    /// Once, on the edge, both states.
    pub(super) fn log_transitions(&mut self) {
        self.say_further_transitions();
        let alone = self.unlogged.len().min(LOGGED.saturating_sub(self.logged));
        self.logged += alone;
        self.unsaid += self.unlogged.len() - alone;
        let unlogged = std::mem::take(&mut self.unlogged);
        unlogged.iter().for_each(|one| self.tell_transition(one));
        for one in unlogged.iter().take(alone) {
            let address = one.address.map(|address| address.to_string()).unwrap_or_default();
            let took = one.took.map(|took| format!(" after {} ms", took.as_millis())).unwrap_or_default();
            if one.to == "down" {
                tracing::warn!("{} {address} {} -> {}: {}{took}", one.id, one.from, one.to, one.reason);
            } else {
                tracing::info!("{} {address} {} -> {}: {}{took}", one.id, one.from, one.to, one.reason);
            }
        }
    }

    /// What happened beside verdicts: once each.
    pub(super) fn say_news(&mut self) {
        let all = self.world.take_news();
        if !all.is_empty() {
            self.tell_doubt();
        }
        for news in all {
            self.unsaved = true;
            if news.grave {
                tracing::warn!("{}", news.text);
            } else {
                tracing::info!("{}", news.text);
            }
            // News is news for those who watch, even when no answer changed.
            self.generations.send_modify(|_| {});
        }
    }

    /// Once a second, what was too much to be logged one by one.
    pub(super) fn say_further_transitions(&mut self) {
        if self.logged_since.elapsed() < Duration::from_secs(1) {
            return;
        }
        if self.unsaid > 0 {
            tracing::warn!("{} further transitions; `rollcall status` shows what holds now", self.unsaid);
        }
        (self.logged, self.unsaid, self.logged_since) = (0, 0, Instant::now());
    }
}
