//! Scenario files: zones, health events, virtual time, questions and the answers expected. They run configuration, world,
//! trackers and engine as the server does, without a socket and without waiting.
//!
//! A scenario is a TOML file in `tests/scenarios/`: a table `files` (name = content), perhaps `later` (files of a reload),
//! and a text `steps`, one step a line:
//!
//! ```text
//! # a comment
//! pass ADDRESS…  [xN] [because TEXT]   results of every probe of these addresses
//! fail ADDRESS…  [xN] [because TEXT]
//! advance 10s                          virtual time passes
//! state zone/pool/backend drain [for 30s]
//! reload                               takes the files of `later`
//! NAME TYPE = DATA; DATA…              NOERROR with exactly these records, in any order (address types: spaces too)
//! NAME TYPE -> RCODE                   that RCODE and no answer records
//! NAME TYPE first DATA DATA…           the first record of as many answers, in order
//! NAME TYPE shares DATA=3 DATA=1 [x100]  first places over that many rounds, within two of the share in every window
//! NAME TYPE ttl 30                     TTL of the answer, or of the negative SOA
//! NAME TYPE serial 17                  the SOA serial, in answer or authority
//! NAME TYPE note TEXT                  the extended error says TEXT; `note -`: none
//! ```
//!
//! Names without a final dot are relative to the first zone of the scenario.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use rollcall::config;
use rollcall::config::plan::AdminState;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::{Override, World};
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;
use rollcall::engine::{Asker, Transport, respond, rrtype};

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
    files: BTreeMap<String, String>,
    #[serde(default)]
    later: BTreeMap<String, String>,
    steps: String,
}

struct Run {
    directory: tempfile::TempDir,
    world: World,
    now: Now,
    origin: Name,
}

