//! Decides every answer and touches nothing: no socket, no clock, no log, no lock. Bytes in, bytes out.
//!
//! ```text
//! query.rs   bytes -> question, EDNS; every bad shape a named refusal
//! answer.rs  looks the name up in zone.rs; a balanced name walks its route.rs, if it has one, to a prepared view.rs, and
//!            copies the addresses.rs of its next draw.rs, or of its client.rs
//! reply.rs   sections -> bytes: compression, limits. Encodes whatever is not plain.
//! plain.rs   the short way through all of these for what nearly everybody asks
//! ```
//!
//! Beside the query path stand the decisions that control takes when something changed: `policy` (who may answer),
//! `health` (who is up), `feedback` (what backends say of themselves) and `load` (weights that follow it).

pub mod addresses;
pub mod answer;
pub mod chaos;
pub mod client;
pub mod cookie;
pub mod draw;
pub mod feedback;
pub mod glob;
pub mod health;
pub mod load;
#[cfg(test)]
mod lookup_tests;
pub mod name;
mod options;
pub mod plain;
pub mod policy;
pub mod probe;
pub mod query;
pub mod ranges;
pub mod rate_limit;
pub mod rendezvous;
pub mod reply;
pub mod route;
pub mod rrtype;
pub mod services;
pub mod share;
pub mod snapshot;
pub mod soa;
mod table;
mod tsig;
pub mod view;
pub mod weight;
pub mod zone;
mod zone_builder;

use std::net::IpAddr;

use answer::{Decision, Question, rcode};
use options::ReplyOptions;
use plain::Plain;
use query::{HEADER, Query, QueryName, Refusal};
use reply::{Full, Writer};
use snapshot::Snapshot;

/// How a query came in; decides size limit and which EDNS options apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Plain UDP: size limits, TC.
    Udp,
    /// TCP: 65,535 octets, keepalive option (RFC 7828).
    Tcp,
    /// DNS over TLS: as TCP.
    Tls,
    /// DNS over HTTPS.
    Https,
    /// DNS over QUIC.
    Quic,
}

/// Who asks, and through what.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Source address of the query; IPv4-mapped addresses are unmapped by the transport.
    pub address: IpAddr,
    /// The transport.
    pub transport: Transport,
    /// Which set of draw counters to use: a UDP worker's index, or the index behind the last worker's for all streams.
    pub worker: usize,
}

/// Largest reply over any transport.
pub const MAX_REPLY: usize = 65_535;
/// Largest reply over UDP without EDNS (RFC 1035 4.2.1).
pub const MIN_UDP: usize = 512;

/// What became of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Octets written to the front of the out-buffer; 0 is silence.
    pub length: usize,
    /// The (extended) RCODE, for counters.
    pub rcode: u16,
    /// Zone and name that answered: replies of one account are alike. 0 for those without a zone.
    pub account: u64,
    /// The query carried a valid server cookie: its source is no forgery.
    pub cookie_valid: bool,
    /// Octets of the OPT at the end.
    pub options_length: u16,
    /// QTYPE, for counters; 0 where no question was understood.
    pub qtype: u16,
    /// The answering zone's [`snapshot::Zone::traffic`], for counters; 0 for replies without a zone.
    pub zone: u8,
}

impl Reply {
    /// No reply at all.
    pub const SILENCE: Reply =
        Reply { length: 0, rcode: 0, account: 0, cookie_valid: false, options_length: 0, qtype: 0, zone: 0 };
}

/// The one door: answers `message` into `out`.
///
/// Never panics on any octets, never allocates over UDP. `out` should hold at least the transport's limit (for UDP
/// `max_udp_payload`, else 65,535 octets); what does not fit is truncated with TC, or left out where it may be.
pub fn respond(snapshot: &Snapshot, asker: &Asker, message: &[u8], out: &mut [u8]) -> Reply {
    if let Some(place) = out.get_mut(..message.len())
        && message.len() <= plain::WINDOW
    {
        place.copy_from_slice(message);
        let mut plain = Plain::NONE;
        if plain.read(snapshot, asker.transport, out, message.len(), out.len()).is_some()
            && let Some(reply) = plain.answer(snapshot, asker.worker, out)
        {
            return reply;
        }
    }
    respond_at_length(snapshot, asker, message, out)
}

