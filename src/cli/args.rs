//! The command line as types: every subcommand, its options, and the help that teaches them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::plan::AdminState;

/// An authoritative DNS server that is a load balancer: it answers with the healthy backends of a pool.
#[derive(Debug, Parser)]
#[command(name = "rollcall", version = crate::VERSION, max_term_width = 100, arg_required_else_help = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// Server file [default: ./rollcall.toml, then /etc/rollcall/rollcall.toml]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  rollcall demo                        see it work: backends, a zone and the server on loopback
  rollcall validate                    is what I wrote right?
  rollcall serve                       answer queries
  rollcall status                      who is up, since when and why
  rollcall state 'lb.example.com/web/a' drain --for 30m --reason 'kernel update'

Exit codes: 0 done; 1 the answer is \"no\"; 2 wrong configuration or usage; 4 the server \
could not be reached. `rollcall status` says 0 all well, 1 degraded, 3 critical.";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground
    #[command(after_help = "\
Examples:
  rollcall serve
  rollcall serve --config /etc/rollcall/rollcall.toml

Edited zone files are taken within a second of the last write. SIGHUP, or `rollcall reload`, \
takes them at once. SIGTERM and SIGINT answer what is in flight and exit 0.")]
    Serve(ServeArgs),
    /// Run a complete world on loopback, nothing to configure
    #[command(
        after_help = "\
Examples:
  rollcall demo                        live on a terminal; keys 1 to 4 kill and revive backends
  rollcall demo --for 10s --lines      plain lines, and an end

While it runs, from another terminal (it prints ADDR):
  rollcall demo kill b2 --control ADDR
  rollcall demo revive b2 --control ADDR",
        args_conflicts_with_subcommands = true
    )]
    Demo(DemoArgs),
    /// Load everything and say what is wrong (exit 2), or what was loaded (exit 0)
    #[command(after_help = "\
Examples:
  rollcall validate
  rollcall validate --config staging/rollcall.toml && scp -r staging/zones ns1:/etc/rollcall/

Nothing is bound and no backend is probed.")]
    Validate(ValidateArgs),
    /// Show pools, backends, verdicts and overrides, since when and why
    #[command(after_help = "\
Examples:
  rollcall status
  rollcall status --watch              live; q leaves
  rollcall status --json | jq -r '.zones[].pools[].backends[] | select(.state == \"down\") | .id'
  rollcall status --control unix:/run/rollcall/control.sock

Exit codes: 0 all well, a drain included; 1 a probed backend is down, or the last reload was \
refused; 3 a pool has no tier that reaches min_healthy, whatever it answers then; 4 the server could not be reached.")]
    Status(StatusArgs),
    /// Say which answer a client gets, and every step that led to it
    #[command(after_help = "\
Examples:
  rollcall explain www.lb.example.com
  rollcall explain www.lb.example.com --type AAAA --client 203.0.113.7
  rollcall explain www.lb.example.com --client 203.0.113.0/24 --shares
  rollcall explain www.lb.example.com --down b1,b2           what if these were down?

Exit code 1: no zone here holds the name, or the name does not exist in it.")]
    Explain(ExplainArgs),
    /// Override what the probes say about backends
    #[command(after_help = "\
Examples:
  rollcall state lb.example.com/web/a drain --for 30m --reason 'kernel update'
  rollcall state '*/*/rack7-*' down --reason 'rack 7 loses power'
  rollcall state lb.example.com/web/a auto

auto   as its probes say again: removes the override
up     counts as up, whatever its probes say
down   is not answered
drain  is not answered, is probed still, and alarms nobody

A part of the id is a glob: * any text, ? one character. Quote it, or the shell \
expands it. With a `state_dir` the override is on disk before this returns and outlives a restart. Exit code 1: no backend has such an id.")]
    State(StateArgs),
    /// Send a heartbeat for a backend that has a check of type push
    #[command(after_help = "\
Examples:
  rollcall push lb.example.com/web/a
  rollcall push lb.example.com/web/a --status 'up 75%'
  rollcall push lb.example.com/batch/b --check queue --status 'down # queue is stuck'
  while sleep 10; do rollcall push lb.example.com/web/a --control unix:/run/rollcall/control.sock; done

