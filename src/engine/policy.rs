//! Which backends of a pool may answer now, in one address family. Plain functions of plain values.
//!
//! Route 53's weighted and failover semantics (standby by weight 0, fail open), gdnsd's tiers and thresholds.

/// A backend that has the family asked for and is neither drained nor forced down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index into the pool's backends.
    pub backend: usize,
    /// 0 is preferred.
    pub tier: u16,
    /// 0 is standby.
    pub weight: u16,
    /// Counts as up: by its probes, by an operator's word, or before its first verdict.
    pub up: bool,
}

/// What makes a tier good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MinHealthy {
    /// That many; 0 counts as 1.
    Count(u32),
    /// That share of the tier's candidates in thousandths, rounded up; at least one.
    Share(u32),
}

/// What is answered when no tier is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnAllDown {
    /// As if all were up (Route 53).
    Open,
    /// Every candidate of every tier (gdnsd).
    Every,
    /// The last set answered while healthy, else `Open`.
    Last,
    /// NODATA.
    NoData,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// Another pool or a route; never a loop.
    To(Target),
}

/// What answers for a name, or for a choice of a route: by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A pool.
    Pool(usize),
    /// A route.
    Route(usize),
}

/// What a pool answers in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These members, by the policy.
    Answer {
        /// Backend and weight; weights are all above zero, or all zero for equal shares.
        members: Vec<(usize, u16)>,
        /// What led to it.
        because: Because,
        /// The last tier looked at: candidates up to it can change the answer.
        tier: u16,
    },
    /// Nothing, with that RCODE.
    Nothing(Nothing),
    /// What that pool or route answers.
    To(Target),
}

/// Why these members answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The tier reaches `min_healthy`.
    Healthy,
    /// None does: as if all were up.
    FailOpen,
    /// None does: every candidate.
    Every,
    /// None does: the last set answered while healthy.
    LastKnown,
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nothing {
    /// The pool has no backend in that family, or none that may be answered: NODATA.
    NoCandidate,
    /// All down: NODATA.
    NoData,
    /// All down: SERVFAIL.
    ServFail,
    /// All down: REFUSED.
    Refused,
}

/// Decides. `has_family` says whether the pool has any backend of the family at all; `last` is the last set answered while
/// healthy, backend indices.
pub fn select(
    candidates: &[Candidate],
    has_family: bool,
    min_healthy: MinHealthy,
    on_all_down: OnAllDown,
    last: Option<&[usize]>,
) -> Selection {
    if !has_family {
        return Selection::Nothing(Nothing::NoCandidate);
    }
    let tiers = tiers(candidates);
    for &tier in &tiers {
        if reaches(candidates, tier, min_healthy, |candidate| candidate.up) {
            let members = heed_weights(in_tier(candidates, tier).filter(|candidate| candidate.up));
            return Selection::Answer { members, because: Because::Healthy, tier };
        }
    }
    match on_all_down {
        OnAllDown::ServFail => return Selection::Nothing(Nothing::ServFail),
        OnAllDown::Refused => return Selection::Nothing(Nothing::Refused),
        OnAllDown::To(other) => return Selection::To(other),
        _ if candidates.is_empty() => return Selection::Nothing(Nothing::NoCandidate),
        OnAllDown::NoData => return Selection::Nothing(Nothing::NoData),
        OnAllDown::Open | OnAllDown::Every | OnAllDown::Last => {}
    }
    let highest = tiers.last().copied().unwrap_or(0);
    match on_all_down {
        OnAllDown::Every => {
            let members = candidates.iter().map(|candidate| (candidate.backend, candidate.weight)).collect();
            return Selection::Answer { members, because: Because::Every, tier: highest };
        }
        OnAllDown::Last => {
            let known = last.unwrap_or_default();
            let members = heed_weights(candidates.iter().filter(|candidate| known.contains(&candidate.backend)));
            if !members.is_empty() {
                return Selection::Answer { members, because: Because::LastKnown, tier: highest };
            }
        }
        _ => {}
    }
    // As if all were up: the first tier that would reach min_healthy then, else the first.
    let open = tiers
        .iter()
        .copied()
        .find(|&tier| reaches(candidates, tier, min_healthy, |_| true))
        .unwrap_or_else(|| tiers.first().copied().unwrap_or(0));
    let members = heed_weights(in_tier(candidates, open));
    Selection::Answer { members, because: Because::FailOpen, tier: highest }
}

/// The tiers that have candidates, lowest first.
fn tiers(candidates: &[Candidate]) -> Vec<u16> {
    let mut tiers: Vec<u16> = candidates.iter().map(|candidate| candidate.tier).collect();
    tiers.sort_unstable();
    tiers.dedup();
    tiers
}

fn in_tier(candidates: &[Candidate], tier: u16) -> impl Iterator<Item = &Candidate> {
    candidates.iter().filter(move |candidate| candidate.tier == tier)
}

fn reaches(candidates: &[Candidate], tier: u16, least: MinHealthy, up: impl Fn(&Candidate) -> bool) -> bool {
    let of = in_tier(candidates, tier).count() as u64;
    let healthy = in_tier(candidates, tier).filter(|candidate| up(candidate)).count() as u64;
    healthy >= needed(least, of)
}

