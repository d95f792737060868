//! One zone file, TOML or master file, to one zone of the plan.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::checks::{self, Setting};
use super::compile::{Assembly, Own, Scope, Shared};
use super::keys;
use super::maps;
use super::names::{self, NameDef, Names};
use super::plan::{NamePlan, SerialPlan, ZonePlan};
use super::pools::{self, MOST_TTL};
use super::portions::{Document, Long};
use super::promise;
use super::rdata::rtype;
use super::reader::{self, Table};
use super::records;
use super::routes;
use super::server::directory_of;
use super::services;
use super::sink::{From, Record, Sink};
use super::soa::{Soa, SoaKeys};
use super::source::{Place, Problem, Report};
use super::zonefile::{self, MasterRecord};
use crate::engine::name::Name;

/// TTL of records and pools where the zone has no `ttl`.
const DEFAULT_TTL: u32 = 30;
/// TTL of a bare master file's records before the first that says one; as NSD and `domain` have it.
const DEFAULT_MASTER_TTL: u32 = 3600;

/// Where each zone was found, to name both files when it is found again.
pub(super) type Origins = HashMap<Name, Place>;

/// Reads a zone's TOML into the plan.
pub(super) fn compile_toml(
    path: &Path,
    from: Option<Place>,
    shared: &mut Shared,
    origins: &mut Origins,
    assembly: &mut Assembly,
    report: &mut Report,
) {
    let Some(file) = report.read(path, from) else {
        return;
    };
    let text = report.text(file);
    let document = Document::new(&text, file);
    let (rest, piece) = document.rest();
    let (parsed, slips) = reader::parse_piece(rest, piece, &text);
    if !slips.is_empty() {
        slips.into_iter().for_each(|slip| report.add(slip));
        document.check(report);
        return;
    }
    let mark = report.mark();
    let root = Table::root(&parsed, piece);
    root.expect_keys(&[&keys::ZONE], &[], report);
    let base = directory_of(path);

    let ttl =
        root.get("ttl").and_then(|value| value.integer(0..=MOST_TTL, report)).map_or(DEFAULT_TTL, |ttl| ttl as u32);
    let setting = Setting { base: &base, exec: shared.exec };
    let own = Own {
        checks: table(&root, "checks", report).map(|table| checks::read(&table, setting, report)).unwrap_or_default(),
        pools: table(&root, "pools", report).map(|table| pools::read(&table, report)).unwrap_or_default(),
        routes: table(&root, "routes", report).map(|table| routes::read(&table, report)).unwrap_or_default(),
        maps: table(&root, "maps", report)
            .map(|table| maps::read(&table, &base, &mut assembly.opened, report))
            .unwrap_or_default(),
    };
    let Some((origin, place)) = zone_name(&root, report) else {
        return;
    };
    if !is_new(&origin, place, origins, report) {
        return;
    }

    let mut sink = Sink::new(&origin);
    sink.builder.reserve(line_count(&text));
    let mut defined = Names::default();
    if let Some(table) = table(&root, "names", report) {
        names::read(&table, &origin, &mut defined, report);
    }
    let are_read = document.each(Long::Names, mark, report, &mut |table, report| {
        names::read(table, &origin, &mut defined, report);
    });
    if !are_read {
        origins.remove(&origin);
        return;
    }
    let names = resolve_names(defined.list, &origin, ttl, &own, shared, &mut sink, assembly, report);
    let soa = table(&root, "soa", report).map(|table| SoaKeys::read(&table, &origin, report)).unwrap_or_default();
    let zonefile = root.get("zonefile");
    sink.in_table = zonefile.is_some().then(HashMap::new);
    let errors = report.error_count();
    if let Some(records) = table(&root, "records", report) {
        records::read(&records, &text, ttl, &mut sink, report);
    }
    let are_read = document.each(Long::Records, mark, report, &mut |table, report| {
        records::read(table, &text, ttl, &mut sink, report);
    });
    if !are_read {
        origins.remove(&origin);
        return;
    }
    let mut file_soa = None;
    if let Some(value) = zonefile
        && let Some(name) = value.string(report)
        && let Some(file) = report.read(&base.join(name), Some(value.place))
    {
        file_soa = read_master(file, ttl, &mut sink, report);
    }

    let Some(first_ns) = sink.first_ns.clone() else {
        // What could not be read may have been the NS.
        if report.error_count() > errors {
            return;
        }
        let problem = Problem::error(place, format!("the zone {origin} has no NS record"));
        report.add(problem.help("add [records] \"@\" = { NS = [\"ns1\"] }".to_owned()));
        return;
    };
    let (soa, serial) = soa.complete(file_soa.map(|(soa, _)| soa), &first_ns, &origin);
    let (wire, ttl) = (soa.to_wire(), soa.ttl);
    sink.add(Record { owner: &origin, rtype: rtype::SOA, ttl, rdata: &wire, place, from: From::Table }, report);
    finish(sink, path, serial, names, assembly, report);
}

