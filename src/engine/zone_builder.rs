//! Collects a zone's records, checks what only the whole shows, and lays them out as [`ZoneData`].

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use super::name::{Name, labels, presentation};
use super::rrtype::{self, A, AAAA, CNAME, NS, SOA};
use super::table::Table;
use super::zone::{
    CUT, DNAME, GROUP, LONG, Node, NodeId, OCCLUDED, OWN_SETS, STORE, STORED, Set, SetData, WILDCARD, ZoneData,
    hash_of, home_of, records, sets_of, tag_of,
};

/// Where a record came from, as the caller numbers its places (line, byte offset, file). Given back in [`ZoneProblem`]s.
pub type SourceTag = u64;

/// Most octets of all names and records of one zone: positions are 32 bits.
const MAX_ARENA: usize = u32::MAX as usize - 65_536;
/// From this size on a buffer is large.
const LARGE: usize = 1 << 20;
/// `DEFAULT_MMAP_THRESHOLD_MAX` of glibc on 64-bit machines.
const OWN_MAPPING: usize = 32 << 20;
/// Slots behind the homes for which there is room at once; rarely are there more.
const OVERHANG: usize = 128;
/// Most records in one set: larger ones could not be answered, even over TCP.
const MAX_SET: usize = 4_096;
/// Links of a CNAME chain that are followed.
pub(super) const MAX_CHAIN: usize = 16;
/// Warnings of one kind before the rest is only counted.
const MAX_WARNINGS: usize = 50;

/// What is wrong, or odd, with the zone as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneProblem {
    /// Refused, or only said.
    pub fatal: bool,
    /// One sentence that names owner and type.
    pub message: String,
    /// The place to show.
    pub tag: SourceTag,
    /// A second place, where two collide.
    pub other: Option<SourceTag>,
}

/// Collects a zone's records and checks what only the whole shows.
#[derive(Debug)]
pub struct ZoneBuilder {
    apex: Name,
    names: Vec<u8>,
    nodes: Vec<Named>,
    index: HashTable<u32>,
    hasher: FixedState,
    rdata: Vec<u8>,
    entries: Vec<Entry>,
    records: usize,
    /// Most octets, [`MAX_ARENA`].
    pub(super) most: usize,
}

/// A name as it came.
#[derive(Debug, Clone, Copy)]
struct Named {
    /// Its octets in `names`.
    name: u32,
    name_length: u8,
}

/// Where the nodes of a finished zone came from.
struct Origins {
    entries: Vec<Entry>,
    /// A slot's number among the names as they came.
    numbers: Vec<u32>,
    /// The nodes as they came: problems are told in that order.
    nodes: Vec<NodeId>,
    names: Vec<u8>,
    named: Vec<Named>,
}

impl Origins {
    /// The first record of the node.
    fn tag(&self, id: NodeId) -> SourceTag {
        let number = self.numbers[id.0 as usize];
        let start = self.entries.partition_point(|entry| entry.node < number);
        self.entries.get(start).filter(|entry| entry.node == number).map_or(0, |entry| entry.tag)
    }

    /// The node's name.
    fn wire(&self, id: NodeId) -> &[u8] {
        let Named { name, name_length } = self.named[self.numbers[id.0 as usize] as usize];
        &self.names[name as usize..name as usize + usize::from(name_length)]
    }
}

/// Where the nodes will lie.
struct Places {
    /// With nothing in them.
    nodes: Table<Node>,
    tags: Table<u8>,
    homes: u32,
    /// The slot of each name as it came.
    slots: Vec<NodeId>,
    /// The reverse, for each slot.
    numbers: Vec<u32>,
}

/// One record as it came.
#[derive(Debug, Clone, Copy)]
struct Entry {
    node: u32,
    /// In `rdata`, or the balanced name's number.
    offset: u32,
    ttl: u32,
    rtype: u16,
    length: u16,
    /// [`BALANCED`] or 0.
    balanced: bool,
    tag: SourceTag,
}

impl ZoneBuilder {
    /// An empty zone.
    pub fn new(apex: Name) -> ZoneBuilder {
        let mut builder = ZoneBuilder {
            apex: apex.clone(),
            names: Vec::new(),
            nodes: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(0x5eed),
            rdata: Vec::new(),
            entries: Vec::new(),
            records: 0,
            most: MAX_ARENA,
        };
        builder.intern(apex.as_wire());
        builder
    }

