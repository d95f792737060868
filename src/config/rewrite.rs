//! Makes a master file's text ready for the reader, which knows neither the text forms in `extra` nor BIND's units of time:
//! the first become RFC 3597's generic form, the second (`1h30m`) seconds. Every line stays on its line, and every octet of
//! the new text is found again in the old one, so that an error points into what the user wrote.

use std::borrow::Cow;

use domain::utils::base16;

use super::extra;
use crate::engine::name::Name;
use crate::engine::zone::roomy;

/// Where the times of a SOA stand behind its type: REFRESH, RETRY, EXPIRE and MINIMUM follow two names and the serial.
const SOA_TIMES: std::ops::RangeInclusive<usize> = 4..=7;

/// A broken record found on the way: where, and what.
pub(super) type Broken = (usize, usize, String);

/// A master file's text as the reader takes it.
#[derive(Debug)]
pub(super) struct Rewritten<'t> {
    /// The text itself where nothing had to be changed.
    pub(super) text: Cow<'t, str>,
    /// What cannot be read.
    pub(super) broken: Vec<Broken>,
    /// Where the last entry begins, if its quote or parenthesis is not closed.
    pub(super) open: Option<usize>,
    edits: Vec<Edit>,
}

/// A piece that was replaced.
#[derive(Debug, Clone, Copy)]
struct Edit {
    /// Where the new piece begins and ends in the new text.
    new: (usize, usize),
    /// Where the old piece began and ended in the old text.
    old: (usize, usize),
}

impl Rewritten<'_> {
    /// Where an octet of the new text stood in the old one; the first octet of a piece stands for all that were put there.
    pub(super) fn original(&self, offset: usize) -> usize {
        let edits = self.edits.partition_point(|edit| edit.new.0 <= offset);
        match edits.checked_sub(1).map(|last| self.edits[last]) {
            None => offset,
            Some(edit) if offset < edit.new.1 => edit.old.0,
            Some(edit) => edit.old.1 + (offset - edit.new.1),
        }
    }
}

/// Rewrites a whole file. `origin` is in force at its start.
pub(super) fn rewrite<'t>(text: &'t str, origin: Option<&Name>) -> Rewritten<'t> {
    let mut origin = origin.cloned();
    let mut writer = Writer { text, out: String::new(), copied: 0, edits: Vec::new(), broken: Vec::new() };
    let open = each_entry(text, |entry| {
        let token = |index: usize| entry.tokens.get(index).map(|&(start, end, _)| &text[start..end]);
        let first = token(0).unwrap_or_default();
        let is_indented = entry.tokens[0].0 > entry.start;
        if !is_indented && first.starts_with('$') {
            if first.eq_ignore_ascii_case("$ORIGIN") {
                let named = token(1).and_then(|name| Name::parse(name, origin.as_ref()).ok());
                origin = named.or(origin.take());
            } else if first.eq_ignore_ascii_case("$TTL") {
                writer.write_time(entry, 1);
            }
            return;
        }
        // [owner] [ttl] [class] type, ttl and class in either order.
        let mut index = usize::from(!is_indented);
        for _ in 0..2 {
            let is_between = writer.write_time(entry, index) || token(index).is_some_and(is_class);
            index += usize::from(is_between);
        }
        let kind = token(index).unwrap_or_default();
        if entry.is_open || token(index + 1).is_some_and(|token| token == "\\#") {
            return;
        }
        if kind.eq_ignore_ascii_case("SOA") || kind.eq_ignore_ascii_case("TYPE6") {
            SOA_TIMES.for_each(|behind| _ = writer.write_time(entry, index + behind));
        } else if let Some(form) = extra::form_of(kind) {
            writer.write_generic(entry, index, form, origin.as_ref().unwrap_or(&Name::root()));
        }
    });
    writer.finish(open)
}

struct Writer<'t> {
    text: &'t str,
    out: String,
    /// How much of `text` stands in `out` already.
    copied: usize,
    edits: Vec<Edit>,
    broken: Vec<Broken>,
}

impl<'t> Writer<'t> {
    /// Puts seconds where a time with units stands; whether anything like a time stands there.
    fn write_time(&mut self, entry: &EntryTokens, index: usize) -> bool {
        let Some(&(start, end, _)) = entry.tokens.get(index) else {
            return false;
        };
        let token = &self.text.as_bytes()[start..end];
        if token.iter().all(u8::is_ascii_digit) {
            return true;
        }
        if !token[0].is_ascii_digit() || !token.iter().all(u8::is_ascii_alphanumeric) {
            return false;
        }
        let time = seconds(token).unwrap_or_else(|why| {
            self.broken.push((start, end, format!("{:?} {why}", &self.text[start..end])));
            0
        });
        self.replace(start, end, &time.to_string());
        true
    }