/// Reads a bare master file into the plan. Its origin is its SOA's owner, which `$ORIGIN` or the file's name completes.
pub(super) fn compile_master(
    path: &Path,
    from: Option<Place>,
    origins: &mut Origins,
    assembly: &mut Assembly,
    report: &mut Report,
) {
    let Some(file) = report.read(path, from) else {
        return;
    };
    let errors = report.error_count();
    let named =
        path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| Name::parse(stem, Some(&Name::root())).ok());
    // Nearly always the SOA comes first. Where it does not, one reading finds it and another takes the records.
    let mut found: Option<(Name, Place)> = None;
    zonefile::read(file, named.as_ref(), DEFAULT_MASTER_TTL, report, &mut |record, _| {
        if record.rtype != rtype::SOA {
            return ControlFlow::Continue(());
        }
        found = Some((record.owner.clone(), record.place));
        ControlFlow::Break(())
    });
    if report.error_count() > errors {
        return;
    }
    let Some((origin, place)) = found else {
        report.add(Problem::error(Place::new(file, 0..0), "this zone has no SOA record"));
        return;
    };
    if !is_new(&origin, place, origins, report) {
        return;
    }
    let mut sink = Sink::new(&origin);
    sink.builder.reserve(line_count(&report.text(file)));
    let mut soa: Option<(Soa, Place)> = None;
    zonefile::read(file, named.as_ref(), DEFAULT_MASTER_TTL, report, &mut |record, report| {
        take(record, &mut soa, &mut sink, report);
        ControlFlow::Continue(())
    });
    if report.error_count() > errors {
        return;
    }
    let Some((soa, place)) = soa else { return };
    if sink.first_ns.is_none() {
        report.add(Problem::error(place, format!("the zone {origin} has no NS record")));
        return;
    }
    let wire = soa.to_wire();
    sink.add(
        Record { owner: &origin, rtype: rtype::SOA, ttl: soa.ttl, rdata: &wire, place, from: From::Master },
        report,
    );
    finish(sink, path, SerialPlan::Fixed(soa.serial), Vec::new(), assembly, report);
}

/// About as many records as a file holds.
fn line_count(text: &str) -> usize {
    text.bytes().filter(|&octet| octet == b'\n').count()
}

fn table<'t>(root: &Table<'t>, key: &str, report: &mut Report) -> Option<Table<'t>> {
    root.get(key).and_then(|value| value.table(report))
}

fn zone_name(root: &Table<'_>, report: &mut Report) -> Option<(Name, Place)> {
    let Some(value) = root.get("zone") else {
        let help = "write zone = \"lb.example.com\" at the top".to_owned();
        report.add(Problem::error(root.place, "the key \"zone\" is missing").key("zone").help(help));
        return None;
    };
    let text = value.string(report)?;
    // "@" and "" would be names relative to the root.
    match Name::parse(text, Some(&Name::root())) {
        Ok(name) if text != "@" && !name.is_wildcard() => Some((name, value.place)),
        Ok(_) => {
            value.wrong("a zone's name", report);
            None
        }
        Err(why) => {
            let message = format!("\"zone\" must be a domain name, not {text:?}: {why}");
            report.add(Problem::error(value.place, message).key("zone"));
            None
        }
    }
}

