//! `rollcall history`: what changed, oldest first: as the journal has it, else as the server remembers it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Serialize;

use super::args::{ControlArgs, parse_backend, parse_duration};
use super::servers::{self, Report};
use super::view::lines::{ToneLine, transition_line};
use super::view::text;
use super::view::words::{Tone, clean};
use super::{Exit, Outcome, output};
use crate::config::plan::AdminState;
use crate::control::client::{Client, ClientError};
use crate::control::events::{Event, What};
use crate::control::glob;
use crate::control::journal::{JournalQuery, Record};
use crate::control::view::TransitionStatus;

/// Entries shown where `--limit` does not say it.
const SHOWN: usize = 1000;

/// `rollcall history`
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Only these: zone/pool/backend, each part a glob
    #[arg(value_parser = parse_backend, default_value = "*/*/*", hide_default_value = true)]
    pub backend: String,
    /// Only from then on: that long ago (90s, 30m, 2h), or a time (2026-11-21T02:48:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    pub since: Option<When>,
    /// Only until then, likewise
    #[arg(long, value_name = "TIME", value_parser = parse_when)]
    pub until: Option<When>,
    /// The latest so many, 10000 at most
    #[arg(long, value_name = "NUMBER", default_value_t = SHOWN, value_parser = parse_limit)]
    pub limit: usize,
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// A moment, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// That long before now.
    Ago(Duration),
    /// Then.
    At(SystemTime),
}

fn parse_when(text: &str) -> Result<When, String> {
    match humantime::parse_rfc3339_weak(text) {
        Ok(at) => Ok(When::At(at)),
        Err(_) => parse_duration(text).map(When::Ago).map_err(|error| format!("{error}, or 2026-11-21T02:48:00Z")),
    }
}

fn parse_limit(text: &str) -> Result<usize, String> {
    let most = crate::control::journal::MOST_RECORDS;
    text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or(format!("must be a number from 1 to {most}"))
}

/// The JSON.
#[derive(Debug, Serialize)]
struct History {
    /// As in `status --json`; overrides too.
    transitions: Vec<TransitionStatus>,
    /// Everything, as the journal has it; empty without one.
    events: Vec<Record>,
    /// Whether older ones were left out for the limit.
    more: bool,
}

pub(super) async fn run(args: HistoryArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let args = &args;
    servers::each(servers, args.json, async |server| {
        let (history, text) = ask(&server.client, args).await?;
        let empty = history.transitions.is_empty() && history.events.is_empty();
        let exit = if empty { Exit::No } else { Exit::Done };
        Ok(Report { value: history, text, exit })
    })
    .await
}

async fn ask(client: &Client, args: &HistoryArgs) -> Result<(History, String), ClientError> {
    let color = output::color();
    let status = client.status().await?;
    let now = humantime::parse_rfc3339(&status.now).unwrap_or_else(|_| SystemTime::now());
    let moment = |when: Option<When>| match when? {
        When::Ago(ago) => now.checked_sub(ago),
        When::At(at) => Some(at),
    };
    let (since, until) = (moment(args.since), moment(args.until));
    // The filter comes after the limit of the journal: what it leaves is cut here.
    match client.journal(&JournalQuery { since, until, limit: None }).await {
        Ok(page) => {
            let mut events: Vec<Record> =
                page.records.into_iter().filter(|record| fits(&record.event, &args.backend)).collect();
            let more = page.more || events.len() > args.limit;
            events.drain(..events.len().saturating_sub(args.limit));
            let transitions = events.iter().filter_map(|record| transition(&record.event)).collect();
            let mut text: String = events.iter().map(|record| event_line(&record.event, color)).collect();
            if page.damaged > 0 {
                text.push_str(&format!("{} damaged lines of the journal were passed over\n", page.damaged));
            }
            Ok((History { transitions, events, more }, text))
        }
        // No state_dir, or a server of an older version.
        Err(ClientError::Refused { status: 404, .. }) => {
            let recent = |at: &str| {
                let at = humantime::parse_rfc3339(at).ok();
                at.is_none_or(|at| since.is_none_or(|since| at >= since) && until.is_none_or(|until| at <= until))
            };
            let kept = status.transitions.into_iter().filter(|one| recent(&one.at) && named(&one.id, &args.backend));
            let mut transitions: Vec<TransitionStatus> = kept.collect();
            let more = transitions.len() > args.limit;
            transitions.drain(..transitions.len().saturating_sub(args.limit));
            let text = transitions.iter().map(|transition| line(transition, color)).collect();
            Ok((History { transitions, events: Vec::new(), more }, text))
        }
        Err(error) => Err(error),
    }
}

fn named(id: &str, pattern: &str) -> bool {
    // A backend's name may hold a slash no more than a pool's or a zone's may.
    let (parts, patterns): (Vec<&str>, Vec<&str>) = (id.split('/').collect(), pattern.split('/').collect());
    parts.len() == patterns.len() && parts.iter().zip(&patterns).all(|(part, pattern)| glob(pattern, part))
}

/// What is about a backend when that is named, a pool when any backend of it may be meant, all else when nothing is named.
fn fits(event: &Event, pattern: &str) -> bool {
    match event.id() {
        Some(id) if id.matches('/').count() == 1 => match pattern.rsplit_once('/') {
            Some((pool, backend)) => backend == "*" && named(id, pool),
            None => false,
        },
        Some(id) => named(id, pattern),
        None => pattern == "*/*/*",
    }
}

