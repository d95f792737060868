//! The command line: one file a subcommand. Reads arguments and prints; what is decided is decided by the server.
//!
//! ```text
//! serve, validate, demo, simulate  run here: config -> control -> transports
//! status, explain, state, reload,  ask running servers through control::client
//! push, history, export, replace,
//! drill, tail
//! import, schema, completions, man files in, files out
//! view                             what status and demo show, as text, as lines, and full-screen
//! ```

pub mod args;
mod board;
mod demo;
mod drill;
mod explain;
mod export;
mod history;
mod import;
mod output;
mod progress;
mod push;
mod reload;
mod replace;
mod report;
mod schema;
pub mod serve;
mod servers;
mod shell;
mod simulate;
mod state;
mod status;
mod tail;
pub mod validate;
pub mod view;
mod watch;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::config::plan::ControlAddress;
use crate::control::client::{self, ClientError};
use args::{Cli, Command, ControlArgs};

/// Where the server file is looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["rollcall.toml", "/etc/rollcall/rollcall.toml"];

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or "yes".
    Done = 0,
    /// The answer is "no"; `status`: degraded.
    No = 1,
    /// Wrong configuration or usage.
    Wrong = 2,
    /// `status`: a pool has no tier that reaches `min_healthy`.
    Critical = 3,
    /// The server could not be reached.
    Unreachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked: the exit code, and what to say on stderr.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    pub(crate) fn wrong(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Wrong, message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let exit = match &error {
            ClientError::Unreachable { .. } | ClientError::Garbled { .. } => Exit::Unreachable,
            // A server that is shutting down is as good as gone.
            ClientError::Refused { status: 503, .. } => Exit::Unreachable,
            ClientError::Refused { status: 400 | 413 | 415 | 422, .. } => Exit::Wrong,
            ClientError::Refused { .. } => Exit::No,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Exit::No, format!("cannot write: {error}"))
    }
}

/// What commands return.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Runs the program.
pub fn main() -> ExitCode {
    crate::config::quiet_guarded_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to stdout and is exit 0, errors to stderr and exit 2. A reader that left is no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    run(cli)
}

fn run(cli: Cli) -> ExitCode {
    let config = match locate_config(cli.config.as_deref()) {
        Ok(config) => config,
        Err(failure) => return report(Err(failure)),
    };
    match cli.command {
        Command::Serve(args) => serve::run(&args, config),
        Command::Validate(args) => validate::run(&args, config),
        Command::Demo(args) => report(block_on(demo::run(args))),
        Command::Status(args) => report(block_on(status::run(args, config))),
        Command::Explain(args) => report(block_on(explain::run(args, config))),
        Command::State(args) => report(block_on(state::run(args, config))),
        Command::Push(args) => report(block_on(push::run(args, config))),
        Command::Reload(args) => report(block_on(reload::run(args, config))),
        Command::Simulate(args) => simulate::run(&args, config),
        Command::Drill(args) => report(block_on(drill::run(args, config))),
        Command::Tail(args) => report(block_on(tail::run(args, config))),
        Command::History(args) => report(block_on(history::run(args, config))),
        Command::Export(args) => report(block_on(export::run(args, config))),
        Command::Import(args) => report(import::run(args)),
        Command::Schema(args) => report(schema::run(&args)),
        Command::Completions(args) => report(shell::completions(&args)),
        Command::Man(args) => report(shell::man(&args)),
        Command::Replace(args) => report(block_on(replace::run(args, config))),
    }
}

/// The server file: the one named, which must exist, else the first default that does, else none.
fn locate_config(named: Option<&Path>) -> Result<Option<PathBuf>, Failure> {
    if let Some(named) = named {
        return match std::fs::metadata(named) {
            Ok(found) if found.is_dir() => Err(Failure::wrong(format!(
                "{}: is a directory; --config wants the server file in it",
                named.display()
            ))),
            Ok(_) => Ok(Some(named.to_path_buf())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Failure::wrong(format!(
                "{}: there is no such file; --config names the server file",
                named.display()
            ))),
            Err(error) => Err(Failure::wrong(format!("{}: cannot be read: {error}", named.display()))),
        };
    }
    Ok(DEFAULT_FILES.iter().map(PathBuf::from).find(|file| file.is_file()))
}

