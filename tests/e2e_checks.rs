//! End to end: checks that are told, and backends that speak for themselves. The real program, real files, programs,
//! heartbeats and agents.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::dns::set_of;
use support::server::{Place, SERVER_FILE, stderr, stdout, zone};
use support::{throughout, until};

const WWW: &str = "www.lb.example.com.";
const A: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 12);

/// Answers every connection with what it is told to say now.
struct Speaker {
    address: SocketAddr,
    says: Arc<Mutex<String>>,
}

impl Speaker {
    fn start(address: Ipv4Addr, says: &str) -> Speaker {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says.to_owned()));
        let said = says.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let text = said.lock().unwrap().clone();
                if text.starts_with("HTTP") {
                    let _ = stream.read(&mut [0; 4096]);
                }
                let _ = stream.write_all(text.as_bytes());
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read(&mut [0; 64]);
            }
        });
        Speaker { address, says }
    }

    fn say(&self, text: &str) {
        *self.says.lock().unwrap() = text.to_owned();
    }

    fn entry(&self, name: &str) -> String {
        format!("{{ name = \"{name}\", address = \"{}\", port = {} }}", self.address.ip(), self.address.port())
    }
}

fn put(control: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(control).unwrap();
    let length = body.len();
    let head =
        format!("PUT {path} HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_heartbeat_that_stops_takes_its_backend_out_and_one_that_returns_brings_it_back() {
    let place = Place::with_zone(
        "[checks.heart]\ntype = \"push\"\nttl = \"2s\"\n[pools.web]\ncheck = \"heart\"\ninitial = \"up\"\nbackends = [\
         { name = \"a\", address = \"127.0.0.11\" }, { name = \"b\", address = \"127.0.0.12\" }]\n[names]\nwww = \"web\"\n",
    );
    let server = place.serve();
    let client = server.client();
    let push = |id: &str, words: &[&str]| {
        let output = server.run(&[&["push", id], words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    };
    push("lb.example.com/web/a", &[]);
    let answer = put(&server.control, "/v1/push/lb.example.com/web/b", "up 75%");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("{\"probes\":1}"), "{answer}");
    until("b's word is heard", || server.backend("lb.example.com/web/b")["addresses"][0]["said"] == "75%");
    let mut beat = Instant::now();
    until("b is silent too long", || {
        if beat.elapsed() > Duration::from_millis(300) {
            push("lb.example.com/web/a", &[]);
            beat = Instant::now();
        }
        client.set(WWW) == set_of([A])
    });
    let b = server.backend("lb.example.com/web/b");
    assert_eq!((&b["state"], &b["addresses"][0]["reason"]), (&"down".into(), &"no heartbeat for 2s".into()));
    push("lb.example.com/web/b", &["--status", "drain"]);
    until("b drains", || server.backend("lb.example.com/web/b")["state"] == "draining (says the backend)");
    push("lb.example.com/web/b", &["--status", "ready", "--check", "heart"]);
    until("b is back", || client.set(WWW).contains(&B.into()));

    for (arguments, code, said) in [
        (vec!["push", "lb.example.com/web/c"], 1, "no backend is \"lb.example.com/web/c\""),
        (vec!["push", "lb.example.com/web/a", "--check", "disk"], 1, "has no check \"disk\" of type \"push\""),
        (vec!["push", "lb.example.com/web/a", "--status", "fine"], 2, "\"fine\" has no word that is known"),
    ] {
        let output = server.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[test]
fn a_backend_drains_itself_by_a_response_header_and_nothing_alarms() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (a, b) = (Speaker::start(A, ok), Speaker::start(B, ok));
    let place = Place::with_zone(&format!(
        "[checks.web]\ntype = \"http\"\nfeedback = true\ninterval = \"200ms\"\n[pools.web]\ncheck = \"web\"\n\
         policy = \"weighted\"\nbackends = [{}, {}]\n[names]\nwww = {{ to = \"web\", answers = 2 }}\n",
        a.entry("a"),
        b.entry("b")
    ));
    let server = place.serve();
    let client = server.client();
    assert_eq!(client.set(WWW), set_of([A, B]));
    a.say("HTTP/1.1 200 OK\r\nRollcall: drain # new kernel\r\nContent-Length: 0\r\n\r\n");
    until("a leaves", || client.set(WWW) == set_of([B]));
    let status = server.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "a drain is no failure");
    assert!(stdout(&status).contains("draining (says the backend)"), "{}", stdout(&status));
    let explained = stdout(&server.run(&["explain", "www.lb.example.com"]));
    assert!(explained.contains("draining (says the backend): new kernel"), "{explained}");
    throughout(Duration::from_millis(500), "a stays out", || client.set(WWW) == set_of([B]));
    a.say("HTTP/1.1 200 OK\r\nRollcall: 25%\r\nContent-Length: 0\r\n\r\n");
    until("a is back", || client.set(WWW) == set_of([A, B]));
    let address = server.backend("lb.example.com/web/a")["addresses"][0].clone();
    assert_eq!((&address["said"], &address["weight"]), (&"25%".into(), &25.into()));
    let explained = stdout(&server.run(&["explain", "www.lb.example.com"]));
    assert!(explained.contains("first place: a 20.0 %, b 80.0 %"), "{explained}");
}

#[test]
fn agents_decide_and_least_load_follows_them() {
    let (a, b) = (Speaker::start(A, "up load=10/100\n"), Speaker::start(B, "up load=30/300\n"));
    let place = Place::with_zone(&format!(
        "[checks.agent]\ntype = \"agent\"\ninterval = \"200ms\"\nfall = 1\nrise = 1\n[pools.web]\ncheck = \"agent\"\n\
         policy = \"least-load\"\nbackends = [{}, {}]\n[names]\nwww = {{ to = \"web\", answers = 2 }}\n",
        a.entry("a"),
        b.entry("b")
    ));
    let server = place.serve();
    let client = server.client();
    until("shares are by capacity", || {
        stdout(&server.run(&["explain", "www.lb.example.com"])).contains("first place: a 25.0 %, b 75.0 %")
    });
    assert!(stdout(&server.run(&["explain", "www.lb.example.com"])).contains("policy least-load"));
    b.say("down # out of memory");
    until("b leaves", || client.set(WWW) == set_of([A]));
    let reason = server.backend("lb.example.com/web/b")["addresses"][0]["reason"].clone();
    assert_eq!(reason, "the agent says \"down # out of memory\"");
    b.say("load=0/300");
    throughout(Duration::from_millis(600), "only up takes a down back", || client.set(WWW) == set_of([A]));
    b.say("UP");
    until("b returns", || client.set(WWW) == set_of([A, B]));
}

#[test]
fn a_state_file_and_a_program_decide() {
    let place = Place::new();
    place.write("rollcall.toml", &format!("{SERVER_FILE}[checker]\nexec = true\n"));
    place.write(
        "check",
        "#!/bin/sh\n[ ! -e \"$0.$ROLLCALL_BACKEND\" ] || { echo \"$ROLLCALL_BACKEND is ill\"; exit 1; }\n",
    );
    std::fs::set_permissions(place.path("check"), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.write(
        "zones/lb.toml",
        &zone(&format!(
            "[checks.state]\ntype = \"file\"\nfile = \"../states\"\n\
             [checks.program]\ntype = \"exec\"\ncommand = [\"{}\"]\ninterval = \"300ms\"\nfall = 1\nrise = 1\n\
             [checks.either]\ntype = \"of\"\nneed = 1\nchecks = [\"state\", \"program\"]\n\
             [pools.both]\nchecks = [\"state\", \"program\"]\nbackends = [{{ name = \"a\", address = \"127.0.0.11\" }}, {{ name = \"b\", address = \"127.0.0.12\" }}]\n\
             [pools.either]\ncheck = \"either\"\nbackends = [{{ name = \"a\", address = \"127.0.0.11\" }}, {{ name = \"b\", address = \"127.0.0.12\" }}]\n\
             [names]\nwww = \"both\"\neither = \"either\"\n",
            place.path("check").display()
        )),
    );
    let server = place.serve();
    let client = server.client();
    let either = "either.lb.example.com.";
    assert_eq!(client.set(WWW), set_of([A, B]));
    place.replace("states", "a down # rack 7\n");
    let begun = Instant::now();
    until("a leaves", || client.set(WWW) == set_of([B]));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(client.set(either), set_of([A, B]), "one of two is enough");
    place.write("check.a", "");
    until("both say no", || client.set(either) == set_of([B]));
    let reason = server.backend("lb.example.com/either/a")["addresses"][0]["reason"].clone();
    assert_eq!(reason, "0 of 2 pass, 1 needed: state fails, program fails");
    let checks = server.backend("lb.example.com/both/a")["addresses"][0]["checks"].clone();
    assert_eq!(checks[0]["reason"], "the file says \"down\": rack 7");
    assert_eq!(checks[1]["reason"], "exit 1: a is ill");
    place.replace("states", "");
    until("one of two is enough again", || client.set(either) == set_of([A, B]));
    assert_eq!(client.set(WWW), set_of([B]));
}

/// `state.json` as the first version wrote it, without what backends say of themselves.
#[test]
fn verdicts_kept_by_an_older_version_are_used() {
    let place = Place::with_zone(
        "[checks.web]\ntype = \"tcp\"\nport = 9\ninterval = \"1h\"\ntimeout = \"500ms\"\n[pools.web]\ncheck = \"web\"\nbackends = [\
         { name = \"a\", address = \"127.0.0.11\" }, { name = \"b\", address = \"127.0.0.12\" }]\n[names]\nwww = \"web\"\n",
    );
    // Written down with version 0.1.0.
    let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
    let verdict = |probe: &str| {
        format!(
            "{{\"probe\":\"{probe}\",\"up\":true,\"since\":\"{now}\",\"last\":\"{now}\",\"reason\":\"as it was kept\"}}"
        )
    };
    let kept = format!(
        "{{\"format\":1,\"version\":\"0.1.0\",\"overrides\":[],\"verdicts\":[{},{}],\"serials\":[],\"answered\":[]}}",
        verdict("127.0.0.11:9-31cdf4a23df77b8a9c28430296370258"),
        verdict("127.0.0.12:9-806e6326d101a66e1682af2e20d869d9")
    );
    std::fs::create_dir(place.path("state")).unwrap();
    place.write("state/state.json", &kept);
    let server = place.serve();
    // Nobody listens on port 9: the first failure of a verdict that was kept is not the last word.
    until("it was probed", || server.backend("lb.example.com/web/b")["addresses"][0]["checks"][0]["contrary"] == 1);
    assert_eq!(server.backend("lb.example.com/web/b")["state"], "up");
    assert_eq!(server.client().set(WWW), set_of([A, B]));
}
