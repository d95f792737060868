//! The world as `status` shows it.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use super::overrides::Override;
use super::view::{
    AddressStatus, BackendStatus, CheckStatus, DrainStatus, FamilyStatus, FrozenStatus, Health, NameStatus,
    OverrideStatus, PoolStatus, StartStatus, TransitionStatus, WindowStatus, ZoneStatus,
};
use super::world::{Answers, Clock, FAMILIES, Transition, World, backend_id, verdict_word};
use super::zone_text;
use crate::config::plan::{AdminState, BackendPlan, PolicyKind, PoolPlan, Target, ZonePlan};
use crate::engine::health::Verdict;
use crate::engine::policy::{Because, Nothing, Selection, needed};
use crate::engine::rrtype;
use crate::engine::snapshot::Zone;

/// What a pool can be, the worst last.
pub(crate) const POOL_STATES: [&str; 6] = ["healthy", "degraded", "frozen", "diverted", "panic", "closed"];

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time_text(time: SystemTime) -> String {
    // A clock before 1970 is a clock not set yet, and humantime refuses to print it; likewise a year of five digits.
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_millis(time.clamp(SystemTime::UNIX_EPOCH, latest)).to_string()
}

/// All zones with their pools.
pub(crate) fn zones(world: &World) -> Vec<ZoneStatus> {
    let plan = world.plan();
    let seen = Seen::of(world);
    plan.zones
        .iter()
        .zip(&world.of_zones)
        .zip(world.snapshot().zones.iter())
        .map(|((zone, own), answering)| {
            let names = (0..zone.names.len()).map(|index| name(world, zone, answering, index));
            ZoneStatus {
                zone: zone_text(&zone.origin),
                file: zone.file.display().to_string(),
                serial: answering.soa.serial(),
                records: zone.data.record_count(),
                names: names.collect(),
                pools: own.pools.iter().map(|&number| pool(world, number as usize, &seen)).collect(),
                routes: super::routes::statuses(world, own),
            }
        })
        .collect()
}

/// One balanced name of a zone, by its number.
pub(crate) fn name(world: &World, zone: &ZonePlan, answering: &Zone, number: usize) -> NameStatus {
    let plan = world.plan();
    let name = &zone.names[number];
    let ttl = answering.names.get(number).map_or(0, |slot| super::names::name_ttl(world, slot.view));
    let answers = name.answers.or(match name.to {
        Target::Pool(pool) => Some(plan.pools[pool].answers),
        Target::Route(_) => None,
    });
    NameStatus {
        name: zone_text(&name.owner),
        rtype: rrtype::text(name.rtype),
        pool: super::names::target_name(plan, name.to).to_owned(),
        ttl,
        answers: answers.unwrap_or(0),
    }
}

/// Whether and why verdicts are frozen.
pub(crate) fn frozen(world: &World) -> Option<FrozenStatus> {
    world.freeze().map(|freeze| FrozenStatus {
        since: time_text(freeze.since),
        until: time_text(freeze.until),
        reason: freeze.reason,
        types: freeze.families.into_iter().map(rrtype::text).collect(),
        held: freeze.held,
    })
}

/// The drain clocks of these backends; of those that are out of service.
pub(crate) fn drains(world: &World, ids: &[String]) -> Vec<DrainStatus> {
    let clocks = world.drain_clocks();
    ids.iter().filter_map(|id| Some(drain(id, clocks.get(id)?))).collect()
}

fn drain(id: &str, clock: &Clock) -> DrainStatus {
    let (safe_to_stop_at, answered_by) = match clock {
        Clock::Answered(pools) => (None, pools.clone()),
        Clock::SafeAt(at) => (Some(time_text(*at)), Vec::new()),
        Clock::Drained(at) => (at.map(time_text), Vec::new()),
    };
    DrainStatus { id: id.to_owned(), safe_to_stop_at, drained: matches!(clock, Clock::Drained(_)), answered_by }
}

