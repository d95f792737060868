//! Reads `rollcall.toml`: every key of it, its default and its limits. Zones, checks, pools, routes and maps in it are read elsewhere.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::events;
use super::keys::{self, LONGEST_ID, MOST_WORKERS};
use super::plan::{CertificateFiles, ControlAddress, DnsOptions, DoubtPlan, ListenAddress, RateLimit, ServerPlan};
use super::reader::{Table, Value};
use super::source::{Place, Problem, Report};
use super::tokens;
use crate::engine::probe::{ProbeKind, ProbeSpec, Timing};

/// DNS outside port 53, so that nobody needs to be root to try it.
const DEFAULT_PORT: u16 = 5300;

/// Where the zones are.
#[derive(Debug, Clone)]
pub(super) enum ZoneFiles {
    /// Every zone file of a directory. The place, when the file names it.
    Directory(PathBuf, Option<Place>),
    /// Just these.
    List(Vec<(PathBuf, Place)>),
}

/// What is true without any file.
pub(super) fn defaults() -> ServerPlan {
    let local = |address: std::net::IpAddr, optional| ListenAddress {
        address: SocketAddr::new(address, DEFAULT_PORT),
        optional,
    };
    ServerPlan {
        file: None,
        watched: Vec::new(),
        state_dir: None,
        user: None,
        dns: vec![local(Ipv4Addr::LOCALHOST.into(), false), local(Ipv6Addr::LOCALHOST.into(), true)],
        tls: Vec::new(),
        https: Vec::new(),
        quic: Vec::new(),
        control: None,
        tokens: None,
        certificate: None,
        udp_workers: cpu_count(),
        exec_checks: false,
        dns_options: DnsOptions {
            max_udp_payload: 1232,
            nsid: Vec::new(),
            version: Vec::new(),
            id: Vec::new(),
            cookies: true,
            cookie_secrets: Vec::new(),
            rate_limit: Some(RateLimit {
                responses_per_second: 500,
                slip: 2,
                ipv4_prefix: 24,
                ipv6_prefix: 56,
                log_only: false,
                exempt: [
                    ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
                    ipnet::Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
                ]
                .into_iter()
                .collect(),
            }),
        },
        doubt: DoubtPlan::default(),
        max_shift: None,
        log_level: "info".to_owned(),
        log_json: false,
        hooks: Vec::new(),
    }
}

/// Reads the whole file but `checks` and `pools`.
pub(super) fn read(root: &Table<'_>, path: &Path, report: &mut Report) -> (ServerPlan, ZoneFiles) {
    let mut plan = ServerPlan { file: Some(path.to_owned()), ..defaults() };
    let base = directory_of(path);
    root.expect_keys(&[&keys::SERVER], &[], report);

    if let Some(value) = root.get("state_dir")
        && let Some(text) = not_empty(&value, report)
    {
        plan.state_dir = Some(absolute(&base.join(text)));
    }
    if let Some(value) = root.get("user") {
        plan.user = not_empty(&value, report).map(str::to_owned);
    }
    if let Some(value) = root.get("tls") {
        plan.certificate = certificate(&value, &base, report);
    }
    if let Some(control) = root.get("control").and_then(|value| value.table(report)) {
        plan.tokens = tokens::read(&control, path, report);
    }
    if let Some(listen) = root.get("listen").and_then(|value| value.table(report)) {
        read_listen(&listen, &base, root.get("tls").is_some(), &mut plan, report);
    }
    if let Some(dns) = root.get("dns").and_then(|value| value.table(report)) {
        read_dns(&dns, &mut plan, report);
    }
    if let Some(checker) = root.get("checker").and_then(|value| value.table(report)) {
        read_checker(&checker, &mut plan, report);
    }
    if let Some(reload) = root.get("reload").and_then(|value| value.table(report)) {
        reload.expect_keys(&[&keys::RELOAD], &[], report);
        plan.max_shift = reload.get("max_shift").and_then(|value| value.share(report));
    }
    if let Some(events) = root.get("events").and_then(|value| value.table(report)) {
        plan.hooks = events::read(&events, path, report);
    }
    if let Some(log) = root.get("log").and_then(|value| value.table(report)) {
        read_log(&log, &mut plan, report);
    }
    (plan, zone_files(root, &base, report))
}

