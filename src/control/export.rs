//! A zone as a master file (RFC 1035 5), as it answers now: static records, the serial in force, and for each balanced name
//! the addresses that may be answered; where routes read the client, those that one client may get. Comments say of which
//! pool or route they are.
//!
//! The supervisor only gathers what it alone knows, pool by pool; a large zone is written elsewhere, from the plan and the
//! snapshot, which do not change.

mod answers;

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::memory::Saved;
use super::names::name_ttl;
use super::world::World;
use super::{ControlError, Now, status, zone_text};
use crate::config::plan::Plan;
use crate::config::present::{canonical_order, name_text, rdata_text, type_text};
use crate::engine::name::Name;
use crate::engine::rrtype;
use crate::engine::snapshot::Snapshot;
use crate::engine::zone::{NodeId, SetData, records};
use answers::{Answer, Answers};

/// A zone at one moment, ready to be written.
pub(crate) struct Exported {
    plan: Arc<Plan>,
    snapshot: Arc<Snapshot>,
    zone: usize,
    /// Of each balanced name of the zone, in the plan's order.
    names: Vec<Balanced>,
    said: String,
}

struct Balanced {
    answer: Arc<Answer>,
    ttl: u32,
}

/// Gathers a zone of a running server.
pub(crate) fn gather(world: &World, zone: &str, client: IpAddr, now: SystemTime) -> Result<Exported, ControlError> {
    let generation = world.snapshot().generation;
    let said =
        format!("as rollcall {} answered it at {}, generation {generation}", crate::VERSION, status::time_text(now));
    exported(world, zone, client, said)
}