/// The whole in one word: `reload_ok` says whether the last reload was taken.
pub(crate) fn health(world: &World, reload_ok: bool) -> Health {
    let plan = world.plan();
    let mut health = if reload_ok && world.freeze().is_none() { Health::Ok } else { Health::Degraded };
    for (pool, state) in plan.pools.iter().zip(&world.pools) {
        for (rtype, family) in FAMILIES.into_iter().zip(&state.families) {
            if !family.has_family {
                continue;
            }
            let answers_well = matches!(&family.selection, Selection::Answer { because: Because::Healthy, .. });
            if !answers_well {
                return Health::Critical;
            }
            let probed_down = pool.backends.iter().any(|backend| {
                !backend.probes(rtype).is_empty() && world.verdict(backend, rtype) == Some(Verdict::Down)
            });
            if probed_down {
                health = health.max(Health::Degraded);
            }
        }
    }
    health
}

/// How many answers each backend has given: looked up once for many.
pub(crate) enum Seen {
    /// Nobody asks.
    Nothing,
    /// Of all, at one moment.
    All(Answers),
    /// Of the pool that was asked for last: for those who go from pool to pool.
    Pool(RefCell<Option<(usize, Vec<u64>)>>),
}

impl Seen {
    /// Of all, as of now: a walk over all that is counted.
    pub(crate) fn of(world: &World) -> Seen {
        Seen::All(world.answers())
    }

    /// Of each pool when it is asked for.
    pub(crate) fn of_pools() -> Seen {
        Seen::Pool(RefCell::default())
    }

    fn answers(&self, world: &World, pool: usize, backend: usize) -> u64 {
        match self {
            Seen::Nothing => 0,
            Seen::All(answers) => answers.of(pool, backend),
            Seen::Pool(last) => {
                let mut last = last.borrow_mut();
                if last.as_ref().is_none_or(|(known, _)| *known != pool) {
                    *last = Some((pool, world.answers_of(pool)));
                }
                last.as_ref().and_then(|(_, answers)| answers.get(backend).copied()).unwrap_or(0)
            }
        }
    }
}

/// One pool with its backends, by its number.
pub(crate) fn pool(world: &World, number: usize, seen: &Seen) -> PoolStatus {
    let plan = &world.plan().pools[number];
    let families: Vec<FamilyStatus> = (0..FAMILIES.len())
        .filter(|&slot| world.pools[number].families[slot].has_family)
        .map(|slot| family(world, number, slot))
        .collect();
    let state = worst(families.iter().map(|family| family.state.as_str())).to_owned();
    let backends = plan.backends.iter().enumerate().map(|(at, one)| backend(world, number, at, one, seen)).collect();
    PoolStatus { pool: plan.name.clone(), policy: policy_word(plan).to_owned(), state, families, backends }
}

/// The worst of these states of pools; `healthy` of none.
pub(crate) fn worst<'s>(states: impl Iterator<Item = &'s str>) -> &'s str {
    let rank = |state: &&str| POOL_STATES.iter().position(|known| known == state).unwrap_or(0);
    states.max_by_key(rank).unwrap_or("healthy")
}

/// `round-robin`, `weighted`, `random`, `hash`, `least-load`.
pub(crate) fn policy_word(pool: &PoolPlan) -> &'static str {
    match pool.policy {
        _ if pool.least_load => "least-load",
        PolicyKind::RoundRobin => "round-robin",
        PolicyKind::Weighted => "weighted",
        PolicyKind::Random => "random",
        PolicyKind::Hash => "hash",
    }
}

/// One of [`POOL_STATES`] for one family of a pool.
pub(crate) fn family_state(world: &World, number: usize, slot: usize) -> &'static str {
    let plan = &world.plan().pools[number];
    let family = &world.pools[number].families[slot];
    match &family.selection {
        Selection::Answer { because: Because::Healthy, .. } => match family.candidates.iter().all(|one| one.up) {
            _ if world.holds(plan) => "frozen",
            true => "healthy",
            false => "degraded",
        },
        Selection::Answer { .. } => "panic",
        Selection::Nothing(_) => "closed",
        Selection::To(_) => "diverted",
    }
}

