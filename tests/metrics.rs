//! What `/metrics` says: that it follows what happens, that the dashboard and the alerts that are shipped ask for what there
//! is, and that nothing of it comes from a query's name.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use hickory_proto::rr::RecordType;
use support::backend::Backend;
use support::server::{Place, Server, zone};
use support::until;

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// One scrape: series, as they are written, with their values.
struct Scrape {
    text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(server: &Server) -> Scrape {
        let (status, text) = get(server, "");
        assert_eq!(status, 200, "{text}");
        Scrape::read(text)
    }

    fn read(text: String) -> Scrape {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Scrape { series: series.collect(), text }
    }

    /// The value of the only series of that name which has all these labels (`name="value"`); 0 when there is none.
    fn value(&self, name: &str, labels: &[&str]) -> f64 {
        let found: Vec<(&String, &f64)> = self
            .series
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| labels.iter().all(|label| series.contains(label)))
            .collect();
        assert!(found.len() <= 1, "{name} {labels:?}: {found:?}");
        found.first().map_or(0.0, |(_, value)| **value)
    }

    fn names(&self) -> BTreeSet<&str> {
        self.series.keys().filter_map(|series| series.split('{').next()).collect()
    }
}

/// Status and body of a scrape with those further header lines.
fn get(server: &Server, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.control).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n", server.control).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    assert!(!chunked, "the body has a length: {head}");
    (status, body.to_owned())
}

/// A zone of three pools over the same backends: by weight, by client, and with a health check.
fn checked(a: &Backend, b: &Backend) -> String {
    format!(
        "[checks.web]\ntype = \"http\"\ninterval = \"1s\"\ntimeout = \"900ms\"\nfall = 2\nrise = 1\n\
         [pools.web]\ncheck = \"web\"\npolicy = \"weighted\"\nbackends = [{}, {}]\n\
         [pools.near]\npolicy = \"hash\"\nbackends = [{}, {}]\n\
         [names]\nwww = \"web\"\napi = \"web\"\nnear = \"near\"\n",
        a.entry("a", ", weight = 3"),
        b.entry("b", ""),
        a.entry("a", ""),
        b.entry("b", ""),
    )
}

