//! Self-doubt: when much that has nothing in common fails at once, it is likelier that this machine sees no more than that
//! all the rest died. Arithmetic only: results in, and now and then a word that verdicts are to be frozen or freed.
//!
//! What has nothing in common: targets are addresses, and pools that share an address are one group. The group that fails
//! most is left out of the count, since one pool that dies is that pool's matter. Of the other targets that passed before, a
//! share (`checker.doubt`) must fail within one interval; two of them at least, and four with the group left out.
//!
//! The doubt ends when enough answer again and everybody was asked once more; or when it has lasted ten intervals.
//!
//! Canaries, where there are any, decide alone: while one of them answers there is no doubt; when none does, there is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use foldhash::fast::RandomState;

use super::Now;
use crate::config::plan::{DoubtPlan, Plan};
use crate::engine::probe::{ProbeId, ProbeKind, Timing};

/// Fewest targets that fail, in all and outside the group that fails most.
const LEAST_FAILING: (usize, usize) = (4, 2);
/// Longest time in which failures count as one event.
const LONGEST_WINDOW: Duration = Duration::from_secs(60);
/// So many intervals are failures doubted; then they are believed.
const DOUBTED_INTERVALS: u32 = 10;
/// Failures are doubted so long at least: shorter than that, most losses of a network's own way out are.
const LEAST_DOUBT: Duration = Duration::from_secs(60);
/// Between two looks at all targets, where they are many.
const LOOK: Duration = Duration::from_millis(50);
/// So few are looked at after each result.
const FEW: usize = 500;

/// What is known of every probe's latest results.
#[derive(Debug, Default)]
pub(crate) struct Doubt {
    settings: DoubtPlan,
    canaries: HashMap<ProbeId, Canary, RandomState>,
    probes: HashMap<ProbeId, Seen, RandomState>,
    /// Probes of each family that fail: while they are few, nobody needs to be counted.
    failing: [usize; 2],
    groups: HashMap<IpAddr, usize>,
    families: [Eye; 2],
    /// Whether anything of the family is probed.
    probed: [bool; 2],
    window: Duration,
    longest: Duration,
}

#[derive(Debug)]
struct Canary {
    target: IpAddr,
    passed: Option<bool>,
}

#[derive(Debug)]
struct Seen {
    target: IpAddr,
    /// When its latest result came, and whether it passed.
    latest: Option<(Duration, bool)>,
    /// Since when it fails, of those that were up.
    failing: Option<Duration>,
    /// When its verdict went down.
    went_down: Option<Duration>,
}

/// One address family.
#[derive(Debug, Default)]
struct Eye {
    frozen: Option<Frozen>,
    looked: Option<Duration>,
    /// A result came since.
    due: bool,
    /// Since when nothing speaks for the doubt any more.
    calm: Option<Duration>,
    /// The canaries were silent while all else answered: they are not believed before one is heard again.
    deaf: bool,
}

/// Verdicts of one family are frozen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frozen {
    pub(crate) since: SystemTime,
    /// When failures are believed whatever the checker sees.
    pub(crate) until: SystemTime,
    pub(crate) reason: String,
    began: Duration,
    ends: Duration,
}

/// What a result did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Verdicts of the family hold from now on; these probes fell in the same event and are up again.
    Froze { family: usize, reason: String, fallen: Vec<ProbeId> },
    /// Failures count again.
    Freed { family: usize, reason: String },
}

/// How the targets of one family look.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    failing: usize,
    rest_failing: usize,
    rest: usize,
    groups_failing: usize,
}

