//! The one task that runs all checks: asks the schedule what is due, gives out slots, spawns a task a probe, hands on results.
//!
//! While `observations` is full no probe starts: results wait in `outbox`, which can hold no more than were in flight. What
//! only says once more that a target is up is `held` for a moment, so that it does not wake control on its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::crowd::Crowd;
use super::schedule::{STALL, Schedule, Turn};
use super::slots::{Share, Slots};
use super::watch::Ended;
use super::{Command, Counters, Limits, Observation, Prober, Report, Watch};
use crate::engine::probe::{Outcome, ProbeId, ProbeSpec};

/// First probes of many new targets are this far apart, …
const FIRST_GAP: Duration = Duration::from_micros(200);
/// … and all within this.
const FIRST_SPREAD: Duration = Duration::from_secs(1);
/// Events taken in one go before looking at what is due.
const BATCH: usize = 256;
/// Longest that a result without news is held: far below what a person notices in `status`.
const HOLD: Duration = Duration::from_millis(20);
/// Results held at most.
const HELD: usize = 512;
/// Targets made ready before those in flight have their turn: each may read certificates.
const READY_AT_ONCE: usize = 16;

pub(super) struct Driver<P: Prober> {
    prober: P,
    observations: mpsc::Sender<Observation>,
    counters: Arc<Counters>,
    schedule: Schedule,
    slots: Slots,
    crowd: Crowd,
    /// Numbers flights.
    flights: u64,
    targets: HashMap<ProbeId, State<P::Target>, foldhash::fast::RandomState>,
    running: JoinSet<Event>,
    outbox: VecDeque<Observation>,
    /// Results without news, and when the first of them goes out at the latest.
    held: Vec<Observation>,
    held_until: Option<Instant>,
    /// Where heavy probes run, if not here.
    wide: Option<Handle>,
    /// Tells a target's tasks from those of its namesake before.
    generation: u64,
    chance: u64,
    hashing: RandomState,
    complained: Option<Instant>,
}

struct State<T> {
    spec: Arc<ProbeSpec>,
    /// Made ready when it is needed first.
    target: Option<T>,
    generation: u64,
    share: Share,
    /// The latest result, as reported.
    passed: bool,
    flight: Option<Flight>,
    watch: Option<Watching>,
}

/// A watch that is held.
struct Watching {
    abort: AbortHandle,
    holds_descriptor: bool,
}

impl<T> State<T> {
    fn ready<P: Prober<Target = T>>(&mut self, prober: &mut P) -> &T {
        self.target.get_or_insert_with(|| prober.prepare(&self.spec))
    }
}

struct Flight {
    number: u64,
    abort: AbortHandle,
    share: Share,
    turn: Turn,
}

enum Event {
    Probed { id: ProbeId, generation: u64, report: Result<Report, Panicked>, latency: Duration },
    WatchEnded { id: ProbeId, generation: u64, ended: Ended },
}

struct Panicked;

impl<P: Prober> Driver<P> {
    pub(super) fn new(
        prober: P,
        limits: Limits,
        observations: mpsc::Sender<Observation>,
        counters: Arc<Counters>,
    ) -> Driver<P> {
        let hashing = RandomState::new();
        Driver {
            prober,
            observations,
            counters,
            schedule: Schedule::default(),
            slots: Slots::new(limits.in_flight),
            crowd: Crowd::default(),
            flights: 0,
            targets: HashMap::default(),
            running: JoinSet::new(),
            outbox: VecDeque::new(),
            held: Vec::new(),
            held_until: None,
            wide: None,
            generation: 0,
            chance: hashing.hash_one("jitter") | 1,
            hashing,
            complained: None,
        }
    }

    /// Runs heavy probes on that runtime.
    pub(super) fn spread_over(self, runtime: Handle) -> Driver<P> {
        Driver { wide: Some(runtime), ..self }
    }

