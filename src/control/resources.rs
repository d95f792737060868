//! Zones, names, pools, backends and checks one by one and in pages, for the control listener. A slice of a list
//! holds few things, since the task that decides has others to do, and costs what they have: a list of one zone or pool walks
//! over that one alone, a zone looks at its own pools, and answers are counted pool by pool.

use std::time::SystemTime;

use super::overrides::glob;
use super::status::{self, Seen};
use super::view::{
    BackendState, BackendStatus, CheckItem, NameItem, NameStatus, PoolStatus, PoolSummary, RouteStatus, ZoneSummary,
};
use super::world::World;
use super::{ControlError, zone_text};
use crate::config::plan::{PoolPlan, ZonePlan};
use crate::engine::name::Name;

/// Things that one slice looks at, wanted or not.
const SLICE: usize = 2000;

/// Where a list goes on: a place in one load of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which load: microseconds of its beginning.
    load: u64,
    at: [u32; 3],
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Slice<T> {
    pub(crate) items: Vec<T>,
    /// Where it goes on; `None` at the end.
    pub(crate) next: Option<Place>,
}

/// What a list is of: each part a glob.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) zone: Option<String>,
    pub(crate) pool: Option<String>,
    pub(crate) backend: Option<String>,
    pub(crate) name: Option<String>,
    /// A pool's or backend's state, or a check's verdict.
    pub(crate) state: Option<String>,
    /// No pattern: what belongs to that zone, or to one pool of it.
    pub(crate) within: Option<(String, Option<String>)>,
}

/// Numbers of zones or pools to walk over, by their places in the list.
enum Numbers<'w> {
    All(usize),
    These(&'w [u32]),
    One(usize),
}

impl Numbers<'_> {
    fn len(&self) -> usize {
        match self {
            Numbers::All(count) => *count,
            Numbers::These(numbers) => numbers.len(),
            Numbers::One(_) => 1,
        }
    }

    fn at(&self, place: usize) -> usize {
        match self {
            Numbers::All(_) => place,
            Numbers::These(numbers) => numbers[place] as usize,
            Numbers::One(number) => *number,
        }
    }
}

impl Place {
    /// Reads what [`Place`] prints.
    pub(crate) fn read(text: &str) -> Option<Place> {
        let mut parts = text.split('-');
        let load = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mut at = [0; 3];
        for one in &mut at {
            *one = parts.next()?.parse().ok()?;
        }
        parts.next().is_none().then_some(Place { load, at })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second, third] = self.at;
        write!(f, "{:x}-{first}-{second}-{third}", self.load)
    }
}

impl Wanted {
    fn has(pattern: Option<&String>, text: &str) -> bool {
        pattern.is_none_or(|pattern| glob(pattern, text))
    }

    fn has_zone(&self, zone: &Name) -> bool {
        // Only looked at where it is asked for: the text costs an allocation.
        self.zone.as_ref().is_none_or(|pattern| glob(strip_dot(pattern), &zone_text(zone)))
    }

    fn has_pool(&self, pool: &PoolPlan) -> bool {
        Wanted::has(self.pool.as_ref(), &pool.name) && self.has_zone(&pool.zone)
    }

    fn has_state(&self, state: &str) -> bool {
        Wanted::has(self.state.as_ref(), state)
    }

    /// The zones to walk over; `None` where the one that is asked for is gone.
    fn zones(&self, world: &World) -> Option<Numbers<'static>> {
        match &self.within {
            None => Some(Numbers::All(world.plan().zones.len())),
            Some((zone, _)) => Some(Numbers::One(zone_named(world, zone).ok()?.0)),
        }
    }

    /// The pools to walk over, likewise.
    fn pools<'w>(&self, world: &'w World) -> Option<Numbers<'w>> {
        match &self.within {
            None => Some(Numbers::All(world.plan().pools.len())),
            Some((zone, None)) => Some(Numbers::These(&world.of_zones.get(zone_named(world, zone).ok()?.0)?.pools)),
            Some((zone, Some(pool))) => Some(Numbers::One(pool_named(world, zone, pool).ok()?)),
        }
    }
}

