//! Routes as written to routes of the plan: names become indices, maps and choices become tables, circles are refused.

use std::sync::Arc;

use super::classes;
use super::compile::{Assembly, Scope};
use super::diagnostic::did_you_mean;
use super::maps::{MapDef, Site};
use super::plan::{HashKey, RouteKind, RoutePlan, Target};
use super::pools::{AllDown, Named};
use super::promise::pools_below;
use super::routes::{Kind, Region, RouteDef};
use super::source::{Place, Problem, Report};
use crate::engine::policy::OnAllDown;

/// Most routes behind each other: each is a step of a query.
const DEEPEST: usize = 16;
/// Farther down nobody looks: pools and routes behind each other.
const BOTTOM: usize = 1000;

impl Scope<'_> {
    /// A place in the plan for a route, so that others can name it before its choices are known.
    pub(super) fn reserve_route(&mut self, name: &str, assembly: &mut Assembly) -> Target {
        let kind = RouteKind::Failover { choices: Vec::new(), trickle: 0 };
        assembly.routes.push(RoutePlan { zone: self.zone.clone(), name: name.to_owned(), kind, together: None });
        let target = Target::Route(assembly.routes.len() - 1);
        self.index.insert(name.to_owned(), target);
        target
    }

    /// Resolves its choices. What cannot be resolved is reported, and the load refused.
    pub(super) fn fill_route(&mut self, name: &str, route: &RouteDef, assembly: &mut Assembly, report: &mut Report) {
        let Some(&Target::Route(number)) = self.index.get(name) else { return };
        if let Some(kind) = self.kind(name, &route.kind, assembly, report) {
            assembly.routes[number].kind = kind;
        }
    }

    fn kind(&mut self, from: &str, kind: &Kind, assembly: &mut Assembly, report: &mut Report) -> Option<RouteKind> {
        let mut to =
            |named: &Named, scope: &mut Self, report: &mut Report| scope.resolve_in(from, named, assembly, report);
        let mut all = |named: &[Named], scope: &mut Self, report: &mut Report| -> Option<Vec<Target>> {
            // All are looked at, so that every wrong one is said.
            let found: Vec<Option<Target>> = named.iter().map(|named| to(named, scope, report)).collect();
            found.into_iter().collect()
        };
        Some(match kind {
            Kind::Failover { choices, trickle } => {
                RouteKind::Failover { choices: all(choices, self, report)?, trickle: *trickle }
            }
            Kind::Weighted { choices } => RouteKind::Weighted { choices: weighted(choices, &mut all, self, report)? },
            Kind::Hash { choices, key } => {
                RouteKind::Hash { choices: weighted(choices, &mut all, self, report)?, key: *key }
            }
            Kind::Map { map, choices, fence } => {
                let named: Vec<Named> = choices.iter().map(|choice| choice.to.clone()).collect();
                let targets = all(&named, self, report);
                let classes = self.by_region(from, map, choices, *fence, report)?;
                let choices = choices.iter().map(|choice| choice.key.clone()).zip(targets?).collect();
                RouteKind::Map { map: map.name.clone(), choices, classes: Arc::new(classes), fence: *fence }
            }
            Kind::Nearest { map, choices, biases } => {
                let named: Vec<Named> = choices.iter().map(|(to, _)| to.clone()).collect();
                let targets = all(&named, self, report);
                let classes = self.by_distance(from, map, choices, biases, report)?;
                RouteKind::Nearest { map: map.name.clone(), choices: targets?, classes: Arc::new(classes) }
            }
            Kind::Schedule { timezone, windows, default, fence } => {
                let named: Vec<Named> = windows.iter().map(|(_, to)| to.clone()).chain([default.clone()]).collect();
                let mut targets = all(&named, self, report)?;
                let default = targets.pop()?;
                let windows = windows.iter().map(|(window, _)| *window).zip(targets).collect();
                RouteKind::Schedule { timezone: timezone.clone(), windows, default, fence: *fence }
            }
        })
    }

    fn map(&self, from: &str, named: &Named, report: &mut Report) -> Option<&MapDef> {
        let own = self.own.routes.contains_key(from).then(|| self.own.maps.get(&named.name)).flatten();
        let found = own.or_else(|| self.shared.maps.get(&named.name));
        if found.is_none() {
            let known = self.own.maps.keys().chain(self.shared.maps.keys());
            let help = did_you_mean(&named.name, known.map(String::as_str));
            report.add(Problem::error(named.place, format!("there is no map {:?}", named.name)).help(help));
        }
        found
    }

    fn by_region(
        &self,
        from: &str,
        map: &Named,
        choices: &[Region],
        fence: bool,
        report: &mut Report,
    ) -> Option<super::plan::Classes> {
        let map = self.map(from, map, report)?;
        let keys: Vec<(&str, Place)> = choices.iter().map(|choice| (choice.key.as_str(), choice.place)).collect();
        // Without one the load is refused already.
        let default = choices.iter().position(|choice| choice.key == "default")?;
        classes::by_region(map, &keys, default as u16, fence, report)
    }

    fn by_distance(
        &self,
        from: &str,
        named: &Named,
        choices: &[(Named, Option<Site>)],
        biases: &[i8],
        report: &mut Report,
    ) -> Option<super::plan::Classes> {
        let map = self.map(from, named, report)?;
        if map.databases.is_empty() {
            let message = format!("the map {:?} has no \"geoip\" database, which knows where clients are", named.name);
            report.add(Problem::error(named.place, message).beside(map.place, "the map"));
            return None;
        }
        let mut sites = Vec::with_capacity(choices.len());
        for ((to, at), &bias) in choices.iter().zip(biases) {
            let of_pool = || {
                let pool = self.own.pools.get(&to.name).or_else(|| self.shared.pools.get(&to.name));
                pool.and_then(|pool| pool.at)
            };
            match at.or_else(of_pool) {
                Some(site) => sites.push((site, bias)),
                None => {
                    let message = format!("nobody says where {:?} is", to.name);
                    let help =
                        "write { to = \"…\", at = [50.11, 8.68] } here, or at = [50.11, 8.68] in the pool".to_owned();
                    report.add(Problem::error(to.place, message).help(help.replace('…', &to.name)));
                }
            }
        }
        if sites.len() < choices.len() {
            return None;
        }
        classes::by_distance(map, &sites, report)
    }

    /// Refuses pools and routes that lead to each other in a circle, and too many of them behind each other.
    pub(super) fn refuse_circles(&self, assembly: &Assembly, report: &mut Report) {
        let mut walk = Walk { assembly, path: Vec::new(), depths: Default::default(), circle: None };
        for &start in self.index.values() {
            walk.depth(start);
            if let Some(circle) = walk.circle.take() {
                self.say_circle(&circle, assembly, report);
                return;
            }
        }
        let deepest = self.index.iter().filter(|(_, target)| matches!(target, Target::Route(_)));
        if let Some((name, _)) = deepest.max_by_key(|(_, target)| walk.depths.get(target).copied().unwrap_or(0))
            && walk.depths[&self.index[name]] > DEEPEST
            && let Some(place) = self.route_place(name)
        {
            let depth = walk.depths[&self.index[name]];
            let message = format!("{depth} routes behind each other; at most {DEEPEST} are followed");
            report.add(Problem::error(place, message).key(format!("routes.{name}")));
        }
    }

    /// A route that draws for each type apart would tear asunder what a pool below answers together: there it draws as the
    /// pool does.
    pub(super) fn draw_together(&self, assembly: &mut Assembly) {
        for &target in self.index.values() {
            let Target::Route(number) = target else { continue };
            let draws = match &assembly.routes[number].kind {
                RouteKind::Weighted { .. } => true,
                RouteKind::Failover { trickle, .. } => *trickle > 0,
                _ => false,
            };
            let pools = if draws { pools_below(assembly, target) } else { Default::default() };
            if pools.len() > 1 {
                let keys = pools.iter().map(|&pool| &assembly.pools[pool]).filter(|pool| pool.together);
                assembly.routes[number].together = keys.filter_map(|pool| pool.reads).reduce(coarser);
            }
        }
    }

    fn route_place(&self, name: &str) -> Option<Place> {
        self.own.routes.get(name).or_else(|| self.shared.routes.get(name)).map(|route| route.place)
    }

    fn say_circle(&self, circle: &[Target], assembly: &Assembly, report: &mut Report) {
        let name = |target: &Target| name_of(assembly, *target);
        let names: Vec<&str> = circle.iter().map(name).collect();
        let shown = names.join(" -> ");
        let pool = self.own.pools.get(names[0]).or_else(|| self.shared.pools.get(names[0]));
        if circle.iter().all(|target| matches!(target, Target::Pool(_)))
            && let Some(AllDown::To(to)) = pool.map(|pool| &pool.on_all_down)
        {
            let message = format!("on_all_down goes in a circle: {shown}");
            report.add(Problem::error(to.place, message).key(format!("pools.{}.on_all_down", names[0])));
        } else if let Some(route) =
            names.iter().find_map(|name| self.own.routes.get(*name).or(self.shared.routes.get(*name)))
        {
            report.add(Problem::error(route.place, format!("routes lead in a circle: {shown}")));
        }
    }
}

