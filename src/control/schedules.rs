//! Schedules: what the clock on the wall says now. Knows the time as an argument alone.

use std::time::SystemTime;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

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

/// When a schedule's order changes next, and otherwise until when it surely does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The order is another one from then on.
    At(SystemTime),
    /// Not before.
    NotBefore(SystemTime),
}

impl Turn {
    /// When the clock has to be asked again.
    pub(crate) fn until(self) -> SystemTime {
        match self {
            Turn::At(moment) | Turn::NotBefore(moment) => moment,
        }
    }
}

/// So far ahead a change is looked for: more than a day, in which each window begins and ends once.
const AHEAD: SignedDuration = SignedDuration::from_hours(25);

/// The next change of that route's order; `None` for one that asks no clock.
pub(crate) fn next_turn(kind: &RouteKind, now: SystemTime) -> Option<Turn> {
    let RouteKind::Schedule { timezone, windows, .. } = kind else { return None };
    let moment = Timestamp::try_from(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let end = moment.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    // The borders of windows on the days around, and where the clock itself jumps.
    let today = timezone.to_datetime(moment).date();
    let days: Vec<Date> =
        [today.yesterday(), Ok(today), today.tomorrow(), today.tomorrow().and_then(|day| day.tomorrow())]
            .into_iter()
            .flatten()
            .collect();
    let mut minutes: Vec<u16> = windows.iter().flat_map(|(window, _)| [window.from, window.until]).collect();
    minutes.sort_unstable();
    minutes.dedup();
    let at = |day: &Date, minutes: u16| {
        let midnight = day.to_datetime(Time::midnight());
        let clock = midnight.checked_add(SignedDuration::from_mins(minutes.into())).ok()?;
        let ambiguous = timezone.to_ambiguous_timestamp(clock);
        Some([ambiguous.earlier().ok(), ambiguous.later().ok()].into_iter().flatten())
    };
    let borders = days.iter().flat_map(|day| minutes.iter().filter_map(move |&minutes| at(day, minutes)).flatten());
    let jumps = timezone.following(moment).map(|jump| jump.timestamp()).take_while(|&jump| jump <= end);
    let mut moments: Vec<Timestamp> = borders.chain(jumps).filter(|&one| one > moment && one <= end).collect();
    moments.sort_unstable();
    moments.dedup();
    let holding = |moment: Timestamp| -> Vec<bool> {
        windows.iter().map(|(window, _)| holds(window, timezone, moment)).collect()
    };
    let present = holding(moment);
    let found = moments.into_iter().find(|&one| holding(one) != present);
    Some(found.map_or(Turn::NotBefore(end.into()), |one| Turn::At(one.into())))
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
    use crate::config::plan::Target;

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

    /// Against the clock asked minute by minute, through both jumps of a year.
    #[test]
    fn the_next_turn_is_the_first_minute_with_another_order() {
        let weekdays = [true, true, true, true, true, false, false];
        let window = |days, from, until| (Window { days, from, until }, Target::Pool(0));
        for name in ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"] {
            let kind = RouteKind::Schedule {
                timezone: TimeZone::get(name).unwrap(),
                windows: vec![
                    window(weekdays, 8 * 60, 18 * 60),
                    window([true; 7], 22 * 60, 150),
                    window([true; 7], 135, 145),
                ],
                default: Target::Pool(0),
                fence: false,
            };
            let RouteKind::Schedule { timezone, windows, .. } = &kind else { unreachable!() };
            let holding = |moment: Timestamp| -> Vec<bool> {
                windows.iter().map(|(window, _)| holds(window, timezone, moment)).collect()
            };
            for start in [
                "2026-01-09T12:00:00Z",
                "2026-03-07T12:00:00Z",
                "2026-03-28T12:00:00Z",
                "2026-04-04T08:00:00Z",
                "2026-10-03T08:00:00Z",
                "2026-10-24T12:00:00Z",
                "2026-10-31T12:00:00Z",
            ] {
                for hours in 0..30 {
                    let moment = at(start) + SignedDuration::from_mins(hours * 61);
                    let first = (1..=25 * 60).map(|minute| moment + SignedDuration::from_mins(minute));
                    let first = first.into_iter().find(|&one| holding(one) != holding(moment));
                    let turn = next_turn(&kind, moment.into()).unwrap();
                    let expected = first.map_or(Turn::NotBefore((moment + AHEAD).into()), |one| Turn::At(one.into()));
                    assert_eq!(turn, expected, "{name} {moment}");
                }
            }
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
