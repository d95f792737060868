//! `rollcall drill`: takes backends out on purpose, and reports what clients had of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::args::{ControlArgs, parse_duration};
use super::progress::{self, Progress};
use super::servers::{self, Report, Server};
use super::{Exit, Outcome, report};
use crate::control::client::ClientError;
use crate::control::drill::{DrillEvent, DrillPlan, DrillReport, DrillRequest};

/// `rollcall drill`
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// The balanced name: whole, or its part in front of the zone
    pub name: String,
    /// Backends to take out: zone/pool/backend, pool/backend or backend, each part a glob
    #[arg(long, value_name = "BACKEND", value_delimiter = ',', required = true)]
    pub down: Vec<String>,
    /// For how long: 60s, 5m; an hour at most
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Duration,
    /// Ends early when this check fails on a backend that stays in service
    #[arg(long, value_name = "CHECK")]
    pub stop_when: Option<String>,
    /// Why: shown by status beside the override
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Caching clients that ask
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub clients: u32,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The report as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The report as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Said {
    Plan(DrillPlan),
    Report(Box<DrillReport>),
}

pub(super) async fn run(args: DrillArgs, config: Option<PathBuf>) -> Outcome {
    let servers = servers::named(&args.control, config.as_deref())?;
    let request = DrillRequest {
        name: args.name,
        down: args.down,
        for_ms: u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX),
        stop_when: args.stop_when,
        reason: args.reason,
        clients: Some(args.clients),
        dry_run: args.dry_run,
    };
    let (request, markdown) = (&request, args.markdown);
    let several = servers.len() > 1;
    let waiting = &progress::waiting("drill");
    servers::each(servers, args.json, async |server| {
        if request.dry_run {
            let plan = server.client.drill_plan(request).await?;
            return Ok(Report { text: report::plan_text(&plan), value: Said::Plan(plan), exit: Exit::Done });
        }
        let done = carry_out(&server, request, several, waiting).await?;
        let text = if markdown { report::drill_markdown(&done) } else { report::drill_text(&done) };
        let exit = if done.ended_early.is_some() || !done.restored { Exit::No } else { Exit::Done };
        Ok(Report { text, value: Said::Report(Box::new(done)), exit })
    })
    .await
}

/// Until the report is there. An interrupt ends this process, and the server then ends the drill.
async fn carry_out(
    server: &Server,
    request: &DrillRequest,
    several: bool,
    waiting: &Progress,
) -> Result<DrillReport, ClientError> {
    let mut events = server.client.drill(request).await?;
    while let Some(event) = events.next().await? {
        match event {
            DrillEvent::Progress(line) if several => waiting.say(format!("{}: {}", server.client.address(), line.what)),
            DrillEvent::Progress(line) => waiting.say(line.what),
            DrillEvent::Report(report) => return Ok(*report),
            DrillEvent::Failed(error) => return Err(ClientError::Refused { status: 500, error }),
        }
    }
    let cause = "it ended in the middle of the drill; the override ends by itself".to_owned();
    Err(ClientError::Unreachable { address: server.client.address().to_owned(), cause })
}