/// Words of a file that are metrics' names.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let is_name = |word: &&str| !word.contains(|letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit());
    words.filter(|word| word.starts_with("rollcall_") || word.starts_with("process_")).filter(is_name).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists() {
    let [a, mut b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let made = rcgen::generate_simple_self_signed(vec!["ns1.example".to_owned()]).unwrap();
    place.write("cert.pem", &made.cert.pem());
    place.write("key.pem", &made.signing_key.serialize_pem());
    let server = support::server::SERVER_FILE
        .replace("[dns]\n", "tls = [\"127.0.0.1:0\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n[dns]\n");
    place.write("rollcall.toml", &format!("{server}[[events.exec]]\ncommand = [\"/bin/true\"]\n"));
    let server = place.serve();
    server.client().addresses("www.lb.example.com.");
    b.kill();
    until("b is down", || server.backend("lb.example.com/web/b")["state"] == "down");

    let scrape = Scrape::of(&server);
    let names = scrape.names();
    let shipped = [
        ("grafana/rollcall.json", include_str!("../packaging/grafana/rollcall.json")),
        ("prometheus/alerts.yml", include_str!("../packaging/prometheus/alerts.yml")),
    ];
    for (file, text) in shipped {
        let wanted = metrics_in(text);
        assert!(wanted.len() > 10, "{file}: {wanted:?}");
        let missing: Vec<&&str> = wanted.iter().filter(|name| !names.contains(**name)).collect();
        assert!(missing.is_empty(), "{file} asks for what there is not: {missing:?}\n{}", scrape.text);
    }
    let dashboard: serde_json::Value = serde_json::from_str(shipped[0].1).unwrap();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{} shows nothing", panel["title"]);
        for target in targets {
            assert!(!metrics_in(target["expr"].as_str().unwrap()).is_empty(), "{}: {target}", panel["title"]);
        }
    }
    // Each is documented, and what is documented exists.
    let base = |name: &str| -> String {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let documented = metrics_in(include_str!("../docs/operations.md"));
    let documented: BTreeSet<String> = documented.iter().map(|name| base(name)).collect();
    let there: BTreeSet<String> = names.iter().map(|name| base(name)).collect();
    let undocumented: Vec<&String> = there.iter().filter(|name| !documented.contains(*name)).collect();
    assert!(undocumented.is_empty(), "docs/operations.md lacks {undocumented:?}");
    let invented: Vec<&String> = documented.iter().filter(|name| !there.contains(*name)).collect();
    assert!(invented.is_empty(), "docs/operations.md invents {invented:?}");
}

#[test]
fn counters_follow_the_queries_exactly() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let server = place.serve();
    let client = server.client();
    let before = Scrape::of(&server);
    // Two names of one pool, each with a whole number of rounds of weights 3 and 1.
    for _ in 0..8 {
        client.addresses("www.lb.example.com.");
        client.addresses("www.lb.example.com.");
        client.addresses("api.lb.example.com.");
    }
    for _ in 0..5 {
        client.addresses("near.lb.example.com.");
        client.ask("missing.lb.example.com.", RecordType::AAAA);
    }
    client.ask("www.elsewhere.example.", RecordType::TXT);

    let check = |scrape: &Scrape| {
        let moved = |name: &str, labels: &[&str]| scrape.value(name, labels) - before.value(name, labels);
        let zone = "zone=\"lb.example.com\"";
        let requests = "rollcall_dns_requests_total";
        assert_eq!(moved(requests, &["proto=\"udp\"", "family=\"1\"", "type=\"A\"", zone]), 29.0);
        assert_eq!(moved(requests, &["type=\"AAAA\"", zone]), 5.0);
        assert_eq!(moved(requests, &["type=\"TXT\"", "zone=\"other\""]), 1.0);
        let responses = "rollcall_dns_responses_total";
        assert_eq!(moved(responses, &["rcode=\"NOERROR\"", zone]), 29.0);
        assert_eq!(moved(responses, &["rcode=\"NXDOMAIN\"", zone]), 5.0);
        assert_eq!(moved(responses, &["rcode=\"REFUSED\"", "zone=\"other\""]), 1.0);
        let answers = |pool: &str, backend: &str| {
            moved("rollcall_backend_answers_total", &[&format!("pool=\"{pool}\""), &format!("backend=\"{backend}\"")])
        };
        assert_eq!((answers("web", "a"), answers("web", "b")), (18.0, 6.0), "three of four");
        let near = [answers("near", "a"), answers("near", "b")];
        assert!(near == [5.0, 0.0] || near == [0.0, 5.0], "one client has one backend: {near:?}");
    };
    check(&Scrape::of(&server));
    let (status, _) = server.status();
    let counted = |id: &str| server.backend(id)["answers"].as_u64().unwrap();
    assert_eq!(counted("lb.example.com/web/a") + counted("lb.example.com/web/b"), 24, "{status}");

    // A reload goes on counting.
    place.write("zones/lb.toml", &zone(&checked(&a, &b).replace("api = \"web\"", "api2 = \"web\"")));
    assert!(server.run(&["reload"]).status.success());
    check(&Scrape::of(&server));
    for _ in 0..4 {
        client.addresses("www.lb.example.com.");
    }
    let scrape = Scrape::of(&server);
    let pool = ["pool=\"web\""];
    let answers = |backend: &str| {
        let backend = format!("backend=\"{backend}\"");
        scrape.value("rollcall_backend_answers_total", &[pool[0], &backend])
    };
    assert_eq!((answers("a"), answers("b")), (21.0, 7.0));
}

