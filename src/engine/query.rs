//! Bytes to query: header, question, EDNS. Every bad shape is a named refusal; nothing here allocates or panics.

use std::net::IpAddr;

use super::name::{MAX_LABEL, MAX_NAME};
use super::rrtype;

/// Length of the header (RFC 1035 4.1.1).
pub const HEADER: usize = 12;

/// A query that was understood.
#[derive(Debug)]
pub struct Query<'q> {
    /// The message.
    pub message: &'q [u8],
    /// Where the question ends in the message; 0 while it was not understood.
    pub question_end: usize,
    /// QTYPE.
    pub qtype: u16,
    /// QCLASS.
    pub qclass: u16,
    /// EDNS, when asked.
    pub edns: Option<Edns<'q>>,
    /// The last record is a TSIG (RFC 8945); where its owner name begins.
    pub tsig: Option<usize>,
}

/// A lowered name and where its labels begin.
#[derive(Clone, Debug)]
pub struct QueryName {
    wire: [u8; MAX_NAME + 1],
    length: u8,
    starts: [u8; 128],
    labels: u8,
}

/// An OPT record as asked (RFC 6891).
#[derive(Clone, Copy, Debug, Default)]
pub struct Edns<'q> {
    /// The requestor's UDP payload size.
    pub udp_size: u16,
    /// EDNS version.
    pub version: u8,
    /// DO (RFC 3225).
    pub dnssec_ok: bool,
    /// NSID was asked (RFC 5001).
    pub nsid: bool,
    /// COOKIE, 8 or 16 to 40 octets (RFC 7873).
    pub cookie: Option<&'q [u8]>,
    /// Client subnet (RFC 7871).
    pub subnet: Option<Subnet<'q>>,
    /// edns-tcp-keepalive was sent (RFC 7828).
    pub keepalive: bool,
}

/// An EDNS client subnet.
#[derive(Clone, Copy, Debug)]
pub struct Subnet<'q> {
    /// 1, 2, or 0 for none.
    pub family: u16,
    /// SOURCE PREFIX-LENGTH.
    pub source: u8,
    /// ADDRESS, as many octets as `source` needs.
    pub address: &'q [u8],
}

/// What is wrong with a message, and how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A response, or shorter than a header: no answer at all.
    Silence,
    /// Not understood: header alone, and OPT where one was understood.
    FormatError,
    /// An EDNS version above 0, where it is not a query that is answered: BADVERS.
    BadVersion,
    /// No question, but a cookie: a client asks for a cookie alone (RFC 7873 5.4).
    CookieAlone,
    /// The question was understood, something behind it was not: header and question.
    FormatErrorWithQuestion,
    /// An opcode that is not served here: NOTIMP.
    NotImplemented,
    /// NOTIFY, UPDATE: REFUSED.
    RefusedOpcode,
}

impl QueryName {
    /// An empty place for a name.
    pub fn empty() -> QueryName {
        QueryName { wire: [0; MAX_NAME + 1], length: 0, starts: [0; 128], labels: 0 }
    }

    /// Takes an uncompressed name from the front of `octets`; returns its length. Anything else is `None`.
    pub fn read(&mut self, octets: &[u8]) -> Option<usize> {
        // A longer name ends behind the cut, and is refused there.
        let octets = &octets[..octets.len().min(MAX_NAME)];
        let mut at = 0usize;
        let mut labels = 0usize;
        loop {
            let length = usize::from(*octets.get(at)?);
            if length == 0 {
                break;
            }
            // 0xC0 is compression, which has nothing to point at in a question; 0x40 and 0x80 are undefined.
            if length > MAX_LABEL {
                return None;
            }
            *self.starts.get_mut(labels)? = at as u8;
            labels += 1;
            at += 1 + length;
        }
        self.wire[..at + 1].copy_from_slice(&octets[..at + 1]);
        // Whole blocks, a little beyond the end: a loop without a remainder becomes a few vector instructions.
        let (blocks, _) = self.wire.as_chunks_mut::<16>();
        blocks[..=at / 16].iter_mut().for_each(|block| block.make_ascii_lowercase());
        self.length = (at + 1) as u8;
        self.labels = labels as u8;
        Some(at + 1)
    }