/// Walks over what is there from `from` on, and takes what is wanted of it, until `limit` items are found or enough was looked
/// at. `None`: the files were loaded again since the list began.
fn slice<T, K, I: Iterator<Item = ([u32; 3], K)>, R: IntoIterator<Item = T>>(
    world: &World,
    from: Option<Place>,
    limit: usize,
    walk: impl FnOnce([u32; 3]) -> I,
    take: impl FnMut(K) -> R,
) -> Option<Slice<T>> {
    let places = |first| walk(first).map(|(at, key)| (at, key, 1));
    slice_by_weight(world, from, limit, places, take)
}

/// The same where a look may count for more than one; a slice has one of these at least.
fn slice_by_weight<T, K, I: Iterator<Item = ([u32; 3], K, usize)>, R: IntoIterator<Item = T>>(
    world: &World,
    from: Option<Place>,
    limit: usize,
    walk: impl FnOnce([u32; 3]) -> I,
    mut take: impl FnMut(K) -> R,
) -> Option<Slice<T>> {
    let load = load_of(world);
    let from = from.unwrap_or(Place { load, at: [0; 3] });
    if from.load != load {
        return None;
    }
    let mut items = Vec::new();
    let mut looked = 0;
    for (at, key, weight) in walk(from.at) {
        if looked >= SLICE || items.len() >= limit {
            return Some(Slice { items, next: Some(Place { load, at }) });
        }
        looked += weight;
        items.extend(take(key));
    }
    Some(Slice { items, next: None })
}

