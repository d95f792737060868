//! Health arithmetic: results in, now and then a transition out. Knows no clock and no socket; control acts on what this
//! returns.

use std::time::Duration;

use super::probe::{Cadence, Timing};

/// Whether a target is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It passes.
    Up,
    /// It fails.
    Down,
}

impl Verdict {
    /// `up` or `down`.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Up => "up",
            Verdict::Down => "down",
        }
    }

    fn of(passed: bool) -> Verdict {
        if passed { Verdict::Up } else { Verdict::Down }
    }
}

/// The counters of one probe (HAProxy's and keepalived's rise and fall).
///
/// The first result of all decides alone; after that `rise` successes or `fall` failures in a row are needed. With `forgive`
/// failures need not be in a row: they add up until so many successes in a row (gdnsd's ok_thresh, its `mon.c`).
#[derive(Clone, Debug)]
pub struct Tracker {
    rise: u32,
    fall: u32,
    forgive: u32,
    interval: Duration,
    fast_interval: Option<Duration>,
    verdict: Option<Verdict>,
    /// Results that contradict the verdict: in a row, or failures not yet forgiven.
    contrary: u32,
    /// Successes in a row since the last failure that counts.
    good: u32,
    /// The next result decides alone: there was none yet, or the check was changed.
    decides_alone: bool,
}

/// What one result did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Old and new verdict, when it changed.
    pub transition: Option<(Option<Verdict>, Verdict)>,
    /// How often the target is to be probed from now on.
    pub cadence: Cadence,
    /// Whether the number of contrary results changed, and with it the time to the next possible change.
    pub counters_moved: bool,
}

impl Tracker {
    /// Counters without a result yet.
    pub fn new(timing: &Timing) -> Tracker {
        Tracker {
            rise: timing.rise.max(1),
            fall: timing.fall.max(1),
            forgive: timing.forgive.0,
            interval: timing.interval,
            fast_interval: timing.fast_interval,
            verdict: None,
            contrary: 0,
            good: 0,
            decides_alone: true,
        }
    }

    /// Counters of a changed check: the old verdict holds until the first result, which decides alone.
    pub fn holding(timing: &Timing, verdict: Verdict) -> Tracker {
        Tracker { verdict: Some(verdict), ..Tracker::new(timing) }
    }

    /// Counters that go on from a verdict kept over a restart: `rise` and `fall` count at once.
    pub fn restored(timing: &Timing, verdict: Verdict) -> Tracker {
        Tracker { verdict: Some(verdict), decides_alone: false, ..Tracker::new(timing) }
    }

    /// Counters that go on from another server's: its verdict, and the results in a row that contradict it.
    pub fn resumed(timing: &Timing, verdict: Verdict, contrary: u32) -> Tracker {
        let mut tracker = Tracker::restored(timing, verdict);
        // As many as needed would have changed the verdict.
        tracker.contrary = contrary.min(tracker.needed() - 1);
        tracker
    }

    /// Takes one result in.
    pub fn observe(&mut self, passed: bool) -> Observed {
        let seen = Verdict::of(passed);
        let before = self.contrary;
        let mut transition = None;
        if self.verdict == Some(seen) {
            self.good = self.good.saturating_add(1);
            // Only failures of an up target are remembered: a down one comes up by successes in a row.
            if seen == Verdict::Down || self.good >= self.forgive {
                self.contrary = 0;
            }
        } else {
            self.good = 0;
            self.contrary += 1;
            if self.decides_alone || self.contrary >= self.needed() {
                transition = Some((self.verdict, seen));
                self.verdict = Some(seen);
                self.contrary = 0;
            }
        }
        self.decides_alone = false;
        Observed {
            transition,
            cadence: self.cadence(),
            counters_moved: transition.is_some() || before != self.contrary,
        }
    }

    /// The verdict, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict
    }

    /// Results that contradict the verdict: in a row, or with `forgive` failures not yet forgiven.
    pub fn contrary(&self) -> u32 {
        self.contrary
    }

    /// How many contrary results in a row change the verdict.
    pub fn needed(&self) -> u32 {
        match (self.decides_alone, self.verdict) {
            (true, _) | (_, None) => 1,
            (_, Some(Verdict::Up)) => self.fall,
            (_, Some(Verdict::Down)) => self.rise,
        }
    }

    /// How often the target wants to be probed.
    pub fn cadence(&self) -> Cadence {
        if self.contrary > 0 && self.fast_interval.is_some() { Cadence::Fast } else { Cadence::Normal }
    }

    /// The least time until the verdict can change: results still missing × the interval in force (gdnsd's TTL rule).
    pub fn time_to_change(&self) -> Duration {
        let interval = match self.cadence() {
            Cadence::Fast => self.fast_interval.unwrap_or(self.interval),
            Cadence::Normal => self.interval,
        };
        interval.saturating_mul(self.needed().saturating_sub(self.contrary))
    }
}

