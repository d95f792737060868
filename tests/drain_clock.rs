//! The drain clock is never early: resolvers that keep what they are told for as long as they are told it hold no address
//! of a backend that is said to be drained, whatever happens to the pools meanwhile.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use rollcall::config;
use rollcall::config::plan::AdminState;
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::{Clock, Override, World};
use rollcall::engine::name::Name;
use rollcall::engine::probe::Outcome;
use rollcall::engine::{Asker, Transport, respond, rrtype};

const NAMES: [&str; 8] = ["www", "long", "both", "short", "fall", "first", "place", "clock"];

/// The zones between which reloads switch: other TTLs, other members, a name that is gone.
const ZONES: [&str; 2] = [
    r#"
[pools.web]
check = "web"
slow_start = "20s"
ttl = { max = 40, min = 5 }
backends = [
  { name = "a", address = "192.0.2.1", maintenance = [{ from = 2023-11-14T22:15:00Z, to = 2023-11-14T22:16:00Z }] },
  { name = "b", address = "192.0.2.2" },
  { name = "c", address = "192.0.2.3", tier = 1 },
]
[pools.shared]
check = "web"
policy = "weighted"
on_all_down = { to = "web" }
backends = [{ name = "a", address = "192.0.2.1" }, { name = "d", address = "192.0.2.4" }]
[maps.net]
networks = { here = "127.0.0.0/8" }
[routes.first]
type = "failover"
trickle = "10%"
choices = ["web", "shared"]
[routes.place]
type = "map"
map = "net"
choices = { here = "first", default = "shared" }
[routes.clock]
type = "schedule"
choices = [{ to = "shared", from = "22:14", until = "22:16" }]
default = "web"
[names]
first = { to = "first", ttl = 45 }
place = "place"
clock = { to = "clock", ttl = { max = 35, min = 1 } }
www = "web"
long = { to = "web", ttl = 50 }
both = { to = "shared", ttl = 20 }
short = { to = "shared", ttl = 1 }
fall = { to = "shared", ttl = { max = 30, min = 2 } }
"#,
    r#"
[pools.web]
check = "web"
ttl = 3
backends = [
  { name = "a", address = "192.0.2.1" },
  { name = "b", address = "192.0.2.2", state = "drain" },
  { name = "c", address = "192.0.2.3" },
]
[pools.shared]
check = "web"
policy = "random"
answers = 1
backends = [{ name = "a", address = "192.0.2.1" }, { name = "d", address = "192.0.2.4" }]
[maps.net]
networks = { here = "127.0.0.0/8" }
[routes.first]
type = "weighted"
choices = ["web", { to = "shared", weight = 3 }]
[routes.place]
type = "map"
fence = true
map = "net"
choices = { here = "web", default = "shared" }
[names]
first = "first"
place = { to = "place", ttl = 15 }
www = "web"
both = { to = "shared", ttl = 60 }
short = { to = "shared", ttl = 0 }
"#,
];

#[derive(Debug, Clone)]
enum Step {
    Probe(u8, bool, u8),
    State(&'static str, u8, AdminState),
    Pass(u16),
    Ask(usize),
    Reload(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![
        4 => Just(AdminState::Drain),
        1 => Just(AdminState::Down),
        1 => Just(AdminState::Up),
        3 => Just(AdminState::Auto)
    ];
    prop_oneof![
        3 => (1u8..5, any::<bool>(), 1u8..4).prop_map(|(target, passed, times)| Step::Probe(target, passed, times)),
        4 => (prop_oneof![Just("web"), Just("shared"), Just("*")], 0u8..4, state).prop_map(|(pool, at, state)| Step::State(pool, at, state)),
        6 => (1u16..25_000).prop_map(Step::Pass),
        10 => (0..NAMES.len()).prop_map(Step::Ask),
        1 => (0..ZONES.len()).prop_map(Step::Reload),
        1 => Just(Step::Restart),
    ]
}

struct Run {
    directory: tempfile::TempDir,
    world: World,
    now: Now,
    /// What caches hold: until when, by address. They round nothing in the server's favour.
    held: HashMap<IpAddr, Duration>,
    /// What the state directory holds: written before an override is published, and at each tick.
    disk: Saved,
}

impl Run {
    fn new() -> Run {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("zones")).unwrap();
        std::fs::write(directory.path().join("rollcall.toml"), "[checker]\ndoubt = \"off\"\n").unwrap();
        let now = Now { wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), mono: Duration::ZERO };
        let world = World::new(&Saved::default(), [7; 16], now);
        let mut run = Run { directory, world, now, held: HashMap::new(), disk: Saved::default() };
        run.load(0);
        run.disk = run.world.saved();
        run
    }

    fn load(&mut self, zone: usize) {
        let head = "zone = \"lb.example.com\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n[checks.web]\ntype = \"tcp\"\nport = 80\n";
        let path: &Path = self.directory.path();
        std::fs::write(path.join("zones/lb.toml"), format!("{head}{}", ZONES[zone])).unwrap();
        self.install();
    }

    fn install(&mut self) {
        let plan = config::load(Some(&self.directory.path().join("rollcall.toml"))).unwrap();
        let prepared = self.world.prepare(plan, self.now);
        self.world.install(prepared, self.now);
    }

