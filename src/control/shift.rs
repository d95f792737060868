//! What a reload moves: for each name and type, the share of clients whose first address is another one than before. Half
//! the sum of the differences of all shares (the total variation distance), since who leaves one address joins another.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use super::graph::{Graph, is_routed};
use super::shares::{Shared, Way, pool_shares};
use super::view::{MoveStatus, Moves};
use super::world::{World, backend_id, slot_of};
use super::zone_text;
use crate::config::plan::{BackendPlan, NamePlan, Target};
use crate::engine::client::Client;
use crate::engine::policy::Selection;
use crate::engine::ranges::ByAddress;
use crate::engine::rrtype;

/// Names told one by one; the others are counted.
const TOLD: usize = 20;
/// Where clients can be: IPv4 below multicast, and 2000::/3.
const V4_SPACE: (f64, f64) = (0.0, 224.0 * 16_777_216.0);
const V6_SPACE: (f64, f64) = (TWO_127 / 4.0, TWO_127 / 2.0);
const TWO_127: f64 = (1u128 << 127) as f64;
/// Differences below this are arithmetic's.
const NOTHING: f64 = 1e-9;

/// First places by address, or by name where there is none: they add up to one, or there is none.
type Shares = BTreeMap<String, f64>;

/// What one balanced name answers.
#[derive(Debug)]
struct Answers {
    /// Where clients get different shares.
    places: ByAddress<u32>,
    /// By the number of the place.
    shares: Vec<Shares>,
    /// Behind routes, of each pool: whoever its clients are.
    pools: BTreeMap<String, Shares>,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers { places: ByAddress::all(0), shares: vec![Shares::new()], pools: BTreeMap::new() }
    }
}

/// The answers of every balanced name and type. Names that lead to the same share theirs.
pub(crate) struct Picture {
    names: HashMap<(String, u16), usize>,
    answers: Vec<Answers>,
}

/// Draws the picture of what the world, with its pools as they are selected, answers.
pub(crate) fn picture(world: &World) -> Picture {
    let plan = world.plan();
    let mut picture = Picture { names: HashMap::new(), answers: Vec::new() };
    let mut known: HashMap<(Target, u16), usize> = HashMap::new();
    for name in plan.zones.iter().flat_map(|zone| &zone.names) {
        let number = *known.entry((name.to, name.rtype)).or_insert_with(|| {
            picture.answers.push(answers(world, name));
            picture.answers.len() - 1
        });
        picture.names.insert((zone_text(&name.owner), name.rtype), number);
    }
    picture
}

