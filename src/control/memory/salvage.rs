//! What of a damaged `state.json` can still be read: every entry that stands whole before the damage.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Saved;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    pub(super) saved: Saved,
    /// Entries that make no sense.
    dropped: usize,
    /// Where the damage begins, where the text ends in it.
    from: Option<usize>,
    length: usize,
}

impl Salvaged {
    /// One sentence: what is kept and what is not.
    pub(super) fn words(&self) -> String {
        let Saved { overrides, verdicts, serials, answered, starting, left, .. } = &self.saved;
        let other = answered.len() + starting.len() + left.len();
        let mut text = format!(
            "kept {} overrides, {} verdicts, {} serials and {other} other entries of it",
            overrides.len(),
            verdicts.len(),
            serials.len()
        );
        if self.dropped > 0 {
            text.push_str(&format!(", dropped {} entries that make no sense", self.dropped));
        }
        if let Some(from) = self.from {
            text.push_str(&format!(", dropped what stands behind octet {from} of {}", self.length));
        }
        text
    }
}

/// `None`: nothing at all, or not of that format.
pub(super) fn salvage(text: &[u8], format: u32) -> Option<Salvaged> {
    let (value, from) = match serde_json::from_slice::<Value>(text) {
        Ok(value) => (value, None),
        Err(error) => {
            let limit = if error.is_eof() { text.len() } else { offset(text, error.line(), error.column()) };
            let end = last_whole(text, limit)?;
            (serde_json::from_slice(&closed(text, &end)).ok()?, Some(end.0))
        }
    };
    if value.get("format").and_then(Value::as_u64) != Some(u64::from(format)) {
        return None;
    }
    let mut found = Salvaged { from, length: text.len(), ..Salvaged::default() };
    let dropped = &mut found.dropped;
    found.saved = Saved {
        overrides: entries(&value, "overrides", dropped),
        verdicts: entries(&value, "verdicts", dropped),
        serials: entries(&value, "serials", dropped),
        answered: entries(&value, "answered", dropped),
        starting: entries(&value, "starting", dropped),
        left: entries(&value, "left", dropped),
        longest_ttl: value.get("longest_ttl").and_then(|ttl| serde_json::from_value(ttl.clone()).ok()),
    };
    (found.saved != Saved::default()).then_some(found)
}

fn entries<T: DeserializeOwned>(value: &Value, key: &str, dropped: &mut usize) -> Vec<T> {
    let list = match value.get(key) {
        None => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(_) => {
            *dropped += 1;
            return Vec::new();
        }
    };
    let read: Vec<T> = list.iter().filter_map(|one| serde_json::from_value(one.clone()).ok()).collect();
    *dropped += list.len() - read.len();
    read
}

/// The octet at which the reader gave up.
fn offset(text: &[u8], line: usize, column: usize) -> usize {
    let before: usize =
        text.split_inclusive(|&octet| octet == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    (before + column.saturating_sub(1)).min(text.len())
}

/// Behind the last entry that stands whole before `limit`, and the brackets that are open there.
type End = (usize, Vec<u8>);

fn last_whole(text: &[u8], limit: usize) -> Option<End> {
    let mut stack: Vec<u8> = Vec::new();
    let (mut in_string, mut escaped) = (false, false);
    let mut last = None;
    for (at, &octet) in text[..limit].iter().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => stack.push(b'}'),
            b'[' => stack.push(b']'),
            b'}' | b']' => {
                if stack.pop() != Some(octet) {
                    break;
                }
                if !stack.is_empty() {
                    last = Some((at + 1, stack.clone()));
                }
            }
            _ => {}
        }
    }
    last
}

fn closed(text: &[u8], (end, stack): &End) -> Vec<u8> {
    let mut text = text[..*end].to_vec();
    text.extend(stack.iter().rev());
    text
}
