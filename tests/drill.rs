//! `rollcall drill` against the real program: refused where it would hurt, carried out where not, and over by itself.

mod support;

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::backend::Backend;
use support::server::{Place, Server, program, stderr, stdout};
use support::{DEADLINE, eventually, until};

/// Is no test: the backends of the others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

const CHECK: &str = "type = \"tcp\"\ninterval = \"1s\"\nfall = 3\nfast_interval = \"100ms\"\njitter = \"0%\"";

fn pool(backends: &[Backend], more: &str) -> String {
    let named = backends.iter().enumerate().map(|(number, one)| one.entry(&format!("b{}", number + 1), ""));
    let entries = named.collect::<Vec<_>>().join(", ");
    format!(
        "[checks.c]\n{CHECK}\n[pools.web]\ncheck = \"c\"\nttl = 2\n{more}\nbackends = [{entries}]\n[names]\nwww = {{ to = \"web\", answers = 1 }}\n"
    )
}

fn three(net: u8) -> [Backend; 3] {
    [1, 2, 3].map(|last| Backend::start(Ipv4Addr::new(127, 0, net, last)))
}

fn report(output: &std::process::Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}{}", stdout(output), stderr(output)))
}

fn milliseconds(report: &Value, key: &str) -> u64 {
    report["withdrawals"][0][key].as_u64().unwrap_or_else(|| panic!("{key}: {report}"))
}

fn share(report: &Value, phase: &str, backend: &str) -> f64 {
    let all = report["traffic"].as_array().unwrap();
    let found = all.iter().find(|one| one["phase"] == phase).unwrap_or_else(|| panic!("{phase}: {report}"));
    found["shares"][format!("lb.example.com/web/{backend}")].as_f64().unwrap_or_default()
}

fn has_override(server: &Server, backend: &str) -> bool {
    !server.backend(&format!("lb.example.com/web/{backend}"))["override"].is_null()
}