    /// Makes room for about so many records and names: tables that grow are hashed and copied again and again.
    pub fn reserve(&mut self, records: usize) {
        self.names = moved(&self.names, records * 24);
        self.nodes = moved(&self.nodes, records);
        self.rdata = moved(&self.rdata, records * 4);
        self.entries = moved(&self.entries, records);
        let (names, nodes, hasher) = (&self.names, &self.nodes, &self.hasher);
        self.index.reserve(records, |&node| {
            let node = &nodes[node as usize];
            hasher.hash_one(&names[node.name as usize..node.name as usize + usize::from(node.name_length)])
        });
    }

    /// Adds one record. `rdata` is uncompressed wire form, case as written. Out-of-zone owners and RDATA longer than 65,535
    /// octets are refused at once. A duplicate (same owner, type and RDATA) is dropped at the end. Different TTLs in one
    /// RRset: the least is taken, with a warning (RFC 2181 5.2). Gives back the owner's number, in the order of first
    /// appearance.
    pub fn add(
        &mut self,
        owner: &Name,
        rtype: u16,
        ttl: u32,
        rdata: &[u8],
        tag: SourceTag,
    ) -> Result<usize, ZoneProblem> {
        let fatal = |message: String| ZoneProblem { fatal: true, message, tag, other: None };
        if !owner.is_at_or_below(&self.apex) {
            return Err(fatal(format!("{owner} is not in the zone {}", self.apex)));
        }
        let Ok(length) = u16::try_from(rdata.len()) else {
            return Err(fatal(format!("{owner} {}: data longer than 65535 octets", rrtype::text(rtype))));
        };
        if self.rdata.len() + self.names.len() + self.entries.len() * 12 > self.most {
            return Err(fatal(too_large(&self.apex)));
        }
        let offset = self.rdata.len() as u32;
        self.rdata.extend_from_slice(rdata);
        let node = self.intern(owner.as_wire());
        self.entries.push(Entry { node, offset, ttl, rtype, length, balanced: false, tag });
        self.records += 1;
        Ok(node as usize)
    }

    /// Says that `owner` answers `rtype` (1 or 28) from entry `index` of the zone's list of balanced names.
    pub fn add_balanced(&mut self, owner: &Name, rtype: u16, index: u32, tag: SourceTag) -> Result<(), ZoneProblem> {
        if !owner.is_at_or_below(&self.apex) {
            let message = format!("{owner} is not in the zone {}", self.apex);
            return Err(ZoneProblem { fatal: true, message, tag, other: None });
        }
        let node = self.intern(owner.as_wire());
        self.entries.push(Entry { node, offset: index, ttl: 0, rtype, length: 0, balanced: true, tag });
        Ok(())
    }

    /// Number of records added so far.
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Checks the whole: one SOA at the apex and none elsewhere, NS at the apex, no CNAME beside other data, one CNAME and
    /// one DNAME an owner, nothing below a DNAME, a balanced name beside no A, AAAA or CNAME (fatal); data below a cut,
    /// missing in-zone glue, CNAME loops (warnings). All fatal problems come at once.
    pub fn build(mut self) -> Result<(ZoneData, Vec<ZoneProblem>), Vec<ZoneProblem>> {
        let mut problems = Problems::default();
        // Files mostly come sorted, and sorting needs room before it finds that out.
        if !self.entries.is_sorted_by_key(|entry| (entry.node, entry.rtype)) {
            self.entries.sort_by_key(|entry| (entry.node, entry.rtype));
        }
        if !self.add_empty_non_terminals() {
            let tag = self.entries.first().map_or(0, |entry| entry.tag);
            return Err(vec![ZoneProblem { fatal: true, message: too_large(&self.apex), tag, other: None }]);
        }
        self.index = HashTable::new();
        let Places { mut nodes, tags, homes, slots, numbers } = self.place();
        let (mut arena, several) = self.lay_out(&mut nodes, &slots, &mut problems);
        self.check_owners(&nodes, &slots, &several, &mut problems);
        if problems.fatal {
            return Err(problems.list);
        }
        arena.shrink_to_fit();
        let mut zone = ZoneData {
            deepest: self.nodes.iter().map(|node| labels(self.wire(node)).count()).max().unwrap_or(0) as u8,
            apex_length: self.apex.as_wire().len() as u8,
            apex_labels: self.apex.label_count() as u8,
            apex_node: slots[0],
            apex: self.apex,
            arena: arena.into_boxed_slice(),
            nodes,
            tags,
            homes,
            leads_on: false,
            sets: several.into_boxed_slice(),
            hasher: self.hasher,
            records: self.records,
        };
        let origins = Origins { entries: self.entries, numbers, nodes: slots, names: self.names, named: self.nodes };
        link(&mut zone, &mut problems, &origins);
        check_references(&zone, &mut problems, &origins);
        check_wildcards(&zone, &mut problems, &origins);
        if problems.fatal { Err(problems.list) } else { Ok((zone, problems.finish())) }
    }

