//! `rollcall push`: a heartbeat from beside a backend. Says nothing when it was taken: it runs every few seconds.

use std::path::PathBuf;

use super::args::PushArgs;
use super::{Exit, Outcome, connect};
use crate::control::view::Push;

pub(super) async fn run(args: PushArgs, config: Option<PathBuf>) -> Outcome {
    let client = connect(&args.control, config.as_deref())?;
    client.push(&Push { backend: args.backend, check: args.check, status: args.status }).await?;
    Ok(Exit::Done)
}
