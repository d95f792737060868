//! Keys of the check types that have few: `grpc`, `dns`, `tls`, `exec`, `file`, `push` and `agent`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use super::super::program;
use super::super::reader::{Table, Value};
use super::super::source::{Problem, Report};
use super::{Kind, host, text, tls};
use crate::engine::name::Name;
use crate::engine::probe::{
    AgentProbe, CertificateProbe, DnsProbe, ExecProbe, FileProbe, GrpcProbe, ProbeKind, PushProbe, TlsProbe,
};
use crate::engine::rrtype;

/// RCODEs by their names (RFC 6895 2.3); others by their numbers.
const RCODES: [(&str, u16); 11] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
];

pub(super) fn grpc(table: &Table<'_>, base: &Path, report: &mut Report) -> Kind {
    // `tls = true` is a table with every default: many mesh backends need no more.
    let tls = table.get("tls").and_then(|value| match value.value.as_bool() {
        Some(true) => Some(tls::TLS_DEFAULTS),
        Some(false) => None,
        None => tls::read(&value, base, report),
    });
    let service = text(table, "service", report).unwrap_or_default();
    let default_port = Some(if tls.is_some() { 443 } else { 80 });
    let kind = ProbeKind::Grpc(GrpcProbe { tls, host: String::new(), service });
    Kind::Hosted { host: table.get("host").and_then(|value| host(&value, report)), kind, default_port }
}

pub(super) fn certificate(table: &Table<'_>, base: &Path, report: &mut Report) -> Kind {
    let tls: Option<TlsProbe> = table.get("tls").and_then(|value| tls::read(&value, base, report));
    let days = table.get("days").and_then(|value| value.integer(0..=3650, report)).unwrap_or(0);
    let tls = tls.unwrap_or(tls::TLS_DEFAULTS);
    let kind = ProbeKind::Tls(CertificateProbe { tls, host: String::new(), days: days as u32 });
    Kind::Hosted { host: table.get("host").and_then(|value| host(&value, report)), kind, default_port: Some(443) }
}

pub(super) fn dns(table: &Table<'_>, report: &mut Report) -> Option<ProbeKind> {
    let value = required(table, "name", "name = \"health.example.com\"", report)?;
    let name = match Name::parse(value.string(report)?, Some(&Name::root())) {
        Ok(name) => name,
        Err(error) => {
            value.wrong(&format!("a domain name ({error})"), report);
            return None;
        }
    };
    let rtype = match table.get("rtype") {
        None => rrtype::A,
        Some(value) => {
            let rtype = value.string(report).and_then(rrtype::parse);
            if rtype.is_none() && value.value.is_str() {
                value.wrong("a record type like \"A\", \"SOA\" or \"TYPE65280\"", report);
            }
            rtype?
        }
    };
    let expect_rcode = match table.get("expect_rcode") {
        None => vec![0],
        Some(value) => rcodes(&value, report),
    };
    Some(ProbeKind::Dns(DnsProbe { name, rtype, expect_rcode, expect: text(table, "expect", report) }))
}

fn rcodes(value: &Value<'_>, report: &mut Report) -> Vec<u16> {
    let mut all = Vec::new();
    for item in value.items() {
        let named =
            item.value.as_str().and_then(|text| RCODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)));
        let number = item.as_integer().and_then(|number| u16::try_from(number).ok()).filter(|&number| number < 4096);
        match named.map(|(_, number)| *number).or(number) {
            Some(rcode) => all.push(rcode),
            None => item.wrong("an RCODE like \"NOERROR\" or \"NXDOMAIN\", or its number", report),
        }
    }
    if value.value.as_array().is_some_and(|array| array.is_empty()) {
        value.wrong("at least one RCODE", report);
    }
    all
}

/// A file of zones may come from people who must not run programs here: hence the switch in the server file.
pub(super) fn exec(table: &Table<'_>, allowed: bool, report: &mut Report) -> Option<ProbeKind> {
    if !allowed {
        let problem = Problem::error(table.place, format!("check {:?} runs a program, and that is off", table.path));
        let help =
            "set exec = true under [checker] in the server file; whoever writes zone files may then run programs";
        report.add(problem.key(table.path.as_str()).help(help.to_owned()));
    }
    let value = required(table, "command", "command = [\"/usr/local/bin/check-web\"]", report)?;
    let command = program::command(&value, report)?;
    Some(ProbeKind::Exec(ExecProbe { command, backend: String::new(), host: String::new() }))
}

/// The file may come later: what writes it may start after this server.
pub(super) fn file(table: &Table<'_>, base: &Path, report: &mut Report) -> Option<ProbeKind> {
    let value = required(table, "file", "file = \"/run/states\"", report)?;
    let text = value.string(report)?;
    if text.is_empty() {
        value.wrong("the path of a file", report);
        return None;
    }
    let path = base.join(text);
    let path = std::path::absolute(&path).unwrap_or(path);
    let default_up = table.get("default").and_then(|value| value.word(&[("up", true), ("down", false)], report));
    Some(ProbeKind::File(FileProbe {
        path,
        backend: String::new(),
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        default_up: default_up.unwrap_or(true),
    }))
}

pub(super) fn push(name: &str, table: &Table<'_>, report: &mut Report) -> PushProbe {
    let ttl = table.get("ttl").and_then(|value| value.duration(report)).unwrap_or(Duration::from_secs(30));
    PushProbe { check: name.to_owned(), ttl }
}

pub(super) fn agent(table: &Table<'_>, report: &mut Report) -> ProbeKind {
    let feedback = table.get("feedback").and_then(|value| value.boolean(report)).unwrap_or(true);
    ProbeKind::Agent(AgentProbe { send: text(table, "send", report), feedback })
}

fn required<'t>(table: &Table<'t>, key: &str, help: &str, report: &mut Report) -> Option<Value<'t>> {
    let value = table.get(key);
    if value.is_none() {
        let problem = Problem::error(table.place, format!("check {:?} lacks {key:?}", table.path));
        report.add(problem.key(table.path.as_str()).help(format!("write {help}")));
    }
    value
}
