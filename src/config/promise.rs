//! `max_failover`: how long after a backend's death the last cache may still hold it, promised and checked at load.
//!
//! The worst case is the sum of what can go wrong one after the other, each at its longest:
//!
//! ```text
//!  dies just after a probe        first failure ... fall-th failure    in force    the last cache forgets it
//!  |---- interval and jitter ----|-- (fall - 1) x step --|-- timeout --|- 0.1 s -|-------- TTL -----------|
//! ```
//!
//! where a step is the fast interval and its jitter, else the interval and its; at least the timeout, since one probe of a
//! target runs at a time. A backend with several checks is down when one of them fails, so the quickest counts of those that
//! ask the backend itself; those that ask another target see its death only if nothing else does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::compile::Assembly;
use super::plan::{AdminState, BackendPlan, OnAllDown, PoolPlan, ProbeUse, Target, TtlRule};
use super::reader::Table;
use super::source::{Place, Problem, Report};
use crate::engine::probe::{ProbeKind, ProbeSpec, Timing};

/// From a verdict to the last worker that answers by it: measured in milliseconds, promised with room.
pub(super) const PUBLISHING: Duration = Duration::from_millis(100);

/// `max_failover` as written.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub(super) time: Duration,
    place: Place,
    path: String,
}

/// What answers a promise: a pool, and the longest TTL that its addresses are given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) pool: usize,
    pub(super) ttl: u32,
}

/// The pools that a name may lead to: the pool itself, those of a route and the routes below it, and those that answer in
/// their place.
pub(super) fn pools_below(assembly: &Assembly, target: Target) -> BTreeSet<usize> {
    let mut pools = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut left = vec![target];
    while let Some(target) = left.pop() {
        match target {
            // The pool that answers in its place too: its backends die as others do.
            Target::Pool(pool) => {
                if pools.insert(pool)
                    && let OnAllDown::To(other) = assembly.pools[pool].on_all_down
                {
                    left.push(other);
                }
            }
            // Circles are refused afterwards: here they must end.
            Target::Route(route) if seen.insert(route) => left.extend(assembly.routes[route].choices()),
            Target::Route(_) => {}
        }
    }
    pools
}

/// Reads `max_failover` of a pool or a name.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Option<Promise> {
    let value = table.get("max_failover")?;
    let time = value.duration(report)?;
    Some(Promise { time, place: value.place, path: value.path.clone() })
}

/// The longest that a TTL can be.
pub(super) fn longest(ttl: TtlRule) -> u32 {
    match ttl {
        TtlRule::Fixed(ttl) => ttl,
        TtlRule::Adaptive { max, .. } => max,
    }
}

/// Refuses a promise that the checks and the TTL cannot keep: with the sum, and the smallest change that would do.
pub(super) fn hold(promise: &Promise, answer: Answer, assembly: &Assembly, report: &mut Report) {
    let pool = &assembly.pools[answer.pool];
    let mut refuse = |message: String, help: String| {
        report.add(Problem::error(promise.place, message).key(promise.path.as_str()).help(help));
    };
    let probes = &assembly.probes;
    let unseen = |place, uses| quickest(place, uses, probes, &|_, _| {}).is_none();
    if let Some((backend, _, uses)) = probed(pool).find(|&(_, place, uses)| unseen(place, uses)) {
        let why = match uses {
            [] => "has no check",
            _ => "has no check that asks it",
        };
        let message = format!(
            "{:?} cannot be kept: backend {:?} of pool {:?} {why}, its death is never seen",
            promise.path, backend.name, pool.name
        );
        refuse(message, "give the pool a check, or leave max_failover out".to_owned());
        return;
    }
    let Some(Sight { check, timing, keys }) = slowest(pool, probes, &|_, _| {}) else { return };
    let rest = PUBLISHING + Duration::from_secs(u64::from(answer.ttl));
    let worst = to_detect(&timing) + rest;
    if worst <= promise.time {
        return;
    }
    let message = format!(
        "{:?} of {} cannot be kept: {} + {} s (publishing) + {} s (ttl) = {} s",
        promise.path,
        humantime::format_duration(promise.time),
        sum(&timing),
        seconds(PUBLISHING),
        answer.ttl,
        seconds(worst)
    );
    let mut changes = changes(promise.time, answer, pool, probes, (&check, &timing, keys));
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let words: Vec<String> = changes.into_iter().map(|(_, words)| words).collect();
    let help = match words.as_slice() {
        [] => format!("no single change is enough: shorten ttl and the check {check:?} together"),
        [one] => format!("{one} would keep it"),
        [one, others @ ..] => format!("{one} would keep it, the smallest change; so would {}", others.join(" or ")),
    };
    refuse(message, help);
}

