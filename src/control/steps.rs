//! The steps of an answer in words: which way its routes go for a client, and what the pool there has to say.

use std::collections::BTreeSet;

use super::names::{Source, ViewPlan, target_name, view_ttl};
use super::overrides::Override;
use super::program::{Level, Levels, best, heed_choices, rendezvous};
use super::shares::pool_shares;
use super::status::{policy_word, tier_text, time_text};
use super::world::{FAMILIES, World, families_of, mode_word, slot_of, state_word, verdict_word};
use crate::config::plan::{AdminState, BackendPlan, Classes, HashKey, NamePlan, OnAllDown, RouteKind, Target};
use crate::engine::client::Client;
use crate::engine::health::Verdict;
use crate::engine::name::Name;
use crate::engine::policy::{Because, Nothing, Selection};
use crate::engine::rrtype;

/// What is done when no choice of a route is alive.
const AS_IF: &str = "no choice is alive: chosen as if all were";

/// One balanced name's steps.
pub(super) struct Steps<'s> {
    pub(super) world: &'s World,
    pub(super) name: &'s NamePlan,
    pub(super) client: &'s Client,
    /// The question's name.
    pub(super) question: &'s Name,
    pub(super) lines: &'s mut Vec<String>,
    pub(super) levels: Levels<'s>,
    /// Routes of which all is said.
    pub(super) told: BTreeSet<usize>,
}

