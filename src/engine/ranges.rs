//! A value for every address: disjoint ranges in order, each reaching to where the next begins. Looking up also tells how
//! much of the address decided it: the widest network around it that lies inside its range (gdnsd's ECS scope).

use std::net::IpAddr;

/// An address as a number.
pub trait Bits: Copy + Ord + std::fmt::Debug {
    /// All zero.
    const ZERO: Self;
    /// Number of bits.
    const LENGTH: u8;
    /// The number before; not called with zero.
    fn before(self) -> Self;
    /// The number behind, unless this is the last.
    fn after(self) -> Option<Self>;
    /// Leading bits that both have in common.
    fn common(self, other: Self) -> u8;
}

impl Bits for u32 {
    const ZERO: u32 = 0;
    const LENGTH: u8 = 32;
    fn before(self) -> u32 {
        self - 1
    }
    fn after(self) -> Option<u32> {
        self.checked_add(1)
    }
    fn common(self, other: u32) -> u8 {
        (self ^ other).leading_zeros() as u8
    }
}

impl Bits for u128 {
    const ZERO: u128 = 0;
    const LENGTH: u8 = 128;
    fn before(self) -> u128 {
        self - 1
    }
    fn after(self) -> Option<u128> {
        self.checked_add(1)
    }
    fn common(self, other: u128) -> u8 {
        (self ^ other).leading_zeros() as u8
    }
}

/// Values of one family. The first range begins at zero; neighbours differ, except where one was [set apart].
///
/// [set apart]: Ranges::set_apart
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges<K, V> {
    starts: Vec<K>,
    values: Vec<V>,
}

impl<K: Bits, V: Copy + PartialEq> Ranges<K, V> {
    /// One value for all.
    pub fn all(value: V) -> Ranges<K, V> {
        Ranges { starts: vec![K::ZERO], values: vec![value] }
    }

    /// From `start` on that value holds; `start` rises from call to call. The same value again joins the range before; the
    /// same start again replaces it.
    pub fn push(&mut self, start: K, value: V) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// The value of that address, and how many of its leading bits decide it.
    pub fn find(&self, address: K) -> (V, u8) {
        // The first range begins at zero, so there is always one before.
        let behind = self.starts.partition_point(|&start| start <= address);
        let at = behind.saturating_sub(1);
        // Of the networks around the address the widest that holds neither neighbour.
        let below = if at > 0 { 1 + address.common(self.starts[at].before()) } else { 0 };
        let above = self.starts.get(behind).map_or(0, |&next| 1 + address.common(next));
        (self.values[at], below.max(above))
    }

    /// From `first` (above zero) to `last` that value holds. `None`: whatever holds there is not told here, so that no network
    /// of those around it is said to reach into it.
    pub fn set_apart(&mut self, first: K, last: K, value: Option<V>) {
        let from = self.starts.partition_point(|&start| start < first);
        let until = self.starts.partition_point(|&start| start <= last);
        // The first range begins at zero, so there is always one before.
        let Some(&before) = self.values[..from].last() else { return };
        let joins = |neighbour: V| value == Some(neighbour);
        let mut pieces = Vec::with_capacity(2);
        if !joins(before) {
            pieces.push((first, value.unwrap_or(before)));
        }
        let mut end = until;
        if let Some(behind) = last.after() {
            if self.starts.get(until) != Some(&behind) {
                let goes_on = self.values[until - 1];
                if !joins(goes_on) {
                    pieces.push((behind, goes_on));
                }
            } else if joins(self.values[until]) {
                end += 1;
            }
        }
        self.starts.splice(from..end, pieces.iter().map(|piece| piece.0));
        self.values.splice(from..end, pieces.iter().map(|piece| piece.1));
    }

    /// Other values in place of these; ranges that become equal become one.
    pub fn map<W: Copy + PartialEq>(&self, mut value: impl FnMut(V) -> W) -> Ranges<K, W> {
        let mut made = Ranges { starts: Vec::new(), values: Vec::new() };
        for (&start, &old) in self.starts.iter().zip(&self.values) {
            made.push(start, value(old));
        }
        made.starts.shrink_to_fit();
        made.values.shrink_to_fit();
        made
    }

    /// Both laid over each other.
    pub fn overlay<W: Copy + PartialEq, X: Copy + PartialEq>(
        &self,
        other: &Ranges<K, W>,
        mut join: impl FnMut(V, W) -> X,
    ) -> Ranges<K, X> {
        let mut made = Ranges { starts: Vec::new(), values: Vec::new() };
        let (mut here, mut there) = (0, 0);
        let mut start = K::ZERO;
        loop {
            made.push(start, join(self.values[here], other.values[there]));
            match (self.starts.get(here + 1), other.starts.get(there + 1)) {
                (None, None) => return made,
                (Some(&mine), Some(&theirs)) => {
                    here += usize::from(mine <= theirs);
                    there += usize::from(theirs <= mine);
                    start = mine.min(theirs);
                }
                (Some(&mine), None) => {
                    here += 1;
                    start = mine;
                }
                (None, Some(&theirs)) => {
                    there += 1;
                    start = theirs;
                }
            }
        }
    }