    fn wire(&self, node: &Named) -> &[u8] {
        &self.names[node.name as usize..node.name as usize + usize::from(node.name_length)]
    }

    /// The node of that name, made when missing.
    fn intern(&mut self, wire: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(wire);
        let (names, nodes) = (&self.names, &self.nodes);
        let wire_of = |node: u32| {
            let node: &Named = &nodes[node as usize];
            &names[node.name as usize..node.name as usize + usize::from(node.name_length)]
        };
        if let Some(&node) = self.index.find(hash, |&node| wire_of(node) == wire) {
            return node;
        }
        let number = self.nodes.len() as u32;
        let hasher = &self.hasher;
        self.index.insert_unique(hash, number, |&node| hasher.hash_one(wire_of(node)));
        let name = self.names.len() as u32;
        self.names.extend_from_slice(wire);
        self.nodes.push(Named { name, name_length: wire.len() as u8 });
        number
    }

    /// Every ancestor up to the apex gets a node (RFC 4592 2.2.2); whether there is room for all.
    fn add_empty_non_terminals(&mut self) -> bool {
        let apex_length = self.apex.as_wire().len();
        for number in 0..self.nodes.len() {
            let mut buffer = [0u8; super::name::MAX_NAME];
            let wire = self.wire(&self.nodes[number]);
            let length = wire.len();
            buffer[..length].copy_from_slice(wire);
            let mut rest = &buffer[..length];
            while rest.len() > apex_length {
                rest = &rest[1 + usize::from(rest[0])..];
                let before = self.nodes.len();
                self.intern(rest);
                if self.nodes.len() == before {
                    break; // It was there, and so were its ancestors.
                }
            }
            // Names of many labels bring in far more octets than their records show.
            if self.rdata.len() + self.names.len() + self.entries.len() * 12 > self.most {
                return false;
            }
        }
        true
    }

    /// Finds the nodes their slots.
    fn place(&self) -> Places {
        // A third of the slots stays empty: then most searches see all they have to in one or two groups of tags.
        let homes = self.nodes.len() as u32 / 2 * 3 + 2;
        // The last searches may end behind the homes.
        let mut tags = Vec::with_capacity(homes as usize + OVERHANG);
        let mut numbers = Vec::with_capacity(homes as usize + OVERHANG);
        tags.resize(homes as usize, 0u8);
        numbers.resize(homes as usize, 0);
        let mut slots = Vec::with_capacity(self.nodes.len());
        for (number, named) in self.nodes.iter().enumerate() {
            let hash = hash_of(&self.hasher, self.own(named));
            let mut slot = home_of(hash, homes);
            while tags.get(slot).is_some_and(|&tag| tag != 0) {
                slot += 1;
            }
            if slot == tags.len() {
                tags.push(0);
                numbers.push(0);
            }
            tags[slot] = tag_of(hash);
            numbers[slot] = number as u32;
            slots.push(NodeId(slot as u32));
        }
        let count = tags.len();
        let mut kept = Table::zeroed(count + GROUP);
        kept[..count].copy_from_slice(&tags);
        Places { nodes: Table::zeroed(count), tags: kept, homes, slots, numbers }
    }

    /// A name without the zone's own labels.
    fn own(&self, node: &Named) -> &[u8] {
        let wire = self.wire(node);
        &wire[..wire.len() - self.apex.as_wire().len()]
    }

