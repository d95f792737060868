//! Routes that lead to the same by very many ways: each is looked at once, when loading, publishing and telling. Sixteen layers
//! of eight routes, each of which names all of the next layer, are 8^15 ways.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use rollcall::config;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::shares::{Shared, shares};
use rollcall::control::world::World;
use rollcall::engine::client::Client;
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;
use rollcall::engine::{Asker, Transport, respond};

const LAYERS: usize = 16;
const WIDTH: usize = 8;
/// Far above what it takes, and far below one way after the other.
const PROMPTLY: Duration = Duration::from_secs(20);

fn now(seconds: u64) -> Now {
    let mono = Duration::from_secs(seconds);
    Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono, mono }
}

/// Layers of routes of every kind above two pools; `below`: what the last layer names.
fn zone(layers: usize, width: usize, below: &str) -> String {
    let mut zone = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n[checks.web]\ntype = \"tcp\"\nport = 80\nfall = 1\n".to_owned();
    zone += "[maps.net]\nnetworks = { x = \"10.0.0.0/8\" }\n";
    for pool in ["one", "two"] {
        let last = if pool == "one" { 1 } else { 2 };
        write!(
            zone,
            "[pools.{pool}]\ncheck = \"web\"\nttl = {{ max = 60, min = 5 }}\n\
             backends = [{{ address = \"192.0.2.{last}\" }}]\n"
        )
        .unwrap();
    }
    for layer in 0..layers {
        for number in 0..width {
            let next: Vec<String> = match layer + 1 == layers {
                true => below.split(' ').map(|name| format!("{name:?}")).collect(),
                false => (0..width).map(|next| format!("\"r{}-{next}\"", layer + 1)).collect(),
            };
            writeln!(zone, "[routes.r{layer}-{number}]").unwrap();
            let choices = next.join(", ");
            match (layer + number) % 4 {
                0 => write!(zone, "type = \"failover\"\nchoices = [{choices}]\n"),
                1 => write!(zone, "type = \"weighted\"\nchoices = [{choices}]\n"),
                2 => write!(zone, "type = \"hash\"\nchoices = [{choices}]\n"),
                _ => write!(
                    zone,
                    "type = \"map\"\nmap = \"net\"\nfence = true\nchoices = {{ x = {}, default = {} }}\n",
                    next[0],
                    next[next.len() - 1]
                ),
            }
            .unwrap();
        }
    }
    zone + "[names]\nwww = \"r0-0\"\nalso = \"r0-1\"\n"
}

fn load(zone: &str) -> Result<config::plan::Plan, String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("zones")).unwrap();
    std::fs::write(directory.path().join("zones/lb.toml"), zone).unwrap();
    let server = directory.path().join("rollcall.toml");
    std::fs::write(&server, "[dns]\nudp_workers = 1\n[checker]\ndoubt = \"off\"\n").unwrap();
    config::load(Some(&server)).map_err(|error| error.to_string())
}

fn answers(world: &World) -> (u8, u32) {
    let name = Name::parse("www.lb.example.com", Some(&Name::root())).unwrap();
    let query = [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name.as_wire(), &[0, 1, 0, 1]].concat();
    let asker = Asker { address: IpAddr::from([10, 0, 0, 1]), transport: Transport::Udp, worker: 0 };
    let mut out = [0; 1232];
    let reply = respond(world.snapshot(), &asker, &query, &mut out);
    let ttl = &out[query.len() + 6..query.len() + 10];
    (out[reply.length - 1], u32::from_be_bytes(ttl.try_into().unwrap()))
}

#[test]
fn layers_of_routes_are_loaded_published_and_told_promptly() {
    let begun = Instant::now();
    let plan = load(&zone(LAYERS, WIDTH, "one two")).unwrap();
    let mut world = World::new(&Saved::default(), [7; 16], now(0));
    let prepared = world.prepare(plan, now(0));
    world.preview(&prepared, now(0));
    world.install(prepared, now(0));
    let probes: Vec<_> = world.probe_ids().to_vec();
    let observe = |world: &mut World, at: usize, passed: bool, seconds: u64| {
        let outcome = Outcome { passed, reason: String::new(), latency: Duration::ZERO, said: None };
        world.observe(probes[at], &outcome, now(seconds));
        world.publish(now(seconds));
    };
    (0..probes.len()).for_each(|at| observe(&mut world, at, true, 1));
    assert!(matches!(answers(&world), (1 | 2, 10..=60)), "{:?}", answers(&world));
    // One after the other fails, until nobody is left.
    (0..probes.len()).for_each(|at| observe(&mut world, at, false, 100));
    assert!(matches!(answers(&world), (1 | 2, 5)), "{:?}", answers(&world));
    (101..110).for_each(|second| {
        world.tick(now(second));
        world.publish(now(second));
    });
    let owner = Name::parse("www.lb.example.com", Some(&Name::root())).unwrap();
    let apex = Name::parse("lb.example.com", Some(&Name::root())).unwrap();
    let client = Client::source(IpAddr::from([10, 0, 0, 1]));
    let asker = Shared { client, question: &owner, over_clients: true };
    let found = shares(&world, &apex, &owner, 1, &asker, &[]).unwrap();
    assert!((found.iter().map(|one| one.1).sum::<f64>() - 1.0).abs() < 1e-9, "{found:?}");
    assert!(world.status().iter().map(|zone| zone.routes.len()).sum::<usize>() == LAYERS * WIDTH);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}

#[test]
fn what_is_too_deep_or_a_circle_is_refused_promptly() {
    let begun = Instant::now();
    let deep = load(&zone(40, 2, "one two")).unwrap_err();
    assert!(deep.contains("40 routes behind each other; at most 16 are followed"), "{deep}");
    let circle = load(&zone(40, 2, "one r20-1")).unwrap_err();
    assert!(circle.contains("routes lead in a circle"), "{circle}");
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}
