//! Routes through the whole: files, world and `respond()`. Shares are what the closed form says, owners of hashes are the same
//! everywhere, and a verdict moves nobody else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use rollcall::config;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::shares::{Shared, shares};
use rollcall::control::world::World;
use rollcall::engine::client::Client;
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;
use rollcall::engine::{Asker, Transport, respond};

#[path = "support/mmdb.rs"]
mod mmdb;

const HEAD: &str = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n[checks.web]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\n";
const A: u16 = 1;
const AAAA: u16 = 28;

fn now() -> Now {
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO }
}

fn world(zone: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("zones")).unwrap();
    std::fs::write(directory.path().join("zones/lb.toml"), format!("{HEAD}{zone}")).unwrap();
    let server = directory.path().join("rollcall.toml");
    std::fs::write(&server, "[dns]\nudp_workers = 1\n").unwrap();
    let plan = config::load(Some(&server)).unwrap_or_else(|error| panic!("{error}"));
    let mut world = World::new(&Saved::default(), [7; 16], now());
    let prepared = world.prepare(plan, now());
    world.install(prepared, now());
    world
}

fn verdict(world: &mut World, address: &str, passed: bool) {
    let address: IpAddr = address.parse().unwrap();
    let plan = world.plan().clone();
    let at = plan.probes.iter().position(|spec| spec.target.ip() == address).unwrap();
    let id = world.probe_ids()[at];
    world.observe(id, &Outcome { passed, reason: String::new(), latency: Duration::ZERO, said: None }, now());
    world.publish(now());
}

fn name(text: &str) -> Name {
    Name::parse(text, Some(&Name::parse("lb.example.com", Some(&Name::root())).unwrap())).unwrap()
}

/// The first address answered to a client.
fn first(world: &World, owner: &str, client: IpAddr) -> Ipv4Addr {
    let address: [u8; 4] = data_of(world, owner, client, A).remove(0).try_into().unwrap();
    Ipv4Addr::from(address)
}

/// The data of each record answered to a client.
fn data_of(world: &World, owner: &str, client: IpAddr, rtype: u16) -> Vec<Vec<u8>> {
    let name = name(owner);
    let query = [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.as_wire(), &rtype.to_be_bytes(), &[0, 1]].concat();
    let asker = Asker { address: client, transport: Transport::Udp, worker: 0 };
    let mut out = [0; 1232];
    let reply = respond(world.snapshot(), &asker, &query, &mut out);
    let length = if rtype == A { 4 } else { 16 };
    out[query.len()..reply.length].chunks_exact(12 + length).map(|record| record[12..].to_vec()).collect()
}

const TREE: &str = r#"
[pools.plain]
check = "web"
backends = [{ name = "p1", address = "192.0.2.1" }, { name = "p2", address = "192.0.2.2" }]
[pools.uneven]
check = "web"
policy = "weighted"
backends = [
  { name = "u1", address = "192.0.2.11", weight = 7 },
  { name = "u2", address = "192.0.2.12", weight = 2 },
  { name = "u3", address = "192.0.2.13", weight = 0 },
]
[pools.huge]
check = "web"
policy = "weighted"
backends = [{ name = "h1", address = "192.0.2.21", weight = 40000 }, { name = "h2", address = "192.0.2.22", weight = 39999 }]
[pools.owned]
check = "web"
policy = "hash"
backends = [{ name = "o1", address = "192.0.2.31" }, { name = "o2", address = "192.0.2.32" }, { name = "o3", address = "192.0.2.33" }]
[pools.couple]
check = "web"
family = "together"
backends = [{ name = "c1", address = "192.0.2.41" }, { name = "c2", address = "192.0.2.42" }]
[pools.shared]
check = "web"
policy = "weighted"
backends = [{ name = "s1", address = "192.0.2.51", weight = 3 }, { name = "s2", address = "192.0.2.52" }]
[maps.net]
networks = { west = "10.0.0.0/9", east = "10.128.0.0/9" }
[routes.www]
type = "map"
map = "net"
choices = { west = "mixed", east = "best", default = "sticky" }
[routes.best]
type = "failover"
trickle = "2%"
choices = ["uneven", "mixed", "shared"]
[routes.mixed]
type = "weighted"
choices = [{ to = "plain", weight = 5 }, { to = "huge", weight = 2 }, "inner", { to = "owned", weight = 3 }]
[routes.inner]
type = "weighted"
choices = ["shared", "couple", { to = "uneven", weight = 0 }]
[routes.sticky]
type = "hash"
choices = ["mixed", { to = "shared", weight = 4 }]
[names]
www = "www"
"#;

