//! Draws a [`Board`]: the head, the table, what is known of the selected backend, the latest transitions, and what keys do.
//! What does not fit is left out from the bottom up; columns go from the right.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Wrap};

use super::super::lines::{self, ToneLine};
use super::super::screen::style;
use super::super::words::{Tone, clean, count, since, tone};
use super::rows::{Row, rows, share};
use super::{Board, Mode};
use crate::config::plan::AdminState;
use crate::control::view::{BackendStatus, OverrideStatus, PoolStatus, Status};

/// Columns from this width on: addresses and weights; reasons; since when.
const WIDE: u16 = 100;
const MIDDLE: u16 = 64;
const NARROW: u16 = 40;
/// From this height on there is room for the detail and for the log.
const FOR_DETAIL: u16 = 14;
const FOR_LOG: u16 = 22;
/// Lines of them.
const DETAIL: u16 = 5;
const LOG: u16 = 6;
/// Cells of a share's bar.
const BAR: usize = 10;

const HELP: &[(&str, &str)] = &[
    ("up down, j k", "choose a backend"),
    ("page up, page down, space", "a page of them"),
    ("home end, g G", "the first, the last"),
    ("/", "show only what holds a text: a name, an address, a state, a reason"),
    ("escape", "show everything again"),
    ("d", "drain it: not answered, probed still, alarms nobody"),
    ("x", "force it down"),
    ("f", "force it up, whatever its probes say"),
    ("a, u", "auto: what its probes say again (ends a drain)"),
    ("[ ]", "newer and older transitions"),
    ("?, h", "this help"),
    ("q, control-C", "leave; the server goes on"),
];

/// Draws one frame.
pub fn draw(frame: &mut Frame<'_>, status: &Status, board: &Board) {
    let area = frame.area();
    let head = head(status, board, area.height);
    let selected = selected(status, board);
    let detail = if area.height >= FOR_DETAIL { DETAIL + 1 } else { 0 };
    let log = if area.height >= FOR_LOG { LOG + 1 } else { 0 };
    let parts = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Min(2),
        Constraint::Length(detail),
        Constraint::Length(log),
        Constraint::Length(1),
    ])
    .split(area);
    frame.render_widget(Paragraph::new(paint(&head, board)), parts[0]);
    table(frame, parts[1], status, board);
    if detail > 0 {
        let lines = selected.map(|(pool, backend)| about(status, pool, backend)).unwrap_or_default();
        let title =
            selected.map_or_else(|| " nothing selected ".to_owned(), |(_, one)| format!(" {} ", clean(&one.id)));
        pane(frame, parts[2], &title, &lines, board);
    }
    if log > 0 {
        let all = lines::transitions(status, usize::MAX);
        let shown: Vec<ToneLine> = all.into_iter().skip(board.log).take(usize::from(LOG)).collect();
        let title = match board.log {
            0 => " transitions (UTC), newest first ".to_owned(),
            newer => format!(" transitions (UTC), newest first ({newer} newer) "),
        };
        pane(frame, parts[3], &title, &shown, board);
    }
    frame.render_widget(Paragraph::new(paint(&[foot(board, area.width)], board)), parts[4]);
    if board.mode == Mode::Help {
        help(frame, area, board);
    }
}

fn head(status: &Status, board: &Board, height: u16) -> Vec<ToneLine> {
    let mut head = lines::head(status);
    if let Some(cause) = &board.lost {
        head.insert(1, vec![(Tone::Bad, format!("lost the server: {}; trying again", clean(cause)))]);
    }
    let mut states = std::collections::BTreeMap::<&str, usize>::new();
    for backend in status.zones.iter().flat_map(|zone| &zone.pools).flat_map(|pool| &pool.backends) {
        *states.entry(&backend.state).or_default() += 1;
    }
    let total = states.values().sum();
    let mut line = vec![(Tone::Plain, format!("{}: ", count(total, "backend")))];
    for (at, (state, number)) in states.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        line.push((Tone::Plain, format!("{comma}{number} ")));
        line.push((tone(state), clean(state)));
    }
    head.push(line);
    head.extend(lines::reload(status));
    // The table comes first where there is little room.
    head.truncate(usize::from(height / 4).max(1));
    head
}

fn selected<'s>(status: &'s Status, board: &Board) -> Option<(&'s PoolStatus, &'s BackendStatus)> {
    let id = board.selected.as_ref()?;
    let pools = status.zones.iter().flat_map(|zone| &zone.pools);
    pools.flat_map(|pool| pool.backends.iter().map(move |backend| (pool, backend))).find(|(_, one)| one.id == *id)
}