/// Relative paths in a file are relative to its directory.
pub(super) fn directory_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

fn zone_files(root: &Table<'_>, base: &Path, report: &mut Report) -> ZoneFiles {
    let Some(value) = root.get("zones") else {
        return ZoneFiles::Directory(base.join("zones"), None);
    };
    if value.value.is_array() {
        let files = value.strings(report).into_iter().map(|(text, item)| (base.join(text), item.place));
        return ZoneFiles::List(files.collect());
    }
    match value.value.as_str() {
        Some(text) => ZoneFiles::Directory(base.join(text), Some(value.place)),
        None => {
            value.wrong("a directory, or a list of files", report);
            ZoneFiles::List(Vec::new())
        }
    }
}

fn read_listen(listen: &Table<'_>, base: &Path, has_tls: bool, plan: &mut ServerPlan, report: &mut Report) {
    listen.expect_keys(&[&keys::LISTEN], &[], report);
    if let Some(value) = listen.get("dns") {
        let listed = addresses(&value, report).into_iter();
        plan.dns = listed.map(|address| ListenAddress { address, optional: false }).collect();
    }
    for (key, list) in [("tls", &mut plan.tls), ("https", &mut plan.https), ("quic", &mut plan.quic)] {
        let Some(value) = listen.get(key) else {
            continue;
        };
        *list = addresses(&value, report);
        if !list.is_empty() && !has_tls {
            let problem =
                Problem::error(value.key_place, format!("\"listen.{key}\" needs a certificate, and there is no [tls]"));
            let help = "add [tls] with cert = \"fullchain.pem\" and key = \"privkey.pem\"".to_owned();
            report.add(problem.key(value.path.as_str()).help(help));
        }
    }
    if let Some(value) = listen.get("control") {
        plan.control = control(&value, base, plan.tokens.is_some(), report);
    }
}

fn addresses(value: &Value<'_>, report: &mut Report) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for (text, item) in value.strings(report) {
        let Some(address) = socket_address(text, &item, report) else {
            continue;
        };
        if address.port() != 0 && all.contains(&address) {
            report.add(Problem::error(item.place, format!("{address} is listed twice")).key(item.path.as_str()));
        } else {
            all.push(address);
        }
    }
    all
}

fn socket_address(text: &str, value: &Value<'_>, report: &mut Report) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let message = format!(
        "{:?} must be an IP address with a port, like \"192.0.2.1:53\" or \"[2001:db8::1]:53\", not {text:?}",
        value.path
    );
    let help = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().ok();
    let help = help.map(|address| format!("write \"{}\"", SocketAddr::new(address, 53)));
    report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
    None
}

/// Without tokens, whoever reaches the control listener may change answers, so it must not be reachable from elsewhere.
fn control(value: &Value<'_>, base: &Path, guarded: bool, report: &mut Report) -> Option<ControlAddress> {
    let text = not_empty(value, report)?;
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            value.wrong("an address like \"127.0.0.1:8053\" or \"unix:/run/rollcall/control.sock\"", report);
            return None;
        }
        return Some(ControlAddress::Unix(absolute(&base.join(path))));
    }
    let address = socket_address(text, value, report)?;
    if !guarded && !address.ip().to_canonical().is_loopback() {
        let message = format!(
            "\"listen.control\" may be a loopback address or a unix socket only, since without tokens whoever reaches {address} could change answers"
        );
        let help = "use \"127.0.0.1:8053\" or \"unix:/run/rollcall/control.sock\", or name a file of tokens: [control] tokens = \"tokens.toml\"".to_owned();
        report.add(Problem::error(value.place, message).key(value.path.as_str()).help(help));
        return None;
    }
    Some(ControlAddress::Tcp(address))
}

