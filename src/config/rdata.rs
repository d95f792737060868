//! RDATA from presentation form to uncompressed wire form, and the proof that what is stored can be read again.
//!
//! NLnet Labs' `domain` reads the forms; what it cannot read is read by `extra`, or has to be written as RFC 3597 says.

use bytes::Bytes;
use domain::base::iana::Rtype;
use domain::base::name::ParsedName;
use domain::base::rdata::ComposeRecordData;
use domain::base::rdata::ParseRecordData;
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::BinDecodable;

use super::extra;
use super::guard::guarded;
use crate::engine::name::Name;

/// Record types by number, where the code speaks of them.
pub(super) mod rtype {
    pub(in crate::config) const A: u16 = 1;
    pub(in crate::config) const NS: u16 = 2;
    pub(in crate::config) const CNAME: u16 = 5;
    pub(in crate::config) const SOA: u16 = 6;
    pub(in crate::config) const TXT: u16 = 16;
    pub(in crate::config) const SIG: u16 = 24;
    pub(in crate::config) const AAAA: u16 = 28;
    pub(in crate::config) const SRV: u16 = 33;
    pub(in crate::config) const RRSIG: u16 = 46;
    pub(in crate::config) const SVCB: u16 = 64;
    pub(in crate::config) const HTTPS: u16 = 65;
    pub(in crate::config) const SPF: u16 = 99;
}

/// Longest character string (RFC 1035 3.3).
const LONGEST_STRING: usize = 255;
/// Longest RDATA: its length is 16 bits.
pub(super) const LONGEST_RDATA: usize = 65_535;

/// The number of a type's mnemonic, or of `TYPE65280` (RFC 3597 5). Types that are questions or never stored are refused.
pub(super) fn type_number(text: &str) -> Result<u16, String> {
    let number: Rtype = text.parse().map_err(|_| format!("{text:?} is no record type"))?;
    storable(number.to_int()).map_err(|_| format!("{text} is not a type that a zone can hold"))
}

/// Refuses types that are questions or never stored.
pub(super) fn storable(number: u16) -> Result<u16, String> {
    // RFC 6895 3.1: 128 to 255 are for questions and meta data; 41 is EDNS.
    if number == 0 || number == 41 || (128..=255).contains(&number) {
        return Err(format!("{} is not a type that a zone can hold", type_name(number)));
    }
    Ok(number)
}

/// `MX`, or `TYPE65280` where no mnemonic is known.
pub(super) fn type_name(number: u16) -> String {
    Rtype::from_int(number).to_string()
}

/// Reads `text` as the RDATA of `rtype` into `wire`. Names in it that do not end in a dot are completed with `origin`.
pub(super) fn encode(rtype: u16, text: &str, origin: &Name, wire: &mut Vec<u8>) -> Result<(), String> {
    wire.clear();
    let generic = text.trim_start().starts_with("\\#");
    match rtype {
        rtype::A if !generic => {
            let address: std::net::Ipv4Addr =
                text.trim().parse().map_err(|_| format!("{text:?} is no IPv4 address"))?;
            wire.extend_from_slice(&address.octets());
            return Ok(());
        }
        rtype::AAAA if !generic => {
            let address: std::net::Ipv6Addr =
                text.trim().parse().map_err(|_| format!("{text:?} is no IPv6 address"))?;
            wire.extend_from_slice(&address.octets());
            return Ok(());
        }
        rtype::TXT | rtype::SPF if !generic && !text.trim_start().starts_with('"') => {
            return one_string(text, wire);
        }
        _ => {}
    }
    if !generic && extra::reads(rtype) {
        extra::encode(rtype, text, origin, wire)?;
    } else {
        guarded(|| encode_by_domain(rtype, text, origin, wire))?;
    }
    check(rtype, wire)
}

