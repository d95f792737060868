//! End to end: files change, and the answers follow, all of them or none; nothing is lost on the way.

mod support;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use support::backend::Backend;
use support::dns::{Client, set_of};
use support::server::{Place, Server, stderr, stdout, zone};
use support::{throughout, until};

const TEXT: &str = "text.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// A zone that says `text`.
fn saying(text: &str) -> String {
    zone(&format!("text = {{ TXT = \"{text}\" }}\n"))
}

fn said(client: &Client) -> String {
    client.ask(TEXT, RecordType::TXT).texts.join("|")
}

/// Waits until the server says `text`, and asserts that it took a second at most since `written`. Debug builds on a busy
/// machine get another half.
#[track_caller]
fn says_within_a_second(client: &Client, text: &str, written: Instant) {
    until(text, || said(client) == text);
    assert!(written.elapsed() < Duration::from_millis(1500), "live only after {:?}", written.elapsed());
}

fn generation(server: &Server) -> u64 {
    server.status().0["generation"].as_u64().unwrap()
}

#[test]
fn edits_are_found_and_live_within_a_second() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let client = server.client();
    assert_eq!(said(&client), "one");

    place.write("zones/lb.toml", &saying("written in place"));
    says_within_a_second(&client, "written in place", Instant::now());
    place.replace("zones/lb.toml", &saying("renamed over"));
    says_within_a_second(&client, "renamed over", Instant::now());

    // As a mounted ConfigMap: the file is a link through a link, and the inner one is swapped.
    for version in ["one", "two"] {
        fs::create_dir(place.path(version)).unwrap();
        place.write(&format!("{version}/lb.toml"), &saying(&format!("swapped {version}")));
    }
    std::os::unix::fs::symlink("../one", place.path("zones/..data")).unwrap();
    std::os::unix::fs::symlink("..data/lb.toml", place.path("zones/.lb")).unwrap();
    fs::rename(place.path("zones/.lb"), place.path("zones/lb.toml")).unwrap();
    says_within_a_second(&client, "swapped one", Instant::now());
    std::os::unix::fs::symlink("../two", place.path("zones/..tmp")).unwrap();
    fs::rename(place.path("zones/..tmp"), place.path("zones/..data")).unwrap();
    says_within_a_second(&client, "swapped two", Instant::now());
}

#[test]
fn the_server_file_is_reloaded_too() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let other = support::server::SERVER_FILE.replace("udp_workers = 1", "udp_workers = 2\nnsid = \"other\"");
    place.write("rollcall.toml", &other);
    until("the reload is in status", || server.status().0["reload"]["cause"] == "edit");
    let (status, code) = server.status();
    assert_eq!(code, 0);
    let messages = status["reload"]["messages"].to_string();
    assert!(messages.contains("udp_workers") && messages.contains("restart"), "{messages}");
}

#[test]
fn a_half_written_file_changes_nothing() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let client = server.client();
    // So that the watch surely stands.
    place.write("zones/lb.toml", &saying("two"));
    until("two", || said(&client) == "two");
    let before = generation(&server);

    let whole = saying("three");
    // The first half is a zone in itself: without the text record.
    let (first, second) = whole.split_at(whole.find("text").unwrap());
    let mut file = OpenOptions::new().write(true).truncate(true).open(place.path("zones/lb.toml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    throughout(Duration::from_millis(1500), "half a file counted", || said(&client) == "two");
    assert_eq!(generation(&server), before);
    assert_eq!(server.status().1, 0, "nothing was refused either");
    file.write_all(second.as_bytes()).unwrap();
    drop(file);
    says_within_a_second(&client, "three", Instant::now());
}

#[test]
fn a_broken_file_keeps_the_old_data_and_is_reported() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let mut server = place.serve();
    let client = server.client();
    place.write(
        "zones/lb.toml",
        &format!("{}[checks.web]\ntype = \"tcp\"\nport = 1\nintervall = \"1s\"\n", saying("two")),
    );
    let logged = server.wait_log("unknown key \"intervall\"");
    let log = server.log().join("\n");
    for part in ["lb.toml:9:1", "intervall = \"1s\"", "^^^", "did you mean \"interval\"?"] {
        assert!(log.contains(part), "{part:?} is missing in the log:\n{log}\n{logged}");
    }
    assert_eq!(said(&client), "one");

    let status = server.run(&["status"]);
    assert_eq!(status.status.code(), Some(1));
    let (status, code) = server.status();
    assert_eq!(code, 1);
    assert_eq!(status["reload"]["ok"], false);
    assert!(status["reload"]["messages"][0].as_str().unwrap().contains("lb.toml:9:1"), "{}", status["reload"]);

    let reload = server.run(&["reload"]);
    assert_eq!(reload.status.code(), Some(2), "wrong configuration");
    assert!(stdout(&reload).contains("intervall"), "{}", stdout(&reload));
    assert_eq!(said(&client), "one");

    place.write("zones/lb.toml", &saying("three"));
    until("three", || said(&client) == "three");
    assert_eq!(server.status().1, 0, "mended");
}

