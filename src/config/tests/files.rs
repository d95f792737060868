//! Master files, long files, and files that are none.

use super::*;

#[test]
fn a_zonefile_adds_to_a_zone_and_its_soa_serves_where_soa_says_nothing() {
    let zone = "zone = \"example.com\"\nzonefile = \"legacy.db\"\n[soa]\nretry = 901\n[records]\nwww = { A = \"192.0.2.1\" }\n";
    let master = "@ 600 IN SOA Ns1 hostmaster ( 42 ; serial\n 7201 900 1209601\n 7 )\n  IN NS ns1\nns1 A 192.0.2.53\n$INCLUDE sub/more.db dev\n";
    let world = World::new(&[("zones/z.toml", zone), ("zones/legacy.db", master)]);
    std::fs::create_dir(world.path("zones/sub")).unwrap();
    world.write("zones/sub/more.db", "a A 192.0.2.2\n$INCLUDE deeper.db\n");
    world.write("zones/sub/deeper.db", "b A 192.0.2.3\n");
    let plan = world.plan();
    assert_eq!(plan.zones[0].serial, SerialPlan::Auto { floor: 42 });
    for file in ["zones/z.toml", "zones/legacy.db", "zones/sub/more.db", "zones/sub/deeper.db"] {
        assert!(plan.server.watched.contains(&world.path(file)), "{file}: {:?}", plan.server.watched);
    }

    world.write(
        "zones/sub/deeper.db",
        "\n\nb A 192.0.2.3\nb.www.example.com. A 192.0.2.4\nwww.example.com. A 192.0.2.4\n",
    );
    let error = world.load().unwrap_err();
    assert_eq!(
        world.lines(&error.diagnostics),
        ["zones/sub/deeper.db:5:1: error: www.example.com. A stands both in the zonefile and in [records]"]
    );
    assert!(error.diagnostics[0].rendered.contains("z.toml:6:13"), "{}", error.diagnostics[0].rendered);
}

#[test]
fn what_is_wrong_in_a_master_file_is_said_with_its_line() {
    let good = "$ORIGIN example.com.\n@ 60 IN SOA ns1 hm 1 2 3 4 5\n@ NS ns1\n";
    let table: &[(&str, &str)] = &[
        ("www A 192.0.2\n", "4:"),
        ("www MX 10\n", "4:"),
        ("ok A 192.0.2.1\n\n; comment\nwww MX ( 10\n )\n", "8:"),
        ("www A 192.0.2.1 192.0.2.2\n", "4:"),
        ("www A \\# 3 0A0000\n", "4:1: error: the octets are no A data"),
        ("x ( TXT a\n b )\nwww A \\# 3 0A0000\n", "6:1: error: the octets are no A data"),
        ("x TXT ( a\n b\n )\n\nwww A \\# 3 0A0000\n", "8:1: error: the octets are no A data"),
        ("www 2147483648 A 192.0.2.1\n", "4:1: error: a TTL may be 2147483647 at most (RFC 2181 8), not 2147483648"),
        ("www.example.net. A 192.0.2.1\n", "4:1: error: www.example.net. is not in the zone example.com."),
        ("@ SOA ns1 hm 1 2 3 4 5\n", "4:1: error: the zone example.com. has two SOA records"),
        (
            "www SOA ns1 hm 1 2 3 4 5\n",
            "4:1: error: www.example.com. has an SOA, which only the zone's apex example.com. can have",
        ),
        ("www CH A 192.0.2.1\n", "4:"),
        ("www 1h MX 10\n", "4:1: error: this record cannot be read: something is missing at the end"),
        ("www 1h MX x mail\n", "4:11: error: this record cannot be read: a whole number should be here"),
        ("www 1h30 A 192.0.2.1\n", "4:5: error: \"1h30\" is no time: seconds, or numbers with"),
        ("www 7102w A 192.0.2.1\n", "4:5: error: \"7102w\" is more seconds than 32 bits hold"),
        ("www 3551w A 192.0.2.1\n", "4:1: error: a TTL may be 2147483647 at most (RFC 2181 8), not 2147644800"),
        ("x 2h AFSDB ( 1\n x )\nw IN 1w A \\# 3 0A0000\n", "6:1: error: the octets are no A data"),
        ("$GENERATE 1-2 a A 192.0.2.$\n", "4:"),
        ("www ANY x\n", "4:"),
        ("www A 192.0.2.1 )\n", "4:"),
        ("www TXT \"open\n", "4:"),
        (
            "www LOC ( 1\n )\nx A x\n",
            "4:1: error: bad LOC data: not like 52 22 23.000 N 4 53 32.000 E -2.00m (RFC 1876 3)",
        ),
        ("www AFSDB ( 1\n x )\nwww A \\# 3 0A0000\n", "6:1: error: the octets are no A data"),
        ("$INCLUDE gone.db\n", "4:1: error: zones/gone.db does not exist"),
        ("$INCLUDE z.zone\n", "4:1: error: zones/z.zone includes itself"),
    ];
    for (text, expected) in table {
        let errors = World::new(&[("zones/z.zone", &format!("{good}{text}"))]).errors();
        let first = errors[0].strip_prefix("zones/z.zone:").unwrap_or(&errors[0]);
        assert!(first.starts_with(expected), "{text}: {first}");
    }
    for (text, expected) in [
        ("@ NS ns1\n", "zones/z.zone:1:1: error: this zone has no SOA record"),
        ("@ SOA ns1 hm 1 2 3 4 5\n", "zones/z.zone:1:1: error: the zone z. has no NS record"),
        (
            "$ORIGIN example.com.\n$TTL 1y\n",
            "zones/z.zone:2:6: error: \"1y\" is no time: seconds, or numbers with the units w, d, h, m, s, like 1h30m",
        ),
        ("a\0b\n", "zones/z.zone:1:2: error: a NUL octet: this is no text file"),
    ] {
        assert!(
            World::new(&[("zones/z.zone", text)]).errors()[0].starts_with(expected),
            "{text}: {:?}",
            World::new(&[("zones/z.zone", text)]).errors()
        );
    }
}

