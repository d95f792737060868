//! What a backend says of itself: HAProxy's agent-check words, read and kept. Pure.
//!
//! Words come from an `agent` line, the response header `Rollcall`, a line of a state file or a heartbeat. As HAProxy has it
//! (its configuration manual, `agent-check`), what a line does not say stays as the backend said it before.

use std::fmt;

/// Largest number of a load: beyond this it is a slip, and sums stay exact.
const LARGEST_LOAD: u64 = 1 << 40;
/// Longest description that is kept, characters.
const LONGEST_NOTE: usize = 200;

/// One saying.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// `up`, or one of `down`, `fail`, `failed` and `stopped`: the word itself.
    pub health: Option<Health>,
    /// `ready`, `drain` or `maint`.
    pub mode: Option<Mode>,
    /// `75%`: of the configured weight, 0 to 100; what is larger counts as 100.
    pub percent: Option<u8>,
    /// `load=30/100`
    pub load: Option<Load>,
    /// What follows `#`: why.
    pub note: String,
    /// Takes the place of all that was said before, instead of adding to it: an HTTP response says everything each time.
    pub whole: bool,
}

/// Whether the backend takes itself for up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// `up`
    Up,
    /// `down`
    Down,
    /// `fail` or `failed`
    Failed,
    /// `stopped`
    Stopped,
}

/// Whether the backend wants to be answered. The last two are not failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// As its verdict says.
    #[default]
    Ready,
    /// No longer answered.
    Drain,
    /// Likewise: it is being worked on.
    Maintenance,
}

/// How much of its capacity a backend uses, in a unit that is its pool's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// May be above `capacity`.
    pub used: u64,
    /// Above zero.
    pub capacity: u64,
}

impl Said {
    /// Reads one line. Words stand apart by blanks or commas, in any order and any case; unknown ones (`maxconn:100` among them)
    /// are passed over. `None` when there is no known word at all.
    pub fn read(line: &str) -> Option<Said> {
        let (words, note) = line.split_once('#').unwrap_or((line, ""));
        let mut said = Said { note: note.trim().chars().take(LONGEST_NOTE).collect(), ..Said::default() };
        let mut known = false;
        for word in words.split(|char: char| char == ',' || char.is_ascii_whitespace() || char == '\0') {
            known |= said.take(&word.to_ascii_lowercase());
        }
        known.then_some(said)
    }

    /// Everything at its beginning: ready, at full weight, no load known. What an HTTP response without the header says.
    pub fn nothing_special() -> Said {
        Said { whole: true, ..Said::default() }
    }

    /// Whether nothing is said that changes an answer.
    pub fn is_plain(&self) -> bool {
        self.mode() == Mode::Ready && self.percent.is_none_or(|percent| percent == 100) && self.load.is_none()
    }

    /// Adds what is said now to what was said before. Whether anything but the health changed.
    pub fn add(&mut self, now: &Said) -> bool {
        let before = (self.mode(), self.percent, self.load);
        if now.whole {
            *self = Said::default();
        }
        self.health = now.health.or(self.health);
        self.mode = now.mode.or(self.mode);
        self.percent = now.percent.or(self.percent);
        self.load = now.load.or(self.load);
        self.note.clone_from(&now.note);
        before != (self.mode(), self.percent, self.load)
    }

    /// `Ready` unless said otherwise.
    pub fn mode(&self) -> Mode {
        self.mode.unwrap_or_default()
    }

    fn take(&mut self, word: &str) -> bool {
        match word {
            "up" => self.health = Some(Health::Up),
            "down" => self.health = Some(Health::Down),
            "fail" | "failed" => self.health = Some(Health::Failed),
            "stopped" => self.health = Some(Health::Stopped),
            "ready" => self.mode = Some(Mode::Ready),
            "drain" => self.mode = Some(Mode::Drain),
            "maint" => self.mode = Some(Mode::Maintenance),
            _ => {
                if let Some(percent) = word.strip_suffix('%').and_then(number) {
                    self.percent = Some(percent.min(100) as u8);
                } else if let Some(load) = word.strip_prefix("load=").and_then(load) {
                    self.load = Some(load);
                } else {
                    return false;
                }
            }
        }
        true
    }
}

