//! What is known ahead. A window, or the end of an override, takes a backend out, and the TTLs of answers that hold it count
//! down to that moment, so that no cache holds it when the work begins. Other changes that the clock brings (overrides and
//! windows that end, schedules that turn) are possible changes like others for TTLs that follow health.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::super::Now;
use super::super::overrides::Override;
use super::super::schedules::{Turn, moments, next_turn};
use super::{HOST, News, World, backend_id, families_of};
use crate::config::plan::{AdminState, BackendPlan, Maintenance, PoolPlan, Target, TtlRule};
use crate::engine::health::Verdict;
use crate::engine::policy::Selection;

/// What a TTL stays short of the window: answers are prepared once a second, and a second is kept as with drains.
const SPARE: Duration = Duration::from_secs(2);
/// The least TTL that is counted down to; a backend leaves the answers before less would be needed.
const LEAST_TTL: Duration = Duration::from_secs(1);

/// Whether a window keeps the backend out at that moment.
fn is_in_window(pool: &PoolPlan, backend: &BackendPlan, moment: SystemTime) -> bool {
    windows(pool, backend).any(|window| leaves(window) <= moment && moment < window.to)
}

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
                    // An SRV answer names the tiers behind too.
                    let behind = self.pools[number].families[family].candidates.iter();
                    let behind = behind.filter(|one| family == HOST && one.up).map(|one| one.backend);
                    let all = members.iter().map(|member| member.0).chain(behind);
                    let backends = all.map(|backend| &pool.backends[backend]);
                    let first = backends.filter_map(|backend| self.out_from(pool, backend, family)).min();
                    return first.map_or(u32::MAX, |from| self.seconds_before(from));
                }
                _ => break,
            }
        }
        u32::MAX
    }

    /// From when on a backend that is answered will be no more, as far as that is known: its next window, or the end of what
    /// a command said of it.
    fn out_from(&self, pool: &PoolPlan, backend: &BackendPlan, family: usize) -> Option<SystemTime> {
        let Some(entry) = self.overrides.of(pool, backend) else {
            return self.window_ahead(pool, backend).map(|window| window.from);
        };
        let end = entry.until.filter(|_| entry.state == AdminState::Up)?;
        let fails = || families_of(family).iter().any(|&rtype| self.verdict(backend, rtype) == Some(Verdict::Down));
        let then = || windows(pool, backend).filter(|window| leaves(window) > end).map(|window| window.from).min();
        match self.is_out_at(pool, backend, end) || (backend.state == AdminState::Auto && fails()) {
            true => Some(end),
            false => then(),
        }
    }

    /// Whether the file or a window keeps the backend out at that moment, were nothing said by command.
    fn is_out_at(&self, pool: &PoolPlan, backend: &BackendPlan, moment: SystemTime) -> bool {
        matches!(backend.state, AdminState::Down | AdminState::Drain) || is_in_window(pool, backend, moment)
    }

    /// What a command says of the backend. An `up` that ends within a window ends 3 s ahead, as windows begin.
    pub(crate) fn override_of(&self, pool: &PoolPlan, backend: &BackendPlan) -> Option<&Override> {
        let entry = self.overrides.of(pool, backend)?;
        let over = entry.until.filter(|_| entry.state == AdminState::Up).is_some_and(|end| {
            let ahead = end - SPARE - LEAST_TTL;
            // One that is shorter than that has its few seconds.
            entry.since < ahead && ahead <= self.now.wall && is_in_window(pool, backend, end)
        });
        (!over).then_some(entry)
    }

    /// When the clock may change what the backend is, at the soonest: an override that ends, a window that begins or ends.
    pub(crate) fn next_by_clock(&self, pool: &PoolPlan, backend: &BackendPlan) -> Option<SystemTime> {
        let now = self.now.wall;
        match self.overrides.of(pool, backend) {
            Some(entry) => entry.until,
            None => {
                let borders = windows(pool, backend).flat_map(|window| [leaves(window), window.to]);
                borders.filter(|&border| border > now).min()
            }
        }
    }

    /// The longest TTL that follows health and lets caches forget an answer before a schedule's order is another one.
    pub(crate) fn ttl_before_turn(&self, route: usize, rule: TtlRule) -> u32 {
        match (rule, self.turns.get(route)) {
            (TtlRule::Adaptive { max, min }, Some(Some(Turn::At(moment)))) => {
                let left = moment.duration_since(self.now.wall).unwrap_or_default().as_secs();
                u32::try_from(left).unwrap_or(u32::MAX).clamp(min, max.max(min))
            }
            _ => u32::MAX,
        }
    }

    /// Looks at the clocks of schedules.
    pub(super) fn turn_schedules(&mut self, now: Now) {
        let moments = moments(&self.plan, now.wall);
        let turned: Vec<usize> =
            (0..moments.len()).filter(|&route| self.moments.get(route) != moments.get(route)).collect();
        self.moments = moments;
        let soon = now.wall + Duration::from_secs(u64::from(self.longest_ttl()));
        let mut near = Vec::new();
        for (route, plan) in self.plan.routes.iter().enumerate() {
            let Some(Some(turn)) = self.turns.get_mut(route) else { continue };
            if turn.until() <= now.wall || turned.contains(&route) {
                *turn = next_turn(&plan.kind, now.wall).unwrap_or(*turn);
            }
            near.extend(matches!(*turn, Turn::At(moment) if moment <= soon).then_some(route));
        }
        self.turned.extend(&turned);
        for route in turned.iter().chain(&near) {
            // A TTL that follows all that is looked at follows another choice now, or the clock.
            let views = self.programs_of.get(&Target::Route(*route)).into_iter().flatten();
            let programs = views.filter_map(|view| self.views.programs.get(view));
            let pools: BTreeSet<usize> = programs.flat_map(|program| program.graph.pools()).collect();
            let follows = |pool: &usize| turned.contains(route) || self.view_plans_adapt(*pool);
            let pools: Vec<usize> = pools.into_iter().filter(follows).collect();
            pools.into_iter().for_each(|pool| self.touch(pool));
        }
    }

    fn seconds_before(&self, from: SystemTime) -> u32 {
        let left = from.duration_since(self.now.wall).unwrap_or_default().saturating_sub(SPARE).max(LEAST_TTL);
        u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
    }

    /// Pools with windows.
    pub(super) fn note_windowed(&mut self) {
        self.index_windowed();
        self.in_maintenance = self.in_maintenance_now();
    }

    /// Pools with windows, or with overrides that end: looked at once a second.
    pub(super) fn index_windowed(&mut self) {
        let ends = self.overrides.any_ends();
        let has = |pool: &PoolPlan| {
            let ends_of = |backend| self.overrides.of(pool, backend).is_some_and(|one| one.until.is_some());
            !pool.maintenance.is_empty()
                || pool.backends.iter().any(|backend| !backend.maintenance.is_empty() || ends && ends_of(backend))
        };
        let pools = self.plan.pools.iter().enumerate().filter(|(_, pool)| has(pool));
        self.windowed = pools.map(|(number, _)| number).collect();
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
            self.note_state(pool, backend, from, to, &text, now);
            self.touch(number);
        }
        // Those whose TTL must be shorter now than a second ago.
        let soon = now.wall + Duration::from_secs(u64::from(self.longest_ttl())) + SPARE + LEAST_TTL;
        for number in self.windowed.clone() {
            let pool = &plan.pools[number];
            let counts = |backend: &BackendPlan| {
                let next = [self.next_by_clock(pool, backend), self.out_from(pool, backend, HOST)];
                next.into_iter().flatten().any(|moment| moment <= soon)
            };
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
        self.override_of(pool, backend).is_none()
            && backend.state != crate::config::plan::AdminState::Down
            && self.window_now(pool, backend).is_some()
    }

    fn in_maintenance_now(&self) -> BTreeSet<(usize, usize)> {
        let mut all = BTreeSet::new();
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
