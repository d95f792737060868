//! Reads a master file for programs that want its records, not a zone to serve: importing. The same reader as for serving,
//! so what is imported is what would be served.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, LoadError};
use super::rdata::{self, rtype};
use super::soa::Soa;
use super::source::{Filter, Place, Problem, Report};
use super::zonefile;
use crate::engine::name::Name;

/// A master file's records, in its order.
#[derive(Debug)]
pub(crate) struct Master {
    /// The SOA's owner.
    pub(crate) origin: Name,
    pub(crate) soa: MasterSoa,
    /// All records but the SOA.
    pub(crate) rows: Vec<Row>,
    /// What deserves a look.
    pub(crate) warnings: Vec<Diagnostic>,
    /// The file and what it includes.
    pub(crate) files: Vec<PathBuf>,
}

/// The SOA's fields; names as wire octets.
#[derive(Debug, Clone)]
pub(crate) struct MasterSoa {
    pub(crate) mname: Vec<u8>,
    pub(crate) rname: Vec<u8>,
    pub(crate) serial: u32,
    pub(crate) refresh: u32,
    pub(crate) retry: u32,
    pub(crate) expire: u32,
    pub(crate) minimum: u32,
    pub(crate) ttl: u32,
}

/// One record.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) owner: Name,
    pub(crate) rtype: u16,
    pub(crate) ttl: u32,
    /// Uncompressed wire form.
    pub(crate) rdata: Vec<u8>,
}

/// Reads `path` and all that it includes. `origin` completes relative names until the file says another; `ttl` holds until
/// the file says one, `is_default` for all records without one of their own; `filter` sees each file's text before it is read.
pub(crate) fn read(
    path: &Path,
    origin: Option<&Name>,
    (ttl, is_default): (u32, bool),
    filter: Option<Filter>,
) -> Result<Master, LoadError> {
    let mut report = Report::default();
    report.filter = filter;
    let Some(file) = report.read(path, None) else {
        return Err(report.into_error());
    };
    let mut rows = Vec::new();
    let mut soa: Option<(Name, MasterSoa, Place)> = None;
    zonefile::read_with(file, origin, ttl, is_default, &mut report, &mut |record, report| {
        if record.rtype != rtype::SOA {
            let (owner, rdata) = (record.owner.clone(), record.rdata.to_vec());
            rows.push(Row { owner, rtype: record.rtype, ttl: record.ttl, rdata });
        } else if let Some((owner, _, first)) = &soa {
            let message = format!("{} has an SOA, and so has {owner}: a zone has one", record.owner);
            report.add(Problem::error(record.place, message).beside(*first, "first here"));
        } else if let Some(read) = Soa::from_wire(record.rdata, record.ttl) {
            soa = Some((record.owner.clone(), read.into(), record.place));
        }
        ControlFlow::Continue(())
    });
    let Some((origin, soa, _)) = soa else {
        if report.error_count() == 0 {
            report.add(Problem::error(Place::new(file, 0..0), "this zone has no SOA record"));
        }
        return Err(report.into_error());
    };
    if report.error_count() > 0 {
        return Err(report.into_error());
    }
    let files = report.touched();
    Ok(Master { origin, soa, rows, warnings: report.into_diagnostics(), files })
}

/// Reads RDATA in presentation form, names completed with `origin`: the type's number and the octets.
pub(crate) fn encode(rtype: &str, text: &str, origin: &Name) -> Result<(u16, Vec<u8>), String> {
    let number = rdata::type_number(rtype)?;
    let mut wire = Vec::new();
    rdata::encode(number, text, origin, &mut wire)?;
    Ok((number, wire))
}

impl From<Soa> for MasterSoa {
    fn from(soa: Soa) -> MasterSoa {
        let Soa { mname, rname, serial, refresh, retry, expire, minimum, ttl } = soa;
        MasterSoa { mname, rname, serial, refresh, retry, expire, minimum, ttl }
    }
}

impl MasterSoa {
    /// Reads RDATA.
    pub(crate) fn from_wire(wire: &[u8], ttl: u32) -> Option<MasterSoa> {
        Soa::from_wire(wire, ttl).map(MasterSoa::from)
    }
}
