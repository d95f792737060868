//! Reads `[routes.NAME]`: what chooses among pools. Names of pools, routes and maps stay names here; they are resolved when
//! a zone is compiled, since a route of the server file belongs to every zone that uses it.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::checks::check_name;
use super::keys::{self, Section};
use super::maps::Site;
use super::plan::{HashKey, Window};
use super::pools::{Named, coordinates, hash_key};
use super::reader::{Table, Value};
use super::source::{Place, Problem, Report};

/// Routes by name.
pub(super) type Routes = BTreeMap<String, RouteDef>;

/// Most choices of a route; of `nearest`, fewer, since every place of the world has an order of them all.
const MOST_CHOICES: usize = 2_000;
const MOST_NEAREST: usize = 64;
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// One route as written.
#[derive(Debug, Clone)]
pub(super) struct RouteDef {
    /// Where its name stands.
    pub(super) place: Place,
    pub(super) kind: Kind,
}

/// What it chooses by.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Failover { choices: Vec<Named>, trickle: u32 },
    Weighted { choices: Vec<(Named, u16)> },
    Hash { choices: Vec<(Named, u16)>, key: HashKey },
    Map { map: Named, choices: Vec<Region>, fence: bool },
    Nearest { map: Named, choices: Vec<(Named, Option<Site>)>, biases: Vec<i8> },
    Schedule { timezone: TimeZone, windows: Vec<(Window, Named)>, default: Named, fence: bool },
}

/// One choice of a map.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) to: Named,
}

#[derive(Debug, Clone, Copy)]
enum Type {
    Failover,
    Weighted,
    Hash,
    Map,
    Nearest,
    Schedule,
}

/// Reads the table `routes`.
pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Routes {
    let mut routes = Routes::new();
    for (name, value) in table.entries() {
        check_name("route", name, value.key_place, report);
        if let Some(table) = value.table(report)
            && let Some(kind) = read_route(&table, report)
        {
            routes.insert(name.to_owned(), RouteDef { place: table.place, kind });
        }
    }
    routes
}