/// Draws answers and compares their first places with the closed form. Each node on the way that draws may stray by two, or
/// by three where the weights are huge.
fn shares_hold(world: &World, client: &str, draws: u32) {
    let address: IpAddr = client.parse().unwrap();
    let (zone, owner) = (name("@"), name("www"));
    let asker = Shared { client: Client::source(address), question: &owner, over_clients: false };
    let expected = shares(world, &zone, &owner, A, &asker, &[]).expect("a balanced name");
    let sum: f64 = expected.iter().map(|(_, share)| share).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{client}: {expected:?}");
    let mut counts: HashMap<String, u32> = HashMap::new();
    for _ in 0..draws {
        *counts.entry(first(world, "www", address).to_string()).or_default() += 1;
    }
    let plan = world.plan();
    let of = |id: &str| {
        let backends = plan.pools.iter().flat_map(|pool| &pool.backends);
        let found = backends.into_iter().find(|one| id.ends_with(&format!("/{}", one.name))).expect("a backend");
        found.v4.expect("an address").to_string()
    };
    for (id, share) in &expected {
        let seen = f64::from(counts.remove(&of(id)).unwrap_or(0));
        let strayed = (seen - share * f64::from(draws)).abs();
        // At most four levels draw: two routes that nest, and the pool; the huge one by three.
        assert!(strayed <= 9.0, "{client}, {id}: {seen} of {draws}, {strayed:.1} off {share}");
    }
    assert!(counts.is_empty(), "{client}: answered without a share: {counts:?}");
}

#[test]
fn shares_through_routes_are_what_the_closed_form_says() {
    let mut world = world(TREE);
    for client in ["10.0.0.1", "10.128.0.1", "172.16.0.1", "172.16.1.1", "172.16.2.1", "2001:db8::1"] {
        shares_hold(&world, client, 100_000);
    }
    // And with some down: the closed form of what is only thought of is that of what then is.
    let (zone, owner) = (name("@"), name("www"));
    let client = Client::source("10.128.0.1".parse().unwrap());
    let asker = Shared { client, question: &owner, over_clients: false };
    let down =
        ["uneven/u1", "uneven/u2", "plain/p1", "couple/c1", "couple/c2"].map(|id| format!("lb.example.com/{id}"));
    let thought = shares(&world, &zone, &owner, A, &asker, &down).unwrap();
    for address in ["192.0.2.11", "192.0.2.12", "192.0.2.1", "192.0.2.41", "192.0.2.42"] {
        verdict(&mut world, address, false);
    }
    assert_eq!(shares(&world, &zone, &owner, A, &asker, &[]).unwrap(), thought);
    for client in ["10.0.0.1", "10.128.0.1", "172.16.0.1"] {
        shares_hold(&world, client, 20_000);
    }
}

