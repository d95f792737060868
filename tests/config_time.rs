//! Keys of time: promised failover, maintenance, slow start, self-doubt, the limit of a reload. Files in, plan or exact
//! messages out.

use std::time::Duration;

use rollcall::config;
use rollcall::config::plan::Plan;

const ZONE: &str = "zone = \"example.com\"\nttl = 30\n[records]\n\"@\" = { NS = \"ns1.example.net.\" }\n";

fn load(server: &str, zone: &str) -> Result<Plan, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("zones")).unwrap();
    std::fs::write(path("rollcall.toml"), server).unwrap();
    std::fs::write(path("zones/z.toml"), format!("{ZONE}{zone}")).unwrap();
    config::load(Some(&path("rollcall.toml"))).map_err(|error| {
        let all =
            error.diagnostics.iter().map(|one| one.rendered.replace(&format!("{}/", directory.path().display()), ""));
        all.collect::<Vec<_>>().join("\n")
    })
}

fn pool(check: &str, pool: &str, name: &str) -> String {
    format!(
        "[checks.c]\ntype = \"tcp\"\nport = 80\n{check}\n[pools.web]\ncheck = \"c\"\n{pool}\n\
         backends = [{{ name = \"a\", address = \"192.0.2.1\" }}, {{ name = \"b\", address = \"192.0.2.2\" }}]\n\
         [names]\nwww = {name}\n"
    )
}

#[test]
fn a_promised_failover_is_kept_or_refused_with_the_sum() {
    let quick = "interval = \"5s\"\nfast_interval = \"500ms\"\ntimeout = \"400ms\"";
    // Interval and jitter 5.5 s, twice 0.55 s, 0.4 s, 0.1 s, TTL 30: 37.1 s.
    for (check, keys, name, kept) in [
        (quick, "max_failover = \"37100ms\"", "\"web\"", true),
        (quick, "max_failover = \"37099ms\"", "\"web\"", false),
        (quick, "max_failover = \"12s\"\nttl = 4", "\"web\"", true),
        (quick, "max_failover = \"12s\"\nttl = 5", "\"web\"", false),
        (quick, "max_failover = \"12s\"\nttl = { max = 4, min = 1 }", "\"web\"", true),
        // What a name adds counts: its own TTL, its own promise.
        (quick, "max_failover = \"12s\"\nttl = 4", "{ to = \"web\", ttl = 5 }", false),
        (quick, "max_failover = \"12s\"", "{ to = \"web\", ttl = 4 }", true),
        (quick, "ttl = 4", "{ to = \"web\", max_failover = \"12s\" }", true),
        (quick, "ttl = 4", "{ to = \"web\", max_failover = \"11s\" }", false),
        // A watch finds dead processes sooner, but not dead machines.
        ("watch = true", "max_failover = \"1m\"", "\"web\"", false),
        // Defaults: 11 + 2 x 11 + 2 + 0.1 + 30.
        ("", "max_failover = \"65100ms\"", "\"web\"", true),
        ("", "max_failover = \"65s\"", "\"web\"", false),
        ("jitter = \"0%\"", "max_failover = \"62100ms\"", "\"web\"", true),
        ("fall = 1", "max_failover = \"43100ms\"", "\"web\"", true),
    ] {
        let result = load("", &pool(check, keys, name));
        assert_eq!(result.is_ok(), kept, "{check} {keys} {name}: {:?}", result.err());
    }
}

#[test]
fn the_refusal_shows_the_sum_and_the_smallest_change() {
    let why = load("", &pool("", "max_failover = \"45s\"", "\"web\"")).unwrap_err();
    let flat = why.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "zones/z.toml",
        "\"pools.web.max_failover\" of 45s cannot be kept",
        "11 s (interval and jitter) + 2 x 11 s (interval and jitter) + 2 s (timeout) + 0.1 s (publishing) + 30 s (ttl) = 65.1 s",
        "interval = \"3s\"",
        "ttl = 9",
    ] {
        assert!(flat.contains(part), "{part:?} is not in\n{why}");
    }
    // What is advised is enough: each advice alone, taken as it stands.
    let help = flat.split_once("would keep it").unwrap().0.rsplit_once("help: ").unwrap().1;
    let advised = help.split(" (check").next().unwrap();
    let (check, keys) = if advised.starts_with("ttl") { ("", advised) } else { (advised, "") };
    let mended = pool(check, &format!("max_failover = \"45s\"\n{keys}"), "\"web\"");
    assert!(load("", &mended).is_ok(), "{advised} is not enough");
}

