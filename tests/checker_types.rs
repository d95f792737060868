//! Every check type beside `tcp` and `http` against real backends on loopback: servers, programs, files and heartbeats.

#[path = "checker_types/backends.rs"]
mod backends;
#[path = "support/hickory.rs"]
mod hickory;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::{Pki, agent, bad_dns_server, grpc_server, http_server, tls_server};
use hickory::Hickory;
use rollcall::checker::{Checker, Observation, limits_for};
use rollcall::engine::feedback::{Load, Mode, Said};
use rollcall::engine::name::Name;
use rollcall::engine::probe::*;
use tokio::sync::mpsc;

const SECOND: Duration = Duration::from_secs(1);

fn spec(target: SocketAddr, kind: ProbeKind) -> ProbeSpec {
    let timing = Timing {
        interval: 10 * SECOND,
        timeout: 2 * SECOND,
        fast_interval: None,
        jitter_permille: 0,
        rise: 1,
        fall: 1,
        forgive: Later(0),
    };
    ProbeSpec { target, source: None, invert: false, watch: false, timing, kind }
}

fn start(spec: ProbeSpec) -> (Checker, mpsc::Receiver<Observation>) {
    let (sender, inbox) = mpsc::channel(64);
    let checker = Checker::start(limits_for(1024), sender).expect("a thread");
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec))]);
    (checker, inbox)
}

async fn next(inbox: &mut mpsc::Receiver<Observation>) -> Outcome {
    tokio::time::timeout(20 * SECOND, inbox.recv()).await.expect("a result in time").expect("the checker runs").outcome
}

async fn first(spec: ProbeSpec) -> Outcome {
    let (_checker, mut inbox) = start(spec);
    next(&mut inbox).await
}

async fn assert_passes(spec: ProbeSpec, reason: &str) {
    let outcome = first(spec).await;
    assert!(outcome.passed && outcome.reason == reason, "expected {reason:?}, got {outcome:?}");
}

async fn assert_fails(spec: ProbeSpec, reason: &str) {
    let outcome = first(spec).await;
    assert!(!outcome.passed && outcome.reason == reason, "expected {reason:?}, got {outcome:?}");
}

fn nowhere() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

async fn closed_port() -> SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound").local_addr().expect("bound")
}

async fn mute() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn tls(pki: &Pki) -> TlsProbe {
    TlsProbe { verify: true, ca: Some(Arc::from(pki.authority_pem().as_bytes())), server_name: None, client: None }
}

// ---- grpc ----

fn grpc(target: SocketAddr, service: &str, tls: Option<TlsProbe>) -> ProbeSpec {
    let probe = GrpcProbe { tls, host: "good.example".into(), service: service.into() };
    spec(target, ProbeKind::Grpc(probe))
}

#[tokio::test]
async fn grpc_passes_when_serving_and_names_every_other_status() {
    let server = grpc_server(None).await;
    assert_passes(grpc(server, "", None), "SERVING").await;
    assert_passes(grpc(server, "good.Service", None), "SERVING").await;
    assert_fails(grpc(server, "ill.Service", None), "health status NOT_SERVING").await;
    assert_fails(grpc(server, "new.Service", None), "health status SERVICE_UNKNOWN").await;
    assert_fails(grpc(server, "odd.Service", None), "health status UNKNOWN").await;
    assert_fails(grpc(server, "none", None), "the server does not know the service \"none\"").await;
    assert_fails(grpc(server, "unimplemented", None), "the server has no health service (grpc.health.v1)").await;
    assert_fails(grpc(server, "broken", None), "grpc-status UNAVAILABLE: try later").await;
    assert_fails(grpc(server, "html", None), "the server answers, but not with gRPC").await;
    assert_fails(grpc(server, "404", None), "status 404").await;
    assert_fails(grpc(server, "half", None), "the answer ends without a grpc-status").await;
    let mut silent = grpc(server, "silent", None);
    silent.timing.timeout = SECOND / 2;
    assert_fails(silent, "timed out waiting for the response").await;
}