/// As [`respond`], for a query that lies in the first `length` octets of the buffer where its reply goes, which may have
/// `limit` octets; for those that [`Plain`] cannot answer. `spare` takes a copy of the query: as long as the longest that
/// is looked at whole.
#[cold]
#[inline(never)]
pub fn respond_in_place(
    snapshot: &Snapshot,
    asker: &Asker,
    buffer: &mut [u8],
    length: usize,
    limit: usize,
    spare: &mut [u8],
) -> Reply {
    let length = length.min(buffer.len()).min(spare.len());
    let limit = limit.min(buffer.len());
    spare[..length].copy_from_slice(&buffer[..length]);
    respond_at_length(snapshot, asker, &spare[..length], &mut buffer[..limit])
}

/// The way for every query, with the same answers as [`respond`], which takes a shorter one where there is one.
#[cold]
#[inline(never)]
pub fn respond_at_length(snapshot: &Snapshot, asker: &Asker, message: &[u8], out: &mut [u8]) -> Reply {
    if out.len() < HEADER {
        return Reply::SILENCE;
    }
    let mut name = QueryName::empty();
    let mut query = Query::new(message);
    match query::parse(&mut query, &mut name) {
        Ok(()) => understood(snapshot, asker, &query, &name, out),
        Err(refusal) => refuse(snapshot, asker, refusal, &query, &name, out),
    }
}

/// A query that parses: finds its zone, or says why not.
fn understood(snapshot: &Snapshot, asker: &Asker, query: &Query<'_>, name: &QueryName, out: &mut [u8]) -> Reply {
    let options = ReplyOptions::new(snapshot, asker, query);
    let limit = size_limit(snapshot, asker, query).min(out.len());
    let kept = limit.saturating_sub(options.length());
    let Some(mut writer) = Writer::new(out, kept, query.message, name, query.question_end) else {
        return Reply::SILENCE;
    };
    let mut traffic = 0;
    let decision = if query.edns.is_some_and(|edns| edns.version > 0) {
        Ok(refused(rcode::BADVERS, None))
    } else if query.tsig.is_some() {
        return tsig::unknown_key(query, &mut writer, &options, limit);
    } else {
        match gate(query) {
            Some(decision) => Ok(decision),
            None if query.qclass == rrtype::CLASS_CH => chaos::answer(&snapshot.options, query, name, &mut writer),
            None => match find_zone(snapshot, query, name) {
                Some((number, zone, leave)) => {
                    traffic = zone.traffic;
                    let apex_offset = name.starts().get(leave).map_or(name.wire().len() - 1, |&at| usize::from(at));
                    let question = Question {
                        snapshot,
                        zone,
                        apex_offset: (HEADER + apex_offset) as u16,
                        asker,
                        edns: query.edns.as_ref(),
                        qtype: query.qtype,
                    };
                    let zone_account = (u64::from(number) + 1) << 32;
                    question
                        .answer(name, &mut writer)
                        .map(|decision| Decision { account: zone_account | decision.account, ..decision })
                }
                None => Ok(refused(rcode::REFUSED, Some((20, "not authoritative")))),
            },
        }
    };
    let (decision, truncated) = match decision {
        Ok(decision) => (decision, decision.truncated),
        Err(Full) => {
            // Never a partial RRset: nothing but question and OPT (RFC 2181 9).
            writer.clear();
            (Decision { authoritative: true, account: u64::from(u32::MAX), ..refused(rcode::NOERROR, None) }, true)
        }
    };
    Reply { zone: traffic, ..finish(query, decision, truncated, &mut writer, &options, limit) }
}

/// What is decided by type and class alone.
fn gate(query: &Query<'_>) -> Option<Decision> {
    match query.qclass {
        rrtype::CLASS_IN => {}
        rrtype::CLASS_CH => return None,
        _ => return Some(refused(rcode::REFUSED, None)),
    }
    match query.qtype {
        rrtype::AXFR | rrtype::IXFR => Some(refused(rcode::REFUSED, Some((18, "transfers are not allowed")))),
        rrtype::MAILA | rrtype::MAILB => Some(refused(rcode::NOTIMP, None)),
        // Not data types: nobody can have a set of them (RFC 6891, RFC 2930, RFC 8945, RFC 9824 3.5).
        rrtype::OPT | rrtype::TKEY | rrtype::TSIG => Some(refused(rcode::FORMERR, None)),
        rrtype::NXNAME => Some(refused(rcode::FORMERR, Some((30, "NXNAME is not a query type")))),
        _ => None,
    }
}