fn read_route(table: &Table<'_>, report: &mut Report) -> Option<Kind> {
    let types = [
        ("map", Type::Map),
        ("nearest", Type::Nearest),
        ("weighted", Type::Weighted),
        ("failover", Type::Failover),
        ("hash", Type::Hash),
        ("schedule", Type::Schedule),
    ];
    let Some(value) = table.get("type") else {
        let message = format!("route {:?} lacks \"type\"", table.path);
        let help = "write type = \"failover\", or map, nearest, weighted, hash, schedule".to_owned();
        report.add(Problem::error(table.place, message).key(table.path.as_str()).help(help));
        return None;
    };
    let kind = value.word(&types, report)?;
    let own = match kind {
        Type::Failover => &keys::ROUTE_FAILOVER,
        Type::Weighted => &keys::ROUTE_WEIGHTED,
        Type::Hash => &keys::ROUTE_HASH,
        Type::Map => &keys::ROUTE_MAP,
        Type::Nearest => &keys::ROUTE_NEAREST,
        Type::Schedule => &keys::ROUTE_SCHEDULE,
    };
    table.expect_keys(&[&keys::ROUTE, own], &[], report);
    let Some(choices) = table.get("choices") else {
        let message = format!("route {:?} lacks \"choices\"", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
        return None;
    };
    match kind {
        Type::Failover => {
            let trickle = table.get("trickle").and_then(|value| {
                let share = value.share(report)?;
                if share == 0 || share == 1000 {
                    value.wrong("a share above \"0%\" and below \"100%\"", report);
                }
                Some(share)
            });
            let choices = list(&choices, &keys::CHOICE, report);
            let choices = choices.into_iter().map(|choice| choice.to).collect();
            Some(Kind::Failover { choices, trickle: trickle.unwrap_or(0) })
        }
        Type::Weighted => Some(Kind::Weighted { choices: weighted(&choices, report) }),
        Type::Hash => Some(Kind::Hash { choices: weighted(&choices, report), key: hash_key(table, report) }),
        Type::Map => {
            let map = map_of(table, report);
            let fence = table.get("fence").and_then(|value| value.boolean(report)).unwrap_or(false);
            let choices = regions(&choices, report)?;
            Some(Kind::Map { map: map?, choices, fence })
        }
        Type::Nearest => {
            let map = map_of(table, report);
            let mut sites = Vec::new();
            let mut biases = Vec::new();
            for choice in list(&choices, &keys::NEAREST_CHOICE, report) {
                let site =
                    choice.table.as_ref().and_then(|table| table.get("at")).and_then(|at| coordinates(&at, report));
                let bias =
                    choice.table.as_ref().and_then(|table| table.get("bias")).and_then(|value| bias(&value, report));
                sites.push((choice.to, site));
                biases.push(bias.unwrap_or(0));
            }
            if sites.len() > MOST_NEAREST {
                choices.wrong(&format!("at most {MOST_NEAREST} choices"), report);
            }
            Some(Kind::Nearest { map: map?, choices: sites, biases })
        }
        Type::Schedule => schedule(table, &choices, report),
    }
}

fn map_of(table: &Table<'_>, report: &mut Report) -> Option<Named> {
    let Some(value) = table.get("map") else {
        let message = format!("route {:?} lacks \"map\", which says where clients are", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
        return None;
    };
    Some(Named { name: value.string(report)?.to_owned(), place: value.place })
}

/// One entry of a list of choices.
struct Choice<'t> {
    to: Named,
    /// Where it is more than a name.
    table: Option<Table<'t>>,
    item: Value<'t>,
}

/// `["NAME", { to = "NAME", … }]`, none of them twice but in a schedule.
fn entries<'t>(value: &Value<'t>, section: &Section, report: &mut Report) -> Vec<Choice<'t>> {
    if !value.value.is_array() {
        value.wrong("a list of pools and routes", report);
        return Vec::new();
    }
    let items = value.items();
    if items.is_empty() {
        let message = format!("{:?} is empty: a route needs at least one choice", value.path);
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
    }
    if items.len() > MOST_CHOICES {
        value.wrong(&format!("at most {MOST_CHOICES} choices"), report);
    }
    let mut choices = Vec::with_capacity(items.len());
    for item in items {
        if let Some(text) = item.value.as_str() {
            let to = Named { name: text.to_owned(), place: item.place };
            choices.push(Choice { to, table: None, item });
            continue;
        }
        let Some(table) = item.as_table() else {
            item.wrong("the name of a pool or route, or a table like { to = \"web\" }", report);
            continue;
        };
        table.expect_keys(&[section], &[], report);
        let Some(to) = table.get("to") else {
            let message = format!("{:?} does not say where it leads: it lacks \"to\"", item.path);
            report.add(Problem::error(item.place, message).key(item.path.as_str()));
            continue;
        };
        if let Some(name) = to.string(report) {
            let to = Named { name: name.to_owned(), place: to.place };
            choices.push(Choice { to, table: Some(table), item });
        }
    }
    choices
}

/// As `entries`, and none twice.
fn list<'t>(value: &Value<'t>, section: &Section, report: &mut Report) -> Vec<Choice<'t>> {
    let choices = entries(value, section, report);
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    for choice in &choices {
        if let Some(&before) = first.get(choice.to.name.as_str()) {
            let problem = Problem::error(choice.to.place, format!("{:?} is a choice twice", choice.to.name));
            report.add(problem.key(choice.item.path.as_str()).beside(before, "first here"));
        } else {
            first.insert(&choice.to.name, choice.to.place);
        }
    }
    choices
}

fn weighted(value: &Value<'_>, report: &mut Report) -> Vec<(Named, u16)> {
    let choices = list(value, &keys::WEIGHTED_CHOICE, report).into_iter();
    choices
        .map(|choice| {
            let weight = choice.table.as_ref().and_then(|table| table.get("weight"));
            let weight = weight.and_then(|weight| weight.integer(0..=65535, report));
            (choice.to, weight.map_or(1, |weight| weight as u16))
        })
        .collect()
}

/// `{ eu = "pool", default = "pool" }`
fn regions(value: &Value<'_>, report: &mut Report) -> Option<Vec<Region>> {
    let table = value.as_table();
    if table.is_none() {
        value.wrong("a table of regions, like { eu = \"web-eu\", default = \"web\" }", report);
    }
    let table = table?;
    let mut regions = Vec::new();
    for (key, value) in table.entries() {
        if let Some(name) = value.string(report) {
            let to = Named { name: name.to_owned(), place: value.place };
            regions.push(Region { key: key.to_owned(), place: value.key_place, to });
        }
    }
    if table.get("default").is_none() {
        let message = format!("{:?} lacks \"default\": who is in no region would get no answer", value.path);
        let help = "NODATA for some is cached for all; say what answers them, like default = \"web\"".to_owned();
        report.add(Problem::error(value.key_place, message).key(value.path.as_str()).help(help));
    }
    Some(regions)
}

