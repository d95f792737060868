//! The side of the server that is to be replaced: starts the successor, hands over, and leaves.
//!
//! Until the successor says that it serves, everything can be taken back: it is killed, and nothing has changed.

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::{self, Program};
use super::{RunningServer, takeover};
use crate::control::Replaced;
use crate::control::handover::{Channel, Hello, Last, Left, PROTOCOL, Reply, Serving};

/// From the start of the successor until it serves: loading large zones, and 5 s for the verdicts of new probes. Below the
/// control listener's limit on a request.
const PATIENCE: Duration = Duration::from_secs(45);

/// Longest wait for the process before this one, which may have clients for 15 s and drains for 5.
const PREDECESSOR: Duration = Duration::from_secs(21);

/// A successor that serves, and the way to tell it the last counters.
pub(super) struct Successor {
    pub(super) replaced: Replaced,
    pub(super) control_taken: bool,
    channel: Channel,
}

/// Killed when dropped, unless it has become the server.
struct Candidate(Option<Child>);

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Candidate {
    fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// How it ended, when it ended without a word.
    fn end(&mut self) -> String {
        let Some(child) = &mut self.0 else { return String::new() };
        let _ = child.kill();
        match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Starts the successor and hands over; on an error nothing has changed.
pub(super) async fn replace(server: &RunningServer, program: &Program) -> Result<Successor, String> {
    let begun = Instant::now();
    let program::Start { command, note } = program.start();
    let version = |serving: Serving, pid, channel| Successor {
        replaced: Replaced {
            pid,
            version: serving.version,
            listening: serving.listening,
            notes: note.into_iter().chain(serving.notes).collect(),
            took_ms: begun.elapsed().as_millis() as u64,
        },
        control_taken: serving.control_taken,
        channel,
    };
    if std::process::id() == 1 {
        return Err("process 1 cannot leave: its container would end with it; start a new container instead".to_owned());
    }
    let (channel, theirs) = Channel::pair().map_err(|error| format!("no channel to a successor: {error}"))?;
    channel.limit(Some(PATIENCE)).map_err(|error| format!("no channel to a successor: {error}"))?;
    let mut candidate = Candidate(Some(spawn(command, program, Stdio::from(theirs))?));
    let pid = candidate.pid();
    let mut handed = false;
    let outcome = tokio::time::timeout(PATIENCE, converse(server, &channel, &mut handed)).await;
    let why = match outcome {
        Ok(Ok(serving)) => {
            // From now on it is the server; nobody waits for it.
            drop(candidate.0.take());
            return Ok(version(serving, pid, channel));
        }
        Ok(Err(Broken::Refused(why))) => why,
        Ok(Err(Broken::Silent)) => {
            format!("the new process ended before it was ready ({}); its log says more", candidate.end())
        }
        Ok(Err(Broken::Other(why))) => why,
        Err(_) => format!("the new process was not ready within {} s and was stopped", PATIENCE.as_secs()),
    };
    // Before this server decides again, the other must be gone: it may hold the state.
    drop(candidate);
    if handed {
        server.control.resume().await;
    }
    Err(why)
}

fn spawn(mut command: Command, program: &Program, channel: Stdio) -> Result<Child, String> {
    command
        .stdin(channel)
        .env(takeover::REPLACES, std::process::id().to_string())
        // These were for this process: sockets come through the channel, and the watchdog heeds the new main process.
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .env_remove("WATCHDOG_PID")
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.path().display()))
}

/// Why there is no successor.
enum Broken {
    Refused(String),
    /// It ended without a word.
    Silent,
    Other(String),
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Broken {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Broken::Silent,
            _ => Broken::Other(format!("the channel to the new process: {error}")),
        }
    }
}

async fn converse(server: &RunningServer, channel: &Channel, handed: &mut bool) -> Result<Serving, Broken> {
    let gone = |error: crate::control::ControlError| Broken::Other(error.to_string());
    let lock = server.control.duplicate_lock().transpose()?;
    let door = server.door.as_ref();
    let hello = Hello {
        protocol: PROTOCOL,
        version: crate::VERSION.to_owned(),
        pid: std::process::id(),
        sockets: server.transports.sockets().iter().map(|(label, _)| *label).collect(),
        control: door.map(|door| door.configured.clone()),
        managed: server.managed.clone(),
        control_managed: door.is_some_and(|door| door.managed),
        lock: lock.is_some(),
        live: *server.control.live(false).await.map_err(gone)?,
    };
    // Writing waits for the child to read; so does each answer: not on the runtime's own threads.
    let mut descriptors = Vec::new();
    for (_, socket) in server.transports.sockets() {
        descriptors.push(socket.try_clone()?);
    }
    if let Some(door) = door {
        descriptors.push(door.socket.try_clone()?);
    }
    descriptors.extend(lock.map(Into::into));
    let reply = aside(channel, move |channel| {
        channel.send(&hello)?;
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        channel.send_descriptors(&borrowed)?;
        channel.receive()
    });
    match reply.await? {
        Reply::Prepared => {}
        Reply::Refused(why) => return Err(Broken::Refused(why)),
        Reply::Serving(_) => return Err(Broken::Other("the new process did not keep to the protocol".to_owned())),
    }
    *handed = true;
    let live = *server.control.live(true).await.map_err(gone)?;
    let last = Last { live, counters: server.transports.counters().totals() };
    let reply = aside(channel, move |channel| {
        channel.send(&last)?;
        channel.receive()
    });
    match reply.await? {
        Reply::Serving(serving) => Ok(serving),
        Reply::Refused(why) => Err(Broken::Refused(why)),
        Reply::Prepared => Err(Broken::Other("the new process did not keep to the protocol".to_owned())),
    }
}

async fn aside<T: Send + 'static>(
    channel: &Channel,
    work: impl FnOnce(&Channel) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let channel = channel.try_clone()?;
    tokio::task::spawn_blocking(move || work(&channel)).await.map_err(std::io::Error::other)?
}

impl Successor {
    /// Finishes what clients have begun here, and tells the successor what was counted until the end.
    pub(super) async fn leave_to(self, mut server: RunningServer) {
        let counters = server.transports.counters();
        let predecessor = server.predecessor_left.take();
        server.leave(self.control_taken).await;
        if let Some(left) = predecessor {
            // Replaced in quick succession: what that one still counts goes through here.
            let _ = tokio::time::timeout(PREDECESSOR, left).await;
        }
        let _ = self.channel.send(&Left { counters: counters.totals() });
    }
}
