//! `rollcall push`: a heartbeat from beside a backend. Says nothing when it was taken: it runs every few seconds.

use std::path::PathBuf;

use super::args::PushArgs;
use super::servers::{self, Report};
use super::{Exit, Outcome};
use crate::control::view::Push;

pub(super) async fn run(args: PushArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let push = &Push { backend: args.backend, check: args.check, status: args.status };
    servers::each(servers, false, async |server| {
        server.client.push(push).await?;
        Ok(Report { value: (), text: String::new(), exit: Exit::Done })
    })
    .await
}
