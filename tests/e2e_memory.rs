//! End to end: what a server remembers outlives whatever befalls the process and the disk, and it says what it could not keep.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hickory_proto::rr::RecordType;
use rollcall::control::events::{Event, What};
use rollcall::control::journal::{self, JournalQuery, Record};
use serde_json::Value;
use support::backend::Backend;
use support::server::{Place, Server, program, stderr, stdout};
use support::until;

const WWW: &str = "www.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// Backends that say by heartbeat how they are: as many transitions as one likes.
fn pushed(names: &[&str]) -> String {
    let backends: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| format!("{{ name = \"{name}\", address = \"192.0.2.{}\" }}", at + 1))
        .collect();
    format!(
        "[checks.beat]\ntype = \"push\"\nttl = \"1h\"\nfall = 1\nrise = 1\n\
         [pools.web]\ncheck = \"beat\"\ninitial = \"up\"\nbackends = [{}]\n[names]\nwww = \"web\"\n",
        backends.join(", ")
    )
}

fn push(server: &Server, backend: &str, word: &str) {
    let output = server.run(&["push", &format!("lb.example.com/web/{backend}"), "--status", word]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

fn records(state_dir: &Path) -> Vec<Record> {
    journal::read(state_dir, &JournalQuery::default()).unwrap().records
}

fn history(server: &Server, more: &[&str]) -> (String, Option<i32>) {
    let output = program().args(["history", "--control", &server.control]).args(more).output().unwrap();
    (stdout(&output), output.status.code())
}

fn rises_by_one(records: &[Record]) {
    assert!(records.windows(2).all(|two| two[0].seq + 1 == two[1].seq), "{records:#?}");
}

#[test]
fn history_is_longer_than_a_process_and_has_loads_overrides_and_pools() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut server = place.serve();
    push(&server, "a", "down # disk");
    until("a is down", || server.backend("lb.example.com/web/a")["state"] == "down");
    push(&server, "b", "down");
    until("the pool fails open", || history(&server, &[]).0.contains("-> panic"));
    let said = server.run(&["state", "*/web/a", "drain", "--reason", "new disk"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    place.write("zones/lb.toml", "nonsense");
    assert_eq!(server.run(&["reload"]).status.code(), Some(2));
    until("it is written", || history(&server, &[]).0.contains("reload refused"));
    server.kill();
    place.write("zones/lb.toml", &support::server::zone(&pushed(&["a", "b"])));
    let mut server = place.serve();
    let (text, code) = history(&server, &[]);
    assert_eq!(code, Some(0));
    for expected in [
        "started, process",
        "lb.example.com/web/a 192.0.2.1  unknown -> down  ",
        "pool lb.example.com/web A",
        ": new disk",
        "loaded (start): 1 zones, 1 pools",
        "reload refused (command)",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    // By time, by number, by name.
    let json = |more: &[&str]| -> Value {
        let more: Vec<&str> = more.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&history(&server, &more).0).unwrap()
    };
    let everything = json(&[])["events"].as_array().unwrap().clone();
    let second_start = everything.iter().rposition(|one| one["event"] == "start").unwrap();
    let since = everything[second_start]["at"].as_str().unwrap();
    assert_eq!(json(&["--since", since])["events"].as_array().unwrap().len(), everything.len() - second_start);
    assert_eq!(json(&["--limit", "1"])["events"][0]["seq"], everything.last().unwrap()["seq"]);
    assert!(json(&["--limit", "1"])["more"].as_bool().unwrap());
    let of_b = json(&["*/*/b"]);
    let of_b = of_b["events"].as_array().unwrap();
    assert!(!of_b.is_empty() && of_b.iter().all(|one| one["id"] == "lb.example.com/web/b"), "{of_b:?}");
    assert_eq!(history(&server, &["--until", "100d"]).1, Some(1), "nothing is so old");
    // In order: the stop is the last word.
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.wait();
    let records = records(&place.path("state"));
    assert!(matches!(records.last().unwrap().event.what, What::Stop { .. }));
    rises_by_one(&records);
}

#[test]
fn a_replaced_server_leaves_one_journal_without_a_gap_or_a_word_twice() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut server = place.serve();
    for round in 0..3 {
        push(&server, "a", "down");
        until("a is down", || server.backend("lb.example.com/web/a")["state"] == "down");
        push(&server, "a", "up");
        until("a is up", || server.backend("lb.example.com/web/a")["state"] == "up");
        let old = server.answering();
        server.replace();
        until("the old one has left", || !Path::new(&format!("/proc/{old}")).exists() || round == 0);
    }
    let (text, _) = history(&server, &[]);
    assert_eq!(text.matches("took over").count(), 3, "{text}");
    assert_eq!(text.matches(" -> down").count(), 3, "{text}");
    assert_eq!(text.matches("down -> up").count(), 3, "{text}");
    rises_by_one(&records(&place.path("state")));
}

/// The promise of the whole: whatever was acknowledged is there after the next start, and no record is half.
#[test]
fn killed_at_any_moment_nothing_that_was_acknowledged_is_lost() {
    let rounds: u64 = std::env::var("ROLLCALL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let place = Place::with_zone(&pushed(&["a", "b", "c"]));
    let acknowledged = AtomicU64::new(0);
    let mut serial = 0;
    for round in 0..rounds {
        let mut server = place.serve();
        let before = acknowledged.load(Ordering::Relaxed);
        if before > 0 {
            let kept = server.backend("lb.example.com/web/c")["override"]["reason"].as_str().unwrap().to_owned();
            // The last may have been kept and not yet answered.
            assert!(kept == before.to_string() || kept == (before + 1).to_string(), "{kept}, acknowledged {before}");
        }
        let serial_now = server.client().ask("lb.example.com.", RecordType::SOA).serial.unwrap();
        assert!(serial_now.wrapping_sub(serial) < 1 << 31, "{serial} -> {serial_now}");
        serial = serial_now;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (server_, stop, acknowledged) = (&server, &stop, &acknowledged);
            let control = &server_.control;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = acknowledged.load(Ordering::Relaxed) + 1;
                    let change = format!("{{\"backend\":\"*/web/c\",\"state\":\"drain\",\"reason\":\"{number}\"}}");
                    if put(control, "/v1/state", &change) {
                        acknowledged.store(number, Ordering::Relaxed);
                    }
                }
            });
            scope.spawn(move || {
                for word in ["down", "up"].iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    put(control, "/v1/push/lb.example.com/web/a", word);
                }
            });
            // Another moment each time.
            std::thread::sleep(Duration::from_millis(60 + (round * 37) % 180));
            server_.signal(nix::sys::signal::Signal::SIGKILL);
            stop.store(true, Ordering::Relaxed);
        });
        server.wait();
    }
    let server = place.serve();
    let page = journal::read(&place.path("state"), &JournalQuery::default()).unwrap();
    assert_eq!(page.damaged, 0, "a torn end is cut off, not left");
    rises_by_one(&page.records);
    let said: Vec<u64> = page
        .records
        .iter()
        .filter_map(|record| match &record.event.what {
            What::Override { reason, .. } => reason.as_deref()?.parse().ok(),
            _ => None,
        })
        .collect();
    let last = acknowledged.load(Ordering::Relaxed);
    assert!(last >= rounds, "a stream of overrides: {last}");
    // The journal is written beside the answer: a kill may cost the record of the moment, and no more.
    let missing = (1..=last).filter(|number| !said.contains(number)).count() as u64;
    assert!(missing <= rounds, "{missing} of {last} overrides are missing in the journal");
    assert!(!exists_half(&place.path("state")), "nothing half-written stays");
    println!("{rounds} kills, {last} overrides acknowledged and kept, {missing} of them not in the journal");
    drop(server);
}

