//! Files to plan: reads `rollcall.toml`, zone TOML and master files, and yields a [`plan::Plan`] in which nothing is left
//! to check, or every error with file, line, column and caret. Touches files only while loading; never a socket.
//!
//! ```text
//! rollcall.toml -> server ----------------------------------------> ServerPlan
//!                    | zones, shared checks, pools, routes and maps
//! *.toml -> portions -> reader -> zone -> checks, pools, names -> compile -> PoolPlan, ProbeSpec (equal ones once)
//!                                   |---> routes, maps -> routing, classes -> RoutePlan
//!                                   \---> records -> rdata ---\
//! *.zone, $INCLUDE -> rewrite > zonefile ------------> sink --------> ZoneData
//! ```
//!
//! `source` holds the text of every file, so that `diagnostic` can show the place of whatever is wrong.

mod checks;
mod classes;
mod compile;
pub mod diagnostic;
mod events;
mod extra;
mod guard;
mod instances;
pub(crate) mod keys;
mod maintenance;
mod maps;
pub(crate) mod master;
mod names;
pub mod plan;
mod pools;
mod portions;
pub(crate) mod present;
mod program;
pub(crate) mod promise;
mod rdata;
mod reader;
mod records;
mod rewrite;
mod routes;
mod routing;
mod server;
mod services;
mod sink;
mod soa;
mod source;
mod tokens;
mod zone;
mod zonefile;

pub use guard::quiet_guarded_panics;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use compile::{Assembly, Shared};
use diagnostic::{LoadError, Severity};
use plan::Plan;
use server::ZoneFiles;
use source::{Place, Problem, Report};

/// Loads the server file and every zone file it names. `file` must exist when given; without it, defaults apply.
///
/// Errors of all files come together. Relative paths in a file are relative to it; without a server file, the zones are
/// those of the directory `zones` where the process stands.
pub fn load(file: Option<&Path>) -> Result<Plan, LoadError> {
    load_from(file, PathBuf::from("zones"))
}

/// Loads every zone file of a directory, without a server file.
pub fn load_zones(directory: &Path) -> Result<Plan, LoadError> {
    load_from(None, directory.to_owned())
}

fn load_from(file: Option<&Path>, zones_without_file: PathBuf) -> Result<Plan, LoadError> {
    let began = SystemTime::now();
    let mut report = Report::default();
    let mut shared = Shared::default();
    let mut assembly = Assembly::default();
    let (mut server, zones) = match file {
        None => (server::defaults(), ZoneFiles::Directory(zones_without_file, None)),
        Some(path) => {
            let Some(number) = report.read(path, None) else {
                return Err(report.into_error());
            };
            let text = report.text(number);
            let document = reader::parse(&text, number, &mut report);
            if report.error_count() > 0 {
                return Err(report.into_error());
            }
            let root = reader::Table::root(&document, reader::Piece { file: number, shifts: &[] });
            let read = server::read(&root, path, &mut report);
            if let Some(table) = root.get("checks").and_then(|value| value.table(&mut report)) {
                let base = server::directory_of(path);
                let setting = checks::Setting { base: &base, exec: read.0.exec_checks };
                shared.checks = checks::read(&table, setting, &mut report);
                checks::verify(&shared.checks, &checks::Checks::new(), &mut report);
            }
            if let Some(table) = root.get("pools").and_then(|value| value.table(&mut report)) {
                shared.pools = pools::read(&table, &mut report);
            }
            if let Some(table) = root.get("routes").and_then(|value| value.table(&mut report)) {
                shared.routes = routes::read(&table, &mut report);
            }
            if let Some(table) = root.get("maps").and_then(|value| value.table(&mut report)) {
                shared.maps = maps::read(&table, &server::directory_of(path), &mut assembly.opened, &mut report);
            }
            compile::refuse_one_name(&shared.pools, &shared.routes, &mut report);
            shared.exec = read.0.exec_checks;
            read
        }
    };

    let mut origins = zone::Origins::new();
    let (watched, files) = zone_files(zones, &mut report);
    for (path, from) in &files {
        if path.extension().is_some_and(|extension| extension == "zone") {
            zone::compile_master(path, *from, &mut origins, &mut assembly, &mut report);
        } else {
            zone::compile_toml(path, *from, &mut shared, &mut origins, &mut assembly, &mut report);
        }
    }
    for (name, pool) in &shared.pools {
        if !shared.used.contains(name) && report.error_count() == 0 {
            report.add(
                Problem::warning(pool.place, format!("no zone uses the pool {name:?}")).key(format!("pools.{name}")),
            );
        }
    }
    for (name, route) in &shared.routes {
        if !shared.used.contains(name) && report.error_count() == 0 {
            let message = format!("no zone uses the route {name:?}");
            report.add(Problem::warning(route.place, message).key(format!("routes.{name}")));
        }
    }

    if report.error_count() > 0 {
        return Err(report.into_error());
    }
    server.watched = watched;
    for path in report.touched() {
        if !server.watched.contains(&path) {
            server.watched.push(path);
        }
    }
    let canaries = server.doubt.canaries.iter().map(|&target| assembly.probe(server::canary(target))).collect();
    let Assembly { mut zones, pools, routes, probes, .. } = assembly;
    zones.sort_by(|one, other| one.origin.cmp(&other.origin));
    Ok(Plan { server, zones, pools, routes, probes, canaries, warnings: report.into_diagnostics(), began })
}