/// Refuses RDATA that does not survive being read and written again: a resolver could not use it, and another program on
/// its way might fall over it.
pub(super) fn check(rtype: u16, wire: &[u8]) -> Result<(), String> {
    if wire.len() > LONGEST_RDATA {
        return Err("the data is longer than 65,535 octets".to_owned());
    }
    // RFC 1035 3.3.14: one string at least, which may be empty.
    if rtype == rtype::TXT && wire.is_empty() {
        return Err("a TXT record has one string at least".to_owned());
    }
    if matches!(rtype, rtype::A) && wire.len() == 4 || matches!(rtype, rtype::AAAA) && wire.len() == 16 {
        return Ok(());
    }
    guarded(|| {
        let broken = || format!("the octets are no {} data", type_name(rtype));
        let mut parser = Parser::from_ref(wire);
        let parsed: Option<ZoneRecordData<&[u8], ParsedName<&[u8]>>> =
            ZoneRecordData::parse_rdata(Rtype::from_int(rtype), &mut parser).map_err(|_| broken())?;
        let parsed = match parsed {
            None | Some(ZoneRecordData::Unknown(_)) => return check_by_hickory(rtype, wire).map_err(|()| broken()),
            Some(parsed) => parsed,
        };
        if let ZoneRecordData::Caa(_) = parsed
            && wire.get(1) == Some(&0)
        {
            // RFC 8659 4.1: a non-zero sequence.
            return Err("a CAA record needs a tag".to_owned());
        }
        let mut again = Vec::with_capacity(wire.len());
        parsed.compose_rdata(&mut again).map_err(|_| broken())?;
        if parser.remaining() > 0 || again != wire { Err(broken()) } else { Ok(()) }
    })
}

/// What `domain` does not know, hickory-proto may (CERT, CSYNC, SMIMEA): resolvers built with it could not read the reply.
fn check_by_hickory(rtype: u16, wire: &[u8]) -> Result<(), ()> {
    // SIG has the form of RRSIG (RFC 4034 3.1); hickory-proto takes it in requests alone. An update's empty data is not ours.
    if rtype == rtype::SIG {
        return check(rtype::RRSIG, wire).map_err(drop);
    }
    let Some(length) = u16::try_from(wire.len()).ok().filter(|&length| length > 0) else { return Ok(()) };
    let mut record = vec![0];
    record.extend_from_slice(&rtype.to_be_bytes());
    record.extend_from_slice(&[0, 1, 0, 0, 0, 0]);
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(wire);
    Record::from_bytes(&record).map(drop).map_err(drop)
}

/// What the reader's terse words mean for a person.
pub(super) fn explain(error: &str) -> String {
    match error {
        "unexpected end of entry" => "something is missing at the end".to_owned(),
        "trailing tokens" => "there is more than belongs here".to_owned(),
        "short buffer" => "a quote or a parenthesis is not closed".to_owned(),
        "unbalanced parens" => "a \")\" without its \"(\"".to_owned(),
        "unknown record type with concrete data" => {
            "this type's text form is not known here: write it as \\# LENGTH HEX (RFC 3597)".to_owned()
        }
        "expected decimal number" => "a whole number should be here".to_owned(),
        "expected rtype" => "there is no record type where one should be".to_owned(),
        "bad charstr" => "a string is longer than 255 octets or badly escaped".to_owned(),
        "bad name" => {
            "a name with an empty label, one longer than 63 octets, or longer than 255 octets in all".to_owned()
        }
        "missing origin" => "a relative name where no $ORIGIN is known".to_owned(),
        "missing last owner" => "the first record needs an owner".to_owned(),
        other => match other.strip_prefix("unknown control: ") {
            Some(control) => format!("{control} is not known: $ORIGIN, $TTL and $INCLUDE are"),
            None => other.to_owned(),
        },
    }
}

/// A TXT value without quotes is one string, cut where a string can be no longer. Escapes mean what they mean in a string.
fn one_string(text: &str, wire: &mut Vec<u8>) -> Result<(), String> {
    let octets = extra::unescape(text)?;
    if octets.is_empty() {
        wire.push(0);
    }
    for piece in octets.chunks(LONGEST_STRING) {
        wire.push(piece.len() as u8);
        wire.extend_from_slice(piece);
    }
    if wire.len() > LONGEST_RDATA { Err("the text is longer than 65,535 octets".to_owned()) } else { Ok(()) }
}

