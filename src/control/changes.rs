//! What changed lately, in its order and numbered: for event streams that resume, and for those who ask in pages. Bounded: the
//! oldest go first, and whoever comes too late is told so. What outlives the process is in [`super::journal`].

use std::collections::VecDeque;
use std::time::SystemTime;

use super::status::time_text;
use super::view::{Change, ChangesPage, What};

/// Changes kept: a few hundred octets each.
pub(crate) const KEPT_CHANGES: usize = 4096;

/// The latest changes of this process.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Tells the numbers of this process from those of the one before.
    epoch: u64,
    /// Of the next change; the first is 1.
    next: u64,
    ring: VecDeque<(SystemTime, What)>,
}

impl Changes {
    /// Of a process that started then.
    pub(crate) fn new(started: SystemTime) -> Changes {
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Changes { epoch: since.as_micros() as u64, next: 1, ring: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, at: SystemTime, what: What) {
        if self.ring.len() == KEPT_CHANGES {
            self.ring.pop_front();
        }
        self.ring.push_back((at, what));
        self.next += 1;
    }

    /// The number of the latest; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    /// What `since` is for whoever wants what comes from now on.
    pub(crate) fn now(&self) -> String {
        self.text(self.last())
    }

    /// Up to `limit` changes after `since` that are `wanted`, the oldest first. Without `since`, from the oldest kept.
    pub(crate) fn after(&self, since: Option<&str>, limit: usize, wanted: impl Fn(&What) -> bool) -> ChangesPage {
        let oldest = self.next - self.ring.len() as u64;
        let (first, missed) = match since.map(|since| self.number(since)) {
            None => (oldest, false),
            Some(Some(since)) if since + 1 >= oldest => (since + 1, false),
            // Of another process, or gone.
            Some(_) => (oldest, true),
        };
        let (mut items, mut last) = (Vec::new(), first - 1);
        for (number, (at, what)) in (oldest..).zip(&self.ring).skip((first - oldest) as usize) {
            if wanted(what) {
                if items.len() == limit {
                    return ChangesPage { items, next: self.text(last), more: true, missed };
                }
                items.push(Change { event: self.text(number), at: time_text(*at), what: what.clone() });
            }
            last = number;
        }
        ChangesPage { items, next: self.text(last), more: false, missed }
    }

    fn text(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// `None`: not a number that this process has given.
    fn number(&self, event: &str) -> Option<u64> {
        let (epoch, number) = event.split_once('-')?;
        let known = u64::from_str_radix(epoch, 16).ok()? == self.epoch;
        number.parse().ok().filter(|&number| known && number < self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::FrozenChange;

    fn frozen(reason: &str) -> What {
        What::Frozen(FrozenChange { frozen: true, rtype: "A".to_owned(), reason: reason.to_owned() })
    }

    fn reasons(journal: &ChangesPage) -> Vec<&str> {
        fn reason(change: &Change) -> &str {
            match &change.what {
                What::Frozen(frozen) => &frozen.reason,
                other => panic!("{other:?}"),
            }
        }
        journal.items.iter().map(reason).collect()
    }

    #[test]
    fn changes_are_read_on_from_where_one_was() {
        let mut changes = Changes::new(SystemTime::UNIX_EPOCH);
        let begin = changes.now();
        for reason in ["a", "b", "c", "d"] {
            changes.add(SystemTime::UNIX_EPOCH, frozen(reason));
        }
        let first = changes.after(Some(&begin), 2, |_| true);
        assert_eq!((reasons(&first), first.more, first.missed), (vec!["a", "b"], true, false));
        let second = changes.after(Some(&first.next), 2, |_| true);
        assert_eq!((reasons(&second), second.more), (vec!["c", "d"], false));
        let nothing = changes.after(Some(&second.next), 2, |_| true);
        assert_eq!((reasons(&nothing), nothing.more, &nothing.next), (vec![], false, &second.next));
        assert_eq!(reasons(&changes.after(None, 9, |_| true)), ["a", "b", "c", "d"]);
        // What is not wanted is passed over once.
        let none = changes.after(Some(&begin), 1, |_| false);
        assert_eq!((reasons(&none), &none.next), (vec![], &changes.now()));
    }

    #[test]
    fn who_comes_too_late_or_from_another_process_is_told() {
        let mut changes = Changes::new(SystemTime::UNIX_EPOCH);
        let begin = changes.now();
        for _ in 0..KEPT_CHANGES {
            changes.add(SystemTime::UNIX_EPOCH, frozen("x"));
        }
        assert!(!changes.after(Some(&begin), 1, |_| true).missed);
        changes.add(SystemTime::UNIX_EPOCH, frozen("x"));
        let late = changes.after(Some(&begin), KEPT_CHANGES + 1, |_| true);
        assert!(late.missed && late.items.len() == KEPT_CHANGES);
        for other in ["ffff-1", "0-99999", "", "0", "0-x"] {
            assert!(changes.after(Some(other), 1, |_| true).missed, "{other}");
        }
    }
}
