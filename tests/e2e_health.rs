//! End to end: backends die and come back, and the answers follow. The real program, real backends, real queries.

mod support;

use std::io::{Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use support::backend::Backend;
use support::dns::set_of;
use support::server::{Place, stderr, stdout};
use support::{throughout, until};

/// Quick checks: found down within half a second.
const CHECK: &str = "[checks.web]\ntype = \"http\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\nfall = 2\nrise = 1\n";

const WWW: &str = "www.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

fn pool(keys: &str, backends: &[String]) -> String {
    format!(
        "{CHECK}[pools.web]\ncheck = \"web\"\n{keys}\nbackends = [{}]\n[names]\nwww = \"web\"\n",
        backends.join(", ")
    )
}

#[test]
fn a_killed_backend_leaves_the_answers_and_returns() {
    let [mut a, b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", "")]));
    let server = place.serve();
    let client = server.client();
    assert_eq!(client.set(WWW), set_of([a.ip(), b.ip()]));

    a.kill();
    until("a leaves the answers", || client.set(WWW) == set_of([b.ip()]));
    throughout(Duration::from_millis(300), "a stays out", || client.set(WWW) == set_of([b.ip()]));
    let status = server.backend("lb.example.com/web/a");
    assert_eq!(status["state"], "down");
    assert_eq!(status["addresses"][0]["reason"], "connection refused");
    assert_eq!(server.status().1, 1, "a backend is down");

    a.revive();
    until("a returns", || client.set(WWW) == set_of([a.ip(), b.ip()]));
    assert_eq!(server.status().1, 0);
}

/// The same through a resolver library, as a client program would ask.
#[tokio::test]
async fn a_resolver_library_follows_a_failover() {
    use hickory_resolver::Resolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;

    let [mut a, b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", ", tier = 1")]));
    let server = place.serve();
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.iter_mut().for_each(|connection| connection.port = server.dns.port());
    let name_server = NameServerConfig::new(server.dns.ip(), true, connections.to_vec());
    let config = ResolverConfig::from_name_servers(vec![name_server]);
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build().unwrap();
    let ask = async || -> Vec<IpAddr> { resolver.lookup_ip(WWW).await.unwrap().iter().collect() };

    assert_eq!(ask().await, [IpAddr::from(a.ip())]);
    a.kill();
    // The resolver caches for the TTL, five seconds here: a client that waits less sees the dead one.
    let start = std::time::Instant::now();
    while ask().await != [IpAddr::from(b.ip())] {
        assert!(start.elapsed() < support::DEADLINE, "the resolver never saw the standby");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(start.elapsed() < Duration::from_secs(8), "TTL and detection, not more: {:?}", start.elapsed());
}

#[test]
fn all_backends_killed_fails_open() {
    let [mut a, mut b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", "")]));
    let server = place.serve();
    let client = server.client();
    a.kill();
    until("a leaves", || client.set(WWW) == set_of([b.ip()]));
    b.kill();
    until("all are answered again", || client.set(WWW) == set_of([a.ip(), b.ip()]));
    let (status, code) = server.status();
    assert_eq!(code, 3, "a pool has no tier that is good enough");
    assert_eq!(status["zones"][0]["pools"][0]["state"], "panic");
    // One of them is enough to end it.
    b.revive();
    until("b alone", || client.set(WWW) == set_of([b.ip()]));
}

#[test]
fn weights_hold_within_two_answers_over_any_window() {
    let [a, b, c] = Backend::several();
    let weights = [(a.ip(), 5_u32), (b.ip(), 3), (c.ip(), 1)];
    let entries = [a.entry("a", ", weight = 5"), b.entry("b", ", weight = 3"), c.entry("c", ", weight = 1")];
    let place = Place::with_zone(&pool("policy = \"weighted\"", &entries));
    let server = place.serve();
    let client = server.client();
    let answers: Vec<IpAddr> = (0..900)
        .map(|_| {
            // A query for the other type in between must not disturb the order.
            client.ask(WWW, RecordType::AAAA);
            let addresses = client.addresses(WWW);
            assert_eq!(addresses.len(), 1, "weighted answers one");
            addresses[0]
        })
        .collect();
    let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
    for (address, weight) in weights {
        // In any window, places got minus places due is the difference of two of these sums.
        let mut sum = 0_i64;
        let (mut least, mut greatest) = (0, 0);
        for answer in &answers {
            let got = if *answer == IpAddr::V4(address) { i64::from(total) } else { 0 };
            sum += got - i64::from(weight);
            least = sum.min(least);
            greatest = sum.max(greatest);
        }
        let off = (greatest - least) as f64 / f64::from(total);
        println!("weight {weight} of {total}: over any window at most {off:.2} answers off");
        assert!(off <= 2.0, "weight {weight}: {off} answers off in some window");
    }
}

#[test]
fn a_standby_wakes_and_sleeps_again() {
    for keys in [", tier = 1", ", weight = 0"] {
        let [mut a, mut b, c] = Backend::several();
        let backends = [a.entry("a", ""), b.entry("b", ""), c.entry("c", keys)];
        let place = Place::with_zone(&pool("", &backends));
        let server = place.serve();
        let client = server.client();
        assert_eq!(client.set(WWW), set_of([a.ip(), b.ip()]));
        a.kill();
        until("b alone", || client.set(WWW) == set_of([b.ip()]));
        b.kill();
        until("the standby wakes", || client.set(WWW) == set_of([c.ip()]));
        a.revive();
        until("the standby sleeps", || client.set(WWW) == set_of([a.ip()]));
        b.revive();
        until("all is as before", || client.set(WWW) == set_of([a.ip(), b.ip()]));
    }
}

#[test]
fn a_drained_backend_is_never_answered() {
    let [a, mut b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", "")]));
    let server = place.serve();
    let client = server.client();
    let drained = server.run(&["state", "lb.example.com/web/a", "drain", "--reason", "new disk"]);
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    // From the moment the command returned.
    throughout(Duration::from_millis(500), "a is drained", || client.set(WWW) == set_of([b.ip()]));
    assert_eq!(server.status().1, 0, "a drain alone is well");
    let status = server.backend("lb.example.com/web/a");
    assert_eq!(status["override"]["reason"], "new disk");
    assert_eq!(status["addresses"][0]["verdict"], "up", "it is still probed");

    // Not even when all else is down.
    b.kill();
    until("b is found down", || server.backend("lb.example.com/web/b")["state"] == "down");
    throughout(Duration::from_millis(300), "a is drained still", || client.set(WWW) == set_of([b.ip()]));

    let removed = server.run(&["state", "lb.example.com/web/*", "auto"]);
    assert_eq!(removed.status.code(), Some(0), "{}", stderr(&removed));
    assert_eq!(client.set(WWW), set_of([a.ip()]));
}

#[test]
fn an_override_ends_by_itself() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", "")]));
    let server = place.serve();
    let client = server.client();
    let forced = server.run(&["state", "lb.example.com/web/a", "down", "--for", "2s"]);
    assert_eq!(forced.status.code(), Some(0), "{}", stderr(&forced));
    assert_eq!(client.set(WWW), set_of([b.ip()]));
    until("the override ends", || client.set(WWW) == set_of([a.ip(), b.ip()]));
    assert!(server.backend("lb.example.com/web/a")["override"].is_null());
    let unknown = server.run(&["state", "lb.example.com/web/nobody", "down"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", stderr(&unknown));
}

#[test]
fn an_override_without_a_thinkable_end_is_refused_and_harms_nothing() {
    let place = Place::with_zone(&pool("", &[r#"{ name = "a", address = "127.0.0.1" }"#.to_owned()]));
    let server = place.serve();
    let refused = server.run(&["state", "lb.example.com/web/a", "drain", "--for", "9000years"]);
    assert_eq!(refused.status.code(), Some(2));
    // Who speaks to the control listener without the command line is told the same.
    let mut asked = std::net::TcpStream::connect(&server.control).unwrap();
    let body = r#"{"backend":"lb.example.com/web/a","state":"drain","for_ms":18446744073709551615}"#;
    let request = format!(
        "PUT /v1/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    asked.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    asked.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
    assert!(server.backend("lb.example.com/web/a")["override"].is_null());
}

#[test]
fn explain_says_which_answer_and_why() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&pool("", &[a.entry("a", ""), b.entry("b", ", tier = 1")]));
    let server = place.serve();
    server.run(&["state", "lb.example.com/web/a", "drain", "--reason", "new disk"]);
    let explained = server.run(&["explain", "www.lb.example.com"]);
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
    let text = stdout(&explained);
    for part in [b.ip().to_string().as_str(), "new disk", "drain", "tier 1"] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    let foreign = server.run(&["explain", "www.example.org"]);
    assert_eq!(foreign.status.code(), Some(1), "{}", stdout(&foreign));
}
