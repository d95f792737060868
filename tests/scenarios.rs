//! Scenario files: zones, health events, virtual time, questions and the answers expected. They run configuration, world,
//! trackers and engine as the server does, without a socket and without waiting.
//!
//! A scenario is a TOML file in `tests/scenarios/`: a table `files` (name = content), and a text `steps`, one step a line.
//! Instead of `files`, a text `zone` may stand: what follows the usual beginning of a zone file (lb.example.com, TTL 30, one
//! name server, a TCP check `web`). Without a `rollcall.toml` nothing is doubted: what fails in a scenario is meant to.
//! `geoip` makes MaxMind databases: file, network, and `{ path, at, asn }` of it. `later` and `later_zone` are what a reload finds; a file whose content is empty is gone.
//!
//! ```text
//! # a comment
//! pass ADDRESS…  [xN] [because TEXT] [saying WORDS]  results of every probe of these addresses, or of ADDRESS:PORT;
//!                                      WORDS as an agent says them, `saying -`: a response that says nothing
//! fail ADDRESS…  [xN] [because TEXT] [saying WORDS]
//! advance 10s                          virtual time passes, a tick each second
//! at 2026-01-05T07:00:00Z              virtual time passes until then
//! from 192.0.2.7                       who asks from here on; 127.0.0.1 at first
//! subnet 192.0.2.0/24                  and sends that client subnet; `subnet -`: none
//! state zone/pool/backend drain [for 30s]
//! is zone/pool/backend draining        the word that `status` has for a backend, or for a pool: zone/pool
//! safe zone/pool/backend 31s           the drain clock: so long from now; `answered` still; `drained`
//! starts zone/pool/backend 25          a slow start: percent of its weight; `-`: none
//! frozen yes | no                      whether verdicts are frozen
//! moves NAME TYPE 50                   percent of clients that the last reload moved; 0: none
//! reload                               takes the files of `later`
//! reload refused TEXT                  it does not load, and an error says TEXT; what was answers on
//! reload back                          takes the files of the beginning again
//! restart                              a new process, with what a state directory keeps
//! restart forgetful                    likewise without a state directory
//! probes 3                             so many probes run
//! waiting 2                            so many probes' first verdicts the last load waits for
//! NAME TYPE = DATA; DATA…              NOERROR with exactly these records, in any order (address types: spaces too)
//! NAME TYPE order DATA; DATA…          likewise in this order
//! NAME TYPE -> RCODE                   that RCODE and no answer records; NODATA and NXDOMAIN with the zone's SOA
//! NAME TYPE gives RCODE: TYPE DATA; …  that RCODE and exactly these answer records, in order: an alias and what it led to
//! NAME TYPE authority OWNER TYPE [DATA]; … exactly these records there, in any order; `additional` likewise, without OPT
//! NAME TYPE rcode RCODE                that RCODE
//! NAME TYPE aa | no-aa                 whether the answer is authoritative
//! NAME TYPE turns DATA DATA…           a list turned one step each answer, from where the last `turns` of it left off
//! NAME TYPE first DATA DATA…           the first record of as many answers, in order
//! NAME TYPE never DATA… [x100]         in so many answers none of these
//! NAME TYPE counts 2 [x100]            so many distinct records in each of so many answers
//! NAME TYPE shares DATA=3 DATA=1 [x100]  first places over that many rounds, within two of the share in every window
//! NAME TYPE ttl 30                     TTL of all records of the answer, or of the negative SOA
//! NAME TYPE scope 24                   the client subnet's scope; `scope -`: the reply has no client subnet
//! NAME TYPE truncated                  TC is set
//! NAME TYPE cookie                     a client cookie gets a server cookie, a made-up one is not given back
//! NAME TYPE serial 17                  the SOA serial, in answer or authority
//! NAME TYPE note TEXT                  the extended error says TEXT; `note -`: none
//! ```
//!
//! Names without a final dot are relative to the first zone of the scenario.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use rollcall::config;
use rollcall::config::plan::AdminState;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::view::{BackendStatus, Moves};
use rollcall::control::world::{Clock, Override, World};
use rollcall::engine::feedback::Said;
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;

#[path = "scenarios/expect.rs"]
mod expect;
#[path = "support/mmdb.rs"]
mod mmdb;

