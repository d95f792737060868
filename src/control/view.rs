//! What the control listener says, as values: the JSON of `status --json` and `explain`, stable for scripts. Fields are
//! added, never renamed. Times are RFC 3339 in UTC with milliseconds; durations are milliseconds in fields ending `_ms`.

mod changes;
mod lists;

pub use changes::{Change, ChangesPage, FrozenChange, Kind, OverrideChange, PoolChange, Transitions, What};
pub use lists::{BackendState, CheckItem, NameItem, Page, PoolSummary, Shares, StateRequest, ZoneSummary};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::plan::AdminState;

/// The whole server at one moment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of the running server.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// When it started.
    pub started: String,
    /// When this status was taken.
    pub now: String,
    /// Of the snapshot that answers now.
    pub generation: u64,
    /// Whether and why the checker doubts itself: no backend goes down meanwhile.
    #[serde(default)]
    pub frozen: Option<FrozenStatus>,
    /// `ok`, `degraded` (a probed backend is down, a reload was refused, or health is frozen) or `critical` (a pool has no tier that reaches
    /// `min_healthy`). The exit codes 0, 1 and 3 of `rollcall status`.
    pub health: Health,
    /// Where the server listens, e.g. `udp+tcp 127.0.0.1:5300`.
    pub listening: Vec<String>,
    /// The last reload.
    pub reload: ReloadStatus,
    /// What came in and went out since the start, one entry a transport.
    #[serde(default)]
    pub traffic: Vec<TrafficStatus>,
    /// What the checker did since the start.
    #[serde(default)]
    pub probing: ProbingStatus,
    /// What is kept in `state_dir`, and whether it can be; absent without one.
    #[serde(default)]
    pub memory: Option<MemoryStatus>,
    /// Whom the server tells of what happens.
    #[serde(default)]
    pub hooks: Vec<HookStatus>,
    /// Sorted by name.
    pub zones: Vec<ZoneStatus>,
    /// The latest transitions, oldest first, a hundred at most.
    pub transitions: Vec<TransitionStatus>,
}

/// Whether what is to survive a restart is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryStatus {
    /// Why overrides, verdicts and serials could not be written the last time.
    pub state_error: Option<String>,
    /// Why the journal could not be written the last time.
    pub journal_error: Option<String>,
    /// Records of the journal that wait for the disk.
    pub journal_waiting: usize,
    /// Records of the journal that were lost since the start: there was no room for them.
    pub journal_lost: u64,
}

/// A webhook or a program that is told of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookStatus {
    /// `webhook https://alerts.example.net`, `hook /usr/local/bin/page`.
    pub to: String,
    /// Events delivered since the start.
    pub delivered: u64,
    /// Events that wait, or are under way.
    pub waiting: usize,
    /// Events dropped since the start: the queue was full, or an hour of attempts had passed.
    pub dropped: u64,
    /// Why the latest attempt failed; absent when it did not.
    pub error: Option<String>,
}

/// What one transport counted since the start, its workers together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrafficStatus {
    /// `udp`, `tcp`, `tls`, `https`, `quic`.
    pub transport: String,
    /// Messages received, whatever became of them.
    pub queries: u64,
    /// Replies sent.
    pub replies: u64,
    /// Replies with TC.
    pub truncated: u64,
    /// Dropped: from source port 0 or an old echo service's.
    pub dropped_port: u64,
    /// Not answered: responses, and what is too short for a query.
    pub silent: u64,
    /// Queries longer than is looked at; judged by their beginning.
    pub oversize: u64,
    /// Replies too long for the path, sent again as TC.
    pub too_long: u64,
    /// Replies that rate limiting withheld (or would have, in `log_only`).
    pub rate_limited: u64,
    /// Replies that rate limiting cut to TC.
    pub slipped: u64,
    /// Replies that the kernel did not take.
    pub send_failed: u64,
    /// Receive calls that failed.
    pub receive_failed: u64,
    /// Panics contained: each is a defect to report, and cost one packet or one connection.
    pub panics: u64,
    /// Times that a worker or an accept loop died of one and was started anew.
    #[serde(default)]
    pub restarts: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed because others needed the room.
    pub evicted: u64,
    /// Connections closed because a message, a handshake or a reader took too long.
    pub timed_out: u64,
    /// Times that accepting had to wait because descriptors or memory ran out.
    pub accept_waits: u64,
    /// Replies by RCODE: `NOERROR`, `NXDOMAIN`, `RCODE11`. Those that did not occur are left out.
    pub rcodes: BTreeMap<String, u64>,
}

