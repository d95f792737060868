//! TSIG without keys: every key is unknown (RFC 8945 5.2.1): NOTAUTH, and an unsigned TSIG that says BADKEY.

use super::answer::rcode;
use super::options::ReplyOptions;
use super::query::Query;
use super::reply::{Full, Section, Writer};
use super::{Reply, finish, refused, rrtype};

const BADKEY: u16 = 17;

/// Answers a signed query. A TSIG that is none is a format error.
pub(super) fn unknown_key(
    query: &Query<'_>,
    writer: &mut Writer<'_, '_>,
    options: &ReplyOptions<'_>,
    limit: usize,
) -> Reply {
    let Some(asked) = query.tsig.and_then(|at| read(query.message, at)) else {
        return finish(query, refused(rcode::FORMERR, None), false, writer, options, limit);
    };
    // TSIG is the last record, behind OPT.
    writer.raise_limit(limit);
    let before = writer.mark();
    options.write(rcode::NOTAUTH, 0, None, writer);
    let (rcode, truncated) = match asked.write(query.message, writer) {
        Ok(()) => (rcode::NOTAUTH, false),
        Err(Full) => {
            // RFC 8945 5.3: what leaves no room for the TSIG goes: the question and the TSIG, with TC and NOERROR.
            writer.rewind(before);
            if asked.write(query.message, writer).is_err() {
                // Two names of 255 octets beside the question: not even that fits. TC alone then says to come by TCP.
                options.write(rcode::NOERROR, 0, None, writer);
            }
            (rcode::NOERROR, true)
        }
    };
    let flags = super::flags(query.message, rcode, false, truncated);
    let length = writer.finish([query.message[0], query.message[1]], flags);
    Reply { length, rcode, ..Reply::SILENCE }
}
struct Asked<'q> {
    owner: &'q [u8],
    algorithm: &'q [u8],
    time_and_fudge: &'q [u8],
}

impl Asked<'_> {
    /// Writes the TSIG of the reply, whole or not at all.
    fn write(&self, message: &[u8], writer: &mut Writer<'_, '_>) -> Result<(), Full> {
        let data_length = self.algorithm.len() + 16;
        let out = writer.room(self.owner.len() + 10 + data_length)?;
        let (owner, rest) = out.split_at_mut(self.owner.len());
        owner.copy_from_slice(self.owner);
        rest[..2].copy_from_slice(&rrtype::TSIG.to_be_bytes());
        rest[2..4].copy_from_slice(&rrtype::CLASS_ANY.to_be_bytes());
        rest[4..8].copy_from_slice(&[0; 4]);
        rest[8..10].copy_from_slice(&(data_length as u16).to_be_bytes());
        let (algorithm, numbers) = rest[10..].split_at_mut(self.algorithm.len());
        algorithm.copy_from_slice(self.algorithm);
        // Time signed and fudge as asked, no MAC, the query's id, the error, no other data.
        numbers[..8].copy_from_slice(self.time_and_fudge);
        numbers[8..10].copy_from_slice(&[0; 2]);
        numbers[10..12].copy_from_slice(&message[..2]);
        numbers[12..14].copy_from_slice(&BADKEY.to_be_bytes());
        numbers[14..16].copy_from_slice(&[0; 2]);
        writer.count(Section::Additional, 1);
        Ok(())
    }
}

/// The parts of a TSIG that are echoed. Its names must not be compressed and its class is ANY (RFC 8945 4.2).
fn read(message: &[u8], at: usize) -> Option<Asked<'_>> {
    let owner = plain_name(message.get(at..)?)?;
    let class = message.get(at + owner.len() + 2..)?.first_chunk::<2>()?;
    if u16::from_be_bytes(*class) != rrtype::CLASS_ANY {
        return None;
    }
    let rdata = message.get(at + owner.len() + 10..)?;
    let algorithm = plain_name(rdata)?;
    let numbers = rdata.get(algorithm.len()..)?;
    let mac = usize::from(u16::from_be_bytes([*numbers.get(8)?, *numbers.get(9)?]));
    let other = numbers.get(10 + mac..)?;
    let other_length = usize::from(u16::from_be_bytes([*other.get(4)?, *other.get(5)?]));
    (other.len() == 6 + other_length).then_some(Asked { owner, algorithm, time_and_fudge: &numbers[..8] })
}

fn plain_name(octets: &[u8]) -> Option<&[u8]> {
    let mut name = super::query::QueryName::empty();
    let length = name.read(octets)?;
    octets.get(..length)
}
