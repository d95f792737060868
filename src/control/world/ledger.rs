//! The drain clock: from when on no cache can hold an address any more.
//!
//! Nothing is written when a query is answered. What a query may be told is the snapshot, so it is enough to note, whenever
//! a snapshot is replaced, which addresses left it or got a shorter TTL: the old TTL runs from that moment at the latest.
//! One second is added, in which a worker may still answer its batch by the old snapshot.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::super::Now;
use super::super::memory::SavedClock;
use super::super::names::{Source, view_ttl};
use super::{FAMILIES, HOST, World, backend_id};
use crate::config::plan::{AdminState, BackendPlan, PoolPlan, Target, TtlRule};
use crate::engine::policy::Selection;

/// A worker may use the snapshot before for as long as one batch takes; a second is a thousand batches.
const MARGIN: Duration = Duration::from_secs(1);

/// What a cache holds of a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    Address(IpAddr),
    /// Of one that lives elsewhere: the name that answers lead to.
    Name(Arc<str>),
}

/// What the answers of one view may hold, and for how long.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// In order.
    what: Box<[What]>,
    ttl: u32,
}

impl Held {
    fn new(what: impl Iterator<Item = What>, ttl: u32) -> Held {
        let mut what: Vec<What> = what.collect();
        what.sort_unstable();
        what.dedup();
        Held { what: what.into(), ttl }
    }

    fn has(&self, what: &What) -> bool {
        self.what.binary_search(what).is_ok()
    }
}

/// When what left the answers leaves the last cache.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    left: HashMap<What, Left, RandomState>,
    /// By the number of the view.
    held: Vec<Held>,
    /// The numbers of the views that hold it.
    holding: HashMap<What, BTreeSet<u32>, RandomState>,
    /// When to look at what: soonest first. What has got a later time meanwhile stands there again.
    due: BinaryHeap<Reverse<(Duration, What)>>,
    /// The latest of all these times.
    last: Duration,
    /// Noted with the latest publication.
    fresh: Vec<What>,
    /// The longest TTL that the process before answered with.
    longest_before: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Left {
    until: Duration,
    at: SystemTime,
}

/// How long a backend must still be left running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clock {
    /// Its address is answered still: by these pools (`zone/pool`).
    Answered(Vec<String>),
    /// It can be stopped then.
    SafeAt(SystemTime),
    /// No cache holds it, since then where that is known.
    Drained(Option<SystemTime>),
}

impl What {
    /// As the state directory keeps it.
    fn text(&self) -> String {
        match self {
            What::Address(address) => address.to_string(),
            What::Name(name) => name.to_string(),
        }
    }

    fn parse(text: &str) -> What {
        text.parse().map_or_else(|_| What::Name(text.into()), What::Address)
    }

    /// All that answers may hold of a backend.
    fn of(backend: &BackendPlan) -> Vec<What> {
        let addresses = FAMILIES.iter().filter_map(|&rtype| backend.address(rtype)).map(What::Address);
        let name = backend.cname.as_ref().map(|name| What::Name(name.to_string().into()));
        addresses.chain(name).collect()
    }
}

impl Ledger {
    pub(crate) fn restore(saved: &[SavedClock], longest: Option<u32>, now: Now) -> Ledger {
        let mut ledger = Ledger { longest_before: longest, ..Ledger::default() };
        for one in saved {
            let left = one.until.duration_since(now.wall).unwrap_or_default();
            ledger.note(What::parse(&one.held), Left { until: now.mono + left, at: one.until });
        }
        ledger
    }

    fn saved(&self, kept: impl Fn(&What) -> bool) -> Vec<SavedClock> {
        let wanted = self.left.iter().filter(|(what, _)| kept(what));
        let mut all: Vec<SavedClock> =
            wanted.map(|(what, left)| SavedClock { held: what.text(), until: left.at }).collect();
        all.sort_by(|one, other| one.held.cmp(&other.held));
        all
    }

    /// What all views hold.
    fn hold(&mut self, held: Vec<Held>) {
        self.holding.clear();
        for (view, held) in (0..).zip(&held) {
            for what in &held.what {
                self.holding.entry(what.clone()).or_default().insert(view);
            }
        }
        self.held = held;
    }

