//! Time an answer takes, by its kind and the size of the zone; what memory alone costs; and time a verdict takes to be published.
//!
//! `cargo bench --bench respond`, or `cargo bench --bench respond -- 'respond/static'` for a part.

mod world;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::World;
use rollcall::engine::plain::Plain;
use rollcall::engine::probe::{Outcome, ProbeId};
use rollcall::engine::rendezvous::Rendezvous;
use rollcall::engine::snapshot::Snapshot;
use rollcall::engine::{Transport, respond};

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(benches, answers, memory, large_hash, publishing);
criterion_main!(benches);

fn answers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("respond");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    let run = |group: &mut BenchmarkGroup<'_, WallTime>, snapshot: &Snapshot, name: &str, queries: &[Vec<u8>]| {
        let (mut at, mut out) = (0, [0; 1232]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                at = if at + 1 == queries.len() { 0 } else { at + 1 };
                respond(snapshot, &world::ASKER, black_box(&queries[at]), &mut out)
            });
        });
    };
    for names in [1_000, 1_000_000] {
        let snapshot = world::snapshot(names);
        for (kind, queries) in world::kinds(names) {
            run(&mut group, &snapshot, &format!("{kind}/{names}"), &queries);
        }
        for (mix, host) in [("zipf", world::zipf as fn(usize, usize) -> usize), ("uniform", world::uniform)] {
            let mut asked = 0;
            group.bench_function(format!("{mix}/{names}"), |bencher| {
                bencher.iter_custom(|rounds| block_by_block(&snapshot, rounds, &mut asked, |at| host(names, at)));
            });
            group.bench_function(format!("batch/{mix}/{names}"), |bencher| {
                bencher.iter_custom(|rounds| batch_by_batch(&snapshot, rounds, &mut asked, |at| host(names, at)));
            });
        }
    }
}

/// Time of `rounds` answers as a UDP worker makes them: all queries of a batch are read, and the memory where each answer will be
/// found is looked at, before the first is answered.
fn batch_by_batch(snapshot: &Snapshot, rounds: u64, asked: &mut usize, host: impl Fn(usize) -> usize) -> Duration {
    const WIDTH: usize = 32;
    let mut slots = [[0; 512]; WIDTH];
    let mut lengths = [0; WIDTH];
    let mut plain = [Plain::NONE; WIDTH];
    let mut took = Duration::ZERO;
    for _ in 0..rounds.div_ceil(WIDTH as u64) {
        for (slot, length) in slots.iter_mut().zip(&mut lengths) {
            let query: &mut [u8; 64] = slot.first_chunk_mut().expect("room");
            *length = world::write_query(host(*asked), query);
            *asked += 1;
        }
        let begun = Instant::now();
        for ((slot, &length), plain) in slots.iter().zip(&lengths).zip(&mut plain) {
            plain.read(snapshot, Transport::Udp, slot, length, 512).expect("a plain query");
        }
        if plain.iter().any(Plain::needs_aim) {
            plain.iter_mut().for_each(|plain| plain.aim(snapshot));
        }
        for (slot, plain) in slots.iter_mut().zip(&plain) {
            black_box(plain.answer(snapshot, 0, slot).expect("a plain answer"));
        }
        took += begun.elapsed();
    }
    // The last batch is whole, whatever was asked for.
    took.mul_f64(rounds as f64 / (rounds.div_ceil(WIDTH as u64) * WIDTH as u64) as f64)
}

/// Queries that are made at a time, before the clock runs.
const BLOCK: usize = 256;

