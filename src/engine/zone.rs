//! One zone's static data, built once and never changed, and the lookup in it (RFC 1034 4.3.2, RFC 4592, RFC 6672).
//!
//! Record bytes are kept as they go onto the wire behind a question for their owner: owner pointer, type, class, TTL,
//! length, RDATA. A query costs one look-up and a copy. Everything lies in flat tables, so that a million records cost tens
//! of megabytes, not hundreds.
//!
//! ```text
//! nodes: a hash table whose slots are the nodes themselves, a line of the cache each: hash, link, up to two sets, and the
//!        name and the records where they are short
//! arena: names and records that are longer
//! sets:  only of names that have more than two
//! ```
//!
//! In a large zone time goes into waiting for memory: this way most names cost one line of it, not six. Names are kept and
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
    pub(super) hasher: FixedState,
    pub(super) arena: Box<[u8]>,
    pub(super) apex_node: NodeId,
    /// Octets of the apex.
    pub(super) apex_length: u8,
    pub(super) apex_labels: u8,
    /// Most labels of any owner: longer names cannot exist, whatever is asked.
    pub(super) deepest: u8,
    pub(super) sets: Box<[Set]>,
    pub(super) apex: Name,
    pub(super) records: usize,
}

/// Octets of a node's own store.
pub(super) const STORE: usize = 36;
/// Sets that lie in the node itself.
pub(super) const OWN_SETS: usize = 2;

/// One name of the zone: a line of the cache, and never across two.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(64))]
pub(super) struct Node {
    /// Low half of the name's hash; the high half chooses the slot.
    pub(super) hash: u32,
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

impl Node {
    pub(super) const EMPTY: Node = Node {
        hash: 0,
        link: 0,
        set_count: 0,
        name_length: 0,
        flags: 0,
        own: [Set::NONE; OWN_SETS],
        store: [0; STORE],
    };
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

/// Below a zone cut: glue, or data that nobody is authoritative for here.
pub(super) const OCCLUDED: u8 = 1;
/// Has NS and is not the apex: a delegation.
pub(super) const CUT: u8 = 2;
/// Has a DNAME.
pub(super) const DNAME: u8 = 4;
/// `link` is the wildcard below this name.
pub(super) const WILDCARD: u8 = 8;
/// The slot is taken.
pub(super) const USED: u8 = 16;
/// The name is in the arena, whole.
pub(super) const LONG: u8 = 32;
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
    const NONE: Set = Set { rtype: 0, count: 0, place: 0 };

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
        self.lookup_hashed(name, None, hash_of(&self.hasher, self.own(name)), starts, qtype)
    }

