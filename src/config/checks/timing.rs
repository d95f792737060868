//! Keys that every probed check has: when it runs, how many results decide, and where it connects to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::super::keys::MOST_IN_A_ROW;
use super::super::reader::{Table, Value};
use super::super::source::{Problem, Report};
use crate::engine::probe::{Later, Timing};

/// `target`: what is probed in place of the address that is answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target {
    pub(super) address: Option<IpAddr>,
    pub(super) port: Option<u16>,
}

/// Reads them; `in_a_row` are the defaults of `fall` and `rise`.
pub(super) fn read(table: &Table<'_>, (fall, rise): (u32, u32), report: &mut Report) -> Timing {
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
    let (fall, rise, forgive) = (in_a_row("fall", fall), in_a_row("rise", rise), in_a_row("forgive", 1));
    let jitter = table.get("jitter").and_then(|value| value.share(report)).unwrap_or(100);
    Timing {
        interval,
        timeout,
        fast_interval: fast.map(|(fast, _)| fast),
        jitter_permille: jitter as u16,
        rise,
        fall,
        // One success forgives without the key too: no other probe, no other fingerprint.
        forgive: Later(if forgive > 1 { forgive } else { 0 }),
    }
}

/// `"192.0.2.9"`, `"192.0.2.9:8080"`, `"[2001:db8::9]:8080"` or `":8080"`.
pub(super) fn target(table: &Table<'_>, report: &mut Report) -> Target {
    let Some(value) = table.get("target") else { return Target::default() };
    let Some(target) = value.string(report).and_then(parse) else {
        if value.value.is_str() {
            value.wrong("an address, an address with a port, or a port like \":8080\"", report);
        }
        return Target::default();
    };
    if let (Some(_), Some(port)) = (target.port, table.get("port")) {
        let problem = Problem::error(value.place, format!("{:?} has a port, and so has the key \"port\"", value.path));
        report.add(problem.key(value.path.as_str()).beside(port.key_place, "and here"));
    }
    target
}

fn parse(text: &str) -> Option<Target> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|&port| port > 0);
    if let Some(rest) = text.strip_prefix(':')
        && let Some(port) = port(rest)
    {
        return Some(Target { address: None, port: Some(port) });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() > 0).then_some(Target { address: Some(address.ip()), port: Some(address.port()) });
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.map(|address| Target { address: Some(address), port: None })
}

/// `source`: the probe's own address.
pub(super) fn source(table: &Table<'_>, report: &mut Report) -> Option<IpAddr> {
    table.get("source").and_then(|value: Value<'_>| value.parsed("an IP address", report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_ports_or_both() {
        for (text, address, port) in [
            ("192.0.2.9", Some("192.0.2.9"), None),
            ("192.0.2.9:80", Some("192.0.2.9"), Some(80)),
            ("2001:db8::9", Some("2001:db8::9"), None),
            ("[2001:db8::9]", Some("2001:db8::9"), None),
            ("[2001:db8::9]:80", Some("2001:db8::9"), Some(80)),
            (":80", None, Some(80)),
        ] {
            let target = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((target.address, target.port), (address.map(|text| text.parse().unwrap()), port), "{text}");
        }
        for text in ["", ":", ":0", "80", "192.0.2.9:0", "www.example.com", "[192.0.2.9]", ":::", "::80 "] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert_eq!(parse("::1").and_then(|target| target.address), "::1".parse().ok());
    }
}
