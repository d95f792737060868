//! Reads `[pools.NAME]`: backends and how one is chosen. Names of checks and of other pools stay names here; they are
//! resolved when a zone is compiled, since a pool of the server file belongs to every zone that uses it.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::checks::{check_name, host};
use super::instances;
use super::keys;
use super::maintenance;
use super::maps::Site;
use super::plan::{AdminState, HashKey, Initial, Maintenance, MinHealthy, OnAllDown, PolicyKind, TtlRule};
use super::promise::{self, Promise};
use super::reader::{Table, Value};
use super::source::{Place, Problem, Report};

/// Largest TTL (RFC 2181 8).
pub(super) const MOST_TTL: u64 = 0x7fff_ffff;
/// A reply over TCP holds no more addresses than this by far.
pub(super) const MOST_ANSWERS: u64 = 1000;

/// One pool as written, defaults filled in but for its TTL.
#[derive(Debug, Clone)]
pub(super) struct PoolDef {
    /// Where its name stands.
    pub(super) place: Place,
    pub(super) policy: PolicyKind,
    pub(super) least_load: bool,
    pub(super) answers: u16,
    pub(super) min_healthy: MinHealthy,
    pub(super) on_all_down: AllDown,
    pub(super) initial: Initial,
    pub(super) ttl: Option<TtlRule>,
    /// What of the client or question decides instead of a counter.
    pub(super) reads: Option<HashKey>,
    pub(super) together: bool,
    pub(super) spread: Option<String>,
    /// Where it is, for routes by distance.
    pub(super) at: Option<Site>,
    pub(super) checks: Vec<Named>,
    pub(super) slow_start: Option<Duration>,
    pub(super) maintenance: Vec<Maintenance>,
    pub(super) max_failover: Option<Promise>,
    pub(super) backends: Vec<BackendDef>,
}

/// `on_all_down`, the other pool still a name.
#[derive(Debug, Clone)]
pub(super) enum AllDown {
    Do(OnAllDown),
    To(Named),
}

/// A reference by name.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) place: Place,
}

/// One backend as written.
#[derive(Debug, Clone)]
pub(super) struct BackendDef {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) v4: Option<Ipv4Addr>,
    pub(super) v6: Option<Ipv6Addr>,
    /// In place of addresses.
    pub(super) cname: Option<Named>,
    /// What SRV and HTTPS call it.
    pub(super) target: Option<Named>,
    pub(super) port: Option<u16>,
    pub(super) weight: u16,
    pub(super) tier: u16,
    pub(super) host: Option<String>,
    pub(super) state: AdminState,
    pub(super) maintenance: Vec<Maintenance>,
    pub(super) labels: BTreeMap<String, String>,
    /// Replace the pool's when given.
    pub(super) checks: Option<Vec<Named>>,
}

/// Pools by name.
pub(super) type Pools = BTreeMap<String, PoolDef>;

/// Reads the table `pools`.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Pools {
    let mut pools = Pools::new();
    for (name, value) in table.entries() {
        check_name("pool", name, value.key_place, report);
        if let Some(table) = value.table(report) {
            pools.insert(name.to_owned(), read_pool(&table, report));
        }
    }
    pools
}

/// A TTL: a number, or `{ max, min }`.
pub(super) fn ttl_rule(value: &Value<'_>, report: &mut Report) -> Option<TtlRule> {
    let Some(table) = value.as_table() else {
        if value.as_integer().is_none() {
            value.wrong("a number of seconds, or { max = 60, min = 5 }", report);
            return None;
        }
        return value.integer(0..=MOST_TTL, report).map(|ttl| TtlRule::Fixed(ttl as u32));
    };
    table.expect_keys(&[&keys::ADAPTIVE_TTL], &[], report);
    let mut bound = |key: &str| match table.get(key) {
        Some(value) => value.integer(0..=MOST_TTL, report),
        None => {
            let message = format!("{:?} lacks {key:?}: both max and min are required", value.path);
            report.add(Problem::error(value.place, message).key(value.path.as_str()));
            None
        }
    };
    let (max, min) = (bound("max"), bound("min"));
    let (max, min) = (max? as u32, min? as u32);
    if min > max {
        let message = format!("{:?} has min {min} above max {max}", value.path);
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
    }
    Some(TtlRule::Adaptive { max, min })
}

