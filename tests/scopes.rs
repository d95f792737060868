//! Scopes are honest (RFC 7871 7.2.1): all clients inside the scope of a reply get the same answer, and a network twice as wide
//! holds one who does not. Asked of random maps and routes, near every border that there is, and near the prefixes of IPv6
//! that hold IPv4 clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;
use proptest::sample::Index;
use rollcall::config;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::World;
use rollcall::engine::client::Client;
use rollcall::engine::name::Name;
use rollcall::engine::{Asker, Transport, respond};

#[path = "support/mmdb.rs"]
mod mmdb;

/// Where IPv4 lies in IPv6, and the bits in front of it.
const INSIDE: [(&str, u8); 5] =
    [("::ffff:0:0", 96), ("::ffff:0:0:0", 96), ("64:ff9b::", 96), ("2001::", 96), ("2002::", 16)];
/// Prefixes near which networks and clients are drawn.
const NEAR: [&str; 9] =
    ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "2001::", "2002::", "2000::", "2001:db8::", "fe80::"];
const CONTINENTS: [&str; 3] = ["EU", "NA", "AS"];
const REGIONS: [&str; 3] = ["x", "y", "x/in"];

/// What a network is: IPv4 inside IPv6 is IPv4, and so is `::/96` in a database.
fn meant(network: IpNet) -> IpNet {
    match (Client::network(network.addr(), network.prefix_len()), network) {
        (client, _) if client.known > 0 && client.address.is_ipv4() => {
            IpNet::new(client.address, client.known).unwrap().trunc()
        }
        (_, IpNet::V6(inner)) if inner.prefix_len() > 96 && u128::from(inner.addr()) >> 32 == 0 => {
            let address = Ipv4Addr::from(u128::from(inner.addr()) as u32);
            IpNet::V4(Ipv4Net::new(address, inner.prefix_len() - 96).unwrap())
        }
        _ => network,
    }
}

