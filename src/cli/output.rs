//! Writing to the terminal: colour only where it is wanted, and a reader that left is no panic.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

/// Writes `text` to stdout. A closed pipe (`rollcall status | head -1`) is an error of kind `BrokenPipe`.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// As [`print()`], for a command that has nothing more to say: a reader that left has what it wanted.
pub(crate) fn print_last(text: &str) -> io::Result<()> {
    match print(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes `rollcall: message` to stderr; there is nobody to tell when that fails.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr(), "rollcall: {message}");
}

/// Whether text on stdout may be coloured. `NO_COLOR` set to anything says no (no-color.org); else `CLICOLOR_FORCE` set to
/// anything but `0` says yes, also where stdout is no terminal (bixense.com/clicolors); else a terminal that is not dumb.
pub(crate) fn color() -> bool {
    color_by(|name| std::env::var_os(name), on_terminal())
}

fn color_by(variable: impl Fn(&str) -> Option<OsString>, on_terminal: bool) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    if is_set("NO_COLOR") {
        return false;
    }
    if is_set("CLICOLOR_FORCE") && variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    let is_off = variable("CLICOLOR").is_some_and(|value| value == "0");
    on_terminal && !is_off && variable("TERM").is_none_or(|term| term != "dumb")
}

/// Whether stdout is a terminal.
pub(crate) fn on_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stderr is a terminal that can move its cursor.
pub(crate) fn stderr_on_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn color(variables: &[(&str, &str)], on_terminal: bool) -> bool {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        color_by(value, on_terminal)
    }

    #[test]
    fn colour_is_for_terminals_and_for_those_who_insist() {
        assert!(color(&[], true) && !color(&[], false));
        assert!(!color(&[("NO_COLOR", "1")], true));
        assert!(color(&[("NO_COLOR", "")], true), "empty is not set");
        assert!(color(&[("CLICOLOR_FORCE", "1")], false));
        assert!(!color(&[("CLICOLOR_FORCE", "0")], false));
        assert!(!color(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], true), "who wants none gets none");
        assert!(!color(&[("CLICOLOR", "0")], true));
        assert!(!color(&[("TERM", "dumb")], true));
    }
}
