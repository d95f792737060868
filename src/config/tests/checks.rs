//! Every check type: what it becomes, and what is said of slips.

use super::*;
use crate::engine::probe::{Later, ProbeKind, ProbeSpec};

const POOL: &str = "[pools.web]\ncheck = \"c\"\nbackends = [{ name = \"a\", address = \"192.0.2.1\", port = 81 }]\n[names]\nwww = \"web\"\n";

fn probes(checks: &str, files: &[(&str, &str)]) -> Vec<ProbeSpec> {
    let zone = format!("{ZONE}{POOL}{checks}");
    let all: Vec<(&str, &str)> = files.iter().copied().chain([("zones/z.toml", zone.as_str())]).collect();
    World::new(&all).plan().probes.iter().map(|spec| ProbeSpec::clone(spec)).collect()
}

fn probe(check: &str) -> ProbeSpec {
    probes(&format!("[checks.c]\n{check}"), &[]).remove(0)
}

#[test]
fn every_type_has_its_port_and_its_defaults() {
    let target = |check: &str| probe(check).target.to_string();
    assert_eq!(target("type = \"grpc\""), "192.0.2.1:81");
    assert_eq!(target("type = \"icmp\""), "192.0.2.1:0");
    assert_eq!(target("type = \"push\""), "192.0.2.1:0");
    assert_eq!(target("type = \"file\"\nfile = \"states\""), "192.0.2.1:0");
    let without_port = POOL.replace(", port = 81", "");
    for (check, port) in [
        ("type = \"grpc\"", 80),
        ("type = \"grpc\"\ntls = true", 443),
        ("type = \"tls\"", 443),
        ("type = \"dns\"\nname = \"example.com\"", 53),
    ] {
        let zone = format!("{ZONE}{without_port}[checks.c]\n{check}");
        assert_eq!(World::new(&[("zones/z.toml", &zone)]).plan().probes[0].target.port(), port, "{check}");
    }
    let ProbeKind::Dns(dns) = probe("type = \"dns\"\nname = \"h.example\"\nexpect_rcode = [\"NXDOMAIN\", 0]").kind
    else {
        panic!("no dns");
    };
    assert_eq!((dns.name.to_string(), dns.rtype, dns.expect_rcode), ("h.example.".to_owned(), 1, vec![3, 0]));
    let push = probe("type = \"push\"\nttl = \"90s\"");
    assert_eq!((push.timing.interval.as_secs(), push.timing.fall, push.timing.rise), (90, 1, 1));
    let ProbeKind::Tls(tls) = probe("type = \"tls\"\ndays = 14\nhost = \"www.example\"").kind else { panic!("no tls") };
    assert_eq!((tls.days, tls.host.as_str(), tls.tls.verify), (14, "www.example", true));
    assert_eq!(probe("type = \"tcp\"\nforgive = 10").timing.forgive, Later(10));
    assert_eq!(probe("type = \"tcp\"\nforgive = 1"), probe("type = \"tcp\""), "one success forgives anyway");
}

#[test]
fn a_target_is_probed_in_place_of_the_address() {
    for (target, expected) in [
        ("198.51.100.9", "198.51.100.9:81"),
        ("198.51.100.9:8080", "198.51.100.9:8080"),
        (":8080", "192.0.2.1:8080"),
        ("2001:db8::9", "[2001:db8::9]:81"),
    ] {
        assert_eq!(probe(&format!("type = \"tcp\"\ntarget = \"{target}\"")).target.to_string(), expected);
    }
    // Two backends behind one target are one probe.
    let pool = POOL.replace("port = 81 }", "port = 81 }, { address = \"192.0.2.2\", port = 81 }");
    let zone = format!("{ZONE}{pool}[checks.c]\ntype = \"tcp\"\ntarget = \"198.51.100.9\"");
    assert_eq!(World::new(&[("zones/z.toml", &zone)]).plan().probes.len(), 1);
}