/// As `status` shows it.
fn transition(event: &Event) -> Option<TransitionStatus> {
    let at = event.at.clone();
    Some(match event.what.clone() {
        What::Transition { id, address, from, to, reason, took_ms } => {
            TransitionStatus { at, id, address: address.unwrap_or_default(), from, to, reason, took_ms }
        }
        What::Override { id, state, reason, .. } => TransitionStatus {
            at,
            id,
            address: String::new(),
            from: String::new(),
            to: state_word(state).to_owned(),
            reason: reason.unwrap_or_else(|| "by command".to_owned()),
            took_ms: None,
        },
        What::OverrideEnded { id } => TransitionStatus {
            at,
            id,
            address: String::new(),
            from: "overridden".to_owned(),
            to: "auto".to_owned(),
            reason: "the override ended".to_owned(),
            took_ms: None,
        },
        _ => return None,
    })
}

fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Auto => "auto",
        AdminState::Up => "forced up",
        AdminState::Down => "forced down",
        AdminState::Drain => "drain",
    }
}

fn event_line(event: &Event, color: bool) -> String {
    let (tone, words) = match &event.what {
        What::Transition { .. } | What::OverrideEnded { .. } => {
            return transition(event).map(|one| line(&one, color)).unwrap_or_default();
        }
        What::Override { id, state, until, reason, by } => {
            let until = until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
            let by = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            (Tone::Warn, format!("{id}  override {}{until}{by}{reason}", state_word(*state)))
        }
        What::Pool { id, rtype, from, to, why } => {
            let tone = if to == "panic" || to == "closed" { Tone::Bad } else { Tone::Warn };
            (tone, format!("pool {id} {rtype}  {from} -> {to}  {why}"))
        }
        What::Load { ok: true, cause, zones, pools, moved, messages, .. } => {
            let more = messages.first().map(|first| format!("; {first}")).unwrap_or_default();
            (Tone::Plain, format!("loaded ({cause}): {zones} zones, {pools} pools, {moved} names moved{more}"))
        }
        What::Load { cause, messages, .. } => (
            Tone::Bad,
            format!("reload refused ({cause}): {}", messages.first().map(String::as_str).unwrap_or_default()),
        ),
        What::Start { version, pid, took_over } => {
            let words = if *took_over { "took over" } else { "started" };
            (Tone::Strong, format!("rollcall {version} {words}, process {pid}"))
        }
        What::Stop { version, pid } => (Tone::Strong, format!("rollcall {version} stopped, process {pid}")),
        What::Frozen { reason, .. } => (Tone::Warn, format!("frozen: {reason}")),
        What::Unfrozen { .. } => (Tone::Plain, "no longer frozen".to_owned()),
        What::Lost { count } => (Tone::Bad, format!("{count} records are missing here: there was no room for them")),
        What::Unknown => (Tone::Quiet, "of a kind that this version does not know".to_owned()),
    };
    text::line(&vec![(Tone::Quiet, moment(&event.at)), (tone, clean(&words))], color)
}

/// With the date: a history may be of days.
fn moment(at: &str) -> String {
    let at = clean(at);
    let at = at.split('.').next().unwrap_or(&at).replace('T', " ");
    format!("{}Z  ", at.trim_end_matches('Z'))
}

fn line(transition: &TransitionStatus, color: bool) -> String {
    let mut line: ToneLine = transition_line(transition);
    if let Some(first) = line.first_mut() {
        *first = (Tone::Quiet, moment(&transition.at));
    }
    text::line(&line, color)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: What) -> Event {
        Event { at: "2026-11-21T13:00:00.000Z".to_owned(), what }
    }

    fn transition_of(id: &str) -> Event {
        event(What::Transition {
            id: id.to_owned(),
            address: Some("192.0.2.1".to_owned()),
            from: "up".to_owned(),
            to: "down".to_owned(),
            reason: "connection refused".to_owned(),
            took_ms: None,
        })
    }

    #[test]
    fn a_name_chooses_backends_and_their_pools() {
        let pool = event(What::Pool {
            id: "z/web".to_owned(),
            rtype: "A".to_owned(),
            from: "healthy".to_owned(),
            to: "panic".to_owned(),
            why: "all down: failing open".to_owned(),
        });
        let stop = event(What::Stop { version: "1".to_owned(), pid: 1 });
        let chosen = |pattern: &str| {
            [&transition_of("z/web/a"), &transition_of("z/db/b"), &pool, &stop].map(|one| fits(one, pattern))
        };
        assert_eq!(chosen("*/*/*"), [true; 4]);
        assert_eq!(chosen("*/web/*"), [true, false, true, false]);
        assert_eq!(chosen("z/w?b/a"), [true, false, false, false]);
        assert_eq!(chosen("other/*/*"), [false; 4]);
    }

    #[test]
    fn lines_carry_the_date_and_say_what_happened() {
        let line = event_line(&transition_of("z/web/a"), false);
        assert!(line.starts_with("2026-11-21 13:00:00Z  z/web/a 192.0.2.1  up -> down"), "{line}");
        let drain = event(What::Override {
            id: "z/web/a".to_owned(),
            state: AdminState::Drain,
            until: None,
            reason: Some("disk".to_owned()),
            by: Some("alice".to_owned()),
        });
        assert_eq!(event_line(&drain, false), "2026-11-21 13:00:00Z  z/web/a  override drain by alice: disk\n");
        let shown = transition(&drain).unwrap();
        assert_eq!((shown.to.as_str(), shown.reason.as_str()), ("drain", "disk"));
    }

    #[test]
    fn a_time_is_a_time_or_so_long_ago() {
        assert_eq!(parse_when("2h"), Ok(When::Ago(Duration::from_secs(7200))));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_231_200);
        assert_eq!(parse_when("2026-11-21T03:20:00Z"), Ok(When::At(at)));
        assert!(parse_when("yesterday").is_err());
    }
}
