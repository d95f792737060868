//! The decision: looks the name up, follows aliases, and writes the sections (RFC 1034 4.3.2).

use super::Asker;
use super::addresses::Pick;
use super::client::Client;
use super::name::{MAX_NAME, labels};
use super::query::{Edns, HEADER, QueryName};
use super::reply::{Full, Owner, Section, Writer};
use super::rrtype::{self, A, AAAA, CNAME, NS};
use super::snapshot::{Snapshot, Zone};
use super::view::{Prepared, View};
use super::zone::{Found, NodeId, Set, SetData, records};
use super::zone_builder::MAX_CHAIN;

/// RCODEs (RFC 1035 4.1.1, RFC 2136 2.2, RFC 6891 9).
#[allow(missing_docs)]
pub mod rcode {
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const YXDOMAIN: u16 = 6;
    pub const NOTAUTH: u16 = 9;
    pub const BADVERS: u16 = 16;
    pub const BADCOOKIE: u16 = 23;
}

/// What was decided beside the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// RCODE.
    pub rcode: u16,
    /// AA.
    pub authoritative: bool,
    /// TC although something was written: a referral without all of its in-domain glue (RFC 9471 3.1).
    pub truncated: bool,
    /// Extended DNS error of an exceptional answer.
    pub extended_error: Option<(u16, &'static str)>,
    /// What the rate limiter counts it under: zone and name, the zone alone for NXDOMAIN.
    pub account: u64,
    /// SCOPE PREFIX-LENGTH for those who sent a client subnet: what of it this depended on.
    pub scope: u8,
}

/// One question to one zone.
pub struct Question<'s> {
    /// What is known.
    pub snapshot: &'s Snapshot,
    /// The zone that answers.
    pub zone: &'s Zone,
    /// Where the apex stands in the message: it is a suffix of the question.
    pub apex_offset: u16,
    /// Who asks, and which counters to draw from.
    pub asker: &'s Asker,
    /// EDNS as asked.
    pub edns: Option<&'s Edns<'s>>,
    /// QTYPE.
    pub qtype: u16,
}

/// Largest `max_udp_payload` that may be set: what fits into a reply over UDP fits into that many octets.
const LARGEST_UDP: usize = 4096;
/// Octets of eight IPv6 addresses behind an alias.
const USUAL_PIECE: usize = 8 * 28;

/// HINFO of RFC 8482 4.2: owner pointer, type, class, TTL 3600, "RFC8482", "".
const MINIMAL_ANY: &[u8] = b"\xc0\x0c\x00\x0d\x00\x01\x00\x00\x0e\x10\x00\x09\x07RFC8482\x00";

const NOERROR: Decision = Decision {
    rcode: rcode::NOERROR,
    authoritative: true,
    truncated: false,
    extended_error: None,
    account: 0,
    scope: 0,
};

