//! Reads `[checks.NAME]`: how a backend is probed. A check becomes a probe once it meets an address, a port and a host.

mod http;
mod of;
mod other;
mod timing;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::keys;
use super::reader::{Table, Value};
use super::source::{Place, Problem, Report};
use crate::engine::probe::{HttpProbe, OfMember, OfProbe, ProbeKind, ProbeSpec, Timing};
pub(super) use of::{Resolver, verify};
use timing::Target;

/// The part of a body that is read (the first 64 KiB) bounds what can be expected in it.
const LONGEST_TEXT: usize = 64 * 1024;

/// One check as written, defaults filled in.
#[derive(Debug, Clone)]
pub(super) struct CheckDef {
    /// Where its name stands.
    pub(super) place: Place,
    name: String,
    port: Option<u16>,
    target: Target,
    source: Option<IpAddr>,
    invert: bool,
    watch: bool,
    timing: Timing,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// With a host of its own, or the backend's.
    Http {
        host: Option<String>,
        default_port: u16,
        probe: Box<HttpProbe>,
    },
    /// Complete but for the host.
    Hosted {
        host: Option<String>,
        kind: ProbeKind,
        default_port: Option<u16>,
    },
    /// Complete as it is. `has_port`: it needs one.
    Plain {
        kind: ProbeKind,
        has_port: bool,
        default_port: Option<u16>,
    },
    Of {
        need: u32,
        members: Vec<of::Member>,
    },
}

/// The check types.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Tcp,
    Http,
    Https,
    Grpc,
    Dns,
    Tls,
    Icmp,
    Exec,
    File,
    Push,
    Agent,
    Of,
}

const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("http", Type::Http),
    ("https", Type::Https),
    ("grpc", Type::Grpc),
    ("dns", Type::Dns),
    ("tls", Type::Tls),
    ("icmp", Type::Icmp),
    ("exec", Type::Exec),
    ("file", Type::File),
    ("push", Type::Push),
    ("agent", Type::Agent),
    ("of", Type::Of),
];

/// Checks by name.
pub(super) type Checks = BTreeMap<String, CheckDef>;

/// What reading a check depends on beside its text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'p> {
    /// Where the file's relative paths start.
    pub(super) base: &'p Path,
    /// `[checker] exec` of the server file.
    pub(super) exec: bool,
}

/// The use of a check by one address of a backend, or by one that lives elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use<'b> {
    /// `None` elsewhere: only what has a target of its own can be asked there.
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
    /// The backend's own, or where it lives.
    pub(super) host: Option<&'b str>,
    pub(super) backend: &'b str,
}

/// Stands for the address where there is none and nobody is asked.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Reads the table `checks`.
pub(super) fn read(table: &Table<'_>, setting: Setting<'_>, report: &mut Report) -> Checks {
    let mut checks = Checks::new();
    for (name, value) in table.entries() {
        check_name("check", name, value.key_place, report);
        if let Some(check) = value.table(report).and_then(|table| read_check(name, &table, setting, report)) {
            checks.insert(name.to_owned(), check);
        }
    }
    checks
}

/// Names of pools, checks and backends.
pub(super) fn check_name(what: &str, name: &str, place: Place, report: &mut Report) -> bool {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"_.:-".contains(&octet));
    if !good {
        let message = format!("a {what}'s name has 1 to 63 letters, digits or \"_.:-\", not {name:?}");
        report.add(Problem::error(place, message));
    }
    good
}

impl CheckDef {
    /// Whether it counts others.
    pub(super) fn is_calculated(&self) -> bool {
        matches!(self.kind, Kind::Of { .. })
    }

    /// The probe of one address, or why there can be none. `others` finds the checks that an `of` check counts.
    pub(super) fn probe(&self, of: Use<'_>, others: &mut Resolver<'_>) -> Result<ProbeSpec, String> {
        let asks_nobody = matches!(
            &self.kind,
            Kind::Of { .. } | Kind::Plain { kind: ProbeKind::Exec(_) | ProbeKind::File(_) | ProbeKind::Push(_), .. }
        );
        let address = match self.target.address.or(of.address) {
            Some(address) => address,
            None if asks_nobody => NOWHERE,
            None => {
                return Err(
                    "needs target = \"ADDRESS\" or \"ADDRESS:PORT\": a backend with a cname has no address of its \
                            own to probe"
                        .to_owned(),
                );
            }
        };
        if let Some(source) = self.source
            && source.is_ipv4() != address.is_ipv4()
        {
            return Err(format!("probes from {source}, which cannot reach {address}: the families differ"));
        }
        let port = self.target.port.or(self.port).or(of.port);
        let host = |own: &Option<String>| own.as_deref().or(of.host).map_or_else(|| address.to_string(), str::to_owned);
        let (kind, port) = match &self.kind {
            Kind::Http { host: own, probe, default_port } => {
                let probe = HttpProbe { host: host(own), ..(**probe).clone() };
                (ProbeKind::Http(probe), port.or(Some(*default_port)))
            }
            Kind::Hosted { host: own, kind, default_port } => {
                let mut kind = kind.clone();
                match &mut kind {
                    ProbeKind::Grpc(grpc) => grpc.host = host(own),
                    ProbeKind::Tls(tls) => tls.host = host(own),
                    _ => {}
                }
                (kind, port.or(*default_port))
            }
            Kind::Plain { kind, has_port, default_port } => {
                let mut kind = kind.clone();
                match &mut kind {
                    ProbeKind::Exec(exec) => {
                        exec.backend = of.backend.to_owned();
                        exec.host = host(&None);
                    }
                    ProbeKind::File(file) => {
                        file.backend = of.backend.to_owned();
                        file.address = of.address.unwrap_or(NOWHERE);
                    }
                    // Without an address nothing else tells its heartbeats from another's.
                    ProbeKind::Push(push) if of.address.is_none() => {
                        push.check = format!("{} of {}", push.check, of.backend);
                    }
                    _ => {}
                }
                let none = if *has_port { None } else { Some(0) };
                let keeps_port = *has_port || matches!(kind, ProbeKind::Exec(_));
                (kind, if keeps_port { port.or(*default_port).or(none) } else { none })
            }
            Kind::Of { need, members } => return self.calculated(*need, members, of, others),
        };
        let Some(port) = port else {
            return Err("needs a port, and neither the check nor the backend has one".to_owned());
        };
        Ok(ProbeSpec {
            target: SocketAddr::new(address, port),
            source: self.source,
            invert: self.invert,
            watch: self.watch,
            timing: self.timing.clone(),
            kind,
        })
    }

