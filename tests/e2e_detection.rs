//! End to end: how fast a killed backend leaves the answers. Prints the figures: `cargo test --test e2e_detection --
//! --nocapture`.

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::backend::Backend;
use support::server::{Place, Server};
use support::{DEADLINE, figures};

/// Is no test: the backends of all others run in it.
#[test]
fn run_as_backend() {
    support::backend::run_as_backend();
}

/// One measurement at a time: they share the machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Steps from a kill to an answer for which some thread must be woken: the watch, three probes with a pause before each,
/// the verdict, the publication, the query. Where the machine is busy with other things, each of them waits its turn.
const WAKES: u32 = 12;

/// Measures how late the machine wakes whoever asked to be woken in a millisecond: nothing on an idle one.
struct Yardstick {
    worst: Arc<Mutex<Duration>>,
    ended: Arc<AtomicBool>,
}

impl Yardstick {
    fn start() -> Yardstick {
        let yardstick = Yardstick { worst: Arc::default(), ended: Arc::default() };
        let (worst, ended) = (yardstick.worst.clone(), yardstick.ended.clone());
        std::thread::spawn(move || {
            let nap = Duration::from_millis(1);
            while !ended.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(nap);
                let late = start.elapsed().saturating_sub(nap);
                let mut worst = worst.lock().unwrap();
                *worst = late.max(*worst);
            }
        });
        yardstick
    }

    /// The worst since it was asked last.
    fn take(&self) -> Duration {
        std::mem::take(&mut self.worst.lock().unwrap())
    }
}

impl Drop for Yardstick {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// A server with one name for each victim, `v0` and on; each pool has a second backend that stays.
fn serve(check: &str, victims: &[Backend], keeper: &Backend) -> (Place, Server) {
    let mut rest = format!("[checks.c]\n{check}\n");
    let mut names = String::from("[names]\n");
    for (index, victim) in victims.iter().enumerate() {
        let entries = [victim.entry("victim", ""), keeper.entry("keeper", "")].join(", ");
        rest.push_str(&format!("[pools.p{index}]\ncheck = \"c\"\nbackends = [{entries}]\n"));
        names.push_str(&format!("v{index} = \"p{index}\"\n"));
    }
    rest.push_str(&names);
    let place = Place::with_zone(&rest);
    let server = place.serve();
    (place, server)
}

/// From just before the kill to the first answer without the victim.
fn time_of_withdrawal(server: &Server, index: usize, victim: &mut Backend) -> Duration {
    let client = server.client();
    let name = format!("v{index}.lb.example.com.");
    let address = IpAddr::V4(victim.ip());
    assert!(client.addresses(&name).contains(&address), "{name}: the victim is answered while it lives");
    let killed = Instant::now();
    victim.kill();
    while client.addresses(&name).contains(&address) {
        assert!(killed.elapsed() < DEADLINE, "{name}: the victim never left");
        std::thread::sleep(Duration::from_micros(200));
    }
    killed.elapsed()
}

fn victims<const COUNT: u8>() -> Vec<Backend> {
    (1..=COUNT).map(|last| Backend::start(Ipv4Addr::new(127, 0, 1, last))).collect()
}

#[test]
fn a_watched_backend_that_is_killed_leaves_within_100_ms() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut victims = victims::<50>();
    let keeper = Backend::start(Ipv4Addr::new(127, 0, 0, 2));
    // The interval is far too long to find anything: only the watch can.
    let check = "type = \"http\"\ninterval = \"10s\"\ntimeout = \"1s\"\nfall = 3\nwatch = true";
    let (_place, server) = serve(check, &victims, &keeper);
    let bar = Duration::from_millis(100);
    let yardstick = Yardstick::start();
    let (mut times, mut missed) = (Vec::new(), Vec::new());
    for (index, victim) in victims.iter_mut().enumerate() {
        yardstick.take();
        let time = time_of_withdrawal(&server, index, victim);
        let late = yardstick.take();
        if time >= bar + late * WAKES {
            missed.push((time, late));
        }
        times.push(time);
    }
    let quick = times.iter().filter(|time| **time < bar).count();
    println!("watch = true, kill -9 to the first answer without it: {}, {quick} under 100 ms", figures(times));
    assert!(missed.len() <= 1, "over 100 ms, with the machine's own delay: {missed:?}");
}

#[test]
fn an_unwatched_backend_that_is_killed_leaves_within_a_second_and_a_half() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut victims = victims::<20>();
    let keeper = Backend::start(Ipv4Addr::new(127, 0, 0, 2));
    let check = "type = \"http\"\ninterval = \"1s\"\ntimeout = \"500ms\"\nfall = 3\nfast_interval = \"100ms\"";
    let (_place, server) = serve(check, &victims, &keeper);
    let yardstick = Yardstick::start();
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        let server = &server;
        let started: Vec<_> = victims
            .iter_mut()
            .enumerate()
            .map(|(index, victim)| {
                scope.spawn(move || {
                    // Spread over the interval, so that every phase of it is met.
                    std::thread::sleep(Duration::from_millis(50) * u32::try_from(index).unwrap());
                    time_of_withdrawal(server, index, victim)
                })
            })
            .collect();
        times.extend(started.into_iter().map(|thread| thread.join().unwrap()));
    });
    println!("interval 1s, fall 3, fast_interval 100ms: {}", figures(times.clone()));
    let limit = Duration::from_millis(1500) + yardstick.take() * WAKES;
    assert!(times.iter().all(|time| *time < limit), "over {limit:?}: {times:?}");
}
