//! Whether a drill may be done: judged on the world as it is, by the same selection that would answer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{DrillPlan, DrillRequest, LONGEST_MS, MOST_CLIENTS, Unseen};
use crate::config::plan::{AdminState, BackendPlan, NamePlan, Plan, PoolPlan, ZonePlan};
use crate::config::promise::to_detect_by;
use crate::control::graph::Graph;
use crate::control::handle::ControlError;
use crate::control::overrides::names_backend;
use crate::control::shares::{Shared, of_name};
use crate::control::view::Share;
use crate::control::world::{FAMILIES, Family, World, backend_id, state_word};
use crate::control::zone_text;
use crate::engine::client::Client;
use crate::engine::feedback::Load;
use crate::engine::health::Verdict;
use crate::engine::name::Name;
use crate::engine::policy::{Because, Candidate, Selection, needed, select};
use crate::engine::rrtype;

/// A drill that may be done, and what it needs to know.
#[derive(Debug)]
pub(crate) struct Assessed {
    pub(crate) plan: DrillPlan,
    /// The name that is asked: something below it where it is a wildcard.
    pub(crate) question: Name,
    /// A, AAAA or both.
    pub(crate) rtypes: Vec<u16>,
    /// The zone, without its final dot.
    pub(crate) zone: String,
    /// Whose address is whose, in the pools that may answer.
    pub(crate) backends: HashMap<IpAddr, String>,
    /// Where it is asked.
    pub(crate) server: SocketAddr,
}

/// Judges. Every reason against it is said, not the first alone.
pub(crate) fn assess(world: &World, listening: &[String], request: &DrillRequest) -> Result<Assessed, ControlError> {
    let invalid = ControlError::Invalid;
    if request.for_ms == 0 || request.for_ms > LONGEST_MS {
        return Err(invalid("a drill takes some time, and an hour at most".to_owned()));
    }
    if request.clients.is_some_and(|clients| clients == 0 || clients > MOST_CLIENTS) {
        return Err(invalid(format!("a drill has from 1 to {MOST_CLIENTS} clients")));
    }
    let plan = world.plan().clone();
    let (zone, names) = named(&plan, &request.name)?;
    let pools = pools_of(&plan, &names);
    let victims = victims(&plan, &pools, &request.down)?;
    let server = listener(listening)
        .ok_or_else(|| invalid("the server has no UDP listener that the clients of a drill could ask".to_owned()))?;

    let mut against = Vec::new();
    let mut warnings = Vec::new();
    if let Some(freeze) = world.freeze() {
        against.push(format!("the checker doubts itself: {}", freeze.reason));
    }
    for &(pool, backend) in &victims {
        against.extend(is_in_service(world, &plan.pools[pool], pool, backend));
    }
    for &pool in &pools {
        judge(world, &plan.pools[pool], pool, &victims, &mut against, &mut warnings);
    }
    if let Some(check) = &request.stop_when {
        against.extend(heeds(world, &plan, &zone.origin, check, &victims));
    }
    let unseen = victims.iter().map(|&(pool, backend)| unseen(&plan, &plan.pools[pool], backend)).collect();
    let ids: Vec<String> = victims
        .iter()
        .map(|&(pool, backend)| backend_id(&plan.pools[pool], &plan.pools[pool].backends[backend]))
        .collect();
    if !against.is_empty() {
        return Err(ControlError::Refused(format!("no drill: {}", against.join("; "))));
    }

    let owner = zone_text(&names[0].owner);
    let concrete = owner.strip_prefix("*.").map_or(owner.clone(), |parent| format!("drill.{parent}"));
    let question =
        Name::parse(&concrete, Some(&Name::root())).map_err(|error| invalid(format!("{concrete}: {error}")))?;
    let asker = Shared { client: Client::source(Ipv4Addr::LOCALHOST.into()), question: &question, over_clients: true };
    // A family in which the name has no address would be clients that go nowhere.
    let answered: Vec<&NamePlan> =
        names.iter().copied().filter(|name| !of_name(world, name, &asker, &[]).is_empty()).collect();
    let shares = |down: &[String]| -> Vec<Share> {
        let found = answered.first().map(|name| of_name(world, name, &asker, down)).unwrap_or_default();
        found.into_iter().map(|(backend, share)| Share { backend, share }).collect()
    };
    let backends = pools.iter().flat_map(|&pool| addresses(&plan.pools[pool])).collect();
    let pool_texts = pools.iter().map(|&pool| pool_text(&plan.pools[pool])).collect();
    let (shares, expected) = (shares(&[]), shares(&ids));
    if answered.is_empty() {
        return Err(ControlError::Refused(format!("no drill: nothing is answered for {owner} now")));
    }
    Ok(Assessed {
        question,
        rtypes: answered.iter().map(|name| name.rtype).collect(),
        zone: zone_text(&zone.origin),
        backends,
        server,
        plan: DrillPlan {
            name: owner,
            down: ids,
            pools: pool_texts,
            for_ms: request.for_ms,
            unseen,
            shares,
            expected,
            warnings,
        },
    })
}

