//! What a failure came to, as text and as Markdown: for `simulate`, which plays it, and for `drill`, which does it.

use std::fmt::Write as _;

use super::view::words::{clean, took};
use crate::control::drill::{DrillPlan, DrillReport};
use crate::control::report::{Report, Traffic, Withdrawal};
use crate::control::view::Share;

/// A simulation, for people.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.timeline {
        let _ = writeln!(text, "{:>12}  {}", seconds(line.at_ms), clean(&line.what));
    }
    if !report.withdrawals.is_empty() {
        text.push('\n');
    }
    for one in &report.withdrawals {
        let _ = writeln!(text, "{} {} at {}: {}", one.step, clean(&one.backend), seconds(one.at_ms), outcome(one));
    }
    text.push_str("\nclients were led to\n");
    for one in &report.traffic {
        let shares: Vec<String> =
            one.shares.iter().map(|(backend, share)| format!("{} {}", clean(backend), percent(*share))).collect();
        let _ = writeln!(
            text,
            "{:>12} to {} ({}): {}",
            seconds(one.from_ms),
            seconds(one.to_ms),
            clean(&one.phase),
            shares.join(", ")
        );
    }
    text
}

/// The same for a report to be kept or sent.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::from("# Simulation\n\n");
    tables(&mut text, report);
    text
}

/// A drill, for people.
pub(super) fn drill_text(drill: &DrillReport) -> String {
    let mut text = format!("{} of {} at {}\n", clean(&drill.by), clean(&drill.plan.name), clean(&drill.started));
    let _ = writeln!(
        text,
        "{} caching clients asked {}: {} queries, {} without an answer in time",
        drill.clients, drill.server, drill.queries, drill.unanswered
    );
    text.push_str(&ends(drill).map(|line| line + "\n").collect::<String>());
    text.push('\n');
    text.push_str(&self::text(&drill.report));
    text
}

/// The same for a report to be kept or sent.
pub(super) fn drill_markdown(drill: &DrillReport) -> String {
    let mut text = format!("# Drill: {}\n\n", cell(&drill.plan.name));
    let out: Vec<String> = drill.plan.down.iter().map(|one| cell(one)).collect();
    let _ = writeln!(text, "- Taken out: {} for {}", out.join(", "), seconds(drill.plan.for_ms));
    let _ = writeln!(text, "- By: {}, at {}", cell(&drill.by), cell(&drill.started));
    let _ = writeln!(
        text,
        "- Watched by {} caching clients of {}: {} queries, {} without an answer in time",
        drill.clients, drill.server, drill.queries, drill.unanswered
    );
    for line in ends(drill) {
        let _ = writeln!(text, "- {}", cell(&line));
    }
    text.push('\n');
    tables(&mut text, &drill.report);
    text
}

/// What a dry run says.
pub(super) fn plan_text(plan: &DrillPlan) -> String {
    let out: Vec<String> = plan.down.iter().map(|one| clean(one)).collect();
    let mut text = format!(
        "{} would be out of {} for {}\nnow:      {}\nexpected: {}\n",
        out.join(", "),
        clean(&plan.name),
        humantime::format_duration(std::time::Duration::from_millis(plan.for_ms)),
        shares(&plan.shares),
        shares(&plan.expected)
    );
    for line in unseen(plan) {
        let _ = writeln!(text, "{line}");
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "note: {}", clean(warning));
    }
    text
}

/// What a drill cannot measure.
fn unseen(plan: &DrillPlan) -> impl Iterator<Item = String> {
    plan.unseen.iter().map(|one| match one.at_most_ms {
        Some(at_most) => {
            format!("were {} to die, its checks would see it within {}", clean(&one.backend), took(at_most))
        }
        None => format!("were {} to die, nothing would see it: it has no check", clean(&one.backend)),
    })
}

/// How it ended, and what to know.
fn ends(drill: &DrillReport) -> impl Iterator<Item = String> {
    let early = drill.ended_early.as_ref().map(|why| format!("ended early: {}", clean(why)));
    let left = (!drill.restored).then(|| "not everything was brought back by the drill: see the timeline".to_owned());
    let notes = drill.plan.warnings.iter().map(|one| format!("note: {}", clean(one)));
    early.into_iter().chain(left).chain(unseen(&drill.plan)).chain(notes)
}

fn outcome(one: &Withdrawal) -> String {
    let Some(detected) = one.detected_ms else { return "answers went on naming it".to_owned() };
    let mut words = format!("left what is answered after {}", took(detected));
    for (after, what) in [
        (one.first_without_ms, "first answer without it after"),
        (one.exposed_ms, "in no cache after"),
        (one.returned_ms, "answered again, once it was back, after"),
    ] {
        if let Some(after) = after {
            let _ = write!(words, ", {what} {}", took(after));
        }
    }
    words
}