fn table(frame: &mut Frame<'_>, area: Rect, status: &Status, board: &Board) {
    let rows = rows(status, &board.filter);
    let room = usize::from(area.height.saturating_sub(1));
    let is_selected =
        |row: &Row<'_>| matches!(row, Row::Backend { backend, .. } if board.selected.as_deref() == Some(&backend.id));
    let at = rows.iter().position(is_selected).unwrap_or_default();
    // The selection stays in sight, and the rows stand still while it does; at the very top the heading is shown too.
    let mut top = board.top.get().min(rows.len().saturating_sub(room));
    if at < top {
        top = at;
    } else if room > 0 && at >= top + room {
        top = at + 1 - room;
    }
    if rows.iter().position(|row| matches!(row, Row::Backend { .. })) == Some(at) && at < room {
        top = 0;
    }
    board.top.set(top);
    board.page.set(room);
    let below = rows.len().saturating_sub(top + room);
    let mut title = String::from(" pools and backends ");
    if !board.filter.is_empty() {
        title.push_str(&format!("with \"{}\" ", clean(&board.filter)));
    }
    match (top, below) {
        (0, 0) => {}
        (0, below) => title.push_str(&format!("({below} rows below) ")),
        (above, below) => title.push_str(&format!("({above} rows above, {below} below) ")),
    }
    let name = name_width(&rows, area.width);
    let mut lines: Vec<Line<'_>> = Vec::new();
    for row in rows.iter().skip(top).take(room) {
        let line = match row {
            Row::Zone(zone) => vec![(Tone::Strong, format!("zone {}", clean(&zone.zone)))],
            Row::Route(route) => vec![
                (Tone::Strong, format!("  route {}", clean(&route.route))),
                (Tone::Plain, format!("  {}  ", clean(&route.kind))),
                (tone(&route.state), clean(&route.state)),
            ],
            Row::Pool(pool) => pool_line(pool),
            Row::Backend { pool, backend } => backend_line(status, pool, backend, is_selected(row), name, area.width),
        };
        let mut line = painted(&line, board);
        if is_selected(row) {
            line = line.patch_style(Style::default().add_modifier(Modifier::REVERSED));
        }
        lines.push(line);
    }
    if rows.is_empty() {
        let none =
            if board.filter.is_empty() { "no zone is loaded" } else { "nothing holds that; escape shows everything" };
        lines.push(painted(&vec![(Tone::Warn, none.to_owned())], board));
    }
    let block = Block::default().borders(Borders::TOP).title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn pool_line(pool: &PoolStatus) -> ToneLine {
    let mut line = vec![
        (Tone::Strong, format!("  pool {}", clean(&pool.pool))),
        (Tone::Plain, format!("  {}  ", clean(&pool.policy))),
        (tone(&pool.state), clean(&pool.state)),
    ];
    for family in &pool.families {
        line.push((Tone::Quiet, format!("  {}: {}, ttl {}", clean(&family.rtype), clean(&family.why), family.ttl)));
    }
    line
}

fn name_width(rows: &[Row<'_>], width: u16) -> usize {
    let longest = rows.iter().filter_map(|row| match row {
        Row::Backend { backend, .. } => Some(backend.backend.chars().count()),
        _ => None,
    });
    longest.max().unwrap_or_default().clamp(4, (usize::from(width) / 4).max(4))
}

fn backend_line(
    status: &Status,
    pool: &PoolStatus,
    backend: &BackendStatus,
    selected: bool,
    name: usize,
    width: u16,
) -> ToneLine {
    let address = backend.addresses.iter().find(|one| one.verdict == "down").or_else(|| backend.addresses.first());
    let share = share(pool, backend);
    let text = share.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
    let mut line = vec![
        (Tone::Plain, if selected { "  > " } else { "    " }.to_owned()),
        (Tone::Strong, padded(&backend.backend, name)),
        (tone(&backend.state), padded(&format!("{} {}", sign(&backend.state), backend.state), 16)),
        (Tone::Plain, format!("{text:>5}  ")),
    ];
    if width >= WIDE {
        let filled = (share.unwrap_or_default() * BAR as f64).round() as usize;
        line.push((Tone::Quiet, format!("{}{}  ", "#".repeat(filled.min(BAR)), ".".repeat(BAR - filled.min(BAR)))));
        let addresses: Vec<String> = backend.addresses.iter().map(|one| clean(&one.address)).collect();
        line.push((Tone::Plain, padded(&addresses.join(" "), 18)));
    }
    if width >= NARROW {
        let then = backend.forced.as_ref().map(|forced| &forced.since).or(address.and_then(|one| one.since.as_ref()));
        line.push((Tone::Plain, padded(&then.map_or_else(|| "-".to_owned(), |then| since(&status.now, then)), 7)));
    }
    if width >= MIDDLE {
        let why = match &backend.forced {
            // The reason first: the rest may not fit, and stands below.
            Some(forced) => {
                let reason = forced.reason.as_ref().map(|reason| clean(reason) + "; ").unwrap_or_default();
                let bare = OverrideStatus { reason: None, ..forced.clone() };
                reason + &lines::override_words(&status.now, &bare)
            }
            None => address.map(lines::why).unwrap_or_default(),
        };
        line.push((Tone::Plain, why));
    }
    line
}

/// Says the same as the colour, and at a glance.
fn sign(state: &str) -> char {
    match tone(state) {
        Tone::Good => '+',
        Tone::Bad => 'x',
        Tone::Warn => '~',
        _ => '?',
    }
}

fn padded(text: &str, width: usize) -> String {
    let text = clean(text);
    let long = text.chars().count() > width;
    let kept: String = text.chars().take(if long { width.saturating_sub(1) } else { width }).collect();
    let kept = if long { kept + "…" } else { kept };
    format!("{kept:<width$}  ")
}

/// All that is known of one backend.
fn about(status: &Status, pool: &PoolStatus, backend: &BackendStatus) -> Vec<ToneLine> {
    let mut about = Vec::new();
    if let Some(forced) = &backend.forced {
        about.push(vec![(Tone::Warn, lines::override_words(&status.now, forced))]);
    } else if backend.configured != AdminState::Auto {
        about.push(vec![(
            Tone::Warn,
            format!("state = \"{}\" in the zone file", lines::state_word(backend.configured)),
        )]);
    }
    for words in lines::clocks(&status.now, backend) {
        about.push(vec![(Tone::Warn, words)]);
    }
    for address in &backend.addresses {
        let mut line = vec![
            (Tone::Plain, format!("{} ", clean(&address.address))),
            (tone(&address.verdict), clean(&address.verdict)),
            (Tone::Quiet, if address.answering { "  answered" } else { "  not answered" }.to_owned()),
        ];
        for check in &address.checks {
            let took = check.latency_ms.map(|latency| format!(" in {latency} ms")).unwrap_or_default();
            let last =
                check.last.as_ref().map(|last| format!(", {} ago", since(&status.now, last))).unwrap_or_default();
            line.push((Tone::Plain, format!("  {} ", clean(&check.check))));
            line.push((tone(&check.verdict), clean(&check.verdict)));
            line.push((Tone::Plain, format!(": {}{took}{last}", clean(&check.reason))));
        }
        about.push(line);
    }
    about.push(vec![(
        Tone::Quiet,
        format!(
            "weight {}, tier {}, pool {} ({})",
            backend.weight,
            backend.tier,
            clean(&pool.pool),
            clean(&pool.policy)
        ),
    )]);
    about
}

/// What keys do, what is typed, or what the last of them did.
fn foot(board: &Board, width: u16) -> ToneLine {
    match &board.mode {
        Mode::Filter => vec![
            (Tone::Strong, format!("/{}_", clean(&board.filter))),
            (Tone::Quiet, "  enter: keep, escape: all".to_owned()),
        ],
        Mode::Reason { state, backend, text } => {
            let what = match state {
                AdminState::Auto => "auto".to_owned(),
                other => lines::state_word(*other).to_owned(),
            };
            let name =
                if width >= WIDE { clean(backend) } else { clean(backend.rsplit('/').next().unwrap_or(backend)) };
            vec![
                (Tone::Warn, format!("{what} {name}")),
                (Tone::Strong, format!("  reason: {}_", clean(text))),
                (Tone::Quiet, "  enter: do it, escape: no".to_owned()),
            ]
        }
        _ => match &board.message {
            Some((tone, text)) => vec![(*tone, clean(text))],
            None if width >= MIDDLE => {
                vec![(
                    Tone::Quiet,
                    "q quit  up/down choose  / filter  d drain  x down  f up  a auto  ? help".to_owned(),
                )]
            }
            None => vec![(Tone::Quiet, "q quit  ? help".to_owned())],
        },
    }
}

fn help(frame: &mut Frame<'_>, area: Rect, board: &Board) {
    let width = area.width.min(96);
    let height = area.height.min(HELP.len() as u16 + 2);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let lines: Vec<ToneLine> = HELP
        .iter()
        .map(|(keys, what)| vec![(Tone::Strong, format!(" {keys:<27}")), (Tone::Plain, (*what).to_owned())])
        .collect();
    let block = Block::default().borders(Borders::ALL).title(" keys (any key goes back) ");
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(paint(&lines, board)).block(block), place);
}

fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[ToneLine], board: &Board) {
    let block = Block::default().borders(Borders::TOP).title(title.to_owned());
    frame.render_widget(Paragraph::new(paint(lines, board)).block(block).wrap(Wrap { trim: false }), area);
}

fn paint(lines: &[ToneLine], board: &Board) -> Vec<Line<'static>> {
    lines.iter().map(|line| painted(line, board)).collect()
}

fn painted(line: &ToneLine, board: &Board) -> Line<'static> {
    Line::from_iter(line.iter().map(|(tone, text)| Span::styled(text.clone(), style(*tone, board.color))))
}
