//! A map and a route's choices to one table: for every address its class, which is the order in which the choices are tried
//! there. All that can be said without knowing who is up is said here, once a load.
//!
//! Layers are laid over each other, each a value for every address: the operator's networks, then every database's systems
//! and places. Equal neighbours become one range, so the table is as long as there are borders between different choices.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::diagnostic::did_you_mean;
use super::maps::{Database, MapDef, Reader, Site};
use super::plan::Classes;
use super::source::{Place, Problem, Report};
use crate::engine::ranges::{Bits, ByAddress, Ranges};

/// Codes of the continents, as MaxMind has them.
const CONTINENTS: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];
/// Continent, country, subdivision, city.
const DEEPEST: usize = 4;
/// Mean radius of the earth, kilometres.
const EARTH_KM: f64 = 6371.0088;

/// Lists of choices, each kept once; number 0 is the empty list.
struct Lists {
    lists: Vec<Box<[u16]>>,
    numbers: HashMap<Box<[u16]>, u32>,
}

impl Lists {
    fn new() -> Lists {
        let mut lists = Lists { lists: Vec::new(), numbers: HashMap::new() };
        lists.number(&[]);
        lists
    }

    fn number(&mut self, list: &[u16]) -> u32 {
        if let Some(&known) = self.numbers.get(list) {
            return known;
        }
        let number = self.lists.len() as u32;
        self.lists.push(list.into());
        self.numbers.insert(list.into(), number);
        number
    }

    /// The first list, then the second.
    fn joined(&mut self, pairs: &mut HashMap<(u32, u32), u32>, one: u32, two: u32) -> u32 {
        if two == 0 {
            return one;
        }
        if let Some(&known) = pairs.get(&(one, two)) {
            return known;
        }
        let list: Vec<u16> = self.lists[one as usize].iter().chain(self.lists[two as usize].iter()).copied().collect();
        let number = self.number(&list);
        pairs.insert((one, two), number);
        number
    }
}

