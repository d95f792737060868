//! A zone's SOA, prepared: copied behind any question of the zone with a few pointers patched in.

use super::name::{Name, labels};
use super::rrtype;
use super::zone::Record;

/// The SOA record with one serial.
#[derive(Debug, Clone)]
pub struct SoaTemplate {
    /// Owner pointer, type, class, TTL, length, RDATA; names end in pointers to the apex where they can.
    octets: Box<[u8]>,
    /// Where pointers to the apex stand: the owner's, and those of the two names, or the owner's once more.
    pointers: [u16; 3],
    ttl: u32,
    negative_ttl: u32,
    serial: u32,
}

impl SoaTemplate {
    /// Prepares the SOA with `serial` in place of the record's own. `None` when the RDATA is no SOA.
    pub fn new(apex: &Name, record: &Record<'_>, serial: u32) -> Option<SoaTemplate> {
        let mname_length = name_length(record.rdata)?;
        let (mname, rest) = record.rdata.split_at(mname_length);
        let (rname, numbers) = rest.split_at(name_length(rest)?);
        let numbers: [u8; 20] = numbers.try_into().ok()?;
        let minimum = u32::from_be_bytes([numbers[16], numbers[17], numbers[18], numbers[19]]);
        let mut octets = vec![0xc0, 0x0c];
        let mut pointers = [0; 3];
        octets.extend_from_slice(&rrtype::SOA.to_be_bytes());
        octets.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
        octets.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = octets.len();
        octets.extend_from_slice(&[0, 0]);
        for (name, pointer) in [mname, rname].into_iter().zip(&mut pointers[1..]) {
            let ends_in_apex = name.len() >= apex.as_wire().len() && !apex.is_root() && {
                let tail = name.len() - apex.as_wire().len();
                name[tail..].eq_ignore_ascii_case(apex.as_wire()) && starts_label(name, tail)
            };
            if ends_in_apex {
                octets.extend_from_slice(&name[..name.len() - apex.as_wire().len()]);
                *pointer = octets.len() as u16;
                octets.extend_from_slice(&[0xc0, 0x0c]);
            } else {
                octets.extend_from_slice(name);
            }
        }
        octets.extend_from_slice(&serial.to_be_bytes());
        octets.extend_from_slice(&numbers[4..]);
        let length = (octets.len() - length_at - 2) as u16;
        octets[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Some(SoaTemplate {
            octets: octets.into(),
            pointers,
            ttl: record.ttl,
            // RFC 2308 3 and 5.
            negative_ttl: record.ttl.min(minimum),
            serial,
        })
    }

    /// Octets of the record in a reply.
    pub fn length(&self) -> usize {
        self.octets.len()
    }

    /// The serial in force.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// TTL of NXDOMAIN and NODATA.
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// Writes the record to the front of `out`, which must have [`SoaTemplate::length`] octets. `apex_offset` is where the
    /// apex stands in the message.
    pub fn write(&self, apex_offset: u16, negative: bool, out: &mut [u8]) {
        out[..self.octets.len()].copy_from_slice(&self.octets);
        let pointer = (0xc000 | apex_offset).to_be_bytes();
        for at in self.pointers.map(usize::from) {
            out[at..at + 2].copy_from_slice(&pointer);
        }
        let ttl = if negative { self.negative_ttl } else { self.ttl };
        out[6..10].copy_from_slice(&ttl.to_be_bytes());
    }
}

fn name_length(octets: &[u8]) -> Option<usize> {
    let length = labels(octets).map(|label| 1 + label.len()).sum::<usize>();
    (octets.get(length) == Some(&0)).then_some(length + 1)
}

fn starts_label(name: &[u8], at: usize) -> bool {
    let mut start = 0;
    for label in labels(name) {
        if start == at {
            return true;
        }
        start += 1 + label.len();
    }
    start == at
}
