//! The full-screen view of `demo`: a pure drawing of a status. Keys and time live in `watch`.
//!
//! ```text
//! server, health, listeners, a refused reload
//! (demo) which backend processes live, by their keys
//! pools and backends, scrolled
//! the answers now given
//! the log: transitions, and what the keys did
//! keys
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::lines::{self, ToneLine};
use super::words::{Tone, clean};
use crate::control::view::Status;

/// Lines of a refused reload that are shown; `rollcall status` shows all.
const MAX_RELOAD: usize = 8;
/// Names whose answers are shown.
const MAX_ANSWERS: usize = 8;
/// Lines of the log.
const LOG: u16 = 6;
/// From this height on the commands to try fit beside everything else.
const TALL: u16 = 40;

/// What the view shows beside the status.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// Whether colours are wanted.
    pub color: bool,
    /// Why no status has come for a while.
    pub lost: Option<String>,
    /// First line of the pools that is shown.
    pub scroll: u16,
    /// Processes that keys kill and revive, in the order of their digits; none outside the demo.
    pub processes: Vec<Process>,
    /// Names with the answer that a client really got; empty: what the status says.
    pub answers: Vec<(String, String)>,
    /// What happened here, the newest last: newer than, and shown above, the transitions.
    pub notes: Vec<String>,
    /// Commands to try from another terminal.
    pub commands: Vec<String>,
    /// Shows the commands where they are hidden, hides them where they are shown.
    pub flip_commands: bool,
}

/// A backend process of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// `b1`
    pub name: String,
    /// `127.0.0.11:40123`
    pub address: String,
    /// Whether it listens.
    pub alive: bool,
}

/// Draws one frame.
pub fn draw(frame: &mut Frame<'_>, status: &Status, extra: &Extra) {
    let area = frame.area();
    let head = head(status, extra);
    let answers = answers(status, extra);
    let commands = !extra.commands.is_empty() && ((area.height >= TALL) != extra.flip_commands);
    let beside = commands && area.height >= TALL;
    let rows = Layout::vertical([
        Constraint::Length(rows(head.len())),
        Constraint::Length(if extra.processes.is_empty() { 0 } else { 1 }),
        Constraint::Min(5),
        Constraint::Length(if beside { rows(extra.commands.len()) + 2 } else { 0 }),
        Constraint::Length(rows(answers.len().min(MAX_ANSWERS)) + 1),
        Constraint::Length(LOG + 1),
        Constraint::Length(1),
    ])
    .split(area);

    frame.render_widget(Paragraph::new(paint(&head, extra)), rows[0]);
    if !extra.processes.is_empty() {
        frame.render_widget(Paragraph::new(paint(&[processes(extra)], extra)), rows[1]);
    }
    if commands && !beside {
        pane(frame, rows[2], " try from another terminal ", &command_lines(extra), 0, extra);
    } else {
        pools(frame, rows[2], status, extra);
        pane(frame, rows[3], " try from another terminal ", &command_lines(extra), 0, extra);
    }
    pane(frame, rows[4], " answers now ", &answers, 0, extra);
    pane(frame, rows[5], " log (UTC), newest first ", &log(status, extra), 0, extra);
    frame.render_widget(Paragraph::new(paint(&[keys(extra)], extra)), rows[6]);
}

fn rows(lines: usize) -> u16 {
    u16::try_from(lines).unwrap_or(u16::MAX)
}

fn head(status: &Status, extra: &Extra) -> Vec<ToneLine> {
    let mut head = lines::head(status);
    if let Some(cause) = &extra.lost {
        head.push(vec![(Tone::Bad, format!("lost the server: {}; trying again", clean(cause)))]);
    }
    head.extend(lines::reload(status).into_iter().take(MAX_RELOAD));
    head
}

fn processes(extra: &Extra) -> ToneLine {
    let mut line = vec![(Tone::Strong, "processes".to_string())];
    for (index, process) in extra.processes.iter().enumerate() {
        let (tone, word) = if process.alive { (Tone::Good, "lives") } else { (Tone::Bad, "killed") };
        line.push((Tone::Plain, format!("  [{}] {} ", index + 1, process.name)));
        line.push((tone, word.to_string()));
    }
    line
}

fn answers(status: &Status, extra: &Extra) -> Vec<ToneLine> {
    if extra.answers.is_empty() {
        return lines::answers(status);
    }
    extra
        .answers
        .iter()
        .map(|(name, answer)| vec![(Tone::Plain, format!("{name}  ")), (Tone::Strong, answer.clone())])
        .collect()
}

fn log(status: &Status, extra: &Extra) -> Vec<ToneLine> {
    // Notes begin with a time of day, as transitions do: one order for both.
    let mut log: Vec<ToneLine> =
        extra.notes.iter().rev().take(usize::from(LOG)).map(|note| vec![(Tone::Strong, clean(note))]).collect();
    log.extend(lines::transitions(status, usize::from(LOG)));
    let time =
        |line: &ToneLine| line.first().map(|(_, text)| text.chars().take(12).collect::<String>()).unwrap_or_default();
    log.sort_by_key(|line| std::cmp::Reverse(time(line)));
    log.truncate(usize::from(LOG));
    log
}

