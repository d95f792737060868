//! Domain names as canonical wire octets: lower-case (ASCII only, RFC 4343), uncompressed, root label included.

use std::fmt;

/// Longest name on the wire, root label included (RFC 1035 2.3.4).
pub const MAX_NAME: usize = 255;
/// Longest label (RFC 1035 2.3.4).
pub const MAX_LABEL: usize = 63;

/// An absolute name in canonical wire form. Ordered and compared by its octets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text or octets are no name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A label is longer than 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// The whole is longer than 255 octets.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// Two dots in a row, or a leading dot.
    #[error("an empty label (two dots in a row, or a leading dot)")]
    EmptyLabel,
    /// A backslash without a character or three digits up to 255 behind it.
    #[error("a backslash must be followed by a character or three digits up to 255")]
    BadEscape,
    /// A relative name where no origin is known.
    #[error("the name is relative, and no origin is known here")]
    NoOrigin,
    /// Octets that do not end in the root label, or carry compression.
    #[error("not an uncompressed wire name")]
    BadWire,
}

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Reads presentation form (RFC 1035 5.1 with `\.` and `\DDD`). `@` is the origin; a text without a final dot is
    /// completed with it.
    pub fn parse(text: &str, origin: Option<&Name>) -> Result<Name, NameError> {
        if text == "@" {
            return origin.cloned().ok_or(NameError::NoOrigin);
        }
        if text == "." {
            return Ok(Name::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label_start = 0;
        wire.push(0);
        let mut bytes = text.bytes();
        let mut absolute = false;
        while let Some(byte) = bytes.next() {
            absolute = false;
            let octet = match byte {
                b'.' => {
                    close_label(&mut wire, label_start)?;
                    label_start = wire.len();
                    wire.push(0);
                    absolute = true;
                    continue;
                }
                b'\\' => unescape(&mut bytes)?,
                other => other,
            };
            wire.push(octet.to_ascii_lowercase());
            if wire.len() > MAX_NAME {
                return Err(if wire.len() - label_start > MAX_LABEL + 1 {
                    NameError::LabelTooLong
                } else {
                    NameError::NameTooLong
                });
            }
        }
        if !absolute {
            close_label(&mut wire, label_start)?;
            wire.extend_from_slice(origin.ok_or(NameError::NoOrigin)?.as_wire());
        }
        if wire.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        Ok(Name(wire.into_boxed_slice()))
    }

    /// Takes uncompressed wire octets, lowering their case.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        if wire.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        let mut at = 0;
        loop {
            match wire.get(at) {
                Some(0) if at + 1 == wire.len() => break,
                Some(&length) if length != 0 && length as usize <= MAX_LABEL => at += 1 + length as usize,
                _ => return Err(NameError::BadWire),
            }
        }
        let mut owned: Box<[u8]> = wire.into();
        lower(&mut owned);
        Ok(Name(owned))
    }

    /// The octets, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// Number of labels, the root not counted.
    pub fn label_count(&self) -> usize {
        labels(&self.0).count()
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The name without its first label; `None` at the root.
    pub fn parent(&self) -> Option<Name> {
        if self.is_root() { None } else { Some(Name(self.0[1 + self.0[0] as usize..].into())) }
    }

    /// Whether this name is `other` or below it.
    pub fn is_at_or_below(&self, other: &Name) -> bool {
        self.ancestors().any(|suffix| suffix == other.as_wire())
    }

    /// Whether the first label is `*` alone (RFC 4592 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// This name with `label` put in front.
    pub fn child(&self, label: &[u8]) -> Result<Name, NameError> {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        let mut wire = Vec::with_capacity(self.0.len() + 1 + label.len());
        wire.push(label.len() as u8);
        wire.extend_from_slice(label);
        wire.extend_from_slice(&self.0);
        if wire.len() > MAX_NAME {
            return Err(NameError::NameTooLong);
        }
        lower(&mut wire);
        Ok(Name(wire.into_boxed_slice()))
    }

    /// This name's wire octets, then each ancestor's, down to the root's single zero.
    pub fn ancestors(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest: Option<&[u8]> = Some(&self.0);
        std::iter::from_fn(move || {
            let here = rest?;
            rest = if here.len() > 1 { Some(&here[1 + here[0] as usize..]) } else { None };
            Some(here)
        })
    }
}

/// The labels of valid wire octets, the root left out.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let length = *wire.get(at)? as usize;
        if length == 0 {
            return None;
        }
        let label = wire.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        Some(label)
    })
}