#[test]
fn sighup_and_reload_take_what_lies_there_at_once() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let client = server.client();
    place.write("zones/lb.toml", &saying("two"));
    let reload = server.run(&["reload"]);
    assert_eq!(reload.status.code(), Some(0), "{}", stderr(&reload));
    assert_eq!(said(&client), "two", "live when the command returns");

    place.write("zones/lb.toml", &saying("three"));
    let signalled = Instant::now();
    server.signal(Signal::SIGHUP);
    until("three", || said(&client) == "three");
    println!("live {:?} after SIGHUP", signalled.elapsed());
}

#[test]
fn a_zone_comes_and_goes_with_its_file_and_the_last_one_stays() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let mut server = place.serve();
    let client = server.client();
    assert_eq!(client.ask("other.example.", RecordType::SOA).rcode, ResponseCode::Refused);
    let bare =
        "$ORIGIN other.example.\n$TTL 60\n@ SOA ns.example.net. h.example.net. 7 1 1 1 1\n@ NS ns.example.net.\n";
    place.write("zones/other.zone", bare);
    until("the zone comes", || client.ask("other.example.", RecordType::SOA).serial == Some(7));
    fs::remove_file(place.path("zones/other.zone")).unwrap();
    until("the zone goes", || client.ask("other.example.", RecordType::SOA).rcode == ResponseCode::Refused);
    assert_eq!(said(&client), "one");

    fs::remove_file(place.path("zones/lb.toml")).unwrap();
    server.wait_log("reload refused");
    assert_eq!(said(&client), "one", "a reload that leaves no zone is refused");
    assert_eq!(server.status().1, 1);
}

#[test]
fn a_directory_that_vanishes_is_refused_until_it_returns() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let mut server = place.serve();
    let client = server.client();
    fs::rename(place.path("zones"), place.path("away")).unwrap();
    server.wait_log("reload refused");
    assert_eq!(said(&client), "one");
    assert_eq!(server.status().1, 1);
    place.write("away/lb.toml", &saying("two"));
    fs::rename(place.path("away"), place.path("zones")).unwrap();
    until("it returns", || said(&client) == "two");
    assert_eq!(server.status().1, 0);
    // And is watched as before.
    place.write("zones/lb.toml", &saying("three"));
    until("three", || said(&client) == "three");
}

