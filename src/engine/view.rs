//! What a balanced name answers, prepared: record bytes, TTL, and who comes first at each draw. Made when publishing; a
//! query only copies.

use std::net::IpAddr;

use super::draw::mix;
use super::rrtype;
use super::share::Firsts;

/// Most addresses of one family in one pool: more could not be answered, even over TCP.
pub const MAX_MEMBERS: usize = 2_000;

/// One pool's answer in one family, as names with one TTL and one `answers` give it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The answer.
    pub prepared: Prepared,
    /// Said to those who ask with EDNS when the answer is exceptional (RFC 8914): code and text.
    pub extended_error: Option<(u16, &'static str)>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Prepared {
    /// These addresses.
    Addresses(Addresses),
    /// No record of the type, with the SOA.
    NoData,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
}

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
}

#[derive(Debug, Clone, PartialEq)]
enum Order {
    /// The list, turned one step each draw.
    Rotate,
    /// The first by its share, the others by weight without replacement.
    Weighted { firsts: Firsts, weights: Box<[u16]> },
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
}

impl Addresses {
    /// Prepares `members` (address and weight; at least one, at most [`MAX_MEMBERS`], all of one family). Weights that are
    /// all zero are equal shares; a zero beside others is drawn last.
    pub fn new(policy: PolicyKind, members: &[(IpAddr, u16)], answers: u16, ttl: u32) -> Addresses {
        let mut members: Vec<(IpAddr, u16)> = members.iter().copied().take(MAX_MEMBERS).collect();
        let even = policy != PolicyKind::Weighted || members.iter().all(|&(_, weight)| weight == 0);
        if even {
            members.iter_mut().for_each(|member| member.1 = 1);
        }
        // Those that have a share stand first: `Firsts` numbers them alone.
        members.sort_by_key(|&(_, weight)| weight == 0);
        let mut records = Vec::new();
        for &(address, _) in &members {
            put_record(&mut records, address, ttl);
        }
        let stride = records.len() / members.len().max(1);
        let take = usize::from(answers.max(1)).min(members.len());
        let order = match policy {
            PolicyKind::RoundRobin => {
                records.extend_from_within(..);
                Order::Rotate
            }
            PolicyKind::Weighted | PolicyKind::Random => {
                let weights: Box<[u16]> = members.iter().map(|&(_, weight)| weight).collect();
                let shares = weights.iter().take_while(|&&weight| weight > 0).count();
                Order::Weighted { firsts: Firsts::new(&weights[..shares]), weights }
            }
        };
        Addresses { records: records.into(), stride, count: members.len(), take, order }
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

    /// Whether both answer the same addresses in the same way; TTLs may differ.
    pub fn same_but_ttl(&self, other: &Addresses) -> bool {
        let without_ttl = |records: &[u8]| -> Vec<Vec<u8>> {
            records.chunks(self.stride.max(1)).map(|record| record[10..].to_vec()).collect()
        };
        (self.stride, self.count, self.take) == (other.stride, other.count, other.take)
            && self.order == other.order
            && without_ttl(&self.records) == without_ttl(&other.records)
    }

    /// Writes the answer of that draw to the front of `out`, which must have [`Addresses::length`] octets.
    pub fn write(&self, draw: u32, out: &mut [u8]) {
        match &self.order {
            Order::Rotate => {
                let first = (draw % self.count as u32) as usize * self.stride;
                out[..self.length()].copy_from_slice(&self.records[first..first + self.length()]);
            }
            Order::Weighted { firsts, weights } => {
                let first = firsts.at(draw);
                self.put(first, 0, out);
                if self.take > 1 {
                    self.write_others(first, weights, draw, out);
                }
            }
        }
    }

    /// Places two and on: by weight among those not yet drawn.
    fn write_others(&self, first: usize, weights: &[u16], draw: u32, out: &mut [u8]) {
        let mut taken = [0u64; MAX_MEMBERS.div_ceil(64)];
        let mark = |taken: &mut [u64], member: usize| taken[member / 64] |= 1 << (member % 64);
        mark(&mut taken, first);
        let mut left: u64 = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>() - u64::from(weights[first]);
        let mut random = u64::from(draw);
        for place in 1..self.take {
            random = mix(random);
            // A point below `left`, by multiplication instead of division (Lemire 2019).
            let mut point = ((u128::from(random) * u128::from(left)) >> 64) as u64;
            let mut chosen = None;
            for (member, &weight) in weights.iter().enumerate() {
                if taken[member / 64] >> (member % 64) & 1 == 1 {
                    continue;
                }
                if point < u64::from(weight) || left == 0 {
                    chosen = Some(member);
                    break;
                }
                point -= u64::from(weight);
            }
            let Some(member) = chosen else { return };
            mark(&mut taken, member);
            left -= u64::from(weights[member]);
            self.put(member, place, out);
        }
    }

    fn put(&self, member: usize, place: usize, out: &mut [u8]) {
        let record = &self.records[member * self.stride..(member + 1) * self.stride];
        out[place * self.stride..(place + 1) * self.stride].copy_from_slice(record);
    }
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

impl View {
    /// Whether the change from `self` to `other` is one that a secondary or a cache would see as new data: a TTL alone is
    /// not.
    pub fn same_but_ttl(&self, other: &View) -> bool {
        match (&self.prepared, &other.prepared) {
            (Prepared::Addresses(one), Prepared::Addresses(two)) => one.same_but_ttl(two),
            (one, two) => one == two,
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
        addresses.write(draw, &mut out);
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
}
