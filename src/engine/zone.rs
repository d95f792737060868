//! One zone's static data, built once and never changed, and the lookup in it (RFC 1034 4.3.2, RFC 4592, RFC 6672).
//!
//! Record bytes are kept as they go onto the wire behind a question for their owner: owner pointer, type, class, TTL,
//! length, RDATA. A query costs one look-up and a copy. Everything lies in flat tables, so that a million records cost tens
//! of megabytes, not hundreds.
//!
//! ```text
//! nodes: a hash table whose slots are the nodes themselves, a line of the cache each: link, up to two sets, and the name and
//!        the records where they are short
//! tags:  seven bits of the hash for each slot that is taken, 0 for an empty one
//! arena: names and records that are longer
//! sets:  only of names that have more than two
//! ```
//!
//! In a large zone time goes into waiting for memory: this way most names cost one wait, not six. The tags say where a name
//! can be without a look at the nodes, and that most of those asked in a flood of random names are nowhere. Names are kept and
//! looked up without the zone's own labels, which all of them share.

pub(crate) use super::zone_builder::roomy;
pub use super::zone_builder::{SourceTag, ZoneBuilder, ZoneProblem};

use foldhash::fast::FixedState;
use prefetch_index::prefetch_index;
use std::hash::{BuildHasher, Hasher};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::name::{Name, alike, presentation};
use super::rrtype;
use super::table::Table;

/// A zone's records and the places of its balanced names. Made by [`ZoneBuilder`].
///
/// What every look-up reads stands first, on one line of the cache.
#[repr(C, align(64))]
pub struct ZoneData {
    /// Open addressing with linear probing; some slots stay empty.
    pub(super) nodes: Table<Node>,
    /// The tag of each slot, and behind the last as many zeros as are compared at a time: a search never comes round.
    pub(super) tags: Table<u8>,
    pub(super) hasher: FixedState,
    /// A search begins in one of the first so many slots.
    pub(super) homes: u32,
    /// Whether a name that is not here can lead anywhere: there are wildcards, delegations or a DNAME.
    pub(super) leads_on: bool,
    /// Octets of the apex.
    pub(super) apex_length: u8,
    pub(super) apex_labels: u8,
    /// Most labels of any owner: longer names cannot exist, whatever is asked.
    pub(super) deepest: u8,
    pub(super) arena: Box<[u8]>,
    pub(super) apex_node: NodeId,
    pub(super) sets: Box<[Set]>,
    pub(super) apex: Name,
    pub(super) records: usize,
}

/// Octets of a node's own store.
pub(super) const STORE: usize = 40;
/// Sets that lie in the node itself.
pub(super) const OWN_SETS: usize = 2;

/// One name of the zone: a line of the cache, and never across two.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(super) struct Node {
    /// Of an occluded node the cut above it, of another the wildcard below it.
    pub(super) link: u32,
    pub(super) set_count: u16,
    /// Octets of the name in front of the zone's own labels.
    pub(super) name_length: u8,
    pub(super) flags: u8,
    /// The sets; where there are more than two, the first one's `place` is where all of them begin in `sets`.
    pub(super) own: [Set; OWN_SETS],
    /// The name, and behind it the records of the only set, if they fit; else where the name stands in the arena.
    pub(super) store: [u8; STORE],
}

/// Number of a node. Valid only in the zone it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeId(pub(super) u32);

impl NodeId {
    /// The number.
    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// Where a name is, as far as it has been looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// It has no node.
    Nowhere,
    /// In this node, or behind it.
    At(NodeId),
    /// Its tag has not been looked at.
    Hashed(u64),
}

impl Place {
    fn of(first: Option<NodeId>) -> Place {
        first.map_or(Place::Nowhere, Place::At)
    }
}

/// Below a zone cut: glue, or data that nobody is authoritative for here.
pub(super) const OCCLUDED: u8 = 1;
/// Has NS and is not the apex: a delegation.
pub(super) const CUT: u8 = 2;
/// Has a DNAME.
pub(super) const DNAME: u8 = 4;
/// `link` is the wildcard below this name.
pub(super) const WILDCARD: u8 = 8;
/// The name is in the arena, whole.
pub(super) const LONG: u8 = 16;
/// Marks the tag of a slot that is taken.
const TAKEN: u8 = 0x80;
/// Tags that are compared at a time.
pub(super) const GROUP: usize = 8;
/// So many tags of one zone are soon in the near caches; looking at one then costs less than coming back for it.
const NEAR: usize = 32 << 10;
/// Marks the count of a set whose records are in the node's own store; `place` is the node's number.
pub(super) const STORED: u16 = 0x8000;