fn encode_by_domain(rtype: u16, text: &str, origin: &Name, wire: &mut Vec<u8>) -> Result<(), String> {
    let mut file = Zonefile::with_capacity(text.len() + 24);
    file.extend_from_slice(b". IN TYPE");
    file.extend_from_slice(rtype.to_string().as_bytes());
    file.extend_from_slice(b" ");
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(b"\n");
    file.set_origin(domain_name(origin)?);
    let said = |error: domain::zonefile::inplace::Error| {
        let error = error.to_string();
        explain(error.splitn(3, ':').nth(2).unwrap_or(&error).trim_start())
    };
    let Some(Entry::Record(record)) = file.next_entry().map_err(said)? else {
        return Err("it is empty".to_owned());
    };
    record.data().compose_rdata(wire).map_err(|_| "it is too long".to_owned())?;
    if has_at_sign(text, true) {
        resolve_at_sign(rtype, wire, origin.as_wire());
    }
    match file.next_entry() {
        Ok(None) => Ok(()),
        _ => Err("it is more than one record".to_owned()),
    }
}

/// Whether a token of `text` is `@` alone; the first one counts only where it is no owner.
pub(super) fn has_at_sign(text: &str, first_counts: bool) -> bool {
    let octets = text.as_bytes();
    let ends = |octet: Option<&u8>| octet.is_none_or(|octet| b" \t\r\n();".contains(octet));
    octets.iter().enumerate().any(|(at, &octet)| {
        let begins = if at == 0 { first_counts } else { ends(octets.get(at - 1)) };
        octet == b'@' && begins && ends(octets.get(at + 1))
    })
}

/// RFC 1035 5.1: a free-standing `@` denotes the origin, in RDATA too. The reader knows that of owners only and makes it a
/// label of one octet in front of the origin, so that label is taken away again.
pub(super) fn resolve_at_sign(rtype: u16, wire: &mut Vec<u8>, origin: &[u8]) {
    if !HOLD_NAMES.contains(&rtype) {
        return;
    }
    let mut at = 0;
    while let Some(rest) = wire.get(at..) {
        if rest.starts_with(b"\x01@")
            && rest[2..].get(..origin.len()).is_some_and(|name| name.eq_ignore_ascii_case(origin))
        {
            wire.drain(at..at + 2);
            at += origin.len();
        } else {
            at += 1;
        }
    }
}

/// Types with names in their data: NS MD MF CNAME SOA MB MG MR PTR MINFO MX RP SRV NAPTR DNAME SVCB HTTPS.
const HOLD_NAMES: &[u16] = &[2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 33, 35, 39, 64, 65];

