//! Keys of `http` and `https`: the request, and what must come back.

use super::super::reader::{Table, Value};
use super::super::source::{Problem, Report};
use super::{Kind, host, text};
use crate::engine::probe::{HttpProbe, Later, TlsProbe};

/// Reads them. `tls` is `Some` for `https`.
pub(super) fn read(table: &Table<'_>, tls: Option<TlsProbe>, default_port: u16, report: &mut Report) -> Kind {
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
            feedback: Later(table.get("feedback").and_then(|value| value.boolean(report)).unwrap_or(false)),
        }),
    }
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

/// RFC 9110 5.6.2.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}
