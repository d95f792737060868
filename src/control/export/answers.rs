//! What a balanced name answers, as records: of a pool of addresses all that may be answered; where routes, backends
//! elsewhere or other types come in, what one client may get.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use domain::base::rdata::ComposeRecordData;
use domain::base::{Message, ParsedName, ToName};
use domain::rdata::ZoneRecordData;

use crate::config::plan::{NamePlan, Plan, RouteKind, Target};
use crate::control::graph::{Graph, is_routed};
use crate::control::names::target_name;
use crate::control::shares::{Shared, of_name};
use crate::control::status;
use crate::control::world::{FAMILIES, World, backend_id};
use crate::engine::client::{Client, HashKey};
use crate::engine::name::Name;
use crate::engine::policy::Selection;
use crate::engine::{Asker, MAX_REPLY, Transport, respond, rrtype};

/// What a name answers now.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The pool or route, in words.
    pub(super) from: String,
    pub(super) why: String,
    /// Type and RDATA; the type is not the name's where a backend elsewhere answers by CNAME.
    pub(super) records: Vec<(u16, Vec<u8>)>,
}

/// The answers of a zone's names. Names of one pool or route share one.
pub(super) struct Answers<'w> {
    world: &'w World,
    client: IpAddr,
    made: HashMap<(Target, u16), Arc<Answer>>,
}

impl<'w> Answers<'w> {
    pub(super) fn new(world: &'w World, client: IpAddr) -> Answers<'w> {
        Answers { world, client, made: HashMap::new() }
    }

    pub(super) fn of(&mut self, name: &NamePlan) -> Arc<Answer> {
        let plan = self.world.plan();
        let is_address = FAMILIES.contains(&name.rtype);
        // Services name their owner, and who hashes the name answers each differently.
        if !is_address || is_routed(plan, name.to) && reads_name(plan, name.to) {
            return Arc::new(self.make(name));
        }
        if let Some(known) = self.made.get(&(name.to, name.rtype)) {
            return known.clone();
        }
        let answer = Arc::new(self.make(name));
        self.made.insert((name.to, name.rtype), answer.clone());
        answer
    }

    fn make(&self, name: &NamePlan) -> Answer {
        let plan = self.world.plan();
        match FAMILIES.iter().position(|&family| family == name.rtype) {
            None => self.asked(name),
            Some(family) if !is_routed(plan, name.to) => of_pool(self.world, name, family),
            Some(_) => self.of_route(name),
        }
    }

    /// Every backend that has a share of what this client gets.
    fn of_route(&self, name: &NamePlan) -> Answer {
        let plan = self.world.plan();
        let asker = Shared { client: Client::source(self.client), question: &name.owner, over_clients: false };
        let mut shares = of_name(self.world, name, &asker, &[]);
        shares.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let graph = Graph::new(plan, name.to);
        let backends: HashMap<String, _> = graph
            .pools()
            .flat_map(|pool| plan.pools[pool].backends.iter().map(move |backend| (&plan.pools[pool], backend)))
            .map(|(pool, backend)| (backend_id(pool, backend), backend))
            .collect();
        let found: Vec<_> = shares.iter().filter_map(|(id, _)| backends.get(id)).collect();
        let mut answer = Answer { from: source(plan, name), why: self.said(!found.is_empty()), ..Answer::default() };
        found.iter().filter_map(|backend| backend.address(name.rtype)).for_each(|address| answer.add(address));
        if answer.records.is_empty()
            && let Some(elsewhere) = found.iter().find_map(|backend| backend.cname.as_ref())
        {
            // A name has one CNAME: that of the backend with the largest share.
            answer.records.push((rrtype::CNAME, elsewhere.as_wire().to_vec()));
        }
        answer
    }

    /// What a query of that client gets.
    fn asked(&self, name: &NamePlan) -> Answer {
        let snapshot = self.world.snapshot();
        let mut question = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        question.extend_from_slice(name.owner.as_wire());
        question.extend_from_slice(&name.rtype.to_be_bytes());
        question.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
        let worker = snapshot.draws.len().saturating_sub(1);
        let asker = Asker { address: self.client, transport: Transport::Tcp, worker };
        let mut out = vec![0; MAX_REPLY];
        let reply = respond(snapshot, &asker, &question, &mut out);
        let records = answered(&out[..reply.length], &name.owner).unwrap_or_default();
        let why = self.said(!records.is_empty());
        Answer { from: source(self.world.plan(), name), why, records }
    }

    fn said(&self, something: bool) -> String {
        let client = self.client;
        if something { format!("as it answers {client}") } else { format!("answers {client} nothing") }
    }
}

impl Answer {
    /// Two services of one machine may stand in one pool; an RRset holds the address once.
    fn add(&mut self, address: IpAddr) {
        let record = match address {
            IpAddr::V4(address) => (rrtype::A, address.octets().to_vec()),
            IpAddr::V6(address) => (rrtype::AAAA, address.octets().to_vec()),
        };
        if !self.records.contains(&record) {
            self.records.push(record);
        }
    }
}

/// Whether an answer may depend on the name that is asked for.
fn reads_name(plan: &Plan, to: Target) -> bool {
    Graph::new(plan, to).targets.iter().any(|target| match target {
        Target::Pool(pool) => plan.pools[*pool].reads == Some(HashKey::Name),
        Target::Route(route) => matches!(plan.routes[*route].kind, RouteKind::Hash { key: HashKey::Name, .. }),
    })
}

fn source(plan: &Plan, name: &NamePlan) -> String {
    let word = match name.to {
        Target::Pool(_) => "pool",
        Target::Route(_) => "route",
    };
    format!("{word} {}", target_name(plan, name.to))
}

/// What a pool, or the one that stands in for it, answers in one family.
fn of_pool(world: &World, name: &NamePlan, family: usize) -> Answer {
    let plan = world.plan();
    let mut answer = Answer::default();
    let mut at = name.to;
    // Pools that lead to each other in a ring were refused at load.
    for _ in 0..=plan.pools.len() {
        let Target::Pool(number) = at else { break };
        let pool = &plan.pools[number];
        if answer.from.is_empty() {
            let answers = name.answers.unwrap_or(pool.answers);
            answer.from = format!("pool {} ({}, {answers} in an answer)", pool.name, status::policy_word(pool));
        }
        let state = &world.pools[number].families[family];
        if !state.has_family {
            answer.why.push_str(&format!("has no {} address", rrtype::text(name.rtype)));
            break;
        }
        answer.why.push_str(&status::family(world, number, family).why);
        match &state.selection {
            Selection::To(other) => {
                answer.why.push_str("; ");
                at = *other;
            }
            Selection::Nothing(_) => break,
            Selection::Answer { members, .. } => {
                let all = members.iter().filter_map(|&(member, _)| pool.backends[member].address(name.rtype));
                all.for_each(|address| answer.add(address));
                break;
            }
        }
    }
    answer
}

/// The answer section's records of that owner.
fn answered(reply: &[u8], owner: &Name) -> Option<Vec<(u16, Vec<u8>)>> {
    let message = Message::from_octets(reply).ok()?;
    let mut records = Vec::new();
    for record in message.answer().ok()?.limit_to::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>() {
        let record = record.ok()?;
        let mut rdata = Vec::new();
        record.data().compose_rdata(&mut rdata).ok()?;
        let name: domain::base::Name<Vec<u8>> = record.owner().to_name();
        if name.as_slice().eq_ignore_ascii_case(owner.as_wire()) {
            records.push((record.rtype().to_int(), rdata));
        }
    }
    Some(records)
}
