//! What loading yields: a plan in which nothing is left to check. Control turns it into snapshots and probes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::diagnostic::Diagnostic;
pub use crate::engine::client::HashKey;
use crate::engine::name::Name;
pub use crate::engine::policy::{MinHealthy, OnAllDown, Target};
use crate::engine::probe::ProbeSpec;
use crate::engine::ranges::ByAddress;
pub use crate::engine::rate_limit::RateLimit;
pub use crate::engine::view::PolicyKind;
use crate::engine::zone::ZoneData;

/// Everything that the files say, checked and resolved.
#[derive(Debug)]
pub struct Plan {
    /// The server file, defaults filled in.
    pub server: ServerPlan,
    /// Every zone, sorted by origin.
    pub zones: Vec<ZonePlan>,
    /// Every pool of every zone. A pool of the server file stands here once for each zone that uses it.
    pub pools: Vec<PoolPlan>,
    /// Every route of every zone, likewise.
    pub routes: Vec<RoutePlan>,
    /// Every distinct probe; equal probes are shared.
    pub probes: Vec<Arc<ProbeSpec>>,
    /// The probes of the canaries, which no pool uses: indices into `probes`.
    pub canaries: Vec<usize>,
    /// What was loaded but deserves a look.
    pub warnings: Vec<Diagnostic>,
    /// When reading began: files that changed since may not be what was read.
    pub began: SystemTime,
}

impl Plan {
    /// No zone and every default: what a server stands on before its first load.
    pub fn empty() -> Plan {
        Plan {
            server: ServerPlan::default(),
            zones: Vec::new(),
            pools: Vec::new(),
            routes: Vec::new(),
            probes: Vec::new(),
            canaries: Vec::new(),
            warnings: Vec::new(),
            began: SystemTime::UNIX_EPOCH,
        }
    }
}

/// The server file.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct ServerPlan {
    /// The file read; `None` when none was found and defaults serve.
    pub file: Option<PathBuf>,
    /// What to watch for edits: the zone directory or the listed files, and files named inside zones.
    pub watched: Vec<PathBuf>,
    /// Where overrides, verdicts and serials are kept.
    pub state_dir: Option<PathBuf>,
    /// User to become once bound.
    pub user: Option<String>,
    /// `listen.dns`: UDP and TCP. `true` when the address came from the default and may be skipped without IPv6.
    pub dns: Vec<ListenAddress>,
    /// `listen.tls`
    pub tls: Vec<SocketAddr>,
    /// `listen.https`
    pub https: Vec<SocketAddr>,
    /// `listen.quic`
    pub quic: Vec<SocketAddr>,
    /// `listen.control`
    pub control: Option<ControlAddress>,
    /// `control.tokens`: who may ask for what over TCP; `None` when no token is needed.
    pub tokens: Option<Arc<[Token]>>,
    /// `[tls]`, paths made absolute.
    pub certificate: Option<CertificateFiles>,
    /// `dns.udp_workers`, 0 resolved to the number of CPUs.
    pub udp_workers: usize,
    /// `checker.exec`: checks may run programs.
    pub exec_checks: bool,
    /// What shapes replies.
    pub dns_options: DnsOptions,
    /// `[checker]`
    pub doubt: DoubtPlan,
    /// `reload.max_shift` in thousandths: a reload that moves a larger share of a name's clients is refused. `None`: no limit.
    pub max_shift: Option<u32>,
    /// `log.level`
    pub log_level: String,
    /// `log.format = "json"`
    pub log_json: bool,
    /// `[events]`: whom to tell of what happens.
    pub hooks: Vec<HookPlan>,
}

/// One `[[events.webhook]]` or `[[events.exec]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookPlan {
    /// Whom.
    pub target: HookTarget,
    /// Of what; sorted.
    pub on: Vec<EventKind>,
    /// For one attempt.
    pub timeout: Duration,
}

/// Whom to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookTarget {
    /// An HTTP server.
    Webhook {
        /// http or https.
        url: String,
        /// What requests are signed with.
        secret: HookSecret,
        /// PEM of the authorities that are trusted in place of the system's.
        ca: Option<Arc<[u8]>>,
    },
    /// A program.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct HookSecret(pub Arc<[u8]>);

impl std::fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookSecret")
    }
}

