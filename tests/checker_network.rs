//! The checker against real backends on loopback: plain and TLS, well behaved and not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rollcall::checker::{Checker, Observation, limits_for};
use rollcall::engine::probe::{HttpProbe, Later, Outcome, ProbeId, ProbeKind, ProbeSpec, Timing, TlsProbe};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

// ---- tcp ----

#[tokio::test]
async fn tcp_passes_when_the_connection_opens() {
    let backend = Backend::start(Behaviour::Silent).await;
    assert_passes(&tcp(backend.address, None, None), "connected").await;
}

#[tokio::test]
async fn tcp_that_only_connects_does_not_wake_the_program_behind() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.set_nonblocking(true).expect("set");
    let spec = tcp(listener.local_addr().expect("bound"), None, None);
    for _ in 0..10 {
        assert_passes(&spec, "connected").await;
    }
    assert_eq!(listener.accept().map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_closed_port_is_connection_refused() {
    assert_fails(&tcp(closed_port().await, None, None), "connection refused").await;
    assert_fails(&http(closed_port().await), "connection refused").await;
}

#[tokio::test]
async fn a_full_backlog_is_timed_out_connecting() {
    let (_listener, _held, address) = black_hole().await;
    assert_fails(&tcp(address, None, None), "timed out connecting").await;
    assert_fails(&http(address), "timed out connecting").await;
}

/// Not in one go, as within a host, but when readiness is told: here at the SYN's second try.
#[tokio::test]
async fn tcp_passes_when_the_connection_opens_late() {
    let (listener, held, address) = black_hole().await;
    let begun = Instant::now();
    let room = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(held);
        // Accepted and dropped until nobody comes any more.
        while tokio::time::timeout(4 * SECOND, listener.accept()).await.is_ok() {}
    };
    let mut spec = tcp(address, None, None);
    spec.timing.timeout = 4 * SECOND;
    tokio::select! {
        () = room => panic!("the probe did not end"),
        () = assert_passes(&spec, "connected") => {}
    }
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn tcp_sends_and_finds_what_it_expects() {
    let backend = Backend::start(Behaviour::Say("+PONG\r\n")).await;
    assert_passes(&tcp(backend.address, Some("PING\r\n"), Some("PONG")), "response has \"PONG\"").await;
    assert_fails(&tcp(backend.address, Some("PING\r\n"), Some("OK")), "response lacks \"OK\"").await;
}

#[tokio::test]
async fn tcp_without_the_expected_text_is_cut_at_the_deadline() {
    let backend = Backend::start(Behaviour::Silent).await;
    assert_fails(&tcp(backend.address, None, Some("OK")), "timed out waiting for the response").await;
    let backend = Backend::start(Behaviour::Drip).await;
    assert_fails(&tcp(backend.address, None, Some("OK")), "timed out waiting for the response").await;
}

#[tokio::test]
async fn a_reset_is_connection_reset() {
    let backend = Backend::start(Behaviour::Reset).await;
    assert_fails(&tcp(backend.address, Some("PING"), Some("OK")), "connection reset").await;
    assert_fails(&http(backend.address), "connection reset").await;
}

#[tokio::test]
async fn the_source_address_is_the_one_asked_for() {
    let source: IpAddr = [127, 0, 0, 77].into();
    let backend = Backend::start(Behaviour::SayPeer).await;
    let mut spec = tcp(backend.address, Some("GET /\r\n\r\n"), Some("127.0.0.77"));
    assert_fails(&spec, "response lacks \"127.0.0.77\"").await;
    spec.source = Some(source);
    assert_passes(&spec, "response has \"127.0.0.77\"").await;
    let mut spec = http(backend.address);
    spec.source = Some(source);
    http_of(&mut spec).expect_body = Some("127.0.0.77".into());
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn a_source_that_is_not_here_is_said() {
    let backend = Backend::start(Behaviour::Silent).await;
    let mut spec = tcp(backend.address, None, None);
    spec.source = Some([192, 0, 2, 1].into());
    assert_fails(&spec, "the local address or port is not available").await;
}

// ---- http ----

#[tokio::test]
async fn http_says_the_status() {
    let ok = Backend::start(Behaviour::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
    assert_passes(&http(ok.address), "status 200").await;
    let ill = Backend::start(Behaviour::Say("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")).await;
    assert_fails(&http(ill.address), "status 503").await;
    let mut wanted = http(ill.address);
    http_of(&mut wanted).expect_status = vec![(200, 200), (503, 503)];
    assert_passes(&wanted, "status 503").await;
}

#[tokio::test]
async fn http_follows_no_redirect() {
    let backend =
        Backend::start(Behaviour::Say("HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")).await;
    let mut spec = http(backend.address);
    http_of(&mut spec).expect_status = vec![(200, 299)];
    assert_fails(&spec, "status 301").await;
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn http_looks_for_text_in_the_first_64_kib() {
    let backend = Backend::start(Behaviour::Say("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nall ok\n")).await;
    let mut spec = http(backend.address);
    http_of(&mut spec).expect_body = Some("ok".into());
    assert_passes(&spec, "status 200").await;
    http_of(&mut spec).expect_body = Some("fine".into());
    assert_fails(&spec, "body lacks \"fine\"").await;
    let endless = Backend::start(Behaviour::Endless).await;
    let mut spec = http(endless.address);
    http_of(&mut spec).expect_body = Some("ok".into());
    assert_fails(&spec, "body lacks \"ok\"").await;
}

#[tokio::test]
async fn http_is_cut_at_the_deadline_wherever_it_hangs() {
    let silent = Backend::start(Behaviour::Silent).await;
    assert_fails(&http(silent.address), "timed out waiting for the response").await;
    let drip = Backend::start(Behaviour::Drip).await;
    assert_fails(&http(drip.address), "timed out waiting for the response").await;
    let half = Backend::start(Behaviour::Say("HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\nhalf")).await;
    let mut spec = http(half.address);
    http_of(&mut spec).expect_body = Some("whole".into());
    assert_fails(&spec, "timed out reading the body").await;
    let tls = Backend::start(Behaviour::Silent).await;
    assert_fails(&https(tls.address, None), "timed out connecting").await;
}

#[tokio::test]
async fn http_survives_a_flood_of_headers() {
    let backend = Backend::start(Behaviour::HeaderFlood).await;
    let outcome = first(&http(backend.address)).await;
    assert!(!outcome.passed, "{outcome:?}");
    let silly = Backend::start(Behaviour::Say("SSH-2.0-OpenSSH_9.2\r\n\r\n")).await;
    let outcome = first(&http(silly.address)).await;
    assert!(!outcome.passed && outcome.reason.contains("HTTP"), "{outcome:?}");
}

#[tokio::test]
async fn http_sends_what_the_check_says() {
    let backend = Backend::start(Behaviour::Echo).await;
    let port = backend.address.port();
    let mut spec = http(backend.address);
    let probe = http_of(&mut spec);
    probe.host = "www.example.com".into();
    probe.path = "/healthz?deep=1".into();
    probe.headers = vec![("X-Check".into(), "one".into()), ("X-Check".into(), "two".into())];
    for expected in [
        "GET /healthz?deep=1 HTTP/1.1".to_owned(),
        format!("host: www.example.com:{port}\r\n"),
        format!("user-agent: rollcall/{}\r\n", rollcall::VERSION),
        "connection: close\r\n".into(),
        "x-check: one\r\nx-check: two\r\n".into(),
    ] {
        http_of(&mut spec).expect_body = Some(expected);
        assert_passes(&spec, "status 200").await;
    }
    let probe = http_of(&mut spec);
    probe.headers = vec![("Host".into(), "other".into()), ("User-Agent".into(), "me".into())];
    probe.expect_body = Some("host: other\r\n".into());
    assert_passes(&spec, "status 200").await;
    http_of(&mut spec).expect_body = Some("user-agent: me\r\n".into());
    assert_passes(&spec, "status 200").await;
    http_of(&mut spec).method = "HEAD".into();
    http_of(&mut spec).expect_body = None;
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn every_probe_is_a_connection_of_its_own() {
    let backend = Backend::start(Behaviour::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")).await;
    let (checker, mut inbox) = start();
    let mut spec = http(backend.address);
    spec.timing.interval = Duration::from_millis(50);
    spec.timing.timeout = Duration::from_millis(50);
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec))]);
    for _ in 0..5 {
        next(&mut inbox).await;
    }
    assert!(backend.connections() >= 5);
}

// ---- https ----

#[tokio::test]
async fn https_passes_with_a_private_ca_by_name_and_by_address() {
    let pki = Pki::new();
    let backend = Backend::start_tls(pki.leaf(&["good.example", "127.0.0.1"], Expired::No), None).await;
    let mut spec = https(backend.address, Some(&pki));
    assert_passes(&spec, "status 200").await;
    http_of(&mut spec).host = "Good.Example".into();
    assert_passes(&spec, "status 200").await;
    http_of(&mut spec).host = "elsewhere.example".into();
    tls_of(&mut spec).server_name = Some("good.example".into());
    http_of(&mut spec).expect_body = Some(format!("host: elsewhere.example:{}\r\n", backend.address.port()));
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn https_verifies_an_address_that_is_not_the_one_connected_to() {
    let pki = Pki::new();
    let backend = Backend::start_tls(pki.leaf(&["192.0.2.7"], Expired::No), None).await;
    let mut spec = https(backend.address, Some(&pki));
    assert_fails(&spec, "certificate is for 192.0.2.7, not 127.0.0.1").await;
    http_of(&mut spec).host = "192.0.2.7".into();
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn https_names_what_is_wrong_with_a_certificate() {
    let pki = Pki::new();
    let expired = Backend::start_tls(pki.leaf(&["127.0.0.1"], Expired::Yes), None).await;
    let outcome = first(&https(expired.address, Some(&pki))).await;
    assert!(!outcome.passed && outcome.reason == "certificate expired 2026-01-02", "{outcome:?}");

    let other = Backend::start_tls(pki.leaf(&["x.example"], Expired::No), None).await;
    let mut spec = https(other.address, Some(&pki));
    http_of(&mut spec).host = "y.example".into();
    assert_fails(&spec, "certificate is for x.example, not y.example").await;

    let stranger = Pki::new();
    let good = Backend::start_tls(pki.leaf(&["127.0.0.1"], Expired::No), None).await;
    let mut spec = https(good.address, Some(&stranger));
    assert_fails(&spec, "certificate is not trusted: unknown issuer").await;
    tls_of(&mut spec).verify = false;
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn https_does_not_pass_with_an_expired_certificate_after_it_once_was_good() {
    let pki = Pki::new();
    let backend = Backend::start_tls(pki.leaf(&["127.0.0.1"], Expired::No), None).await;
    let (checker, mut inbox) = start();
    let mut spec = https(backend.address, Some(&pki));
    spec.timing.interval = Duration::from_millis(300);
    spec.timing.timeout = Duration::from_millis(300);
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec))]);
    assert!(next(&mut inbox).await.outcome.passed);
    backend.exchange(pki.leaf(&["127.0.0.1"], Expired::Yes), None);
    let mut outcome = next(&mut inbox).await.outcome;
    for _ in 0..3 {
        if !outcome.passed {
            break;
        }
        outcome = next(&mut inbox).await.outcome;
    }
    assert_eq!(outcome.reason, "certificate expired 2026-01-02");
}

#[tokio::test]
async fn https_shows_a_client_certificate_where_one_is_required() {
    let pki = Pki::new();
    let backend = Backend::start_tls(pki.leaf(&["127.0.0.1"], Expired::No), Some(&pki)).await;
    let mut spec = https(backend.address, Some(&pki));
    assert_fails(&spec, "the server requires a client certificate").await;
    let (chain, key) = pki.leaf(&["probe"], Expired::No);
    tls_of(&mut spec).client = Some((chain.into_bytes().into(), key.into_bytes().into()));
    assert_passes(&spec, "status 200").await;
}

#[tokio::test]
async fn https_to_a_plain_server_says_so() {
    let backend = Backend::start(Behaviour::Say("HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n")).await;
    assert_fails(&https(backend.address, None), "the server does not speak TLS").await;
}

#[tokio::test]
async fn a_bad_ca_fails_every_probe_and_says_why_even_inverted() {
    let backend = Backend::start(Behaviour::Silent).await;
    let mut spec = https(backend.address, None);
    tls_of(&mut spec).ca = Some(Arc::from(&b"no certificate"[..]));
    spec.invert = true;
    assert_fails(&spec, "tls.ca: no certificate in the file").await;
}

// ---- what is left behind ----

#[tokio::test]
async fn no_probe_leaves_a_connection_open() {
    for behaviour in [
        Behaviour::Silent,
        Behaviour::Drip,
        Behaviour::Endless,
        Behaviour::HeaderFlood,
        Behaviour::Say("HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\nhalf"),
    ] {
        let backend = Backend::start(behaviour).await;
        let (checker, mut inbox) = start();
        checker.change(vec![], vec![(ProbeId(1), Arc::new(http(backend.address)))]);
        next(&mut inbox).await;
        wait_until("the connection is closed", || backend.open.load(SeqCst) == 0).await;
        assert_eq!(backend.connections(), 1);
    }
}

#[tokio::test]
async fn a_removed_targets_probe_and_watch_are_given_up() {
    let backend = Backend::start(Behaviour::Silent).await;
    let (checker, mut inbox) = start();
    let mut hanging = http(backend.address);
    hanging.timing.timeout = 10 * SECOND;
    let mut watched = tcp(backend.address, None, None);
    watched.watch = true;
    checker.change(vec![], vec![(ProbeId(1), Arc::new(hanging)), (ProbeId(2), Arc::new(watched))]);
    assert_eq!(next(&mut inbox).await.probe, ProbeId(2));
    wait_until("both connections stand", || backend.open.load(SeqCst) == 2 && backend.connections() == 3).await;
    let begun = Instant::now();
    checker.change(vec![ProbeId(1), ProbeId(2)], vec![]);
    wait_until("both are closed", || backend.open.load(SeqCst) == 0).await;
    assert!(begun.elapsed() < 5 * SECOND, "well before the probe's own deadline");
    let statistics = checker.statistics();
    assert_eq!((statistics.in_flight, statistics.watches, statistics.targets), (0, 0, 0));
}

#[tokio::test]
async fn ipv6_backends_are_probed_alike() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        return;
    };
    let address = listener.local_addr().expect("bound");
    let _backend = Backend::on(listener, Behaviour::Echo, None);
    assert_passes(&tcp(address, None, None), "connected").await;
    let mut spec = http(address);
    http_of(&mut spec).expect_body = Some(format!("host: [::1]:{}\r\n", address.port()));
    assert_passes(&spec, "status 200").await;
}