    /// A resolver asks, and keeps the answer. It may have been sent by a worker that was half a second behind.
    fn ask(&mut self, name: &str) {
        let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let name = Name::parse(&format!("{name}.lb.example.com."), None).unwrap();
        query.extend_from_slice(name.as_wire());
        query.extend_from_slice(&[0, rrtype::A as u8, 0, 1]);
        let asker = Asker { address: IpAddr::from([127, 0, 0, 1]), transport: Transport::Udp, worker: 0 };
        let mut out = [0; 4096];
        let reply = respond(self.world.snapshot(), &asker, &query, &mut out);
        let count = usize::from(u16::from_be_bytes([out[6], out[7]]));
        let mut at = query.len();
        for _ in 0..count {
            let record = &out[at..reply.length];
            let ttl = u32::from_be_bytes(record[6..10].try_into().unwrap());
            let address = IpAddr::from(<[u8; 4]>::try_from(&record[12..16]).unwrap());
            let until = self.now.mono + Duration::from_millis(500) + Duration::from_secs(u64::from(ttl));
            let held = self.held.entry(address).or_default();
            *held = until.max(*held);
            at += 16;
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Probe(target, passed, times) => {
                let outcome = Outcome { passed: *passed, reason: String::new(), latency: Duration::ZERO, said: None };
                let address = IpAddr::from([192, 0, 2, *target]);
                let plan = self.world.plan().clone();
                let probes = plan.probes.iter().zip(self.world.probe_ids().to_vec());
                for (_, id) in probes.filter(|(spec, _)| spec.target.ip() == address) {
                    (0..*times).for_each(|_| drop(self.world.observe(id, &outcome, self.now)));
                }
                self.world.publish(self.now);
            }
            Step::State(pool, at, state) => {
                let backend = ["a", "b", "c", "d"][usize::from(*at)];
                let entry = Override { state: *state, since: self.now.wall, until: None, reason: None, by: None };
                let _ = self.world.set_state(&format!("lb.example.com/{pool}/{backend}"), &entry, self.now);
                self.disk = self.world.saved();
                self.world.publish(self.now);
            }
            Step::Pass(milliseconds) => {
                let end = self.now.mono + Duration::from_millis(u64::from(*milliseconds));
                while self.now.mono < end {
                    let step = Duration::from_secs(1).min(end - self.now.mono);
                    self.now.wall += step;
                    self.now.mono += step;
                    // A resolver asks at the worst moment: just before what is new is published.
                    (0..NAMES.len()).for_each(|name| self.ask(NAMES[name]));
                    self.world.tick(self.now);
                    self.world.publish(self.now);
                    self.disk = self.world.saved();
                    self.check();
                }
            }
            Step::Ask(name) => self.ask(NAMES[*name]),
            Step::Reload(zone) => {
                self.load(*zone);
                // As the server does with each load.
                self.disk = self.world.saved();
            }
            Step::Restart => {
                // Killed: what is on disk is all that is known.
                self.world = World::new(&self.disk, [7; 16], self.now);
                self.install();
            }
        }
        self.check();
    }

    fn check(&self) {
        let clocks = self.world.drain_clocks();
        for pool in &self.world.plan().pools {
            for backend in &pool.backends {
                let Some(clock) = clocks.get(&format!("lb.example.com/{}/{}", pool.name, backend.name)) else {
                    continue;
                };
                let address = backend.address(rrtype::A).unwrap();
                let held = self.held.get(&address).copied().unwrap_or_default();
                match clock {
                    Clock::Answered(_) => {}
                    Clock::SafeAt(at) => {
                        let safe = self.now.mono + at.duration_since(self.now.wall).unwrap();
                        assert!(
                            safe >= held,
                            "{address} is said to be safe at {safe:?}, a cache holds it until {held:?}"
                        );
                    }
                    Clock::Drained(_) => {
                        assert!(
                            held <= self.now.mono,
                            "{address} is said to be drained, a cache holds it until {held:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Caches are empty of a backend when its window begins, second by second before it, with a TTL that only counts down.
#[test]
fn no_cache_holds_a_backend_when_its_maintenance_begins() {
    let mut run = Run::new();
    let outcome = Outcome { passed: true, reason: String::new(), latency: Duration::ZERO, said: None };
    run.world.probe_ids().to_vec().into_iter().for_each(|id| drop(run.world.observe(id, &outcome, run.now)));
    run.world.publish(run.now);
    let only = "lb.example.com/shared/a";
    let entry = |state| Override { state, since: SystemTime::UNIX_EPOCH, until: None, reason: None, by: None };
    run.world.set_state(only, &entry(AdminState::Drain), run.now).unwrap();
    run.world.publish(run.now);
    // 22:13:20 is the beginning, 22:15:00 the window's.
    for _ in 0..100 {
        run.step(&Step::Pass(1000));
    }
    let address = IpAddr::from([192, 0, 2, 1]);
    assert!(run.held[&address] > Duration::from_secs(95), "it was answered until shortly before");
    assert!(run.held[&address] <= run.now.mono, "held until {:?}, now {:?}", run.held[&address], run.now.mono);
    run.step(&Step::Pass(59_000));
    assert!(run.held[&address] <= Duration::from_secs(100));
    run.step(&Step::Pass(2000));
    run.ask("www");
    assert!(run.held[&address] > Duration::from_secs(100), "and again after it");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn no_cache_holds_a_drained_address(steps in proptest::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in &steps {
            run.step(step);
        }
    }
}
