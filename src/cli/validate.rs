//! `rollcall validate`: loads everything and says what is wrong, exit 2, or what was loaded, exit 0.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::ValidateArgs;
use super::progress;
use super::serve::refuse_load;
use crate::config;
use crate::config::plan::{Plan, ZonePlan};

/// Loads and reports.
pub fn run(_: &ValidateArgs, config: Option<PathBuf>) -> ExitCode {
    let loading = progress::waiting("loading");
    let loaded = config::load(config.as_deref());
    drop(loading);
    let plan = match loaded {
        Ok(plan) => plan,
        Err(error) => return refuse_load(&error),
    };
    let mut stderr = io::stderr().lock();
    for warning in &plan.warnings {
        let _ = writeln!(stderr, "{}\n", warning.rendered.trim_end());
    }
    drop(stderr);
    // A reader that left has what it wanted.
    let _ = io::stdout().lock().write_all(summary(&plan).as_bytes());
    ExitCode::SUCCESS
}

fn summary(plan: &Plan) -> String {
    let mut text = String::new();
    let server = plan.server.file.as_ref();
    let server = server.map_or_else(|| "no server file: defaults".into(), |file| file.display().to_string());
    let _ = writeln!(text, "{server}");
    for zone in &plan.zones {
        let _ = writeln!(text, "{}", zone_line(plan, zone));
    }
    let backends = plan.pools.iter().map(|pool| pool.backends.len()).sum();
    let _ = writeln!(
        text,
        "ok: {}, {}{}, {}, {}, {}",
        count(plan.zones.len(), "zone"),
        routes(plan.routes.len()),
        count(plan.pools.len(), "pool"),
        count(backends, "backend"),
        count(plan.probes.len(), "probe"),
        count(plan.warnings.len(), "warning"),
    );
    text
}

fn zone_line(plan: &Plan, zone: &ZonePlan) -> String {
    let pools = plan.pools.iter().filter(|pool| pool.zone == zone.origin).count();
    format!(
        "  {}  {}: {}, {}, {}{}",
        zone.origin,
        zone.file.display(),
        count(zone.data.record_count(), "record"),
        count(zone.names.len(), "balanced set"),
        routes(plan.routes.iter().filter(|route| route.zone == zone.origin).count()),
        count(pools, "pool"),
    )
}

/// Told where there are any.
fn routes(number: usize) -> String {
    if number == 0 { String::new() } else { format!("{}, ", count(number, "route")) }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(count(1, "zone"), "1 zone");
        assert_eq!(count(0, "zone"), "0 zones");
    }
}
