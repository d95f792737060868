//! What the configuration reference says about each key: its tables, row by row. Read when a schema is asked for, so
//! that the words for people stand in one place only.

use serde_json::Value;

use crate::config::keys::Section;

const TEXT: &str = include_str!("../../../docs/configuration.md");

/// All rows.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) rows: Vec<Row>,
}

/// What a table says about one key.
#[derive(Debug)]
pub(super) struct Row {
    /// The headings that it stands below, from the second level on.
    headings: [String; 2],
    /// The paragraph before its table.
    intro: String,
    pub(super) key: String,
    default: String,
    range: String,
    meaning: String,
}

impl Reference {
    pub(super) fn read() -> Reference {
        let mut rows = Vec::new();
        let (mut headings, mut intro) = ([String::new(), String::new()], String::new());
        let mut columns: Vec<String> = Vec::new();
        let mut in_paragraph = false;
        for line in TEXT.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                headings = [title.trim().to_owned(), String::new()];
                intro.clear();
            } else if let Some(title) = line.strip_prefix("### ") {
                headings[1] = title.trim().to_owned();
                intro.clear();
            } else if line.starts_with('|') {
                let cells = cells(line);
                if columns.is_empty() {
                    columns = cells;
                } else if !cells.iter().all(|cell| cell.bytes().all(|octet| octet == b'-')) {
                    rows.extend(keys_of(&columns, &cells, &headings, &intro));
                }
                continue;
            } else if !line.trim().is_empty() {
                if !in_paragraph {
                    intro.clear();
                }
                intro.push_str(line.trim());
                intro.push(' ');
                in_paragraph = true;
                continue;
            }
            columns.clear();
            in_paragraph = false;
        }
        Reference { rows }
    }

    /// What is said about a key of a section.
    pub(super) fn row(&self, section: &Section, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == key && row.is_of(section))
    }
}

impl Row {
    /// Whether the row's table is one of the section's.
    pub(super) fn is_of(&self, section: &Section) -> bool {
        let [outer, inner] = &self.headings;
        let here = !section.heading.is_empty()
            && (section.heading == inner || section.heading == format!("{outer} / {inner}"));
        here && self.intro.starts_with(section.intro)
    }

    /// For an editor: meaning, range, and the default where it is no plain value.
    pub(super) fn description(&self) -> String {
        let mut text = sentence(&self.meaning);
        for (word, cell) in [("Range", &self.range), ("Default", &self.default)] {
            let is_said =
                cell.is_empty() || word == "Default" && (cell == "required" || self.default_value().is_some());
            if !is_said {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&sentence(&format!("{word}: {cell}")));
            }
        }
        text
    }

    /// The default, where it is a value.
    pub(super) fn default_value(&self) -> Option<Value> {
        let code = self.default.strip_prefix('`')?.strip_suffix('`').filter(|code| !code.contains('`'))?;
        let table: toml::Table = format!("x = {code}").parse().ok()?;
        serde_json::to_value(table.get("x")?).ok()
    }
}

/// The cells of a table's line; `\|` is no border.
fn cells(line: &str) -> Vec<String> {
    let line = line.replace("\\|", "\u{1}");
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| without_links(cell.trim()).replace('\u{1}', "|")).collect()
}

/// A row for each key that the first cell names; what the default's cell lists is theirs in the same order.
fn keys_of(columns: &[String], cells: &[String], headings: &[String; 2], intro: &str) -> Vec<Row> {
    if columns.first().is_none_or(|column| column != "key") {
        return Vec::new();
    }
    let cell = |name: &str| {
        let at = columns.iter().position(|column| column == name);
        at.and_then(|at| cells.get(at)).cloned().unwrap_or_default()
    };
    let keys: Vec<&str> = cells[0].split(',').map(|key| key.trim().trim_matches('`')).collect();
    let defaults = cell("default");
    let listed: Vec<&str> = defaults.split(", ").collect();
    let rows = keys.iter().enumerate().map(|(at, key)| Row {
        headings: headings.clone(),
        intro: intro.trim().to_owned(),
        key: (*key).to_owned(),
        default: if keys.len() > 1 && listed.len() == keys.len() { listed[at].to_owned() } else { defaults.clone() },
        range: cell("range"),
        meaning: cell("meaning"),
    });
    rows.collect()
}

/// `[text](address)` is its text.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        match link.split_once("](").and_then(|(text, after)| Some((text, after.split_once(')')?.1))) {
            Some((text, after)) if !text.contains(['[', ']']) => {
                plain.push_str(text);
                rest = after;
            }
            _ => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain + rest
}

fn sentence(text: &str) -> String {
    match text.chars().last() {
        None => String::new(),
        Some('.' | '!' | '?') => text.to_owned(),
        Some(_) => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_their_text_and_cells_keep_their_bars() {
        assert_eq!(without_links("see [semantics](x.md#y) and `[\"a\"]`"), "see semantics and `[\"a\"]`");
        assert_eq!(cells("| a | `x \\| y` | |"), ["a", "`x | y`", ""]);
    }
}