impl Doubt {
    /// Takes a plan in; what was seen of probes that stay is kept.
    pub(crate) fn configure(&mut self, plan: &Plan, ids: &[ProbeId]) {
        self.settings = plan.server.doubt.clone();
        self.groups = groups(plan);
        let used: HashSet<usize> = plan
            .pools
            .iter()
            .flat_map(|pool| &pool.backends)
            .flat_map(|backend| backend.probes_v4.iter().chain(&backend.probes_v6))
            .map(|probe_use| probe_use.probe)
            .collect();
        let mut before = std::mem::take(&mut self.probes);
        let mut heard = std::mem::take(&mut self.canaries);
        (self.window, self.longest) = (Duration::ZERO, Duration::ZERO);
        self.probed = [false; 2];
        for &index in &plan.canaries {
            let target = plan.probes[index].target.ip();
            let canary = heard.remove(&ids[index]).unwrap_or(Canary { target, passed: None });
            self.canaries.insert(ids[index], canary);
        }
        for index in used {
            let spec = &plan.probes[index];
            // A check that passes when the target is gone, or asks nobody, says nothing of the way there.
            if spec.invert || !asks_the_network(&spec.kind) {
                continue;
            }
            let target = spec.target.ip();
            self.probed[usize::from(target.is_ipv6())] = true;
            let new = Seen { target, latest: None, failing: None, went_down: None };
            self.probes.insert(ids[index], before.remove(&ids[index]).unwrap_or(new));
            self.window = self.window.max(one_interval(&spec.timing)).min(LONGEST_WINDOW);
            self.longest = self.longest.max(spec.timing.interval);
        }
        self.failing = [0; 2];
        for seen in self.probes.values().filter(|seen| seen.failing.is_some()) {
            self.failing[usize::from(seen.target.is_ipv6())] += 1;
        }
    }

    pub(crate) fn frozen(&self, family: usize) -> Option<&Frozen> {
        self.families[family].frozen.as_ref()
    }

    /// Whether that probe's target may not go down now.
    pub(crate) fn freezes(&self, id: ProbeId) -> bool {
        let seen = self.probes.get(&id);
        seen.is_some_and(|seen| self.families[usize::from(seen.target.is_ipv6())].frozen.is_some())
    }

    /// Takes a result in: `up` says whether the target counted as up before it, `down` whether it brings it down.
    pub(crate) fn result(&mut self, id: ProbeId, passed: bool, up: bool, down: bool, now: Now) -> Vec<Change> {
        if let Some(canary) = self.canaries.get_mut(&id) {
            canary.passed = Some(passed);
            if passed {
                self.families.iter_mut().for_each(|eye| eye.deaf = false);
            }
            return (0..2).filter_map(|family| self.look(family, now)).collect();
        }
        let Some(seen) = self.probes.get_mut(&id) else { return Vec::new() };
        seen.latest = Some((now.mono, passed));
        let failed = seen.failing.is_some();
        match passed {
            true => (seen.failing, seen.went_down) = (None, None),
            false if up && seen.failing.is_none() => seen.failing = Some(now.mono),
            false => {}
        }
        if down {
            seen.went_down = Some(now.mono);
        }
        let family = usize::from(seen.target.is_ipv6());
        match (failed, seen.failing.is_some()) {
            (false, true) => self.failing[family] += 1,
            (true, false) => self.failing[family] -= 1,
            _ => {}
        }
        let few = self.probes.len() <= FEW;
        let eye = &mut self.families[family];
        eye.due |= !passed || eye.frozen.is_some();
        if eye.due && (few || eye.looked.is_none_or(|looked| now.mono >= looked + LOOK)) {
            return self.look(family, now).into_iter().collect();
        }
        Vec::new()
    }

    /// What time alone ends.
    pub(crate) fn tick(&mut self, now: Now) -> Vec<Change> {
        let wanted = |eye: &Eye| eye.due || eye.frozen.is_some();
        let looked = [0, 1].into_iter().filter(|&family| wanted(&self.families[family]));
        looked.collect::<Vec<_>>().into_iter().filter_map(|family| self.look(family, now)).collect()
    }

