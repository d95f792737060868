//! How well pools and routes can answer, and whom. A pool is judged by its tiers, a route by its choices; below fenced maps the
//! judgement is a table by address. Each is judged once, however many ways lead to it.

use std::collections::HashMap;
use std::sync::Arc;

use super::program::Health;
use crate::config::plan::{RouteKind, Target};
use crate::engine::ranges::ByAddress;

/// How well a branch can answer. A route takes its choices of the highest level that one of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// There is no backend that could: none of the family, or all drained and forced down.
    Empty,
    /// It has failed, and could if its backends lived.
    Failed,
    /// It lives.
    Alive,
}

/// How well a branch can answer whom.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Live {
    /// Everybody alike.
    All(Level),
    /// By address.
    By(Arc<ByAddress<Level>>),
}

impl Live {
    fn of(table: ByAddress<Level>) -> Live {
        let level = table.find(std::net::IpAddr::from([0, 0, 0, 0])).0;
        if table == ByAddress::all(level) { Live::All(level) } else { Live::By(Arc::new(table)) }
    }

    /// For a client there.
    pub(crate) fn at(&self, address: std::net::IpAddr) -> Level {
        match self {
            Live::All(level) => *level,
            Live::By(table) => table.find(address).0,
        }
    }

    /// The best that anybody has of it, and the worst.
    pub(crate) fn bounds(&self) -> (Level, Level) {
        match self {
            Live::All(level) => (*level, *level),
            Live::By(table) => {
                let levels = || table.v4.iter().map(|one| one.1).chain(table.v6.iter().map(|one| one.1));
                (levels().max().unwrap_or(Level::Empty), levels().min().unwrap_or(Level::Empty))
            }
        }
    }
}

/// The choices of the highest level that there is, by their place.
pub(crate) fn best(levels: &[Level]) -> impl Iterator<Item = usize> + '_ {
    let most = levels.iter().copied().max().unwrap_or(Level::Empty);
    (0..levels.len()).filter(move |&at| levels[at] == most)
}

/// What is judged already.
pub(crate) struct Levels<'w> {
    health: Health<'w>,
    known: HashMap<Target, Live>,
}

impl<'w> Levels<'w> {
    pub(crate) fn new(health: Health<'w>) -> Levels<'w> {
        Levels { health, known: HashMap::new() }
    }

    /// As [`Levels::of`], of each.
    pub(crate) fn of_all(&mut self, choices: &[Target]) -> Vec<Live> {
        choices.iter().map(|&choice| self.of(choice)).collect()
    }

    /// For whom it is alive.
    pub(crate) fn of(&mut self, target: Target) -> Live {
        if let Some(known) = self.known.get(&target) {
            return known.clone();
        }
        let found = match target {
            Target::Pool(pool) => Live::All(self.health.pool_level(pool)),
            Target::Route(route) => self.route_level(route),
        };
        self.known.insert(target, found.clone());
        found
    }

    /// The best of what it may lead to.
    fn route_level(&mut self, number: usize) -> Live {
        let (choices, classes) = match &self.health.plan.routes[number].kind {
            RouteKind::Schedule { .. } => (self.health.scheduled(number), None),
            RouteKind::Map { choices, classes, .. } => (choices.iter().map(|&(_, to)| to).collect(), Some(classes)),
            _ => (self.health.plan.routes[number].choices(), None),
        };
        let lives = self.of_all(&choices);
        let masks = partial(&lives);
        let of_all = |mask: u32| masks.levels(&lives, mask).into_iter().max().unwrap_or(Level::Empty);
        let of_class = |class: u32, mask: u32| {
            let order = classes.map_or(&[][..], |classes| &classes.orders[class as usize]);
            order.iter().map(|&choice| masks.level(&lives, mask, choice.into())).max().unwrap_or(Level::Empty)
        };
        match (masks.are_whole(), classes) {
            (true, None) => Live::All(of_all(0)),
            (false, None) => Live::of(masks.table.map(of_all)),
            (true, Some(classes)) => {
                let levels: Vec<Level> = (0..classes.orders.len() as u32).map(|class| of_class(class, 0)).collect();
                match levels.iter().all(|&level| level == levels[0]) {
                    true => Live::All(levels[0]),
                    false => Live::of(classes.table.map(|class| levels[class as usize])),
                }
            }
            (false, Some(classes)) => Live::of(classes.table.overlay(&masks.table, of_class)),
        }
    }
}

/// Which branches that are not the same for all are what where.
pub(super) struct Masks {
    /// Number of a set, for every address.
    pub(super) table: ByAddress<u32>,
    /// Choices above [`Level::Empty`], and what they are.
    sets: Vec<Vec<(usize, Level)>>,
    /// Whether there is any such branch.
    any: bool,
}

impl Masks {
    /// All branches are the same for all.
    pub(super) fn are_whole(&self) -> bool {
        !self.any
    }

    pub(super) fn level(&self, lives: &[Live], mask: u32, choice: usize) -> Level {
        match lives[choice] {
            Live::All(level) => level,
            Live::By(_) => {
                let set = &self.sets[mask as usize];
                set.iter().find(|(one, _)| *one == choice).map_or(Level::Empty, |&(_, level)| level)
            }
        }
    }

    pub(super) fn levels(&self, lives: &[Live], mask: u32) -> Vec<Level> {
        (0..lives.len()).map(|choice| self.level(lives, mask, choice)).collect()
    }
}

/// The branches that are not the same for all, laid over each other.
pub(super) fn partial(lives: &[Live]) -> Masks {
    let mut masks = Masks { table: ByAddress::all(0), sets: vec![Vec::new()], any: false };
    let mut numbers: HashMap<(u32, usize, Level), u32> = HashMap::new();
    for (choice, live) in lives.iter().enumerate() {
        let Live::By(table) = live else { continue };
        masks.any = true;
        let sets = &mut masks.sets;
        masks.table = masks.table.overlay(table, |mask, level| {
            if level == Level::Empty {
                return mask;
            }
            *numbers.entry((mask, choice, level)).or_insert_with(|| {
                let mut set = sets[mask as usize].clone();
                set.push((choice, level));
                sets.push(set);
                sets.len() as u32 - 1
            })
        });
    }
    masks
}
