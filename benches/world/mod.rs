//! What the benches ask, and of what: zones of any size made without files, and queries of every answer kind.
#![allow(dead_code, unreachable_pub)] // Each bench uses its part.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rollcall::engine::client::HashKey;
use rollcall::engine::draw::{Draws, mix};
use rollcall::engine::name::Name;
use rollcall::engine::ranges::ByAddress;
use rollcall::engine::rendezvous::Rendezvous;
use rollcall::engine::route::{Node, Program};
use rollcall::engine::rrtype::{A, AAAA, CNAME, NS, SOA};
use rollcall::engine::share::Firsts;
use rollcall::engine::snapshot::{Apexes, NameSlot, Options, Snapshot, Zone};
use rollcall::engine::soa::SoaTemplate;
use rollcall::engine::view::{Addresses, PolicyKind, Prepared, View};
use rollcall::engine::zone::{SetData, ZoneBuilder, records};
use rollcall::engine::{Asker, Transport};

/// The zone of all benches.
pub const ORIGIN: &str = "bench.example.";
/// Who asks.
pub const ASKER: Asker =
    Asker { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), transport: Transport::Udp, worker: 0 };

/// Networks of the map that `mapped` asks.
const NETWORKS: u32 = 100_000;
/// Balanced names, in the order of their slots.
const BALANCED: [&str; 5] = ["weighted", "rotated", "hashed", "mapped", "tree"];

/// A zone of `names` hosts (`h0`, `h1`, …), and beside them `weighted`, `rotated`, `hashed` (a pool by rendezvous), `mapped`
/// (by a map of 100,000 networks onto the pools of `weighted` and `rotated`), `tree` (four levels: map, shares, rendezvous,
/// shares), `alias` (a CNAME onto `weighted`) and the delegation `cut`.
pub fn snapshot(names: usize) -> Snapshot {
    let origin = Name::parse(ORIGIN, None).expect("a name");
    let name = |text: &str| Name::parse(text, Some(&origin)).expect("a name");
    let mut builder = ZoneBuilder::new(origin.clone());
    let mut add = |owner: &Name, rtype: u16, rdata: &[u8]| {
        builder.add(owner, rtype, 300, rdata, 0).expect("a record that fits");
    };
    let mut soa = [name("ns1").as_wire(), name("hostmaster").as_wire()].concat();
    for number in [1u32, 7200, 900, 1_209_600, 5] {
        soa.extend_from_slice(&number.to_be_bytes());
    }
    add(&origin, SOA, &soa);
    add(&origin, NS, name("ns1").as_wire());
    add(&name("ns1"), A, &[192, 0, 2, 53]);
    add(&name("cut"), NS, name("ns1.cut").as_wire());
    add(&name("cut"), NS, name("ns2.cut").as_wire());
    add(&name("ns1.cut"), A, &[192, 0, 2, 61]);
    add(&name("ns2.cut"), A, &[192, 0, 2, 62]);
    add(&name("alias"), CNAME, name("weighted").as_wire());
    for host in 0..names {
        add(&name(&format!("h{host}")), A, &(0x0a00_0000 + host as u32).to_be_bytes());
    }
    for (number, owner) in BALANCED.into_iter().enumerate() {
        builder.add_balanced(&name(owner), A, number as u32, 0).expect("an owner in the zone");
    }
    let (data, problems) = builder.build().expect("a sound zone");
    assert!(problems.is_empty(), "{problems:?}");

    let members = |weights: &[u16]| -> Vec<(IpAddr, u16)> {
        weights.iter().zip(1u8..).map(|(&weight, last)| (IpAddr::from([198, 51, 100, last]), weight)).collect()
    };
    let view = |policy, weights: &[u16], answers| {
        let addresses = Addresses::new(policy, &members(weights), answers, 30);
        Arc::new(View { tally: 0, ..View::new(Prepared::Addresses(addresses), None) })
    };
    let apex = data.find(data.apex().as_wire()).expect("the apex");
    let SetData::Static(octets) = data.data(data.set(apex, SOA).expect("the SOA")) else {
        unreachable!("SOA is static")
    };
    let soa = SoaTemplate::new(data.apex(), &records(octets).next().expect("one SOA"), 1).expect("a sound SOA");
    let zone = Zone {
        data: Arc::new(data),
        names: (0..BALANCED.len() as u32).map(|number| NameSlot { view: number, draw: number * 8 }).collect(),
        traffic: 1,
        soa,
    };
    Snapshot {
        options: Arc::new(Options { max_udp_payload: 1232, ..Options::default() }),
        apexes: Arc::new(Apexes::new([origin.as_wire()].into_iter())),
        zones: [Arc::new(zone)].into_iter().collect(),
        views: [
            view(PolicyKind::Weighted, &[3, 2, 1], 1),
            view(PolicyKind::RoundRobin, &[1; 8], 8),
            view(PolicyKind::Hash, &[3, 2, 1], 1),
            routed(vec![leaf(0), leaf(1), map(&[0, 1])]),
            routed(tree()),
        ]
        .into_iter()
        .collect(),
        draws: [Draws::new(0).grown(8 * BALANCED.len()).with_tallies(8)].into_iter().collect(),
        ..Snapshot::default()
    }
}

