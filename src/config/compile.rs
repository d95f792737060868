//! Pools as written to pools of the plan: names become indices, checks become probes, equal probes become one. Routes go
//! the same way in [`super::routing`].

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::checks::{self, Checks, Resolver, Use};
use super::diagnostic::did_you_mean;
use super::maps::{Maps, Opened};
use super::plan::{BackendPlan, NamePlan, OnAllDown, PoolPlan, ProbeUse, RoutePlan, Target, TtlRule, ZonePlan};
use super::pools::{AllDown, BackendDef, Named, PoolDef, Pools};
use super::promise::{self, Answer, Promise, longest};
use super::routes::Routes;
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;
use crate::engine::probe::ProbeSpec;

/// What the server file shares with all zones.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) checks: Checks,
    pub(super) pools: Pools,
    pub(super) routes: Routes,
    pub(super) maps: Maps,
    /// `[checker] exec`
    pub(super) exec: bool,
    /// Pools and routes that some zone uses.
    pub(super) used: std::collections::HashSet<String>,
}

/// The plan while it grows.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub(super) zones: Vec<ZonePlan>,
    pub(super) pools: Vec<PoolPlan>,
    pub(super) routes: Vec<RoutePlan>,
    /// Databases of maps.
    pub(super) opened: Opened,
    pub(super) probes: Vec<Arc<ProbeSpec>>,
    by_identity: HashMap<Arc<ProbeSpec>, usize>,
}

/// What a zone file defines beside its records.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) checks: Checks,
    pub(super) pools: Pools,
    pub(super) routes: Routes,
    pub(super) maps: Maps,
}

/// One zone's pools and routes, while they are resolved.
pub(super) struct Scope<'d> {
    pub(super) zone: &'d Name,
    ttl: u32,
    pub(super) own: &'d Own,
    pub(super) shared: &'d mut Shared,
    /// Pools and routes that stand in the plan already.
    pub(super) index: BTreeMap<String, Target>,
    used: std::collections::HashSet<String>,
    /// Every check that counts others can be resolved.
    countable: bool,
}

impl Assembly {
    pub(super) fn probe(&mut self, spec: ProbeSpec) -> usize {
        if let Some(&known) = self.by_identity.get(&spec) {
            return known;
        }
        let spec = Arc::new(spec);
        self.probes.push(spec.clone());
        self.by_identity.insert(spec, self.probes.len() - 1);
        self.probes.len() - 1
    }
}