#[test]
fn two_clients_in_turn_do_not_share_a_counter() {
    let world = world(
        r#"
[pools.west]
backends = [{ address = "192.0.2.1" }, { address = "192.0.2.2" }]
[pools.east]
backends = [{ address = "192.0.2.11" }, { address = "192.0.2.12" }]
[maps.net]
networks = { west = "10.0.0.0/9" }
[routes.www]
type = "map"
map = "net"
choices = { west = "west", default = "east" }
[names]
www = "www"
"#,
    );
    let mut seen: HashMap<Ipv4Addr, u32> = HashMap::new();
    for _ in 0..100 {
        for client in ["10.0.0.1", "172.16.0.1"] {
            *seen.entry(first(&world, "www", client.parse().unwrap())).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 4);
    assert!(seen.values().all(|&count| count == 50), "{seen:?}");
}

const HASHED: &str = r#"
[pools.web]
check = "web"
policy = "hash"
backends = [
  { name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2", weight = 3 },
  { name = "c", address = "192.0.2.3" }, { name = "d", address = "192.0.2.4", weight = 2 },
]
[names]
www = "web"
"#;

fn owners(world: &World) -> Vec<Ipv4Addr> {
    (0..100_000u32).map(|network| first(world, "www", IpAddr::from(((network * 31) << 8).to_be_bytes()))).collect()
}

#[test]
fn a_verdict_moves_only_the_clients_of_the_backend_and_they_come_back() {
    let mut world = world(HASHED);
    let before = owners(&world);
    verdict(&mut world, "192.0.2.2", false);
    let gone = Ipv4Addr::new(192, 0, 2, 2);
    let without = owners(&world);
    let moved = before.iter().zip(&without).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(before, _)| *before == gone));
    assert_eq!(moved.count(), before.iter().filter(|owner| **owner == gone).count());
    verdict(&mut world, "192.0.2.2", true);
    assert_eq!(owners(&world), before);
}

/// A choice that loses in one hash is not the loser of the next: names that come again are drawn anew.
#[test]
fn hashes_behind_each_other_are_independent() {
    let world = world(
        r#"
[pools.a]
policy = "hash"
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }]
[pools.b]
policy = "hash"
backends = [{ name = "a", address = "192.0.2.3" }, { name = "b", address = "192.0.2.4" }]
[routes.outer]
type = "hash"
choices = ["inner", { to = "a", weight = 1 }]
[routes.inner]
type = "hash"
choices = ["a", "b"]
[names]
www = "outer"
"#,
    );
    let mut counts: HashMap<u8, f64> = HashMap::new();
    owners(&world).iter().for_each(|owner| *counts.entry(owner.octets()[3]).or_default() += 1.0);
    let owner = name("www");
    let client = Client::source(IpAddr::from([127, 0, 0, 1]));
    let asker = Shared { client, question: &owner, over_clients: true };
    let expected = shares(&world, &name("@"), &owner, A, &asker, &[]).unwrap();
    assert_eq!(expected.iter().map(|(_, share)| *share).collect::<Vec<_>>(), [0.375, 0.375, 0.125, 0.125]);
    for ((id, share), last) in expected.iter().zip(1u8..) {
        let (seen, wanted) = (counts[&last], share * 100_000.0);
        // Five standard deviations of a binomial count.
        assert!((seen - wanted).abs() < 5.0 * wanted.sqrt(), "{id}: {seen}, not {wanted}");
    }
}

/// Set for the second process of the test below.
const SECOND: &str = "ROLLCALL_TEST_OWNERS";

#[test]
fn two_processes_give_every_client_the_same_owner() {
    let line: String = owners(&world(HASHED)).iter().map(|owner| owner.octets()[3].to_string()).collect();
    if std::env::var_os(SECOND).is_some() {
        println!("owners {line}");
        return;
    }
    let other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_processes_give_every_client_the_same_owner", "--nocapture"])
        .env(SECOND, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stdout);
    let told = said.lines().find_map(|said| Some(said.split_once("owners ")?.1)).expect("the other process says");
    assert_eq!(told.trim(), line);
}