/// Lowers A to Z in place. Length octets are at most 63, below `A`, so the whole name can be lowered blindly.
pub fn lower(wire: &mut [u8]) {
    wire.make_ascii_lowercase();
}

/// Wire octets as presentation text with a final dot.
pub fn presentation(wire: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(wire.len());
    for label in labels(wire) {
        for &octet in label {
            match octet {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                    text.push('\\');
                    text.push(octet as char);
                }
                0x21..=0x7e => text.push(octet as char),
                other => write!(text, "\\{other:03}").expect("writing to a string"),
            }
        }
        text.push('.');
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&presentation(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn close_label(wire: &mut [u8], start: usize) -> Result<(), NameError> {
    let length = wire.len() - start - 1;
    if length == 0 {
        return Err(NameError::EmptyLabel);
    }
    if length > MAX_LABEL {
        return Err(NameError::LabelTooLong);
    }
    wire[start] = length as u8;
    Ok(())
}

fn unescape(bytes: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

/// Whether the first `length` octets of both are the same, 16 at most: what `==` says, but without its call into the C library.
/// Between two packets that code is in no near cache.
#[inline]
pub(super) fn alike(one: &[u8; 16], other: &[u8; 16], length: usize) -> bool {
    let differ = u128::from_le_bytes(*one) ^ u128::from_le_bytes(*other);
    differ.unbounded_shl(128 - 8 * length.min(16) as u32) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_alike_up_to_their_length_and_no_further() {
        let one: [u8; 16] = std::array::from_fn(|at| at as u8);
        for differs_at in 0..16 {
            let mut other = one;
            other[differs_at] ^= 0x80;
            for length in 0..=16 {
                assert_eq!(alike(&one, &other, length), length <= differs_at, "{differs_at} {length}");
            }
        }
    }

    #[test]
    fn escapes_case_and_origin() {
        let origin = Name::parse("Example.COM.", None).unwrap();
        assert_eq!(origin.as_wire(), b"\x07example\x03com\0");
        assert_eq!(Name::parse("@", Some(&origin)).unwrap(), origin);
        assert_eq!(
            Name::parse("a\\.b\\032c\\255", Some(&origin)).unwrap().as_wire(),
            b"\x06a.b c\xff\x07example\x03com\0"
        );
        assert_eq!(Name::parse("A", Some(&origin)).unwrap().to_string(), "a.example.com.");
        assert_eq!(Name::parse("a\\.b\\000.", None).unwrap().to_string(), "a\\.b\\000.");
        assert_eq!(Name::parse("a", None), Err(NameError::NoOrigin));
        assert_eq!(Name::parse("a..b.", None), Err(NameError::EmptyLabel));
        assert_eq!(Name::parse(&"x".repeat(64), Some(&origin)), Err(NameError::LabelTooLong));
        assert_eq!(Name::parse("a\\256.", None), Err(NameError::BadEscape));
        assert_eq!(Name::parse(&"abcdefg.".repeat(32), None), Err(NameError::NameTooLong));
    }

    #[test]
    fn ancestors_and_containment() {
        let name = Name::parse("a.b.example.", None).unwrap();
        assert_eq!(name.ancestors().count(), 4);
        assert!(name.is_at_or_below(&Name::parse("example.", None).unwrap()));
        assert!(!Name::parse("notexample.", None).unwrap().is_at_or_below(&Name::parse("example.", None).unwrap()));
        assert!(name.is_at_or_below(&Name::root()));
    }

    #[test]
    fn wire_that_lies_is_refused() {
        for bad in [&b""[..], b"\x03abc", b"\xc0\x0c", b"\x01a\0\0", b"\x40a\0"] {
            assert_eq!(Name::from_wire(bad), Err(NameError::BadWire));
        }
    }
}
