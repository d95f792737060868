//! Reads `[maps.NAME]`: where clients are. Networks of the operator's own, in the file or in a CSV beside it, and MaxMind
//! databases.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::checks::check_name;
use super::keys;
use super::reader::{Table, Value};
use super::source::{Place, Problem, Report};
use crate::engine::client::Client;

/// Maps by name.
pub(super) type Maps = BTreeMap<String, MapDef>;

/// An opened database.
pub(super) type Reader = maxminddb::Reader<Vec<u8>>;

/// A point on the earth, degrees: latitude north, longitude east.
pub(super) type Site = (f64, f64);

/// The databases opened in one load: each once, whoever names it.
pub(super) type Opened = HashMap<PathBuf, Option<Arc<Reader>>>;

/// One map as written.
#[derive(Debug)]
pub(super) struct MapDef {
    /// Where its name stands.
    pub(super) place: Place,
    /// Number of the region of each network, into `regions`.
    pub(super) v4: PrefixMap<Ipv4Net, u32>,
    pub(super) v6: PrefixMap<Ipv6Net, u32>,
    pub(super) regions: Vec<String>,
    pub(super) databases: Vec<Database>,
}

/// One MaxMind database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) path: PathBuf,
    /// Where the file is named.
    pub(super) place: Place,
    pub(super) reader: Arc<Reader>,
}

/// Reads the table `maps`; paths are relative to `base`.
pub(super) fn read(table: &Table<'_>, base: &Path, opened: &mut Opened, report: &mut Report) -> Maps {
    let mut maps = Maps::new();
    for (name, value) in table.entries() {
        check_name("map", name, value.key_place, report);
        if let Some(table) = value.table(report) {
            maps.insert(name.to_owned(), read_map(&table, base, opened, report));
        }
    }
    maps
}

fn read_map(table: &Table<'_>, base: &Path, opened: &mut Opened, report: &mut Report) -> MapDef {
    table.expect_keys(&[&keys::MAP], &[], report);
    let mut map = MapDef {
        place: table.place,
        v4: PrefixMap::new(),
        v6: PrefixMap::new(),
        regions: Vec::new(),
        databases: Vec::new(),
    };
    let mut taken = Taken::default();
    if let Some(networks) = table.get("networks").and_then(|value| value.table(report)) {
        for (region, value) in networks.entries() {
            check_region(region, value.key_place, report);
            let number = taken.region(region, &mut map);
            for (text, item) in value.strings(report) {
                match network(text) {
                    Ok(network) => taken.add(network, number, item.place, &mut map, report),
                    Err(why) => {
                        let message =
                            format!("{:?} must be a network like \"192.0.2.0/24\", not {text:?}: {why}", item.path);
                        report.add(Problem::error(item.place, message).key(item.path.as_str()));
                    }
                }
            }
        }
    }
    if let Some(value) = table.get("file")
        && let Some(name) = value.string(report)
        && let Some(file) = report.read(&base.join(name), Some(value.place))
    {
        read_csv(file, &mut taken, &mut map, report);
    }
    if let Some(value) = table.get("geoip") {
        for (name, item) in value.strings(report) {
            let path = base.join(name);
            if let Some(reader) = open(&path, &item, opened, report) {
                map.databases.push(Database { path, place: item.place, reader });
            }
        }
    }
    if table.keys.is_empty() {
        let message = format!("map {:?} says nothing: it needs \"networks\", \"file\" or \"geoip\"", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
    }
    map
}

/// Networks and regions seen so far.
#[derive(Default)]
struct Taken {
    networks: HashMap<IpNet, Place>,
    regions: HashMap<String, u32>,
}

impl Taken {
    fn region(&mut self, name: &str, map: &mut MapDef) -> u32 {
        *self.regions.entry(name.to_owned()).or_insert_with(|| {
            map.regions.push(name.to_owned());
            map.regions.len() as u32 - 1
        })
    }

    fn add(&mut self, network: IpNet, region: u32, place: Place, map: &mut MapDef, report: &mut Report) {
        if let Some(&first) = self.networks.get(&network) {
            let problem = Problem::error(place, format!("the network {network} stands twice in this map"));
            report.add(problem.beside(first, "first here"));
            return;
        }
        self.networks.insert(network, place);
        match network {
            IpNet::V4(network) => map.v4.insert(network, region),
            IpNet::V6(network) => map.v6.insert(network, region),
        };
    }
}

/// A network, or an address alone; bits behind the prefix must be zero. IPv4 inside IPv6 is IPv4, as clients are.
fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| "it is none".to_owned())?,
    };
    if network.trunc() != network {
        return Err(format!("{} begins at {}", network, network.network()));
    }
    let client = Client::network(network.addr(), network.prefix_len());
    // Wider than the range in which IPv4 lies: IPv6.
    if client.known == 0 {
        return Ok(network);
    }
    IpNet::new(client.address, client.known).map(|inner| inner.trunc()).map_err(|error| error.to_string())
}