/// The records of one name and type.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Set {
    /// Record type.
    pub rtype: u16,
    /// Number of records, and [`STORED`]; 0 for a balanced name.
    pub(super) count: u16,
    /// Where they begin in the arena, two octets of their length first; or the balanced name's number.
    pub(super) place: u32,
}

impl Set {
    /// Number of records; 0 for a balanced name.
    pub fn count(&self) -> u16 {
        self.count & !STORED
    }
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The name, or the wildcard that stands for it.
    Node(NodeId),
    /// At or below this cut.
    Delegation(NodeId),
    /// Below this name, which has a DNAME.
    Dname(NodeId),
    /// Nothing here has that name.
    NxDomain,
}

/// What a set holds.
#[derive(Clone, Copy, Debug)]
pub enum SetData<'z> {
    /// Wire records with owner pointer `0xC00C`.
    Static(&'z [u8]),
    /// The zone's balanced name of that number.
    Balanced(u32),
}

impl ZoneData {
    /// The zone's apex.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Number of static records.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// Looks a name up. `name` is canonical wire octets at or below the apex, `starts` where its labels begin, first label
    /// first, the root left out.
    #[inline]
    pub fn lookup(&self, name: &[u8], starts: &[u8], qtype: u16) -> Found {
        self.lookup_at(self.approach(name), name, None, starts, qtype)
    }