/// What the checker did since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProbingStatus {
    /// Probes begun.
    pub started: u64,
    /// Results reported.
    pub reported: u64,
    /// Probes that could not be made for want of something on this host.
    pub unable: u64,
    /// Probes that panicked: each is a defect to report, and counted as a failure.
    pub panics: u64,
    /// Probes begun later than a tenth of their interval.
    pub late: u64,
    /// The largest lateness of a probe.
    pub latest_ms: u64,
    /// What is probed, now.
    pub targets: u64,
    /// Probes under way, now.
    pub in_flight: u64,
    /// Connections held by `watch`, now.
    pub watches: u64,
    /// Of these, how many broke.
    pub watches_broken: u64,
}

/// The whole in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All well.
    Ok,
    /// A probed backend is down, or the last reload was refused.
    Degraded,
    /// A pool has no tier that reaches `min_healthy`.
    Critical,
}

/// Verdicts are frozen: much that has nothing in common failed at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FrozenStatus {
    /// Since when.
    pub since: String,
    /// When failures are believed at the latest.
    pub until: String,
    /// Why, in words.
    pub reason: String,
    /// The types concerned: `A`, `AAAA`.
    pub types: Vec<String>,
    /// Probes that fail and count as up.
    pub held: usize,
}

/// When a backend that is out of service can be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainStatus {
    /// `zone/pool/backend`.
    pub id: String,
    /// No cache holds its address from then on; absent while it is answered, and where nobody knows since when it is not.
    pub safe_to_stop_at: Option<String>,
    /// Whether that time has come.
    pub drained: bool,
    /// Pools (`zone/pool`) whose names answer its address still.
    pub answered_by: Vec<String>,
}

/// A time of maintenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowStatus {
    /// No cache holds the backend from then on.
    pub from: String,
    /// It returns then.
    pub to: String,
}

/// A backend that came back and has not its full weight yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StartStatus {
    /// When it came back.
    pub since: String,
    /// The part of its weight that it has now.
    pub percent: u32,
}

/// The last reload, or the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReloadStatus {
    /// Whether it was taken.
    pub ok: bool,
    /// When.
    pub at: String,
    /// What caused it: `start`, `edit`, `SIGHUP`, `command`.
    pub cause: String,
    /// One line each; the errors when it was refused, else warnings and settings that wait for a restart.
    pub messages: Vec<String>,
    /// Errors with source line and caret, for a terminal.
    pub rendered: Vec<String>,
    /// What it moved, or would have moved where it was refused for that; absent at the start and for files that do not load.
    #[serde(default)]
    pub moves: Option<Moves>,
}

/// What a reload moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Moves {
    /// Names whose answers are others, those that move most first.
    pub moved: Vec<MoveStatus>,
    /// Names that moved beside those.
    pub further: usize,
    /// Probes that are new.
    pub checks_new: usize,
    /// Probes that are gone.
    pub checks_gone: usize,
}

/// What a reload moves of one name and type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MoveStatus {
    /// Absolute, without the final dot.
    pub name: String,
    /// `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Clients whose first address is another one, percent.
    pub percent: f64,
    /// Addresses that are no longer answered.
    pub leave: Vec<String>,
    /// Addresses that were not answered before.
    pub join: Vec<String>,
}

/// One zone.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ZoneStatus {
    /// Without the final dot.
    pub zone: String,
    /// The file that defines it.
    pub file: String,
    /// The serial answered now.
    pub serial: u32,
    /// Static records.
    pub records: usize,
    /// Balanced names.
    pub names: Vec<NameStatus>,
    /// In the order of their names.
    pub pools: Vec<PoolStatus>,
    /// In the order of their names.
    #[serde(default)]
    pub routes: Vec<RouteStatus>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RouteStatus {
    /// Its name.
    pub route: String,
    /// `map`, `nearest`, `weighted`, `failover`, `hash` or `schedule`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `alive`, `partly` (for some clients, or in one address family alone) or `failed` (chosen as if all were alive).
    pub state: String,
    /// In the order of the file.
    pub choices: Vec<ChoiceStatus>,
}

/// One choice of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChoiceStatus {
    /// The pool or route.
    pub to: String,
    /// What it is chosen by: a region, `weight 3`, `mon-fri 08:00-18:00`, or empty.
    pub by: String,
    /// As the route's.
    pub state: String,
    /// Whether the clock says so, in a schedule; else true.
    pub now: bool,
}