/// Time of `rounds` answers to names chosen by `host`. Queries lie in a server's few slots, not in a list of all that will ever
/// come, which would push the zone out of the caches: they are made anew in the same place.
fn block_by_block(snapshot: &Snapshot, rounds: u64, asked: &mut usize, host: impl Fn(usize) -> usize) -> Duration {
    let mut queries = [[0; 64]; BLOCK];
    let mut lengths = [0; BLOCK];
    let mut out = [0; 1232];
    let mut took = Duration::ZERO;
    let mut left = rounds as usize;
    while left > 0 {
        let count = left.min(BLOCK);
        left -= count;
        for (query, length) in queries.iter_mut().zip(&mut lengths).take(count) {
            *length = world::write_query(host(*asked), query);
            *asked += 1;
        }
        let begun = Instant::now();
        for (query, &length) in queries.iter().zip(&lengths).take(count) {
            black_box(respond(snapshot, &world::ASKER, black_box(&query[..length]), &mut out));
        }
        took += begun.elapsed();
    }
    took
}

/// What no table of names can avoid: one read of one line of the cache, drawn by Zipf's law from as many as there are names, each
/// waited for before the next. The lines lie as close as they can, on huge pages.
fn memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memory");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    for names in [1_000, 1_000_000] {
        let mut lines = memmap2::MmapMut::map_anon(names * 64).expect("memory");
        let _ = lines.advise(memmap2::Advice::HugePage);
        lines.fill(0);
        let mut asked = 0;
        group.bench_function(format!("zipf/{names}"), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                let mut left = rounds as usize;
                while left > 0 {
                    let count = left.min(BLOCK);
                    left -= count;
                    let drawn: [usize; BLOCK] = std::array::from_fn(|at| world::zipf(names, asked + at));
                    asked += count;
                    let begun = Instant::now();
                    let read = drawn[..count].iter().fold(0, |before, line| usize::from(lines[(line + before) * 64]));
                    took += begun.elapsed();
                    assert_eq!(black_box(read), 0);
                }
                took
            });
        });
    }
}

fn publishing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.measurement_time(Duration::from_secs(3)).sample_size(20);
    // All names answer from one pool, whose verdicts stay; another pool's verdict is what is published.
    let mut one = Balanced::new(&[("all", 100_000), ("one", 1)]);
    group.bench_function("one verdict beside 100,000 balanced names", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| one.flip("one", 1)).sum());
    });
    let mut many = Balanced::new(&[("all", 10_000)]);
    group.bench_function("10,000 verdicts at once", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| many.flip("all", 10_000)).sum());
    });
    let mut routed = Balanced::routed();
    group.bench_function("one verdict below 100,000 names of one route", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| routed.flip("all", 1)).sum());
    });
    group.bench_function("one verdict below a map of 100,000 networks", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| routed.flip("one", 1)).sum());
    });
}

/// A pool of 2,000 members by rendezvous, one owner and the eight best.
fn large_hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash of 2,000 members");
    let names: Vec<String> = (0..2000).map(|number| format!("backend-{number}")).collect();
    for (weights, weight) in [("equal", 1), ("different", 7)] {
        let table = Rendezvous::new(names.iter().zip(0u16..).map(|(name, at)| (name.as_str(), 1 + at % weight)));
        let mut hash = 0u64;
        group.bench_function(format!("first, {weights} weights"), |bencher| {
            bencher.iter(|| {
                hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                table.first(black_box(hash))
            });
        });
        let mut order = [0; 2000];
        group.bench_function(format!("order, {weights} weights"), |bencher| {
            bencher.iter(|| {
                hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
                table.order(black_box(hash), &mut order)
            });
        });
    }
}

/// A world of balanced names: each group has a pool of its own a name, or one pool for all names.
struct Balanced {
    world: World,
    now: Now,
    probes: Vec<(String, ProbeId)>,
    /// The latest result of each group.
    passed: HashMap<String, bool>,
}

impl Balanced {
    fn new(groups: &[(&str, usize)]) -> Balanced {
        let mut text = String::from(
            "zone = \"bench.example\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n\
             [checks.web]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\n",
        );
        let mut names = String::from("[names]\n");
        for (group, count) in groups {
            for number in 0..*count {
                let [_, a, b, c] = (number as u32).to_be_bytes();
                let net = if *group == "all" { 10 } else { 11 };
                text.push_str(&format!(
                    "[pools.{group}{number}]\ncheck = \"web\"\ninitial = \"up\"\n\
                     backends = [{{ address = \"{net}.{a}.{b}.{c}\" }}, {{ address = \"12.{a}.{b}.{c}\", state = \"up\" }}]\n"
                ));
                names.push_str(&format!("{group}{number} = \"{group}{number}\"\n"));
            }
        }
        text.push_str(&names);
        Balanced::of(&text, "")
    }

