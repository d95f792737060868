//! What befalls a server in sequence: results of probes, overrides, reloads, restarts, and the clock. After each step a second,
//! simpler telling of the rules says what must be answered.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use rollcall::config::{self, plan::AdminState};
use rollcall::control::Now;
use rollcall::control::memory::Saved;
use rollcall::control::world::{Override, World};
use rollcall::engine::probe::Outcome;
use rollcall::engine::{Asker, Transport, respond};

const BACKENDS: usize = 5;
/// Steps of one life, and how many of them may read the files anew: a load costs as much as all the other steps together.
const STEPS: usize = 48;
const LOADS: usize = 4;
const STATES: [AdminState; 4] = [AdminState::Auto, AdminState::Up, AdminState::Down, AdminState::Drain];
const WORDS: [&str; 4] = ["auto", "up", "down", "drain"];
const POLICIES: [&str; 3] = ["round-robin", "weighted", "random"];
const ALL_DOWN: [&str; 6] = ["open", "every", "last", "nodata", "servfail", "refused"];
const QUESTION: &[u8] = b"\x01\x02\0\0\0\x01\0\0\0\0\0\0\x03www\x02lb\x07example\0\0\x01\0\x01";

static PLACE: LazyLock<PathBuf> = LazyLock::new(|| {
    let parent = ["/dev/shm", "/tmp"].into_iter().find(|path| std::fs::metadata(path).is_ok()).unwrap();
    let place = tempfile::tempdir_in(parent).unwrap().keep();
    std::fs::create_dir(place.join("zones")).unwrap();
    std::fs::write(place.join("rollcall.toml"), "zones = \"zones\"\n").unwrap();
    place
});

/// One pool as the file says it.
#[derive(Clone, Copy, PartialEq)]
struct File {
    present: [bool; BACKENDS],
    weights: [u16; BACKENDS],
    tiers: [u16; BACKENDS],
    states: [usize; BACKENDS],
    all_down: usize,
    policy: usize,
    rise: u32,
    fall: u32,
}

/// The second telling.
struct Model {
    file: File,
    verdicts: BTreeMap<usize, Counted>,
    overrides: BTreeMap<usize, (usize, Option<u64>)>,
    seconds: u64,
}

#[derive(Clone, Copy)]
struct Counted {
    up: bool,
    contrary: u32,
    /// The check was changed: the next result decides alone.
    alone: bool,
    /// When its latest result came.
    last: Option<u64>,
}

fuzz_target!(|octets: &[u8]| {
    let mut input = octets.iter().copied();
    let mut next = || input.next();
    let Some(first) = next() else { return };
    let file = File::from_octets(&mut || Some(first));
    let mut model = Model { file, verdicts: BTreeMap::new(), overrides: BTreeMap::new(), seconds: 1_700_000_000 };
    let mut world = World::new(&Saved::default(), [7; 16], model.now());
    load(&mut world, &model);
    let (mut generation, mut serial) = (0, 0);
    let mut loads = 0;
    for _ in 0..STEPS {
        model.check(&world);
        let snapshot = world.snapshot();
        let zone = snapshot.zones.get(0).expect("the zone");
        assert!(snapshot.generation >= generation, "generations rise");
        assert!(zone.soa.serial().wrapping_sub(serial) as i32 >= 0 || serial == 0, "serials rise");
        (generation, serial) = (snapshot.generation, zone.soa.serial());
        let Some(step) = next() else { return };
        let which = usize::from(step >> 4) % BACKENDS;
        let step = if step & 6 == 6 && loads == LOADS { step & !4 } else { step };
        match step & 7 {
            0..=2 => {
                let passed = step & 8 != 0;
                let Some(id) = model.probe(&world, which) else { continue };
                let reason = if passed { "ok" } else { "connection refused" }.to_owned();
                world.observe(id, &Outcome { passed, reason, latency: Duration::ZERO, said: None }, model.now());
                model.observe(which, passed);
            }
            3 | 4 => {
                let state = usize::from(next().unwrap_or(0));
                let until = (step & 8 != 0).then(|| model.seconds + u64::from(next().unwrap_or(0)) + 1);
                let entry = Override {
                    state: STATES[state % 4],
                    since: model.now().wall,
                    until: until.map(|until| SystemTime::UNIX_EPOCH + Duration::from_secs(until)),
                    reason: None,
                    by: None,
                };
                let known = world.set_state(&format!("lb.example/web/b{which}"), &entry, model.now());
                assert_eq!(known.is_ok(), model.file.present[which]);
                match (known.is_ok(), state % 4) {
                    (false, _) => {}
                    (true, 0) => drop(model.overrides.remove(&which)),
                    (true, state) => drop(model.overrides.insert(which, (state, until))),
                }
            }
            5 => {
                model.seconds += u64::from(next().unwrap_or(0));
                world.tick(model.now());
                let now = model.seconds;
                model.overrides.retain(|_, (_, until)| until.is_none_or(|until| until > now));
            }
            6 => {
                loads += 1;
                let before = model.file;
                model.file = File::from_octets(&mut next);
                model.reloaded(&before);
                load(&mut world, &model);
            }
            _ => {
                // A restart, at once: what was known stays, but for results that had not yet decided.
                loads += 1;
                let saved = world.saved();
                world = World::new(&saved, [7; 16], model.now());
                load(&mut world, &model);
                model.restarted();
                generation = 0;
            }
        }
        world.publish(model.now());
    }
});

