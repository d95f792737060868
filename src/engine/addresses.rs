//! The addresses of an answer: their record octets, and in which order they stand at each draw. Made when publishing.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::client::HashKey;
use super::draw::mix;
use super::rendezvous::Rendezvous;
use super::rrtype;
use super::share::Firsts;
use super::view::MAX_MEMBERS;

/// Addresses and their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Addresses {
    /// Wire records with owner pointer `0xC00C`; for `Rotate` twice in a row, so that every turn is one piece.
    records: Box<[u8]>,
    /// Octets a record.
    stride: usize,
    count: usize,
    take: usize,
    order: Order,
    /// What of the client or of the question decides, instead of a counter.
    reads: Option<HashKey>,
    /// Failure domain of each record, when answers are to be spread over them.
    domains: Option<Box<[u16]>>,
}

#[derive(Debug, Clone, PartialEq)]
enum Order {
    /// The list, turned one step each draw.
    Rotate,
    /// The first by its share, the others by weight without replacement.
    Weighted { firsts: Firsts, weights: Box<[u16]> },
    /// By rendezvous; the record of each member.
    Hash { table: Rendezvous, record_of: Box<[u16]> },
}

/// How a pool orders its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// The list turned one step each answer.
    RoundRobin,
    /// Drawn by weight without replacement.
    Weighted,
    /// Drawn evenly.
    Random,
    /// By rendezvous of the client or the question's name.
    Hash,
}

/// One that may be answered.
#[derive(Debug, Clone, Copy)]
pub struct Member<'n> {
    /// The backend's name, which is what a hash knows it by.
    pub name: &'n str,
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u16,
    /// Its failure domain, a number of its own; heeded where [`Form::spread`] says so.
    pub domain: u16,
}

/// How answers are made of the members.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// How they are chosen.
    pub policy: PolicyKind,
    /// Most addresses in one answer.
    pub answers: u16,
    /// Seconds.
    pub ttl: u32,
    /// What decides in place of a counter; always something for [`PolicyKind::Hash`].
    pub reads: Option<HashKey>,
    /// An answer's addresses come from different failure domains as long as there are any.
    pub spread: bool,
}

/// Which of the prepared answers is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The next of a counter, or the lower half of the hash.
    pub draw: u32,
    /// Hash of the client or the question's name.
    pub hash: u64,
}

impl Pick {
    /// The answer of that draw, for what reads no client.
    pub fn draw(draw: u32) -> Pick {
        Pick { draw, hash: 0 }
    }

    /// The answer of that hash.
    pub fn hash(hash: u64) -> Pick {
        Pick { draw: hash as u32, hash }
    }
}

/// A set of members or domains.
struct Set([u64; MAX_MEMBERS.div_ceil(64)]);

impl Set {
    fn new() -> Set {
        Set([0; MAX_MEMBERS.div_ceil(64)])
    }

    fn add(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn has(&self, number: usize) -> bool {
        self.0[number / 64] >> (number % 64) & 1 == 1
    }
}

impl Addresses {
    /// Prepares `members` (address and weight; at least one, at most [`MAX_MEMBERS`], all of one family) for a policy that
    /// draws from a counter.
    pub fn new(policy: PolicyKind, members: &[(IpAddr, u16)], answers: u16, ttl: u32) -> Addresses {
        let of = |&(address, weight): &(IpAddr, u16)| Member { name: "", address, weight, domain: 0 };
        let members: Vec<Member<'_>> = members.iter().map(of).collect();
        Addresses::of(&members, Form { policy, answers, ttl, reads: None, spread: false })
    }

