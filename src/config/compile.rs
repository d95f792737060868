//! Pools as written to pools of the plan: names become indices, checks become probes, equal probes become one.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::checks::Checks;
use super::diagnostic::did_you_mean;
use super::plan::{BackendPlan, OnAllDown, PoolPlan, ProbeUse, TtlRule, ZonePlan};
use super::pools::{AllDown, BackendDef, Named, PoolDef, Pools};
use super::source::{Problem, Report};
use crate::engine::name::Name;
use crate::engine::probe::ProbeSpec;

/// What the server file shares with all zones.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) checks: Checks,
    pub(super) pools: Pools,
    /// Pools that some zone uses.
    pub(super) used: std::collections::HashSet<String>,
}

/// The plan while it grows.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pub(super) zones: Vec<ZonePlan>,
    pub(super) pools: Vec<PoolPlan>,
    pub(super) probes: Vec<Arc<ProbeSpec>>,
    by_identity: HashMap<Arc<ProbeSpec>, usize>,
}

/// One zone's pools, while they are resolved.
pub(super) struct Scope<'d> {
    zone: &'d Name,
    ttl: u32,
    checks: &'d Checks,
    pools: &'d Pools,
    shared: &'d mut Shared,
    /// Pools that stand in the plan already.
    index: BTreeMap<String, usize>,
    used: std::collections::HashSet<String>,
}

impl Assembly {
    fn probe(&mut self, spec: ProbeSpec) -> usize {
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
    pub(super) fn new(
        zone: &'d Name,
        ttl: u32,
        checks: &'d Checks,
        pools: &'d Pools,
        shared: &'d mut Shared,
    ) -> Scope<'d> {
        Scope { zone, ttl, checks, pools, shared, index: BTreeMap::new(), used: Default::default() }
    }

    /// Refuses names that stand in the server file too.
    pub(super) fn refuse_shared_names(&self, report: &mut Report) {
        let checks = self
            .checks
            .iter()
            .filter_map(|(name, check)| Some(("check", name, check.place, self.shared.checks.get(name)?.place)));
        let pools = self
            .pools
            .iter()
            .filter_map(|(name, pool)| Some(("pool", name, pool.place, self.shared.pools.get(name)?.place)));
        for (what, name, here, there) in checks.chain(pools) {
            let message = format!("the {what} {name:?} stands both here and in the server file");
            report.add(Problem::error(here, message).key(format!("{what}s.{name}")).beside(there, "and here"));
        }
    }

    /// Puts every pool of the zone into the plan.
    pub(super) fn add_own(&mut self, assembly: &mut Assembly, report: &mut Report) {
        let pools = self.pools;
        for (name, pool) in pools {
            self.add(name, pool, self.checks, assembly, report);
        }
        for (name, pool) in pools {
            self.divert(name, pool, assembly, report);
        }
    }

    /// The pool that a balanced name means.
    pub(super) fn resolve(&mut self, to: &Named, assembly: &mut Assembly, report: &mut Report) -> Option<usize> {
        self.used.insert(to.name.clone());
        if let Some(&index) = self.index.get(&to.name) {
            return Some(index);
        }
        // Cloned, since adding it needs the scope; a server file's pool is added once a zone.
        let Some(pool) = self.shared.pools.get(&to.name).cloned() else {
            let known = self.pools.keys().chain(self.shared.pools.keys());
            let help = did_you_mean(&to.name, known.map(String::as_str));
            report.add(Problem::error(to.place, format!("there is no pool {:?}", to.name)).help(help));
            return None;
        };
        self.shared.used.insert(to.name.clone());
        let index = self.add(&to.name, &pool, &Checks::new(), assembly, report);
        self.divert(&to.name, &pool, assembly, report);
        Some(index)
    }

    /// Warns of pools that nothing uses and refuses pools that send each other around in a circle.
    pub(super) fn finish(self, assembly: &Assembly, report: &mut Report) {
        for (name, pool) in self.pools {
            if !self.used.contains(name) {
                let message = format!("no name answers from the pool {name:?}; it is probed all the same");
                report.add(Problem::warning(pool.place, message).key(format!("pools.{name}")));
            }
        }
        let mut settled = std::collections::HashSet::new();
        for &start in self.index.values() {
            let mut chain: Vec<usize> = vec![start];
            while let Some(OnAllDown::To(next)) = chain.last().map(|&last| assembly.pools[last].on_all_down) {
                if settled.contains(&next) {
                    break;
                }
                if let Some(first) = chain.iter().position(|&pool| pool == next) {
                    let mut names: Vec<&str> =
                        chain[first..].iter().map(|&pool| assembly.pools[pool].name.as_str()).collect();
                    names.push(&assembly.pools[next].name);
                    let pool = self.pools.get(names[0]).or_else(|| self.shared.pools.get(names[0]));
                    if let Some(AllDown::To(to)) = pool.map(|pool| &pool.on_all_down) {
                        let message = format!("on_all_down goes in a circle: {}", names.join(" -> "));
                        report.add(Problem::error(to.place, message).key(format!("pools.{}.on_all_down", names[0])));
                    }
                    break;
                }
                chain.push(next);
            }
            settled.extend(chain);
        }
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
            answers: pool.answers,
            min_healthy: pool.min_healthy,
            on_all_down,
            initial: pool.initial,
            ttl: pool.ttl.unwrap_or(TtlRule::Fixed(self.ttl)),
            backends,
        });
        self.index.insert(name.to_owned(), assembly.pools.len() - 1);
        assembly.pools.len() - 1
    }

    /// A pool of the server file can send only to its own kind: every zone would read another name otherwise.
    fn divert(&mut self, name: &str, pool: &PoolDef, assembly: &mut Assembly, report: &mut Report) {
        let AllDown::To(to) = &pool.on_all_down else {
            return;
        };
        let from_server = !self.pools.contains_key(name);
        if from_server && self.pools.contains_key(&to.name) && !self.shared.pools.contains_key(&to.name) {
            let message = format!("there is no pool {:?} in the server file, whose pools cannot use a zone's", to.name);
            report.add(Problem::error(to.place, message));
            return;
        }
        let this = self.index[name];
        if let Some(other) = self.resolve(to, assembly, report) {
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

    fn backend(
        &self,
        backend: &BackendDef,
        named: &[Named],
        checks: &Checks,
        assembly: &mut Assembly,
        report: &mut Report,
    ) -> BackendPlan {
        let mut probes_of = |address: Option<IpAddr>| {
            let Some(address) = address else {
                return Vec::new();
            };
            let mut uses = Vec::with_capacity(named.len());
            for name in named {
                let Some(check) = checks.get(&name.name).or_else(|| self.shared.checks.get(&name.name)) else {
                    continue;
                };
                match check.probe(address, backend.port, backend.host.as_deref()) {
                    Ok(spec) => uses.push(ProbeUse { check: name.name.clone(), probe: assembly.probe(spec) }),
                    Err(why) => {
                        let message = format!("check {:?} on backend {:?} {why}", name.name, backend.name);
                        report.add(Problem::error(backend.place, message).beside(check.place, "the check"));
                    }
                }
            }
            uses
        };
        let probes_v4 = probes_of(backend.v4.map(IpAddr::V4));
        let probes_v6 = probes_of(backend.v6.map(IpAddr::V6));
        BackendPlan {
            name: backend.name.clone(),
            v4: backend.v4,
            v6: backend.v6,
            port: backend.port,
            weight: backend.weight,
            tier: backend.tier,
            host: backend.host.clone(),
            state: backend.state,
            labels: backend.labels.clone(),
            probes_v4,
            probes_v6,
        }
    }
}
