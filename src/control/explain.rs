//! Which answer a client gets, and every step that led to it. The answer itself comes from the engine, by the same door
//! as any query; the steps are read from the same world.

use std::collections::BTreeSet;
use std::net::IpAddr;

use domain::base::name::ToName;
use domain::base::opt::ClientSubnet;
use domain::base::wire::ParseError;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt};
use domain::base::{Message, ParsedName};
use domain::rdata::ZoneRecordData;
use ipnet::IpNet;

use super::ControlError;
use super::program::Levels;
use super::shares::{self, Shared};
use super::steps::Steps;
use super::view::{ExplainQuery, Explanation, Share};
use super::world::{World, slot_of};
use super::zone_text;
use crate::config::plan::NamePlan;
use crate::engine::client::Client;
use crate::engine::name::{Name, labels, presentation};
use crate::engine::query::QueryName;
use crate::engine::rrtype;
use crate::engine::zone::{Found, SetData, records};
use crate::engine::{Asker, MAX_REPLY, Transport, respond};

/// Links that the steps follow, as the engine does.
const LINKS: usize = 17;

/// Explains one question.
pub(crate) fn explain(world: &World, query: &ExplainQuery) -> Result<Explanation, ControlError> {
    let invalid = |text: String| ControlError::Invalid(text);
    let name = Name::parse(&query.name, Some(&Name::root()))
        .map_err(|error| invalid(format!("\"{}\" is no name: {error}", query.name)))?;
    let type_text = query.rtype.as_deref().unwrap_or("A");
    let rtype = rrtype::parse(type_text).ok_or_else(|| invalid(format!("\"{type_text}\" is no record type")))?;
    let network: IpNet = match &query.client {
        None => IpAddr::from([127, 0, 0, 1]).into(),
        Some(text) => text
            .parse::<IpAddr>()
            .map(IpNet::from)
            .or_else(|_| text.parse::<IpNet>())
            .map_err(|_| invalid(format!("\"{text}\" is no IP address and no network")))?,
    };
    let client = Client::network(network.trunc().addr(), network.prefix_len());
    let snapshot = world.snapshot();
    let worker = snapshot.draws.len().saturating_sub(1);
    let asker = Asker { address: network.addr(), transport: Transport::Tcp, worker };
    let mut out = vec![0; MAX_REPLY];
    let reply = respond(snapshot, &asker, &question(&name, rtype, network), &mut out);
    let answer = answer_text(&out[..reply.length])
        .map_err(|error| ControlError::Failed(format!("the reply could not be read back: {error}")))?;
    let bits = scope_of(&out[..reply.length]).unwrap_or(0);
    let scope = IpNet::new(network.addr(), bits).ok().filter(|_| bits > 0).map(|scope| scope.trunc().to_string());
    let mut steps = vec![match &scope {
        None => format!("client {network}: every client gets this answer"),
        Some(scope) => format!("client {network}: the clients of {scope} get this answer"),
    }];
    if let Some(freeze) = world.freeze() {
        steps.push(format!("health is frozen since {}: {}", super::status::time_text(freeze.since), freeze.reason));
    }
    let zone = zone_of(world, &name, rtype);
    let mut exists = false;
    let mut balanced = None;
    match zone {
        None => steps.push(format!("no zone here holds {name}: REFUSED")),
        Some(number) => {
            let plan = &world.plan().zones[number];
            let serial = snapshot.zones.get(number as u32).map_or(0, |zone| zone.soa.serial());
            steps.push(format!("zone {} ({}), serial {serial}", zone_text(&plan.origin), plan.file.display()));
            (exists, balanced) = walk(world, number, &name, rtype, &client, &mut steps);
        }
    }
    let shares = match (query.shares, balanced) {
        (false, _) => None,
        (true, None) => {
            return Err(invalid(format!("{name} {} is not answered by a pool: it has no shares", rrtype::text(rtype))));
        }
        (true, Some(balanced)) => {
            let named: Vec<&str> = query.down.iter().flat_map(|text| text.split(',')).collect();
            let down = world.backends_named(&named).map_err(invalid)?;
            let asker = Shared { client, question: &name, over_clients: query.client.is_none() };
            Some(ranked(shares::of_name(world, balanced, &asker, &down)))
        }
    };
    Ok(Explanation {
        question: format!("{name} {}", rrtype::text(rtype)),
        zone: zone.map(|number| zone_text(&world.plan().zones[number].origin)),
        exists,
        rcode: rcode_text(reply.rcode),
        answer,
        steps,
        scope,
        shares,
    })
}

