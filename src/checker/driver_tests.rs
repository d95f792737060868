//! The driver with scripted probes under paused time: no socket, no waiting.

use std::sync::Mutex;

use super::*;
use crate::checker::Checker;
use crate::engine::probe::{Cadence, Later, ProbeKind, Timing};

/// What a scripted probe does, by the target's port.
#[derive(Clone, Copy)]
enum Act {
    Pass,
    Fail,
    /// Holds its slot until the timeout.
    Silent,
    Panic,
    Unable,
}

#[derive(Clone)]
struct Script {
    acts: fn(u16) -> Act,
    starts: Arc<Mutex<Vec<(u16, tokio::time::Instant)>>>,
}

impl Script {
    fn new(acts: fn(u16) -> Act) -> Script {
        Script { acts, starts: Arc::default() }
    }

    fn starts(&self, port: u16) -> Vec<tokio::time::Instant> {
        let starts = self.starts.lock().expect("not poisoned");
        starts.iter().filter(|start| start.0 == port).map(|start| start.1).collect()
    }
}

impl Prober for Script {
    type Target = (Script, Arc<ProbeSpec>);

    fn prepare(&mut self, spec: &Arc<ProbeSpec>) -> Self::Target {
        (self.clone(), spec.clone())
    }

    async fn probe((script, spec): Self::Target) -> Report {
        let port = spec.target.port();
        script.starts.lock().expect("not poisoned").push((port, tokio::time::Instant::now()));
        match (script.acts)(port) {
            Act::Pass => Report::Passed("connected".into()),
            Act::Fail => Report::Failed("connection refused".into()),
            Act::Silent => {
                tokio::time::sleep(spec.timing.timeout).await;
                Report::TimedOut("timed out connecting".into())
            }
            Act::Panic => panic!("scripted"),
            Act::Unable => Report::Unable("no file descriptor left".into()),
        }
    }
}

