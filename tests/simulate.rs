//! `rollcall simulate`: what it says of known cases, and that a live server does the same.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::backend::Backend;
use support::server::{Place, stderr, stdout};
use support::{DEADLINE, eventually};

/// Is no test: the backends of the others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

const POOL: &str = r#"
[checks.web]
type = "tcp"
port = 8080
CHECK
[pools.web]
check = "web"
backends = [{ name = "b1", address = "192.0.2.1" }, { name = "b2", address = "192.0.2.2" }, { name = "b3", address = "192.0.2.3" }]
[names]
www = { to = "web", ttl = 20 }
"#;

fn simulate(check: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let place = Place::with_zone(&POOL.replace("CHECK", check));
    let output = place.run(&[&["simulate", "--json"], arguments].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    (report, output.status.code())
}

fn milliseconds(report: &Value, key: &str) -> u64 {
    report["withdrawals"][0][key].as_u64().unwrap_or_else(|| panic!("{key}: {report}"))
}

#[test]
fn a_kill_is_found_by_the_arithmetic_of_the_check() {
    let check = "interval = \"5s\"\nfast_interval = \"1s\"\nfall = 3\njitter = \"0%\"";
    for seed in ["1", "2", "3", "4", "5"] {
        let (report, code) = simulate(check, &["--script", "kill b1@10s", "--seed", seed]);
        assert_eq!(code, Some(0));
        let detected = milliseconds(&report, "detected_ms");
        // Up to one interval until the first failure, then two fast ones.
        assert!((2000..=7010).contains(&detected), "{detected}");
        let exposed = milliseconds(&report, "exposed_ms");
        assert!(exposed > detected && exposed <= detected + 20_000, "{exposed} after {detected}");
        let last = report["traffic"].as_array().unwrap().last().unwrap();
        assert!(last["shares"]["lb.example.com/web/b2"].as_f64().unwrap() > 0.4, "{last}");
    }
}

#[test]
fn a_watch_finds_a_kill_at_once_and_a_hang_by_its_probes() {
    let check = "interval = \"5s\"\nwatch = true\nfall = 3\ntimeout = \"2s\"";
    let (report, _) = simulate(check, &["--script", "kill b1@10s"]);
    assert!(milliseconds(&report, "detected_ms") < 50, "{report}");
    let (report, _) = simulate(check, &["--script", "hang b1@10s"]);
    assert!(milliseconds(&report, "detected_ms") > 10_000, "{report}");
}

#[test]
fn a_drain_is_at_once_and_the_last_one_fails_open() {
    let (report, code) = simulate("", &["--script", "drain lb.example.com/web/b1@5s; auto b1@30s"]);
    assert_eq!((milliseconds(&report, "detected_ms"), code), (0, Some(0)));
    // All killed: fail open goes on naming them, which is the answer "no".
    let (report, code) = simulate("interval = \"1s\"", &["--script", "kill b*@5s"]);
    assert_eq!(code, Some(1), "{report}");
}

#[test]
fn the_same_arguments_give_the_same_report() {
    let arguments = ["--script", "kill b1@10s; restore b1@40s", "--start", "2026-01-01T00:00:00Z", "--seed", "9"];
    assert_eq!(simulate("", &arguments).0, simulate("", &arguments).0);
}

#[test]
fn what_fits_nothing_is_said() {
    let place = Place::with_zone(&POOL.replace("CHECK", ""));
    for (script, why) in [("kill b9@1s", "no backend matches"), ("kill b1", "when?"), ("shoot b1@1s", "none of")] {
        let output = place.run(&["simulate", "--script", script]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    let output = place.run(&["simulate", "zones", "--script", "kill b1@1s"]);
    assert!(stdout(&output).contains("first answer without it"), "{}", stderr(&output));
}

#[test]
fn a_live_server_does_what_the_simulation_says() {
    let mut backends = [1, 2].map(|last| Backend::start(Ipv4Addr::new(127, 0, 7, last)));
    let check = "type = \"tcp\"\ninterval = \"500ms\"\nfall = 2\nfast_interval = \"100ms\"\njitter = \"0%\"";
    let entries =
        backends.iter().zip(["b1", "b2"]).map(|(one, name)| one.entry(name, "")).collect::<Vec<_>>().join(", ");
    let pool = format!(
        "[checks.c]\n{check}\n[pools.web]\ncheck = \"c\"\nttl = 1\nbackends = [{entries}]\n[names]\nwww = \"web\"\n"
    );
    let place = Place::with_zone(&pool);
    let output = place.run(&["simulate", "--json", "--script", "kill b1@5s"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = Duration::from_millis(milliseconds(&report, "detected_ms"));

    let server = place.serve();
    let (name, victim) = ("www.lb.example.com.", IpAddr::V4(backends[0].ip()));
    eventually("both are answered", || (server.client().addresses(name).len() == 2).then_some(()));
    let killed = Instant::now();
    backends[0].kill();
    while server.client().addresses(name).contains(&victim) {
        assert!(killed.elapsed() < DEADLINE, "the victim never left");
        std::thread::sleep(Duration::from_millis(1));
    }
    let live = killed.elapsed();
    // Where in its interval the kill falls is chance in both: one interval apart at most, and what a busy machine adds.
    let (least, most) = (said.min(live), said.max(live));
    assert!(most - least < Duration::from_millis(500 + 1500), "simulated {said:?}, live {live:?}");
    let transition = format!("lb.example.com/web/b1 {victim} up -> down: connection refused");
    assert!(report["timeline"].as_array().unwrap().iter().any(|line| line["what"] == transition.as_str()), "{report}");
}

/// How late a busy machine may see what happens: added to what the simulation says for any phase of the probes.
const SLACK: u64 = 1500;

/// What happened to the backend, each since its step: out of the answers, out of every cache, back in the answers.
#[derive(Debug)]
struct Timeline {
    detected: u64,
    exposed: u64,
    returned: u64,
    /// Verdicts in order, in the words of the timeline.
    verdicts: Vec<String>,
}

/// As the simulation has it.
fn simulated(place: &Place, victim: IpAddr, seed: &str) -> Timeline {
    let script = "kill b1@4s; restore b1@10s";
    let output =
        place.run(&["simulate", "--json", "--script", script, "--resolvers", "40", "--for", "20s", "--seed", seed]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    let lines = report["timeline"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap().to_owned());
    Timeline {
        detected: milliseconds(&report, "detected_ms"),
        exposed: milliseconds(&report, "exposed_ms"),
        returned: milliseconds(&report, "returned_ms"),
        verdicts: lines.filter(|line| line.contains(&format!("{victim} "))).map(|line| verdict(&line)).collect(),
    }
}

/// `lb.example.com/web/b1 127.0.0.1 up -> down`, without the reason.
fn verdict(line: &str) -> String {
    line.split(": ").next().unwrap().to_owned()
}

/// The same of a live server: real backends, real queries, clients that keep what they are told for its TTL.
fn live(place: &Place, backends: &mut [Backend]) -> Timeline {
    let server = place.serve();
    let (name, victim, ttl) = ("www.lb.example.com.", IpAddr::V4(backends[0].ip()), Duration::from_secs(2));
    let client = server.client();
    eventually("all are answered", || (client.addresses(name).len() == backends.len()).then_some(()));
    let begun = Instant::now();
    let mut caches: Vec<Instant> = (0..40).map(|number| begun + ttl * number / 40).collect();
    let (kill, restore) = (begun + Duration::from_secs(4), begun + Duration::from_secs(10));
    let (mut killed, mut restored): (Option<Instant>, Option<Instant>) = (None, None);
    let (mut exposed, mut left, mut back): (Instant, Option<Instant>, Option<Instant>) = (begun, None, None);
    while back.is_none() {
        let now = Instant::now();
        assert!(now < restore + DEADLINE, "it never came back");
        if now >= kill && killed.is_none() {
            backends[0].kill();
            killed = Some(Instant::now());
        }
        if now >= restore && restored.is_none() {
            backends[0].revive();
            restored = Some(Instant::now());
        }
        let named = client.addresses(name).contains(&victim);
        for cache in caches.iter_mut().filter(|until| **until <= now) {
            *cache = Instant::now() + ttl;
            if named && restored.is_none() {
                exposed = *cache;
            }
        }
        match (killed, restored, left) {
            (Some(_), _, None) if !named => left = Some(Instant::now()),
            (_, Some(_), Some(_)) if named => back = Some(Instant::now()),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let since = |step: Option<Instant>, at: Option<Instant>| (at.unwrap() - step.unwrap()).as_millis() as u64;
    let (status, _) = server.status();
    let line = |one: &Value| {
        let word = |key: &str| one[key].as_str().unwrap().to_owned();
        format!("{} {} {} -> {}", word("id"), word("address"), word("from"), word("to"))
    };
    Timeline {
        detected: since(killed, left),
        exposed: since(killed, Some(exposed)),
        returned: since(restored, back),
        verdicts: status["transitions"].as_array().unwrap().iter().map(line).collect(),
    }
}

#[test]
fn a_live_timeline_lies_where_the_simulated_one_does() {
    let mut backends = [1, 2, 3].map(|last| Backend::start(Ipv4Addr::new(127, 0, 8, last)));
    let check = "type = \"tcp\"\ninterval = \"1s\"\nfall = 3\nrise = 2\nfast_interval = \"200ms\"\njitter = \"0%\"";
    let named = backends.iter().zip(["b1", "b2", "b3"]).map(|(one, name)| one.entry(name, ""));
    let entries = named.collect::<Vec<_>>().join(", ");
    let place = Place::with_zone(&format!(
        "[checks.c]\n{check}\n[pools.web]\ncheck = \"c\"\nttl = 2\nbackends = [{entries}]\n[names]\nwww = \"web\"\n"
    ));
    let victim = IpAddr::V4(backends[0].ip());
    let all: Vec<Timeline> =
        ["1", "2", "3", "4", "5", "6", "7", "8"].iter().map(|seed| simulated(&place, victim, seed)).collect();
    let live = live(&place, &mut backends);
    // In what phase of its interval the backend dies is chance in both: between the least and the most of the phases,
    // one interval wider on either side, and what a busy machine adds.
    for (what, of) in [
        ("out of the answers", (|one| one.detected) as fn(&Timeline) -> u64),
        ("out of every cache", |one| one.exposed),
        ("back in the answers", |one| one.returned),
    ] {
        let (least, most) = (all.iter().map(of).min().unwrap(), all.iter().map(of).max().unwrap());
        let seen = of(&live);
        let bounds = least.saturating_sub(1000)..=most + 1000 + SLACK;
        assert!(bounds.contains(&seen), "{what}: live {seen} ms, simulated {least} to {most} ms");
    }
    for simulated in &all {
        assert_eq!(simulated.verdicts, live.verdicts, "the same verdicts in the same order");
    }
    assert!(live.exposed > live.detected, "{live:?}");
}
