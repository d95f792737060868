//! End to end: the process itself. Starts, ends, what survives, and exit codes.

mod support;

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use nix::sys::signal::Signal;
use support::backend::Backend;
use support::dns::set_of;
use support::server::{Place, SERVER_FILE, exists, program, stderr, stdout, zone};
use support::{figures, free_address, throughout, until};

const WWW: &str = "www.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

#[test]
fn a_killed_server_comes_back_with_what_it_knew() {
    let [a, mut b, c] = Backend::several();
    // A long interval: after the restart only what was kept can say that b is down.
    let rest = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"30s\"\ntimeout = \"1s\"\nfast_interval = \"50ms\"\nfall = 2\nwatch = true\n\
         [pools.web]\ncheck = \"web\"\nbackends = [{}, {}, {}]\n[names]\nwww = \"web\"\n",
        a.entry("a", ""),
        b.entry("b", ""),
        c.entry("c", "")
    );
    let place = Place::with_zone(&rest);
    let mut server = place.serve();
    let client = server.client();
    b.kill();
    until("b leaves", || client.set(WWW) == set_of([a.ip(), c.ip()]));
    let drained = server.run(&["state", "lb.example.com/web/c", "drain", "--reason", "new disk", "--for", "1h"]);
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    let serial = client.ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    let since = server.backend("lb.example.com/web/b")["addresses"][0]["since"].clone();
    // Verdicts are written within a second or so; the override is on disk already.
    until("the verdict is kept", || {
        std::fs::read_to_string(place.path("state/state.json")).is_ok_and(|text| text.contains("\"up\": false"))
    });
    server.kill();

    let server = place.serve();
    println!("ready {:?} after the restart", server.ready_after);
    assert!(server.ready_after < Duration::from_secs(1), "not ready within a second: {:?}", server.ready_after);
    let client = server.client();
    assert_eq!(client.set(WWW), set_of([a.ip()]), "the very first answer knows");
    assert_eq!(server.backend("lb.example.com/web/c")["override"]["reason"], "new disk");
    let b_now = server.backend("lb.example.com/web/b");
    assert_eq!(b_now["state"], "down");
    assert_eq!(b_now["addresses"][0]["since"], since, "down since then, not since the restart");
    let serial_now = client.ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    assert!(serial_now.wrapping_sub(serial) < 1 << 31, "the serial went back: {serial} -> {serial_now}");
}

/// While the first verdicts are waited for, files may change that an operator wants taken.
#[test]
fn a_sighup_before_ready_is_heeded() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::with_zone(&format!(
        "[checks.web]\ntype = \"http\"\nport = {}\ninterval = \"10s\"\ntimeout = \"2s\"\n[pools.web]\ncheck = \"web\"\n\
         backends = [{{ address = \"127.0.0.1\" }}]\n[names]\nwww = \"web\"\n",
        silent.local_addr().unwrap().port()
    ));
    let mut server = place.spawn();
    // Its probe has come and gets no answer: the server waits for the verdict.
    let _probe = silent.accept().unwrap();
    server.signal(Signal::SIGHUP);
    server.wait_ready();
    assert!(server.ready_after > Duration::from_secs(1), "it was ready before the signal came");
    until("the reload", || server.status().0["reload"]["cause"] == "SIGHUP");
}

/// An override is on disk before its command returns: whatever is killed after that, it is there.
#[test]
fn an_override_that_was_acknowledged_survives_any_kill() {
    let place = Place::with_zone("[pools.web]\nbackends = [{ address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\n");
    for round in 0..10 {
        let mut server = place.serve();
        if round > 0 {
            let kept = server.backend("lb.example.com/web/192.0.2.1");
            assert_eq!(kept["override"]["reason"], format!("round {}", round - 1));
        }
        let reason = format!("round {round}");
        let said = server.run(&["state", "*/web/192.0.2.1", "drain", "--reason", &reason]);
        assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
        server.kill();
    }
}

