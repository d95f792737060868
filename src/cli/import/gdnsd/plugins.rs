//! Resources of gdnsd's plugins as pools and routes of the server file, made as zones ask for them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::super::draft::{Item, Parts, Val};
use super::super::unique;
use super::services::{Service, Services};
use super::vscf::Vscf;

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// A pool or a route.
    Name(String),
    Address(IpAddr),
    Cname(String),
}

/// All plugins.
#[derive(Debug)]
pub(super) struct Plugins {
    config: Vec<(String, Vscf)>,
    directory: PathBuf,
    services: Services,
    made: HashMap<String, Option<Target>>,
    pub(super) parts: Parts,
    pub(super) notes: Vec<String>,
}

/// Keys of a resource that are settings, not labels of addresses.
const SETTINGS: &[&str] = &["service_types", "up_thresh", "ignore_health", "multi", "plugin", "addrs_v4", "addrs_v6"];

/// One address of a resource.
struct Member {
    label: String,
    address: IpAddr,
    weight: Option<i64>,
    service: Service,
    tier: i64,
}

impl Plugins {
    pub(super) fn new(config: &Vscf, directory: &Path) -> Plugins {
        Plugins {
            config: config.get("plugins").map(|plugins| plugins.entries().to_vec()).unwrap_or_default(),
            directory: directory.to_owned(),
            services: Services::new(config),
            made: HashMap::new(),
            parts: Parts::default(),
            notes: Vec::new(),
        }
    }

    /// What `plugin!resource` or `plugin!resource/datacenter` leads to.
    pub(super) fn target(&mut self, reference: &str) -> Option<Target> {
        let reference = reference.strip_prefix('%').unwrap_or(reference);
        if let Some(known) = self.made.get(reference) {
            return known.clone();
        }
        // Entered first: references in a ring end here.
        self.made.insert(reference.to_owned(), None);
        let target = self.make(reference);
        self.parts.checks.clone_from(&self.services.items);
        self.made.insert(reference.to_owned(), target.clone());
        target
    }

    /// Notes what no zone uses, and what the checks had to say.
    pub(super) fn note_unused(&mut self) {
        let mut unused = Vec::new();
        for (plugin, settings) in &self.config {
            let resources = settings.get("resources").unwrap_or(settings);
            for (name, value) in resources.entries() {
                let is_used = |used: &String| {
                    let plain = format!("{plugin}!{name}");
                    *used == plain || used.starts_with(&format!("{plain}/"))
                };
                let is_resource = !SETTINGS.contains(&name.as_str()) && !["maps", "resources"].contains(&name.as_str());
                if is_resource && matches!(value, Vscf::Hash(_)) && !self.made.keys().any(is_used) {
                    unused.push(format!("{plugin}!{name}"));
                }
            }
        }
        if !unused.is_empty() {
            self.notes.push(format!("resources that no zone uses are left out: {}", unused.join(", ")));
        }
        let services = self.services.unused();
        if !services.is_empty() {
            self.notes.push(format!("service types that nothing uses are left out: {}", services.join(", ")));
        }
        self.notes.append(&mut self.services.notes);
    }

    fn make(&mut self, reference: &str) -> Option<Target> {
        let (plugin, resource) = reference.split_once('!').unwrap_or((reference, ""));
        let (resource, datacenter) = match resource.split_once('/') {
            Some((resource, datacenter)) => (resource, Some(datacenter)),
            None => (resource, None),
        };
        let Some((_, settings)) = self.config.iter().find(|(name, _)| name == plugin).cloned() else {
            self.notes.push(format!("{reference}: the plugin {plugin:?} is not configured, or not known to rollcall"));
            return None;
        };
        match plugin {
            "static" => self.constant(reference, settings.get(resource)?.text()?),
            "multifo" | "simplefo" | "weighted" => {
                let Some(value) = settings.get(resource).cloned() else { return self.missing(reference) };
                self.addresses(plugin, resource, &value, &[&settings])
            }
            "metafo" | "geoip" => {
                let found = settings.get("resources").and_then(|resources| resources.get(resource)).cloned();
                let Some(value) = found else { return self.missing(reference) };
                self.datacenters(plugin, resource, datacenter, &value, &settings)
            }
            other => {
                self.notes.push(format!("{reference}: the plugin {other} is not carried over"));
                None
            }
        }
    }