/// The wider network; the name only where both say so.
fn coarser(one: HashKey, other: HashKey) -> HashKey {
    match (one, other) {
        (HashKey::Name, key) | (key, HashKey::Name) => key,
        (
            HashKey::Client { ipv4_prefix, ipv6_prefix },
            HashKey::Client { ipv4_prefix: other_ipv4, ipv6_prefix: other_ipv6 },
        ) => HashKey::Client { ipv4_prefix: ipv4_prefix.min(other_ipv4), ipv6_prefix: ipv6_prefix.min(other_ipv6) },
    }
}

fn weighted<S>(
    choices: &[(Named, u16)],
    all: &mut impl FnMut(&[Named], &mut S, &mut Report) -> Option<Vec<Target>>,
    scope: &mut S,
    report: &mut Report,
) -> Option<Vec<(Target, u16)>> {
    let named: Vec<Named> = choices.iter().map(|(to, _)| to.clone()).collect();
    let targets = all(&named, scope, report)?;
    Some(targets.into_iter().zip(choices.iter().map(|&(_, weight)| weight)).collect())
}

fn name_of(assembly: &Assembly, target: Target) -> &str {
    match target {
        Target::Pool(number) => &assembly.pools[number].name,
        Target::Route(number) => &assembly.routes[number].name,
    }
}

