//! Drains known ahead: a window takes a backend out, and the TTLs of answers that hold it count down to its beginning, so
//! that no cache holds it when the work begins.

use std::time::{Duration, SystemTime};

use super::super::Now;
use super::{HOST, News, World, backend_id};
use crate::config::plan::{BackendPlan, Maintenance, PoolPlan, Target};
use crate::engine::policy::Selection;

/// What a TTL stays short of the window: answers are prepared once a second, and a second is kept as with drains.
const SPARE: Duration = Duration::from_secs(2);
/// The least TTL that is counted down to; a backend leaves the answers before less would be needed.
const LEAST_TTL: Duration = Duration::from_secs(1);

impl World {
    /// The window in which the backend is out now. It leaves the answers 3 s ahead, the last TTL and what is spare.
    pub(crate) fn window_now<'p>(&self, pool: &'p PoolPlan, backend: &'p BackendPlan) -> Option<&'p Maintenance> {
        let now = self.now.wall;
        windows(pool, backend).filter(|window| leaves(window) <= now && now < window.to).max_by_key(|window| window.to)
    }

    /// The next window of a backend that is still answered.
    pub(crate) fn window_ahead<'p>(&self, pool: &'p PoolPlan, backend: &'p BackendPlan) -> Option<&'p Maintenance> {
        let now = self.now.wall;
        windows(pool, backend).filter(|window| leaves(window) > now).min_by_key(|window| window.from)
    }

    /// The longest TTL that lets caches forget all members of the answer before their maintenance, seconds.
    pub(crate) fn ttl_before_maintenance(&self, pool: usize, family: usize) -> u32 {
        let mut number = pool;
        for _ in 0..self.plan.pools.len() {
            let pool = &self.plan.pools[number];
            match &self.pools[number].families[family].selection {
                Selection::To(Target::Pool(other)) => number = *other,
                Selection::Answer { members, .. } => {
                    let heeds =
                        |backend: &&BackendPlan| self.overrides.get(&super::backend_key(pool, backend)).is_none();
                    // An SRV answer names the tiers behind too.
                    let behind = self.pools[number].families[family].candidates.iter();
                    let behind = behind.filter(|one| family == HOST && one.up).map(|one| one.backend);
                    let all = members.iter().map(|member| member.0).chain(behind);
                    let backends = all.map(|backend| &pool.backends[backend]).filter(heeds);
                    let first =
                        backends.filter_map(|backend| self.window_ahead(pool, backend)).map(|one| one.from).min();
                    return first.map_or(u32::MAX, |from| self.seconds_before(from));
                }
                _ => break,
            }
        }
        u32::MAX
    }

    fn seconds_before(&self, from: SystemTime) -> u32 {
        let left = from.duration_since(self.now.wall).unwrap_or_default().saturating_sub(SPARE).max(LEAST_TTL);
        u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
    }

    /// Pools with windows, looked at once a second.
    pub(super) fn note_windowed(&mut self) {
        let has = |pool: &PoolPlan| {
            !pool.maintenance.is_empty() || pool.backends.iter().any(|backend| !backend.maintenance.is_empty())
        };
        let pools = self.plan.pools.iter().enumerate().filter(|(_, pool)| has(pool));
        self.windowed = pools.map(|(number, _)| number).collect();
        self.in_maintenance = self.in_maintenance_now();
    }

    /// Begins and ends maintenance, and has TTLs counted down.
    pub(super) fn tick_maintenance(&mut self, now: Now) {
        if self.windowed.is_empty() {
            return;
        }
        let plan = self.plan.clone();
        let present = self.in_maintenance_now();
        let before = std::mem::replace(&mut self.in_maintenance, present.clone());
        for &(number, at) in before.symmetric_difference(&present) {
            let (pool, backend) = (&plan.pools[number], &plan.pools[number].backends[at]);
            let begins = present.contains(&(number, at));
            let text = match (begins, self.window_now(pool, backend)) {
                (true, Some(window)) => format!("maintenance until {}", super::super::status::time_text(window.to)),
                _ => "maintenance is over".to_owned(),
            };
            let (from, to) = if begins { ("in service", "maintenance") } else { ("maintenance", "in service") };
            self.news.push(News { grave: false, text: format!("{}: {text}", backend_id(pool, backend)) });
            self.note_state(pool, backend, from, to, text, now);
            self.touch(number);
        }
        // Those whose TTL must be shorter now than a second ago.
        let soon = now.wall + Duration::from_secs(u64::from(self.longest_ttl())) + SPARE + LEAST_TTL;
        for number in self.windowed.clone() {
            let pool = &plan.pools[number];
            let counts = |backend: &BackendPlan| self.window_ahead(pool, backend).is_some_and(|one| one.from <= soon);
            if pool.backends.iter().any(counts) {
                self.touch(number);
            }
        }
    }

    /// Whether maintenance took out backends of the pool.
    pub(crate) fn has_maintenance(&self, pool: &PoolPlan) -> bool {
        pool.backends.iter().any(|backend| self.is_in_maintenance(pool, backend))
    }

    /// Whether a window, and neither a command nor the file's `down`, keeps the backend out.
    pub(crate) fn is_in_maintenance(&self, pool: &PoolPlan, backend: &BackendPlan) -> bool {
        self.overrides.get(&super::backend_key(pool, backend)).is_none()
            && backend.state != crate::config::plan::AdminState::Down
            && self.window_now(pool, backend).is_some()
    }

    fn in_maintenance_now(&self) -> std::collections::BTreeSet<(usize, usize)> {
        let mut all = std::collections::BTreeSet::new();
        for &number in &self.windowed {
            let pool = &self.plan.pools[number];
            for (at, backend) in pool.backends.iter().enumerate() {
                if self.window_now(pool, backend).is_some() {
                    all.insert((number, at));
                }
            }
        }
        all
    }
}

fn windows<'p>(pool: &'p PoolPlan, backend: &'p BackendPlan) -> impl Iterator<Item = &'p Maintenance> {
    pool.maintenance.iter().chain(&backend.maintenance)
}

fn leaves(window: &Maintenance) -> SystemTime {
    window.from - SPARE - LEAST_TTL
}