/// One request; whether it was carried out.
fn put(control: &str, path: &str, body: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(control) else { return false };
    let kind = if body.starts_with('{') { "application/json" } else { "text/plain" };
    let length = body.len();
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {control}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let mut reply = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut reply).is_ok()
        && reply.starts_with("HTTP/1.1 200 ")
}

fn exists_half(state: &Path) -> bool {
    fs::read_dir(state).unwrap().any(|entry| entry.unwrap().file_name().to_string_lossy().contains("unreadable"))
}

/// A limit on the length of files is a disk that fills in the middle of a line; raised, it is one with room again.
#[test]
fn a_full_disk_is_said_and_the_journal_goes_on_when_there_is_room() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; ulimit -S -f 12; exec \"$0\" serve --config rollcall.toml";
    command.args(["-c", script, env!("CARGO_BIN_EXE_rollcall")]).current_dir(place.path(".")).stdin(Stdio::null());
    let mut server = place.serve_by(command);
    let client = server.client();
    let mut round = 0;
    until("the disk is full", || {
        round += 1;
        push(&server, "a", if round % 2 == 0 { "up # and now some words that make the record longer" } else { "down" });
        !server.status().0["memory"]["journal_error"].is_null()
    });
    let status = server.status().0;
    assert!(status["memory"]["journal_waiting"].as_u64().unwrap() > 0, "{}", status["memory"]);
    let text = stdout(&server.run(&["status"]));
    assert!(text.contains("the journal cannot be written"), "{text}");
    server.wait_log("the journal could not be written");
    // Answers, verdicts and commands go on.
    push(&server, "b", "down");
    until("verdicts go on", || server.backend("lb.example.com/web/b")["state"] == "down");
    assert!(!client.addresses(WWW).is_empty());
    let before = journal::read(&place.path("state"), &JournalQuery::default()).unwrap();
    assert_eq!(before.damaged, 0, "half a record was cut off");
    // Room again.
    let raised = Command::new("prlimit").args(["--pid", &server.id().to_string(), "--fsize=unlimited"]).status();
    assert!(raised.is_ok_and(|status| status.success()), "prlimit (util-linux)");
    until("it goes on", || server.status().0["memory"]["journal_error"].is_null());
    server.wait_log("the journal is written again");
    let page = journal::read(&place.path("state"), &JournalQuery::default()).unwrap();
    rises_by_one(&page.records);
    let b_is_down = |event: &Event| matches!(&event.what, What::Transition { id, .. } if id == "lb.example.com/web/b");
    assert!(page.records.iter().any(|record| b_is_down(&record.event)), "what waited is there");
    let memory = server.status().0["memory"].clone();
    assert_eq!((memory["journal_waiting"].as_u64(), memory["journal_lost"].as_u64()), (Some(0), Some(0)));
}

