//! Routing policies of Route 53 as pools and routes. A group is all record sets of one name and type.

use std::collections::{BTreeMap, HashMap};

use super::super::draft::{Item, Owner, Parts, Val};
use super::super::unique;
use super::Entry;
use super::checks::Checks;
use super::input::{CidrBlock, GeoLocation, decimal_escapes};
use super::places;
use crate::config::present::name_text;
use crate::engine::name::Name;
use crate::engine::rrtype;

/// Makes pools, routes and maps as they are asked for.
pub(super) struct Policies<'g> {
    groups: &'g BTreeMap<(Owner, u16), Vec<Entry>>,
    blocks: HashMap<String, Vec<CidrBlock>>,
    zone: Name,
    ttl: u32,
    pub(super) checks: Checks,
    pub(super) parts: Parts,
    pub(super) notes: Vec<String>,
    made: HashMap<(Name, u16), Option<String>>,
}

/// What one record set answers.
enum Leaf {
    /// Its own addresses.
    Addresses,
    /// A pool or a route.
    To(String),
}

/// The one of a group that stands for it where nothing can choose.
pub(super) fn foremost(group: &[Entry]) -> &Entry {
    let rank = |entry: &&Entry| {
        let set = &entry.set;
        let is_default = set.geo_location.as_ref().is_some_and(|place| place.country_code.as_deref() == Some("*"))
            || set.cidr_routing_config.as_ref().is_some_and(|routing| routing.location_name == "*");
        (set.failover.as_deref() == Some("PRIMARY"), is_default, set.weight)
    };
    // Of equals the first.
    group.iter().rev().max_by_key(rank).unwrap_or(&group[0])
}