fn keys(extra: &Extra) -> ToneLine {
    let mut words = String::from("q quit   up/down scroll");
    if !extra.commands.is_empty() {
        words.push_str("   t commands to try");
    }
    if !extra.processes.is_empty() {
        words.push_str(&format!("   1-{} kill or revive a backend", extra.processes.len()));
    }
    vec![(Tone::Quiet, words)]
}

fn command_lines(extra: &Extra) -> Vec<ToneLine> {
    extra.commands.iter().map(|command| vec![(Tone::Plain, command.clone())]).collect()
}

fn pools(frame: &mut Frame<'_>, area: Rect, status: &Status, extra: &Extra) {
    let lines = lines::zones(status);
    let hidden = lines.len().saturating_sub(usize::from(area.height.saturating_sub(1)));
    let scroll = extra.scroll.min(rows(hidden));
    let below = hidden.saturating_sub(usize::from(scroll));
    let title = if below > 0 {
        format!(" pools and backends ({below} lines below) ")
    } else {
        " pools and backends ".to_string()
    };
    pane(frame, area, &title, &lines, scroll, extra);
}

fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[ToneLine], scroll: u16, extra: &Extra) {
    let block = Block::default().borders(Borders::TOP).title(title.to_string());
    frame.render_widget(Paragraph::new(paint(lines, extra)).block(block).scroll((scroll, 0)), area);
}

fn paint<'a>(lines: &[ToneLine], extra: &Extra) -> Vec<Line<'a>> {
    lines
        .iter()
        .map(|line| {
            Line::from_iter(line.iter().map(|(tone, text)| Span::styled(text.clone(), style(*tone, extra.color))))
        })
        .collect()
}

pub(super) fn style(tone: Tone, color: bool) -> Style {
    // NO_COLOR forbids colour, not emphasis.
    let plain = Style::default();
    match tone {
        Tone::Strong => plain.add_modifier(Modifier::BOLD),
        Tone::Quiet => plain.add_modifier(Modifier::DIM),
        Tone::Good if color => plain.fg(Color::Green),
        Tone::Bad if color => plain.fg(Color::Red),
        Tone::Warn if color => plain.fg(Color::Yellow),
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn drawn(width: u16, height: u16, status: &Status, extra: &Extra) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, status, extra)).unwrap();
        let buffer = terminal.backend().buffer();
        (0..height)
            .map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_string() + "\n")
            .collect()
    }

    fn demo() -> Extra {
        Extra {
            processes: vec![
                Process { name: "b1".to_string(), address: "127.0.0.11:40123".to_string(), alive: true },
                Process { name: "b2".to_string(), address: "127.0.0.12:40123".to_string(), alive: false },
            ],
            answers: vec![("www.demo.test A".to_string(), "127.0.0.11".to_string())],
            notes: vec!["02:59:59.000  b2 left the answers 38 ms after the kill".to_string()],
            commands: vec!["dig @127.0.0.1 -p 5300 www.demo.test A".to_string()],
            ..Extra::default()
        }
    }

    #[test]
    fn the_watch_shows_pools_answers_and_the_log() {
        let screen = drawn(110, 30, &sample::status(), &Extra::default());
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn the_demo_shows_processes_real_answers_and_times() {
        let screen = drawn(110, 44, &sample::status(), &demo());
        insta::assert_snapshot!(screen);
    }

    #[test]
    fn on_a_small_screen_a_key_swaps_pools_for_commands() {
        let mut extra = demo();
        let screen = drawn(80, 24, &sample::status(), &extra);
        assert!(!screen.contains("dig @") && screen.contains("pool web"), "{screen}");
        extra.flip_commands = true;
        let screen = drawn(80, 24, &sample::status(), &extra);
        assert!(screen.contains("dig @") && !screen.contains("pool web"), "{screen}");
    }

    #[test]
    fn a_lost_server_and_a_refused_reload_stand_at_the_top() {
        let mut status = sample::status();
        status.reload.ok = false;
        status.reload.messages = vec!["zones/lb.toml:7: unknown key".to_string()];
        let extra = Extra { lost: Some("connection refused".to_string()), ..Extra::default() };
        let screen = drawn(100, 24, &status, &extra);
        let head: Vec<&str> = screen.lines().take(5).collect();
        assert!(head[2].starts_with("lost the server: connection refused"), "{screen}");
        assert!(head[3].starts_with("reload refused") && head[4].contains("unknown key"), "{screen}");
    }

    #[test]
    fn every_size_of_screen_can_be_drawn() {
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            drawn(width, height, &sample::status(), &demo());
        }
    }
}