fn world(networks: &[(IpNet, Index)], places: &[(IpNet, Index)], routes: &str) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut own = vec![Vec::new(); REGIONS.len()];
    let mut seen = std::collections::HashSet::new();
    // A network may stand in a map once.
    for (network, region) in networks.iter().filter(|(network, _)| seen.insert(meant(*network))) {
        own[region.index(REGIONS.len())].push(format!("\"{network}\""));
    }
    let own: Vec<String> =
        REGIONS.iter().zip(own).map(|(region, all)| format!("\"{region}\" = [{}]", all.join(", "))).collect();
    let mut zone = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n".to_owned();
    for pool in 0..4 {
        let state = if pool == 3 { ", state = \"down\"" } else { "" };
        zone += &format!("[pools.p{pool}]\nbackends = [{{ address = \"192.0.2.{pool}\"{state} }}]\n");
    }
    zone += "[pools.h]\npolicy = \"hash\"\nipv6_prefix = 12\nipv4_prefix = 6\nbackends = [{ address = \"192.0.2.10\" }, { address = \"192.0.2.11\" }]\n";
    zone += &format!("[maps.own]\nnetworks = {{ {} }}\n[maps.geo]\ngeoip = \"geo.mmdb\"\n", own.join(", "));
    zone += &format!(
        "[maps.both]\nnetworks = {{ {} }}\ngeoip = \"geo.mmdb\"\n{routes}[names]\nwww = \"www\"\n",
        own.join(", ")
    );
    // Wider networks first, as the writer wants them.
    let mut places: Vec<(IpNet, mmdb::Place)> = places
        .iter()
        .map(|(network, at)| (*network, mmdb::Place { path: CONTINENTS[at.index(3)].to_owned(), ..Default::default() }))
        .collect();
    places.sort_by_key(|(network, _)| network.prefix_len() + if matches!(network, IpNet::V4(_)) { 96 } else { 0 });
    std::fs::create_dir(directory.path().join("zones")).unwrap();
    std::fs::write(directory.path().join("zones/geo.mmdb"), mmdb::database(&places)).unwrap();
    std::fs::write(directory.path().join("zones/lb.toml"), zone).unwrap();
    let server = directory.path().join("rollcall.toml");
    std::fs::write(&server, "[dns]\nudp_workers = 1\n").unwrap();
    let plan = config::load(Some(&server)).unwrap_or_else(|error| panic!("{error}"));
    let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
    let mut world = World::new(&Saved::default(), [7; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    world
}

/// The answer for that client subnet, and its scope.
fn ask(world: &World, client: IpNet) -> (Vec<u8>, u8) {
    let name = Name::parse("www.lb.example.com", Some(&Name::root())).unwrap();
    let (family, octets) = match client.trunc().addr() {
        IpAddr::V4(address) => (1, address.octets().to_vec()),
        IpAddr::V6(address) => (2, address.octets().to_vec()),
    };
    let octets = &octets[..usize::from(client.prefix_len()).div_ceil(8)];
    let option = [&[0, 8, 0, octets.len() as u8 + 4, 0, family, client.prefix_len(), 0], octets].concat();
    let question = [name.as_wire(), &[0, 1, 0, 1]].concat();
    let opt = [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, option.len() as u8][..], &option].concat();
    let query = [&[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1][..], &question, &opt].concat();
    let asker = Asker { address: IpAddr::from([127, 0, 0, 1]), transport: Transport::Tcp, worker: 0 };
    let mut out = [0; 1232];
    let reply = respond(world.snapshot(), &asker, &query, &mut out);
    let out = &out[..reply.length];
    assert_eq!(out[3] & 15, 0, "NOERROR");
    let answers = usize::from(out[7]) * 16;
    let from = 12 + question.len();
    // The scope is the fourth octet of the option's data, and the option is the last.
    let scope = out[out.len() - octets.len() - 1];
    (out[from..from + answers].to_vec(), scope)
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

fn of_bits(bits: u128, length: u8) -> IpAddr {
    match length {
        32 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
        _ => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

/// The IPv4 address in each of its forms.
fn forms(address: u32) -> impl Iterator<Item = u128> {
    INSIDE.iter().map(move |(prefix, at)| {
        let inner = if *prefix == "2001::" { !address } else { address };
        u128::from(prefix.parse::<Ipv6Addr>().unwrap()) | u128::from(inner) << (96 - at)
    })
}

/// Where answers may change: the first address of every network and the first behind it, with those before them.
fn borders(networks: &[IpNet]) -> (Vec<u32>, Vec<u128>) {
    // A database has IPv4 at ::/96, and says nothing of such IPv6 addresses.
    let (mut v4, mut v6) = (vec![0, u32::MAX], vec![0, u128::MAX, (1 << 32) - 1, 1 << 32]);
    for network in networks {
        match network {
            IpNet::V4(network) => {
                let (first, last) = (u32::from(network.network()), u32::from(network.broadcast()));
                v4.extend([first, first.wrapping_sub(1), last, last.wrapping_add(1)]);
            }
            IpNet::V6(network) => {
                let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
                v6.extend([first, first.wrapping_sub(1), last, last.wrapping_add(1)]);
            }
        }
    }
    for (prefix, length) in INSIDE.iter().map(|&(prefix, at)| (prefix, if prefix == "2001::" { 32 } else { at })) {
        let first = u128::from(prefix.parse::<Ipv6Addr>().unwrap());
        v6.extend([first, first - 1, first | !mask(length), (first | !mask(length)) + 1]);
    }
    v6.extend(v4.iter().flat_map(|&address| forms(address)));
    (v4, v6)
}

fn v6_network() -> impl Strategy<Value = IpNet> {
    (any::<Index>(), any::<u128>(), 1u8..=128, 0u8..=128).prop_map(|(near, random, length, kept)| {
        let prefix = u128::from(NEAR[near.index(NEAR.len())].parse::<Ipv6Addr>().unwrap());
        let address = prefix & mask(kept) | random & !mask(kept);
        IpNet::V6(Ipv6Net::new(Ipv6Addr::from(address), length).unwrap().trunc())
    })
}

fn v4_network() -> impl Strategy<Value = IpNet> {
    (any::<u32>(), 1u8..=32)
        .prop_map(|(address, length)| IpNet::V4(Ipv4Net::new(Ipv4Addr::from(address), length).unwrap().trunc()))
}

fn network() -> impl Strategy<Value = IpNet> {
    prop_oneof![v4_network(), v6_network()]
}

/// Routes below `www`, each of which may name pools and the routes behind it; pool `p3` has nobody to answer with.
fn routes(choices: &[Index]) -> String {
    const TO: [&str; 8] = ["p0", "p1", "p2", "p3", "fail", "inner", "geo", "fenced"];
    let mut picks = choices.iter().cycle();
    let mut pick = |among: usize| TO[picks.next().unwrap().index(among)];
    let mut map = |name: &str, map: &str, keys: &[&str], among: usize| {
        let all: Vec<String> = keys.iter().map(|key| format!("\"{key}\" = {:?}", pick(among))).collect();
        format!("[routes.{name}]\ntype = \"map\"\nmap = {map:?}\nchoices = {{ {} }}\n", all.join(", "))
    };
    let maps = [
        map("www", "both", &["x", "EU", "NA", "default"], 8),
        map("fenced", "own", &["x", "x/in", "default"], 7) + "fence = true\n",
        map("geo", "geo", &["EU", "AS", "default"], 6),
        map("inner", "own", &["x", "y", "default"], 5),
    ];
    // None of its choices stands there twice.
    let (first, rest) = (picks.next().unwrap().index(4), picks.next().unwrap().index(3));
    let second = TO[(first + 1 + rest) % 4];
    format!("{}[routes.fail]\ntype = \"failover\"\nchoices = [{:?}, {second:?}]\n", maps.concat(), TO[first])
}

/// Asks as that client, and of everybody near; `widest`: no wider network may do.
fn check(world: &World, client: IpNet, others: &[IpAddr], widest: bool) -> Result<(), TestCaseError> {
    let (answer, scope) = ask(world, client);
    // Negative answers are cached for all whatever is said (RFC 7871 7.4).
    if answer.is_empty() {
        prop_assert_eq!(scope, 0);
        return Ok(());
    }
    let (own, length) = bits(client.trunc().addr());
    let alike = |other: IpAddr| ask(world, IpNet::from(other)).0 == answer;
    let inside = |other: &IpAddr, scope: u8| {
        let (bits, family) = bits(*other);
        family == length && (bits ^ own) & mask(scope) == 0
    };
    for other in others.iter().filter(|other| inside(other, scope)) {
        prop_assert!(alike(*other), "{client} has scope {scope}, and {other} another answer");
    }
    if widest && scope > 0 {
        let someone = others.iter().filter(|other| inside(other, scope - 1)).any(|other| !alike(*other));
        prop_assert!(someone, "{client} has scope {scope}, and nobody of /{} another answer", scope - 1);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_scope_is_the_widest_network_with_one_answer(
        networks in proptest::collection::vec((network(), any::<Index>()), 0..8),
        places in proptest::collection::vec((network(), any::<Index>()), 0..8),
        choices in proptest::collection::vec(any::<Index>(), 24),
        random in proptest::collection::vec(network(), 24),
        near in proptest::collection::vec(any::<Index>(), 12),
    ) {
        let world = world(&networks, &places, &routes(&choices));
        let written = networks.iter().chain(&places).map(|one| one.0);
        let every: Vec<IpNet> = written.clone().chain(written.map(meant)).collect();
        let (v4, v6) = borders(&every);
        let mut others: Vec<IpAddr> = v4.iter().map(|&address| of_bits(u128::from(address) << 96, 32)).collect();
        others.extend(v6.iter().map(|&address| of_bits(address, 128)));
        let mut clients: Vec<IpAddr> = random.iter().map(|network| network.addr()).collect();
        clients.extend(near.iter().map(|at| others[at.index(others.len())]));
        for client in clients {
            // Of Teredo clients those with the same server, port and flags.
            let mut others = others.clone();
            if let (own, 128) = bits(client)
                && own >> 96 == 0x2001_0000
            {
                others.extend(v4.iter().map(|&address| of_bits(own & mask(96) | u128::from(!address), 128)));
            }
            others.extend(random.iter().map(|network| network.addr()));
            check(&world, IpNet::from(client), &others, true)?;
        }
        // A network is told no more than it said, or what of it would have told more.
        for network in random {
            check(&world, network, &others, false)?;
        }
    }

    #[test]
    fn a_hashed_network_reaches_no_other(
        random in proptest::collection::vec(network(), 64),
        near in proptest::collection::vec((any::<Index>(), any::<u128>(), 0u8..=128), 64),
    ) {
        let world = world(&[], &[], "[routes.www]\ntype = \"failover\"\nchoices = [\"h\"]\n");
        let close = near.iter().map(|(near, random, kept)| {
            let prefix = u128::from(NEAR[near.index(NEAR.len())].parse::<Ipv6Addr>().unwrap());
            of_bits(prefix & mask(*kept) | random & !mask(*kept), 128)
        });
        let others: Vec<IpAddr> = close.chain(random.iter().map(|network| network.addr())).collect();
        for client in &others {
            check(&world, IpNet::from(*client), &others, false)?;
        }
    }
}