/// The query of that network: its address as a client subnet, so that the reply tells its scope.
fn question(name: &Name, rtype: u16, network: IpNet) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    message.extend_from_slice(name.as_wire());
    message.extend_from_slice(&rtype.to_be_bytes());
    message.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    let (family, octets) = match network.trunc().addr() {
        IpAddr::V4(address) => (1u16, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let octets = &octets[..usize::from(network.prefix_len()).div_ceil(8)];
    let length = (4 + octets.len()) as u16;
    // OPT, 1232 octets, and in it option 8 (RFC 7871 6).
    message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0]);
    message.extend_from_slice(&(length + 4).to_be_bytes());
    message.extend_from_slice(&[0, 8]);
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&family.to_be_bytes());
    message.extend_from_slice(&[network.prefix_len(), 0]);
    message.extend_from_slice(octets);
    message
}

/// SCOPE PREFIX-LENGTH of the reply.
fn scope_of(reply: &[u8]) -> Option<u8> {
    let message = Message::from_octets(reply).ok()?;
    let opt = message.opt()?;
    opt.opt().iter::<ClientSubnet>().find_map(Result::ok).map(|subnet| subnet.scope_prefix_len())
}

/// The largest first.
fn ranked(shares: Vec<(String, f64)>) -> Vec<Share> {
    let mut shares: Vec<Share> = shares.into_iter().map(|(backend, share)| Share { backend, share }).collect();
    shares.sort_by(|one, two| two.share.total_cmp(&one.share).then_with(|| one.backend.cmp(&two.backend)));
    shares
}

/// The answer section as a master file has it (RFC 1035 5.1, RFC 3597 5).
fn answer_text(reply: &[u8]) -> Result<Vec<String>, ParseError> {
    let message = Message::from_octets(reply).map_err(|_| ParseError::ShortInput)?;
    let records = message.answer()?.limit_to::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>();
    records
        .map(|record| {
            let record = record?;
            let owner = presentation(record.owner().to_vec().as_slice());
            let data = record.data().display_zonefile(DisplayKind::Simple);
            let rtype = rrtype::text(record.rtype().to_int());
            Ok(format!("{owner} {} IN {rtype} {data}", record.ttl().as_secs()))
        })
        .collect()
}

fn zone_of(world: &World, name: &Name, rtype: u16) -> Option<usize> {
    let apexes = &world.snapshot().apexes;
    let skip = usize::from(rtype == rrtype::DS && apexes.exact(name.as_wire()).is_some() && !name.is_root());
    let find = |skip| name.ancestors().skip(skip).find_map(|suffix| apexes.exact(suffix)).map(|zone| zone as usize);
    find(skip).or_else(|| find(0))
}

