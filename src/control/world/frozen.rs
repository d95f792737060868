//! What self-doubt does to verdicts: while it lasts nobody goes down. Counters go on, and what they say counts afterwards.

use std::time::SystemTime;

use super::super::Now;
use super::super::doubt::Change;
use super::super::status::time_text;
use super::super::view::{FrozenChange, What};
use super::{Effect, FAMILIES, News, Transition, World, verdict_word};
use crate::config::plan::{BackendPlan, PoolPlan};
use crate::engine::health::Verdict;
use crate::engine::probe::ProbeId;
use crate::engine::rrtype::{self, A};

/// Why and since when verdicts are frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub(crate) since: SystemTime,
    pub(crate) until: SystemTime,
    pub(crate) reason: String,
    pub(crate) families: Vec<u16>,
    /// Addresses that count as up although their probes fail.
    pub(crate) held: usize,
}

impl World {
    /// The doubt in force; of both families the older.
    pub(crate) fn freeze(&self) -> Option<Freeze> {
        let frozen = || (0..FAMILIES.len()).filter_map(|family| Some((family, self.doubt.frozen(family)?)));
        let (_, first) = frozen().min_by_key(|(_, frozen)| frozen.since)?;
        Some(Freeze {
            since: first.since,
            until: first.until,
            reason: first.reason.clone(),
            families: frozen().map(|(family, _)| FAMILIES[family]).collect(),
            held: self.probes.iter().filter(|(_, probe)| probe.held).count(),
        })
    }

    /// Whether the checker doubts itself: nobody goes down meanwhile.
    pub fn is_frozen(&self) -> bool {
        (0..FAMILIES.len()).any(|family| self.doubt.frozen(family).is_some())
    }

    /// What `explain` adds about one backend of a family: what runs by the clock.
    pub(crate) fn remarks(&self, pool: usize, family: usize, at: usize) -> String {
        let plan = &self.plan.pools[pool];
        let backend = &plan.backends[at];
        let mut text = String::new();
        if self.is_in_maintenance(plan, backend)
            && let Some(window) = self.window_now(plan, backend)
        {
            text.push_str(&format!(", in maintenance until {}", time_text(window.to)));
        } else if let Some(window) = self.window_ahead(plan, backend) {
            text.push_str(&format!(", maintenance from {}", time_text(window.from)));
        }
        if self.is_held(backend) {
            text.push_str(", held up: health is frozen");
        }
        let percent = self.pools[pool].families[family].percent(at, plan, self.now);
        if percent < 100 {
            text.push_str(&format!(", starts slowly with {percent} % of its weight"));
        }
        text
    }

    /// Whether a backend of the pool counts as up only because verdicts are frozen.
    pub(crate) fn holds(&self, pool: &PoolPlan) -> bool {
        self.is_frozen() && pool.backends.iter().any(|backend| self.is_held(backend))
    }

    /// Whether one of the backend's probes fails and counts as passing.
    pub(crate) fn is_held(&self, backend: &BackendPlan) -> bool {
        let uses = backend.probes_v4.iter().chain(&backend.probes_v6);
        let held = |id| self.probes.get(id).is_some_and(|probe| probe.held);
        uses.map(|probe_use| self.ids[probe_use.probe]).any(held)
    }

    /// Carries out what the doubt decided.
    pub(super) fn doubt_changed(&mut self, changes: Vec<Change>, now: Now, effect: &mut Effect) {
        for change in changes {
            match change {
                Change::Froze { family, reason, fallen } => {
                    let families = rrtype::text(FAMILIES[family]);
                    let text = format!("frozen: {reason}; the checker doubts itself, no {families} backend goes down");
                    self.news.push(News { grave: true, text });
                    let told = FrozenChange { frozen: true, rtype: families, reason: reason.clone() };
                    self.say(now.wall, What::Frozen(told));
                    for id in fallen {
                        let why = format!("frozen: {reason}");
                        self.hold(id, true, &why, now, effect);
                    }
                }
                Change::Freed { family, reason } => {
                    let families = rrtype::text(FAMILIES[family]);
                    let text = format!("no longer frozen ({families}): {reason}");
                    self.news.push(News { grave: true, text });
                    self.say(now.wall, What::Frozen(FrozenChange { frozen: false, rtype: families, reason }));
                    let held: Vec<ProbeId> = self
                        .probes
                        .iter()
                        .filter(|(_, probe)| probe.held && usize::from(probe.spec.target.is_ipv6()) == family)
                        // Who passes is on the way up: it goes down if it fails again.
                        .filter(|(_, probe)| probe.tracker.contrary() == 0)
                        .map(|(id, _)| id)
                        .collect();
                    for id in held {
                        let why = self.probes.get(id).map(|probe| probe.reason.clone()).unwrap_or_default();
                        self.hold(id, false, &why, now, effect);
                    }
                }
            }
        }
    }

    /// Holds a probe that is down as up, or no longer.
    fn hold(&mut self, id: ProbeId, held: bool, why: &str, now: Now, effect: &mut Effect) {
        let before = self.probes.get(id).and_then(|probe| probe.verdict());
        self.probes.set_held(id, held);
        if self.probes.get(id).and_then(|probe| probe.verdict()) != before {
            self.verdict_moved(id, before, why, None, now, effect);
        }
    }

    /// The transitions of everybody who depends on a probe whose verdict was `before`.
    pub(super) fn verdict_moved(
        &mut self,
        id: ProbeId,
        before: Option<Verdict>,
        reason: &str,
        took: Option<std::time::Duration>,
        now: Now,
        effect: &mut Effect,
    ) {
        let plan = self.plan.clone();
        for user in self.users.get(&id).cloned().unwrap_or_default() {
            let pool = &plan.pools[user.pool];
            let backend = &pool.backends[user.backend];
            let rtype = FAMILIES[user.family];
            let was = self.combined(backend, rtype, Some((id, before)));
            let is = self.combined(backend, rtype, None);
            if was != is {
                if was.is_some() {
                    self.note_change(user.pool, user.family, user.backend);
                }
                // One that lives elsewhere has one verdict for both families, told once.
                if backend.cname.is_some() && rtype != A {
                    self.touch(user.pool);
                    continue;
                }
                effect.transitions.push(Transition {
                    at: now.wall,
                    id: self.backend_ids[user.pool][user.backend].clone(),
                    address: backend.address(rtype),
                    from: verdict_word(was).into(),
                    to: verdict_word(is).into(),
                    reason: reason.into(),
                    took,
                });
            }
            self.touch(user.pool);
        }
        for counting in self.probes.counting(id).to_vec() {
            self.calculate(counting, now, effect);
        }
    }
}
