//! `rollcall replace`: has the server replaced by a new process, waits, and reports.

use std::path::PathBuf;

use super::args::ReplaceArgs;
use super::view::words::clean_lines;
use super::{Exit, Failure, Outcome, output, progress, servers};
use crate::control::Replaced;
use crate::control::client::{ClientError, to_json};

pub(super) async fn run(args: ReplaceArgs, config: Option<PathBuf>) -> Outcome {
    let server = servers::only(&args.control, config.as_deref(), "`replace` is for")?;
    let waiting = progress::waiting("starting the new process");
    let replaced = match waiting.during(server.client.replace()).await {
        Ok(replaced) => replaced,
        Err(ClientError::Refused { status: 500, error }) => {
            let message = format!("not replaced, the old process goes on answering: {}", clean_lines(&error));
            return Err(Failure::new(Exit::No, message));
        }
        Err(error) => return Err(error.into()),
    };
    let text = if args.json { to_json(&replaced, true) + "\n" } else { words(&replaced) };
    output::print_last(&text)?;
    Ok(Exit::Done)
}

fn words(replaced: &Replaced) -> String {
    let Replaced { pid, version, took_ms, .. } = replaced;
    let mut text = format!("replaced: process {pid} (rollcall {version}) answers, after {took_ms} ms\n");
    for note in &replaced.notes {
        text.push_str(&clean_lines(note));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_who_answers_now() {
        let replaced = Replaced {
            pid: 7,
            version: "0.2.0".to_owned(),
            listening: Vec::new(),
            notes: vec!["a note".to_owned()],
            took_ms: 80,
        };
        assert_eq!(words(&replaced), "replaced: process 7 (rollcall 0.2.0) answers, after 80 ms\na note\n");
    }
}
