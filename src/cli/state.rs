//! `rollcall state`: overrides what the probes say about backends.

use std::path::PathBuf;

use super::args::StateArgs;
use super::servers::{self, Report};
use super::view::lines::state_word;
use super::view::words::{clean, count, drain_words};
use super::{Exit, Failure, Outcome};
use crate::config::plan::{AdminState, ControlAddress};
use crate::control::client::{Client, parse_address};
use crate::control::view::{StateChange, StateChanged};

pub(super) async fn run(args: StateArgs, config: Option<PathBuf>) -> Outcome {
    let state = AdminState::from(args.state);
    if state == AdminState::Auto && args.duration.is_some() {
        return Err(Failure::wrong("--for has no meaning with auto, which removes the override"));
    }
    let servers = servers::named(&args.control, config.as_deref())?;
    let change = StateChange {
        backend: args.backend,
        state,
        for_ms: args.duration.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        reason: args.reason,
        by: None,
    };
    let change = &change;
    servers::each(servers, args.json, async |server| {
        let change = StateChange { by: who(&server.address), ..change.clone() };
        let changed = server.client.set_state(&change).await?;
        let exit = if changed.backends.is_empty() { Exit::No } else { Exit::Done };
        let now = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
        Ok(Report { text: words(&change, &changed, &now), value: changed, exit })
    })
    .await
}

/// Over a unix socket the kernel tells the server who asks, which is worth more than what we say.
fn who(address: &ControlAddress) -> Option<String> {
    match address {
        ControlAddress::Unix(_) => None,
        ControlAddress::Tcp(_) => {
            nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name)
        }
    }
}

/// As [`who`], of a client.
pub(super) fn who_asks(client: &Client) -> Option<String> {
    parse_address(client.address()).ok().and_then(|address| who(&address))
}

fn words(change: &StateChange, changed: &StateChanged, now: &str) -> String {
    let until = match change.for_ms {
        Some(milliseconds) => {
            format!(" for {}", humantime::format_duration(std::time::Duration::from_millis(milliseconds)))
        }
        None => String::new(),
    };
    let mut text = format!("{} -> {}{until}\n", count(changed.backends.len(), "backend"), state_word(change.state));
    let clocked = |id: &String| changed.clocks.iter().any(|clock| clock.id == *id);
    for backend in changed.backends.iter().filter(|id| !clocked(id)) {
        text.push_str(&format!("  {}\n", clean(backend)));
    }
    for clock in &changed.clocks {
        text.push_str(&format!("  {}: {}\n", clean(&clock.id), drain_words(now, clock)));
    }
    for warning in &changed.warnings {
        text.push_str(&format!("note: {}\n", clean(warning)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::view::DrainStatus;

    #[test]
    fn the_backends_that_changed_are_named() {
        let change = StateChange {
            backend: "*/web/*".to_string(),
            state: AdminState::Drain,
            for_ms: Some(1_800_000),
            reason: None,
            by: None,
        };
        let changed = StateChanged {
            backends: vec!["z/web/a".to_string(), "z/web/b".to_string(), "z/web/c".to_string()],
            kept: false,
            clocks: vec![
                DrainStatus {
                    id: "z/web/b".to_string(),
                    safe_to_stop_at: Some("2026-11-21T12:03:41.200Z".to_string()),
                    drained: false,
                    answered_by: Vec::new(),
                },
                DrainStatus {
                    id: "z/web/c".to_string(),
                    safe_to_stop_at: None,
                    drained: false,
                    answered_by: vec!["z/api".to_string()],
                },
            ],
            warnings: vec!["no state_dir: ends with the process".to_string()],
        };
        assert_eq!(
            words(&change, &changed, "2026-11-21T12:03:11.000Z"),
            "3 backends -> drain for 30m\n  z/web/a\n  z/web/b: safe to stop at 12:03:42Z (in 30s)\n  \
             z/web/c: not safe to stop: its address is answered by z/api\nnote: no state_dir: ends with the process\n"
        );
    }
}