The status is made of agent-check words: up, down, fail, stopped; ready, drain, maint; 75% (of the configured \
weight); load=30/100 (for the policy least-load); and a reason behind #. Silence longer than the check's `ttl` is \
failure. Without this program: curl -X PUT -d 'up' http://127.0.0.1:8053/v1/push/lb.example.com/web/a. \
Exit code 1: no backend has such an id, or it has no such check.")]
    Push(PushArgs),
    /// Load the files again, wait, and report
    #[command(after_help = "\
Examples:
  rollcall reload
  rollcall reload --control 127.0.0.1:8053

All files or none: when one is wrong the old data goes on answering, the errors are \
printed, and the exit code is 2.")]
    Reload(ReloadArgs),
    /// Play a failure in virtual time: what clients behind caching resolvers would get
    #[command(after_help = "\
Examples:
  rollcall simulate zones/ --script 'kill b1@10s; restore b1@90s'
  rollcall simulate --script 'drain lb.example.com/web/a@30s' --for 5m --json

The same engine, schedule and files as the server's, no socket, no waiting. Steps: kill (connections are refused), \
hang (they time out), restore, drain, up, down, auto. Backends are zone/pool/backend, pool/backend or backend, each part a \
glob. The same arguments give the same report. Exit code 1: a backend of a kill, hang, drain or down step never left the answers.")]
    Simulate(SimulateArgs),
    /// Take backends out for a while, watch what caching clients get, bring them back, report
    #[command(after_help = "\
Examples:
  rollcall drill www --down b2 --for 60s --dry-run
  rollcall drill www.lb.example.com --down b2 --for 60s --stop-when orders --markdown > drill.md
  rollcall drill www --down 'web/rack7-*' --for 5m --reason 'do six bear it?' --json

Refused where it would empty a pool, leave no tier that reaches min_healthy, or meet less capacity than the load that \
backends report. The backends come back after the time, when the check of --stop-when fails on one that stayed, when a pool \
fails open, when this command is interrupted, and by the clock when the server dies. \
Exit code 1: refused, or ended early.")]
    Drill(super::drill::DrillArgs),
    /// Show live answers as they are given: a sample, off until asked
    #[command(after_help = "\
Examples:
  rollcall tail
  rollcall tail 'www.*' --client 203.0.113.0/24
  rollcall tail --rcode SERVFAIL --rate 5 --json | jq -r .client

A tap, not a log: the server never waits for it, and what is above the rate or finds no room is lost and counted. Clients' \
addresses are personal data: a token needs the scope \"write\", and the server's log says who looked.")]
    Tail(super::tail::TailArgs),
    /// Show what changed, when and why: loads, verdicts, overrides, starts
    #[command(after_help = "\
Examples:
  rollcall history
  rollcall history 'lb.example.com/web/*' --since 2h
  rollcall history --json | jq -r '.transitions[].reason' | sort | uniq -c

With `state_dir` this is the journal, over restarts too; without it, the latest hundred changes since the start. Exit code 1: nothing in that time, or nothing of that name.")]
    History(super::history::HistoryArgs),
    /// Print a zone as a master file, as it answers now
    #[command(after_help = "\
Examples:
  rollcall export lb.example.com
  rollcall export lb.example.com --offline > lb.example.com.zone
  rollcall export lb.example.com | named-checkzone lb.example.com /dev/stdin

A balanced name is printed with every address that may be answered now; comments say which pool they are of and why. \
With --offline the files are read, no server is asked, and every backend counts as it does before its first verdict. \
Exit code 1: the server has no such zone.")]
    Export(super::export::ExportArgs),
    /// Turn zones of other servers into zone TOML
    #[command(after_help = "\
Examples:
  rollcall import bind db.example.com --zone example.com
  rollcall import route53 records.json --health-checks checks.json --out new
  rollcall import gdnsd /etc/gdnsd --out new && rollcall validate --config new/rollcall.toml

What could not be carried over is said on standard error and in comments of what is written, never dropped silently.")]
    Import(super::import::ImportArgs),
    /// Print the JSON Schema of zone files or of the server file, for editors
    #[command(after_help = "\
Examples:
  rollcall schema > zone.schema.json
  rollcall schema server > server.schema.json

