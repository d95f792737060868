//! Routes as `status` shows them.

use super::graph::Graph;
use super::names::target_name;
use super::program::{Level, Levels, Live};
use super::view::{ChoiceStatus, RouteStatus};
use super::world::{Belongings, FAMILIES, World};
use crate::config::plan::{RouteKind, RoutePlan, Target, Window};

/// The zone's routes, by name.
pub(crate) fn statuses(world: &World, zone: &Belongings) -> Vec<RouteStatus> {
    zone.routes.iter().map(|&number| status(world, number as usize)).collect()
}

/// One route, by its number.
pub(crate) fn status(world: &World, number: usize) -> RouteStatus {
    let plan = world.plan();
    let route = &plan.routes[number];
    let by = reasons(route);
    let moment = world.moments.get(number).map(Vec::as_slice).unwrap_or_default();
    let choices = route.choices().into_iter().zip(by).enumerate();
    RouteStatus {
        route: route.name.clone(),
        kind: kind_word(&route.kind).to_owned(),
        state: state(world, Target::Route(number)).to_owned(),
        choices: choices
            .map(|(at, (to, by))| ChoiceStatus {
                to: target_name(plan, to).to_owned(),
                by,
                state: state(world, to).to_owned(),
                now: !matches!(route.kind, RouteKind::Schedule { .. }) || moment.contains(&at),
            })
            .collect(),
    }
}

/// `map`, `nearest`, …
pub(crate) fn kind_word(kind: &RouteKind) -> &'static str {
    match kind {
        RouteKind::Failover { .. } => "failover",
        RouteKind::Weighted { .. } => "weighted",
        RouteKind::Hash { .. } => "hash",
        RouteKind::Map { .. } => "map",
        RouteKind::Nearest { .. } => "nearest",
        RouteKind::Schedule { .. } => "schedule",
    }
}

/// Over the families in which anything below has a backend.
fn state(world: &World, target: Target) -> &'static str {
    let graph = Graph::new(world.plan(), target);
    let has = |family: &usize| graph.pools().any(|pool| world.pools[pool].families[*family].has_family);
    let lives: Vec<Live> =
        (0..FAMILIES.len()).filter(has).map(|family| Levels::new(world.health(family)).of(target)).collect();
    if lives.iter().all(|live| live.bounds().1 == Level::Alive) {
        "alive"
    } else if lives.iter().all(|live| live.bounds().0 < Level::Alive) {
        "failed"
    } else {
        "partly"
    }
}

/// What each choice is chosen by.
fn reasons(route: &RoutePlan) -> Vec<String> {
    match &route.kind {
        RouteKind::Failover { choices, .. } | RouteKind::Nearest { choices, .. } => vec![String::new(); choices.len()],
        RouteKind::Weighted { choices } | RouteKind::Hash { choices, .. } => {
            choices.iter().map(|(_, weight)| format!("weight {weight}")).collect()
        }
        RouteKind::Map { choices, .. } => choices.iter().map(|(region, _)| region.clone()).collect(),
        RouteKind::Schedule { windows, .. } => {
            windows.iter().map(|(window, _)| window_text(window)).chain(["default".to_owned()]).collect()
        }
    }
}

/// `mon tue 08:00-18:00`
fn window_text(window: &Window) -> String {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days: Vec<&str> = NAMES.into_iter().zip(window.days).filter(|(_, on)| *on).map(|(name, _)| name).collect();
    let days = if days.len() == 7 { "daily".to_owned() } else { days.join(" ") };
    let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    format!("{days} {}-{}", clock(window.from), clock(window.until))
}