/// One family of a pool: state, why, and who answers.
pub(crate) fn family(world: &World, number: usize, slot: usize) -> FamilyStatus {
    let plan = &world.plan().pools[number];
    let (tier, answering) = match &world.pools[number].families[slot].selection {
        Selection::Answer { members, because, tier } => {
            let names = members.iter().map(|&(backend, _)| plan.backends[backend].name.clone()).collect();
            ((*because == Because::Healthy).then_some(*tier), names)
        }
        Selection::Nothing(_) | Selection::To(_) => (None, Vec::new()),
    };
    FamilyStatus {
        rtype: rrtype::text(FAMILIES[slot]),
        state: family_state(world, number, slot).to_owned(),
        tier,
        why: why(world, number, slot),
        ttl: world.pool_ttl(number, slot),
        answering,
    }
}

/// Why a family answers what it answers.
pub(crate) fn why(world: &World, number: usize, slot: usize) -> String {
    let plan = &world.plan().pools[number];
    let family = &world.pools[number].families[slot];
    let why = match &family.selection {
        Selection::Answer { because, tier, .. } => match because {
            Because::Healthy => return tier_text(family, plan, *tier),
            Because::FailOpen => "all down: failing open",
            Because::Every => "all down: answering every candidate",
            Because::LastKnown => "all down: answering the last known set",
        },
        Selection::Nothing(nothing) => match nothing {
            Nothing::NoCandidate if world.has_maintenance(plan) => "no candidate: in maintenance; answering NODATA",
            Nothing::NoCandidate => "no candidate: all drained or forced down; answering NODATA",
            Nothing::NoData => "all down: answering NODATA",
            Nothing::ServFail => "all down: answering SERVFAIL",
            Nothing::Refused => "all down: answering REFUSED",
        },
        Selection::To(other) => {
            let other = super::names::target_name(world.plan(), *other);
            return format!("all down: answering from pool {other}");
        }
    };
    why.to_owned()
}

/// `tier 0: 2 of 3 up, 1 needed`
pub(crate) fn tier_text(family: &super::world::Family, pool: &PoolPlan, tier: u16) -> String {
    let of: Vec<_> = family.candidates.iter().filter(|candidate| candidate.tier == tier).collect();
    let up = of.iter().filter(|candidate| candidate.up).count();
    format!("tier {tier}: {up} of {} up, {} needed", of.len(), needed(pool.min_healthy, of.len() as u64))
}