fn load(world: &mut World, model: &Model) {
    std::fs::write(PLACE.join("zones/lb.toml"), model.file.text()).unwrap();
    let plan = config::load(Some(&PLACE.join("rollcall.toml"))).expect("a good file");
    let prepared = world.prepare(plan, model.now());
    world.install(prepared, model.now());
}

impl File {
    fn from_octets(next: &mut impl FnMut() -> Option<u8>) -> File {
        let mut octet = || usize::from(next().unwrap_or(1));
        let (present, weights, tiers, states, other) = (octet(), octet(), octet(), octet(), octet());
        let bit = |of: usize, n: usize| of >> n & 1;
        let mut present: [bool; BACKENDS] = std::array::from_fn(|n| bit(present, n) == 1);
        present[0] |= present.iter().all(|present| !present);
        File {
            present,
            weights: std::array::from_fn(|n| bit(weights, n) as u16 * (n as u16 + 1)),
            tiers: std::array::from_fn(|n| bit(tiers, n) as u16),
            // Mostly auto.
            states: std::array::from_fn(|n| bit(states, n) * (states >> 5) % 4),
            all_down: other % 6,
            policy: other / 6 % 3,
            rise: 1 + (other / 18 % 3) as u32,
            fall: 1 + (other / 54 % 3) as u32,
        }
    }

    fn text(&self) -> String {
        let backends: Vec<String> = (0..BACKENDS)
            .filter(|&n| self.present[n])
            .map(|n| {
                let (weight, tier, state) = (self.weights[n], self.tiers[n], WORDS[self.states[n]]);
                format!(
                    "{{ name = \"b{n}\", address = \"10.0.0.{n}\", weight = {weight}, tier = {tier}, state = \"{state}\" }}"
                )
            })
            .collect();
        format!(
            "zone = \"lb.example\"\n[records]\n\"@\" = {{ NS = \"ns.example.net.\" }}\n[checks.web]\ntype = \"tcp\"\n\
             port = 80\nrise = {}\nfall = {}\n[pools.web]\ncheck = \"web\"\nanswers = 8\npolicy = \"{}\"\n\
             on_all_down = \"{}\"\nbackends = [{}]\n[names]\nwww = \"web\"\n",
            self.rise,
            self.fall,
            POLICIES[self.policy],
            ALL_DOWN[self.all_down],
            backends.join(", ")
        )
    }
}

impl Model {
    fn now(&self) -> Now {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(self.seconds);
        Now { wall, mono: Duration::from_secs(self.seconds - 1_700_000_000) }
    }

