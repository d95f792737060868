//! `least-load` in virtual time, with resolvers that cache: does it settle, and where?

use super::*;
use crate::engine::draw::mix;
use crate::engine::share::Firsts;
use crate::engine::weight::whole;

/// Resolvers that ask once a TTL and send all their clients' work to the one address that they were given.
struct World {
    ttl: u64,
    interval: u64,
    /// By the second of the TTL in which they ask: the work of each resolver, and who has it.
    resolvers: Vec<Vec<(f64, Option<usize>)>>,
    capacities: Vec<f64>,
    /// Work from elsewhere, that answers do not move.
    elsewhere: Vec<f64>,
    work: Vec<f64>,
    balance: Balance,
    follows: Follows,
    weights: Vec<u16>,
    firsts: Firsts,
    draw: u32,
    published: usize,
}

#[derive(PartialEq)]
enum Follows {
    Slowly,
    /// As one would do it at first.
    AtOnce,
    Never,
}

impl World {
    /// `share`: all resolvers' work, of the sum of the capacities.
    fn new(capacities: &[f64], share: f64, ttl: u64, interval: u64) -> World {
        World::with(capacities, share, ttl, interval, false)
    }

    /// `uneven`: one resolver in ten is ten times as large as the others, and nobody knows which.
    fn with(capacities: &[f64], share: f64, ttl: u64, interval: u64, uneven: bool) -> World {
        let count = 6000;
        let all = capacities.iter().sum::<f64>() * share;
        let size = |n: u64| if uneven && mix(n).is_multiple_of(10) { 10.0 } else { 1.0 };
        let sum: f64 = (0..count).map(size).sum();
        let mut resolvers = vec![Vec::new(); ttl as usize];
        for n in 0..count {
            // Seconds do not keep step with the draws.
            let second = mix(n + count) % ttl;
            resolvers[second as usize].push((all * size(n) / sum, None));
        }
        let weights = vec![SCALE; capacities.len()];
        World {
            ttl,
            interval,
            resolvers,
            capacities: capacities.to_vec(),
            elsewhere: vec![0.0; capacities.len()],
            work: vec![0.0; capacities.len()],
            balance: Balance::default(),
            follows: Follows::Slowly,
            firsts: Firsts::new(&weights),
            weights,
            draw: 0,
            published: 0,
        }
    }

    fn uses(&self) -> Vec<f64> {
        let used = self.work.iter().zip(&self.elsewhere).map(|(work, elsewhere)| work + elsewhere);
        used.zip(&self.capacities).map(|(used, capacity)| used / capacity).collect()
    }

    /// Each second: resolvers whose TTL has ended ask; every `interval` the backends report.
    fn run(&mut self, from: u64, seconds: u64, mut each: impl FnMut(&[f64])) {
        for now in from..from + seconds {
            for (work, backend) in &mut self.resolvers[(now % self.ttl) as usize] {
                if let Some(before) = *backend {
                    self.work[before] -= *work;
                }
                let given = self.firsts.at(self.draw);
                self.draw = self.draw.wrapping_add(1);
                self.work[given] += *work;
                *backend = Some(given);
            }
            let uses = self.uses();
            if now.is_multiple_of(self.interval) {
                self.report(&uses, now);
            }
            each(&uses);
        }
    }

    fn report(&mut self, uses: &[f64], now: u64) {
        let names = ["a", "b", "c", "d", "e"];
        let members: Vec<Member<'_>> = (0..uses.len())
            .map(|n| {
                let capacity = (self.capacities[n] * 1000.0) as u64;
                let load = Load { used: (uses[n] * capacity as f64) as u64, capacity };
                Member { name: names[n], weight: 1.0, load: Some(load) }
            })
            .collect();
        let new = if self.follows == Follows::Never {
            return;
        } else if self.follows == Follows::AtOnce {
            whole(&members.iter().map(|one| free(one.load.unwrap())).collect::<Vec<_>>(), SCALE)
        } else {
            self.balance.step(&members, Duration::from_secs(now), Duration::from_secs(self.ttl + self.interval));
            whole(&self.balance.weights(&members), SCALE)
        };
        if worth_it(&self.weights, &new) {
            self.firsts = Firsts::new(&new);
            self.weights = new;
            self.published += 1;
        }
    }

    /// The widest swing of any backend's use, from 0 to 1, over the last stretch.
    fn swing(&mut self, from: u64, seconds: u64) -> f64 {
        let (mut low, mut high) = (vec![f64::MAX; self.capacities.len()], vec![0f64; self.capacities.len()]);
        self.run(from, seconds, |uses| {
            for (n, &one) in uses.iter().enumerate() {
                low[n] = low[n].min(one);
                high[n] = high[n].max(one);
            }
        });
        low.iter().zip(&high).map(|(low, high)| high - low).fold(0.0, f64::max)
    }
}