    /// A name without the zone's own labels.
    #[inline]
    fn own<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        name.get(..name.len().wrapping_sub(self.apex_length.into())).unwrap_or_default()
    }

    /// Where the name is, if anywhere, for [`ZoneData::lookup_at`]. Asks the processor for the memory there, without waiting for
    /// it: with several names approached before the first is looked up, their waits overlap. The tags are waited for only in a
    /// zone whose tags all lie close; elsewhere [`ZoneData::aim`] looks at them, when others have been asked for as well.
    #[inline(always)]
    pub(super) fn approach(&self, name: &[u8]) -> Place {
        let hash = hash_of(&self.hasher, self.own(name));
        if self.tags.len() > NEAR {
            let home = home_of(hash, self.homes);
            prefetch_index(&*self.nodes, home);
            prefetch_index(&*self.tags, home);
            return Place::Hashed(hash);
        }
        Place::of(self.first_of_hash(hash))
    }

    /// What the tags say of a name whose place is not known yet, and asks for the node there.
    #[inline(always)]
    pub(super) fn aim(&self, place: Place) -> Place {
        match place {
            Place::Hashed(hash) => Place::of(self.first_of_hash(hash)),
            known => known,
        }
    }

    /// As [`ZoneData::lookup`], with what [`ZoneData::approach`] said. `front` is what 16 octets begin with the name, where
    /// there is room for so many.
    #[inline(always)]
    pub(super) fn lookup_at(
        &self,
        place: Place,
        name: &[u8],
        front: Option<&[u8; 16]>,
        starts: &[u8],
        qtype: u16,
    ) -> Found {
        let own = self.own(name);
        if let Place::At(place) = self.aim(place)
            && let Some((id, node)) = self.find_from(place, own, front)
        {
            return match node.flags & (OCCLUDED | CUT) {
                0 => Found::Node(id),
                _ => at_cut(id, node, qtype),
            };
        }
        if self.leads_on { self.beside(own, starts) } else { Found::NxDomain }
    }

    /// Where a name leads that is not here itself.
    #[inline(never)]
    fn beside(&self, own: &[u8], starts: &[u8]) -> Found {
        let Some(encloser) = self.closest_encloser(own, starts) else { return Found::NxDomain };
        let node = self.node(encloser);
        if node.flags & (OCCLUDED | CUT | DNAME | WILDCARD) == 0 {
            return Found::NxDomain;
        }
        if node.flags & OCCLUDED != 0 {
            return Found::Delegation(NodeId(node.link));
        }
        if node.flags & CUT != 0 {
            return Found::Delegation(encloser);
        }
        if node.flags & DNAME != 0 {
            return Found::Dname(encloser);
        }
        Found::Node(NodeId(node.link))
    }

    /// The longest existing ancestor (RFC 4592 3.3.1). Existence only grows towards the apex, since empty non-terminals
    /// have nodes, so the labels are halved, not walked: a name of 120 labels costs seven look-ups.
    #[inline]
    fn closest_encloser(&self, own: &[u8], starts: &[u8]) -> Option<NodeId> {
        // Number of leading labels to leave out: `low` is known missing, `high` exists (the apex).
        let mut high = starts.len().checked_sub(self.apex_labels.into())?;
        let mut low = starts.len().saturating_sub(usize::from(self.deepest) + 1).min(high);
        let mut found = Some(self.apex_node);
        while high - low > 1 {
            // Most misses are one label below what exists: try that first.
            let middle = if low == 0 { 1 } else { low + (high - low) / 2 };
            let suffix = own.get(usize::from(*starts.get(middle)?)..)?;
            match self.find_own(suffix) {
                Some(id) => {
                    found = Some(id);
                    high = middle;
                }
                None => low = middle,
            }
        }
        found
    }

    /// The node of exactly that name.
    pub fn find(&self, name: &[u8]) -> Option<NodeId> {
        self.find_own(name.strip_suffix(self.apex.as_wire())?)
    }

    /// The node of that name, given without the zone's own labels.
    #[inline]
    pub(super) fn find_own(&self, own: &[u8]) -> Option<NodeId> {
        let place = self.first_of_hash(hash_of(&self.hasher, own))?;
        self.find_from(place, own, None).map(|(id, _)| id)
    }

    /// The first slot whose tag is that of the hash, from where its search begins.
    #[inline(always)]
    fn first_of_hash(&self, hash: u64) -> Option<NodeId> {
        let nodes: &[Node] = &self.nodes;
        let home = home_of(hash, self.homes);
        // Two names of three are there: their node and the tag come at the same time.
        prefetch_index(nodes, home);
        let slot = next_of_tag(&self.tags, home, tag_of(hash))?;
        prefetch_index(nodes, slot);
        Some(NodeId(slot as u32))
    }

    /// The node of that name, whose hash has its first slot at `place`.
    #[inline(always)]
    fn find_from(&self, place: NodeId, own: &[u8], front: Option<&[u8; 16]>) -> Option<(NodeId, &Node)> {
        let node = self.nodes.get(place.0 as usize)?;
        let found = usize::from(node.name_length) == own.len()
            && match (front, node.store.first_chunk()) {
                (Some(front), Some(name)) if own.len() <= 16 && node.flags & LONG == 0 => alike(front, name, own.len()),
                _ => self.own_name(node) == own,
            };
        match found {
            true => Some((place, node)),
            false => self.find_behind(place, own),
        }
    }

    /// Goes on behind a slot with the same tag and another name.
    #[cold]
    #[inline(never)]
    fn find_behind(&self, place: NodeId, own: &[u8]) -> Option<(NodeId, &Node)> {
        let tag = tag_of(hash_of(&self.hasher, own));
        let mut slot = place.0 as usize;
        loop {
            slot = next_of_tag(&self.tags, slot + 1, tag)?;
            let node = self.nodes.get(slot)?;
            if usize::from(node.name_length) == own.len() && self.own_name(node) == own {
                return Some((NodeId(slot as u32), node));
            }
        }
    }

    #[inline]
    fn own_name<'z>(&'z self, node: &'z Node) -> &'z [u8] {
        let length = usize::from(node.name_length);
        match node.flags & LONG {
            0 => node.store.get(..length).unwrap_or_default(),
            _ => {
                let place = long_place(node);
                &self.arena[place..place + length]
            }
        }
    }

    /// The node's name.
    pub fn wire_of(&self, id: NodeId) -> Vec<u8> {
        [self.own_name(self.node(id)), self.apex.as_wire()].concat()
    }

    /// The octets of a node's name, where they lie in one piece: those of cuts and of owners of a DNAME do, other names
    /// may be empty here.
    pub(super) fn whole_name(&self, id: NodeId) -> &[u8] {
        let node = self.node(id);
        match node.flags & LONG {
            0 => &[],
            _ => {
                let place = long_place(node);
                &self.arena[place..place + usize::from(node.name_length) + self.apex.as_wire().len()]
            }
        }
    }

    /// All sets of a node, by type.
    #[inline]
    pub fn sets(&self, id: NodeId) -> &[Set] {
        let node = self.node(id);
        sets_of(node, &self.sets)
    }

    /// The set of that type.
    pub fn set(&self, id: NodeId, rtype: u16) -> Option<&Set> {
        self.sets(id).iter().find(|set| set.rtype == rtype)
    }

    /// What a set holds.
    #[inline(always)]
    pub fn data(&self, set: &Set) -> SetData<'_> {
        let place = set.place as usize;
        if set.count == 0 {
            return SetData::Balanced(set.place);
        }
        if set.count & STORED != 0 {
            let node = &self.nodes[place];
            let (_, behind) = node.store.split_at(usize::from(node.name_length).min(STORE));
            return SetData::Static(with_length(behind));
        }
        SetData::Static(with_length(&self.arena[place..]))
    }

    /// Whether both hold the same records in the same order.
    pub fn same_records(&self, other: &ZoneData) -> bool {
        self.arena == other.arena && *self.nodes == *other.nodes && self.sets == other.sets
    }

    /// Whether the node is below a cut.
    pub fn is_occluded(&self, id: NodeId) -> bool {
        self.node(id).flags & OCCLUDED != 0
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.tags.iter().zip(0..).filter(|&(&tag, _)| tag != 0).map(|(_, slot)| NodeId(slot))
    }

    #[inline]
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
}