/// One balanced owner and type.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NameStatus {
    /// Absolute, without the final dot.
    pub name: String,
    /// `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// The pool it answers from, or the route that leads it.
    pub pool: String,
    /// TTL in force, seconds; through a route the least of the pools that may answer.
    pub ttl: u32,
    /// Most addresses in an answer; 0: as many as the pool that answers says.
    pub answers: u16,
}

/// One pool.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PoolStatus {
    /// Its name.
    pub pool: String,
    /// `round-robin`, `weighted`, `random`, `hash`, `least-load`.
    pub policy: String,
    /// The worst of its families: `healthy` (all candidates up), `degraded` (some down, a tier answers), `frozen` (some count
    /// as up only because the checker doubts itself), `diverted` (another pool answers), `panic` (fails open or answers the
    /// last known), `closed` (NODATA, SERVFAIL or REFUSED because all are down or out of service).
    pub state: String,
    /// One entry for each family that has backends.
    pub families: Vec<FamilyStatus>,
    /// In the order of the file.
    pub backends: Vec<BackendStatus>,
}

/// What a pool answers in one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FamilyStatus {
    /// `A` or `AAAA`.
    #[serde(rename = "type")]
    pub rtype: String,
    /// `healthy`, `degraded`, `frozen`, `diverted`, `panic` or `closed`.
    pub state: String,
    /// The tier that answers, when one does.
    pub tier: Option<u16>,
    /// In words: `tier 0: 2 of 3 up`, `all down: failing open`, …
    pub why: String,
    /// TTL in force of a name that has none of its own, seconds.
    pub ttl: u32,
    /// Names of the backends that may be answered now.
    pub answering: Vec<String>,
}

/// One backend.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BackendStatus {
    /// Its name.
    pub backend: String,
    /// `zone/pool/backend`, as `rollcall state` takes it.
    pub id: String,
    /// From the file.
    pub weight: u16,
    /// From the file.
    pub tier: u16,
    /// State from the file.
    pub configured: AdminState,
    /// A command's override, which wins.
    #[serde(rename = "override")]
    pub forced: Option<OverrideStatus>,
    /// `up`, `down`, `unknown`, `unchecked` (no check: always up), the worst of its addresses; `frozen` (fails, and counts as up
    /// while the checker doubts itself); `forced up`; out of service: `draining`, `draining (says the backend)`,
    /// `in maintenance (says the backend)` or `forced down` while caches may hold it, then `drained`.
    pub state: String,
    /// When it can be stopped; there while it is out of service.
    #[serde(default)]
    pub drain: Option<DrainStatus>,
    /// The maintenance that keeps it out now, else the next.
    #[serde(default)]
    pub maintenance: Option<WindowStatus>,
    /// Its slow start.
    #[serde(default)]
    pub starting: Option<StartStatus>,
    /// Answers since the start in which it stood first, whatever the type; not SRV, HTTPS and SVCB, of which clients choose.
    #[serde(default)]
    pub answers: u64,
    /// One entry for each address.
    pub addresses: Vec<AddressStatus>,
}

/// An operator's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverrideStatus {
    /// `up`, `down` or `drain`.
    pub state: AdminState,
    /// When it was said.
    pub since: String,
    /// When it ends by itself.
    pub until: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub by: Option<String>,
}

/// One address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressStatus {
    /// The address.
    pub address: String,
    /// Whether it may be answered now.
    pub answering: bool,
    /// `up`, `down` or `unknown`, as the probes say; `up` without probes.
    pub verdict: String,
    /// Since when the verdict holds; `None` before the first.
    pub since: Option<String>,
    /// What the deciding probe saw; empty without probes.
    pub reason: String,
    /// What the backend says of itself, as agent-check words: `drain 50%`, `load=30/100`; empty when nothing special.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// The weight in force, where the backend's word or load makes it another than configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// One entry for each check.
    pub checks: Vec<CheckStatus>,
}

/// One check of one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckStatus {
    /// The check's name.
    pub check: String,
    /// `up`, `down` or `unknown`.
    pub verdict: String,
    /// Since when.
    pub since: Option<String>,
    /// The latest result in words.
    pub reason: String,
    /// When the latest result came.
    pub last: Option<String>,
    /// How long the latest probe took.
    pub latency_ms: Option<u64>,
    /// Results in a row that contradict the verdict.
    pub contrary: u32,
    /// How many are needed to change it.
    pub needed: u32,
}

