//! Answer to bytes: header, question, sections, compression, OPT, truncation. What [`super::plain`] does not answer is encoded here.

use super::name::labels;
use super::query::{HEADER, QueryName};
use super::rrtype;
use super::zone::records;

/// The reply is full: what was being written does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// Names remembered for compression; more are written in full.
const REMEMBERED: usize = 64;

/// Writes one reply into a buffer, never beyond its limit.
pub struct Writer<'o, 'n> {
    out: &'o mut [u8],
    at: usize,
    limit: usize,
    question: &'n QueryName,
    question_end: usize,
    /// Offsets of names and suffixes written behind the question.
    names: [u16; REMEMBERED],
    remembered: usize,
    counts: [u16; 3],
}

/// Which section records are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// ANSWER.
    Answer,
    /// AUTHORITY.
    Authority,
    /// ADDITIONAL.
    Additional,
}

/// The owner of a set of records.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// The question's name.
    Question,
    /// A name at this offset of the message, below 16,384.
    At(u16),
    /// This one, compressed where it can be.
    Name(&'a [u8]),
}

/// A place to come back to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    at: usize,
    remembered: usize,
    counts: [u16; 3],
}

impl<'o, 'n> Writer<'o, 'n> {
    /// Begins a reply: room for the header, and the question as it was asked. `limit` leaves room for OPT.
    pub fn new(
        out: &'o mut [u8],
        limit: usize,
        message: &[u8],
        question: &'n QueryName,
        question_end: usize,
    ) -> Option<Writer<'o, 'n>> {
        let limit = limit.min(out.len());
        if question_end > limit {
            return None;
        }
        out[HEADER..question_end].copy_from_slice(message.get(HEADER..question_end)?);
        Some(Writer::at(out, limit, question, question_end))
    }

    /// Begins a reply that has no question, to a message that had none or none that was understood. `none` is an empty name.
    pub fn without_question(out: &'o mut [u8], limit: usize, none: &'n QueryName) -> Option<Writer<'o, 'n>> {
        let limit = limit.min(out.len());
        (HEADER <= limit).then(|| Writer::at(out, limit, none, HEADER))
    }

    fn at(out: &'o mut [u8], limit: usize, question: &'n QueryName, question_end: usize) -> Writer<'o, 'n> {
        Writer {
            out,
            at: question_end,
            limit,
            question,
            question_end,
            names: [0; REMEMBERED],
            remembered: 0,
            counts: [0; 3],
        }
    }