/// Says what each name of the chain is; returns whether the first exists, and the balanced name that the chain ends in.
fn walk<'w>(
    world: &'w World,
    zone: usize,
    question: &Name,
    rtype: u16,
    client: &Client,
    steps: &mut Vec<String>,
) -> (bool, Option<&'w NamePlan>) {
    let plan = &world.plan().zones[zone];
    let data = &plan.data;
    let mut name = question.clone();
    let mut exists = false;
    for link in 0..LINKS {
        let mut asked = QueryName::empty();
        if asked.read(name.as_wire()).is_none() {
            break;
        }
        let found = data.lookup(asked.wire(), asked.starts(), rtype);
        exists |= link == 0 && found != Found::NxDomain;
        match found {
            Found::NxDomain => {
                steps.push(format!("{name} does not exist, and no wildcard covers it: NXDOMAIN"));
                return (exists, None);
            }
            Found::Delegation(cut) => {
                let cut = presentation(&data.wire_of(cut));
                steps.push(format!("{name} is at or below the delegation {cut}: a referral to its name servers"));
                return (exists, None);
            }
            Found::Dname(at) => {
                let above = presentation(&data.wire_of(at));
                let Some(target) = data.set(at, rrtype::DNAME).and_then(|set| first_rdata(data.data(set))) else {
                    return (exists, None);
                };
                let keep = name.label_count() - labels(&data.wire_of(at)).count();
                let mut wire: Vec<u8> = Vec::new();
                for label in labels(name.as_wire()).take(keep) {
                    wire.push(label.len() as u8);
                    wire.extend_from_slice(label);
                }
                wire.extend_from_slice(target);
                let Ok(next) = Name::from_wire(&wire) else {
                    steps.push(format!("{name}: the DNAME at {above} makes a name that is too long: YXDOMAIN"));
                    return (exists, None);
                };
                steps.push(format!("{name}: the DNAME at {above} leads to {next}"));
                name = next;
            }
            Found::Node(id) => {
                let owner = data.wire_of(id);
                if owner != name.as_wire() {
                    let wildcard = presentation(&owner);
                    steps.push(format!("{name} does not exist; the wildcard {wildcard} stands for it"));
                }
                if let Some(set) = data.set(id, rtype) {
                    match data.data(set) {
                        SetData::Balanced(index) => {
                            let balanced = &plan.names[index as usize];
                            let levels = Levels::new(world.health(slot_of(balanced.rtype)));
                            let told = BTreeSet::new();
                            Steps { world, name: balanced, client, question, lines: steps, levels, told }.say(&name);
                            return (exists, Some(balanced));
                        }
                        SetData::Static(_) => steps.push(format!(
                            "{name} {}: {} static record{}",
                            rrtype::text(rtype),
                            set.count(),
                            if set.count() == 1 { "" } else { "s" }
                        )),
                    }
                    return (exists, None);
                }
                let Some(target) = data.set(id, rrtype::CNAME).and_then(|set| first_rdata(data.data(set))) else {
                    steps.push(format!("{name} has no {} record: NODATA", rrtype::text(rtype)));
                    return (exists, None);
                };
                let Ok(next) = Name::from_wire(target) else { return (exists, None) };
                steps.push(format!("{name} is an alias of {next}"));
                name = next;
            }
        }
        if !name.is_at_or_below(&plan.origin) {
            steps.push(format!("{name} is outside the zone: the resolver goes on from there"));
            return (exists, None);
        }
    }
    steps.push("the chain is longer than 16 links: answered so far".to_owned());
    (exists, None)
}

fn first_rdata(data: SetData<'_>) -> Option<&[u8]> {
    match data {
        SetData::Static(octets) => records(octets).next().map(|record| record.rdata),
        SetData::Balanced(_) => None,
    }
}

