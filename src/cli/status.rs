//! `rollcall status`: pools, backends, verdicts and overrides, once or live.

use std::path::PathBuf;

use super::args::StatusArgs;
use super::servers::{self, Report};
use super::view::text;
use super::{Exit, Outcome, output, watch};
use crate::control::view::Health;

pub(super) async fn run(args: StatusArgs, config: Option<PathBuf>) -> Outcome {
    if args.watch {
        let server = servers::only(&args.control, config.as_deref(), "--watch follows")?;
        return watch::run(server.client, args.json).await;
    }
    let servers = servers::named(&args.control, config.as_deref())?;
    servers::each(servers, args.json, async |server| {
        let status = server.client.status().await?;
        Ok(Report { text: text::status(&status, output::color()), exit: exit(status.health), value: status })
    })
    .await
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
