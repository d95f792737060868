//! `rollcall export`: a zone as a master file, from a running server or from the files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::ControlArgs;
use super::{Exit, Failure, Outcome, output, progress, servers};
use crate::config;
use crate::control::{ControlError, export};

/// `rollcall export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The zone's name
    pub zone: String,
    /// Read the files and ask no server
    #[arg(long, conflicts_with = "control")]
    pub offline: bool,
    /// Whose answers, where routes read the client [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

pub(super) async fn run(args: ExportArgs, config: Option<PathBuf>) -> Outcome {
    let waiting = progress::waiting("writing the zone");
    let text = if args.offline {
        offline(&args.zone, args.client, config.as_deref())?
    } else {
        servers::only(&args.control, config.as_deref(), "export asks")?.client.export(&args.zone, args.client).await?
    };
    drop(waiting);
    output::print_last(&text)?;
    Ok(Exit::Done)
}

fn offline(zone: &str, client: Option<IpAddr>, config: Option<&Path>) -> Result<String, Failure> {
    let plan = config::load(config).map_err(|error| Failure::wrong(error.to_string()))?;
    export::offline(plan, zone, client.unwrap_or(Ipv4Addr::LOCALHOST.into())).map_err(|error| match error {
        ControlError::Invalid(message) => Failure::wrong(message),
        other => Failure::new(Exit::No, other.to_string()),
    })
}
