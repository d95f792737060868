//! A zone's SOA, prepared: copied behind any question of the zone with a few pointers patched in.

use super::name::{Name, labels};
use super::rrtype;
use super::zone::Record;

/// Octets that are copied at once, without a call into the C library, where the record is no longer. Most are not: their names
/// end in the apex.
const SHORT: usize = 64;

/// The SOA record with one serial.
#[derive(Debug, Clone)]
pub struct SoaTemplate {
    /// Owner pointer, type, class, TTL, length, RDATA; names end in pointers to the apex where they can. Behind them zeros, up
    /// to [`SHORT`].
    octets: Box<[u8]>,
    /// Octets of the record.
    size: usize,
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
        let size = octets.len();
        octets.resize(size.max(SHORT), 0);
        Some(SoaTemplate {
            octets: octets.into(),
            size,
            pointers,
            ttl: record.ttl,
            // RFC 2308 3 and 5.
            negative_ttl: record.ttl.min(minimum),
            serial,
        })
    }

    /// Octets of the record in a reply.
    pub fn length(&self) -> usize {
        self.size
    }

    /// The serial in force.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// TTL of NXDOMAIN and NODATA.
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// Writes the record to the front of `out`, which must have [`SoaTemplate::length`] octets; what is behind may be
    /// overwritten. `apex_offset` is where the apex stands in the message.
    #[inline]
    pub fn write(&self, apex_offset: u16, negative: bool, out: &mut [u8]) {
        match (out.first_chunk_mut::<SHORT>(), self.octets.first_chunk()) {
            (Some(room), Some(octets)) if self.size <= SHORT => *room = *octets,
            _ => out[..self.size].copy_from_slice(&self.octets[..self.size]),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Short records are copied with what is behind them, where there is room, and long ones are not: the octets are the same.
    #[test]
    fn a_record_of_any_length_is_written_alike_into_any_room() {
        let apex = Name::parse("example.com.", None).unwrap();
        let mut sizes = Vec::new();
        for (length, inside) in
            [(1, true), (11, true), (12, true), (13, true), (60, true), (1, false), (20, false), (63, false)]
        {
            let label = "m".repeat(length);
            let mname = Name::parse(&label, Some(&if inside { apex.clone() } else { Name::root() })).unwrap();
            let rname = Name::parse(&format!("hostmaster.{}.test.", "r".repeat(length)), None).unwrap();
            let numbers: [u32; 5] = [1, 7200, 900, 1_209_600, 5];
            let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
            let rdata = [mname.as_wire(), if inside { mname.as_wire() } else { rname.as_wire() }, &numbers].concat();
            let record = Record { rtype: rrtype::SOA, ttl: 300, rdata: &rdata };
            let soa = SoaTemplate::new(&apex, &record, 77).unwrap();
            let size = soa.length();
            sizes.push(size);
            let mut exact = vec![0xee; size];
            soa.write(40, true, &mut exact);
            assert_eq!(&exact[..10], [0xc0, 40, 0, 6, 0, 1, 0, 0, 0, 5]);
            assert_eq!(usize::from(u16::from_be_bytes([exact[10], exact[11]])) + 12, size);
            assert_eq!(exact[size - 20..size - 16], 77u32.to_be_bytes());
            for room in [size, SHORT, SHORT + 1, 1232].into_iter().filter(|&room| room >= size) {
                let mut out = vec![0xee; room];
                soa.write(40, true, &mut out);
                assert_eq!(&out[..size], exact, "{room}");
                assert!(out[size.max(SHORT).min(room)..].iter().all(|&octet| octet == 0xee));
            }
        }
        assert!(
            sizes.iter().any(|&size| size < SHORT)
                && sizes.contains(&SHORT)
                && sizes.iter().any(|&size| size > SHORT + 1),
            "{sizes:?}"
        );
    }
}