    /// One view holds something else now.
    fn hold_instead(&mut self, view: u32, before: &Held, after: &Held) {
        for gone in before.what.iter().filter(|what| !after.has(what)) {
            if let Some(views) = self.holding.get_mut(gone) {
                views.remove(&view);
                if views.is_empty() {
                    self.holding.remove(gone);
                }
            }
        }
        for new in after.what.iter().filter(|what| !before.has(what)) {
            self.holding.entry(new.clone()).or_default().insert(view);
        }
    }

    /// A view that held `before` holds `after` now.
    fn replaced(&mut self, before: &Held, after: &Held, now: Now) {
        let shorter = after.ttl < before.ttl;
        for what in before.what.iter().filter(|what| shorter || !after.has(what)) {
            self.leave(what.clone(), before.ttl, now);
        }
    }

    /// All views are replaced by others.
    fn replaced_all(&mut self, before: &[Held], after: &[Held], now: Now) {
        let mut stay: HashMap<&What, u32> = HashMap::new();
        for held in after {
            for what in &held.what {
                let ttl = stay.entry(what).or_default();
                *ttl = held.ttl.max(*ttl);
            }
        }
        for held in before {
            for what in &held.what {
                if stay.get(what).is_none_or(|&ttl| ttl < held.ttl) {
                    self.leave(what.clone(), held.ttl, now);
                }
            }
        }
    }

    /// Nobody here knows what the process before answered: it may have been anything until now.
    /// What was `out` of service and has a clock was not answered.
    fn assume(&mut self, what: What, out: bool, ttl: u32, now: Now) {
        if !out || !self.left.contains_key(&what) {
            self.leave(what, ttl.max(self.longest_before.unwrap_or(0)), now);
        }
    }

    /// The latest publication came so much later than its `now` said.
    pub(super) fn settle(&mut self, late: Duration) {
        for what in std::mem::take(&mut self.fresh) {
            if let Some(&left) = self.left.get(&what) {
                self.note(what, Left { until: left.until + late, at: left.at + late });
            }
        }
    }

    /// Addresses whose time came since this was asked last.
    fn expired(&mut self, now: Now) -> HashSet<What> {
        let mut gone = HashSet::new();
        while self.due.peek().is_some_and(|Reverse((until, _))| *until <= now.mono) {
            let what = self.due.pop().map(|Reverse((_, what))| what);
            gone.extend(what.filter(|what| self.left.get(what).is_some_and(|left| left.until <= now.mono)));
        }
        gone
    }