#[test]
fn an_override_that_cannot_be_kept_changes_nothing() {
    let place = Place::with_zone(
        "[pools.web]\nbackends = [{ address = \"192.0.2.1\" }, { address = \"192.0.2.2\" }]\n[names]\nwww = \"web\"\n",
    );
    let server = place.serve();
    let client = server.client();
    // What is written beside cannot be: as on a full disk, but for root too.
    until("the place is free", || std::fs::create_dir(place.path("state/state.json.new")).is_ok());
    let refused = server.run(&["state", "*/web/192.0.2.1", "drain"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("nothing changed"), "{}", stderr(&refused));
    assert_eq!(client.addresses(WWW).len(), 2);
    std::fs::remove_dir(place.path("state/state.json.new")).unwrap();
    let taken = server.run(&["state", "*/web/192.0.2.1", "drain"]);
    assert_eq!(taken.status.code(), Some(0), "{}", stderr(&taken));
    assert_eq!(client.addresses(WWW).len(), 1);
}

/// Only root can try it.
#[test]
fn root_binds_and_then_becomes_the_user_for_good() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(place.path("."), open).unwrap();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let server_file = format!("user = \"nobody\"\n{SERVER_FILE}")
        .replace("control = \"127.0.0.1:0\"", &format!("control = \"unix:{}\"", place.path("control.sock").display()));
    place.write("rollcall.toml", &server_file);
    let server = place.serve();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_string();
    let uid = nobody.uid.as_raw();
    assert_eq!(field("Uid:"), [uid; 4].map(|uid| uid.to_string()).join("\t"));
    assert_eq!(field("CapPrm:").trim_matches('0'), "", "no capability is left");
    for file in ["state", "state/state.json", "control.sock"] {
        until("the state is written", || exists(&place.path(file)));
        assert_eq!(std::fs::metadata(place.path(file)).unwrap().uid(), uid, "{file}");
    }
    // What needs files goes on: commands that write, and reloads that read.
    let client = server.client();
    place.write("zones/lb.toml", &zone("www = { A = \"192.0.2.2\" }\n"));
    until("the reload is live", || client.set(WWW) == set_of([[192, 0, 2, 2].into()]));
}

#[test]
fn sigterm_and_sigint_end_the_server_with_exit_code_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::with_zone("");
        let mut server = place.serve();
        let signalled = Instant::now();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
        assert!(signalled.elapsed() < Duration::from_secs(6), "{signal}: a drain ends: {:?}", signalled.elapsed());
        let last = server.wait_log("stopped");
        assert!(last.contains("INFO"), "{last}");
    }
}

#[test]
fn sigterm_before_ready_ends_the_server_too() {
    // A backend that never answers keeps the server waiting for five seconds.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::with_zone(&format!(
        "[checks.web]\ntype = \"http\"\n[pools.web]\ncheck = \"web\"\n\
         backends = [{{ name = \"a\", address = \"127.0.0.1\", port = {} }}]\n[names]\nwww = \"web\"\n",
        silent.local_addr().unwrap().port()
    ));
    let mut server = place.spawn();
    // It probes, so it waits for the verdict now.
    let _probe = silent.accept().unwrap();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn a_taken_port_is_exit_code_2_with_the_remedy() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::with_zone("");
    place.write("rollcall.toml", &SERVER_FILE.replace("dns = [\"127.0.0.1:0\"]", &format!("dns = [\"{address}\"]")));
    let ended = place.run(&["serve"]);
    assert_eq!(ended.status.code(), Some(2));
    let text = stderr(&ended);
    assert!(text.contains(&address) && text.contains("listen"), "address and remedy:\n{text}");
}