Editors with Taplo (Even Better TOML) check a file against it when its first line is:
  #:schema ./zone.schema.json")]
    Schema(super::schema::SchemaArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  source <(rollcall completions bash)
  rollcall completions bash > /usr/share/bash-completion/completions/rollcall
  rollcall completions zsh > \"${fpath[1]}/_rollcall\"
  rollcall completions fish > ~/.config/fish/completions/rollcall.fish")]
    Completions(super::shell::CompletionsArgs),
    /// Write manual pages, one for each command
    #[command(after_help = "\
Examples:
  rollcall man /usr/local/share/man/man1
  rollcall man . && man -l rollcall-state.1")]
    Man(super::shell::ManArgs),
    /// Put a new process, of the program as it is installed now, in the server's place without a gap
    #[command(after_help = "\
Examples:
  apt-get install ./rollcall_0.2.0_amd64.deb && rollcall replace
  rollcall replace --control unix:/run/rollcall/control.sock

The new process starts beside the old one with the same arguments and reads the files anew. It takes the very \
sockets, what is known of backends, overrides, serials and counters; the old one finishes what clients have begun. \
SIGUSR2 does the same. Exit code 1: the new one did not come up, and nothing has changed.")]
    Replace(ReplaceArgs),
}

/// `rollcall serve`
#[derive(Debug, Args)]
pub struct ServeArgs {}

/// `rollcall validate`
#[derive(Debug, Args)]
pub struct ValidateArgs {}

/// Where the server is.
#[derive(Debug, Args)]
pub struct ControlArgs {
    /// The server's control listener, 127.0.0.1:8053 or unix:/path; once for each server [default: listen.control of the
    /// server file]
    #[arg(long, value_name = "ADDR")]
    pub control: Vec<String>,
}

/// `rollcall demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End by itself after that time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Plain lines, also on a terminal
    #[arg(long)]
    pub lines: bool,
    /// Act on a demo that runs.
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
}

/// What another terminal may do to a demo.
#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Close a backend's listener and every connection to it
    Kill(DemoBackendArgs),
    /// Open it again
    Revive(DemoBackendArgs),
}

/// `rollcall demo kill` and `rollcall demo revive`
#[derive(Debug, Args)]
pub struct DemoBackendArgs {
    /// b1, b2, b3 or b4
    pub backend: String,
    /// The address that the demo printed
    #[arg(long, value_name = "ADDR")]
    pub control: String,
}

