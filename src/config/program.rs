//! Reads the command of a program that checks or is told of events: absolute, there, and executable.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::reader::{Value, found};
use super::source::{Problem, Report};

/// Longest command, words; the kernel takes more, but nobody means it.
const LONGEST_COMMAND: usize = 256;

/// The program and its arguments.
pub(super) fn command(value: &Value<'_>, report: &mut Report) -> Option<Vec<String>> {
    if !value.value.is_array() {
        let message = format!(
            "{:?} must be a list, the program and its arguments, not {}: there is no shell",
            value.path,
            found(value.value)
        );
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
        return None;
    }
    let words: Vec<(&str, Value<'_>)> = value.strings(report);
    let Some((program, first)) = words.first() else {
        value.wrong("a program and its arguments", report);
        return None;
    };
    if words.len() > LONGEST_COMMAND || words.iter().any(|(word, _)| word.contains('\0')) {
        value.wrong(&format!("at most {LONGEST_COMMAND} words without NUL"), report);
    }
    let path = Path::new(program);
    if !path.is_absolute() {
        first.wrong("the absolute path of a program", report);
        return None;
    }
    let wrong = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Some("is no file".to_owned()),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Some("is not executable".to_owned()),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be found: {error}")),
    };
    if let Some(wrong) = wrong {
        let message = format!("{} {wrong}", path.display());
        report.add(Problem::error(first.place, message).key(first.path.as_str()));
    }
    Some(words.into_iter().map(|(word, _)| word.to_owned()).collect())
}
