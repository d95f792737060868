//! DNS over HTTPS (RFC 8484): hyper speaks HTTP/2 over the TLS that `stream` accepted, `respond()` answers, by POST and by GET.
//!
//! ```text
//! stream::accept -> place -> TLS -> HTTP/2 streams -> respond() -> replies, as the client reads them
//! ```
//!
//! What one connection may hold is bounded: so many streams, so many octets of queries not yet read, so many of replies
//! not yet sent. And as over TCP, only a whole query that was answered renews its deadline.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::op::Message;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::{Activity, Place};
use super::stream::{Answered, MESSAGE_DEADLINE, Service, WRITE_DEADLINE, answer};
use crate::engine::MAX_REPLY;

/// Where DoH answers (RFC 8484 leaves the path to the server; this is the one that clients try).
const PATH: &str = "/dns-query";
const MEDIA_TYPE: &str = "application/dns-message";
/// Streams of one connection at a time: its queries in flight. More wait at the client (RFC 9113 5.1.2 advises 100).
const STREAMS: u32 = 100;
/// Octets of replies of one connection that the client has not taken yet; further queries of it wait.
const UNREAD: usize = 4 * MAX_REPLY;
/// Octets of queries of one stream, and of one connection, that may be under way: one query is at most 65,535.
const STREAM_WINDOW: u32 = 1 << 16;
const CONNECTION_WINDOW: u32 = 1 << 18;
/// Octets of a request's headers, as RFC 9113 6.5.2 counts them. A GET of 512 octets has 683 of them in its target.
const HEADERS: u32 = 16 * 1024;

/// What the streams of one connection share.
struct Conversation {
    client: IpAddr,
    service: Arc<Service>,
    activity: Activity,
    begun: Instant,
    /// Milliseconds after `begun` of the last answer.
    answered: AtomicU64,
    unread: Arc<Semaphore>,
    out: Mutex<Vec<u8>>,
}

/// Octets that are counted as unread until they are gone.
struct Held {
    octets: Box<[u8]>,
    _until_sent: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

/// Serves one connection to its end.
pub(super) async fn converse<S>(stream: S, client: IpAddr, place: &Place, service: &Arc<Service>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let conversation = Arc::new(Conversation {
        client,
        service: service.clone(),
        activity: place.activity(),
        begun: Instant::now(),
        answered: AtomicU64::new(0),
        unread: Arc::new(Semaphore::new(UNREAD)),
        out: Mutex::default(),
    });
    let shared = conversation.clone();
    let serve = service_fn(move |request| {
        let conversation = shared.clone();
        async move { Ok::<_, Infallible>(conversation.serve(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS)
        .max_send_buf_size(MAX_REPLY)
        .serve_connection(TokioIo::new(stream), serve);
    tokio::pin!(connection);
    loop {
        let deadline = conversation.last_answer() + MESSAGE_DEADLINE;
        if deadline <= Instant::now() {
            service.counters.timed_out.add(1);
            break;
        }
        tokio::select! {
            _ = &mut connection => return,
            () = sleep_until(deadline) => {}
            () = service.stop.cancelled() => break,
        }
    }
    // GOAWAY: what has come is answered, and read if the client does read.
    connection.as_mut().graceful_shutdown();
    if timeout(WRITE_DEADLINE, connection).await.is_err() {
        service.counters.timed_out.add(1);
    }
}

impl Conversation {
    fn last_answer(&self) -> Instant {
        self.begun + std::time::Duration::from_millis(self.answered.load(Relaxed))
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != PATH {
            return refusal(StatusCode::NOT_FOUND);
        }
        let query = match *request.method() {
            Method::GET => from_target(request.uri().query()),
            Method::POST => from_body(request).await,
            _ => {
                let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
                return response;
            }
        };
        match query {
            Ok(query) => self.reply(&query).await,
            Err(status) => refusal(status),
        }
    }

    async fn reply(&self, query: &[u8]) -> Response<Full<Bytes>> {
        // Room for the largest reply first; what it does not need is given back.
        let Ok(mut room) = self.unread.clone().acquire_many_owned(MAX_REPLY as u32).await else {
            return refusal(StatusCode::SERVICE_UNAVAILABLE);
        };
        let octets: Box<[u8]> = {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            match answer(query, self.client, &self.service, &mut out) {
                Answered::Reply(length) => out[..length].into(),
                // A response, or no whole header: DNS has no answer to that, HTTP has.
                Answered::Silence => return refusal(StatusCode::BAD_REQUEST),
                Answered::Panic => return refusal(StatusCode::INTERNAL_SERVER_ERROR),
            }
        };
        self.activity.touch();
        self.answered.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        let fresh = freshness(&octets);
        let until_sent = room.split(octets.len()).unwrap_or(room);
        let mut response = Response::new(Full::new(Bytes::from_owner(Held { octets, _until_sent: until_sent })));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Ok(control) = HeaderValue::try_from(format!("max-age={fresh}")) {
            headers.insert(CACHE_CONTROL, control);
        }
        response
    }
}

/// `?dns=`, base64url without padding (RFC 8484 4.1 and 6).
fn from_target(target: Option<&str>) -> Result<Vec<u8>, StatusCode> {
    let encoded = target.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("dns="));
    let encoded = encoded.ok_or(StatusCode::BAD_REQUEST)?;
    BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)
}

async fn from_body(request: Request<Incoming>) -> Result<Vec<u8>, StatusCode> {
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    match Limited::new(request.into_body(), MAX_REPLY).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

/// Seconds that an HTTP cache may keep a reply: the least TTL of its answers, of a negative one the SOA's (RFC 8484 5.1).
fn freshness(reply: &[u8]) -> u32 {
    let Ok(message) = Message::from_vec(reply) else { return 0 };
    let records = if message.answers.is_empty() { &message.authorities } else { &message.answers };
    records.iter().map(|record| record.ttl).min().unwrap_or(0)
}

fn refusal(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