fn is_new(origin: &Name, place: Place, origins: &mut Origins, report: &mut Report) -> bool {
    if let Some(&first) = origins.get(origin) {
        let message = format!(
            "the zone {origin} stands in two files: {} and {}",
            report.path(first.file).display(),
            report.path(place.file).display()
        );
        report.add(Problem::error(place, message).beside(first, "first here"));
        return false;
    }
    origins.insert(origin.clone(), place);
    true
}

#[allow(clippy::too_many_arguments)]
fn resolve_names(
    defined: Vec<NameDef>,
    origin: &Name,
    ttl: u32,
    own: &Own,
    shared: &mut Shared,
    sink: &mut Sink<'_>,
    assembly: &mut Assembly,
    report: &mut Report,
) -> Vec<NamePlan> {
    let mut scope = Scope::new(origin, ttl, own, shared);
    scope.refuse_shared_names(report);
    scope.verify_counted(report);
    scope.add_own(assembly, report);
    let mut plans: Vec<NamePlan> = Vec::new();
    let mut promises = Vec::new();
    for name in defined {
        sink.balanced.entry(name.owner.clone()).or_insert(name.place);
        let Some(to) = scope.resolve(&name.to, assembly, report) else {
            continue;
        };
        if let Some(promise) = name.max_failover.clone() {
            promises.extend(scope.promised_by(&promise, to, name.ttl, assembly));
        }
        for &rtype in name.rtypes {
            let index = plans.len() as u32;
            let params = name.params.as_slice().into();
            let (owner, ttl, answers) = (name.owner.clone(), name.ttl, name.answers);
            plans.push(NamePlan { owner, rtype, params, to, ttl, answers });

            if let Err(problem) = sink.builder.add_balanced(&name.owner, rtype, index, name.place.tag()) {
                report.add_zone_problem(problem);
            }
        }
    }
    promises.extend(scope.promises(&plans, assembly));
    for (promise, answer) in promises {
        promise::hold(&promise, answer, assembly, report);
    }
    scope.finish(assembly, report);
    plans
}

fn read_master(file: usize, ttl: u32, sink: &mut Sink<'_>, report: &mut Report) -> Option<(Soa, Place)> {
    let mut soa = None;
    let origin = sink.origin;
    zonefile::read(file, Some(origin), ttl, report, &mut |record, report| {
        take(record, &mut soa, sink, report);
        ControlFlow::Continue(())
    });
    soa
}

/// The SOA is kept aside, since `[soa]` may change it; all else goes into the zone.
fn take(record: MasterRecord<'_>, soa: &mut Option<(Soa, Place)>, sink: &mut Sink<'_>, report: &mut Report) {
    let MasterRecord { owner, rtype, ttl, rdata, place } = record;
    if rtype != rtype::SOA {
        sink.add(Record { owner, rtype, ttl, rdata, place, from: From::Master }, report);
        return;
    }
    if owner != sink.origin {
        let message = format!("{owner} has an SOA, which only the zone's apex {} can have", sink.origin);
        report.add(Problem::error(place, message).key(owner.to_string()));
    } else if let Some((_, first)) = soa {
        report.add(Problem::error(place, format!("the zone {owner} has two SOA records")).beside(*first, "first here"));
    } else {
        *soa = Soa::from_wire(rdata, ttl).map(|soa| (soa, place));
    }
}

fn finish(
    mut sink: Sink<'_>,
    path: &Path,
    serial: SerialPlan,
    names: Vec<NamePlan>,
    assembly: &mut Assembly,
    report: &mut Report,
) {
    let origin = sink.origin.clone();
    let places = std::mem::take(&mut sink.balanced);
    match sink.builder.build() {
        Ok((data, problems)) => {
            services::check(&data, &names, &places, assembly, report);
            problems.into_iter().for_each(|problem| report.add_zone_problem(problem));
            assembly.zones.push(ZonePlan { origin, file: path.to_owned(), data: Arc::new(data), serial, names });
        }
        Err(problems) => problems.into_iter().for_each(|problem| report.add_zone_problem(problem)),
    }
}
