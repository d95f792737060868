//! A server by value for the tests of bytes: one snapshot from a zone that has every lookup case, and questions to it.

#![allow(dead_code, unreachable_pub, unused_imports)]

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use rollcall::config;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::World;
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;
use rollcall::engine::snapshot::Snapshot;
use rollcall::engine::{Asker, Reply as EngineReply, Transport, respond};

#[path = "reply.rs"]
mod reply;
pub use reply::{Reply, name_at};

pub const TXT: u16 = 16;
pub const SRV: u16 = 33;
pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const CNAME: u16 = 5;
pub const SOA: u16 = 6;
pub const MX: u16 = 15;
pub const AAAA: u16 = 28;
pub const DNAME: u16 = 39;
pub const OPT: u16 = 41;
pub const TSIG: u16 = 250;

/// The server's own limit over UDP.
pub const LIMIT: usize = 1232;

const SERVER: &str = r#"
[dns]
nsid = "wire"
version = "rollcall"
id = "wire-1"
max_udp_payload = 1232
[dns.cookies]
secrets = ["000102030405060708090a0b0c0d0e0f"]
"#;

const ZONE: &str = r#"
zone = "lb.example.com"
ttl = 30
[records]
"@" = { NS = ["ns1", "ns.example.net."], MX = ["10 mail", "20 mail.example.net."], TXT = "apex" }
ns1 = { A = "192.0.2.53", AAAA = "2001:db8::53" }
mail = { A = "192.0.2.25" }
www = { A = ["192.0.2.1", "192.0.2.2"], AAAA = "2001:db8::1", TXT = "text", SRV = "1 2 80 www", TYPE65280 = '\# 4 0A000001' }
alias = { CNAME = "www" }
to-pool = { CNAME = "turn" }
to-servfail = { CNAME = "servfail" }
to-many6 = { CNAME = "many6" }
to-routed = { CNAME = "routed" }
dangling = { CNAME = "missing" }
away = { CNAME = "www.example.net." }
loop = { CNAME = "loop" }
old = { DNAME = "new" }
"www.new" = { A = "192.0.2.31" }
long = { DNAME = "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg.aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg" }
"*.wild" = { TXT = "wild" }
"a.ent" = { TXT = "below" }
sub = { NS = ["ns.sub", "ns.example.net."], DS = "1 8 2 1111111111111111111111111111111111111111111111111111111111111111" }
"ns.sub" = { A = "192.0.2.61", AAAA = "2001:db8::61" }
"#;

const POOLS: &str = r#"
[checks.tcp]
type = "tcp"
port = 80
[pools.turn]
backends = [{ address = ["192.0.2.71", "2001:db8::71"] }, { address = ["192.0.2.72", "2001:db8::72"] }, { address = "192.0.2.73" }]
[pools.weighted]
policy = "weighted"
answers = 2
backends = [{ address = "192.0.2.71", weight = 3 }, { address = "192.0.2.72", weight = 1 }, { address = "192.0.2.73", weight = 2 }]
[pools.random]
policy = "random"
backends = [{ address = "192.0.2.71" }, { address = "192.0.2.72" }, { address = "192.0.2.73" }]
[pools.open]
check = "tcp"
backends = [{ address = "192.0.2.81" }, { address = "192.0.2.82" }]
[pools.nodata]
check = "tcp"
on_all_down = "nodata"
backends = [{ address = "192.0.2.81" }]
[pools.servfail]
check = "tcp"
on_all_down = "servfail"
backends = [{ address = "192.0.2.81" }]
[pools.refused]
check = "tcp"
on_all_down = "refused"
backends = [{ address = "192.0.2.81" }]
[pools.hashed]
policy = "hash"
backends = [{ name = "a", address = "192.0.2.91" }, { name = "b", address = "192.0.2.92", weight = 3 }]
[pools.hashed3]
policy = "hash"
answers = 3
spread = "rack"
backends = [
  { name = "a", address = "192.0.2.91", labels = { rack = "1" } },
  { name = "b", address = "192.0.2.92", labels = { rack = "1" } },
  { name = "c", address = "192.0.2.93", labels = { rack = "2" } },
]
[pools.spread]
policy = "weighted"
answers = 2
spread = "rack"
backends = [
  { name = "a", address = "192.0.2.91", labels = { rack = "1" } },
  { name = "b", address = "192.0.2.92", labels = { rack = "1" } },
  { name = "c", address = "192.0.2.93", labels = { rack = "2" } },
]
[pools.together]
family = "together"
backends = [{ address = ["192.0.2.71", "2001:db8::71"] }, { address = ["192.0.2.72", "2001:db8::72"] }]
[maps.net]
networks = { own = ["192.0.2.0/24", "2001:db8::/32"] }
[routes.map]
type = "map"
map = "net"
fence = true
choices = { own = "servfail", default = "weighted" }
[routes.failover]
type = "failover"
trickle = "5%"
choices = ["map", "split", "turn"]
[routes.split]
type = "weighted"
choices = ["sticky", { to = "weighted", weight = 3 }]
[routes.sticky]
type = "hash"
choices = ["hashed", "spread"]
[routes.shut]
type = "failover"
choices = ["servfail"]
"#;

const NAMES: &str = r#"
[names]
turn = "turn"
weighted = "weighted"
random = "random"
open = "open"
nodata = "nodata"
servfail = "servfail"
refused = "refused"
many = "many"
many6 = "many6"
hashed = "hashed"
hashed3 = "hashed3"
spread = "spread"
together = "together"
routed = "failover"
mapped = "map"
shut = "shut"
"*.apps" = "turn"
"#;

