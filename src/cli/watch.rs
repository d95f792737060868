//! `rollcall status --watch`: follows a server until told to stop. Also the loop of keys and frames that `demo` uses.

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::view::screen::{Extra, draw};
use super::view::{changes, text};
use super::{Exit, Failure, Outcome, board, output};
use crate::control::Control;
use crate::control::client::{Client, ClientError, to_json};
use crate::control::view::Status;

/// Between statuses when nothing changes: counters and times move on.
const REFRESH: Duration = Duration::from_secs(1);
/// Between attempts to reach a server that went away.
const RETRY: Duration = Duration::from_secs(1);
/// How long a key press may wait to be seen.
const KEY_POLL: Duration = Duration::from_millis(50);
/// Statuses that wait to be shown; the sender waits when the terminal is slow.
const PENDING: usize = 4;

/// What a feed yields.
#[derive(Debug)]
pub(super) enum Update {
    /// The server's latest word.
    Status(Box<Status>),
    /// The server does not answer; the feed tries again by itself.
    Lost(String),
}

/// Keys that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `q`, Escape, Ctrl-C.
    Quit,
    /// Lines, down is positive.
    Scroll(i32),
    /// `t`
    Commands,
    /// `1` to `9`, as an index.
    Digit(usize),
    /// The terminal changed its size.
    Redraw,
}

pub(super) async fn run(client: Client, json: bool) -> Outcome {
    // The first status says whether there is a server at all: exit 4 comes before the screen is taken.
    let first = client.status().await?;
    let acting = client.clone();
    let updates = follow(client);
    if json {
        return documents(first, updates).await;
    }
    if output::on_terminal() {
        return board::run(&acting, first, updates).await;
    }
    lines(first, updates).await
}