#[test]
fn every_scenario_holds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("tests/scenarios is there")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut failed = Vec::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Err(why) = run(file) {
            failed.push(format!("{name}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{} of {} scenarios failed:\n{}", failed.len(), files.len(), failed.join("\n"));
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    #[serde(default)]
    files: BTreeMap<String, String>,
    zone: Option<String>,
    #[serde(default)]
    geoip: BTreeMap<String, BTreeMap<IpNet, mmdb::Place>>,
    #[serde(default)]
    later: BTreeMap<String, String>,
    later_zone: Option<String>,
    steps: String,
}

/// What stands before a scenario's `zone`.
const ZONE_HEAD: &str = r#"zone = "lb.example.com"
ttl = 30
[records]
"@" = { NS = "ns.example.net." }
[checks.web]
type = "tcp"
port = 80
"#;

/// The secret of cookies, which no scenario reads.
const SECRET: [u8; 16] = [7; 16];

struct Run {
    directory: tempfile::TempDir,
    world: World,
    now: Now,
    origin: Name,
    waiting: usize,
    moves: Option<Moves>,
    /// Where each list stands that a `turns` has seen.
    places: RefCell<HashMap<String, usize>>,
    /// Who asks, and for which network.
    from: IpAddr,
    subnet: Option<IpNet>,
}

fn run(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let mut scenario: Scenario = toml::from_str(&text).map_err(|error| error.to_string())?;
    for (files, zone) in [(&mut scenario.files, &scenario.zone), (&mut scenario.later, &scenario.later_zone)] {
        if let Some(zone) = zone {
            files.insert("zones/lb.toml".to_owned(), format!("{ZONE_HEAD}{zone}"));
        }
    }
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
    let world = World::new(&Saved::default(), SECRET, now);
    let from = IpAddr::from([127, 0, 0, 1]);
    let (origin, places) = (Name::root(), RefCell::default());
    let mut run = Run { directory, world, now, origin, waiting: 0, moves: None, places, from, subnet: None };
    for (name, places) in &scenario.geoip {
        let places: Vec<_> = places.iter().map(|(network, place)| (*network, place.clone())).collect();
        let path = run.directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a parent")).map_err(|error| error.to_string())?;
        std::fs::write(path, mmdb::database(&places)).map_err(|error| error.to_string())?;
    }
    run.load(&scenario.files)?;
    for (number, line) in scenario.steps.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "reload" {
            run.load(&scenario.later)?;
        } else if let Some(text) = line.strip_prefix("reload refused ") {
            match run.load(&scenario.later) {
                Ok(()) => return Err(format!("step line {}: {line}\n    it was taken", number + 1)),
                Err(why) if why.contains(text) => {}
                Err(why) => return Err(format!("step line {}: {line}\n    {why}", number + 1)),
            }
        } else if line == "reload back" {
            run.load(&scenario.files)?;
        } else {
            run.step(line).map_err(|why| format!("step line {}: {line}\n    {why}", number + 1))?;
        }
    }
    Ok(())
}