/// A zone as the files have it: no probe has run, and no override is known.
pub fn offline(plan: Plan, zone: &str, client: IpAddr) -> Result<String, ControlError> {
    let now = Now { wall: SystemTime::now(), mono: std::time::Duration::ZERO };
    let mut world = World::new(&Saved::default(), [0; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    let said = format!(
        "as rollcall {} reads it from the files: no backend was probed, each counts as before its first verdict",
        crate::VERSION
    );
    Ok(exported(&world, zone, client, said)?.master_file())
}

fn exported(world: &World, zone: &str, client: IpAddr, said: String) -> Result<Exported, ControlError> {
    let origin = Name::parse(zone, Some(&Name::root()))
        .map_err(|error| ControlError::Invalid(format!("\"{zone}\" is no name: {error}")))?;
    let plan = world.plan().clone();
    let found = plan.zones.iter().position(|plan| plan.origin == origin);
    let zone = found.ok_or_else(|| ControlError::NotFound(format!("no zone here is named {}", zone_text(&origin))))?;
    let slots = world.snapshot().zones.get(zone as u32).map(|zone| zone.names.clone()).unwrap_or_default();
    let mut answers = Answers::new(world, client);
    let names = plan.zones[zone].names.iter().zip(slots.iter());
    let names =
        names.map(|(name, slot)| Balanced { answer: answers.of(name), ttl: name_ttl(world, slot.view) }).collect();
    Ok(Exported { snapshot: world.snapshot().clone(), plan, zone, names, said })
}

impl Exported {
    /// The master file.
    pub(crate) fn master_file(&self) -> String {
        let zone = &self.plan.zones[self.zone];
        let origin = &zone.origin;
        let mut text = format!("; {} {}\n$ORIGIN {origin}\n", zone_text(origin), self.said);
        let data = &zone.data;
        let with_data = data.nodes().filter(|&node| !data.sets(node).is_empty());
        let mut nodes: Vec<(Vec<u8>, NodeId)> = with_data.map(|node| (data.wire_of(node), node)).collect();
        nodes.sort_by(|(a, _), (b, _)| canonical_order(a, b));
        for (owner, node) in nodes {
            let owner = name_text(&owner, Some(origin));
            let mut sets: Vec<_> = data.sets(node).iter().collect();
            // SOA first: readers want it so.
            sets.sort_by_key(|set| (set.rtype != rrtype::SOA, set.rtype != rrtype::NS, set.rtype));
            let mut is_alias = None;
            for set in sets {
                match data.data(set) {
                    SetData::Static(octets) => self.put_static(&owner, set.rtype, octets, &mut text),
                    SetData::Balanced(index) => {
                        self.put_balanced(&owner, set.rtype, index as usize, &mut is_alias, &mut text);
                    }
                }
            }
        }
        text
    }

    fn put_static(&self, owner: &str, rtype: u16, octets: &[u8], text: &mut String) {
        let origin = &self.plan.zones[self.zone].origin;
        for record in records(octets) {
            let data = match self.snapshot.zones.get(self.zone as u32) {
                Some(zone) if rtype == rrtype::SOA => {
                    rdata_text(rtype, &with_serial(record.rdata, zone.soa.serial()), Some(origin))
                }
                _ => rdata_text(rtype, record.rdata, Some(origin)),
            };
            put_line(owner, record.ttl, &type_text(rtype), &data, text);
        }
    }

    fn put_balanced(&self, owner: &str, rtype: u16, index: usize, is_alias: &mut Option<bool>, text: &mut String) {
        let Some(Balanced { answer, ttl }) = self.names.get(index) else { return };
        let origin = &self.plan.zones[self.zone].origin;
        let _ = writeln!(text, "; {owner} {}: {}, {}", type_text(rtype), answer.from, answer.why);
        for (rtype, data) in &answer.records {
            let alias = *rtype == rrtype::CNAME;
            let data = rdata_text(*rtype, data, Some(origin));
            match *is_alias {
                // Both families of a backend elsewhere answer its one CNAME.
                Some(true) if alias => {}
                // The server answers one or the other; a master file has to settle (RFC 1034 3.6.2).
                Some(before) if before || alias => {
                    let _ = writeln!(text, "; left out, since a CNAME stands alone: {} {data}", type_text(*rtype));
                }
                _ => put_line(owner, *ttl, &type_text(*rtype), &data, text),
            }
            is_alias.get_or_insert(alias);
        }
    }
}

fn put_line(owner: &str, ttl: u32, rtype: &str, data: &str, text: &mut String) {
    let _ = writeln!(text, "{owner:<23} {ttl:>6} IN {rtype:<5} {data}");
}

/// The SOA's RDATA with another serial: the first of the five numbers that end it.
fn with_serial(rdata: &[u8], serial: u32) -> Vec<u8> {
    let mut octets = rdata.to_vec();
    if let Some(at) = octets.len().checked_sub(20) {
        octets[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(rest: &str, client: &str) -> Vec<String> {
        let place = tempfile::tempdir().unwrap();
        let zone = format!("zone = \"ex.org\"\nttl = 9\n[records]\n\"@\" = {{ NS = \"ns.example.\" }}\n{rest}");
        std::fs::create_dir(place.path().join("zones")).unwrap();
        std::fs::write(place.path().join("zones/ex.toml"), zone).unwrap();
        std::fs::write(place.path().join("rollcall.toml"), "").unwrap();
        let plan = crate::config::load(Some(&place.path().join("rollcall.toml"))).unwrap();
        let text = offline(plan, "ex.org", client.parse().unwrap()).unwrap();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.filter(|line| !line.starts_with(['@', '$']) && !line.contains("as rollcall")).collect()
    }

    #[test]
    fn services_and_backends_elsewhere_are_what_a_client_gets() {
        let zone = r#"
            [pools.web]
            backends = [{ address = "192.0.2.1", port = 443, target = "a" }, { address = "192.0.2.2", port = 443, target = "b" }]
            [pools.cloud]
            backends = [{ cname = "lb.example.", name = "lb" }]
            [pools.both]
            backends = [{ cname = "lb.example.", name = "lb" }, { address = "192.0.2.3" }]
            [names]
            _s = { to = "web", type = "SRV" }
            h = { to = "web", type = "HTTPS", params = "alpn=h2" }
            c = "cloud"
            d = "both"
        "#;
        let lines = export(zone, "127.0.0.1");
        let has = |line: &str| assert!(lines.iter().any(|one| one == line), "{line}\n{lines:#?}");
        has("_s 9 IN SRV 0 1 443 a");
        has("_s 9 IN SRV 0 1 443 b");
        assert!(lines.iter().any(|line| line.starts_with("h 9 IN HTTPS 1 . alpn=\"h2\" ipv4hint=")), "{lines:#?}");
        has("c 9 IN CNAME lb.example.");
        assert_eq!(
            lines.iter().filter(|line| line.contains("IN CNAME lb.example.") && line.starts_with("c ")).count(),
            1
        );
        // An owner has addresses or an alias, whatever else could be answered.
        let of_d: Vec<&String> = lines.iter().filter(|line| line.starts_with("d ")).collect();
        assert_eq!(of_d, ["d 9 IN A 192.0.2.3"]);
    }

    #[test]
    fn routes_answer_the_client_that_is_named() {
        let zone = r#"
            [maps.m]
            networks = { eu = "203.0.113.0/24" }
            [routes.r]
            type = "map"
            map = "m"
            choices = { eu = "eu", default = "us" }
            [pools]
            eu.backends = [{ address = "192.0.2.1" }]
            us.backends = [{ address = "192.0.2.2" }]
            [names]
            w = "r"
        "#;
        assert!(export(zone, "203.0.113.9").contains(&"w 9 IN A 192.0.2.1".to_owned()));
        let lines = export(zone, "127.0.0.1");
        assert!(lines.contains(&"w 9 IN A 192.0.2.2".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"; w A: route r, as it answers 127.0.0.1".to_owned()), "{lines:#?}");
        assert!(lines.contains(&"; w AAAA: route r, answers 127.0.0.1 nothing".to_owned()), "{lines:#?}");
    }
}
