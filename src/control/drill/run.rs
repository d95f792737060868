//! Carries a drill out: before, during, after.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::clients::{Clients, Told};
use super::{Assessed, CLIENTS, DrillEvent, DrillReport, DrillRequest};
use crate::config::plan::AdminState;
use crate::control::report::{Line, Report, Stretches, Withdrawal};
use crate::control::status::time_text;
use crate::control::view::{StateChange, Status};
use crate::control::{Control, ControlError};

/// How long is looked before and after: the TTL, within these.
const LEAST_LOOK: Duration = Duration::from_secs(2);
const MOST_LOOK: Duration = Duration::from_secs(30);
/// Added to the override's own end, so that the drill's word comes first.
const GRACE: Duration = Duration::from_secs(3);
/// For each client's first answer.
const FIRST_ANSWERS: Duration = Duration::from_secs(5);
/// Between looks at checks and pools, when a generation says that something changed: a status costs what there is.
const LOOK: Duration = Duration::from_millis(100);
/// For a client to take in how the drill went: one that does not read must not keep it under way.
const LAST_WORD: Duration = Duration::from_secs(5);
/// Looks that are left out while none says so: verdicts that change no answer have no generation.
const CALM_LOOKS: u32 = 4;

/// Carries it out and tells of it; returns when the backends are back. Whoever listens no more, or a server that stops, ends it.
pub(crate) async fn run(
    control: Control,
    assessed: Assessed,
    request: DrillRequest,
    who: String,
    events: mpsc::Sender<DrillEvent>,
    stopping: watch::Receiver<bool>,
) {
    let count = request.clients.unwrap_or(CLIENTS);
    let clients = match Clients::start(&assessed, count).await {
        Ok(clients) => clients,
        Err(error) => {
            return last_word(&events, DrillEvent::Failed(format!("the clients of the drill cannot ask: {error}")))
                .await;
        }
    };
    let for_text = humantime::format_duration(Duration::from_millis(request.for_ms));
    let mut reason = format!("drill of {} for {for_text}", assessed.plan.name);
    if let Some(why) = request.reason.as_deref().filter(|why| !why.trim().is_empty()) {
        reason.push_str(&format!(": {why}"));
    }
    let drill = Drill {
        begun: Instant::now(),
        started: SystemTime::now(),
        by: format!("drill by {who}"),
        reason,
        caches: (0..count).map(|_| None).collect(),
        stretches: Stretches::begin("before", 0),
        out: Vec::new(),
        timeline: Vec::new(),
        longest: Duration::ZERO,
        ended_early: None,
        restored: true,
        control,
        assessed,
        request,
        clients,
        events,
        stopping,
    };
    drill.play().await;
}

struct Drill {
    control: Control,
    assessed: Assessed,
    request: DrillRequest,
    by: String,
    reason: String,
    clients: Clients,
    events: mpsc::Sender<DrillEvent>,
    stopping: watch::Receiver<bool>,
    begun: Instant,
    started: SystemTime,
    caches: Vec<Option<Cached>>,
    stretches: Stretches,
    out: Vec<Out>,
    timeline: Vec<Line>,
    /// The longest TTL that anybody was told.
    longest: Duration,
    ended_early: Option<String>,
    restored: bool,
}

struct Cached {
    since: Instant,
    until: Instant,
    backends: Vec<String>,
}

/// A backend that was taken out.
struct Out {
    so_far: Withdrawal,
    at: Instant,
    /// When the snapshot without it was in force; answers before that tell nothing of it, whomever they name.
    published: Instant,
    /// Until when some cache has it.
    exposed: Instant,
    back: Option<Instant>,
    /// That its last cache let go of it has been said.
    said: bool,
}

/// Why a phase is over.
enum Over {
    InTime,
    Early(String),
}