// ---- watch ----

#[tokio::test]
async fn a_watched_backend_that_dies_fails_fall_times_well_within_100_ms() {
    let mut backend = Backend::start(Behaviour::Silent).await;
    let (checker, mut inbox) = start();
    let mut spec = tcp(backend.address, None, None);
    spec.watch = true;
    spec.timing.interval = 60 * SECOND;
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec))]);
    assert!(next(&mut inbox).await.outcome.passed);
    wait_until("the watch is open", || checker.statistics().watches == 1 && backend.connections() >= 1).await;
    let begun = Instant::now();
    backend.kill();
    let mut failures = 0;
    while failures < 3 {
        failures = if next(&mut inbox).await.outcome.passed { 0 } else { failures + 1 };
    }
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    assert_eq!(checker.statistics().watches, 0);
}

#[tokio::test]
async fn a_watch_that_breaks_while_probes_pass_is_opened_again_at_the_next_interval() {
    let backend = Backend::start(Behaviour::CloseAfter(Duration::from_millis(50))).await;
    let (checker, mut inbox) = start();
    let mut spec = tcp(backend.address, None, None);
    spec.watch = true;
    spec.timing.interval = SECOND;
    spec.timing.timeout = SECOND;
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec))]);
    let begun = Instant::now();
    let mut results = 0;
    while checker.statistics().watches_broken < 3 {
        assert!(next(&mut inbox).await.outcome.passed, "a broken watch alone is no verdict");
        results += 1;
    }
    assert!(begun.elapsed() > Duration::from_millis(1000), "{:?}: no storm", begun.elapsed());
    assert!(results <= 3 * 4, "{results} probes: one a turn and three a break");
}