    /// Puts the generic form in the place of what stands behind the type.
    fn write_generic(&mut self, entry: &EntryTokens, index: usize, form: extra::Form, origin: &Name) {
        let (kind_start, type_end, depth) = entry.tokens[index];
        let data: Vec<&str> = entry.tokens[index + 1..].iter().map(|&(start, end, _)| &self.text[start..end]).collect();
        let mut wire = Vec::new();
        let mut generic = match extra::encode_tokens(form, &data, origin, &mut wire) {
            Ok(()) => format!(" \\# {} {}", wire.len(), base16::encode_string(&wire)),
            Err(why) => {
                let why = format!("bad {} data: {why}", self.text[kind_start..type_end].to_ascii_uppercase());
                let end = entry.tokens.last().map_or(type_end, |token| token.1);
                self.broken.push((entry.tokens[0].0, end, why));
                " \\# 0".to_owned()
            }
        };
        let lines = self.text[type_end..entry.end].bytes().filter(|&octet| octet == b'\n').count();
        if lines > 0 {
            generic.push('(');
            generic.extend(std::iter::repeat_n('\n', lines));
            generic.push(')');
        }
        generic.extend(std::iter::repeat_n(')', depth));
        self.replace(type_end, entry.end, &generic);
    }

    fn replace(&mut self, start: usize, end: usize, new: &str) {
        if self.out.capacity() == 0 {
            self.out = String::from_utf8(roomy(self.text.len() / 8 * 9)).unwrap_or_default();
        }
        self.out.push_str(&self.text[self.copied..start]);
        let at = self.out.len();
        self.out.push_str(new);
        self.edits.push(Edit { new: (at, self.out.len()), old: (start, end) });
        self.copied = end;
    }

    fn finish(mut self, open: Option<usize>) -> Rewritten<'t> {
        let text = if self.edits.is_empty() {
            Cow::Borrowed(self.text)
        } else {
            self.out.push_str(&self.text[self.copied..]);
            Cow::Owned(self.out)
        };
        Rewritten { text, broken: self.broken, open, edits: self.edits }
    }
}

fn is_class(token: &str) -> bool {
    let numbered = |token: &str| token.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("CLASS"));
    ["IN", "CH", "HS"].iter().any(|class| class.eq_ignore_ascii_case(token)) || numbered(token)
}

/// Seconds of a time as BIND writes it: numbers, each with its unit, added up.
fn seconds(token: &[u8]) -> Result<u32, &'static str> {
    const WRONG: &str = "is no time: seconds, or numbers with the units w, d, h, m, s, like 1h30m";
    let (mut sum, mut number) = (0u64, None::<u64>);
    for octet in token {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let longer = number.unwrap_or(0).saturating_mul(10).saturating_add(u64::from(digit - b'0'));
                number = Some(longer);
                continue;
            }
            b'w' => 7 * 24 * 3600,
            b'd' => 24 * 3600,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(WRONG),
        };
        sum = sum.saturating_add(number.take().ok_or(WRONG)?.saturating_mul(unit));
    }
    // `1h30`: BIND refuses it too, since others disagree on what the 30 are.
    if number.is_some() {
        return Err(WRONG);
    }
    u32::try_from(sum).map_err(|_| "is more seconds than 32 bits hold")
}

/// One entry of a master file, or of one record's data.
#[derive(Debug, Default)]
pub(super) struct EntryTokens {
    /// Start, end, and depth of parentheses of each token; quotes belong to their token.
    pub(super) tokens: Vec<(usize, usize, usize)>,
    start: usize,
    end: usize,
    /// A quote or a parenthesis was not closed.
    pub(super) is_open: bool,
}

/// Cuts a text into entries and tokens (RFC 1035 5.1). Entries without tokens are left out.
pub(super) fn entries(text: &str) -> Vec<EntryTokens> {
    let mut all = Vec::new();
    each_entry(text, |entry| all.push(std::mem::take(entry)));
    all
}