    /// Where the next octet goes.
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, remembered: self.remembered, counts: self.counts }
    }

    /// Takes back everything behind the mark.
    pub fn rewind(&mut self, mark: Mark) {
        self.at = mark.at;
        self.remembered = mark.remembered;
        self.counts = mark.counts;
    }

    /// Takes back everything but the question.
    pub fn clear(&mut self) {
        self.rewind(Mark { at: self.question_end, remembered: 0, counts: [0; 3] });
    }

    /// Records counted so far.
    pub fn counts(&self) -> [u16; 3] {
        self.counts
    }

    /// Octets that still fit.
    pub fn left(&self) -> usize {
        self.limit.saturating_sub(self.at)
    }

    /// Room for `length` octets that the caller fills.
    pub fn room(&mut self, length: usize) -> Result<&mut [u8], Full> {
        let end = self.at + length;
        if end > self.limit {
            return Err(Full);
        }
        let room = &mut self.out[self.at..end];
        self.at = end;
        Ok(room)
    }

    /// Counts records that were written with [`Writer::room`].
    pub fn count(&mut self, section: Section, records: usize) {
        self.counts[section as usize] += records as u16;
    }

    /// Writes a set of prepared records (owner pointer `0xC00C` each) under `owner`. A set is written whole or not at all.
    pub fn put_set(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        octets: &[u8],
        rtype: u16,
        count: u16,
    ) -> Result<(), Full> {
        let compresses = matches!(rtype, rrtype::NS | rrtype::CNAME | rrtype::PTR | rrtype::MX);
        if !compresses && matches!(owner, Owner::Question) {
            self.room(octets.len())?.copy_from_slice(octets);
        } else {
            let mark = self.mark();
            if let Err(full) = self.put_records(owner, octets, rtype, compresses) {
                self.rewind(mark);
                return Err(full);
            }
        }
        self.count(section, usize::from(count));
        Ok(())
    }

    fn put_records(&mut self, mut owner: Owner<'_>, octets: &[u8], rtype: u16, compresses: bool) -> Result<(), Full> {
        for record in records(octets) {
            owner = self.put_owner(owner)?;
            let head = self.room(10)?;
            head[..2].copy_from_slice(&rtype.to_be_bytes());
            head[2..4].copy_from_slice(&rrtype::CLASS_IN.to_be_bytes());
            head[4..8].copy_from_slice(&record.ttl.to_be_bytes());
            head[8..].copy_from_slice(&(record.rdata.len() as u16).to_be_bytes());
            if !compresses {
                self.room(record.rdata.len())?.copy_from_slice(record.rdata);
                continue;
            }
            // RFC 3597 4: only the types of RFC 1035 may carry compressed names.
            let start = self.at;
            let fixed = if rtype == rrtype::MX { 2 } else { 0 };
            let (front, name) = record.rdata.split_at(fixed.min(record.rdata.len()));
            self.room(front.len())?.copy_from_slice(front);
            self.put_name(name)?;
            let length = (self.at - start) as u16;
            self.out[start - 2..start].copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Writes an owner; returns the shortest way to write it again.
    fn put_owner<'a>(&mut self, owner: Owner<'a>) -> Result<Owner<'a>, Full> {
        match owner {
            Owner::Question => self.put_pointer(HEADER as u16)?,
            Owner::At(offset) => self.put_pointer(offset)?,
            Owner::Name(name) => {
                let offset = self.at;
                self.put_name(name)?;
                if offset < 0x4000 && name.len() > 1 {
                    return Ok(Owner::At(offset as u16));
                }
            }
        }
        Ok(owner)
    }

    fn put_pointer(&mut self, offset: u16) -> Result<(), Full> {
        self.room(2)?.copy_from_slice(&(0xc000 | offset).to_be_bytes());
        Ok(())
    }

    /// Writes a name, its longest known suffix as a pointer (RFC 1035 4.1.4).
    pub fn put_name(&mut self, name: &[u8]) -> Result<(), Full> {
        let mut rest = name;
        // Only whole names are pointed at: what this call remembers is not whole before it returns.
        let whole = self.remembered;
        while let Some(&length) = rest.first() {
            if length == 0 {
                break;
            }
            if let Some(offset) = self.known(rest, whole) {
                return self.put_pointer(offset);
            }
            if self.at < 0x4000 && self.remembered < REMEMBERED {
                self.names[self.remembered] = self.at as u16;
                self.remembered += 1;
            }
            let Some((label, behind)) = rest.split_at_checked(1 + usize::from(length)) else { break };
            self.room(label.len())?.copy_from_slice(label);
            rest = behind;
        }
        self.room(1)?[0] = 0;
        Ok(())
    }

    /// Where that name stands in the message already.
    fn known(&self, name: &[u8], whole: usize) -> Option<u16> {
        let question = self.question.wire();
        if let Some(from) = question.len().checked_sub(name.len())
            && question[from..].eq_ignore_ascii_case(name)
            && self.question.starts().iter().any(|&start| usize::from(start) == from)
        {
            return Some((HEADER + from) as u16);
        }
        self.names[..whole].iter().copied().find(|&offset| self.stands_at(usize::from(offset), name))
    }

    fn stands_at(&self, mut at: usize, name: &[u8]) -> bool {
        for label in labels(name) {
            while self.out[at] & 0xc0 == 0xc0 {
                at = usize::from(self.out[at] & 0x3f) << 8 | usize::from(self.out[at + 1]);
            }
            let length = usize::from(self.out[at]);
            if length != label.len() || !self.out[at + 1..at + 1 + length].eq_ignore_ascii_case(label) {
                return false;
            }
            at += 1 + length;
        }
        while self.out[at] & 0xc0 == 0xc0 {
            at = usize::from(self.out[at] & 0x3f) << 8 | usize::from(self.out[at + 1]);
        }
        self.out[at] == 0
    }

    /// Lifts the limit for what was held back: OPT and TSIG.
    pub fn raise_limit(&mut self, limit: usize) {
        self.limit = limit.min(self.out.len());
    }

    /// Writes the header; returns the reply's length. `flags` are the two octets behind the id.
    pub fn finish(&mut self, id: [u8; 2], flags: [u8; 2]) -> usize {
        let [[a0, a1], [b0, b1], [c0, c1]] = self.counts.map(u16::to_be_bytes);
        let questions = u8::from(self.question_end > HEADER);
        let header = [id[0], id[1], flags[0], flags[1], 0, questions, a0, a1, b0, b1, c0, c1];
        if let Some(place) = self.out.first_chunk_mut::<HEADER>() {
            *place = header;
        }
        self.at
    }
}