/// What to watch for new zones, and the zone files there are, in order of their names.
fn zone_files(zones: ZoneFiles, report: &mut Report) -> (Vec<PathBuf>, Vec<(PathBuf, Option<Place>)>) {
    let (directory, place) = match zones {
        ZoneFiles::List(listed) => {
            if listed.is_empty() && report.error_count() == 0 {
                report.add_file(Severity::Error, Path::new("zones"), "no zone: the list \"zones\" is empty", None);
            }
            return (Vec::new(), listed.into_iter().map(|(path, place)| (path, Some(place))).collect());
        }
        ZoneFiles::Directory(directory, place) => (directory, place),
    };
    let mut say = |message: String, help: String| match place {
        Some(place) => report.add(Problem::error(place, message).key("zones").help(help)),
        None => report.add_file(Severity::Error, &directory, message, Some(help)),
    };
    let shown = directory.display();
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) => {
            match error.kind() {
                std::io::ErrorKind::NotFound => say(
                    format!("the zone directory {shown} does not exist"),
                    "create it and put a zone file into it, or set zones = \"DIRECTORY\" in rollcall.toml".to_owned(),
                ),
                std::io::ErrorKind::NotADirectory => say(
                    format!("{shown} is no directory"),
                    format!("zone files are listed like this: zones = [\"{shown}\"]"),
                ),
                _ => say(
                    format!("the zone directory {shown} cannot be read: {error}"),
                    "let this user read it".to_owned(),
                ),
            }
            return (vec![directory], files);
        }
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let path = entry.path();
                if is_zone_file(&path) {
                    files.push((path, None));
                }
            }
            Err(error) => {
                say(format!("the zone directory {shown} cannot be read: {error}"), "let this user read it".to_owned());
                return (vec![directory], Vec::new());
            }
        }
    }
    files.sort();
    if files.is_empty() {
        say(
            format!("no zone: {shown} holds no file that ends in .toml or .zone"),
            format!("put a zone file into it, like {}", directory.join("example.com.toml").display()),
        );
    }
    (vec![directory], files)
}

/// `*.toml` and `*.zone` not beginning with a dot. Symlinks are followed, subdirectories not.
fn is_zone_file(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let named = path.extension().is_some_and(|extension| extension == "toml" || extension == "zone");
    !hidden && named && !path.is_dir()
}