fn read_pool(table: &Table<'_>, report: &mut Report) -> PoolDef {
    table.expect_keys(&[&keys::POOL], &[], report);
    // Least load is drawn by weight; only where the weights come from is its own.
    let least_load = table.get("policy").is_some_and(|value| value.value.as_str() == Some("least-load"));
    let policy = table.get("policy").and_then(|value| policy(&value, report)).unwrap_or(PolicyKind::RoundRobin);
    let answers = table.get("answers").and_then(|value| value.integer(1..=MOST_ANSWERS, report));
    let default_answers = if matches!(policy, PolicyKind::Weighted | PolicyKind::Hash) { 1 } else { 8 };
    let families = [("independent", false), ("together", true)];
    let together = table.get("family").and_then(|value| value.word(&families, report)).unwrap_or(false);
    let reads = (policy == PolicyKind::Hash || together).then(|| hash_key(table, report));
    if reads.is_none()
        && let Some(key) = ["key", "ipv4_prefix", "ipv6_prefix"].iter().find_map(|key| table.get(key))
    {
        let message = format!("{:?} is heeded with policy = \"hash\" or family = \"together\" alone", key.path);
        report.add(Problem::error(key.key_place, message).key(key.path.as_str()));
    }
    let backends = backends(table, report);
    if together {
        warn_of_lone_families(&backends, report);
    }
    if reads.is_some() {
        refuse_aliases(&backends, table, report);
    }
    let spread = table.get("spread").and_then(|value| spread(&value, &backends, report));
    let initial = [("wait", Initial::Wait), ("up", Initial::Up), ("down", Initial::Down)];
    PoolDef {
        place: table.place,
        policy,
        least_load,
        answers: answers.map_or(default_answers, |count| count as u16),
        min_healthy: table
            .get("min_healthy")
            .and_then(|value| min_healthy(&value, report))
            .unwrap_or(MinHealthy::Count(1)),
        on_all_down: table
            .get("on_all_down")
            .and_then(|value| all_down(&value, report))
            .unwrap_or(AllDown::Do(OnAllDown::Open)),
        initial: table.get("initial").and_then(|value| value.word(&initial, report)).unwrap_or(Initial::Wait),
        ttl: table.get("ttl").and_then(|value| ttl_rule(&value, report)),
        reads,
        together,
        spread,
        at: table.get("at").and_then(|value| coordinates(&value, report)),
        checks: checks_of(table, report).unwrap_or_default(),
        slow_start: table.get("slow_start").and_then(|value| value.duration(report)),
        maintenance: maintenance::read(table, report),
        max_failover: promise::read(table, report),
        backends,
    }
}

/// `key`, `ipv4_prefix` and `ipv6_prefix`, of a pool or a route.
pub(super) fn hash_key(table: &Table<'_>, report: &mut Report) -> HashKey {
    let by_name = table.get("key").and_then(|value| value.word(&[("client", false), ("name", true)], report));
    let mut prefix = |key: &str, default: u8, most: u64| {
        let value = table.get(key)?;
        if by_name == Some(true) {
            let message = format!("{:?} is of no use with key = \"name\"", value.path);
            report.add(Problem::error(value.key_place, message).key(value.path.as_str()));
        }
        value.integer(0..=most, report).map_or(Some(default), |bits| Some(bits as u8))
    };
    let (ipv4_prefix, ipv6_prefix) = (prefix("ipv4_prefix", 24, 32), prefix("ipv6_prefix", 56, 128));
    if by_name == Some(true) {
        return HashKey::Name;
    }
    HashKey::Client { ipv4_prefix: ipv4_prefix.unwrap_or(24), ipv6_prefix: ipv6_prefix.unwrap_or(56) }
}

/// `[latitude, longitude]` in degrees.
pub(super) fn coordinates(value: &Value<'_>, report: &mut Report) -> Option<Site> {
    let number = |value: &Value<'_>, most: f64| {
        let number = match value.value.as_float() {
            Some(float) => float.as_str().replace('_', "").parse().ok(),
            None => value.as_integer().map(|number| number as f64),
        };
        number.filter(|number: &f64| (-most..=most).contains(number))
    };
    let items = value.items();
    let site = match items.as_slice() {
        [latitude, longitude] if value.value.is_array() => number(latitude, 90.0).zip(number(longitude, 180.0)),
        _ => None,
    };
    if site.is_none() {
        value.wrong("a place like [50.11, 8.68]: degrees of latitude and longitude", report);
    }
    site
}

/// The label; said when a backend lacks it.
fn spread(value: &Value<'_>, backends: &[BackendDef], report: &mut Report) -> Option<String> {
    let label = value.string(report)?;
    let without: Vec<&str> =
        backends.iter().filter(|one| !one.labels.contains_key(label)).map(|one| one.name.as_str()).collect();
    if !backends.is_empty() && without.len() == backends.len() {
        let known = backends.iter().flat_map(|one| one.labels.keys()).map(String::as_str);
        let help = super::diagnostic::did_you_mean(label, known);
        let message = format!("no backend has the label {label:?}, over which answers are to be spread");
        report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
    } else if !without.is_empty() {
        let message = format!("without the label {label:?}, and so in one place together: {}", without.join(", "));
        report.add(Problem::warning(value.place, message).key(value.path.as_str()));
    }
    Some(label.to_owned())
}