impl Drill {
    async fn play(mut self) {
        let baseline = self.control.status().await.ok();
        self.say(format!("{} clients ask {} at {}", self.caches.len(), self.assessed.plan.name, self.assessed.server));
        let mut over = self.first_answers().await;
        let look = self.longest.clamp(LEAST_LOOK, MOST_LOOK);
        if matches!(over, Over::InTime) {
            over = self.watch(Instant::now() + look, baseline.as_ref()).await;
        }
        if let Over::Early(why) = over {
            return self.fail(format!("ended before anything was taken out: {why}")).await;
        }
        if let Err(why) = self.take_out().await {
            self.bring_back().await;
            return self.fail(why).await;
        }
        let end = Instant::now() + Duration::from_millis(self.request.for_ms);
        if let Over::Early(why) = self.watch(end, baseline.as_ref()).await {
            self.say(format!("ended early: {why}"));
            self.ended_early = Some(why);
        }
        self.bring_back().await;
        // Without guards: there is nothing left that could be ended.
        self.watch(Instant::now() + look, None).await;
        self.report().await;
    }

    /// Until every client was told something once.
    async fn first_answers(&mut self) -> Over {
        let end = Instant::now() + FIRST_ANSWERS;
        while self.caches.iter().any(Option::is_none) {
            let left = end.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.clients.told.recv()).await {
                Ok(Some(told)) => self.told(told),
                Ok(None) => return Over::Early("the clients went".to_owned()),
                Err(_) if self.caches.iter().all(Option::is_none) => {
                    return Over::Early(format!("{} answers none of the clients", self.assessed.server));
                }
                Err(_) => break,
            }
        }
        Over::InTime
    }

    /// Takes in what clients are told until that moment. With a baseline, what got worse since then ends it early.
    async fn watch(&mut self, end: Instant, baseline: Option<&Status>) -> Over {
        let mut generations = self.control.generations();
        let mut stopping = self.stopping.clone();
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut due, mut left_out) = (true, 0);
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end.into()) => return Over::InTime,
                () = set(&mut stopping) => return Over::Early("the server stops".to_owned()),
                () = self.events.closed() => return Over::Early("nobody listens to the drill any more".to_owned()),
                told = self.clients.told.recv() => match told {
                    Some(told) => self.told(told),
                    None => return Over::Early("the clients went".to_owned()),
                },
                changed = generations.changed() => {
                    if changed.is_err() {
                        return Over::Early("the server stops".to_owned());
                    }
                    due = true;
                }
                _ = tick.tick() => {
                    self.let_go();
                    if !due && left_out < CALM_LOOKS {
                        left_out += 1;
                        continue;
                    }
                    (due, left_out) = (false, 0);
                    if let Some(why) = self.worse(baseline).await {
                        return Over::Early(why);
                    }
                }
            }
        }
    }

    fn told(&mut self, told: Told) {
        let mut again = Vec::new();
        for out in &mut self.out {
            let named = told.backends.contains(&out.so_far.backend);
            let after = told.at.saturating_duration_since(out.at).as_millis() as u64;
            match out.back {
                None if named => {
                    out.so_far.first_without_ms = None;
                    out.exposed = out.exposed.max(told.until);
                }
                None if told.at >= out.published => {
                    out.so_far.first_without_ms.get_or_insert(after);
                }
                None => {}
                Some(back) if named && out.so_far.returned_ms.is_none() => {
                    let took = told.at.saturating_duration_since(back).as_millis() as u64;
                    out.so_far.returned_ms = Some(took);
                    again.push(format!("{} is answered again, {took} ms after", out.so_far.backend));
                }
                Some(_) => {}
            }
        }
        again.into_iter().for_each(|what| self.say_at(told.at, what));
        let Some(client) = told.client else { return };
        self.account(client, told.at);
        self.longest = self.longest.max(told.ttl);
        if let Some(cache) = self.caches.get_mut(client) {
            *cache = Some(Cached { since: told.at, until: told.until, backends: told.backends });
        }
    }

    /// Adds what a cache has given out since it was looked at last.
    fn account(&mut self, client: usize, now: Instant) {
        let Some(Some(cached)) = self.caches.get_mut(client) else { return };
        // An answer is used until the next one is there.
        let span = now.saturating_duration_since(cached.since);
        cached.since = cached.since.max(now);
        if let Some(first) = cached.backends.first() {
            self.stretches.add(first, span.as_secs_f64());
        }
    }

    fn new_stretch(&mut self, phase: &str) {
        let now = Instant::now();
        (0..self.caches.len()).for_each(|client| self.account(client, now));
        let at_ms = self.since(now);
        self.stretches.next(phase, at_ms);
    }

    async fn take_out(&mut self) -> Result<(), String> {
        self.new_stretch("during");
        let lasting = Duration::from_millis(self.request.for_ms) + GRACE;
        for backend in self.assessed.plan.down.clone() {
            let at = Instant::now();
            let at_ms = self.since(at);
            self.say(format!("down {backend}"));
            let change = StateChange {
                backend: backend.clone(),
                state: AdminState::Down,
                for_ms: Some(lasting.as_millis() as u64),
                reason: Some(self.reason.clone()),
                by: Some(self.by.clone()),
            };
            let cached = |cached: &Cached| cached.backends.contains(&backend).then_some(cached.until);
            let exposed = self.caches.iter().flatten().filter_map(cached).max().unwrap_or(at).max(at);
            let so_far =
                Withdrawal { backend: backend.clone(), step: "down".to_owned(), at_ms, ..Withdrawal::default() };
            self.out.push(Out { so_far, at, published: at, exposed, back: None, said: false });
            self.control.set_state(change).await.map_err(|error: ControlError| error.to_string())?;
            // A state is answered for when its snapshot answers.
            let took = at.elapsed().as_millis() as u64;
            if let Some(out) = self.out.last_mut() {
                out.so_far.detected_ms = Some(took);
                out.published = Instant::now();
            }
            self.say(format!("{backend} is answered no more, {took} ms after"));
        }
        Ok(())
    }

    /// Removes the overrides that are this drill's still.
    async fn bring_back(&mut self) {
        self.let_go();
        self.new_stretch("after");
        let status = self.control.status().await.ok();
        for number in 0..self.out.len() {
            let backend = self.out[number].so_far.backend.clone();
            let forced = status.as_ref().and_then(|status| self.override_of(status, &backend));
            if forced != Some(true) {
                self.restored = false;
                self.say(format!("the override of {backend} is not the drill's any more: left as it is"));
                continue;
            }
            let back = Instant::now();
            let change = StateChange {
                backend: backend.clone(),
                state: AdminState::Auto,
                for_ms: None,
                reason: Some("the drill is over".to_owned()),
                by: Some(self.by.clone()),
            };
            match self.control.set_state(change).await {
                Ok(_) => {
                    self.out[number].back = Some(back);
                    self.say(format!("auto {backend}"));
                }
                Err(error) => {
                    self.restored = false;
                    self.say(format!("{backend} could not be brought back, its override ends by itself: {error}"));
                }
            }
        }
    }

    /// Whether the override of that backend is this drill's.
    fn override_of(&self, status: &Status, backend: &str) -> Option<bool> {
        let all = status.zones.iter().flat_map(|zone| &zone.pools).flat_map(|pool| &pool.backends);
        let forced = all.filter(|one| one.id == backend).find_map(|one| one.forced.as_ref())?;
        Some(forced.by.as_deref() == Some(&self.by) && forced.reason.as_deref() == Some(&self.reason))
    }

    /// Says of whom the last cache has let go.
    fn let_go(&mut self) {
        let now = Instant::now();
        let mut said = Vec::new();
        for out in self.out.iter_mut().filter(|out| !out.said && out.back.is_none() && out.exposed <= now) {
            out.said = true;
            said.push((out.exposed, format!("no cache has {} any more", out.so_far.backend)));
        }
        said.into_iter().for_each(|(at, what)| self.say_at(at, what));
    }

    /// What ends a drill at once: whatever is worse than when it began.
    async fn worse(&self, baseline: Option<&Status>) -> Option<String> {
        let baseline = baseline?;
        let status = self.control.status().await.ok()?;
        if let Some(frozen) = &status.frozen {
            return Some(format!("the checker doubts itself: {}", frozen.reason));
        }
        for out in &self.out {
            if self.override_of(&status, &out.so_far.backend) != Some(true) {
                return Some(format!("somebody changed the state of {}", out.so_far.backend));
            }
        }
        let zone = status.zones.iter().find(|zone| zone.zone == self.assessed.zone)?;
        if let Some(check) = &self.request.stop_when {
            for backend in zone.pools.iter().flat_map(|pool| &pool.backends) {
                if self.assessed.plan.down.contains(&backend.id) {
                    continue;
                }
                let checks = backend.addresses.iter().flat_map(|address| &address.checks);
                if let Some(failed) = checks.filter(|one| one.check == *check).find(|one| one.verdict == "down") {
                    return Some(format!("check {check} failed on {}: {}", backend.id, failed.reason));
                }
            }
        }
        let was = states(baseline);
        for pool in
            zone.pools.iter().filter(|pool| self.assessed.plan.pools.contains(&format!("{}/{}", zone.zone, pool.pool)))
        {
            for family in &pool.families {
                let key = (zone.zone.as_str(), pool.pool.as_str(), family.rtype.as_str());
                let bad = matches!(family.state.as_str(), "panic" | "closed" | "diverted");
                if bad && was.get(&key).is_some_and(|was| *was != family.state) {
                    return Some(format!("pool {} ({}): {}", pool.pool, family.rtype, family.why));
                }
            }
        }
        None
    }

    async fn fail(&mut self, why: String) {
        tracing::warn!("{}: {why}", self.by);
        last_word(&self.events, DrillEvent::Failed(why)).await;
    }

    async fn report(mut self) {
        let now = Instant::now();
        (0..self.caches.len()).for_each(|client| self.account(client, now));
        let end = self.since(now);
        let (queries, unanswered) = self.clients.counted();
        // Some moments are noticed a little after they were.
        self.timeline.sort_by_key(|line| line.at_ms);
        let mut withdrawals = Vec::new();
        let mut warnings = self.assessed.plan.warnings.clone();
        for out in self.out {
            let exposed = out.exposed.saturating_duration_since(out.at).as_millis() as u64;
            if out.back.is_some_and(|back| out.exposed > back) {
                warnings.push(format!(
                    "caches had {} still when it came back: the drill was shorter than the TTL",
                    out.so_far.backend
                ));
            }
            withdrawals.push(Withdrawal { exposed_ms: Some(exposed), ..out.so_far });
        }
        let report = DrillReport {
            plan: super::DrillPlan { warnings, ..self.assessed.plan },
            by: self.by,
            started: time_text(self.started),
            ended_early: self.ended_early,
            restored: self.restored,
            server: self.assessed.server.to_string(),
            clients: self.caches.len() as u32,
            queries,
            unanswered,
            report: Report { timeline: self.timeline, withdrawals, traffic: self.stretches.traffic(end) },
        };
        last_word(&self.events, DrillEvent::Report(Box::new(report))).await;
    }

    fn since(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.begun).as_millis() as u64
    }

    fn say(&mut self, what: String) {
        self.say_at(Instant::now(), what);
    }

    fn say_at(&mut self, at: Instant, what: String) {
        let line = Line { at_ms: self.since(at), what };
        tracing::info!("{}: {}", self.by, line.what);
        // Who reads slowly misses lines; all stand in the report.
        let _ = self.events.try_send(DrillEvent::Progress(line.clone()));
        self.timeline.push(line);
    }
}