/// A server under steady queries, reloaded in every way, with one backend down all the time.
#[test]
fn a_reload_under_query_load_loses_no_query_and_keeps_health() {
    let [mut a, b, c] = Backend::several();
    // One check in ten seconds: health that was lost at a reload would show as an answer with the dead backend.
    let zone_with = |serial: usize, more: &str| {
        let check = "[checks.web]\ntype = \"http\"\ninterval = \"10s\"\nfast_interval = \"50ms\"\nfall = 2\nrise = 1\n";
        let entries = [a.entry("a", ""), b.entry("b", ""), more.to_string()].join(", ");
        zone(&format!(
            "text = {{ TXT = \"{serial}\" }}\n{check}[pools.web]\ncheck = \"web\"\nbackends = [{entries}]\n[names]\nwww = \"web\"\n"
        ))
    };
    let third = c.entry("c", "");
    let versions: Vec<String> =
        (1..=30).map(|serial| zone_with(serial, if serial % 3 == 0 { &third } else { "" })).collect();
    let first = zone_with(0, "");
    let (address_a, address_b, address_c) = (a.ip(), b.ip(), c.ip());
    let place = Place::new();
    place.write("zones/lb.toml", &first);
    a.kill();
    let server = place.serve();
    assert_eq!(server.client().set("www.lb.example.com."), set_of([address_b]));
    let since = server.backend("lb.example.com/web/a")["addresses"][0]["since"].clone();

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let client = server.client();
                    let mut count = 0_u32;
                    while !done.load(Ordering::Relaxed) {
                        // Panics when a query is lost.
                        let answer = client.set("www.lb.example.com.");
                        assert!(!answer.contains(&address_a.into()), "the dead one was answered: {answer:?}");
                        assert!(
                            answer == set_of([address_b]) || answer == set_of([address_b, address_c]),
                            "neither the old answer nor the new: {answer:?}"
                        );
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let client = server.client();
        for (index, version) in versions.iter().enumerate() {
            place.replace("zones/lb.toml", version);
            match index % 3 {
                0 => server.signal(Signal::SIGHUP),
                1 => assert_eq!(server.run(&["reload"]).status.code(), Some(0)),
                // Found by itself, while the next ones already overtake it.
                _ => {}
            }
            if index % 3 != 2 {
                let text = (index + 1).to_string();
                until("the reload is live", || said(&client) == text);
            }
        }
        until("the last one is live", || said(&client) == "30");
        done.store(true, Ordering::Relaxed);
        let counts: Vec<u32> = askers.into_iter().map(|asker| asker.join().unwrap()).collect();
        println!("{} reloads under {} queries, none lost", versions.len(), counts.iter().sum::<u32>());
    });
    let after = server.backend("lb.example.com/web/a")["addresses"][0]["since"].clone();
    assert_eq!(after, since, "the verdict is the same one as before all reloads");
}

#[test]
fn a_refused_edit_is_reported_once() {
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let mut server = place.serve();
    place.write("zones/lb.toml", "zone = ");
    server.wait_log("reload refused");
    let refused = || server.log().iter().filter(|line| line.contains("reload refused")).count();
    // Several times the quiet time after which an edit counts.
    throughout(Duration::from_millis(1500), "once", || refused() == 1);
}

/// A zone whose only backend, of the pool `web`, accepts connections and says nothing.
fn with_a_silent_backend(text: &str, port: u16) -> String {
    zone(&format!(
        r#"text = {{ TXT = "{text}" }}
[checks.web]
type = "http"
port = {port}
interval = "20s"
timeout = "20s"
[pools.web]
check = "web"
on_all_down = "nodata"
backends = [{{ name = "silent", address = "127.0.0.1" }}]
[names]
www = "web"
"#
    ))
}

#[test]
fn a_second_reload_does_not_end_the_wait_of_the_first() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let client = server.client();

    let started = Instant::now();
    place.replace("zones/lb.toml", &with_a_silent_backend("two", port));
    server.signal(Signal::SIGHUP);
    // The first reload waits now; the probe is at the backend.
    let _held = silent.accept().unwrap();
    let reloaded = server.run(&["reload"]);
    assert!(reloaded.status.success(), "{}", stderr(&reloaded));
    assert!(started.elapsed() >= Duration::from_millis(4900), "answered unprobed after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(9), "the wait began anew: {:?}", started.elapsed());
    assert_eq!(said(&client), "two");
}

#[test]
fn a_reload_during_the_start_does_not_end_its_wait() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    place.write("zones/lb.toml", &with_a_silent_backend("one", silent.local_addr().unwrap().port()));
    let mut server = place.spawn();
    let _held = silent.accept().unwrap();
    place.replace("zones/lb.toml", &with_a_silent_backend("two", silent.local_addr().unwrap().port()));
    server.wait_ready();
    let took = server.ready_after;
    assert!(took >= Duration::from_millis(4900), "ready before the verdict: {took:?}");
    assert!(took < Duration::from_secs(8), "the wait began anew: {took:?}");
}

#[test]
fn a_refusal_is_not_forgotten_when_an_older_reload_has_waited_enough() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let place = Place::new();
    place.write("zones/lb.toml", &saying("one"));
    let server = place.serve();
    let client = server.client();

    place.replace("zones/lb.toml", &with_a_silent_backend("two", port));
    server.signal(Signal::SIGHUP);
    let held = silent.accept().unwrap();
    place.replace("zones/lb.toml", "zone = ");
    assert_eq!(server.run(&["reload"]).status.code(), Some(2));
    // Its answer ends the wait of the first reload.
    drop(held);
    until("the first reload is live", || said(&client) == "two");
    assert_eq!(server.status().0["reload"]["ok"], false, "the file that lies there is still broken");
}
