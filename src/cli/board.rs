//! `status --watch` on a terminal: keys, statuses and the server's answers, one after the other, into a
//! [`Board`](super::view::board::Board) and onto the screen.

use ratatui::crossterm::event::{Event, KeyEventKind};
use tokio::sync::mpsc;

use super::view::board::{Board, Wish, draw};
use super::view::lines::state_word;
use super::view::words::{Tone, count};
use super::watch::{Screen, Update};
use super::{Exit, Failure, Outcome, output};
use crate::control::client::{Client, ClientError};
use crate::control::view::{StateChange, StateChanged, Status};

pub(super) async fn run(client: &Client, mut status: Status, mut updates: mpsc::Receiver<Update>) -> Outcome {
    let mut board = Board::new(output::color());
    let (done, mut outcomes) = mpsc::channel(4);
    let mut screen = Screen::open()?;
    loop {
        board.hold(&status);
        screen.draw_by(|frame| draw(frame, &status, &board))?;
        tokio::select! {
            update = updates.recv() => match update {
                Some(Update::Status(new)) => {
                    status = *new;
                    board.lost = None;
                }
                Some(Update::Lost(cause)) => board.lost = Some(cause),
                None => return Ok(Exit::Done),
            },
            Some(outcome) = outcomes.recv() => board.message = Some(outcome),
            event = screen.event() => {
                #[cfg(feature = "panic-drill")]
                panic_drill(event.as_ref());
                let wish = match event {
                    None => return Ok(Exit::Done),
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => board.key(&key, &status),
                    Some(Event::Paste(text)) => {
                        board.paste(&text, &status);
                        None
                    }
                    Some(_) => None,
                };
                match wish {
                    None => {}
                    Some(Wish::Quit) => return Ok(Exit::Done),
                    Some(Wish::Set { state, backend, reason }) => {
                        board.message = Some((Tone::Quiet, format!("{} {backend} …", state_word(state))));
                        let change = StateChange { backend, state, for_ms: None, reason, by: super::state::who_asks(client) };
                        let (client, done) = (client.clone(), done.clone());
                        // A server that is slow must not hold up keys.
                        tokio::spawn(async move {
                            let said = words(&change, client.set_state(&change).await);
                            let _ = done.send(said).await;
                        });
                    }
                }
            }
        }
    }
}

/// The key F12 asks for a panic: what becomes of the terminal cannot be seen without one.
#[cfg(feature = "panic-drill")]
fn panic_drill(event: Option<&Event>) {
    let asked = matches!(event, Some(Event::Key(key)) if key.code == ratatui::crossterm::event::KeyCode::F(12));
    assert!(!asked, "the drill asked for a panic under the full screen");
}

fn words(change: &StateChange, outcome: Result<StateChanged, ClientError>) -> (Tone, String) {
    match outcome {
        Err(error) => (Tone::Bad, Failure::from(error).message),
        Ok(changed) => {
            let mut words = format!("{} -> {}", count(changed.backends.len(), "backend"), state_word(change.state));
            changed.warnings.iter().for_each(|warning| words.push_str(&format!("; {warning}")));
            (if changed.warnings.is_empty() { Tone::Good } else { Tone::Warn }, words)
        }
    }
}
