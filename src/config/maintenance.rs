//! Reads `maintenance`: times, known ahead, at which a backend or a pool is taken out.

use std::time::SystemTime;

use toml::de::DeValue;

use super::keys;
use super::plan::Maintenance;
use super::reader::{Table, Value};
use super::source::{Problem, Report};

/// More windows than this are a calendar, not a plan.
const MOST_WINDOWS: usize = 100;

/// The windows of a pool or a backend, in order of their beginning.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Vec<Maintenance> {
    let Some(value) = table.get("maintenance") else { return Vec::new() };
    let items = value.items();
    if items.len() > MOST_WINDOWS {
        value.wrong(&format!("a list of at most {MOST_WINDOWS} windows"), report);
    }
    let mut windows: Vec<Maintenance> = items.iter().filter_map(|item| window(item, report)).collect();
    windows.sort_by_key(|window| window.from);
    windows
}

fn window(item: &Value<'_>, report: &mut Report) -> Option<Maintenance> {
    let Some(table) = item.as_table() else {
        item.wrong("a window like { from = 2026-12-01T02:00:00Z, to = 2026-12-01T04:00:00Z }", report);
        return None;
    };
    table.expect_keys(&[&keys::WINDOW], &[], report);
    let mut bound = |key: &str| match table.get(key) {
        Some(value) => time(&value, report).map(|time| (time, value.place)),
        None => {
            let message = format!("{:?} lacks {key:?}: a window has a beginning and an end", item.path);
            report.add(Problem::error(item.place, message).key(item.path.as_str()));
            None
        }
    };
    let (from, to) = (bound("from"), bound("to"));
    let ((from, began), (to, ended)) = (from?, to?);
    if to <= from {
        let problem = Problem::error(ended, format!("{:?} ends before it begins", item.path));
        report.add(problem.key(item.path.as_str()).beside(began, "it begins here"));
        return None;
    }
    Some(Maintenance { from, to })
}

/// A TOML offset date-time (RFC 3339): without an offset nobody could say which moment is meant.
fn time(value: &Value<'_>, report: &mut Report) -> Option<SystemTime> {
    let text = match value.value {
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => {
            let quoted = text.parse::<jiff::Timestamp>().is_ok();
            let message = format!("{:?} must be a date-time without quotes", value.path);
            let help = quoted.then(|| format!("write {text}"));
            report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
            return None;
        }
        _ => String::new(),
    };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(SystemTime::from(time));
    }
    let message =
        format!("{:?} must be a date-time with its offset from UTC, like 2026-12-01T02:00:00+01:00", value.path);
    let help = text.contains(':').then(|| format!("write {text}Z if UTC is meant"));
    report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
    None
}