fn certificate(value: &Value<'_>, base: &Path, report: &mut Report) -> Option<CertificateFiles> {
    let table = value.table(report)?;
    table.expect_keys(&[&keys::TLS], &[], report);
    let mut file = |key: &str| {
        let Some(value) = table.get(key) else {
            let message = format!("[tls] lacks {key:?}: both cert and key are required");
            report.add(Problem::error(table.place, message).key("tls"));
            return None;
        };
        let path = absolute(&base.join(not_empty(&value, report)?));
        // Whether the key fits the certificate is the listeners' to say: they read both again at each renewal.
        if let Err(error) = std::fs::metadata(&path) {
            let message = format!("{} cannot be found: {error}", path.display());
            report.add(Problem::error(value.place, message).key(value.path.as_str()));
        }
        Some(path)
    };
    let (cert, key) = (file("cert"), file("key"));
    Some(CertificateFiles { cert: cert?, key: key? })
}

fn read_dns(dns: &Table<'_>, plan: &mut ServerPlan, report: &mut Report) {
    dns.expect_keys(&[&keys::DNS], &[], report);
    if let Some(count) = dns.get("udp_workers").and_then(|value| value.integer(0..=MOST_WORKERS, report)) {
        plan.udp_workers = if count == 0 { cpu_count() } else { count as usize };
    }
    let options = &mut plan.dns_options;
    if let Some(octets) = dns.get("max_udp_payload").and_then(|value| value.integer(512..=4096, report)) {
        options.max_udp_payload = octets as u16;
    }
    let texts = [("nsid", &mut options.nsid), ("version", &mut options.version), ("id", &mut options.id)];
    for (key, option) in texts {
        if let Some(value) = dns.get(key)
            && let Some(text) = value.string(report)
        {
            if text.len() > LONGEST_ID {
                value.wrong(&format!("at most {LONGEST_ID} octets long"), report);
            }
            *option = text.as_bytes().to_vec();
        }
    }
    if let Some(cookies) = dns.get("cookies").and_then(|value| value.table(report)) {
        cookies.expect_keys(&[&keys::COOKIES], &[], report);
        if let Some(enabled) = cookies.get("enabled").and_then(|value| value.boolean(report)) {
            options.cookies = enabled;
        }
        if let Some(value) = cookies.get("secrets") {
            options.cookie_secrets = secrets(&value, report);
        }
    }
    if let Some(limit) = dns.get("rate_limit").and_then(|value| value.table(report)) {
        options.rate_limit = read_rate_limit(&limit, options.rate_limit.take(), report);
    }
}

fn read_rate_limit(limit: &Table<'_>, defaults: Option<RateLimit>, report: &mut Report) -> Option<RateLimit> {
    limit.expect_keys(&[&keys::RATE_LIMIT], &[], report);
    let mut made = defaults?;
    let mut number =
        |key: &str, range: std::ops::RangeInclusive<u64>| limit.get(key).and_then(|value| value.integer(range, report));
    if let Some(rate) = number("responses_per_second", 1..=1_000_000) {
        made.responses_per_second = rate as u32;
    }
    if let Some(slip) = number("slip", 0..=10) {
        made.slip = slip as u32;
    }
    if let Some(prefix) = number("ipv4_prefix", 8..=32) {
        made.ipv4_prefix = prefix as u8;
    }
    if let Some(prefix) = number("ipv6_prefix", 16..=128) {
        made.ipv6_prefix = prefix as u8;
    }
    if let Some(log_only) = limit.get("log_only").and_then(|value| value.boolean(report)) {
        made.log_only = log_only;
    }
    if let Some(value) = limit.get("exempt") {
        made.exempt = networks(&value, report).into_iter().collect();
    }
    let enabled = limit.get("enabled").and_then(|value| value.boolean(report)).unwrap_or(true);
    enabled.then_some(made)
}