#[test]
fn a_promise_needs_a_check_on_every_backend() {
    let why = load(
        "",
        "[pools.web]\nmax_failover = \"1m\"\nbackends = [{ address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\n",
    )
    .unwrap_err();
    assert!(why.contains("backend \"192.0.2.1\" of pool \"web\" has no check"), "{why}");
    // Of several checks the quickest finds a dead machine.
    let two = "[checks.slow]\ntype = \"tcp\"\nport = 80\ninterval = \"5m\"\n[checks.quick]\ntype = \"tcp\"\nport = 81\n\
               interval = \"5s\"\nfast_interval = \"500ms\"\ntimeout = \"400ms\"\n[pools.web]\nchecks = [\"slow\", \"quick\"]\n\
               max_failover = \"38s\"\nbackends = [{ address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\n";
    load("", two).unwrap();
}

/// A promise is about the death of the backend: checks that do not see it are no help, however quick.
#[test]
fn only_checks_that_see_the_death_count() {
    let quick = "interval = \"1s\"\njitter = \"0%\"\ntimeout = \"500ms\"\nfall = 1";
    let with = |checks: &str, used: &str, promise: &str| {
        let zone = format!(
            "[checks.slow]\ntype = \"tcp\"\nport = 80\ninterval = \"60s\"\ntimeout = \"1s\"\njitter = \"0%\"\nfall = 1\n{checks}\n\
             [pools.web]\nttl = 5\nchecks = [{used}]\nmax_failover = \"{promise}\"\n\
             backends = [{{ name = \"a\", address = \"192.0.2.1\" }}]\n[names]\nwww = \"web\"\n"
        );
        load("", &zone)
    };
    let other = format!("[checks.db]\ntype = \"tcp\"\ntarget = \"192.0.2.9:5432\"\n{quick}");
    // The database behind it may live on: 60 + 1 + 0.1 + 5.
    assert!(with(&other, "\"slow\", \"db\"", "66s").is_err());
    assert!(with(&other, "\"slow\", \"db\"", "66100ms").is_ok());
    // Where nothing else asks, the target stands for the backend.
    assert!(with(&other, "\"db\"", "6600ms").is_ok());
    // One that passes when the backend is gone sees nothing.
    let inverted = format!("[checks.no]\ntype = \"tcp\"\nport = 81\ninvert = true\n{quick}");
    assert!(with(&inverted, "\"slow\", \"no\"", "66s").is_err());
    let why = with(&inverted, "\"no\"", "1h").unwrap_err();
    assert!(why.contains("has no check that asks it, its death is never seen"), "{why}");
    // A check that counts others is down when too few of them are left.
    let of = |need: u32, checks: &str| {
        format!(
            "[checks.fast]\ntype = \"tcp\"\nport = 82\n{quick}\n[checks.of]\ntype = \"of\"\nneed = {need}\nchecks = [{checks}]"
        )
    };
    assert!(with(&of(2, "\"slow\", \"fast\""), "\"of\"", "6600ms").is_ok(), "one failure is enough");
    assert!(with(&of(1, "\"slow\", \"fast\""), "\"of\"", "66s").is_err(), "both must fail");
    assert!(with(&of(1, "\"slow\", \"fast\""), "\"of\"", "66100ms").is_ok());
    let why = with(&of(1, "\"fast\", \"!slow\""), "\"of\"", "1h").unwrap_err();
    assert!(why.contains("never seen"), "the inverted one passes when the backend is gone: {why}");
    // Silence, and who writes a file.
    let push = "[checks.beat]\ntype = \"push\"\nttl = \"20s\"";
    assert!(with(push, "\"beat\"", "25100ms").is_ok());
    let why = with(push, "\"beat\"", "25s").unwrap_err();
    assert!(why.contains("20 s (interval and jitter) + 0 s (timeout)") && !why.contains("interval = "), "{why}");
    assert!(with("[checks.f]\ntype = \"file\"\nfile = \"states\"", "\"f\"", "1h").is_err());
}