/// The RCODE as people write it.
pub(super) fn rcode_text(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        6 => "YXDOMAIN".to_owned(),
        9 => "NOTAUTH".to_owned(),
        16 => "BADVERS".to_owned(),
        23 => "BADCOOKIE".to_owned(),
        other => format!("RCODE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply with one answer record, whose owner is the question's name.
    fn reply(owner: &str, rtype: u16, data: &[u8]) -> Vec<u8> {
        let name = Name::parse(owner, Some(&Name::root())).unwrap();
        let mut reply = vec![0, 0, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        reply.extend_from_slice(name.as_wire());
        reply.extend([rtype.to_be_bytes(), [0, 1], [0xc0, 12], rtype.to_be_bytes(), [0, 1], [0, 0], [0, 30]].concat());
        reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend_from_slice(data);
        reply
    }

    #[test]
    fn answers_are_said_as_master_files_have_them() {
        for (owner, rtype, data, expected) in [
            ("www.a.test.", 1, b"\xc0\0\x02\x01".as_slice(), "www.a.test. 30 IN A 192.0.2.1"),
            ("al.a.test.", 5, b"\x01x\xc0\x0f", "al.a.test. 30 IN CNAME x.a.test."),
            (r"\000\255x.a\.b.test.", 1, b"\xc0\0\x02\x01", r"\000\255x.a\.b.test. 30 IN A 192.0.2.1"),
            ("odd.test.", 65280, b"\x0a\0\0\x01", r"odd.test. 30 IN TYPE65280 \# 4 0a 00 00 01"),
            ("t.test.", 16, b"\x03a b\x01\"", r#"t.test. 30 IN TXT "a b" "\"""#),
            ("any.test.", 13, b"\x07RFC8482\0", r#"any.test. 30 IN HINFO "RFC8482" """#),
        ] {
            assert_eq!(answer_text(&reply(owner, rtype, data)).unwrap(), [expected]);
        }
    }

    fn world(zone: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        let head = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n";
        std::fs::create_dir(directory.path().join("zones")).unwrap();
        std::fs::write(directory.path().join("zones/lb.toml"), format!("{head}{zone}")).unwrap();
        let server = directory.path().join("rollcall.toml");
        std::fs::write(&server, "").unwrap();
        let plan = crate::config::load(Some(&server)).unwrap_or_else(|error| panic!("{error}"));
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        let now = crate::control::Now { wall: time, mono: std::time::Duration::ZERO };
        let mut world = World::new(&crate::control::memory::Saved::default(), [7; 16], now);
        let prepared = world.prepare(plan, now);
        world.install(prepared, now);
        world
    }

    fn ask(world: &World, client: &str, shares: bool, down: Option<&str>) -> Explanation {
        let name = "www.lb.example.com".to_owned();
        let down = down.map(str::to_owned);
        explain(world, &ExplainQuery { name, rtype: None, client: Some(client.to_owned()), shares, down }).unwrap()
    }

    #[test]
    fn every_step_of_a_route_is_told() {
        let world = world(
            r#"
[pools.eu]
backends = [{ name = "eu1", address = "192.0.2.1", state = "down" }]
[pools.us]
backends = [{ name = "us1", address = "192.0.2.2" }, { name = "us2", address = "192.0.2.3" }]
[pools.canary]
policy = "hash"
backends = [{ name = "c1", address = "192.0.2.4" }]
[maps.net]
networks = { eu = "10.0.0.0/9" }
[routes.www]
type = "map"
map = "net"
choices = { eu = "eu", default = "split" }
[routes.split]
type = "weighted"
choices = [{ to = "us", weight = 9 }, "canary"]
[names]
www = "www"
"#,
        );
        let told = ask(&world, "10.1.2.0/24", true, None);
        let wanted = [
            "client 10.1.2.0/24: the clients of 10.1.2.0/24 get this answer",
            "www.lb.example.com. A is led by route www (map): 10.0.0.0/9 is in region eu of map net",
            "  eu is left: no backend of it may be answered",
            "  split is led by route split (weighted)",
            "    shares of the answers: us 90.0 %, canary 10.0 %",
            "    answers from pool us (policy round-robin, at most 8 addresses)",
            "    first place: us1 50.0 %, us2 50.0 %",
            "    answers from pool canary (policy hash of the client's network 10.1.2.0/24, at most 1 address)",
            "    TTL 30",
        ];
        for line in &wanted[1..] {
            assert!(told.steps.iter().any(|step| step == line), "{line:?} is missing in {:#?}", told.steps);
        }
        let shares: Vec<(String, f64)> =
            told.shares.unwrap().into_iter().map(|one| (one.backend, (one.share * 1000.0).round())).collect();
        let id = |rest: &str| format!("lb.example.com/{rest}");
        assert_eq!(shares, [(id("us/us1"), 450.0), (id("us/us2"), 450.0), (id("canary/c1"), 100.0)]);
        let thought = ask(&world, "10.1.2.0/24", true, Some("us1,lb.example.com/canary/*")).shares.unwrap();
        assert_eq!(thought, [Share { backend: id("us/us2"), share: 1.0 }]);
        let statuses = super::super::routes::statuses(&world, &world.of_zones[0]);
        let seen: Vec<String> =
            statuses.iter().map(|route| format!("{} {} {}", route.route, route.kind, route.state)).collect();
        assert_eq!(seen, ["split weighted alive", "www map alive"]);
        assert_eq!((statuses[1].choices[0].by.as_str(), statuses[1].choices[0].state.as_str()), ("eu", "failed"));
    }

    /// Types that speak of hosts as a whole are told of like addresses, and have shares.
    #[test]
    fn services_and_backends_elsewhere_are_told_of() {
        let world = world(
            "[checks.web]\ntype = \"tcp\"\nport = 80\n[checks.vendor]\ntype = \"tcp\"\ntarget = \"192.0.2.9:443\"\n\
             [pools.a]\ncheck = \"web\"\nbackends = [\n\
             { name = \"one\", address = [\"192.0.2.1\", \"2001:db8::1\"], port = 80, target = \"one\", weight = 3 },\n\
             { name = \"two\", cname = \"lb.vendor.net.\", port = 443, check = \"vendor\" }]\n\
             [names]\nsrv = { to = \"a\", type = \"SRV\" }\na = { to = \"a\", type = \"A\" }\n",
        );
        let told = |rtype: &str| {
            let name = format!("{}.lb.example.com", rtype.to_lowercase());
            let client = Some("192.0.2.77".to_owned());
            explain(&world, &ExplainQuery { name, rtype: Some(rtype.to_owned()), client, shares: true, down: None })
                .unwrap()
        };
        for (rtype, lines) in [
            (
                "SRV",
                [
                    "  one 192.0.2.1 2001:db8::1 tier 0 weight 3: unknown, check web: no result yet, counts as up",
                    "  two lb.vendor.net. tier 0 weight 1: unknown, check vendor: no result yet, counts as up",
                ],
            ),
            (
                "A",
                [
                    "  one 192.0.2.1 tier 0 weight 3: unknown, check web: no result yet, counts as up",
                    "  two lb.vendor.net. tier 0 weight 1: unknown, check vendor: no result yet, counts as up",
                ],
            ),
        ] {
            let told = told(rtype);
            for line in lines {
                assert!(told.steps.iter().any(|step| step == line), "{line:?} is missing in {:#?}", told.steps);
            }
            let shares: Vec<f64> = told.shares.unwrap().iter().map(|one| one.share).collect();
            assert_eq!(shares, if rtype == "SRV" { [0.75, 0.25] } else { [0.5, 0.5] });
        }
    }

    #[test]
    fn the_network_that_shares_the_answer_is_told() {
        let world = world(
            "[pools.a]\nbackends = [{ address = \"192.0.2.1\" }]\n[pools.b]\nbackends = [{ address = \"192.0.2.2\" }]\n[maps.m]\nnetworks = { x = \"10.0.0.0/9\" }\n[routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = { x = \"a\", default = \"b\" }\n[names]\nwww = \"r\"\n",
        );
        let told = ask(&world, "10.1.2.3", false, None);
        assert_eq!((told.scope.as_deref(), told.shares), (Some("10.0.0.0/9"), None));
        assert_eq!(told.steps[0], "client 10.1.2.3/32: the clients of 10.0.0.0/9 get this answer");
        // As far as no IPv4 client is: Teredo is 2001::/32.
        assert_eq!(ask(&world, "2001:db8::1", false, None).scope.as_deref(), Some("2001:800::/21"));
    }

    /// Sixteen routes behind each other, each naming the next one in two ways.
    #[test]
    fn a_route_to_which_many_ways_lead_is_told_once() {
        let mut zone = "[pools.a]\nbackends = [{ address = \"192.0.2.1\" }]\n".to_owned();
        for layer in 0..8 {
            for side in ["x", "y"] {
                let next = if layer == 7 { "a".to_owned() } else { format!("s{}", layer + 1) };
                zone += &format!("[routes.{side}{layer}]\ntype = \"failover\"\nchoices = [{next:?}]\n");
            }
            zone += &format!("[routes.s{layer}]\ntype = \"weighted\"\nchoices = [\"x{layer}\", \"y{layer}\"]\n");
        }
        let told = ask(&world(&format!("{zone}[names]\nwww = \"s0\"\n")), "10.1.2.3", true, None);
        assert!(
            told.steps.iter().any(|step| step.contains("s7 is led by route s7, as said above")),
            "{:#?}",
            told.steps
        );
        assert!(told.steps.len() < 100, "{:#?}", told.steps);
    }
}
