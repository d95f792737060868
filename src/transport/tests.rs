//! The transports from outside, over loopback sockets. Answers come from a stand-in where a test needs a certain one.

mod quic;

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::*;
use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, Reply};

/// Every wait ends after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stands in for the engine for names that begin with a label of these tests; all others go through.
pub(super) fn respond(snapshot: &Snapshot, asker: &Asker, query: &[u8], out: &mut [u8]) -> Reply {
    let label = query.get(12).and_then(|length| query.get(13..13 + usize::from(*length)));
    match label {
        Some(b"hook-panic") => panic!("as the test asked"),
        // The question back; RCODE 5 tells it from an echo.
        Some(b"hook-echo") => {
            out[..query.len()].copy_from_slice(query);
            out[2] |= 0x80;
            out[3] = 5;
            Reply { length: query.len(), rcode: 5, ..Reply::SILENCE }
        }
        // As much as there is room for; TC where that is 512 octets.
        Some(b"hook-fill") => {
            out[..query.len()].copy_from_slice(query);
            out[2] |= if out.len() == 512 { 0x82 } else { 0x80 };
            Reply { length: out.len(), ..Reply::SILENCE }
        }
        _ => crate::engine::respond(snapshot, asker, query, out),
    }
}

/// As [`respond`].
pub(super) fn respond_in_place(
    snapshot: &Snapshot,
    asker: &Asker,
    buffer: &mut [u8],
    length: usize,
    limit: usize,
    _: &mut [u8],
) -> Reply {
    let query = buffer[..length].to_vec();
    respond(snapshot, asker, &query, &mut buffer[..limit])
}

fn query(id: u16, label: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query[..2].copy_from_slice(&id.to_be_bytes());
    query.push(label.len() as u8);
    query.extend(label.as_bytes());
    query.extend([0, 0, 1, 0, 1]);
    query
}

fn framed(query: &[u8]) -> Vec<u8> {
    let mut frame = (query.len() as u16).to_be_bytes().to_vec();
    frame.extend(query);
    frame
}

fn loopback() -> Listen {
    Listen {
        dns: vec![(([127, 0, 0, 1], 0).into(), false)],
        udp_workers: 2,
        max_udp_payload: 1232,
        ..Listen::default()
    }
}

fn start(listen: &Listen) -> (Running, SocketAddr) {
    start_within(listen, Limits { connections: 100, per_network: 100 })
}

fn start_within(listen: &Listen, limits: Limits) -> (Running, SocketAddr) {
    let bound = Bound::bind(listen).unwrap();
    let address = bound.addresses()[0].1;
    (bound.start_within(Arc::new(ArcSwap::from_pointee(Snapshot::default())), limits), address)
}

