//! One zone that has every lookup case, by value, for the targets that ask.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rollcall::engine::cookie::Secrets;
use rollcall::engine::draw::Draws;
use rollcall::engine::name::Name;
use rollcall::engine::snapshot::{Apexes, NameSlot, Options, Snapshot, Zone};
use rollcall::engine::soa::SoaTemplate;
use rollcall::engine::view::{Addresses, PolicyKind, Prepared, View};
use rollcall::engine::zone::{SetData, ZoneBuilder, records};

/// The server's own limit over UDP.
pub const UDP_LIMIT: usize = 1232;
/// What its cookies are made with.
const SECRET: [u8; 16] = [7; 16];

/// A zone with a delegation, wildcards, CNAMEs, DNAMEs, empty non-terminals, large sets, and balanced names of every kind.
pub fn snapshot() -> Snapshot {
    let apex = Name::parse("example.", None).unwrap();
    let name = |text: &str| Name::parse(text, Some(&apex)).unwrap();
    let wire = |text: &str| name(text).as_wire().to_vec();
    let mut zone = ZoneBuilder::new(apex.clone());
    let mut put = |owner: &str, rtype: u16, rdata: Vec<u8>| zone.add(&name(owner), rtype, 300, &rdata, 0).unwrap();
    let soa = [wire("ns1"), wire("hostmaster"), [0, 0, 0, 1].repeat(5)].concat();
    put("@", 6, soa);
    put("@", 2, wire("ns1"));
    put("ns1", 1, vec![192, 0, 2, 53]);
    put("www", 16, b"\x04text".to_vec());
    put("alias", 5, wire("www"));
    put("loop1", 5, wire("loop2"));
    put("loop2", 5, wire("loop1"));
    put("c-pool", 5, wire("rr"));
    put("c-servfail", 5, wire("servfail"));
    put("out", 5, b"\x03www\x04test\0".to_vec());
    put("dn", 39, wire("target"));
    put("a.target", 1, vec![192, 0, 2, 1]);
    put("*.wild", 1, vec![192, 0, 2, 2]);
    put("a.b.c.ent", 1, vec![192, 0, 2, 3]);
    put("cut", 2, wire("ns.cut"));
    put("cut", 43, [0, 1, 13, 2].into_iter().chain([7; 32]).collect());
    put("ns.cut", 1, vec![192, 0, 2, 4]);
    put("ns.cut", 28, vec![1; 16]);
    put("unknown", 65_280, vec![1, 2, 3]);
    for n in 0..60 {
        put("big", 16, [vec![200], vec![n; 200]].concat());
    }
    let balanced = ["rr", "weighted", "random", "nodata", "servfail", "refused", "*.apps"];
    for (index, owner) in balanced.iter().enumerate() {
        zone.add_balanced(&name(owner), 1, index as u32, 0).unwrap();
    }
    let (data, _) = zone.build().unwrap();

    let members: Vec<(IpAddr, u16)> = (1..=5).map(|n| (IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)), u16::from(n))).collect();
    let addresses = |policy, answers| Prepared::Addresses(Addresses::new(policy, &members, answers, 30));
    let prepared = [
        addresses(PolicyKind::RoundRobin, 8),
        addresses(PolicyKind::Weighted, 1),
        addresses(PolicyKind::Random, 3),
        Prepared::NoData,
        Prepared::ServFail,
        Prepared::Refused,
        addresses(PolicyKind::RoundRobin, 2),
    ];
    let error = Some((0, "all backends are down"));
    let views = prepared.into_iter().map(|prepared| Arc::new(View::new(prepared, error))).collect();
    let names: Vec<NameSlot> = (0..balanced.len() as u32).map(|n| NameSlot { view: n, draw: n }).collect();

    let apex_node = data.find(apex.as_wire()).unwrap();
    let SetData::Static(soa_set) = data.data(data.set(apex_node, 6).unwrap()) else { panic!("the SOA is static") };
    let soa = SoaTemplate::new(&apex, &records(soa_set).next().unwrap(), 7).unwrap();
    let zone = Zone { data: Arc::new(data), names: names.into(), traffic: 0, soa };
    Snapshot {
        generation: 1,
        options: Arc::new(Options {
            max_udp_payload: UDP_LIMIT as u16,
            nsid: (*b"fuzz").into(),
            cookies: Secrets(Box::new([SECRET])),
            ..Options::default()
        }),
        apexes: Arc::new(Apexes::new([apex.as_wire()].into_iter())),
        zones: [Arc::new(zone)].into_iter().collect(),
        views,
        draws: [Draws::new(0).grown(balanced.len())].into(),
        clock: Arc::default(),
    }
}