    /// 100,000 names behind one failover route of two pools, and one behind a map of 100,000 networks.
    fn routed() -> Balanced {
        let mut text = String::from(
            "zone = \"bench.example\"\n[records]\n\"@\" = { NS = \"ns.example.net.\" }\n\
             [checks.web]\ntype = \"tcp\"\nport = 80\nfall = 1\nrise = 1\n\
             [maps.net]\nfile = \"networks.csv\"\n\
             [routes.failover]\ntype = \"failover\"\nchoices = [\"all\", \"rest\"]\n\
             [routes.map]\ntype = \"map\"\nmap = \"net\"\nchoices = { a = \"one\", default = \"rest\" }\n\
             [pools.all]\ncheck = \"web\"\ninitial = \"up\"\nbackends = [{ address = \"10.0.0.1\" }]\n\
             [pools.one]\ncheck = \"web\"\ninitial = \"up\"\nbackends = [{ address = \"11.0.0.1\" }]\n\
             [pools.rest]\nbackends = [{ address = \"12.0.0.1\" }]\n[names]\nmapped = \"map\"\n",
        );
        (0..100_000).for_each(|name| text.push_str(&format!("r{name} = \"failover\"\n")));
        let mut csv = String::new();
        for network in 0..100_000u32 {
            let [_, a, b, c] = (network * 2).to_be_bytes();
            csv.push_str(&format!("{}.{b}.{c}.0/24,a\n", 20 + a));
        }
        Balanced::of(&text, &csv)
    }

    fn of(text: &str, csv: &str) -> Balanced {
        let directory = tempfile::tempdir().expect("a directory");
        let zones = directory.path().join("zones");
        std::fs::create_dir(&zones).expect("a directory");
        std::fs::write(zones.join("bench.toml"), text).expect("a file");
        std::fs::write(zones.join("networks.csv"), csv).expect("a file");
        let server = directory.path().join("rollcall.toml");
        // Ten thousand that fail at once would be doubted, and nothing published.
        std::fs::write(&server, "[checker]\ndoubt = \"off\"\n").expect("a file");
        let plan = rollcall::config::load(Some(&server)).expect("a sound configuration");
        let now = Now { wall: SystemTime::now(), mono: Duration::ZERO };
        let mut world = World::new(&Saved::default(), [7; 16], now);
        let prepared = world.prepare(plan, now);
        world.install(prepared, now);
        let probes = world.plan().probes.iter().zip(world.probe_ids());
        let probes = probes.map(|(spec, &id)| (spec.target.ip().to_string(), id)).collect();
        Balanced { world, now, probes, passed: HashMap::new() }
    }

    /// Turns the verdicts of a group's first backends; returns how long taking in and publishing took.
    fn flip(&mut self, group: &str, count: usize) -> Duration {
        let passed = self.passed.entry(group.to_owned()).or_insert(true);
        *passed = !*passed;
        self.now.mono += Duration::from_secs(1);
        let net = if group == "all" { "10." } else { "11." };
        let outcome =
            Outcome { passed: *passed, reason: String::from("bench"), latency: Duration::from_millis(1), said: None };
        let ids: Vec<ProbeId> =
            self.probes.iter().filter(|(ip, _)| ip.starts_with(net)).map(|(_, id)| *id).take(count).collect();
        assert_eq!(ids.len(), count);
        let begin = Instant::now();
        for id in ids {
            self.world.observe(id, &outcome, self.now);
        }
        assert!(self.world.publish(self.now).is_some(), "nothing changed");
        let took = begin.elapsed();
        // What a server does next: the words for status, journal and event streams.
        self.world.tick(self.now);
        took
    }
}
