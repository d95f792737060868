//! The `grpc` check: the standard health service, grpc.health.v1.Health/Check, over HTTP/2 with or without TLS.
//!
//! Its two messages have one field each, so they are written and read here; HTTP/2 is the crate h2's.
//!
//! ```text
//! HealthCheckRequest  { string service = 1; }
//! HealthCheckResponse { enum status = 1; }    0 UNKNOWN, 1 SERVING, 2 NOT_SERVING, 3 SERVICE_UNKNOWN
//! ```

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::reason::{self, CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use super::{Report, tcp, tls};
use crate::engine::probe::{GrpcProbe, ProbeSpec};

/// Longest answer that is read, octets: the message has two or three.
const LONGEST_ANSWER: usize = 4096;
/// A length-prefixed message: whether it is compressed, and its length.
const PREFIX: usize = 5;

pub(super) struct GrpcTarget {
    spec: Arc<ProbeSpec>,
    session: Option<tls::Session>,
    uri: String,
    service: String,
    body: Bytes,
}

impl GrpcTarget {
    pub(super) fn new(spec: &Arc<ProbeSpec>, grpc: &GrpcProbe) -> Result<GrpcTarget, String> {
        let session = match &grpc.tls {
            Some(settings) => Some(tls::Session::new(settings, &grpc.host, &["h2"])?),
            None => None,
        };
        let scheme = if session.is_some() { "https" } else { "http" };
        let host = match super::http::address(&grpc.host) {
            Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
            _ => grpc.host.clone(),
        };
        let port =
            if super::http::without_port(&host) == host { format!(":{}", spec.target.port()) } else { String::new() };
        let uri = format!("{scheme}://{host}{port}/grpc.health.v1.Health/Check");
        uri.parse::<http::Uri>().map_err(|error| format!("{:?}: {error}", grpc.host))?;
        Ok(GrpcTarget { spec: spec.clone(), session, uri, service: grpc.service.clone(), body: request(&grpc.service) })
    }
}

pub(super) async fn probe(target: &GrpcTarget) -> Report {
    let deadline = Instant::now() + target.spec.timing.timeout;
    let stream = match timeout_at(deadline, tcp::connect(target.spec.target, target.spec.source)).await {
        Err(_) => return Report::TimedOut(CONNECT_TIMEOUT.into()),
        Ok(Err(error)) => return reason::of_io(&error),
        Ok(Ok(stream)) => stream,
    };
    let asked = async {
        match &target.session {
            None => converse(stream, target).await,
            Some(session) => {
                let stream = session.handshake(stream).await?;
                if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                    return Err(Report::Failed("the server does not offer HTTP/2 (ALPN)".into()));
                }
                converse(stream, target).await
            }
        }
    };
    match timeout_at(deadline, asked).await {
        Err(_) => Report::TimedOut(RESPONSE_TIMEOUT.into()),
        Ok(Ok(report) | Err(report)) => report,
    }
}

async fn converse<S>(stream: S, target: &GrpcTarget) -> Result<Report, Report>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (client, connection) = h2::client::handshake(stream).await.map_err(of_h2)?;
    tokio::pin!(connection);
    tokio::select! {
        report = ask(client, target) => report,
        ended = &mut connection => Err(match ended {
            Ok(()) => Report::Failed("connection closed without a response".into()),
            Err(error) => of_h2(error),
        }),
    }
}