impl<'g> Policies<'g> {
    pub(super) fn new(
        groups: &'g BTreeMap<(Owner, u16), Vec<Entry>>,
        checks: Checks,
        blocks: HashMap<String, Vec<CidrBlock>>,
        zone: Name,
        ttl: u32,
    ) -> Policies<'g> {
        let (parts, notes, made) = (Parts::default(), Vec::new(), HashMap::new());
        Policies { groups, blocks, zone, ttl, checks, parts, notes, made }
    }

    /// The value of a name in `[names]`.
    pub(super) fn name(&mut self, owner: &Owner, rtypes: &[u16]) -> Option<Val> {
        let mut targets: Vec<(u16, String, Option<u32>)> = Vec::new();
        for &rtype in rtypes {
            let ttl =
                self.groups.get(&(owner.clone(), rtype)).and_then(|group| group.iter().find_map(|entry| entry.set.ttl));
            if let Some(to) = self.target_of(&(owner.clone(), rtype)) {
                targets.push((rtype, to, ttl.filter(|ttl| *ttl != self.ttl)));
            }
        }
        let table = |(rtype, to, ttl): &(u16, String, Option<u32>), both: bool| {
            let mut keys = vec![("to", Val::text(to))];
            if !both {
                keys.push(("type", Val::Text(rrtype::text(*rtype))));
            }
            keys.extend(ttl.map(|ttl| ("ttl", Val::Int(ttl.into()))));
            Val::table(keys)
        };
        // A pool without the other family answers it as a name without records would: NODATA.
        let other = |rtype: u16| if rtype == rrtype::A { rrtype::AAAA } else { rrtype::A };
        let is_alone = |rtype: u16| !self.groups.contains_key(&(owner.clone(), other(rtype)));
        match &targets[..] {
            [] => None,
            [(rtype, to, None)] if is_alone(*rtype) => Some(Val::text(to)),
            [one] if is_alone(one.0) => Some(table(one, true)),
            [one, other] if one.1 == other.1 && one.2 == other.2 => {
                Some(if one.2.is_none() { Val::text(&one.1) } else { table(one, true) })
            }
            [one] => Some(table(one, false)),
            several => Some(Val::List(several.iter().map(|one| table(one, false)).collect())),
        }
    }

    /// The pool or route that answers for a name and type with a policy, also by way of aliases.
    pub(super) fn target_of(&mut self, key: &(Owner, u16)) -> Option<String> {
        let made = (key.0.0.clone(), key.1);
        if let Some(known) = self.made.get(&made) {
            return known.clone();
        }
        let group = self.groups.get(key)?;
        // Entered first: aliases that lead back here end.
        self.made.insert(made.clone(), None);
        let target = match (&group[0].set.set_identifier, &group[0].set.alias_target) {
            (Some(_), _) => self.group(key, group),
            (None, Some(alias)) => self.alias(&alias.name, key.1).or_else(|| self.of_balanced_owner(key, group)),
            (None, None) => self.of_balanced_owner(key, group),
        };
        self.made.insert(made, target.clone());
        target
    }

    fn alias(&mut self, name: &str, rtype: u16) -> Option<String> {
        let name = Name::parse(&decimal_escapes(name), Some(&Name::root())).ok()?;
        self.target_of(&(Owner(name), rtype))
    }

    /// Simple records at an owner that is balanced in the other family become a pool too; elsewhere they are records.
    fn of_balanced_owner(&mut self, key: &(Owner, u16), group: &'g [Entry]) -> Option<String> {
        let other_type = if key.1 == rrtype::A { rrtype::AAAA } else { rrtype::A };
        let other = self.groups.get(&(key.0.clone(), other_type))?;
        other[0].set.set_identifier.as_ref()?;
        match self.leaf(&group[0])? {
            Leaf::To(to) => Some(to),
            Leaf::Addresses => {
                let base = format!("{}-{}", self.base(&key.0.0), rrtype::text(key.1).to_ascii_lowercase());
                Some(self.pool(&base, &[vec![&group[0]]]))
            }
        }
    }

    fn group(&mut self, key: &(Owner, u16), group: &'g [Entry]) -> Option<String> {
        let other_type = if key.1 == rrtype::A { rrtype::AAAA } else { rrtype::A };
        let other = self.groups.get(&(key.0.clone(), other_type)).filter(|other| other[0].set.set_identifier.is_some());
        let base = self.base(&key.0.0);
        if let Some(pairs) = other.and_then(|other| pairs(group, other)) {
            let pool = self.pool(&base, &pairs);
            self.made.insert((key.0.0.clone(), other_type), Some(pool.clone()));
            return Some(pool);
        }
        let base = if other.is_some() { format!("{base}-{}", rrtype::text(key.1).to_ascii_lowercase()) } else { base };
        let first = &group[0].set;
        let is_simple = first.weight.is_some() || first.failover.is_some() || first.multi_value_answer.is_some();
        let single = first.weight.is_none() || group.iter().all(|entry| entry.values().len() == 1);
        if is_simple && single && group.iter().all(|entry| entry.set.alias_target.is_none()) {
            let alone: Vec<Vec<&Entry>> = group.iter().map(|entry| vec![entry]).collect();
            return Some(self.pool(&base, &alone));
        }
        self.route(&base, group)
    }

    /// What a name's pools and routes are called.
    fn base(&self, owner: &Name) -> String {
        match name_text(owner.as_wire(), Some(&self.zone)).as_str() {
            "@" => "apex".to_owned(),
            text => text.replace('*', "any"),
        }
    }

    /// One pool of a whole group. Each part is one record set, or one of each family.
    fn pool(&mut self, base: &str, parts: &[Vec<&Entry>]) -> String {
        let first = &parts[0][0].set;
        let (is_weighted, is_failover) = (first.weight.is_some(), first.failover.is_some());
        let mut backends: Vec<Vec<(&'static str, Val)>> = Vec::new();
        let mut taken: Vec<String> = Vec::new();
        for part in parts {
            let set = &part[0].set;
            let values: Vec<Vec<String>> = match &part[..] {
                [one] => one.values().into_iter().map(|value| vec![value]).collect(),
                both => vec![both.iter().flat_map(|entry| entry.values()).collect()],
            };
            for addresses in values {
                let check = set.health_check_id.as_deref().and_then(|id| self.checks.use_for(id, &addresses));
                // Without an identifier the address is the name, as it is by default.
                let name =
                    set.set_identifier.as_deref().map(|id| unique(id, |name| taken.iter().any(|one| one == name)));
                taken.extend(name.clone());
                let address = if addresses.len() == 1 { Val::text(&addresses[0]) } else { Val::list(addresses) };
                let mut keys: Vec<(&str, Val)> = name.map(|name| ("name", Val::Text(name))).into_iter().collect();
                keys.push(("address", address));
                if is_weighted {
                    keys.push(("weight", Val::Int(set.weight.unwrap_or(0).into())));
                }
                if is_failover && set.failover.as_deref() != Some("PRIMARY") {
                    keys.push(("tier", Val::Int(1)));
                }
                keys.extend(check.map(|check| ("check", Val::Text(check))));
                backends.push(keys);
            }
        }
        let mut keys = Vec::new();
        if is_weighted {
            keys.push(("policy", Val::text("weighted")));
        }
        let answers = backends.len();
        if is_failover && answers > 8 {
            keys.push(("answers", Val::Int(answers as i64)));
        }
        // One check for all is the pool's.
        let check_of =
            |keys: &Vec<(&str, Val)>| keys.iter().find(|(key, _)| *key == "check").map(|(_, check)| check.clone());
        if let Some(check) =
            check_of(&backends[0]).filter(|check| backends.iter().all(|one| check_of(one).as_ref() == Some(check)))
        {
            keys.push(("check", check));
            backends.iter_mut().for_each(|one| one.retain(|(key, _)| *key != "check"));
        }
        keys.push(("backends", Val::List(backends.into_iter().map(Val::table).collect())));
        let name = self.free_name(base);
        self.parts.pools.push(Item::new(&name, keys));
        name
    }

    fn free_name(&self, base: &str) -> String {
        unique(base, |name| self.parts.pools.iter().chain(&self.parts.routes).any(|item| item.name == name))
    }

    /// A route over the record sets of a group, each a pool of its own.
    fn route(&mut self, base: &str, group: &'g [Entry]) -> Option<String> {
        let first = &group[0].set;
        let mut sorted: Vec<&Entry> = group.iter().collect();
        sorted.sort_by_key(|entry| entry.set.failover.as_deref() == Some("SECONDARY"));
        let mut leaves: Vec<(&Entry, String)> = Vec::new();
        for entry in sorted {
            match self.leaf(entry) {
                Some(Leaf::To(to)) => leaves.push((entry, to)),
                Some(Leaf::Addresses) => {
                    let identifier = entry.set.set_identifier.as_deref().unwrap_or("one");
                    let mut alone = entry.clone();
                    // Its weight and its place are the route's to heed.
                    (alone.set.weight, alone.set.failover, alone.set.multi_value_answer) = (None, None, Some(true));
                    let pool = self.pool(&format!("{base}-{identifier}"), &[vec![&alone]]);
                    leaves.push((entry, pool));
                }
                None => {}
            }
        }
        if leaves.is_empty() {
            return None;
        }
        self.make_distinct(base, &mut leaves);
        let title = group[0].title();
        let keys = if first.weight.is_some() {
            let choices = leaves.iter().map(|(entry, to)| {
                Val::table([("to", Val::text(to)), ("weight", Val::Int(entry.set.weight.unwrap_or(0).into()))])
            });
            vec![("type", Val::text("weighted")), ("choices", Val::List(choices.collect()))]
        } else if first.failover.is_some() {
            vec![("type", Val::text("failover")), ("choices", Val::list(leaves.iter().map(|(_, to)| to.as_str())))]
        } else if first.geo_location.is_some() {
            self.by_place(&title, &leaves)
        } else if first.cidr_routing_config.is_some() {
            self.by_network(&title, &leaves)
        } else if first.region.is_some() || first.geo_proximity_location.is_some() {
            self.nearest(&title, &leaves)
        } else {
            self.notes.push(format!("{title}: its routing policy is not known; the first record set answers"));
            return Some(leaves[0].1.clone());
        };
        let name = self.free_name(base);
        self.parts.routes.push(Item::new(&name, keys));
        Some(name)
    }

    /// A route names each choice once; where two record sets lead to one place, the second goes by a route of its own.
    fn make_distinct(&mut self, base: &str, leaves: &mut [(&Entry, String)]) {
        for at in 1..leaves.len() {
            let (before, rest) = leaves.split_at_mut(at);
            let (entry, to) = &mut rest[0];
            if before.iter().any(|(_, other)| other == to) {
                let identifier = entry.set.set_identifier.as_deref().unwrap_or("again");
                let name = self.free_name(&format!("{base}-{identifier}"));
                let keys = [("type", Val::text("failover")), ("choices", Val::list([to.as_str()]))];
                self.parts.routes.push(Item::new(&name, keys));
                *to = name;
            }
        }
    }

    fn leaf(&mut self, entry: &Entry) -> Option<Leaf> {
        let Some(alias) = &entry.set.alias_target else {
            return Some(Leaf::Addresses);
        };
        let (title, identifier) = (entry.title(), entry.set.set_identifier.clone().unwrap_or_default());
        if let Some(to) = self.alias(&alias.name, entry.rtype) {
            if !alias.evaluates_health {
                self.notes.push(format!(
                    "{title} ({identifier}): EvaluateTargetHealth is off there; here health is always heeded"
                ));
            }
            return Some(Leaf::To(to));
        }
        let target = Name::parse(&decimal_escapes(&alias.name), Some(&Name::root())).ok();
        let simple = target.and_then(|name| self.groups.get(&(Owner(name), entry.rtype)));
        if let Some(target) = simple.map(|group| &group[0]).filter(|target| target.set.alias_target.is_none()) {
            let base = self.base(&target.owner);
            let pool = self.pool(&base, &[vec![target]]);
            self.made.insert((target.owner.clone(), target.rtype), None);
            return Some(Leaf::To(pool));
        }
        self.notes.push(format!(
            "{title} ({identifier}): an alias of {}, whose addresses AWS alone knows; this choice is left out",
            alias.name
        ));
        None
    }

    fn by_place(&mut self, title: &str, leaves: &[(&Entry, String)]) -> Vec<(&'static str, Val)> {
        const MAP: &str = "geo";
        const DATABASE: &str = "GeoLite2-City.mmdb";
        if self.parts.maps.iter().all(|map| map.name != MAP) {
            self.parts.maps.push(Item::new(MAP, [("geoip", Val::text(DATABASE))]));
            self.notes.push(format!(
                "places come from AWS' own database there; here from {DATABASE}, which is to be put beside this file"
            ));
        }
        let mut choices: Vec<(String, Val)> = Vec::new();
        for (entry, to) in leaves {
            match entry.set.geo_location.as_ref().and_then(path_of) {
                Some(path) => choices.push((path, Val::text(to))),
                None => {
                    self.notes.push(format!("{title}: the place {:?} is not known; left out", entry.set.geo_location))
                }
            }
        }
        self.map_route(title, MAP, choices, leaves)
    }

    fn by_network(&mut self, title: &str, leaves: &[(&Entry, String)]) -> Vec<(&'static str, Val)> {
        let routing = leaves.iter().find_map(|(entry, _)| entry.set.cidr_routing_config.clone());
        let collection = routing.map(|routing| routing.collection_id).unwrap_or_default();
        let short: String = collection.chars().take(8).collect();
        let map = format!("cidr-{short}");
        if self.parts.maps.iter().all(|known| known.name != map) {
            let mut networks: BTreeMap<String, Vec<String>> = BTreeMap::new();
            match self.blocks.get(&collection) {
                Some(blocks) => blocks.iter().for_each(|block| {
                    networks.entry(block.location_name.clone()).or_default().push(block.cidr_block.clone());
                }),
                None => {
                    self.notes.push(format!(
                        "the networks of collection {collection} are not in this file: give them with --cidr-blocks {collection}=FILE"
                    ));
                    for (entry, _) in leaves {
                        let location =
                            entry.set.cidr_routing_config.as_ref().map(|routing| routing.location_name.clone());
                        networks.insert(location.unwrap_or_default(), Vec::new());
                    }
                    networks.remove("*");
                }
            }
            let networks = networks.into_iter().map(|(location, blocks)| (location, Val::list(blocks)));
            self.parts.maps.push(Item::new(&map, [("networks", Val::Table(networks.collect()))]));
        }
        let choices = leaves.iter().filter_map(|(entry, to)| {
            let location = entry.set.cidr_routing_config.as_ref()?.location_name.clone();
            Some((if location == "*" { "default".to_owned() } else { location }, Val::text(to)))
        });
        self.map_route(title, &map, choices.collect(), leaves)
    }

    fn map_route(
        &mut self,
        title: &str,
        map: &str,
        mut choices: Vec<(String, Val)>,
        leaves: &[(&Entry, String)],
    ) -> Vec<(&'static str, Val)> {
        if choices.iter().all(|(region, _)| region != "default") {
            self.notes.push(format!(
                "{title}: has no default there, so other clients get no answer; here they get that of {}",
                leaves[0].1
            ));
            choices.push(("default".to_owned(), Val::text(&leaves[0].1)));
        }
        choices
            .sort_by(|(one, _), (other, _)| (one == "default").cmp(&(other == "default")).then_with(|| one.cmp(other)));
        vec![("type", Val::text("map")), ("map", Val::text(map)), ("choices", Val::Table(choices))]
    }

    fn nearest(&mut self, title: &str, leaves: &[(&Entry, String)]) -> Vec<(&'static str, Val)> {
        let by_latency = leaves[0].0.set.region.is_some();
        let mut choices = Vec::new();
        for (entry, to) in leaves {
            let near = entry.set.geo_proximity_location.as_ref();
            let region = entry.set.region.as_deref().or(near.and_then(|near| near.region.as_deref()));
            let exact = near.and_then(|near| near.coordinates.as_ref());
            let exact = exact.and_then(|at| Some((at.latitude.parse().ok()?, at.longitude.parse().ok()?)));
            let at: Option<(f64, f64)> = exact.or_else(|| region.and_then(places::region));
            let Some((latitude, longitude)) = at else {
                let place = region.or(near.and_then(|near| near.local_zone.as_deref())).unwrap_or("?");
                self.notes.push(format!("{title}: where {place} is, is not known; {to} is left out"));
                continue;
            };
            let mut keys =
                vec![("to", Val::text(to)), ("at", Val::List(vec![Val::Num(latitude), Val::Num(longitude)]))];
            if let Some(bias) = near.and_then(|near| near.bias).filter(|bias| *bias != 0) {
                keys.push(("bias", Val::Int(bias.into())));
            }
            choices.push(Val::table(keys));
        }
        if by_latency {
            self.notes.push(format!("{title}: by measured latency there; here by the distance to the region"));
        }
        const MAP: &str = "geo";
        if self.parts.maps.iter().all(|map| map.name != MAP) {
            self.parts.maps.push(Item::new(MAP, [("geoip", Val::text("GeoLite2-City.mmdb"))]));
            self.notes.push(
                "where clients are is said by GeoLite2-City.mmdb, which is to be put beside this file".to_owned(),
            );
        }
        vec![("type", Val::text("nearest")), ("map", Val::text(MAP)), ("choices", Val::List(choices))]
    }
}

