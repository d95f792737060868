//! The backends of these tests: each a real server of its protocol, on a free port, for as long as the test runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use hickory_proto::op::{Message, MessageType};
use http::{HeaderMap, HeaderValue, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

// ---- certificates ----

pub(super) struct Pki {
    authority: CertifiedIssuer<'static, KeyPair>,
}

pub(super) type Identity = (String, String);

impl Pki {
    pub(super) fn new() -> Pki {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("issuer {}", COUNT.fetch_add(1, SeqCst));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Pki { authority: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    pub(super) fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// The day on which a certificate ends that has so many whole days left.
    pub(super) fn date_in(days: i64) -> String {
        let (year, month, day) = Pki::end(days);
        format!("{year}-{month:02}-{day:02}")
    }

    /// Certificates end at midnight here: the first one after so many days from now.
    fn end(days: i64) -> (i32, u8, u8) {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let then = if days >= 0 { now + day * (days as u32 + 1) } else { now - day * (-days as u32 - 1) };
        let text = humantime::format_rfc3339_seconds(then).to_string();
        let part = |from: usize, to: usize| text[from..to].parse::<i32>().expect("a number");
        (part(0, 4), part(5, 7) as u8, part(8, 10) as u8)
    }

    /// PEM of a certificate with so many whole days left, and its key.
    pub(super) fn leaf(&self, names: &[&str], days: i64) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("parameters");
        let (year, month, day) = Pki::end(days);
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn acceptor((chain, key): Identity, alpn: &[&str]) -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(|one| one.expect("PEM")).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
    let builder = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).expect("a server");
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Shakes hands and waits.
pub(super) async fn tls_server(identity: Identity) -> SocketAddr {
    let (listener, address) = listen().await;
    let acceptor = acceptor(identity, &[]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.read(&mut [0; 64]).await;
                }
            });
        }
    });
    address
}

// ---- http and agents ----

/// Says that to every request.
pub(super) async fn http_server(text: &'static str) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
            });
        }
    });
    address
}

/// Says its line and closes; one that is `asked` waits for a line first.
pub(super) async fn agent(line: &'static str, asked: bool) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = [0; 64];
            if asked {
                let length = stream.read(&mut question).await.unwrap_or(0);
                assert_eq!(&question[..length], b"web\n");
            }
            let _ = stream.write_all(line.as_bytes()).await;
        }
    });
    address
}

/// Another line for each connection, the last one for ever.
pub(super) async fn agent_of_lines(lines: &'static [&'static str]) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(lines[count.min(lines.len() - 1)].as_bytes()).await;
            count += 1;
        }
    });
    address
}

// ---- grpc ----

/// A health server: what it says depends on the service's name.
pub(super) async fn grpc_server(tls: Option<(Identity, &'static [&'static str])>) -> SocketAddr {
    let (listener, address) = listen().await;
    let acceptor = tls.map(|(identity, alpn)| acceptor(identity, alpn));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => serve_grpc(stream).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve_grpc(stream).await;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn serve_grpc(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer_grpc(request, respond));
    }
}

async fn answer_grpc(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    assert_eq!(request.headers()["te"], "trailers");
    assert!(request.uri().authority().is_some_and(|authority| authority.host() == "good.example"));
    let mut body = request.into_body();
    let mut message = BytesMut::new();
    while let Some(Ok(piece)) = body.data().await {
        message.extend_from_slice(&piece);
    }
    assert_eq!(message[0], 0, "not compressed");
    let service = if message.len() > 7 { String::from_utf8_lossy(&message[7..]).into_owned() } else { String::new() };
    let head = |status: u16, kind: &str| Response::builder().status(status).header("content-type", kind);
    let refuse = |code: &'static str, message: &'static str| {
        head(200, "application/grpc")
            .header("grpc-status", code)
            .header("grpc-message", message)
            .body(())
            .expect("a head")
    };
    let status = match service.as_str() {
        "" | "good.Service" => Some(1),
        "ill.Service" => Some(2),
        "new.Service" => Some(3),
        "odd.Service" | "half" => None,
        "none" => return drop(respond.send_response(refuse("5", "unknown service"), true)),
        "unimplemented" => return drop(respond.send_response(refuse("12", ""), true)),
        "broken" => return drop(respond.send_response(refuse("14", "try later"), true)),
        "html" => return drop(respond.send_response(head(200, "text/html").body(()).expect("a head"), true)),
        "404" => return drop(respond.send_response(head(404, "text/plain").body(()).expect("a head"), true)),
        _ => return tokio::time::sleep(Duration::from_secs(60)).await,
    };
    let response = head(200, "application/grpc+proto").body(()).expect("a head");
    let Ok(mut stream) = respond.send_response(response, false) else { return };
    let message: Vec<u8> = status.map(|status| vec![8, status]).unwrap_or_default();
    let framed = [&[0, 0, 0, 0, message.len() as u8][..], &message].concat();
    let _ = stream.send_data(framed.into(), service == "half");
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let _ = stream.send_trailers(trailers);
}

// ---- dns ----

/// What no server does on purpose, over UDP; the name says what. Well-behaved ones are `hickory`'s.
pub(super) async fn bad_dns_server() -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let address = udp.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut lost = 0;
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).expect("a query");
            let name = query.queries[0].name().to_string();
            lost += usize::from(name.starts_with("lost."));
            if name.starts_with("silent.") || (name.starts_with("lost.") && lost == 1) {
                continue;
            }
            let mut answer = query.clone();
            answer.metadata.message_type = MessageType::Response;
            let answer = answer.to_vec().expect("an answer");
            if name.starts_with("forged.") {
                // SERVFAIL to another ID, and to another question: neither is the answer.
                let mut forged = answer.clone();
                forged[3] |= 2;
                forged[0] ^= 1;
                let _ = udp.send_to(&forged, from).await;
                forged[0] ^= 1;
                forged[13] ^= 1;
                let _ = udp.send_to(&forged, from).await;
            }
            let _ = udp.send_to(&answer, from).await;
        }
    });
    address
}
