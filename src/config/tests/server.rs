//! The server file, and which zone files there are.

use super::*;

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
            "rollcall.toml:1:1: error: unknown key \"zone\"; did you mean \"zones\"? known here: zones, state_dir, user, listen, tls, dns, control, log, checker, reload, events, checks, pools, routes, maps",
        ),
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
            "rollcall.toml:2:11: error: \"listen.control\" may be a loopback address or a unix socket only, since without tokens whoever reaches 0.0.0.0:8053 could change answers; use \"127.0.0.1:8053\" or \"unix:/run/rollcall/control.sock\", or name a file of tokens: [control] tokens = \"tokens.toml\"",
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
