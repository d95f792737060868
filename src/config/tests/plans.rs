//! What names, pools and probes become.

use super::*;

#[test]
fn pools_names_and_probes_are_resolved_and_equal_probes_are_one() {
    let plan = World::new(&[("zones/z.toml", &format!("{ZONE}{POOLS}"))]).plan();
    let names: Vec<String> = plan.zones[0]
        .names
        .iter()
        .map(|name| {
            let Target::Pool(pool) = name.to else { panic!("{:?}", name.to) };
            format!("{} {} {} {:?} {:?}", name.owner, name.rtype, plan.pools[pool].name, name.ttl, name.answers)
        })
        .collect();
    assert_eq!(
        names,
        [
            "www.example.com. 1 web None None",
            "www.example.com. 28 web None None",
            "example.com. 1 spare Some(Fixed(10)) Some(2)",
            "*.apps.example.com. 1 web None None",
            "*.apps.example.com. 28 spare None None",
        ]
    );
    let pool = plan.pools.iter().find(|pool| pool.name == "web").unwrap();
    assert_eq!(
        (pool.policy, pool.min_healthy, pool.initial),
        (PolicyKind::Weighted, MinHealthy::Share(500), Initial::Wait)
    );
    assert_eq!((pool.ttl, pool.answers), (TtlRule::Adaptive { max: 60, min: 5 }, 1));
    let OnAllDown::To(Target::Pool(other)) = pool.on_all_down else { panic!("{:?}", pool.on_all_down) };
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
    assert_eq!(plan.pools[2].on_all_down, OnAllDown::To(Target::Pool(3)));
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
