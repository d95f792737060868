//! The full screen of `status --watch`, as a value: what is selected, filtered, typed. Keys go in, wishes come out; the
//! drawing is `draw`'s, and time and the server are `cli::board`'s.

mod draw;
mod rows;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

pub use draw::draw;
use rows::Row;

use super::words::Tone;
use crate::config::plan::AdminState;
use crate::control::view::Status;

/// Longest text that is typed: a reason, a filter.
const LONGEST: usize = 200;

/// What the screen shows beside the status.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Whether colours are wanted.
    pub color: bool,
    /// Why no status has come for a while.
    pub lost: Option<String>,
    /// What the last wish came to.
    pub message: Option<(Tone, String)>,
    /// `zone/pool/backend`: by name, so that it stays with its backend when others come and go.
    selected: Option<String>,
    /// Rows that fit are those that hold this, in any case.
    filter: String,
    mode: Mode,
    /// Rows that the table showed last: what a page is.
    page: std::cell::Cell<usize>,
    /// The first row that is shown.
    top: std::cell::Cell<usize>,
    /// Transitions that are passed over.
    log: usize,
}

/// What keys mean now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Mode {
    /// They move.
    #[default]
    Look,
    /// They are the filter.
    Filter,
    /// They are the reason of a change.
    Reason { state: AdminState, backend: String, text: String },
    /// Any of them ends the help.
    Help,
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The end.
    Quit,
    /// An override, or its removal.
    Set {
        /// `auto` removes.
        state: AdminState,
        /// `zone/pool/backend`
        backend: String,
        /// Why; absent where nothing was typed.
        reason: Option<String>,
    },
}

impl Board {
    /// With nothing selected, filtered or typed.
    pub fn new(color: bool) -> Board {
        Board { color, ..Board::default() }
    }

    /// Takes a key in.
    pub fn key(&mut self, key: &KeyEvent, status: &Status) -> Option<Wish> {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Some(Wish::Quit);
        }
        match std::mem::take(&mut self.mode) {
            Mode::Look => self.look(key, status),
            Mode::Help => None,
            Mode::Filter => {
                match key.code {
                    KeyCode::Enter => {}
                    KeyCode::Esc => self.filter.clear(),
                    code => {
                        edit(&mut self.filter, code);
                        self.mode = Mode::Filter;
                    }
                }
                self.hold(status);
                None
            }
            Mode::Reason { state, backend, mut text } => match key.code {
                KeyCode::Esc => {
                    self.message = Some((Tone::Quiet, "nothing was changed".to_owned()));
                    None
                }
                KeyCode::Enter => {
                    let reason = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                    Some(Wish::Set { state, backend, reason })
                }
                code => {
                    edit(&mut text, code);
                    self.mode = Mode::Reason { state, backend, text };
                    None
                }
            },
        }
    }

    fn look(&mut self, key: &KeyEvent, status: &Status) -> Option<Wish> {
        self.message = None;
        let page = self.page.get().max(2) as isize - 1;
        match key.code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Up | KeyCode::Char('k') => self.go(status, -1),
            KeyCode::Down | KeyCode::Char('j') => self.go(status, 1),
            KeyCode::PageUp => self.go(status, -page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.go(status, page),
            KeyCode::Home | KeyCode::Char('g') => self.go(status, isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.go(status, isize::MAX),
            KeyCode::Char('[') => self.log = self.log.saturating_sub(1),
            KeyCode::Char(']') => self.log = (self.log + 1).min(status.transitions.len().saturating_sub(1)),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => {
                self.filter.clear();
                self.hold(status);
            }
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('d') => self.ask(status, AdminState::Drain),
            KeyCode::Char('x') => self.ask(status, AdminState::Down),
            KeyCode::Char('f') => self.ask(status, AdminState::Up),
            KeyCode::Char('a' | 'u') => self.ask(status, AdminState::Auto),
            _ => {}
        }
        None
    }

    /// Text that is pasted or typed at once.
    pub fn paste(&mut self, text: &str, status: &Status) {
        let place = match &mut self.mode {
            Mode::Filter => &mut self.filter,
            Mode::Reason { text, .. } => text,
            Mode::Look | Mode::Help => return,
        };
        text.chars().for_each(|character| edit(place, KeyCode::Char(character)));
        self.hold(status);
    }

    /// Asks for the reason of a change of the selected backend.
    fn ask(&mut self, status: &Status, state: AdminState) {
        self.hold(status);
        match &self.selected {
            Some(backend) => self.mode = Mode::Reason { state, backend: backend.clone(), text: String::new() },
            None => self.message = Some((Tone::Warn, "no backend is selected".to_owned())),
        }
    }

    /// Moves the selection by so many backends.
    fn go(&mut self, status: &Status, by: isize) {
        let all = self.backends(status);
        let present = self.selected.as_ref().and_then(|id| all.iter().position(|one| one == id));
        let to = match present {
            None => 0,
            Some(at) => at.saturating_add_signed(by).min(all.len().saturating_sub(1)),
        };
        self.selected = all.get(to).cloned();
    }

    /// Keeps the selection on a backend that is shown.
    pub fn hold(&mut self, status: &Status) {
        let all = self.backends(status);
        if self.selected.as_ref().is_none_or(|id| !all.contains(id)) {
            self.selected = all.into_iter().next();
        }
    }

    fn backends(&self, status: &Status) -> Vec<String> {
        let shown = rows::rows(status, &self.filter);
        let ids = shown.iter().filter_map(|row| match row {
            Row::Backend { backend, .. } => Some(backend.id.clone()),
            _ => None,
        });
        ids.collect()
    }
}

fn edit(text: &mut String, code: KeyCode) {
    match code {
        KeyCode::Backspace => drop(text.pop()),
        KeyCode::Char(character) if !character.is_control() && text.chars().count() < LONGEST => text.push(character),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