// ---- helpers ----

fn start() -> (Checker, mpsc::Receiver<Observation>) {
    let (sender, inbox) = mpsc::channel(64);
    (Checker::start(limits_for(1024), sender).expect("a thread"), inbox)
}

async fn next(inbox: &mut mpsc::Receiver<Observation>) -> Observation {
    timeout(20 * SECOND, inbox.recv()).await.expect("a result within 20 s").expect("the checker runs")
}

async fn first(spec: &ProbeSpec) -> Outcome {
    let (checker, mut inbox) = start();
    checker.change(vec![], vec![(ProbeId(1), Arc::new(spec.clone()))]);
    let outcome = next(&mut inbox).await.outcome;
    assert!(outcome.latency < spec.timing.timeout + SECOND, "{outcome:?}");
    outcome
}

async fn assert_passes(spec: &ProbeSpec, reason: &str) {
    let outcome = first(spec).await;
    assert!(outcome.passed && outcome.reason == reason, "expected {reason:?}, got {outcome:?}");
}

async fn assert_fails(spec: &ProbeSpec, reason: &str) {
    let outcome = first(spec).await;
    assert!(!outcome.passed && outcome.reason == reason, "expected {reason:?}, got {outcome:?}");
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < 20 * SECOND, "never: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn tcp(target: SocketAddr, send: Option<&str>, expect: Option<&str>) -> ProbeSpec {
    ProbeSpec {
        target,
        source: None,
        invert: false,
        watch: false,
        timing: Timing {
            interval: 10 * SECOND,
            timeout: Duration::from_millis(700),
            fast_interval: None,
            jitter_permille: 0,
            rise: 2,
            fall: 3,
            forgive: Later(0),
        },
        kind: ProbeKind::Tcp { send: send.map(Into::into), expect: expect.map(Into::into) },
    }
}