/// Follows a server: each new generation at once, and a refresh every second.
fn follow(client: Client) -> mpsc::Receiver<Update> {
    let (sender, receiver) = mpsc::channel(PENDING);
    tokio::spawn(async move {
        while !sender.is_closed() {
            if let Err(error) = follow_connection(&client, &sender).await
                && sender.send(Update::Lost(error.to_string())).await.is_err()
            {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    });
    receiver
}

async fn follow_connection(client: &Client, sender: &mpsc::Sender<Update>) -> Result<(), ClientError> {
    let mut events = client.events().await?;
    loop {
        let status = match tokio::time::timeout(REFRESH, events.next()).await {
            Ok(next) => match next? {
                Some(status) => status,
                // Ended in good order: the server shuts down.
                None => return Ok(()),
            },
            Err(_) => client.status().await?,
        };
        if sender.send(Update::Status(Box::new(status))).await.is_err() {
            return Ok(());
        }
    }
}

/// As [`follow`], for a server in this process.
pub(super) fn follow_own(control: Control) -> mpsc::Receiver<Update> {
    let (sender, receiver) = mpsc::channel(PENDING);
    tokio::spawn(async move {
        let mut generations = control.generations();
        while let Ok(status) = control.status().await {
            if sender.send(Update::Status(Box::new(status))).await.is_err() {
                return;
            }
            if let Ok(Err(_)) = tokio::time::timeout(REFRESH, generations.changed()).await {
                return;
            }
        }
    });
    receiver
}

async fn documents(first: Status, mut updates: mpsc::Receiver<Update>) -> Outcome {
    let mut last = None;
    let mut next = Some(first);
    loop {
        if let Some(status) = next.take().filter(|status| is_news(last.as_ref(), status)) {
            if stop(output::print(&(to_json(&status, false) + "\n")))? {
                return Ok(Exit::Done);
            }
            last = Some(status);
        }
        match updates.recv().await {
            Some(Update::Status(status)) => next = Some(*status),
            Some(Update::Lost(cause)) => output::complain(&cause),
            None => return Ok(Exit::Done),
        }
    }
}

fn is_news(last: Option<&Status>, status: &Status) -> bool {
    last.is_none_or(|last| last.generation != status.generation || !changes::between(last, status).is_empty())
}

async fn lines(first: Status, mut updates: mpsc::Receiver<Update>) -> Outcome {
    let mut lost = false;
    let mut last = first;
    if stop(print_lines(&changes::first(&last)))? {
        return Ok(Exit::Done);
    }
    while let Some(update) = updates.recv().await {
        match update {
            Update::Status(status) => {
                if std::mem::take(&mut lost) {
                    output::complain("the server answers again");
                }
                if stop(print_lines(&changes::between(&last, &status)))? {
                    return Ok(Exit::Done);
                }
                last = *status;
            }
            // Said once, not every second.
            Update::Lost(cause) if !std::mem::replace(&mut lost, true) => output::complain(&cause),
            Update::Lost(_) => {}
        }
    }
    Ok(Exit::Done)
}

pub(super) fn print_lines(lines: &[super::view::lines::ToneLine]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let color = output::color();
    output::print(&lines.iter().map(|line| text::line(line, color)).collect::<String>())
}

/// Whether the reader left, which ends a watch in good order.
pub(super) fn stop(result: io::Result<()>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn scroll(extra: &mut Extra, lines: i32) {
    let place = i32::from(extra.scroll).saturating_add(lines).clamp(0, i32::from(u16::MAX));
    extra.scroll = u16::try_from(place).unwrap_or(0);
}

/// The terminal in full-screen mode; given back when dropped, also by a panic, and by SIGTERM, SIGHUP and SIGINT.
pub(super) struct Screen {
    terminal: ratatui::DefaultTerminal,
    events: mpsc::Receiver<Event>,
    signals: [Signal; 3],
}

impl Screen {
    pub(super) fn open() -> Result<Screen, Failure> {
        // Before the terminal is taken: a signal in between would leave it so.
        let signals = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
        let [Ok(terminate), Ok(hangup), Ok(interrupt)] = signals else {
            return Err(Failure::new(Exit::No, "cannot catch signals"));
        };
        let terminal = ratatui::try_init().map_err(|error| {
            // It may have been taken by half.
            let _ = ratatui::try_restore();
            Failure::new(Exit::No, format!("this terminal cannot show the view: {error}"))
        })?;
        let (sender, events) = mpsc::channel(64);
        // Reading keys blocks: it has a thread of its own, which ends with the receiver.
        std::thread::spawn(move || {
            while !sender.is_closed() {
                match event::poll(KEY_POLL) {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(_) => return,
                }
                let Ok(event) = event::read() else { return };
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Screen { terminal, events, signals: [terminate, hangup, interrupt] })
    }

    pub(super) fn draw(&mut self, status: &Status, extra: &Extra) -> Result<(), Failure> {
        self.draw_by(|frame| draw(frame, status, extra))
    }

    pub(super) fn draw_by(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), Failure> {
        self.terminal.draw(draw)?;
        Ok(())
    }

    /// The next key; `None` when there is no keyboard any more, or a signal wants the end.
    pub(super) async fn key(&mut self) -> Option<Key> {
        loop {
            if let Some(key) = meaning(&self.event().await?) {
                return Some(key);
            }
        }
    }

    /// As [`Screen::key`], of everything that the terminal tells.
    pub(super) async fn event(&mut self) -> Option<Event> {
        let [terminate, hangup, interrupt] = &mut self.signals;
        tokio::select! {
            event = self.events.recv() => event,
            _ = terminate.recv() => None,
            _ = hangup.recv() => None,
            _ = interrupt.recv() => None,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = ratatui::try_restore();
    }
}

fn meaning(event: &Event) -> Option<Key> {
    let key = match event {
        Event::Resize(..) => return Some(Key::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
        KeyCode::Char('t') => Some(Key::Commands),
        KeyCode::Up | KeyCode::Char('k') => Some(Key::Scroll(-1)),
        KeyCode::Down | KeyCode::Char('j') => Some(Key::Scroll(1)),
        KeyCode::PageUp => Some(Key::Scroll(-10)),
        KeyCode::PageDown => Some(Key::Scroll(10)),
        KeyCode::Home => Some(Key::Scroll(-i32::from(u16::MAX))),
        KeyCode::Char(digit @ '1'..='9') => Some(Key::Digit(digit as usize - '1' as usize)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn keys_mean_what_the_view_says() {
        let press = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        let none = KeyModifiers::NONE;
        assert_eq!(press(KeyCode::Char('q'), none), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char('c'), none), None);
        assert_eq!(press(KeyCode::Char('1'), none), Some(Key::Digit(0)));
        assert_eq!(press(KeyCode::Char('9'), none), Some(Key::Digit(8)));
        assert_eq!(press(KeyCode::Char('0'), none), None);
        assert_eq!(press(KeyCode::Down, none), Some(Key::Scroll(1)));
    }

    #[test]
    fn scrolling_stays_within_bounds() {
        let mut extra = Extra::default();
        scroll(&mut extra, -5);
        assert_eq!(extra.scroll, 0);
        scroll(&mut extra, 3);
        assert_eq!(extra.scroll, 3);
        scroll(&mut extra, i32::MAX);
        assert_eq!(extra.scroll, u16::MAX);
    }
}
