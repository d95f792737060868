//! DNS over QUIC, by clients that speak QUIC.

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};

use super::*;

struct Client {
    endpoint: Endpoint,
    tls: rustls::ClientConfig,
    server: SocketAddr,
}

fn serve(limits: Limits) -> (Running, Client, tempfile::TempDir) {
    let (directory, listen, tls, _) = certificate("doq");
    let (running, server) = start_within(&Listen { quic: vec![([127, 0, 0, 1], 0).into()], ..listen }, limits);
    (running, Client { endpoint: client_endpoint(&tls), tls, server }, directory)
}

fn client_endpoint(tls: &rustls::ClientConfig) -> Endpoint {
    let mut endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.clone()).unwrap())));
    endpoint
}

impl Client {
    async fn connect(&self) -> Connection {
        self.endpoint.connect(self.server, "127.0.0.1").unwrap().await.unwrap()
    }
}

async fn ask(connection: &Connection, query: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.ok()?;
    send.write_all(&framed(query)).await.ok()?;
    send.finish().ok()?;
    let reply = receive.read_to_end(MOST).await.ok()?;
    assert_eq!(usize::from(u16::from_be_bytes([reply[0], reply[1]])), reply.len() - 2);
    Some(reply[2..].to_vec())
}

const MOST: usize = 65_537;
const WIDE: Limits = Limits { connections: 100, per_network: 100 };

fn closed_with(connection: &Connection) -> Option<VarInt> {
    match connection.close_reason()? {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stream_has_its_answer_and_a_stalled_one_holds_up_none() {
    let (running, client, _files) = serve(WIDE);
    let connection = client.connect().await;
    let (mut stalled, mut late) = connection.open_bi().await.unwrap();
    stalled.write_all(&framed(&query(0, "hook-echo"))[..5]).await.unwrap();
    let all: Vec<_> = (0..50)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { ask(&connection, &query(0, "hook-echo")).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap().unwrap()[3], 5);
    }
    assert_eq!(ask(&connection, &query(0, "hook-fill")).await.unwrap().len(), 65_535);
    stalled.write_all(&framed(&query(0, "hook-echo"))[5..]).await.unwrap();
    stalled.finish().unwrap();
    assert_eq!(late.read_to_end(MOST).await.unwrap()[5], 5, "the rest of it is answered");
    assert!(ask(&connection, &query(0, "hook-panic")).await.is_none(), "a panic costs its stream");
    assert!(ask(&connection, &query(0, "hook-echo")).await.is_some());
    assert_eq!((total(&running, |one| one.panics), total(&running, |one| one.accepted)), (1, 1));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_not_0_ends_the_connection() {
    let (running, client, _files) = serve(WIDE);
    let connection = client.connect().await;
    assert!(ask(&connection, &query(7, "hook-echo")).await.is_none());
    connection.closed().await;
    assert_eq!(closed_with(&connection), Some(VarInt::from_u32(2)));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_has_the_limits_of_connections_that_tcp_has() {
    let (running, client, _files) = serve(Limits { connections: 100, per_network: 2 });
    let (first, second) = (client.connect().await, client.connect().await);
    for connection in [&second, &first] {
        ask(connection, &query(0, "hook-echo")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let third = client.connect().await;
    second.closed().await;
    assert_eq!(closed_with(&second), Some(VarInt::from_u32(4)), "the longest idle, for the load");
    for connection in [&first, &third] {
        assert!(ask(connection, &query(0, "hook-echo")).await.is_some());
    }
    assert_eq!(total(&running, |one| one.evicted), 1);
    running.drain().await;
}

/// What a client of a forged address looks like: its first packet arrives, and nothing else in either direction.
async fn begin_and_fall_silent(tls: &rustls::ClientConfig, server: SocketAddr) -> Endpoint {
    let between = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = client_endpoint(tls);
    let connecting = endpoint.connect(between.local_addr().unwrap(), "127.0.0.1").unwrap();
    tokio::spawn(async move { drop(connecting.await) });
    let mut packet = [0; 2048];
    let length = between.recv(&mut packet).await.unwrap();
    between.send_to(&packet[..length], server).await.unwrap();
    endpoint
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_and_falls_silent_holds_up_nobody_and_pushes_few_out() {
    let (running, client, _files) = serve(WIDE);
    let standing = client.connect().await;
    ask(&standing, &query(0, "hook-echo")).await.unwrap();
    // More than may be under way unproven: of the further ones the server keeps nothing.
    let mut silent = Vec::new();
    for _ in 0..60 {
        silent.push(begin_and_fall_silent(&client.tls, client.server).await);
    }
    wait_for("handshakes begin", || total(&running, |one| one.accepted) > 30).await;
    let begun = Instant::now();
    // It is asked to prove its address, and does.
    let another = client.connect().await;
    assert!(ask(&another, &query(0, "hook-echo")).await.is_some());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let accepted = total(&running, |one| one.accepted);
    assert!((32..=35).contains(&accepted), "{accepted} places taken");
    assert!(ask(&standing, &query(0, "hook-echo")).await.is_some());
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_delivers_the_last_replies_and_does_not_wait_for_the_idle() {
    let (running, client, _files) = serve(WIDE);
    let (idle, busy) = (client.connect().await, client.connect().await);
    ask(&idle, &query(0, "hook-echo")).await.unwrap();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let busy = busy.clone();
            tokio::spawn(async move { ask(&busy, &query(0, "hook-fill")).await })
        })
        .collect();
    wait_for("all queries arrive", || total(&running, |one| one.queries) == 1 + 20).await;
    let begun = Instant::now();
    running.drain().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for one in asked {
        assert_eq!(one.await.unwrap().map(|reply| reply.len()), Some(65_535));
    }
    assert_eq!(closed_with(&idle), Some(VarInt::from_u32(0)));
}