fn http(target: SocketAddr) -> ProbeSpec {
    let kind = ProbeKind::Http(HttpProbe {
        tls: None,
        path: "/".into(),
        host: target.ip().to_string(),
        method: "GET".into(),
        headers: vec![],
        expect_status: vec![(200, 399)],
        expect_body: None,
        feedback: Later(false),
    });
    ProbeSpec { kind, ..tcp(target, None, None) }
}

fn https(target: SocketAddr, ca: Option<&Pki>) -> ProbeSpec {
    let mut spec = http(target);
    spec.timing.timeout = 2 * SECOND;
    let ca = ca.map(|pki| Arc::from(pki.authority.pem().into_bytes()));
    http_of(&mut spec).tls = Some(TlsProbe { verify: true, ca, server_name: None, client: None });
    spec
}

fn http_of(spec: &mut ProbeSpec) -> &mut HttpProbe {
    match &mut spec.kind {
        ProbeKind::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

fn tls_of(spec: &mut ProbeSpec) -> &mut TlsProbe {
    http_of(spec).tls.as_mut().expect("https")
}

async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    listener.local_addr().expect("bound")
}

/// A listener that never accepts, its backlog filled: further SYNs are dropped in silence.
async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("bound");
    let listener = socket.listen(1).expect("listening");
    let address = listener.local_addr().expect("bound");
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        held.push(stream);
        assert!(held.len() < 64, "the backlog never fills");
    }
    (listener, held, address)
}

