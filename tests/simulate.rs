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
