//! Reads parsed TOML key by key, and says at its place what is not as it should be. Every wrong key is said, not only the
//! first: that, and spans that survive any shape of value, is why this walks the parsed table and does not derive.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::did_you_mean;
use super::keys::Section;
use super::source::{Place, Problem, Report};

/// A text that was parsed, and where it stands in its file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'t> {
    pub(super) file: usize,
    /// From each offset of the text on, so much farther in the file. Sorted.
    pub(super) shifts: &'t [(usize, usize)],
}

impl Piece<'_> {
    /// The place in the file of a span of the text.
    pub(super) fn place(self, span: std::ops::Range<usize>) -> Place {
        let in_file = |offset: usize| {
            let shifts = self.shifts.partition_point(|(from, _)| *from <= offset);
            shifts.checked_sub(1).map_or(offset, |last| offset + self.shifts[last].1)
        };
        let start = in_file(span.start);
        let end = if span.is_empty() { start } else { in_file(span.end - 1) + 1 };
        Place::new(self.file, start..end)
    }
}

/// Longest time that a key may say; more is a slip of the unit.
const LONGEST_DURATION: Duration = Duration::from_secs(24 * 3600);

/// A table and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Table<'t> {
    /// The keys.
    pub(super) keys: &'t DeTable<'t>,
    /// Key path, empty for the file itself.
    pub(super) path: String,
    /// Where the table is named.
    pub(super) place: Place,
    /// The text it was read from.
    pub(super) piece: Piece<'t>,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Value<'t> {
    /// What was written.
    pub(super) value: &'t DeValue<'t>,
    /// Key path.
    pub(super) path: String,
    /// Where the value stands.
    pub(super) place: Place,
    /// Where its key stands; the value's own place in a list.
    pub(super) key_place: Place,
    /// The text it was read from.
    piece: Piece<'t>,
}

/// Parses a file's text; every syntax error is reported. What could be read is given back even then.
pub(super) fn parse<'t>(text: &'t str, file: usize, report: &mut Report) -> Spanned<DeTable<'t>> {
    let (table, errors) = parse_piece(text, Piece { file, shifts: &[] }, text);
    errors.into_iter().for_each(|problem| report.add(problem));
    table
}

/// Parses a part of the file's text `whole`; gives back what could be read, and every syntax error.
pub(super) fn parse_piece<'t>(text: &'t str, piece: Piece<'_>, whole: &str) -> (Spanned<DeTable<'t>>, Vec<Problem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut lines = std::collections::HashSet::new();
    let mut problems = Vec::new();
    for error in errors {
        let place = piece.place(error.span().unwrap_or_else(|| deepest_line(text)));
        // One slip often trips the parser several times on its line; the first time says it best.
        let line = whole.as_bytes()[..place.start.min(whole.len())].iter().rposition(|&octet| octet == b'\n');
        if lines.insert(line) {
            problems.push(Problem::error(place, error.message().trim_end()));
        }
    }
    (table, problems)
}

/// Where the parser gives up without a place: at a nesting without end.
fn deepest_line(text: &str) -> std::ops::Range<usize> {
    let depth = |line: &&str| line.bytes().filter(|octet| b"[{.".contains(octet)).count();
    let Some(deepest) = text.lines().max_by_key(depth) else { return 0..0 };
    let start = deepest.as_ptr() as usize - text.as_ptr() as usize;
    start..start + deepest.len().min(1)
}

impl<'t> Table<'t> {
    /// The whole text.
    pub(super) fn root(keys: &'t Spanned<DeTable<'t>>, piece: Piece<'t>) -> Table<'t> {
        Table { keys: keys.get_ref(), path: String::new(), place: Place::new(piece.file, 0..0), piece }
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Value<'t>> {
        let (found, value) = self.keys.get_key_value(key)?;
        Some(self.value(found, value))
    }

    /// Every key in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'t str, Value<'t>)> {
        let mut all: Vec<_> =
            self.keys.iter().map(|(key, value)| (key.get_ref().as_ref(), self.value(key, value))).collect();
        all.sort_by_key(|(_, value)| value.key_place.start);
        all
    }

    /// Reports every key that is in none of `sections`; `later` are keys that another version knows.
    pub(super) fn expect_keys(&self, sections: &[&Section], later: &[&str], report: &mut Report) {
        for key in self.keys.keys() {
            let name: &str = key.get_ref().as_ref();
            if sections.iter().any(|section| section.has(name)) {
                continue;
            }
            let known: Vec<&str> = sections.iter().flat_map(|section| section.keys).map(|key| key.name).collect();
            let place = self.piece.place(key.span());
            let problem = if later.contains(&name) {
                Problem::error(place, format!("{:?} is not supported by this version", join(&self.path, name)))
            } else {
                let mut help = did_you_mean(name, known.iter().copied()).unwrap_or_default();
                if !help.is_empty() {
                    help.push(' ');
                }
                help.push_str(&format!("known here: {}", known.join(", ")));
                let inside = if self.path.is_empty() { String::new() } else { format!(" in {}", self.path) };
                Problem::error(place, format!("unknown key {name:?}{inside}")).help(help)
            };
            report.add(problem.key(join(&self.path, name)));
        }
    }

    fn value(&self, key: &'t Spanned<toml::de::DeString<'t>>, value: &'t Spanned<DeValue<'t>>) -> Value<'t> {
        Value {
            value: value.get_ref(),
            path: join(&self.path, key.get_ref()),
            place: self.piece.place(value.span()),
            key_place: self.piece.place(key.span()),
            piece: self.piece,
        }
    }
}

