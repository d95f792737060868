//! One immutable value that holds everything an answer needs. Control makes it, workers read it.
//!
//! Preparing the next one costs what changed, not what there is: the tables are chunked, and a new snapshot shares every
//! chunk that stayed as it was.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use prefetch_index::prefetch_index;

use super::cookie::Secrets;
use super::draw::Draws;
use super::name::{alike, labels};
use super::rate_limit::RateLimit;
use super::soa::SoaTemplate;
use super::view::View;
use super::zone::ZoneData;

/// The state of the world at one moment. Replaced as a whole by one pointer store.
///
/// What every query reads stands first, on one line of the cache.
#[derive(Debug, Default, Clone)]
#[repr(C, align(64))]
pub struct Snapshot {
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
    /// Rises by one with every publication.
    pub generation: u64,
    /// Unix seconds, moved on by control; only cookies look at it.
    pub clock: Arc<AtomicU32>,
}

impl Snapshot {
    /// Asks for the lines of memory that an answer from this zone reads one behind the other. Behind a call into the kernel none
    /// is in the near caches; nothing depends on the loads here, so the processor goes on meanwhile.
    #[inline]
    pub(crate) fn approach(&self, zone: u32) {
        prefetch_index(std::slice::from_ref(&*self.options), 0);
        if let Some(apex) = self.apexes.few.first() {
            prefetch_index(std::slice::from_ref(apex), 0);
        }
        if let Some(zone) = self.zones.get(zone) {
            prefetch_index(std::slice::from_ref(&*zone.data), 0);
        }
    }
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
#[repr(C)]
pub struct Zone {
    /// Static records.
    pub data: Arc<ZoneData>,
    /// For each balanced name of the zone what it answers, and which counter it draws from.
    pub names: Arc<[NameSlot]>,
    /// Under which number the transports count its replies; 0 together with others.
    pub traffic: u8,
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

/// Up to so many zones are found by looking at each: without a hash, and in a line of the cache each.
const FEW: usize = 4;
/// Octets of an apex beside its number.
const SHORT: usize = 43;

/// The apexes of all zones.
#[derive(Debug, Default)]
pub struct Apexes {
    /// All, those with most labels first; empty when there are more than [`FEW`].
    few: Box<[Apex]>,
    many: HashTable<Apex>,
    hasher: FixedState,
    deepest: usize,
}

/// One apex: a line of the cache.
#[derive(Debug)]
#[repr(C, align(64))]
struct Apex {
    zone: u32,
    length: u8,
    labels: u8,
    short: [u8; SHORT],
    long: Option<Box<[u8]>>,
}

impl Apex {
    fn new(zone: u32, apex: &[u8]) -> Apex {
        let mut short = [0; SHORT];
        let long = match short.get_mut(..apex.len()) {
            Some(place) => {
                place.copy_from_slice(apex);
                None
            }
            None => Some(apex.into()),
        };
        Apex { zone, length: apex.len() as u8, labels: labels(apex).count() as u8, short, long }
    }

    /// Labels and octets of a name in front of this apex, were it at or below it.
    #[inline(always)]
    fn place_in(&self, name: &[u8], starts: &[u8]) -> Option<(usize, usize)> {
        let leave = starts.len().checked_sub(self.labels.into())?;
        let from = name.len().checked_sub(self.length.into())?;
        let start = starts.get(leave).map_or(name.len() - 1, |&start| start.into());
        (start == from).then_some((leave, from))
    }

    fn wire(&self) -> &[u8] {
        match &self.long {
            Some(long) => long,
            None => self.short.get(..usize::from(self.length)).unwrap_or_default(),
        }
    }
}

impl Apexes {
    /// Numbers the apexes in the order given.
    pub fn new<'a>(apexes: impl Iterator<Item = &'a [u8]>) -> Apexes {
        let mut all: Vec<Apex> = apexes.zip(0u32..).map(|(apex, zone)| Apex::new(zone, apex)).collect();
        all.sort_by_key(|apex| std::cmp::Reverse(apex.labels));
        let mut made = Apexes { deepest: all.first().map_or(0, |apex| apex.labels.into()), ..Apexes::default() };
        if all.len() <= FEW {
            made.few = all.into();
            return made;
        }
        let hasher = &made.hasher;
        made.many.reserve(all.len(), |apex| hasher.hash_one(apex.wire()));
        for apex in all {
            made.many.insert_unique(hasher.hash_one(apex.wire()), apex, |apex| hasher.hash_one(apex.wire()));
        }
        made
    }

    /// The zone of exactly that apex.
    pub fn exact(&self, apex: &[u8]) -> Option<u32> {
        let found = match self.few.is_empty() {
            true => self.many.find(self.hasher.hash_one(apex), |known| known.wire() == apex),
            false => self.few.iter().find(|known| known.wire() == apex),
        };
        found.map(|apex| apex.zone)
    }

    /// The most specific zone that holds the name, leaving out its first `skip` labels; with the number of labels left
    /// out. `starts` is where the name's labels begin, the root left out.
    #[inline]
    pub fn find(&self, name: &[u8], starts: &[u8], skip: usize) -> Option<(u32, usize)> {
        match self.few.is_empty() {
            true => self.find_many(name, starts, skip),
            false => self.few.iter().find_map(|apex| {
                let (leave, from) = apex.place_in(name, starts).filter(|&(leave, _)| leave >= skip)?;
                (name.get(from..)? == apex.wire()).then_some((apex.zone, leave))
            }),
        }
    }

    /// The same for `name`, with nothing left out. `written` begins with the name as it came, in any case, and is what is
    /// compared: octets of the other have only just been stored, and reading them together again would wait for that.
    #[inline(always)]
    pub(super) fn find_in<const ROOM: usize>(
        &self,
        name: &[u8],
        written: &[u8; ROOM],
        starts: &[u8],
    ) -> Option<(u32, usize)> {
        if self.few.is_empty() {
            return self.find_many(name, starts, 0);
        }
        for apex in &self.few {
            let Some((leave, from)) = apex.place_in(name, starts) else { continue };
            let found = match (written.get(from..)?.first_chunk::<16>(), apex.short.first_chunk()) {
                (Some(end), Some(short)) if apex.length <= 16 => {
                    let mut end = *end;
                    end.make_ascii_lowercase();
                    alike(&end, short, apex.length.into())
                }
                _ => name.get(from..)? == apex.wire(),
            };
            if found {
                return Some((apex.zone, leave));
            }
        }
        None
    }

    #[inline(never)]
    fn find_many(&self, name: &[u8], starts: &[u8], skip: usize) -> Option<(u32, usize)> {
        let labels = starts.len();
        let mut leave = labels.saturating_sub(self.deepest).max(skip);
        while leave <= labels {
            let from = starts.get(leave).map_or(name.len() - 1, |&start| start.into());
            if let Some(zone) = self.exact(&name[from..]) {
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
    chunks: Arc<[Arc<[T]>]>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Chunked<T> {
        Chunked { chunks: Arc::default() }
    }
}

impl<T: Clone> Chunked<T> {
    /// The element, if there is one.
    #[inline]
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

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> FromIterator<T> for Chunked<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Chunked<T> {
        let mut items = items.into_iter().peekable();
        let mut chunks: Vec<Arc<[T]>> = Vec::new();
        while items.peek().is_some() {
            chunks.push(items.by_ref().take(CHUNK).collect());
        }
        Chunked { chunks: chunks.into() }
    }
}