impl Steps<'_> {
    /// All of them.
    pub(super) fn say(&mut self, asked: &Name) {
        self.target(self.name.to, &format!("{asked} {}", rrtype::text(self.name.rtype)), 0);
    }

    fn slot(&self) -> usize {
        slot_of(self.name.rtype)
    }

    fn line(&mut self, depth: usize, text: impl AsRef<str>) {
        self.lines.push(format!("{}{}", "  ".repeat(depth), text.as_ref()));
    }

    fn level(&mut self, target: Target) -> Level {
        self.levels.of(target).at(self.client.address)
    }

    fn target(&mut self, target: Target, who: &str, depth: usize) {
        match target {
            Target::Pool(pool) => self.pool(pool, who, depth),
            Target::Route(route) => self.route(route, who, depth),
        }
    }

    fn route(&mut self, number: usize, who: &str, depth: usize) {
        let world = self.world;
        let plan = world.plan().clone();
        let route = &plan.routes[number];
        if !self.told.insert(number) {
            self.line(depth, format!("{who} is led by route {}, as said above", route.name));
            return;
        }
        let name = |target: Target| target_name(&plan, target).to_owned();
        match &route.kind {
            RouteKind::Failover { choices, trickle } => {
                self.line(depth, format!("{who} is led by route {} (failover)", route.name));
                let most = 1 + usize::from(*trickle > 0);
                let taken = self.tried(choices.iter().copied(), most, depth);
                match taken.as_slice() {
                    [] => {}
                    [first] => self.target(*first, &name(*first), depth + 1),
                    [first, second, ..] => {
                        let few = f64::from(*trickle) / 10.0;
                        let of = if route.together.is_some() { "clients" } else { "answers" };
                        let text = format!(
                            "{} has {:.1} % of the {of}, {few:.1} % trickle to {}",
                            name(*first),
                            100.0 - few,
                            name(*second)
                        );
                        self.line(depth + 1, text);
                        let trickle = *trickle as u16;
                        let among = [(*first, 1000 - trickle), (*second, trickle)];
                        for one in self.drawn(number, &among, depth) {
                            self.target(one, &name(one), depth + 2);
                        }
                    }
                }
            }
            RouteKind::Weighted { choices } => {
                self.line(depth, format!("{who} is led by route {} (weighted)", route.name));
                let heard = self.heard(choices, depth);
                let shares: Vec<String> = shares(&heard)
                    .into_iter()
                    .map(|(to, share)| format!("{} {:.1} %", name(to), share * 100.0))
                    .collect();
                let of = if route.together.is_some() { "clients" } else { "answers" };
                self.line(depth + 1, format!("shares of the {of}: {}", shares.join(", ")));
                for to in self.drawn(number, &heard, depth) {
                    self.target(to, &name(to), depth + 1);
                }
            }
            RouteKind::Hash { choices, key } => {
                self.line(depth, format!("{who} is led by route {} (hash of {})", route.name, self.key_text(*key)));
                let heard = self.heard(choices, depth);
                let owner = self.owner(number, *key, &heard);
                self.line(depth + 1, format!("{} owns it", name(owner)));
                self.target(owner, &name(owner), depth + 1);
            }
            RouteKind::Map { map, choices, classes, fence } => {
                let (order, network) = self.class(classes);
                let region = &choices[usize::from(order[0])].0;
                let place = match region.as_str() {
                    "default" => format!("{network} is in no region of map {map} that has a choice"),
                    region => format!("{network} is in region {region} of map {map}"),
                };
                let fenced = if *fence { ", which it never leaves" } else { "" };
                self.line(depth, format!("{who} is led by route {} (map): {place}{fenced}", route.name));
                let to = |choice: &u16| choices[usize::from(*choice)].1;
                for chosen in self.tried(order.iter().map(to), 1, depth) {
                    self.target(chosen, &name(chosen), depth + 1);
                }
            }
            RouteKind::Nearest { map, choices, classes } => {
                let (order, network) = self.class(classes);
                let names: Vec<String> = order.iter().map(|&choice| name(choices[usize::from(choice)])).collect();
                let text = format!("{who} is led by route {} (nearest by map {map}): from {network}", route.name);
                self.line(depth, format!("{text} the order is {}", names.join(", ")));
                let to = |choice: &u16| choices[usize::from(*choice)];
                for chosen in self.tried(order.iter().map(to), 1, depth) {
                    self.target(chosen, &name(chosen), depth + 1);
                }
            }
            RouteKind::Schedule { timezone, .. } => {
                let order = world.health(self.slot()).scheduled(number);
                let zone = timezone.iana_name().unwrap_or("its own");
                let names: Vec<String> = order.iter().map(|&to| name(to)).collect();
                let now = names.join(", else ");
                self.line(depth, format!("{who} is led by route {} (schedule in {zone}): now {now}", route.name));
                for chosen in self.tried(order.into_iter(), 1, depth) {
                    self.target(chosen, &name(chosen), depth + 1);
                }
            }
        }
    }

    /// Those that a route which draws may lead to: all of them, or the one that has the client, where A and AAAA are to name
    /// the same hosts.
    fn drawn(&mut self, route: usize, choices: &[(Target, u16)], depth: usize) -> Vec<Target> {
        let plan = self.world.plan().clone();
        let Some(key) = plan.routes[route].together.filter(|_| choices.len() > 1) else {
            return choices.iter().map(|&(to, _)| to).collect();
        };
        let owner = self.owner(route, key, choices);
        let text = format!(
            "family = \"together\" below: no counter but {} decides, for A as for AAAA, and {} owns it",
            self.key_text(key),
            target_name(&plan, owner)
        );
        self.line(depth + 1, text);
        vec![owner]
    }

    fn owner(&self, route: usize, key: HashKey, choices: &[(Target, u16)]) -> Target {
        let owners = rendezvous(self.world.plan(), route, choices);
        choices[owners.first(self.client.hash(key, self.question.as_wire()).0)].0
    }

    /// The order of choices where the client is, and the network that decides it.
    fn class(&self, classes: &Classes) -> (Box<[u16]>, String) {
        let (class, bits) = classes.table.find(self.client.address);
        (classes.orders[class as usize].clone(), network(self.client, bits))
    }

    /// The first so many of the best choices; says of those before why they were left.
    fn tried(&mut self, order: impl Iterator<Item = Target>, most: usize, depth: usize) -> Vec<Target> {
        let order: Vec<Target> = order.collect();
        let levels: Vec<Level> = order.iter().map(|&target| self.level(target)).collect();
        let taken: Vec<usize> = best(&levels).take(most).collect();
        let any = levels.contains(&Level::Alive);
        // As far as was looked.
        let end = if any && taken.len() == most { taken.last().map_or(0, |last| last + 1) } else { order.len() };
        for at in (0..end).filter(|&at| levels[at] < Level::Alive) {
            self.leave(order[at], levels[at], depth);
        }
        if !any {
            self.line(depth + 1, AS_IF);
        }
        taken.into_iter().map(|at| order[at]).collect()
    }

    fn leave(&mut self, target: Target, level: Level, depth: usize) {
        let name = target_name(self.world.plan(), target).to_owned();
        let why = match (target, level) {
            (_, Level::Empty) => "no backend of it may be answered",
            (Target::Pool(_), _) => "no tier of it reaches min_healthy",
            (Target::Route(_), _) => "no branch of it is alive",
        };
        self.line(depth + 1, format!("{name} is left: {why}"));
    }

    /// The weighted choices among which is chosen.
    fn heard(&mut self, choices: &[(Target, u16)], depth: usize) -> Vec<(Target, u16)> {
        let levels: Vec<Level> = choices.iter().map(|&(to, _)| self.level(to)).collect();
        for (&(to, _), &level) in choices.iter().zip(&levels).filter(|(_, level)| **level < Level::Alive) {
            self.leave(to, level, depth);
        }
        if !levels.contains(&Level::Alive) {
            self.line(depth + 1, AS_IF);
        }
        heed_choices(choices, &levels)
    }

    fn key_text(&self, key: HashKey) -> String {
        match key {
            HashKey::Name => format!("the name {}", self.question),
            HashKey::Client { .. } => {
                let (_, bits) = self.client.hash(key, &[]);
                format!("the client's network {}", network(self.client, bits))
            }
        }
    }

    /// Each candidate, the tier, the policy, the TTL.
    fn pool(&mut self, first: usize, who: &str, depth: usize) {
        let world = self.world;
        let plan = world.plan().clone();
        let slot = self.slot();
        let mut number = first;
        for _ in 0..=plan.pools.len() {
            let pool = &plan.pools[number];
            let answers = self.name.answers.unwrap_or(pool.answers);
            let reads = match pool.reads {
                Some(key) => format!(" of {}", self.key_text(key)),
                None => String::new(),
            };
            let text = format!(
                "{}answers from pool {} (policy {}{reads}, at most {answers} address{})",
                if who == pool.name { String::new() } else { format!("{who} ") },
                pool.name,
                policy_word(pool),
                if answers == 1 { "" } else { "es" }
            );
            self.line(depth, text);
            for (at, backend) in pool.backends.iter().enumerate() {
                let text = self.backend(number, at, backend);
                self.line(depth, text);
            }
            let family = &world.pools[number].families[slot];
            match &family.selection {
                Selection::To(other) => {
                    let what = if matches!(other, Target::Pool(_)) { "pool" } else { "route" };
                    let name = target_name(&plan, *other);
                    self.line(depth, format!("no tier reaches min_healthy: on_all_down leads to {what} {name}"));
                    match *other {
                        Target::Pool(next) => number = next,
                        Target::Route(route) => return self.route(route, who, depth),
                    }
                    continue;
                }
                Selection::Nothing(nothing) => {
                    let text = match nothing {
                        Nothing::NoCandidate if family.has_family => "no backend may be answered: NODATA",
                        Nothing::NoCandidate => "the pool has no backend in this family: NODATA",
                        Nothing::NoData => "no tier reaches min_healthy: on_all_down answers NODATA",
                        Nothing::ServFail => "no tier reaches min_healthy: on_all_down answers SERVFAIL",
                        Nothing::Refused => "no tier reaches min_healthy: on_all_down answers REFUSED",
                    };
                    self.line(depth, text);
                }
                Selection::Answer { members, because, tier } => {
                    let why = match (because, pool.on_all_down) {
                        (Because::Healthy, _) => format!("{}: it answers alone", tier_text(family, pool, *tier)),
                        (Because::FailOpen, OnAllDown::Last) => {
                            "no tier reaches min_healthy and no last set is known: failing open, as if all were up"
                                .to_owned()
                        }
                        (Because::FailOpen, _) => {
                            "no tier reaches min_healthy: failing open, as if all were up".to_owned()
                        }
                        (Because::Every, _) => "no tier reaches min_healthy: every candidate answers".to_owned(),
                        (Because::LastKnown, _) => {
                            "no tier reaches min_healthy: the last healthy set answers".to_owned()
                        }
                    };
                    self.line(depth, why);
                    let shares: Vec<String> =
                        pool_shares(pool, family.policy(pool.policy), members, self.name.rtype, None)
                            .into_iter()
                            .map(|(backend, share)| format!("{} {:.1} %", pool.backends[backend].name, share * 100.0))
                            .collect();
                    let over = if pool.reads.is_some() { " over all clients" } else { "" };
                    self.line(depth, format!("first place{over}: {}", shares.join(", ")));
                    self.line(depth, format!("TTL {}", self.ttl(first)));
                }
            }
            return;
        }
    }

    /// The TTL of answers of that pool under this name.
    fn ttl(&self, pool: usize) -> u32 {
        let NamePlan { rtype, ttl, answers, to, .. } = *self.name;
        let source = if to == Target::Pool(pool) { Source::Pool(pool) } else { Source::Leaf { pool, root: to } };
        view_ttl(self.world, &ViewPlan { source, rtype, ttl, answers, params: 0 })
    }

    fn backend(&self, number: usize, at: usize, backend: &BackendPlan) -> String {
        let world = self.world;
        let rtype = self.name.rtype;
        let slot = self.slot();
        let families = families_of(slot);
        let places: Vec<String> = families.iter().filter_map(|&family| backend.place(family)).collect();
        if places.is_empty() {
            return format!("  {}: has no {} address", backend.name, rrtype::text(rtype));
        }
        let place = if backend.cname.is_some() { places[0].clone() } else { places.join(" ") };
        let pool = &world.plan().pools[number];
        let family = &world.pools[number].families[slot];
        let (state, forced) = world.state_of(pool, backend);
        let candidate = family.candidates.iter().find(|candidate| candidate.backend == at);
        // A host as a whole is as good as the better of its families.
        let verdicts: Vec<_> = families
            .iter()
            .filter(|&&family| backend.place(family).is_some())
            .map(|&family| (family, world.verdict(backend, family)))
            .collect();
        let rank = |verdict: Option<Verdict>| match verdict {
            Some(Verdict::Up) => 2,
            None => 1,
            Some(Verdict::Down) => 0,
        };
        let (family_told, verdict) = verdicts.into_iter().max_by_key(|one| rank(one.1)).unwrap_or((FAMILIES[0], None));
        let said = world.said_by(backend, rtype);
        let weight = match candidate.map(|one| one.weight).filter(|&weight| weight != backend.weight) {
            Some(weight) => format!("{} (now {weight}: the backend says {:?})", backend.weight, said.to_string()),
            None => backend.weight.to_string(),
        };
        let mut text = format!("  {} {place} tier {} weight {weight}: ", backend.name, backend.tier);
        match (state, families.iter().all(|&family| backend.probes(family).is_empty())) {
            (AdminState::Auto, true) => text.push_str("no check, always up"),
            (AdminState::Auto, false) => {
                text.push_str(verdict_word(verdict));
                for probe_use in backend.probes(family_told) {
                    if let Some(probe) = world.probes.get(world.ids[probe_use.probe]) {
                        let since = probe.since.map(|since| format!(" since {}", time_text(since)));
                        let reason = if probe.reason.is_empty() { "no result yet" } else { &probe.reason };
                        let since = since.unwrap_or_default();
                        text.push_str(&format!(", check {}: {reason}{since}", probe_use.check));
                    }
                }
                let up = candidate.is_some_and(|one| one.up);
                if verdict.is_none() {
                    text.push_str(if up { ", counts as up" } else { ", counts as down" });
                } else if pool.together && verdict == Some(Verdict::Up) && !up {
                    text.push_str(", counts as down: its other address is");
                }
            }
            (forced, _) => {
                text.push_str(state_word(forced));
                text.push_str(&format!(" (its checks say {})", verdict_word(verdict)));
            }
        }
        if let Some(word) = mode_word(said.mode()) {
            text.push_str(if state == AdminState::Auto { ", " } else { ", not heeded: " });
            text.push_str(word);
            if !said.note.is_empty() {
                text.push_str(&format!(": {}", said.note));
            }
        }
        if let Some(entry) = forced {
            text.push_str(&override_text(entry));
        }
        text.push_str(&world.remarks(number, slot, at));
        text
    }
}

/// The widest network around the client that so many bits say.
pub(super) fn network(client: &Client, bits: u8) -> String {
    match ipnet::IpNet::new(client.address, bits) {
        Ok(network) => network.trunc().to_string(),
        Err(_) => client.address.to_string(),
    }
}

/// Each one's share of the answers, by weight; equal without any.
pub(super) fn shares(heard: &[(Target, u16)]) -> Vec<(Target, f64)> {
    let total: u64 = heard.iter().map(|&(_, weight)| u64::from(weight)).sum();
    let share = |weight: u16| if total == 0 { 1.0 / heard.len() as f64 } else { f64::from(weight) / total as f64 };
    heard.iter().map(|&(to, weight)| (to, share(weight))).collect()
}

fn override_text(entry: &Override) -> String {
    let mut text = format!(" by override since {}", time_text(entry.since));
    if let Some(by) = &entry.by {
        text.push_str(&format!(", by {by}"));
    }
    if let Some(reason) = &entry.reason {
        text.push_str(&format!(", reason: {reason}"));
    }
    match entry.until {
        Some(until) => text.push_str(&format!(", until {}", time_text(until))),
        None => text.push_str(", until removed"),
    }
    text
}
