//! RDATA from wire form to presentation form: what `rdata` reads, written. Used where zones are exported and imported.
//!
//! By hand, since no crate prints every type so that a master-file reader takes it back octet for octet (TXT, CAA, SVCB).
//! What has no text form here, or would not survive it, is written as RFC 3597 has it, which every reader takes.

use std::cmp::Ordering;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use domain::utils::{base16, base64};

use super::rdata::{self, rtype};
use crate::engine::name::{Name, labels, presentation};

/// What a type's RDATA consists of, field by field. `1` `2` `4`: numbers of so many octets; `a` `6`: addresses; `n`: a name;
/// `s`: a string; `S`: strings to the end, one at least; `t`: a CAA tag; `q` `Q`: the rest as one quoted text, `Q` not empty;
/// `x` `b`: the rest in hexadecimal, in base 64; `g`: 64 bits as four groups; `e` `E`: six and eight octets joined by dashes.
const LAYOUTS: &[(u16, &str)] = &[
    (1, "a"),
    (2, "n"),
    (5, "n"),
    (6, "nn44444"),
    (7, "n"),
    (8, "n"),
    (9, "n"),
    (12, "n"),
    (13, "ss"),
    (14, "nn"),
    (15, "2n"),
    (16, "S"),
    (17, "nn"),
    (18, "2n"),
    (19, "s"),
    (21, "2n"),
    (26, "2nn"),
    (27, "sss"),
    (28, "6"),
    (33, "222n"),
    (35, "22sssn"),
    (36, "2n"),
    (37, "221b"),
    (39, "n"),
    (43, "211x"),
    (44, "11x"),
    (48, "211b"),
    (49, "b"),
    (52, "111x"),
    (53, "111x"),
    (58, "nn"),
    (59, "211x"),
    (60, "211b"),
    (61, "b"),
    (99, "S"),
    (104, "2g"),
    (105, "2a"),
    (106, "2g"),
    (107, "2n"),
    (108, "e"),
    (109, "E"),
    (256, "22Q"),
    (257, "1tq"),
];

const SVCB: u16 = 64;
const HTTPS: u16 = 65;
/// Names of service parameters by number (RFC 9460 14.3.2, RFC 9461, RFC 9540).
const PARAMETERS: [&str; 9] =
    ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath", "ohttp"];
/// Longest quoted text: a reader may hold any quoted text for a character string (RFC 1035 3.3).
const LONGEST_STRING: usize = 255;

/// A type's name: its mnemonic where its data has a text form here, else `TYPE65280`, which every reader takes.
pub(crate) fn type_text(rtype: u16) -> String {
    if LAYOUTS.iter().any(|(known, _)| *known == rtype) || [SVCB, HTTPS].contains(&rtype) {
        return rdata::type_name(rtype);
    }
    format!("TYPE{rtype}")
}

/// The RDATA as a master file has it. Names at or below `origin` are written relative to it.
pub(crate) fn rdata_text(rtype: u16, wire: &[u8], origin: Option<&Name>) -> String {
    let written = match LAYOUTS.iter().find(|(known, _)| *known == rtype) {
        Some((_, layout)) => by_layout(layout, wire, origin),
        None if rtype == SVCB || rtype == HTTPS => {
            service(wire, origin).filter(|text| reads_back(rtype, text, wire, origin))
        }
        None => None,
    };
    written.unwrap_or_else(|| generic(wire))
}

/// A name relative to `origin` where it is at or below it: `www`, `@`; else absolute.
pub(crate) fn name_text(wire: &[u8], origin: Option<&Name>) -> String {
    let absolute = || presentation(wire);
    let Some(origin) = origin.filter(|origin| !origin.is_root()) else {
        return absolute();
    };
    let Some(above) = wire.len().checked_sub(origin.as_wire().len()) else {
        return absolute();
    };
    let at_label = above == 0
        || labels(wire)
            .scan(0, |at, label| {
                *at += 1 + label.len();
                Some(*at)
            })
            .any(|at| at == above);
    if !at_label || !wire[above..].eq_ignore_ascii_case(origin.as_wire()) {
        return absolute();
    }
    if above == 0 {
        return "@".to_owned();
    }
    let mut relative = wire[..above].to_vec();
    relative.push(0);
    let text = presentation(&relative);
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// `"…"` with escapes (RFC 1035 5.1).
pub(crate) fn quoted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 2);
    text.push('"');
    escape(octets, &mut text);
    text.push('"');
    text
}