/// A secret is never shown in an error, since errors go into logs.
fn secrets(value: &Value<'_>, report: &mut Report) -> Vec<[u8; 16]> {
    let mut all = Vec::new();
    for (text, item) in value.strings(report) {
        let mut secret = [0; 16];
        let pairs = text.as_bytes().chunks_exact(2);
        let mut good = text.len() == 32 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        for (octet, pair) in secret.iter_mut().zip(pairs) {
            match std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
                Some(value) => *octet = value,
                None => good = false,
            }
        }
        if good {
            all.push(secret);
        } else {
            let message = format!("{:?} must be 32 hexadecimal digits (16 octets)", item.path);
            report.add(Problem::error(item.key_place, message).key(item.path.as_str()));
        }
    }
    all
}

fn networks(value: &Value<'_>, report: &mut Report) -> Vec<ipnet::IpNet> {
    let mut all = Vec::new();
    for (text, item) in value.strings(report) {
        let alone = || text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
        match text.parse::<ipnet::IpNet>().ok().or_else(alone) {
            Some(network) if network.addr() == network.network() => all.push(network),
            Some(network) => {
                item.wrong(&format!("a network without bits behind its prefix, here \"{}\"", network.trunc()), report)
            }
            None => item.wrong("a network like \"192.0.2.0/24\" or \"2001:db8::/32\"", report),
        }
    }
    all
}

fn read_checker(checker: &Table<'_>, plan: &mut ServerPlan, report: &mut Report) {
    checker.expect_keys(&[&keys::CHECKER], &[], report);
    if let Some(exec) = checker.get("exec").and_then(|value| value.boolean(report)) {
        plan.exec_checks = exec;
    }
    let doubt = &mut plan.doubt;
    if let Some(value) = checker.get("doubt") {
        doubt.share = match value.value.as_str() {
            Some("off") => None,
            Some(text) if text.ends_with('%') => match value.share(report) {
                Some(0) => {
                    value.wrong("a share above \"0%\", or \"off\"", report);
                    None
                }
                share => share,
            },
            _ => {
                value.wrong("a share like \"50%\", or \"off\"", report);
                None
            }
        };
    }
    if let Some(value) = checker.get("canaries") {
        doubt.canaries = addresses(&value, report);
        for (address, (_, item)) in doubt.canaries.iter().zip(value.strings(report)) {
            if address.port() == 0 {
                item.wrong("an address with the port to connect to", report);
            }
        }
    }
}

/// The probe of one canary. Often, since it must be known before backends are given up.
pub(super) fn canary(target: SocketAddr) -> ProbeSpec {
    let timing = Timing {
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(1),
        fast_interval: None,
        jitter_permille: 100,
        rise: 1,
        fall: 1,
        forgive: Default::default(),
    };
    let kind = ProbeKind::Tcp { send: None, expect: None };
    ProbeSpec { target, source: None, invert: false, watch: false, timing, kind }
}

fn read_log(log: &Table<'_>, plan: &mut ServerPlan, report: &mut Report) {
    log.expect_keys(&[&keys::LOG], &[], report);
    let levels = ["off", "error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    if let Some(level) = log.get("level").and_then(|value| value.word(&levels, report)) {
        plan.log_level = level.to_owned();
    }
    if let Some(json) = log.get("format").and_then(|value| value.word(&[("text", false), ("json", true)], report)) {
        plan.log_json = json;
    }
}

fn not_empty<'t>(value: &Value<'t>, report: &mut Report) -> Option<&'t str> {
    let text = value.string(report)?;
    if text.is_empty() {
        value.wrong("a text that is not empty; leave the key out to have none", report);
        return None;
    }
    Some(text)
}

pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
