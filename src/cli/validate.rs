//! `rollcall validate`: loads everything and says what is wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use super::args::ValidateArgs;

/// Loads and reports.
pub fn run(args: &ValidateArgs, config: Option<PathBuf>) -> ExitCode {
    let _ = (args, config);
    ExitCode::from(2)
}