fn tables(text: &mut String, report: &Report) {
    if !report.withdrawals.is_empty() {
        text.push_str("| Backend | Step | Time to detect | First answer without it | Last cached exposure | Answered again after |\n");
        text.push_str("|---|---|---:|---:|---:|---:|\n");
    }
    for one in &report.withdrawals {
        let time = |time: Option<u64>| time.map_or_else(|| "–".to_owned(), took);
        let _ = writeln!(
            text,
            "| {} | {} at {} | {} | {} | {} | {} |",
            cell(&one.backend),
            cell(&one.step),
            seconds(one.at_ms),
            one.detected_ms.map_or_else(|| "never".to_owned(), took),
            time(one.first_without_ms),
            time(one.exposed_ms),
            time(one.returned_ms)
        );
    }
    if !report.withdrawals.is_empty() {
        text.push('\n');
    }
    shares_table(text, &report.traffic);
    text.push_str("\n```text\n");
    for line in &report.timeline {
        // Nothing in a line may end the block.
        let _ = writeln!(text, "{:>12}  {}", seconds(line.at_ms), clean(&line.what).replace("```", "'''"));
    }
    text.push_str("```\n");
}

fn shares_table(text: &mut String, traffic: &[Traffic]) {
    let mut backends: Vec<&str> = traffic.iter().flat_map(|one| one.shares.keys()).map(String::as_str).collect();
    backends.sort_unstable();
    backends.dedup();
    text.push_str("| Clients led to |");
    for one in traffic {
        let _ = write!(text, " {} ({} to {}) |", cell(&one.phase), seconds(one.from_ms), seconds(one.to_ms));
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(traffic.len()));
    text.push('\n');
    for backend in backends {
        let _ = write!(text, "| {} |", cell(backend));
        for one in traffic {
            let _ = write!(text, " {} |", percent(one.shares.get(backend).copied().unwrap_or_default()));
        }
        text.push('\n');
    }
}

fn shares(shares: &[Share]) -> String {
    if shares.is_empty() {
        return "no address".to_owned();
    }
    shares.iter().map(|one| format!("{} {}", clean(&one.backend), percent(one.share))).collect::<Vec<_>>().join(", ")
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Text in a table: nothing in it may end the cell or be markup.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    for character in clean(text).chars() {
        if matches!(character, '|' | '*' | '_' | '`' | '<' | '[' | '\\') {
            cell.push('\\');
        }
        cell.push(character);
    }
    cell
}

/// `12.345 s`
fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::drill::Unseen;
    use crate::control::report::Line;

    fn drill() -> DrillReport {
        let traffic = |phase: &str, from_ms, to_ms, shares: &[(&str, f64)]| Traffic {
            phase: phase.to_owned(),
            from_ms,
            to_ms,
            shares: shares.iter().map(|(backend, share)| ((*backend).to_owned(), *share)).collect(),
        };
        let share = |backend: &str, share| Share { backend: backend.to_owned(), share };
        DrillReport {
            plan: DrillPlan {
                name: "www.lb.example.com".to_owned(),
                down: vec!["lb.example.com/web/b2".to_owned()],
                pools: vec!["lb.example.com/web".to_owned()],
                for_ms: 60_000,
                unseen: vec![Unseen { backend: "lb.example.com/web/b2".to_owned(), at_most_ms: Some(7010) }],
                shares: vec![share("lb.example.com/web/b1", 0.5), share("lb.example.com/web/b2", 0.5)],
                expected: vec![share("lb.example.com/web/b1", 1.0)],
                warnings: Vec::new(),
            },
            by: "drill by ops".to_owned(),
            started: "2026-11-21T02:00:00.000Z".to_owned(),
            ended_early: Some("check orders failed on lb.example.com/web/b1: status 503".to_owned()),
            restored: true,
            server: "127.0.0.1:5300".to_owned(),
            clients: 50,
            queries: 4210,
            unanswered: 0,
            report: Report {
                timeline: vec![Line { at_ms: 5003, what: "down lb.example.com/web/b2".to_owned() }],
                withdrawals: vec![Withdrawal {
                    backend: "lb.example.com/web/b2".to_owned(),
                    step: "down".to_owned(),
                    at_ms: 5003,
                    detected_ms: Some(2),
                    first_without_ms: Some(4),
                    exposed_ms: Some(4870),
                    returned_ms: None,
                }],
                traffic: vec![
                    traffic("before", 0, 5003, &[("lb.example.com/web/b1", 0.5), ("lb.example.com/web/b2", 0.5)]),
                    traffic("during", 5003, 21_000, &[("lb.example.com/web/b1", 1.0)]),
                ],
            },
        }
    }

    #[test]
    fn a_drill_reads_well_as_text() {
        insta::assert_snapshot!(drill_text(&drill()));
    }

    #[test]
    fn a_drill_reads_well_as_markdown() {
        insta::assert_snapshot!(drill_markdown(&drill()));
    }

    #[test]
    fn a_dry_run_says_what_would_be() {
        insta::assert_snapshot!(plan_text(&drill().plan));
    }

    #[test]
    fn text_from_outside_is_no_markup() {
        assert_eq!(cell("a|b_c\n<x>"), "a\\|b\\_c\u{fffd}\\<x>");
    }
}
