//! What the lists of the control listener hold: items of bounded size, a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CheckStatus, DrainStatus, FamilyStatus, NameStatus, OverrideStatus, Share};
use crate::config::plan::AdminState;

/// One page of a list. All pages of a list are of one load of the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// At most as many as were asked for.
    pub items: Vec<T>,
    /// What `after` goes on with; absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A zone, counted rather than listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ZoneSummary {
    /// Without the final dot.
    pub zone: String,
    /// The file that defines it.
    pub file: String,
    /// The serial answered now.
    pub serial: u32,
    /// The worst of its pools, as a pool's `state`; `healthy` without any.
    pub state: String,
    /// Static records.
    pub records: usize,
    /// Balanced names, one for each owner and type.
    pub names: usize,
    /// Pools.
    pub pools: usize,
    /// Backends, one for each pool that has it.
    pub backends: usize,
    /// Routes.
    pub routes: usize,
}

/// One balanced owner and type, and where it belongs.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NameItem {
    /// Its zone, without the final dot.
    pub zone: String,
    /// The name.
    #[serde(flatten)]
    pub name: NameStatus,
}

/// A pool without its backends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolSummary {
    /// `zone/pool`.
    pub id: String,
    /// Its zone, without the final dot.
    pub zone: String,
    /// Its name.
    pub pool: String,
    /// `round-robin`, `weighted`, `random`, `hash`, `least-load`.
    pub policy: String,
    /// As in the status of the whole: `healthy`, `degraded`, `frozen`, `diverted`, `panic` or `closed`.
    pub state: String,
    /// One entry for each family that has backends.
    pub families: Vec<FamilyStatus>,
    /// How many backends it has.
    pub backends: usize,
}

/// One check of one address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckItem {
    /// `zone/pool/backend`.
    pub backend: String,
    /// The address.
    pub address: String,
    /// The check.
    #[serde(flatten)]
    pub check: CheckStatus,
}

/// Whether a backend is in service by anybody's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackendState {
    /// `zone/pool/backend`.
    pub id: String,
    /// State from the file.
    pub configured: AdminState,
    /// A command's override, which wins.
    #[serde(rename = "override")]
    pub forced: Option<OverrideStatus>,
    /// What follows, as a backend's `state`.
    pub state: String,
    /// When it can be stopped; there while it is out of service.
    pub drain: Option<DrainStatus>,
}

/// What each backend of a name answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Shares {
    /// The question, e.g. `www.lb.example.com. A`.
    pub question: String,
    /// Each backend's share of the first places, the largest first.
    pub shares: Vec<Share>,
}

/// What an operator says of one backend: the body of `PUT …/state`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StateRequest {
    /// `auto` removes the override.
    pub state: AdminState,
    /// Ends by itself then: a date and time with an offset (RFC 3339).
    #[serde(default)]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Ends by itself after that time: `30m`, `2h`. With `until` the earlier holds.
    #[serde(default, rename = "for")]
    #[schema(pattern = "^([0-9]{1,9}(ms|s)|[0-9]{1,7}m|[0-9]{1,5}h|[0-9]{1,4}d)$", example = "30m")]
    pub lasting: Option<String>,
    /// Why: it is shown wherever the override is.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub reason: Option<String>,
    /// Who; without it, who asked.
    #[serde(default)]
    #[schema(max_length = 1000)]
    pub by: Option<String>,
}