/// A walk through everything that a name may lead to, deepest first.
struct Walk<'a> {
    assembly: &'a Assembly,
    path: Vec<Target>,
    /// Routes on the longest way down, of those that are done.
    depths: std::collections::HashMap<Target, usize>,
    circle: Option<Vec<Target>>,
}

impl Walk<'_> {
    fn depth(&mut self, at: Target) -> usize {
        if let Some(&known) = self.depths.get(&at) {
            return known;
        }
        // The load is refused: nothing is known of what is in a circle, and all ways through it would be too many.
        if self.circle.is_some() {
            return 0;
        }
        if self.path.len() > BOTTOM {
            return BOTTOM;
        }
        if let Some(first) = self.path.iter().position(|&before| before == at) {
            let mut circle = self.path[first..].to_vec();
            circle.push(at);
            self.circle.get_or_insert(circle);
            return 0;
        }
        let (next, own) = match at {
            Target::Pool(number) => match self.assembly.pools[number].on_all_down {
                OnAllDown::To(other) => (vec![other], 0),
                _ => (Vec::new(), 0),
            },
            Target::Route(number) => (self.assembly.routes[number].choices(), 1),
        };
        self.path.push(at);
        let deepest = next.into_iter().map(|next| self.depth(next)).max().unwrap_or(0);
        self.path.pop();
        if self.circle.is_none() {
            self.depths.insert(at, deepest + own);
        }
        deepest + own
    }
}