/// What hooks choose among: the words of `on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A verdict changed, or what a backend says of itself.
    Transition,
    /// A pool begins or ceases to fail open, to be closed, or to be diverted.
    Pool,
    /// The checker begins or ceases to doubt itself.
    Frozen,
    /// A reload was refused.
    ReloadFailed,
    /// A backend was overridden, or an override ended.
    Override,
    /// Configuration was loaded.
    Reload,
    /// The server starts, takes over, or stops.
    Server,
}

/// `[checker]`: when the checker doubts its own sight rather than the backends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoubtPlan {
    /// Share of unrelated targets, in thousandths, that must fail together. `None`: never.
    pub share: Option<u32>,
    /// `checker.canaries`: TCP targets of which at least one answers while the network is well.
    pub canaries: Vec<SocketAddr>,
}

impl Default for DoubtPlan {
    fn default() -> DoubtPlan {
        DoubtPlan { share: Some(500), canaries: Vec::new() }
    }
}

/// One address of `listen.dns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// Where to listen.
    pub address: SocketAddr,
    /// Came from the default list: skipped, not refused, where there is no IPv6.
    pub optional: bool,
}

/// Where the control listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlAddress {
    /// `"127.0.0.1:8053"`
    Tcp(SocketAddr),
    /// `"unix:/run/rollcall/control.sock"`
    Unix(PathBuf),
}

/// A bearer token of the control listener.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// For logs and `by`; no secret.
    pub name: String,
    /// What is sent in `Authorization: Bearer`.
    pub secret: String,
    /// What it may do.
    pub scopes: Scopes,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}, {:?})", self.name, self.scopes)
    }
}

/// What a request to the control listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Looks: status, explain, metrics, events.
    Read,
    /// Changes answers: states, reloads, drills.
    Write,
    /// Reports for a `push` check.
    Push,
}

/// A set of [`Scope`]s. `write` includes `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything: what a listener without tokens grants.
    pub const ALL: Scopes = Scopes(7);

    /// Adds one, and what it includes.
    pub fn add(&mut self, scope: Scope) {
        self.0 |= match scope {
            Scope::Read => 1,
            Scope::Write => 3,
            Scope::Push => 4,
        };
    }

    /// Whether it is granted.
    pub fn has(self, scope: Scope) -> bool {
        let bit = match scope {
            Scope::Read => 1,
            Scope::Write => 2,
            Scope::Push => 4,
        };
        self.0 & bit != 0
    }
}

/// The certificate for DoT, DoH and DoQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// `[dns]`, `[dns.cookies]` and `[dns.rate_limit]`.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct DnsOptions {
    /// Largest UDP reply, octets, 512 to 4096.
    pub max_udp_payload: u16,
    /// NSID as octets; empty: not answered.
    pub nsid: Vec<u8>,
    /// What `version.bind` and `version.server` say in class CH; empty: refused.
    pub version: Vec<u8>,
    /// What `hostname.bind` and `id.server` say; empty: refused.
    pub id: Vec<u8>,
    /// `dns.cookies.enabled`
    pub cookies: bool,
    /// `dns.cookies.secrets`: the first makes cookies, all are accepted. Empty: a random one for this process.
    pub cookie_secrets: Vec<[u8; 16]>,
    /// `[dns.rate_limit]`; `None` when it is not enabled.
    pub rate_limit: Option<RateLimit>,
}

/// One zone.
#[derive(Debug)]
pub struct ZonePlan {
    /// The apex.
    pub origin: Name,
    /// The file that defines it.
    pub file: PathBuf,
    /// Static records, and where balanced names stand in them.
    pub data: Arc<ZoneData>,
    /// How the SOA's serial is made.
    pub serial: SerialPlan,
    /// Balanced names, one entry an owner and type; `ZoneData` refers to them by index.
    pub names: Vec<NamePlan>,
}

/// `soa.serial`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SerialPlan {
    /// Unix seconds at publication, at least one more than the last, at least `floor` (a `zonefile`'s own serial).
    Auto {
        /// The least serial.
        floor: u32,
    },
    /// As written.
    Fixed(u32),
}

/// One balanced owner and type.
#[derive(Debug, Clone, PartialEq)]
pub struct NamePlan {
    /// Owner, `*.…` for a wildcard.
    pub owner: Name,
    /// Record type: A, AAAA, SRV, SVCB or HTTPS.
    pub rtype: u16,
    /// SvcParams of SVCB and HTTPS in wire form, without the hints (RFC 9460 2.2).
    pub params: Arc<[u8]>,
    /// The pool or route.
    pub to: Target,
    /// The name's own TTL; without one that of the pool that answers holds.
    pub ttl: Option<TtlRule>,
    /// Most addresses in an answer; without it, as many as the pool that answers says.
    pub answers: Option<u16>,
}

