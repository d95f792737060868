//! End to end: what runs by the clock. The drain clock, a promised failover, what a reload may move.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::backend::Backend;
use support::dns::set_of;
use support::server::{Place, SERVER_FILE, stderr, stdout};
use support::until;

const WWW: &str = "www.lb.example.com.";

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().unwrap_or_else(|| panic!("no time: {value}"))).unwrap()
}

#[test]
fn a_drained_backend_is_safe_to_stop_when_no_cache_holds_it_also_over_a_restart() {
    let [a, b] = Backend::several();
    let zone = format!(
        "[checks.c]\ntype = \"tcp\"\n[pools.web]\ncheck = \"c\"\nttl = 3\nbackends = [{}, {}]\n[names]\nwww = \"web\"\n\
         long = {{ to = \"web\", ttl = 4 }}\n",
        a.entry("a", ""),
        b.entry("b", "")
    );
    let place = Place::with_zone(&zone);
    let server = place.serve();
    let client = server.client();
    assert_eq!(client.set(WWW), set_of([a.ip(), b.ip()]));
    let asked = SystemTime::now();
    let drained = server.run(&["state", "lb.example.com/web/a", "drain"]);
    let text = stdout(&drained);
    assert!(text.contains("lb.example.com/web/a: safe to stop at "), "{text}{}", stderr(&drained));
    let status = server.backend("lb.example.com/web/a");
    assert_eq!(status["state"], "draining");
    // The longest TTL of the names that answered it, and the second that a worker may lag.
    let safe = time(&status["drain"]["safe_to_stop_at"]);
    let left = safe.duration_since(asked).unwrap();
    assert!((Duration::from_secs(5)..Duration::from_secs(7)).contains(&left), "{left:?}");
    assert_eq!(status["drain"]["drained"], false);

    let mut server = server;
    server.signal(Signal::SIGTERM);
    server.wait();
    let server = place.serve();
    assert_eq!(time(&server.backend("lb.example.com/web/a")["drain"]["safe_to_stop_at"]), safe, "kept");
    until("it is drained", || server.backend("lb.example.com/web/a")["state"] == "drained");
    assert!(SystemTime::now() >= safe, "never early");
    until("the log says so", || server.log().join("\n").contains("drained, no cache holds it"));
    let shown = server.run(&["status"]);
    assert!(stdout(&shown).contains("safe to stop since "), "{}", stdout(&shown));
    assert_eq!(shown.status.code(), Some(0), "a drain is well");
}

/// A cache that holds the last answer with the victim until its TTL has passed loses it within the time promised.
#[test]
fn a_promised_failover_is_kept() {
    let mut victim = Backend::start(Ipv4Addr::new(127, 0, 0, 21));
    let keeper = Backend::start(Ipv4Addr::new(127, 0, 0, 22));
    let zone = |promised: &str| {
        format!(
            "[checks.c]\ntype = \"http\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nfast_interval = \"200ms\"\nfall = 3\n\
             [pools.web]\ncheck = \"c\"\nttl = 1\nmax_failover = \"{promised}\"\nbackends = [{}, {}]\n[names]\nwww = \"web\"\n",
            victim.entry("victim", ""),
            keeper.entry("keeper", "")
        )
    };
    // 1.1 + 2 x 0.5 + 0.5 + 0.1 + 1
    let place = Place::with_zone(&zone("3600ms"));
    let refused = place.run(&["validate"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = stderr(&refused) + &stdout(&refused);
    assert!(said.contains("= 3.7 s"), "{said}");
    let place = Place::with_zone(&zone("3700ms"));
    let server = place.serve();
    let client = server.client();
    until("both answer", || client.set(WWW).len() == 2);
    let killed = Instant::now();
    victim.kill();
    let mut last = Duration::ZERO;
    until("the victim is gone", || {
        if client.set(WWW).contains(&IpAddr::V4(victim.ip())) {
            last = killed.elapsed();
            return false;
        }
        true
    });
    let lost = last + Duration::from_secs(1);
    println!("the last cache lost it {lost:?} after its death; promised 3.7 s");
    assert!(lost <= Duration::from_millis(3700), "{lost:?}");
}

#[test]
fn a_reload_says_what_it_moves_and_one_that_moves_too_much_needs_force() {
    let pool = |backends: &str| {
        format!("[pools.web]\npolicy = \"weighted\"\nbackends = [{backends}]\n[names]\nwww = \"web\"\n")
    };
    let before = r#"{ name = "a", address = "192.0.2.1", weight = 9 }, { name = "b", address = "192.0.2.2" }"#;
    let place = Place::with_zone(&pool(before));
    place.write("rollcall.toml", &format!("{SERVER_FILE}[reload]\nmax_shift = \"20%\"\n"));
    let server = place.serve();
    let client = server.client();

    // A tenth moves: b leaves, c joins.
    let after = r#"{ name = "a", address = "192.0.2.1", weight = 9 }, { name = "c", address = "192.0.2.3" }"#;
    place.replace("zones/lb.toml", &support::server::zone(&pool(after)));
    let taken = server.run(&["reload"]);
    assert_eq!(taken.status.code(), Some(0), "{}", stdout(&taken));
    // The edit may have been taken by itself already: then the command moves nothing more.
    until("the log says what moved", || {
        server
            .log()
            .join("\n")
            .contains("www.lb.example.com A: 10 % of clients move; 192.0.2.2 leaves; 192.0.2.3 joins")
    });

    // Nearly all: refused, by command and by itself, and the old data goes on.
    let much = r#"{ name = "d", address = "192.0.2.4", weight = 9 }, { name = "c", address = "192.0.2.3" }"#;
    place.replace("zones/lb.toml", &support::server::zone(&pool(much)));
    until("the edit is refused", || server.status().0["reload"]["ok"] == false);
    let (status, code) = server.status();
    assert_eq!((status["reload"]["cause"].as_str(), code), (Some("edit"), 1));
    assert_eq!(status["reload"]["moves"]["moved"][0]["percent"], 90.0);
    let refused = server.run(&["reload"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stdout(&refused));
    for part in ["moves 90 % of the clients of www.lb.example.com A", "reload.max_shift allows 20 %", "--force"] {
        assert!(stdout(&refused).contains(part), "{part:?} is not in\n{}", stdout(&refused));
    }
    let seen = (0..50).flat_map(|_| client.set(WWW)).collect::<std::collections::BTreeSet<_>>();
    assert!(!seen.contains(&IpAddr::from([192, 0, 2, 4])), "{seen:?}");

    let forced = server.run(&["reload", "--force", "--json"]);
    assert_eq!(forced.status.code(), Some(0), "{}", stdout(&forced));
    let report: Value = serde_json::from_str(&stdout(&forced)).unwrap();
    assert_eq!(report["moves"]["moved"][0]["leave"][0], "192.0.2.1");
    let seen = (0..50).flat_map(|_| client.set(WWW)).collect::<std::collections::BTreeSet<_>>();
    assert!(seen.contains(&IpAddr::from([192, 0, 2, 4])), "{seen:?}");
    assert_eq!(server.status().1, 0);
}