#[test]
fn times_in_a_master_file_may_have_units() {
    let text = "$TTL 1h\n@ 1D IN SOA ns hm ( 7\n 2h ; 1w\n 15m 2w3d 1H30M )\n@ NS ns\nns IN 1h30m A 192.0.2.1\n\
                t TXT 1h\n$INCLUDE more.db\n";
    let world = World::new(&[("zones/z.zone", text), ("zones/more.db", "u TXT 1h\n")]);
    let plan = world.plan();
    let data = &plan.zones[0].data;
    let record = |owner: &str, rtype: u16| {
        let name = crate::engine::name::Name::parse(owner, None).unwrap();
        let set = data.set(data.find(name.as_wire()).unwrap(), rtype).unwrap();
        let crate::engine::zone::SetData::Static(octets) = data.data(set) else { panic!() };
        let record = crate::engine::zone::records(octets).next().unwrap();
        (record.ttl, record.rdata.to_vec())
    };
    let (ttl, soa) = record("z.", 6);
    let numbers: Vec<u32> =
        soa[soa.len() - 20..].chunks(4).map(|four| u32::from_be_bytes(four.try_into().unwrap())).collect();
    assert_eq!((ttl, numbers), (86_400, vec![7, 7200, 900, 1_468_800, 5400]));
    assert_eq!(record("ns.z.", 1).0, 5400);
    assert_eq!(record("t.z.", 16), (3600, b"\x021h".to_vec()));
    assert_eq!(record("u.z.", 16), (3600, b"\x021h".to_vec()));
}

#[test]
fn what_cannot_be_read_is_not_also_missed() {
    let zone = "zone = \"example.com\"\nzonefile = \"legacy.db\"\n";
    for text in ["@ SOA ns1 hm 1h 2 3 4 5\n@ NS ns1\n", "@ SOA ns1 hm 1 2 3 4\n@ NS ns1\n", "@ NS\n"] {
        let errors = World::new(&[("zones/z.toml", zone), ("zones/legacy.db", text)]).errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("zones/legacy.db:1:"), "{errors:?}");
    }
    let errors = zone_errors("zone = \"a\"\n[records]\n\"@\" = { NS = \"a..b\" }\n");
    assert_eq!(errors.len(), 1, "{errors:?}");
}

