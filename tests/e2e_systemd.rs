//! End to end: under a service manager, played by the test. A real notify socket, real inherited descriptors.

mod support;

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::server::{Place, Server, exists, stderr};
use support::{DEADLINE, eventually};

const WWW: &str = "www.lb.example.com.";

/// The manager's end of NOTIFY_SOCKET.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(place: &Place) -> Manager {
        let socket = UnixDatagram::bind(place.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Manager { socket, heard: Vec::new() }
    }

    /// Waits for a message that holds `line`; messages before it are passed over. The whole message.
    #[track_caller]
    fn wait(&mut self, line: &str) -> String {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        while begun.elapsed() < DEADLINE {
            let Ok(length) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.push(message.clone());
            if message.lines().any(|one| one == line || (line.ends_with('=') && one.starts_with(line))) {
                return message;
            }
        }
        panic!("the manager never heard {line:?}, but {:?}", self.heard);
    }

    /// What comes within a while.
    fn listen(&mut self, span: Duration) -> Vec<String> {
        let begun = Instant::now();
        let mut buffer = [0; 4096];
        let mut heard = Vec::new();
        while begun.elapsed() < span {
            if let Ok(length) = self.socket.recv(&mut buffer) {
                heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
            }
        }
        heard
    }
}

fn notified(place: &Place, command: &mut Command) -> Manager {
    command.env("NOTIFY_SOCKET", place.path("notify"));
    Manager::new(place)
}

fn value<'a>(message: &'a str, key: &str) -> &'a str {
    message.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default()
}

#[test]
fn the_manager_hears_ready_reloading_and_stopping() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut command = place.command(&["serve"]);
    let mut manager = notified(&place, &mut command);
    let mut server = place.serve_by(command);
    manager.wait("READY=1");
    assert_eq!(value(&manager.wait("STATUS="), "STATUS="), "ok: 1 zones, 0 of 0 probes down");

    for number in 0..2 {
        let before = monotonic_usec();
        match number {
            0 => server.signal(Signal::SIGHUP),
            _ => assert_eq!(server.run(&["reload"]).status.code(), Some(0)),
        }
        let message = manager.wait("RELOADING=1");
        let stamp: u128 = value(&message, "MONOTONIC_USEC=").parse().unwrap();
        assert!(stamp >= before, "systemd takes a stamp from before its request for an older reload");
        manager.wait("READY=1");
    }
    place.write("zones/lb.toml", "zone = \"lb.example.com\"\nnonsense = 1\n");
    assert_eq!(server.run(&["reload"]).status.code(), Some(2));
    let message = manager.wait("STATUS=degraded: 1 zones, 0 of 0 probes down, the last reload was refused");
    assert!(message.contains("READY=1"), "refused, and still serving");
    server.signal(Signal::SIGTERM);
    manager.wait("STOPPING=1");
    assert_eq!(server.wait().code(), Some(0));
}

/// Of the system, rounded down to a hundredth of a second.
fn monotonic_usec() -> u128 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    (seconds * 1e6) as u128
}

#[test]
fn the_watchdog_is_patted_while_the_server_lives_and_not_while_it_hangs() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut command = place.command(&["serve"]);
    command.env("WATCHDOG_USEC", "1500000");
    let mut manager = notified(&place, &mut command);
    let server = place.serve_by(command);
    manager.wait("READY=1");
    let begun = Instant::now();
    for _ in 0..4 {
        manager.wait("WATCHDOG=1");
    }
    assert!(begun.elapsed() < 4 * Duration::from_millis(1500), "in time, each time: {:?}", begun.elapsed());
    server.signal(Signal::SIGSTOP);
    manager.listen(Duration::from_millis(100));
    assert!(manager.listen(Duration::from_millis(1500)).is_empty(), "a server that hangs says nothing");
    server.signal(Signal::SIGCONT);
    manager.wait("WATCHDOG=1");
}

#[test]
fn a_watchdog_for_another_process_is_none() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut command = place.command(&["serve"]);
    command.env("WATCHDOG_USEC", "300000").env("WATCHDOG_PID", "1");
    let mut manager = notified(&place, &mut command);
    let _server = place.serve_by(command);
    manager.wait("READY=1");
    let heard = manager.listen(Duration::from_millis(700));
    assert!(heard.iter().all(|message| !message.contains("WATCHDOG")), "{heard:?}");
}

#[test]
fn the_manager_learns_who_replaced_the_server() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    let mut command = place.command(&["serve"]);
    command.env("WATCHDOG_USEC", "1500000");
    let mut manager = notified(&place, &mut command);
    let mut server = place.serve_by(command);
    manager.wait("READY=1");
    place.write("zones/bad.toml", "nonsense");
    assert_eq!(server.run(&["replace"]).status.code(), Some(1));
    manager.wait("RELOADING=1");
    let message = manager.wait("READY=1");
    assert!(!message.contains("MAINPID"), "{message}");
    std::fs::remove_file(place.path("zones/bad.toml")).unwrap();

    let pid = server.replace();
    manager.wait("RELOADING=1");
    let message = manager.wait(&format!("MAINPID={pid}"));
    assert!(message.contains("READY=1"), "{message}");
    assert_eq!(server.wait().code(), Some(0));
    let heard = manager.listen(Duration::from_millis(300));
    assert!(heard.iter().all(|message| !message.contains("STOPPING")), "nobody stops: {heard:?}");
    manager.wait("WATCHDOG=1");
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    manager.wait("STOPPING=1");
}