#[test]
fn a_successor_goes_on_counting() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let mut server = place.serve();
    let client = server.client();
    let counted = |server: &Server| {
        let scrape = Scrape::of(server);
        let answers = ["a", "b"].map(|backend| {
            let backend = format!("backend=\"{backend}\"");
            scrape.value("rollcall_backend_answers_total", &["pool=\"web\"", &backend])
        });
        (answers, scrape.value("rollcall_dns_requests_total", &["type=\"A\"", "zone=\"lb.example.com\""]))
    };
    for round in 1..=3 {
        (0..4).for_each(|_| _ = client.addresses("www.lb.example.com."));
        let before = counted(&server);
        assert_eq!(before, ([3.0 * f64::from(round), f64::from(round)], 4.0 * f64::from(round)));
        let old = server.answering();
        server.replace();
        assert_eq!(counted(&server), before);
        // What the old one answers from now on is counted there alone.
        until("the old one has left", || {
            !std::fs::read_to_string(format!("/proc/{old}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
        });
    }
}

#[test]
fn answers_are_counted_for_who_was_answered_while_members_change() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let server = place.serve();
    let client = server.client();
    let answers = || {
        let scrape = Scrape::of(&server);
        ["a", "b"].map(|backend| {
            let backend = format!("backend=\"{backend}\"");
            scrape.value("rollcall_backend_answers_total", &["pool=\"web\"", &backend])
        })
    };
    let ask = |times: usize| (0..times).for_each(|_| _ = client.addresses("www.lb.example.com."));
    ask(8);
    assert_eq!(answers(), [6.0, 2.0]);
    for round in 1..=3 {
        assert!(server.run(&["state", "lb.example.com/web/a", "drain"]).status.success());
        ask(4);
        assert_eq!(answers()[1], f64::from(2 + 5 * round - 1), "b alone");
        assert!(server.run(&["state", "lb.example.com/web/a", "auto"]).status.success());
        let before = answers();
        ask(4);
        let after = answers();
        assert_eq!([after[0] - before[0], after[1] - before[1]], [3.0, 1.0]);
    }
}