impl<'d> Scope<'d> {
    pub(super) fn new(zone: &'d Name, ttl: u32, own: &'d Own, shared: &'d mut Shared) -> Scope<'d> {
        Scope { zone, ttl, own, shared, index: BTreeMap::new(), used: Default::default(), countable: true }
    }

    /// Refuses names that stand in the server file too.
    pub(super) fn refuse_shared_names(&self, report: &mut Report) {
        let (own, shared) = (self.own, &self.shared);
        let both = |what, name: &String, here, there: Option<Place>, report: &mut Report| {
            let Some(there) = there else { return };
            let message = format!("the {what} {name:?} stands both here and in the server file");
            report.add(Problem::error(here, message).key(format!("{what}s.{name}")).beside(there, "and here"));
        };
        for (name, check) in &own.checks {
            both("check", name, check.place, shared.checks.get(name).map(|one| one.place), report);
        }
        for (name, pool) in &own.pools {
            both("pool", name, pool.place, shared.pools.get(name).map(|one| one.place), report);
        }
        for (name, route) in &own.routes {
            both("route", name, route.place, shared.routes.get(name).map(|one| one.place), report);
        }
        for (name, map) in &own.maps {
            both("map", name, map.place, shared.maps.get(name).map(|one| one.place), report);
        }
        refuse_one_name(&own.pools, &own.routes, report);
        refuse_one_name(&own.pools, &shared.routes, report);
        refuse_one_name(&shared.pools, &own.routes, report);
    }

    /// Refuses checks that count what is not there, or themselves.
    pub(super) fn verify_counted(&mut self, report: &mut Report) {
        let shared = &self.shared.checks;
        let own = checks::verify(&self.own.checks, shared, report);
        // Those of the server file were reported when it was read; here it matters only whether they can be resolved.
        let mark = report.mark();
        self.countable = checks::verify(shared, &Checks::new(), report) && own;
        report.rewind(mark);
    }

    /// Puts every pool and route of the zone into the plan.
    pub(super) fn add_own(&mut self, assembly: &mut Assembly, report: &mut Report) {
        let own = self.own;
        for (name, pool) in &own.pools {
            self.add(name, pool, &own.checks, assembly, report);
        }
        // One that a pool is named like is refused already.
        for name in own.routes.keys().filter(|name| !own.pools.contains_key(*name)) {
            self.reserve_route(name, assembly);
        }
        for (name, pool) in &own.pools {
            self.divert(name, pool, assembly, report);
        }
        for (name, route) in &own.routes {
            self.fill_route(name, route, assembly, report);
        }
    }

    /// What the zone's pools promise, with the longest TTL of the names that lead to each.
    pub(super) fn promises(&self, names: &[NamePlan], assembly: &Assembly) -> Vec<(Promise, Answer)> {
        let all = self.index.iter().filter_map(|(name, &target)| {
            let Target::Pool(pool) = target else { return None };
            let promise = self.own.pools.get(name).or_else(|| self.shared.pools.get(name))?.max_failover.clone()?;
            let default = assembly.pools[pool].ttl;
            let leads = |name: &&NamePlan| name.to == target || promise::pools_below(assembly, name.to).contains(&pool);
            let ttls = names.iter().filter(leads).map(|name| longest(name.ttl.unwrap_or(default)));
            Some((promise, Answer { pool, ttl: ttls.max().unwrap_or_else(|| longest(default)) }))
        });
        all.collect()
    }

    /// What a name promises: for every pool that it may lead to.
    pub(super) fn promised_by(
        &self,
        promise: &Promise,
        to: Target,
        ttl: Option<TtlRule>,
        assembly: &Assembly,
    ) -> Vec<(Promise, Answer)> {
        let pools = promise::pools_below(assembly, to).into_iter();
        let of = |pool: usize| Answer { pool, ttl: longest(ttl.unwrap_or(assembly.pools[pool].ttl)) };
        pools.map(|pool| (promise.clone(), of(pool))).collect()
    }

    /// The pool or route that a balanced name, a choice or an `on_all_down` means.
    pub(super) fn resolve(&mut self, to: &Named, assembly: &mut Assembly, report: &mut Report) -> Option<Target> {
        self.used.insert(to.name.clone());
        if let Some(&known) = self.index.get(&to.name) {
            return Some(known);
        }
        // Cloned, since adding it needs the scope; a server file's pool or route is added once a zone.
        if let Some(pool) = self.shared.pools.get(&to.name).cloned() {
            self.shared.used.insert(to.name.clone());
            let index = self.add(&to.name, &pool, &Checks::new(), assembly, report);
            self.divert(&to.name, &pool, assembly, report);
            return Some(Target::Pool(index));
        }
        if let Some(route) = self.shared.routes.get(&to.name).cloned() {
            self.shared.used.insert(to.name.clone());
            let target = self.reserve_route(&to.name, assembly);
            self.fill_route(&to.name, &route, assembly, report);
            return Some(target);
        }
        let (own, shared) = (self.own, &*self.shared);
        let known = own.pools.keys().chain(own.routes.keys()).chain(shared.pools.keys()).chain(shared.routes.keys());
        let help = did_you_mean(&to.name, known.map(String::as_str));
        let what = if own.routes.is_empty() && shared.routes.is_empty() { "pool" } else { "pool or route" };
        report.add(Problem::error(to.place, format!("there is no {what} {:?}", to.name)).help(help));
        None
    }

    /// As `resolve`, for what the server file says: it can lead only to its own kind, since every zone would read another
    /// name otherwise.
    pub(super) fn resolve_in(
        &mut self,
        from: &str,
        to: &Named,
        assembly: &mut Assembly,
        report: &mut Report,
    ) -> Option<Target> {
        let (own, shared) = (self.own, &*self.shared);
        let from_server = !own.pools.contains_key(from) && !own.routes.contains_key(from);
        let is_own = own.pools.contains_key(&to.name) || own.routes.contains_key(&to.name);
        let is_shared = shared.pools.contains_key(&to.name) || shared.routes.contains_key(&to.name);
        if from_server && is_own && !is_shared {
            let what = if shared.routes.is_empty() { "pool" } else { "pool or route" };
            let message =
                format!("there is no {what} {:?} in the server file, whose {what}s cannot use a zone's", to.name);
            report.add(Problem::error(to.place, message.replace("pool or routes", "pools and routes")));
            return None;
        }
        self.resolve(to, assembly, report)
    }

    /// Warns of pools and routes that nothing uses, refuses those that lead around in a circle, and says how routes draw.
    pub(super) fn finish(self, assembly: &mut Assembly, report: &mut Report) {
        for (name, pool) in &self.own.pools {
            if !self.used.contains(name) {
                let message = format!("no name answers from the pool {name:?}; it is probed all the same");
                report.add(Problem::warning(pool.place, message).key(format!("pools.{name}")));
            }
        }
        for (name, route) in &self.own.routes {
            if !self.used.contains(name) {
                let message = format!("no name answers from the route {name:?}");
                report.add(Problem::warning(route.place, message).key(format!("routes.{name}")));
            }
        }
        self.refuse_circles(assembly, report);
        self.draw_together(assembly);
    }

    fn add(
        &mut self,
        name: &str,
        pool: &PoolDef,
        checks: &Checks,
        assembly: &mut Assembly,
        report: &mut Report,
    ) -> usize {
        let defaults = self.checks_of(&pool.checks, checks, report);
        let backends = pool.backends.iter().map(|backend| {
            let own = backend.checks.as_ref().map(|own| self.checks_of(own, checks, report));
            self.backend(backend, own.as_ref().unwrap_or(&defaults), checks, assembly, report)
        });
        let backends = backends.collect();
        let on_all_down = match &pool.on_all_down {
            AllDown::Do(what) => *what,
            // Resolved once every pool of the zone has its index.
            AllDown::To(_) => OnAllDown::Open,
        };
        assembly.pools.push(PoolPlan {
            zone: self.zone.clone(),
            name: name.to_owned(),
            policy: pool.policy,
            least_load: pool.least_load,
            answers: pool.answers,
            min_healthy: pool.min_healthy,
            on_all_down,
            initial: pool.initial,
            ttl: pool.ttl.unwrap_or(TtlRule::Fixed(self.ttl)),
            reads: pool.reads,
            together: pool.together,
            spread: pool.spread.clone(),
            slow_start: pool.slow_start,
            maintenance: pool.maintenance.clone(),
            backends,
        });
        self.index.insert(name.to_owned(), Target::Pool(assembly.pools.len() - 1));
        assembly.pools.len() - 1
    }

    fn divert(&mut self, name: &str, pool: &PoolDef, assembly: &mut Assembly, report: &mut Report) {
        let AllDown::To(to) = &pool.on_all_down else {
            return;
        };
        let Some(other) = self.resolve_in(name, to, assembly, report) else { return };
        if let Some(&Target::Pool(this)) = self.index.get(name) {
            assembly.pools[this].on_all_down = OnAllDown::To(other);
        }
    }

    /// The names of checks that exist, in order.
    fn checks_of(&self, named: &[Named], checks: &Checks, report: &mut Report) -> Vec<Named> {
        let mut known = Vec::new();
        for name in named {
            if checks.contains_key(&name.name) || self.shared.checks.contains_key(&name.name) {
                known.push(name.clone());
            } else {
                let all = checks.keys().chain(self.shared.checks.keys());
                let help = did_you_mean(&name.name, all.map(String::as_str));
                report.add(Problem::error(name.place, format!("there is no check {:?}", name.name)).help(help));
            }
        }
        known
    }

    /// A domain name, relative to the zone.
    fn name(&self, named: Option<&Named>, report: &mut Report) -> Option<Name> {
        let named = named?;
        match Name::parse(&named.name, Some(self.zone)) {
            Ok(name) => Some(name),
            Err(why) => {
                report.add(Problem::error(named.place, format!("{:?} is no domain name: {why}", named.name)));
                None
            }
        }
    }

    fn backend(
        &self,
        backend: &BackendDef,
        named: &[Named],
        checks: &Checks,
        assembly: &mut Assembly,
        report: &mut Report,
    ) -> BackendPlan {
        let cname = self.name(backend.cname.as_ref(), report);
        // What is asked elsewhere is asked by its name there.
        let elsewhere = cname.as_ref().map(|name| name.to_string().trim_end_matches('.').to_owned());
        let host = backend.host.as_deref().or(elsewhere.as_deref());
        let mut probes_of = |address: Option<IpAddr>| {
            let mut uses = Vec::with_capacity(named.len());
            for name in named {
                let Some(check) = checks.get(&name.name).or_else(|| self.shared.checks.get(&name.name)) else {
                    continue;
                };
                if check.is_calculated() && !self.countable {
                    continue;
                }
                let of = Use { address, port: backend.port, host, backend: &backend.name };
                let take = &mut |spec| {
                    let index = assembly.probe(spec);
                    assembly.probes[index].clone()
                };
                let mut others = Resolver { own: checks, shared: &self.shared.checks, take };
                match check.probe(of, &mut others) {
                    Ok(spec) => uses.push(ProbeUse { check: name.name.clone(), probe: assembly.probe(spec) }),
                    Err(why) => {
                        let message = format!("check {:?} on backend {:?} {why}", name.name, backend.name);
                        report.add(Problem::error(backend.place, message).beside(check.place, "the check"));
                    }
                }
            }
            uses
        };
        let (probes_v4, probes_v6) = match backend.cname {
            // One verdict for whatever is asked for.
            Some(_) => {
                let probes = probes_of(None);
                (probes.clone(), probes)
            }
            None => {
                let mut of = |address: Option<IpAddr>| address.map_or_else(Vec::new, |one| probes_of(Some(one)));
                (of(backend.v4.map(IpAddr::V4)), of(backend.v6.map(IpAddr::V6)))
            }
        };
        BackendPlan {
            name: backend.name.clone(),
            v4: backend.v4,
            v6: backend.v6,
            cname,
            target: self.name(backend.target.as_ref(), report),
            port: backend.port,
            weight: backend.weight,
            tier: backend.tier,
            host: backend.host.clone(),
            state: backend.state,
            maintenance: backend.maintenance.clone(),
            labels: backend.labels.clone(),
            probes_v4,
            probes_v6,
        }
    }
}

/// Pools and routes share one namespace.
pub(super) fn refuse_one_name(pools: &Pools, routes: &Routes, report: &mut Report) {
    for (name, route) in routes {
        if let Some(pool) = pools.get(name) {
            let message = format!("{name:?} is both a route and a pool: a name could mean either");
            let problem = Problem::error(route.place, message);
            report.add(problem.key(format!("routes.{name}")).beside(pool.place, "the pool"));
        }
    }
}