    fn missing(&mut self, reference: &str) -> Option<Target> {
        self.notes.push(format!("{reference}: there is no such resource"));
        None
    }

    fn constant(&mut self, reference: &str, value: &str) -> Option<Target> {
        if let Ok(address) = value.parse() {
            return Some(Target::Address(address));
        }
        if value.ends_with('.') {
            return Some(Target::Cname(value.to_owned()));
        }
        self.notes.push(format!("{reference}: {value:?} is neither an address nor a name"));
        None
    }

    /// A resource that is a list of addresses. `outer` are where settings are inherited from, the nearest first.
    fn addresses(&mut self, plugin: &str, name: &str, value: &Vscf, outer: &[&Vscf]) -> Option<Target> {
        let title = format!("{plugin}!{name}");
        let families: Vec<&Vscf> = ["addrs_v4", "addrs_v6"].iter().filter_map(|key| value.get(key)).collect();
        let mut members: Vec<Member> = Vec::new();
        let mut groups: Vec<(String, Vec<Member>)> = Vec::new();
        let mut thresholds: Vec<String> = Vec::new();
        let direct = families.is_empty();
        for family in if direct { vec![value] } else { families } {
            let mut levels: Vec<&Vscf> = vec![family];
            if !direct {
                levels.push(value);
            }
            levels.extend(outer);
            let setting = |key: &str| levels.iter().find_map(|level| level.get(key));
            thresholds.push(setting("up_thresh").and_then(Vscf::text).unwrap_or("0.5").to_owned());
            if setting("ignore_health").is_some_and(Vscf::is_true) {
                self.notes.push(format!("{title}: ignore_health is not carried over: what is down is not answered"));
            }
            let service = self.services.of(setting("service_types"));
            for (label, value) in labelled(family) {
                match value {
                    Vscf::Hash(group) => {
                        let of_group =
                            group.iter().filter_map(|(label, value)| self.member(&title, label, value, &service));
                        groups.push((label, of_group.collect()));
                    }
                    value => members.extend(self.member(&title, &label, &value, &service)),
                }
            }
        }
        thresholds.dedup();
        if thresholds.len() > 1 {
            self.notes
                .push(format!("{title}: up_thresh differs by family; {} is carried over for both", thresholds[0]));
        }
        let multi =
            value.get("multi").or_else(|| outer.iter().find_map(|level| level.get("multi"))).is_some_and(Vscf::is_true);
        let threshold = thresholds.first().map_or("0.5", String::as_str);
        if !groups.is_empty() {
            return self.groups(&title, name, groups, multi, threshold);
        }
        if members.is_empty() {
            self.notes.push(format!("{title}: holds no address that could be carried over"));
            return None;
        }
        if plugin == "simplefo" {
            members.iter_mut().for_each(|member| member.tier = i64::from(member.label == "secondary"));
            return Some(Target::Name(self.pool(name, members, Vec::new())));
        }
        let mut keys = Vec::new();
        if plugin == "weighted" {
            keys.push(("policy", Val::text("weighted")));
            self.weigh(&title, &members, multi, &mut keys);
        } else if members.len() > 8 {
            // multifo answers all that are up.
            keys.push(("answers", Val::Int(members.len() as i64)));
        }
        keys.extend(min_healthy(threshold).map(|share| ("min_healthy", Val::Text(share))));
        keys.push(("on_all_down", Val::text("every")));
        Some(Target::Name(self.pool(name, members, keys)))
    }

