//! End to end: one process takes the place of another. Nothing is forgotten, nothing is lost, and what does not come up
//! changes nothing.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::backend::Backend;
use support::dns::set_of;
use support::server::{Place, SERVER_FILE, exists, stderr, zone};
use support::{eventually, free_address, until};

const WWW: &str = "www.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// By another process: were the file open for writing here, a child that another test starts at that moment would have it
/// open too, and nobody could run it (ETXTBSY).
fn copy_program(to: &Path) {
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_rollcall")).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{}", to.display());
}

fn write_program(to: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "printf %s \"$1\" > \"$0\""]).arg(to).arg(text);
    assert!(writer.status().is_ok_and(|status| status.success()), "{}", to.display());
}

fn alive(pid: u32) -> bool {
    // A zombie has left.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_successor_knows_all_that_its_predecessor_knew() {
    let [a, mut b, c] = Backend::several();
    // Nothing is probed again while the test runs, but what contradicts a verdict.
    let rest = format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"1h\"\ntimeout = \"1s\"\nfast_interval = \"50ms\"\nfall = 2\nwatch = true\n\
         [pools.web]\ncheck = \"web\"\npolicy = \"weighted\"\nbackends = [{}, {}, {}]\n[names]\nwww = \"web\"\n",
        a.entry("a", ", weight = 3"),
        b.entry("b", ", weight = 50"),
        c.entry("c", ", weight = 1")
    );
    let place = Place::with_zone(&rest);
    let mut server = place.serve();
    let client = server.client();
    until("all are watched", || server.status().0["probing"]["watches"] == 3);
    b.kill();
    until("b leaves", || server.backend("lb.example.com/web/b")["state"] == "down");
    let said = server.run(&["state", "*/web/b", "drain", "--reason", "dead anyway", "--for", "1h"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    let (before, _) = server.status();
    let serial = client.ask("lb.example.com.", RecordType::SOA).serial.unwrap();
    // Weights of 3 and 1: four draws in a row are an exact round, wherever it begins.
    let mut drawn = vec![client.addresses(WWW), client.addresses(WWW)];

    let mut last = server.id();
    for _ in 0..3 {
        let pid = server.replace();
        assert_ne!(pid, last);
        let (after, _) = server.status();
        assert_eq!(after["pid"], pid);
        assert_eq!(after["transitions"], before["transitions"]);
        let b_now = server.backend("lb.example.com/web/b");
        assert_eq!(b_now["override"]["reason"], "dead anyway");
        assert_eq!(b_now["addresses"][0]["verdict"], "down");
        let serial_now = client.ask("lb.example.com.", RecordType::SOA).serial.unwrap();
        assert!(serial_now.wrapping_sub(serial) < 1 << 31, "the serial went back: {serial} -> {serial_now}");
        // Until then the old one may answer too, from its own counters.
        until("the old one has left", || !alive(last));
        drawn.extend([client.addresses(WWW), client.addresses(WWW)]);
        last = pid;
    }
    for round in drawn.chunks(4) {
        let of_a = round.iter().filter(|addresses| addresses[..] == [a.ip()]).count();
        assert_eq!(of_a, 3, "the draw counters went on: {drawn:?}");
    }
    assert_eq!(server.wait().code(), Some(0), "the first process has ended in order");
    // Commands reach the successor, and what they say is kept by it.
    let said = server.run(&["state", "*/web/c", "drain", "--reason", "after"]);
    assert_eq!(said.status.code(), Some(0), "{}", stderr(&said));
    assert!(std::fs::read_to_string(place.path("state/state.json")).unwrap().contains("after"));
}

#[test]
fn what_was_counted_goes_on() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut server = place.serve();
    let client = server.client();
    let queries = |server: &support::server::Server| {
        let (status, _) = server.status();
        let traffic = status["traffic"].as_array().cloned().unwrap_or_default();
        traffic.iter().map(|one| one["queries"].as_u64().unwrap()).sum::<u64>()
    };
    for _ in 0..7 {
        client.ask(WWW, RecordType::A);
    }
    let old = server.id();
    server.replace();
    for _ in 0..4 {
        client.ask(WWW, RecordType::A);
    }
    until("the old one has left", || !alive(old));
    until("both are added up", || queries(&server) == 11);
    server.replace();
    until("and go on adding up", || queries(&server) == 11);
}