    /// Seconds until every clock that runs now has run down.
    fn longest_running(&self, now: Now) -> u32 {
        u32::try_from(self.last.saturating_sub(now.mono).as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    fn leave(&mut self, what: What, ttl: u32, now: Now) {
        let lasts = Duration::from_secs(u64::from(ttl)) + MARGIN;
        self.fresh.push(what.clone());
        self.note(what, Left { until: now.mono + lasts, at: now.wall + lasts });
    }

    /// The latest of all times counts: a longer TTL may have been given out before.
    fn note(&mut self, what: What, left: Left) {
        let known = self.left.entry(what.clone());
        let is_later = match &known {
            Entry::Occupied(known) => known.get().until < left.until,
            Entry::Vacant(_) => true,
        };
        if is_later {
            known.insert_entry(left);
            self.last = self.last.max(left.until);
            self.due.push(Reverse((left.until, what)));
        }
    }

    fn clock(&self, what: &What, now: Now) -> Clock {
        match self.left.get(what) {
            Some(left) if left.until > now.mono => Clock::SafeAt(left.at),
            left => Clock::Drained(left.map(|left| left.at)),
        }
    }
}

impl World {
    /// Every backend that is out of service (drained, forced down, in maintenance), by `zone/pool/backend`, and its clock.
    pub fn drain_clocks(&self) -> HashMap<String, Clock> {
        let out = self.out_of_service();
        let holders = self.holders(&out.iter().flat_map(|&(_, backend)| What::of(backend)).collect());
        out.into_iter().map(|(id, backend)| (id, self.clock_of(backend, &holders))).collect()
    }

    /// The clock of one backend, if it is out of service.
    pub(crate) fn drain_clock(&self, pool: &PoolPlan, backend: &BackendPlan) -> Option<Clock> {
        let holders = || self.holders(&What::of(backend).into_iter().collect());
        self.is_out_of_service(pool, backend).then(|| self.clock_of(backend, &holders()))
    }

    /// The publication is in force since this moment at the latest.
    pub fn settle(&mut self, published: Now, stored: Now) {
        self.ledger.settle(stored.mono.saturating_sub(published.mono));
    }

    /// A plan was put in force: what all views held, and hold now.
    pub(super) fn keep_ledger(&mut self, first: bool, now: Now) {
        let held = (0..self.views.plans.len() as u32).map(|view| self.held(view)).collect();
        let before = std::mem::replace(&mut self.ledger.held, held);
        let after = std::mem::take(&mut self.ledger.held);
        self.ledger.replaced_all(&before, &after, now);
        self.ledger.hold(after);
        if first {
            self.assume_answered(now);
        }
    }

    /// A view is prepared anew.
    pub(super) fn note_held(&mut self, view: u32, now: Now) {
        let held = self.held(view);
        let Some(place) = self.ledger.held.get_mut(view as usize) else { return };
        let before = std::mem::take(place);
        self.ledger.hold_instead(view, &before, &held);
        self.ledger.replaced(&before, &held, now);
        self.ledger.held[view as usize] = held;
    }

    /// What answers of the view may hold now. Of a pool to which routes lead all of it, whether they lead there or not.
    fn held(&self, number: u32) -> Held {
        let view = &self.views.plans[number as usize];
        let ttl = view_ttl(self, view);
        match view.source {
            Source::Pool(pool) | Source::Leaf { pool, .. } => {
                let Target::Pool(pool) = self.health(view.family()).diverted(pool) else { return Held::default() };
                let state = &self.pools[pool].families[view.family()];
                let Selection::Answer { members, .. } = &state.selection else { return Held::default() };
                let of = |backend: usize| {
                    let backend = &self.plan.pools[pool].backends[backend];
                    let (all, one) = match view.family() {
                        HOST => (What::of(backend), None),
                        _ => (Vec::new(), backend.address(view.rtype).map(What::Address)),
                    };
                    all.into_iter().chain(one)
                };
                // An SRV answer names the tiers behind too.
                let behind = state.candidates.iter().filter(|one| view.family() == HOST && one.up);
                let all = members.iter().map(|&(backend, _)| backend).chain(behind.map(|one| one.backend));
                Held::new(all.flat_map(of), ttl)
            }
            Source::Alias { pool, backend } => match self.pools[pool].families[view.family()].answers(backend) {
                true => Held::new(What::of(&self.plan.pools[pool].backends[backend]).into_iter(), ttl),
                false => Held::new(std::iter::empty(), ttl),
            },
            Source::Program(_) => Held::new(std::iter::empty(), ttl),
        }
    }

    /// Says of which backends the clock has run down.
    pub(super) fn note_drained(&mut self, now: Now) {
        let gone = self.ledger.expired(now);
        if gone.is_empty() {
            return;
        }
        let plan = self.plan.clone();
        let mut drained = Vec::new();
        for pool in &plan.pools {
            for backend in &pool.backends {
                let concerned = What::of(backend).iter().any(|what| gone.contains(what));
                if concerned && self.is_out_of_service(pool, backend) {
                    drained.push((pool, backend));
                }
            }
        }
        let holders = self.holders(&drained.iter().flat_map(|(_, backend)| What::of(backend)).collect());
        for (pool, backend) in drained {
            if matches!(self.clock_of(backend, &holders), Clock::Drained(_)) {
                let text = format!("{}: drained, no cache holds it: safe to stop", backend_id(pool, backend));
                self.news.push(super::News { grave: false, text });
                self.note_state(pool, backend, "draining", "drained", "no cache holds it", now);
            }
        }
    }

    /// At the first load: what the process before may have answered.
    fn assume_answered(&mut self, now: Now) {
        let plan = self.plan.clone();
        for (number, pool) in plan.pools.iter().enumerate() {
            let views = self.views_of_pool[number].iter().map(|&view| &self.views.plans[view as usize]);
            let own = longest(pool.ttl);
            let ttl = views.map(|view| view.ttl.map_or(own, longest)).chain([own]).max().unwrap_or(own);
            for backend in &pool.backends {
                let out = self.is_out_of_service(pool, backend);
                What::of(backend).into_iter().for_each(|what| self.ledger.assume(what, out, ttl, now));
            }
        }
    }

    /// The longest TTL of any balanced name, seconds.
    pub(crate) fn longest_ttl(&self) -> u32 {
        let of_pools = self.plan.pools.iter().map(|pool| longest(pool.ttl));
        of_pools.chain(self.views.plans.iter().filter_map(|view| view.ttl).map(longest)).max().unwrap_or(0)
    }

    /// The longest time for which a cache may hold anything that is answered now, or was: what a restart has to assume.
    pub(super) fn saved_ttl(&self) -> u32 {
        self.longest_ttl().max(self.ledger.longest_running(self.now))
    }

    /// The clocks that a restart must know. Not of what is answered still: of that it has to assume the worst.
    pub(super) fn saved_clocks(&self) -> Vec<SavedClock> {
        let out: HashSet<What> = self.out_of_service().iter().flat_map(|&(_, backend)| What::of(backend)).collect();
        let running = self.ledger.left.iter().filter(|(what, left)| left.until > self.now.mono || out.contains(what));
        let wanted: HashSet<What> = running.map(|(what, _)| what.clone()).collect();
        let answered = self.holders(&wanted);
        self.ledger.saved(|what| wanted.contains(what) && !answered.contains_key(what))
    }

    fn out_of_service(&self) -> Vec<(String, &BackendPlan)> {
        let mut all = Vec::new();
        for pool in &self.plan.pools {
            for backend in &pool.backends {
                if self.is_out_of_service(pool, backend) {
                    all.push((backend_id(pool, backend), backend));
                }
            }
        }
        all
    }

    fn is_out_of_service(&self, pool: &PoolPlan, backend: &BackendPlan) -> bool {
        match self.state_of(pool, backend).0 {
            AdminState::Drain | AdminState::Down => true,
            AdminState::Up => false,
            AdminState::Auto => self.said_state(pool, backend).is_some(),
        }
    }

    /// Which pools' names answer each of these now.
    fn holders(&self, wanted: &HashSet<What>) -> HashMap<What, BTreeSet<usize>> {
        let pool_of = |view: &u32| match self.views.plans.get(*view as usize)?.source {
            Source::Pool(pool) | Source::Leaf { pool, .. } | Source::Alias { pool, .. } => Some(pool),
            Source::Program(_) => None,
        };
        let held = wanted.iter().filter_map(|what| Some((what, self.ledger.holding.get(what)?)));
        held.map(|(what, views)| (what.clone(), views.iter().filter_map(pool_of).collect())).collect()
    }

    /// The last of all that it has counts.
    fn clock_of(&self, backend: &BackendPlan, holders: &HashMap<What, BTreeSet<usize>>) -> Clock {
        let all = What::of(backend);
        let pools: BTreeSet<usize> = all.iter().filter_map(|what| holders.get(what)).flatten().copied().collect();
        if !pools.is_empty() {
            let name = |pool: usize| {
                let pool = &self.plan.pools[pool];
                format!("{}/{}", super::super::zone_text(&pool.zone), pool.name)
            };
            return Clock::Answered(pools.into_iter().map(name).collect());
        }
        let clocks = all.iter().map(|what| self.ledger.clock(what, self.now));
        clocks.reduce(later).unwrap_or(Clock::Drained(None))
    }
}

fn later(one: Clock, other: Clock) -> Clock {
    match (one, other) {
        (Clock::SafeAt(one), Clock::SafeAt(other)) => Clock::SafeAt(one.max(other)),
        (Clock::SafeAt(one), _) | (_, Clock::SafeAt(one)) => Clock::SafeAt(one),
        (Clock::Drained(one), Clock::Drained(other)) => Clock::Drained(one.max(other)),
        (answered, _) => answered,
    }
}

fn longest(ttl: TtlRule) -> u32 {
    match ttl {
        TtlRule::Fixed(ttl) => ttl,
        TtlRule::Adaptive { max, .. } => max,
    }
}