    /// A name without the zone's own labels.
    #[inline]
    fn own<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        name.get(..name.len().wrapping_sub(self.apex_length.into())).unwrap_or_default()
    }

    /// The hash for [`ZoneData::lookup_hashed`]. Asks the processor for the memory where that search begins, without waiting
    /// for it: with several names approached before the first is looked up, their waits for memory overlap.
    #[inline(always)]
    pub(super) fn approach(&self, name: &[u8]) -> u64 {
        let hash = hash_of(&self.hasher, self.own(name));
        let nodes: &[Node] = &self.nodes;
        let slot = slot_of(hash, nodes.len());
        prefetch_index(nodes, slot);
        // Where another name had the slot, the search goes on there.
        prefetch_index(nodes, slot + 1);
        hash
    }

    /// As [`ZoneData::lookup`], with the hash from [`ZoneData::approach`]. `front` is what 16 octets begin with the name, where
    /// there is room for so many.
    #[inline(always)]
    pub(super) fn lookup_hashed(
        &self,
        name: &[u8],
        front: Option<&[u8; 16]>,
        hash: u64,
        starts: &[u8],
        qtype: u16,
    ) -> Found {
        let own = self.own(name);
        if starts.len() <= usize::from(self.deepest)
            && let Some((id, node)) = self.find_hashed(own, front, hash)
        {
            return match node.flags & (OCCLUDED | CUT) {
                0 => Found::Node(id),
                _ => at_cut(id, node, qtype),
            };
        }
        self.beside(own, starts)
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
        self.find_hashed(own, None, hash_of(&self.hasher, own)).map(|(id, _)| id)
    }

    #[inline(always)]
    fn find_hashed(&self, own: &[u8], front: Option<&[u8; 16]>, hash: u64) -> Option<(NodeId, &Node)> {
        let slot = slot_of(hash, self.nodes.len());
        let (slot, node) = self.next_of_hash(slot, own.len(), hash)?;
        let found = match (front, node.store.first_chunk()) {
            (Some(front), Some(name)) if own.len() <= 16 && node.flags & LONG == 0 => alike(front, name, own.len()),
            _ => self.own_name(node) == own,
        };
        match found {
            true => Some((NodeId(slot as u32), node)),
            false => self.find_behind(slot, own, hash),
        }
    }

    /// The next node that a name of that length and hash can be, from `slot` on. Ends: some slots are empty.
    #[inline(always)]
    fn next_of_hash(&self, mut slot: usize, length: usize, hash: u64) -> Option<(usize, &Node)> {
        let nodes: &[Node] = &self.nodes;
        loop {
            let node = nodes.get(slot)?;
            if node.flags & USED == 0 {
                return None;
            }
            if node.hash == hash as u32 && usize::from(node.name_length) == length {
                return Some((slot, node));
            }
            slot = if slot + 1 == nodes.len() { 0 } else { slot + 1 };
        }
    }

    /// Goes on behind a slot with the same hash and another name.
    #[cold]
    fn find_behind(&self, mut slot: usize, own: &[u8], hash: u64) -> Option<(NodeId, &Node)> {
        loop {
            slot = if slot + 1 == self.nodes.len() { 0 } else { slot + 1 };
            let (found, node) = self.next_of_hash(slot, own.len(), hash)?;
            if self.own_name(node) == own {
                return Some((NodeId(found as u32), node));
            }
            slot = found;
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
        (0..self.nodes.len() as u32).map(NodeId).filter(|&id| self.node(id).flags & USED != 0)
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
#[inline]
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
#[inline]
pub(super) fn hash_of(hasher: &FixedState, own: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(own);
    hasher.finish()
}

/// Where a name's search begins: its hash scaled to the number of slots (Lemire's multiplication instead of a division).
pub(super) fn slot_of(hash: u64, slots: usize) -> usize {
    (((hash >> 32) * slots as u64) >> 32) as usize
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

    /// Two of a million names may share half their hash: the search goes on behind the first, by either way of comparing.
    #[test]
    fn a_name_behind_another_of_its_hash_and_length_is_found() {
        let apex = Name::parse("example.com.", None).unwrap();
        for (one, other, missing) in [
            ("\x01a", "\x01b", "\x01c"),
            ("\x0fa-label-of-15-a", "\x0fa-label-of-15-b", "\x0fa-label-of-15-c"),
            ("\x10a-label-of-16-aa", "\x10a-label-of-16-ab", "\x10a-label-of-16-ac"),
        ] {
            let mut builder = ZoneBuilder::new(apex.clone());
            builder.add(&apex, rrtype::SOA, 30, &[0; 22], 0).unwrap();
            builder.add(&apex, rrtype::NS, 30, b"\x02ns\0", 0).unwrap();
            for own in [one, other] {
                let owner = Name::from_wire(&[own.as_bytes(), apex.as_wire()].concat()).unwrap();
                builder.add(&owner, rrtype::A, 30, &[192, 0, 2, 1], 0).unwrap();
            }
            let mut zone = builder.build().map_or_else(|problems| panic!("{problems:?}"), |(zone, _)| zone);
            let hash = hash_of(&zone.hasher, one.as_bytes());
            let first = zone.find_own(one.as_bytes()).unwrap();
            let mut moved = *zone.node(zone.find_own(other.as_bytes()).unwrap());
            moved.hash = hash as u32;
            let behind = (first.0 as usize + 1) % zone.nodes.len();
            zone.nodes[behind] = moved;
            for padded in [false, true] {
                let find = |own: &str| {
                    let mut front = [0xff; 32];
                    front[..own.len()].copy_from_slice(own.as_bytes());
                    zone.find_hashed(own.as_bytes(), front.first_chunk().filter(|_| padded), hash).map(|(id, _)| id)
                };
                assert_eq!(find(one), Some(first));
                assert_eq!(find(other), Some(NodeId(behind as u32)));
                assert_eq!(find(missing), None);
            }
        }
    }
}