/// Owners enough for several portions.
fn many_owners() -> String {
    (0..6000).map(|number| format!("h{number} = {{ A = \"192.0.2.1\", TXT = [\"x\", \"y\"] }}\n")).collect()
}

#[test]
fn a_long_table_in_portions_is_the_table() {
    let owners = many_owners();
    let odd = "dotted.A = \"192.0.2.7\"\ndotted.MX = \"10 h1\"\n";
    let text = format!("{ZONE}{owners}{odd}{}[records.last]\nA = \"192.0.2.9\"\n", owners.replace("h", "g"));
    let plan = World::new(&[("zones/z.toml", &text)]).plan();
    // SOA, NS, the dotted owner's two and the last one's.
    assert_eq!(plan.zones[0].data.record_count(), 2 * 3 * 6000 + 5);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn errors_in_any_portion_are_said_at_their_place() {
    let owners = many_owners();
    let wrong = "bad = { A = \"192.0.2.256\" }\n";
    let errors = errors_after_zone(&format!(
        "{owners}{wrong}a.b = {{ A = 5 }}\nH7 = {{ A = {{ tll = 5 }} }}\nH8 = {{ A = \"192.0.2.1\" }}\n"
    ));
    assert_eq!(
        errors,
        [
            "zones/z.toml:6004:13: error: bad A data: \"192.0.2.256\" is no IPv4 address",
            "zones/z.toml:6005:3: error: \"b\" is no record type; an owner with a dot needs quotes, or TOML reads it as a table \"a\" with a key \"b\": write \"a.b\" = …",
            "zones/z.toml:6006:12: error: \"records.H7.A\" lacks \"data\"",
            "zones/z.toml:6006:14: error: unknown key \"tll\" in records.H7.A; did you mean \"ttl\"? known here: ttl, data",
            "zones/z.toml:6007:1: error: the owner h8.example.com. stands here twice",
            "zones/z.toml:6007:12: warning: h8.example.com. A: the same record twice",
        ]
    );
}

#[test]
fn a_slip_of_syntax_in_any_portion_hides_the_rest_and_is_said_with_all_others() {
    let owners = many_owners();
    let names = "[pools.web]\nbackends = []\n[names]\na = \"gone\"\n";
    let zone = format!("{ZONE}{owners}x = {{ A = \"192.0.2.256\" }}\ny = \"open\n{owners}{names}b = 'open\n");
    let world = World::new(&[("zones/z.toml", &zone.replacen("h0 ", "h0 h ", 1)), ("zones/z2.toml", ZONE)]);
    let places: Vec<String> =
        world.errors().iter().map(|line| line.split(": error").next().unwrap().to_owned()).collect();
    assert_eq!(places[0].split(':').nth(1), Some("4"), "{places:?}");
    let lines: Vec<&str> = places.iter().map(|place| place.split(':').nth(1).unwrap()).collect();
    assert_eq!(lines, ["4", "6005", "12010"], "{places:?}");
}

#[test]
fn includes_that_multiply_come_to_an_end() {
    let world = World::new(&[("zones/z.zone", "@ SOA ns hm 1 2 3 4 5\n@ NS ns\n$INCLUDE 0.db\n")]);
    for number in 0..9 {
        world.write(&format!("zones/{number}.db"), &format!("$INCLUDE {}.db\n", number + 1).repeat(10));
    }
    world.write("zones/9.db", "");
    assert!(world.errors().iter().any(|line| line.contains("nested") || line.contains("files are included")));
}

#[test]
fn a_bare_master_file_finds_its_origin() {
    for text in [
        "@ SOA ns hm 9 2 3 4 5\n@ NS ns\n",
        "$ORIGIN example.org.\n$TTL 60\nns A 192.0.2.1\n@ SOA ns hm 9 2 3 4 5\n@ NS ns\n",
        "$ORIGIN org.\nexample SOA ns hm 9 2 3 4 5\nexample NS ns\n",
        "example.org. IN 5 SOA ns.x. hm.x. 9 2 3 4 5\n             NS ns.x.\r\n",
    ] {
        let plan = World::new(&[("zones/example.org.zone", text)]).plan();
        assert_eq!(plan.zones[0].origin.to_string(), "example.org.", "{text}");
        assert_eq!(plan.zones[0].serial, SerialPlan::Fixed(9));
    }
}
