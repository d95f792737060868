//! A status as lines of toned text, columns aligned: what the plain and the full-screen view have in common.

use super::words::{Tone, clean, count, drain_words, moment, since, tone, took};
use crate::config::plan::AdminState;
use crate::control::view::{
    AddressStatus, BackendStatus, FamilyStatus, Health, OverrideStatus, PoolStatus, RouteStatus, Status,
    TransitionStatus, ZoneStatus,
};

/// One line: pieces of text with a tone each.
pub type ToneLine = Vec<(Tone, String)>;

const HEADINGS: [&str; 7] = ["BACKEND", "STATE", "ANSWERED", "ADDRESS", "WEIGHT", "TIER", "SINCE"];

/// Server, health, listeners: one or two lines.
pub fn head(status: &Status) -> Vec<ToneLine> {
    let health = match status.health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Critical => "critical",
    };
    let mut lines = vec![vec![
        (Tone::Strong, format!("rollcall {}", clean(&status.version))),
        (Tone::Plain, "  ".to_string()),
        (tone(health), health.to_string()),
        (
            Tone::Quiet,
            format!(
                "  pid {}, up {}, generation {}",
                status.pid,
                since(&status.now, &status.started),
                status.generation
            ),
        ),
    ]];
    if let Some(frozen) = &status.frozen {
        lines.push(vec![
            (Tone::Warn, "frozen".to_string()),
            (
                Tone::Plain,
                format!(
                    " for {}: {}; {} held up, until {} at the latest",
                    since(&status.now, &frozen.since),
                    clean(&frozen.reason),
                    count(frozen.held, "failing probe"),
                    moment(&status.now, &frozen.until)
                ),
            ),
        ]);
    }
    if !status.listening.is_empty() {
        let listening = status.listening.iter().map(|place| clean(place)).collect::<Vec<_>>().join(", ");
        lines.push(vec![(Tone::Quiet, format!("listening on {listening}"))]);
    }
    lines.extend(trouble(status).into_iter().map(|words| vec![(Tone::Bad, clean(&words))]));
    let panics = status.probing.panics + status.traffic.iter().map(|one| one.panics).sum::<u64>();
    if panics > 0 {
        lines.push(vec![(Tone::Bad, format!("{panics} panics contained: a defect, please report it with the log"))]);
    }
    lines
}

/// What is not kept, and who is not told.
fn trouble(status: &Status) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(memory) = &status.memory {
        if let Some(error) = &memory.state_error {
            all.push(format!(
                "state_dir cannot be written: {error}; overrides are refused, a restart knows what was kept before"
            ));
        }
        if let Some(error) = &memory.journal_error {
            let waiting = memory.journal_waiting;
            all.push(format!("the journal cannot be written: {error}; {waiting} records wait"));
        }
        if memory.journal_lost > 0 {
            all.push(format!("{} records of the journal were lost since the start", memory.journal_lost));
        }
    }
    for hook in &status.hooks {
        if let Some(error) = &hook.error {
            all.push(format!("{}: {error}; {} events wait, {} were dropped", hook.to, hook.waiting, hook.dropped));
        }
    }
    all
}

/// The last reload; with its errors when it was refused, else with its warnings.
pub fn reload(status: &Status) -> Vec<ToneLine> {
    let reload = &status.reload;
    let ago = since(&status.now, &reload.at);
    let cause = clean(&reload.cause);
    let mut lines = Vec::new();
    if !reload.ok {
        lines.push(vec![
            (Tone::Bad, "reload refused".to_string()),
            (Tone::Plain, format!(" {ago} ago ({cause}): the old data goes on answering")),
        ]);
    } else if cause != "start" || !reload.messages.is_empty() {
        lines.push(vec![(Tone::Quiet, format!("loaded {ago} ago ({cause})"))]);
    }
    let said = if reload.rendered.is_empty() { &reload.messages } else { &reload.rendered };
    for text in said {
        for line in super::words::clean_lines(text).lines() {
            lines.push(vec![(if reload.ok { Tone::Warn } else { Tone::Plain }, format!("  {line}"))]);
        }
    }
    lines
}

/// Every zone with its names, pools and backends.
pub fn zones(status: &Status) -> Vec<ToneLine> {
    let widths = widths(status);
    let mut lines = Vec::new();
    for zone in &status.zones {
        if !lines.is_empty() {
            lines.push(Vec::new());
        }
        lines.push(zone_line(zone));
        for route in &zone.routes {
            route_lines(&mut lines, zone, route);
        }
        for pool in &zone.pools {
            pool_lines(&mut lines, status, zone, pool, &widths);
        }
    }
    if status.zones.is_empty() {
        lines.push(vec![(Tone::Warn, "no zone is loaded".to_string())]);
    }
    lines
}

/// The latest transitions, the newest first, `limit` at most.
pub fn transitions(status: &Status, limit: usize) -> Vec<ToneLine> {
    status.transitions.iter().rev().take(limit).map(transition_line).collect()
}