fn bias(value: &Value<'_>, report: &mut Report) -> Option<i8> {
    let bias = value.as_integer().and_then(|number| i8::try_from(number).ok()).filter(|bias| (-99..=99).contains(bias));
    if bias.is_none() {
        value.wrong("a number from -99 to 99", report);
    }
    bias
}

fn schedule(table: &Table<'_>, choices: &Value<'_>, report: &mut Report) -> Option<Kind> {
    let timezone = match table.get("timezone") {
        None => Some(TimeZone::UTC),
        Some(value) => value.string(report).and_then(|name| match TimeZone::get(name) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let message =
                    format!("{:?} must be a time zone like \"Europe/Berlin\" or \"UTC\", not {name:?}", value.path);
                let known = jiff::tz::db().available().map(|name| name.to_string()).collect::<Vec<_>>();
                let help = super::diagnostic::did_you_mean(name, known.iter().map(String::as_str));
                report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
                None
            }
        }),
    };
    let mut windows = Vec::new();
    for choice in entries(choices, &keys::SCHEDULE_CHOICE, report) {
        let Some(table) = &choice.table else {
            let help = "write { to = \"web\", days = \"mon-fri\", from = \"08:00\", until = \"18:00\" }".to_owned();
            let message = format!("{:?} does not say when", choice.item.path);
            report.add(Problem::error(choice.item.place, message).key(choice.item.path.as_str()).help(help));
            continue;
        };
        if let Some(window) = window(table, report) {
            windows.push((window, choice.to));
        }
    }
    let Some(default) = table.get("default") else {
        let message = format!("route {:?} lacks \"default\": what answers at all other times", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
        return None;
    };
    let default = Named { name: default.string(report)?.to_owned(), place: default.place };
    let fence = table.get("fence").and_then(|value| value.boolean(report)).unwrap_or(false);
    Some(Kind::Schedule { timezone: timezone?, windows, default, fence })
}

fn window(table: &Table<'_>, report: &mut Report) -> Option<Window> {
    let days = match table.get("days") {
        None => Some([true; 7]),
        Some(value) => value.string(report).and_then(|text| {
            let days = weekdays(text);
            if days.is_none() {
                value.wrong("days like \"mon-fri\" or \"sat,sun\"", report);
            }
            days
        }),
    };
    let mut time = |key: &str, default: u16| match table.get(key) {
        None => Some(default),
        Some(value) => {
            let minutes = value.value.as_str().and_then(minutes);
            if minutes.is_none() {
                value.wrong("a time of day from \"00:00\" to \"24:00\"", report);
            }
            minutes
        }
    };
    let (from, until) = (time("from", 0), time("until", DAY));
    let (from, until) = (from?, until?);
    if from == until || from == DAY {
        let message = format!("{:?} is never: it begins at {} and ends at {}", table.path, clock(from), clock(until));
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
    }
    Some(Window { days: days?, from, until })
}

/// `mon-fri`, `sat,sun`, `mon,wed-fri`; a span may go over the weekend. Monday first.
fn weekdays(text: &str) -> Option<[bool; 7]> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let number = |name: &str| NAMES.iter().position(|known| known.eq_ignore_ascii_case(name.trim()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        let mut day = first;
        loop {
            days[day] = true;
            if day == last {
                break;
            }
            day = (day + 1) % 7;
        }
    }
    Some(days)
}

/// `08:30` in minutes; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && hours * 60 + minutes <= DAY).then_some(hours * 60 + minutes)
}

fn clock(minutes: u16) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_read_as_people_write_them() {
        let on = |text: &str| {
            let days = weekdays(text).unwrap();
            (0..7).filter(|&day| days[day]).collect::<Vec<_>>()
        };
        assert_eq!(on("mon-fri"), [0, 1, 2, 3, 4]);
        assert_eq!(on("Sat, sun"), [5, 6]);
        assert_eq!(on("sat-mon,wed"), [0, 2, 5, 6]);
        for bad in ["", "weekend", "mon-", "mon fri", "mon-fri-sun"] {
            assert_eq!(weekdays(bad), None, "{bad}");
        }
        assert_eq!((minutes("00:00"), minutes("08:30"), minutes("24:00")), (Some(0), Some(510), Some(1440)));
        for bad in ["8:30", "24:01", "12:60", "noon", "12", "12:00:00"] {
            assert_eq!(minutes(bad), None, "{bad}");
        }
    }
}
