//! The `dns` check: one question to the backend, over UDP, and over TCP when the answer was cut. RD is set, so that resolvers
//! can be asked too. No EDNS: what is asked about is small, and every server answers without.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, ParsedName};
use domain::rdata::ZoneRecordData;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use super::reason::{self, CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use super::{Report, tcp};
use crate::engine::probe::{DnsProbe, ProbeKind, ProbeSpec};
use crate::engine::rrtype;

/// A datagram may be lost without anybody's fault: within the timeout the question is sent that often.
const SENDINGS: u32 = 3;
/// Recursion desired (RFC 1035 4.1.1).
const RD: u8 = 1;

pub(super) async fn probe(spec: &ProbeSpec) -> Report {
    let ProbeKind::Dns(dns) = &spec.kind else {
        return Report::Failed("not a dns check".into());
    };
    let deadline = Instant::now() + spec.timing.timeout;
    let mut id = [0; 2];
    if getrandom::fill(&mut id).is_err() {
        return Report::Unable("no random numbers from the system".into());
    }
    let query = query(dns, id);
    let answer = match over_udp(spec, &query, deadline).await {
        Ok(answer) => answer,
        Err(report) => return report,
    };
    // TC (RFC 1035 4.1.1): the whole answer comes over TCP.
    if answer[2] & 2 == 0 {
        return judge(dns, &answer);
    }
    match over_tcp(spec, &query, deadline).await {
        Ok(answer) => judge(dns, &answer),
        Err(report) => report,
    }
}

fn query(dns: &DnsProbe, id: [u8; 2]) -> Vec<u8> {
    let mut query = vec![id[0], id[1], RD, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(dns.name.as_wire());
    query.extend_from_slice(&dns.rtype.to_be_bytes());
    query.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    query
}

async fn over_udp(spec: &ProbeSpec, query: &[u8], deadline: Instant) -> Result<Vec<u8>, Report> {
    let any: SocketAddr = if spec.target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let local = spec.source.map_or(any, |source| SocketAddr::new(source, 0));
    let io = |error: io::Error| reason::of_io(&error);
    let socket = UdpSocket::bind(local).await.map_err(io)?;
    // Connected: only this backend is heard, and its refusals too.
    socket.connect(spec.target).await.map_err(io)?;
    let pause: Duration = spec.timing.timeout / SENDINGS;
    // Without EDNS an answer has 512 octets at most.
    let mut buffer = vec![0; 4096];
    let mut resend = Instant::now();
    loop {
        if Instant::now() >= resend {
            socket.send(query).await.map_err(io)?;
            resend += pause;
        }
        match timeout_at(deadline.min(resend), socket.recv(&mut buffer)).await {
            Ok(Ok(length)) if answers(query, &buffer[..length]) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(io(error)),
            Err(_) if Instant::now() >= deadline => return Err(Report::TimedOut(RESPONSE_TIMEOUT.into())),
            Err(_) => {}
        }
    }
}

async fn over_tcp(spec: &ProbeSpec, query: &[u8], deadline: Instant) -> Result<Vec<u8>, Report> {
    let io = |error: io::Error| reason::of_io(&error);
    let connect = timeout_at(deadline, tcp::connect(spec.target, spec.source)).await;
    let mut stream = connect.map_err(|_| Report::TimedOut(CONNECT_TIMEOUT.into()))?.map_err(io)?;
    let exchange = async {
        // One write: some servers want the length and the message in one segment.
        let mut framed = (query.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(query);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout_at(deadline, exchange).await.map_err(|_| Report::TimedOut(RESPONSE_TIMEOUT.into()))?;
    let answer = answer.map_err(io)?;
    if answers(query, &answer) { Ok(answer) } else { Err(Report::Failed("what came back is no answer".into())) }
}

/// The same ID, the QR bit, and the same question or, as some do with errors, none.
fn answers(query: &[u8], answer: &[u8]) -> bool {
    let question = &query[12..];
    answer.len() >= 12
        && answer[..2] == query[..2]
        && answer[2] & 0x80 != 0
        && (answer[4..6] == [0, 0]
            || answer.get(12..12 + question.len()).is_some_and(|asked| asked.eq_ignore_ascii_case(question)))
}

fn judge(dns: &DnsProbe, answer: &[u8]) -> Report {
    let rcode = u16::from(answer[3] & 15);
    let word = rcode_word(rcode);
    if !dns.expect_rcode.contains(&rcode) {
        return Report::Failed(format!("answered {word}"));
    }
    let Some(expect) = &dns.expect else {
        return Report::Passed(format!("answered {word}"));
    };
    match data(answer) {
        None => Report::Failed("the answer cannot be read".into()),
        Some(data) if data.iter().any(|one| one.contains(expect.as_str())) => {
            Report::Passed(format!("answered {word} with {expect:?}"))
        }
        Some(data) if data.is_empty() => Report::Failed(format!("answered {word} without a record")),
        Some(_) => Report::Failed(format!("answer lacks {expect:?}")),
    }
}

/// The data of the answer section's records, as master files write it.
fn data(answer: &[u8]) -> Option<Vec<String>> {
    let message = Message::from_octets(answer).ok()?;
    let records = message.answer().ok()?.limit_to::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>();
    let text = |record: domain::base::Record<_, ZoneRecordData<&[u8], ParsedName<&[u8]>>>| {
        record.data().display_zonefile(DisplayKind::Simple).to_string()
    };
    records.map(|record| record.ok().map(text)).collect()
}

fn rcode_word(rcode: u16) -> String {
    let words = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET"];
    words.get(usize::from(rcode)).map_or_else(|| format!("RCODE {rcode}"), |word| (*word).to_owned())
}
