//! Record types and classes by number, as far as the engine treats them apart (IANA DNS parameters).

#![allow(missing_docs)]

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const PTR: u16 = 12;
pub const HINFO: u16 = 13;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const DS: u16 = 43;
pub const SVCB: u16 = 64;
pub const HTTPS: u16 = 65;
pub const NXNAME: u16 = 128;
pub const TKEY: u16 = 249;
pub const TSIG: u16 = 250;
pub const IXFR: u16 = 251;
pub const AXFR: u16 = 252;
pub const MAILB: u16 = 253;
pub const MAILA: u16 = 254;
pub const ANY: u16 = 255;

pub const CLASS_IN: u16 = 1;
pub const CLASS_CH: u16 = 3;
pub const CLASS_ANY: u16 = 255;

/// The type's mnemonic, or `TYPE65280` (RFC 3597).
pub fn text(rtype: u16) -> String {
    match hickory_proto::rr::RecordType::from(rtype) {
        // Zones may hold more types than hickory knows: LOC, AFSDB, RP.
        hickory_proto::rr::RecordType::Unknown(number) => domain::base::Rtype::from_int(number).to_string(),
        known => known.to_string(),
    }
}

/// A mnemonic in any case, or `TYPE65280`.
pub fn parse(text: &str) -> Option<u16> {
    let upper = text.to_ascii_uppercase();
    if let Some(number) = upper.strip_prefix("TYPE") {
        return number.parse().ok();
    }
    let known = upper.parse::<hickory_proto::rr::RecordType>().ok().map(u16::from);
    known.or_else(|| upper.parse::<domain::base::Rtype>().ok().map(|rtype| rtype.to_int()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_text_that_reads_back() {
        assert_eq!((text(MX), text(65280)), ("MX".to_owned(), "TYPE65280".to_owned()));
        assert_eq!((text(29), parse("loc")), ("LOC".to_owned(), Some(29)));
        assert_eq!((parse("mx"), parse("type65280"), parse("NONSENSE")), (Some(MX), Some(65280), None));
    }
}
