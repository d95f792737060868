//! A status as text: what `rollcall status` prints.

use super::lines::{self, ToneLine};
use super::words::Tone;
use crate::control::view::Status;

/// Transitions that a plain `status` shows.
const TRANSITIONS: usize = 5;

/// The whole status, with colours if `color`.
pub fn status(status: &Status, color: bool) -> String {
    let mut all = lines::head(status);
    all.extend(lines::reload(status));
    all.push(Vec::new());
    all.extend(lines::zones(status));
    let transitions = lines::transitions(status, TRANSITIONS);
    if !transitions.is_empty() {
        all.push(Vec::new());
        all.push(vec![(Tone::Strong, "latest transitions (UTC)".to_string())]);
        all.extend(
            transitions.into_iter().map(|line| std::iter::once((Tone::Plain, "  ".to_string())).chain(line).collect()),
        );
    }
    all.iter().map(|line| self::line(line, color)).collect()
}

/// One line with its line end.
pub fn line(line: &ToneLine, color: bool) -> String {
    let mut text = String::new();
    for (tone, piece) in line {
        match sgr(*tone).filter(|_| color) {
            // Padding stays outside, so that a background or underline of the terminal's theme does not run on.
            Some(code) => {
                let words = piece.trim_end();
                text.push_str(&format!("\u{1b}[{code}m{words}\u{1b}[0m{}", &piece[words.len()..]));
            }
            None => text.push_str(piece),
        }
    }
    let mut text = text.trim_end().to_string();
    text.push('\n');
    text
}

fn sgr(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Strong => Some("1"),
        Tone::Good => Some("32"),
        Tone::Bad => Some("31"),
        Tone::Warn => Some("33"),
        Tone::Quiet => Some("2"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_status_reads_well() {
        let text = status(&sample::status(), false);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn colours_come_only_when_asked_for_and_change_no_word() {
        let plain = status(&sample::status(), false);
        let colored = status(&sample::status(), true);
        assert!(!plain.contains('\u{1b}'));
        assert!(colored.contains("\u{1b}[31mdown\u{1b}[0m"));
        let mut stripped = colored;
        for code in ["0", "1", "2", "31", "32", "33"] {
            stripped = stripped.replace(&format!("\u{1b}[{code}m"), "");
        }
        let squeeze = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(squeeze(&stripped), squeeze(&plain));
    }

    #[test]
    fn errors_of_a_refused_reload_are_shown_with_their_caret() {
        let mut refused = sample::status();
        refused.reload.ok = false;
        refused.reload.cause = "edit".to_string();
        refused.reload.rendered = vec![
            "error: unknown key `intervall`\n --> zones/lb.toml:7:1\n7 | intervall = 3\n  | ^^^^^^^^^".to_string(),
        ];
        let text = status(&refused, false);
        assert!(text.contains("reload refused 2m 0s ago (edit): the old data goes on answering"), "{text}");
        assert!(text.contains("\n    | ^^^^^^^^^\n"), "{text}");
    }
}