fn load_of(world: &World) -> u64 {
    world.plan().began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// Numbers from `first` on, each with where a walk within it begins: in the first where it was left, else at the beginning.
fn outer(count: usize, first: u32, inner: u32) -> impl Iterator<Item = (usize, usize)> {
    let begin = move |number: usize| if number == first as usize { inner as usize } else { 0 };
    (first as usize..count).map(move |number| (number, begin(number)))
}

pub(crate) fn zones(world: &World, from: Option<Place>, limit: usize) -> Option<Slice<ZoneSummary>> {
    let of_zones = &world.of_zones;
    let numbers = |[first, ..]: [u32; 3]| {
        let rest = of_zones.iter().enumerate().skip(first as usize);
        rest.map(|(number, own)| ([number as u32, 0, 0], number, 1 + own.pools.len()))
    };
    slice_by_weight(world, from, limit, numbers, |number| Some(zone_summary(world, number)))
}

pub(crate) fn zone(world: &World, zone: &str) -> Result<ZoneSummary, ControlError> {
    let (number, _) = zone_named(world, zone)?;
    Ok(zone_summary(world, number))
}

fn zone_summary(world: &World, number: usize) -> ZoneSummary {
    let (zone, own) = (&world.plan().zones[number], &world.of_zones[number]);
    ZoneSummary {
        zone: zone_text(&zone.origin),
        file: zone.file.display().to_string(),
        serial: world.snapshot().zones.get(number as u32).map_or(0, |zone| zone.soa.serial()),
        state: status::worst(own.pools.iter().map(|&pool| pool_state(world, pool as usize))).to_owned(),
        records: zone.data.record_count(),
        names: zone.names.len(),
        pools: own.pools.len(),
        backends: own.backends,
        routes: own.routes.len(),
    }
}

pub(crate) fn names(world: &World, wanted: &Wanted, from: Option<Place>, limit: usize) -> Option<Slice<NameItem>> {
    let zones = &world.plan().zones;
    let numbers = &wanted.zones(world)?;
    let places = |[first, inner, _]: [u32; 3]| {
        outer(numbers.len(), first, inner).flat_map(|(place, begin)| {
            let number = numbers.at(place);
            // A zone that is not asked for is one look, whatever it holds.
            let fits = wanted.has_zone(&zones[number].origin);
            let each = if fits { begin..zones[number].names.len() } else { 0..1 };
            each.map(move |at| ([place as u32, at as u32, 0], fits.then_some((number, at))))
        })
    };
    slice(world, from, limit, places, |place| {
        let (number, at) = place?;
        let zone = &zones[number];
        let answering = world.snapshot().zones.get(number as u32)?;
        let plan = &zone.names[at];
        let fits = wanted.name.as_ref().is_none_or(|name| glob(strip_dot(name), &zone_text(&plan.owner)))
            && Wanted::has(wanted.pool.as_ref(), super::names::target_name(world.plan(), plan.to));
        let item = || NameItem { zone: zone_text(&zone.origin), name: status::name(world, zone, answering, at) };
        fits.then(item)
    })
}

/// All types of one name, absolute.
pub(crate) fn name(world: &World, zone: &str, name: &str) -> Result<Vec<NameStatus>, ControlError> {
    let (number, zone) = zone_named(world, zone)?;
    let none = || ControlError::NotFound(format!("no balanced name of {} is {name:?}", zone_text(&zone.origin)));
    let owner = Name::parse(name, Some(&Name::root())).map_err(|_| none())?;
    let answering = world.snapshot().zones.get(number as u32).ok_or_else(none)?;
    let numbers = (0..zone.names.len()).filter(|&index| zone.names[index].owner == owner);
    let found: Vec<NameStatus> = numbers.map(|index| status::name(world, zone, answering, index)).collect();
    if found.is_empty() { Err(none()) } else { Ok(found) }
}

pub(crate) fn pools(world: &World, wanted: &Wanted, from: Option<Place>, limit: usize) -> Option<Slice<PoolSummary>> {
    let pools = &world.plan().pools;
    let numbers = &wanted.pools(world)?;
    let places =
        |[first, ..]: [u32; 3]| (first as usize..numbers.len()).map(|place| ([place as u32, 0, 0], numbers.at(place)));
    slice(world, from, limit, places, |number| {
        let fits = wanted.has_pool(&pools[number]) && wanted.has_state(pool_state(world, number));
        fits.then(|| pool_summary(world, number))
    })
}

pub(crate) fn pool(world: &World, zone: &str, pool: &str) -> Result<PoolStatus, ControlError> {
    let number = pool_named(world, zone, pool)?;
    Ok(status::pool(world, number, &Seen::of_pools()))
}

pub(crate) fn backends(
    world: &World,
    wanted: &Wanted,
    from: Option<Place>,
    limit: usize,
) -> Option<Slice<BackendStatus>> {
    let seen = Seen::of_pools();
    walk_backends(world, wanted, from, limit, |number, at| {
        let backend = status::backend(world, number, at, &world.plan().pools[number].backends[at], &seen);
        wanted.has_state(&backend.state).then_some(backend)
    })
}

pub(crate) fn backend(world: &World, zone: &str, pool: &str, backend: &str) -> Result<BackendStatus, ControlError> {
    let (number, at) = backend_named(world, zone, pool, backend)?;
    Ok(status::backend(world, number, at, &world.plan().pools[number].backends[at], &Seen::of_pools()))
}

pub(crate) fn backend_state(
    world: &World,
    zone: &str,
    pool: &str,
    backend: &str,
) -> Result<BackendState, ControlError> {
    let (number, at) = backend_named(world, zone, pool, backend)?;
    let found = status::backend(world, number, at, &world.plan().pools[number].backends[at], &Seen::Nothing);
    Ok(BackendState {
        id: found.id,
        configured: found.configured,
        forced: found.forced,
        state: found.state,
        drain: found.drain,
    })
}

/// All checks of one backend.
pub(crate) fn checks_of(world: &World, zone: &str, pool: &str, backend: &str) -> Result<Vec<CheckItem>, ControlError> {
    let (number, at) = backend_named(world, zone, pool, backend)?;
    let found = status::backend(world, number, at, &world.plan().pools[number].backends[at], &Seen::Nothing);
    Ok(checks_in(found).collect())
}

fn checks_in(backend: BackendStatus) -> impl Iterator<Item = CheckItem> {
    let id = backend.id;
    backend.addresses.into_iter().flat_map(move |one| {
        let (backend, address) = (id.clone(), one.address);
        let item = move |check| CheckItem { backend: backend.clone(), address: address.clone(), check };
        one.checks.into_iter().map(item)
    })
}

/// The checks of the backends that are wanted; those of one backend stand together on a page, which may then be longer than
/// `limit` by as many as a backend has.
pub(crate) fn checks(world: &World, wanted: &Wanted, from: Option<Place>, limit: usize) -> Option<Slice<CheckItem>> {
    walk_backends(world, wanted, from, limit, |number, at| {
        let backend = status::backend(world, number, at, &world.plan().pools[number].backends[at], &Seen::Nothing);
        checks_in(backend).filter(|item| wanted.has_state(&item.check.verdict))
    })
}

fn walk_backends<T, R: IntoIterator<Item = T>>(
    world: &World,
    wanted: &Wanted,
    from: Option<Place>,
    limit: usize,
    mut take: impl FnMut(usize, usize) -> R,
) -> Option<Slice<T>> {
    let pools = &world.plan().pools;
    let numbers = &wanted.pools(world)?;
    let places = |[first, inner, _]: [u32; 3]| {
        outer(numbers.len(), first, inner).flat_map(|(place, begin)| {
            let number = numbers.at(place);
            // A pool that is not asked for is one look.
            let fits = wanted.has_pool(&pools[number]);
            let each = if fits { begin..pools[number].backends.len() } else { 0..1 };
            each.map(move |at| ([place as u32, at as u32, 0], fits.then_some((number, at))))
        })
    };
    slice(world, from, limit, places, |place| {
        let fits =
            |&(number, at): &(usize, usize)| Wanted::has(wanted.backend.as_ref(), &pools[number].backends[at].name);
        place.filter(fits).map(|(number, at)| take(number, at)).into_iter().flatten()
    })
}

/// All routes of a zone: as many as its file has.
pub(crate) fn routes(world: &World, zone: &str) -> Result<Vec<RouteStatus>, ControlError> {
    let (number, _) = zone_named(world, zone)?;
    Ok(super::routes::statuses(world, &world.of_zones[number]))
}

pub(crate) fn route(world: &World, zone: &str, route: &str) -> Result<RouteStatus, ControlError> {
    let none = || ControlError::NotFound(format!("no route of {zone} is {route:?}"));
    let (number, _) = zone_named(world, zone)?;
    let (own, all) = (&world.of_zones[number].routes, &world.plan().routes);
    let found = own.binary_search_by(|&one| all[one as usize].name.as_str().cmp(route));
    found.map(|at| super::routes::status(world, own[at] as usize)).map_err(|_| none())
}

fn pool_state(world: &World, number: usize) -> &'static str {
    let slots = (0..super::world::FAMILIES.len()).filter(|&slot| world.pools[number].families[slot].has_family);
    status::worst(slots.map(|slot| status::family_state(world, number, slot)))
}

