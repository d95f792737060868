//! Files in, plan or exact messages out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::LoadError;
use super::plan::*;
use super::*;
use crate::engine::probe::ProbeKind;

/// A directory with files in it.
struct World {
    directory: tempfile::TempDir,
}

const ZONE: &str = "zone = \"example.com\"\n[records]\n\"@\" = { NS = \"ns1.example.net.\" }\n";

impl World {
    fn new(files: &[(&str, &str)]) -> World {
        let world = World { directory: tempfile::tempdir().unwrap() };
        world.write("rollcall.toml", "");
        std::fs::create_dir(world.path("zones")).unwrap();
        files.iter().for_each(|(name, text)| world.write(name, text));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn load(&self) -> Result<Plan, LoadError> {
        load(Some(&self.path("rollcall.toml")))
    }

    fn plan(&self) -> Plan {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Errors, one a line, paths relative to the directory.
    fn errors(&self) -> Vec<String> {
        let error = self.load().expect_err("this must not load");
        assert!(!error.diagnostics.is_empty());
        self.lines(&error.diagnostics)
    }

    fn warnings(&self) -> Vec<String> {
        self.lines(&self.plan().warnings)
    }

    fn lines(&self, all: &[diagnostic::Diagnostic]) -> Vec<String> {
        let prefix = format!("{}/", self.directory.path().display());
        all.iter().map(|each| each.to_string().replace(&prefix, "")).collect()
    }
}

/// Errors of a zone file.
fn zone_errors(text: &str) -> Vec<String> {
    World::new(&[("zones/z.toml", text)]).errors()
}

/// Errors of what follows a good zone's first lines (three of them).
fn errors_after_zone(rest: &str) -> Vec<String> {
    zone_errors(&format!("{ZONE}{rest}"))
}

fn server_errors(text: &str) -> Vec<String> {
    World::new(&[("rollcall.toml", text), ("zones/z.toml", ZONE)]).errors()
}

#[test]
fn an_empty_server_file_means_the_defaults() {
    let world = World::new(&[("zones/z.toml", ZONE)]);
    let plan = world.plan();
    let server = &plan.server;
    assert_eq!(server.file, Some(world.path("rollcall.toml")));
    let dns: Vec<String> = server.dns.iter().map(|listen| format!("{} {}", listen.address, listen.optional)).collect();
    assert_eq!(dns, ["127.0.0.1:5300 false", "[::1]:5300 true"]);
    assert_eq!((&server.control, &server.state_dir, &server.user), (&None, &None, &None));
    assert_eq!(server.dns_options.max_udp_payload, 1232);
    assert!(server.dns_options.cookies && server.dns_options.nsid.is_empty());
    let limit = server.dns_options.rate_limit.as_ref().unwrap();
    assert_eq!((limit.responses_per_second, limit.slip, limit.log_only, limit.exempt.len()), (500, 2, false, 2));
    assert!(server.udp_workers >= 1);
    assert_eq!((server.log_level.as_str(), server.log_json), ("info", false));
    assert_eq!(server.watched, [world.path("zones"), world.path("rollcall.toml"), world.path("zones/z.toml")]);
    assert!(plan.warnings.is_empty());
}

#[test]
fn every_key_of_the_server_file_is_read() {
    let world = World::new(&[("zones/z.toml", ZONE), ("c.pem", ""), ("k.pem", "")]);
    world.write(
        "rollcall.toml",
        r#"
zones = ["zones/z.toml"]
state_dir = "state"
user = "rollcall"
[listen]
dns = ["127.0.0.1:0"]
tls = ["0.0.0.0:853"]
https = ["[::]:443"]
quic = "0.0.0.0:853"
control = "unix:/run/rollcall/control.sock"
[tls]
cert = "c.pem"
key = "k.pem"
[dns]
udp_workers = 3
max_udp_payload = 4096
nsid = "ams1"
version = "none of your business"
id = "node 7"
[dns.cookies]
enabled = false
secrets = ["000102030405060708090a0b0c0d0e0F"]
[dns.rate_limit]
enabled = false
exempt = ["10.0.0.0/8", "192.0.2.1"]
[log]
level = "debug"
format = "json"
"#,
    );
    let server = world.plan().server;
    assert_eq!(server.state_dir, Some(world.path("state")));
    assert_eq!(server.user.as_deref(), Some("rollcall"));
    assert_eq!(server.dns.len(), 1);
    assert_eq!((server.tls.len(), server.https.len(), server.quic.len()), (1, 1, 1));
    assert_eq!(server.control, Some(ControlAddress::Unix("/run/rollcall/control.sock".into())));
    assert_eq!(server.certificate, Some(CertificateFiles { cert: world.path("c.pem"), key: world.path("k.pem") }));
    assert_eq!((server.udp_workers, server.dns_options.max_udp_payload), (3, 4096));
    assert_eq!(server.dns_options.nsid, b"ams1");
    assert_eq!(server.dns_options.version, b"none of your business");
    assert_eq!(server.dns_options.id, b"node 7");
    assert_eq!(server.dns_options.cookie_secrets, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]]);
    assert!(!server.dns_options.cookies && server.dns_options.rate_limit.is_none());
    assert_eq!((server.log_level.as_str(), server.log_json), ("debug", true));
}