/// One transition: when, which, from what to what, why, and how long it took from the first contrary result.
pub fn transition_line(transition: &TransitionStatus) -> ToneLine {
    let mut line = vec![
        (Tone::Quiet, format!("{}  ", time_of_day(&transition.at))),
        (Tone::Plain, clean(&transition.id)),
        (
            Tone::Quiet,
            if transition.address.is_empty() { "  ".to_string() } else { format!(" {}  ", clean(&transition.address)) },
        ),
        (tone(&transition.from), clean(&transition.from)),
        (Tone::Quiet, " -> ".to_string()),
        (tone(&transition.to), clean(&transition.to)),
    ];
    if !transition.reason.is_empty() {
        line.push((Tone::Plain, format!("  {}", clean(&transition.reason))));
    }
    if let Some(milliseconds) = transition.took_ms {
        line.push((Tone::Quiet, format!("  {} after the first sign", took(milliseconds))));
    }
    line
}

/// What each balanced name answers now: name, type, pool, and the backends that may be answered with their addresses.
pub fn answers(status: &Status) -> Vec<ToneLine> {
    let mut lines = Vec::new();
    for zone in &status.zones {
        for name in &zone.names {
            let pool = zone.pools.iter().find(|pool| pool.pool == name.pool);
            let family = pool.and_then(|pool| pool.families.iter().find(|family| family.rtype == name.rtype));
            let mut line = vec![
                (Tone::Plain, format!("{} {}", clean(&name.name), clean(&name.rtype))),
                (
                    Tone::Quiet,
                    match name.answers {
                        0 => format!("  from {}: ", clean(&name.pool)),
                        most => {
                            let most = count(usize::from(most), "address").replace("addresss", "addresses");
                            format!("  {most} from {}: ", clean(&name.pool))
                        }
                    },
                ),
            ];
            match family {
                Some(family) if !family.answering.is_empty() => line.push((Tone::Plain, names(&family.answering))),
                Some(family) => line.push((Tone::Warn, clean(&family.why))),
                None if pool.is_none() => line.push((Tone::Quiet, "by route".to_string())),
                None => line.push((Tone::Quiet, "another pool answers".to_string())),
            }
            lines.push(line);
        }
    }
    lines
}

fn zone_line(zone: &ZoneStatus) -> ToneLine {
    vec![
        (Tone::Strong, format!("zone {}", clean(&zone.zone))),
        (
            Tone::Quiet,
            format!(
                "  {}, serial {}, {}, {}",
                clean(&zone.file),
                zone.serial,
                count(zone.records, "static record"),
                count(zone.names.len(), "balanced name")
            ),
        ),
    ]
}

/// A route, what leads to it, and where it leads.
fn route_lines(lines: &mut Vec<ToneLine>, zone: &ZoneStatus, route: &RouteStatus) {
    lines.push(Vec::new());
    lines.push(vec![
        (Tone::Strong, format!("  route {}", clean(&route.route))),
        (Tone::Plain, format!("  {}  ", clean(&route.kind))),
        (tone(&route.state), clean(&route.state)),
    ]);
    let owners: Vec<String> = zone
        .names
        .iter()
        .filter(|name| name.pool == route.route)
        .map(|name| format!("{} {}", name.name, name.rtype))
        .collect();
    if !owners.is_empty() {
        lines.push(vec![(Tone::Quiet, format!("  leads {}", names(&owners)))]);
    }
    for choice in &route.choices {
        let by = if choice.by.is_empty() { String::new() } else { format!("{}: ", clean(&choice.by)) };
        let mut line = vec![
            (Tone::Plain, format!("    {by}{}  ", clean(&choice.to))),
            (tone(&choice.state), clean(&choice.state)),
        ];
        if !choice.now {
            line.push((Tone::Quiet, "  not now".to_string()));
        }
        lines.push(line);
    }
}

fn pool_lines(lines: &mut Vec<ToneLine>, status: &Status, zone: &ZoneStatus, pool: &PoolStatus, widths: &[usize; 7]) {
    lines.push(Vec::new());
    lines.push(vec![
        (Tone::Strong, format!("  pool {}", clean(&pool.pool))),
        (Tone::Plain, format!("  {}  ", clean(&pool.policy))),
        (tone(&pool.state), clean(&pool.state)),
    ]);
    let owners: Vec<String> = zone
        .names
        .iter()
        .filter(|name| name.pool == pool.pool)
        .map(|name| format!("{} {}", name.name, name.rtype))
        .collect();
    if !owners.is_empty() {
        lines.push(vec![(Tone::Quiet, format!("  answers {}", names(&owners)))]);
    }
    for family in &pool.families {
        lines.push(family_line(family));
    }
    lines.push(vec![(Tone::Quiet, format!("    {}WHY", columns(&HEADINGS.map(str::to_string), widths)))]);
    for backend in &pool.backends {
        for (index, address) in backend.addresses.iter().enumerate() {
            lines.push(backend_line(status, backend, address, index == 0, widths));
        }
        if let Some(forced) = &backend.forced {
            lines.push(vec![(Tone::Warn, format!("      {}", override_words(&status.now, forced)))]);
        } else if backend.configured != AdminState::Auto {
            lines.push(vec![(
                Tone::Warn,
                format!("      state = \"{}\" in the zone file", state_word(backend.configured)),
            )]);
        }
        for words in clocks(&status.now, backend) {
            lines.push(vec![(Tone::Warn, format!("      {words}"))]);
        }
    }
}