/// Where a name leads that is at a cut or below.
#[cold]
fn at_cut(id: NodeId, node: &Node, qtype: u16) -> Found {
    if node.flags & OCCLUDED != 0 {
        return Found::Delegation(NodeId(node.link));
    }
    // DS lives on the parent's side of the cut (RFC 4035 3.1.4.1).
    if qtype == rrtype::DS { Found::Node(id) } else { Found::Delegation(id) }
}

/// The sets of a node; `several` are those of nodes that have many.
#[inline]
pub(super) fn sets_of<'z>(node: &'z Node, several: &'z [Set]) -> &'z [Set] {
    let count = usize::from(node.set_count);
    match node.own.get(..count) {
        Some(own) => own,
        None => {
            let first = node.own[0].place as usize;
            &several[first..first + count]
        }
    }
}

/// Two octets of length, and so many behind them.
#[inline(always)]
fn with_length(octets: &[u8]) -> &[u8] {
    match octets.split_first_chunk::<2>() {
        Some((&length, rest)) => &rest[..usize::from(u16::from_le_bytes(length))],
        None => &[],
    }
}

/// Where a long name stands in the arena.
fn long_place(node: &Node) -> usize {
    let [a, b, c, d, ..] = node.store;
    u32::from_le_bytes([a, b, c, d]) as usize
}

/// The hash of a name without the zone's own labels.
#[inline(always)]
pub(super) fn hash_of(hasher: &FixedState, own: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(own);
    hasher.finish()
}

/// Where a name's search begins: its hash scaled to the number of homes (Lemire's multiplication instead of a division).
#[inline]
pub(super) fn home_of(hash: u64, homes: u32) -> usize {
    (((hash >> 32) * u64::from(homes)) >> 32) as usize
}

/// The tag of a slot that is taken: seven bits of the hash that do not choose the home.
#[inline]
pub(super) fn tag_of(hash: u64) -> u8 {
    hash as u8 | TAKEN
}