impl fmt::Display for Said {
    /// The words that hold, as [`Said::read`] takes them; empty when nothing special does.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.health {
            Some(Health::Down) => words.push("down".to_owned()),
            Some(Health::Failed) => words.push("fail".to_owned()),
            Some(Health::Stopped) => words.push("stopped".to_owned()),
            Some(Health::Up) | None => {}
        }
        match self.mode() {
            Mode::Ready => {}
            Mode::Drain => words.push("drain".to_owned()),
            Mode::Maintenance => words.push("maint".to_owned()),
        }
        if let Some(percent) = self.percent.filter(|&percent| percent < 100) {
            words.push(format!("{percent}%"));
        }
        if let Some(Load { used, capacity }) = self.load {
            words.push(format!("load={used}/{capacity}"));
        }
        out.write_str(&words.join(" "))
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 15 && text.bytes().all(|octet| octet.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// `30/100`, or with decimals as load averages have them: `1.25/8`. Kept in thousandths then.
fn load(text: &str) -> Option<Load> {
    let (used, capacity) = text.split_once('/')?;
    let (used, capacity) = match (number(used), number(capacity)) {
        (Some(used), Some(capacity)) => (used, capacity),
        _ => (thousandths(used)?, thousandths(capacity)?),
    };
    (capacity > 0 && capacity <= LARGEST_LOAD).then_some(Load { used: used.min(LARGEST_LOAD), capacity })
}

fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part = part.get(..part.len().min(3))?;
    let scale = [0, 100, 10, 1][part.len()];
    Some(number(whole)?.checked_mul(1000)? + number(part)? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (Option<Health>, Option<Mode>, Option<u8>) {
        let said = Said::read(line).unwrap_or_else(|| panic!("{line}"));
        (said.health, said.mode, said.percent)
    }

    #[test]
    fn lines_as_agents_of_haproxy_write_them() {
        use Health::{Down, Failed, Stopped, Up};
        use Mode::{Drain, Maintenance, Ready};
        for (line, expected) in [
            ("up\n", (Some(Up), None, None)),
            ("UP", (Some(Up), None, None)),
            ("up 75%\r\n", (Some(Up), None, Some(75))),
            ("drain,50%\n", (None, Some(Drain), Some(50))),
            ("75%\n", (None, None, Some(75))),
            ("ready up 100% maxconn:1000\n", (Some(Up), Some(Ready), Some(100))),
            ("Maint\t,\t0%", (None, Some(Maintenance), Some(0))),
            ("down#disk full, again\n", (Some(Down), None, None)),
            ("fail # 75%", (Some(Failed), None, None)),
            ("stopped", (Some(Stopped), None, None)),
            ("256% up", (Some(Up), None, Some(100))),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        assert_eq!(Said::read("down#disk full, again\n").unwrap().note, "disk full, again");
        for line in ["", "\n", "hello", "%", "-1%", "7.5%", "maxconn:10", "load=1/0", "load=/8", "load=3", "# up"] {
            assert_eq!(Said::read(line), None, "{line}");
        }
    }

    #[test]
    fn loads_are_whole_or_decimal() {
        let load = |line: &str| Said::read(line).unwrap().load.unwrap();
        assert_eq!(load("load=30/100"), Load { used: 30, capacity: 100 });
        assert_eq!(load("up,LOAD=1.25/8"), Load { used: 1250, capacity: 8000 });
        assert_eq!(load("load=0.5/2.0004"), Load { used: 500, capacity: 2000 });
        // Whatever a backend claims, products of two loads fit 128 bits and nothing overflows before.
        assert_eq!(load("load=999999999999999/1").used, LARGEST_LOAD);
        assert_eq!(load("load=999999999999999.999/1.5").used, LARGEST_LOAD);
        assert_eq!(Said::read("load=1/999999999999999"), None);
        // Cut inside a letter: nothing that a push or an agent sends may panic.
        assert_eq!(Said::read("load=1.\u{e9}\u{e9}/2"), None);
    }

    #[test]
    fn what_is_not_said_stays_and_a_whole_saying_replaces_all() {
        let mut said = Said::default();
        assert!(said.add(&Said::read("drain 50%").unwrap()));
        assert!(!said.add(&Said::read("up").unwrap()));
        assert_eq!(said.to_string(), "drain 50%");
        assert!(said.add(&Said::read("ready").unwrap()));
        assert_eq!(said.to_string(), "50%");
        assert!(said.add(&Said::nothing_special()));
        assert!(said.is_plain() && said.to_string().is_empty());
        assert_eq!(Said::read("drain 50% load=3/8").unwrap().to_string(), "drain 50% load=3/8");
    }
}
