//! One command, several name servers: `--control` once for each. All are asked at once; each reports for itself, in the
//! order they were named, and the exit code is the worst of theirs. Nothing is shared between servers, so neither is an
//! outcome: what one refused, another may have done, and the report says which.

use std::future::Future;
use std::path::Path;

use futures_util::future::join_all;
use serde::Serialize;

use super::args::ControlArgs;
use super::{Exit, Failure, Outcome, output};
use crate::config::plan::ControlAddress;
use crate::control::client::{Client, ClientError, address_text, to_json};

/// One server to talk to.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) address: ControlAddress,
    pub(super) client: Client,
}

/// The servers named, each once; else the one of the server file.
pub(super) fn named(control: &ControlArgs, config: Option<&Path>) -> Result<Vec<Server>, Failure> {
    let token = super::token()?;
    let mut servers: Vec<Server> = Vec::new();
    for address in super::control_addresses(control, config)? {
        if servers.iter().all(|server| server.address != address) {
            let mut client = Client::new(address.clone())?;
            if let Some(token) = &token {
                client = client.with_token(token)?;
            }
            servers.push(Server { address, client });
        }
    }
    Ok(servers)
}

/// The only server, for commands that make no sense with several.
pub(super) fn only(control: &ControlArgs, config: Option<&Path>, what: &str) -> Result<Server, Failure> {
    let mut servers = named(control, config)?;
    match servers.pop() {
        Some(server) if servers.is_empty() => Ok(server),
        _ => Err(Failure::wrong(format!("{what} one server: give --control once"))),
    }
}

/// What one server said.
pub(super) struct Report<T> {
    pub(super) value: T,
    /// For people.
    pub(super) text: String,
    pub(super) exit: Exit,
}

/// A server's part of the JSON when there are several.
#[derive(Serialize)]
struct Part<'p, T> {
    server: String,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'p T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Asks every server and prints what each says. With one server the output is that server's alone.
pub(super) async fn each<T, F>(servers: Vec<Server>, json: bool, ask: impl Fn(Server) -> F) -> Outcome
where
    T: Serialize,
    F: Future<Output = Result<Report<T>, ClientError>>,
{
    let names: Vec<String> = servers.iter().map(|server| address_text(&server.address)).collect();
    let mut answers = join_all(servers.into_iter().map(ask)).await;
    if answers.len() == 1
        && let Some(answer) = answers.pop()
    {
        let report = answer?;
        let text = if json { to_json(&report.value, true) + "\n" } else { report.text };
        output::print_last(&text)?;
        return Ok(report.exit);
    }
    let answers: Vec<(String, Result<Report<T>, Failure>)> =
        names.into_iter().zip(answers.into_iter().map(|answer| answer.map_err(Failure::from))).collect();
    let text = if json { documents(&answers) } else { texts(&answers) };
    output::print_last(&text)?;
    Ok(worst(answers.iter().map(|(_, answer)| exit_of(answer))))
}

fn exit_of<T>(answer: &Result<Report<T>, Failure>) -> Exit {
    answer.as_ref().map_or_else(|failure| failure.exit, |report| report.exit)
}

/// The codes are in order of how bad they are.
fn worst(exits: impl Iterator<Item = Exit>) -> Exit {
    exits.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Done)
}

fn texts<T>(answers: &[(String, Result<Report<T>, Failure>)]) -> String {
    let parts = answers.iter().filter_map(|(server, answer)| match answer {
        // Who has nothing to say when all is well says it of no server.
        Ok(report) if report.text.is_empty() => None,
        Ok(report) => Some(format!("== {server}\n{}", report.text)),
        Err(failure) => Some(format!("== {server}\nrollcall: {}\n", failure.message)),
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn documents<T: Serialize>(answers: &[(String, Result<Report<T>, Failure>)]) -> String {
    let parts: Vec<Part<'_, T>> = answers
        .iter()
        .map(|(server, answer)| Part {
            server: server.clone(),
            exit: exit_of(answer) as u8,
            report: answer.as_ref().ok().map(|report| &report.value),
            error: answer.as_ref().err().map(|failure| failure.message.clone()),
        })
        .collect();
    to_json(&serde_json::json!({ "servers": parts }), true) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Vec<(String, Result<Report<u8>, Failure>)> {
        let report = |value, exit| Ok(Report { value, text: format!("says {value}\n"), exit });
        vec![
            ("a:1".to_owned(), report(1, Exit::Done)),
            ("b:2".to_owned(), Err(Failure::new(Exit::Unreachable, "nobody there"))),
            ("c:3".to_owned(), report(3, Exit::No)),
        ]
    }

    #[test]
    fn every_server_is_reported_and_the_worst_decides() {
        let answers = answers();
        assert_eq!(texts(&answers), "== a:1\nsays 1\n\n== b:2\nrollcall: nobody there\n\n== c:3\nsays 3\n");
        let json: serde_json::Value = serde_json::from_str(&documents(&answers)).unwrap();
        assert_eq!(json["servers"][0], serde_json::json!({ "server": "a:1", "exit": 0, "report": 1 }));
        assert_eq!(json["servers"][1], serde_json::json!({ "server": "b:2", "exit": 4, "error": "nobody there" }));
        assert_eq!(worst(answers.iter().map(|(_, answer)| exit_of(answer))), Exit::Unreachable);
        assert_eq!(worst([Exit::Done, Exit::No].into_iter()), Exit::No);
    }

    #[test]
    fn a_server_named_twice_is_asked_once() {
        let control = |names: &[&str]| ControlArgs { control: names.iter().map(|name| (*name).to_owned()).collect() };
        let two = named(&control(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1"]), None).unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(
            only(&control(&["127.0.0.1:1", "127.0.0.1:2"]), None, "--watch follows").unwrap_err().exit,
            Exit::Wrong
        );
        assert_eq!(named(&control(&["here"]), None).unwrap_err().exit, Exit::Wrong);
    }
}