#[test]
fn a_connection_that_is_open_goes_on_being_served() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut server = place.serve();
    let mut stream = TcpStream::connect(server.dns).unwrap();
    stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let query = b"\0\x24\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x02lb\x07example\x03com\0\0\x01\0\x01";
    let mut ask = move || {
        stream.write_all(query).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..2], [0x12, 0x34]);
    };
    ask();
    let old = server.id();
    server.replace();
    ask();
    server.replace();
    ask();
    assert!(alive(old), "the one that holds the connection stays for it");
    drop(ask);
    until("and leaves with it", || !alive(old));
}

#[test]
fn what_does_not_come_up_changes_nothing() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut server = place.serve();
    let client = server.client();
    let pid = server.id();
    let refused = |server: &support::server::Server, expected: &str| {
        let output = server.run(&["replace"]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert_eq!(server.status().0["pid"], pid);
        assert_eq!(client.set(WWW), set_of([[192, 0, 2, 1].into()]));
        let said = server.run(&["state", "*/*/*", "auto"]);
        assert_ne!(said.status.code(), Some(4), "it takes commands: {}", stderr(&said));
    };
    // A zone with an error: the diagnostic comes back.
    place.write("zones/lb.toml", &zone("www = { A = \"192.0.2.1\" }\nnonsense = 3\n"));
    refused(&server, "nonsense");
    place.write("zones/lb.toml", &zone("www = { A = \"192.0.2.1\" }\n"));
    // An address that is taken.
    let taken = free_address();
    let listen = format!("dns = [\"127.0.0.1:0\", \"{}\"]", taken.0.local_addr().unwrap());
    place.write("rollcall.toml", &SERVER_FILE.replace("dns = [\"127.0.0.1:0\"]", &listen));
    refused(&server, "the port is taken");
    drop(taken);
    // And now that it is free, it is served too. A child that another test is starting may hold it a moment longer.
    let pid = eventually("the port is free", || {
        let output = server.run(&["replace", "--json"]);
        let replaced: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        replaced.and_then(|replaced| u32::try_from(replaced["pid"].as_u64()?).ok())
    });
    server.replaced_by(pid);
    let (status, _) = server.status();
    assert_eq!(status["listening"].as_array().unwrap().len(), 3, "{status}");
    assert_eq!(support::dns::Client::new(server.dns).addresses(WWW).len(), 1);
}

/// The program itself is bad: the file under the name that the server was started by is another one now.
#[test]
fn a_program_that_crashes_or_hangs_is_no_successor() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let program = place.path("rollcall");
    copy_program(&program);
    let mut command = Command::new(&program);
    command.args(["serve", "--config"]).arg(place.path("rollcall.toml")).current_dir(place.path("."));
    command.stdin(Stdio::null());
    let mut server = place.serve_by(command);
    let install = |text: &str| {
        let beside = place.path("rollcall.new");
        match text {
            "" => copy_program(&beside),
            text => write_program(&beside, text),
        }
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(&beside, &program).unwrap();
    };
    install("#!/bin/sh\nexit 7\n");
    let output = server.run(&["replace"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("exit status: 7"), "{}", stderr(&output));
    install("#!/bin/sh\nkill -SEGV $$\n");
    assert!(stderr(&server.run(&["replace"])).contains("signal: 11"));
    install("not a program");
    assert!(stderr(&server.run(&["replace"])).contains("cannot start"));
    assert_eq!(server.status().0["pid"], server.id());
    // The right one again: an upgrade as packages do it.
    install("");
    server.replace();
    assert_eq!(server.client().addresses(WWW).len(), 1);
}