/// Names with a TXT set of growing size: `size0` to `size67`.
pub const SIZES: usize = 68;
/// Delegations with that many name servers of their own, each with one address: `cut1` to `cut40`.
pub const CUTS: usize = 40;

/// The zone and a pool with more backends than any other.
fn zone() -> String {
    let mut zone = ZONE.to_owned();
    for size in 0..SIZES {
        let strings = vec![format!("\\\"{}\\\"", "x".repeat(20 + size)); 1 + size / 4].join(" ");
        zone += &format!("size{size} = {{ TXT = [\"{strings}\", \"\\\"other\\\"\"] }}\n");
    }
    for cut in 1..=CUTS {
        let servers: Vec<String> = (0..cut).map(|server| format!("\"s{server}.cut{cut}\"")).collect();
        zone += &format!("cut{cut} = {{ NS = [{}, \"ns.sub\"] }}\n", servers.join(", "));
        for server in 0..cut {
            zone += &format!("\"s{server}.cut{cut}\" = {{ A = \"192.0.2.{server}\" }}\n");
        }
    }
    zone += POOLS;
    for (pool, prefix) in [("many", "10.0.0."), ("many6", "2001:db8:1::")] {
        let backends: Vec<String> = (1..=200).map(|n| format!("{{ address = \"{prefix}{n}\" }}")).collect();
        zone += &format!("[pools.{pool}]\nanswers = 200\nbackends = [{}]\n", backends.join(", "));
    }
    zone + NAMES
}

static SNAPSHOT: LazyLock<Arc<Snapshot>> = LazyLock::new(|| of(&zone()));

/// The world of a zone file, in which every probe has failed.
pub fn of(zone: &str) -> Arc<Snapshot> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(directory.path().join("zones")).expect("a directory");
    std::fs::write(directory.path().join("zones/lb.toml"), zone).expect("a zone file");
    let server = directory.path().join("rollcall.toml");
    std::fs::write(&server, SERVER).expect("a server file");
    let plan = config::load(Some(&server)).unwrap_or_else(|error| panic!("{:#?}", error.diagnostics));
    let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
    let mut world = World::new(&Saved::default(), [7; 16], now);
    let prepared = world.prepare(plan, now);
    world.install(prepared, now);
    let refused =
        Outcome { passed: false, reason: "connection refused".to_owned(), latency: Duration::ZERO, said: None };
    for id in world.probe_ids().to_vec() {
        world.observe(id, &refused, now);
    }
    world.publish(now);
    world.snapshot().clone()
}

/// The one snapshot that all tests ask.
pub fn snapshot() -> &'static Snapshot {
    &SNAPSHOT
}

pub fn asker(transport: Transport) -> Asker {
    Asker { address: IpAddr::from([198, 51, 100, 7]), transport, worker: 0 }
}

/// Asks without looking at the reply.
pub fn ask_raw(transport: Transport, query: &[u8], out: &mut [u8]) -> EngineReply {
    respond(snapshot(), &asker(transport), query, out)
}

/// Asks, and reads the reply strictly. `None` is silence.
pub fn ask(transport: Transport, query: &[u8]) -> Option<Reply> {
    let mut out = vec![0xaa; if transport == Transport::Udp { LIMIT } else { 65_535 }];
    let length = ask_raw(transport, query, &mut out).length;
    (length > 0).then(|| Reply::read(&out[..length], query))
}

/// Asks over UDP what must be answered.
pub fn udp(query: &[u8]) -> Reply {
    ask(Transport::Udp, query).expect("an answer")
}

/// The wire form of a name below lb.example.com, or of one with a final dot; its case as written.
pub fn wire(name: &str) -> Vec<u8> {
    let absolute = match name {
        "@" => "lb.example.com.".to_owned(),
        name if name.ends_with('.') => name.to_owned(),
        name => format!("{name}.lb.example.com."),
    };
    let lower = Name::parse(&absolute, None).expect("a name");
    let mut octets = lower.as_wire().to_vec();
    if !absolute.contains('\\') && absolute != "." {
        // Names are kept lower-case; questions are not.
        let mut at = 0;
        for label in absolute.split_terminator('.') {
            octets[at + 1..=at + label.len()].copy_from_slice(label.as_bytes());
            at += 1 + label.len();
        }
    }
    octets
}

/// A question in class IN with RD, without EDNS.
pub fn query(name: &str, qtype: u16) -> Vec<u8> {
    let mut query = vec![0xbe, 0xef, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(&wire(name));
    query.extend_from_slice(&qtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    query
}

/// Adds an OPT: payload size, the 32 bits of rcode, version and flags, and options.
pub fn with_opt(mut query: Vec<u8>, size: u16, bits: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut rdata = Vec::new();
    for (code, data) in options {
        rdata.extend_from_slice(&code.to_be_bytes());
        rdata.extend_from_slice(&(data.len() as u16).to_be_bytes());
        rdata.extend_from_slice(data);
    }
    add_record(&mut query, &[0], OPT, size, bits, &rdata);
    query
}

/// A question with a plain OPT of that size.
pub fn query_edns(name: &str, qtype: u16, size: u16) -> Vec<u8> {
    with_opt(query(name, qtype), size, 0, &[])
}

/// Appends a record to the additional section.
pub fn add_record(query: &mut Vec<u8>, owner: &[u8], rtype: u16, class: u16, ttl: u32, rdata: &[u8]) {
    let count = u16::from_be_bytes([query[10], query[11]]) + 1;
    query[10..12].copy_from_slice(&count.to_be_bytes());
    query.extend_from_slice(owner);
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&class.to_be_bytes());
    query.extend_from_slice(&ttl.to_be_bytes());
    query.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    query.extend_from_slice(rdata);
}
