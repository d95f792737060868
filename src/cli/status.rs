//! `rollcall status`: pools, backends, verdicts and overrides, once or live.

use std::path::PathBuf;

use super::args::StatusArgs;
use super::view::text;
use super::{Exit, Outcome, connect, output, watch};
use crate::control::client::to_json;
use crate::control::view::Health;

pub(super) async fn run(args: StatusArgs, config: Option<PathBuf>) -> Outcome {
    let client = connect(&args.control, config.as_deref())?;
    if args.watch {
        return watch::run(client, args.json).await;
    }
    let status = client.status().await?;
    let text = if args.json { to_json(&status, true) + "\n" } else { text::status(&status, output::color()) };
    output::print_last(&text)?;
    Ok(exit(status.health))
}

fn exit(health: Health) -> Exit {
    match health {
        Health::Ok => Exit::Done,
        Health::Degraded => Exit::No,
        Health::Critical => Exit::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_the_exit_code() {
        assert_eq!([Health::Ok, Health::Degraded, Health::Critical].map(|health| exit(health) as u8), [0, 1, 3]);
    }
}