#[test]
fn checks_that_count_stand_behind_what_they_count_and_equal_probes_are_one() {
    let checks = "[checks.c]\ntype = \"of\"\nneed = 1\nchecks = [\"a\", \"!inner\"]\n\
                  [checks.a]\ntype = \"tcp\"\n[checks.b]\ntype = \"icmp\"\n\
                  [checks.inner]\ntype = \"of\"\nchecks = [\"a\", \"b\"]\n";
    let found = probes(checks, &[]);
    assert_eq!(found.len(), 4, "a, b, inner, c");
    let of = |spec: &ProbeSpec| match &spec.kind {
        ProbeKind::Of(of) => {
            (of.need, of.members.iter().map(|one| (one.check.clone(), one.inverted)).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(of(&found[2]), (2, vec![("a".to_owned(), false), ("b".to_owned(), false)]));
    assert_eq!(of(&found[3]), (1, vec![("a".to_owned(), false), ("inner".to_owned(), true)]));
}

#[test]
fn programs_run_only_where_the_server_file_says_so() {
    let check = "[checks.c]\ntype = \"exec\"\ncommand = [\"/bin/true\", \"x\"]";
    let zone = format!("{ZONE}{POOL}{check}");
    let said = World::new(&[("zones/z.toml", &zone)]).errors();
    assert!(said[0].contains("check \"checks.c\" runs a program, and that is off"), "{said:?}");
    assert!(said[0].contains("[checker]"), "{said:?}");
    let found = probes(check, &[("rollcall.toml", "[checker]\nexec = true\n")]);
    let ProbeKind::Exec(exec) = &found[0].kind else { panic!("{found:?}") };
    assert_eq!((exec.command.join(" "), exec.backend.as_str()), ("/bin/true x".to_owned(), "a"));
    assert_eq!(found[0].target.port(), 81);
}

#[test]
fn slips_are_said_at_their_place() {
    let mut wrong = Vec::new();
    let table: &[(&str, &str)] = &[
        ("type = \"dns\"", "check \"checks.c\" lacks \"name\"; write name = \"health.example.com\""),
        ("type = \"dns\"\nname = \"a..b\"", "\"checks.c.name\" must be a domain name"),
        ("type = \"dns\"\nname = \"a\"\nrtype = \"Q\"", "\"checks.c.rtype\" must be a record type"),
        (
            "type = \"dns\"\nname = \"a\"\nexpect_rcode = [\"NOPE\"]",
            "\"checks.c.expect_rcode[0]\" must be an RCODE like \"NOERROR\" or \"NXDOMAIN\", or its number, not \"NOPE\"",
        ),
        ("type = \"icmp\"\nport = 7", "unknown key \"port\" in checks.c"),
        ("type = \"tls\"\ndays = -1", "\"checks.c.days\" must be a number from 0 to 3650, not -1"),
        ("type = \"file\"", "check \"checks.c\" lacks \"file\""),
        ("type = \"file\"\nfile = \"x\"\ndefault = \"maybe\"", "\"checks.c.default\" must be \"up\" or \"down\""),
        ("type = \"push\"\ninterval = \"1s\"", "unknown key \"interval\" in checks.c"),
        ("type = \"push\"\nttl = \"0s\"", "\"checks.c.ttl\" must be a duration of more than none"),
        ("type = \"agent\"\nfeedback = \"yes\"", "\"checks.c.feedback\" must be true or false, not \"yes\""),
        ("type = \"tcp\"\nfeedback = true", "unknown key \"feedback\" in checks.c"),
        ("type = \"tcp\"\nforgive = 0", "\"checks.c.forgive\" must be a number from 1 to 1000, not 0"),
        (
            "type = \"tcp\"\ntarget = \"www.example.com\"",
            "\"checks.c.target\" must be an address, an address with a port, or a port like \":8080\", not",
        ),
        ("type = \"tcp\"\ntarget = \":80\"\nport = 81", "\"checks.c.target\" has a port, and so has the key \"port\""),
        ("type = \"of\"", "check \"checks.c\" lacks \"checks\"; write checks = [\"web\", \"!backup\"]"),
        ("type = \"of\"\nchecks = []", "\"checks.c.checks\" must be 1 to 256 names of checks"),
        ("type = \"of\"\nchecks = [\"nope\"]", "there is no check \"nope\""),
        ("type = \"of\"\nchecks = [\"c\"]", "the check \"c\" counts itself: c -> c"),
        (
            "type = \"of\"\nchecks = [\"d\"]\n[checks.d]\ntype = \"of\"\nchecks = [\"!c\"]",
            "the check \"c\" counts itself: c -> d -> c",
        ),
        ("type = \"of\"\nchecks = [\"d\", \"!d\"]\n[checks.d]\ntype = \"icmp\"", "check \"d\" is counted twice"),
        ("type = \"of\"\nchecks = [\"d\"]\ninterval = \"1s\"", "unknown key \"interval\" in checks.c"),
    ];
    for (text, expected) in table {
        let errors = errors_after_zone(&format!("{POOL}[checks.c]\n{text}"));
        if !errors.iter().any(|error| error.contains(expected)) {
            wrong.push(format!("{text}\n  found    {errors:?}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_are_programs_that_are_there() {
    for (command, expected) in [
        ("\"/bin/true\"", "must be a list, the program and its arguments"),
        ("[]", "must be a program and its arguments"),
        ("[\"true\"]", "must be the absolute path of a program"),
        ("[\"/nowhere/check\"]", "/nowhere/check cannot be found"),
        ("[\"/etc/passwd\"]", "/etc/passwd is not executable"),
        ("[\"/bin\"]", "/bin is no file"),
    ] {
        let zone = format!("{ZONE}{POOL}[checks.c]\ntype = \"exec\"\ncommand = {command}");
        let errors = World::new(&[("rollcall.toml", "[checker]\nexec = true\n"), ("zones/z.toml", &zone)]).errors();
        assert!(errors.iter().any(|error| error.contains(expected)), "{command}: {errors:?}");
    }
}

#[test]
fn counts_that_never_or_always_pass_are_warned_of() {
    let warned = |need: u32| {
        let zone = format!(
            "{ZONE}{POOL}[checks.c]\ntype = \"of\"\nneed = {need}\nchecks = [\"d\"]\n[checks.d]\ntype = \"tcp\""
        );
        let plan = World::new(&[("zones/z.toml", &zone)]).plan();
        plan.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(warned(0).contains("needs none of its checks: it always passes"), "{}", warned(0));
    assert!(warned(2).contains("needs 2 of 1 checks: it never passes"), "{}", warned(2));
    assert_eq!(warned(1), "");
}