/// Where the client decides, an alias beside addresses would be one client's whole answer in one family alone.
fn refuse_aliases(backends: &[BackendDef], pool: &Table<'_>, report: &mut Report) {
    if let Some(one) = backends.iter().find(|one| one.cname.is_some()) {
        let message = format!("in {:?} the client decides, so {:?} cannot have a cname", pool.path, one.name);
        let help = "put that backend into a pool of its own, and a route above both".to_owned();
        report.add(Problem::error(one.place, message).key(pool.path.as_str()).help(help));
    }
}

/// Of hosts with one family the other cannot say the same.
fn warn_of_lone_families(backends: &[BackendDef], report: &mut Report) {
    for one in backends {
        if one.v4.is_none() || one.v6.is_none() {
            let lacks = if one.v4.is_none() { "IPv4" } else { "IPv6" };
            let message = format!(
                "{:?} has no {lacks} address: answers of the two families cannot name the same hosts everywhere",
                one.name
            );
            report.add(Problem::warning(one.place, message));
        }
    }
}

fn policy(value: &Value<'_>, report: &mut Report) -> Option<PolicyKind> {
    let known = [
        ("round-robin", PolicyKind::RoundRobin),
        ("weighted", PolicyKind::Weighted),
        ("random", PolicyKind::Random),
        ("hash", PolicyKind::Hash),
        ("least-load", PolicyKind::Weighted),
    ];
    value.word(&known, report)
}

fn min_healthy(value: &Value<'_>, report: &mut Report) -> Option<MinHealthy> {
    if value.value.is_str() {
        return match value.share(report)? {
            0 => {
                value.wrong("at least one backend: a number from 1, or a share above \"0%\"", report);
                None
            }
            share => Some(MinHealthy::Share(share)),
        };
    }
    value.integer(1..=65535, report).map(|count| MinHealthy::Count(count as u32))
}

fn all_down(value: &Value<'_>, report: &mut Report) -> Option<AllDown> {
    if let Some(table) = value.as_table() {
        table.expect_keys(&[&keys::DIVERT], &[], report);
        let Some(to) = table.get("to") else {
            value.wrong("{ to = \"other pool\" }", report);
            return None;
        };
        return Some(AllDown::To(Named { name: to.string(report)?.to_owned(), place: to.place }));
    }
    let known = [
        ("open", OnAllDown::Open),
        ("every", OnAllDown::Every),
        ("last", OnAllDown::Last),
        ("nodata", OnAllDown::NoData),
        ("servfail", OnAllDown::ServFail),
        ("refused", OnAllDown::Refused),
    ];
    value.word(&known, report).map(AllDown::Do)
}

/// `check` or `checks`; `None` when neither is there.
fn checks_of(table: &Table<'_>, report: &mut Report) -> Option<Vec<Named>> {
    let (one, many) = (table.get("check"), table.get("checks"));
    if let (Some(one), Some(many)) = (&one, &many) {
        let message = format!("{:?} has both \"check\" and \"checks\"; one of them says it all", table.path);
        report.add(Problem::error(many.key_place, message).key(table.path.as_str()).beside(one.key_place, "and here"));
    }
    if let Some(value) = one {
        let name = value.string(report)?;
        return Some(vec![Named { name: name.to_owned(), place: value.place }]);
    }
    let mut all: Vec<Named> = Vec::new();
    for (name, item) in many?.strings(report) {
        match all.iter().find(|other| other.name == name) {
            Some(other) => {
                let problem = Problem::error(item.place, format!("check {name:?} is listed twice"));
                report.add(problem.key(item.path.as_str()).beside(other.place, "first here"));
            }
            None => all.push(Named { name: name.to_owned(), place: item.place }),
        }
    }
    Some(all)
}

fn backends(pool: &Table<'_>, report: &mut Report) -> Vec<BackendDef> {
    let Some(value) = pool.get("backends") else {
        let message = format!("pool {:?} lacks \"backends\"", pool.path);
        let help = "write backends = [{ name = \"a\", address = \"192.0.2.10\" }]".to_owned();
        report.add(Problem::error(pool.place, message).key(pool.path.as_str()).help(help));
        return Vec::new();
    };
    if !value.value.is_array() {
        value.wrong("a list of backends", report);
        return Vec::new();
    }
    let items = value.items();
    if items.is_empty() {
        let message = format!("{:?} is empty: a pool needs at least one backend", value.path);
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
    }
    let mut all: Vec<BackendDef> = Vec::with_capacity(items.len());
    let mut names: HashMap<String, Place> = HashMap::new();
    let mut addresses: HashMap<IpAddr, Place> = HashMap::new();
    for item in items {
        let Some(table) = item.table(report) else {
            continue;
        };
        let Some(backend) = read_backend(&table, &item, &mut addresses, report) else {
            continue;
        };
        for backend in instances::each_port(backend, &table, report) {
            if let Some(first) = names.insert(backend.name.clone(), backend.place) {
                let message = format!("two backends of {:?} are named {:?}", pool.path, backend.name);
                let problem = Problem::error(backend.place, message);
                report.add(problem.key(item.path.as_str()).beside(first, "first here"));
            }
            all.push(backend);
        }
    }
    all
}