    fn look(&mut self, family: usize, now: Now) -> Option<Change> {
        if !self.probed[family] && self.families[family].frozen.is_none() {
            return None;
        }
        let eye = &mut self.families[family];
        (eye.looked, eye.due) = (Some(now.mono), false);
        let canaries = self.canaries(family);
        match self.families[family].frozen.clone() {
            Some(frozen) => {
                let believed = now.mono >= frozen.ends;
                let reason = match self.ends(&frozen, canaries, family) {
                    _ if believed => "it lasted too long: failures are believed".to_owned(),
                    // Everybody is asked once more before anybody goes down.
                    Some(reason) if now.mono >= *self.families[family].calm.get_or_insert(now.mono) + self.window => {
                        reason
                    }
                    Some(_) => return None,
                    None => {
                        self.families[family].calm = None;
                        return None;
                    }
                };
                self.families[family].calm = None;
                self.families[family].deaf = canaries == Some(false);
                self.families[family].frozen = None;
                Some(Change::Freed { family, reason })
            }
            None => {
                let reason = match canaries {
                    Some(true) => return None,
                    Some(false) if self.families[family].deaf => return None,
                    Some(false) => "no canary answers".to_owned(),
                    None => self.suspicion(family, now)?,
                };
                let lasts = (self.longest * DOUBTED_INTERVALS).max(LEAST_DOUBT);
                self.families[family].frozen = Some(Frozen {
                    since: now.wall,
                    until: now.wall + lasts,
                    reason: reason.clone(),
                    began: now.mono,
                    ends: now.mono + lasts,
                });
                Some(Change::Froze { family, reason, fallen: self.fallen(family, now) })
            }
        }
    }

    /// Whether any canary answers; `None` without canaries, or before they were heard.
    fn canaries(&self, family: usize) -> Option<bool> {
        let of_family = || self.canaries.values().filter(|canary| usize::from(canary.target.is_ipv6()) == family);
        let any = of_family().next().is_some();
        let counted = self.canaries.values().filter(|canary| !any || usize::from(canary.target.is_ipv6()) == family);
        let heard: Vec<Option<bool>> = counted.map(|canary| canary.passed).collect();
        match heard.as_slice() {
            [] => None,
            heard if heard.contains(&Some(true)) => Some(true),
            heard if heard.contains(&None) => None,
            _ => Some(false),
        }
    }

    fn suspicion(&self, family: usize, now: Now) -> Option<String> {
        let share = self.settings.share?;
        // Canaries that were not heard yet may speak in a moment.
        if !self.canaries.is_empty() {
            return None;
        }
        // One verdict must not cost a walk over a hundred thousand targets.
        if self.failing[family] < LEAST_FAILING.0 {
            return None;
        }
        let look = self.count(family, now.mono.saturating_sub(self.window));
        let enough = look.failing >= LEAST_FAILING.0
            && look.rest_failing >= LEAST_FAILING.1
            && look.rest_failing as u64 * 1000 >= u64::from(share) * look.rest as u64;
        enough.then(|| {
            format!("{} targets of {} unrelated groups of pools fail at once", look.failing, look.groups_failing)
        })
    }

    /// Why the doubt is over, if it is.
    fn ends(&self, frozen: &Frozen, canaries: Option<bool>, family: usize) -> Option<String> {
        if !self.probed[family] {
            return Some("nothing is probed any more".to_owned());
        }
        if canaries == Some(true) {
            return Some("a canary answers".to_owned());
        }
        if self.settings.share.is_none() && self.canaries.is_empty() {
            return Some("doubt is switched off".to_owned());
        }
        let share = u64::from(self.settings.share.unwrap_or(500));
        if canaries.is_none() {
            let look = self.count(family, frozen.began.saturating_sub(self.window));
            let still = look.rest_failing as u64 * 1000 >= share * look.rest as u64 && look.rest_failing > 0;
            return (!still).then(|| "enough targets answer again".to_owned());
        }
        // No canary answers: if most targets do, the canaries are gone, not the network.
        let heard = || {
            self.probes.values().filter(|seen| {
                usize::from(seen.target.is_ipv6()) == family && seen.latest.is_some_and(|(at, _)| at > frozen.began)
            })
        };
        let all = self.probes.values().filter(|seen| usize::from(seen.target.is_ipv6()) == family).count();
        let passed = heard().filter(|seen| seen.latest.is_some_and(|(_, passed)| passed)).count();
        let answers =
            heard().count() * 2 > all && passed as u64 * 1000 > (1000 - share.min(999)) * heard().count() as u64;
        answers
            .then(|| "targets answer though no canary does: the canaries are not heeded until one answers".to_owned())
    }