/// Returns where the last one begins if it is open at the end.
fn each_entry(text: &str, mut take: impl FnMut(&mut EntryTokens)) -> Option<usize> {
    let octets = text.as_bytes();
    let mut at = 0;
    let mut depth = 0usize;
    let mut entry = EntryTokens::default();
    while at < octets.len() {
        match octets[at] {
            b'\n' if depth == 0 => {
                entry.end = at;
                if !entry.tokens.is_empty() {
                    take(&mut entry);
                }
                entry.tokens.clear();
                entry.start = at + 1;
                at += 1;
            }
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'(' => (depth, at) = (depth + 1, at + 1),
            b')' => (depth, at) = (depth.saturating_sub(1), at + 1),
            b';' => at = octets[at..].iter().position(|&octet| octet == b'\n').map_or(octets.len(), |found| at + found),
            first => {
                let start = at;
                let quoted = first == b'"';
                at += usize::from(quoted);
                loop {
                    match octets.get(at) {
                        None => {
                            entry.is_open = quoted;
                            break;
                        }
                        Some(b'\\') => at = (at + 2).min(octets.len()),
                        Some(b'"') if quoted => {
                            at += 1;
                            break;
                        }
                        Some(b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b';' | b'"') if !quoted => {
                            break;
                        }
                        Some(_) => at += 1,
                    }
                }
                entry.tokens.push((start, at, depth));
            }
        }
    }
    entry.end = octets.len();
    entry.is_open |= depth > 0;
    let open = entry.is_open.then_some(entry.start);
    if !entry.tokens.is_empty() {
        take(&mut entry);
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_add_up_their_units() {
        for (text, expected) in
            [("1h", 3600), ("2W3d", 1_468_800), ("1h30m", 5400), ("5M10S", 310), ("0s", 0), ("7102w", 4_295_289_600u64)]
        {
            assert_eq!(
                seconds(text.as_bytes()).ok().map(u64::from),
                u32::try_from(expected).ok().map(u64::from),
                "{text}"
            );
        }
        for bad in ["1h30", "h", "1hh", "1y", "h1", "99999999999999999999999w", "1-h"] {
            assert!(seconds(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn units_become_seconds_where_times_stand_and_nowhere_else() {
        for (text, expected) in [
            ("$TTL 1h ; 2h\n", "$TTL 3600 ; 2h\n"),
            ("1h 1h IN A 1.2.3.4\n", "1h 3600 IN A 1.2.3.4\n"),
            ("a IN 1D A 1.2.3.4\n", "a IN 86400 A 1.2.3.4\n"),
            ("a class1 1D A 1.2.3.4\n", "a class1 86400 A 1.2.3.4\n"),
            (" 1m TXT 1h \"1h\" ; 1h\n", " 60 TXT 1h \"1h\" ; 1h\n"),
            ("a ( 1h ; 2h\n IN\n TXT \"1h\n\" 1h )\n", "a ( 3600 ; 2h\n IN\n TXT \"1h\n\" 1h )\n"),
            ("a MX 1h 1h\n", "a MX 1h 1h\n"),
            ("$ORIGIN 1h\n$INCLUDE 1h 1h\n", "$ORIGIN 1h\n$INCLUDE 1h 1h\n"),
            ("@ 1h SOA 1h 1h ( 1 ; 1h\n 2h 15m\n 2w 5 )\n", "@ 3600 SOA 1h 1h ( 1 ; 1h\n 7200 900\n 1209600 5 )\n"),
            ("@ SOA a b 1h 1h 1h 1h 1h\n", "@ SOA a b 1h 3600 3600 3600 3600\n"),
            ("@ SOA \\# 1h 1h 1h 1h 1h\n", "@ SOA \\# 1h 1h 1h 1h 1h\n"),
        ] {
            let made = rewrite(text, None);
            assert_eq!(made.text, expected);
            assert!(made.broken.is_empty(), "{:?}", made.broken);
        }
    }

    #[test]
    fn places_in_the_new_text_lead_back_to_the_old_one() {
        let text = "a 1h A x ; y\nb 1w IN A z\nc LOC ( 1 N\n 2 E 0 ) ; e\nd 2d A w\n";
        let made = rewrite(text, None);
        for word in ["a ", "x ;", "y", "b ", "IN A z", "z\n", "c LOC", "d ", "A w", "w\n"] {
            let (new, old) = (made.text.find(word).unwrap(), text.find(word).unwrap());
            assert_eq!(made.original(new), old, "{word}");
        }
        assert_eq!(made.original(made.text.find("604800").unwrap() + 3), text.find("1w").unwrap());
        assert_eq!(made.original(made.text.len()), text.len());
    }

    #[test]
    fn rewriting_keeps_lines_and_leaves_other_types_alone() {
        let plain = "a A 1.2.3.4 ; LOC\nLOC TXT \"x LOC\n\"\n";
        assert!(matches!(rewrite(plain, None), Rewritten { text: Cow::Borrowed(_), broken, .. } if broken.is_empty()));
        let text = "$ORIGIN a.\nx 5 IN AFSDB ( 1 ; one\n y ) ; end\n KX 1 @\nz LOC 1\n";
        let Rewritten { text: out, broken, .. } = rewrite(text, None);
        assert_eq!(
            out,
            "$ORIGIN a.\nx 5 IN AFSDB \\# 7 0001017901610 0(\n)\n KX \\# 5 0001016100\nz LOC \\# 0\n"
                .replace("0 0(", "00(")
        );
        assert_eq!(out.lines().count(), text.lines().count());
        assert_eq!(broken.len(), 1);
        assert_eq!(&text[broken[0].0..broken[0].1], "z LOC 1");
    }
}