/// The next slot of that tag from `slot` on and before the next empty one. Eight tags are compared at a time, as one number;
/// behind the last slot as many empty tags must follow.
#[inline(always)]
pub(super) fn next_of_tag(tags: &[u8], mut slot: usize, tag: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; GROUP]);
    const TOPS: u64 = u64::from_ne_bytes([TAKEN; GROUP]);
    loop {
        let group = u64::from_le_bytes(*tags.get(slot..)?.first_chunk()?);
        let empty = !group & TOPS;
        // The lowest octet that is zero is marked; above it others may be, too.
        let differ = group ^ (ONES * u64::from(tag));
        let same = differ.wrapping_sub(ONES) & !differ & TOPS;
        let before_empty = same & empty.wrapping_sub(1) & !empty;
        if before_empty != 0 {
            return Some(slot + before_empty.trailing_zeros() as usize / 8);
        }
        if empty != 0 {
            return None;
        }
        slot += GROUP;
    }
}

impl std::fmt::Debug for ZoneData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ZoneData({}, {} records)", presentation(self.apex.as_wire()), self.records)
    }
}

/// The records of a static set's octets: type, TTL and RDATA.
pub fn records(mut octets: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = octets.split_at_checked(12)?;
        let length = usize::from(u16::from_be_bytes([head[10], head[11]]));
        let (rdata, rest) = rest.split_at_checked(length)?;
        octets = rest;
        Some(Record {
            rtype: u16::from_be_bytes([head[2], head[3]]),
            ttl: u32::from_be_bytes([head[6], head[7], head[8], head[9]]),
            rdata,
        })
    })
}

/// One record of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'z> {
    /// Record type.
    pub rtype: u16,
    /// Seconds.
    pub ttl: u32,
    /// Uncompressed wire form.
    pub rdata: &'z [u8],
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name in 128 has the tag of the one before it: the search goes on behind it, by either way of comparing.
    #[test]
    fn a_name_behind_another_of_its_tag_is_found() {
        let apex = Name::parse("example.com.", None).unwrap();
        for length in [3u8, 15, 16, 17, 30] {
            // A label of two digits of base 36, and letters in front.
            let own = |number: u32| {
                let mut own = vec![b'x'; length.into()];
                own[0] = length - 1;
                for (place, digit) in own.iter_mut().rev().zip([number % 36, number / 36]) {
                    *place = char::from_digit(digit, 36).unwrap() as u8;
                }
                own
            };
            let mut builder = ZoneBuilder::new(apex.clone());
            builder.add(&apex, rrtype::SOA, 30, &[0; 22], 0).unwrap();
            builder.add(&apex, rrtype::NS, 30, b"\x02ns\0", 0).unwrap();
            for number in 0..1000 {
                let owner = Name::from_wire(&[&own(number), apex.as_wire()].concat()).unwrap();
                builder.add(&owner, rrtype::A, 30, &[192, 0, 2, 1], 0).unwrap();
            }
            let zone = builder.build().map_or_else(|problems| panic!("{problems:?}"), |(zone, _)| zone);
            let mut behind = 0;
            for number in 0..36 * 36 {
                let own = own(number);
                let place = zone.first_of_hash(hash_of(&zone.hasher, &own));
                for padded in [false, true] {
                    let mut front = [0xff; 32];
                    front[..own.len()].copy_from_slice(&own);
                    let front = front.first_chunk().filter(|_| padded);
                    let found = place.and_then(|place| zone.find_from(place, &own, front));
                    assert_eq!(found.is_some(), number < 1000, "{own:?}");
                    if let Some((id, node)) = found {
                        assert_eq!(zone.own_name(node), own);
                        behind += usize::from(Some(id) != place);
                    }
                }
            }
            assert!(behind > 0, "no two of a thousand names had one tag");
        }
    }

    #[test]
    fn the_next_of_a_tag_is_the_first_and_before_any_empty_slot() {
        let (one, other) = (TAKEN | 1, TAKEN);
        for empty_at in 0..20 {
            for at in 0..20 {
                for next in [one, other, TAKEN | 0x7f] {
                    let mut tags = vec![other; 20];
                    tags[at] = one;
                    if let Some(behind) = tags.get_mut(at + 1) {
                        *behind = next;
                    }
                    tags[empty_at] = 0;
                    tags.extend([0; GROUP]);
                    for from in 0..20 {
                        let first = (from..20).find(|&slot| tags[slot] == 0 || tags[slot] == one);
                        let expected = first.filter(|&slot| tags[slot] == one);
                        assert_eq!(next_of_tag(&tags, from, one), expected, "{tags:?} {from}");
                    }
                }
            }
        }
    }
}