    /// Targets that pass, and those that passed and fail since `from` or later.
    fn count(&self, family: usize, from: Duration) -> Look {
        let mut targets: HashMap<IpAddr, bool> = HashMap::new();
        for seen in self.probes.values().filter(|seen| usize::from(seen.target.is_ipv6()) == family) {
            match (seen.latest, seen.failing) {
                // Whoever answers on one port can be reached.
                (Some((_, true)), _) => {
                    targets.insert(seen.target, true);
                }
                (Some((_, false)), Some(since)) if since >= from => {
                    targets.entry(seen.target).or_insert(false);
                }
                _ => {}
            }
        }
        let mut groups: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        for (target, passes) in &targets {
            let group = groups.entry(self.groups.get(target).copied().unwrap_or(usize::MAX)).or_default();
            group.0 += usize::from(!passes);
            group.1 += 1;
        }
        let worst = groups.iter().max_by_key(|(_, (failing, _))| *failing).map(|(&group, _)| group);
        let mut look = Look::default();
        for (&group, &(failing, all)) in &groups {
            look.failing += failing;
            look.groups_failing += usize::from(failing > 0);
            if Some(group) != worst {
                look.rest_failing += failing;
                look.rest += all;
            }
        }
        look
    }

    fn fallen(&self, family: usize, now: Now) -> Vec<ProbeId> {
        let from = now.mono.saturating_sub(self.window);
        let of_family = self.probes.iter().filter(|(_, seen)| usize::from(seen.target.is_ipv6()) == family);
        let mut fallen: Vec<ProbeId> =
            of_family.filter(|(_, seen)| seen.went_down.is_some_and(|at| at >= from)).map(|(&id, _)| id).collect();
        fallen.sort_unstable();
        fallen
    }
}

fn asks_the_network(kind: &ProbeKind) -> bool {
    !matches!(kind, ProbeKind::Of(_) | ProbeKind::File(_) | ProbeKind::Push(_) | ProbeKind::Exec(_))
}

/// The longest that a target takes to be asked once.
fn one_interval(timing: &Timing) -> Duration {
    timing.interval + timing.interval * u32::from(timing.jitter_permille) / 1000 + timing.timeout
}

/// Pools that share an address, directly or through others, are one group; by the address of their targets.
fn groups(plan: &Plan) -> HashMap<IpAddr, usize> {
    let mut parents: Vec<usize> = (0..plan.pools.len()).collect();
    fn root(parents: &mut [usize], mut at: usize) -> usize {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    }
    let mut first: HashMap<IpAddr, usize> = HashMap::new();
    for (number, pool) in plan.pools.iter().enumerate() {
        let probes = pool.backends.iter().flat_map(|backend| backend.probes_v4.iter().chain(&backend.probes_v6));
        let asked = probes.map(|probe_use| &plan.probes[probe_use.probe]).filter(|spec| asks_the_network(&spec.kind));
        for target in asked.map(|spec| spec.target.ip()) {
            let known = *first.entry(target).or_insert(number);
            let (one, other) = (root(&mut parents, known), root(&mut parents, number));
            parents[one] = other;
        }
    }
    first.into_iter().map(|(target, pool)| (target, root(&mut parents, pool))).collect()
}