/// The sets of both families, pair by pair, where they say the same of one address each.
fn pairs<'e>(group: &'e [Entry], other: &'e [Entry]) -> Option<Vec<Vec<&'e Entry>>> {
    let simple = |entry: &Entry| {
        let set = &entry.set;
        let policies = [set.weight.is_some(), set.failover.is_some(), set.multi_value_answer.is_some()];
        policies.contains(&true) && set.alias_target.is_none() && set.resource_records.len() == 1
    };
    if group.len() != other.len() || !group.iter().chain(other).all(simple) {
        return None;
    }
    let of = |entry: &Entry| {
        let set = &entry.set;
        (set.set_identifier.clone(), set.weight, set.failover.clone(), set.health_check_id.clone(), set.ttl)
    };
    let (group, other) = if group[0].rtype == rrtype::A { (group, other) } else { (other, group) };
    group.iter().map(|entry| Some(vec![entry, other.iter().find(|one| of(one) == of(entry))?])).collect()
}

/// `NA/US/CA`
fn path_of(place: &GeoLocation) -> Option<String> {
    if let Some(continent) = &place.continent_code {
        return Some(continent.clone());
    }
    let country = place.country_code.as_deref()?;
    if country == "*" {
        return Some("default".to_owned());
    }
    let path = format!("{}/{country}", places::continent(country)?);
    Some(match &place.subdivision_code {
        Some(subdivision) => format!("{path}/{subdivision}"),
        None => path,
    })
}