/// Regions of one's own: words, and paths of them, which lie in each other as geographic ones do.
fn check_region(name: &str, place: Place, report: &mut Report) {
    let word = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_.:- ".contains(&octet))
    };
    if name == "default" {
        let message = "\"default\" is who is in no region: it cannot be one".to_owned();
        report.add(Problem::error(place, message));
    } else if !name.split('/').all(word) {
        let message =
            format!("{name:?} is no region's name: letters, digits, \"_.:-\" and spaces, parts joined by \"/\"");
        report.add(Problem::error(place, message));
    }
}

/// Lines `network,region`; an empty line, one that begins with `#`, and a first line that says so much are passed over.
fn read_csv(file: usize, taken: &mut Taken, map: &mut MapDef, report: &mut Report) {
    let text = report.text(file);
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .comment(Some(b'#'))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    loop {
        let start = reader.position().byte() as usize;
        match reader.read_record(&mut record) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                let at = error.position().map_or(start, |position| position.byte() as usize);
                report.add(Problem::error(line_at(file, &text, at), format!("this is no CSV: {error}")));
                return;
            }
        }
        let at = record.position().map_or(start, |position| position.byte() as usize);
        let place = line_at(file, &text, at);
        let (Some(address), Some(region), None) = (record.get(0), record.get(1), record.get(2)) else {
            let message = format!("a line is \"network,region\", and this has {} fields", record.len());
            report.add(Problem::error(place, message));
            continue;
        };
        if at == 0 && (address, region) == ("network", "region") {
            continue;
        }
        check_region(region, place, report);
        let number = taken.region(region, map);
        match network(address) {
            Ok(network) => taken.add(network, number, place, map, report),
            Err(why) => report.add(Problem::error(place, format!("{address:?} is no network: {why}"))),
        }
    }
}

/// The line that begins there, its comments and empty lines left out.
fn line_at(file: usize, text: &str, start: usize) -> Place {
    let length = |start: usize| text[start..].find('\n').unwrap_or(text.len() - start);
    let mut start = start.min(text.len());
    while start < text.len() && (text[start..start + length(start)].trim().is_empty() || text[start..].starts_with('#'))
    {
        start += (length(start) + 1).min(text.len() - start);
    }
    Place::new(file, start..start + length(start))
}

fn open(path: &Path, item: &Value<'_>, opened: &mut Opened, report: &mut Report) -> Option<Arc<Reader>> {
    if let Some(known) = opened.get(path) {
        return known.clone();
    }
    let octets = report.read_octets(path, Some(item.place));
    let reader = octets.and_then(|octets| match Reader::from_source(octets) {
        Ok(reader) => Some(Arc::new(reader)),
        Err(error) => {
            let message = format!("{} is no MaxMind database: {error}", path.display());
            report.add(Problem::error(item.place, message).key(item.path.as_str()));
            None
        }
    });
    opened.insert(path.to_owned(), reader.clone());
    reader
}