#[test]
fn what_is_wrong_in_the_server_file_is_said_with_its_place() {
    let table: &[(&str, &str)] = &[
        (
            "zone = 1",
            "rollcall.toml:1:1: error: unknown key \"zone\"; did you mean \"zones\"? known here: zones, state_dir, user, listen, tls, dns, log, checks, pools",
        ),
        ("[routes]", "rollcall.toml:1:2: error: \"routes\" is not supported by this version"),
        ("user = 5", "rollcall.toml:1:8: error: \"user\" must be a string, not 5"),
        (
            "user = \"\"",
            "rollcall.toml:1:8: error: \"user\" must be a text that is not empty; leave the key out to have none, not \"\"",
        ),
        (
            "[dns]\nmax_udp_payload = 511",
            "rollcall.toml:2:19: error: \"dns.max_udp_payload\" must be a number from 512 to 4096, not 511",
        ),
        (
            "[dns]\nudp_workers = -1",
            "rollcall.toml:2:15: error: \"dns.udp_workers\" must be a number from 0 to 1024, not -1",
        ),
        (
            "[dns.cookies]\nsecrets = [\"abc\"]",
            "rollcall.toml:2:12: error: \"dns.cookies.secrets[0]\" must be 32 hexadecimal digits (16 octets)",
        ),
        (
            "[dns.rate_limit]\nexempt = [\"10.1.0.0/8\"]",
            "rollcall.toml:2:11: error: \"dns.rate_limit.exempt[0]\" must be a network without bits behind its prefix, here \"10.0.0.0/8\", not \"10.1.0.0/8\"",
        ),
        (
            "[listen]\ndns = [\"127.0.0.1\"]",
            "rollcall.toml:2:8: error: \"listen.dns[0]\" must be an IP address with a port, like \"192.0.2.1:53\" or \"[2001:db8::1]:53\", not \"127.0.0.1\"; write \"127.0.0.1:53\"",
        ),
        (
            "[listen]\ndns = [\"127.0.0.1:53\", \"127.0.0.1:53\"]",
            "rollcall.toml:2:24: error: 127.0.0.1:53 is listed twice",
        ),
        (
            "[listen]\ntls = [\"0.0.0.0:853\"]",
            "rollcall.toml:2:1: error: \"listen.tls\" needs a certificate, and there is no [tls]; add [tls] with cert = \"fullchain.pem\" and key = \"privkey.pem\"",
        ),
        (
            "[listen]\ncontrol = \"0.0.0.0:8053\"",
            "rollcall.toml:2:11: error: \"listen.control\" may be a loopback address or a unix socket only, since without tokens whoever reaches 0.0.0.0:8053 could change answers; use \"127.0.0.1:8053\" or \"unix:/run/rollcall/control.sock\"",
        ),
        (
            "[tls]\ncert = \"rollcall.toml\"",
            "rollcall.toml:1:2: error: [tls] lacks \"key\": both cert and key are required",
        ),
        (
            "[log]\nlevel = \"inof\"",
            "rollcall.toml:2:9: error: \"log.level\" must be \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", not \"inof\"; did you mean \"info\"?",
        ),
        ("[log\nlevel = 1", "rollcall.toml:1:5: error: unclosed table, expected `]`"),
        ("zones = []", "zones: error: no zone: the list \"zones\" is empty"),
        ("zones = [\"gone.toml\"]", "rollcall.toml:1:10: error: gone.toml does not exist"),
        (
            "zones = \"gone\"",
            "rollcall.toml:1:9: error: the zone directory gone does not exist; create it and put a zone file into it, or set zones = \"DIRECTORY\" in rollcall.toml",
        ),
        (
            "zones = \"zones/z.toml\"",
            "rollcall.toml:1:9: error: zones/z.toml is no directory; zone files are listed like this: zones = [\"zones/z.toml\"]",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(server_errors(text).join("\n"), *expected, "{text}");
    }
}

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
            "5:15: error: unknown key \"adress\" in pools.web.backends[0]; did you mean \"address\"? known here: name, address, port, weight, tier, host, state, check, checks, labels",
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
            "policy = \"hash\"\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:10: error: policy \"hash\" is not supported by this version, which knows round-robin, weighted and random",
        ),
        (
            "policy = \"weihgted\"\nbackends = [{ address = \"192.0.2.1\" }]",
            "5:10: error: \"pools.web.policy\" must be \"round-robin\", \"weighted\" or \"random\", not \"weihgted\"; did you mean \"weighted\"?",
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
        ("", "4:9: error: check \"checks.c\" lacks \"type\": tcp, http or https"),
        (
            "type = \"htpp\"",
            "5:8: error: \"checks.c.type\" must be \"tcp\", \"http\" or \"https\", not \"htpp\"; did you mean \"http\"?",
        ),
        (
            "type = \"icmp\"",
            "5:8: error: check type \"icmp\" is not supported by this version, which knows tcp, http and https",
        ),
        (
            "type = \"tcp\"\npath = \"/\"",
            "6:1: error: unknown key \"path\" in checks.c; known here: type, interval, timeout, fall, rise, fast_interval, jitter, port, invert, source, watch, send, expect",
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
fn the_zone_directory_rule() {
    let world =
        World::new(&[("zones/.hidden.toml", "broken"), ("zones/notes.txt", "broken"), ("zones/z.toml~", "broken")]);
    std::fs::create_dir(world.path("zones/dir.toml")).unwrap();
    assert_eq!(
        world.errors(),
        [
            "zones: error: no zone: zones holds no file that ends in .toml or .zone; put a zone file into it, like zones/example.com.toml"
        ]
    );
    world.write("real", ZONE);
    std::os::unix::fs::symlink(world.path("real"), world.path("zones/link.toml")).unwrap();
    world.write("zones/example.net.zone", "@ 60 IN SOA ns hm 7 2 3 4 5\n NS ns\nns A 192.0.2.1\n");
    let plan = world.plan();
    let zones: Vec<String> = plan.zones.iter().map(|zone| zone.origin.to_string()).collect();
    assert_eq!(zones, ["example.com.", "example.net."]);
    assert_eq!(plan.zones[1].serial, SerialPlan::Fixed(7));
    std::os::unix::fs::symlink("nowhere", world.path("zones/dangling.toml")).unwrap();
    assert_eq!(world.errors(), ["zones/dangling.toml: error: zones/dangling.toml does not exist"]);
}

#[test]
fn one_zone_in_two_files_is_refused_naming_both() {
    let world = World::new(&[("zones/a.toml", ZONE), ("zones/b.toml", &ZONE.replace("example.com", "EXAMPLE.com."))]);
    let error = world.load().unwrap_err();
    assert_eq!(
        world.lines(&error.diagnostics),
        ["zones/b.toml:1:8: error: the zone example.com. stands in two files: zones/a.toml and zones/b.toml"]
    );
    assert!(error.diagnostics[0].rendered.contains("zones/a.toml:1:8"), "{}", error.diagnostics[0].rendered);
}

const POOLS: &str = r#"
[soa]
rname = "admin"
[checks.web]
type = "http"
port = 8080
path = "/healthz"
interval = "5s"
[checks.same]
type = "http"
port = 8080
path = "/healthz"
interval = "5s"
[checks.tcp]
type = "tcp"
interval = "1s"
jitter = "5%"
[pools.web]
checks = ["web", "tcp"]
policy = "weighted"
ttl = { max = 60, min = 5 }
min_healthy = "50%"
on_all_down = { to = "spare" }
backends = [
  { name = "a", address = "192.0.2.10", port = 81, weight = 3, host = "a.example", labels = { rack = "1" } },
  { address = ["192.0.2.11", "2001:db8::11"], check = "same", state = "drain" },
  { name = "c", address = "192.0.2.12", tier = 1, checks = [] },
]
[pools.spare]
check = "same"
backends = [{ address = "192.0.2.11" }]
[names]
www = "web"
"@" = { to = "spare", type = "A", ttl = 10, answers = 2 }
"*.apps" = [{ to = "web", type = "A" }, { to = "spare", type = "AAAA" }]
"#;

#[test]
fn pools_names_and_probes_are_resolved_and_equal_probes_are_one() {
    let plan = World::new(&[("zones/z.toml", &format!("{ZONE}{POOLS}"))]).plan();
    let names: Vec<String> = plan.zones[0]
        .names
        .iter()
        .map(|name| {
            format!("{} {} {} {:?} {}", name.owner, name.rtype, plan.pools[name.pool].name, name.ttl, name.answers)
        })
        .collect();
    assert_eq!(
        names,
        [
            "www.example.com. 1 web Adaptive { max: 60, min: 5 } 1",
            "www.example.com. 28 web Adaptive { max: 60, min: 5 } 1",
            "example.com. 1 spare Fixed(10) 2",
            "*.apps.example.com. 1 web Adaptive { max: 60, min: 5 } 1",
            "*.apps.example.com. 28 spare Fixed(30) 8",
        ]
    );
    let pool = plan.pools.iter().find(|pool| pool.name == "web").unwrap();
    assert_eq!(
        (pool.policy, pool.min_healthy, pool.initial),
        (PolicyKind::Weighted, MinHealthy::Share(500), Initial::Wait)
    );
    let OnAllDown::To(other) = pool.on_all_down else { panic!("{:?}", pool.on_all_down) };
    assert_eq!(plan.pools[other].name, "spare");
    let [a, b, c] = &pool.backends[..] else { panic!() };
    assert_eq!((a.weight, a.labels["rack"].as_str(), a.probes_v4.len()), (3, "1", 2));
    assert_eq!(
        (b.name.as_str(), b.state, b.probes_v4.len(), b.probes_v6.len()),
        ("192.0.2.11", AdminState::Drain, 1, 1)
    );
    assert_eq!((c.tier, c.probes_v4.len()), (1, 0));

    // a: web and tcp; b: one a family; the spare's probe is b's, though its pool and backend are others.
    assert_eq!(plan.probes.len(), 4);
    assert_eq!(plan.pools[other].backends[0].probes_v4[0].probe, b.probes_v4[0].probe);
    let http = &plan.probes[a.probes_v4[0].probe];
    assert_eq!(http.target.to_string(), "192.0.2.10:8080");
    assert_eq!((http.timing.interval, http.timing.timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!((http.timing.rise, http.timing.fall, http.timing.jitter_permille), (2, 3, 100));
    let ProbeKind::Http(probe) = &http.kind else { panic!() };
    assert_eq!((probe.host.as_str(), probe.path.as_str(), probe.method.as_str()), ("a.example", "/healthz", "GET"));
    assert_eq!((&probe.expect_status[..], &probe.tls), (&[(200, 399)][..], &None));
    let tcp = &plan.probes[a.probes_v4[1].probe];
    assert_eq!(
        (tcp.target.port(), tcp.timing.timeout, tcp.timing.jitter_permille),
        (81, Duration::from_millis(500), 50)
    );
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn ports_and_hosts_come_from_the_check_then_the_backend_then_the_type() {
    let text = r#"
[checks]
plain = { type = "http" }
secure = { type = "https", port = 8443, host = "check.example", tls = { verify = false } }
[pools.p]
checks = ["plain", "secure"]
backends = [{ address = "2001:db8::1", host = "backend.example", port = 99 }, { address = "192.0.2.1" }]
[names]
www = "p"
"#;
    let plan = World::new(&[("zones/z.toml", &format!("{ZONE}{text}"))]).plan();
    let shown: Vec<String> = plan
        .probes
        .iter()
        .map(|probe| {
            let ProbeKind::Http(http) = &probe.kind else { panic!() };
            format!("{} {} {:?}", probe.target, http.host, http.tls.as_ref().map(|tls| tls.verify))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "[2001:db8::1]:99 backend.example None",
            "[2001:db8::1]:8443 check.example Some(false)",
            "192.0.2.1:80 192.0.2.1 None",
            "192.0.2.1:8443 check.example Some(false)",
        ]
    );
}

#[test]
fn a_pool_of_the_server_file_stands_once_in_each_zone_that_uses_it() {
    let server = "[checks.c]\ntype = \"http\"\n[pools.shared]\ncheck = \"c\"\non_all_down = { to = \"last\" }\nbackends = [{ address = \"192.0.2.1\" }]\n[pools.last]\nbackends = [{ address = \"192.0.2.2\" }]\n[pools.idle]\nbackends = [{ address = \"192.0.2.3\" }]\n";
    let zone = |name: &str, ttl: u32| {
        format!(
            "zone = \"{name}\"\nttl = {ttl}\n[records]\n\"@\" = {{ NS = \"ns.x.\" }}\n[names]\nwww = \"shared\"\nftp = \"shared\"\n"
        )
    };
    let world =
        World::new(&[("rollcall.toml", server), ("zones/a.toml", &zone("a", 10)), ("zones/b.toml", &zone("b", 20))]);
    let plan = world.plan();
    let pools: Vec<String> =
        plan.pools.iter().map(|pool| format!("{} {} {:?}", pool.zone, pool.name, pool.ttl)).collect();
    assert_eq!(pools, ["a. shared Fixed(10)", "a. last Fixed(10)", "b. shared Fixed(20)", "b. last Fixed(20)"]);
    assert_eq!(plan.pools[2].on_all_down, OnAllDown::To(3));
    assert_eq!(plan.probes.len(), 1);
    assert_eq!(world.warnings(), ["rollcall.toml:9:8: warning: no zone uses the pool \"idle\""]);

    world.write(
        "zones/a.toml",
        &format!("{}[pools.shared]\nbackends = [{{ address = \"192.0.2.9\" }}]\n", zone("a", 10)),
    );
    assert_eq!(
        world.errors(),
        ["zones/a.toml:8:8: error: the pool \"shared\" stands both here and in the server file"]
    );
}

#[test]
fn a_pool_that_no_name_uses_is_kept_and_said() {
    let world =
        World::new(&[("zones/z.toml", &format!("{ZONE}[pools.web]\nbackends = [{{ address = \"192.0.2.1\" }}]\n"))]);
    assert_eq!(world.plan().pools.len(), 1);
    assert_eq!(
        world.warnings(),
        ["zones/z.toml:4:8: warning: no name answers from the pool \"web\"; it is probed all the same"]
    );
}

#[test]
fn a_balanced_owner_with_static_addresses_is_refused_naming_both_places() {
    let text = "WWW = { A = [\"192.0.2.1\", \"192.0.2.2\"], TXT = \"fine\" }\n[pools.web]\nbackends = [{ address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\n";
    let world = World::new(&[("zones/z.toml", &format!("{ZONE}{text}"))]);
    let error = world.load().unwrap_err();
    assert_eq!(
        world.lines(&error.diagnostics),
        ["zones/z.toml:4:14: error: www.example.com. answers from a pool, so it can have no static A"]
    );
    assert!(error.diagnostics[0].rendered.contains("balanced here"), "{}", error.diagnostics[0].rendered);
}

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
fn the_summary_counts_what_was_loaded() {
    let world = World::new(&[("zones/z.toml", &format!("{ZONE}{POOLS}"))]);
    let plan = world.plan();
    let records = plan.zones[0].data.record_count();
    assert_eq!(
        plan.summary(),
        [format!(
            "zone example.com ({}): {records} record{}, 3 names, 2 pools, 4 backends",
            world.path("zones/z.toml").display(),
            if records == 1 { "" } else { "s" }
        )]
    );
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