/// How many of `candidates` must be up.
pub fn needed(least: MinHealthy, candidates: u64) -> u64 {
    match least {
        MinHealthy::Count(count) => u64::from(count).max(1),
        MinHealthy::Share(permille) => (candidates * u64::from(permille)).div_ceil(1000).max(1),
    }
}

/// Members with a weight answer; without any, those with weight zero, with equal shares (Route 53).
fn heed_weights<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Vec<(usize, u16)> {
    heed(candidates.map(|candidate| (candidate.backend, candidate.weight)).collect())
}

/// As above, of any weighted choices.
pub fn heed(mut all: Vec<(usize, u16)>) -> Vec<(usize, u16)> {
    if all.iter().any(|&(_, weight)| weight > 0) {
        all.retain(|&(_, weight)| weight > 0);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(list: &[(u16, u16, bool)]) -> Vec<Candidate> {
        list.iter().enumerate().map(|(backend, &(tier, weight, up))| Candidate { backend, tier, weight, up }).collect()
    }

    fn answered(list: &[(u16, u16, bool)], least: MinHealthy, down: OnAllDown) -> (Vec<usize>, Because) {
        match select(&candidates(list), true, least, down, Some(&[1])) {
            Selection::Answer { members, because, .. } => (members.iter().map(|member| member.0).collect(), because),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn route_53_weight_zero_table() {
        let one = MinHealthy::Count(1);
        for first in [true, false] {
            for second in [true, false] {
                for third in [true, false] {
                    // A fourth stands in the next tier: weight 0 wakes before it.
                    let list = [(0, 1, first), (0, 1, second), (0, 0, third), (1, 1, true)];
                    let (set, because) = answered(&list, one, OnAllDown::Open);
                    let expected: Vec<usize> = match (first, second, third) {
                        (true, true, _) => vec![0, 1],
                        (true, false, _) => vec![0],
                        (false, true, _) => vec![1],
                        (false, false, true) => vec![2],
                        (false, false, false) => vec![3],
                    };
                    assert_eq!((set, because), (expected, Because::Healthy));
                    let (set, because) = answered(&list[..3], one, OnAllDown::Open);
                    if !(first || second || third) {
                        assert_eq!((set, because), (vec![0, 1], Because::FailOpen));
                    }
                }
            }
        }
    }

    #[test]
    fn all_weights_zero_share_equally() {
        let list = [(0, 0, true), (0, 0, true), (0, 0, false)];
        assert_eq!(answered(&list, MinHealthy::Count(1), OnAllDown::Open).0, [0, 1]);
    }

    #[test]
    fn a_tier_below_min_healthy_gives_way_alone() {
        let list = [(0, 1, true), (0, 1, false), (0, 1, false), (1, 1, true), (1, 1, false)];
        assert_eq!(answered(&list, MinHealthy::Share(500), OnAllDown::Open).0, [3]);
        assert_eq!(answered(&list, MinHealthy::Share(330), OnAllDown::Open).0, [0]);
        assert_eq!(answered(&list, MinHealthy::Count(2), OnAllDown::Open), (vec![0, 1, 2], Because::FailOpen));
        assert_eq!(answered(&list, MinHealthy::Count(9), OnAllDown::Open), (vec![0, 1, 2], Because::FailOpen));
    }

    #[test]
    fn on_all_down_row_by_row() {
        let list = [(0, 1, false), (0, 1, false), (1, 1, false), (1, 0, false)];
        let one = MinHealthy::Count(1);
        assert_eq!(answered(&list, one, OnAllDown::Open), (vec![0, 1], Because::FailOpen));
        assert_eq!(answered(&list, one, OnAllDown::Every), (vec![0, 1, 2, 3], Because::Every));
        assert_eq!(answered(&list, one, OnAllDown::Last), (vec![1], Because::LastKnown));
        let all = candidates(&list);
        let nothing = |down| select(&all, true, one, down, None);
        assert_eq!(nothing(OnAllDown::NoData), Selection::Nothing(Nothing::NoData));
        assert_eq!(nothing(OnAllDown::ServFail), Selection::Nothing(Nothing::ServFail));
        assert_eq!(nothing(OnAllDown::Refused), Selection::Nothing(Nothing::Refused));
        assert_eq!(nothing(OnAllDown::To(Target::Pool(4))), Selection::To(Target::Pool(4)));
        assert!(matches!(nothing(OnAllDown::Last), Selection::Answer { because: Because::FailOpen, .. }));
    }

    #[test]
    fn no_candidate_is_nodata_unless_the_operator_chose_otherwise() {
        let one = MinHealthy::Count(1);
        for down in [OnAllDown::Open, OnAllDown::Every, OnAllDown::Last, OnAllDown::NoData] {
            assert_eq!(select(&[], true, one, down, Some(&[0])), Selection::Nothing(Nothing::NoCandidate));
        }
        assert_eq!(select(&[], true, one, OnAllDown::ServFail, None), Selection::Nothing(Nothing::ServFail));
        assert_eq!(select(&[], true, one, OnAllDown::To(Target::Route(1)), None), Selection::To(Target::Route(1)));
        assert_eq!(select(&[], false, one, OnAllDown::ServFail, None), Selection::Nothing(Nothing::NoCandidate));
    }
}
