//! One immutable value that holds everything an answer needs. Control makes it, workers read it.
//!
//! Preparing the next one costs what changed, not what there is: the tables are chunked, and a new snapshot shares every
//! chunk that stayed as it was.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::cookie::Secrets;
use super::draw::Draws;
use super::name::labels;
use super::query::QueryName;
use super::rate_limit::RateLimit;
use super::soa::SoaTemplate;
use super::view::View;
use super::zone::ZoneData;

/// The state of the world at one moment. Replaced as a whole by one pointer store.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Rises by one with every publication.
    pub generation: u64,
    /// What shapes replies.
    pub options: Arc<Options>,
    /// Finds a zone by its apex.
    pub apexes: Arc<Apexes>,
    /// The zones, in the order that `apexes` numbers them.
    pub zones: Chunked<Arc<Zone>>,
    /// What balanced names answer, prepared.
    pub views: Chunked<Arc<View>>,
    /// Counters: one for each UDP worker, one for all stream transports, one for `explain`.
    pub draws: Arc<[Draws]>,
    /// Unix seconds, moved on by control; only cookies look at it.
    pub clock: Arc<AtomicU32>,
}

/// Settings of the server file that shape replies.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Largest UDP reply, octets.
    pub max_udp_payload: u16,
    /// Name server identifier (RFC 5001); empty: not answered.
    pub nsid: Box<[u8]>,
    /// What `version.bind` says, as [`super::chaos::record`] prepares it; empty: refused.
    pub version: Box<[u8]>,
    /// What `id.server` says, likewise.
    pub id: Box<[u8]>,
    /// Cookie secrets (RFC 9018), the first makes, all are accepted; empty: cookies are off.
    pub cookies: Secrets,
    /// Response rate limiting over UDP; `None`: off.
    pub rate_limit: Option<RateLimit>,
}

/// One zone as it answers now.
#[derive(Debug)]
pub struct Zone {
    /// Static records.
    pub data: Arc<ZoneData>,
    /// For each balanced name of the zone what it answers, and which counter it draws from.
    pub names: Arc<[NameSlot]>,
    /// The SOA, prepared with the serial in force.
    pub soa: SoaTemplate,
}

/// A balanced owner and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameSlot {
    /// Index into [`Snapshot::views`].
    pub view: u32,
    /// Counter in [`Draws`]; the same over reloads.
    pub draw: u32,
}

/// The apexes of all zones.
#[derive(Debug, Default)]
pub struct Apexes {
    index: HashTable<(Box<[u8]>, u32)>,
    hasher: FixedState,
    deepest: usize,
}

impl Apexes {
    /// Numbers the apexes in the order given.
    pub fn new<'a>(apexes: impl Iterator<Item = &'a [u8]>) -> Apexes {
        let mut made = Apexes::default();
        for (number, apex) in apexes.enumerate() {
            made.deepest = made.deepest.max(labels(apex).count());
            let hash = made.hasher.hash_one(apex);
            let hasher = &made.hasher;
            made.index.insert_unique(hash, (apex.into(), number as u32), |(apex, _)| hasher.hash_one(&**apex));
        }
        made
    }

    /// The zone of exactly that apex.
    pub fn exact(&self, apex: &[u8]) -> Option<u32> {
        self.index.find(self.hasher.hash_one(apex), |(known, _)| **known == *apex).map(|&(_, zone)| zone)
    }

    /// The most specific zone that holds the name, leaving out its first `skip` labels; with the number of labels left out.
    pub fn find(&self, name: &QueryName, skip: usize) -> Option<(u32, usize)> {
        let labels = name.starts().len();
        let mut leave = labels.saturating_sub(self.deepest).max(skip);
        while leave <= labels {
            if let Some(zone) = self.exact(name.suffix(leave)) {
                return Some((zone, leave));
            }
            leave += 1;
        }
        None
    }
}

const CHUNK: usize = 128;

/// A vector whose copy shares all chunks that do not change.
#[derive(Debug, Clone)]
pub struct Chunked<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    length: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Chunked<T> {
        Chunked { chunks: Arc::default(), length: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    /// The element, if there is one.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    /// Puts another in its place: copies one chunk, and the list of chunks when it is shared.
    pub fn set(&mut self, index: u32, value: T) {
        if let Some(chunk) = Arc::make_mut(&mut self.chunks).get_mut(index as usize / CHUNK)
            && let Some(place) = Arc::make_mut(chunk).get_mut(index as usize % CHUNK)
        {
            *place = value;
        }
    }

    /// Appends one; returns its index.
    pub fn push(&mut self, value: T) -> u32 {
        let chunks = Arc::make_mut(&mut self.chunks);
        if self.length.is_multiple_of(CHUNK) {
            chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        if let Some(last) = chunks.last_mut() {
            Arc::make_mut(last).push(value);
        }
        self.length += 1;
        self.length as u32 - 1
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Chunked<T> {
        let mut made = Chunked::default();
        items.into_iter().for_each(|item| {
            made.push(item);
        });
        made
    }
}
