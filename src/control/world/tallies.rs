//! Answers handed out by backend. Each worker counts, in memory of its own, which record of a view it put first; here is
//! kept which tallies a view has and whose its records are.
//!
//! ```text
//! view ──> run of tallies, one a record ──> backends (several where they share an address)
//! ```
//!
//! Views with the same records share a run. A view whose records change gets another run at that moment; the old one is
//! read once more when no worker can be in the midst of a batch with the old view, and only then given away again. So
//! nothing is counted for another backend than the one that was answered.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::World;
use crate::config::plan::Target;
use crate::control::names::{Source, drawn_from};
use crate::engine::draw::Draws;
use crate::engine::policy::Selection;
use crate::engine::view::{Prepared, UNCOUNTED, View};

/// A worker lets go of a replaced snapshot within a tenth of a second, or at the end of its batch.
const SETTLED: Duration = Duration::from_secs(2);

/// Of each record the numbers of its backends: how many, and which, one after the other.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
struct Members(Vec<u32>);

impl Members {
    fn push(&mut self, backends: impl ExactSizeIterator<Item = u32>) {
        self.0.push(backends.len() as u32);
        self.0.extend(backends);
    }

    fn records(&self) -> impl Iterator<Item = &[u32]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (count, after) = rest.split_first()?;
            let (backends, next) = after.split_at_checked(*count as usize)?;
            rest = next;
            Some(backends)
        })
    }

    fn backends(&self) -> impl Iterator<Item = u32> {
        self.records().flatten().copied()
    }
}

/// All tallies.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    numbers: HashMap<Arc<str>, u32>,
    /// Numbers of backends that are gone.
    spare: Vec<u32>,
    /// By number: what runs that were given away have counted.
    totals: Vec<u64>,
    /// Numbers of the plan's backends, by pool.
    of_plan: Vec<Vec<u32>>,
    of_views: Vec<Option<Arc<Members>>>,
    /// By number: the runs that a backend is in.
    of_backends: Vec<Vec<Arc<Members>>>,
    runs: HashMap<Arc<Members>, Run, RandomState>,
    retired: Vec<(Arc<Members>, Duration)>,
    /// First tallies of runs that are free, by length.
    free: HashMap<u32, Vec<u32>>,
    length: u32,
}

#[derive(Debug)]
struct Run {
    first: u32,
    /// Views that have it.
    used: usize,
    /// What stood in its tallies when it was taken.
    begun: Vec<u64>,
}

impl Tallies {
    /// Numbers the backends of a plan, by pool, before its views are prepared.
    pub(super) fn begin(&mut self, ids: &[Box<[Arc<str>]>], views: usize, now: Duration) {
        let before = std::mem::take(&mut self.of_views);
        before.into_iter().flatten().for_each(|members| self.release(&members, now));
        self.of_views = vec![None; views];
        self.of_plan = ids.iter().map(|pool| pool.iter().map(|id| self.number(id)).collect()).collect();
        let of_runs = self.runs.keys().flat_map(|run| run.backends());
        let known: HashSet<u32> = self.of_plan.iter().flatten().copied().chain(of_runs).collect();
        let (totals, spare) = (&mut self.totals, &mut self.spare);
        self.numbers.retain(|_, number| {
            let keep = known.contains(number);
            if !keep {
                totals[*number as usize] = 0;
                spare.push(*number);
            }
            keep
        });
    }

    fn number(&mut self, id: &Arc<str>) -> u32 {
        if let Some(&known) = self.numbers.get(id) {
            return known;
        }
        let number = self.spare.pop().unwrap_or_else(|| {
            self.totals.push(0);
            self.of_backends.push(Vec::new());
            self.totals.len() as u32 - 1
        });
        self.numbers.insert(id.clone(), number);
        number
    }

