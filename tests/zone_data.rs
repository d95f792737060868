//! Zone data as input: what is wrong is refused with file and line, what is doubtful is warned of with file and line, and
//! whatever loads is answered in replies that everybody can read.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rollcall::config;
use rollcall::config::diagnostic::Diagnostic;
use rollcall::config::plan::Plan;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::World;
use rollcall::engine::{Asker, Transport, respond};

#[path = "wire/reply.rs"]
#[allow(dead_code, unreachable_pub)]
mod reply;

const OPT: u16 = 41;
const TSIG: u16 = 250;

/// A directory with a server file and zones.
struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        std::fs::create_dir(place.path("zones")).unwrap();
        std::fs::write(place.path("rollcall.toml"), "zones = \"zones\"\n").unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(place.path("zones").join(name), text).unwrap());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Plan, Vec<String>> {
        config::load(Some(&self.path("rollcall.toml"))).map_err(|error| self.lines(&error.diagnostics))
    }

    /// `file:line:column: error: …`, the file without its directory.
    fn lines(&self, all: &[Diagnostic]) -> Vec<String> {
        let prefix = format!("{}/", self.path("zones").display());
        all.iter().map(|each| each.to_string().replace(&prefix, "")).collect()
    }
}

/// `text` behind the three lines of a good zone.
fn toml(text: &str) -> Place {
    Place::new(&[(
        "z.toml",
        &format!("zone = \"example.com\"\n[records]\n\"@\" = {{ NS = \"ns.example.net.\" }}\n{text}"),
    )])
}

/// `text` behind the two lines of a good master file.
fn master(text: &str) -> Place {
    Place::new(&[(
        "example.com.zone",
        &format!("@ 60 SOA ns.example.net. hm 1 2 3 4 5\n@ 60 NS ns.example.net.\n{text}"),
    )])
}

fn first_error(place: &Place, what: &str) -> String {
    let errors = place.load().err().unwrap_or_else(|| panic!("{what}: this must not load"));
    errors.into_iter().next().expect("an error")
}

