//! `rollcall history`: what changed, oldest first, as the server remembers it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::{ControlArgs, parse_backend, parse_duration};
use super::servers::{self, Report};
use super::view::lines::transition_line;
use super::view::text;
use super::view::words::{Tone, clean};
use super::{Exit, Outcome, output};
use crate::control::glob;
use crate::control::view::{Status, TransitionStatus};

/// `rollcall history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only these: zone/pool/backend, each part a glob
    #[arg(value_parser = parse_backend, default_value = "*/*/*", hide_default_value = true)]
    pub backend: String,
    /// Only what happened in that time until now: 90s, 30m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub since: Option<Duration>,
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The JSON: as in `status --json`.
#[derive(Debug, Serialize)]
struct History {
    transitions: Vec<TransitionStatus>,
}

pub(super) async fn run(args: HistoryArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let args = &args;
    servers::each(servers, args.json, async |server| {
        let transitions = chosen(server.client.status().await?, &args.backend, args.since);
        let exit = if transitions.is_empty() { Exit::No } else { Exit::Done };
        let color = output::color();
        let text = transitions.iter().map(|transition| line(transition, color)).collect();
        Ok(Report { value: History { transitions }, text, exit })
    })
    .await
}

/// By the server's clock: it is its time that the transitions carry.
fn chosen(status: Status, pattern: &str, since: Option<Duration>) -> Vec<TransitionStatus> {
    let now = humantime::parse_rfc3339(&status.now).ok();
    let begin = now.zip(since).and_then(|(now, since)| now.checked_sub(since));
    let is_recent = |at: &str| match (begin, humantime::parse_rfc3339(at)) {
        (Some(begin), Ok(at)) => at >= begin,
        _ => true,
    };
    let fits = |id: &str| {
        // A backend's name may hold a slash no more than a pool's or a zone's may.
        let (parts, patterns): (Vec<&str>, Vec<&str>) = (id.split('/').collect(), pattern.split('/').collect());
        parts.len() == patterns.len() && parts.iter().zip(&patterns).all(|(part, pattern)| glob(pattern, part))
    };
    let kept = status.transitions.into_iter().filter(|one| is_recent(&one.at) && fits(&one.id));
    kept.collect()
}

/// As in `status`, with the date: a history may be of days.
fn line(transition: &TransitionStatus, color: bool) -> String {
    let mut line = transition_line(transition);
    if let Some(first) = line.first_mut() {
        let at = clean(&transition.at);
        let at = at.split('.').next().unwrap_or(&at).replace('T', " ");
        *first = (Tone::Quiet, format!("{}Z  ", at.trim_end_matches('Z')));
    }
    text::line(&line, color)
}

#[cfg(test)]
mod tests {
    use super::super::view::sample;
    use super::*;

    fn transition(at: &str, id: &str) -> TransitionStatus {
        TransitionStatus {
            at: at.to_owned(),
            id: id.to_owned(),
            address: "192.0.2.1".to_owned(),
            from: "up".to_owned(),
            to: "down".to_owned(),
            reason: "connection refused".to_owned(),
            took_ms: None,
        }
    }

    #[test]
    fn time_and_name_choose() {
        let mut status = sample::status();
        status.now = "2026-11-21T16:00:00.000Z".to_owned();
        status.transitions = vec![
            transition("2026-11-21T13:00:00.000Z", "z/web/a"),
            transition("2026-11-21T15:30:00.000Z", "z/web/b"),
            transition("2026-11-21T15:40:00.000Z", "z/db/b"),
        ];
        let ids = |pattern: &str, since: Option<u64>| {
            let chosen = chosen(status.clone(), pattern, since.map(Duration::from_secs));
            chosen.into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("*/*/*", None), ["z/web/a", "z/web/b", "z/db/b"]);
        assert_eq!(ids("*/*/*", Some(3600)), ["z/web/b", "z/db/b"]);
        assert_eq!(ids("*/web/*", Some(3600)), ["z/web/b"]);
        assert_eq!(ids("z/w?b/a", None), ["z/web/a"]);
        assert!(ids("other/*/*", None).is_empty());
        let line = line(&status.transitions[0], false);
        assert!(line.starts_with("2026-11-21 13:00:00Z  ") && line.contains("z/web/a"), "{line}");
    }
}
