//! Reads `ports` of a backend: one instance a port, each a backend of its own.

use std::ops::RangeInclusive;

use super::pools::BackendDef;
use super::reader::Table;
use super::source::{Problem, Report};

/// Most instances of one backend.
const MOST_PORTS: usize = 1000;
/// Longest name of a backend.
const LONGEST_NAME: usize = 63;

/// The backend itself, or one named NAME:PORT for each of its `ports`.
pub(super) fn each_port(backend: BackendDef, table: &Table<'_>, report: &mut Report) -> Vec<BackendDef> {
    let Some(value) = table.get("ports") else { return vec![backend] };
    if let Some(port) = table.get("port") {
        let message = format!("{:?} has both \"port\" and \"ports\"; one of them says it all", table.path);
        report
            .add(Problem::error(value.key_place, message).key(value.path.as_str()).beside(port.key_place, "and here"));
        return Vec::new();
    }
    let Some(ports) = value.value.as_str().and_then(ports) else {
        value.wrong(&format!("ports like \"8000-8003\" or \"8000-8003, 9000\", at most {MOST_PORTS}"), report);
        return Vec::new();
    };
    let named = |port: u16| format!("{}:{port}", backend.name);
    if let Some(long) = ports.iter().map(|&port| named(port)).find(|name| name.len() > LONGEST_NAME) {
        let message = format!("{long:?}, an instance's name, is longer than {LONGEST_NAME} characters");
        report.add(Problem::error(backend.place, message).key(value.path.as_str()));
        return Vec::new();
    }
    ports.into_iter().map(|port| BackendDef { name: named(port), port: Some(port), ..backend.clone() }).collect()
}

/// `8000-8003, 9000`: ranges and ports, each port once, in order.
fn ports(text: &str) -> Option<Vec<u16>> {
    let range = |part: &str| -> Option<RangeInclusive<u16>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (0 < from && from <= to).then_some(from..=to)
    };
    let mut all: Vec<u16> = Vec::new();
    for part in text.split(',') {
        let range = range(part)?;
        if range.len() > MOST_PORTS || all.iter().any(|port| range.contains(port)) {
            return None;
        }
        all.extend(range);
    }
    (all.len() <= MOST_PORTS).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_ranges_and_numbers() {
        assert_eq!(ports("8000-8003"), Some(vec![8000, 8001, 8002, 8003]));
        assert_eq!(ports("8000 - 8001, 9000"), Some(vec![8000, 8001, 9000]));
        assert_eq!(ports("80"), Some(vec![80]));
        for bad in ["", "0-3", "9-8", "80-", "80,80", "8000-8003,8002", "1-65535", "a", "80;81", "70000"] {
            assert_eq!(ports(bad), None, "{bad}");
        }
    }
}