/// The most specific zone; DS at its apex is the parent zone's, where that is here too (RFC 4035 3.1.4.1).
fn find_zone<'s>(
    snapshot: &'s Snapshot,
    query: &Query<'_>,
    name: &QueryName,
) -> Option<(u32, &'s snapshot::Zone, usize)> {
    let (mut zone, mut leave) = snapshot.apexes.find(name.wire(), name.starts(), 0)?;
    if query.qtype == rrtype::DS
        && leave == 0
        && !name.starts().is_empty()
        && let Some(parent) = snapshot.apexes.find(name.wire(), name.starts(), 1)
    {
        (zone, leave) = parent;
    }
    Some((zone, snapshot.zones.get(zone)?, leave))
}

fn refused(rcode: u16, extended_error: Option<(u16, &'static str)>) -> Decision {
    Decision { rcode, authoritative: false, truncated: false, extended_error, account: 0, scope: 0 }
}

/// Octets that the reply may have.
fn size_limit(snapshot: &Snapshot, asker: &Asker, query: &Query<'_>) -> usize {
    if asker.transport != Transport::Udp {
        return MAX_REPLY;
    }
    // RFC 6891 6.2.3: less than 512 is 512. RFC 9715: never beyond what passes unfragmented.
    let ours = usize::from(snapshot.options.max_udp_payload).max(MIN_UDP);
    query.edns.map_or(MIN_UDP, |edns| usize::from(edns.udp_size).clamp(MIN_UDP, ours))
}

/// OPT and header.
fn finish(
    query: &Query<'_>,
    decision: Decision,
    truncated: bool,
    writer: &mut Writer<'_, '_>,
    options: &ReplyOptions<'_>,
    limit: usize,
) -> Reply {
    writer.raise_limit(limit);
    let options_length = options.write(decision.rcode, decision.scope, decision.extended_error, writer) as u16;
    let cookie_valid = options.cookie_valid();
    let flags = flags(query.message, decision.rcode, decision.authoritative, truncated);
    let id = [query.message[0], query.message[1]];
    let length = writer.finish(id, flags);
    let Decision { rcode, account, .. } = decision;
    Reply { length, rcode, account, cookie_valid, options_length, qtype: query.qtype, zone: 0 }
}

/// The two octets behind the id: QR, the opcode and RD as asked, AA, TC; RA, Z, AD and CD are zero.
fn flags(message: &[u8], rcode: u16, authoritative: bool, truncated: bool) -> [u8; 2] {
    let asked = message.get(2).copied().unwrap_or(0);
    let first = 0x80 | asked & 0x79 | u8::from(authoritative) << 2 | u8::from(truncated) << 1;
    [first, (rcode & 0x0f) as u8]
}

/// A message that was not understood, or is not served.
fn refuse(
    snapshot: &Snapshot,
    asker: &Asker,
    refusal: Refusal,
    query: &Query<'_>,
    name: &QueryName,
    out: &mut [u8],
) -> Reply {
    let rcode = match refusal {
        Refusal::Silence => return Reply::SILENCE,
        Refusal::BadVersion => rcode::BADVERS,
        Refusal::CookieAlone => rcode::NOERROR,
        Refusal::FormatError | Refusal::FormatErrorWithQuestion => rcode::FORMERR,
        Refusal::NotImplemented => rcode::NOTIMP,
        Refusal::RefusedOpcode => rcode::REFUSED,
    };
    let limit = size_limit(snapshot, asker, query).min(out.len());
    let none = QueryName::empty();
    let writer = match query.question_end {
        0 => Writer::without_question(out, limit, &none),
        end => Writer::new(out, limit, query.message, name, end),
    };
    let Some(mut writer) = writer else { return Reply::SILENCE };
    let options = match refusal {
        Refusal::CookieAlone => ReplyOptions::new(snapshot, asker, query),
        _ => ReplyOptions::plain(snapshot, query),
    };
    if query.tsig.is_some() && refusal != Refusal::BadVersion {
        return tsig::unknown_key(query, &mut writer, &options, limit);
    }
    let rcode = if refusal == Refusal::CookieAlone { options.cookie_alone() } else { rcode };
    finish(query, refused(rcode, None), false, &mut writer, &options, limit)
}
