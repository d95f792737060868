//! What is wrong with a file, where, and what would be right.

use std::path::PathBuf;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}