/// One route of one zone.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutePlan {
    /// The zone it belongs to.
    pub zone: Name,
    /// Its name.
    pub name: String,
    /// What it chooses by, and among what.
    pub kind: RouteKind,
    /// What decides in place of a counter where it draws: some pool below names the same hosts for A and AAAA.
    pub together: Option<HashKey>,
}

/// What a route chooses by.
#[derive(Debug, Clone, PartialEq)]
pub enum RouteKind {
    /// The first that is alive.
    Failover {
        /// In order.
        choices: Vec<Target>,
        /// So many thousandths of the answers go to the next one that is alive.
        trickle: u32,
    },
    /// By weight; weight 0 is a standby.
    Weighted {
        /// With their weights.
        choices: Vec<(Target, u16)>,
    },
    /// By rendezvous.
    Hash {
        /// With their weights.
        choices: Vec<(Target, u16)>,
        /// What is hashed.
        key: HashKey,
    },
    /// By the client's region.
    Map {
        /// The map's name.
        map: String,
        /// Regions and what answers there; one is `default`.
        choices: Vec<(String, Target)>,
        /// The order of choices for every address.
        classes: Arc<Classes>,
        /// Never leaves the region.
        fence: bool,
    },
    /// By distance from the client.
    Nearest {
        /// The map's name.
        map: String,
        /// In the order of the file, for clients whose place is not known.
        choices: Vec<Target>,
        /// The order of choices for every address.
        classes: Arc<Classes>,
    },
    /// By the time of the week.
    Schedule {
        /// Where the clock stands.
        timezone: jiff::tz::TimeZone,
        /// The first alive of those that hold the moment answers.
        windows: Vec<(Window, Target)>,
        /// At all other times, and when those whose windows hold the moment have failed.
        default: Target,
        /// Only the first is tried, alive or not.
        fence: bool,
    },
}

/// For every address, in which order a route's choices are tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// Index into `orders`.
    pub table: ByAddress<u32>,
    /// Indices of choices, at least one each.
    pub orders: Vec<Box<[u16]>>,
}

/// A time of the week, by the clock on the wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Monday first. A window over midnight belongs to the day on which it begins.
    pub days: [bool; 7],
    /// Minutes of the day, from then on.
    pub from: u16,
    /// Minutes of the day, no longer; not above `from`: of the next day. 1440 is the end of the day.
    pub until: u16,
}

impl RoutePlan {
    /// Every choice, in order.
    pub fn choices(&self) -> Vec<Target> {
        match &self.kind {
            RouteKind::Failover { choices, .. } | RouteKind::Nearest { choices, .. } => choices.clone(),
            RouteKind::Weighted { choices } | RouteKind::Hash { choices, .. } => {
                choices.iter().map(|&(to, _)| to).collect()
            }
            RouteKind::Map { choices, .. } => choices.iter().map(|&(_, to)| to).collect(),
            RouteKind::Schedule { windows, default, .. } => {
                windows.iter().map(|&(_, to)| to).chain([*default]).collect()
            }
        }
    }
}

/// A TTL, fixed or following health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TtlRule {
    /// Seconds.
    Fixed(u32),
    /// Follows the time to the next possible change, clamped; seconds.
    Adaptive {
        /// Upper bound.
        max: u32,
        /// Lower bound.
        min: u32,
    },
}

/// One pool of one zone.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolPlan {
    /// The zone it belongs to.
    pub zone: Name,
    /// Its name.
    pub name: String,
    /// How it chooses.
    pub policy: PolicyKind,
    /// `policy = "least-load"`: drawn by weights that follow what the backends report.
    pub least_load: bool,
    /// Default of `answers`.
    pub answers: u16,
    /// What makes a tier good enough.
    pub min_healthy: MinHealthy,
    /// What is answered when no tier is.
    pub on_all_down: OnAllDown,
    /// A backend before its first verdict.
    pub initial: Initial,
    /// The pool's TTL after defaults.
    pub ttl: TtlRule,
    /// What of the client or question decides; `None`: a counter.
    pub reads: Option<HashKey>,
    /// A host with both families is up only when both are.
    pub together: bool,
    /// The label over whose values an answer's addresses are spread.
    pub spread: Option<String>,
    /// How long a backend that returns takes to its full weight; `None`: it has it at once.
    pub slow_start: Option<Duration>,
    /// When every backend of the pool is taken out, known ahead.
    pub maintenance: Vec<Maintenance>,
    /// In the order of the file.
    pub backends: Vec<BackendPlan>,
}