fn pool_summary(world: &World, number: usize) -> PoolSummary {
    let pool = &world.plan().pools[number];
    let slots = (0..super::world::FAMILIES.len()).filter(|&slot| world.pools[number].families[slot].has_family);
    let zone = zone_text(&pool.zone);
    PoolSummary {
        id: format!("{zone}/{}", pool.name),
        zone,
        pool: pool.name.clone(),
        policy: status::policy_word(pool).to_owned(),
        state: pool_state(world, number).to_owned(),
        families: slots.map(|slot| status::family(world, number, slot)).collect(),
        backends: pool.backends.len(),
    }
}

fn strip_dot(text: &str) -> &str {
    text.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(text)
}

fn no_zone(zone: &str) -> ControlError {
    ControlError::NotFound(format!("no zone here is {zone:?}"))
}

/// The zone whose apex this is, with or without the final dot, in any case.
pub(crate) fn zone_named<'w>(world: &'w World, zone: &str) -> Result<(usize, &'w ZonePlan), ControlError> {
    let origin = Name::parse(zone, Some(&Name::root())).map_err(|_| no_zone(zone))?;
    let zones = &world.plan().zones;
    let number = zones.binary_search_by(|one| one.origin.cmp(&origin)).map_err(|_| no_zone(zone))?;
    Ok((number, &zones[number]))
}

pub(crate) fn pool_named(world: &World, zone: &str, pool: &str) -> Result<usize, ControlError> {
    let (number, zone) = zone_named(world, zone)?;
    let (own, all) = (&world.of_zones[number].pools, &world.plan().pools);
    let found = own.binary_search_by(|&one| all[one as usize].name.as_str().cmp(pool));
    let none = |_| ControlError::NotFound(format!("no pool of {} is {pool:?}", zone_text(&zone.origin)));
    found.map(|at| own[at] as usize).map_err(none)
}

/// The numbers of pool and backend.
fn backend_named(world: &World, zone: &str, pool: &str, backend: &str) -> Result<(usize, usize), ControlError> {
    let number = pool_named(world, zone, pool)?;
    let pool = &world.plan().pools[number];
    let found = pool.backends.iter().position(|one| one.name == backend);
    let none =
        || ControlError::NotFound(format!("no backend of {}/{} is {backend:?}", zone_text(&pool.zone), pool.name));
    Ok((number, found.ok_or_else(none)?))
}