fn answers(world: &World, name: &NamePlan) -> Answers {
    let plan = world.plan();
    let place = |backend: &BackendPlan, id: &str| {
        let address = backend.address(name.rtype).map(|address| address.to_string());
        address.or_else(|| backend.cname.as_ref().map(ToString::to_string)).unwrap_or_else(|| id.to_owned())
    };
    let places: HashMap<String, String> = Graph::new(plan, name.to)
        .pools()
        .flat_map(|pool| plan.pools[pool].backends.iter().map(move |backend| (&plan.pools[pool], backend)))
        .map(|(pool, backend)| {
            let id = backend_id(pool, backend);
            let place = place(backend, &id);
            (id, place)
        })
        .collect();
    let asker = |address| Shared { client: Client::source(address), question: &name.owner, over_clients: true };
    let mut made = Answers::default();
    if let Some(way) = Way::new(world, name, &world.pools) {
        let addresses;
        (made.places, addresses) = way.regions();
        let of = |address: IpAddr| {
            let mut shares = Shares::new();
            for (id, share) in way.shares(&asker(address)) {
                *shares.entry(places.get(&id).cloned().unwrap_or(id)).or_default() += share;
            }
            shares
        };
        made.shares = addresses.into_iter().map(of).collect();
    }
    let asker = asker(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if is_routed(plan, name.to) {
        for number in Graph::new(plan, name.to).pools() {
            let (pool, family) = (&plan.pools[number], &world.pools[number].families[slot_of(name.rtype)]);
            let Selection::Answer { members, .. } = &family.selection else { continue };
            let shares = made.pools.entry(pool.name.clone()).or_default();
            let policy = family.policy(pool.policy);
            for (backend, share) in pool_shares(pool, policy, members, name.rtype, Some(&asker)) {
                let backend = &pool.backends[backend];
                *shares.entry(place(backend, &backend_id(pool, backend))).or_default() += share;
            }
        }
    }
    made
}

/// What is different in `after`. Names that are new move nobody; the clients of names that are gone all move. Where clients
/// are counts by the addresses there, of IPv4 and of IPv6, whichever is more. Behind routes the pool that moves most counts,
/// since nobody knows how many clients each has.
pub(crate) fn compare(before: &Picture, after: &Picture) -> Moves {
    let none = Answers::default();
    let mut known: HashMap<(usize, Option<usize>), Option<MoveStatus>> = HashMap::new();
    let mut moved: Vec<MoveStatus> = Vec::new();
    for ((name, rtype), &old) in &before.names {
        let new = after.names.get(&(name.clone(), *rtype)).copied();
        let found = known.entry((old, new)).or_insert_with(|| {
            let (old, new) = (&before.answers[old], new.map_or(&none, |new| &after.answers[new]));
            let of_pools = old.pools.iter().filter_map(|(pool, shares)| change(shares, new.pools.get(pool)?));
            of_pools.chain(change_of_places(old, new)).reduce(most)
        });
        if let Some(change) = found {
            moved.push(MoveStatus { name: name.clone(), rtype: rrtype::text(*rtype), ..change.clone() });
        }
    }
    let by_size = |one: &MoveStatus, other: &MoveStatus| {
        other.percent.total_cmp(&one.percent).then_with(|| (&one.name, &one.rtype).cmp(&(&other.name, &other.rtype)))
    };
    moved.sort_by(by_size);
    let further = moved.len().saturating_sub(TOLD);
    moved.truncate(TOLD);
    Moves { moved, further, checks_new: 0, checks_gone: 0 }
}

/// Both together: the larger share, and everybody who leaves or joins somewhere.
fn most(one: MoveStatus, other: MoveStatus) -> MoveStatus {
    let joined = |one: Vec<String>, other: Vec<String>| -> Vec<String> {
        one.into_iter().chain(other).collect::<BTreeSet<_>>().into_iter().collect()
    };
    MoveStatus {
        percent: one.percent.max(other.percent),
        leave: joined(one.leave, other.leave),
        join: joined(one.join, other.join),
        ..one
    }
}

/// By address: each place with its part of all addresses.
fn change_of_places(old: &Answers, new: &Answers) -> Option<MoveStatus> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut numbers: HashMap<(u32, u32), u32> = HashMap::new();
    let both = old.places.overlay(&new.places, |one, two| {
        *numbers.entry((one, two)).or_insert_with(|| {
            pairs.push((one, two));
            pairs.len() as u32 - 1
        })
    });
    let of = |answers: &'_ Answers, place: u32| answers.shares.get(place as usize).cloned().unwrap_or_default();
    let changes: Vec<Option<MoveStatus>> =
        pairs.iter().map(|&(one, two)| change(&of(old, one), &of(new, two))).collect();
    let moved = |number: u32| changes[number as usize].as_ref().map_or(0.0, |change| change.percent);
    let v4 = weighed(both.v4.iter().map(|(start, number)| (f64::from(start), moved(number))), V4_SPACE);
    let v6 = weighed(both.v6.iter().map(|(start, number)| (start as f64, moved(number))), V6_SPACE);
    let percent = (v4.max(v6) * 10.0).round() / 10.0;
    let all = changes.into_iter().flatten().reduce(most)?;
    // Whoever is left somewhere else has not left.
    let held = |answers: &Answers| answers.shares.iter().flat_map(|shares| shares.keys().cloned()).collect();
    let (before, after): (BTreeSet<String>, BTreeSet<String>) = (held(old), held(new));
    let leave = before.difference(&after).cloned().collect();
    let join = after.difference(&before).cloned().collect();
    Some(MoveStatus { percent, leave, join, ..all })
}

/// The mean over the addresses of a space, of values that each hold from one address to the next.
fn weighed(values: impl Iterator<Item = (f64, f64)>, (first, last): (f64, f64)) -> f64 {
    let all: Vec<(f64, f64)> = values.collect();
    let ends = all.iter().skip(1).map(|one| one.0).chain([f64::MAX]);
    let part = |(&(start, value), end): (&(f64, f64), f64)| (end.min(last) - start.max(first)).max(0.0) * value;
    all.iter().zip(ends).map(part).sum::<f64>() / (last - first)
}

