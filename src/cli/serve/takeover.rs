//! The side of the successor: takes sockets and state from the server that it replaces.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{GivenControl, Origin, StartError};
use crate::control::client;
use crate::control::handover::{Channel, Hello, Last, Left, Live, PROTOCOL, Reply, Serving};
use crate::transport::Counters;

/// Set for a successor: the process that it replaces.
pub(super) const REPLACES: &str = "ROLLCALL_REPLACES";
/// Longest that the other side may take to answer.
const PATIENCE: Duration = Duration::from_secs(45);

/// The server that is to be replaced.
pub(super) struct Predecessor {
    channel: Channel,
    pid: u32,
    version: String,
    /// The state to begin with, and the lock of `state_dir`; taken once.
    known: Option<(Live, Option<File>)>,
    control_taken: bool,
}

/// Whether this process was started to replace its parent. The variable stays in the environment, where the children of
/// this process find it too: it is for the child of the process that it names.
pub(super) fn is_successor() -> bool {
    let replaced = std::env::var(REPLACES).ok().and_then(|pid| pid.parse().ok());
    replaced == Some(std::os::unix::process::parent_id())
}

/// Whether this process was started to replace another, and what that one hands over.
pub(super) fn predecessor() -> Result<Option<Origin>, StartError> {
    if !is_successor() {
        return Ok(None);
    }
    let wrong = |error: io::Error| StartError { message: format!("nothing to replace on standard input: {error}") };
    let channel = Channel::from_stdin().map_err(wrong)?;
    channel.limit(Some(PATIENCE)).map_err(wrong)?;
    let hello: Hello = channel.receive().map_err(wrong)?;
    let count = hello.sockets.len() + usize::from(hello.control.is_some()) + usize::from(hello.lock);
    let mut descriptors = channel.receive_descriptors(count).map_err(wrong)?.into_iter();
    let mut origin = Origin { managed: hello.managed, ..Origin::default() };
    for (label, socket) in hello.sockets.into_iter().zip(descriptors.by_ref()) {
        origin.sockets.add(label, socket);
    }
    if let Some((text, socket)) = hello.control.and_then(|text| Some((text, descriptors.next()?))) {
        let address = client::parse_address(&text).map_err(|message| StartError { message })?;
        origin.control = Some(GivenControl { address, socket, managed: hello.control_managed });
    }
    let lock = if hello.lock { descriptors.next().map(File::from) } else { None };
    let predecessor = Predecessor {
        channel,
        pid: hello.pid,
        version: hello.version,
        known: Some((hello.live, lock)),
        control_taken: false,
    };
    if hello.protocol != PROTOCOL {
        let message = format!(
            "version {} hands over otherwise than version {} takes: restart instead",
            predecessor.version,
            crate::VERSION
        );
        predecessor.refuse(&message);
        return Err(StartError { message });
    }
    origin.predecessor = Some(predecessor);
    Ok(Some(origin))
}

impl Predecessor {
    /// What is known, to begin with, and the lock of `state_dir`.
    pub(super) fn known(&mut self) -> (Live, Option<File>) {
        self.known.take().unwrap_or_default()
    }

    /// This server listens where the other's control listener was.
    pub(super) fn control_is_taken(&mut self) {
        self.control_taken = true;
    }

    /// Tells why this process cannot be the successor.
    pub(super) fn refuse(&self, why: &str) {
        let _ = self.channel.send(&Reply::Refused(why.to_owned()));
    }

    /// Says that this process could answer, and waits for the other's last word.
    pub(super) async fn last_word(&self) -> Result<Last, StartError> {
        let gone = |error: io::Error| StartError {
            message: format!("the server that was to be replaced (process {}) does not hand over: {error}", self.pid),
        };
        let channel = self.channel.try_clone().map_err(gone)?;
        let exchange = tokio::task::spawn_blocking(move || {
            channel.send(&Reply::Prepared)?;
            channel.receive()
        });
        exchange.await.map_err(io::Error::other).and_then(|result| result).map_err(gone)
    }

    /// Says that this process answers now, and waits beside it for what the other counts until its end; what is returned
    /// ends then.
    pub(super) fn serving(
        self,
        listening: &[String],
        notes: Vec<String>,
        counters: Arc<Counters>,
    ) -> oneshot::Receiver<()> {
        let serving = Serving {
            version: crate::VERSION.to_owned(),
            listening: listening.to_vec(),
            control_taken: self.control_taken,
            notes,
        };
        if let Err(error) = self.channel.send(&Reply::Serving(serving)) {
            // This one has everything by now: it goes on alone.
            tracing::warn!("process {} went away while it was replaced: {error}", self.pid);
        }
        tracing::info!("took over from process {} (rollcall {})", self.pid, self.version);
        let (left, has_left) = oneshot::channel();
        let wait = move || {
            let _ = self.channel.limit(None);
            if let Ok(left) = self.channel.receive::<Left>() {
                counters.carry(left.counters);
            }
            let _ = left.send(());
        };
        if let Err(error) = std::thread::Builder::new().name("predecessor".to_owned()).spawn(wait) {
            tracing::warn!("what the replaced process still counts is not added: {error}");
        }
        has_left
    }
}