#[test]
fn what_is_wrong_in_a_zone_is_said_with_file_and_line() {
    let long = "x".repeat(64);
    let longest = format!("{0}.{0}.{0}.{0}", "x".repeat(63));
    let pools = "[pools.a]\nbackends = [{ address = \"192.0.2.1\" }]\non_all_down = { to = \"b\" }\n\
                 [pools.b]\nbackends = [{ address = \"192.0.2.2\" }]\non_all_down = { to = \"c\" }\n\
                 [pools.c]\nbackends = [{ address = \"192.0.2.3\" }]\non_all_down = { to = \"a\" }\n[names]\nwww = \"a\"\n";
    let pool = |backends: &str| format!("[pools.a]\nbackends = [\n{backends}\n]\n[names]\nwww = \"a\"\n");
    let mut wrong = Vec::new();
    let table: &[(&str, String, &str)] = &[
        ("CNAME beside data", "www = { TXT = \"x\", CNAME = \"y\" }".into(), "4:"),
        ("CNAME at the apex", "\"example.com.\" = { CNAME = \"y\" }".into(), "4:"),
        ("two CNAMEs", "www = { CNAME = [\"x\", \"y\"] }".into(), "4:"),
        ("two DNAMEs", "www = { DNAME = [\"x\", \"y\"] }".into(), "4:"),
        ("CNAME beside DNAME", "www = { DNAME = \"x\", CNAME = \"y\" }".into(), "4:"),
        ("data below a DNAME", "old = { DNAME = \"new\" }\n\"a.old\" = { A = \"192.0.2.1\" }".into(), "5:"),
        ("a SOA of one's own", "\"www\" = { SOA = \"a b 1 2 3 4 5\" }".into(), "4:"),
        ("a long label", format!("{long} = {{ A = \"192.0.2.1\" }}"), "4:"),
        ("a long label in data", format!("www = {{ CNAME = \"{long}\" }}"), "4:"),
        ("a long name", format!("\"{longest}\" = {{ A = \"192.0.2.1\" }}"), "4:"),
        ("a long name in data", format!("www = {{ MX = \"10 {longest}\" }}"), "4:"),
        ("an empty label", "\"a..b\" = { A = \"192.0.2.1\" }".into(), "4:"),
        ("a TTL of 2^31", "www = { A = { ttl = 2147483648, data = \"192.0.2.1\" } }".into(), "4:"),
        ("a TTL below zero", "www = { A = { ttl = -1, data = \"192.0.2.1\" } }".into(), "4:"),
        ("one owner in two cases", "www = { A = \"192.0.2.1\" }\nWWW = { TXT = \"x\" }".into(), "5:"),
        ("one balanced owner in two cases", pool("{ address = \"192.0.2.1\" }") + "WWW = \"a\"", "9:"),
        (
            "one name twice",
            pool("{ name = \"b\", address = \"192.0.2.1\" },\n{ name = \"b\", address = \"192.0.2.2\" }"),
            "7:",
        ),
        ("a bad escape in an owner", "'\\999' = { A = \"192.0.2.1\" }".into(), "4:"),
        ("a bad escape in data", "www = { MX = '10 \\999' }".into(), "4:"),
        ("a NUL", "www = { TXT = \"a\0b\" }".into(), "4:"),
        ("a loop of pools", pools.into(), "6:"),
        ("keys without end", format!("{}b = 1", "a.".repeat(5000)), "4:"),
        ("a pool that falls back on itself", pools.replace("\"b\"", "\"a\""), "6:"),
    ];
    for (what, text, expected) in table {
        let error = first_error(&toml(text), what);
        if !error.starts_with(&format!("z.toml:{expected}")) {
            wrong.push(format!("{what}: {error}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_wrong_in_a_master_file_is_said_with_its_own_line() {
    let long = "x".repeat(64);
    // Each with a good record before and behind it, so that a place that is off by a line shows.
    let mut wrong = Vec::new();
    let table: Vec<(&str, String)> = vec![
        ("a bad escape in an owner", "\\999 A 192.0.2.1".into()),
        ("one later in the owner", "ab\\999 A 192.0.2.1".into()),
        ("a short escape in an owner", "\\1 A 192.0.2.1".into()),
        ("a short escape at an owner's end", "ab\\25 A 192.0.2.1".into()),
        ("a bad escape in a name of the data", "a MX 10 \\999".into()),
        ("a bad escape in a string", "a TXT \"x\\999\"".into()),
        ("a bad escape in a bare string", "a TXT x\\25".into()),
        ("a long label", format!("{long} A 192.0.2.1")),
        ("a long label in data", format!("a CNAME {long}")),
        ("an empty label", "a..b A 192.0.2.1".into()),
        ("a label of nothing", ".a A 192.0.2.1".into()),
        ("a bad address", "a A 192.0.2.999".into()),
        ("an owner alone", "a".into()),
        ("a type that is none", "a NONSENSE x".into()),
        ("a quoted string without end", "a TXT \"x".into()),
        ("a parenthesis too many", "a TXT x )".into()),
        ("a parenthesis not closed", "a TXT x (".into()),
        ("nothing but a parenthesis", "((".into()),
        ("another class", "a CH TXT x".into()),
        ("a TTL of 2^31", "a 2147483648 A 192.0.2.1".into()),
        ("a directive that is none", "$NONSENSE x".into()),
        ("an origin that is none", "$ORIGIN \\999".into()),
        ("a TTL that is none", "$TTL x".into()),
        ("CNAME beside data", "ok CNAME x".into()),
        ("an owner outside", "a.example.net. A 192.0.2.1".into()),
        ("a second SOA", "@ SOA a b 1 2 3 4 5".into()),
        ("data that is too short", "a A \\# 3 0A0000".into()),
        ("data with an odd digit", "a TYPE65280 \\# 1 0A0".into()),
        ("data that is longer than said", "a TYPE65280 \\# 1 0A00".into()),
    ];
    for (what, text) in table {
        for behind in ["\nlater A 192.0.2.4\n", "\n", "", "\r\n\r\n; comment\r\n"] {
            // What a parenthesis opens goes on behind it.
            if text.ends_with('(') && behind.contains("later") {
                continue;
            }
            let error = first_error(&master(&format!("ok A 192.0.2.2\n\n{text}{behind}")), what);
            if !error.starts_with("example.com.zone:5:") {
                wrong.push(format!("{what}, then {behind:?}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The place of an error was sought inside a character (found by fuzzing).
#[test]
fn a_last_line_of_wide_characters_without_a_newline_is_refused() {
    for text in ["$\u{e3}", "\u{e3}", "a A \u{e3}", "$TTL \u{20ac}", "(\u{e3}"] {
        let place = Place::new(&[("example.com.zone", text)]);
        assert!(first_error(&place, text).starts_with("example.com.zone:1:"), "{text}: {:?}", place.load().err());
    }
}

#[test]
fn what_is_doubtful_is_warned_of_with_file_and_line() {
    let warnings = |place: &Place| -> Vec<String> {
        let plan = place.load().unwrap_or_else(|errors| panic!("{errors:?}"));
        place.lines(&plan.warnings)
    };
    for (what, text) in [
        ("a loop of CNAMEs", "a = { CNAME = \"b\" }\nb = { CNAME = \"c\" }\nc = { CNAME = \"a\" }"),
        (
            "data below a cut",
            "x = { TXT = \"x\" }\nsub = { NS = \"ns.example.net.\" }\n\"a.sub\" = { TXT = \"hidden\" }",
        ),
        ("missing glue", "x = { TXT = \"x\" }\ny = { TXT = \"x\" }\nsub = { NS = \"ns.sub\" }"),
    ] {
        let seen = warnings(&toml(text));
        let expected: &[&str] = if what == "a loop of CNAMEs" { &["4:", "5:", "6:"] } else { &["6:"] };
        assert!(seen.len() == expected.len(), "{what}: {seen:?}");
        assert!(expected.iter().any(|line| seen[0].starts_with(&format!("z.toml:{line}"))), "{what}: {seen:?}");
        assert!(seen[0].contains("warning"), "{what}: {seen:?}");
    }
    for (what, text, line) in [
        ("a loop of CNAMEs", "a CNAME a", 3..=3),
        ("data below a cut", "x TXT x\nsub NS ns.example.net.\na.sub TXT hidden", 5..=5),
        ("missing glue", "x TXT x\ny TXT x\nsub NS ns.sub", 5..=5),
    ] {
        let seen = warnings(&master(text));
        assert_eq!(seen.len(), 1, "{what}: {seen:?}");
        assert!(line.clone().any(|line| seen[0].starts_with(&format!("example.com.zone:{line}:"))), "{what}: {seen:?}");
    }
}

/// One of everything, so that a cut falls into each of them.
const RICH: &str = r#"zone = "example.com"
ttl = 30
[records]
"@" = { NS = ["ns1", "ns.example.net."], MX = "10 mail", CAA = '0 issue "x"' }
ns1 = { A = "192.0.2.53", AAAA = "2001:db8::53" }
"*.w" = { TXT = { ttl = 5, data = ["a", "\u00fc"] } }
sub = { NS = "ns.sub" }
"ns.sub" = { A = "192.0.2.54" }
old = { DNAME = "new" }
x = { TYPE65280 = '\# 2 0A0B' }
[checks.web]
type = "http"
interval = "5s"
[pools.web]
check = "web"
policy = "weighted"
on_all_down = { to = "spare" }
backends = [
  { name = "a", address = ["192.0.2.1", "2001:db8::1"], weight = 2, tier = 1 },
  { address = "192.0.2.2", state = "drain" },
]
[pools.spare]
backends = [{ address = "192.0.2.3" }]
[maps.net]
networks = { own = ["192.0.2.0/24"] }
[routes.near]
type = "map"
map = "net"
choices = { own = "web", default = "spare" }
[names]
www = "near"
api = { to = "web", ttl = 10 }
"#;

/// The same for a master file.
const RICH_MASTER: &str = "$TTL 1h\n@ 60 IN SOA ns.example.net. hm (1 2\n  3 4 5) ; comment\n@ 60 NS ns.example.net.\n\
    a\\.b 1D A 192.0.2.1\n  TXT \"x y\" z\\032\n$ORIGIN sub.example.com.\nq TYPE65280 \\# 2 0A0B\n*.w CNAME q\n\
    s SVCB 1 . alpn=h2 port=443\nl LOC 1 2 3 N 4 5 6 E 7m\n";

#[test]
fn a_file_cut_at_any_octet_or_with_any_octet_broken_loads_or_says_where_it_is_wrong() {
    for (file, text) in [("z.toml", RICH), ("example.com.zone", RICH_MASTER)] {
        let place = Place::new(&[(file, text)]);
        place.load().unwrap_or_else(|errors| panic!("{file} is good: {errors:?}"));
        let whole = text.as_bytes();
        let (mut loaded, mut refused) = (0, 0);
        let mut holds = |octets: &[u8], what: &str| {
            std::fs::write(place.path("zones").join(file), octets).unwrap();
            match place.load() {
                Ok(plan) => {
                    loaded += 1;
                    assert_eq!(plan.zones.len(), 1, "{what}");
                }
                Err(errors) => {
                    refused += 1;
                    assert!(errors.iter().all(|error| error.starts_with(file)), "{what}: {errors:?}");
                }
            }
        };
        for at in 0..whole.len() {
            holds(&whole[..at], &format!("{file} cut at {at}"));
            let mut broken = whole.to_vec();
            broken[at] = [0, b'"', b'\n', 0xff, b'(', b'\\', b'{'][at % 7];
            holds(&broken, &format!("{file} broken at {at}"));
        }
        assert!(loaded > 10 && refused > 100, "{file}: {loaded} loaded, {refused} refused");
    }
}

#[test]
fn routes_that_lead_back_to_themselves_are_refused_with_file_and_line() {
    let pool = "[pools.p]\nbackends = [{ address = \"192.0.2.1\" }]\n";
    let route = |name: &str, to: &str| format!("[routes.{name}]\ntype = \"failover\"\nchoices = [\"{to}\", \"p\"]\n");
    let names = "[names]\nwww = \"a\"\n";
    for (what, text) in [
        ("itself", route("a", "a")),
        ("two", route("a", "b") + &route("b", "a")),
        ("three", route("a", "b") + &route("b", "c") + &route("c", "a")),
    ] {
        let error = first_error(&toml(&format!("{pool}{text}{names}")), what);
        let line: usize =
            error.strip_prefix("z.toml:").and_then(|rest| rest.split(':').next()?.parse().ok()).unwrap_or(0);
        assert!((6..=14).contains(&line), "{what}: {error}");
    }
    // Through a pool that falls back on the route that leads to it.
    let text = "[pools.p]\nbackends = [{ address = \"192.0.2.1\" }]\non_all_down = { to = \"a\" }\n";
    let error =
        first_error(&toml(&format!("{text}{}{names}", route("a", "p").replace(", \"p\"", ""))), "pool and route");
    assert!(error.starts_with("z.toml:"), "{error}");
}

/// Records given as octets: RDATA that its type cannot have is refused with its line, or else its reply is good everywhere.
#[test]
fn rdata_of_every_type_is_refused_or_answered_so_that_all_can_read_it() {
    let rdata: [&[u8]; 14] = [
        b"",
        b"\0",
        b"\xff",
        b"\0\0",
        b"\0\x01\0",
        b"\xc0\x0c",
        b"\0\x0a\xc0\x0c",
        b"\x01a\0",
        b"\0\x01\x01a\0",
        b"\x40\0\0\0",
        b"\0\x01\0\0\0\x01\0\x01",
        &[0xff; 40],
        &[0; 40],
        &[0xff; 300],
    ];
    let types = (0..=300).chain([32_768, 32_769, 65_280, 65_281, 65_534, 65_535]);
    let (mut refused, mut answered, mut unreadable) = (0, 0, Vec::new());
    for rtype in types {
        for octets in rdata {
            let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
            let place = master(&format!("x 60 TYPE{rtype} \\# {} {hex}\n", octets.len()));
            let plan = match place.load() {
                Ok(plan) => plan,
                Err(errors) => {
                    assert!(errors[0].starts_with("example.com.zone:3:"), "TYPE{rtype} {hex}: {errors:?}");
                    refused += 1;
                    continue;
                }
            };
            let reply = answer(plan, rtype);
            answered += 1;
            // hickory-proto takes no record without data, which NULL, APL and types to come may well have, and no SIG.
            if octets.is_empty() || rtype == 24 {
                continue;
            }
            let Ok(reply) = std::panic::catch_unwind(|| reply::Reply::read(&reply.1, &reply.0)) else {
                unreadable.push(format!("TYPE{rtype} {hex}"));
                continue;
            };
            assert_eq!(reply.rcode, 0, "TYPE{rtype} {hex}");
            assert!(!reply.answers.is_empty() || !reply.authorities.is_empty(), "TYPE{rtype} {hex}: {reply:?}");
        }
    }
    assert!(unreadable.is_empty(), "{unreadable:#?}");
    assert!(refused > 1000 && answered > 1000, "{refused} refused, {answered} answered");
}

/// The question for `x.example.com.` and its answer.
fn answer(plan: Plan, rtype: u16) -> (Vec<u8>, Vec<u8>) {
    let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
    let mut world = World::new(&Saved::default(), [7; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    world.publish(now);
    let mut query = b"\x01\x02\0\0\0\x01\0\0\0\0\0\0\x01x\x07example\x03com\0".to_vec();
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    let asker = Asker { address: [192, 0, 2, 1].into(), transport: Transport::Tcp, worker: 0 };
    let mut out = vec![0; 65_535];
    let length = respond(world.snapshot(), &asker, &query, &mut out).length;
    out.truncate(length);
    (query, out)
}
