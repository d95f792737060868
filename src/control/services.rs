//! What SRV, SVCB and HTTPS answer of a pool, and the CNAME of a backend elsewhere.

use std::net::IpAddr;

use super::names::{ViewPlan, said_of, view_ttl};
use super::world::{FAMILIES, HOST, World};
use crate::config::plan::{PolicyKind, PoolPlan};
use crate::engine::policy::{Because, Selection};
use crate::engine::rrtype;
use crate::engine::view::{MAX_MEMBERS, Prepared, Service, Services, View};

/// Records of one SRV answer where neither name nor pool says more: clients choose among them themselves.
const USUAL_ANSWERS: u16 = 8;

/// The records of the view's type for the members of a pool that was selected.
pub(super) fn prepare(world: &World, view: &ViewPlan, pool: usize, members: &[(usize, u16)]) -> Prepared {
    let plan = &world.plan().pools[pool];
    let made = match view.rtype {
        rrtype::SRV => srv(world, view, pool, members),
        _ => Some(svcb(world, view, plan, pool, members)),
    };
    made.map_or(Prepared::NoData, Prepared::Services)
}

/// Priority is the tier: clients that can fail over by themselves learn of the tiers behind, as far as they are up.
fn srv(world: &World, view: &ViewPlan, pool: usize, members: &[(usize, u16)]) -> Option<Services> {
    let plan = &world.plan().pools[pool];
    let state = &world.pools[pool].families[HOST];
    let healthy_up_to = match state.selection {
        Selection::Answer { because: Because::Healthy, tier, .. } => Some(tier),
        _ => None,
    };
    let behind = state.candidates.iter().filter(|one| one.up && healthy_up_to.is_some_and(|tier| one.tier > tier));
    let behind = behind.map(|candidate| (candidate.backend, candidate.weight));
    let service = |(backend, weight): (usize, u16)| {
        let one = &plan.backends[backend];
        let (target, port) = (one.srv_target()?, one.port?);
        Some(Service { priority: one.tier, weight, port, target: target.as_wire() })
    };
    let services: Vec<Service<'_>> =
        members.iter().copied().chain(behind).filter_map(service).take(MAX_MEMBERS).collect();
    let answers = view.answers.unwrap_or(plan.answers.max(USUAL_ANSWERS));
    (!services.is_empty()).then(|| Services::srv(&services, answers, view_ttl(world, view)))
}

/// One record whose hints are those addresses that A and AAAA answer; turned, or by weight, as these are. Where the client
/// decides there are no hints: a record cannot know who asks.
fn svcb(world: &World, view: &ViewPlan, plan: &PoolPlan, pool: usize, members: &[(usize, u16)]) -> Services {
    let answered = |backend: usize, slot: usize| world.pools[pool].families[slot].answers(backend);
    let addresses = |backend: usize| -> Vec<IpAddr> {
        let families = FAMILIES.into_iter().enumerate().filter(|&(slot, _)| answered(backend, slot));
        families.filter_map(|(_, rtype)| plan.backends[backend].address(rtype)).collect()
    };
    let hosts: Vec<(Vec<IpAddr>, u16)> = members
        .iter()
        .map(|&(backend, weight)| (addresses(backend), weight))
        .filter(|(addresses, _)| !addresses.is_empty())
        .take(MAX_MEMBERS)
        .collect();
    let state = &world.pools[pool].families[HOST];
    let answers = usize::from(state.most_answers(view.answers.unwrap_or(plan.answers))).min(hosts.len());
    let turn = |first: usize| -> Vec<IpAddr> {
        (0..answers).flat_map(|place| hosts[(first + place) % hosts.len()].0.iter().copied()).collect()
    };
    let hints: Vec<Vec<IpAddr>> = match plan.reads {
        None if !hosts.is_empty() => (0..hosts.len()).map(turn).collect(),
        _ => vec![Vec::new()],
    };
    let weights: Vec<u16> = match state.policy(plan.policy) {
        PolicyKind::Weighted => hosts.iter().map(|(_, weight)| *weight).collect(),
        _ => Vec::new(),
    };
    let params = world.views.params.get(view.params as usize).map(|params| &**params).unwrap_or_default();
    Services::svcb(view.rtype, params, &hints, &weights, view_ttl(world, view))
}

/// The CNAME of one backend.
pub(super) fn alias(world: &World, view: &ViewPlan, pool: usize, backend: usize) -> View {
    let plan = &world.plan().pools[pool];
    let Some(cname) = &plan.backends[backend].cname else {
        return View::new(Prepared::ServFail, None);
    };
    let extended_error = match &world.pools[pool].families[view.family()].selection {
        Selection::Answer { members, because, .. } => said_of(world, plan, members, *because),
        _ => None,
    };
    View::new(Prepared::Services(Services::cname(cname.as_wire(), view_ttl(world, view))), extended_error)
}
