//! Reads `[checks.NAME]`: how a backend is probed. A check becomes a probe once it meets an address, a port and a host.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::reader::{Table, Value, found};
use super::source::{Place, Problem, Report};
use crate::engine::probe::{HttpProbe, ProbeKind, ProbeSpec, Timing, TlsProbe};

const COMMON: &[&str] =
    &["type", "interval", "timeout", "fall", "rise", "fast_interval", "jitter", "port", "invert", "source", "watch"];
const TCP: &[&str] = &["send", "expect"];
const HTTP: &[&str] = &["path", "host", "method", "headers", "expect_status", "expect_body"];
const HTTPS: &[&str] = &["path", "host", "method", "headers", "expect_status", "expect_body", "tls"];
/// More results in a row than this would take hours to decide.
const MOST_IN_A_ROW: u64 = 1000;
/// The part of a body that is read (the first 64 KiB) bounds what can be expected in it.
const LONGEST_TEXT: usize = 64 * 1024;

/// One check as written, defaults filled in.
#[derive(Debug, Clone)]
pub(super) struct CheckDef {
    /// Where its name stands.
    pub(super) place: Place,
    port: Option<u16>,
    source: Option<(IpAddr, Place)>,
    invert: bool,
    watch: bool,
    timing: Timing,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Tcp { send: Option<String>, expect: Option<String> },
    Http { host: Option<String>, default_port: u16, probe: Box<HttpProbe> },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Type {
    Tcp,
    Http,
    Https,
}

/// Checks by name.
pub(super) type Checks = BTreeMap<String, CheckDef>;

/// Reads the table `checks`; `base` is where its files' relative paths start.
pub(super) fn read(table: &Table<'_>, base: &Path, report: &mut Report) -> Checks {
    let mut checks = Checks::new();
    for (name, value) in table.entries() {
        check_name("check", name, value.key_place, report);
        if let Some(check) = value.table(report).and_then(|table| read_check(&table, base, report)) {
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
    /// The probe of one address, or why there can be none.
    pub(super) fn probe(&self, address: IpAddr, port: Option<u16>, host: Option<&str>) -> Result<ProbeSpec, String> {
        let default_port = match &self.kind {
            Kind::Tcp { .. } => None,
            Kind::Http { default_port, .. } => Some(*default_port),
        };
        let Some(port) = self.port.or(port).or(default_port) else {
            return Err("needs a port, and neither the check nor the backend has one".to_owned());
        };
        if let Some((source, _)) = self.source
            && source.is_ipv4() != address.is_ipv4()
        {
            return Err(format!("probes from {source}, which cannot reach {address}: the families differ"));
        }
        let kind = match &self.kind {
            Kind::Tcp { send, expect } => ProbeKind::Tcp { send: send.clone(), expect: expect.clone() },
            Kind::Http { host: own, probe, .. } => {
                let host = own.as_deref().or(host).map_or_else(|| address.to_string(), str::to_owned);
                ProbeKind::Http(HttpProbe { host, ..(**probe).clone() })
            }
        };
        Ok(ProbeSpec {
            target: SocketAddr::new(address, port),
            source: self.source.map(|(source, _)| source),
            invert: self.invert,
            watch: self.watch,
            timing: self.timing.clone(),
            kind,
        })
    }
}

fn read_check(table: &Table<'_>, base: &Path, report: &mut Report) -> Option<CheckDef> {
    let Some(kind) = table.get("type") else {
        let message = format!("check {:?} lacks \"type\": tcp, http or https", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
        return None;
    };
    let kind = match kind.value.as_str() {
        Some("grpc" | "dns" | "tls" | "icmp" | "udp" | "exec" | "agent" | "of" | "push" | "heartbeat") => {
            let message = format!(
                "check type {} is not supported by this version, which knows tcp, http and https",
                found(kind.value)
            );
            report.add(Problem::error(kind.place, message).key(kind.path.as_str()));
            return None;
        }
        _ => kind.word(&[("tcp", Type::Tcp), ("http", Type::Http), ("https", Type::Https)], report)?,
    };
    let own = match kind {
        Type::Tcp => TCP,
        Type::Http => HTTP,
        Type::Https => HTTPS,
    };
    table.expect_keys(&[COMMON, own].concat(), &[], report);

    Some(CheckDef {
        place: table.place,
        port: table.get("port").and_then(|value| value.integer(1..=65535, report)).map(|port| port as u16),
        source: table.get("source").and_then(|value| Some((value.parsed("an IP address", report)?, value.place))),
        invert: table.get("invert").and_then(|value| value.boolean(report)).unwrap_or(false),
        watch: table.get("watch").and_then(|value| value.boolean(report)).unwrap_or(false),
        timing: timing(table, report),
        kind: match kind {
            Type::Tcp => Kind::Tcp { send: text(table, "send", report), expect: text(table, "expect", report) },
            Type::Http => http(table, None, 80, report),
            Type::Https => {
                let tls = table.get("tls").and_then(|value| tls(&value, base, report));
                http(table, Some(tls.unwrap_or(TLS_DEFAULTS)), 443, report)
            }
        },
    })
}

fn timing(table: &Table<'_>, report: &mut Report) -> Timing {
    let mut duration = |key: &str| table.get(key).and_then(|value| Some((value.duration(report)?, value)));
    let (interval, timeout, fast) = (duration("interval"), duration("timeout"), duration("fast_interval"));
    let interval = interval.map_or(Duration::from_secs(10), |(interval, _)| interval);
    let timeout = match timeout {
        Some((timeout, value)) if timeout > interval => {
            let message = format!(
                "{:?} must be at most the interval, {}, not {}",
                value.path,
                humantime::format_duration(interval),
                humantime::format_duration(timeout)
            );
            report.add(Problem::error(value.place, message).key(value.path.as_str()));
            interval
        }
        Some((timeout, _)) => timeout,
        None => Duration::from_secs(2).min(interval / 2),
    };
    let mut in_a_row = |key: &str, default: u32| {
        let value = table.get(key).and_then(|value| value.integer(1..=MOST_IN_A_ROW, report));
        value.map_or(default, |count| count as u32)
    };
    let (fall, rise) = (in_a_row("fall", 3), in_a_row("rise", 2));
    let jitter = table.get("jitter").and_then(|value| value.share(report)).unwrap_or(100);
    Timing { interval, timeout, fast_interval: fast.map(|(fast, _)| fast), jitter_permille: jitter as u16, rise, fall }
}

const TLS_DEFAULTS: TlsProbe = TlsProbe { verify: true, ca: None, server_name: None, client: None };

fn http(table: &Table<'_>, tls: Option<TlsProbe>, default_port: u16, report: &mut Report) -> Kind {
    let path = table.get("path").and_then(|value| {
        let path = value.string(report)?;
        if !path.starts_with('/') || !path.bytes().all(|octet| octet.is_ascii_graphic()) || path.contains('#') {
            value.wrong("a path that begins with \"/\", without blanks, \"#\" or octets outside ASCII", report);
        }
        Some(path.to_owned())
    });
    let method = table.get("method").and_then(|value| {
        let method = value.string(report)?;
        if method.is_empty() || method.len() > 32 || !method.bytes().all(is_token) {
            value.wrong("a request method like \"GET\" or \"HEAD\"", report);
        }
        Some(method.to_ascii_uppercase())
    });
    let expect_status = table.get("expect_status").map(|value| statuses(&value, report));
    let headers = table.get("headers").and_then(|value| value.table(report)).map(|table| headers(&table, report));
    Kind::Http {
        host: table.get("host").and_then(|value| host(&value, report)),
        default_port,
        probe: Box::new(HttpProbe {
            tls,
            path: path.unwrap_or_else(|| "/".to_owned()),
            host: String::new(),
            method: method.unwrap_or_else(|| "GET".to_owned()),
            headers: headers.unwrap_or_default(),
            expect_status: expect_status.unwrap_or_else(|| vec![(200, 399)]),
            expect_body: text(table, "expect_body", report),
        }),
    }
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

fn statuses(value: &Value<'_>, report: &mut Report) -> Vec<(u16, u16)> {
    let mut all = Vec::new();
    for item in value.items() {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=999).contains(code));
        let number = item.as_integer().map(|number| number.to_string());
        let range = item.value.as_str().or(number.as_deref()).and_then(|text| {
            let (low, high) = text.split_once('-').unwrap_or((text, text));
            Some((code(low.trim())?, code(high.trim())?)).filter(|(low, high)| low <= high)
        });
        match range {
            Some(range) => all.push(range),
            None => item.wrong("a status from 100 to 999 or a range like \"200-399\"", report),
        }
    }
    if value.value.as_array().is_some_and(|array| array.is_empty()) {
        value.wrong("at least one status", report);
    }
    all
}

fn headers(table: &Table<'_>, report: &mut Report) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, value) in table.entries() {
        if name.is_empty() || !name.bytes().all(is_token) {
            report.add(Problem::error(value.key_place, format!("{name:?} is no header name")).key(value.path.as_str()));
            continue;
        }
        if name.eq_ignore_ascii_case("host") {
            let help = "set the check's or the backend's \"host\"".to_owned();
            let problem = Problem::error(value.key_place, "the Host header has a key of its own");
            report.add(problem.key(value.path.as_str()).help(help));
            continue;
        }
        let Some(text) = value.string(report) else {
            continue;
        };
        if text.chars().any(|char| char.is_control() && char != '\t') {
            value.wrong("a text without control characters", report);
        }
        all.push((name.to_owned(), text.to_owned()));
    }
    all
}

fn tls(value: &Value<'_>, base: &Path, report: &mut Report) -> Option<TlsProbe> {
    let table = value.table(report)?;
    table.expect_keys(&["verify", "ca", "server_name", "cert", "key"], &[], report);
    let certificate = |pem: &[u8]| {
        let mut all = CertificateDer::pem_slice_iter(pem).peekable();
        all.peek().is_some() && all.all(|each| each.is_ok())
    };
    let private_key = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).is_ok();
    let ca = pem_file(&table, "ca", base, "PEM certificate", certificate, report);
    let cert = pem_file(&table, "cert", base, "PEM certificate", certificate, report);
    let key = pem_file(&table, "key", base, "PEM private key", private_key, report);
    if table.get("cert").is_some() != table.get("key").is_some() {
        let (has, lacks) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
        let message = format!("{:?} has {has:?} and lacks {lacks:?}: a client certificate needs both", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
    }
    Some(TlsProbe {
        verify: table.get("verify").and_then(|value| value.boolean(report)).unwrap_or(true),
        ca,
        server_name: table.get("server_name").and_then(|value| host(&value, report)),
        client: cert.zip(key),
    })
}

fn pem_file(
    table: &Table<'_>,
    key: &str,
    base: &Path,
    what: &str,
    is_good: impl Fn(&[u8]) -> bool,
    report: &mut Report,
) -> Option<Arc<[u8]>> {
    let value = table.get(key)?;
    let path = base.join(value.string(report)?);
    let octets = report.read_octets(&path, Some(value.place))?;
    if !is_good(&octets) {
        let message = format!("{} holds no {what}, or a broken one", path.display());
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
        return None;
    }
    Some(octets.into())
}

fn text(table: &Table<'_>, key: &str, report: &mut Report) -> Option<String> {
    let value = table.get(key)?;
    let text = value.string(report)?;
    if text.len() > LONGEST_TEXT {
        value.wrong(&format!("at most {LONGEST_TEXT} octets long"), report);
    }
    Some(text.to_owned())
}

/// RFC 9110 5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}