fn run(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let scenario: Scenario = toml::from_str(&text).map_err(|error| error.to_string())?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
    let mut run = Run { directory, world: World::new(&Saved::default(), [7; 16], now), now, origin: Name::root() };
    run.load(&scenario.files)?;
    for (number, line) in scenario.steps.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "reload" {
            run.load(&scenario.later)?;
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
            std::fs::create_dir_all(path.parent().expect("a file has a parent")).map_err(|error| error.to_string())?;
            std::fs::write(path, content).map_err(|error| error.to_string())?;
        }
        let server = self.directory.path().join("rollcall.toml");
        if !server.exists() {
            std::fs::write(&server, "").map_err(|error| error.to_string())?;
        }
        let plan = config::load(Some(&server))
            .map_err(|error| error.diagnostics.iter().map(|one| one.rendered.clone()).collect::<Vec<_>>().join("\n"))?;
        self.origin = plan.zones[0].origin.clone();
        let prepared = self.world.prepare(plan, self.now);
        self.world.install(prepared, self.now);
        Ok(())
    }

    fn step(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["pass" | "fail", ..] => self.results(line, words[0] == "pass"),
            ["advance", duration] => {
                let duration = humantime::parse_duration(duration).map_err(|error| error.to_string())?;
                self.now.wall += duration;
                self.now.mono += duration;
                self.world.tick(self.now);
                self.world.publish(self.now);
                Ok(())
            }
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

    fn results(&mut self, line: &str, passed: bool) -> Result<(), String> {
        let (head, reason) = match line.split_once(" because ") {
            Some((head, reason)) => (head, reason),
            None => (line, if passed { "connected" } else { "connection refused" }),
        };
        let mut times = 1;
        let mut addresses: Vec<IpAddr> = Vec::new();
        for word in head.split_whitespace().skip(1) {
            match word.strip_prefix('x').and_then(|count| count.parse().ok()) {
                Some(count) => times = count,
                None => addresses.push(word.parse().map_err(|_| format!("no address {word}"))?),
            }
        }
        let outcome = Outcome { passed, reason: reason.to_owned(), latency: Duration::from_millis(1) };
        for address in addresses {
            let ids: Vec<_> = self
                .world
                .plan()
                .probes
                .iter()
                .zip(self.world.probe_ids())
                .filter(|(spec, _)| spec.target.ip() == address)
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

    fn ask(&self, name: &str, rtype: &str) -> Result<Message, String> {
        let name = Name::parse(name, Some(&self.origin)).map_err(|error| error.to_string())?;
        let rtype = rrtype::parse(rtype).ok_or("no such type")?;
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend_from_slice(name.as_wire());
        query.extend_from_slice(&rtype.to_be_bytes());
        query.extend_from_slice(&[0, 1]);
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let asker = Asker { address: IpAddr::from([127, 0, 0, 1]), transport: Transport::Udp, worker: 0 };
        let mut out = [0; 4096];
        let reply = respond(self.world.snapshot(), &asker, &query, &mut out);
        Message::from_vec(&out[..reply.length]).map_err(|error| format!("the reply does not parse: {error}"))
    }

    fn expect(&self, name: &str, rtype: &str, verb: &str, rest: &[&str]) -> Result<(), String> {
        let rcode = |message: &Message| format!("{:?}", message.metadata.response_code).to_uppercase();
        match verb {
            "=" => {
                let message = self.ask(name, rtype)?;
                let mut seen: Vec<String> = message.answers.iter().map(data).collect();
                let text = rest.join(" ");
                let separator = if matches!(rtype, "A" | "AAAA") && !text.contains(';') { ' ' } else { ';' };
                let mut wanted: Vec<String> =
                    text.split(separator).map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
                seen.sort();
                wanted.sort();
                if rcode(&message) != "NOERROR" || seen != wanted {
                    return Err(format!("answered {} {seen:?}", rcode(&message)));
                }
                Ok(())
            }
            "->" => {
                let message = self.ask(name, rtype)?;
                let wanted = rest.first().copied().unwrap_or_default().to_uppercase();
                let (wanted, negative) = if wanted == "NODATA" { ("NOERROR".into(), true) } else { (wanted, false) };
                let negative = negative || wanted == "NXDOMAIN";
                if rcode(&message) != wanted || !message.answers.is_empty() {
                    let seen: Vec<String> = message.answers.iter().map(data).collect();
                    return Err(format!("answered {} {seen:?}", rcode(&message)));
                }
                if negative && !message.authorities.iter().any(|one| one.record_type().to_string() == "SOA") {
                    return Err("no SOA in the authority section".to_owned());
                }
                Ok(())
            }
            "first" => {
                let seen: Vec<String> = rest.iter().map(|_| self.first(name, rtype)).collect::<Result<_, _>>()?;
                if seen != rest { Err(format!("first places: {seen:?}")) } else { Ok(()) }
            }
            "shares" => self.shares(name, rtype, rest),
            "ttl" => {
                let message = self.ask(name, rtype)?;
                let ttl = message.answers.first().or(message.authorities.first()).map(|record| record.ttl);
                let wanted: u32 = rest.first().and_then(|text| text.parse().ok()).ok_or("ttl takes a number")?;
                if ttl != Some(wanted) { Err(format!("TTL {ttl:?}")) } else { Ok(()) }
            }
            "serial" => {
                let message = self.ask(name, rtype)?;
                let serial = message.answers.iter().chain(&message.authorities).find_map(|record| match &record.data {
                    RData::SOA(soa) => Some(soa.serial),
                    _ => None,
                });
                let wanted: u32 = rest.first().and_then(|text| text.parse().ok()).ok_or("serial takes a number")?;
                if serial != Some(wanted) { Err(format!("serial {serial:?}")) } else { Ok(()) }
            }
            "note" => {
                let message = self.ask(name, rtype)?;
                let text = message
                    .edns
                    .as_ref()
                    .and_then(|edns| edns.options().as_ref().iter().map(|(_, option)| format!("{option:?}")).next());
                let octets = rest.join(" ").bytes().map(|octet| octet.to_string()).collect::<Vec<_>>().join(", ");
                match (rest, text) {
                    (["-"], None) => Ok(()),
                    (["-"], Some(text)) => Err(format!("an option: {text}")),
                    (_, Some(text)) if text.contains(&octets) => Ok(()),
                    (_, text) => Err(format!("options: {text:?}")),
                }
            }
            other => Err(format!("no step {other}")),
        }
    }

    fn first(&self, name: &str, rtype: &str) -> Result<String, String> {
        let message = self.ask(name, rtype)?;
        message.answers.first().map(data).ok_or_else(|| "no answer".to_owned())
    }

    /// Over every window of the draws made here, each stays within two of its share.
    fn shares(&self, name: &str, rtype: &str, rest: &[&str]) -> Result<(), String> {
        let mut rounds = 100;
        let mut weights: Vec<(&str, f64)> = Vec::new();
        for word in rest {
            match (word.strip_prefix('x'), word.rsplit_once('=')) {
                (Some(count), _) => rounds = count.parse().map_err(|_| "x takes a number")?,
                (None, Some((address, weight))) => {
                    weights.push((address, weight.parse().map_err(|_| "a weight is a number")?));
                }
                _ => return Err(format!("not a share: {word}")),
            }
        }
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut errors = vec![(0f64, 0f64, 0f64); weights.len()];
        for _ in 0..rounds * total as usize {
            let first = self.first(name, rtype)?;
            if !weights.iter().any(|(address, _)| *address == first) {
                return Err(format!("{first} was answered"));
            }
            for ((address, weight), (error, low, high)) in weights.iter().zip(&mut errors) {
                *error += f64::from(u8::from(*address == first)) - weight / total;
                *low = low.min(*error);
                *high = high.max(*error);
            }
        }
        for ((address, _), (_, low, high)) in weights.iter().zip(errors) {
            if high - low > 2.0 {
                return Err(format!("{address} strayed {:.2} answers from its share", high - low));
            }
        }
        Ok(())
    }
}

fn data(record: &Record) -> String {
    record.data.to_string()
}