async fn ask(client: SendRequest<Bytes>, target: &GrpcTarget) -> Result<Report, Report> {
    let mut client = client.ready().await.map_err(of_h2)?;
    let request = Request::post(&target.uri)
        .version(Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", target.spec.timing.timeout.as_millis().min(99_999_999)))
        .header("user-agent", concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| Report::Broken(error.to_string()))?;
    let (response, mut body) = client.send_request(request, false).map_err(of_h2)?;
    body.send_data(target.body.clone(), true).map_err(of_h2)?;
    let response = response.await.map_err(of_h2)?;
    if response.status() != http::StatusCode::OK {
        return Ok(Report::Failed(format!("status {}", response.status().as_u16())));
    }
    if !is_grpc(&response) {
        return Ok(Report::Failed("the server answers, but not with gRPC".into()));
    }
    // A refusal comes without a body, its status among the headers.
    if let Some(code) = code(response.headers()).filter(|&code| code != 0) {
        return Ok(refused(code, response.headers(), target));
    }
    let mut body = response.into_body();
    let mut message = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(of_h2)?;
        let _ = body.flow_control().release_capacity(piece.len());
        message.put(piece);
        if message.len() > LONGEST_ANSWER {
            return Ok(Report::Failed("the answer is too long for a health status".into()));
        }
    }
    let trailers = body.trailers().await.map_err(of_h2)?.unwrap_or_default();
    match code(&trailers) {
        Some(0) => Ok(judge(&message)),
        Some(code) => Ok(refused(code, &trailers, target)),
        None => Ok(Report::Failed("the answer ends without a grpc-status".into())),
    }
}

fn request(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        // Field 1, length-delimited.
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

fn is_grpc(response: &Response<h2::RecvStream>) -> bool {
    let kind = response.headers().get("content-type");
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn judge(message: &[u8]) -> Report {
    match status(message) {
        Some(1) => Report::Passed("SERVING".into()),
        Some(0) => Report::Failed("health status UNKNOWN".into()),
        Some(2) => Report::Failed("health status NOT_SERVING".into()),
        Some(3) => Report::Failed("health status SERVICE_UNKNOWN".into()),
        Some(other) => Report::Failed(format!("health status {other}")),
        None => Report::Failed("the health status cannot be read".into()),
    }
}

/// The enumeration in field 1 of a length-prefixed message that is not compressed; 0 when it is left out (proto3).
fn status(framed: &[u8]) -> Option<u64> {
    let (prefix, mut rest) = framed.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || rest.len() as u64 != u64::from(length) {
        return None;
    }
    let mut found = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                if tag >> 3 == 1 {
                    found = value;
                }
            }
            // Fields of later versions are passed over.
            1 => rest = rest.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            5 => rest = rest.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&octet, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn code(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.trim().parse().ok()
}

fn refused(code: u32, headers: &HeaderMap, target: &GrpcTarget) -> Report {
    let said = headers.get("grpc-message").and_then(|said| said.to_str().ok()).filter(|said| !said.is_empty());
    let said: String = said.map(|said| format!(": {said}")).unwrap_or_default().chars().take(200).collect();
    Report::Failed(match code {
        5 => format!("the server does not know the service {:?}", target.service),
        12 => "the server has no health service (grpc.health.v1)".to_owned(),
        code => {
            let words = [
                "OK",
                "CANCELLED",
                "UNKNOWN",
                "INVALID_ARGUMENT",
                "DEADLINE_EXCEEDED",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "PERMISSION_DENIED",
                "RESOURCE_EXHAUSTED",
                "FAILED_PRECONDITION",
                "ABORTED",
                "OUT_OF_RANGE",
                "UNIMPLEMENTED",
                "INTERNAL",
                "UNAVAILABLE",
                "DATA_LOSS",
                "UNAUTHENTICATED",
            ];
            let word = words.get(code as usize).map_or_else(|| code.to_string(), |word| (*word).to_owned());
            format!("grpc-status {word}{said}")
        }
    })
}

fn of_h2(error: h2::Error) -> Report {
    if let Some(io) = error.get_io() {
        return reason::of_chain(io);
    }
    if error.is_library() {
        return Report::Failed("the server does not speak HTTP/2".into());
    }
    Report::Failed(format!("HTTP/2: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_a_framed_message() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = request(&"x".repeat(300));
        assert_eq!(&long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 2]);
    }

    #[test]
    fn the_status_is_read_from_every_shape_and_garbage_is_none() {
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(1));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0), "left out: 0");
        assert_eq!(status(&[0, 0, 0, 0, 7, 0x12, 3, 1, 2, 3, 8, 2]), Some(2), "an unknown field before it");
        let bad: [&[u8]; 7] = [
            &[],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 3, 0x12, 9, 1],
            &[0, 0, 0, 0, 12, 8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ];
        for framed in bad {
            assert_eq!(status(framed), None, "{framed:?}");
        }
    }
}