/// What a database says of a network: only this is read of it.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Record<'r> {
    #[serde(borrow)]
    continent: Coded<'r>,
    country: Coded<'r>,
    subdivisions: Vec<Coded<'r>>,
    city: Named<'r>,
    location: Location,
    autonomous_system_number: Option<u32>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Coded<'r> {
    code: Option<&'r str>,
    iso_code: Option<&'r str>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Named<'r> {
    #[serde(borrow)]
    names: Names<'r>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Names<'r> {
    en: Option<&'r str>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Record<'_> {
    /// `NA/US/CA/San Francisco`, as far as it is known.
    fn path(&self) -> String {
        let parts = [
            self.continent.code,
            self.country.iso_code,
            self.subdivisions.first().and_then(|one| one.iso_code),
            self.city.names.en,
        ];
        // A city without a subdivision stands below its country.
        let known: Vec<&str> = parts.into_iter().flatten().collect();
        if self.continent.code.is_none() { String::new() } else { known.join("/") }
    }
}

/// The path and all that it lies in, narrowest first.
fn widening(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind('/').map(|at| &path[..at]))
}

/// The classes of a route by region: choices `keys[n]` are tried where their region holds the client, narrowest first, then
/// `default`. Of a fenced route only the first.
pub(super) fn by_region(
    map: &MapDef,
    keys: &[(&str, Place)],
    default: u16,
    fence: bool,
    report: &mut Report,
) -> Option<Classes> {
    let by_key: HashMap<&str, u16> = keys.iter().zip(0u16..).map(|(&(key, _), number)| (key, number)).collect();
    let of_path = |path: &str| -> Vec<u16> { widening(path).filter_map(|part| by_key.get(part).copied()).collect() };
    let mut lists = Lists::new();
    let regions: Vec<u32> = map.regions.iter().map(|region| lists.number(&of_path(region))).collect();
    // Nested networks: the narrowest, then those around it.
    let mut table = networks(map, &regions, &mut lists);
    let mut seen = vec![false; keys.len()];
    let mut pairs = HashMap::new();
    // Systems of every database come before places of any.
    let asks_systems = keys.iter().any(|(key, _)| key.starts_with("asn:"));
    for systems in [true, false].into_iter().filter(|&systems| !systems || asks_systems) {
        for database in &map.databases {
            let layer = layer(database, report, |record| match systems {
                true => {
                    let key = record.autonomous_system_number.map(|number| format!("asn:{number}"));
                    lists.number(&key.and_then(|key| by_key.get(key.as_str()).copied()).into_iter().collect::<Vec<_>>())
                }
                false => lists.number(&of_path(&record.path())),
            })?;
            layer.v4.iter().map(|(_, list)| list).chain(layer.v6.iter().map(|(_, list)| list)).for_each(|list| {
                lists.lists[list as usize].iter().for_each(|&choice| seen[usize::from(choice)] = true);
            });
            table = table.overlay(&layer, |one, two| lists.joined(&mut pairs, one, two));
        }
    }
    say_unknown(map, keys, default, &seen, report);
    let last = |list: &[u16]| -> Vec<u16> {
        let mut tried: Vec<u16> = Vec::new();
        for &choice in list.iter().chain([&default]) {
            if !tried.contains(&choice) {
                tried.push(choice);
            }
        }
        tried.truncate(if fence { 1 } else { tried.len() });
        tried
    };
    Some(classes(&table, &lists, last))
}

/// The classes of a route by distance: each place's order of the sites, nearest first; without a place, as they are listed.
pub(super) fn by_distance(map: &MapDef, sites: &[(Site, i8)], report: &mut Report) -> Option<Classes> {
    let mut lists = Lists::new();
    let mut table: ByAddress<u32> = ByAddress::all(0);
    for database in &map.databases {
        let layer = layer(database, report, |record| {
            let (Some(latitude), Some(longitude)) = (record.location.latitude, record.location.longitude) else {
                return 0;
            };
            let distances: Vec<f64> =
                sites.iter().map(|&(site, bias)| biased(distance_km(site, (latitude, longitude)), bias)).collect();
            let mut order: Vec<u16> = (0..sites.len() as u16).collect();
            order.sort_by(|&one, &two| distances[usize::from(one)].total_cmp(&distances[usize::from(two)]));
            lists.number(&order)
        })?;
        table = table.overlay(&layer, |one, two| if one == 0 { two } else { one });
    }
    let listed: Vec<u16> = (0..sites.len() as u16).collect();
    Some(classes(&table, &lists, |list| if list.is_empty() { listed.clone() } else { list.to_vec() }))
}

/// Numbers the lists that the table uses, each as `finish` completes it.
fn classes(table: &ByAddress<u32>, lists: &Lists, finish: impl Fn(&[u16]) -> Vec<u16>) -> Classes {
    let mut orders = Lists { lists: Vec::new(), numbers: HashMap::new() };
    let mut classes: Vec<Option<u32>> = vec![None; lists.lists.len()];
    let table = table
        .map(|list| *classes[list as usize].get_or_insert_with(|| orders.number(&finish(&lists.lists[list as usize]))));
    Classes { table, orders: orders.lists }
}

/// The operator's networks.
fn networks(map: &MapDef, regions: &[u32], lists: &mut Lists) -> ByAddress<u32> {
    let mut pairs = HashMap::new();
    let mut join = |one: u32, two: u32| lists.joined(&mut pairs, one, two);
    let v4 = |network: &Ipv4Net| (u32::from(network.network()), u32::from(network.broadcast()));
    let v6 = |network: &Ipv6Net| (u128::from(network.network()), u128::from(network.broadcast()));
    ByAddress { v4: nested(&map.v4, v4, regions, &mut join), v6: nested(&map.v6, v6, regions, &mut join) }
}

/// Networks lie in each other or apart, and the trie gives the wider first: a stack of those that are open is enough.
fn nested<P: prefix_trie::Prefix, K: Bits>(
    networks: &PrefixMap<P, u32>,
    borders: impl Fn(&P) -> (K, K),
    regions: &[u32],
    join: &mut impl FnMut(u32, u32) -> u32,
) -> Ranges<K, u32> {
    let mut made = Ranges::all(0);
    let mut open: Vec<(K, u32)> = Vec::new();
    let close = |open: &mut Vec<(K, u32)>, made: &mut Ranges<K, u32>, until: Option<K>| {
        while let Some(&(last, _)) = open.last()
            && until.is_none_or(|next| last < next)
        {
            open.pop();
            if let Some(behind) = last.after() {
                made.push(behind, open.last().map_or(0, |&(_, list)| list));
            }
        }
    };
    for (network, &region) in networks {
        let (first, last) = borders(network);
        close(&mut open, &mut made, Some(first));
        let around = open.last().map_or(0, |&(_, list)| list);
        let list = join(regions[region as usize], around);
        made.push(first, list);
        open.push((last, list));
    }
    close(&mut open, &mut made, None);
    made
}

/// What a database says, a number for every address; 0 where it says nothing. Each record is looked at once.
fn layer(
    database: &Database,
    report: &mut Report,
    mut number: impl FnMut(&Record<'_>) -> u32,
) -> Option<ByAddress<u32>> {
    read_layer(&database.reader, &mut number)
        .map_err(|error| {
            let message = format!("{} is damaged, or no GeoIP2 database: {error}", database.path.display());
            report.add(Problem::error(database.place, message));
        })
        .ok()
}

fn read_layer(
    reader: &Reader,
    number: &mut dyn FnMut(&Record<'_>) -> u32,
) -> Result<ByAddress<u32>, maxminddb::MaxMindDbError> {
    let mut known: HashMap<usize, u32> = HashMap::new();
    let mut made: ByAddress<u32> = ByAddress::all(0);
    for found in reader.networks(maxminddb::WithinOptions::default())? {
        let found = found?;
        let network = found.network()?;
        let value = match found.offset().and_then(|offset| known.get(&offset)) {
            Some(&value) => value,
            None => {
                let record: Option<Record<'_>> = found.decode()?;
                let value = record.map_or(0, |record| number(&record));
                if let Some(offset) = found.offset() {
                    known.insert(offset, value);
                }
                value
            }
        };
        match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => fill(&mut made.v4, u32::from(first), u32::from(last), value),
            (IpAddr::V6(first), IpAddr::V6(last)) => fill(&mut made.v6, u128::from(first), u128::from(last), value),
            _ => {}
        }
    }
    Ok(made)
}

/// Networks of a database come in order and apart.
fn fill<K: Bits>(made: &mut Ranges<K, u32>, first: K, last: K, value: u32) {
    made.push(first, value);
    if let Some(behind) = last.after() {
        made.push(behind, 0);
    }
}

/// Keys of choices that no client can be in. Of the operator's own networks that is a slip; a database changes by itself, and
/// a town that it renames must not stop a reload.
fn say_unknown(map: &MapDef, keys: &[(&str, Place)], default: u16, seen: &[bool], report: &mut Report) {
    for (number, &(key, place)) in keys.iter().enumerate() {
        let of_networks = map.regions.iter().any(|region| widening(region).any(|part| part == key));
        if number == usize::from(default) || seen[number] || of_networks {
            continue;
        }
        if map.databases.is_empty() || !is_geographic(key) {
            let mut problem = Problem::error(place, format!("the map has no region {key:?}"));
            let known = map.regions.iter().map(String::as_str);
            let near = did_you_mean(key, known.chain(["default"]));
            let forms = "of a database: \"NA\", \"NA/US\", \"NA/US/CA\", \"NA/US/CA/San Francisco\", \"asn:64500\"";
            problem = problem.help(near.or_else(|| (!map.databases.is_empty()).then(|| forms.to_owned())));
            report.add(problem);
            continue;
        }
        let near = if key.starts_with("asn:") { None } else { nearest_path(map, key) };
        let message = format!("no network of the databases is in {key:?}: this choice answers nobody");
        report.add(Problem::warning(place, message).help(near));
    }
}

/// `asn:64500`, or a path from a continent on.
fn is_geographic(key: &str) -> bool {
    if let Some(number) = key.strip_prefix("asn:") {
        return number.parse::<u32>().is_ok();
    }
    let parts: Vec<&str> = key.split('/').collect();
    let country = |code: &&str| code.len() == 2 && code.bytes().all(|octet| octet.is_ascii_uppercase());
    CONTINENTS.contains(&parts[0])
        && parts.len() <= DEEPEST
        && parts.get(1).is_none_or(country)
        && parts.iter().all(|part| !part.is_empty())
}

/// The nearest path that the databases know, for a key that they do not.
fn nearest_path(map: &MapDef, key: &str) -> Option<String> {
    let mut paths = std::collections::BTreeSet::new();
    for database in &map.databases {
        // What is wrong with the database was said before.
        let _ = read_layer(&database.reader, &mut |record| {
            paths.extend(widening(&record.path()).map(str::to_owned));
            0
        });
    }
    did_you_mean(key, paths.iter().map(String::as_str))
}

/// Great-circle distance (haversine).
fn distance_km((from_lat, from_lon): Site, (to_lat, to_lon): Site) -> f64 {
    let (from, to) = (from_lat.to_radians(), to_lat.to_radians());
    let half = |angle: f64| (angle.to_radians() / 2.0).sin().powi(2);
    let chord = half(to_lat - from_lat) + from.cos() * to.cos() * half(to_lon - from_lon);
    2.0 * EARTH_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

/// Route 53's geoproximity: a bias above zero shortens the distance to 1 - bias/100 of it, one below divides it by
/// 1 + bias/100.
fn biased(distance: f64, bias: i8) -> f64 {
    let bias = f64::from(bias) / 100.0;
    if bias >= 0.0 { distance * (1.0 - bias) } else { distance / (1.0 + bias) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_and_biases() {
        let (frankfurt, new_york) = ((50.11, 8.68), (40.71, -74.01));
        assert!((distance_km(frankfurt, new_york) - 6203.0).abs() < 15.0);
        assert!(distance_km(frankfurt, frankfurt) < 0.001);
        assert!((distance_km((0.0, 0.0), (0.0, 180.0)) - EARTH_KM * std::f64::consts::PI).abs() < 0.01);
        assert_eq!((biased(100.0, 0), biased(100.0, 50), biased(100.0, -50)), (100.0, 50.0, 200.0));
    }

    #[test]
    fn geographic_keys_have_a_form() {
        for good in ["NA", "NA/US", "NA/US/CA", "NA/US/CA/San Francisco", "EU/GB/ENG/St Albans", "asn:64500"] {
            assert!(is_geographic(good), "{good}");
        }
        for bad in ["", "XX", "na", "NA/USA", "NA/us", "NA//CA", "NA/US/CA/x/y", "asn:", "asn:x", "asn:99999999999"] {
            assert!(!is_geographic(bad), "{bad}");
        }
    }

    #[test]
    fn a_path_widens_to_its_continent() {
        assert_eq!(widening("NA/US/CA").collect::<Vec<_>>(), ["NA/US/CA", "NA/US", "NA"]);
    }
}
