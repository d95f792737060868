//! The same question gets the same answer over UDP, TCP, TLS, HTTPS (POST) and QUIC, octet for octet: one decision, one encoder.
//! What may differ are size limits and TC over UDP.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rollcall::cli::serve::{self, RunningServer, ServeOptions};
use rollcall::config;
use rollcall::engine::Transport;

const ZONE: &str = r#"
zone = "lb.example.com"
ttl = 30
[records]
"@" = { NS = ["ns1", "ns2.example.net."], MX = "10 mail", TXT = "v=spf1 -all", CAA = '0 issue "ca.example.net"' }
ns1 = { A = "192.0.2.53", AAAA = "2001:db8::53" }
mail = { A = "192.0.2.25" }
alias = { CNAME = "www" }
"*.dev" = { CNAME = "alias" }
odd = { TYPE65280 = '\# 4 0A000001' }
svc = { HTTPS = "1 . alpn=h2 ipv4hint=192.0.2.1", SRV = "0 5 443 www" }
sub = { NS = ["ns.sub"] }
"ns.sub" = { A = "192.0.2.99" }
moved = { DNAME = "mail" }
[pools.one]
backends = [{ name = "a", address = ["192.0.2.1", "2001:db8::1"] }]
[pools.shut]
on_all_down = "servfail"
backends = [{ name = "a", address = "192.0.2.7", state = "down" }]
[names]
www = "one"
shut = "shut"
"#;

const QUESTIONS: &[(&str, u16)] = &[
    ("lb.example.com", 6),
    ("lb.example.com", 2),
    ("lb.example.com", 15),
    ("lb.example.com", 16),
    ("lb.example.com", 257),
    ("lb.example.com", 255),
    ("WwW.lb.ExAmple.com", 1),
    ("www.lb.example.com", 28),
    ("www.lb.example.com", 16),
    ("alias.lb.example.com", 1),
    ("x.dev.lb.example.com", 1),
    ("odd.lb.example.com", 65280),
    ("svc.lb.example.com", 65),
    ("svc.lb.example.com", 33),
    ("a.sub.lb.example.com", 1),
    ("sub.lb.example.com", 43),
    ("x.moved.lb.example.com", 1),
    ("shut.lb.example.com", 1),
    ("nothing.lb.example.com", 1),
    ("example.org", 1),
    ("lb.example.com", 252),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_gives_the_same_answer() {
    let directory = tempfile::tempdir().unwrap();
    let (server, certificate) = start(directory.path()).await;
    let at = |wanted: Transport| {
        server.dns.iter().find(|(transport, _)| *transport == wanted).expect("every transport listens").1
    };
    let tls = client_config(&certificate);
    let https = reqwest::Client::builder()
        .tls_backend_preconfigured({
            let mut tls = tls.clone();
            tls.alpn_protocols = vec![b"h2".to_vec()];
            tls
        })
        .no_proxy()
        .resolve("localhost", at(Transport::Https))
        .build()
        .unwrap();
    for &(name, rtype) in QUESTIONS {
        for edns in [false, true] {
            let query = query(name, rtype, edns);
            let by_tcp = {
                let (address, query) = (at(Transport::Tcp), query.clone());
                tokio::task::spawn_blocking(move || tcp(address, &query)).await.unwrap()
            };
            let by_udp = {
                let (address, query) = (at(Transport::Udp), query.clone());
                tokio::task::spawn_blocking(move || udp(address, &query)).await.unwrap()
            };
            let what = format!("{name} {rtype} edns={edns}");
            assert_eq!(by_udp, by_tcp, "{what} over UDP");
            assert_eq!(dot(at(Transport::Tls), &tls, &query).await, by_tcp, "{what} over TLS");
            let url = format!("https://localhost:{}/dns-query", at(Transport::Https).port());
            assert_eq!(post(&https, &url, &query).await, by_tcp, "{what} over HTTPS");
            assert_eq!(quic(at(Transport::Quic), &tls, &query).await, by_tcp, "{what} over QUIC");
        }
    }
    // A key that is not known is told with a TSIG without a MAC (RFC 8945 5.2.1).
    let mut signed = query("www.lb.example.com", 1, false);
    signed[11] = 1;
    let key = b"\x0bhmac-sha256\0\0\0\x65\x53\xf1\0\x01\x2c\0\x20";
    let data = [&key[..], &[7; 32], &[0; 6]].concat();
    signed.extend_from_slice(b"\x03key\0\0\xfa\0\xff\0\0\0\0");
    signed.extend_from_slice(&(data.len() as u16).to_be_bytes());
    signed.extend_from_slice(&data);
    let reply = quic(at(Transport::Quic), &tls, &signed).await;
    assert!(reply[3] & 15 == 9 && reply[2] & 2 == 0 && reply[7] == 0, "an unknown key: {reply:?}");
    let address = at(Transport::Tcp);
    assert_eq!(reply, tokio::task::spawn_blocking(move || tcp(address, &signed)).await.unwrap());
    server.stop().await;
}

async fn start(directory: &Path) -> (RunningServer, rcgen::CertifiedKey<rcgen::KeyPair>) {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    std::fs::create_dir(directory.join("zones")).unwrap();
    std::fs::write(directory.join("zones/lb.toml"), ZONE).unwrap();
    let file = directory.join("rollcall.toml");
    let text = r#"
[listen]
dns = ["127.0.0.1:0"]
tls = ["127.0.0.1:0"]
https = ["127.0.0.1:0"]
quic = ["127.0.0.1:0"]
[tls]
cert = "cert.pem"
key = "key.pem"
[dns.rate_limit]
enabled = false
"#;
    std::fs::write(&file, text).unwrap();
    let plan = config::load(Some(&file)).unwrap_or_else(|error| panic!("{error}"));
    let server = serve::start(ServeOptions { config_file: Some(file), plan }).await.unwrap();
    (server, certificate)
}

fn client_config(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn query(name: &str, rtype: u16, edns: bool) -> Vec<u8> {
    // Id 0, as DoQ demands (RFC 9250 4.2.1).
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    if edns {
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    query
}

fn udp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(query, server).unwrap();
    let mut reply = vec![0; 4096];
    let length = socket.recv(&mut reply).unwrap();
    reply.truncate(length);
    reply
}

fn tcp(server: SocketAddr, query: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(&(query.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    reply
}

async fn dot(server: SocketAddr, tls: &rustls::ClientConfig, query: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls.clone()));
    let stream = tokio::net::TcpStream::connect(server).await.unwrap();
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    stream.write_all(&(query.len() as u16).to_be_bytes()).await.unwrap();
    stream.write_all(query).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut reply = vec![0; usize::from(length)];
    stream.read_exact(&mut reply).await.unwrap();
    reply
}

async fn post(client: &reqwest::Client, url: &str, query: &[u8]) -> Vec<u8> {
    let request = client.post(url).header("content-type", "application/dns-message");
    let response = request.header("accept", "application/dns-message").body(query.to_vec()).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.bytes().await.unwrap().to_vec()
}

async fn quic(server: SocketAddr, tls: &rustls::ClientConfig, query: &[u8]) -> Vec<u8> {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"doq".to_vec()];
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client((IpAddr::from([127, 0, 0, 1]), 0).into()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(tls));
    let connection = endpoint.connect_with(config, server, "localhost").unwrap().await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let mut framed = (query.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(query);
    send.write_all(&framed).await.unwrap();
    send.finish().unwrap();
    let reply = receive.read_to_end(65_537).await.unwrap();
    connection.close(0u32.into(), b"");
    reply[2..].to_vec()
}