/// One backend of a pool, by their numbers.
pub(crate) fn backend(world: &World, number: usize, at: usize, backend: &BackendPlan, seen: &Seen) -> BackendStatus {
    let pool = &world.plan().pools[number];
    let (state, forced) = world.state_of(pool, backend);
    let checked = FAMILIES.into_iter().any(|rtype| !backend.probes(rtype).is_empty());
    let addresses: Vec<AddressStatus> = FAMILIES
        .into_iter()
        .enumerate()
        .filter(|&(slot, rtype)| backend.address(rtype).is_some() || (checked && slot == 0 && backend.cname.is_some()))
        .map(|(slot, rtype)| address(world, number, at, backend, slot, rtype))
        .collect();
    let worst = ["down", "unknown", "up"].into_iter().find(|word| addresses.iter().any(|one| one.verdict == *word));
    let said_state = world.said_state(pool, backend);
    let id = backend_id(pool, backend);
    let drain = world.drain_clock(pool, backend).map(|clock| drain(&id, &clock));
    let drained = drain.as_ref().is_some_and(|drain| drain.drained);
    let word = match state {
        AdminState::Auto if !checked => "unchecked",
        AdminState::Auto if world.is_held(backend) => "frozen",
        // A failure counts for more than its own word.
        AdminState::Auto if worst != Some("down") && drained => "drained",
        AdminState::Auto if worst != Some("down") => said_state.or(worst).unwrap_or("unknown"),
        AdminState::Auto => worst.unwrap_or("unknown"),
        AdminState::Up => "forced up",
        AdminState::Drain | AdminState::Down if drained => "drained",
        AdminState::Drain => "draining",
        AdminState::Down => "forced down",
    };
    let window = match world.is_in_maintenance(pool, backend) {
        true => world.window_now(pool, backend),
        false => world.window_ahead(pool, backend),
    };
    let families = || world.pools[number].families.iter();
    let began = families().filter_map(|family| family.standings.get(at)?.began()).min_by_key(|began| began.at);
    BackendStatus {
        backend: backend.name.clone(),
        id,
        weight: backend.weight,
        tier: backend.tier,
        configured: backend.state,
        forced: forced.map(override_status),
        state: word.to_owned(),
        drain,
        maintenance: window.map(|window| WindowStatus { from: time_text(window.from), to: time_text(window.to) }),
        starting: began.map(|began| StartStatus {
            since: time_text(began.at),
            percent: families().map(|family| family.percent(at, pool, world.now)).min().unwrap_or(100),
        }),
        answers: seen.answers(world, number, at),
        addresses,
    }
}

fn address(world: &World, pool: usize, at: usize, backend: &BackendPlan, slot: usize, rtype: u16) -> AddressStatus {
    let answering = match &world.pools[pool].families[slot].selection {
        Selection::Answer { members, .. } => members.iter().any(|&(member, _)| member == at),
        _ => false,
    };
    let candidate = world.pools[pool].families[slot].candidates.iter().find(|candidate| candidate.backend == at);
    let weight = candidate.map(|candidate| candidate.weight);
    let mut checks = Vec::new();
    let mut since = None;
    let mut reason = String::new();
    let verdict = world.verdict(backend, rtype);
    for probe_use in backend.probes(rtype) {
        let Some(probe) = world.probes.get(world.ids[probe_use.probe]) else { continue };
        let own = probe.tracker.verdict();
        // What decides: the first that is as bad as the whole; of several that are up, the latest.
        if own == verdict && (reason.is_empty() || (verdict == Some(Verdict::Up) && probe.since > since)) {
            since = probe.since;
            reason.clone_from(&probe.reason);
        }
        checks.push(CheckStatus {
            check: probe_use.check.clone(),
            verdict: verdict_word(own).to_owned(),
            since: probe.since.map(time_text),
            reason: probe.reason.clone(),
            last: probe.last.map(time_text),
            latency_ms: probe.latency.map(|latency| latency.as_millis() as u64),
            contrary: probe.tracker.contrary(),
            needed: probe.tracker.needed(),
        });
    }
    AddressStatus {
        address: backend.place(rtype).unwrap_or_default(),
        answering,
        verdict: verdict_word(verdict).to_owned(),
        since: since.map(time_text),
        reason,
        said: world.said_by(backend, rtype).to_string(),
        weight: weight.filter(|&weight| weight != backend.weight),
        checks,
    }
}

/// As `status` and `explain` show it.
pub(crate) fn override_status(entry: &Override) -> OverrideStatus {
    OverrideStatus {
        state: entry.state,
        since: time_text(entry.since),
        until: entry.until.map(time_text),
        reason: entry.reason.clone(),
        by: entry.by.clone(),
    }
}

/// As `status` and the event stream show it.
pub(crate) fn transition_status(transition: &Transition) -> TransitionStatus {
    TransitionStatus {
        at: time_text(transition.at),
        id: transition.id.to_string(),
        address: transition.address.map(|address| address.to_string()).unwrap_or_default(),
        from: transition.from.to_string(),
        to: transition.to.to_string(),
        reason: transition.reason.to_string(),
        took_ms: transition.took.map(|took| took.as_millis() as u64),
    }
}