/// A TXT record's strings; `None` when the octets are none.
pub(crate) fn strings(mut wire: &[u8]) -> Option<Vec<&[u8]>> {
    let mut all = Vec::new();
    while let Some((&length, rest)) = wire.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(length))?;
        all.push(string);
        wire = rest;
    }
    (!all.is_empty()).then_some(all)
}

fn escape(octets: &[u8], text: &mut String) {
    for &octet in octets {
        match octet {
            b'"' | b'\\' => {
                text.push('\\');
                text.push(octet as char);
            }
            0x20..=0x7e => text.push(octet as char),
            other => drop(write!(text, "\\{other:03}")),
        }
    }
}

/// RFC 3597 5.
fn generic(wire: &[u8]) -> String {
    let mut text = format!("\\# {}", wire.len());
    if !wire.is_empty() {
        text.push(' ');
        text.push_str(&base16::encode_string(wire));
    }
    text
}

fn by_layout(layout: &str, wire: &[u8], origin: Option<&Name>) -> Option<String> {
    let mut rest = wire;
    let mut parts: Vec<String> = Vec::new();
    for field in layout.bytes() {
        match field {
            b'1' | b'2' | b'4' => {
                let octets = take(&mut rest, usize::from(field - b'0'))?;
                parts.push(octets.iter().fold(0u64, |number, &octet| number << 8 | u64::from(octet)).to_string());
            }
            b'a' => parts.push(Ipv4Addr::from(<[u8; 4]>::try_from(take(&mut rest, 4)?).ok()?).to_string()),
            b'6' => parts.push(Ipv6Addr::from(<[u8; 16]>::try_from(take(&mut rest, 16)?).ok()?).to_string()),
            b'n' => parts.push(name_text(take_name(&mut rest)?, origin)),
            b's' => parts.push(quoted(take_string(&mut rest)?)),
            b'S' => {
                parts.extend(strings(rest)?.into_iter().map(quoted));
                rest = &[];
            }
            b't' => {
                let tag = take_string(&mut rest)?;
                let good = !tag.is_empty() && tag.iter().all(u8::is_ascii_alphanumeric);
                parts.push(String::from_utf8(tag.to_vec()).ok().filter(|_| good)?);
            }
            b'g' => {
                let groups = take(&mut rest, 8)?.chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]));
                parts.push(groups.collect::<Vec<_>>().join(":"));
            }
            b'e' | b'E' => {
                let octets = take(&mut rest, if field == b'e' { 6 } else { 8 })?;
                parts.push(octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join("-"));
            }
            b'q' | b'Q' if rest.len() > LONGEST_STRING => return None,
            b'x' | b'b' | b'Q' if rest.is_empty() => return None,
            of_rest => {
                parts.push(match of_rest {
                    b'q' | b'Q' => quoted(rest),
                    b'x' => base16::encode_string(rest),
                    _ => base64::encode_string(rest),
                });
                rest = &[];
            }
        }
    }
    rest.is_empty().then(|| parts.join(" "))
}

/// SVCB and HTTPS (RFC 9460 2.1).
fn service(wire: &[u8], origin: Option<&Name>) -> Option<String> {
    let mut rest = wire;
    let priority = number(take(&mut rest, 2)?);
    let mut text = format!("{priority} {}", name_text(take_name(&mut rest)?, origin));
    while !rest.is_empty() {
        let key = number(take(&mut rest, 2)?);
        let length = number(take(&mut rest, 2)?);
        let value = take(&mut rest, usize::from(length))?;
        text.push(' ');
        match PARAMETERS.get(usize::from(key)) {
            Some(name) => text.push_str(name),
            None => drop(write!(text, "key{key}")),
        }
        if !value.is_empty() {
            text.push('=');
            text.push_str(&parameter(key, value)?);
        }
    }
    Some(text)
}

