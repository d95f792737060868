//! The schedule under a clock made of numbers.

use super::*;
use crate::engine::probe::Later;

const ID: ProbeId = ProbeId(1);

fn timing(interval_ms: u64, fast_ms: Option<u64>, jitter_permille: u16) -> Timing {
    Timing {
        interval: ms(interval_ms),
        timeout: ms(interval_ms / 2),
        fast_interval: fast_ms.map(ms),
        jitter_permille,
        rise: 2,
        fall: 3,
        forgive: Later(0),
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Runs the schedule for `until`, probes taking no time; returns the starts.
fn play(schedule: &mut Schedule, begin: Instant, until: Duration, chance: i32) -> Vec<(ProbeId, Duration, Turn)> {
    let mut starts = Vec::new();
    while let Some(due) = schedule.next_due().filter(|&due| due <= begin + until) {
        let (id, _) = schedule.pop_due(due).expect("announced");
        let start = schedule.start(id, due, chance).expect("ready");
        starts.push((id, due - begin, start.turn));
        schedule.finish(id, due, true);
    }
    starts
}

fn gaps(starts: &[(ProbeId, Duration, Turn)]) -> Vec<Duration> {
    starts.windows(2).map(|pair| pair[1].1 - pair[0].1).collect()
}

#[test]
fn first_probe_is_at_once_and_the_second_within_eleven_tenths_of_an_interval() {
    let now = Instant::now();
    for phase in (0..50).map(|n| n * 987_654_321_u64) {
        let mut schedule = Schedule::default();
        schedule.insert(ID, &timing(10_000, None, 0), now, phase);
        let starts = play(&mut schedule, now, ms(60_000), 0);
        assert_eq!(starts[0].1, Duration::ZERO);
        let gaps = gaps(&starts);
        assert!(gaps[0] >= ms(1_000) && gaps[0] <= ms(11_000), "{:?}", gaps[0]);
        assert!(gaps[1..].iter().all(|&gap| gap == ms(10_000)), "{gaps:?}");
    }
}

#[test]
fn targets_added_together_end_up_spread_over_the_interval() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    for n in 0..1000 {
        schedule.insert(ProbeId(n), &timing(10_000, None, 0), now, u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    let starts = play(&mut schedule, now, ms(40_000), 0);
    for second in 20..30 {
        let count = starts.iter().filter(|(_, at, _)| at.as_secs() == second).count();
        assert!((60..=140).contains(&count), "second {second}: {count}");
    }
}

#[test]
fn targets_of_one_interval_meet_on_thousandths_of_it_whatever_the_jitter() {
    let now = Instant::now();
    for chance in [0, 333, -777] {
        let mut schedule = Schedule::default();
        for n in 0..1000u32 {
            // First probes follow each other closely, as the driver has it.
            let first = now + Duration::from_micros(137) * n;
            schedule.insert(
                ProbeId(n),
                &timing(10_000, None, 100),
                first,
                u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            );
        }
        let starts = play(&mut schedule, now, ms(60_000), chance);
        let later: Vec<Duration> = starts.iter().map(|start| start.1).filter(|&at| at > ms(500)).collect();
        assert!(later.len() > 4_000, "{}", later.len());
        assert!(later.iter().all(|at| at.as_nanos().is_multiple_of(ms(10).as_nanos())), "chance {chance}");
    }
}

#[test]
fn jitter_spreads_each_turn_by_its_share_and_no_more() {
    let now = Instant::now();
    for (chance, gap) in [(1000, 11_000), (-1000, 9_000), (0, 10_000)] {
        let mut schedule = Schedule::default();
        schedule.insert(ID, &timing(10_000, None, 100), now, 0);
        let gaps = gaps(&play(&mut schedule, now, ms(90_000), chance));
        assert!(gaps[1..].iter().all(|&seen| seen == ms(gap)), "{gaps:?}");
    }
}

#[test]
fn lateness_does_not_add_up() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(1_000, None, 0), now, 0);
    play(&mut schedule, now, ms(3_500), 0);
    let due = schedule.next_due().expect("a turn");
    for n in 0..5 {
        let due = due + ms(1_000) * n;
        assert_eq!(schedule.next_due(), Some(due));
        let late = due + ms(70);
        schedule.pop_due(late).expect("due");
        assert_eq!(schedule.start(ID, late, 0).map(|start| start.late), Some(ms(70)));
        schedule.finish(ID, late + ms(5), true);
    }
}

#[test]
fn after_a_standstill_missed_turns_are_skipped_and_nothing_bursts() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    for n in 0..1000 {
        schedule.insert(ProbeId(n), &timing(10_000, None, 0), now, u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    play(&mut schedule, now, ms(30_000), 0);
    schedule.next_due();
    // Between two steps: whose turn is this very moment has it.
    let woken = now + ms(65_005);
    schedule.wake(woken);
    assert!(schedule.pop_due(woken).is_none(), "nothing is made up for");
    let starts = play(&mut schedule, now, ms(85_000), 0);
    let first_second = starts.iter().filter(|(_, at, _)| *at < ms(66_000)).count();
    assert!(first_second < 150, "{first_second} in the first second");
    let each = starts.iter().filter(|(id, _, _)| *id == ID).count();
    assert_eq!(each, 2, "every target goes on at its own interval");
}

#[test]
fn one_probe_in_flight_delays_the_next() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(1_000, None, 0), now, 0);
    schedule.pop_due(now).expect("due");
    schedule.start(ID, now, 0).expect("ready");
    schedule.ask(ID, now + ms(10));
    schedule.burst(ID, now + ms(20), 3);
    assert_eq!(schedule.next_due(), None);
    assert!(schedule.pop_due(now + ms(5_000)).is_none());
    schedule.finish(ID, now + ms(5_000), false);
    assert_eq!(schedule.next_due(), Some(now + ms(5_000)), "what was due meanwhile is due at once, once");
}