#[test]
fn a_drill_takes_out_watches_brings_back_and_reports() {
    let backends = three(61);
    let place = Place::with_zone(&pool(&backends, ""));
    let server = place.serve();
    let output = server.run(&["drill", "www", "--down", "b2", "--for", "5s", "--reason", "a trial", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["down"][0], "lb.example.com/web/b2");
    assert!(report["ended_early"].is_null() && report["restored"] == true, "{report}");
    assert!(report["queries"].as_u64().unwrap() > 100, "{report}");

    // Published at once; a TTL of 2 s, and what a busy machine adds.
    assert!(milliseconds(&report, "detected_ms") < 1000, "{report}");
    assert!(milliseconds(&report, "first_without_ms") < 1500, "{report}");
    assert!((200..3500).contains(&milliseconds(&report, "exposed_ms")), "{report}");
    assert!(milliseconds(&report, "returned_ms") < 1500, "{report}");

    let before = share(&report, "before", "b2");
    assert!((0.15..0.55).contains(&before), "{before}: {report}");
    // Caches had it for two of the five seconds, falling.
    assert!(share(&report, "during", "b2") < before, "{report}");
    assert!(share(&report, "during", "b1") > 0.3, "{report}");
    assert!(!has_override(&server, "b2"), "it came back");
    let timeline = report["timeline"].to_string();
    for said in ["down lb.example.com/web/b2", "no cache has lb.example.com/web/b2", "auto lb.example.com/web/b2"] {
        assert!(timeline.contains(said), "{said}: {timeline}");
    }
}

#[test]
fn it_is_refused_where_it_would_hurt_and_says_why() {
    let mut backends = three(62);
    let zone = pool(&backends, "min_healthy = 2");
    let place = Place::with_zone(&zone);
    let server = place.serve();
    let refused = |arguments: &[&str]| {
        let output = server.run(&[&["drill", "www", "--for", "2s"], arguments].concat());
        (output.status.code(), stderr(&output))
    };
    let (code, said) = refused(&["--down", "b1,b2"]);
    assert!(code == Some(1) && said.contains("min_healthy: 2 would be needed, 1 of 1 would be up"), "{said}");
    let (code, said) = refused(&["--down", "*"]);
    assert!(code == Some(1) && said.contains("it would empty pool lb.example.com/web (A)"), "{said}");
    let (code, said) = refused(&["--down", "b9"]);
    assert!(code == Some(1) && said.contains("matches \"b9\""), "{said}");
    let (code, said) = refused(&["--down", "b1", "--stop-when", "nonesuch"]);
    assert!(code == Some(1) && said.contains("has a check \"nonesuch\""), "{said}");
    let output = server.run(&["drill", "nowhere", "--down", "b1", "--for", "2s"]);
    assert!(output.status.code() == Some(1) && stderr(&output).contains("no balanced name"), "{}", stderr(&output));

    // Dry: said, not done. Nor is anything done by what was refused.
    let output = server.run(&["drill", "www", "--down", "b1", "--for", "2s", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).contains("expected: lb.example.com/web/b2 50.0 %, lb.example.com/web/b3 50.0 %"),
        "{}",
        stdout(&output)
    );
    assert!(["b1", "b2", "b3"].iter().all(|one| !has_override(&server, one)));

    server.run(&["state", "lb.example.com/web/b1", "drain"]);
    let (code, said) = refused(&["--down", "b1"]);
    assert!(code == Some(1) && said.contains("has an override already"), "{said}");
    server.run(&["state", "lb.example.com/web/b1", "auto"]);
    backends[2].kill();
    until("b3 is down", || server.backend("lb.example.com/web/b3")["state"] == "down");
    let (code, said) = refused(&["--down", "b1"]);
    assert!(code == Some(1) && said.contains("1 of 2 would be up"), "{said}");
    let (code, said) = refused(&["--down", "b1", "--stop-when", "c"]);
    assert!(code == Some(1) && said.contains("check c fails already on lb.example.com/web/b3"), "{said}");
}

#[test]
fn a_capacity_that_is_known_is_not_broken() {
    let place = Place::with_zone(
        "[checks.beat]\ntype = \"push\"\nttl = \"60s\"\n[pools.web]\npolicy = \"least-load\"\ncheck = \"beat\"\nbackends = [{ name = \"b1\", address = \"192.0.2.1\" }, { name = \"b2\", address = \"192.0.2.2\" }, { name = \"b3\", address = \"192.0.2.3\" }]\n[names]\nwww = \"web\"\n",
    );
    let server = place.serve();
    let push = |load: &str| {
        for name in ["b1", "b2", "b3"] {
            let status = format!("up load={load}/100");
            let output = server.run(&["push", &format!("lb.example.com/web/{name}"), "--status", &status]);
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
    };
    let dry = || server.run(&["drill", "www", "--down", "b2", "--for", "2s", "--dry-run"]);
    push("70");
    eventually("their load is known", || {
        let output = dry();
        stderr(&output).contains("the load of pool lb.example.com/web is 210, and those left bear 200").then_some(())
    });
    assert_eq!(dry().status.code(), Some(1));
    push("60");
    eventually("there is room", || (dry().status.code() == Some(0)).then_some(()));
}

#[test]
fn a_named_check_that_fails_ends_it() {
    let mut backends = three(63);
    let place = Place::with_zone(&pool(&backends, ""));
    let server = place.serve();
    let begun = Instant::now();
    let drill = spawn(&server, &["drill", "www", "--down", "b2", "--for", "60s", "--stop-when", "c", "--json"]);
    until("it is out", || has_override(&server, "b2"));
    backends[2].kill();
    let output = drill.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "ended early: {}", stderr(&output));
    assert!(begun.elapsed() < DEADLINE + Duration::from_secs(10));
    let report = report(&output);
    let why = report["ended_early"].as_str().unwrap();
    assert!(why.contains("check c failed on lb.example.com/web/b3"), "{why}");
    assert!(report["restored"] == true && !has_override(&server, "b2"), "{report}");
}

#[test]
fn a_pool_that_gets_worse_ends_it_and_another_ones_word_is_left() {
    let mut backends = three(64);
    let place = Place::with_zone(&pool(&backends, "min_healthy = 2"));
    let server = place.serve();
    let drill = spawn(&server, &["drill", "www", "--down", "b2", "--for", "60s", "--json"]);
    until("it is out", || has_override(&server, "b2"));
    backends[2].kill();
    let report_one = report(&drill.wait_with_output().unwrap());
    assert!(report_one["ended_early"].as_str().unwrap().contains("pool web (A)"), "{report_one}");
    backends[2].revive();
    until("b3 is up", || server.backend("lb.example.com/web/b3")["state"] == "up");

    let drill = spawn(&server, &["drill", "www", "--down", "b2", "--for", "60s", "--json"]);
    until("it is out", || has_override(&server, "b2"));
    server.run(&["state", "lb.example.com/web/b2", "drain", "--reason", "mine"]);
    let report_two = report(&drill.wait_with_output().unwrap());
    assert!(report_two["ended_early"].as_str().unwrap().contains("somebody changed the state"), "{report_two}");
    assert_eq!(server.backend("lb.example.com/web/b2")["override"]["reason"], "mine");
}

#[test]
fn a_client_that_dies_leaves_nothing_behind_and_one_drill_runs_at_a_time() {
    let backends = three(65);
    let place = Place::with_zone(&pool(&backends, ""));
    let server = place.serve();
    let mut drill = spawn(&server, &["drill", "www", "--down", "b2", "--for", "60s"]);
    until("it is out", || has_override(&server, "b2"));
    let forced = server.backend("lb.example.com/web/b2")["override"].clone();
    assert!(forced["by"].as_str().unwrap().starts_with("drill by "), "{forced}");
    assert!(forced["reason"].as_str().unwrap().starts_with("drill of www.lb.example.com for 1m"), "{forced}");
    assert!(forced["until"].is_string(), "it ends by itself: {forced}");
    let output = server.run(&["drill", "www", "--down", "b1", "--for", "2s"]);
    assert!(
        output.status.code() == Some(1) && stderr(&output).contains("another one is under way"),
        "{}",
        stderr(&output)
    );
    kill(Pid::from_raw(drill.id() as i32), Signal::SIGKILL).unwrap();
    drill.wait().unwrap();
    until("it is back", || !has_override(&server, "b2"));
}

#[test]
fn a_server_that_is_killed_brings_it_back_by_the_clock() {
    let backends = three(66);
    let place = Place::with_zone(&pool(&backends, ""));
    let mut server = place.serve();
    let drill = spawn(&server, &["drill", "www", "--down", "b2", "--for", "4s"]);
    until("it is out", || has_override(&server, "b2"));
    server.kill();
    let output = drill.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    let server = place.serve();
    assert!(has_override(&server, "b2"), "kept, as every override");
    until("its time has come", || !has_override(&server, "b2"));
}

fn spawn(server: &Server, arguments: &[&str]) -> std::process::Child {
    let mut command: Command = program();
    command.args(arguments).arg("--control").arg(&server.control);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}