impl Run {
    fn load(&mut self, files: &BTreeMap<String, String>) -> Result<(), String> {
        for (name, content) in files {
            let path = self.directory.path().join(name);
            if content.is_empty() {
                std::fs::remove_file(path).map_err(|error| error.to_string())?;
                continue;
            }
            std::fs::create_dir_all(path.parent().expect("a file has a parent")).map_err(|error| error.to_string())?;
            std::fs::write(path, content).map_err(|error| error.to_string())?;
        }
        let server = self.directory.path().join("rollcall.toml");
        if !server.exists() {
            std::fs::write(&server, "[checker]\ndoubt = \"off\"\n").map_err(|error| error.to_string())?;
        }
        let plan = config::load(Some(&server))
            .map_err(|error| error.diagnostics.iter().map(|one| one.rendered.clone()).collect::<Vec<_>>().join("\n"))?;
        self.origin = plan.zones[0].origin.clone();
        let prepared = self.world.prepare(plan, self.now);
        self.waiting = prepared.waiting.len();
        self.moves = Some(self.world.preview(&prepared, self.now));
        self.world.install(prepared, self.now);
        Ok(())
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["pass" | "fail", ..] => self.results(line, words[0] == "pass"),
            ["advance", duration] => {
                let duration = humantime::parse_duration(duration).map_err(|error| error.to_string())?;
                let end = self.now.mono + duration;
                while self.now.mono < end {
                    let step = Duration::from_secs(1).min(end - self.now.mono);
                    self.now.wall += step;
                    self.now.mono += step;
                    self.world.tick(self.now);
                    self.world.publish(self.now);
                }
                Ok(())
            }
            ["at", time] => {
                let time = humantime::parse_rfc3339(time).map_err(|error| error.to_string())?;
                let passed = time.duration_since(self.now.wall).map_err(|_| "that time has passed")?;
                self.now = Now { wall: time, mono: self.now.mono + passed };
                self.world.tick(self.now);
                self.world.publish(self.now);
                Ok(())
            }
            ["from", address] => {
                self.from = address.parse().map_err(|_| "no address")?;
                Ok(())
            }
            ["subnet", "-"] => {
                self.subnet = None;
                Ok(())
            }
            ["subnet", network] => {
                self.subnet = Some(network.parse().map_err(|_| "no network")?);
                Ok(())
            }
            ["restart", rest @ ..] => {
                let saved = if rest.is_empty() { self.world.saved() } else { Saved::default() };
                self.world = World::new(&saved, SECRET, self.now);
                self.places.borrow_mut().clear();
                self.load(&BTreeMap::new())
            }
            ["is", id, words @ ..] => same("it is", &self.word(id)?, &words.join(" ")),
            ["safe", id, wanted] => {
                let clocks = self.world.drain_clocks();
                let seen = match clocks.get(*id).ok_or("it is in service")? {
                    Clock::Answered(_) => "answered".to_owned(),
                    Clock::Drained(_) => "drained".to_owned(),
                    Clock::SafeAt(at) => {
                        let left = at.duration_since(self.now.wall).map_err(|_| "its time is gone")?;
                        format!("{}s", left.as_secs_f64())
                    }
                };
                same("the clock says", &seen, wanted)
            }
            ["starts", id, wanted] => {
                let backend = self.backend(id)?;
                let seen = backend.starting.map_or_else(|| "-".to_owned(), |starting| starting.percent.to_string());
                same("percent", &seen, wanted)
            }
            ["frozen", wanted] => same("frozen", if self.world.is_frozen() { "yes" } else { "no" }, wanted),
            ["moves", name, rtype, percent] => {
                let moves = self.moves.as_ref().ok_or("nothing was loaded")?;
                let full = format!("{name}.{}", self.origin.to_string().trim_end_matches('.'));
                let found = moves.moved.iter().find(|one| one.name == full && one.rtype == *rtype);
                same("percent", &found.map_or(0.0, |one| one.percent).to_string(), percent)
            }
            ["probes", count] => equal("probes", self.world.plan().probes.len(), count),
            ["waiting", count] => equal("probes waited for", self.waiting, count),
            ["state", backend, state, rest @ ..] => {
                let state = match *state {
                    "auto" => AdminState::Auto,
                    "up" => AdminState::Up,
                    "down" => AdminState::Down,
                    "drain" => AdminState::Drain,
                    other => return Err(format!("no state {other}")),
                };
                let until = match rest {
                    ["for", duration] => {
                        Some(self.now.wall + humantime::parse_duration(duration).map_err(|error| error.to_string())?)
                    }
                    _ => None,
                };
                let entry = Override { state, since: self.now.wall, until, reason: None, by: None };
                self.world.set_state(backend, &entry, self.now)?;
                self.world.publish(self.now);
                Ok(())
            }
            [name, rtype, verb, rest @ ..] => self.expect(name, rtype, verb, rest),
            _ => Err("not a step".to_owned()),
        }
    }

    fn backend(&self, id: &str) -> Result<BackendStatus, String> {
        let zones = self.world.status();
        let mut backends = zones.into_iter().flat_map(|zone| zone.pools).flat_map(|pool| pool.backends);
        backends.find(|backend| backend.id == id).ok_or_else(|| format!("no backend {id}"))
    }

    fn word(&self, id: &str) -> Result<String, String> {
        if id.split('/').count() == 3 {
            return Ok(self.backend(id)?.state);
        }
        let (zone, pool) = id.split_once('/').ok_or("zone/pool or zone/pool/backend")?;
        let zones = self.world.status();
        let pools = zones.into_iter().filter(|one| one.zone == zone).flat_map(|zone| zone.pools);
        pools.into_iter().find(|one| one.pool == pool).map(|pool| pool.state).ok_or_else(|| format!("no pool {id}"))
    }

    fn results(&mut self, line: &str, passed: bool) -> Result<(), String> {
        let (line, said) = match line.split_once(" saying ") {
            Some((line, "-")) => (line, Some(Said::nothing_special())),
            Some((line, words)) => (line, Some(Said::read(words).ok_or(format!("no agent says {words:?}"))?)),
            None => (line, None),
        };
        let (head, reason) = match line.split_once(" because ") {
            Some((head, reason)) => (head, reason),
            None => (line, if passed { "connected" } else { "connection refused" }),
        };
        let mut times = 1;
        let mut targets: Vec<(IpAddr, Option<u16>)> = Vec::new();
        for word in head.split_whitespace().skip(1) {
            match (word.strip_prefix('x').and_then(|count| count.parse().ok()), word.parse::<SocketAddr>()) {
                (Some(count), _) => times = count,
                (None, Ok(target)) => targets.push((target.ip(), Some(target.port()))),
                (None, Err(_)) => targets.push((word.parse().map_err(|_| format!("no address {word}"))?, None)),
            }
        }
        let outcome = Outcome { passed, reason: reason.to_owned(), latency: Duration::from_millis(1), said };
        for (address, port) in targets {
            let ids: Vec<_> = self
                .world
                .plan()
                .probes
                .iter()
                .zip(self.world.probe_ids())
                .filter(|(spec, _)| spec.target.ip() == address && !spec.is_calculated())
                .filter(|(spec, _)| port.is_none_or(|port| spec.target.port() == port))
                .map(|(_, &id)| id)
                .collect();
            if ids.is_empty() {
                return Err(format!("no probe has the target {address}"));
            }
            for _ in 0..times {
                for &id in &ids {
                    self.world.observe(id, &outcome, self.now);
                }
            }
        }
        self.world.publish(self.now);
        Ok(())
    }
}

fn same(what: &str, seen: &str, wanted: &str) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{what} {seen}")) }
}

fn equal(what: &str, seen: usize, wanted: &str) -> Result<(), String> {
    if wanted.parse() == Ok(seen) { Ok(()) } else { Err(format!("{seen} {what}")) }
}