/// The balanced addresses of a name: whole, or below one zone.
fn named<'p>(plan: &'p Plan, text: &str) -> Result<(&'p ZonePlan, Vec<&'p NamePlan>), ControlError> {
    let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let mut found: Vec<(&ZonePlan, Vec<&NamePlan>)> = Vec::new();
    for zone in &plan.zones {
        let origin = zone_text(&zone.origin);
        let below = if text == "@" { origin.clone() } else { format!("{text}.{origin}") };
        let fits = |name: &&NamePlan| {
            let owner = zone_text(&name.owner);
            matches!(name.rtype, rrtype::A | rrtype::AAAA) && (owner == text || owner == below)
        };
        let names: Vec<&NamePlan> = zone.names.iter().filter(fits).collect();
        if !names.is_empty() {
            found.push((zone, names));
        }
    }
    match found.len() {
        0 => Err(ControlError::NotFound(format!("no balanced name is \"{text}\""))),
        1 => Ok(found.remove(0)),
        _ => Err(ControlError::Invalid(format!("\"{text}\" is a name of several zones: write it whole"))),
    }
}

fn pools_of(plan: &Plan, names: &[&NamePlan]) -> Vec<usize> {
    let mut pools: Vec<usize> =
        names.iter().flat_map(|name| Graph::new(plan, name.to).pools().collect::<Vec<_>>()).collect();
    pools.sort_unstable();
    pools.dedup();
    pools
}