    /// Gives a view the run of its records; returns the first tally.
    fn assign(&mut self, view: u32, members: Members, draws: &[Draws], now: Duration) -> u32 {
        let Some(place) = self.of_views.get_mut(view as usize) else { return UNCOUNTED };
        if let Some(present) = place.as_ref().filter(|present| ***present == members) {
            return self.runs.get(present).map_or(UNCOUNTED, |run| run.first);
        }
        if let Some(before) = place.take() {
            self.release(&before, now);
        }
        let length = members.records().count() as u32;
        if length == 0 {
            return UNCOUNTED;
        }
        let known = self.runs.get_key_value(&members).map(|(members, _)| members.clone());
        let members = known.unwrap_or_else(|| {
            let members = Arc::new(members);
            let first = self.free.get_mut(&length).and_then(Vec::pop).unwrap_or_else(|| {
                self.length += length;
                self.length - length
            });
            let begun = (0..length).map(|at| counted(draws, first + at)).collect();
            self.runs.insert(members.clone(), Run { first, used: 0, begun });
            for backend in members.backends() {
                self.of_backends[backend as usize].push(members.clone());
            }
            members
        });
        self.of_views[view as usize] = Some(members.clone());
        let Some(run) = self.runs.get_mut(&members) else { return UNCOUNTED };
        run.used += 1;
        run.first
    }

    fn release(&mut self, members: &Arc<Members>, now: Duration) {
        if let Some(run) = self.runs.get_mut(members) {
            run.used -= 1;
            if run.used == 0 {
                self.retired.push((members.clone(), now));
            }
        }
    }

    /// Reads runs once more that nobody has used for a while, and gives them away.
    pub(super) fn settle(&mut self, draws: &[Draws], now: Duration) {
        let due = self.retired.partition_point(|(_, since)| *since + SETTLED <= now);
        if due == 0 {
            return;
        }
        let settled: Vec<Arc<Members>> = self.retired.drain(..due).map(|(members, _)| members).collect();
        let later: HashSet<Arc<Members>> = self.retired.iter().map(|(members, _)| members.clone()).collect();
        for members in settled {
            // One that is used again, or was retired again later, stays.
            if self.runs.get(&members).is_none_or(|run| run.used > 0) || later.contains(&members) {
                continue;
            }
            if let Some(run) = self.runs.remove(&members) {
                let totals = &mut self.totals;
                run.read(&members, draws, |backend, count| totals[backend as usize] += count);
                for backend in members.backends() {
                    self.of_backends[backend as usize].retain(|other| *other != members);
                }
                self.free.entry(run.begun.len() as u32).or_default().push(run.first);
            }
        }
    }

    /// Tallies that are needed.
    pub(super) fn len(&self) -> usize {
        self.length as usize
    }

    /// What was counted, by backend's number.
    fn read(&self, draws: &[Draws]) -> Vec<u64> {
        let mut totals = self.totals.clone();
        for (members, run) in &self.runs {
            run.read(members, draws, |backend, count| totals[backend as usize] += count);
        }
        totals
    }

    /// The same of some alone, in their order: costs what their runs have.
    fn read_of(&self, numbers: &[u32], draws: &[Draws]) -> Vec<u64> {
        let total = |&number: &u32| (number, self.totals.get(number as usize).copied().unwrap_or(0));
        let mut found: HashMap<u32, u64> = numbers.iter().map(total).collect();
        let mut seen: HashSet<*const Members> = HashSet::new();
        for members in numbers.iter().filter_map(|&number| self.of_backends.get(number as usize)).flatten() {
            let Some(run) = self.runs.get(members).filter(|_| seen.insert(Arc::as_ptr(members))) else { continue };
            run.read(members, draws, |backend, count| {
                if let Some(total) = found.get_mut(&backend) {
                    *total += count;
                }
            });
        }
        numbers.iter().map(|number| found[number]).collect()
    }
}

impl Run {
    /// What each backend has of what was counted.
    fn read(&self, members: &Members, draws: &[Draws], mut add: impl FnMut(u32, u64)) {
        for ((tally, backends), begun) in (self.first..).zip(members.records()).zip(&self.begun) {
            let count = counted(draws, tally).wrapping_sub(*begun);
            // Nobody can tell apart who shares an address: each has an equal part.
            let of = backends.len().max(1) as u64;
            for (&backend, at) in backends.iter().zip(0u64..) {
                add(backend, count / of + u64::from(at < count % of));
            }
        }
    }
}

