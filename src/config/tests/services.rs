//! Balanced SRV, HTTPS, SVCB, backends elsewhere, and instances by port.

use super::*;

fn errors(rest: &str) -> String {
    World::new(&[("zones/a.toml", &format!("{ZONE}{rest}"))]).errors().join("\n")
}

#[test]
fn srv_wants_target_and_port_of_every_backend() {
    let pool = |a: &str, b: &str| {
        format!(
            "[pools.web]\nbackends = [{{ name = \"a\", address = \"192.0.2.1\"{a} }}, {{ name = \"b\", address = \"192.0.2.2\"{b} }}]\n\
             [names]\n\"_http._tcp\" = {{ to = \"web\", type = \"SRV\" }}\n"
        )
    };
    let message = errors(&pool("", ", port = 80"));
    assert!(message.contains("\"a\" lacks a target and a port, \"b\" lacks a target"), "{message}");
    assert!(message.contains("zones/a.toml:7:1"), "{message}");
    let message = errors(&pool(", port = 80, target = \"a..b\"", ", port = 80, target = \"b\""));
    assert!(message.contains("\"a..b\" is no domain name"), "{message}");
    let fine = pool(", port = 80, target = \"a\"", ", port = 80, target = \"b.example.org.\"");
    let plan = World::new(&[("zones/a.toml", &format!("{ZONE}{fine}"))]).plan();
    let targets: Vec<String> = plan.pools[0].backends.iter().map(|one| one.srv_target().unwrap().to_string()).collect();
    assert_eq!(targets, ["a.example.com.", "b.example.org."]);
}

#[test]
fn a_route_is_followed_to_what_srv_lacks() {
    let message = errors(
        "[pools.one]\nbackends = [{ address = \"192.0.2.1\" }]\n[routes.r]\ntype = \"failover\"\nchoices = [\"one\"]\n\
         [names]\n\"_x._tcp\" = { to = \"r\", type = \"SRV\" }\n",
    );
    assert!(message.contains("\"192.0.2.1\" lacks a target and a port"), "{message}");
}

#[test]
fn a_cname_stands_alone_and_never_at_the_apex() {
    let pool = "[pools.v]\nbackends = [{ cname = \"lb.vendor.net.\" }]\n[names]\n";
    let message = errors(&format!("{pool}\"@\" = \"v\"\n"));
    assert!(message.contains("is the zone's apex, where no CNAME can stand"), "{message}");
    let message = errors(&format!("www = {{ MX = \"10 mail\" }}\n{pool}www = \"v\"\n"));
    assert!(message.contains("has MX as well"), "{message}");
    let plan = World::new(&[("zones/a.toml", &format!("{ZONE}{pool}www = \"v\"\n"))]).plan();
    let backend = &plan.pools[0].backends[0];
    assert_eq!(
        (backend.name.as_str(), backend.cname.as_ref().unwrap().to_string().as_str()),
        ("lb.vendor.net", "lb.vendor.net.")
    );
}

#[test]
fn a_backend_is_either_here_or_elsewhere() {
    let pool = |backend: &str, more: &str| {
        format!("[pools.v]\n{more}backends = [{{ name = \"v\", {backend} }}]\n[names]\nwww = \"v\"\n")
    };
    let message = errors(&pool("cname = \"a\", address = \"192.0.2.1\"", ""));
    assert!(message.contains("has both \"address\" and \"cname\""), "{message}");
    let message = errors(&pool("port = 80", ""));
    assert!(message.contains("lacks \"address\""), "{message}");
    let message = errors(&pool("cname = \"a\"", "policy = \"hash\"\n"));
    assert!(message.contains("the client decides"), "{message}");
}

/// Whoever lives elsewhere is checked by a target of the check, by name as it is called there.
#[test]
fn a_backend_elsewhere_is_checked_by_a_target() {
    let zone = |check: &str| {
        format!(
            "{ZONE}[checks.c]\n{check}\n[pools.v]\ncheck = \"c\"\nbackends = [{{ name = \"v\", cname = \"lb.vendor.net.\" }}, \
             {{ name = \"w\", cname = \"w.vendor.net.\" }}]\n[names]\nwww = \"v\"\n"
        )
    };
    let specs = |check: &str| World::new(&[("zones/a.toml", &zone(check))]).plan();
    let message = World::new(&[("zones/a.toml", &zone("type = \"tcp\"\nport = 80"))]).errors().join("\n");
    assert!(message.contains("check \"c\" on backend \"v\" needs target = \"ADDRESS\""), "{message}");
    let message = World::new(&[("zones/a.toml", &zone("type = \"tcp\"\ntarget = \":80\""))]).errors().join("\n");
    assert!(message.contains("has no address of its own to probe"), "{message}");
    // One verdict in both families, and one probe of a target, however many stand behind it.
    let plan = specs("type = \"tcp\"\ntarget = \"192.0.2.9:80\"");
    let uses =
        |at: usize| (plan.pools[0].backends[at].probes(1)[0].probe, plan.pools[0].backends[at].probes(28)[0].probe);
    assert_eq!((plan.probes.len(), uses(0), uses(1)), (1, (0, 0), (0, 0)));
    let plan = specs("type = \"https\"\ntarget = \"192.0.2.9\"");
    let hosts: Vec<&str> = plan
        .probes
        .iter()
        .map(|spec| match &spec.kind {
            crate::engine::probe::ProbeKind::Http(http) => http.host.as_str(),
            _ => panic!(),
        })
        .collect();
    assert_eq!(hosts, ["lb.vendor.net", "w.vendor.net"]);
    assert_eq!(plan.probes[0].target.to_string(), "192.0.2.9:443");
    // What asks nobody needs no target; each is told apart by its backend.
    assert_eq!(specs("type = \"push\"").probes.len(), 2);
    assert_eq!(specs("type = \"file\"\nfile = \"states\"").probes.len(), 2);
}

#[test]
fn instances_are_named_by_port() {
    let pool = |backend: &str| {
        format!(
            "[pools.v]\nbackends = [{{ name = \"v\", address = \"192.0.2.1\", {backend} }}]\n[names]\nwww = \"v\"\n"
        )
    };
    let plan = World::new(&[("zones/a.toml", &format!("{ZONE}{}", pool("ports = \"8000-8002\"")))]).plan();
    let names: Vec<&str> = plan.pools[0].backends.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["v:8000", "v:8001", "v:8002"]);
    assert_eq!(plan.pools[0].backends[2].port, Some(8002));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert!(errors(&pool("port = 1, ports = \"2-3\"")).contains("both \"port\" and \"ports\""));
    assert!(errors(&pool("ports = \"9-8\"")).contains("ports like"));
}

#[test]
fn parameters_are_those_of_rfc_9460_without_hints() {
    let name = |text: &str| {
        format!("[pools.v]\nbackends = [{{ address = \"192.0.2.1\" }}]\n[names]\nwww = {{ to = \"v\", {text} }}\n")
    };
    assert!(errors(&name("type = \"HTTPS\", params = \"ipv4hint=192.0.2.1\"")).contains("hints are made of"));
    assert!(errors(&name("type = \"HTTPS\", params = \"nonsense=\\\"\"")).contains("no service parameters"));
    assert!(errors(&name("type = \"A\", params = \"alpn=h2\"")).contains("belongs to type"));
    assert!(errors(&name("type = \"MX\"")).contains("must be \"A\""));
}