fn read_backend(
    table: &Table<'_>,
    item: &Value<'_>,
    addresses: &mut HashMap<IpAddr, Place>,
    report: &mut Report,
) -> Option<BackendDef> {
    table.expect_keys(&[&keys::BACKEND], &[], report);
    let states =
        [("auto", AdminState::Auto), ("up", AdminState::Up), ("down", AdminState::Down), ("drain", AdminState::Drain)];
    let small = |key: &str, default: u16, least: u64, report: &mut Report| {
        let value = table.get(key).and_then(|value| value.integer(least..=65535, report));
        value.map_or(default, |number| number as u16)
    };
    let mut backend = BackendDef {
        name: String::new(),
        place: item.place,
        v4: None,
        v6: None,
        cname: named(table, "cname", report),
        target: named(table, "target", report),
        port: Some(small("port", 0, 1, report)).filter(|&port| port != 0),
        weight: small("weight", 1, 0, report),
        tier: small("tier", 0, 0, report),
        host: table.get("host").and_then(|value| host(&value, report)),
        state: table.get("state").and_then(|value| value.word(&states, report)).unwrap_or_default(),
        maintenance: maintenance::read(table, report),
        labels: table
            .get("labels")
            .and_then(|value| value.table(report))
            .map(|table| labels(&table, report))
            .unwrap_or_default(),
        checks: checks_of(table, report),
    };
    let first_address = match (&backend.cname, table.get("address")) {
        (Some(cname), Some(value)) => {
            let message = format!("{:?} has both \"address\" and \"cname\": it is either here or elsewhere", item.path);
            report
                .add(Problem::error(value.key_place, message).key(item.path.as_str()).beside(cname.place, "and here"));
            return None;
        }
        (Some(cname), None) => Some(cname.name.trim_end_matches('.').to_owned()),
        (None, _) => read_addresses(table, item, &mut backend, addresses, report).map(str::to_owned),
    };
    match table.get("name") {
        Some(value) => {
            let name = value.string(report)?;
            check_name("backend", name, value.place, report);
            backend.name = name.to_owned();
            backend.place = value.place;
        }
        None => backend.name = first_address?,
    }
    Some(backend)
}

/// A text under that key, with its place.
fn named(table: &Table<'_>, key: &str, report: &mut Report) -> Option<Named> {
    let value = table.get(key)?;
    Some(Named { name: value.string(report)?.to_owned(), place: value.place })
}

/// Fills in the backend's addresses, and gives the first as it is written.
fn read_addresses<'t>(
    table: &Table<'t>,
    item: &Value<'_>,
    backend: &mut BackendDef,
    addresses: &mut HashMap<IpAddr, Place>,
    report: &mut Report,
) -> Option<&'t str> {
    let Some(value) = table.get("address") else {
        let problem = Problem::error(item.place, format!("backend {:?} lacks \"address\"", item.path));
        report.add(problem.key(item.path.as_str()));
        return None;
    };
    let written = value.strings(report);
    if value.value.as_array().is_some_and(|list| list.is_empty()) {
        value.wrong("one IPv4 address, one IPv6 address, or one of each", report);
    }
    for (_, item) in &written {
        let Some(address) = item.parsed::<IpAddr>("an IPv4 or IPv6 address", report) else {
            continue;
        };
        let twice = match address {
            IpAddr::V4(address) => backend.v4.replace(address).is_some(),
            IpAddr::V6(address) => backend.v6.replace(address).is_some(),
        };
        if twice {
            value.wrong("one IPv4 address, one IPv6 address, or one of each", report);
        } else if let Some(&first) = addresses.get(&address) {
            // Two services of one machine, told apart by port, may stand in one pool; an RRset holds the address once.
            let message = format!("two backends of one pool have the address {address}; it is answered once");
            let problem = Problem::warning(item.place, message);
            report.add(problem.key(item.path.as_str()).beside(first, "first here"));
        } else {
            addresses.insert(address, item.place);
        }
    }
    written.first().map(|(text, _)| *text)
}

fn labels(table: &Table<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let entries = table.entries().into_iter();
    entries.filter_map(|(key, value)| Some((key.to_owned(), value.string(report)?.to_owned()))).collect()
}