/// What all workers counted; the last set of counters is `explain`'s, which nobody is answered from.
fn counted(draws: &[Draws], tally: u32) -> u64 {
    draws.split_last().map_or(0, |(_, workers)| workers.iter().map(|draws| draws.counted(tally)).sum())
}

/// Answers that each backend was first in, by pool and backend as the plan numbers them.
#[derive(Debug, Default)]
pub(crate) struct Answers(Vec<Vec<u64>>);

impl Answers {
    /// Of one backend.
    pub(crate) fn of(&self, pool: usize, backend: usize) -> u64 {
        self.0.get(pool).and_then(|pool| pool.get(backend)).copied().unwrap_or(0)
    }
}

impl World {
    /// Answers handed out, by backend: those in which its address stood first, or its name. SRV, HTTPS and SVCB are not among
    /// them: of these the client chooses.
    pub(crate) fn answers(&self) -> Answers {
        let totals = self.tallies.read(&self.snapshot.draws);
        let of = |number: &u32| totals.get(*number as usize).copied().unwrap_or(0);
        Answers(self.tallies.of_plan.iter().map(|pool| pool.iter().map(of).collect()).collect())
    }

    /// The same of the backends of one pool.
    pub(crate) fn answers_of(&self, pool: usize) -> Vec<u64> {
        let numbers = self.tallies.of_plan.get(pool).map(Vec::as_slice).unwrap_or_default();
        self.tallies.read_of(numbers, &self.snapshot.draws)
    }

    /// The same by id, for a successor.
    pub(super) fn answers_by_id(&self) -> Vec<(String, u64)> {
        let totals = self.tallies.read(&self.snapshot.draws);
        let of = |(id, &number): (&Arc<str>, &u32)| (id.to_string(), totals[number as usize]);
        self.tallies.numbers.iter().map(of).filter(|(_, count)| *count > 0).collect()
    }

    /// Goes on from what a replaced server counted.
    pub(super) fn catch_up_answers(&mut self, theirs: &[(String, u64)]) {
        for (id, count) in theirs {
            if let Some(&number) = self.tallies.numbers.get(id.as_str()) {
                self.tallies.totals[number as usize] += count;
            }
        }
    }

    /// The tallies of a view as it was just prepared.
    pub(super) fn tally(&mut self, number: u32, view: &View) -> u32 {
        let members = self.members(number, view);
        self.tallies.assign(number, members, &self.snapshot.draws, self.now.mono)
    }