/// How a death is seen: the check that decides, and its timing.
struct Sight {
    check: String,
    timing: Timing,
    /// Whether that check has the keys of `timing`.
    keys: bool,
}

/// Another timing for a check of that name.
type Change<'c> = &'c dyn Fn(&str, &mut Timing);

/// How the death of a backend is seen by one of its checks; `None`: it may never be. `directly`: only who asks the backend at
/// `place` counts, else whoever asks at all.
fn sight(check: &str, spec: &ProbeSpec, place: Option<IpAddr>, directly: bool, change: Change<'_>) -> Option<Sight> {
    if spec.invert {
        return None;
    }
    let mut timing = spec.timing.clone();
    let keys = match &spec.kind {
        ProbeKind::Of(of) => {
            // Too few are left when so many have failed; those that are inverted pass when something dies.
            let failures = (of.members.len() + 1).checked_sub(of.need as usize)?.max(1);
            let counted = of.members.iter().filter(|member| !member.inverted && of.need > 0);
            let mut parts: Vec<Sight> =
                counted.filter_map(|member| sight(&member.check, &member.spec, place, directly, change)).collect();
            parts.sort_by_key(|part| to_detect(&part.timing));
            return parts.into_iter().nth(failures - 1);
        }
        // Whoever writes the file says when.
        ProbeKind::File(_) => return None,
        // The silence itself.
        ProbeKind::Push(push) => {
            (timing.interval, timing.jitter_permille, timing.timeout) = (push.ttl, 0, Duration::ZERO);
            false
        }
        ProbeKind::Exec(_) => true,
        _ if directly && place.is_some_and(|place| place != spec.target.ip()) => return None,
        _ => true,
    };
    change(check, &mut timing);
    Some(Sight { check: check.to_owned(), timing, keys })
}

/// From a death to the verdict, at the longest.
pub(super) fn to_detect(timing: &Timing) -> Duration {
    wait(timing) + step(timing) * (timing.fall.max(1) - 1) + timing.timeout
}

/// From a backend's death until its checks have seen it, at the longest: at each address the quickest, of its addresses the
/// slowest. `None` when some address has no check that would see it.
pub(crate) fn to_detect_by(backend: &BackendPlan, probes: &[Arc<ProbeSpec>]) -> Option<Duration> {
    let rtypes = [1, 28].into_iter().filter(|&rtype| backend.place(rtype).is_some());
    let each = rtypes.map(|rtype| {
        let sight = quickest(backend.address(rtype), backend.probes(rtype), probes, &|_, _| {})?;
        Some(to_detect(&sight.timing))
    });
    each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
}

fn wait(timing: &Timing) -> Duration {
    jittered(timing.interval, timing)
}

fn step(timing: &Timing) -> Duration {
    jittered(timing.fast_interval.unwrap_or(timing.interval), timing).max(timing.timeout)
}

fn jittered(time: Duration, timing: &Timing) -> Duration {
    time + time * u32::from(timing.jitter_permille) / 1000
}

/// Each address that may be answered, and its probes.
fn probed(pool: &PoolPlan) -> impl Iterator<Item = (&BackendPlan, Option<IpAddr>, &[ProbeUse])> {
    let answered = |backend: &&BackendPlan| !matches!(backend.state, AdminState::Down | AdminState::Drain);
    pool.backends.iter().filter(answered).flat_map(|backend| {
        let of_family = |rtype| backend.place(rtype).map(|_| (backend, backend.address(rtype), backend.probes(rtype)));
        [of_family(1), of_family(28)].into_iter().flatten()
    })
}

/// By which check the death of a backend is seen first. Who asks it counts before who asks another target in its place.
fn quickest(place: Option<IpAddr>, uses: &[ProbeUse], probes: &[Arc<ProbeSpec>], change: Change<'_>) -> Option<Sight> {
    [true, false].into_iter().find_map(|directly| {
        let sights = uses.iter().filter_map(|one| sight(&one.check, &probes[one.probe], place, directly, change));
        sights.min_by_key(|sight| to_detect(&sight.timing))
    })
}

/// The check that decides the worst case: of each address the quickest, of all addresses the slowest.
fn slowest(pool: &PoolPlan, probes: &[Arc<ProbeSpec>], change: Change<'_>) -> Option<Sight> {
    let all = probed(pool).filter_map(|(_, place, uses)| quickest(place, uses, probes, change));
    all.max_by_key(|sight| to_detect(&sight.timing))
}