fn udp_client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn tcp_client(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn read_frame(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn id(reply: &[u8]) -> u16 {
    u16::from_be_bytes([reply[0], reply[1]])
}

fn total(running: &Running, field: impl Fn(&Counted) -> u64) -> u64 {
    running.counters().read().iter().map(field).sum()
}

async fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn udp_answers_every_query_of_many_clients() {
    let (running, address) = start(&loopback());
    let clients: Vec<_> = (0..20).map(|_| udp_client(address)).collect();
    for round in 0..10 {
        for client in &clients {
            client.send(&query(round, "hook-echo")).unwrap();
        }
        for client in &clients {
            let mut reply = [0; 512];
            let length = client.recv(&mut reply).unwrap();
            assert_eq!(length, query(0, "hook-echo").len());
            assert_eq!((id(&reply), reply[2] & 0x80, reply[3]), (round, 0x80, 5));
        }
    }
    // A reply is counted once its system call is over, which may be after the client has it.
    wait_for("all replies counted", || total(&running, |counted| counted.replies) == 200).await;
    assert_eq!(total(&running, |counted| counted.rcodes[5]), 200);
    assert_eq!(total(&running, |counted| counted.queries), 200);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_costs_one_packet_and_one_connection() {
    let (running, address) = start(&loopback());
    let client = udp_client(address);
    client.send(&query(1, "hook-panic")).unwrap();
    client.send(&query(2, "hook-echo")).unwrap();
    let mut reply = [0; 512];
    client.recv(&mut reply).unwrap();
    assert_eq!(id(&reply), 2);

    let mut stream = tcp_client(address);
    stream.write_all(&framed(&query(3, "hook-panic"))).unwrap();
    assert_eq!(stream.read(&mut reply).unwrap(), 0, "the connection is closed");
    let mut stream = tcp_client(address);
    stream.write_all(&framed(&query(4, "hook-echo"))).unwrap();
    assert_eq!(id(&read_frame(&mut stream).unwrap()), 4);
    assert_eq!(total(&running, |counted| counted.panics), 2);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_listener_answers_from_the_address_asked() {
    let listen = Listen { dns: vec![(([0, 0, 0, 0], 0).into(), false)], ..loopback() };
    let (running, address) = start(&listen);
    // A connected socket takes packets from that one address only.
    for asked in ["127.0.0.1", "127.0.0.5", "127.0.0.6", "127.0.0.5"] {
        let asked: IpAddr = asked.parse().unwrap();
        let client = udp_client(SocketAddr::new(asked, address.port()));
        for round in 0..5 {
            client.send(&query(round, "hook-echo")).unwrap();
            let mut reply = [0; 512];
            client.recv(&mut reply).unwrap();
            assert_eq!(id(&reply), round);
        }
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_batch_asked_at_several_addresses_is_answered_from_each() {
    let listen = Listen { dns: vec![(([0, 0, 0, 0], 0).into(), false)], udp_workers: 1, ..loopback() };
    let (running, address) = start(&listen);
    let clients: Vec<_> =
        (1..9u8).map(|last| udp_client(SocketAddr::from(([127, 0, 0, last], address.port())))).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(&query(number as u16, "hook-echo")).unwrap();
    }
    for (number, client) in clients.iter().enumerate() {
        let mut reply = [0; 512];
        client.recv(&mut reply).unwrap();
        assert_eq!(usize::from(id(&reply)), number);
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_too_long_for_the_path_comes_as_tc() {
    // IPv4 carries 65,507 octets of UDP: 65,535 fail with EMSGSIZE even on loopback.
    let listen = Listen { max_udp_payload: u16::MAX, udp_workers: 1, ..loopback() };
    let (running, address) = start(&listen);
    let client = udp_client(address);
    for round in 0..3 {
        client.send(&query(round, "hook-fill")).unwrap();
        client.send(&query(round + 100, "hook-echo")).unwrap();
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        let mut reply = [0; 2048];
        let length = client.recv(&mut reply).unwrap();
        assert_eq!(reply[2] & 2 != 0, id(&reply) < 100);
        assert!(length <= 512);
        seen.push(id(&reply));
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 100, 101, 102]);
    assert_eq!(total(&running, |counted| counted.too_long), 3);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_answers_a_pipeline_in_order_however_it_is_cut() {
    let (running, address) = start(&loopback());
    let pipeline: Vec<u8> = (0..50).flat_map(|id| framed(&query(id, "hook-echo"))).collect();
    for cut in [1, 2, 3, 7, 64, pipeline.len()] {
        let mut stream = tcp_client(address);
        stream.set_nodelay(true).unwrap();
        for piece in pipeline.chunks(cut) {
            stream.write_all(piece).unwrap();
        }
        for expected in 0..50 {
            assert_eq!(id(&read_frame(&mut stream).unwrap()), expected);
        }
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_answers_a_client_that_has_closed_its_half() {
    let (running, address) = start(&loopback());
    let mut stream = tcp_client(address);
    stream.write_all(&framed(&query(1, "hook-echo"))).unwrap();
    stream.write_all(&framed(&query(2, "hook-fill"))).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(id(&read_frame(&mut stream).unwrap()), 1);
    let long = read_frame(&mut stream).unwrap();
    assert_eq!((id(&long), long.len()), (2, 65_535));
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_is_no_longer_read_from() {
    let (running, address) = start(&loopback());
    let mut stream = tcp_client(address);
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // Replies of 64 KiB to queries of 29 octets: without back-pressure all of these would be taken.
    let queries: Vec<u8> = (0..10_000).flat_map(|id| framed(&query(id, "hook-fill"))).collect();
    let mut taken = 0;
    while taken < 40 * queries.len() {
        match stream.write(&queries) {
            Ok(length) => taken += length,
            Err(_) => break,
        }
    }
    assert!(taken < 40 * queries.len(), "the server took everything");
    let answered = total(&running, |counted| counted.replies);
    assert!(answered < 1000, "{answered} replies of 64 KiB wait for a client that does not read");
    // Others are served meanwhile.
    let mut other = tcp_client(address);
    other.write_all(&framed(&query(4, "hook-echo"))).unwrap();
    assert_eq!(id(&read_frame(&mut other).unwrap()), 4);
    drop(stream);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_idle_connection_makes_room() {
    let limits = Limits { connections: 3, per_network: 3 };
    let (running, address) = start_within(&loopback(), limits);
    let mut streams: Vec<_> = (0..3).map(|_| tcp_client(address)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&framed(&query(number as u16, "hook-echo"))).unwrap();
        read_frame(stream).unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first speaks again: the second is now idle for longest.
    streams[0].write_all(&framed(&query(9, "hook-echo"))).unwrap();
    read_frame(&mut streams[0]).unwrap();
    let mut fourth = tcp_client(address);
    fourth.write_all(&framed(&query(10, "hook-echo"))).unwrap();
    assert_eq!(id(&read_frame(&mut fourth).unwrap()), 10);
    assert_eq!(streams[1].read(&mut [0]).unwrap(), 0, "the longest idle was closed");
    streams[2].write_all(&framed(&query(11, "hook-echo"))).unwrap();
    assert_eq!(id(&read_frame(&mut streams[2]).unwrap()), 11);
    assert_eq!(total(&running, |counted| counted.evicted), 1);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_what_has_come_and_does_not_wait_for_the_idle() {
    let (running, address) = start(&loopback());
    let counters = running.counters();
    let idle: Vec<_> = (0..50).map(|_| tcp_client(address)).collect();
    wait_for("all accepted", || counters.read().iter().map(|one| one.accepted).sum::<u64>() == 50).await;
    let client = udp_client(address);
    client.send(&query(7, "hook-echo")).unwrap();
    let begun = Instant::now();
    running.drain().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut reply = [0; 512];
    client.recv(&mut reply).unwrap();
    assert_eq!(id(&reply), 7);
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    for mut stream in idle {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

/// Set for the process that runs out of descriptors, so that this one does not.
const CHILD: &str = "ROLLCALL_TEST_FEW_DESCRIPTORS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn out_of_descriptors_accepting_waits_without_spinning_and_udp_goes_on() {
    if std::env::var_os(CHILD).is_some() {
        return few_descriptors().await;
    }
    let name = "transport::tests::out_of_descriptors_accepting_waits_without_spinning_and_udp_goes_on";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let address = lines.find_map(|line| line.unwrap().strip_prefix("listening on ").map(str::to_owned)).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let connections: Vec<_> = (0..150).map(|_| tcp_client(address)).collect();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let client = udp_client(address);
    for round in 0..50 {
        client.send(&query(round, "hook-echo")).unwrap();
        let mut reply = [0; 512];
        client.recv(&mut reply).unwrap();
        assert_eq!(id(&reply), round);
    }
    let said: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success(), "{said:#?}");
    drop(connections);
}

async fn few_descriptors() {
    use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
    use nix::sys::time::TimeValLike;
    let processor_ms = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds()
    };
    let (running, address) = start_within(&loopback(), Limits { connections: 1000, per_network: 1000 });
    setrlimit(Resource::RLIMIT_NOFILE, 40, 40).unwrap();
    println!("\nlistening on {address}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    wait_for("descriptors run out", || total(&running, |counted| counted.accept_waits) > 0).await;
    let before = processor_ms();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = processor_ms() - before;
    assert!(used < 100, "{used} ms of processor time in a second of waiting");
    running.drain().await;
}

/// A certificate for 127.0.0.1 in a directory of its own, and a client's configuration that trusts only it.
fn certificate(protocol: &str) -> (tempfile::TempDir, Listen, rustls::ClientConfig, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (chain, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let listen = Listen { udp_workers: 1, max_udp_payload: 1232, certificate: Some((chain, key)), ..Listen::default() };
    (directory, listen, client, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_over_tls_speaks_dot() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (_directory, listen, client, _) = certificate("dot");
    let listen = Listen { tls: vec![([127, 0, 0, 1], 0).into()], ..listen };
    let (running, address) = start(&listen);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"dot"[..]));
    for number in 0..3 {
        stream.write_all(&framed(&query(number, "hook-echo"))).await.unwrap();
    }
    for number in 0..3 {
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(id(&reply), number);
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_over_https_answers_a_post() {
    let (_directory, listen, client, _) = certificate("h2");
    let listen = Listen { https: vec![([127, 0, 0, 1], 0).into()], ..listen };
    let (running, address) = start(&listen);
    let client = reqwest::Client::builder().use_preconfigured_tls(client).no_proxy().build().unwrap();
    let url = format!("https://{address}/dns-query");
    let response = client
        .post(&url)
        .header("content-type", "application/dns-message")
        .header("accept", "application/dns-message")
        .body(query(77, "hook-echo"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let reply = response.bytes().await.unwrap();
    assert_eq!((id(&reply), reply[2] & 0x80, reply[3] & 15), (77, 0x80, 5));
    assert_eq!(reply[12..], query(77, "hook-echo")[12..], "the question as it was asked");
    running.drain().await;
}

/// A server over HTTPS, and a client that trusts it.
fn https() -> (Running, reqwest::Client, String, SocketAddr, tempfile::TempDir) {
    https_within(Limits { connections: 100, per_network: 100 })
}

fn https_within(limits: Limits) -> (Running, reqwest::Client, String, SocketAddr, tempfile::TempDir) {
    let (directory, listen, client, _) = certificate("h2");
    let listen = Listen { https: vec![([127, 0, 0, 1], 0).into()], ..listen };
    let (running, address) = start_within(&listen, limits);
    let client = reqwest::Client::builder().use_preconfigured_tls(client).no_proxy().build().unwrap();
    (running, client, format!("https://{address}/dns-query"), address, directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dns_over_https_answers_a_get() {
    let (running, client, url, _, _directory) = https();
    // RFC 8484 4.1: base64url without padding; other parameters are passed over.
    for (label, parameters) in [("hook-echo", ""), ("hook-fill", "ct&x=1&")] {
        let asked = query(0, label);
        let encoded = data_encoding::BASE64URL_NOPAD.encode(&asked);
        let response = client.get(format!("{url}?{parameters}dns={encoded}")).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
        assert_eq!(response.headers()["content-type"], "application/dns-message");
        assert_eq!(response.headers()["cache-control"], "max-age=0", "no record, no time to keep it");
        let reply = response.bytes().await.unwrap();
        assert_eq!(reply[12..asked.len()], asked[12..]);
        assert_eq!(reply.len(), if label == "hook-fill" { 65_535 } else { asked.len() });
    }
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_dns_over_https_is_told_so_by_http() {
    let (running, client, url, _, _directory) = https();
    let media = ("content-type", "application/dns-message");
    let good = query(1, "hook-echo");
    let post = |body: Vec<u8>| client.post(&url).header(media.0, media.1).body(body);
    let encoded = data_encoding::BASE64URL_NOPAD.encode(&good);
    let cases = [
        ("another path", client.get(url.replace("dns-query", "other")), 404),
        ("another method", client.put(&url).header(media.0, media.1).body(good.clone()), 405),
        ("no parameter", client.get(&url), 400),
        ("padding", client.get(format!("{url}?dns={encoded}==")), 400),
        ("no base64url", client.get(format!("{url}?dns=a+b/")), 400),
        ("nothing encoded", client.get(format!("{url}?dns=")), 400),
        ("no media type", client.post(&url).body(good.clone()), 415),
        ("another media type", client.post(&url).header("content-type", "text/plain").body(good.clone()), 415),
        ("a response", post([&[0, 1, 0x80, 0][..], &query(1, "nowhere")[4..]].concat()), 400),
        ("half a header", post(vec![0; 6]), 400),
        ("more than a message", post(vec![0; 65_536]), 413),
        ("headers without end", client.get(format!("{url}?dns={encoded}")).header("x", "y".repeat(20_000)), 431),
        ("a panic", post(query(1, "hook-panic")), 500),
        (
            "parameters of the media type",
            client.post(&url).header(media.0, "Application/DNS-Message; x=1").body(good.clone()),
            200,
        ),
        ("octets that are no query", post(vec![0; 65_535]), 200),
    ];
    for (what, request, status) in cases {
        assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{what}");
    }
    assert_eq!(total(&running, |block| block.panics), 1);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_has_the_limits_of_connections_that_tcp_has() {
    let (running, first, url, address, _directory) = https_within(Limits { connections: 2, per_network: 2 });
    let asked = format!("{url}?dns={}", data_encoding::BASE64URL_NOPAD.encode(&query(0, "hook-echo")));
    assert_eq!(first.get(&asked).send().await.unwrap().status(), 200);
    // Two more connections, which say nothing: the one that answered longest ago gives way.
    let held: Vec<TcpStream> = (0..2).map(|_| tcp_client(address)).collect();
    wait_for("an eviction", || total(&running, |block| block.evicted) == 1).await;
    // A client that has not yet seen the end of its connection learns it from its request, and asks again.
    let answer = match first.get(&asked).send().await {
        Ok(answer) => answer,
        Err(_) => first.get(&asked).send().await.unwrap(),
    };
    assert_eq!(answer.status(), 200, "over a new connection");
    wait_for("another", || total(&running, |block| block.evicted) == 2).await;
    drop(held);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_https_client_that_reads_nothing_is_answered_no_more_and_given_up() {
    let (running, client, url, _, _directory) = https();
    let asked = format!("{url}?dns={}", data_encoding::BASE64URL_NOPAD.encode(&query(0, "hook-fill")));
    // One connection for all that follows.
    client.get(&asked).send().await.unwrap().bytes().await.unwrap();
    // Each reply is 65,535 octets, and nobody reads one. What the client's library takes in by itself is some megabytes.
    let requests: Vec<_> = (0..400).map(|_| tokio::spawn(client.get(&asked).send())).collect();
    let end = Instant::now() + stream::MESSAGE_DEADLINE + PATIENCE;
    while total(&running, |block| block.timed_out) == 0 {
        assert!(Instant::now() < end, "who reads nothing is given up");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answered = total(&running, |block| block.queries);
    // Given up, the library connects anew: how often is its own affair.
    assert!((4..300).contains(&answered), "{answered} answered");
    drop(requests);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_answers_over_udp_tcp_and_https() {
    let (_directory, listen, client, _) = certificate("h2");
    let listen = Listen { https: vec![([127, 0, 0, 1], 0).into()], ..listen };
    let listen = Listen { dns: loopback().dns, ..listen };
    let bound = Bound::bind(&listen).unwrap();
    let addresses = bound.addresses();
    let running = bound.start(Arc::new(ArcSwap::from_pointee(Snapshot::default())));
    // A server without zones refuses.
    let asked = query(5, "nowhere");
    let udp = udp_client(addresses[0].1);
    udp.send(&asked).unwrap();
    let mut reply = [0; 512];
    let length = udp.recv(&mut reply).unwrap();
    let over_udp = reply[..length].to_vec();
    assert_eq!(over_udp[3] & 15, 5);

    let mut tcp = tcp_client(addresses[1].1);
    tcp.write_all(&framed(&asked)).unwrap();
    assert_eq!(read_frame(&mut tcp).unwrap(), over_udp);

    let client = reqwest::Client::builder().use_preconfigured_tls(client).no_proxy().build().unwrap();
    let post = client.post(format!("https://{}/dns-query", addresses[2].1)).body(asked);
    let post = post.header("content-type", "application/dns-message").header("accept", "application/dns-message");
    let over_https = post.send().await.unwrap().bytes().await.unwrap();
    assert_eq!(over_https[..], over_udp[..]);
    running.drain().await;
}

#[test]
fn encrypted_listeners_without_a_certificate_are_refused() {
    let listen = Listen { tls: vec![([127, 0, 0, 1], 0).into()], ..loopback() };
    assert!(Bound::bind(&listen).unwrap_err().message.contains("need a certificate"));
}