/// A time of maintenance, known ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    /// No cache holds the backend from then on.
    pub from: SystemTime,
    /// It returns then. After `from`.
    pub to: SystemTime,
}

/// `initial`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Initial {
    /// No query is answered before it has a verdict (5 s at most; then up).
    Wait,
    /// Counts as up.
    Up,
    /// Counts as down.
    Down,
}

/// `state` of a backend, in the file or by command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// As its probes say.
    #[default]
    Auto,
    /// Forced up.
    Up,
    /// Forced down: never answered.
    Down,
    /// No longer answered, still probed.
    Drain,
}

/// One backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendPlan {
    /// Its name, unique in the pool; defaults to its address as written.
    pub name: String,
    /// At least one of the two is there, or `cname`.
    pub v4: Option<Ipv4Addr>,
    /// IPv6 address.
    pub v6: Option<Ipv6Addr>,
    /// Lives elsewhere, under that name; then it has no address here.
    pub cname: Option<Name>,
    /// What SRV calls it.
    pub target: Option<Name>,
    /// The service's port.
    pub port: Option<u16>,
    /// 0 = standby.
    pub weight: u16,
    /// 0 is preferred.
    pub tier: u16,
    /// Host header and SNI of its probes.
    pub host: Option<String>,
    /// From the file.
    pub state: AdminState,
    /// When it is taken out, known ahead; the pool's windows hold too.
    pub maintenance: Vec<Maintenance>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Probes of the IPv4 address (indices into [`Plan::probes`], with the check's name); all must be up. Empty: always up. Of
    /// one that lives elsewhere both families have the same.
    pub probes_v4: Vec<ProbeUse>,
    /// Probes of the IPv6 address.
    pub probes_v6: Vec<ProbeUse>,
}

/// One check applied to one address of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeUse {
    /// The check's name, for people.
    pub check: String,
    /// Index into [`Plan::probes`].
    pub probe: usize,
}

impl BackendPlan {
    /// The address of record type `rtype` (1 or 28), if the backend has one.
    pub fn address(&self, rtype: u16) -> Option<IpAddr> {
        match rtype {
            1 => self.v4.map(IpAddr::V4),
            28 => self.v6.map(IpAddr::V6),
            _ => None,
        }
    }

    /// Where answers of that type lead: its address, or the name under which it lives elsewhere.
    pub fn place(&self, rtype: u16) -> Option<String> {
        let address = self.address(rtype).map(|address| address.to_string());
        address.or_else(|| self.cname.as_ref().map(ToString::to_string))
    }

    /// The name that SRV gives: `target`, or where it lives elsewhere.
    pub fn srv_target(&self) -> Option<&Name> {
        self.target.as_ref().or(self.cname.as_ref())
    }

    /// The probes of that family's address.
    pub fn probes(&self, rtype: u16) -> &[ProbeUse] {
        if rtype == 28 { &self.probes_v6 } else { &self.probes_v4 }
    }
}

impl Plan {
    /// One line a zone, as `validate` says it:
    /// `zone lb.example.com (zones/lb.toml): 12 records, 3 names, 2 pools, 4 backends`.
    pub fn summary(&self) -> Vec<String> {
        let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let line = |zone: &ZonePlan| {
            let names: std::collections::HashSet<&Name> = zone.names.iter().map(|name| &name.owner).collect();
            let pools = self.pools.iter().filter(|pool| pool.zone == zone.origin);
            let (pools, backends) =
                pools.fold((0, 0), |(pools, backends), pool| (pools + 1, backends + pool.backends.len()));
            let origin = zone.origin.to_string();
            let origin = if zone.origin.is_root() { "." } else { origin.trim_end_matches('.') };
            let routes = self.routes.iter().filter(|route| route.zone == zone.origin).count();
            let routes = if routes == 0 { String::new() } else { format!("{}, ", count(routes, "route")) };
            format!(
                "zone {origin} ({}): {}, {}, {routes}{}, {}",
                zone.file.display(),
                count(zone.data.record_count(), "record"),
                count(names.len(), "name"),
                count(pools, "pool"),
                count(backends, "backend")
            )
        };
        self.zones.iter().map(line).collect()
    }
}