fn routed(nodes: Vec<Node>) -> Arc<View> {
    let program = Program::new(nodes).expect("a sound program");
    Arc::new(View::new(Prepared::Route(program), None))
}

fn leaf(view: u32) -> Node {
    Node::Leaf { view, counter: view }
}

/// Every other one of [`NETWORKS`] /24 belongs to the first child.
fn map(children: &[u32]) -> Node {
    let mut table = ByAddress::all(1);
    for network in 0..NETWORKS {
        table.v4.push((10 << 24) + (network << 8), (network % 2) as u16);
    }
    table.v4.push((10 << 24) + (NETWORKS << 8), 1);
    Node::Map { table: Arc::new(table), children: children.into() }
}

/// Map, shares, rendezvous, shares, and pools below.
fn tree() -> Vec<Node> {
    let split =
        |children: &[u32], counter| Node::Split { firsts: Firsts::new(&[3, 1]), children: children.into(), counter };
    let hash = |children: &[u32]| Node::Hash {
        key: HashKey::CLIENT,
        table: Rendezvous::new([("a", 2), ("b", 1)].into_iter()),
        children: children.into(),
    };
    vec![
        leaf(0),
        leaf(1),
        split(&[0, 1], 3),
        split(&[1, 0], 4),
        hash(&[2, 3]),
        split(&[4, 0], 5),
        split(&[4, 1], 6),
        map(&[5, 6]),
    ]
}

/// A query with the client subnet of one of [`NETWORKS`], or of a network beside them.
fn for_client(name: &str, at: usize) -> Vec<u8> {
    let mut query = query(name, A, false);
    let network = (10u32 << 24) + ((mix(at as u64) as u32 % (NETWORKS + NETWORKS / 8)) << 8);
    query[11] = 1;
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0]);
    query.extend_from_slice(&network.to_be_bytes()[..3]);
    query
}

/// One query, as a resolver sends it.
pub fn query(name: &str, rtype: u16, edns: bool) -> Vec<u8> {
    let origin = Name::parse(ORIGIN, None).expect("a name");
    let name = Name::parse(name, Some(&origin)).expect("a name");
    let mut query = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    query.extend_from_slice(name.as_wire());
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    if edns {
        query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    }
    query
}

/// The kinds of answer, each with queries that get it from [`snapshot`].
pub fn kinds(names: usize) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let many = |make: &dyn Fn(usize) -> Vec<u8>| (0..1000).map(make).collect();
    vec![
        ("static", many(&|at| query(&format!("h{}", at % names), A, false))),
        ("weighted", many(&|_| query("weighted", A, false))),
        ("rotated", many(&|_| query("rotated", A, false))),
        // With a client subnet: what the three after it are to be compared with.
        ("subnet", many(&|at| for_client("weighted", at))),
        ("hashed", many(&|at| for_client("hashed", at))),
        ("mapped", many(&|at| for_client("mapped", at))),
        ("tree", many(&|at| for_client("tree", at))),
        ("nxdomain", missing(1000)),
        ("alias", many(&|_| query("alias", A, false))),
        ("referral", many(&|at| query(&format!("x{at}.cut"), A, false))),
        ("edns", many(&|at| edns(at, names))),
    ]
}

/// Names that do not exist.
pub fn missing(queries: usize) -> Vec<Vec<u8>> {
    (0..queries).map(|at| query(&format!("no{at}"), A, false)).collect()
}

/// A mix of answer kinds, all with EDNS.
fn edns(at: usize, names: usize) -> Vec<u8> {
    match at % 5 {
        0 => query(&format!("h{}", at % names), A, true),
        1 => query("weighted", A, true),
        2 => query("rotated", A, true),
        3 => query(&format!("no{at}"), A, true),
        _ => query(&format!("h{}", at % names), AAAA, true),
    }
}

/// The host that query number `at` asks for, each as likely as any other.
pub fn uniform(names: usize, at: usize) -> usize {
    mix(at as u64) as usize % names
}

/// The host that query number `at` asks for by Zipf's law (exponent 1), as resolvers ask; popular hosts lie anywhere in the
/// zone.
pub fn zipf(names: usize, at: usize) -> usize {
    let point = mix(at as u64) as f64 / u64::MAX as f64;
    let rank = (((names as f64).ln() * point).exp() as usize).clamp(1, names);
    mix(rank as u64 ^ 0xbeef) as usize % names
}

/// The query for a host, as [`query`] makes it, into `out`; returns its length.
pub fn write_query(host: usize, out: &mut [u8; 64]) -> usize {
    const HEAD: [u8; 12] = [0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    const TAIL: &[u8] = b"\x05bench\x07example\0\0\x01\0\x01";
    out[..12].copy_from_slice(&HEAD);
    let digits = host.checked_ilog10().unwrap_or(0) as usize + 1;
    out[12] = 1 + digits as u8;
    out[13] = b'h';
    let mut rest = host;
    for digit in out[14..14 + digits].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let length = 14 + digits + TAIL.len();
    out[14 + digits..length].copy_from_slice(TAIL);
    length
}