/// The server was started by a name that is relative to where it was started.
#[test]
fn a_relative_name_is_found_again_and_a_file_that_is_gone_is_said() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    std::fs::create_dir(place.path("bin")).unwrap();
    let program = place.path("bin/rollcall");
    copy_program(&program);
    let mut command = Command::new("bin/rollcall");
    command.args(["serve", "--config", "rollcall.toml"]).current_dir(place.path("."));
    command.stdin(Stdio::null());
    let mut server = place.serve_by(command);
    let executable = |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    // An upgrade: another file under the name, which the successor runs.
    copy_program(&place.path("bin/new"));
    std::fs::rename(place.path("bin/new"), &program).unwrap();
    let old = server.id();
    assert!(executable(old).to_string_lossy().ends_with(" (deleted)"));
    let pid = server.replace();
    assert_eq!(inode(&executable(pid)), inode(&program));
    until("the old one has left", || !alive(old));
    // Moved: the name leads nowhere, and the program that runs is started once more.
    std::fs::rename(&program, place.path("bin/moved")).unwrap();
    let output = server.run(&["replace", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let replaced: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let moved = u32::try_from(replaced["pid"].as_u64().unwrap()).unwrap();
    server.replaced_by(moved);
    assert!(replaced["notes"].to_string().contains("cannot be found"), "{replaced}");
    assert_eq!(inode(&executable(moved)), inode(&place.path("bin/moved")));
    until("the second has left", || !alive(pid));
    // And where the name leads somewhere again, that is the next one.
    copy_program(&program);
    let last = server.replace();
    assert_eq!(inode(&executable(last)), inode(&program));
    assert_eq!(server.client().addresses(WWW).len(), 1);
}

#[test]
fn sigusr2_replaces_too_and_the_control_socket_stays() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let socket = place.path("control.sock");
    let address = format!("unix:{}", socket.display());
    place.write("rollcall.toml", &SERVER_FILE.replace("127.0.0.1:0\"\n[dns]", &format!("{address}\"\n[dns]")));
    let mut server = place.serve();
    assert_eq!(server.control, address);
    let old = server.id();
    server.signal(Signal::SIGUSR2);
    until("the old one has left", || !alive(old));
    let pid = u32::try_from(server.status().0["pid"].as_u64().unwrap()).unwrap();
    server.replaced_by(pid);
    assert_ne!(pid, old);
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    until("the new one has left", || !alive(pid));
    assert!(!exists(&socket), "the last one removes it");
}

/// Sockets below 1024 pass although the right to bind them is gone. Only root can try it.
#[test]
fn a_server_that_gave_up_root_is_replaced_too() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    std::fs::set_permissions(place.path("."), std::fs::Permissions::from_mode(0o755)).unwrap();
    let listen = "dns = [\"127.0.86.1:53\"]";
    let file = SERVER_FILE.replace("dns = [\"127.0.0.1:0\"]", listen);
    place.write("rollcall.toml", &format!("user = \"nobody\"\n{file}"));
    // Built as root, and where `nobody` may not look: the program lies where it may.
    let program = place.path("rollcall");
    copy_program(&program);
    let mut command = Command::new(&program);
    command.args(["serve", "--config"]).arg(place.path("rollcall.toml")).stdin(Stdio::null());
    let mut server = place.serve_by(command);
    let pid = server.replace();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(!status.contains("Uid:\t0"), "{status}");
    assert_eq!(server.client().addresses(WWW).len(), 1);
    // A further port below 1024 is out of reach, and the server goes on.
    place.write(
        "rollcall.toml",
        &format!("user = \"nobody\"\n{}", file.replace(listen, "dns = [\"127.0.86.1:53\", \"127.0.86.2:53\"]")),
    );
    let output = server.run(&["replace"]);
    if output.status.code() == Some(0) {
        println!("this machine lets everybody bind port 53");
    } else {
        assert!(stderr(&output).contains("ports below 1024 need root"), "{}", stderr(&output));
        assert_eq!(server.status().0["pid"], pid);
    }
}

/// Two at once: one is carried out after the other, and none is lost.
#[test]
fn requests_to_be_replaced_queue_up() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut server = place.serve();
    let outputs: Vec<_> = std::thread::scope(|scope| {
        let ask = || server.run(&["replace", "--json"]);
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for output in &outputs {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        let replaced: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        server.replaced_by(u32::try_from(replaced["pid"].as_u64().unwrap()).unwrap());
    }
    assert_eq!(server.client().addresses(WWW).len(), 1);
}