/// What an `of` check says: whether `need` of `members` pass, as soon as those that are not known yet cannot change it.
/// Route 53's calculated checks: more than there are never pass, 0 always do.
pub fn calculated(need: u32, members: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let (mut passing, mut unknown) = (0, 0);
    for member in members {
        match member {
            Some(true) => passing += 1,
            Some(false) => {}
            None => unknown += 1,
        }
    }
    if passing >= need {
        Some(true)
    } else if passing + unknown < need {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::probe::Later;

    fn timing(rise: u32, fall: u32) -> Timing {
        Timing {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            fast_interval: Some(Duration::from_secs(1)),
            jitter_permille: 100,
            rise,
            fall,
            forgive: Later(0),
        }
    }

    fn verdicts(tracker: &mut Tracker, results: &str) -> String {
        results
            .chars()
            .map(|result| match tracker.observe(result == '1').transition {
                Some((_, Verdict::Up)) => 'U',
                Some((_, Verdict::Down)) => 'D',
                None => '.',
            })
            .collect()
    }

    #[test]
    fn first_result_decides_alone_then_rise_and_fall_count() {
        let mut tracker = Tracker::new(&timing(2, 3));
        assert_eq!(verdicts(&mut tracker, "1001000"), "U.....D");
        assert_eq!(verdicts(&mut tracker, "1011"), "...U");
        assert_eq!(verdicts(&mut Tracker::new(&timing(2, 3)), "011"), "D.U");
    }

    #[test]
    fn a_changed_check_holds_the_old_verdict_until_its_first_result() {
        let mut tracker = Tracker::holding(&timing(2, 3), Verdict::Up);
        assert_eq!(tracker.verdict(), Some(Verdict::Up));
        assert_eq!(verdicts(&mut tracker, "0"), "D");
        let mut tracker = Tracker::holding(&timing(2, 3), Verdict::Up);
        assert_eq!(verdicts(&mut tracker, "1000"), "...D");
    }

    #[test]
    fn a_restored_verdict_needs_fall_failures() {
        assert_eq!(verdicts(&mut Tracker::restored(&timing(2, 3), Verdict::Up), "000"), "..D");
    }

    #[test]
    fn a_contrary_result_asks_for_the_fast_interval_and_shortens_the_time_to_change() {
        let mut tracker = Tracker::new(&timing(2, 3));
        assert_eq!(tracker.observe(true).cadence, Cadence::Normal);
        assert_eq!(tracker.time_to_change(), Duration::from_secs(30));
        assert_eq!(tracker.observe(false).cadence, Cadence::Fast);
        assert_eq!(tracker.time_to_change(), Duration::from_secs(2));
        assert_eq!(tracker.observe(true).cadence, Cadence::Normal);
    }

    #[test]
    fn unforgiven_failures_add_up_and_successes_in_a_row_reset_them() {
        let forgiving = |forgive| Tracker::new(&Timing { forgive: Later(forgive), ..timing(2, 3) });
        assert_eq!(verdicts(&mut forgiving(3), "1010110"), "U.....D");
        assert_eq!(verdicts(&mut forgiving(3), "10101110110"), "U.........D".replace('D', "."));
        assert_eq!(verdicts(&mut forgiving(3), "101011101100"), "U..........D");
        // One success forgives, as without the key; and a down target is none the wiser.
        assert_eq!(verdicts(&mut forgiving(1), "10101010"), "U.......");
        assert_eq!(verdicts(&mut forgiving(9), "0101011"), "D.....U");
        // A target that came up again starts with a clean sheet.
        assert_eq!(verdicts(&mut forgiving(9), "10001100"), "U..D.U..");
    }

    #[test]
    fn calculated_decides_as_soon_as_the_unknown_cannot_matter() {
        let of = |need, members: &[Option<bool>]| calculated(need, members.iter().copied());
        let (up, down) = (Some(true), Some(false));
        assert_eq!(of(2, &[up, up, None]), up);
        assert_eq!(of(2, &[up, None, None]), None);
        assert_eq!(of(2, &[down, down, None]), down);
        assert_eq!(of(2, &[up, down, down]), down);
        assert_eq!(of(0, &[down, None]), up, "none needed: always healthy");
        assert_eq!(of(3, &[up, up]), down, "more than there are: always unhealthy");
        assert_eq!(of(3, &[None, None]), down);
    }
}