    /// Writes each name and its sets into its node; what does not fit there goes into the arena, the sets of names that
    /// have many into a list of their own.
    fn lay_out(&mut self, nodes: &mut [Node], slots: &[NodeId], problems: &mut Problems) -> (Vec<u8>, Vec<Set>) {
        let entries = std::mem::take(&mut self.entries);
        let mut arena = roomy(self.names.len() + self.rdata.len() + 14 * entries.len());
        let mut several = Vec::new();
        let mut sets = Vec::new();
        let mut rest = &entries[..];
        for (number, &NodeId(slot)) in slots.iter().enumerate() {
            let (group, behind) = rest.split_at(rest.iter().take_while(|entry| entry.node as usize == number).count());
            rest = behind;
            sets.clear();
            // Cuts and owners of a DNAME are written into replies: their names stand in one piece.
            let written = group.iter().any(|entry| matches!(entry.rtype, NS | rrtype::DNAME));
            let own = self.own(&self.nodes[number]);
            let (length, long) = (own.len(), written || own.len() > STORE);
            let node = &mut nodes[slot as usize];
            node.name_length = length as u8;
            if long {
                node.flags |= LONG;
                node.store[..4].copy_from_slice(&(arena.len() as u32).to_le_bytes());
                arena.extend_from_slice(self.wire(&self.nodes[number]));
            } else {
                node.store[..length].copy_from_slice(own);
            }
            for run in group.chunk_by(|one, other| one.rtype == other.rtype) {
                sets.push(self.lay_out_set(run, &mut arena, problems));
            }
            if let [only] = &mut sets[..]
                && let place = only.place as usize
                && only.count > 0
                && !long
                && length + arena.len() - place <= STORE
            {
                node.store[length..length + arena.len() - place].copy_from_slice(&arena[place..]);
                arena.truncate(place);
                *only = Set { count: only.count | STORED, place: slot, ..*only };
            }
            node.set_count = sets.len() as u16;
            if sets.len() <= OWN_SETS {
                node.own[..sets.len()].copy_from_slice(&sets);
            } else {
                node.own[0].place = several.len() as u32;
                several.extend_from_slice(&sets);
            }
        }
        self.rdata = Vec::new();
        self.entries = entries;
        (arena, several)
    }

    /// One name's records of one type, or its balanced name.
    fn lay_out_set(&mut self, group: &[Entry], arena: &mut Vec<u8>, problems: &mut Problems) -> Set {
        let Some(balanced) = group.iter().find(|entry| entry.balanced) else {
            return self.lay_out_static(group, arena, problems);
        };
        if let Some(other) = group.iter().find(|entry| entry.tag != balanced.tag || !entry.balanced) {
            let owner = presentation(self.wire(&self.nodes[balanced.node as usize]));
            let rtype = rrtype::text(balanced.rtype);
            let message = format!("{owner} {rtype} is balanced and has another definition");
            problems.fatal(message, balanced.tag, Some(other.tag));
        }
        Set { rtype: balanced.rtype, count: 0, place: balanced.offset }
    }

    fn lay_out_static(&mut self, group: &[Entry], arena: &mut Vec<u8>, problems: &mut Problems) -> Set {
        let first = group[0];
        let name = self.nodes[first.node as usize];
        let names = &self.names;
        let owner = || presentation(&names[name.name as usize..name.name as usize + usize::from(name.name_length)]);
        let rtype = first.rtype;
        let ttl = group.iter().map(|entry| entry.ttl).min().unwrap_or(0);
        if let Some(other) = group.iter().find(|entry| entry.ttl != first.ttl) {
            let message =
                format!("{} {}: TTLs differ in one RRset; {ttl} is used (RFC 2181 5.2)", owner(), rrtype::text(rtype));
            problems.warn(message, other.tag, Some(first.tag));
        }
        let place = arena.len();
        arena.extend_from_slice(&[0, 0]);
        let mut seen: hashbrown::HashSet<&[u8]> = hashbrown::HashSet::new();
        let mut count = 0usize;
        for entry in group {
            let rdata = &self.rdata[entry.offset as usize..entry.offset as usize + usize::from(entry.length)];
            if group.len() > 1 && !seen.insert(rdata) {
                self.records -= 1;
                problems.warn(format!("{} {}: the same record twice", owner(), rrtype::text(rtype)), entry.tag, None);
                continue;
            }
            count += 1;
            arena.extend_from_slice(&[0xc0, 0x0c]);
            arena.extend_from_slice(&rtype.to_be_bytes());
            arena.extend_from_slice(&rrtype::CLASS_IN.to_be_bytes());
            arena.extend_from_slice(&ttl.to_be_bytes());
            arena.extend_from_slice(&entry.length.to_be_bytes());
            arena.extend_from_slice(rdata);
        }
        let length = arena.len() - place - 2;
        arena[place..place + 2].copy_from_slice(&(length as u16).to_le_bytes());
        if count > MAX_SET || length > 64_000 {
            let message = format!(
                "{} {}: {count} records of {length} octets in one RRset; at most {MAX_SET} records and 64000 octets fit \
                 a reply",
                owner(),
                rrtype::text(rtype)
            );
            problems.fatal(message, group[group.len() - 1].tag, None);
        }
        Set { rtype, count: count as u16, place: place as u32 }
    }

