//! Who owns a hash: weighted rendezvous (highest random weight; Thaler and Ravishankar 1998, with the logarithmic weights of
//! Schindelhauer and Schomaker 2005). Every member draws a number of its own for each hash, and the best has it. So when a
//! member goes only what it had moves, and when it returns exactly that comes back.
//!
//! A member is its name, not its address or its place in a list: a machine may be renumbered and keep its clients.

use super::client::stable_hash;
use super::draw::mix;
use super::view::MAX_MEMBERS;

/// Members and their seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendezvous {
    members: Box<[Member]>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Member {
    seed: u64,
    weight: f64,
}

/// 2^-53: what is left of 64 random bits becomes a number between 0 and 1, neither included.
const STEP: f64 = 1.0 / 9_007_199_254_740_992.0;

impl Member {
    /// This member's own number for that hash: even between 0 and 1, neither included.
    fn point(&self, hash: u64) -> f64 {
        ((mix(hash ^ self.seed) >> 11) as f64 + 0.5) * STEP
    }

    /// The least has it: exponentially distributed with the weight as its rate. `libm`, since the logarithm of the system's
    /// library may differ in its last bit from that of another.
    fn distance(&self, point: f64) -> f64 {
        -libm::log(point) / self.weight
    }
}

impl Rendezvous {
    /// Prepares the members, at most [`MAX_MEMBERS`] names and weights. Weights that are all zero are equal; a zero beside
    /// others comes last.
    pub fn new<'n>(members: impl Iterator<Item = (&'n str, u16)>) -> Rendezvous {
        let mut members: Box<[Member]> = members
            .take(MAX_MEMBERS)
            .map(|(name, weight)| Member { seed: stable_hash(name.as_bytes()), weight: f64::from(weight) })
            .collect();
        if members.iter().all(|member| member.weight == 0.0) {
            members.iter_mut().for_each(|member| member.weight = 1.0);
        }
        Rendezvous { members }
    }

    /// The member that owns the hash.
    pub fn first(&self, hash: u64) -> usize {
        let (mut best, mut least) = (0, f64::INFINITY);
        for (number, member) in self.members.iter().enumerate() {
            let point = member.point(hash);
            // -ln x is at least 1 - x: most logarithms need not be taken.
            if (1.0 - point) < least * member.weight {
                let distance = member.distance(point);
                if distance < least {
                    (best, least) = (number, distance);
                }
            }
        }
        best
    }

    /// All members, the owner first, then who would own it if those before were not there. Into the front of `order`, which
    /// must have room for them; returns their number.
    pub fn order(&self, hash: u64, order: &mut [u16; MAX_MEMBERS]) -> usize {
        let mut distances = [0f64; MAX_MEMBERS];
        let count = self.members.len();
        for (member, distance) in self.members.iter().zip(&mut distances) {
            *distance = member.distance(member.point(hash));
        }
        for (place, number) in order[..count].iter_mut().zip(0..) {
            *place = number;
        }
        order[..count].sort_unstable_by(|&one, &other| {
            let (one_at, other_at) = (distances[usize::from(one)], distances[usize::from(other)]);
            one_at.total_cmp(&other_at).then(one.cmp(&other))
        });
        count
    }

    /// Each member's share of all hashes.
    pub fn shares(&self) -> Vec<f64> {
        let total: f64 = self.members.iter().map(|member| member.weight).sum();
        self.members.iter().map(|member| member.weight / total).collect()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::{Client, HashKey};
    use super::*;

    const MEMBERS: [(&str, u16); 6] = [("a", 1), ("b", 1), ("c", 3), ("d", 2), ("e", 1), ("f", 2)];

    /// The owners of 100,000 networks.
    fn owners(members: &[(&'static str, u16)]) -> Vec<&'static str> {
        let table = Rendezvous::new(members.iter().copied());
        let network = |number: u32| Client::source(std::net::IpAddr::from((number << 8).to_be_bytes()));
        (0..100_000).map(|number| members[table.first(network(number * 37).hash(HashKey::CLIENT, b"").0)].0).collect()
    }

    #[test]
    fn when_one_goes_only_its_own_move_and_they_return_with_it() {
        let whole = owners(&MEMBERS);
        for gone in MEMBERS {
            let rest: Vec<_> = MEMBERS.into_iter().filter(|one| one.0 != gone.0).collect();
            let without = owners(&rest);
            for (before, after) in whole.iter().zip(&without) {
                assert_eq!(before != after, *before == gone.0);
            }
            // Back again, at another place in the list.
            let back: Vec<_> = rest.into_iter().chain([gone]).collect();
            assert_eq!(owners(&back), whole);
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let whole = owners(&MEMBERS);
        for (name, weight) in MEMBERS {
            let count = whole.iter().filter(|&&owner| owner == name).count() as f64;
            let expected = 100_000.0 * f64::from(weight) / 10.0;
            // Five standard deviations of a binomial count.
            assert!((count - expected).abs() < 5.0 * expected.sqrt(), "{name}: {count}, not {expected}");
        }
        assert_eq!(Rendezvous::new(MEMBERS.into_iter()).shares(), [0.1, 0.1, 0.3, 0.2, 0.1, 0.2]);
    }

    #[test]
    fn the_order_begins_with_the_owner_and_goes_on_with_who_would_be() {
        let table = Rendezvous::new(MEMBERS.into_iter());
        let mut order = [0; MAX_MEMBERS];
        for number in 0..2000u64 {
            let hash = mix(number);
            assert_eq!(table.order(hash, &mut order), 6);
            assert_eq!(usize::from(order[0]), table.first(hash));
            let first = usize::from(order[0]);
            let rest = Rendezvous::new(MEMBERS.into_iter().enumerate().filter(|one| one.0 != first).map(|one| one.1));
            let second = rest.first(hash);
            assert_eq!(usize::from(order[1]), second + usize::from(second >= first));
        }
    }

    #[test]
    fn weights_of_zero_are_equal_alone_and_last_beside_others() {
        let alone = owners(&[("a", 0), ("b", 0)]);
        assert_eq!(alone, owners(&[("a", 1), ("b", 1)]));
        assert!(!owners(&[("a", 0), ("b", 1)]).contains(&"a"));
        let mut order = [0; MAX_MEMBERS];
        Rendezvous::new([("a", 0), ("b", 1)].into_iter()).order(7, &mut order);
        assert_eq!(order[..2], [1, 0]);
    }

    /// Other servers and later versions must give the same answers: these values never change.
    #[test]
    fn owners_are_the_same_for_ever() {
        let table = Rendezvous::new(MEMBERS.into_iter());
        let owner =
            |text: &str| MEMBERS[table.first(Client::source(text.parse().unwrap()).hash(HashKey::CLIENT, b"").0)].0;
        let seen: Vec<&str> = ["192.0.2.1", "198.51.100.1", "203.0.113.1", "10.0.0.1", "2001:db8::1", "2001:db8:1::1"]
            .into_iter()
            .map(owner)
            .collect();
        assert_eq!(seen, ["b", "c", "b", "e", "c", "d"]);
    }
}