#[test]
fn states_and_panic_show() {
    let [mut a, mut b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let server = place.serve();
    let state = |scrape: &Scrape, backend: &str, state: &str| {
        let (backend, state) = (format!("backend=\"{backend}\""), format!("state=\"{state}\""));
        scrape.value("rollcall_backend_state", &["pool=\"web\"", &backend, &state])
    };
    let scrape = Scrape::of(&server);
    assert_eq!((state(&scrape, "a", "up"), state(&scrape, "a", "down")), (1.0, 0.0));
    assert_eq!(scrape.value("rollcall_pool_fallback_active", &["pool=\"web\"", "type=\"A\""]), 0.0);
    assert_eq!(scrape.value("rollcall_check_up", &["backend=\"b\"", "check=\"web\""]), 1.0);
    assert_eq!(scrape.value("rollcall_config_last_reload_successful", &[]), 1.0);
    let words = scrape.series.keys().filter(|series| {
        series.starts_with("rollcall_backend_state{")
            && series.contains("pool=\"web\"")
            && series.contains("backend=\"a\"")
    });
    assert_eq!(words.count(), 10, "every state is said, 0 or 1");
    let publications = |scrape: &Scrape| scrape.value("rollcall_publication_duration_seconds_count", &[]);
    let before = publications(&scrape);

    b.kill();
    until("b is down", || state(&Scrape::of(&server), "b", "down") == 1.0);
    let scrape = Scrape::of(&server);
    assert_eq!((state(&scrape, "b", "up"), scrape.value("rollcall_check_up", &["backend=\"b\""])), (0.0, 0.0));
    assert_eq!(scrape.value("rollcall_transitions_total", &["pool=\"web\"", "to=\"down\""]), 1.0);
    assert_eq!(scrape.value("rollcall_pool_backends", &["pool=\"web\"", "state=\"down\""]), 1.0);
    assert!(scrape.value("rollcall_check_results_total", &["check=\"web\"", "result=\"failed\""]) >= 1.0);
    assert!(scrape.value("rollcall_check_results_total", &["check=\"web\"", "result=\"passed\""]) >= 2.0);
    assert!(scrape.value("rollcall_check_duration_seconds_count", &["check=\"web\""]) >= 3.0);

    a.kill();
    until("the pool fails open", || {
        Scrape::of(&server).value("rollcall_pool_fallback_active", &["pool=\"web\"", "type=\"A\""]) == 1.0
    });
    let scrape = Scrape::of(&server);
    assert_eq!(scrape.value("rollcall_pool_state", &["pool=\"web\"", "type=\"A\"", "state=\"panic\""]), 1.0);
    assert_eq!(scrape.value("rollcall_health", &["state=\"critical\""]), 1.0);
    assert!(publications(&scrape) >= before + 2.0, "one for each that went down");
    let quick = scrape.value("rollcall_publication_duration_seconds_bucket", &["le=\"1.0\""]);
    assert_eq!(quick, publications(&scrape), "all within a second");

    a.revive();
    until("a is back", || state(&Scrape::of(&server), "a", "up") == 1.0);
    assert!(server.run(&["state", "lb.example.com/near/a", "drain"]).status.success());
    let drained = |scrape: &Scrape| {
        scrape.value("rollcall_backend_state", &["pool=\"near\"", "backend=\"a\"", "state=\"draining\""])
            + scrape.value("rollcall_backend_state", &["pool=\"near\"", "backend=\"a\"", "state=\"drained\""])
    };
    assert_eq!(drained(&Scrape::of(&server)), 1.0);

    place.write("zones/lb.toml", "zone = nonsense");
    assert!(!server.run(&["reload"]).status.success());
    let scrape = Scrape::of(&server);
    assert_eq!(scrape.value("rollcall_config_last_reload_successful", &[]), 0.0);
    assert!(scrape.value("rollcall_config_reloads_total", &["result=\"refused\""]) >= 1.0);
}

#[test]
fn no_query_makes_a_series_of_its_own() {
    let [a, b] = Backend::several();
    let place = Place::with_zone(&checked(&a, &b));
    let server = place.serve();
    let client = server.client();
    let ask = |round: usize| {
        for number in 0..40u16 {
            client.ask(&format!("zx81-{round}-{number}.lb.example.com."), RecordType::A);
            client.ask(&format!("zx81-{round}-{number}.nowhere.example."), RecordType::A);
            let rtype = RecordType::Unknown(1000 + number + 100 * round as u16);
            client.ask(&format!("zx81-{round}.lb.example.com."), rtype);
        }
    };
    ask(1);
    let before = Scrape::of(&server);
    ask(2);
    let after = Scrape::of(&server);
    assert!(!after.text.contains("zx81") && !after.text.contains("nowhere"), "a query's name: {}", after.text);
    let changing = |scrape: &Scrape| scrape.series.keys().cloned().collect::<BTreeSet<String>>();
    assert_eq!(changing(&before), changing(&after));
    let others =
        |scrape: &Scrape| scrape.value("rollcall_dns_requests_total", &["type=\"other\"", "zone=\"lb.example.com\""]);
    assert_eq!((others(&before), others(&after)), (40.0, 80.0));
}

#[test]
fn a_token_that_may_read_may_scrape_and_the_format_is_as_asked() {
    let place = Place::with_zone(
        "[pools.web]\nbackends = [{ name = \"a\", address = \"192.0.2.1\" }]\n[names]\nwww = \"web\"\n",
    );
    let server_file = format!("{}[control]\ntokens = \"tokens.toml\"\n", support::server::SERVER_FILE);
    place.write("rollcall.toml", &server_file);
    place.write(
        "tokens.toml",
        "prometheus = { secret = \"aaaaaaaaaaaaaaaaaaaaaaaa\", scopes = [\"read\"] }\n\
         batch = { secret = \"bbbbbbbbbbbbbbbbbbbbbbbb\", scopes = [\"push\"] }\n",
    );
    let server = place.serve();
    assert_eq!(get(&server, "").0, 401);
    assert_eq!(get(&server, "Authorization: Bearer bbbbbbbbbbbbbbbbbbbbbbbb\r\n").0, 403);
    let (status, text) = get(&server, "Authorization: Bearer aaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE rollcall_dns_requests_total counter\n") && !text.contains("# EOF"), "{text}");
    assert!(!text.contains("aaaaaaaa"), "a secret is not told");
    let openmetrics =
        "Authorization: Bearer aaaaaaaaaaaaaaaaaaaaaaaa\r\nAccept: application/openmetrics-text;version=1.0.0\r\n";
    let (_, text) = get(&server, openmetrics);
    assert!(text.contains("# TYPE rollcall_dns_requests counter\n") && text.ends_with("# EOF\n"), "{text}");
}
