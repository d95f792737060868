//! `rollcall tail` against the real program: what it shows, what it chooses, and that nobody pays for it while it is off.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde_json::Value;
use support::eventually;
use support::server::{Place, Server, program, stderr};

const POOL: &str =
    "[pools.web]\nbackends = [{ name = \"a\", address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\napi = \"web\"\n";

/// A tail that runs, with its lines; ended when dropped.
struct Tail {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Tail {
    fn start(server: &Server, arguments: &[&str]) -> Tail {
        let mut process = program()
            .arg("tail")
            .args(arguments)
            .arg("--control")
            .arg(&server.control)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Tail { process, lines }
    }

    /// Asks until something is shown: the tap opens a moment after the program starts.
    fn next(&self, ask: impl Fn()) -> String {
        eventually("something is shown", || {
            ask();
            self.lines.recv_timeout(Duration::from_millis(100)).ok()
        })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn answers_are_shown_as_they_are_given() {
    let place = Place::with_zone(POOL);
    let server = place.serve();
    let tail = Tail::start(&server, &["--json"]);
    let line = tail.next(|| drop(server.client().ask("www.lb.example.com.", RecordType::A)));
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (
            &answer["name"],
            &answer["type"],
            &answer["rcode"],
            &answer["answer"][0],
            &answer["ttl"],
            &answer["transport"]
        ),
        (&"www.lb.example.com".into(), &"A".into(), &"NOERROR".into(), &"A 192.0.2.1".into(), &5.into(), &"udp".into())
    );
    assert_eq!(answer["client"], "127.0.0.1");
    server_says_who(&server);
}

/// Who looks at clients' addresses stands in the log.
fn server_says_who(server: &Server) {
    assert!(server.log().iter().any(|line| line.contains("taps live answers")), "{:?}", server.log());
}

#[test]
fn name_client_and_rcode_choose() {
    let place = Place::with_zone(POOL);
    let server = place.serve();
    let by_name = Tail::start(&server, &["api.*"]);
    let by_rcode = Tail::start(&server, &["--rcode", "nxdomain"]);
    let by_client = Tail::start(&server, &["--client", "192.0.2.0/24,127.0.0.1"]);
    let nobody = Tail::start(&server, &["--client", "192.0.2.0/24"]);
    let ask = || {
        for name in ["www.lb.example.com.", "api.lb.example.com.", "none.lb.example.com."] {
            server.client().ask(name, RecordType::A);
        }
    };
    for _ in 0..3 {
        assert!(by_name.next(ask).contains("  api.lb.example.com A  NOERROR  A 192.0.2.1  ttl 5"));
        assert!(by_rcode.next(ask).contains("  none.lb.example.com A  NXDOMAIN"));
        assert!(by_client.next(ask).contains("udp 127.0.0.1"));
    }
    assert!(nobody.lines.try_recv().is_err());
    let output = server.run(&["tail", "--rcode", "WELL", "--for", "1s"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("WELL"), "{}", stderr(&output));
}

#[test]
fn the_rate_holds_and_what_is_above_it_is_counted() {
    let place = Place::with_zone(POOL);
    let server = place.serve();
    let begun = std::time::Instant::now();
    let tail = program()
        .args(["tail", "--rate", "3", "--for", "3s", "--control", &server.control])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        server.client().ask("www.lb.example.com.", RecordType::A);
        asked += 1;
    }
    let output = tail.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).lines().count();
    assert!(asked > 30 && (1..=13).contains(&shown), "{shown} of {asked} shown");
    assert!(stderr(&output).contains("more, lost"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody() {
    let place = Place::with_zone(POOL);
    let server = place.serve();
    // Its output is never read: pipe, socket and ring fill up.
    let mut tail = program()
        .args(["tail", "--rate", "1000", "--json", "--control", &server.control])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let client = server.client();
    for _ in 0..5000 {
        assert_eq!(client.ask("www.lb.example.com.", RecordType::A).addresses.len(), 1);
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}
