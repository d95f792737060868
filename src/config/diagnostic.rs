//! What is wrong with a file, where, and what would be right. Knows how a [`Diagnostic`] looks, not how it is found.

use std::fmt;
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

/// One error or warning about one place in one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// Errors refuse the load; warnings do not.
    pub severity: Severity,
    /// The file, as the user named it.
    pub file: PathBuf,
    /// 1-based; 0 when the whole file is meant.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Key path or owner, e.g. `pools.web.backends[1].weight`; may be empty.
    pub key: String,
    /// One sentence: what was found and what is allowed.
    pub message: String,
    /// e.g. `did you mean "interval"?`
    pub help: Option<String>,
    /// Several lines for a terminal: the source line with a caret. Begins with the message.
    pub rendered: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Refuses the load.
    Error,
    /// Is loaded and said.
    Warning,
}

/// Why nothing was loaded: at least one error, in the order of the files.
#[derive(Debug, Clone)]
pub struct LoadError {
    /// All that was found, errors first.
    pub diagnostics: Vec<Diagnostic>,
}

/// A span of a text, in octets, with a word to stand at its caret.
#[derive(Debug, Clone)]
pub(super) struct Mark<'a> {
    /// Where.
    pub(super) span: std::ops::Range<usize>,
    /// Said beside the caret; may be empty.
    pub(super) label: &'a str,
}

/// A line longer than this is named, not shown: nobody reads a caret on line 1, column 900,000.
const LONGEST_SHOWN_LINE: usize = 1000;

/// No word that is known is half as long; comparing megabytes would take seconds.
const LONGEST_GUESSED: usize = 64;
/// A message that quotes a megabyte from the file helps nobody.
const LONGEST_MESSAGE: usize = 1000;

impl Diagnostic {
    /// About a file as a whole: it cannot be read, or is not there.
    pub fn about_file(severity: Severity, file: &Path, message: impl Into<String>, help: Option<String>) -> Diagnostic {
        let mut made = Diagnostic {
            severity,
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: shortened(message.into()),
            help,
            rendered: String::new(),
        };
        made.rendered = made.render(None, &[], None);
        made
    }

    /// About a place in a text; `other` is a second place in any file, shown below the first.
    pub(super) fn about_place(
        severity: Severity,
        file: &Path,
        text: &str,
        mark: Mark<'_>,
        other: Option<(&Path, &str, Mark<'_>)>,
        (key, message, help): (String, String, Option<String>),
    ) -> Diagnostic {
        let (line, column) = position(text, mark.span.start);
        let mut made = Diagnostic {
            severity,
            file: file.to_owned(),
            line,
            column,
            key: shortened(key),
            message: shortened(message),
            help: help.map(shortened),
            rendered: String::new(),
        };
        made.rendered = made.render(Some(text), &[mark], other);
        made
    }

    fn render(&self, text: Option<&str>, marks: &[Mark<'_>], other: Option<(&Path, &str, Mark<'_>)>) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let message = visible(&self.message);
        let mut group = level.primary_title(message).elements(None::<Origin<'_>>);
        match (text, marks.first()) {
            (Some(text), Some(mark)) => group = shown(group, &self.file, text, mark, AnnotationKind::Primary),
            _ => group = group.element(Origin::path(self.file.display().to_string())),
        }
        if let Some((file, text, mark)) = &other {
            group = shown(group, file, text, mark, AnnotationKind::Context);
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(visible(help)));
        }
        Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group])
    }
}

impl fmt::Display for Diagnostic {
    /// One line for a log: `zones/lb.toml:4:3: error: unknown key "intervall"; did you mean "interval"?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, ": {word}: {}", visible(&self.message))?;
        match &self.help {
            Some(help) => write!(f, "; {}", visible(help)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// The one of `known` that `found` was probably meant to be.
pub(super) fn nearest<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if found.len() > LONGEST_GUESSED {
        return None;
    }
    let lowered = found.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lowered, &word.to_lowercase()), word))
        // A third of the letters may be wrong, at least one: `ttll`, `adress`, `intervall`, but not `a` for `b`.
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(usize::from(word.len() > 1)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `did you mean "interval"?`, if one is near.
pub(super) fn did_you_mean<'k>(found: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    nearest(found, known).map(|word| format!("did you mean {word:?}?"))
}

/// 1-based line, and column in characters, of an octet offset.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let offset = floor_boundary(text, offset);
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|&octet| octet == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

type Group<'a> = annotate_snippets::Group<'a>;

fn shown<'a>(group: Group<'a>, file: &Path, text: &'a str, mark: &Mark<'a>, kind: AnnotationKind) -> Group<'a> {
    let path = file.display().to_string();
    let start = floor_boundary(text, mark.span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let (line, column) = position(text, start);
    if line_end - line_start > LONGEST_SHOWN_LINE {
        return group.element(Origin::path(path).line(line).char_column(column));
    }
    let end = floor_boundary(text, mark.span.end).clamp(start, line_end);
    let end = if end == start { floor_boundary(text, start + 1).clamp(start, line_end) } else { end };
    let mut annotation = kind.span(start - line_start..end - line_start);
    if !mark.label.is_empty() {
        annotation = annotation.label(mark.label);
    }
    group.element(Snippet::source(&text[line_start..line_end]).line_start(line).path(path).annotation(annotation))
}

/// Control characters would let a file write on the operator's terminal.
fn visible(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .map(|char| if char.is_control() { char.escape_default().to_string() } else { char.to_string() })
            .collect()
    } else {
        text.to_owned()
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(floor_boundary(&text, LONGEST_MESSAGE));
        text.push('…');
    }
    text
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_shows_the_line_and_a_caret() {
        let text = "[checks.web]\nintervall = \"5s\"\n";
        let made = Diagnostic::about_place(
            Severity::Error,
            Path::new("zones/lb.toml"),
            text,
            Mark { span: 13..22, label: "" },
            None,
            ("checks.web".into(), "unknown key \"intervall\"".into(), did_you_mean("intervall", ["interval", "port"])),
        );
        assert_eq!((made.line, made.column), (2, 1));
        assert_eq!(
            made.rendered,
            "error: unknown key \"intervall\"\n --> zones/lb.toml:2:1\n  |\n2 | intervall = \"5s\"\n  | ^^^^^^^^^\n  |\n  = help: did you mean \"interval\"?"
        );
        assert_eq!(made.to_string(), "zones/lb.toml:2:1: error: unknown key \"intervall\"; did you mean \"interval\"?");
    }

    #[test]
    fn only_near_words_are_suggested() {
        assert_eq!(nearest("adress", ["address", "host"]), Some("address"));
        assert_eq!(nearest("Interval", ["interval"]), Some("interval"));
        assert_eq!(nearest("zzz", ["interval", "to"]), None);
    }

    #[test]
    fn control_characters_stay_in_the_file() {
        let made = Diagnostic::about_file(Severity::Error, Path::new("x"), "bad \u{1b}[31m", None);
        assert!(!made.to_string().contains('\u{1b}') && !made.rendered.contains('\u{1b}'));
    }
}