    /// Prepares `members` (at least one, at most [`MAX_MEMBERS`], all of one family). Weights that are all zero are equal
    /// shares; a zero beside others is drawn last. An RRset holds an address once (RFC 2181 5): members that share one have
    /// their weights together, and in a hash each its own chance.
    pub fn of(members: &[Member<'_>], form: Form) -> Addresses {
        let all = &members[..members.len().min(MAX_MEMBERS)];
        let (mut distinct, record_of) = merged(all);
        let even = form.policy != PolicyKind::Weighted || distinct.iter().all(|member| member.weight == 0);
        if even {
            distinct.iter_mut().for_each(|member| member.weight = 1);
        }
        // Those that have a share stand first: `Firsts` numbers them alone.
        distinct.sort_by_key(|member| member.weight == 0);
        let turns = if form.policy == PolicyKind::RoundRobin { 2 } else { 1 };
        let mut records =
            Vec::with_capacity(distinct.iter().map(|one| record_length(one.address)).sum::<usize>() * turns);
        distinct.iter().for_each(|member| put_record(&mut records, member.address, form.ttl));
        let stride = records.len() / distinct.len().max(1);
        let take = usize::from(form.answers.max(1)).min(distinct.len());
        let order = match form.policy {
            PolicyKind::RoundRobin => {
                records.extend_from_within(..);
                Order::Rotate
            }
            PolicyKind::Weighted | PolicyKind::Random => {
                let weights: Box<[u16]> = distinct.iter().map(|member| member.weight).collect();
                let shares = weights.iter().take_while(|&&weight| weight > 0).count();
                Order::Weighted { firsts: Firsts::new(&weights[..shares]), weights }
            }
            PolicyKind::Hash => {
                Order::Hash { table: Rendezvous::new(all.iter().map(|one| (one.name, one.weight))), record_of }
            }
        };
        let domains = (form.spread && take > 1).then(|| distinct.iter().map(|member| member.domain).collect());
        let reads = form.reads.or((form.policy == PolicyKind::Hash).then_some(HashKey::CLIENT));
        Addresses { records: records.into(), stride, count: distinct.len(), take, order, reads, domains }
    }

    /// The addresses that answers may hold.
    pub fn members(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.records.chunks_exact(self.stride.max(1)).take(self.count).filter_map(|record| match record.get(12..)? {
            &[a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            octets => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        })
    }

    /// Addresses in each answer.
    pub fn answers(&self) -> usize {
        self.take
    }

    /// Octets of each answer's records.
    pub fn length(&self) -> usize {
        self.take * self.stride
    }

    /// The TTL of the records.
    pub fn ttl(&self) -> u32 {
        self.records.get(6..10).and_then(|ttl| ttl.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    /// What decides instead of a counter.
    pub fn reads(&self) -> Option<HashKey> {
        self.reads
    }

    /// Whether both answer the same addresses in the same way; TTLs may differ.
    pub fn same_but_ttl(&self, other: &Addresses) -> bool {
        (self.stride, self.count, self.take) == (other.stride, other.count, other.take)
            && (&self.order, self.reads, &self.domains) == (&other.order, other.reads, &other.domains)
            && self.data().eq(other.data())
    }

    /// What follows the TTL of each record.
    fn data(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.records.chunks(self.stride.max(1)).map(|record| record.get(10..))
    }

    /// Writes the answer to the front of `out`, which must have [`Addresses::length`] octets; returns which of
    /// [`Addresses::members`] stands first.
    pub fn write(&self, pick: Pick, out: &mut [u8]) -> usize {
        match &self.order {
            Order::Rotate => {
                let turn = pick.draw as usize % self.count;
                match &self.domains {
                    None => {
                        let first = turn * self.stride;
                        out[..self.length()].copy_from_slice(&self.records[first..first + self.length()]);
                    }
                    Some(domains) => self.write_spread(domains, out, |place| (turn + place) % self.count),
                }
                turn
            }
            Order::Weighted { firsts, weights } => {
                let first = firsts.at(pick.draw);
                self.put(first, 0, out);
                if self.take > 1 {
                    self.write_others(first, weights, pick.draw, out);
                }
                first
            }
            Order::Hash { table, record_of } if self.take == 1 => {
                let first = usize::from(record_of[table.first(pick.hash)]);
                self.put(first, 0, out);
                first
            }
            Order::Hash { table, record_of } => self.write_hashed(table, record_of, pick.hash, out),
        }
    }

    /// Places two and on: by weight among those not yet drawn, and of other failure domains as long as there are any.
    fn write_others(&self, first: usize, weights: &[u16], draw: u32, out: &mut [u8]) {
        let domains = self.domains.as_deref();
        let domain = |member: usize| domains.map_or(0, |domains| usize::from(domains[member]));
        let mut taken = Set::new();
        let mut used = Set::new();
        taken.add(first);
        used.add(domain(first));
        let whole: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        let mut left = whole - u64::from(weights[first]);
        let mut random = u64::from(draw);
        for place in 1..self.take {
            let mut among = left;
            let mut free = |used: &Set| {
                let open = |&member: &usize| !taken.has(member) && !used.has(domain(member));
                let mut any = false;
                among =
                    (0..self.count).filter(open).inspect(|_| any = true).map(|member| u64::from(weights[member])).sum();
                any
            };
            // All domains have had their turn: the next begins.
            if domains.is_some() && !free(&used) {
                used = Set::new();
                free(&used);
            }
            random = mix(random);
            // A point below the sum, by multiplication instead of division (Lemire 2019).
            let mut point = ((u128::from(random) * u128::from(among)) >> 64) as u64;
            let mut chosen = None;
            for (member, &weight) in weights.iter().enumerate() {
                if taken.has(member) || (domains.is_some() && used.has(domain(member))) {
                    continue;
                }
                if point < u64::from(weight) || among == 0 {
                    chosen = Some(member);
                    break;
                }
                point -= u64::from(weight);
            }
            let Some(member) = chosen else { return };
            taken.add(member);
            used.add(domain(member));
            left -= u64::from(weights[member]);
            self.put(member, place, out);
        }
    }

    /// The owner of the hash, then who comes after it; an address once.
    fn write_hashed(&self, table: &Rendezvous, record_of: &[u16], hash: u64, out: &mut [u8]) -> usize {
        let mut order = [0u16; MAX_MEMBERS];
        let members = table.order(hash, &mut order);
        let mut seen = Set::new();
        let mut records = 0;
        for at in 0..members {
            let record = record_of[usize::from(order[at])];
            if !seen.has(usize::from(record)) {
                seen.add(usize::from(record));
                order[records] = record;
                records += 1;
            }
        }
        match &self.domains {
            None => (0..self.take).for_each(|place| self.put(usize::from(order[place]), place, out)),
            Some(domains) => self.write_spread(domains, out, |place| usize::from(order[place])),
        }
        usize::from(order[0])
    }

    /// The first of a list that is of a failure domain not answered yet, and so on; when all have had their turn, the next
    /// turn begins.
    fn write_spread(&self, domains: &[u16], out: &mut [u8], list: impl Fn(usize) -> usize) {
        let mut taken = Set::new();
        let mut used = Set::new();
        for place in 0..self.take {
            let next = |used: &Set| {
                let open = |&record: &usize| !taken.has(record) && !used.has(usize::from(domains[record]));
                (0..self.count).map(&list).find(open)
            };
            let found = next(&used).or_else(|| {
                used = Set::new();
                next(&used)
            });
            let Some(record) = found else { return };
            taken.add(record);
            used.add(usize::from(domains[record]));
            self.put(record, place, out);
        }
    }

    fn put(&self, member: usize, place: usize, out: &mut [u8]) {
        let record = &self.records[member * self.stride..(member + 1) * self.stride];
        out[place * self.stride..(place + 1) * self.stride].copy_from_slice(record);
    }
}

/// One member an address, its weight that of all who have it; and for each of `members` which of these it is.
fn merged<'n>(members: &[Member<'n>]) -> (Vec<Member<'n>>, Box<[u16]>) {
    let mut places: HashMap<IpAddr, usize, RandomState> =
        HashMap::with_capacity_and_hasher(members.len(), RandomState::default());
    let mut distinct: Vec<Member<'n>> = Vec::with_capacity(members.len());
    let record_of = members
        .iter()
        .map(|member| {
            let place = *places.entry(member.address).or_insert(distinct.len());
            match distinct.get_mut(place) {
                Some(known) => known.weight = known.weight.saturating_add(member.weight),
                None => distinct.push(*member),
            }
            place as u16
        })
        .collect();
    (distinct, record_of)
}

fn record_length(address: IpAddr) -> usize {
    12 + if address.is_ipv4() { 4 } else { 16 }
}

fn put_record(records: &mut Vec<u8>, address: IpAddr, ttl: u32) {
    let rtype = if address.is_ipv4() { rrtype::A } else { rrtype::AAAA };
    records.extend_from_slice(&[0xc0, 0x0c]);
    records.extend_from_slice(&rtype.to_be_bytes());
    records.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
    records.extend_from_slice(&ttl.to_be_bytes());
    match address {
        IpAddr::V4(address) => {
            records.extend_from_slice(&4u16.to_be_bytes());
            records.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            records.extend_from_slice(&16u16.to_be_bytes());
            records.extend_from_slice(&address.octets());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(weights: &[u16]) -> Vec<(IpAddr, u16)> {
        weights.iter().enumerate().map(|(i, &weight)| (IpAddr::from([192, 0, 2, i as u8]), weight)).collect()
    }

    fn draw(addresses: &Addresses, draw: u32) -> Vec<u8> {
        let mut out = vec![0; addresses.length()];
        addresses.write(Pick::draw(draw), &mut out);
        out.chunks(16).map(|record| record[15]).collect()
    }

    #[test]
    fn round_robin_turns_one_step_and_takes_the_first() {
        let addresses = Addresses::new(PolicyKind::RoundRobin, &members(&[1, 1, 1]), 2, 30);
        let seen: Vec<Vec<u8>> = (0..4).map(|k| draw(&addresses, k)).collect();
        assert_eq!(seen, [[0, 1], [1, 2], [2, 0], [0, 1]]);
        assert_eq!(addresses.ttl(), 30);
    }

    #[test]
    fn weighted_first_places_are_exact_over_a_period_and_answers_are_distinct() {
        let addresses = Addresses::new(PolicyKind::Weighted, &members(&[3, 1, 2]), 2, 30);
        let mut firsts = [0; 3];
        let mut seconds_after_first = [[0u32; 3]; 3];
        for k in 0..60_000 {
            let seen = draw(&addresses, k);
            assert_ne!(seen[0], seen[1]);
            firsts[usize::from(seen[0])] += 1;
            seconds_after_first[usize::from(seen[0])][usize::from(seen[1])] += 1;
        }
        assert_eq!(firsts, [30_000, 10_000, 20_000]);
        // Behind the first: by weight among the rest, 1:2 after member 0.
        let after = seconds_after_first[0];
        assert!((after[1] as f64 / 30_000.0 - 1.0 / 3.0).abs() < 0.02, "{after:?}");
    }

    #[test]
    fn a_zero_beside_weights_comes_last() {
        let addresses = Addresses::new(PolicyKind::Weighted, &members(&[0, 1, 1]), 3, 30);
        assert!((0..100).all(|k| draw(&addresses, k)[2] == 0));
    }

    #[test]
    fn random_gives_equal_first_places_and_all_members_without_repetition() {
        let addresses = Addresses::new(PolicyKind::Random, &members(&[9, 1, 5, 0]), 8, 30);
        let mut firsts = [0; 4];
        for k in 0..4000 {
            let mut seen = draw(&addresses, k);
            firsts[usize::from(seen[0])] += 1;
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3]);
        }
        assert_eq!(firsts, [1000; 4]);
    }

    proptest::proptest! {
        /// Of k places in a row, as many are of different domains as there are; then the next turn begins.
        #[test]
        fn an_answer_is_spread_over_domains_in_every_policy(
            of in proptest::collection::vec((0u16..6, 0u16..4), 1..24), answers in 1u16..12, draw: u32, hash: u64,
            policy in 0usize..4,
        ) {
            let policy = [PolicyKind::RoundRobin, PolicyKind::Weighted, PolicyKind::Random, PolicyKind::Hash][policy];
            let names: Vec<String> = (0..of.len()).map(|number| number.to_string()).collect();
            let members: Vec<Member<'_>> = of.iter().zip(&names).zip(0u8..).map(|((&(domain, weight), name), last)| {
                Member { name, address: IpAddr::from([192, 0, 2, last]), weight, domain }
            }).collect();
            let form = Form { policy, answers, ttl: 30, reads: None, spread: true };
            let spread = Addresses::of(&members, form);
            let mut out = vec![0; spread.length()];
            let pick = Pick { draw, hash };
            spread.write(pick, &mut out);
            let seen: Vec<usize> = out.chunks(16).map(|record| usize::from(record[15])).collect();
            let distinct: std::collections::HashSet<usize> = seen.iter().copied().collect();
            proptest::prop_assert_eq!(distinct.len(), seen.len(), "an address twice");
            let mut left: Vec<u16> = of.iter().map(|one| one.0).collect();
            let mut turn: Vec<u16> = Vec::new();
            for member in seen.iter().map(|&member| of[member].0) {
                if left.iter().all(|domain| turn.contains(domain)) {
                    turn.clear();
                }
                proptest::prop_assert!(!turn.contains(&member), "a domain twice in one turn");
                turn.push(member);
                let at = left.iter().position(|&domain| domain == member).unwrap();
                left.remove(at);
            }
            // Shares are as without it: the first place is the same.
            let plain = Addresses::of(&members, Form { spread: false, ..form });
            let mut first = vec![0; plain.length()];
            plain.write(pick, &mut first);
            proptest::prop_assert_eq!(first[15], out[15]);
        }

        /// The same hosts in the same order, whatever the policy.
        #[test]
        fn families_that_read_the_client_name_the_same_hosts(
            weights in proptest::collection::vec(0u16..5, 1..12), answers in 1u16..6, hash: u64, policy in 0usize..4,
        ) {
            let policy = [PolicyKind::RoundRobin, PolicyKind::Weighted, PolicyKind::Random, PolicyKind::Hash][policy];
            let names: Vec<String> = (0..weights.len()).map(|number| number.to_string()).collect();
            let of = |ipv6: bool| {
                let member = |((&weight, name), last): ((&u16, _), u8)| {
                    let mut long = [0; 16];
                    long[15] = last;
                    let address = if ipv6 { IpAddr::from(long) } else { IpAddr::from([192, 0, 2, last]) };
                    Member { name, address, weight, domain: 0 }
                };
                let members: Vec<Member<'_>> = weights.iter().zip(names.iter().map(String::as_str)).zip(0u8..).map(member).collect();
                let form = Form { policy, answers, ttl: 30, reads: Some(HashKey::CLIENT), spread: false };
                let addresses = Addresses::of(&members, form);
                let mut out = vec![0; addresses.length()];
                addresses.write(Pick::hash(hash), &mut out);
                let stride = addresses.length() / addresses.answers();
                out.chunks(stride).map(|record| record[stride - 1]).collect::<Vec<u8>>()
            };
            proptest::prop_assert_eq!(of(false), of(true));
        }
    }
}