    /// Each range's beginning and value.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + '_ {
        self.starts.iter().copied().zip(self.values.iter().copied())
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Never: there is one range at least.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// A value for every address of both families.
#[derive(Debug, Clone, PartialEq)]
pub struct ByAddress<V> {
    /// IPv4.
    pub v4: Ranges<u32, V>,
    /// IPv6.
    pub v6: Ranges<u128, V>,
}

impl<V: Copy + PartialEq> ByAddress<V> {
    /// One value for all.
    pub fn all(value: V) -> ByAddress<V> {
        ByAddress { v4: Ranges::all(value), v6: Ranges::all(value) }
    }

    /// The value of that address, and how many of its leading bits decide it.
    pub fn find(&self, address: IpAddr) -> (V, u8) {
        match address {
            IpAddr::V4(address) => self.v4.find(u32::from(address)),
            IpAddr::V6(address) => self.v6.find(u128::from(address)),
        }
    }

    /// Other values in place of these.
    pub fn map<W: Copy + PartialEq>(&self, mut value: impl FnMut(V) -> W) -> ByAddress<W> {
        ByAddress { v4: self.v4.map(&mut value), v6: self.v6.map(&mut value) }
    }

    /// Both laid over each other.
    pub fn overlay<W: Copy + PartialEq, X: Copy + PartialEq>(
        &self,
        other: &ByAddress<W>,
        mut join: impl FnMut(V, W) -> X,
    ) -> ByAddress<X> {
        ByAddress { v4: self.v4.overlay(&other.v4, &mut join), v6: self.v6.overlay(&other.v6, &mut join) }
    }

    /// The value of each range.
    pub fn values(&self) -> impl Iterator<Item = V> + '_ {
        self.v4.values.iter().chain(&self.v6.values).copied()
    }

    /// Number of ranges of both families.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Never: there is one range at least.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(borders: &[(u32, u8)]) -> Ranges<u32, u8> {
        let mut sorted = borders.to_vec();
        sorted.sort_by_key(|one| one.0);
        let mut made = Ranges::all(0);
        sorted.into_iter().for_each(|(start, value)| made.push(start, value));
        made
    }

    #[test]
    fn the_scope_is_the_widest_network_with_one_answer() {
        // 10.0.0.0/8 is 1, all else 0.
        let table = ranges(&[(10 << 24, 1), (11 << 24, 0)]);
        assert_eq!(table.find((10 << 24) + 7), (1, 8));
        assert_eq!(table.find(11 << 24), (0, 8));
        assert_eq!(table.find(9 << 24), (0, 7));
        assert_eq!(table.find(192 << 24), (0, 1));
        assert_eq!(table.find(64 << 24), (0, 2));
        assert_eq!(ranges(&[]).find(7), (0, 0));
        assert_eq!(ranges(&[(u32::MAX, 1)]).find(u32::MAX), (1, 32));
    }

    proptest! {
        #[test]
        fn every_address_of_the_scope_has_the_same_value_and_a_wider_one_has_not(
            borders in proptest::collection::vec((any::<u32>(), 0u8..3), 0..20),
            near in any::<proptest::sample::Index>(), offset in -3i64..3, random in any::<u32>(), aim in any::<bool>(),
        ) {
            let table = ranges(&borders);
            let address = if aim && !borders.is_empty() {
                (i64::from(near.get(&borders).0) + offset).clamp(0, i64::from(u32::MAX)) as u32
            } else {
                random
            };
            let (value, bits) = table.find(address);
            let block = |bits: u8| {
                let host = u32::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
                (address & !host, address | host)
            };
            let alike = |(first, last): (u32, u32)| {
                let inside = table.iter().filter(|&(start, _)| start > first && start <= last).count();
                inside == 0 && table.find(first).0 == value
            };
            prop_assert!(alike(block(bits)));
            prop_assert!(bits == 0 || !alike(block(bits - 1)));
        }

        #[test]
        fn an_overlay_joins_both_at_every_address(
            one in proptest::collection::vec((any::<u32>(), 0u8..3), 0..12),
            two in proptest::collection::vec((any::<u32>(), 0u8..3), 0..12),
            probes in proptest::collection::vec(any::<u32>(), 32),
        ) {
            let (first, second) = (ranges(&one), ranges(&two));
            let both = first.overlay(&second, |a, b| (a, b));
            let borders = one.iter().chain(&two).flat_map(|&(start, _)| [start, start.wrapping_sub(1)]);
            for address in borders.chain(probes) {
                prop_assert_eq!(both.find(address).0, (first.find(address).0, second.find(address).0));
            }
        }
    }
}
