//! `rollcall demo`: a complete world on loopback. Real backends, a real zone file, and the server started by the same code
//! as `serve`; what is shown is what a client gets.
//!
//! ```text
//! farm     four HTTP backends that can be killed and revived
//! world    the temporary files, the server, the backends, and a door for other terminals
//! remote   that door, and the commands that knock on it
//! ask      a DNS client: the answers, and the time from a kill to an answer without it
//! ```

mod ask;
mod farm;
mod remote;
mod world;

use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::{DemoArgs, DemoCommand};
use super::view::screen::Extra;
use super::view::{changes, lines, words};
use super::watch::{self, Key, Screen, Update};
use super::{Exit, Failure, Outcome, output};
use crate::control::view::Status;
use world::World;

/// Between two looks at the answers on the screen.
const LOOK: Duration = Duration::from_millis(500);
/// Notes kept for the screen.
const MAX_NOTES: usize = 50;

pub(super) async fn run(args: DemoArgs) -> Outcome {
    match &args.command {
        Some(DemoCommand::Kill(backend)) => return remote::act(backend, "kill").await,
        Some(DemoCommand::Revive(backend)) => return remote::act(backend, "revive").await,
        None => {}
    }
    let (world, notes) = World::start().await?;
    let on_terminal = output::on_terminal() && !args.lines;
    let end = end(args.duration)?;
    // Printed in either case: it still stands in the terminal after the full screen is gone.
    let outcome = match watch::stop(output::print(&introduction(&world, on_terminal))) {
        Ok(false) if on_terminal => full_screen(&world, notes, end).await,
        Ok(false) => plain(&world, notes, end).await,
        Ok(true) => Ok(Exit::Done),
        Err(failure) => Err(failure),
    };
    world.stop().await;
    outcome
}

/// Completes after `duration`, or when the process is told to stop.
fn end(duration: Option<Duration>) -> Result<impl Future<Output = ()>, Failure> {
    let cannot = |error| Failure::new(Exit::No, format!("cannot listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    Ok(async move {
        let time = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = time => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn introduction(world: &World, keys: bool) -> String {
    let also = if keys { ", or press 1 to 4" } else { "" };
    let mut text = format!(
        "rollcall demo: four backends, one zone, one server; all on loopback, gone when this ends.\n\n\
         Ask, from another terminal:\n{}\n\nKill a backend and bring it back{also}:\n{}\n\n\
         Take one out by hand, see why, put it back:\n{}\n\nEdit the zone; it is live within a second:\n{}\n\n",
        world.questions().join("\n"),
        world.kill_commands().join("\n"),
        world.operator_commands().join("\n"),
        world.zone_file().display(),
    );
    text.push_str("Ctrl-C ends it.\n\n");
    text
}

async fn plain(world: &World, mut notes: mpsc::Receiver<String>, end: impl Future<Output = ()>) -> Outcome {
    let mut end = std::pin::pin!(end);
    let mut updates = watch::follow_own(world.control());
    let mut last: Option<Status> = None;
    loop {
        let printed = tokio::select! {
            _ = &mut end => return Ok(Exit::Done),
            Some(note) = notes.recv() => output::print(&(stamped(&note) + "\n")),
            update = updates.recv() => match update {
                Some(Update::Status(status)) => {
                    let news = match &last {
                        None => changes::first(&status),
                        Some(last) => changes::between(last, &status),
                    };
                    last = Some(*status);
                    let printed = watch::print_lines(&news);
                    if news.is_empty() { printed } else { printed.and(print_answers(world).await) }
                }
                Some(Update::Lost(_)) | None => return Err(Failure::new(Exit::No, "the server stopped")),
            },
        };
        if watch::stop(printed)? {
            return Ok(Exit::Done);
        }
    }
}

async fn print_answers(world: &World) -> std::io::Result<()> {
    let mut text = String::new();
    for (name, answer) in world.answers().await {
        text.push_str(&stamped(&format!("{name} is answered {answer}\n")));
    }
    output::print(&text)
}

async fn full_screen(world: &World, mut notes: mpsc::Receiver<String>, end: impl Future<Output = ()>) -> Outcome {
    let mut end = std::pin::pin!(end);
    let mut updates = watch::follow_own(world.control());
    let Some(Update::Status(mut status)) = updates.recv().await else {
        return Err(Failure::new(Exit::No, "the server stopped"));
    };
    let mut commands = world.questions();
    commands.extend(world.kill_commands());
    commands.extend(world.operator_commands());
    let mut extra = Extra { color: output::color(), commands, ..Extra::default() };
    let mut look = tokio::time::interval(LOOK);
    let mut screen = Screen::open()?;
    loop {
        extra.processes = world.processes().await;
        screen.draw(&status, &extra)?;
        tokio::select! {
            _ = &mut end => return Ok(Exit::Done),
            _ = look.tick() => extra.answers = world.answers().await,
            Some(note) = notes.recv() => {
                extra.notes.push(stamped(&note));
                let surplus = extra.notes.len().saturating_sub(MAX_NOTES);
                extra.notes.drain(..surplus);
            }
            update = updates.recv() => match update {
                Some(Update::Status(new)) => {
                    status = new;
                    extra.answers = world.answers().await;
                }
                Some(Update::Lost(_)) | None => return Err(Failure::new(Exit::No, "the server stopped")),
            },
            key = screen.key() => match key {
                Some(Key::Quit) | None => return Ok(Exit::Done),
                Some(Key::Scroll(lines)) => watch::scroll(&mut extra, lines),
                Some(Key::Commands) => extra.flip_commands = !extra.flip_commands,
                Some(Key::Digit(index)) => world.toggle(index).await,
                Some(Key::Redraw) => {}
            },
        }
    }
}

/// With the time of day, as transitions have it.
fn stamped(note: &str) -> String {
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    format!("{}  {}", lines::time_of_day(&now), words::clean_lines(note) + if note.ends_with('\n') { "\n" } else { "" })
}