/// The servers to talk to: each `--control`, else `listen.control` of the server file.
fn control_addresses(control: &ControlArgs, config: Option<&Path>) -> Result<Vec<ControlAddress>, Failure> {
    if !control.control.is_empty() {
        let parse = |text: &String| {
            client::parse_address(text).map_err(|error| Failure::wrong(format!("--control {text}: {error}")))
        };
        return control.control.iter().map(parse).collect();
    }
    let Some(file) = config else {
        return Err(Failure::wrong(format!(
            "which server? There is neither {} nor {}: name one with --config FILE, or the server itself with --control ADDR",
            DEFAULT_FILES[0], DEFAULT_FILES[1]
        )));
    };
    match client::address_in_file(file) {
        Ok(Some(address)) => Ok(vec![address]),
        Ok(None) => Err(Failure::wrong(format!(
            "{}: the server has no control listener: set `control = \"127.0.0.1:8053\"` under [listen], or name a server with --control ADDR",
            file.display()
        ))),
        Err(error) => Err(Failure::wrong(format!("{}: {error}", file.display()))),
    }
}

/// The token of a server that wants one: `ROLLCALL_TOKEN`, or the first line of the file that `ROLLCALL_TOKEN_FILE` names.
/// No option takes it, since others see a process's arguments.
fn token() -> Result<Option<String>, Failure> {
    if let Ok(token) = std::env::var("ROLLCALL_TOKEN") {
        return Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()));
    }
    let Some(file) = std::env::var_os("ROLLCALL_TOKEN_FILE") else { return Ok(None) };
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::wrong(format!("ROLLCALL_TOKEN_FILE {}: {error}", Path::new(&file).display())))?;
    Ok(text.lines().next().map(|line| line.trim().to_owned()).filter(|token| !token.is_empty()))
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::No, format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(command);
    // A reader of terminal keys may sit in a blocking call; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure.message);
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_server_file_that_is_not_there_is_exit_2() {
        let failure = locate_config(Some(Path::new("/nowhere/rollcall.toml"))).unwrap_err();
        assert_eq!(failure.exit, Exit::Wrong);
        assert!(failure.message.starts_with("/nowhere/rollcall.toml: there is no such file"), "{}", failure.message);
        let failure = locate_config(Some(&std::env::temp_dir())).unwrap_err();
        assert!(failure.message.contains("is a directory"), "{}", failure.message);
    }

    #[test]
    fn without_a_listener_or_a_file_the_remedy_is_said() {
        let nothing = ControlArgs { control: Vec::new() };
        let failure = control_addresses(&nothing, None).unwrap_err();
        assert_eq!(failure.exit, Exit::Wrong);
        assert!(failure.message.contains("--control ADDR"), "{}", failure.message);

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rollcall.toml");
        std::fs::write(&file, "[listen]\n").unwrap();
        let failure = control_addresses(&nothing, Some(&file)).unwrap_err();
        assert_eq!(failure.exit, Exit::Wrong);
        assert!(failure.message.contains("under [listen]"), "{}", failure.message);

        let odd = ControlArgs { control: vec!["here".to_string()] };
        assert_eq!(control_addresses(&odd, None).unwrap_err().exit, Exit::Wrong);
    }

    #[test]
    fn errors_of_a_server_become_exit_codes() {
        let refused = |status| Failure::from(ClientError::Refused { status, error: String::new() }).exit;
        assert_eq!(refused(404), Exit::No);
        assert_eq!(refused(400), Exit::Wrong);
        assert_eq!(refused(500), Exit::No);
        assert_eq!(refused(503), Exit::Unreachable);
        let gone = ClientError::Unreachable { address: "x".to_string(), cause: "y".to_string() };
        assert_eq!(Failure::from(gone).exit, Exit::Unreachable);
    }
}
