//! A parser of replies that is strict where the libraries are kind, and the libraries beside it: hickory-proto and `domain`.

use domain::base::{Message as DomainMessage, ParsedName};
use domain::rdata::AllRecordData;
use hickory_proto::op::Message as HickoryMessage;

use super::{OPT, TSIG};

/// A reply, read strictly.
#[derive(Debug)]
pub struct Reply {
    pub octets: Vec<u8>,
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    pub has_question: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    /// Without OPT.
    pub additionals: Vec<Record>,
    pub opt: Option<Opt>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Uncompressed, case as sent.
    pub owner: Vec<u8>,
    pub rtype: u16,
    pub class: u16,
    pub ttl: u32,
    /// As sent, with whatever compression it has, and where it begins.
    pub rdata: Vec<u8>,
    pub rdata_at: usize,
}

#[derive(Debug)]
pub struct Opt {
    pub size: u16,
    pub extended_rcode: u8,
    pub version: u8,
    pub flags: u16,
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Opt {
    pub fn option(&self, code: u16) -> Option<&[u8]> {
        self.options.iter().find(|(one, _)| *one == code).map(|(_, data)| &data[..])
    }
}

impl Reply {
    /// Panics, with the octets, where the reply is not what RFC 1035 4.1 and RFC 6891 allow in answer to `query`.
    pub fn read(octets: &[u8], query: &[u8]) -> Reply {
        let reply = Reply::parse(octets).unwrap_or_else(|why| panic!("{why}: {octets:02x?} in answer to {query:02x?}"));
        reply.check(query);
        reply
    }

    fn parse(octets: &[u8]) -> Result<Reply, String> {
        let header: &[u8; 12] = octets.first_chunk().ok_or("shorter than a header")?;
        let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let mut at = 12;
        let has_question = match count(4) {
            0 => false,
            1 => {
                let (_, end) = name_at(octets, at)?;
                at = end + 4;
                true
            }
            more => return Err(format!("{more} questions")),
        };
        if at > octets.len() {
            return Err("the question is cut".to_owned());
        }
        let mut sections = [Vec::new(), Vec::new(), Vec::new()];
        for (section, records) in sections.iter_mut().enumerate() {
            for _ in 0..count(6 + 2 * section) {
                let (record, end) = record_at(octets, at)?;
                at = end;
                records.push(record);
            }
        }
        if at != octets.len() {
            return Err(format!("{} octets behind the last record", octets.len() - at));
        }
        let [answers, authorities, mut additionals] = sections;
        let mut opt = None;
        if let Some(index) = additionals.iter().position(|record| record.rtype == OPT) {
            opt = Some(read_opt(&additionals.remove(index))?);
        }
        let rest = answers.iter().chain(&authorities).chain(&additionals);
        if rest.clone().any(|record| record.rtype == OPT) {
            return Err("an OPT too many".to_owned());
        }
        if rest.clone().any(|record| record.ttl >= 1 << 31) {
            return Err("a TTL of 2^31 or more (RFC 2181 8)".to_owned());
        }
        let low = u16::from(header[3] & 0x0f);
        let rcode = low | opt.as_ref().map_or(0, |opt: &Opt| u16::from(opt.extended_rcode) << 4);
        Ok(Reply {
            octets: octets.to_vec(),
            rcode,
            authoritative: header[2] & 4 != 0,
            truncated: header[2] & 2 != 0,
            has_question,
            answers,
            authorities,
            additionals,
            opt,
        })
    }

