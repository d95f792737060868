//! Types that the master-file reader does not know the text form of, read by hand: small forms all, of numbers, names and
//! strings. In a master file `rewrite` puts what this file reads in their place as RFC 3597 has it.

use domain::utils::{base16, base64};

use super::rdata::{self, rtype};
use super::rewrite::entries;
use crate::engine::name::Name;

/// What a type's text form consists of, token by token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// One or more strings, as TXT (RFC 1035 3.3.14).
    Strings,
    /// So many strings at most, one at least.
    FewStrings(usize),
    /// A 16-bit number and so many names: AFSDB, RT (RFC 1183), KX (RFC 2230), LP (RFC 6742), PX (RFC 2163).
    NumberAndNames(usize),
    /// Two names (TALINK).
    TwoNames,
    /// A 16-bit number and 64 bits as four groups of hexadecimal digits: NID, L64 (RFC 6742).
    NumberAndGroups,
    /// A 16-bit number and an IPv4 address: L32 (RFC 6742).
    NumberAndAddress,
    /// So many octets in hexadecimal, joined by dashes: EUI48, EUI64 (RFC 7043).
    Dashed(usize),
    /// Three octets and hexadecimal data: SMIMEA (RFC 8162).
    ThreeNumbersAndHex,
    /// Type, key tag, algorithm, base 64: CERT (RFC 4398).
    Certificate,
    /// Base 64 (DHCID, RFC 4701).
    Base64,
    /// Two 16-bit numbers and a quoted text: URI (RFC 7553).
    Uri,
    /// Latitude, longitude, altitude: LOC (RFC 1876).
    Location,
}

const FORMS: &[(u16, &str, Form)] = &[
    (18, "AFSDB", Form::NumberAndNames(1)),
    (19, "X25", Form::FewStrings(1)),
    (20, "ISDN", Form::FewStrings(2)),
    (21, "RT", Form::NumberAndNames(1)),
    (26, "PX", Form::NumberAndNames(2)),
    (27, "GPOS", Form::FewStrings(3)),
    (29, "LOC", Form::Location),
    (36, "KX", Form::NumberAndNames(1)),
    (37, "CERT", Form::Certificate),
    (49, "DHCID", Form::Base64),
    (53, "SMIMEA", Form::ThreeNumbersAndHex),
    (56, "NINFO", Form::Strings),
    (58, "TALINK", Form::TwoNames),
    (99, "SPF", Form::Strings),
    (104, "NID", Form::NumberAndGroups),
    (105, "L32", Form::NumberAndAddress),
    (106, "L64", Form::NumberAndGroups),
    (107, "LP", Form::NumberAndNames(1)),
    (108, "EUI48", Form::Dashed(6)),
    (109, "EUI64", Form::Dashed(8)),
    (256, "URI", Form::Uri),
    (258, "AVC", Form::Strings),
    (261, "RESINFO", Form::Strings),
    (262, "WALLET", Form::Strings),
];

/// Whether this file reads the type.
pub(super) fn reads(rtype: u16) -> bool {
    FORMS.iter().any(|(number, ..)| *number == rtype)
}

/// Reads the text form of a type that [`reads`] names.
pub(super) fn encode(rtype: u16, text: &str, origin: &Name, wire: &mut Vec<u8>) -> Result<(), String> {
    let Some((_, _, form)) = FORMS.iter().find(|(number, ..)| *number == rtype) else {
        return Err(rdata::explain("unknown record type with concrete data"));
    };
    let entries = entries(text);
    let [entry] = &entries[..] else {
        return Err("it is not one record".to_owned());
    };
    if entry.is_open {
        return Err(rdata::explain("short buffer"));
    }
    let tokens: Vec<&str> = entry.tokens.iter().map(|&(start, end, _)| &text[start..end]).collect();
    encode_tokens(*form, &tokens, origin, wire)
}

/// The form of a type by its mnemonic, in whatever case.
pub(super) fn form_of(mnemonic: &str) -> Option<Form> {
    FORMS.iter().find(|(_, name, _)| name.eq_ignore_ascii_case(mnemonic)).map(|(.., form)| *form)
}

