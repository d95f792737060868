//! Thousands of backends on loopback: is every probe within a tenth of its interval of its due time, and at what cost?
//!
//! The backends live in a process of their own, so that CPU and memory printed here are the checker's (and this test's).
//!
//! ```text
//! cargo test --release --test checker_scale -- --nocapture                               9 seconds, 1,100 probes a second
//! cargo test --release --test checker_scale -- --nocapture --ignored ten_thousand        10,000 TCP and 1,000 HTTP at 10 s
//! TCP=100000 HTTP=0 cargo test --release --test checker_scale -- --nocapture --ignored as_many
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use rollcall::checker::{Checker, limits_for};
use rollcall::engine::probe::{HttpProbe, Later, ProbeId, ProbeKind, ProbeSpec, Timing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_probe_is_within_a_tenth_of_its_due_time() {
    run(4_000, 400, Duration::from_secs(4), Duration::from_secs(9)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 35 seconds"]
async fn ten_thousand_tcp_and_a_thousand_http_backends_are_probed_in_time() {
    run(10_000, 1_000, Duration::from_secs(10), Duration::from_secs(35)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 35 seconds; TCP and HTTP say how many"]
async fn as_many_as_the_environment_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    run(number("TCP"), number("HTTP"), Duration::from_secs(10), Duration::from_secs(35)).await;
}

async fn run(tcp: u32, http: u32, interval: Duration, time: Duration) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    let backends = Backends::start();
    let (sender, mut inbox) = mpsc::channel(1024);
    let checker = Checker::start(limits_for(most), sender).expect("a thread");
    let specs: Vec<_> = (0..tcp + http)
        .map(|n| {
            (ProbeId(n), Arc::new(spec(n, if n < tcp { backends.tcp } else { backends.http }, n >= tcp, interval)))
        })
        .collect();
    let base = memory_kib();
    let stalls = Stalls::start();
    checker.change(vec![], specs);

    let begun = Instant::now();
    let mut warm = None;
    let mut starts: HashMap<ProbeId, Vec<Instant>> = HashMap::new();
    let mut failed = 0_u64;
    while begun.elapsed() < time {
        let Ok(observation) = tokio::time::timeout(Duration::from_secs(5), inbox.recv()).await else {
            break;
        };
        let observation = observation.expect("the checker runs");
        let now = Instant::now();
        // The first second probes everything once: it is not the steady state.
        if warm.is_none() && begun.elapsed() > time / 5 {
            warm = Some((now, cpu(), checker.statistics().started));
        }
        starts.entry(observation.probe).or_default().push(now - observation.outcome.latency);
        if !observation.outcome.passed {
            failed += 1;
            if failed <= 5 {
                println!("failed: {}", observation.outcome.reason);
            }
        }
    }
    let statistics = checker.statistics();
    let (since, cpu_before, probes_before) = warm.expect("results came");
    let share = (cpu() - cpu_before).as_secs_f64() / since.elapsed().as_secs_f64();
    let rate = (statistics.started - probes_before) as f64 / since.elapsed().as_secs_f64();
    let mut off = Vec::new();
    for times in starts.values() {
        // The first gap leads from "at once" to the target's own phase.
        for pair in times.windows(2).skip(1) {
            off.push((pair[1] - pair[0]).abs_diff(interval));
        }
    }
    off.sort();
    let percentile =
        |permille: usize| off.get(off.len().saturating_sub(1) * permille / 1000).copied().unwrap_or_default();
    println!(
        "{tcp} TCP and {http} HTTP every {interval:?}: {rate:.0} probes/s, {:.1} % of a core, {:.0} µs a probe, {} KiB over {base}",
        share * 100.0,
        share / rate * 1e6,
        memory_kib().saturating_sub(base),
    );
    println!(
        "late by more than a tenth: {} of {}; latest {:?}; gaps off by {:?} (median), {:?} (99.9 %), {:?} (most); {statistics:?}",
        statistics.late,
        statistics.started,
        statistics.latest,
        percentile(500),
        percentile(999),
        percentile(1000),
    );
    assert_eq!(starts.len(), (tcp + http) as usize, "every target is probed");
    assert_eq!(failed, 0);
    let stall = stalls.worst();
    println!("the machine itself stood still for {stall:?} at most");
    // A thread that only sleeps shows what the machine withholds from everybody; that is not the checker's lateness.
    let excused = if stall > interval / 40 { statistics.started / 50 } else { 0 };
    assert!(statistics.late <= excused, "{} probes began later than a tenth of their interval", statistics.late);
    assert!(percentile(980) <= interval / 10, "gaps were off by {:?}", percentile(980));
}

/// Measures how late a sleeping thread is woken.
struct Stalls(Arc<AtomicU64>);

impl Stalls {
    fn start() -> Stalls {
        let worst = Arc::new(AtomicU64::new(0));
        let shared = Arc::downgrade(&worst);
        std::thread::spawn(move || {
            let nap = Duration::from_millis(5);
            loop {
                let begun = Instant::now();
                std::thread::sleep(nap);
                let Some(worst) = shared.upgrade() else {
                    return;
                };
                worst.fetch_max((begun.elapsed() - nap).as_micros() as u64, Relaxed);
            }
        });
        Stalls(worst)
    }

    fn worst(&self) -> Duration {
        Duration::from_micros(self.0.load(Relaxed))
    }
}

/// An address of its own for each, all over 127.0.0.0/8.
fn spec(n: u32, port: u16, http: bool, interval: Duration) -> ProbeSpec {
    let address = Ipv4Addr::from(0x7f01_0000 + n);
    let kind = if http {
        ProbeKind::Http(HttpProbe {
            tls: None,
            path: "/healthz".into(),
            host: address.to_string(),
            method: "GET".into(),
            headers: vec![],
            expect_status: vec![(200, 399)],
            expect_body: None,
            feedback: Later(false),
        })
    } else {
        ProbeKind::Tcp { send: None, expect: None }
    };
    let timing = Timing {
        interval,
        timeout: interval / 5,
        fast_interval: None,
        jitter_permille: 0,
        rise: 2,
        fall: 3,
        forgive: Later(0),
    };
    let target = SocketAddr::new(IpAddr::V4(address), port);
    ProbeSpec { target, source: None, invert: false, watch: false, timing, kind }
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage");
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| Duration::from_micros((time.tv_sec() * 1_000_000 + time.tv_usec()) as u64))
        .sum()
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("0 0");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The other process: this program again, in the guise of one ignored test.
struct Backends {
    child: Child,
    tcp: u16,
    http: u16,
}

impl Backends {
    fn start() -> Backends {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "backends", "--ignored", "--nocapture"])
            .env("CHECKER_SCALE_BACKENDS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = loop {
            let line = lines.next().expect("the backends say their ports").expect("text");
            if let Some(rest) = line.split("ports ").nth(1) {
                break rest.to_owned();
            }
        };
        let mut ports = line.split_whitespace().map(|text| text.parse().expect("a port"));
        let (tcp, http) = (ports.next().expect("tcp"), ports.next().expect("http"));
        Backends { child, tcp, http }
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "not a test: the backends of the others, in their own process"]
fn backends() {
    if std::env::var_os("CHECKER_SCALE_BACKENDS").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listen = || {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(([0, 0, 0, 0], 0).into()).expect("bound");
            socket.listen(4096).expect("listening")
        };
        let (tcp, http) = (listen(), listen());
        let port = |listener: &tokio::net::TcpListener| listener.local_addr().expect("bound").port();
        println!("ports {} {}", port(&tcp), port(&http));
        tokio::spawn(async move {
            loop {
                let _ = tcp.accept().await;
            }
        });
        tokio::spawn(async move {
            loop {
                let Ok((mut stream, _)) = http.accept().await else {
                    continue;
                };
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                    let _ = stream.read(&mut request).await;
                });
            }
        });
        // The parent holds the other end; when it is gone, so is this.
        let mut end = [0; 1];
        let _ = tokio::task::spawn_blocking(move || std::io::Read::read(&mut std::io::stdin(), &mut end)).await;
    });
    #[expect(clippy::disallowed_methods, reason = "a child process of the test")]
    std::process::exit(0);
}