    /// What one owner may hold.
    fn check_owners(&self, nodes: &[Node], slots: &[NodeId], several: &[Set], problems: &mut Problems) {
        let first_tag = |node: u32, rtype: u16| {
            let start = self.entries.partition_point(|entry| (entry.node, entry.rtype) < (node, rtype));
            self.entries.get(start).map_or(0, |entry| entry.tag)
        };
        for (number, node) in self.nodes.iter().enumerate() {
            let own = sets_of(&nodes[slots[number].0 as usize], several);
            let number = number as u32;
            let has = |rtype: u16| own.iter().find(|set| set.rtype == rtype);
            let at_apex = number == 0;
            let owner = || presentation(self.wire(node));
            if let Some(cname) = has(CNAME) {
                let tag = first_tag(number, CNAME);
                if let Some(other) = own.iter().find(|set| set.rtype != CNAME) {
                    let message = format!(
                        "{} has a CNAME beside {} {} (RFC 1034 3.6.2)",
                        owner(),
                        if other.count() == 0 { "balanced" } else { "other data:" },
                        rrtype::text(other.rtype)
                    );
                    problems.fatal(message, tag, Some(first_tag(number, other.rtype)));
                }
                if cname.count() > 1 {
                    let message = format!("{} has {} CNAME records; one is allowed", owner(), cname.count());
                    problems.fatal(message, tag, None);
                }
            }
            if let Some(dname) = has(rrtype::DNAME)
                && dname.count() > 1
            {
                let message = format!("{} has {} DNAME records; one is allowed (RFC 6672 2.4)", owner(), dname.count());
                problems.fatal(message, first_tag(number, rrtype::DNAME), None);
            }
            match has(SOA) {
                Some(_) if !at_apex => {
                    let message = format!("{} has an SOA, but the zone is {}", owner(), self.apex);
                    problems.fatal(message, first_tag(number, SOA), None);
                }
                Some(soa) if soa.count() > 1 => {
                    let message = format!("the zone {} has {} SOA records; one is allowed", self.apex, soa.count());
                    problems.fatal(message, first_tag(number, SOA), None);
                }
                None if at_apex => {
                    problems.fatal(format!("the zone {} has no SOA", self.apex), 0, None);
                }
                _ => {}
            }
            if at_apex && has(NS).is_none() {
                problems.fatal(format!("the zone {} has no NS records", self.apex), 0, None);
            }
        }
    }
}

/// A vector for at least `count` items that gives its memory back to the system when it is dropped.
///
/// glibc gives a block of more than 32 MiB a mapping of its own, always. A smaller one it does only until the first such
/// block is freed (`M_MMAP_THRESHOLD` is dynamic); from then on the megabytes that loading takes and frees stay resident in
/// holes between what is kept. So what is large asks for more than 32 MiB; pages that are never written take no memory.
pub(crate) fn roomy<T>(count: usize) -> Vec<T> {
    let size = size_of::<T>().max(1);
    let least = if count.saturating_mul(size) < LARGE { 0 } else { OWN_MAPPING / size + 1 };
    Vec::with_capacity(count.max(least))
}

fn too_large(apex: &Name) -> String {
    format!("the zone {apex} is larger than 4 GiB")
}

fn moved<T: Copy>(items: &[T], count: usize) -> Vec<T> {
    let mut all = roomy(count.max(items.len()));
    all.extend_from_slice(items);
    all
}