/// Reads a text form that is cut into tokens already.
pub(super) fn encode_tokens(form: Form, tokens: &[&str], origin: &Name, wire: &mut Vec<u8>) -> Result<(), String> {
    let too_few = || rdata::explain("unexpected end of entry");
    let exactly = |count: usize| match tokens.len() {
        found if found < count => Err(too_few()),
        found if found > count => Err(rdata::explain("trailing tokens")),
        _ => Ok(()),
    };
    match form {
        Form::Strings | Form::FewStrings(_) => {
            let most = if let Form::FewStrings(most) = form { most } else { usize::MAX };
            if tokens.is_empty() {
                return Err(too_few());
            }
            if tokens.len() > most {
                return Err(rdata::explain("trailing tokens"));
            }
            for token in tokens {
                let octets = unescape(unquoted(token))?;
                let length = u8::try_from(octets.len()).map_err(|_| rdata::explain("bad charstr"))?;
                wire.push(length);
                wire.extend_from_slice(&octets);
            }
        }
        Form::NumberAndNames(count) => {
            exactly(count + 1)?;
            wire.extend_from_slice(&number::<u16>(tokens[0])?.to_be_bytes());
            tokens[1..].iter().try_for_each(|token| name(token, origin, wire))?;
        }
        Form::TwoNames => {
            exactly(2)?;
            tokens.iter().try_for_each(|token| name(token, origin, wire))?;
        }
        Form::NumberAndGroups => {
            exactly(2)?;
            wire.extend_from_slice(&number::<u16>(tokens[0])?.to_be_bytes());
            let groups: Vec<&str> = tokens[1].split(':').collect();
            let group = |text: &&str| {
                if (1..=4).contains(&text.len()) { u16::from_str_radix(text, 16).ok() } else { None }
            };
            let parsed: Option<Vec<u16>> = groups.iter().map(group).collect();
            let parsed = parsed.filter(|groups| groups.len() == 4);
            let parsed = parsed.ok_or_else(|| format!("{:?} is not four groups of hexadecimal digits", tokens[1]))?;
            parsed.iter().for_each(|group| wire.extend_from_slice(&group.to_be_bytes()));
        }
        Form::NumberAndAddress => {
            exactly(2)?;
            wire.extend_from_slice(&number::<u16>(tokens[0])?.to_be_bytes());
            let address: std::net::Ipv4Addr =
                tokens[1].parse().map_err(|_| format!("{:?} is no IPv4 address", tokens[1]))?;
            wire.extend_from_slice(&address.octets());
        }
        Form::Dashed(count) => {
            exactly(1)?;
            let octet = |text: &str| {
                if text.len() == 2 { u8::from_str_radix(text, 16).ok() } else { None }
            };
            let octets: Option<Vec<u8>> = tokens[0].split('-').map(octet).collect();
            let octets = octets.filter(|octets| octets.len() == count);
            wire.extend(octets.ok_or_else(|| format!("{:?} is not {count} octets like 00-00-5e-00-53-2a", tokens[0]))?);
        }
        Form::ThreeNumbersAndHex => {
            let [first, second, third, data @ ..] = tokens else {
                return Err(too_few());
            };
            for token in [first, second, third] {
                wire.push(number(token)?);
            }
            let data: Vec<u8> = base16::decode(&data.concat()).map_err(|_| "bad hexadecimal data".to_owned())?;
            if data.is_empty() {
                return Err(too_few());
            }
            wire.extend(data);
        }
        Form::Certificate => {
            let [kind, tag, algorithm, data @ ..] = tokens else {
                return Err(too_few());
            };
            // RFC 4398 2.1 and 2.2: mnemonics stand for numbers.
            const KINDS: [&str; 8] = ["PKIX", "SPKI", "PGP", "IPKIX", "ISPKI", "IPGP", "ACPKIX", "IACPKIX"];
            let known = KINDS.iter().position(|known| known.eq_ignore_ascii_case(kind));
            let kind = known.map_or_else(|| number::<u16>(kind), |known| Ok(known as u16 + 1))?;
            wire.extend_from_slice(&kind.to_be_bytes());
            wire.extend_from_slice(&number::<u16>(tag)?.to_be_bytes());
            wire.push(number(algorithm)?);
            base64_data(data, wire)?;
        }
        Form::Base64 => base64_data(tokens, wire)?,
        Form::Uri => {
            exactly(3)?;
            wire.extend_from_slice(&number::<u16>(tokens[0])?.to_be_bytes());
            wire.extend_from_slice(&number::<u16>(tokens[1])?.to_be_bytes());
            let target = unescape(unquoted(tokens[2]))?;
            if target.is_empty() {
                return Err("the target is empty (RFC 7553 4.4)".to_owned());
            }
            wire.extend(target);
        }
        Form::Location => {
            wire.extend(location(tokens).ok_or("not like 52 22 23.000 N 4 53 32.000 E -2.00m (RFC 1876 3)")?)
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number, or too large"))
}

fn name(text: &str, origin: &Name, wire: &mut Vec<u8>) -> Result<(), String> {
    let mut one = Vec::new();
    rdata::encode(rtype::NS, text, origin, &mut one)?;
    wire.extend(one);
    Ok(())
}

fn base64_data(tokens: &[&str], wire: &mut Vec<u8>) -> Result<(), String> {
    let data: Vec<u8> = base64::decode(&tokens.concat()).map_err(|_| "bad base 64 data".to_owned())?;
    if data.is_empty() {
        return Err(rdata::explain("unexpected end of entry"));
    }
    wire.extend(data);
    Ok(())
}

/// RFC 1876 2 and 3.
fn location(tokens: &[&str]) -> Option<[u8; 16]> {
    let mut tokens = tokens.iter().copied();
    let latitude = angle(&mut tokens, 90, "N", "S")?;
    let longitude = angle(&mut tokens, 180, "E", "W")?;
    let centimetres = |text: &str| {
        let text = text.strip_suffix(['m', 'M']).unwrap_or(text);
        let (is_below, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let value = fixed(text, 2)?;
        Some(if is_below { -value } else { value })
    };
    let altitude = centimetres(tokens.next()?)?.checked_add(10_000_000)?;
    let altitude = u32::try_from(altitude).ok()?;
    let mut sizes = [0x12, 0x16, 0x13];
    for size in &mut sizes {
        let Some(token) = tokens.next() else { break };
        let mut base = u64::try_from(centimetres(token)?).ok()?;
        let mut exponent = 0;
        while base > 9 {
            (base, exponent) = (base / 10, exponent + 1);
        }
        if exponent > 9 {
            return None;
        }
        *size = (base as u8) << 4 | exponent;
    }
    if tokens.next().is_some() {
        return None;
    }
    let mut wire = [0; 16];
    wire[1..4].copy_from_slice(&sizes);
    wire[4..8].copy_from_slice(&latitude.to_be_bytes());
    wire[8..12].copy_from_slice(&longitude.to_be_bytes());
    wire[12..16].copy_from_slice(&altitude.to_be_bytes());
    Some(wire)
}

/// Thousandths of a second of arc, 2^31 being the equator or the prime meridian.
fn angle<'t>(tokens: &mut impl Iterator<Item = &'t str>, most: i64, plus: &str, minus: &str) -> Option<u32> {
    let mut parts = [0i64; 3];
    for index in 0..=3 {
        let token = tokens.next()?;
        if index > 0 && (token.eq_ignore_ascii_case(plus) || token.eq_ignore_ascii_case(minus)) {
            let [degrees, minutes, thousandths] = parts;
            let value = (degrees * 60 + minutes) * 60_000 + thousandths;
            if minutes > 59 || thousandths > 59_999 || value > most * 3_600_000 {
                return None;
            }
            let signed = if token.eq_ignore_ascii_case(plus) { value } else { -value };
            return u32::try_from((1 << 31) + signed).ok();
        }
        *parts.get_mut(index)? = if index == 2 { fixed(token, 3)? } else { token.parse::<u8>().ok()?.into() };
    }
    None
}

/// A decimal number in units of its last kept digit: `fixed("1.5", 3)` is 1500.
fn fixed(text: &str, digits: usize) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if whole.is_empty() || whole.len() > 9 || part.len() > digits || !all_digits(whole) || !all_digits(part) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok()
}

fn unquoted(token: &str) -> &str {
    token.strip_prefix('"').and_then(|token| token.strip_suffix('"')).unwrap_or(token)
}

/// The octets of a text with `\.` and `\046` (RFC 1035 5.1).
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            octets.push(byte);
            continue;
        }
        let wrong = || "a backslash must be followed by a character or three digits up to 255".to_owned();
        let first = bytes.next().ok_or_else(wrong)?;
        if !first.is_ascii_digit() {
            octets.push(first);
            continue;
        }
        let mut value = u16::from(first - b'0');
        for _ in 0..2 {
            let digit = bytes.next().filter(u8::is_ascii_digit).ok_or_else(wrong)?;
            value = value * 10 + u16::from(digit - b'0');
        }
        octets.push(u8::try_from(value).map_err(|_| wrong())?);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: &str, text: &str) -> Result<Vec<u8>, String> {
        let origin = Name::parse("ex.", None).unwrap();
        let mut wire = Vec::new();
        rdata::encode(rdata::type_number(kind).unwrap(), text, &origin, &mut wire).map(|()| wire)
    }

    #[test]
    fn forms_are_read() {
        // The example of RFC 1876 3 for SW1A2AA, and its defaults.
        let loc = wire("LOC", "51 30 12.748 N 00 07 39.611 W 0.00m 0.00m 0.00m 0.00m").unwrap();
        assert_eq!(loc, [0, 0, 0, 0, 0x8b, 0x0d, 0x2c, 0x8c, 0x7f, 0xf8, 0xfc, 0xa5, 0, 0x98, 0x96, 0x80]);
        assert_eq!(wire("LOC", "1 N 2 E 0").unwrap()[..4], [0, 0x12, 0x16, 0x13]);
        assert_eq!(wire("AFSDB", "1 Host").unwrap(), b"\0\x01\x04Host\x02ex\0");
        assert_eq!(wire("EUI48", "00-00-5e-00-53-2a").unwrap(), [0, 0, 0x5e, 0, 0x53, 0x2a]);
        assert_eq!(wire("L64", "10 2001:0DB8:1140:1000").unwrap(), [0, 10, 0x20, 1, 0xd, 0xb8, 0x11, 0x40, 0x10, 0]);
        assert_eq!(wire("L32", "10 10.1.2.0").unwrap(), [0, 10, 10, 1, 2, 0]);
        assert_eq!(wire("URI", "10 1 \"ftp://a b\"").unwrap(), b"\0\x0a\0\x01ftp://a b");
        assert_eq!(wire("SPF", "v=spf1 -all").unwrap(), b"\x0bv=spf1 -all");
        assert_eq!(wire("CERT", "PGP 0 0 AQID").unwrap(), [0, 3, 0, 0, 0, 1, 2, 3]);
        assert_eq!(wire("SMIMEA", "3 1 1 ( 01 02 )").unwrap(), [3, 1, 1, 1, 2]);
        for (kind, text) in [
            ("LOC", "91 N 0 E 0"),
            ("LOC", "1 60 N 0 E 0"),
            ("LOC", "1 N"),
            ("AFSDB", "1"),
            ("AFSDB", "1 a b"),
            ("EUI48", "00-00-5e-00-53"),
            ("URI", "1 1 \"open"),
            ("L32", "1 x"),
            ("NID", "1 a:b:c"),
            ("CERT", "1 1 1 !!!"),
        ] {
            assert!(wire(kind, text).is_err(), "{kind} {text}");
        }
    }
}
