//! The short way for the questions that nearly all resolvers ask: one question in class IN, no EDNS or an OPT without
//! options, answered by one set of the zone, a pool, or the SOA. The reply is made in the query's own octets, where its
//! question already stands.
//!
//! Between two queries the kernel has pushed this code and its data out of the near caches, so what counts here is how
//! much is touched. Whatever is not plain is left as it was, for the long way in [`super::answer`]; both give the same
//! octets, which `tests/wire/plain.rs` checks.

use super::name::MAX_LABEL;
use super::query::HEADER;
use super::snapshot::{Snapshot, Zone};
use super::view::{Addresses, Pick, Prepared};
use super::zone::{Found, NodeId, Place, SetData};
use super::{MIN_UDP, Reply, Transport, rcode, rrtype};

/// Octets of a message that are looked at; longer ones are not plain.
pub(super) const WINDOW: usize = 128;
/// Longest name, octets.
const NAME: usize = 2 * HALF;
/// Most names are no longer than half of that.
const HALF: usize = 32;
/// More labels than so long a name can have.
const LABELS: usize = 32;
/// An OPT without options.
const OPT: usize = 11;
/// QDCOUNT 1, all others 0, as one number.
const ONE_QUESTION: u64 = 1 << 48;

/// What stands behind the question.
enum Body<'s> {
    Static { octets: &'s [u8], count: u16 },
    Pool { addresses: &'s Addresses, slot: u32, tally: u32 },
    Negative,
}

/// A plain query, read, and on its way to its answer.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// The name in lower case, and what was behind it.
    name: [[u8; HALF]; 2],
    starts: [u8; LABELS],
    /// Where the name is in its zone, if anywhere.
    place: Place,
    zone: u32,
    /// Octets that the reply may have.
    limit: u16,
    qtype: u16,
    payload: u16,
    name_length: u8,
    labels: u8,
    /// Labels in front of the apex.
    leave: u8,
    /// The third octet of the OPT's TTL, where DO is.
    flags: u8,
    edns: bool,
}

impl Plain {
    /// Room for one.
    pub const NONE: Plain = Plain {
        name: [[0; HALF]; 2],
        starts: [0; LABELS],
        place: Place::Nowhere,
        zone: 0,
        limit: 0,
        qtype: 0,
        payload: 0,
        name_length: 0,
        labels: 0,
        leave: 0,
        flags: 0,
        edns: false,
    };

    /// The number of the zone that the query is for, or that of an earlier one in the same room.
    #[inline]
    pub(crate) fn zone(&self) -> u32 {
        self.zone
    }

    /// Reads the query in the first `length` octets of `buffer`, whose reply may have `limit` octets, and looks early at
    /// the memory where its answer will be found. `None` when it is not plain.
    #[inline(always)]
    pub fn read(
        &mut self,
        snapshot: &Snapshot,
        transport: Transport,
        buffer: &[u8],
        length: usize,
        limit: usize,
    ) -> Option<()> {
        let window: &[u8; WINDOW] = buffer.first_chunk()?;
        let limit = limit.min(buffer.len());
        if limit < MIN_UDP {
            return None;
        }
        // A query: QR, opcode, AA and TC are zero.
        if window[2] & 0xfe != 0 {
            return None;
        }
        let counts = u64::from_be_bytes(*window[4..].first_chunk()?);
        let edns = counts & 1 != 0;
        if counts & !1 != ONE_QUESTION {
            return None;
        }

        let (mut labels, mut at) = (0, 0);
        loop {
            if at >= NAME {
                return None;
            }
            let label = usize::from(window[HEADER + at]);
            if label == 0 {
                break;
            }
            if label > MAX_LABEL {
                return None;
            }
            *self.starts.get_mut(labels)? = at as u8;
            labels += 1;
            at += 1 + label;
        }
        // Type and class; owner, type, size, extended RCODE, version and half the flags of an OPT; its options' length.
        let behind: &[u8; 15] = window[HEADER + at + 1..].first_chunk()?;
        let question = u32::from_be_bytes(*behind.first_chunk()?);
        let opt = u64::from_be_bytes(*behind[4..].first_chunk()?);
        let options = if edns { OPT } else { 0 };
        let bare = opt >> 40 == u64::from(rrtype::OPT) && (opt >> 8) as u8 == 0 && behind[13] | behind[14] == 0;
        if length != HEADER + at + 5 + options || edns && !bare {
            return None;
        }
        let qtype = (question >> 16) as u16;
        let special = matches!(qtype, rrtype::DS | rrtype::OPT | 128..=255);
        if question as u16 != rrtype::CLASS_IN || special {
            return None;
        }
        self.payload = snapshot.options.max_udp_payload.max(MIN_UDP as u16);
        let most = match (transport, edns) {
            (Transport::Udp, false) => MIN_UDP as u16,
            (Transport::Udp, true) => ((opt >> 24) as u16).clamp(MIN_UDP as u16, self.payload),
            _ => u16::MAX,
        };
        self.limit = limit.min(usize::from(most)) as u16;

        // Whole halves, with whatever is behind the name: without a remainder each becomes a few vector instructions.
        let [half, other] = &mut self.name;
        *half = *window[HEADER..].first_chunk()?;
        half.make_ascii_lowercase();
        if at >= HALF {
            *other = *window[HEADER + HALF..].first_chunk()?;
            other.make_ascii_lowercase();
        }
        let name = self.name.as_flattened().get(..at + 1)?;
        let written: &[u8; NAME] = window[HEADER..].first_chunk()?;
        let (zone, leave) = snapshot.apexes.find_in(name, written, self.starts.get(..labels)?)?;
        self.place = snapshot.zones.get(zone)?.data.approach(name);
        self.zone = zone;
        (self.name_length, self.labels, self.leave) = (at as u8 + 1, labels as u8, leave as u8);
        (self.qtype, self.flags, self.edns) = (qtype, opt as u8, edns);
        Some(())
    }

