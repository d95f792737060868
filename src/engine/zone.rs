//! One zone's static data, built once and never changed, and the lookup in it (RFC 1034 4.3.2, RFC 4592, RFC 6672).
//!
//! Record bytes are kept as they go onto the wire behind a question for their owner: owner pointer, type, class, TTL,
//! length, RDATA. A query costs one look-up and a copy. Everything lies in flat tables, so that a million records cost tens
//! of megabytes, not hundreds.
//!
//! ```text
//! nodes: a hash table whose slots are the nodes themselves: hash, name, link, and the set where there is only one
//! arena: the name's octets, and right behind them its records
//! sets:  only of names that have several
//! ```
//!
//! In a large zone time goes into waiting for memory: this way a name costs two or three lines of it, not six.

pub(crate) use super::zone_builder::roomy;
pub use super::zone_builder::{SourceTag, ZoneBuilder, ZoneProblem};

use foldhash::fast::FixedState;
use std::hash::BuildHasher;

use super::name::{Name, presentation};
use super::rrtype;

/// A zone's records and the places of its balanced names. Made by [`ZoneBuilder`].
pub struct ZoneData {
    pub(super) apex: Name,
    pub(super) arena: Box<[u8]>,
    /// Open addressing with linear probing; some slots stay empty.
    pub(super) nodes: Box<[Node]>,
    pub(super) sets: Box<[Set]>,
    pub(super) hasher: FixedState,
    pub(super) apex_node: NodeId,
    pub(super) apex_labels: usize,
    /// Most labels of any owner: longer names cannot exist, whatever is asked.
    pub(super) deepest: usize,
    pub(super) records: usize,
}

/// One name of the zone: half a line of the cache, and never across two.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(32))]
pub(super) struct Node {
    /// Low half of the name's hash; the high half chooses the slot.
    pub(super) hash: u32,
    /// Its wire octets in the arena.
    pub(super) name: u32,
    /// 0: an empty slot.
    pub(super) name_length: u8,
    pub(super) flags: u8,
    pub(super) set_count: u16,
    /// Of an occluded node the cut above it, of another the wildcard below it.
    pub(super) link: u32,
    /// The set, when there is one.
    pub(super) only: Set,
    /// The first set in `sets`, when there are several.
    pub(super) sets: u32,
}

impl Node {
    pub(super) const EMPTY: Node = Node {
        hash: 0,
        name: 0,
        name_length: 0,
        flags: 0,
        set_count: 0,
        link: 0,
        only: Set { rtype: 0, count: 0, offset: 0, length: 0 },
        sets: 0,
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

/// The records of one name and type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Set {
    /// Record type.
    pub rtype: u16,
    /// Number of records; 0 for a balanced name.
    pub count: u16,
    /// Octets in the arena, or the balanced name's number.
    pub(super) offset: u32,
    pub(super) length: u32,
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
    pub fn lookup(&self, name: &[u8], starts: &[u8], qtype: u16) -> Found {
        if starts.len() <= self.deepest
            && let Some(id) = self.find(name)
        {
            let node = self.node(id);
            if node.flags & OCCLUDED != 0 {
                return Found::Delegation(NodeId(node.link));
            }
            // DS lives on the parent's side of the cut (RFC 4035 3.1.4.1).
            if node.flags & CUT != 0 && qtype != rrtype::DS {
                return Found::Delegation(id);
            }
            return Found::Node(id);
        }
        let Some(encloser) = self.closest_encloser(name, starts) else { return Found::NxDomain };
        let node = self.node(encloser);
        if node.flags & OCCLUDED != 0 {
            return Found::Delegation(NodeId(node.link));
        }
        if node.flags & CUT != 0 {
            return Found::Delegation(encloser);
        }
        if node.flags & DNAME != 0 {
            return Found::Dname(encloser);
        }
        if node.flags & WILDCARD != 0 {
            return Found::Node(NodeId(node.link));
        }
        Found::NxDomain
    }

    /// The longest existing ancestor (RFC 4592 3.3.1). Existence only grows towards the apex, since empty non-terminals
    /// have nodes, so the labels are halved, not walked: a name of 120 labels costs seven look-ups.
    fn closest_encloser(&self, name: &[u8], starts: &[u8]) -> Option<NodeId> {
        // Number of leading labels to leave out: `low` is known missing, `high` exists (the apex).
        let mut high = starts.len().checked_sub(self.apex_labels)?;
        let mut low = starts.len().saturating_sub(self.deepest + 1).min(high);
        let mut found = Some(self.apex_node);
        while high - low > 1 {
            // Most misses are one label below what exists: try that first.
            let middle = if low == 0 { 1 } else { low + (high - low) / 2 };
            let suffix = name.get(usize::from(*starts.get(middle)?)..)?;
            match self.find(suffix) {
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
        let hash = self.hasher.hash_one(name);
        let mut slot = slot_of(hash, self.nodes.len());
        // Ends: some slots are empty.
        loop {
            let node = self.nodes.get(slot)?;
            if node.name_length == 0 {
                return None;
            }
            if node.hash == hash as u32 && self.wire(node) == name {
                return Some(NodeId(slot as u32));
            }
            slot = if slot + 1 == self.nodes.len() { 0 } else { slot + 1 };
        }
    }

    fn wire(&self, node: &Node) -> &[u8] {
        &self.arena[node.name as usize..node.name as usize + usize::from(node.name_length)]
    }

    /// The node's name.
    pub fn wire_of(&self, id: NodeId) -> &[u8] {
        self.wire(self.node(id))
    }

    /// All sets of a node, by type.
    pub fn sets(&self, id: NodeId) -> &[Set] {
        let node = self.node(id);
        match node.set_count {
            0 => &[],
            1 => std::slice::from_ref(&node.only),
            count => &self.sets[node.sets as usize..node.sets as usize + usize::from(count)],
        }
    }

    /// The set of that type.
    pub fn set(&self, id: NodeId, rtype: u16) -> Option<&Set> {
        self.sets(id).iter().find(|set| set.rtype == rtype)
    }

    /// What a set holds.
    pub fn data(&self, set: &Set) -> SetData<'_> {
        if set.count == 0 {
            SetData::Balanced(set.offset)
        } else {
            SetData::Static(&self.arena[set.offset as usize..(set.offset + set.length) as usize])
        }
    }

    /// Whether both hold the same records in the same order.
    pub fn same_records(&self, other: &ZoneData) -> bool {
        self.arena == other.arena && self.nodes == other.nodes && self.sets == other.sets
    }

    /// Whether the node is below a cut.
    pub fn is_occluded(&self, id: NodeId) -> bool {
        self.node(id).flags & OCCLUDED != 0
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        (0..self.nodes.len() as u32).map(NodeId).filter(|&id| self.node(id).name_length > 0)
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }
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
