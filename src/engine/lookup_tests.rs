//! Where names lead in zones of every kind, beside a plain walk over all names (RFC 1034 4.3.2, RFC 4592, RFC 6672).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::name::Name;
use super::rrtype::{A, DNAME, DS, NS, SOA};
use super::zone::{Found, ZoneBuilder, ZoneData};
use super::zone_builder::label_starts;

/// The apexes of the zones: of no, two and many labels.
const APEXES: [&str; 3] = [".", "example.com.", "a.b.c.d.e.example.com."];

fn zone(apex: &Name, owners: &BTreeMap<String, u16>) -> ZoneData {
    let mut builder = ZoneBuilder::new(apex.clone());
    builder.add(apex, SOA, 30, &[0; 22], 0).unwrap();
    builder.add(apex, NS, 30, b"\x02ns\x04test\0", 0).unwrap();
    for (owner, &rtype) in owners {
        let owner = Name::parse(owner, Some(apex)).unwrap();
        let rdata: &[u8] = if rtype == A { &[192, 0, 2, 1] } else { b"\x02ns\x04test\0" };
        builder.add(&owner, rtype, 30, rdata, 0).unwrap();
    }
    builder.build().map_or_else(|problems| panic!("{problems:?}"), |(zone, _)| zone)
}

/// What a look-up says, with names instead of numbers.
fn said(zone: &ZoneData, name: &Name, qtype: u16) -> (&'static str, Vec<u8>) {
    match zone.lookup(name.as_wire(), &label_starts(name.as_wire()), qtype) {
        Found::Node(id) => ("node", zone.wire_of(id)),
        Found::Delegation(id) => ("delegation", zone.wire_of(id)),
        Found::Dname(id) => ("dname", zone.wire_of(id)),
        Found::NxDomain => ("nxdomain", Vec::new()),
    }
}

/// The same by a walk from the apex down.
fn walked(apex: &Name, owners: &BTreeMap<String, u16>, name: &Name, qtype: u16) -> (&'static str, Vec<u8>) {
    let owners: Vec<(Name, u16)> =
        owners.iter().map(|(owner, &rtype)| (Name::parse(owner, Some(apex)).unwrap(), rtype)).collect();
    let exists = |name: &Name| name == apex || owners.iter().any(|(owner, _)| owner.is_at_or_below(name));
    let has = |name: &Name, rtype: u16| owners.iter().any(|(owner, has)| owner == name && *has == rtype);
    let ancestors: Vec<Name> = name.ancestors().map(|wire| Name::from_wire(wire).unwrap()).collect();
    let mut encloser = apex.clone();
    for here in ancestors.iter().rev().filter(|here| here.is_at_or_below(apex)) {
        if !exists(here) {
            let wildcard = encloser.child(b"*").unwrap();
            return match (has(&encloser, DNAME), exists(&wildcard)) {
                (true, _) => ("dname", encloser.as_wire().to_vec()),
                (_, true) => ("node", wildcard.as_wire().to_vec()),
                _ => ("nxdomain", Vec::new()),
            };
        }
        if here != apex && has(here, NS) && !(here == name && qtype == DS) {
            return ("delegation", here.as_wire().to_vec());
        }
        encloser = here.clone();
    }
    ("node", name.as_wire().to_vec())
}

fn relative(most: usize) -> impl Strategy<Value = String> {
    let label = prop_oneof![4 => "[ab]", 1 => "[ab]{17}", 1 => Just("*".to_owned())];
    proptest::collection::vec(label, 1..=most).prop_map(|labels| labels.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Zones of few names, with and without each of wildcards, delegations and DNAMEs.
    #[test]
    fn a_name_leads_where_a_walk_over_all_names_leads(
        apex in 0..APEXES.len(),
        given in proptest::collection::btree_map(relative(4), 0usize..8, 0..9),
        kinds in 0usize..8,
        asked in proptest::collection::vec(relative(5), 40),
    ) {
        let apex = Name::parse(APEXES[apex], None).unwrap();
        let mut owners: BTreeMap<String, u16> = BTreeMap::new();
        for (owner, kind) in given {
            let wildcard = owner.contains('*');
            if wildcard && kinds & 4 == 0 {
                continue;
            }
            // A delegation or a DNAME at or below a wildcard has no agreed meaning.
            let rtype = match kind {
                6 if kinds & 1 != 0 && !wildcard => NS,
                7 if kinds & 2 != 0 && !wildcard => DNAME,
                _ => A,
            };
            owners.insert(owner, rtype);
        }
        // Nothing may be below a DNAME.
        let tops: Vec<String> =
            owners.iter().filter(|&(_, &rtype)| rtype == DNAME).map(|(owner, _)| format!(".{owner}")).collect();
        owners.retain(|owner, _| !tops.iter().any(|top| owner.ends_with(top.as_str())));
        let zone = zone(&apex, &owners);
        let names = owners.keys().chain(&asked).map(|name| Name::parse(name, Some(&apex)).unwrap());
        for name in names.chain([apex.clone()]) {
            for qtype in [A, DS] {
                prop_assert_eq!(said(&zone, &name, qtype), walked(&apex, &owners, &name, qtype), "{} {}", name, qtype);
            }
        }
    }
}

/// Zones of many sizes, some of whose last searches end behind the homes.
#[test]
fn every_name_is_found_and_no_other_however_full_the_last_slots_are() {
    let apex = Name::parse("example.com.", None).unwrap();
    let mut overhangs = 0;
    for count in (1..400).step_by(3) {
        let owners: BTreeMap<String, u16> = (0..count).map(|number| (format!("h{number}"), A)).collect();
        let zone = zone(&apex, &owners);
        overhangs += usize::from(zone.nodes.len() > zone.homes as usize);
        for number in 0..2 * count {
            let name = Name::parse(&format!("h{number}"), Some(&apex)).unwrap();
            let expected = if number < count { "node" } else { "nxdomain" };
            assert_eq!(said(&zone, &name, A).0, expected, "{name} of {count}");
        }
    }
    assert!(overhangs > 0, "no search ended behind the homes");
}

/// What every look-up reads lies on one line of the cache, and so does a node.
#[test]
fn a_node_and_what_leads_to_it_are_a_line_each() {
    assert_eq!(size_of::<super::zone::Node>(), 64);
    assert!(std::mem::offset_of!(ZoneData, arena) <= 64);
}

/// Names of many labels bring in more octets than their records have: said, and not counted wrongly.
#[test]
fn a_zone_that_is_too_large_only_by_its_empty_non_terminals_is_refused() {
    let apex = Name::parse("example.com.", None).unwrap();
    for (most, fits) in [(20_000, true), (4_000, false)] {
        let mut builder = ZoneBuilder::new(apex.clone());
        builder.most = most;
        builder.add(&apex, SOA, 30, &[0; 22], 0).unwrap();
        builder.add(&apex, NS, 30, b"\x02ns\x04test\0", 0).unwrap();
        let deep = Name::parse(&format!("{}x", "a.".repeat(100)), Some(&apex)).unwrap();
        builder.add(&deep, A, 30, &[192, 0, 2, 1], 0).unwrap();
        let built = builder.build();
        assert_eq!(built.is_ok(), fits, "{most}");
        if let Err(problems) = built {
            assert_eq!(problems[0].message, "the zone example.com. is larger than 4 GiB");
        }
    }
}