    /// Whether [`Plain::aim`] has something to do: in a large zone, between reading a batch of queries and answering the first.
    #[inline(always)]
    pub fn needs_aim(&self) -> bool {
        matches!(self.place, Place::Hashed(_))
    }

    /// Looks at what reading asked for, and asks for what that leads to. To leave it out costs time, and nothing else.
    #[inline(always)]
    pub fn aim(&mut self, snapshot: &Snapshot) {
        if let Some(zone) = snapshot.zones.get(self.zone) {
            self.place = zone.data.aim(self.place);
        }
    }

    /// Makes the reply in the buffer where the query was read; `None`, and nothing changed, when the answer is not plain.
    #[inline(always)]
    pub fn answer(&self, snapshot: &Snapshot, worker: usize, buffer: &mut [u8]) -> Option<Reply> {
        let Plain { place, qtype, edns, .. } = *self;
        let name = self.name.as_flattened().get(..usize::from(self.name_length))?;
        let starts = self.starts.get(..usize::from(self.labels))?;
        let end = HEADER + name.len() + 4;
        let options = if edns { OPT } else { 0 };
        let zone: &Zone = snapshot.zones.get(self.zone)?;
        let (rcode, node, body) = match zone.data.lookup_at(place, name, self.name[0].first_chunk(), starts, qtype) {
            Found::Node(id) => (rcode::NOERROR, id.number() + 1, node(snapshot, zone, id, qtype, edns)?),
            Found::NxDomain => (rcode::NXDOMAIN, 0, Body::Negative),
            Found::Delegation(_) | Found::Dname(_) => return None,
        };
        // Where so many octets of records go, if there is room. Behind it nothing fails.
        let room = usize::from(self.limit).checked_sub(end + options)?;
        let behind = buffer.get_mut(end..)?;
        let (size, records) = match body {
            Body::Static { octets, count } => {
                if octets.len() > room {
                    return None;
                }
                match (behind.first_chunk_mut::<16>(), octets.first_chunk::<16>()) {
                    // One address: a move, where others are a call.
                    (Some(place), Some(address)) if octets.len() == 16 => *place = *address,
                    _ => behind.get_mut(..octets.len())?.copy_from_slice(octets),
                }
                (octets.len(), u64::from(count) << 32)
            }
            Body::Pool { addresses, slot, tally } => {
                let size = addresses.length();
                if size > room {
                    return None;
                }
                let (place, draws) = (behind.get_mut(..size)?, snapshot.draws.get(worker)?);
                draws.count(tally + addresses.write(Pick::draw(draws.next(slot)), place) as u32);
                (size, (addresses.answers() as u64) << 32)
            }
            Body::Negative => {
                let size = zone.soa.length();
                if size > room.min(behind.len()) {
                    return None;
                }
                let apex = starts.get(usize::from(self.leave)).map_or(name.len() - 1, |&start| usize::from(start));
                zone.soa.write((HEADER + apex) as u16, true, behind);
                (size, 1 << 16)
            }
        };
        let behind = end + size;
        if edns {
            let [p0, p1] = self.payload.to_be_bytes();
            *buffer.get_mut(behind..)?.first_chunk_mut()? =
                [0, 0, rrtype::OPT as u8, p0, p1, 0, 0, self.flags & 0x80, 0, 0, 0];
        }
        let head: &mut [u8; HEADER] = buffer.first_chunk_mut()?;
        head[2] = 0x84 | head[2] & 1;
        head[3] = rcode as u8;
        *head[4..].first_chunk_mut()? = (ONE_QUESTION | records | u64::from(edns)).to_be_bytes();
        let account = (u64::from(self.zone) + 1) << 32 | u64::from(node);
        Some(Reply {
            length: behind + options,
            rcode,
            account,
            cookie_valid: false,
            options_length: options as u16,
            qtype,
            zone: zone.traffic,
        })
    }
}

/// What a node answers.
#[inline(always)]
fn node<'s>(snapshot: &'s Snapshot, zone: &'s Zone, id: NodeId, qtype: u16, edns: bool) -> Option<Body<'s>> {
    let sets = zone.data.sets(id);
    let Some(set) = sets.iter().find(|set| set.rtype == qtype) else {
        return if sets.iter().any(|set| set.rtype == rrtype::CNAME) { None } else { Some(Body::Negative) };
    };
    let index = match zone.data.data(set) {
        // Names in these may be compressed.
        SetData::Static(_) if matches!(qtype, rrtype::NS | rrtype::CNAME | rrtype::PTR | rrtype::MX | rrtype::SOA) => {
            return None;
        }
        SetData::Static(octets) => return Some(Body::Static { octets, count: set.count() }),
        SetData::Balanced(index) => index,
    };
    let slot = zone.names.get(index as usize)?;
    let view = snapshot.views.get(slot.view)?;
    if edns && view.extended_error.is_some() {
        return None;
    }
    match &view.prepared {
        // Fits whatever the question: were the long way to draw once more, a backend would be skipped.
        Prepared::Addresses(addresses) if addresses.length() <= MIN_UDP / 2 && addresses.reads().is_none() => {
            Some(Body::Pool { addresses, slot: slot.draw, tally: view.tally })
        }
        Prepared::NoData => Some(Body::Negative),
        _ => None,
    }
}
