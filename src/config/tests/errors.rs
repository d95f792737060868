//! What is wrong, said with its place.

use super::*;

#[test]
fn what_is_wrong_in_a_zone_file_is_said_with_its_place() {
    let table: &[(&str, &str)] = &[
        ("", "zones/z.toml:1:1: error: the key \"zone\" is missing; write zone = \"lb.example.com\" at the top"),
        (
            "zone = \"a..b\"",
            "zones/z.toml:1:8: error: \"zone\" must be a domain name, not \"a..b\": an empty label (two dots in a row, or a leading dot)",
        ),
        (
            "zone = \"a\"",
            "zones/z.toml:1:8: error: the zone a. has no NS record; add [records] \"@\" = { NS = [\"ns1\"] }",
        ),
        ("zone = 1", "zones/z.toml:1:8: error: \"zone\" must be a string, not 1"),
    ];
    for (text, expected) in table {
        assert_eq!(zone_errors(text).join("\n"), *expected, "{text}");
    }
}

#[test]
fn what_is_wrong_in_records_and_names_is_said_with_its_place() {
    let mut wrong = Vec::new();
    let table: &[(&str, &str)] = &[
        ("www = { A = \"192.0.2\" }", "4:13: error: bad A data: \"192.0.2\" is no IPv4 address"),
        (
            "www = { A = [\"192.0.2.1\", 5] }",
            "4:27: error: \"records.www.A\" must be a string, a list of strings, or { ttl, data }, not 5",
        ),
        ("www = { A = [] }", "4:13: error: \"records.www.A\" must have a value; leave the key out to have no record"),
        ("www = { AAA = \"::1\" }", "4:9: error: \"AAA\" is no record type; did you mean \"AAAA\"?"),
        ("www = { ANY = \"x\" }", "4:9: error: ANY is not a type that a zone can hold"),
        ("www = { MX = \"10\" }", "4:14: error: bad MX data: something is missing at the end"),
        (
            "www = { HIP = \"hello\" }",
            "4:15: error: bad HIP data: this type's text form is not known here: write it as \\# LENGTH HEX (RFC 3597)",
        ),
        ("www = { A = { ttl = 5 } }", "4:13: error: \"records.www.A\" lacks \"data\""),
        (
            "www = { A = { ttl = 2147483648, data = \"192.0.2.1\" } }",
            "4:21: error: \"records.www.A.ttl\" must be a number from 0 to 2147483647, not 2147483648",
        ),
        (
            "www = { A = { tll = 5, data = \"192.0.2.1\" } }",
            "4:15: error: unknown key \"tll\" in records.www.A; did you mean \"ttl\"? known here: ttl, data",
        ),
        (
            "www = \"192.0.2.1\"",
            "4:7: error: \"records.www\" must be a table of types, like { A = \"192.0.2.1\" }, not \"192.0.2.1\"",
        ),
        (
            "\"www.example.net.\" = { A = \"192.0.2.1\" }",
            "4:1: error: www.example.net. is not in the zone example.com.",
        ),
        (
            "\"a..b\" = { A = \"192.0.2.1\" }",
            "4:1: error: \"a..b\" is no owner name: an empty label (two dots in a row, or a leading dot)",
        ),
        ("\"@.\" = { SOA = \"a b 1 2 3 4 5\" }", "4:1: error: \\@. is not in the zone example.com."),
        ("x = { SOA = \"a b 1 2 3 4 5\" }", "4:7: error: the SOA is not a record here: the table [soa] makes it"),
        (
            "WWW = { A = \"192.0.2.1\" }\nwww = { A = \"192.0.2.2\" }",
            "5:1: error: the owner www.example.com. stands here twice",
        ),
        ("www = { A = \"192.0.2.1\", a = \"192.0.2.2\" }", "4:26: error: www.example.com. A stands here twice"),
        (
            "api.eu = { A = \"192.0.2.1\" }",
            "4:5: error: \"eu\" is no record type; an owner with a dot needs quotes, or TOML reads it as a table \"api\" with a key \"eu\": write \"api.eu\" = …",
        ),
        (
            "api.mx = { A = \"192.0.2.1\" }",
            "4:5: error: \"mx\" is no record type; an owner with a dot needs quotes, or TOML reads it as a table \"api\" with a key \"mx\": write \"api.mx\" = …",
        ),
        (
            "[names]\napi.eu = \"web\"",
            "5:5: error: \"names.api\" does not say which pool answers: it lacks \"to\"; an owner with a dot needs quotes, or TOML reads it as a table \"api\" with a key \"eu\": write \"api.eu\" = …",
        ),
        (
            "[names]\nwww = \"wbe\"\n[pools.web]\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:7: error: there is no pool \"wbe\"; did you mean \"web\"?",
        ),
        (
            "[names]\nwww = 5",
            "5:7: error: \"names.www\" must be a pool's name, or a table like { to = \"web\" }, not 5",
        ),
        ("[names]\nwww = { ttl = 5 }", "5:7: error: \"names.www\" does not say which pool answers: it lacks \"to\""),
        (
            "[soa]\nserial = \"atuo\"",
            "5:10: error: \"soa.serial\" must be \"auto\" or a number from 0 to 4294967295, not \"atuo\"",
        ),
        (
            "[soa]\nrname = \"me@example.com\"",
            "5:9: error: \"soa.rname\" is a name: a mail address is written with a dot for its \"@\" (RFC 1035 8); write \"me.example.com.\"",
        ),
        (
            "[soa]\nminimum = 5",
            "5:1: error: unknown key \"minimum\" in soa; known here: mname, rname, ttl, negative_ttl, refresh, retry, expire, serial",
        ),
    ];
    for (text, expected) in table {
        let errors = errors_after_zone(text);
        let first = errors.first().unwrap().strip_prefix("zones/z.toml:").unwrap();
        if first != *expected {
            wrong.push(format!("{text}\n  found    {first}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_in_pools_is_said_with_its_place() {
    let mut wrong = Vec::new();
    let table: &[(&str, &str)] = &[
        (
            "",
            "4:8: error: pool \"pools.web\" lacks \"backends\"; write backends = [{ name = \"a\", address = \"192.0.2.10\" }]",
        ),
        ("backends = []", "5:12: error: \"pools.web.backends\" is empty: a pool needs at least one backend"),
        ("backends = [{ name = \"a\" }]", "5:13: error: backend \"pools.web.backends[0]\" lacks \"address\""),
        (
            "backends = [{ address = \"192.0.2.256\" }]",
            "5:25: error: \"pools.web.backends[0].address\" must be an IPv4 or IPv6 address, not \"192.0.2.256\"",
        ),
        (
            "backends = [{ adress = \"192.0.2.1\", address = \"192.0.2.1\" }]",
            "5:15: error: unknown key \"adress\" in pools.web.backends[0]; did you mean \"address\"? known here: name, address, cname, port, ports, target, weight, tier, host, state, check, checks, labels, maintenance",
        ),
        (
            "backends = [{ address = [\"192.0.2.1\", \"192.0.2.2\"] }]",
            "5:25: error: \"pools.web.backends[0].address\" must be one IPv4 address, one IPv6 address, or one of each, not a list",
        ),
        (
            "backends = [{ address = \"192.0.2.1\", weight = 65536 }]",
            "5:47: error: \"pools.web.backends[0].weight\" must be a number from 0 to 65535, not 65536",
        ),
        (
            "backends = [{ address = \"192.0.2.1\", port = 0 }]",
            "5:45: error: \"pools.web.backends[0].port\" must be a number from 1 to 65535, not 0",
        ),
        (
            "backends = [{ name = \"a\", address = \"192.0.2.1\" }, { name = \"a\", address = \"192.0.2.2\" }]",
            "5:61: error: two backends of \"pools.web\" are named \"a\"",
        ),
        (
            "backends = [{ name = \"a b\", address = \"192.0.2.1\" }]",
            "5:22: error: a backend's name has 1 to 63 letters, digits or \"_.:-\", not \"a b\"",
        ),
        (
            "key = \"name\"\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:1: error: \"pools.web.key\" is heeded with policy = \"hash\" or family = \"together\" alone",
        ),
        (
            "policy = \"hash\"\nkey = \"name\"\nipv4_prefix = 20\nbackends = [{ address = \"192.0.2.1\" }]",
            "7:1: error: \"pools.web.ipv4_prefix\" is of no use with key = \"name\"",
        ),
        (
            "at = [91, 0]\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:6: error: \"pools.web.at\" must be a place like [50.11, 8.68]: degrees of latitude and longitude, not a list",
        ),
        (
            "spread = \"zome\"\nbackends = [{ address = \"192.0.2.1\", labels = { zone = \"a\" } }]",
            "5:10: error: no backend has the label \"zome\", over which answers are to be spread; did you mean \"zone\"?",
        ),
        (
            "policy = \"weihgted\"\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:10: error: \"pools.web.policy\" must be \"round-robin\", \"weighted\", \"random\", \"hash\" or \"least-load\", not \"weihgted\"; did you mean \"weighted\"?",
        ),
        (
            "answers = 0\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:11: error: \"pools.web.answers\" must be a number from 1 to 1000, not 0",
        ),
        (
            "min_healthy = \"half\"\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:15: error: \"pools.web.min_healthy\" must be a share from \"0%\" to \"100%\", in quotes, not \"half\"",
        ),
        (
            "ttl = { max = 5, min = 60 }\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:7: error: \"pools.web.ttl\" has min 60 above max 5",
        ),
        (
            "ttl = { max = 5 }\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:7: error: \"pools.web.ttl\" lacks \"min\": both max and min are required",
        ),
        ("check = \"x\"\nbackends = [{ address = \"192.0.2.1\" }]", "5:9: error: there is no check \"x\""),
        (
            "check = \"x\"\nchecks = [\"x\"]\nbackends = [{ address = \"192.0.2.1\" }]\n[checks.x]\ntype = \"http\"",
            "6:1: error: \"pools.web\" has both \"check\" and \"checks\"; one of them says it all",
        ),
        (
            "on_all_down = { to = \"web\" }\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:22: error: on_all_down goes in a circle: web -> web",
        ),
        (
            "on_all_down = { to = \"b\" }\nbackends = [{ address = \"192.0.2.1\" }]\n[pools.b]\non_all_down = { to = \"web\" }\nbackends = [{ address = \"192.0.2.1\" }]",
            "8:22: error: on_all_down goes in a circle: b -> web -> b",
        ),
        (
            "check = \"c\"\nbackends = [{ address = \"192.0.2.1\" }]\n[checks.c]\ntype = \"tcp\"",
            "6:13: error: check \"c\" on backend \"192.0.2.1\" needs a port, and neither the check nor the backend has one",
        ),
        (
            "check = \"c\"\nbackends = [{ address = \"192.0.2.1\" }]\n[checks.c]\ntype = \"http\"\nsource = \"::1\"",
            "6:13: error: check \"c\" on backend \"192.0.2.1\" probes from ::1, which cannot reach 192.0.2.1: the families differ",
        ),
    ];
    for (text, expected) in table {
        let errors = errors_after_zone(&format!("[pools.web]\n{text}"));
        let first = errors.first().unwrap().strip_prefix("zones/z.toml:").unwrap();
        if first != *expected {
            wrong.push(format!("{text}\n  found    {first}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_in_checks_is_said_with_its_place() {
    let mut wrong = Vec::new();
    let table: &[(&str, &str)] = &[
        (
            "",
            "4:9: error: check \"checks.c\" lacks \"type\": tcp, http, https, grpc, dns, tls, icmp, exec, file, push, agent, of",
        ),
        (
            "type = \"htpp\"",
            "5:8: error: \"checks.c.type\" must be \"tcp\", \"http\", \"https\", \"grpc\", \"dns\", \"tls\", \"icmp\", \"exec\", \"file\", \"push\", \"agent\" or \"of\", not \"htpp\"; did you mean \"http\"?",
        ),
        (
            "type = \"ping\"",
            "5:8: error: \"checks.c.type\" must be \"tcp\", \"http\", \"https\", \"grpc\", \"dns\", \"tls\", \"icmp\", \"exec\", \"file\", \"push\", \"agent\" or \"of\", not \"ping\"",
        ),
        (
            "type = \"tcp\"\npath = \"/\"",
            "6:1: error: unknown key \"path\" in checks.c; known here: type, interval, timeout, fall, rise, fast_interval, jitter, invert, forgive, port, source, target, watch, send, expect",
        ),
        (
            "type = \"tcp\"\ninterval = 5",
            "6:12: error: \"checks.c.interval\" must be a duration in quotes, not 5; write \"5s\" if seconds are meant",
        ),
        (
            "type = \"tcp\"\ninterval = \"5 parsecs\"",
            "6:12: error: \"checks.c.interval\" must be a duration like \"500ms\", \"10s\" or \"5m\": unknown time unit \"parsecs\", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)",
        ),
        (
            "type = \"tcp\"\ninterval = \"0s\"",
            "6:12: error: \"checks.c.interval\" must be a duration of more than none and at most 24h, not \"0s\"",
        ),
        (
            "type = \"tcp\"\ninterval = \"1s\"\ntimeout = \"2s\"",
            "7:11: error: \"checks.c.timeout\" must be at most the interval, 1s, not 2s",
        ),
        ("type = \"tcp\"\nrise = 0", "6:8: error: \"checks.c.rise\" must be a number from 1 to 1000, not 0"),
        (
            "type = \"tcp\"\njitter = \"110%\"",
            "6:10: error: \"checks.c.jitter\" must be a share from \"0%\" to \"100%\", in quotes, not \"110%\"",
        ),
        (
            "type = \"http\"\npath = \"x\"",
            "6:8: error: \"checks.c.path\" must be a path that begins with \"/\", without blanks, \"#\" or octets outside ASCII, not \"x\"",
        ),
        (
            "type = \"http\"\nexpect_status = [\"200-99\"]",
            "6:18: error: \"checks.c.expect_status[0]\" must be a status from 100 to 999 or a range like \"200-399\", not \"200-99\"",
        ),
        ("type = \"https\"\ntls = { ca = \"gone.pem\" }", "6:14: error: zones/gone.pem does not exist"),
        (
            "type = \"https\"\ntls = { ca = \"z.toml\" }",
            "6:14: error: zones/z.toml holds no PEM certificate, or a broken one",
        ),
    ];
    for (text, expected) in table {
        let errors = errors_after_zone(&format!("[checks.c]\n{text}"));
        let first = errors.first().unwrap().strip_prefix("zones/z.toml:").unwrap();
        if first != *expected {
            wrong.push(format!("{text}\n  found    {first}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_errors_of_all_files_come_at_once() {
    let world = World::new(&[
        ("rollcall.toml", "intervall = 5\n[log]\nlevel = 1\n"),
        ("zones/a.toml", "zone = \"a\"\nx = 1\n[records]\n\"@\" = { NS = \"ns.b.\", A = \"x\" }\ny = 5\n"),
        ("zones/b.zone", "$ORIGIN b.\n@ IN SOA ns hm 1 2 3 4 5\n@ IN NS\n"),
        ("zones/c.toml", "zone = \"c\nttl = 5\n= 3\n"),
    ]);
    let places: Vec<String> =
        world.errors().iter().map(|line| line.split(": error").next().unwrap().to_owned()).collect();
    assert_eq!(
        places,
        [
            "rollcall.toml:1:1",
            "rollcall.toml:3:9",
            "zones/a.toml:2:1",
            "zones/a.toml:4:27",
            "zones/a.toml:5:5",
            "zones/b.zone:3:1",
            "zones/c.toml:1:10",
            "zones/c.toml:3:1"
        ]
    );
}

#[test]
fn an_unknown_key_is_shown_with_a_caret() {
    let world = World::new(&[("zones/z.toml", &format!("{ZONE}[checks.web]\ntype = \"tcp\"\nintervall = \"5s\"\n"))]);
    let error = world.load().unwrap_err();
    let found = &error.diagnostics[0];
    assert_eq!((found.line, found.column, found.key.as_str()), (6, 1, "checks.web.intervall"));
    let path = world.path("zones/z.toml");
    assert_eq!(
        found.rendered,
        format!(
            "error: unknown key \"intervall\" in checks.web\n --> {}:6:1\n  |\n6 | intervall = \"5s\"\n  | ^^^^^^^^^\n  |\n  = help: {}",
            path.display(),
            found.help.as_deref().unwrap()
        )
    );
    assert!(found.help.as_deref().unwrap().starts_with("did you mean \"interval\"? known here: type, interval,"));
}

#[test]
fn files_that_are_no_text_are_refused() {
    let world = World::new(&[]);
    std::fs::write(world.path("zones/z.toml"), b"zone = \"a\"\n# \xff\n").unwrap();
    assert_eq!(world.errors(), ["zones/z.toml: error: zones/z.toml is not UTF-8 text (line 2)"]);
    let world = World::new(&[]);
    nix::unistd::mkfifo(&world.path("zones/z.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(world.errors(), ["zones/z.toml: error: zones/z.toml is not a regular file"]);
    let missing = load(Some(Path::new("/nonexistent/rollcall.toml"))).unwrap_err();
    assert_eq!(missing.to_string(), "/nonexistent/rollcall.toml: error: /nonexistent/rollcall.toml does not exist");
}

#[test]
fn no_bytes_panic_or_hang() {
    let toml = format!("{ZONE}{POOLS}");
    let world = World::new(&[]);
    for end in 0..=toml.len() {
        world.write("zones/z.toml", &toml[..end]);
        let _ = world.load();
    }
    let world = World::new(&[]);
    let master = "$TTL 5\n@ SOA ns hm ( 1 2 ; x\n 3 4 5 )\n NS ns\na\\032b 5 IN TXT \"a\\\"b\" ( c\n \\100 )\nx TYPE65280 \\# 4 0A00 0001\ns SVCB 1 . alpn=\"h2\"\n$INCLUDE y w\n";
    for end in 0..=master.len() {
        world.write("zones/z.zone", &master[..end]);
        let _ = world.load();
    }
    let long = "x".repeat(1 << 20);
    let deep = |open: &str, close: &str| format!("zone = {}{}", open.repeat(20_000), close.repeat(20_000));
    for text in [
        format!("zone = \"{long}\""),
        format!("{long} = 1"),
        format!("{ZONE}{long} = {{ A = \"1.2.3.4\" }}"),
        format!("{ZONE}a = {{ TXT = \"{long}\" }}"),
        format!("{ZONE}a = {{ MX = \"{long}\" }}"),
        deep("[", "]"),
        deep("{a=", "}"),
        format!("{}x = 1", "a.".repeat(50_000)),
        "\0".repeat(1000),
        "zone = \"a\0b\"".to_owned(),
    ] {
        let _ = zone_errors(&text);
    }
    for text in [
        format!("{long}\n"),
        format!("@ SOA {long}\n"),
        format!("@ TXT \"{long}\"\n"),
        "(".repeat(100_000),
        "\"".repeat(100_001),
        "\\".repeat(100_001),
        "$INCLUDE \n$ORIGIN\n$\n".to_owned(),
        "@ IN SOA a b 1 2 3 4 5\n@ NS \\".to_owned(),
        ". 0 TYPE1 \\# 0".to_owned(),
    ] {
        let _ = World::new(&[("zones/z.zone", &text)]).errors();
    }
}

#[test]
fn a_flood_of_errors_is_cut() {
    let rest: String = (0..5000).map(|number| format!("x{number} = 5\n")).collect();
    let errors = errors_after_zone(&rest);
    assert_eq!(errors.len(), 201);
    assert_eq!(errors[200], "zones/z.toml: error: and 4800 more like these");
}

#[test]
fn a_long_key_is_named_shortly() {
    let world = World::new(&[("zones/z.toml", &format!("{ZONE}{} = 1\n", "x".repeat(1 << 20)))]);
    let error = world.load().unwrap_err();
    assert!(error.diagnostics[0].message.len() < 2000 && error.diagnostics[0].rendered.len() < 4000);
}

/// The reader asserts its invariants on this text (found by fuzzing); that is an error of the record, not of the program.
#[test]
fn a_reader_that_gives_up_is_an_error_with_a_place() {
    super::quiet_guarded_panics();
    let text = "$ORIGIN  2001:db8::1\n*.w CNAME ns1\nd DNAME othes.test.\nt TXT  fuzz.ex$ORIGIN fuzz.exama host  ( ";
    let errors = World::new(&[("zones/a.example.zone", text)]).errors();
    assert!(errors[0].starts_with("zones/a.example.zone:4:1: error: "), "{errors:?}");
}