    /// The number of a backend's probe.
    fn probe(&self, world: &World, backend: usize) -> Option<rollcall::engine::probe::ProbeId> {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, backend as u8));
        let at = world.plan().probes.iter().position(|spec| spec.target.ip() == address)?;
        world.probe_ids().get(at).copied()
    }

    fn observe(&mut self, backend: usize, passed: bool) {
        let (rise, fall, last) = (self.file.rise, self.file.fall, Some(self.seconds));
        let Some(one) = self.verdicts.get_mut(&backend) else {
            self.verdicts.insert(backend, Counted { up: passed, contrary: 0, alone: false, last });
            return;
        };
        one.last = last;
        let needed = if one.alone {
            1
        } else if one.up {
            fall
        } else {
            rise
        };
        one.contrary = if passed == one.up { 0 } else { one.contrary + 1 };
        if one.contrary >= needed {
            (one.up, one.contrary) = (passed, 0);
        }
        one.alone = false;
    }

    /// Backends that went are forgotten; a changed check keeps its verdicts until the next result.
    fn reloaded(&mut self, before: &File) {
        let present = self.file.present;
        self.verdicts.retain(|&backend, _| present[backend]);
        if (before.rise, before.fall) != (self.file.rise, self.file.fall) {
            self.verdicts.values_mut().for_each(|one| (one.contrary, one.alone, one.last) = (0, true, None));
        }
    }

    /// A verdict is kept while its latest result is younger than ten intervals of ten seconds.
    fn restarted(&mut self) {
        let now = self.seconds;
        self.verdicts.retain(|_, one| one.last.is_some_and(|last| now - last < 100));
        self.verdicts.values_mut().for_each(|one| (one.contrary, one.alone) = (0, false));
    }

    fn state(&self, backend: usize) -> usize {
        self.overrides.get(&backend).map_or(self.file.states[backend], |&(state, _)| state)
    }

    fn is_up(&self, backend: usize) -> bool {
        // Without a verdict, and none to be waited for: up.
        self.state(backend) == 1 || self.verdicts.get(&backend).is_none_or(|one| one.up)
    }

    fn check(&self, world: &World) {
        let mut out = [0; 1232];
        let asker = Asker { address: IpAddr::from([192, 0, 2, 1]), transport: Transport::Udp, worker: 0 };
        let reply = respond(world.snapshot(), &asker, QUESTION, &mut out);
        let answers = usize::from(u16::from_be_bytes([out[6], out[7]]));
        let answered: BTreeSet<usize> = (0..answers)
            .map(|n| {
                let record = &out[QUESTION.len() + 16 * n..][..16];
                assert_eq!(record[12..15], [10, 0, 0], "an address of the pool");
                usize::from(record[15])
            })
            .collect();
        assert_eq!(answered.len(), answers, "nobody twice");

        let candidates: Vec<usize> =
            (0..BACKENDS).filter(|&n| self.file.present[n] && ![2, 3].contains(&self.state(n))).collect();
        assert!(answered.iter().all(|one| candidates.contains(one)), "forced down or drained is never answered");
        let tier = |of: u16| candidates.iter().copied().filter(move |&n| self.file.tiers[n] == of);
        let heed = |members: Vec<usize>| -> BTreeSet<usize> {
            let weighted: BTreeSet<usize> = members.iter().copied().filter(|&n| self.file.weights[n] > 0).collect();
            if weighted.is_empty() { members.into_iter().collect() } else { weighted }
        };
        let healthy = (0..2).map(|of| heed(tier(of).filter(|&n| self.is_up(n)).collect())).find(|set| !set.is_empty());
        let open = (0..2).map(|of| heed(tier(of).collect())).find(|set| !set.is_empty()).unwrap_or_default();
        let (rcode, expected) = match (healthy, ALL_DOWN[self.file.all_down]) {
            (Some(set), _) => (0, set),
            (None, "servfail") => (2, BTreeSet::new()),
            (None, "refused") => (5, BTreeSet::new()),
            (None, "nodata") => (0, BTreeSet::new()),
            (None, "every") => (0, candidates.iter().copied().collect()),
            (None, "open") => (0, open),
            (None, _) => {
                // The last set while healthy, or as open: whichever, somebody answers where somebody may.
                assert_eq!(answered.is_empty(), candidates.is_empty(), "never empty while somebody may be answered");
                (0, answered.clone())
            }
        };
        assert_eq!((reply.rcode, &answered), (rcode, &expected), "{:?} {:?}", self.file.text(), self.overrides);
    }
}