#[test]
fn uneven_capacities_are_used_alike_and_nothing_swings() {
    for (ttl, interval) in [(5, 1), (30, 5), (60, 10), (30, 30), (5, 30)] {
        for share in [0.3, 0.6, 0.9] {
            let mut world = World::new(&[100.0, 300.0, 50.0], share, ttl, interval);
            world.run(0, 40 * (ttl + interval), |_| {});
            let swing = world.swing(40 * (ttl + interval), 20 * (ttl + interval));
            let uses = world.uses();
            assert!(swing <= 0.05, "TTL {ttl}, interval {interval}, load {share}: swings by {swing:.3}");
            for one in &uses {
                assert!((one - share).abs() <= 0.05, "TTL {ttl}, interval {interval}: {uses:?} of {share}");
            }
        }
    }
}

#[test]
fn work_from_elsewhere_is_made_way_for_and_the_way_back_does_not_overshoot() {
    let (ttl, interval) = (30, 5);
    let mut world = World::new(&[100.0, 100.0, 100.0], 0.5, ttl, interval);
    world.run(0, 900, |_| {});
    world.elsewhere[0] = 60.0;
    let mut most = 0f64;
    world.run(900, 1800, |uses| most = most.max(uses[0]));
    // 110 at once: half of 100, and 60 more. Then the others take over.
    assert!(most > 1.05, "{most}");
    let uses = world.uses();
    assert!(uses[0] < 0.95 && uses[1] > 0.55, "{uses:?}");
    let swing = world.swing(2700, 900);
    assert!(swing <= 0.05, "swings by {swing:.3} beside work from elsewhere");
    world.elsewhere[0] = 0.0;
    let (mut low, mut high) = (f64::MAX, 0f64);
    world.run(3600, 1800, |uses| {
        low = low.min(uses[0]);
        high = high.max(uses[0]);
    });
    // It had 30 left of its own work; it comes back to 50 and not far beyond.
    assert!(low > 0.2 && high < 0.55, "{low:.3} to {high:.3}");
    let swing = world.swing(5400, 900);
    assert!(swing <= 0.05, "swings by {swing:.3} afterwards");
}

/// What is left with resolvers of uneven size is their own noise: weights that never change have it too.
#[test]
fn large_resolvers_make_noise_but_no_swing() {
    for share in [0.3, 0.9] {
        let mut world = World::with(&[100.0, 300.0, 50.0], share, 30, 5, true);
        world.run(0, 1800, |_| {});
        let follows = world.swing(1800, 1800);
        world.follows = Follows::Never;
        let noise = world.swing(3600, 1800);
        assert!(follows <= noise + 0.03, "load {share}: swings by {follows:.3} where the noise is {noise:.3}");
    }
}

#[test]
fn following_at_once_would_swing() {
    // What the smoothing is for: the same world with weights that are the free capacity itself.
    let mut world = World::new(&[100.0, 100.0], 0.8, 5, 30);
    world.elsewhere[0] = 10.0;
    world.follows = Follows::AtOnce;
    world.run(0, 900, |_| {});
    let swing = world.swing(900, 900);
    assert!(swing > 0.3, "the naive way swings by {swing:.3} only: the simulation shows nothing");
}

#[test]
fn a_calm_pool_is_left_alone() {
    let mut world = World::new(&[100.0, 100.0], 0.5, 30, 5);
    world.run(0, 900, |_| {});
    let before = world.published;
    world.run(900, 3600, |_| {});
    assert!(world.published - before <= 60, "{} publications in an hour of calm", world.published - before);
}

#[test]
fn without_reports_weights_are_as_configured_and_who_is_silent_counts_as_the_mean() {
    let member = |name, weight, load| Member { name, weight, load };
    let balance = Balance::default();
    assert_eq!(balance.weights(&[member("a", 3.0, None), member("b", 1.0, None)]), [3.0, 1.0]);
    let load = |used, capacity| Some(Load { used, capacity });
    let members = [member("a", 1.0, load(0, 100)), member("b", 1.0, load(0, 300)), member("c", 2.0, None)];
    assert_eq!(balance.weights(&members), [100.0, 300.0, 400.0]);
}

#[test]
fn a_full_backend_keeps_a_trickle() {
    let mut balance = Balance::default();
    let full = Load { used: 500, capacity: 100 };
    let idle = Load { used: 0, capacity: 100 };
    for second in 0..10_000 {
        let members = [
            Member { name: "full", weight: 1.0, load: Some(full) },
            Member { name: "idle", weight: 1.0, load: Some(idle) },
        ];
        balance.step(&members, Duration::from_secs(second), Duration::from_secs(10));
    }
    let members = [
        Member { name: "full", weight: 1.0, load: Some(full) },
        Member { name: "idle", weight: 1.0, load: Some(idle) },
    ];
    let weights = whole(&balance.weights(&members), SCALE);
    assert_eq!(weights[1], SCALE);
    assert!((45..=55).contains(&weights[0]), "{weights:?}");
}