type Knob = (&'static str, fn(&Timing) -> Duration, fn(&mut Timing, Duration));

const KNOBS: [Knob; 3] = [
    (
        "interval",
        |timing| timing.interval,
        |timing, time| {
            timing.interval = time;
            timing.timeout = timing.timeout.min(time);
        },
    ),
    (
        "fast_interval",
        |timing| timing.fast_interval.unwrap_or(timing.interval),
        |timing, time| {
            timing.fast_interval = Some(time);
        },
    ),
    ("timeout", |timing| timing.timeout, |timing, time| timing.timeout = time),
];

/// Each change of one key that keeps the promise, with how large it is: 0 is none, 1 takes all away. `sight`: the check that
/// decides, its timing, and whether it has the keys of it.
fn changes(
    promised: Duration,
    answer: Answer,
    pool: &PoolPlan,
    probes: &[Arc<ProbeSpec>],
    (check, timing, keys): (&str, &Timing, bool),
) -> Vec<(f64, String)> {
    let kept = |ttl: u32, change: &dyn Fn(&mut Timing)| {
        let changed = |name: &str, timing: &mut Timing| {
            if name == check {
                change(timing);
            }
        };
        let detect = slowest(pool, probes, &changed).map_or(Duration::ZERO, |sight| to_detect(&sight.timing));
        detect + PUBLISHING + Duration::from_secs(u64::from(ttl)) <= promised
    };
    let mut all = Vec::new();
    // A TTL of 0 asks for every question anew: nobody is advised to that.
    if let Some(ttl) = largest(answer.ttl.saturating_sub(1), |ttl| kept(ttl, &|_| {})) {
        all.push((1.0 - f64::from(ttl) / f64::from(answer.ttl), format!("ttl = {ttl}")));
    }
    if !keys {
        return all;
    }
    if let Some(fall) = largest(timing.fall.saturating_sub(1), |fall| kept(answer.ttl, &|timing| timing.fall = fall)) {
        let size = 1.0 - f64::from(fall) / f64::from(timing.fall);
        all.push((size, format!("fall = {fall} (check {check:?})")));
    }
    for (key, present, set) in KNOBS {
        let before = present(timing);
        let most = u32::try_from(before.as_millis() / 10).unwrap_or(u32::MAX).saturating_sub(1);
        let time = |hundredths: u32| Duration::from_millis(u64::from(hundredths) * 10);
        let Some(found) = largest(most, |value| kept(answer.ttl, &|timing| set(timing, time(value)))) else { continue };
        let rounded = round_down(time(found));
        let size = 1.0 - rounded.as_secs_f64() / before.as_secs_f64();
        all.push((size, format!("{key} = \"{}\" (check {check:?})", humantime::format_duration(rounded))));
    }
    all
}

/// The largest from 1 to `most` that is good enough, where every smaller one is too.
fn largest(most: u32, good: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if good(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    (low > 0).then_some(low)
}

/// To what people write: whole seconds from two on, tenths from 0.2 on.
fn round_down(time: Duration) -> Duration {
    let milliseconds = time.as_millis() as u64;
    let grain = match milliseconds {
        2000.. => 1000,
        200.. => 100,
        _ => 10,
    };
    Duration::from_millis(milliseconds / grain * grain)
}

/// `11 s (interval and jitter) + 2 x 11 s (fall - 1) + 2 s (timeout)`
fn sum(timing: &Timing) -> String {
    let mut text = format!("{} s (interval and jitter)", seconds(wait(timing)));
    if timing.fall > 1 {
        let name = match timing.fast_interval {
            _ if step(timing) == timing.timeout => "the timeout of each",
            Some(_) => "fast_interval and jitter",
            None => "interval and jitter",
        };
        text.push_str(&format!(" + {} x {} s ({name})", timing.fall - 1, seconds(step(timing))));
    }
    text.push_str(&format!(" + {} s (timeout)", seconds(timing.timeout)));
    text
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_is_every_step_at_its_longest() {
        let mut timing = Timing {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            fast_interval: None,
            jitter_permille: 100,
            rise: 2,
            fall: 3,
            forgive: Default::default(),
        };
        assert_eq!(to_detect(&timing), Duration::from_secs(11 + 2 * 11 + 2));
        timing.fast_interval = Some(Duration::from_secs(5));
        assert_eq!(to_detect(&timing), Duration::from_secs(11 + 11 + 2));
        // One probe of a target runs at a time: silence makes each step as long as its timeout.
        timing.fast_interval = Some(Duration::from_millis(500));
        assert_eq!(to_detect(&timing), Duration::from_secs(11 + 2 * 2 + 2));
        timing.fall = 1;
        assert_eq!(to_detect(&timing), Duration::from_secs(13));
    }

    #[test]
    fn the_largest_good_value_is_found() {
        for good in [0, 1, 7, 99, 100] {
            assert_eq!(largest(100, |value| value <= good), (good > 0).then_some(good));
        }
        assert_eq!(largest(0, |_| true), None);
    }
}
