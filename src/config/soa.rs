//! The zone's SOA: `[soa]`, else the `zonefile`'s, else defaults, key by key.

use domain::base::name::ParsedName;
use domain::dep::octseq::Parser;
use domain::rdata::Soa as WireSoa;

use super::keys;
use super::plan::SerialPlan;
use super::pools::MOST_TTL;
use super::rdata::{self, rtype};
use super::reader::{Table, Value};
use super::source::{Problem, Report};
use crate::engine::name::Name;

/// One SOA's fields; names as wire octets, case as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Soa {
    pub(super) mname: Vec<u8>,
    pub(super) rname: Vec<u8>,
    pub(super) serial: u32,
    pub(super) refresh: u32,
    pub(super) retry: u32,
    pub(super) expire: u32,
    /// MINIMUM: with the record's TTL, the negative TTL (RFC 2308).
    pub(super) minimum: u32,
    /// The record's own TTL.
    pub(super) ttl: u32,
}

/// `[soa]` as written; what is not written is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SoaKeys {
    mname: Option<Vec<u8>>,
    rname: Option<Vec<u8>>,
    ttl: Option<u32>,
    negative_ttl: Option<u32>,
    refresh: Option<u32>,
    retry: Option<u32>,
    expire: Option<u32>,
    serial: Option<u32>,
}

impl Soa {
    /// Reads a master file's SOA.
    pub(super) fn from_wire(wire: &[u8], ttl: u32) -> Option<Soa> {
        let mut parser = Parser::from_ref(wire);
        let soa: WireSoa<ParsedName<&[u8]>> = WireSoa::parse(&mut parser).ok()?;
        let octets = |name: &ParsedName<&[u8]>| {
            let mut wire = Vec::new();
            domain::base::ToName::compose(name, &mut wire).ok().map(|()| wire)
        };
        Some(Soa {
            mname: octets(soa.mname())?,
            rname: octets(soa.rname())?,
            serial: soa.serial().into_int(),
            refresh: soa.refresh().as_secs(),
            retry: soa.retry().as_secs(),
            expire: soa.expire().as_secs(),
            minimum: soa.minimum().as_secs(),
            ttl,
        })
    }

    /// The RDATA.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let mut wire = [self.mname.as_slice(), self.rname.as_slice()].concat();
        for number in [self.serial, self.refresh, self.retry, self.expire, self.minimum] {
            wire.extend_from_slice(&number.to_be_bytes());
        }
        wire
    }
}

impl SoaKeys {
    pub(super) fn read(table: &Table<'_>, origin: &Name, report: &mut Report) -> SoaKeys {
        table.expect_keys(&[&keys::SOA], &[], report);
        let mut name = |key: &str| table.get(key).and_then(|value| read_name(&value, origin, report));
        let (mname, rname) = (name("mname"), name("rname"));
        let mut seconds = |key: &str| Some(table.get(key)?.integer(0..=MOST_TTL, report)? as u32);
        SoaKeys {
            mname,
            rname,
            ttl: seconds("ttl"),
            negative_ttl: seconds("negative_ttl"),
            refresh: seconds("refresh"),
            retry: seconds("retry"),
            expire: seconds("expire"),
            serial: table.get("serial").and_then(|value| serial(&value, report)),
        }
    }

    /// The zone's SOA, and how its serial is made. `file` is the `zonefile`'s SOA.
    pub(super) fn complete(self, file: Option<Soa>, first_ns: &[u8], origin: &Name) -> (Soa, SerialPlan) {
        let base = file.clone().unwrap_or_else(|| Soa {
            mname: first_ns.to_vec(),
            rname: hostmaster(origin),
            serial: 0,
            refresh: 7200,
            retry: 900,
            expire: 1_209_600,
            minimum: 5,
            ttl: 3600,
        });
        let plan = match self.serial {
            Some(serial) => SerialPlan::Fixed(serial),
            None => SerialPlan::Auto { floor: file.map_or(0, |file| file.serial) },
        };
        let soa = Soa {
            mname: self.mname.unwrap_or(base.mname),
            rname: self.rname.unwrap_or(base.rname),
            serial: self.serial.unwrap_or(0),
            refresh: self.refresh.unwrap_or(base.refresh),
            retry: self.retry.unwrap_or(base.retry),
            expire: self.expire.unwrap_or(base.expire),
            minimum: self.negative_ttl.unwrap_or(base.minimum),
            ttl: self.ttl.unwrap_or(base.ttl),
        };
        (soa, plan)
    }
}

fn read_name(value: &Value<'_>, origin: &Name, report: &mut Report) -> Option<Vec<u8>> {
    let text = value.string(report)?;
    if text != "@" && text.contains('@') {
        let message =
            format!("{:?} is a name: a mail address is written with a dot for its \"@\" (RFC 1035 8)", value.path);
        let help = format!("write {:?}", format!("{}.", text.replacen('@', ".", 1)));
        report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
        return None;
    }
    let mut wire = Vec::new();
    // An NS's data is one name: the same reader, the same completion.
    if let Err(why) = rdata::encode(rtype::NS, text, origin, &mut wire) {
        report.add(Problem::error(value.place, format!("{:?} is no name: {why}", value.path)).key(value.path.as_str()));
        return None;
    }
    Some(wire)
}

fn serial(value: &Value<'_>, report: &mut Report) -> Option<u32> {
    if value.value.as_str() == Some("auto") {
        return None;
    }
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    if number.is_none() {
        value.wrong("\"auto\" or a number from 0 to 4294967295", report);
    }
    number
}

/// `hostmaster` in the zone; in a zone whose name leaves no room for it, the zone itself.
fn hostmaster(origin: &Name) -> Vec<u8> {
    origin.child(b"hostmaster").unwrap_or_else(|_| origin.clone()).as_wire().to_vec()
}