    /// Until the last handle or the receiver of the observations is gone. Dropping `running` then ends every task.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let observations = self.observations.clone();
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        let mut meant: Option<Instant> = None;
        loop {
            let now = now();
            self.schedule.wake(now);
            if let Some(meant) = meant {
                self.crowd.woken(meant, now);
            }
            if !self.hand_on(now) {
                return;
            }
            if self.launch(now) {
                // There are more: first those in flight.
                tokio::task::yield_now().await;
                continue;
            }
            let due = [self.schedule.next_due(), self.crowd.next_change(now), self.held_until];
            let due = due.into_iter().flatten().min();
            if let Some(due) = due
                && timer.deadline().into_std() != due
            {
                timer.as_mut().reset(due.into());
            }
            meant = due;
            tokio::select! {
                command = commands.recv() => {
                    let Some(command) = command else { return };
                    self.obey(command);
                    for _ in 0..BATCH {
                        let Ok(command) = commands.try_recv() else { break };
                        self.obey(command);
                    }
                }
                Some(event) = self.running.join_next() => {
                    self.take_in(event);
                    for _ in 0..BATCH {
                        let Some(event) = self.running.try_join_next() else { break };
                        self.take_in(event);
                    }
                }
                permit = observations.reserve(), if !self.outbox.is_empty() => {
                    let Ok(permit) = permit else { return };
                    if let Some(observation) = self.outbox.pop_front() {
                        permit.send(observation);
                        self.counters.reported.fetch_add(1, Relaxed);
                    }
                }
                () = observations.closed() => return,
                () = &mut timer, if due.is_some() => {}
            }
        }
    }

    /// Hands on what the channel has room for; `false` when nobody listens any more.
    fn hand_on(&mut self, now: Instant) -> bool {
        if self.held.len() >= HELD || self.held_until.is_some_and(|until| until <= now) {
            self.let_go();
        }
        while let Some(observation) = self.outbox.pop_front() {
            match self.observations.try_send(observation) {
                Ok(()) => _ = self.counters.reported.fetch_add(1, Relaxed),
                Err(TrySendError::Full(observation)) => {
                    self.outbox.push_front(observation);
                    return true;
                }
                Err(TrySendError::Closed(_)) => return false,
            }
        }
        true
    }

    /// What was held goes out.
    fn let_go(&mut self) {
        self.outbox.extend(self.held.drain(..));
        self.held_until = None;
    }

    /// Begins what is due and may begin; whether more is left than should be made ready at once.
    fn launch(&mut self, now: Instant) -> bool {
        self.crowd.age(now);
        let mut ready = 0;
        while let Some((id, turn)) = self.schedule.pop_due(now) {
            if let Some(state) = self.targets.get(&id) {
                self.slots.wait(id, state.share, turn == Turn::Burst);
            }
        }
        while self.outbox.is_empty()
            && ready < READY_AT_ONCE
            && self.crowd.admits_any(now)
            && let Some((id, share)) = self.slots.next(self.crowd.admits_doubtful())
        {
            ready += usize::from(self.begin(id, share, now));
        }
        self.counters.in_flight.store(self.slots.in_flight() as u64, Relaxed);
        self.counters.watches.store(self.slots.watches() as u64, Relaxed);
        self.counters.targets.store(self.targets.len() as u64, Relaxed);
        ready == READY_AT_ONCE
    }

    /// Whether the target had to be made ready.
    fn begin(&mut self, id: ProbeId, share: Share, now: Instant) -> bool {
        let chance = self.draw();
        let Some(state) = self.targets.get_mut(&id) else {
            return false;
        };
        let Some(start) = self.schedule.start(id, now, chance) else {
            return false;
        };
        let fresh = state.target.is_none();
        let target = state.ready(&mut self.prober);
        let (heavy, probe) = (P::is_heavy(target), P::probe(target.clone()));
        let generation = state.generation;
        let task = async move {
            let begun = self::now();
            let report = AssertUnwindSafe(probe).catch_unwind().await.map_err(|_| Panicked);
            Event::Probed { id, generation, report, latency: self::now() - begun }
        };
        let abort = match &self.wide {
            Some(wide) if heavy => self.running.spawn_on(task, wide),
            _ => self.running.spawn(task),
        };
        self.flights += 1;
        self.crowd.begin(self.flights, share, now);
        state.flight = Some(Flight { number: self.flights, abort, share, turn: start.turn });
        self.slots.take(share);
        self.counters.started.fetch_add(1, Relaxed);
        self.counters.latest_us.fetch_max(start.late.as_micros() as u64, Relaxed);
        if start.late > state.spec.timing.interval / 10 {
            self.counters.late.fetch_add(1, Relaxed);
        }
        fresh
    }

    fn obey(&mut self, command: Command) {
        let now = now();
        match command {
            Command::Change { remove, add } => {
                let gone: HashSet<ProbeId> = remove.iter().copied().chain(add.iter().map(|&(id, _)| id)).collect();
                self.outbox.retain(|observation| !gone.contains(&observation.probe));
                self.held.retain(|observation| !gone.contains(&observation.probe));
                for id in remove {
                    self.remove(id);
                }
                let gap = FIRST_GAP.min(FIRST_SPREAD / add.len().max(1) as u32);
                for (order, (id, spec)) in add.into_iter().enumerate() {
                    self.add(id, spec, now + gap * order as u32);
                }
            }
            Command::Cadence(id, cadence) => self.schedule.cadence(id, now, cadence),
            Command::ProbeNow(id) => self.schedule.ask(id, now),
            Command::Pushed(id, said) => {
                if let Some(state) = self.targets.get_mut(&id) {
                    P::pushed(state.ready(&mut self.prober), said);
                    self.schedule.ask(id, now);
                }
            }
        }
    }

    fn add(&mut self, id: ProbeId, spec: Arc<ProbeSpec>, first: Instant) {
        self.remove(id);
        self.generation += 1;
        self.schedule.insert(id, &spec.timing, first, self.hashing.hash_one(id));
        let generation = self.generation;
        let share = Share::Doubtful;
        let state = State { spec, target: None, generation, share, passed: false, flight: None, watch: None };
        self.targets.insert(id, state);
    }

    fn remove(&mut self, id: ProbeId) {
        self.schedule.remove(id);
        let Some(state) = self.targets.remove(&id) else {
            return;
        };
        if let Some(flight) = state.flight {
            flight.abort.abort();
            self.slots.release(flight.share);
            self.crowd.end(flight.number, flight.share);
        }
        if let Some(watch) = state.watch {
            watch.abort.abort();
            if watch.holds_descriptor {
                self.slots.release_watch();
            }
        }
    }

    fn take_in(&mut self, event: Result<Event, JoinError>) {
        // A task that was given up: its target is gone.
        let Ok(event) = event else { return };
        match event {
            Event::Probed { id, generation, report, latency } => self.probed(id, generation, report, latency),
            Event::WatchEnded { id, generation, ended } => {
                let Some(state) = self.targets.get_mut(&id) else {
                    return;
                };
                if state.generation != generation {
                    return;
                }
                let Some(watch) = state.watch.take() else {
                    return;
                };
                if watch.holds_descriptor {
                    self.slots.release_watch();
                }
                if ended == Ended::Broken {
                    self.counters.watches_broken.fetch_add(1, Relaxed);
                    let fall = state.spec.timing.fall;
                    self.schedule.burst(id, now(), fall);
                }
            }
        }
    }

    fn probed(&mut self, id: ProbeId, generation: u64, report: Result<Report, Panicked>, latency: Duration) {
        let Some(state) = self.targets.get_mut(&id) else {
            return;
        };
        if state.generation != generation {
            return;
        }
        let Some(flight) = state.flight.take() else {
            return;
        };
        self.slots.release(flight.share);
        self.crowd.end(flight.number, flight.share);
        let timeout = state.spec.timing.timeout;
        let report = match report {
            Ok(Report::TimedOut(_)) if latency > timeout + STALL => {
                Report::Unable("this process stood still during a probe".into())
            }
            Ok(report) => report,
            Err(Panicked) => {
                self.counters.panicked.fetch_add(1, Relaxed);
                tracing::error!(target = %state.spec.target, "a probe panicked; it counts as failed");
                Report::Broken("internal error".into())
            }
        };
        let seen_up = matches!(report, Report::Passed(_) | Report::Heard { passed: true, .. });
        // What has no result yet is no failure that a burst would follow up.
        self.schedule.finish(id, now(), seen_up || report == Report::Unknown);
        state.share = if matches!(report, Report::TimedOut(_)) { Share::Doubtful } else { Share::Prompt };
        let invert = state.spec.invert && !matches!(report, Report::Broken(_));
        let mut heard = None;
        let reason = match report {
            Report::Broken(reason) | Report::Passed(reason) | Report::Failed(reason) | Report::TimedOut(reason) => {
                Some(reason)
            }
            Report::Heard { reason, said, .. } => {
                heard = Some(said);
                Some(reason)
            }
            Report::Unknown => None,
            Report::Unable(reason) => {
                self.counters.unable.fetch_add(1, Relaxed);
                self.complain(&reason);
                return;
            }
        };
        if let Some(reason) = reason {
            let reason = if invert { format!("{reason} (inverted)") } else { reason };
            let passed = seen_up != invert;
            let news = !passed || !state.passed || flight.turn != Turn::Regular;
            state.passed = passed;
            let observation = Observation { probe: id, outcome: Outcome { passed, reason, latency, said: heard } };
            match news {
                // Takes all along, behind what came before: results of one target stay in their order.
                true => {
                    self.let_go();
                    self.outbox.push_back(observation);
                }
                false => {
                    self.held.push(observation);
                    self.held_until.get_or_insert_with(|| now() + HOLD);
                }
            }
        }
        self.open_watch(id, seen_up, flight.turn == Turn::Regular);
    }

    fn open_watch(&mut self, id: ProbeId, seen_up: bool, regular: bool) {
        let Some(state) = self.targets.get_mut(&id) else {
            return;
        };
        if state.watch.is_some() {
            return;
        }
        let watch = state.target.as_ref().and_then(|target| P::watch(target, &state.spec, seen_up, regular));
        let Some(watch) = watch else {
            return;
        };
        let Watch { ended, holds_descriptor } = watch;
        if holds_descriptor && !self.slots.take_watch() {
            return;
        }
        let generation = state.generation;
        let abort = self.running.spawn(async move { Event::WatchEnded { id, generation, ended: ended.await } });
        state.watch = Some(Watching { abort, holds_descriptor });
    }

    /// At most once in ten seconds: want on this host hits many probes at once.
    fn complain(&mut self, reason: &str) {
        let now = now();
        if self.complained.is_none_or(|last| now > last + Duration::from_secs(10)) {
            self.complained = Some(now);
            tracing::warn!(reason, "probes could not be made; verdicts stay as they are");
        }
    }

    /// −1000 to 1000 (xorshift: nobody guesses against it).
    fn draw(&mut self) -> i32 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % 2001) as i32 - 1000
    }
}

/// The only clock of the checker; monotonic.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