/// Pool and backend of everything that the patterns name, in the pools that may answer.
fn victims(plan: &Plan, pools: &[usize], patterns: &[String]) -> Result<Vec<(usize, usize)>, ControlError> {
    if patterns.is_empty() {
        return Err(ControlError::Invalid("which backends? name them with `down`".to_owned()));
    }
    let mut found = Vec::new();
    for pattern in patterns {
        let before = found.len();
        for &number in pools {
            let pool = &plan.pools[number];
            let named = |(_, backend): &(usize, &BackendPlan)| names_backend(pattern, &backend_id(pool, backend));
            found.extend(pool.backends.iter().enumerate().filter(named).map(|(at, _)| (number, at)));
        }
        if found.len() == before {
            return Err(ControlError::NotFound(format!(
                "no backend that the name may answer with matches \"{pattern}\""
            )));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Who is out already has nothing to be taken out of, and its override would end with the drill's.
fn is_in_service(world: &World, pool: &PoolPlan, number: usize, backend: usize) -> Option<String> {
    let one = &pool.backends[backend];
    let id = backend_id(pool, one);
    match world.state_of(pool, one) {
        (state, Some(_)) => Some(format!("{id} has an override already ({})", state_word(state))),
        (state @ (AdminState::Down | AdminState::Drain), None) => {
            Some(format!("{id} is out of service ({})", state_word(state)))
        }
        _ if !world.pools[number].families.iter().any(|family| family.answers(backend)) => {
            Some(format!("{id} is not answered now: there is nothing to take out"))
        }
        _ => None,
    }
}

/// What the pool would be without them, in each family.
fn judge(
    world: &World,
    pool: &PoolPlan,
    number: usize,
    victims: &[(usize, usize)],
    against: &mut Vec<String>,
    warnings: &mut Vec<String>,
) {
    let is_victim = |backend: usize| victims.contains(&(number, backend));
    let text = pool_text(pool);
    let mut said: Vec<String> = Vec::new();
    for (&rtype, family) in FAMILIES.iter().zip(&world.pools[number].families) {
        if !family.candidates.iter().any(|one| is_victim(one.backend)) {
            continue;
        }
        let word = rrtype::text(rtype);
        let Some(tier) = healthy(&family.selection) else {
            said.push(format!("pool {text} ({word}) has no tier that reaches min_healthy already"));
            continue;
        };
        let left: Vec<Candidate> = family.candidates.iter().copied().filter(|one| !is_victim(one.backend)).collect();
        if !left.iter().any(|one| one.up) {
            said.push(format!("it would empty pool {text} ({word})"));
            continue;
        }
        let without = chosen(pool, family, &left);
        let Some(next) = healthy(&without) else {
            said.push(format!("no tier of pool {text} ({word}) would reach min_healthy: {}", short_of(pool, &left)));
            continue;
        };
        if next != tier {
            warnings.push(format!("tier {next} of pool {text} ({word}) will answer instead of tier {tier}"));
        }
        let mut failed = family.candidates.clone();
        failed.iter_mut().filter(|one| is_victim(one.backend)).for_each(|one| one.up = false);
        if healthy(&chosen(pool, family, &failed)).is_none() {
            warnings.push(format!(
                "were they to fail instead of being taken out, no tier of pool {text} ({word}) would reach min_healthy"
            ));
        }
        let load = |one: &Candidate| world.said_by(&pool.backends[one.backend], rtype).load;
        said.extend(overload(&family.candidates, &without, load, &text));
    }
    // Families that have the same to say say it once.
    said.dedup();
    against.extend(said);
}

fn chosen(pool: &PoolPlan, family: &Family, candidates: &[Candidate]) -> Selection {
    select(candidates, family.has_family, pool.min_healthy, pool.on_all_down, family.last.as_deref())
}

fn healthy(selection: &Selection) -> Option<u16> {
    match selection {
        Selection::Answer { because: Because::Healthy, tier, .. } => Some(*tier),
        _ => None,
    }
}

fn short_of(pool: &PoolPlan, left: &[Candidate]) -> String {
    let tier = left.iter().map(|one| one.tier).min().unwrap_or_default();
    let of = left.iter().filter(|one| one.tier == tier).count() as u64;
    let up = left.iter().filter(|one| one.tier == tier && one.up).count();
    format!("{} would be needed, {up} of {of} would be up", needed(pool.min_healthy, of))
}

/// The load of all that answer now, on those that would be left: only where every one of them says what it bears.
fn overload(
    candidates: &[Candidate],
    without: &Selection,
    load: impl Fn(&Candidate) -> Option<Load>,
    pool: &str,
) -> Option<String> {
    let Selection::Answer { members, .. } = without else { return None };
    let used: u64 = candidates.iter().filter(|one| one.up).filter_map(&load).map(|load| load.used).sum();
    let mut capacity = 0u64;
    for one in candidates.iter().filter(|one| members.iter().any(|&(member, _)| member == one.backend)) {
        capacity += load(one)?.capacity;
    }
    (used > capacity).then(|| format!("the load of pool {pool} is {used}, and those left bear {capacity}"))
}

/// What the checks of all its addresses promise.
fn unseen(plan: &Plan, pool: &PoolPlan, backend: usize) -> Unseen {
    let one = &pool.backends[backend];
    let at_most = to_detect_by(one, &plan.probes).map(|time| time.as_millis() as u64);
    Unseen { backend: backend_id(pool, one), at_most_ms: at_most }
}

/// Why the named check cannot end the drill: nobody has it, or it fails already.
fn heeds(world: &World, plan: &Plan, zone: &Name, check: &str, victims: &[(usize, usize)]) -> Vec<String> {
    let mut known = false;
    let mut against = Vec::new();
    for (number, pool) in plan.pools.iter().enumerate().filter(|(_, pool)| pool.zone == *zone) {
        for (_, backend) in pool.backends.iter().enumerate().filter(|(at, _)| !victims.contains(&(number, *at))) {
            let uses = FAMILIES.iter().flat_map(|&rtype| backend.probes(rtype)).filter(|one| one.check == check);
            for probe in uses.filter_map(|one| world.probes.get(world.ids[one.probe])) {
                known = true;
                if probe.verdict() == Some(Verdict::Down) {
                    against.push(format!(
                        "check {check} fails already on {}: {}",
                        backend_id(pool, backend),
                        probe.reason
                    ));
                }
            }
        }
    }
    if !known {
        against.push(format!("no backend that stays in service has a check \"{check}\""));
    }
    against.dedup();
    against
}

fn pool_text(pool: &PoolPlan) -> String {
    format!("{}/{}", zone_text(&pool.zone), pool.name)
}

fn addresses(pool: &PoolPlan) -> Vec<(IpAddr, String)> {
    let each = pool.backends.iter().flat_map(|backend| {
        let addresses = FAMILIES.iter().filter_map(|&rtype| backend.address(rtype));
        addresses.map(|address| (address, backend_id(pool, backend)))
    });
    each.collect()
}

/// Where clients on this machine reach the server: a loopback address first, for there they have addresses of their own.
fn listener(listening: &[String]) -> Option<SocketAddr> {
    let mut all: Vec<SocketAddr> = listening
        .iter()
        .filter_map(|text| text.strip_prefix("udp+tcp ").or_else(|| text.strip_prefix("udp ")))
        .filter_map(|text| text.parse().ok())
        .map(|address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
            _ => address,
        })
        .collect();
    all.sort_by_key(|address| (!address.ip().is_loopback(), address.is_ipv6()));
    all.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_ask_where_they_can_have_addresses_of_their_own() {
        let at = |all: &[&str]| {
            listener(&all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>()).map(|one| one.to_string())
        };
        assert_eq!(at(&["udp+tcp 192.0.2.53:53", "udp+tcp [::]:53", "tls 127.0.0.1:853"]).unwrap(), "[::1]:53");
        assert_eq!(at(&["udp+tcp [::1]:53", "udp+tcp 0.0.0.0:53", "control 127.0.0.1:80"]).unwrap(), "127.0.0.1:53");
        assert_eq!(at(&["udp 192.0.2.53:53"]).unwrap(), "192.0.2.53:53");
        assert_eq!(at(&["tls 127.0.0.1:853"]), None);
    }

    #[test]
    fn load_is_judged_only_where_all_of_it_is_known() {
        let one = |backend| Candidate { backend, tier: 0, weight: 1, up: true };
        let all = [one(0), one(1), one(2)];
        let without = Selection::Answer { members: vec![(1, 1), (2, 1)], because: Because::Healthy, tier: 0 };
        let loads = |used: [u64; 3]| move |one: &Candidate| Some(Load { used: used[one.backend], capacity: 100 });
        assert_eq!(overload(&all, &without, loads([60, 60, 60]), "p"), None);
        let said = overload(&all, &without, loads([70, 70, 70]), "p").unwrap();
        assert_eq!(said, "the load of pool p is 210, and those left bear 200");
        let silent = |one: &Candidate| (one.backend != 2).then_some(Load { used: 900, capacity: 1 });
        assert_eq!(overload(&all, &without, silent, "p"), None);
    }
}
