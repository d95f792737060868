//! `of`: a check that counts others. Names become probes here, and circles are refused.

use std::sync::Arc;

use super::super::diagnostic::did_you_mean;
use super::super::reader::Table;
use super::super::source::{Place, Problem, Report};
use super::{CheckDef, Checks, Kind, Use};
use crate::engine::probe::ProbeSpec;

/// Most checks that one counts (Route 53).
const MOST_MEMBERS: usize = 256;
/// Checks that count checks that count checks …
const MOST_LEVELS: usize = 4;

/// One of the checks that are counted.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) inverted: bool,
    place: Place,
}

/// Finds checks by name, and takes the probes that they become.
pub(in super::super) struct Resolver<'r> {
    /// The zone's, or the server file's.
    pub(in super::super) own: &'r Checks,
    /// The server file's.
    pub(in super::super) shared: &'r Checks,
    /// Gives a probe its place in the plan.
    pub(in super::super) take: &'r mut dyn FnMut(ProbeSpec) -> Arc<ProbeSpec>,
}

impl<'r> Resolver<'r> {
    /// The probe that a check's name stands for. Circles are refused before anything is resolved.
    pub(super) fn resolve(&mut self, name: &str, of: Use<'_>) -> Result<Arc<ProbeSpec>, String> {
        let (own, shared) = (self.own, self.shared);
        let Some(check) = find(name, own, shared) else {
            return Err(format!("counts the check {name:?}, which does not exist"));
        };
        let spec = check.probe(of, self).map_err(|why| format!("counts the check {name:?}, which {why}"))?;
        Ok((self.take)(spec))
    }
}

pub(super) fn read(table: &Table<'_>, report: &mut Report) -> Option<Kind> {
    let Some(value) = table.get("checks") else {
        let problem = Problem::error(table.place, format!("check {:?} lacks \"checks\"", table.path));
        report.add(problem.key(table.path.as_str()).help("write checks = [\"web\", \"!backup\"]".to_owned()));
        return None;
    };
    let mut members: Vec<Member> = Vec::new();
    for (text, item) in value.strings(report) {
        let (name, inverted) = text.strip_prefix('!').map_or((text, false), |name| (name, true));
        match members.iter().find(|member| member.name == name) {
            Some(first) => {
                let problem = Problem::error(item.place, format!("check {name:?} is counted twice"));
                report.add(problem.key(item.path.as_str()).beside(first.place, "first here"));
            }
            None => members.push(Member { name: name.to_owned(), inverted, place: item.place }),
        }
    }
    if members.is_empty() || members.len() > MOST_MEMBERS {
        value.wrong(&format!("1 to {MOST_MEMBERS} names of checks"), report);
        return None;
    }
    let need = match table.get("need") {
        None => members.len() as u64,
        Some(value) => {
            let need = value.integer(0..=MOST_MEMBERS as u64, report)?;
            let count = members.len();
            let remark = match need {
                0 => Some("needs none of its checks: it always passes".to_owned()),
                need if need > count as u64 => Some(format!("needs {need} of {count} checks: it never passes")),
                _ => None,
            };
            if let Some(remark) = remark {
                let problem = Problem::warning(value.place, format!("{:?} {remark}", table.path));
                report.add(problem.key(value.path.as_str()));
            }
            need
        }
    };
    Some(Kind::Of { need: need as u32, members })
}

/// Refuses names that mean no check, and checks that count themselves. Returns whether all is well.
pub(in super::super) fn verify(checks: &Checks, shared: &Checks, report: &mut Report) -> bool {
    let before = report.error_count();
    for check in checks.values() {
        for member in members(check) {
            if find(&member.name, checks, shared).is_none() {
                let help = did_you_mean(&member.name, checks.keys().chain(shared.keys()).map(String::as_str));
                let problem = Problem::error(member.place, format!("there is no check {:?}", member.name));
                report.add(problem.key(format!("checks.{}.checks", check.name)).help(help));
            }
        }
        if let Some(wrong) = walk(check, checks, shared, &mut vec![check.name.as_str()]) {
            let message = format!("the check {:?} {wrong}", check.name);
            report.add(Problem::error(check.place, message).key(format!("checks.{}", check.name)));
        }
    }
    report.error_count() == before
}

/// What is wrong below a check: a circle, or more levels than anybody reads.
fn walk<'c>(check: &'c CheckDef, checks: &'c Checks, shared: &'c Checks, chain: &mut Vec<&'c str>) -> Option<String> {
    for member in members(check) {
        let name = member.name.as_str();
        if name == chain[0] {
            return Some(format!("counts itself: {} -> {name}", chain.join(" -> ")));
        }
        // A circle further down is said where it begins.
        let Some(next) = find(name, checks, shared).filter(|next| !chain.contains(&name) && !members(next).is_empty())
        else {
            continue;
        };
        if chain.len() >= MOST_LEVELS {
            return Some(format!("counts checks that count checks, more than {MOST_LEVELS} deep"));
        }
        chain.push(name);
        let found = walk(next, checks, shared, chain);
        chain.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

fn members(check: &CheckDef) -> &[Member] {
    match &check.kind {
        Kind::Of { members, .. } => members,
        _ => &[],
    }
}

fn find<'c>(name: &str, checks: &'c Checks, shared: &'c Checks) -> Option<&'c CheckDef> {
    checks.get(name).or_else(|| shared.get(name))
}
