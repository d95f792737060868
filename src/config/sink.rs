//! Where every static record of a zone passes, whatever file it comes from, and what is checked on its way: the checks that
//! need two places in files to explain. The rest is the zone builder's.

use std::collections::{HashMap, HashSet};

use super::rdata::{rtype, type_name};
use super::source::{Place, Problem, Report};
use crate::engine::name::Name;
use crate::engine::zone::ZoneBuilder;

/// One record on its way into the zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'r> {
    pub(super) owner: &'r Name,
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    pub(super) rdata: &'r [u8],
    pub(super) place: Place,
    pub(super) from: From,
}

/// Which kind of file a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// `[records]`.
    Table,
    /// A master file.
    Master,
}

/// A zone while its records come in.
#[derive(Debug)]
pub(super) struct Sink<'z> {
    pub(super) origin: &'z Name,
    pub(super) builder: ZoneBuilder,
    /// Balanced owners, and where they are named.
    pub(super) balanced: HashMap<Name, Place>,
    /// What `[records]` holds, kept only where a `zonefile` might hold it too.
    pub(super) in_table: Option<HashMap<(Name, u16), Place>>,
    /// RDATA of the apex' first NS.
    pub(super) first_ns: Option<Box<[u8]>>,
    /// Where `[records]` names each owner, by the owner's number in the builder: the first octet's offset plus one, or 0.
    /// A map from names would take as much as the zone.
    owner_starts: Vec<u32>,
    said: HashSet<(Name, u16)>,
}

impl<'z> Sink<'z> {
    pub(super) fn new(origin: &'z Name) -> Sink<'z> {
        Sink {
            origin,
            builder: ZoneBuilder::new(origin.clone()),
            balanced: HashMap::new(),
            in_table: None,
            first_ns: None,
            owner_starts: Vec::new(),
            said: HashSet::new(),
        }
    }

    /// Takes one record, or says why not. Gives back its owner's number.
    pub(super) fn add(&mut self, record: Record<'_>, report: &mut Report) -> Option<usize> {
        let Record { owner, rtype, ttl, rdata, place, from } = record;
        if from == From::Master && !owner.is_at_or_below(self.origin) {
            report.add(
                Problem::error(place, format!("{owner} is not in the zone {}", self.origin)).key(owner.to_string()),
            );
            return None;
        }
        if !self.balanced.is_empty()
            && matches!(rtype, rtype::A | rtype::AAAA | rtype::CNAME)
            && let Some(&named) = self.balanced.get(owner)
        {
            if self.said.insert((owner.clone(), rtype)) {
                let message = format!("{owner} answers from a pool, so it can have no static {}", type_name(rtype));
                report.add(Problem::error(place, message).key(owner.to_string()).beside(named, "balanced here"));
            }
            return None;
        }
        if let Some(in_table) = &mut self.in_table {
            match from {
                From::Table => {
                    in_table.entry((owner.clone(), rtype)).or_insert(place);
                }
                From::Master => {
                    // Said once an owner and type, however many records there are of it.
                    if let Some(&first) = in_table.get(&(owner.clone(), rtype)) {
                        if self.said.insert((owner.clone(), rtype)) {
                            let message =
                                format!("{owner} {} stands both in the zonefile and in [records]", type_name(rtype));
                            report.add(Problem::error(place, message).key(owner.to_string()).beside(first, "and here"));
                        }
                        return None;
                    }
                }
            }
        }
        if rtype == rtype::NS && self.first_ns.is_none() && owner == self.origin {
            self.first_ns = Some(rdata.into());
        }
        match self.builder.add(owner, rtype, ttl, rdata, place.tag()) {
            Ok(number) => Some(number),
            Err(problem) => {
                report.add_zone_problem(problem);
                None
            }
        }
    }

    /// Refuses an owner that `[records]` had before. TOML keys that differ only in case are one name.
    pub(super) fn note_owner(&mut self, owner: &Name, number: usize, key: Place, report: &mut Report) {
        if self.owner_starts.len() <= number {
            self.owner_starts.resize(number + 1, 0);
        }
        // Files are smaller than 2^30 octets.
        let start = u32::try_from(key.start + 1).unwrap_or(u32::MAX);
        match self.owner_starts[number] {
            0 => self.owner_starts[number] = start,
            first => {
                let first = report.place_at(key.file, first as usize - 1);
                let message = format!("the owner {owner} stands here twice");
                report.add(Problem::error(key, message).key(owner.to_string()).beside(first, "first here"));
            }
        }
    }
}
