//! `rollcall simulate`: plays a script of failures in virtual time, and says what clients behind caching resolvers got.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::args::SimulateArgs;
use super::serve::refuse_load;
use super::{Exit, output, progress, report};
use crate::config;
use crate::config::plan::AdminState;
use crate::control::client::to_json;
use crate::control::simulation::{Action, Settings, Step, simulate};

/// Watched beyond the last step unless said otherwise: longer than usual TTLs.
const AFTERWARDS: Duration = Duration::from_secs(60);

/// Simulates and reports.
pub(super) fn run(args: &SimulateArgs, config: Option<PathBuf>) -> ExitCode {
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(message) => return wrong(&message),
    };
    let loaded = match &args.zones {
        Some(directory) => config::load_zones(directory),
        None => config::load(config.as_deref()),
    };
    let plan = match loaded {
        Ok(plan) => plan,
        Err(error) => return refuse_load(&error),
    };
    let playing = progress::waiting("playing");
    let outcome = simulate(plan, &settings);
    drop(playing);
    let report = match outcome {
        Ok(report) => report,
        Err(message) => return wrong(&message),
    };
    let text = match (args.json, args.markdown) {
        (true, _) => to_json(&report, true) + "\n",
        (_, true) => report::markdown(&report),
        _ => report::text(&report),
    };
    // A reader that left has what it wanted.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    if report.withdrawals.iter().any(|one| one.detected_ms.is_none()) { Exit::No.into() } else { ExitCode::SUCCESS }
}

fn wrong(message: &str) -> ExitCode {
    output::complain(message);
    Exit::Wrong.into()
}

fn settings(args: &SimulateArgs) -> Result<Settings, String> {
    let script = script(&args.script)?;
    let last = script.iter().map(|step| step.at).max().unwrap_or_default();
    let start = match &args.start {
        None => SystemTime::now(),
        Some(text) => humantime::parse_rfc3339_weak(text).map_err(|error| format!("--start {text}: {error}"))?,
    };
    Ok(Settings {
        duration: args.duration.unwrap_or(last + AFTERWARDS),
        resolvers: args.resolvers as usize,
        seed: args.seed,
        start,
        script,
        names: args.names.clone(),
    })
}

/// `kill b1@10s; restore b1@90s`
fn script(text: &str) -> Result<Vec<Step>, String> {
    let steps = text.split([';', '\n']).map(str::trim).filter(|step| !step.is_empty());
    steps.map(|step| read_step(step).map_err(|why| format!("--script: \"{step}\": {why}"))).collect()
}

fn read_step(text: &str) -> Result<Step, String> {
    let (what, at) = text.rsplit_once('@').ok_or("when? write kill b1@10s")?;
    let (action, backend) = what.trim().split_once(char::is_whitespace).ok_or("which backend? write kill b1@10s")?;
    let action = match action {
        "kill" => Action::Kill,
        "hang" => Action::Hang,
        "restore" => Action::Restore,
        "drain" => Action::Set(AdminState::Drain),
        "up" => Action::Set(AdminState::Up),
        "down" => Action::Set(AdminState::Down),
        "auto" => Action::Set(AdminState::Auto),
        other => return Err(format!("{other} is none of kill, hang, restore, drain, up, down and auto")),
    };
    let at = humantime::parse_duration(at.trim()).map_err(|error| error.to_string())?;
    Ok(Step { at, action, backend: backend.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_steps_with_times() {
        let read = script("kill b1@10s; restore b1@1m 30s;\n drain lb.example.com/web/*@2m").unwrap();
        let expected = [
            (10, Action::Kill, "b1"),
            (90, Action::Restore, "b1"),
            (120, Action::Set(AdminState::Drain), "lb.example.com/web/*"),
        ];
        for (step, (at, action, backend)) in read.iter().zip(expected) {
            assert_eq!((step.at.as_secs(), step.action, step.backend.as_str()), (at, action, backend));
        }
        for (bad, why) in
            [("kill b1", "when"), ("kill@3s", "which backend"), ("slay b1@3s", "none of"), ("kill b1@soon", "")]
        {
            let message = script(bad).unwrap_err();
            assert!(message.contains(why) && message.contains("--script"), "{message}");
        }
    }
}