#[derive(Clone, Copy)]
enum Behaviour {
    /// Accepts and never answers.
    Silent,
    /// Answers that, and keeps the connection.
    Say(&'static str),
    /// Answers a request with the peer's address.
    SayPeer,
    /// Answers the request's head as the body.
    Echo,
    /// One octet every 50 ms.
    Drip,
    Reset,
    Endless,
    HeaderFlood,
    CloseAfter(Duration),
}

struct Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// Those of them that are still open.
    open: Arc<AtomicUsize>,
    tls: Arc<std::sync::Mutex<Option<tokio_rustls::TlsAcceptor>>>,
    tasks: Option<tokio::task::JoinHandle<()>>,
}

impl Backend {
    async fn start(behaviour: Behaviour) -> Backend {
        Backend::with(behaviour, None).await
    }

    async fn start_tls(server: (String, String), clients: Option<&Pki>) -> Backend {
        Backend::with(Behaviour::Echo, Some(acceptor(server, clients))).await
    }

    async fn with(behaviour: Behaviour, tls: Option<tokio_rustls::TlsAcceptor>) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        Backend::on(listener, behaviour, tls)
    }

    fn on(listener: TcpListener, behaviour: Behaviour, tls: Option<tokio_rustls::TlsAcceptor>) -> Backend {
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let tls = Arc::new(std::sync::Mutex::new(tls));
        let (count, settings) = (connections.clone(), tls.clone());
        let opened = Arc::new(AtomicUsize::new(0));
        let still_open = opened.clone();
        let tasks = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                still_open.fetch_add(1, SeqCst);
                let still_open = still_open.clone();
                let acceptor = settings.lock().expect("not poisoned").clone();
                open.spawn(async move {
                    match acceptor {
                        None => serve(stream, peer, behaviour).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, peer, behaviour).await;
                            }
                        }
                    }
                    still_open.fetch_sub(1, SeqCst);
                });
                while open.try_join_next().is_some() {}
            }
        });
        Backend { address, connections, open: opened, tls, tasks: Some(tasks) }
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    fn exchange(&self, server: (String, String), clients: Option<&Pki>) {
        *self.tls.lock().expect("not poisoned") = Some(acceptor(server, clients));
    }

    /// Listener and connections go at once, as when a process is killed.
    fn kill(&mut self) {
        if let Some(tasks) = self.tasks.take() {
            tasks.abort();
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin + Linger, peer: SocketAddr, behaviour: Behaviour) {
    let mut request = vec![0; 4096];
    match behaviour {
        Behaviour::Silent => {}
        Behaviour::Say(text) => {
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(text.as_bytes()).await;
            if !text.starts_with("HTTP") {
                return;
            }
        }
        Behaviour::SayPeer => {
            // A response ahead of its request is one that an HTTP client refuses.
            let _ = stream.read(&mut request).await;
            let body = peer.ip().to_string();
            let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
            return;
        }
        Behaviour::Echo => {
            let length = stream.read(&mut request).await.unwrap_or(0);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            if !request.starts_with(b"HEAD") {
                let _ = stream.write_all(&request[..length]).await;
            }
            let _ = stream.shutdown().await;
            return;
        }
        Behaviour::Drip => {
            let _ = timeout(Duration::from_millis(50), stream.read(&mut request)).await;
            while stream.write_all(b"H").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Behaviour::Reset => {
            let _ = stream.read(&mut request).await;
            stream.reset();
            return;
        }
        Behaviour::Endless => {
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'.'; 4096]).await.is_ok() {}
        }
        Behaviour::HeaderFlood => {
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
            while stream.write_all(b"x-flood: 0123456789012345678901234567890123456789\r\n").await.is_ok() {}
        }
        Behaviour::CloseAfter(time) => {
            tokio::time::sleep(time).await;
            return;
        }
    }
    while matches!(stream.read(&mut request).await, Ok(length) if length > 0) {}
}