/// What runs by the clock: a drain, a maintenance, a slow start.
pub(super) fn clocks(now: &str, backend: &BackendStatus) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(window) = &backend.maintenance {
        words.push(format!("maintenance from {} to {}", moment(now, &window.from), moment(now, &window.to)));
    }
    words.extend(backend.drain.as_ref().map(|drain| drain_words(now, drain)));
    if let Some(starting) = &backend.starting {
        words.push(format!(
            "starts slowly: {} % of its weight after {}",
            starting.percent,
            since(now, &starting.since)
        ));
    }
    words
}

fn family_line(family: &FamilyStatus) -> ToneLine {
    let answering =
        if family.answering.is_empty() { String::new() } else { format!("; answering {}", names(&family.answering)) };
    vec![
        (Tone::Plain, format!("  {:<4} ", clean(&family.rtype))),
        (tone(&family.state), clean(&family.why)),
        (Tone::Quiet, format!("; ttl {}{answering}", family.ttl)),
    ]
}

fn backend_line(
    status: &Status,
    backend: &BackendStatus,
    address: &AddressStatus,
    first: bool,
    widths: &[usize; 7],
) -> ToneLine {
    let cells = cells(&status.now, backend, address, first);
    let mut line = vec![(Tone::Plain, "    ".to_string())];
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let tone = if index == 1 { tone(cell) } else { Tone::Plain };
        line.push((tone, format!("{cell:<width$}  ")));
    }
    line.push((Tone::Plain, why(address)));
    line
}

fn cells(now: &str, backend: &BackendStatus, address: &AddressStatus, first: bool) -> [String; 7] {
    // With one address the backend's state says it all; with two each says its own unless a word overrides both.
    let state = match backend.state.as_str() {
        "up" | "down" | "unknown" => &address.verdict,
        other => other,
    };
    [
        if first { clean(&backend.backend) } else { String::new() },
        clean(state),
        if address.answering { "yes" } else { "no" }.to_string(),
        clean(&address.address),
        match address.weight {
            Some(now) => format!("{} now {now}", backend.weight),
            None => backend.weight.to_string(),
        },
        backend.tier.to_string(),
        address.since.as_deref().map_or_else(|| "-".to_string(), |then| since(now, then)),
    ]
}

/// What decided, and what speaks against it so far.
pub(super) fn why(address: &AddressStatus) -> String {
    let mut words = clean(&address.reason);
    if !address.said.is_empty() && !words.contains(&address.said) {
        let separator = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!("{separator}it says {:?}", clean(&address.said)));
    }
    for check in address.checks.iter().filter(|check| check.contrary > 0) {
        let separator = if words.is_empty() { "" } else { "; " };
        words.push_str(&format!(
            "{separator}{} of {} against it: {}",
            check.contrary,
            check.needed,
            clean(&check.reason)
        ));
    }
    words
}

/// An operator's word: who, why, until when.
pub(super) fn override_words(now: &str, forced: &OverrideStatus) -> String {
    let mut words = format!("override {} for {}", state_word(forced.state), since(now, &forced.since));
    if let Some(by) = &forced.by {
        words.push_str(&format!(" by {}", clean(by)));
    }
    match &forced.until {
        Some(until) => words.push_str(&format!(", ends in {}", since(until, now))),
        None => words.push_str(", until `auto`"),
    }
    if let Some(reason) = &forced.reason {
        words.push_str(&format!(": {}", clean(reason)));
    }
    words
}

/// As the files and commands write it.
pub fn state_word(state: AdminState) -> &'static str {
    match state {
        AdminState::Auto => "auto",
        AdminState::Up => "up",
        AdminState::Down => "down",
        AdminState::Drain => "drain",
    }
}

fn names(all: &[String]) -> String {
    all.iter().map(|name| clean(name)).collect::<Vec<_>>().join(", ")
}

fn widths(status: &Status) -> [usize; 7] {
    let mut widths = HEADINGS.map(str::len);
    for backend in status.zones.iter().flat_map(|zone| &zone.pools).flat_map(|pool| &pool.backends) {
        for address in &backend.addresses {
            for (width, cell) in widths.iter_mut().zip(cells(&status.now, backend, address, true)) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }
    widths
}

fn columns(cells: &[String; 7], widths: &[usize; 7]) -> String {
    cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect()
}

/// `02:53:02.123` of an RFC 3339 time.
pub(crate) fn time_of_day(at: &str) -> String {
    let time = at.split_once('T').map_or(at, |(_, time)| time);
    clean(time.trim_end_matches('Z'))
}