#[test]
fn two_servers_never_share_a_state_dir() {
    let place = Place::with_zone("");
    let _first = place.serve();
    let second = place.run(&["serve"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains("another rollcall uses it"), "{}", stderr(&second));
}

#[test]
fn validate_says_what_is_loaded_or_what_is_wrong() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let good = place.run(&["validate"]);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("lb.example.com") && stdout(&good).contains("1 zone"), "{}", stdout(&good));
    assert!(!exists(&place.path("state")), "validate writes nothing");

    place.write("zones/lb.toml", &zone("www = { A = \"192.0.2.256\" }\n"));
    let bad = place.run(&["validate"]);
    assert_eq!(bad.status.code(), Some(2));
    let text = stderr(&bad);
    for part in ["lb.toml:5", "192.0.2.256", "^"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    let start = place.run(&["serve"]);
    assert_eq!(start.status.code(), Some(2), "nor does it start");
    assert!(stderr(&start).contains("lb.toml:5"), "{}", stderr(&start));

    let nowhere = program().args(["validate", "--config", "/nowhere/rollcall.toml"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn commands_without_a_server_are_exit_code_4() {
    let place = Place::with_zone("");
    for arguments in [&["status"][..], &["reload"], &["explain", "www.lb.example.com"], &["state", "*/*/*", "auto"]] {
        let mut command = program();
        command.args(arguments).args(["--control", &format!("unix:{}", place.path("no.sock").display())]);
        let ended = command.output().unwrap();
        assert_eq!(ended.status.code(), Some(4), "{arguments:?}: {}", stderr(&ended));
    }
}

#[test]
fn a_unix_control_socket_is_private_to_its_group_and_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_zone("");
    let socket = place.path("control.sock");
    let server_file =
        SERVER_FILE.replace("control = \"127.0.0.1:0\"", &format!("control = \"unix:{}\"", socket.display()));
    place.write("rollcall.toml", &server_file);
    let mut server = place.serve();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    // Found through the server file alone.
    let status = place.run(&["status"]);
    assert_eq!(status.status.code(), Some(0), "{}", stderr(&status));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(!exists(&socket));
}

/// Logging must never stop DNS: the reader of standard error goes away, and queries and logged events go on.
#[test]
fn a_log_reader_that_is_gone_costs_no_answer() {
    let [mut a, b] = Backend::several();
    let rest = format!(
        "[checks.web]\ntype = \"tcp\"\ninterval = \"100ms\"\ntimeout = \"50ms\"\nfall = 1\nrise = 1\n\
         [pools.web]\ncheck = \"web\"\nbackends = [{}, {}]\n[names]\nwww = \"web\"\n",
        a.entry("a", ""),
        b.entry("b", "")
    );
    let place = Place::with_zone(&rest);
    // The port must be known beforehand: nobody will read where it listens.
    let free = free_address();
    let address = free.0.local_addr().unwrap();
    place.write("rollcall.toml", &SERVER_FILE.replace("dns = [\"127.0.0.1:0\"]", &format!("dns = [\"{address}\"]")));
    drop(free);
    let mut process = place.command(&["serve"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(process.stderr.take());
    let client = support::dns::Client::new(address);
    until("it answers", || client.try_ask(WWW, RecordType::A).is_ok());
    a.kill();
    until("a leaves", || client.set(WWW) == set_of([b.ip()]));
    throughout(Duration::from_millis(200), "it lives", || client.set(WWW) == set_of([b.ip()]));
    assert!(process.try_wait().unwrap().is_none());
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn logs_are_json_where_that_is_asked_for() {
    let place = Place::with_zone("");
    place.write("rollcall.toml", &format!("{SERVER_FILE}\n[log]\nformat = \"json\"\n"));
    let mut server = place.spawn();
    server.wait_log(" ready: ");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    server.wait_log("stopped");
    for line in server.log() {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string() && value["message"].is_string() && value["timestamp"].is_string(), "{line}");
    }
}

/// A small configuration without checks to wait for; the figure counts in release builds.
#[test]
fn a_small_server_answers_soon_after_its_start() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut times = Vec::new();
    for _ in 0..5 {
        let server = place.serve();
        assert_eq!(server.client().addresses(WWW).len(), 1);
        times.push(server.ready_after);
    }
    let least = *times.iter().min().unwrap();
    println!("from exec to ready: {}", figures(times));
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 1000 } else { 50 });
    assert!(least < limit, "ready only after {least:?}");
}