/// Marks cuts, what lies below them, DNAMEs and wildcards.
fn link(zone: &mut ZoneData, problems: &mut Problems, origins: &Origins) {
    let mut marks = vec![0u8; zone.nodes.len()];
    let mut any_above = false;
    for id in zone.nodes() {
        let mut flags = 0;
        if id != zone.apex_node && zone.set(id, NS).is_some() {
            flags |= CUT;
        }
        if zone.set(id, rrtype::DNAME).is_some() {
            flags |= DNAME;
        }
        any_above |= flags != 0;
        marks[id.0 as usize] = flags;
    }
    let apex_length = zone.apex.as_wire().len();
    for &NodeId(number) in &origins.nodes {
        let wire = origins.wire(NodeId(number));
        let wildcard_parent = if wire.starts_with(b"\x01*") && wire.len() > apex_length {
            zone.find(&wire[2..]).map(|parent| parent.0)
        } else {
            None
        };
        // The highest cut or DNAME strictly above.
        let mut above = None;
        if any_above {
            let mut rest = wire;
            while rest.len() > apex_length {
                rest = &rest[1 + usize::from(rest[0])..];
                if let Some(id) = zone.find(rest)
                    && marks[id.0 as usize] & (CUT | DNAME) != 0
                {
                    above = Some(id.0);
                }
            }
        }
        let node_flags = marks[number as usize];
        if let Some(above) = above {
            let tag = origins.tag(NodeId(number));
            let owner = || presentation(origins.wire(NodeId(number)));
            let cut = presentation(origins.wire(NodeId(above)));
            if marks[above as usize] & CUT != 0 {
                let glue_only = zone.sets(NodeId(number)).iter().all(|set| matches!(set.rtype, A | AAAA));
                if !glue_only {
                    problems.warn(format!("{} is below the delegation {cut} and is not answered", owner()), tag, None);
                }
            } else {
                problems.fatal(format!("{} is below {cut}, which has a DNAME (RFC 6672 2.4)", owner()), tag, None);
            }
            zone.nodes[number as usize].flags |= OCCLUDED;
            zone.nodes[number as usize].link = above;
        }
        zone.nodes[number as usize].flags |= node_flags;
        if node_flags & CUT != 0 && wire.starts_with(b"\x01*") {
            let owner = presentation(origins.wire(NodeId(number)));
            let message = format!("{owner}: a delegation at a wildcard has no agreed meaning (RFC 4592 4.2)");
            problems.warn(message, origins.tag(NodeId(number)), None);
        }
        if let Some(parent) = wildcard_parent {
            let parent = &mut zone.nodes[parent as usize];
            if parent.flags & OCCLUDED == 0 {
                parent.flags |= WILDCARD;
                parent.link = number;
            }
        }
    }
    // A parent that turned out occluded after its wildcard was seen keeps the cut as its link: occlusion is set once, from
    // above, and the wildcard's own node is occluded as well.
    for node in &mut *zone.nodes {
        if node.flags & OCCLUDED != 0 {
            node.flags &= !WILDCARD;
        }
        zone.leads_on |= node.flags & (OCCLUDED | CUT | DNAME | WILDCARD) != 0;
    }
}

/// Missing glue, name servers that are aliases, and CNAME loops: warnings.
fn check_references(zone: &ZoneData, problems: &mut Problems, origins: &Origins) {
    for &id in &origins.nodes {
        for set in zone.sets(id) {
            let SetData::Static(octets) = zone.data(set) else { continue };
            if set.rtype == NS && !zone.is_occluded(id) {
                for record in records(octets) {
                    check_name_server(zone, id, record.rdata, problems, origins);
                }
            }
            if set.rtype == CNAME
                && let Some(length) = loop_length(zone, id)
            {
                let owner = presentation(origins.wire(id));
                let message = format!("{owner}: the CNAME chain from here never ends (a loop of {length})");
                problems.warn(message, origins.tag(id), None);
            }
        }
    }
}

