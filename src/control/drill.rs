//! A drill: backends are taken out on purpose, for a while, under the eyes of clients that cache, and come back.
//!
//! ```text
//! assess  may it be done? what it would leave answering, against min_healthy and known capacities
//! run     before -> override `down` with an end of its own -> during -> back -> after -> report
//! clients real queries to the server's own listener, answers kept for their TTL
//! ```
//!
//! The override's end is its own: when the server's client, or the server itself, dies in the middle, the backend comes back
//! by the clock. A drill never makes things worse than they are: when a pool fails open, when the checker doubts itself, or
//! when the named check fails, it ends there and then.

mod assess;
mod clients;
mod run;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use assess::{Assessed, assess};
pub(crate) use run::run;

use super::report::Report;
use super::view::Share;

/// Clients unless said otherwise.
pub const CLIENTS: u32 = 50;
/// Most clients: each has a socket of its own.
pub const MOST_CLIENTS: u32 = 200;
/// Longest drill. Somebody watches it; for longer there are overrides.
pub const LONGEST_MS: u64 = 3600 * 1000;

/// `POST /v1/drill`: what is to be tried.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrillRequest {
    /// A balanced name: whole, or its part in front of the zone where one zone alone has it.
    #[schema(min_length = 1)]
    pub name: String,
    /// Backends to take out: `zone/pool/backend`, each part a glob, or the backend's part alone.
    #[schema(min_items = 1)]
    pub down: Vec<String>,
    /// For how long, milliseconds; an hour at most.
    #[schema(minimum = 1, maximum = 3_600_000)]
    pub for_ms: u64,
    /// Ends early when this check fails on a backend that was not taken out.
    #[serde(default)]
    pub stop_when: Option<String>,
    /// Why: shown with the override.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub reason: Option<String>,
    /// Caching clients that ask; 50 unless said otherwise, 200 at most.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    pub clients: Option<u32>,
    /// Says what would happen, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a drill does and what is expected of it: the answer to a dry run, and the beginning of every report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrillPlan {
    /// The balanced name, without the final dot.
    pub name: String,
    /// Backends that are taken out, `zone/pool/backend`.
    pub down: Vec<String>,
    /// Pools that the name may answer from, `zone/pool`.
    pub pools: Vec<String>,
    /// For how long they are out.
    pub for_ms: u64,
    /// How long a real death of each could go unseen.
    pub unseen: Vec<Unseen>,
    /// Where new answers lead now.
    pub shares: Vec<Share>,
    /// Where new answers lead while they are out.
    pub expected: Vec<Share>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// How long the death of a backend can go unseen. A drill takes out by an override and so cannot measure it: this is the
/// arithmetic of its checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unseen {
    /// `zone/pool/backend`
    pub backend: String,
    /// At the longest; `None` when it has no check.
    pub at_most_ms: Option<u64>,
}

/// What a drill came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrillReport {
    /// What was to be done.
    #[serde(flatten)]
    pub plan: DrillPlan,
    /// Who did it.
    pub by: String,
    /// When it began, RFC 3339: the zero of the report's times.
    pub started: String,
    /// Why it ended before its time; `None` when it did not.
    pub ended_early: Option<String>,
    /// Whether the backends came back by this drill's own word; else their overrides end by themselves.
    pub restored: bool,
    /// Where the clients asked.
    pub server: String,
    /// Clients that cached.
    pub clients: u32,
    /// Queries that they, and those who watched without a cache, asked.
    pub queries: u64,
    /// Of these, how many had no answer in time.
    pub unanswered: u64,
    /// What happened.
    #[serde(flatten)]
    pub report: Report,
}

/// What is told while a drill runs, one server-sent event each.
#[derive(Debug, Clone, PartialEq)]
pub enum DrillEvent {
    /// `event: progress`
    Progress(super::report::Line),
    /// `event: report`, the last.
    Report(Box<DrillReport>),
    /// `event: failed`, the last: a problem that kept the drill from being carried out.
    Failed(String),
}