/// What loading a zone with that database says, a line each.
fn said_of_database(octets: &[u8], choices: &str) -> (bool, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let zones = directory.path().join("zones");
    std::fs::create_dir(&zones).unwrap();
    std::fs::write(zones.join("geo.mmdb"), octets).unwrap();
    let zone = format!(
        "{HEAD}[pools.a]\nbackends = [{{ address = \"192.0.2.1\" }}]\n[maps.m]\ngeoip = \"geo.mmdb\"\n\
         [routes.r]\ntype = \"map\"\nmap = \"m\"\nchoices = {{ {choices}, default = \"a\" }}\n[names]\nwww = \"r\"\n"
    );
    std::fs::write(zones.join("lb.toml"), zone).unwrap();
    let server = directory.path().join("rollcall.toml");
    std::fs::write(&server, "").unwrap();
    let lines = |all: &[config::diagnostic::Diagnostic]| {
        let prefix = format!("{}/", directory.path().display());
        all.iter().map(|one| one.to_string().replace(&prefix, "")).collect::<Vec<_>>()
    };
    match config::load(Some(&server)) {
        Ok(plan) => {
            assert!(plan.server.watched.contains(&zones.join("geo.mmdb")), "the database is watched");
            (true, lines(&plan.warnings))
        }
        Err(error) => (false, lines(&error.diagnostics)),
    }
}

#[test]
fn what_is_wrong_with_a_database_is_said_with_its_place() {
    let place = mmdb::Place { path: "EU/DE/BY/Munich".to_owned(), ..mmdb::Place::default() };
    let places = [("192.0.2.0/24".parse().unwrap(), place)];
    let good = mmdb::database(&places);
    assert_eq!(said_of_database(&good, "\"EU/DE\" = \"a\""), (true, vec![]));
    assert_eq!(
        said_of_database(&good, "\"EU/DE/BY/Munch\" = \"a\""),
        (
            true,
            vec![
                "zones/lb.toml:16:13: warning: no network of the databases is in \"EU/DE/BY/Munch\": this choice answers nobody; did you mean \"EU/DE/BY/Munich\"?"
                    .to_owned()
            ]
        )
    );
    let (loaded, said) = said_of_database(&good, "\"EU/GER\" = \"a\"");
    assert!(!loaded && said[0].starts_with("zones/lb.toml:16:13: error: the map has no region \"EU/GER\""), "{said:?}");
    assert!(said[0].ends_with("\"asn:64500\""), "the forms are told: {said:?}");
    let (loaded, said) = said_of_database(b"no database", "NA = \"a\"");
    assert!(
        !loaded && said[0].starts_with("zones/lb.toml:12:9: error: zones/geo.mmdb is no MaxMind database"),
        "{said:?}"
    );
    // The pointer to the data of the only network leads nowhere.
    let mut damaged = good.clone();
    let at = damaged.windows(16).position(|window| window == [0; 16]).unwrap();
    damaged[at + 16..at + 24].fill(0xff);
    let (loaded, said) = said_of_database(&damaged, "NA = \"a\"");
    assert!(!loaded && said[0].contains("geo.mmdb is damaged, or no GeoIP2 database"), "{said:?}");
}

/// A query costs its look-ups, a load what the database holds: a million networks in seconds.
#[test]
#[ignore = "takes a while; run with --ignored --nocapture to see the times"]
fn a_large_database_loads() {
    let places: Vec<_> = (0..1_000_000u32)
        .map(|number| {
            let network = ipnet::Ipv4Net::new(Ipv4Addr::from((11 << 24) + (number << 8)), 24).unwrap();
            let path =
                format!("{}/C{}/S{}/T{}", ["EU", "NA"][number as usize % 2], number % 7, number % 31, number % 1000);
            let at = Some((f64::from(number % 180) - 90.0, f64::from(number % 360) - 180.0));
            (ipnet::IpNet::V4(network), mmdb::Place { path, at, asn: None })
        })
        .collect();
    let octets = mmdb::database(&places);
    let begin = std::time::Instant::now();
    let said = said_of_database(&octets, "EU = \"a\", NA = \"a\"");
    println!("{} octets, {:?}, {:?}", octets.len(), begin.elapsed(), said);
    assert!(said.0);
}

