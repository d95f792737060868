//! Schedules: what the clock on the wall says now. Knows the time as an argument alone.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::plan::{Plan, RouteKind, Window};

/// For each schedule the order in which its choices are tried now: windows that hold the moment as they are listed, then the
/// default; of a fenced one only the first. Empty for routes that ask no clock.
pub(crate) fn moments(plan: &Plan, now: SystemTime) -> Vec<Vec<usize>> {
    let now = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    plan.routes
        .iter()
        .map(|route| match &route.kind {
            RouteKind::Schedule { timezone, windows, fence, .. } => {
                let open = (0..windows.len()).filter(|&at| holds(&windows[at].0, timezone, now));
                open.chain([windows.len()]).take(if *fence { 1 } else { usize::MAX }).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// Whether the clock of that place stands within the window. It is read as people read it: an hour that is left out in
/// spring is in no window, one that comes twice in autumn is twice in its window.
fn holds(window: &Window, timezone: &TimeZone, now: Timestamp) -> bool {
    let clock = timezone.to_datetime(now);
    let minute = u16::from(clock.hour() as u8) * 60 + u16::from(clock.minute() as u8);
    let today = clock.date().weekday().to_monday_zero_offset() as usize;
    let yesterday = (today + 6) % 7;
    if window.from < window.until {
        return window.days[today] && (window.from..window.until).contains(&minute);
    }
    // Over midnight: the evening of a day, and the morning that follows it.
    (window.days[today] && minute >= window.from) || (window.days[yesterday] && minute < window.until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_follows_the_clock_of_its_place() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let office = Window { days: [true, true, true, true, true, false, false], from: 8 * 60, until: 18 * 60 };
        for (time, expected) in [
            // Winter: one hour ahead. 2026-01-05 is a Monday.
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59Z", true),
            ("2026-01-05T17:00:00Z", false),
            // Summer: two.
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T05:59:59Z", false),
            // A Saturday.
            ("2026-01-10T10:00:00Z", false),
        ] {
            assert_eq!(holds(&office, &berlin, at(time)), expected, "{time}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let friday = Window { days: [false, false, false, false, true, false, false], from: 22 * 60, until: 6 * 60 };
        let utc = TimeZone::UTC;
        for (time, expected) in [
            ("2026-01-09T21:59:00Z", false),
            ("2026-01-09T22:00:00Z", true),
            ("2026-01-10T05:59:00Z", true),
            ("2026-01-10T06:00:00Z", false),
            ("2026-01-09T03:00:00Z", false),
        ] {
            assert_eq!(holds(&friday, &utc, at(time)), expected, "{time}");
        }
    }

    #[test]
    fn an_hour_left_out_is_in_no_window_and_one_that_comes_twice_is_twice_in_it() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let night = Window { days: [true; 7], from: 2 * 60, until: 3 * 60 };
        // 2026-03-29: from 02:00 the clock goes to 03:00. 2026-10-25: 02:00 to 03:00 comes twice.
        assert!((0..120).all(|minute| {
            let time = at("2026-03-29T00:00:00Z") + jiff::SignedDuration::from_mins(minute);
            !holds(&night, &berlin, time)
        }));
        let held = (0..180).filter(|&minute| {
            holds(&night, &berlin, at("2026-10-24T23:30:00Z") + jiff::SignedDuration::from_mins(minute))
        });
        assert_eq!(held.count(), 120);
    }
}