    /// The canonical octets.
    pub fn wire(&self) -> &[u8] {
        &self.wire[..usize::from(self.length)]
    }

    /// Where each label begins, the root left out.
    pub fn starts(&self) -> &[u8] {
        &self.starts[..usize::from(self.labels)]
    }

    /// The name without its first `labels` labels.
    pub fn suffix(&self, labels: usize) -> &[u8] {
        let at =
            self.starts().get(labels).map_or(usize::from(self.length).saturating_sub(1), |&start| usize::from(start));
        &self.wire[at..usize::from(self.length)]
    }
}

impl<'q> Query<'q> {
    /// A message of which nothing was understood yet.
    pub fn new(message: &'q [u8]) -> Query<'q> {
        Query { message, question_end: 0, qtype: 0, qclass: 0, edns: None, tsig: None }
    }
}

/// Reads the query's message; the lowered QNAME goes into `name`. Both are filled in place: they are too large to be moved
/// for each query.
pub fn parse(query: &mut Query<'_>, name: &mut QueryName) -> Result<(), Refusal> {
    let message = query.message;
    let Some(header) = message.first_chunk::<HEADER>() else { return Err(Refusal::Silence) };
    // Before anything else: a response is never answered (RFC 1035 7.3; "Loop DoS", CVE-2024-2169).
    if header[2] & 0x80 != 0 {
        return Err(Refusal::Silence);
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let refused = match header[2] >> 3 & 0x0f {
        0 => None,
        4 | 5 => Some(Refusal::RefusedOpcode),
        _ => Some(Refusal::NotImplemented),
    };
    let others = usize::from(count(6)) + usize::from(count(8));
    let additional = usize::from(count(10));
    let bad = refused.unwrap_or(Refusal::FormatError);
    match count(4) {
        1 => {}
        0 => return Err(no_question(query, refused, others, additional)),
        // RFC 9619: a QUERY has one question.
        _ => return Err(bad),
    }
    let Some(length) = name.read(&message[HEADER..]) else { return Err(bad) };
    let Some(&[t0, t1, c0, c1]) = message.get(HEADER + length..).and_then(|rest| rest.first_chunk::<4>()) else {
        return Err(bad);
    };
    query.qtype = u16::from_be_bytes([t0, t1]);
    query.qclass = u16::from_be_bytes([c0, c1]);
    query.question_end = HEADER + length + 4;
    // NOTIFY carries an SOA in its answer, UPDATE anything: of what follows the question only OPT and TSIG are heeded
    // (RFC 6891 6.1.1, RFC 8945 5.2). Whatever else is wrong with it, it is refused.
    if let Some(refusal) = refused {
        rest(query, query.question_end, others, additional);
        if refusal == Refusal::NotImplemented {
            // What an unknown opcode has there may be no question: it is not echoed.
            query.question_end = 0;
        }
        return Err(unless_version(query, refusal));
    }
    if message.len() == query.question_end && others + additional == 0 {
        return Ok(());
    }
    rest(query, query.question_end, others, additional).ok_or(Refusal::FormatErrorWithQuestion)
}

/// A message without a question: of QUERY that is how a cookie alone is asked for (RFC 7873 5.4).
fn no_question(query: &mut Query<'_>, refused: Option<Refusal>, others: usize, additional: usize) -> Refusal {
    let whole = rest(query, HEADER, others, additional).is_some();
    let cookie = query.edns.is_some_and(|edns| edns.cookie.is_some());
    match refused {
        Some(refusal) => unless_version(query, refusal),
        None if whole && cookie => Refusal::CookieAlone,
        None if whole => unless_version(query, Refusal::FormatError),
        None => Refusal::FormatError,
    }
}

/// RFC 6891 6.1.3: an EDNS version that is not known comes before all that it may have changed.
fn unless_version(query: &Query<'_>, refusal: Refusal) -> Refusal {
    if query.edns.is_some_and(|edns| edns.version > 0) { Refusal::BadVersion } else { refusal }
}

/// The records from `at`, behind the question: all are skipped but OPT and TSIG. Bounded by the octets received, not by the
/// counts. A TSIG counts only in a message that is whole.
fn rest(query: &mut Query<'_>, at: usize, others: usize, additional: usize) -> Option<()> {
    let whole = records(query, at, others, additional);
    if whole.is_none() {
        query.tsig = None;
    }
    whole
}

fn records(query: &mut Query<'_>, mut at: usize, others: usize, additional: usize) -> Option<()> {
    let message = query.message;
    for record in 0..others + additional {
        let owner = at;
        at = skip_name(message, at)?;
        let head = message.get(at..)?.first_chunk::<10>()?;
        let rtype = u16::from_be_bytes([head[0], head[1]]);
        let rdata_length = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let rdata = message.get(at + 10..at + 10 + rdata_length)?;
        at += 10 + rdata_length;
        if record < others {
            // Either stands among the additional records or means nothing (RFC 6891 6.1.1, RFC 8945 5.1).
            if matches!(rtype, rrtype::OPT | rrtype::TSIG) {
                return None;
            }
            continue;
        }
        match rtype {
            rrtype::OPT => {
                // One, with the root as its owner (RFC 6891 6.1.1).
                if query.edns.is_some() || message.get(owner) != Some(&0) {
                    query.edns = None;
                    return None;
                }
                let mut edns = Edns {
                    udp_size: u16::from_be_bytes([head[2], head[3]]),
                    version: head[5],
                    dnssec_ok: head[6] & 0x80 != 0,
                    ..Edns::default()
                };
                let understood = if edns.version == 0 { options(&mut edns, rdata) } else { Some(()) };
                query.edns = Some(edns);
                understood?;
            }
            rrtype::TSIG => {
                // The last record, and the only one (RFC 8945 5.1).
                if record + 1 != others + additional {
                    return None;
                }
                query.tsig = Some(owner);
            }
            _ => {}
        }
    }
    (at == message.len()).then_some(())
}

/// The EDNS options. Unknown ones are passed over (RFC 6891 6.1.2).
fn options<'q>(edns: &mut Edns<'q>, mut rdata: &'q [u8]) -> Option<()> {
    while !rdata.is_empty() {
        let (head, rest) = rdata.split_at_checked(4)?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(length)?;
        rdata = rest;
        match u16::from_be_bytes([head[0], head[1]]) {
            3 => edns.nsid = true,
            // Of several the first counts: so RFC 7873 5.2 has it for cookies, and BIND for both.
            8 if edns.subnet.is_none() => edns.subnet = Some(subnet(data)?),
            // RFC 7873 5.2.2: a length that no cookie has is a format error.
            10 if edns.cookie.is_none() => match length {
                8 | 16..=40 => edns.cookie = Some(data),
                _ => return None,
            },
            11 => edns.keepalive = true,
            _ => {}
        }
    }
    Some(())
}

/// RFC 7871 6 and 7.1.
fn subnet(data: &[u8]) -> Option<Subnet<'_>> {
    let (head, address) = data.split_at_checked(4)?;
    let family = u16::from_be_bytes([head[0], head[1]]);
    let (source, scope) = (head[2], head[3]);
    let most = match family {
        0 => 0,
        1 => 32,
        2 => 128,
        _ => return None,
    };
    if scope != 0 || source > most || address.len() != usize::from(source).div_ceil(8) {
        return None;
    }
    // Bits behind the prefix must be zero.
    if source % 8 != 0 && address.last().is_some_and(|last| last << (source % 8) != 0) {
        return None;
    }
    Some(Subnet { family, source, address })
}

impl Subnet<'_> {
    /// The network's address, host bits zero; `None` when the prefix is empty and says nothing.
    pub fn network(&self) -> Option<IpAddr> {
        if self.source == 0 {
            return None;
        }
        match self.family {
            1 => {
                let mut octets = [0; 4];
                octets.get_mut(..self.address.len())?.copy_from_slice(self.address);
                Some(IpAddr::from(octets))
            }
            2 => {
                let mut octets = [0; 16];
                octets.get_mut(..self.address.len())?.copy_from_slice(self.address);
                Some(IpAddr::from(octets))
            }
            _ => None,
        }
    }
}

/// Steps over an owner name, compressed or not.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=MAX_LABEL => at += 1 + length,
            0xc0.. => {
                // Backwards only.
                let target = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
                return (target < at && target >= HEADER).then_some(at + 2);
            }
            _ => return None,
        }
    }
}