    fn calculated(
        &self,
        need: u32,
        members: &[of::Member],
        of: Use<'_>,
        others: &mut Resolver<'_>,
    ) -> Result<ProbeSpec, String> {
        let mut counted = Vec::with_capacity(members.len());
        for member in members {
            let spec = others.resolve(&member.name, of)?;
            counted.push(OfMember { check: member.name.clone(), spec, inverted: member.inverted });
        }
        let fastest = counted.iter().map(|member| member.spec.timing.interval).min();
        let interval = fastest.unwrap_or(self.timing.interval);
        Ok(ProbeSpec {
            target: SocketAddr::new(of.address.unwrap_or(NOWHERE), 0),
            source: None,
            invert: self.invert,
            watch: false,
            timing: Timing { interval, ..self.timing.clone() },
            kind: ProbeKind::Of(OfProbe { need, members: counted }),
        })
    }
}

fn read_check(name: &str, table: &Table<'_>, setting: Setting<'_>, report: &mut Report) -> Option<CheckDef> {
    let Some(value) = table.get("type") else {
        let types: Vec<&str> = TYPES.iter().map(|(word, _)| *word).collect();
        let message = format!("check {:?} lacks \"type\": {}", table.path, types.join(", "));
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
        return None;
    };
    let kind = value.word(TYPES, report)?;
    let own = keys::CHECK_TYPES.iter().find(|(word, _)| value.value.as_str() == Some(word));
    let own = own.map_or(&[][..], |(_, sections)| *sections);
    table.expect_keys(&[&[&keys::CHECK], own].concat(), &[], report);
    // What follows the word of somebody who knows decides at once; what is measured is measured again.
    let told = matches!(kind, Type::File | Type::Push | Type::Of);
    let mut timing = timing::read(table, if told { (1, 1) } else { (3, 2) }, report);
    let plain = |kind, has_port, default_port| Kind::Plain { kind, has_port, default_port };
    let kind = match kind {
        Type::Tcp => {
            let (send, expect) = (text(table, "send", report), text(table, "expect", report));
            plain(ProbeKind::Tcp { send, expect }, true, None)
        }
        Type::Http => http::read(table, None, 80, report),
        Type::Https => {
            let tls = table.get("tls").and_then(|value| tls::read(&value, setting.base, report));
            http::read(table, Some(tls.unwrap_or(tls::TLS_DEFAULTS)), 443, report)
        }
        Type::Grpc => other::grpc(table, setting.base, report),
        Type::Dns => plain(other::dns(table, report)?, true, Some(53)),
        Type::Tls => other::certificate(table, setting.base, report),
        Type::Icmp => plain(ProbeKind::Icmp, false, None),
        Type::Exec => plain(other::exec(table, setting.exec, report)?, false, None),
        Type::File => plain(other::file(table, setting.base, report)?, false, None),
        Type::Push => {
            let probe = other::push(name, table, report);
            (timing.interval, timing.timeout) = (probe.ttl, probe.ttl / 2);
            plain(ProbeKind::Push(probe), false, None)
        }
        Type::Agent => plain(other::agent(table, report), true, None),
        Type::Of => of::read(table, report)?,
    };
    Some(CheckDef {
        place: table.place,
        name: name.to_owned(),
        port: table.get("port").and_then(|value| value.integer(1..=65535, report)).map(|port| port as u16),
        target: timing::target(table, report),
        source: timing::source(table, report),
        invert: table.get("invert").and_then(|value| value.boolean(report)).unwrap_or(false),
        watch: table.get("watch").and_then(|value| value.boolean(report)).unwrap_or(false),
        timing,
        kind,
    })
}

/// A host for the `Host` header and SNI: a name or an address, with a port at most.
pub(super) fn host(value: &Value<'_>, report: &mut Report) -> Option<String> {
    let host = value.string(report)?;
    let good = (1..=255).contains(&host.len())
        && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:[]".contains(&octet));
    if !good {
        value.wrong("a host name or an address", report);
        return None;
    }
    Some(host.to_owned())
}

fn text(table: &Table<'_>, key: &str, report: &mut Report) -> Option<String> {
    let value = table.get(key)?;
    let text = value.string(report)?;
    if text.len() > LONGEST_TEXT {
        value.wrong(&format!("at most {LONGEST_TEXT} octets long"), report);
    }
    Some(text.to_owned())
}
