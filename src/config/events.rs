//! Reads `[events]` of the server file: whom to tell of what happens.
//!
//! A hook may stand in the server file alone: who writes zone files may neither run programs here nor send data elsewhere.

use std::path::Path;
use std::time::Duration;

use data_encoding::BASE64;

use super::keys;
use super::plan::{EventKind, HookPlan, HookSecret, HookTarget};
use super::program;
use super::reader::{Table, Value};
use super::server::{absolute, directory_of};
use super::source::{Problem, Report};

/// Each word of `on`.
pub(super) const WORDS: [(&str, EventKind); 7] = [
    ("transition", EventKind::Transition),
    ("pool", EventKind::Pool),
    ("frozen", EventKind::Frozen),
    ("reload-failed", EventKind::ReloadFailed),
    ("override", EventKind::Override),
    ("reload", EventKind::Reload),
    ("server", EventKind::Server),
];
/// What is told where `on` does not say it: what somebody may have to act on.
const DEFAULT: [EventKind; 5] =
    [EventKind::Transition, EventKind::Pool, EventKind::Frozen, EventKind::ReloadFailed, EventKind::Override];
/// More hooks than this are a slip.
const MOST_HOOKS: usize = 32;
/// For one delivery.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How a secret begins, as <https://www.standardwebhooks.com> has it.
const PREFIX: &str = "whsec_";
/// Octets of a secret, from the same page.
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;

/// `[events]`
pub(super) fn read(events: &Table<'_>, path: &Path, report: &mut Report) -> Vec<HookPlan> {
    events.expect_keys(&[&keys::EVENTS], &[], report);
    let mut all = Vec::new();
    for (key, read) in
        [("webhook", webhook as fn(&Table<'_>, &Path, &mut Report) -> Option<HookTarget>), ("exec", exec)]
    {
        let Some(value) = events.get(key) else { continue };
        if !value.value.is_array() {
            value.wrong(&format!("a list of tables: [[events.{key}]]"), report);
            continue;
        }
        for item in value.items() {
            let Some(table) = item.table(report) else { continue };
            let target = read(&table, path, report);
            let on = on(&table, report);
            let timeout = table.get("timeout").and_then(|value| value.duration(report)).unwrap_or(TIMEOUT);
            all.extend(target.map(|target| HookPlan { target, on, timeout }));
        }
        if all.len() > MOST_HOOKS {
            value.wrong(&format!("a list of at most {MOST_HOOKS} tables"), report);
        }
    }
    all
}

fn on(table: &Table<'_>, report: &mut Report) -> Vec<EventKind> {
    let Some(value) = table.get("on") else { return DEFAULT.to_vec() };
    let items = value.items();
    if items.is_empty() {
        value.wrong("a list of kinds that is not empty", report);
    }
    let mut all: Vec<EventKind> = items.iter().filter_map(|item| item.word(&WORDS, report)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn required<'t>(table: &Table<'t>, key: &str, help: &str, report: &mut Report) -> Option<Value<'t>> {
    let value = table.get(key);
    if value.is_none() {
        let problem = Problem::error(table.place, format!("{:?} lacks {key:?}", table.path));
        report.add(problem.key(table.path.as_str()).help(help.to_owned()));
    }
    value
}

fn webhook(table: &Table<'_>, path: &Path, report: &mut Report) -> Option<HookTarget> {
    table.expect_keys(&[&keys::WEBHOOK], &[], report);
    let url = required(table, "url", "url = \"https://alerts.example.net/rollcall\"", report);
    let secret = required(table, "secret", "secret = \"webhook.secret\", a file next to this one", report);
    let url = url.and_then(|url| web_address(&url, report));
    let secret = secret.and_then(|secret| read_secret(&secret, path, report));
    let ca = match table.get("ca") {
        None => None,
        Some(value) => {
            let file = absolute(&directory_of(path).join(value.string(report)?));
            Some(report.read_octets(&file, Some(value.place))?.into())
        }
    };
    Some(HookTarget::Webhook { url: url?, secret: secret?, ca })
}

fn web_address(value: &Value<'_>, report: &mut Report) -> Option<String> {
    let text = value.string(report)?;
    let uri: Option<http::Uri> = text.parse().ok();
    let fits = uri.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri
                .authority()
                .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'))
    });
    if fits && !text.contains('#') {
        return Some(text.to_owned());
    }
    let message = format!("{:?} must be an address like \"https://alerts.example.net/rollcall\"", value.path);
    let help = "http or https, a host, and neither a user nor a fragment".to_owned();
    report.add(Problem::error(value.key_place, message).key(value.path.as_str()).help(help));
    None
}

/// The secret stands in a file of its own: the server file may be read by many.
fn read_secret(value: &Value<'_>, path: &Path, report: &mut Report) -> Option<HookSecret> {
    let file = absolute(&directory_of(path).join(value.string(report)?));
    let number = report.read(&file, Some(value.place))?;
    report.keep_secret(number);
    let text = report.text(number);
    let octets = text.trim().strip_prefix(PREFIX).and_then(|text| BASE64.decode(text.as_bytes()).ok());
    let secret = octets.filter(|octets| SECRET_OCTETS.contains(&octets.len()));
    if secret.is_none() {
        let message = format!(
            "{} must hold {PREFIX} and {} to {} octets in base64",
            file.display(),
            SECRET_OCTETS.start(),
            SECRET_OCTETS.end()
        );
        let help = "`echo whsec_$(openssl rand -base64 32)` makes one".to_owned();
        report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
    }
    secret.map(|octets| HookSecret(octets.into()))
}

fn exec(table: &Table<'_>, _: &Path, report: &mut Report) -> Option<HookTarget> {
    table.expect_keys(&[&keys::EVENT_EXEC], &[], report);
    let value = required(table, "command", "command = [\"/usr/local/bin/page-somebody\"]", report)?;
    Some(HookTarget::Exec { command: program::command(&value, report)? })
}