/// As systemd does it: descriptors from 3 on, their names, and the process that they are for.
fn activated(place: &Place, sockets: Vec<(&str, OwnedFd)>) -> Command {
    let rollcall = format!("LISTEN_PID=$$ exec '{}' serve --config rollcall.toml", env!("CARGO_BIN_EXE_rollcall"));
    let mut command = Command::new("sh");
    command.args(["-c", &rollcall]).current_dir(place.path(".")).stdin(Stdio::null());
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let mappings = sockets.into_iter().zip(3..).map(|((_, parent_fd), child_fd)| FdMapping { parent_fd, child_fd });
    command.fd_mappings(mappings.collect()).unwrap();
    command
}

fn udp_and_tcp(address: &str) -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind(address).unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

#[test]
fn sockets_of_the_manager_are_served_and_outlive_the_server() {
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    place.write("rollcall.toml", "state_dir = \"state\"\n[dns]\nudp_workers = 3\n");
    let (udp, tcp) = udp_and_tcp("127.0.0.1:0");
    let (wild, wild_tcp) = udp_and_tcp("0.0.0.0:0");
    let control = UnixListener::bind(place.path("here.sock")).unwrap();
    let dns = udp.local_addr().unwrap();
    let sockets = || -> Vec<(&str, OwnedFd)> {
        vec![
            ("dns", udp.try_clone().unwrap().into()),
            ("control", control.try_clone().unwrap().into()),
            ("dns", tcp.try_clone().unwrap().into()),
            ("dns", wild.try_clone().unwrap().into()),
            ("dns", wild_tcp.try_clone().unwrap().into()),
        ]
    };
    // A query that comes before the server: it waits in the socket.
    let early = support::dns::Client::new(dns);
    let waiting = std::thread::spawn(move || early.ask(WWW, RecordType::A));
    let mut server = place.serve_by(activated(&place, sockets()));
    assert_eq!(waiting.join().unwrap().addresses.len(), 1);
    server.control = format!("unix:{}", place.path("here.sock").display());
    let (status, _) = server.status();
    let listening: Vec<&str> =
        status["listening"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(listening.contains(&format!("udp+tcp {dns}").as_str()), "{listening:?}");
    assert_eq!(listening.len(), 3, "and on nothing else: {listening:?}");
    let any = support::dns::Client::new(([127, 0, 0, 9], wild.local_addr().unwrap().port()).into());
    assert_eq!(any.addresses(WWW).len(), 1, "from the address that was asked");

    let pid = server.replace();
    assert_eq!(server.status().0["pid"], pid);
    assert_eq!(any.addresses(WWW).len(), 1);
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    // Not asked by a command: who connects to the manager's socket now waits for the next server.
    let gone = || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
    eventually("it leaves", || gone().then_some(()));
    assert!(exists(&place.path("here.sock")), "the manager's file is the manager's");
    // A restart: the sockets were never closed.
    drop(server);
    let mut server = place.serve_by(activated(&place, sockets()));
    server.dns = dns;
    assert_eq!(server.client().addresses(WWW).len(), 1);
}

#[test]
fn sockets_that_cannot_serve_are_refused_by_name() {
    let place = Place::with_zone("");
    let refused = |sockets| {
        let output = activated(&place, sockets).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        stderr(&output)
    };
    let tcp = || -> OwnedFd { TcpListener::bind("127.0.0.1:0").unwrap().into() };
    let udp = || -> OwnedFd { UdpSocket::bind("127.0.0.1:0").unwrap().into() };
    assert!(refused(vec![("rollcall.socket", tcp())]).contains("FileDescriptorName= must be dns"));
    assert!(refused(vec![("tls", udp())]).contains("ListenStream="));
    assert!(refused(vec![("quic", tcp())]).contains("ListenDatagram="));
    assert!(refused(vec![("control", udp())]).contains("neither a unix stream nor a TCP listener"));
    if let Ok(both) = UdpSocket::bind("[::]:0") {
        assert!(refused(vec![("dns", both.into())]).contains("BindIPv6Only=ipv6-only"));
    }
}

/// systemd's own tool, where it is installed.
#[test]
fn systemd_socket_activate_starts_it() {
    let tool = "systemd-socket-activate";
    if !Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: no {tool}");
        return;
    }
    let place = Place::with_zone("www = { A = \"192.0.2.1\" }\n");
    place.write("rollcall.toml", "[dns]\nudp_workers = 1\n");
    let (udp, tcp) = udp_and_tcp("127.0.0.1:0");
    let dns = udp.local_addr().unwrap();
    drop((udp, tcp));
    let mut command = Command::new(tool);
    command.args(["-l", &dns.to_string(), "--fdname=dns", env!("CARGO_BIN_EXE_rollcall"), "serve"]);
    command.args(["--config", "rollcall.toml"]).current_dir(place.path(".")).stdin(Stdio::null());
    let mut server = Server::started(command);
    // It starts the server at the first connection.
    let _first = eventually("the tool listens", || std::net::TcpStream::connect(dns).ok());
    server.wait_ready();
    assert_eq!(server.dns, dns);
    assert_eq!(server.client().addresses(WWW).len(), 1, "UDP is bound beside");
}