/// Closing with RST where the stream is a bare one.
trait Linger {
    fn reset(&self) {}
}

impl Linger for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().expect("a socket option");
    }
}

impl Linger for tokio_rustls::server::TlsStream<TcpStream> {}

struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// On 2026-01-02.
#[derive(Clone, Copy, PartialEq)]
enum Expired {
    Yes,
    No,
}

impl Pki {
    fn new() -> Pki {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each authority has a name of its own.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("authority {}", COUNT.fetch_add(1, SeqCst));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Pki { authority: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// PEM of a certificate and its key.
    fn leaf(&self, names: &[&str], expired: Expired) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        if expired == Expired::Yes {
            params.not_before = rcgen::date_time_ymd(2025, 1, 2);
            params.not_after = rcgen::date_time_ymd(2026, 1, 2);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn acceptor((chain, key): (String, String), clients: Option<&Pki>) -> tokio_rustls::TlsAcceptor {
    use rustls::pki_types::pem::PemObject;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain.as_bytes()).map(|one| one.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let builder = match clients {
        None => rustls::ServerConfig::builder().with_no_client_auth(),
        Some(pki) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(pki.authority.der().clone()).expect("a root");
            let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("a verifier");
            rustls::ServerConfig::builder().with_client_cert_verifier(verifier)
        }
    };
    tokio_rustls::TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).expect("a server")))
}
