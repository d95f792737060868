//! Class CHAOS: `version.bind`, `version.server`, `hostname.bind` and `id.server` (RFC 4892 and the custom before it).
//! Each record is prepared when the settings are published; a query costs one comparison and a copy.

use super::answer::{Decision, rcode};
use super::query::{Query, QueryName};
use super::reply::{Full, Owner, Section, Writer};
use super::snapshot::Options;
use super::{refused, rrtype};

const VERSION_NAMES: [&[u8]; 2] = [b"\x07version\x04bind\x00", b"\x07version\x06server\x00"];
const ID_NAMES: [&[u8]; 2] = [b"\x08hostname\x04bind\x00", b"\x02id\x06server\x00"];

/// The record that says `text`: owner pointer, TXT, CH, TTL 0, one string. Empty when there is nothing to say; what is
/// longer than a string holds (255 octets) is cut.
pub fn record(text: &[u8]) -> Box<[u8]> {
    let text = &text[..text.len().min(255)];
    if text.is_empty() {
        return Box::default();
    }
    let length = text.len() as u8;
    let mut octets = vec![0xc0, 0x0c];
    octets.extend_from_slice(&rrtype::TXT.to_be_bytes());
    octets.extend_from_slice(&rrtype::CLASS_CH.to_be_bytes());
    octets.extend_from_slice(&[0; 4]);
    octets.extend_from_slice(&(u16::from(length) + 1).to_be_bytes());
    octets.push(length);
    octets.extend_from_slice(text);
    octets.into()
}

/// Answers a question of class CH: the four names when they are set, REFUSED for everything else.
pub(super) fn answer(
    options: &Options,
    query: &Query<'_>,
    name: &QueryName,
    writer: &mut Writer<'_, '_>,
) -> Result<Decision, Full> {
    let prepared = match name.wire() {
        asked if VERSION_NAMES.contains(&asked) => &options.version,
        asked if ID_NAMES.contains(&asked) => &options.id,
        _ => return Ok(refused(rcode::REFUSED, None)),
    };
    if prepared.is_empty() || matches!(query.qtype, rrtype::AXFR | rrtype::IXFR) {
        return Ok(refused(rcode::REFUSED, None));
    }
    if matches!(query.qtype, rrtype::TXT | rrtype::ANY) {
        writer.put_set(Section::Answer, Owner::Question, prepared, rrtype::TXT, 1)?;
    }
    // Another type: the name exists and has none. No zone stands behind it, so no SOA goes with that.
    Ok(Decision { authoritative: true, ..refused(rcode::NOERROR, None) })
}