/// Static data below a balanced wildcard's parent hides it at and below that name (RFC 4592 2.2.1): said, since the two
/// stand in different tables of the file.
fn check_wildcards(zone: &ZoneData, problems: &mut Problems, origins: &Origins) {
    let balanced = |id: NodeId| zone.sets(id).iter().any(|set| set.count() == 0);
    let parents: hashbrown::HashSet<&[u8]> = zone
        .nodes()
        .filter(|&id| balanced(id) && origins.wire(id).starts_with(b"\x01*"))
        .map(|id| &origins.wire(id)[2..])
        .collect();
    if parents.is_empty() {
        return;
    }
    for &id in
        origins.nodes.iter().filter(|&&id| !zone.is_occluded(id) && zone.sets(id).iter().any(|set| set.count() > 0))
    {
        let wire = origins.wire(id);
        if wire.starts_with(b"\x01*") && parents.contains(&wire[2..]) {
            continue;
        }
        let mut rest = wire;
        while rest.len() > zone.apex.as_wire().len() {
            rest = &rest[1 + usize::from(rest[0])..];
            if parents.contains(rest) {
                let (owner, parent) = (presentation(wire), presentation(rest));
                let message = format!("{owner} has static data and hides the balanced wildcard *.{parent} there");
                problems.warn(message, origins.tag(id), None);
                break;
            }
        }
    }
}

fn check_name_server(zone: &ZoneData, at: NodeId, target: &[u8], problems: &mut Problems, origins: &Origins) {
    let Ok(name) = Name::from_wire(target) else { return };
    if !name.is_at_or_below(&zone.apex) {
        return;
    }
    let owner = presentation(origins.wire(at));
    let tag = origins.tag(at);
    let found = zone.find(name.as_wire());
    let has_address = found.is_some_and(|id| zone.set(id, A).or(zone.set(id, AAAA)).is_some());
    if found.is_some_and(|id| zone.set(id, CNAME).is_some()) {
        problems.warn(format!("{owner} NS {name}: a name server must not be an alias (RFC 2181 10.3)"), tag, None);
    } else if !has_address {
        let starts = label_starts(name.as_wire());
        match zone.lookup(name.as_wire(), &starts, A) {
            // The name server of a delegation that is named below another delegation needs no glue here.
            super::zone::Found::Delegation(cut) if at == zone.apex_node || cut != at => {}
            super::zone::Found::Node(id) if zone.set(id, A).or(zone.set(id, AAAA)).is_some() => {}
            _ => problems.warn(format!("{owner} NS {name} has no address in this zone"), tag, None),
        }
    }
}

/// How many links a CNAME chain takes to come round, if it does within the zone.
fn loop_length(zone: &ZoneData, start: NodeId) -> Option<usize> {
    let mut at = start;
    for length in 1..=MAX_CHAIN * 4 {
        let set = zone.set(at, CNAME)?;
        let SetData::Static(octets) = zone.data(set) else { return None };
        let target = Name::from_wire(records(octets).next()?.rdata).ok()?;
        if !target.is_at_or_below(&zone.apex) {
            return None;
        }
        let starts = label_starts(target.as_wire());
        match zone.lookup(target.as_wire(), &starts, CNAME) {
            super::zone::Found::Node(next) if next == start => return Some(length),
            super::zone::Found::Node(next) => at = next,
            _ => return None,
        }
    }
    None
}

/// Where the labels of valid wire octets begin.
pub(super) fn label_starts(wire: &[u8]) -> Vec<u8> {
    let mut at = 0u8;
    labels(wire)
        .map(|label| {
            let start = at;
            at = at.wrapping_add(1 + label.len() as u8);
            start
        })
        .collect()
}

#[derive(Default)]
struct Problems {
    list: Vec<ZoneProblem>,
    warnings: usize,
    fatal: bool,
}

impl Problems {
    fn fatal(&mut self, message: String, tag: SourceTag, other: Option<SourceTag>) {
        self.fatal = true;
        self.list.push(ZoneProblem { fatal: true, message, tag, other });
    }

    fn warn(&mut self, message: String, tag: SourceTag, other: Option<SourceTag>) {
        self.warnings += 1;
        if self.warnings <= MAX_WARNINGS {
            self.list.push(ZoneProblem { fatal: false, message, tag, other });
        }
    }

    fn finish(mut self) -> Vec<ZoneProblem> {
        if self.warnings > MAX_WARNINGS {
            let message = format!("{} further warnings about this zone", self.warnings - MAX_WARNINGS);
            self.list.push(ZoneProblem { fatal: false, message, tag: 0, other: None });
        }
        self.list
    }
}