    /// What holds for every reply to `query`.
    fn check(&self, query: &[u8]) {
        let octets = &self.octets;
        assert_eq!(octets[..2], query[..2], "the id");
        assert_eq!(octets[2] & 0x80, 0x80, "QR");
        assert_eq!(octets[2] & 0x79, query[2] & 0x79, "opcode and RD as asked");
        assert_eq!(octets[3] & 0xe0, 0, "RA, Z and AD are zero");
        if self.has_question {
            let (_, end) = name_at(query, 12).expect("a question that was echoed was there");
            assert_eq!(octets[12..end + 4], query[12..end + 4], "the question, octet for octet");
        }
        for section in [&self.answers, &self.authorities, &self.additionals] {
            for (number, record) in section.iter().enumerate() {
                let same =
                    |other: &&Record| other.owner.eq_ignore_ascii_case(&record.owner) && other.rtype == record.rtype;
                for other in section[..number].iter().filter(same) {
                    assert_eq!(other.ttl, record.ttl, "one TTL in an RRset (RFC 2181 5.2)");
                    assert!(other.rdata != record.rdata, "a record twice in {octets:02x?}");
                }
            }
        }
        // Two parsers of other people, neither of them built for the encoder.
        let hickory = HickoryMessage::from_vec(octets);
        // It knows no address family 0 in a client subnet, which RFC 7871 7.1.2 has echoed.
        let no_family = self.opt.as_ref().and_then(|opt| opt.option(8)).is_some_and(|subnet| subnet[..2] == [0, 0]);
        if !no_family && !self.additionals.iter().any(|record| record.rtype == TSIG) {
            let hickory = hickory.unwrap_or_else(|error| panic!("hickory-proto: {error}: {octets:02x?}"));
            assert_eq!(hickory.answers.len(), self.answers.len());
            assert_eq!(hickory.authorities.len(), self.authorities.len());
            assert_eq!(hickory.edns.is_some(), self.opt.is_some());
        }
        let message = DomainMessage::from_octets(&octets[..]).expect("domain: a header");
        assert!(message.question().all(|question| question.is_ok()), "domain: the question");
        let mut seen = 0;
        for record in message.iter() {
            let (record, _) = record.unwrap_or_else(|error| panic!("domain: {error}: {octets:02x?}"));
            record
                .to_any_record::<AllRecordData<&[u8], ParsedName<&[u8]>>>()
                .unwrap_or_else(|error| panic!("domain: {error}: {octets:02x?}"));
            seen += 1;
        }
        let records = self.answers.len() + self.authorities.len() + self.additionals.len();
        assert_eq!(seen, records + usize::from(self.opt.is_some()), "domain saw all records");
    }

    /// The answers' data, of records whose data has no names.
    pub fn data(&self) -> Vec<&[u8]> {
        self.answers.iter().map(|record| &record.rdata[..]).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.authorities.is_empty() && self.additionals.is_empty()
    }

    pub fn opt(&self) -> &Opt {
        self.opt.as_ref().expect("an OPT")
    }
}

fn record_at(octets: &[u8], at: usize) -> Result<(Record, usize), String> {
    let (owner, at) = name_at(octets, at)?;
    let head = octets.get(at..).and_then(|rest| rest.first_chunk::<10>()).ok_or("a record is cut")?;
    let length = usize::from(u16::from_be_bytes([head[8], head[9]]));
    let rdata_at = at + 10;
    let rdata = octets.get(rdata_at..rdata_at + length).ok_or("data is cut")?;
    let record = Record {
        owner,
        rtype: u16::from_be_bytes([head[0], head[1]]),
        class: u16::from_be_bytes([head[2], head[3]]),
        ttl: u32::from_be_bytes([head[4], head[5], head[6], head[7]]),
        rdata: rdata.to_vec(),
        rdata_at,
    };
    let record = match record.rtype {
        // Its four octets are no TTL.
        OPT => Record { ttl: 0, rdata: [&head[4..8], rdata].concat(), ..record },
        _ => record,
    };
    Ok((record, rdata_at + length))
}

fn read_opt(record: &Record) -> Result<Opt, String> {
    if record.owner != [0] {
        return Err("an OPT with an owner".to_owned());
    }
    let (bits, mut rest) = record.rdata.split_at(4);
    let mut options = Vec::new();
    while !rest.is_empty() {
        let head = rest.first_chunk::<4>().ok_or("an option is cut")?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let data = rest.get(4..4 + length).ok_or("an option's data is cut")?;
        options.push((u16::from_be_bytes([head[0], head[1]]), data.to_vec()));
        rest = &rest[4 + length..];
    }
    let flags = u16::from_be_bytes([bits[2], bits[3]]);
    Ok(Opt { size: record.class, extended_rcode: bits[0], version: bits[1], flags, options })
}

/// The name at `at`, uncompressed, and where it ends. Pointers lead strictly backwards.
pub fn name_at(octets: &[u8], start: usize) -> Result<(Vec<u8>, usize), String> {
    let mut name = Vec::new();
    let mut at = start;
    let mut end = None;
    let mut before = start;
    loop {
        let length = usize::from(*octets.get(at).ok_or("a name is cut")?);
        match length {
            0 => {
                name.push(0);
                if name.len() > 255 {
                    return Err(format!("a name of {} octets", name.len()));
                }
                return Ok((name, end.unwrap_or(at + 1)));
            }
            1..=63 => {
                name.extend_from_slice(octets.get(at..=at + length).ok_or("a label is cut")?);
                at += 1 + length;
            }
            0xc0.. => {
                let low = usize::from(*octets.get(at + 1).ok_or("a pointer is cut")?);
                let target = (length & 0x3f) << 8 | low;
                end.get_or_insert(at + 2);
                if target >= before || target < 12 {
                    return Err(format!("a pointer at {at} to {target}"));
                }
                before = target;
                at = target;
            }
            _ => return Err(format!("a label of type {length:#x}")),
        }
        if name.len() > 255 {
            return Err("a name too long".to_owned());
        }
    }
}