fn parameter(key: u16, value: &[u8]) -> Option<String> {
    let whole = |size: usize| value.len().is_multiple_of(size).then(|| value.chunks(size));
    Some(match key {
        0 => {
            let names = whole(2)?.map(|key| {
                let key = number(key);
                PARAMETERS.get(usize::from(key)).map_or_else(|| format!("key{key}"), |name| (*name).to_owned())
            });
            names.collect::<Vec<_>>().join(",")
        }
        1 => {
            // Two layers (RFC 9460 A.1): commas and backslashes of an item, and then those of the string.
            let items = strings(value)?.into_iter().map(|item| {
                let escaped = item.iter().flat_map(|&octet| match octet {
                    b',' | b'\\' => vec![b'\\', octet],
                    other => vec![other],
                });
                escaped.collect::<Vec<u8>>()
            });
            quoted(&items.collect::<Vec<_>>().join(&b','))
        }
        3 => number(<&[u8; 2]>::try_from(value).ok()?).to_string(),
        4 => whole(4)?
            .map(|part| Ipv4Addr::new(part[0], part[1], part[2], part[3]).to_string())
            .collect::<Vec<_>>()
            .join(","),
        5 => base64::encode_string(value),
        6 => {
            let addresses = whole(16)?.filter_map(|part| <[u8; 16]>::try_from(part).ok());
            addresses.map(|part| Ipv6Addr::from(part).to_string()).collect::<Vec<_>>().join(",")
        }
        _ => quoted(value),
    })
}

fn reads_back(rtype: u16, text: &str, wire: &[u8], origin: Option<&Name>) -> bool {
    let mut again = Vec::new();
    let root = Name::root();
    rdata::encode(rtype, text, origin.unwrap_or(&root), &mut again).is_ok() && again == wire
}

fn number(octets: &[u8]) -> u16 {
    octets.iter().fold(0, |number, &octet| number << 8 | u16::from(octet))
}

fn take<'w>(rest: &mut &'w [u8], length: usize) -> Option<&'w [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_string<'w>(rest: &mut &'w [u8]) -> Option<&'w [u8]> {
    let length = take(rest, 1)?[0];
    take(rest, usize::from(length))
}

fn take_name<'w>(rest: &mut &'w [u8]) -> Option<&'w [u8]> {
    let mut length = 0;
    loop {
        match *rest.get(length)? {
            0 => return take(rest, length + 1),
            label @ 1..=63 => length += 1 + usize::from(label),
            _ => return None,
        }
    }
}

/// A TXT value as a zone TOML has it: plain where it is one string or one cut at 255 octets, else with quotes.
pub(crate) fn txt_value(wire: &[u8]) -> Option<String> {
    let parts = strings(wire)?;
    let (last, full) = parts.split_last()?;
    let is_cut = full.iter().all(|part| part.len() == LONGEST_STRING) && (full.is_empty() || !last.is_empty());
    let whole = parts.concat();
    let at_edges = |octet: Option<&u8>| octet != Some(&b' ');
    let plain = is_cut
        && at_edges(whole.first())
        && at_edges(whole.last())
        && ![Some(&b'"'), Some(&b'\\')].contains(&whole.first());
    if !plain {
        return Some(parts.into_iter().map(quoted).collect::<Vec<_>>().join(" "));
    }
    let mut text = String::new();
    for &octet in &whole {
        match octet {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(octet as char),
            other => drop(write!(text, "\\{other:03}")),
        }
    }
    Some(text)
}

/// RDATA as a zone TOML's `[records]` has it.
pub(crate) fn toml_text(rtype: u16, wire: &[u8], origin: &Name) -> String {
    let plain = if rtype == rtype::TXT { txt_value(wire) } else { None };
    plain.unwrap_or_else(|| rdata_text(rtype, wire, Some(origin)))
}