impl Question<'_> {
    /// Whose question it is: the client subnet when it says something, else the source address.
    pub fn client(&self) -> Client {
        let subnet = self.edns.and_then(|edns| edns.subnet).and_then(|subnet| Client::subnet(&subnet));
        subnet.unwrap_or_else(|| Client::source(self.asker.address))
    }

    /// Answers. `Full` means that something required does not fit: TC, and nothing else.
    pub fn answer(&self, name: &QueryName, writer: &mut Writer<'_, '_>) -> Result<Decision, Full> {
        let data = &self.zone.data;
        let found = data.lookup(name.wire(), name.starts(), self.qtype);
        let node = match found {
            Found::Node(id) | Found::Delegation(id) | Found::Dname(id) => id.number() + 1,
            Found::NxDomain => 0,
        };
        let decision = self.decide(name, found, writer)?;
        Ok(Decision { account: u64::from(node), ..decision })
    }

    fn decide(&self, name: &QueryName, found: Found, writer: &mut Writer<'_, '_>) -> Result<Decision, Full> {
        let data = &self.zone.data;
        match found {
            // The short way: nothing to follow.
            Found::Node(id) => {
                if let Some(set) = data.set(id, self.qtype) {
                    return self.put_answer(set, name, Owner::Question, writer);
                }
                let Some(alias) = data.set(id, CNAME) else {
                    if self.qtype == rrtype::ANY && !data.sets(id).is_empty() {
                        writer.put_set(Section::Answer, Owner::Question, MINIMAL_ANY, rrtype::HINFO, 1)?;
                        return Ok(NOERROR);
                    }
                    return self.negative(rcode::NOERROR, writer);
                };
                if self.qtype == rrtype::ANY {
                    return self.put_answer(alias, name, Owner::Question, writer);
                }
                self.chain(name, found, writer)
            }
            Found::Dname(_) => self.chain(name, found, writer),
            Found::Delegation(cut) => self.referral(cut, false, writer),
            // The parent's side knows of no such child; the child lives, so it must not be denied.
            Found::NxDomain if self.qtype == rrtype::DS && self.snapshot.apexes.exact(name.wire()).is_some() => {
                self.negative(rcode::NOERROR, writer)
            }
            Found::NxDomain => self.negative(rcode::NXDOMAIN, writer),
        }
    }

    /// Follows CNAMEs and DNAMEs within the zone, 16 links at most. The RCODE speaks of the last name, AA of the first
    /// (RFC 6604 2 and 3).
    fn chain(&self, name: &QueryName, found: Found, writer: &mut Writer<'_, '_>) -> Result<Decision, Full> {
        let data = &self.zone.data;
        let mut current = name.clone();
        let mut found = found;
        let mut target = [0u8; MAX_NAME];
        // Names already passed: static targets only, since DNAMEs end by the link limit or by length.
        let mut passed: [&[u8]; MAX_CHAIN] = [&[]; MAX_CHAIN];
        for link in 0..=MAX_CHAIN {
            let own = current.clone();
            let owner = if link == 0 { Owner::Question } else { Owner::Name(own.wire()) };
            let length = match found {
                Found::Node(id) => {
                    if let Some(set) = data.set(id, self.qtype) {
                        return self.put_answer(set, name, owner, writer);
                    }
                    let Some(alias) = data.set(id, CNAME) else { return self.negative(rcode::NOERROR, writer) };
                    if link == MAX_CHAIN {
                        return Ok(NOERROR);
                    }
                    let SetData::Static(octets) = data.data(alias) else { return Ok(NOERROR) };
                    writer.put_set(Section::Answer, owner, octets, CNAME, alias.count())?;
                    let Some(record) = records(octets).next() else { return Ok(NOERROR) };
                    let comes_round = record.rdata.eq_ignore_ascii_case(name.wire())
                        || passed[..link].iter().any(|before| before.eq_ignore_ascii_case(record.rdata));
                    if comes_round {
                        return Ok(NOERROR);
                    }
                    passed[link] = record.rdata;
                    let Some(place) = target.get_mut(..record.rdata.len()) else { return Ok(NOERROR) };
                    place.copy_from_slice(record.rdata);
                    record.rdata.len()
                }
                Found::Dname(at) => {
                    if link == MAX_CHAIN {
                        return Ok(NOERROR);
                    }
                    match self.put_dname(at, own.wire(), owner, &mut target, writer)? {
                        // The CNAME just made is what was asked for (RFC 1034 4.3.2, step 3a); ANY is content with it.
                        Some(_) if matches!(self.qtype, CNAME | rrtype::ANY) => return Ok(NOERROR),
                        Some(length) => length,
                        None => return Ok(Decision { rcode: rcode::YXDOMAIN, ..NOERROR }),
                    }
                }
                Found::Delegation(cut) => return self.referral(cut, true, writer),
                Found::NxDomain => return self.negative(rcode::NXDOMAIN, writer),
            };
            if current.read(&target[..length]).is_none() || !ends_in(&current, data.apex().as_wire()) {
                return Ok(NOERROR);
            }
            found = data.lookup(current.wire(), current.starts(), self.qtype);
        }
        Ok(NOERROR)
    }

    /// The DNAME and the CNAME that it makes of `name` (RFC 6672 2.2, 3.1). `None` when the new name is too long.
    fn put_dname(
        &self,
        at: NodeId,
        name: &[u8],
        owner: Owner<'_>,
        target: &mut [u8; MAX_NAME],
        writer: &mut Writer<'_, '_>,
    ) -> Result<Option<usize>, Full> {
        let data = &self.zone.data;
        let Some(set) = data.set(at, rrtype::DNAME) else { return Ok(None) };
        let SetData::Static(octets) = data.data(set) else { return Ok(None) };
        let Some(record) = records(octets).next() else { return Ok(None) };
        let above = data.whole_name(at);
        writer.put_set(Section::Answer, Owner::Name(above), octets, rrtype::DNAME, set.count())?;
        let prefix = name.len() - above.len();
        let length = prefix + record.rdata.len();
        let Some(place) = target.get_mut(..length) else { return Ok(None) };
        place[..prefix].copy_from_slice(&name[..prefix]);
        place[prefix..].copy_from_slice(record.rdata);
        let mut cname = [0u8; 12 + MAX_NAME];
        cname[..2].copy_from_slice(&[0xc0, HEADER as u8]);
        cname[2..4].copy_from_slice(&CNAME.to_be_bytes());
        cname[4..6].copy_from_slice(&rrtype::CLASS_IN.to_be_bytes());
        cname[6..10].copy_from_slice(&record.ttl.to_be_bytes());
        cname[10..12].copy_from_slice(&(length as u16).to_be_bytes());
        cname[12..12 + length].copy_from_slice(place);
        writer.put_set(Section::Answer, owner, &cname[..12 + length], CNAME, 1)?;
        Ok(Some(length))
    }

    /// The set that was asked for.
    fn put_answer(
        &self,
        set: &Set,
        name: &QueryName,
        owner: Owner<'_>,
        writer: &mut Writer<'_, '_>,
    ) -> Result<Decision, Full> {
        match self.zone.data.data(set) {
            SetData::Static(_) if set.rtype == rrtype::SOA => {
                self.put_soa(Section::Answer, false, writer)?;
                Ok(NOERROR)
            }
            SetData::Static(octets) => {
                writer.put_set(Section::Answer, owner, octets, set.rtype, set.count())?;
                Ok(NOERROR)
            }
            SetData::Balanced(index) => self.put_balanced(index, name, owner, writer),
        }
    }

    /// `name` is the question's, whatever alias led here.
    fn put_balanced(
        &self,
        index: u32,
        name: &QueryName,
        owner: Owner<'_>,
        writer: &mut Writer<'_, '_>,
    ) -> Result<Decision, Full> {
        let failed = Decision { rcode: rcode::SERVFAIL, authoritative: false, ..NOERROR };
        let Some(slot) = self.zone.names.get(index as usize) else { return Ok(failed) };
        let Some(mut view) = self.snapshot.views.get(slot.view) else { return Ok(failed) };
        let draws = self.snapshot.draws.get(self.asker.worker);
        let (mut counter, mut bits) = (slot.draw, 0);
        // Looked at only by those who read it.
        let mut client: Option<Client> = None;
        if let Prepared::Route(program) = &view.prepared {
            let client = client.get_or_insert_with(|| self.client());
            let landing = program.walk(client, name.wire(), draws, slot.draw);
            let Some(landed) = self.snapshot.views.get(landing.view) else { return Ok(failed) };
            (view, counter, bits) = (landed, landing.counter, landing.bits);
        }
        let view: &View = view;
        let addresses = match &view.prepared {
            Prepared::Addresses(addresses) => addresses,
            Prepared::Services(services) => {
                let octets = services.at(draws.map_or(0, |draws| draws.next(counter)));
                writer.put_set(Section::Answer, owner, octets, services.rtype(), services.answers() as u16)?;
                if let Some(draws) = draws {
                    draws.count(view.tally);
                }
                return Ok(Decision { extended_error: view.extended_error, scope: bits, ..NOERROR });
            }
            // Negative answers and errors are of no region (RFC 7871 7.4): scope 0.
            Prepared::NoData => {
                let negative = self.negative(rcode::NOERROR, writer)?;
                return Ok(Decision { extended_error: view.extended_error, ..negative });
            }
            // The whole answer is that RCODE, whatever alias led here.
            Prepared::ServFail | Prepared::Route(_) => {
                writer.clear();
                return Ok(Decision { extended_error: view.extended_error, ..failed });
            }
            Prepared::Refused => {
                writer.clear();
                return Ok(Decision { rcode: rcode::REFUSED, extended_error: view.extended_error, ..failed });
            }
        };
        let pick = match addresses.reads() {
            None => Pick::draw(draws.map_or(0, |draws| draws.next(counter))),
            Some(key) => {
                let client = client.get_or_insert_with(|| self.client());
                let (hash, hashed) = client.hash(key, name.wire());
                bits = bits.max(client.scope_of_hash(key, hashed));
                Pick::hash(hash)
            }
        };
        let first = if matches!(owner, Owner::Question) {
            let first = addresses.write(pick, writer.room(addresses.length())?);
            writer.count(Section::Answer, addresses.answers());
            first
        } else {
            // Behind an alias each record needs its owner: rare, and the pieces are small.
            let length = addresses.length();
            // An owner takes a pointer at least, so this is the least that is written. Said before anything is allocated.
            if length > writer.left() {
                return Err(Full);
            }
            let mut put = |piece: &mut [u8]| {
                let first = addresses.write(pick, piece);
                writer.put_set(Section::Answer, owner, piece, self.qtype, addresses.answers() as u16)?;
                Ok(first)
            };
            if length <= USUAL_PIECE {
                // Clearing the larger piece would cost more than the rest of the answer.
                put(&mut [0; USUAL_PIECE][..length])?
            } else if length <= LARGEST_UDP {
                put(&mut [0; LARGEST_UDP][..length])?
            } else {
                // Over TCP alone: more than a UDP reply holds.
                put(&mut vec![0; length])?
            }
        };
        if let Some(draws) = draws {
            draws.count(view.tally + first as u32);
        }
        Ok(Decision { extended_error: view.extended_error, scope: bits, ..NOERROR })
    }

    /// NXDOMAIN or NODATA with the SOA (RFC 2308 2).
    fn negative(&self, rcode: u16, writer: &mut Writer<'_, '_>) -> Result<Decision, Full> {
        if self.put_soa(Section::Authority, true, writer).is_err() {
            // The RCODE stands, whatever does not fit.
            writer.clear();
            return Ok(Decision { rcode, truncated: true, ..NOERROR });
        }
        Ok(Decision { rcode, ..NOERROR })
    }

    fn put_soa(&self, section: Section, negative: bool, writer: &mut Writer<'_, '_>) -> Result<(), Full> {
        let soa = &self.zone.soa;
        soa.write(self.apex_offset, negative, writer.room(soa.length())?);
        writer.count(section, 1);
        Ok(())
    }

    /// The delegation's NS, and the addresses of those that are named in this zone. In-domain glue is required (RFC 9471),
    /// other addresses are left out when they do not fit.
    fn referral(&self, cut: NodeId, behind_alias: bool, writer: &mut Writer<'_, '_>) -> Result<Decision, Full> {
        let data = &self.zone.data;
        let mut decision = Decision { authoritative: behind_alias, ..NOERROR };
        let owner = data.whole_name(cut);
        let Some(set) = data.set(cut, NS) else { return Ok(decision) };
        let SetData::Static(octets) = data.data(set) else { return Ok(decision) };
        if writer.put_set(Section::Authority, Owner::Name(owner), octets, NS, set.count()).is_err() {
            // Cut or not, it is no answer of this zone's: AA stays as it is in a referral.
            writer.clear();
            return Ok(Decision { truncated: true, ..decision });
        }
        for in_domain in [true, false] {
            for record in records(octets) {
                let mut server = QueryName::empty();
                if server.read(record.rdata).is_none() || !ends_in(&server, data.apex().as_wire()) {
                    continue;
                }
                if ends_in(&server, owner) != in_domain {
                    continue;
                }
                let Some(id) = data.find(server.wire()) else { continue };
                for rtype in [A, AAAA] {
                    let Some(glue) = data.set(id, rtype) else { continue };
                    let SetData::Static(octets) = data.data(glue) else { continue };
                    let put =
                        writer.put_set(Section::Additional, Owner::Name(server.wire()), octets, rtype, glue.count());
                    decision.truncated |= put.is_err() && in_domain;
                }
            }
        }
        Ok(decision)
    }
}

/// Whether the name is `suffix` or below it.
fn ends_in(name: &QueryName, suffix: &[u8]) -> bool {
    let count = labels(suffix).count();
    name.starts().len().checked_sub(count).is_some_and(|leave| name.suffix(leave) == suffix)
}