fn change(before: &Shares, after: &Shares) -> Option<MoveStatus> {
    let places: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |shares: &Shares, place: &str| shares.get(place).copied().unwrap_or(0.0);
    let sum: f64 = places.iter().map(|place| (of(before, place) - of(after, place)).abs()).sum();
    if sum < NOTHING {
        return None;
    }
    // Who had no address before is not moved away from one; who has none afterwards is, and joins nothing.
    let share = match (before.is_empty(), after.is_empty()) {
        (true, _) => 0.0,
        (false, true) => 1.0,
        _ => sum / 2.0,
    };
    let only = |one: &Shares, other: &Shares| -> Vec<String> {
        one.keys().filter(|place| !other.contains_key(*place)).cloned().collect()
    };
    Some(MoveStatus {
        name: String::new(),
        rtype: String::new(),
        percent: (share * 1000.0).round() / 10.0,
        leave: only(before, after),
        join: only(after, before),
    })
}

/// One line for each name that moves, and one for the checks.
pub fn words(moves: &Moves) -> Vec<String> {
    let verb = |list: &[String], one: &str, many: &str| match list {
        [] => String::new(),
        [single] => format!("; {single} {one}"),
        several => format!("; {} {many}", several.join(", ")),
    };
    let mut lines: Vec<String> = moves
        .moved
        .iter()
        .map(|one| {
            let (leave, join) = (verb(&one.leave, "leaves", "leave"), verb(&one.join, "joins", "join"));
            let percent = if one.percent == 0.0 { "less than 0.1".to_owned() } else { one.percent.to_string() };
            format!("{} {}: {percent} % of clients move{leave}{join}", one.name, one.rtype)
        })
        .collect();
    if moves.further > 0 {
        lines.push(format!("and {} further names", moves.further));
    }
    let count = |number: usize, word: &str| match number {
        1 => format!("1 check {word}"),
        number => format!("{number} checks {word}"),
    };
    match (moves.checks_new, moves.checks_gone) {
        (0, 0) => {}
        (new, 0) => lines.push(count(new, "new")),
        (0, gone) => lines.push(count(gone, "gone")),
        (new, gone) => lines.push(format!("{}, {}", count(new, "new"), count(gone, "gone"))),
    }
    lines
}

/// How many of `one` are not in `other`.
pub(crate) fn missing<T: Eq + std::hash::Hash>(one: &HashSet<T>, other: &HashSet<T>) -> usize {
    one.difference(other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares_of(list: &[(u8, f64)]) -> Shares {
        list.iter().map(|&(last, share)| (format!("192.0.2.{last}"), share)).collect()
    }

    #[test]
    fn half_the_sum_of_the_differences_moves() {
        for (before, after, percent) in [
            (&[(1, 0.5), (2, 0.5)][..], &[(1, 1.0)][..], 50.0),
            (&[(1, 0.5), (2, 0.5)], &[(3, 0.5), (4, 0.5)], 100.0),
            (&[(1, 0.75), (2, 0.25)], &[(1, 0.5), (2, 0.5)], 25.0),
            (&[(1, 1.0)], &[], 100.0),
            (&[], &[(1, 1.0)], 0.0),
        ] {
            assert_eq!(change(&shares_of(before), &shares_of(after)).unwrap().percent, percent, "{before:?} {after:?}");
        }
        assert_eq!(change(&shares_of(&[(1, 1.0)]), &shares_of(&[(1, 1.0)])), None);
    }

    #[test]
    fn a_place_counts_by_its_addresses() {
        // Half of a space, and what lies outside of it does not count.
        assert_eq!(weighed([(0.0, 100.0), (112.0, 0.0)].into_iter(), (0.0, 224.0)), 50.0);
        assert_eq!(weighed([(0.0, 0.0), (224.0, 100.0)].into_iter(), (0.0, 224.0)), 0.0);
        assert_eq!(weighed([(0.0, 100.0)].into_iter(), (32.0, 64.0)), 100.0);
        assert_eq!(weighed([(0.0, 7.0), (48.0, 9.0), (100.0, 1000.0)].into_iter(), (32.0, 64.0)), 8.0);
    }

    #[test]
    fn words_name_who_leaves_and_joins() {
        let one = MoveStatus {
            name: "www.lb.example.com".to_owned(),
            rtype: "A".to_owned(),
            percent: 12.5,
            leave: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
            join: vec!["192.0.2.9".to_owned()],
        };
        let moves = Moves { moved: vec![one], further: 0, checks_new: 1, checks_gone: 2 };
        assert_eq!(
            words(&moves),
            [
                "www.lb.example.com A: 12.5 % of clients move; 192.0.2.1, 192.0.2.2 leave; 192.0.2.9 joins",
                "1 check new, 2 checks gone"
            ]
        );
    }
}