/// Tells how it went. Who does not read misses it: the log has each step, and the next drill may begin.
async fn last_word(events: &mpsc::Sender<DrillEvent>, word: DrillEvent) {
    if events.send_timeout(word, LAST_WORD).await.is_err() {
        tracing::warn!("drill: nobody took in how it went");
    }
}

/// Returns when it is set, or will never be.
async fn set(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|flag| *flag).await;
}

#[cfg(test)]
#[tokio::test(start_paused = true)]
async fn who_does_not_read_keeps_no_drill_under_way() {
    let (sender, mut events) = mpsc::channel(1);
    sender.send(DrillEvent::Failed("first".to_owned())).await.unwrap();
    let begun = tokio::time::Instant::now();
    last_word(&sender, DrillEvent::Failed("last".to_owned())).await;
    assert_eq!(begun.elapsed(), LAST_WORD);
    assert!(matches!(events.recv().await, Some(DrillEvent::Failed(why)) if why == "first"));
    assert!(events.try_recv().is_err());
}

/// The state of each family of each pool.
fn states(status: &Status) -> HashMap<(&str, &str, &str), &str> {
    let pools = status.zones.iter().flat_map(|zone| zone.pools.iter().map(move |pool| (zone, pool)));
    let families = pools.flat_map(|(zone, pool)| pool.families.iter().map(move |family| (zone, pool, family)));
    families
        .map(|(zone, pool, family)| {
            ((zone.zone.as_str(), pool.pool.as_str(), family.rtype.as_str()), family.state.as_str())
        })
        .collect()
}