fn spec(port: u16, interval: Duration, timeout: Duration) -> Arc<ProbeSpec> {
    Arc::new(ProbeSpec {
        target: ([127, 0, 0, 1], port).into(),
        source: None,
        invert: false,
        watch: false,
        timing: Timing {
            interval,
            timeout,
            fast_interval: None,
            jitter_permille: 0,
            rise: 2,
            fall: 3,
            forgive: Later(0),
        },
        kind: ProbeKind::Tcp { send: None, expect: None },
    })
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

async fn next(inbox: &mut mpsc::Receiver<Observation>) -> Observation {
    tokio::time::timeout(seconds(600), inbox.recv()).await.expect("within ten minutes").expect("open")
}

#[tokio::test(start_paused = true)]
async fn a_panic_counts_as_failed_even_inverted_and_the_checker_goes_on() {
    let (sender, mut inbox) = mpsc::channel(8);
    let script = Script::new(|port| if port == 1 { Act::Panic } else { Act::Pass });
    let checker = Checker::start_with(script, Limits { in_flight: 8 }, sender);
    let mut inverted = ProbeSpec::clone(&spec(1, seconds(1), seconds(1)));
    inverted.invert = true;
    checker.change(vec![], vec![(ProbeId(1), Arc::new(inverted)), (ProbeId(2), spec(2, seconds(1), seconds(1)))]);
    let mut seen = HashMap::<u32, Vec<(bool, String)>>::new();
    while seen.len() < 2 || seen.values().any(|results| results.len() < 3) {
        let Observation { probe, outcome } = next(&mut inbox).await;
        seen.entry(probe.0).or_default().push((outcome.passed, outcome.reason));
    }
    assert!(seen[&1].iter().all(|result| *result == (false, "internal error".into())), "{seen:?}");
    assert!(seen[&2].iter().all(|result| *result == (true, "connected".into())), "{seen:?}");
    assert!(checker.statistics().panicked >= 3);
}

#[tokio::test(start_paused = true)]
async fn invert_flips_the_result_and_says_so() {
    let (sender, mut inbox) = mpsc::channel(8);
    let checker = Checker::start_with(Script::new(|_| Act::Fail), Limits { in_flight: 8 }, sender);
    let mut inverted = ProbeSpec::clone(&spec(1, seconds(1), seconds(1)));
    inverted.invert = true;
    checker.change(vec![], vec![(ProbeId(1), Arc::new(inverted))]);
    let outcome = next(&mut inbox).await.outcome;
    assert_eq!((outcome.passed, outcome.reason.as_str()), (true, "connection refused (inverted)"));
}

#[tokio::test(start_paused = true)]
async fn silent_targets_that_fill_the_limit_delay_no_live_one() {
    let (sender, mut inbox) = mpsc::channel(1024);
    let script = Script::new(|port| if port >= 1000 { Act::Silent } else { Act::Pass });
    let checker = Checker::start_with(script.clone(), Limits { in_flight: 20 }, sender);
    let live = (1..=10).map(|n| (ProbeId(n), spec(n as u16, seconds(10), seconds(2))));
    let silent = (1000..1500).map(|n| (ProbeId(n), spec(n as u16, seconds(10), seconds(2))));
    checker.change(vec![], live.chain(silent).collect());
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < seconds(300) {
        next(&mut inbox).await;
    }
    for port in 1..=10 {
        let starts = script.starts(port);
        assert!(starts.len() >= 29, "{port}: {}", starts.len());
        for pair in starts[1..].windows(2) {
            let gap = pair[1] - pair[0];
            assert!(gap.abs_diff(seconds(10)) <= Duration::from_millis(100), "{port}: {gap:?}");
        }
    }
    let unserved = (1000..1500).filter(|&port| script.starts(port).is_empty()).count();
    assert_eq!(unserved, 0, "silent ones get their turns too");
}

#[tokio::test(start_paused = true)]
async fn want_on_this_host_is_no_verdict() {
    let (sender, mut inbox) = mpsc::channel(8);
    let script = Script::new(|port| if port == 1 { Act::Unable } else { Act::Pass });
    let checker = Checker::start_with(script.clone(), Limits { in_flight: 8 }, sender);
    checker.change(vec![], (1..=2).map(|n| (ProbeId(n), spec(n as u16, seconds(1), seconds(1)))).collect());
    for _ in 0..5 {
        assert_eq!(next(&mut inbox).await.probe, ProbeId(2));
    }
    assert!(script.starts(1).len() >= 3, "it is probed on");
    assert!(checker.statistics().unable >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_full_channel_makes_it_wait_and_loses_nothing() {
    let (sender, mut inbox) = mpsc::channel(1);
    let script = Script::new(|_| Act::Pass);
    let checker = Checker::start_with(script.clone(), Limits { in_flight: 64 }, sender);
    checker.change(vec![], (0..50).map(|n| (ProbeId(n), spec(n as u16, seconds(1), seconds(1)))).collect());
    tokio::time::sleep(seconds(20)).await;
    let stuck = script.starts.lock().expect("not poisoned").len();
    assert!(stuck <= 64, "{stuck} probes ran although nobody took their results");
    for _ in 0..500 {
        next(&mut inbox).await;
    }
    let done = script.starts.lock().expect("not poisoned").len() as u64;
    let statistics = checker.statistics();
    assert!(statistics.reported >= 500 && done - statistics.reported <= 64, "{statistics:?}, {done} done");
}

#[tokio::test(start_paused = true)]
async fn a_removed_target_reports_nothing_more() {
    let (sender, mut inbox) = mpsc::channel(8);
    let checker = Checker::start_with(Script::new(|_| Act::Silent), Limits { in_flight: 8 }, sender);
    checker.change(vec![], vec![(ProbeId(1), spec(1, seconds(4), seconds(2)))]);
    while checker.statistics().in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    checker.change(vec![ProbeId(1)], vec![]);
    assert!(tokio::time::timeout(seconds(60), inbox.recv()).await.is_err());
    let statistics = checker.statistics();
    assert_eq!((statistics.targets, statistics.in_flight), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_added_again_under_its_number_starts_anew() {
    let (sender, mut inbox) = mpsc::channel(8);
    let script = Script::new(|port| if port == 1 { Act::Silent } else { Act::Pass });
    let checker = Checker::start_with(script, Limits { in_flight: 8 }, sender);
    checker.change(vec![], vec![(ProbeId(7), spec(1, seconds(4), seconds(2)))]);
    while checker.statistics().in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    checker.change(vec![ProbeId(7)], vec![(ProbeId(7), spec(2, seconds(4), seconds(2)))]);
    for _ in 0..3 {
        assert!(next(&mut inbox).await.outcome.passed, "only the new one reports");
    }
}

#[tokio::test(start_paused = true)]
async fn probe_now_and_cadence_reach_the_schedule() {
    let (sender, mut inbox) = mpsc::channel(8);
    let script = Script::new(|_| Act::Pass);
    let checker = Checker::start_with(script.clone(), Limits { in_flight: 8 }, sender);
    let mut fast = ProbeSpec::clone(&spec(1, seconds(100), seconds(2)));
    fast.timing.fast_interval = Some(seconds(1));
    checker.change(vec![], vec![(ProbeId(1), Arc::new(fast))]);
    next(&mut inbox).await;
    let before = tokio::time::Instant::now();
    checker.probe_now(ProbeId(1));
    next(&mut inbox).await;
    assert!(before.elapsed() < Duration::from_millis(10));
    checker.cadence(ProbeId(1), Cadence::Fast);
    for _ in 0..5 {
        next(&mut inbox).await;
    }
    assert!(before.elapsed() <= Duration::from_millis(5_100), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_result_without_news_is_held_for_a_moment_and_a_failure_takes_it_along() {
    let (sender, mut inbox) = mpsc::channel(64);
    let script = Script::new(|port| if port == 1 { Act::Pass } else { Act::Fail });
    let checker = Checker::start_with(script.clone(), Limits { in_flight: 8 }, sender);
    checker.change(vec![], vec![(ProbeId(1), spec(1, seconds(10), seconds(2)))]);
    let begun = tokio::time::Instant::now();
    next(&mut inbox).await;
    assert!(begun.elapsed() < Duration::from_millis(5), "the first is news: {:?}", begun.elapsed());
    next(&mut inbox).await;
    let held = tokio::time::Instant::now() - script.starts(1)[1];
    assert!(held.abs_diff(Duration::from_millis(20)) < Duration::from_millis(3), "{held:?}");
    // A target that fails, just behind one that passes as before.
    while script.starts(1).len() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    checker.change(vec![], vec![(ProbeId(2), spec(2, seconds(10), seconds(2)))]);
    let before = next(&mut inbox).await;
    let held = tokio::time::Instant::now() - script.starts(1)[2];
    assert!(before.probe == ProbeId(1) && held < Duration::from_millis(5), "{held:?}");
    let failure = inbox.try_recv().expect("both at once, in the order in which they came");
    assert_eq!((failure.probe, failure.outcome.passed), (ProbeId(2), false));
}

#[tokio::test(start_paused = true)]
async fn many_new_targets_are_probed_within_about_a_second() {
    let (sender, mut inbox) = mpsc::channel(20_000);
    let checker = Checker::start_with(Script::new(|_| Act::Pass), Limits { in_flight: 512 }, sender);
    let begun = tokio::time::Instant::now();
    checker.change(vec![], (0..20_000).map(|n| (ProbeId(n), spec(n as u16, seconds(100), seconds(2)))).collect());
    let mut first = HashSet::new();
    while first.len() < 20_000 {
        first.insert(next(&mut inbox).await.probe);
    }
    assert!(begun.elapsed() <= Duration::from_millis(1_100), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stops_it() {
    let (sender, mut inbox) = mpsc::channel(8);
    let checker = Checker::start_with(Script::new(|_| Act::Silent), Limits { in_flight: 8 }, sender);
    checker.change(vec![], vec![(ProbeId(1), spec(1, seconds(4), seconds(2)))]);
    drop(checker);
    let end = tokio::time::timeout(seconds(60), async { while inbox.recv().await.is_some() {} });
    assert!(end.await.is_ok(), "the channel closes");
}