#[test]
fn fast_cadence_counts_from_the_last_start_and_normal_returns_to_the_grid() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(10_000, Some(100), 0), now, 0);
    let starts = play(&mut schedule, now, ms(25_000), 0);
    let last = now + starts.last().expect("started").1;
    schedule.cadence(ID, last + ms(30), Cadence::Fast);
    assert_eq!(schedule.next_due(), Some(last + ms(100)));
    let fast = play(&mut schedule, last, ms(350), 0);
    assert_eq!(gaps(&fast), [ms(100), ms(100)]);
    schedule.cadence(ID, last + ms(310), Cadence::Normal);
    assert_eq!(schedule.next_due(), Some(last + ms(10_000)), "its own phase, as if nothing had been");
}

#[test]
fn fast_cadence_without_a_fast_interval_changes_nothing() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(10_000, None, 0), now, 0);
    play(&mut schedule, now, ms(25_000), 0);
    let due = schedule.next_due();
    schedule.cadence(ID, now + ms(25_000), Cadence::Fast);
    assert_eq!(schedule.next_due(), due);
}

#[test]
fn a_burst_is_fall_probes_ten_milliseconds_apart_and_leaves_the_grid_alone() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(10_000, None, 0), now, 0);
    play(&mut schedule, now, ms(25_000), 0);
    let regular = schedule.next_due();
    let broke = now + ms(25_500);
    schedule.burst(ID, broke, 3);
    let starts = play(&mut schedule, broke, ms(1_000), 0);
    assert_eq!(starts.iter().map(|start| start.1).collect::<Vec<_>>(), [ms(0), ms(10), ms(20)]);
    assert!(starts.iter().all(|start| start.2 == Turn::Burst));
    assert_eq!(schedule.next_due(), regular);
}

#[test]
fn a_burst_that_sees_a_dying_backend_answer_once_goes_on_to_fall_failures() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(10_000, None, 0), now, 0);
    play(&mut schedule, now, ms(25_000), 0);
    schedule.burst(ID, now + ms(25_500), 3);
    let mut seen = Vec::new();
    while let Some(due) = schedule.next_due().filter(|&due| due < now + ms(26_000)) {
        schedule.pop_due(due).expect("due");
        schedule.start(ID, due, 0).expect("ready");
        seen.push(due);
        schedule.finish(ID, due, seen.len() == 1);
    }
    assert_eq!(seen.len(), 4, "one that passed and three that failed");
}

#[test]
fn a_removed_target_is_due_no_more() {
    let now = Instant::now();
    let mut schedule = Schedule::default();
    schedule.insert(ID, &timing(1_000, None, 0), now, 0);
    schedule.pop_due(now).expect("due");
    schedule.remove(ID);
    assert_eq!(schedule.start(ID, now, 0), None);
    schedule.finish(ID, now, true);
    assert_eq!(schedule.next_due(), None);
}