    fn weigh(&mut self, title: &str, members: &[Member], multi: bool, keys: &mut Vec<(&'static str, Val)>) {
        if multi {
            keys.push(("answers", Val::Int(members.len() as i64)));
            self.notes.push(format!(
                "{title}: multi leaves an address out by chance there; here all that are up are answered, the weights say who is first"
            ));
        }
        if members.iter().any(|member| member.weight != members[0].weight) {
            self.notes
                .push(format!("{title}: up_thresh is of the sum of weights there, of the number of addresses here"));
        }
    }

    /// One address; a weighted one is `[ ADDRESS, WEIGHT ]`.
    fn member(&mut self, title: &str, label: &str, value: &Vscf, service: &Service) -> Option<Member> {
        let items = value.texts();
        let address = items.first().map(String::as_str).unwrap_or_default();
        let Ok(address) = address.parse::<IpAddr>() else {
            self.notes.push(format!(
                "{title}: {label} is {address:?}, and no address: left out, since only A and AAAA are balanced"
            ));
            return None;
        };
        let weight = items.get(1).and_then(|weight| weight.parse::<i64>().ok());
        if weight.is_some_and(|weight| weight > 65_535) {
            self.notes.push(format!("{title}: the weight of {label} is above 65535, and is 65535 now"));
        }
        let weight = weight.map(|weight| weight.min(65_535));
        Some(Member { label: label.to_owned(), address, weight, service: service.clone(), tier: 0 })
    }

    /// Weighted groups: a pool for each, and a route that weighs them.
    fn groups(
        &mut self,
        title: &str,
        name: &str,
        groups: Vec<(String, Vec<Member>)>,
        multi: bool,
        threshold: &str,
    ) -> Option<Target> {
        if multi {
            self.notes
                .push(format!("{title}: multi answers from several groups there; here each answer is of one group"));
        }
        if min_healthy(threshold).is_some() {
            self.notes
                .push(format!("{title}: up_thresh is of all groups together there; here each group has to reach it"));
        }
        let mut choices = Vec::new();
        for (label, members) in groups.into_iter().filter(|(_, members)| !members.is_empty()) {
            let weight: i64 = members.iter().filter_map(|member| member.weight).sum();
            let mut keys = vec![("policy", Val::text("weighted")), ("answers", Val::Int(members.len() as i64))];
            keys.extend(min_healthy(threshold).map(|share| ("min_healthy", Val::Text(share))));
            keys.push(("on_all_down", Val::text("every")));
            let pool = self.pool(&format!("{name}-{label}"), members, keys);
            choices.push(Val::table([("to", Val::Text(pool)), ("weight", Val::Int(weight.min(65_535)))]));
        }
        let route = self.route(name, vec![("type", Val::text("weighted")), ("choices", Val::List(choices))]);
        Some(Target::Name(route))
    }

    fn pool(&mut self, name: &str, members: Vec<Member>, mut keys: Vec<(&'static str, Val)>) -> String {
        let mut backends: Vec<(String, Vec<IpAddr>, Member)> = Vec::new();
        for member in members {
            // A label of both families is one machine.
            let same = backends.iter_mut().find(|(label, addresses, first)| {
                *label == member.label
                    && addresses.iter().all(|address| address.is_ipv4() != member.address.is_ipv4())
                    && (first.weight, &first.service, first.tier) == (member.weight, &member.service, member.tier)
            });
            match same {
                Some((_, addresses, _)) => addresses.push(member.address),
                None => {
                    let label = unique(&member.label, |name| backends.iter().any(|(label, ..)| label == name));
                    backends.push((label, vec![member.address], member));
                }
            }
        }
        let common = backends[0].2.service.checks.clone();
        let is_common = backends.iter().all(|(.., member)| member.service.checks == common);
        if is_common {
            keys.splice(0..0, checks(&common));
        }
        let tables = backends.into_iter().map(|(label, addresses, member)| {
            let address = match &addresses[..] {
                [one] => Val::Text(one.to_string()),
                several => Val::list(several.iter().map(IpAddr::to_string)),
            };
            let mut keys = vec![("name", Val::Text(label)), ("address", address)];
            keys.extend(member.weight.map(|weight| ("weight", Val::Int(weight))));
            if member.tier > 0 {
                keys.push(("tier", Val::Int(member.tier)));
            }
            if !is_common {
                keys.extend(checks(&member.service.checks));
            }
            if member.service.is_down {
                keys.push(("state", Val::text("down")));
            }
            Val::table(keys)
        });
        keys.push(("backends", Val::List(tables.collect())));
        let name = self.free_name(name);
        self.parts.pools.push(Item::new(&name, keys));
        name
    }

    fn route(&mut self, name: &str, keys: Vec<(&'static str, Val)>) -> String {
        // An equal one serves as well.
        let known = self.parts.routes.iter().find(|item| item.keys == Item::new("", keys.clone()).keys);
        if let Some(known) = known {
            return known.name.clone();
        }
        let name = self.free_name(name);
        self.parts.routes.push(Item::new(&name, keys));
        name
    }

    fn free_name(&self, name: &str) -> String {
        unique(name, |name| self.parts.pools.iter().chain(&self.parts.routes).any(|item| item.name == name))
    }

    /// metafo and geoip: datacenters in an order, which geoip chooses by where the client is.
    fn datacenters(
        &mut self,
        plugin: &str,
        name: &str,
        datacenter: Option<&str>,
        resource: &Vscf,
        settings: &Vscf,
    ) -> Option<Target> {
        let title = format!("{plugin}!{name}");
        if resource.get("skip_first").is_some_and(Vscf::is_true) {
            self.notes.push(format!("{title}: skip_first is not carried over"));
        }
        let mut targets: Vec<(String, String)> = Vec::new();
        for (label, value) in resource.get("dcmap").map(Vscf::entries).unwrap_or_default() {
            if let Some(to) = self.datacenter(plugin, name, label, value, resource, settings) {
                targets.push((label.clone(), to));
            }
        }
        if let Some(wanted) = datacenter {
            let found = targets.into_iter().find(|(label, _)| label == wanted);
            return found.map(|(_, to)| Target::Name(to));
        }
        if plugin == "metafo" {
            let order = resource.get("datacenters").map(Vscf::texts).unwrap_or_default();
            return self.in_order(name, &order, &targets).map(Target::Name);
        }
        let map_name = resource.get("map").and_then(Vscf::text)?.to_owned();
        let Some(map) = settings.get("maps").and_then(|maps| maps.get(&map_name)).cloned() else {
            self.notes.push(format!("{title}: there is no map {map_name:?}"));
            return None;
        };
        self.by_map(&title, name, &map_name, &map, &targets)
    }

    /// The pool or route of one datacenter.
    fn datacenter(
        &mut self,
        plugin: &str,
        name: &str,
        label: &str,
        value: &Vscf,
        resource: &Vscf,
        settings: &Vscf,
    ) -> Option<String> {
        // What is synthesized is one resource, however many zones ask for it.
        let own = format!("{plugin}_{name}_{label}");
        if let Some(known) = self.made.get(&own) {
            return known.clone().and_then(name_of);
        }
        let default = value.get("plugin").or_else(|| resource.get("plugin")).or_else(|| settings.get("plugin"));
        let default = default.and_then(Vscf::text).unwrap_or("multifo").to_owned();
        let made = match value {
            Vscf::Text(text) if text.contains('!') => {
                let text = text.strip_prefix('%').unwrap_or(text);
                let whole = if text.starts_with('!') { format!("{default}{text}") } else { text.to_owned() };
                self.target(&whole)
            }
            Vscf::Text(text) if text.parse::<IpAddr>().is_err() => {
                self.notes.push(format!(
                    "{plugin}!{name}: datacenter {label} is the name {text}; left out, since only A and AAAA are balanced"
                ));
                None
            }
            other => self.addresses(&default, &format!("{name}-{label}"), other, &[resource, settings]),
        };
        let made = match made {
            // Of a static resource: a pool of one.
            Some(Target::Address(address)) => {
                let one = Vscf::List(vec![Vscf::Text(address.to_string())]);
                self.addresses("multifo", &format!("{name}-{label}"), &one, &[])
            }
            other => other,
        };
        self.made.insert(own, made.clone());
        made.and_then(name_of)
    }

    /// One target, or a route that fails over from one to the next.
    fn in_order(&mut self, name: &str, order: &[String], targets: &[(String, String)]) -> Option<String> {
        let target = |label: &String| targets.iter().find(|(known, _)| known == label).map(|(_, to)| to.clone());
        let mut choices: Vec<String> = Vec::new();
        for to in order.iter().filter_map(target) {
            // Two datacenters may be one pool; a second look at it tells nothing new.
            if !choices.contains(&to) {
                choices.push(to);
            }
        }
        if choices.len() < 2 {
            return choices.into_iter().next();
        }
        Some(self.route(name, vec![("type", Val::text("failover")), ("choices", Val::list(choices))]))
    }

    fn by_map(
        &mut self,
        title: &str,
        name: &str,
        map_name: &str,
        map: &Vscf,
        targets: &[(String, String)],
    ) -> Option<Target> {
        let all = map.get("datacenters").map(Vscf::texts).unwrap_or_default();
        let mut choices: Vec<(String, Val)> = Vec::new();
        let mut default = None;
        if let Some(places) = map.get("map") {
            self.places(title, name, "", places, targets, &mut choices, &mut default);
        }
        let networks = self.networks(title, name, map, targets, &mut choices);
        let mut keys = Vec::new();
        if let Some(database) = map.get("geoip2_db").and_then(Vscf::text) {
            keys.push(("geoip", Val::Text(self.directory.join("geoip").join(database).display().to_string())));
        }
        if !networks.is_empty() {
            keys.push(("networks", Val::Table(networks)));
        }
        if map.get("ignore_ecs").is_some_and(Vscf::is_true) {
            self.notes.push(format!("{title}: ignore_ecs is not carried over: the client's subnet is heeded"));
        }
        let map_here = super::super::safe_name(map_name);
        if self.parts.maps.iter().all(|known| known.name != map_here) {
            self.parts.maps.push(Item::new(&map_here, keys));
        }
        let nearest = map.get("auto_dc_coords").map(|coordinates| self.nearest(name, &map_here, coordinates, targets));
        let fallback = match (default, nearest.flatten()) {
            (Some(default), _) => Some(default),
            (None, Some(nearest)) if choices.is_empty() => return Some(Target::Name(nearest)),
            (None, Some(nearest)) => Some(nearest),
            (None, None) => self.in_order(&format!("{name}-default"), &all, targets),
        };
        choices.push(("default".to_owned(), Val::Text(fallback?)));
        let keys = vec![("type", Val::text("map")), ("map", Val::text(&map_here)), ("choices", Val::Table(choices))];
        Some(Target::Name(self.route(name, keys)))
    }

    /// The tree of places, as paths.
    #[allow(clippy::too_many_arguments)]
    fn places(
        &mut self,
        title: &str,
        name: &str,
        path: &str,
        value: &Vscf,
        targets: &[(String, String)],
        choices: &mut Vec<(String, Val)>,
        default: &mut Option<String>,
    ) {
        for (key, value) in value.entries() {
            let whole = match (path, key.as_str()) {
                ("", key) => key.to_owned(),
                (path, "default") => path.to_owned(),
                (path, key) => format!("{path}/{key}"),
            };
            if matches!(value, Vscf::Hash(_)) {
                self.places(title, name, &whole, value, targets, choices, default);
                continue;
            }
            let order = value.texts();
            if order == ["auto"] {
                if whole != "default" {
                    self.notes.push(format!("{title}: {whole} is \"auto\" there; here it is what the wider place has"));
                }
                continue;
            }
            if whole.split('/').count() == 3 && key.len() > 3 {
                self.notes.push(format!(
                    "{title}: {whole}: here a city stands below its subdivision, as in NA/US/CA/San Francisco"
                ));
            }
            match self.in_order(&format!("{name}-{}", order.join("-")), &order, targets) {
                Some(to) if whole == "default" => *default = Some(to),
                Some(to) => choices.push((whole, Val::Text(to))),
                None => self
                    .notes
                    .push(format!("{title}: {whole} has no datacenter: no answer there, here that of the wider place")),
            }
        }
    }

    /// Networks by the datacenters they lead to; each list of datacenters is a region.
    fn networks(
        &mut self,
        title: &str,
        name: &str,
        map: &Vscf,
        targets: &[(String, String)],
        choices: &mut Vec<(String, Val)>,
    ) -> Vec<(String, Val)> {
        let file;
        let nets = match map.get("nets") {
            None => return Vec::new(),
            Some(Vscf::Text(path)) => match super::vscf::read(&self.directory.join("geoip").join(path)) {
                Ok(read) => {
                    file = read;
                    &file
                }
                Err(error) => {
                    self.notes.push(format!("{title}: its networks: {error}"));
                    return Vec::new();
                }
            },
            Some(nets) => nets,
        };
        let mut regions: Vec<(String, Vec<String>)> = Vec::new();
        for (network, value) in nets.entries() {
            let order = value.texts();
            let region = format!("to:{}", order.join(":"));
            match regions.iter_mut().find(|(known, _)| *known == region) {
                Some((_, networks)) => networks.push(network.clone()),
                None => {
                    if let Some(to) = self.in_order(&format!("{name}-{}", order.join("-")), &order, targets) {
                        choices.push((region.clone(), Val::Text(to)));
                        regions.push((region, vec![network.clone()]));
                    } else {
                        self.notes.push(format!("{title}: {network} leads to no datacenter: left out"));
                    }
                }
            }
        }
        regions.into_iter().map(|(region, networks)| (region, Val::list(networks))).collect()
    }

    fn nearest(&mut self, name: &str, map: &str, coordinates: &Vscf, targets: &[(String, String)]) -> Option<String> {
        let mut choices = Vec::new();
        for (at, (label, to)) in targets.iter().enumerate() {
            if targets[..at].iter().any(|(_, other)| other == to) {
                self.notes
                    .push(format!("{name}: datacenter {label} is the same as one before it: its place is left out"));
                continue;
            }
            let numbers: Vec<f64> = coordinates
                .get(label)
                .map(|at| at.texts().iter().filter_map(|text| text.parse().ok()).collect())
                .unwrap_or_default();
            if let [latitude, longitude] = numbers[..] {
                let at = Val::List(vec![Val::Num(latitude), Val::Num(longitude)]);
                choices.push(Val::table([("to", Val::text(to)), ("at", at)]));
            }
        }
        if choices.is_empty() {
            return None;
        }
        let keys = vec![("type", Val::text("nearest")), ("map", Val::text(map)), ("choices", Val::List(choices))];
        Some(self.route(&format!("{name}-nearest"), keys))
    }
}

fn name_of(target: Target) -> Option<String> {
    if let Target::Name(name) = target { Some(name) } else { None }
}

/// The labels and addresses of a stanza; a list has numbers for labels.
fn labelled(value: &Vscf) -> Vec<(String, Vscf)> {
    match value {
        Vscf::Hash(entries) => entries.iter().filter(|(key, _)| !SETTINGS.contains(&key.as_str())).cloned().collect(),
        other => other.items().into_iter().enumerate().map(|(at, item)| ((at + 1).to_string(), item.clone())).collect(),
    }
}

fn checks(names: &[String]) -> Vec<(&'static str, Val)> {
    match names {
        [] => Vec::new(),
        [one] => vec![("check", Val::text(one))],
        several => vec![("checks", Val::list(several.iter().map(String::as_str)))],
    }
}

/// `"50%"` of `0.5`; what rounds to nothing means one, which is the default.
fn min_healthy(threshold: &str) -> Option<String> {
    let share: f64 = threshold.parse().ok()?;
    let permille = (share * 1000.0).round() as i64;
    match (permille / 10, permille % 10) {
        (0, _) => None,
        (whole, 0) => Some(format!("{whole}%")),
        (whole, tenth) => Some(format!("{whole}.{tenth}%")),
    }
}
