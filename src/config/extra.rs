//! Types that the master-file reader does not know the text form of, read by hand.

use std::borrow::Cow;

use crate::engine::name::Name;

/// Whether this file reads the type.
pub(super) fn reads(_rtype: u16) -> bool {
    false
}

/// Reads the text form of a type that [`reads`] names.
pub(super) fn encode(_rtype: u16, _text: &str, _origin: &Name, _wire: &mut [u8]) -> Result<(), String> {
    Err("this type's text form is not known here: write it as \\# LENGTH HEX (RFC 3597)".to_owned())
}

/// A master file in which the types that this file reads stand as RFC 3597 has it. Every line stays on its line.
pub(super) fn rewrite(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
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