/// One change of a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransitionStatus {
    /// When.
    pub at: String,
    /// `zone/pool/backend`.
    pub id: String,
    /// The address.
    pub address: String,
    /// `up`, `down`, `unknown`, …
    pub from: String,
    /// As above.
    pub to: String,
    /// Why.
    pub reason: String,
    /// From the first contrary result to publication, for verdicts.
    pub took_ms: Option<u64>,
}

/// What `explain` is asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExplainQuery {
    /// Presentation form, absolute or not.
    pub name: String,
    /// `A`, `AAAA`, `TXT`, `TYPE65280`, …; default A.
    #[serde(rename = "type", default)]
    pub rtype: Option<String>,
    /// Whose question, an address or a network; default 127.0.0.1.
    #[serde(default)]
    pub client: Option<String>,
    /// Whether the shares are asked for too.
    #[serde(default)]
    pub shares: bool,
    /// Backends that the shares take to be down, with commas between them: `zone/pool/backend`, each part a glob, or the
    /// backend's part alone.
    #[serde(default)]
    pub down: Option<String>,
}

/// How an answer comes about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The question, e.g. `www.lb.example.com. A`.
    pub question: String,
    /// The zone that answers; `None` when no zone here holds the name (exit 1).
    pub zone: Option<String>,
    /// Whether the name exists (exit 1 when not).
    pub exists: bool,
    /// `NOERROR`, `NXDOMAIN`, …
    pub rcode: String,
    /// The records of the answer section in presentation form.
    pub answer: Vec<String>,
    /// Each step in words, in order.
    pub steps: Vec<String>,
    /// The network whose clients all get this answer; `None`: every client does, or nothing is answered.
    #[serde(default)]
    pub scope: Option<String>,
    /// Each backend's share of the first places, the largest first; only when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Vec<Share>>,
}

/// One backend's share of a name's answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Share {
    /// `zone/pool/backend`
    pub backend: String,
    /// Of the first places, 0 to 1.
    pub share: f64,
}

/// `rollcall state`: the body of `PUT /v1/state`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StateChange {
    /// `zone/pool/backend`, each part a glob.
    #[schema(pattern = "^[^/]+/[^/]+/[^/]+$", example = "lb.example.com/web/b*")]
    pub backend: String,
    /// `auto` removes the override.
    pub state: AdminState,
    /// Ends by itself after that many milliseconds.
    #[serde(default)]
    #[schema(maximum = 3_162_240_000_000_u64)]
    pub for_ms: Option<u64>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who.
    #[serde(default)]
    pub by: Option<String>,
}

/// What a state change did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct StateChanged {
    /// The ids it applied to, sorted.
    pub backends: Vec<String>,
    /// Whether it is on disk.
    pub kept: bool,
    /// When those that it took out of service can be stopped.
    #[serde(default)]
    pub clocks: Vec<DrainStatus>,
    /// Anything the operator should know: `no state_dir: ends with the process`, `leaves pool web without candidates`.
    pub warnings: Vec<String>,
}

/// A heartbeat: `PUT /v1/push/ZONE/POOL/BACKEND`, whose body is the status.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Push {
    /// `zone/pool/backend`
    pub backend: String,
    /// Only this check's; else all of type `push`.
    #[serde(default)]
    pub check: Option<String>,
    /// Agent-check words: `up`, `down # why`, `drain`, `75%`, `load=30/100`; default `up`.
    #[serde(default)]
    pub status: Option<String>,
}

/// What a heartbeat did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pushed {
    /// How many probes took it in; their verdicts follow.
    pub probes: usize,
}

impl Problem {
    /// The problem details of that status code, with what is wrong in one sentence.
    pub fn new(status: axum::http::StatusCode, error: String) -> Problem {
        let title = status.canonical_reason().unwrap_or("error").to_owned();
        Problem { title, status: status.as_u16(), detail: error.clone(), error }
    }
}

/// Errors of the control listener: problem details (RFC 9457).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The status code in words.
    #[serde(default)]
    pub title: String,
    /// The status code.
    #[serde(default)]
    pub status: u16,
    /// One sentence.
    #[serde(default)]
    pub detail: String,
    /// The same sentence, under the name it had first.
    pub error: String,
}