#[tokio::test]
async fn grpc_over_tls_verifies_as_https_does() {
    let pki = Pki::new();
    let server = grpc_server(Some((pki.leaf(&["good.example"], 90), &["h2"]))).await;
    assert_passes(grpc(server, "", Some(tls(&pki))), "SERVING").await;
    assert_fails(grpc(server, "", Some(tls(&Pki::new()))), "certificate is not trusted: unknown issuer").await;
    let unverified = TlsProbe { verify: false, ca: None, server_name: None, client: None };
    assert_passes(grpc(server, "", Some(unverified)), "SERVING").await;
    let other = grpc_server(Some((pki.leaf(&["x.example"], 90), &["h2"]))).await;
    assert_fails(grpc(other, "", Some(tls(&pki))), "certificate is for x.example, not good.example").await;
    let old = grpc_server(Some((pki.leaf(&["good.example"], 90), &[]))).await;
    assert_fails(grpc(old, "", Some(tls(&pki))), "the server does not offer HTTP/2 (ALPN)").await;
}

#[tokio::test]
async fn grpc_to_something_else_says_so() {
    assert_fails(grpc(closed_port().await, "", None), "connection refused").await;
    let web = http_server("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    assert_fails(grpc(web, "", None), "the server does not speak HTTP/2").await;
}

// ---- dns ----

fn dns(target: SocketAddr, name: &str, expect: Option<&str>) -> ProbeSpec {
    let name = Name::parse(name, Some(&Name::root())).expect("a name");
    let probe = DnsProbe { name, rtype: 16, expect_rcode: vec![0], expect: expect.map(Into::into) };
    spec(target, ProbeKind::Dns(probe))
}

/// hickory-server with `example`, and with `ill.example`, which it knows and has not loaded.
async fn dns_server() -> (Hickory, SocketAddr) {
    let big: String = (0..8).map(|number| format!("cut TXT \"{number} {}\"\n", "t".repeat(90))).collect();
    let zone = format!(
        "$TTL 5\n@ SOA ns hostmaster 1 7200 900 1209600 5\n@ NS ns\nns A 192.0.2.53\nok TXT \"alive and well\"\n\
         alias CNAME ok\nempty A 192.0.2.1\n{big}cut TXT \"over tcp\"\n"
    );
    let server = Hickory::serve(&[("example.", Some(&zone)), ("ill.example.", None)]).await;
    let address = server.address;
    (server, address)
}

#[tokio::test]
async fn dns_judges_rcode_and_data() {
    let (_hickory, server) = dns_server().await;
    assert_passes(dns(server, "ok.example", None), "answered NOERROR").await;
    assert_passes(dns(server, "ok.example", Some("alive and well")), "answered NOERROR with \"alive and well\"").await;
    assert_passes(dns(server, "alias.example", Some("alive")), "answered NOERROR with \"alive\"").await;
    assert_fails(dns(server, "ok.example", Some("dead")), "answer lacks \"dead\"").await;
    assert_fails(dns(server, "empty.example", Some("x")), "answered NOERROR without a record").await;
    assert_fails(dns(server, "gone.example", None), "answered NXDOMAIN").await;
    assert_fails(dns(server, "ill.example", None), "answered SERVFAIL").await;
    assert_fails(dns(server, "elsewhere.test", None), "answered REFUSED").await;
    let mut gone = dns(server, "gone.example", None);
    if let ProbeKind::Dns(probe) = &mut gone.kind {
        probe.expect_rcode = vec![3];
    }
    assert_passes(gone, "answered NXDOMAIN").await;
}

/// The last of the texts does not fit into a datagram. hickory-server sends those that do, and octets of the next behind them.
#[tokio::test]
async fn dns_comes_back_over_tcp_when_cut() {
    let (_hickory, server) = dns_server().await;
    assert_passes(dns(server, "cut.example", Some("over tcp")), "answered NOERROR with \"over tcp\"").await;
}

#[tokio::test]
async fn dns_asks_again_when_lost_and_hears_no_forgery() {
    let server = bad_dns_server().await;
    assert_passes(dns(server, "lost.example", None), "answered NOERROR").await;
    assert_passes(dns(server, "forged.example", None), "answered NOERROR").await;
    let mut silent = dns(server, "silent.example", None);
    silent.timing.timeout = SECOND / 2;
    assert_fails(silent, "timed out waiting for the response").await;
    assert_fails(dns(closed_port().await, "ok.example", None), "connection refused").await;
}

// ---- tls ----

fn certificate(target: SocketAddr, host: &str, days: u32, tls: TlsProbe) -> ProbeSpec {
    spec(target, ProbeKind::Tls(CertificateProbe { tls, host: host.into(), days }))
}

#[tokio::test]
async fn tls_looks_at_the_days_that_are_left() {
    let pki = Pki::new();
    let server = tls_server(pki.leaf(&["good.example"], 3)).await;
    let date = Pki::date_in(3);
    let outcome = first(certificate(server, "good.example", 0, tls(&pki))).await;
    assert!(outcome.passed, "{outcome:?}");
    assert_eq!(outcome.reason, format!("certificate valid until {date}, 3 days more"));
    let reason = format!("certificate expires {date}, in 3 days; 7 days are wanted");
    assert_fails(certificate(server, "good.example", 7, tls(&pki)), &reason).await;
    let unverified = TlsProbe { verify: false, ca: None, server_name: None, client: None };
    assert_fails(certificate(server, "elsewhere.example", 7, unverified.clone()), &reason).await;
    let expired = tls_server(pki.leaf(&["good.example"], -1)).await;
    let reason = format!("certificate expired {}", Pki::date_in(-1));
    assert_fails(certificate(expired, "good.example", 0, tls(&pki)), &reason).await;
    assert_fails(certificate(expired, "good.example", 0, unverified), &reason).await;
}

#[tokio::test]
async fn tls_verifies_the_name_and_the_issuer() {
    let pki = Pki::new();
    let server = tls_server(pki.leaf(&["x.example"], 90)).await;
    let wrong = certificate(server, "good.example", 0, tls(&pki));
    assert_fails(wrong, "certificate is for x.example, not good.example").await;
    let strange = certificate(server, "x.example", 0, tls(&Pki::new()));
    assert_fails(strange, "certificate is not trusted: unknown issuer").await;
    let named = TlsProbe { server_name: Some("x.example".into()), ..tls(&pki) };
    assert!(first(certificate(server, "good.example", 0, named)).await.passed);
    let plain = http_server("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    assert_fails(certificate(plain, "x.example", 0, tls(&pki)), "the server does not speak TLS").await;
    let (_held, address) = mute().await;
    let mut silent = certificate(address, "x.example", 0, tls(&pki));
    silent.timing.timeout = SECOND / 2;
    assert_fails(silent, "timed out in the TLS handshake").await;
}

// ---- icmp ----

/// Where this host does not permit it, the reason says what to do; `tests/interop/checks.sh` makes a network that does.
#[tokio::test]
async fn icmp_echoes_or_says_what_is_missing() {
    let outcome = first(spec(nowhere(), ProbeKind::Icmp)).await;
    if outcome.passed {
        assert!(outcome.reason.starts_with("echo after "), "{outcome:?}");
    } else {
        assert!(outcome.reason.contains("net.ipv4.ping_group_range"), "{outcome:?}");
        assert!(outcome.reason.contains("CAP_NET_RAW"), "{outcome:?}");
    }
}

// ---- exec ----

fn exec(directory: &Path, script: &str, arguments: &[&str]) -> ProbeSpec {
    let path = directory.join("check");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let mut command = vec![path.display().to_string()];
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    let probe = ExecProbe { command, backend: "a".into(), host: "www.example".into() };
    spec(([192, 0, 2, 7], 8080).into(), ProbeKind::Exec(probe))
}

#[tokio::test]
async fn exec_passes_on_zero_and_the_first_line_is_the_reason() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path();
    assert_passes(exec(place, "exit 0", &[]), "exit 0").await;
    assert_passes(exec(place, "echo; echo ' 3 workers '; echo more", &[]), "3 workers").await;
    assert_fails(exec(place, "echo queue is full; exit 2", &[]), "exit 2: queue is full").await;
    assert_fails(exec(place, "echo oops >&2; exit 1", &[]), "exit 1: oops").await;
    assert_fails(exec(place, "kill -9 $$", &[]), "killed by signal 9").await;
    let missing = place.join("nothing").display().to_string();
    let probe = ExecProbe { command: vec![missing.clone()], backend: "a".into(), host: "h".into() };
    let reason = format!("{missing} cannot be run: No such file or directory (os error 2)");
    assert_fails(spec(nowhere(), ProbeKind::Exec(probe)), &reason).await;
}

#[tokio::test]
async fn exec_has_no_shell_no_input_and_only_its_own_environment() {
    let place = tempfile::tempdir().expect("a directory");
    let script =
        "echo \"$ROLLCALL_ADDRESS $ROLLCALL_PORT $ROLLCALL_HOST $ROLLCALL_BACKEND $ROLLCALL_TIMEOUT_MS $#:$1\"";
    let reason = "192.0.2.7 8080 www.example a 2000 1:$(id) *";
    assert_passes(exec(place.path(), script, &["$(id) *"]), reason).await;
    // What the shell itself adds is not the server's.
    let script =
        "env | grep -v -e ^ROLLCALL_ -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | tr '\\n' ' '; echo end";
    assert_passes(exec(place.path(), script, &[]), "end").await;
    assert_passes(exec(place.path(), "read line || echo no input; pwd", &[]), "no input").await;
}

#[tokio::test]
async fn exec_output_is_capped_and_never_blocks() {
    let place = tempfile::tempdir().expect("a directory");
    let flood = exec(place.path(), "yes 'a long line of output' | head -c 3000000; exit 3", &[]);
    assert_fails(flood, "exit 3: a long line of output").await;
    let outcome = first(exec(place.path(), "head -c 100000 /dev/zero | tr '\\0' x", &[])).await;
    assert!(outcome.passed && outcome.reason.len() == 200, "{outcome:?}");
}

#[tokio::test]
async fn exec_that_hangs_is_killed_with_its_children() {
    let place = tempfile::tempdir().expect("a directory");
    let pids = place.path().join("pids");
    let script = format!("sleep 600 & echo $! $$ > {}\nsleep 600", pids.display());
    let mut hangs = exec(place.path(), &script, &[]);
    hangs.timing.timeout = SECOND / 2;
    let outcome = first(hangs).await;
    assert!(!outcome.passed && outcome.reason.ends_with("check still ran after 500ms"), "{outcome:?}");
    all_gone(&pids).await;
}

#[tokio::test]
async fn exec_that_leaves_a_child_behind_ends_with_its_own_end() {
    let place = tempfile::tempdir().expect("a directory");
    let pids = place.path().join("pids");
    let script = format!("sleep 600 & echo $! > {}\necho forked; exit 0", pids.display());
    let begun = Instant::now();
    assert_passes(exec(place.path(), &script, &[]), "forked").await;
    assert!(begun.elapsed() < 2 * SECOND, "it does not wait for the child that holds the pipe");
    all_gone(&pids).await;
}

#[tokio::test]
async fn exec_of_a_removed_target_is_killed() {
    let place = tempfile::tempdir().expect("a directory");
    let pids = place.path().join("pids");
    let script = format!("sleep 600 & echo $! $$ > {}\nsleep 600", pids.display());
    let mut long = exec(place.path(), &script, &[]);
    long.timing.timeout = 10 * SECOND;
    let (checker, _inbox) = start(long);
    while std::fs::read_to_string(&pids).map_or(0, |text| text.len()) < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    checker.change(vec![ProbeId(1)], vec![]);
    all_gone(&pids).await;
}

/// Waits until none of the processes runs; what is left of one, unreaped, does not count.
async fn all_gone(pids: &Path) {
    let begun = Instant::now();
    let text = std::fs::read_to_string(pids).expect("the script wrote them");
    let runs = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    while text.split_whitespace().any(runs) {
        assert!(begun.elapsed() < 5 * SECOND, "still running: {text}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// ---- file ----

fn file(path: &Path, backend: &str, default_up: bool) -> ProbeSpec {
    let address = [192, 0, 2, 1].into();
    let probe = FileProbe { path: path.to_owned(), backend: backend.into(), address, default_up };
    spec(nowhere(), ProbeKind::File(probe))
}

#[tokio::test]
async fn a_file_is_followed_within_the_second() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("states");
    let (_checker, mut inbox) = start(file(&path, "a", false));
    let outcome = next(&mut inbox).await;
    assert_eq!((outcome.passed, outcome.reason.as_str()), (false, "no line names it: down by default"));
    for (text, passed, reason) in [
        ("a up\nb down\n", true, "the file says \"up\""),
        ("a down # disk full\n", false, "the file says \"down\": disk full"),
        ("192.0.2.1 up 75%\n", true, "the file says \"75%\""),
    ] {
        let begun = Instant::now();
        let beside = place.path().join("new");
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(&beside, &path).expect("renamed");
        let outcome = next(&mut inbox).await;
        assert_eq!((outcome.passed, outcome.reason.as_str()), (passed, reason));
        assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    }
    // What is about others is no news; what cannot be read changes nothing but the reason.
    std::fs::write(&path, "192.0.2.1 up 75%\nb drain\nc dwon\n").expect("written");
    let outcome = next(&mut inbox).await;
    assert!(outcome.passed && outcome.reason.starts_with("the file says \"75%\" ("), "{outcome:?}");
    assert!(outcome.reason.contains("line 3 has no word that is known: \"c dwon\""), "{outcome:?}");
    assert_eq!(outcome.said.and_then(|said| said.percent), Some(75));
    std::fs::remove_file(&path).expect("removed");
    let outcome = next(&mut inbox).await;
    assert_eq!((outcome.passed, outcome.reason.as_str()), (false, "no line names it: down by default"));
    assert!(outcome.said.is_some_and(|said| said.is_plain() && said.whole), "its words are gone with it");
}

/// What waits for a change of a file holds no descriptor, so their number bounds it not.
#[tokio::test]
async fn a_change_is_taken_in_at_once_for_more_backends_than_there_are_descriptors() {
    const BACKENDS: u32 = 200;
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("states");
    std::fs::write(&path, "up\n").expect("written");
    let (sender, mut inbox) = mpsc::channel(64);
    let checker = Checker::start(limits_for(32), sender).expect("a thread");
    let one = |number: u32| (ProbeId(number), Arc::new(file(&path, &format!("b{number}"), true)));
    checker.change(vec![], (0..BACKENDS).map(one).collect());
    for _ in 0..BACKENDS {
        assert!(next(&mut inbox).await.passed);
    }
    let begun = Instant::now();
    let beside = place.path().join("new");
    std::fs::write(&beside, "down\n").expect("written");
    std::fs::rename(&beside, &path).expect("renamed");
    let mut down = 0;
    while down < BACKENDS {
        down += u32::from(!next(&mut inbox).await.passed);
    }
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
}

// ---- push ----

#[tokio::test]
async fn heartbeats_pass_and_silence_fails_to_the_moment() {
    let ttl = Duration::from_millis(600);
    let mut beating = spec(nowhere(), ProbeKind::Push(PushProbe { check: "heart".into(), ttl }));
    beating.timing.interval = ttl;
    let (checker, mut inbox) = start(beating);
    let begun = Instant::now();
    for _ in 0..5 {
        checker.pushed(ProbeId(1), Said::read("up").expect("a word"));
        let outcome = next(&mut inbox).await;
        assert!(outcome.passed && outcome.reason == "heartbeat", "{outcome:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(begun.elapsed() > ttl, "it lived longer than one ttl");
    let outcome = next(&mut inbox).await;
    let silence = begun.elapsed() - Duration::from_millis(800);
    assert_eq!((outcome.passed, outcome.reason.as_str()), (false, "no heartbeat for 600ms"));
    assert!(silence >= ttl - Duration::from_millis(250) && silence < ttl + SECOND, "{silence:?}");
    checker.pushed(ProbeId(1), Said::read("down # queue is stuck").expect("a word"));
    let mut outcome = next(&mut inbox).await;
    while outcome.reason.starts_with("no heartbeat") {
        outcome = next(&mut inbox).await;
    }
    assert_eq!((outcome.passed, outcome.reason.as_str()), (false, "heartbeat says \"down\": queue is stuck"));
    checker.pushed(ProbeId(1), Said::read("up drain 50%").expect("words"));
    let outcome = next(&mut inbox).await;
    assert!(outcome.passed, "{outcome:?}");
    assert_eq!(outcome.said.map(|said| said.to_string()), Some("drain 50%".to_owned()));
}

#[tokio::test]
async fn a_new_target_has_a_whole_ttl_to_be_heard() {
    let ttl = Duration::from_millis(700);
    let mut beating = spec(nowhere(), ProbeKind::Push(PushProbe { check: "heart".into(), ttl }));
    beating.timing.interval = ttl;
    let begun = Instant::now();
    let outcome = first(beating).await;
    assert!(!outcome.passed && begun.elapsed() >= ttl, "{outcome:?} after {:?}", begun.elapsed());
}

// ---- agent ----

#[tokio::test]
async fn agents_lines_as_they_are_written() {
    let said = |line: &'static str| async move {
        let probe = AgentProbe { send: None, feedback: true };
        first(spec(agent(line, false).await, ProbeKind::Agent(probe))).await
    };
    for (line, passed, mode, percent) in [
        ("up 75%\n", true, Mode::Ready, Some(75)),
        ("up 75%", true, Mode::Ready, Some(75)),
        ("drain,50%\r\n", true, Mode::Drain, Some(50)),
        ("MAINT\n", true, Mode::Maintenance, None),
        ("Ready Up 100%\n", true, Mode::Ready, Some(100)),
        ("down#disk full\n", false, Mode::Ready, None),
        ("STOPPED", false, Mode::Ready, None),
        ("fail\n", false, Mode::Ready, None),
        ("maxconn:30 up\nnext line down\n", true, Mode::Ready, None),
    ] {
        let outcome = said(line).await;
        let heard = outcome.said.clone().unwrap_or_else(|| panic!("{line:?}: {outcome:?}"));
        assert_eq!((outcome.passed, heard.mode(), heard.percent), (passed, mode, percent), "{line:?}");
    }
    assert_eq!(said("up 75%\n").await.reason, "the agent says \"up 75%\"");
    assert_eq!(said("").await.reason, "the agent said nothing");
    assert_eq!(said("hello\n").await.reason, "the agent said \"hello\", which has no word that is known");
    assert_eq!(said("load=30/100").await.said.and_then(|said| said.load), Some(Load { used: 30, capacity: 100 }));
}

#[tokio::test]
async fn agents_are_sent_what_they_want_and_only_up_takes_a_down_back() {
    let asked = |feedback| AgentProbe { send: Some("web\n".into()), feedback };
    let outcome = first(spec(agent("up 50%\n", true).await, ProbeKind::Agent(asked(true)))).await;
    assert!(outcome.passed, "{outcome:?}");
    let outcome = first(spec(agent("drain up 50%\n", true).await, ProbeKind::Agent(asked(false)))).await;
    assert!(outcome.passed && outcome.said.is_none(), "feedback is off: {outcome:?}");
    assert_fails(
        spec(closed_port().await, ProbeKind::Agent(AgentProbe { send: None, feedback: true })),
        "connection refused",
    )
    .await;
    let lines = backends::agent_of_lines(&["down\n", "75%\n", "up\n", "75%\n"]).await;
    let mut many = spec(lines, ProbeKind::Agent(AgentProbe { send: None, feedback: true }));
    (many.timing.interval, many.timing.timeout) = (Duration::from_millis(100), Duration::from_millis(100));
    let (_checker, mut inbox) = start(many);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(next(&mut inbox).await.passed);
    }
    assert_eq!(seen, [false, false, true, true]);
}

// ---- feedback over HTTP ----

#[tokio::test]
async fn a_response_header_speaks_only_where_it_is_heeded() {
    let drain = "HTTP/1.1 200 OK\r\nrollcall: drain, load=30/100\r\nRollcall: 75%\r\ncontent-length: 0\r\n\r\n";
    let http = |target, feedback| {
        spec(
            target,
            ProbeKind::Http(HttpProbe {
                tls: None,
                path: "/".into(),
                host: "h".into(),
                method: "GET".into(),
                headers: vec![],
                expect_status: vec![(200, 399)],
                expect_body: None,
                feedback: Later(feedback),
            }),
        )
    };
    let outcome = first(http(http_server(drain).await, true)).await;
    assert!(outcome.passed, "a drain is no failure: {outcome:?}");
    let said = outcome.said.expect("a word");
    assert_eq!((said.to_string().as_str(), said.whole), ("drain 75% load=30/100", true));
    assert_eq!(first(http(http_server(drain).await, false)).await.said, None);
    let plain = first(http(http_server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, true)).await;
    assert_eq!(plain.said, Some(Said::nothing_special()));
    let down = "HTTP/1.1 200 OK\r\nrollcall: down # too hot\r\ncontent-length: 0\r\n\r\n";
    let outcome = first(http(http_server(down).await, true)).await;
    assert!(!outcome.passed, "{outcome:?}");
    assert_eq!(outcome.reason, "status 200, and the backend says \"down\": too hot");
    let ill = "HTTP/1.1 503 No\r\nrollcall: maint\r\ncontent-length: 0\r\n\r\n";
    let outcome = first(http(http_server(ill).await, true)).await;
    assert!(!outcome.passed && outcome.said.is_some_and(|said| said.mode() == Mode::Maintenance));
}