/// What cannot be kept is refused, and has not happened: neither in answers nor in anything that tells of changes.
#[test]
fn an_override_that_the_disk_refuses_leaves_no_trace() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" serve --config rollcall.toml", env!("CARGO_BIN_EXE_rollcall")]);
    let server = place.serve_by({
        command.current_dir(place.path(".")).stdin(Stdio::null());
        command
    });
    let limit = |octets: &str| {
        let limited = Command::new("prlimit")
            .args(["--pid", &server.id().to_string(), &format!("--fsize={octets}:unlimited")])
            .status();
        assert!(limited.is_ok_and(|status| status.success()), "prlimit (util-linux)");
    };
    let seen = || {
        let status = server.status().0;
        let pools = status["zones"][0]["pools"].to_string();
        (status["generation"].clone(), status["transitions"].clone(), pools)
    };
    for backend in ["a", "b"] {
        push(&server, backend, "up");
        until("all is calm", || server.backend(&format!("lb.example.com/web/{backend}"))["state"] == "up");
    }
    let before = seen();
    limit("0");
    let said = server.run(&["state", "*/web/a", "drain", "--reason", "refused"]);
    assert_ne!(said.status.code(), Some(0));
    assert!(stderr(&said).contains("could not be kept, nothing changed"), "{}", stderr(&said));
    assert_eq!(seen(), before);
    let changes = get(&server.control, "/v1/changes?kinds=override,transition");
    assert!(!changes.contains("refused") && !changes.contains("override"), "{changes}");
    assert!(!get(&server.control, "/metrics").contains("to=\"draining\""), "no transition is counted");
    limit("unlimited");
    let said = server.run(&["state", "*/web/a", "drain", "--reason", "kept"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    assert_eq!(server.backend("lb.example.com/web/a")["override"]["reason"], "kept");
    let changes = get(&server.control, "/v1/changes?kinds=override,transition");
    assert_eq!(changes.matches("\"kind\":\"override\"").count(), 1, "{changes}");
}

/// A pipe that nobody reads, where the file is to be written, is a disk that hangs: who opens it waits in one call for ever.
#[test]
fn a_disk_that_hangs_ends_a_hand_over_and_holds_up_neither_verdicts_nor_the_stop() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut server = place.serve();
    let pipe = place.path("state/state.json.new");
    until("there is a pipe", || Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    std::thread::scope(|scope| {
        let replacing = scope.spawn(|| server.run(&["replace"]));
        let mut longest = Duration::ZERO;
        while !replacing.is_finished() {
            let begun = Instant::now();
            server.status();
            longest = longest.max(begun.elapsed());
        }
        let said = replacing.join().unwrap();
        assert_ne!(said.status.code(), Some(0));
        assert!(stderr(&said).contains("the disk did not answer within 5 s"), "{}", stderr(&said));
        assert!(longest < Duration::from_secs(3), "{longest:?}");
    });
    push(&server, "b", "down");
    until("verdicts go on", || server.backend("lb.example.com/web/b")["state"] == "down");
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let begun = Instant::now();
    assert_eq!(server.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(server.log().join("\n").contains("what is to be kept could not be written: the disk did not answer"));
}

/// The whole answer.
fn get(control: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(control).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_torn_journal_and_a_damaged_state_are_said_and_the_rest_is_kept() {
    let place = Place::with_zone(&pushed(&["a", "b"]));
    let mut server = place.serve();
    let said = server.run(&["state", "*/web/a", "drain", "--reason", "kept"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    push(&server, "b", "down");
    until("it is recorded", || history(&server, &[]).0.contains("-> down"));
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.wait();
    let file = place.path("state/journal/00000001.jsonl");
    let mut text = fs::read(&file).unwrap();
    text.extend_from_slice(b"{\"seq\":99,\"at\":\"20");
    fs::write(&file, &text).unwrap();
    let state = place.path("state/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, &text[..text.find("\"serials\"").unwrap()]).unwrap();
    let mut server = place.serve();
    server.wait_log("the journal's last record was torn: 18 octets of it are dropped");
    let line = server.wait_log("kept 1 overrides");
    assert!(line.contains("state.json.unreadable-1"), "{line}");
    assert_eq!(server.backend("lb.example.com/web/a")["override"]["reason"], "kept");
    rises_by_one(&records(&place.path("state")));
}

#[test]
fn a_state_dir_of_a_newer_version_is_set_aside_and_never_destroyed() {
    let place = Place::with_zone(&pushed(&["a"]));
    let newer = "{\"format\": 2, \"overrides\": {\"all\": \"of it\"}}";
    fs::create_dir_all(place.path("state/journal")).unwrap();
    fs::write(place.path("state/state.json"), newer).unwrap();
    let mut server = place.serve();
    let line = server.wait_log("format 2, and this version of rollcall reads 1");
    assert!(line.contains("state.json.unreadable-1"), "{line}");
    assert_eq!(fs::read_to_string(place.path("state/state.json.unreadable-1")).unwrap(), newer);
    assert_eq!(server.client().addresses(WWW).len(), 1);
}

#[test]
fn unknown_keys_of_another_version_are_refused_with_the_nearest_key() {
    let place = Place::with_zone(
        "www = { A = \"192.0.2.1\" }\n[pools.web]\nbackends = [{ address = \"192.0.2.1\", wieght = 3 }]\n",
    );
    let output = place.run(&["validate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean \"weight\"?"), "{}", stderr(&output));
}

/// Overrides, verdicts, drain clocks and the serial: each by itself.
#[test]
fn after_a_restart_answers_come_at_once_from_what_was_known() {
    let [a, mut b] = Backend::several();
    let rest = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"1h\"\ntimeout = \"1s\"\nfast_interval = \"50ms\"\nfall = 2\nwatch = true\n\
         [pools.web]\ncheck = \"web\"\nbackends = [{}, {}, {{ name = \"gone\", address = \
         \"192.0.2.9\", checks = [] }}]\n[names]\nwww = \"web\"\n",
        a.entry("a", ""),
        b.entry("b", ""),
    );
    let place = Place::with_zone(&rest);
    let mut server = place.serve();
    until("both are watched", || server.status().0["probing"]["watches"] == 2);
    b.kill();
    until("b leaves", || server.backend("lb.example.com/web/b")["state"] == "down");
    let said = server.run(&["state", "*/web/gone", "drain", "--reason", "moved", "--for", "1h", "--json"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    let safe = server.backend("lb.example.com/web/gone")["drain"]["safe_to_stop_at"].clone();
    assert!(safe.is_string(), "{safe}");
    let serial = server.client().ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    let verdict = server.backend("lb.example.com/web/b")["addresses"][0].clone();
    // The clock goes to the disk within a second.
    until("the clock is kept", || fs::read_to_string(place.path("state/state.json")).unwrap().contains("192.0.2.9"));
    server.kill();
    let begun = Instant::now();
    let server = place.serve();
    assert!(begun.elapsed() < Duration::from_secs(4), "nothing is waited for: {:?}", begun.elapsed());
    assert_eq!(server.client().addresses(WWW), [a.ip()], "verdict and override");
    let gone = server.backend("lb.example.com/web/gone");
    assert_eq!((&gone["override"]["reason"], &gone["drain"]["safe_to_stop_at"]), (&"moved".into(), &safe), "the clock");
    assert!(gone["override"]["until"].is_string());
    let b_now = server.backend("lb.example.com/web/b")["addresses"][0].clone();
    assert_eq!((&b_now["verdict"], &b_now["since"]), (&verdict["verdict"], &verdict["since"]));
    let serial_now = server.client().ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    assert!(serial_now.wrapping_sub(serial) < 1 << 31, "{serial} -> {serial_now}");
    assert!(SystemTime::now() < humantime::parse_rfc3339(safe.as_str().unwrap()).unwrap() + Duration::from_secs(3600));
}

/// Heartbeats: nobody looks before they come again.
#[test]
fn ttls_are_the_least_until_a_backend_was_probed_again_and_not_after_a_replace() {
    let zone = pushed(&["a", "b"]).replace("initial = \"up\"", "initial = \"up\"\nttl = { max = 60, min = 7 }");
    let place = Place::with_zone(&zone);
    let mut server = place.serve();
    let ttl = |server: &Server| server.status().0["zones"][0]["names"][0]["ttl"].as_u64().unwrap();
    let beat = |server: &Server| {
        push(server, "a", "up");
        push(server, "b", "down");
    };
    beat(&server);
    until("all is calm", || ttl(&server) == 60);
    until("it is kept", || fs::read_to_string(place.path("state/state.json")).unwrap().contains("\"up\": true"));
    server.kill();
    let mut server = place.serve();
    assert_eq!(server.client().addresses(WWW), [std::net::Ipv4Addr::new(192, 0, 2, 1)], "as it was known");
    assert_eq!(ttl(&server), 7, "nobody has looked since");
    push(&server, "a", "up");
    support::throughout(Duration::from_millis(200), "of the other nothing is known", || ttl(&server) == 7);
    beat(&server);
    until("both were heard again", || ttl(&server) == 60);
    server.replace();
    assert_eq!(ttl(&server), 60, "a successor knows what its predecessor saw");
}