/// RFC 4034 6.1: by labels from the root on, so that what belongs together stands together.
pub(crate) fn canonical_order(one: &[u8], other: &[u8]) -> Ordering {
    let reversed = |wire: &[u8]| {
        let mut starts = [0u8; 128];
        let mut count = 0;
        let mut at = 0;
        for label in labels(wire) {
            starts[count] = at as u8;
            count += 1;
            at += 1 + label.len();
        }
        (starts, count)
    };
    let ((one_starts, one_count), (other_starts, other_count)) = (reversed(one), reversed(other));
    let label = |wire: &[u8], start: u8| -> (usize, usize) {
        let start = usize::from(start);
        (start + 1, start + 1 + usize::from(wire[start]))
    };
    for (&a, &b) in one_starts[..one_count].iter().rev().zip(other_starts[..other_count].iter().rev()) {
        let ((a_start, a_end), (b_start, b_end)) = (label(one, a), label(other, b));
        match one[a_start..a_end].cmp(&other[b_start..b_end]) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    one_count.cmp(&other_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn names_stand_in_canonical_order() {
        // The example of RFC 4034 6.1, as far as it is of one zone.
        let mut names: Vec<Name> = ["zABC.a", "*.z", "a", "@", "\\001.z", "yljkjljk.a", "Z.a", "\\200.z", "z"]
            .iter()
            .map(|name| Name::parse(name, Some(&Name::parse("example.", None).unwrap())).unwrap())
            .collect();
        names.sort_by(|a, b| canonical_order(a.as_wire(), b.as_wire()));
        let sorted: Vec<String> = names.iter().map(Name::to_string).collect();
        assert_eq!(
            sorted,
            [
                "example.",
                "a.example.",
                "yljkjljk.a.example.",
                "z.a.example.",
                "zabc.a.example.",
                "z.example.",
                "\\001.z.example.",
                "*.z.example.",
                "\\200.z.example."
            ]
        );
    }

    fn origin() -> Name {
        Name::parse("example.com.", None).unwrap()
    }

    fn encode(rtype: u16, text: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        rdata::encode(rtype, text, &origin(), &mut wire).unwrap_or_else(|why| panic!("{rtype} {text}: {why}"));
        wire
    }

    #[test]
    fn what_is_written_reads_back_octet_for_octet() {
        for (kind, text) in [
            ("A", "192.0.2.1"),
            ("AAAA", "2001:db8::1"),
            ("NS", "ns1"),
            ("CNAME", "other.example.net."),
            ("SOA", "ns1 hostmaster 1 2 3 4 5"),
            ("MX", "10 mail"),
            ("MX", "0 ."),
            ("SRV", "1 2 443 www"),
            ("NAPTR", "100 50 \"s\" \"z39\" \"!^.*$!a\\\\b!\" _x._tcp"),
            ("CAA", "0 issue \"ca.example; x=\\\"1\\\"\""),
            ("CAA", "128 iodef \"\""),
            ("TLSA", "3 1 1 0123456789ABCDEF"),
            ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
            ("DNSKEY", "256 3 8 AQPSKmynfzW4kyBv015MUG2DeIQ3"),
            ("SSHFP", "4 2 0123456789abcdef"),
            ("HINFO", "\"a b\" c"),
            ("RP", "admin txt"),
            ("LOC", "51 30 12.748 N 00 07 39.611 W 0.00m 0.00m 0.00m 0.00m"),
            ("URI", "10 1 \"ftp://a b\""),
            ("EUI48", "00-00-5e-00-53-2a"),
            ("L64", "10 2001:db8:1140:1000"),
            ("L32", "10 10.1.2.0"),
            ("CERT", "PGP 0 0 AQID"),
            ("OPENPGPKEY", "AQPSKmynfzW4kyBv015MUG2DeIQ3"),
            ("SVCB", "1 svc alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1"),
            ("HTTPS", "0 svc.example."),
            ("HTTPS", "1 . mandatory=alpn alpn=\"h2,h3\" no-default-alpn ech=AQID key65000=\"x \\255\""),
            ("TXT", "\"a\\\"b\\\\c\\001\\255\" \"\""),
            ("TYPE65280", "\\# 4 0A000001"),
            ("TYPE65280", "\\# 0"),
        ] {
            let rtype = rdata::type_number(kind).unwrap();
            let wire = encode(rtype, text);
            for origin in [None, Some(origin())] {
                let written = rdata_text(rtype, &wire, origin.as_ref());
                assert_eq!(encode(rtype, &written), wire, "{kind} {text} became {written}");
            }
        }
    }

    proptest::proptest! {
        /// Whatever octets the reader takes for a type, what is written of them reads back as they were.
        #[test]
        fn any_data_reads_back(at in 0..LAYOUTS.len() + 3, mut wire in proptest::collection::vec(0u8..=255, 0..40), tail in 0u8..4) {
            let rtype = LAYOUTS.get(at).map_or_else(|| [SVCB, HTTPS, 65_280][at - LAYOUTS.len()], |(rtype, _)| *rtype);
            // Names and strings are rare among random octets: small ones are likelier so.
            wire.iter_mut().skip(1).step_by(3).for_each(|octet| *octet %= 4);
            wire.extend(std::iter::repeat_n(0, usize::from(tail)));
            if rdata::check(rtype, &wire).is_ok() {
                let text = rdata_text(rtype, &wire, Some(&origin()));
                let mut again = Vec::new();
                let read = rdata::encode(rtype, &text, &origin(), &mut again);
                proptest::prop_assert!(read.is_ok() && again == wire, "{} {:?} became {}: {:?}", rtype, wire, text, read);
            }
        }
    }

    #[test]
    fn names_are_relative_where_they_can_be() {
        let text = |rtype, text: &str| rdata_text(rtype, &encode(rtype, text), Some(&origin()));
        assert_eq!(text(15, "10 mail"), "10 mail");
        assert_eq!(text(15, "10 @"), "10 @");
        assert_eq!(text(15, "10 Mail.Example.COM."), "10 Mail");
        assert_eq!(text(2, "ns.myexample.com."), "ns.myexample.com.");
        assert_eq!(text(5, "\\@"), "\\@");
    }

    #[test]
    fn text_values_are_plain_where_they_mean_the_same() {
        let value = |text: &str| {
            let wire = encode(16, text);
            let value = txt_value(&wire).unwrap();
            assert_eq!(encode(16, &value), wire, "{text} became {value}");
            value
        };
        assert_eq!(value("v=spf1 -all"), "v=spf1 -all");
        assert_eq!(value("\"v=spf1 -all\""), "v=spf1 -all");
        assert_eq!(value("\"a\" \"b\""), "\"a\" \"b\"");
        assert_eq!(value("\" a\""), "\" a\"");
        assert_eq!(value("\"\""), "");
        assert_eq!(value("\"a\\\"b\\\\c\\200\""), "a\"b\\\\c\\200");
        assert_eq!(value(&"x".repeat(300)), "x".repeat(300));
        assert!(value(&format!("\"{}\" \"\"", "x".repeat(255))).starts_with('"'));
        assert!(value("\"\\\\# 1 00\"").starts_with('"'));
    }

    #[test]
    fn octets_that_are_no_data_of_their_type_are_written_as_octets() {
        assert_eq!(rdata_text(15, &[0], None), "\\# 1 00");
        assert_eq!(rdata_text(16, &[5, 1], None), "\\# 2 0501");
        assert_eq!(rdata_text(64, &[0, 1, 0, 0, 9], None), "\\# 5 0001000009");
        // A comma in an ALPN identifier would need two layers of escapes, which not every reader takes.
        let comma = [0, 1, 0, 0, 1, 0, 4, 3, b'a', b',', b'b'];
        assert!(rdata_text(65, &comma, None).starts_with("\\# 11 "), "{}", rdata_text(65, &comma, None));
        assert_eq!(
            (type_text(29), type_text(15), type_text(65280)),
            ("TYPE29".into(), "MX".into(), "TYPE65280".into())
        );
    }
}