    /// Whose each record is.
    fn members(&self, number: u32, view: &View) -> Members {
        let plan = &self.views.plans[number as usize];
        let number_of = |pool: usize, backend: usize| self.tallies.of_plan[pool][backend];
        let mut all = Members::default();
        match (&view.prepared, plan.source) {
            (Prepared::Addresses(addresses), Source::Pool(pool) | Source::Leaf { pool, .. }) => {
                let Target::Pool(pool) = self.health(plan.family()).diverted(pool) else { return all };
                let selection = &self.pools[pool].families[plan.family()].selection;
                let Selection::Answer { members, .. } = selection else { return all };
                let drawn = drawn_from(&self.plan.pools[pool], members, plan.rtype).into_iter();
                let mut drawn: Vec<(IpAddr, u32)> =
                    drawn.map(|(backend, member)| (member.address, number_of(pool, backend))).collect();
                // Those that share an address, side by side and in their order.
                drawn.sort_by_key(|one| one.0);
                for address in addresses.members() {
                    let from = drawn.partition_point(|one| one.0 < address);
                    let same = drawn[from..].partition_point(|one| one.0 == address);
                    all.push(drawn[from..from + same].iter().map(|one| one.1));
                }
            }
            (Prepared::Services(_), Source::Alias { pool, backend }) => {
                all.push(std::iter::once(number_of(pool, backend)));
            }
            _ => {}
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&[u32]]) -> Members {
        let mut all = Members::default();
        records.iter().for_each(|backends| all.push(backends.iter().copied()));
        all
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn counters(tallies: &Tallies) -> Vec<Draws> {
        // A UDP worker, the streams, and `explain`, whose answers nobody gets.
        (0..3).map(|worker| Draws::new(worker).with_tallies(tallies.len().max(64))).collect()
    }

    fn begun(backends: u32) -> Tallies {
        let mut tallies = Tallies { of_views: vec![None; 2], ..Tallies::default() };
        (0..backends).for_each(|number| _ = tallies.number(&format!("z/p/{number}").into()));
        tallies
    }

    #[test]
    fn views_with_the_same_records_share_a_run_and_workers_are_added_up() {
        let mut tallies = begun(3);
        let draws = counters(&tallies);
        let first = tallies.assign(0, of(&[&[0], &[1]]), &draws, SECOND);
        assert_eq!(tallies.assign(1, of(&[&[0], &[1]]), &draws, SECOND), first);
        let other = tallies.assign(1, of(&[&[1], &[0]]), &draws, SECOND);
        assert_ne!(other, first, "the same in another order is not the same");
        for (worker, tally) in [(0, first), (1, first), (0, first + 1), (2, first), (0, other), (0, UNCOUNTED)] {
            draws[worker].count(tally);
        }
        assert_eq!(tallies.read(&draws), [2, 2, 0]);
        assert_eq!(tallies.read_of(&[2, 1], &draws), [0, 2], "of some alone");
    }

    #[test]
    fn who_shares_an_address_has_an_equal_part() {
        let mut tallies = begun(3);
        let draws = counters(&tallies);
        let first = tallies.assign(0, of(&[&[0, 1], &[2]]), &draws, SECOND);
        (0..7).for_each(|_| draws[0].count(first));
        assert_eq!(tallies.read(&draws), [4, 3, 0]);
    }

    #[test]
    fn what_comes_late_is_counted_for_who_was_answered() {
        let mut tallies = begun(3);
        let draws = counters(&tallies);
        let first = tallies.assign(0, of(&[&[0], &[1]]), &draws, SECOND);
        draws[0].count(first);
        let second = tallies.assign(0, of(&[&[1], &[2]]), &draws, SECOND);
        assert_ne!(second, first);
        // A worker in the midst of a batch.
        draws[0].count(first);
        draws[0].count(second + 1);
        tallies.settle(&draws, SECOND);
        assert_eq!(tallies.read(&draws), [2, 0, 1]);
        tallies.settle(&draws, SECOND + SETTLED);
        assert_eq!(tallies.read(&draws), [2, 0, 1], "read once more, and given away");
        // The next has the same tallies, and none of what stands in them.
        let third = tallies.assign(1, of(&[&[2], &[0]]), &draws, 4 * SECOND);
        assert_eq!(third, first);
        assert_eq!(tallies.read(&draws), [2, 0, 1]);
        draws[1].count(third);
        assert_eq!(tallies.read(&draws), [2, 0, 2]);
        assert_eq!(tallies.read_of(&[0, 1, 2], &draws), [2, 0, 2]);
        let runs: Vec<usize> = tallies.of_backends.iter().map(Vec::len).collect();
        assert_eq!(runs, [1, 1, 2], "runs that were given away are forgotten");
    }

    #[test]
    fn a_run_that_is_wanted_again_stays() {
        let mut tallies = begun(2);
        let draws = counters(&tallies);
        let both = || of(&[&[0], &[1]]);
        let first = tallies.assign(0, both(), &draws, SECOND);
        tallies.assign(0, of(&[&[0]]), &draws, SECOND);
        assert_eq!(tallies.assign(0, both(), &draws, 2 * SECOND), first);
        tallies.assign(0, of(&[&[0]]), &draws, 3 * SECOND);
        tallies.settle(&draws, SECOND + SETTLED);
        assert_eq!(tallies.assign(0, both(), &draws, 4 * SECOND), first, "retired later than that");
    }
}