/// Who answers in a pool's place is part of what a name promises.
#[test]
fn a_name_promises_for_the_pool_that_answers_in_place_of_its_own() {
    let zone = |check: &str| {
        format!(
            "[checks.c]\ntype = \"tcp\"\nport = 80\n[pools.web]\ncheck = \"c\"\non_all_down = {{ to = \"spare\" }}\n\
             backends = [{{ address = \"192.0.2.1\" }}]\n[pools.spare]\n{check}\nbackends = [{{ address = \"192.0.2.2\" }}]\n\
             [names]\nwww = {{ to = \"web\", max_failover = \"2m\" }}\n"
        )
    };
    load("", &zone("check = \"c\"")).unwrap();
    let why = load("", &zone("")).unwrap_err();
    assert!(why.contains("of pool \"spare\" has no check"), "{why}");
}

#[test]
fn maintenance_is_a_list_of_windows_with_offsets() {
    let with = |window: &str| load("", &pool("", &format!("maintenance = {window}"), "\"web\""));
    let plan = with(
        "[{ from = 2026-12-02T02:00:00+01:00, to = 2026-12-02T04:00:00Z }, \
                      { from = 2026-12-01 02:00:00Z, to = 2026-12-01T03:00:00.5Z }]",
    )
    .unwrap();
    let windows = &plan.pools[0].maintenance;
    assert_eq!(windows.len(), 2);
    assert_eq!(windows[0].to.duration_since(windows[0].from).unwrap(), Duration::from_millis(3_600_500));
    assert_eq!(windows[1].to.duration_since(windows[1].from).unwrap(), Duration::from_secs(3 * 3600));
    for (window, message) in [
        ("[{ from = 2026-12-01T02:00:00, to = 2026-12-01T03:00:00Z }]", "with its offset from UTC"),
        ("[{ from = 2026-12-01T02:00:00, to = 2026-12-01T03:00:00Z }]", "write 2026-12-01T02:00:00Z if UTC is meant"),
        ("[{ from = \"2026-12-01T02:00:00Z\", to = 2026-12-01T03:00:00Z }]", "write 2026-12-01T02:00:00Z"),
        ("[{ from = 2026-12-01T02:00:00Z, to = 2026-12-01T01:00:00Z }]", "ends before it begins"),
        ("[{ from = 2026-12-01T02:00:00Z }]", "lacks \"to\""),
        ("[{ form = 2026-12-01T02:00:00Z, to = 2026-12-01T03:00:00Z }]", "did you mean \"from\"?"),
        ("\"tomorrow\"", "must be a window like"),
    ] {
        let why = with(window).unwrap_err();
        assert!(why.contains(message), "{message:?} is not in\n{why}");
        assert!(why.contains("maintenance"), "{why}");
    }
}

#[test]
fn the_checker_and_the_reload_have_their_keys() {
    let plan = load("", &pool("", "slow_start = \"60s\"", "\"web\"")).unwrap();
    assert_eq!((plan.server.doubt.share, plan.server.max_shift), (Some(500), None));
    assert_eq!(plan.pools[0].slow_start, Some(Duration::from_secs(60)));
    let server = "[checker]\ndoubt = \"30%\"\ncanaries = [\"192.0.2.1:443\", \"[2001:db8::1]:443\"]\n[reload]\nmax_shift = \"20%\"\n";
    let plan = load(server, &pool("", "", "\"web\"")).unwrap();
    assert_eq!((plan.server.doubt.share, plan.server.max_shift), (Some(300), Some(200)));
    assert_eq!(plan.canaries.len(), 2);
    assert_eq!(load("[checker]\ndoubt = \"off\"", "").unwrap().server.doubt.share, None);
    for (server, message) in [
        ("[checker]\ndoubt = \"0%\"", "a share above \"0%\""),
        ("[checker]\ndoubt = 50", "a share like \"50%\", or \"off\""),
        ("[checker]\ncanaries = [\"192.0.2.1\"]", "must be an IP address with a port"),
        ("[checker]\ncanaries = [\"192.0.2.1:0\"]", "an address with the port to connect to"),
        ("[checker]\ncanarie = []", "did you mean \"canaries\"?"),
        ("[reload]\nmax_shift = \"200%\"", "a share from \"0%\" to \"100%\""),
        ("[reload]\nmax = \"20%\"", "unknown key \"max\""),
    ] {
        let why = load(server, "").unwrap_err();
        assert!(why.contains(message), "{message:?} is not in\n{why}");
    }
}