/// Pools below two routes that draw; some of them answer both families together.
const TOGETHER: &str = r#"
[pools.one]
check = "web"
family = "together"
policy = "weighted"
answers = 2
backends = [
  { name = "a", address = ["192.0.2.1", "2001:db8::1"], weight = 3 },
  { name = "b", address = ["192.0.2.2", "2001:db8::2"] },
  { name = "c", address = ["192.0.2.3", "2001:db8::3"] },
]
[pools.two]
check = "web"
family = "together"
backends = [{ name = "d", address = ["192.0.2.4", "2001:db8::4"] }, { name = "e", address = ["192.0.2.5", "2001:db8::5"] }]
[pools.three]
check = "web"
family = "together"
policy = "hash"
backends = [{ name = "f", address = ["192.0.2.6", "2001:db8::6"] }, { name = "g", address = ["192.0.2.7", "2001:db8::7"] }]
[routes.www]
type = "weighted"
choices = [{ to = "inner", weight = 3 }, { to = "canary", weight = 1 }]
[routes.inner]
type = "weighted"
choices = [{ to = "one", weight = 2 }, "two", { to = "three", weight = 0 }]
[routes.canary]
type = "failover"
trickle = "10%"
choices = ["three", "two"]
[names]
www = "www"
"#;

/// Pairs of questions from many networks: the hosts agree in both families, and shares hold over the networks, within five
/// standard deviations of a fair draw.
#[test]
fn a_and_aaaa_name_the_same_hosts_through_routes_that_draw() {
    const NETWORKS: u32 = 8_000;
    let mut world = world(TOGETHER);
    let together = |world: &World| {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for number in 0..NETWORKS {
            let octets = number.wrapping_mul(2_654_435_761).to_be_bytes();
            let client = match number % 2 {
                0 => IpAddr::from([10, octets[1], octets[2], octets[3]]),
                _ => IpAddr::from([0x2001, 0xdb8, number as u16, 0, 0, 0, 0, 1]),
            };
            // Whatever others ask between the two.
            first(world, "www", IpAddr::from([192, 0, 2, number as u8]));
            let (v4, v6) = (data_of(world, "www", client, A), data_of(world, "www", client, AAAA));
            let last = |all: &[Vec<u8>]| -> Vec<u8> { all.iter().map(|data| data[data.len() - 1]).collect() };
            assert!(!v4.is_empty());
            assert_eq!(last(&v4), last(&v6), "{client}");
            assert_eq!(v4, data_of(world, "www", client, A), "{client}");
            *counts.entry(format!("192.0.2.{}", v4[0][3])).or_default() += 1;
        }
        let (zone, owner) = (name("@"), name("www"));
        let client = Client::source(IpAddr::from([192, 0, 2, 1]));
        let asker = Shared { client, question: &owner, over_clients: true };
        for (id, share) in shares(world, &zone, &owner, A, &asker, &[]).unwrap() {
            let backends = world.plan().pools.iter().flat_map(|pool| pool.backends.clone());
            let backend = backends.into_iter().find(|one| id.ends_with(&format!("/{}", one.name))).unwrap();
            let seen = f64::from(counts.remove(&backend.v4.unwrap().to_string()).unwrap_or(0));
            let all = f64::from(NETWORKS);
            let strayed = (seen - share * all).abs();
            assert!(strayed <= 5.0 * (share * (1.0 - share) * all).sqrt(), "{id}: {seen} of {all}, not {share}");
        }
        assert!(counts.is_empty(), "{counts:?}");
    };
    together(&world);
    // One address of a host fails: both families leave it.
    verdict(&mut world, "2001:db8::1", false);
    together(&world);
    for address in ["192.0.2.2", "2001:db8::3", "192.0.2.4", "192.0.2.5"] {
        verdict(&mut world, address, false);
    }
    together(&world);
}