impl<'t> Value<'t> {
    /// Reports that this value should be something else.
    pub(super) fn wrong(&self, expected: &str, report: &mut Report) {
        let message = format!("{:?} must be {expected}, not {}", self.path, found(self.value));
        report.add(Problem::error(self.place, message).key(self.path.as_str()));
    }

    pub(super) fn string(&self, report: &mut Report) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong("a string", report);
        }
        text
    }

    pub(super) fn boolean(&self, report: &mut Report) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            self.wrong("true or false", report);
        }
        value
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
        let number =
            self.as_integer().and_then(|number| u64::try_from(number).ok()).filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(&format!("a number from {} to {}", range.start(), range.end()), report);
        }
        number
    }

    /// The number, when it is one and fits 64 bits.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let integer = self.value.as_integer()?;
        i64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    /// A time like `"500ms"` or `"10s"`; more than none and at most a day.
    pub(super) fn duration(&self, report: &mut Report) -> Option<Duration> {
        let Some(text) = self.value.as_str() else {
            let shown =
                self.as_integer().map(|number| format!("\"{number}s\"")).unwrap_or_else(|| "\"10s\"".to_owned());
            let message = format!("{:?} must be a duration in quotes, not {}", self.path, found(self.value));
            report.add(
                Problem::error(self.place, message)
                    .key(self.path.as_str())
                    .help(format!("write {shown} if seconds are meant")),
            );
            return None;
        };
        match humantime::parse_duration(text) {
            Ok(time) if !time.is_zero() && time <= LONGEST_DURATION => Some(time),
            Ok(_) => {
                self.wrong("a duration of more than none and at most 24h", report);
                None
            }
            Err(why) => {
                let message = format!("{:?} must be a duration like \"500ms\", \"10s\" or \"5m\": {why}", self.path);
                report.add(Problem::error(self.place, message).key(self.path.as_str()));
                None
            }
        }
    }

    /// A share like `"50%"`, in thousandths.
    pub(super) fn share(&self, report: &mut Report) -> Option<u32> {
        let permille = self.value.as_str().and_then(permille);
        if permille.is_none() {
            self.wrong("a share from \"0%\" to \"100%\", in quotes", report);
        }
        permille
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], report: &mut Report) -> Option<T> {
        let text = self.value.as_str();
        if let Some((_, meaning)) = text.and_then(|text| words.iter().find(|(word, _)| *word == text)) {
            return Some(*meaning);
        }
        let list: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        let message = format!("{:?} must be {}, not {}", self.path, either(&list), found(self.value));
        let help = text.and_then(|text| did_you_mean(text, words.iter().map(|(word, _)| *word)));
        report.add(Problem::error(self.place, message).key(self.path.as_str()).help(help));
        None
    }

    pub(super) fn table(&self, report: &mut Report) -> Option<Table<'t>> {
        let table = self.as_table();
        if table.is_none() {
            self.wrong("a table", report);
        }
        table
    }

    pub(super) fn as_table(&self) -> Option<Table<'t>> {
        let keys = self.value.as_table()?;
        Some(Table { keys, path: self.path.clone(), place: self.key_place, piece: self.piece })
    }

    /// The values of a list; a value alone is a list of one.
    pub(super) fn items(&self) -> Vec<Value<'t>> {
        match self.value.as_array() {
            None => vec![self.clone()],
            Some(array) => array
                .iter()
                .enumerate()
                .map(|(index, item)| {
                    let place = self.piece.place(item.span());
                    Value {
                        value: item.get_ref(),
                        path: format!("{}[{index}]", self.path),
                        place,
                        key_place: place,
                        piece: self.piece,
                    }
                })
                .collect(),
        }
    }

    /// A string, or a list of strings.
    pub(super) fn strings(&self, report: &mut Report) -> Vec<(&'t str, Value<'t>)> {
        let items = self.items().into_iter();
        items.filter_map(|item| item.string(report).map(|text| (text, item.clone()))).collect()
    }

    /// A text that `T` can be read from.
    pub(super) fn parsed<T: std::str::FromStr>(&self, expected: &str, report: &mut Report) -> Option<T> {
        let parsed = self.value.as_str().and_then(|text| text.parse().ok());
        if parsed.is_none() {
            self.wrong(expected, report);
        }
        parsed
    }
}

/// `pools.web`, the part quoted where TOML would want it.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare =
        !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A value in an error: itself when it is short, else what it is.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        DeValue::String(_) => "a long string".to_owned(),
        DeValue::Integer(number) if number.radix() == 10 && number.as_str().len() <= 24 => number.as_str().to_owned(),
        DeValue::Integer(_) => "that number".to_owned(),
        DeValue::Float(number) if number.as_str().len() <= 24 => number.as_str().to_owned(),
        DeValue::Float(_) => "that number".to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// `"a", "b" or "c"`
pub(super) fn either(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// `"12.5%"` is 125.
fn permille(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
        return None;
    }
    let value = whole.parse::<u32>().ok()? * 10 + tenth.parse::<u32>().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages() {
        assert_eq!(permille("50%"), Some(500));
        assert_eq!(permille("12.5%"), Some(125));
        for bad in ["50", "%", "-1%", "101%", "1.55%", "5 0%", "1e1%", ".5%"] {
            assert_eq!(permille(bad), None, "{bad}");
        }
    }
}