/// The same name as `domain` has it.
pub(super) fn domain_name(name: &Name) -> Result<domain::base::Name<Bytes>, String> {
    domain::base::Name::from_octets(Bytes::copy_from_slice(name.as_wire())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: &str, text: &str) -> Result<Vec<u8>, String> {
        let origin = Name::parse("example.com.", None).unwrap();
        let mut wire = Vec::new();
        encode(type_number(kind)?, text, &origin, &mut wire).map(|()| wire)
    }

    #[test]
    fn relative_names_are_completed_and_keep_their_case() {
        assert_eq!(wire("MX", "10 Mail").unwrap(), b"\0\x0a\x04Mail\x07example\x03com\0");
        assert_eq!(wire("CNAME", "a\\.b.Net.").unwrap(), b"\x03a.b\x03Net\0");
        assert_eq!(wire("NS", "@").unwrap(), b"\x07example\x03com\0");
        assert_eq!(wire("MX", "320 @").unwrap(), b"\x01\x40\x07example\x03com\0");
        assert_eq!(wire("CNAME", "\\@").unwrap(), b"\x01@\x07example\x03com\0");
        assert_eq!(&wire("SOA", "@ a 1 2 3 4 5").unwrap()[..16], b"\x07example\x03com\0\x01a\x07");
        assert_eq!(wire("SRV", "1 2 3 .").unwrap(), b"\0\x01\0\x02\0\x03\0");
    }

    #[test]
    fn text_without_quotes_is_one_string_cut_at_255() {
        assert_eq!(wire("TXT", "v=spf1 -all").unwrap(), b"\x0bv=spf1 -all");
        assert_eq!(wire("TXT", "\"a b\" c").unwrap(), b"\x03a b\x01c");
        assert_eq!(wire("TXT", "v=DKIM1; p=(x").unwrap(), b"\x0dv=DKIM1; p=(x");
        assert_eq!(wire("TXT", "").unwrap(), b"\0");
        let long = wire("TXT", &"x".repeat(300)).unwrap();
        assert_eq!((long[0], long[256], long.len()), (255, 45, 302));
        assert!(wire("TXT", &"x".repeat(70_000)).is_err());
    }

    #[test]
    fn unknown_types_and_generic_data_pass_octet_for_octet() {
        assert_eq!(wire("TYPE65280", "\\# 4 0A000001").unwrap(), [10, 0, 0, 1]);
        assert_eq!(wire("TYPE65280", "\\# 4 ( 0A00 0001 )").unwrap(), [10, 0, 0, 1]);
        assert_eq!(wire("TYPE65280", "\\# 0").unwrap(), Vec::<u8>::new());
        assert_eq!(wire("A", "\\# 4 0A000001").unwrap(), [10, 0, 0, 1]);
        assert_eq!(wire("TYPE1", "192.0.2.1").unwrap(), [192, 0, 2, 1]);
        assert_eq!(wire("MX", "\\# 3 000A00").unwrap(), [0, 10, 0]);
    }

    #[test]
    fn data_that_cannot_be_read_again_is_refused() {
        for (kind, text) in [
            ("A", "\\# 3 0A0000"),
            ("MX", "\\# 2 000A"),
            ("MX", "\\# 4 000AC00C"),
            ("TXT", "\\# 0"),
            ("TXT", "\\# 2 0561"),
            ("SVCB", "\\# 5 0001000003"),
            ("SVCB", "\\# 11 0001 00 0003 0001 00 0001"),
            ("CAA", "\\# 1 00"),
            ("CAA", "\\# 2 0000"),
            ("CERT", "\\# 4 0001 0002"),
            ("SMIMEA", "\\# 2 0000"),
            ("CSYNC", "\\# 3 000000"),
            ("SIG", "\\# 1 00"),
            ("AAAA", "::1::"),
            ("MX", "10"),
            ("MX", "10 mail mail"),
            ("MX", "10 mail\nx IN A 1.2.3.4"),
            ("MX", "70000 mail"),
            ("CNAME", "a..b"),
            ("CNAME", &"a".repeat(64)),
            ("TYPE65280", "hello"),
            ("TYPE65280", "\\# 5 0A000001"),
            ("TXT", "\"open"),
            ("MX", "( 10 mail"),
        ] {
            assert!(wire(kind, text).is_err(), "{kind} {text}: {:?}", wire(kind, text));
        }
        for kind in ["ANY", "OPT", "AXFR", "TYPE0", "TSIG", "TYPE128", "HELLO", "TYPE65536"] {
            assert!(type_number(kind).is_err(), "{kind}");
        }
    }

    #[test]
    fn every_common_type_is_read() {
        for (kind, text) in [
            ("SOA", "ns1 hostmaster 1 2 3 4 5"),
            ("PTR", "host"),
            ("DNAME", "other.example."),
            ("CAA", "0 issue \"ca.example; x=1\""),
            ("NAPTR", "100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z3950._tcp.gatech.edu."),
            ("SVCB", "1 svc alpn=h2,h3 port=8443 ipv4hint=192.0.2.1 ipv6hint=2001:db8::1"),
            ("HTTPS", "0 svc.example."),
            ("HTTPS", "1 . alpn=\"h2,h3\" mandatory=alpn key65000=\"x\""),
            ("TLSA", "3 1 1 0123456789abcdef"),
            ("SSHFP", "4 2 0123456789abcdef"),
            ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
            ("DNSKEY", "256 3 8 AQPSKmynfzW4kyBv015MUG2DeIQ3"),
            ("HINFO", "cpu os"),
            ("RP", "admin txt"),
            ("OPENPGPKEY", "AQPSKmynfzW4kyBv015MUG2DeIQ3"),
            ("CDS", "0 0 0 00"),
        ] {
            assert!(wire(kind, text).is_ok(), "{kind} {text}: {:?}", wire(kind, text));
        }
    }
}