/// `rollcall status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// Stay: a live view on a terminal, else one line a change (with --json, one document a line)
    #[arg(long)]
    pub watch: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `rollcall explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The name asked for
    pub name: String,
    /// The record type
    #[arg(long = "type", value_name = "TYPE", default_value = "A")]
    pub rtype: String,
    /// Whose question: an address, or a network as a resolver sends it (EDNS client subnet) [default: 127.0.0.1]
    #[arg(long, value_name = "NET", value_parser = parse_client)]
    pub client: Option<String>,
    /// Each backend's share of the first places; without --client, hashes of clients are spread over all of them
    #[arg(long)]
    pub shares: bool,
    /// Shares as they were with these backends down: zone/pool/backend, each part a glob, or a backend's name
    #[arg(long, value_name = "BACKEND", value_delimiter = ',')]
    pub down: Vec<String>,
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `rollcall state`
#[derive(Debug, Args)]
pub struct StateArgs {
    /// zone/pool/backend, each part a glob
    #[arg(value_parser = parse_backend)]
    pub backend: String,
    /// The new state
    #[arg(value_enum)]
    pub state: StateWord,
    /// Ends by itself after that time: 90s, 30m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Why: shown by status and explain
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `rollcall push`
#[derive(Debug, Args)]
pub struct PushArgs {
    /// zone/pool/backend
    #[arg(value_parser = parse_backend)]
    pub backend: String,
    /// What the backend says of itself [default: up]
    #[arg(long, value_name = "WORDS")]
    pub status: Option<String>,
    /// Only for this check [default: all of type push]
    #[arg(long, value_name = "NAME")]
    pub check: Option<String>,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `rollcall reload`
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Takes it even when it moves more clients than reload.max_shift allows
    #[arg(long)]
    pub force: bool,
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `rollcall replace`
#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// The same as JSON, stable for scripts
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// The states that a command may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StateWord {
    /// As its probes say
    Auto,
    /// Counts as up
    Up,
    /// Is not answered
    Down,
    /// Is not answered, still probed
    Drain,
}

impl From<StateWord> for AdminState {
    fn from(word: StateWord) -> AdminState {
        match word {
            StateWord::Auto => AdminState::Auto,
            StateWord::Up => AdminState::Up,
            StateWord::Down => AdminState::Down,
            StateWord::Drain => AdminState::Drain,
        }
    }
}

/// Later times have no name in RFC 3339, and clocks no room for them.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; write e.g. 90s, 30m or 2h"))?;
    if duration.is_zero() {
        return Err("must be longer than nothing; write e.g. 90s, 30m or 2h".to_string());
    }
    if duration > LONGEST {
        return Err("must be a century at most; write e.g. 90s, 30m or 2h".to_string());
    }
    Ok(duration)
}

pub(super) fn parse_client(text: &str) -> Result<String, String> {
    let known = text.parse::<IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok();
    if known { Ok(text.to_string()) } else { Err("must be an address or a network, e.g. 203.0.113.0/24".to_string()) }
}

pub(super) fn parse_backend(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() != 3 || parts.iter().any(|part| part.is_empty()) {
        return Err("must be zone/pool/backend, each part a glob, e.g. 'lb.example.com/web/*'".to_string());
    }
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn exit_code(line: &str) -> i32 {
        match Cli::try_parse_from(line.split_whitespace()) {
            Ok(_) => 0,
            Err(error) => error.exit_code(),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn right_lines_parse_and_wrong_ones_are_exit_2() {
        for line in [
            "rollcall serve",
            "rollcall serve --config x.toml",
            "rollcall --config x.toml serve",
            "rollcall demo",
            "rollcall demo --for 10s --lines",
            "rollcall demo kill b2 --control 127.0.0.1:9",
            "rollcall demo revive b2 --control 127.0.0.1:9",
            "rollcall validate",
            "rollcall status --json --watch --control unix:/run/x.sock",
            "rollcall explain www.example.com --type AAAA --client 2001:db8::1",
            "rollcall explain www.example.com --client 192.0.2.0/24 --shares --down a,b",
            "rollcall state a/b/c drain --for 30m --reason because",
            "rollcall state */*/* auto",
            "rollcall reload --control 127.0.0.1:8053",
            "rollcall push a/b/c",
            "rollcall push a/b/c --status up --check heart --control 127.0.0.1:8053",
            "rollcall replace --json --control 127.0.0.1:8053",
            "rollcall drill www --down b2,b3 --for 60s --stop-when orders --dry-run",
            "rollcall drill www --down b2 --for 60s --markdown --control 127.0.0.1:8053",
            "rollcall tail www.* --client 192.0.2.0/24,2001:db8::1 --rcode NXDOMAIN --rate 5 --json",
            "rollcall --help",
            "rollcall state --help",
            "rollcall --version",
        ] {
            assert_eq!(exit_code(line), 0, "{line}");
        }
        for line in [
            "rollcall",
            "rollcall nonsense",
            "rollcall serve --nonsense",
            "rollcall demo --for",
            "rollcall demo --for 0s",
            "rollcall demo --for soon",
            "rollcall demo kill",
            "rollcall demo kill b2",
            "rollcall explain",
            "rollcall explain www.example.com --client nobody",
            "rollcall push",
            "rollcall push a/b",
            "rollcall state a/b/c",
            "rollcall state a/b/c sideways",
            "rollcall state a/b down",
            "rollcall state a//c down",
            "rollcall state a/b/c down --for 0s",
            "rollcall drill www --down b2",
            "rollcall drill www --for 60s",
            "rollcall drill www --down b2 --for 60s --json --markdown",
            "rollcall tail --rate 0",
        ] {
            assert_eq!(exit_code(line), 2, "{line}");
        }
    }

    #[test]
    fn every_subcommand_teaches_by_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("rollcall {}", command.get_name())), "{}", command.get_name());
        }
    }
}

/// `rollcall simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// A directory of zone files [default: those of the server file]
    #[arg(value_name = "ZONES")]
    pub zones: Option<PathBuf>,
    /// What happens: `kill b1@10s; restore b1@90s`
    #[arg(long, value_name = "STEPS")]
    pub script: String,
    /// How long it is watched [default: until a minute after the last step]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Caching resolvers that ask
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub resolvers: u32,
    /// Names that they ask, a glob
    #[arg(long, value_name = "GLOB", default_value = "*")]
    pub names: String,
    /// Chance: phases of resolvers, jitter of probes
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
    /// The time at the beginning, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    pub start: Option<String>,
    /// The same as JSON
    #[arg(long)]
    pub json: bool,
    /// The same as Markdown
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}
