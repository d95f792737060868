//! Writing to the terminal: colour only where it is wanted, and a reader that left is no panic.

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

/// Whether text on stdout may be coloured: a terminal, and `NO_COLOR` is not set to anything (no-color.org).
pub(crate) fn color() -> bool {
    on_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether stdout is a terminal.
pub(crate) fn on_terminal() -> bool {
    io::stdout().is_terminal()
}
