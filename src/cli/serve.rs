//! `rollcall serve`: the server in the foreground, and the same start for `demo` and for programs that embed it.
//!
//! ```text
//! load -> bind everything -> become `user` -> control -> first verdicts -> transports -> "ready" -> signals -> drain
//! ```
//!
//! Binding comes first, while the process may still be root; queries that come before the first verdicts wait in the
//! sockets' queues.
//!
//! `foreground` is the process around it: signals and the end. `systemd` speaks with a service manager. `replace` and
//! `takeover` are the two sides of an upgrade without a gap, `program` says which file is the new one.

mod control_task;
mod foreground;
mod program;
mod replace;
mod systemd;
mod takeover;

use std::fs::{DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

pub(super) use foreground::refuse_load;
pub use foreground::run;
use takeover::Predecessor;

use self::control_task::ControlTask;
use crate::config::plan::{ControlAddress, Plan, ServerPlan};
use crate::control::api::ControlListener;
use crate::control::replacing::Replacements;
use crate::control::{Control, ReloadCause, Start};
use crate::engine::Transport;
use crate::transport::{self, Bound, Inherited, List, Listen, Running};

/// What a server is started with.
#[derive(Debug)]
pub struct ServeOptions {
    /// Read again at each reload.
    pub config_file: Option<PathBuf>,
    /// The plan of the first load.
    pub plan: Plan,
}

/// A server that answers.
pub struct RunningServer {
    /// The supervisor.
    pub control: Control,
    /// Where queries are answered, port 0 resolved.
    pub dns: Vec<(Transport, SocketAddr)>,
    /// Where the control listener is, as `--control` takes it.
    pub control_address: Option<String>,
    transports: Running,
    api: Option<ControlTask>,
    door: Option<Door>,
    managed: Vec<List>,
    /// Asked for from the first command on, not only once somebody heeds them.
    requests: Option<Replacements>,
    /// Ends with the process that this one replaced.
    predecessor_left: Option<oneshot::Receiver<()>>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What failed, why, and the remedy.
    pub message: String,
}

/// What a server may begin with instead of with nothing: sockets that are bound, and a server that it replaces.
#[derive(Default)]
struct Origin {
    sockets: Inherited,
    control: Option<GivenControl>,
    /// Lists whose sockets a service manager gave: they are served on these and on no others.
    managed: Vec<List>,
    predecessor: Option<Predecessor>,
    /// The process is this server's own: another one may take its place.
    replaceable: bool,
}

/// A control listener that is bound already.
struct GivenControl {
    address: ControlAddress,
    socket: OwnedFd,
    /// A service manager gave it: it counts whatever the configuration says, and its file is not this server's to remove.
    managed: bool,
}

/// The control listener's socket once more, for a successor.
struct Door {
    /// As the configuration has it, and as `--control` takes it.
    configured: String,
    socket: OwnedFd,
    /// Set when the successor listens there: then the file stays.
    file_stays: Arc<AtomicBool>,
    managed: bool,
}

/// Binds everything, waits for the first verdicts, and answers.
pub async fn start(options: ServeOptions) -> Result<RunningServer, StartError> {
    start_from(options, &mut Origin::default()).await
}

/// The same where sockets are there already, or a server to replace. What refuses, refuses before that one has let go.
async fn start_from(options: ServeOptions, origin: &mut Origin) -> Result<RunningServer, StartError> {
    let ServeOptions { config_file, mut plan } = options;
    let server = plan.server.clone();
    for warning in &plan.warnings {
        tracing::warn!("{}", warning.rendered);
    }
    let mut listen = listen(&server);
    systemd::listen_where_told(&mut listen, &origin.sockets, &origin.managed);
    loopback_alone(&listen)?;
    let bound = Bound::bind_inheriting(&listen, &mut origin.sockets).map_err(StartError::because)?;
    let managed = origin.control.as_ref().is_some_and(|given| given.managed);
    let listener = control_listener(&server, origin)?;
    drop_privileges(&server, &listen, listener.as_ref())?;

    let dns = bound.addresses();
    let control_address = listener.as_ref().map(|listener| control_text(listener.address()));
    let door = listener.as_ref().and_then(|listener| Door::of(listener, &server, managed));
    let listening = listening(&dns, control_address.as_deref());
    let mut notes = Vec::new();
    if bound.udp_workers() > plan.server.udp_workers {
        let (sockets, wanted) = (bound.udp_workers(), plan.server.udp_workers);
        let note = format!(
            "dns.udp_workers = {wanted}: {sockets} sockets were inherited and each has a worker until a restart"
        );
        tracing::warn!("{note}");
        notes.push(note);
        plan.server.udp_workers = sockets;
    }
    let start = Start { plan, config_file };
    let control = match &mut origin.predecessor {
        Some(predecessor) => {
            let (live, lock) = predecessor.known();
            Control::take_over(start, live, lock)
        }
        None => Control::start(start),
    };
    let control = control.map_err(StartError::because)?;
    let requests = origin.replaceable.then(|| control.replacements());
    control.set_listening(listening.clone()).await;
    // While another server decides, commands are for that one.
    let mut api = None;
    let mut listener = listener;
    if origin.predecessor.is_none() {
        api = listener.take().map(|listener| ControlTask::start(listener, control.clone())).transpose()?;
    }
    control.ready().await;
    let mut carried = Vec::new();
    if let Some(predecessor) = &origin.predecessor {
        let last = predecessor.last_word().await?;
        carried = last.counters;
        control.catch_up(Box::new(last.live)).await.map_err(StartError::because)?;
    }
    let transports = bound.start(control.snapshots());
    transports.counters().carry(carried);
    control.set_traffic(transports.counters()).await;
    if let Some(listener) = listener {
        api = Some(ControlTask::start(listener, control.clone())?);
    }
    tracing::info!("rollcall {} ready: {}", crate::VERSION, listening.join(", "));
    let predecessor = origin.predecessor.take();
    let predecessor_left = predecessor.map(|one| one.serving(&listening, notes, transports.counters()));
    let managed = std::mem::take(&mut origin.managed);
    Ok(RunningServer { control, dns, control_address, transports, api, door, managed, requests, predecessor_left })
}

/// The control listener: the one that is bound already where it is the configured one, else a new one.
fn control_listener(server: &ServerPlan, origin: &mut Origin) -> Result<Option<ControlListener>, StartError> {
    // A service manager's word counts, a predecessor's is only an offer.
    let given = origin.control.take().filter(|given| given.managed || server.control.as_ref() == Some(&given.address));
    let Some(GivenControl { address, socket, managed }) = given else {
        return server.control.as_ref().map(ControlListener::bind).transpose().map_err(StartError::because);
    };
    if let ControlAddress::Tcp(address) = &address
        && server.tokens.is_none()
        && !address.ip().to_canonical().is_loopback()
    {
        let message = format!(
            "control listener {address}: without tokens whoever reaches it could change answers; use a loopback address \
             or a unix socket, or set [control] tokens"
        );
        return Err(StartError { message });
    }
    let listener = ControlListener::adopt(&address, socket, !managed).map_err(StartError::because)?;
    if let Some(predecessor) = &mut origin.predecessor {
        predecessor.control_is_taken();
    }
    Ok(Some(listener))
}

impl Door {
    fn of(listener: &ControlListener, server: &ServerPlan, managed: bool) -> Option<Door> {
        let configured = server.control.as_ref().filter(|_| !managed).unwrap_or(listener.address());
        let socket = listener.duplicate().ok()?;
        Some(Door { configured: control_text(configured), socket, file_stays: listener.file_stays(), managed })
    }
}

impl StartError {
    fn because(error: impl std::error::Error) -> StartError {
        StartError { message: error.to_string() }
    }
}

impl RunningServer {
    /// SIGHUP: takes what lies there, certificates too.
    fn hang_up(&self) {
        if let Err(error) = self.transports.reload_certificates() {
            tracing::error!("the certificate in use stays: {error}");
        }
        let control = self.control.clone();
        // Control logs what came of it, and a reload that waits for probes must not hold up SIGTERM.
        tokio::spawn(async move { control.reload(ReloadCause::Signal).await.map(drop) });
    }

    /// Answers what is in flight, keeps what is to be kept, and returns, after some 5 s at the latest.
    pub async fn stop(self) {
        let RunningServer { control, transports, api, door, .. } = self;
        // A duplicate would keep the port open.
        drop(door);
        // At the same time, so that clients that hang do not add to a disk or a receiver of events that does: queries are
        // answered by the last snapshot.
        tokio::join!(transports.drain(), async {
            let _runtime = ControlTask::stop(api).await;
            control.shutdown().await;
        });
    }

    /// Leaves to a successor that answers already: keeps nothing, and lets clients finish what they have begun.
    async fn leave(self, control_taken: bool) {
        let RunningServer { control, transports, api, door, .. } = self;
        if let Some(door) = door {
            door.file_stays.store(control_taken, Ordering::Relaxed);
        }
        let ((), _runtime) = tokio::join!(transports.leave(), ControlTask::stop(api));
        control.shutdown().await;
    }
}

fn listen(server: &ServerPlan) -> Listen {
    Listen {
        dns: server.dns.iter().map(|listen| (listen.address, listen.optional)).collect(),
        tls: server.tls.clone(),
        https: server.https.clone(),
        quic: server.quic.clone(),
        certificate: server.certificate.as_ref().map(|files| (files.cert.clone(), files.key.clone())),
        udp_workers: server.udp_workers,
        max_udp_payload: server.dns_options.max_udp_payload,
    }
}

/// A program that panics when asked to must not be within reach of strangers.
fn loopback_alone(listen: &Listen) -> Result<(), StartError> {
    if !cfg!(feature = "panic-drill") {
        return Ok(());
    }
    let dns = listen.dns.iter().map(|(address, _)| address);
    let mut all = dns.chain(&listen.tls).chain(&listen.https).chain(&listen.quic);
    let Some(outside) = all.find(|address| !address.ip().is_loopback()) else {
        tracing::warn!("built with the feature panic-drill: it panics when asked to, and is no server");
        return Ok(());
    };
    Err(StartError { message: format!("built with the feature panic-drill: {outside} is not loopback") })
}

/// Gives up root, and finds out now what would fail for the new user only later.
fn drop_privileges(server: &ServerPlan, listen: &Listen, listener: Option<&ControlListener>) -> Result<(), StartError> {
    let Some(user) = &server.user else {
        lay_down_capabilities();
        return Ok(());
    };
    let wrong = |message: String| StartError { message };
    if nix::unistd::geteuid().is_root()
        && let Ok(Some(entry)) = nix::unistd::User::from_name(user)
    {
        let (uid, gid) = (entry.uid.as_raw(), entry.gid.as_raw());
        if let Some(listener) = listener {
            listener
                .give_to(uid, gid)
                .map_err(|error| wrong(format!("cannot give the control socket to user \"{user}\": {error}")))?;
        }
        if let Some(directory) = &server.state_dir {
            make_state_directory(directory, uid, gid)
                .map_err(|error| wrong(format!("state_dir {}: {error}", directory.display())))?;
        }
    }
    transport::become_user(user).map_err(StartError::because)?;
    lay_down_capabilities();
    transport::check_readable_after_drop(&listen.secret_files(), user).map_err(StartError::because)?;
    for path in &server.watched {
        let readable = if path.is_dir() { std::fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
        if let Err(error) = readable {
            tracing::warn!("{}: user \"{user}\" cannot read it ({error}): reloads will be refused", path.display());
        }
    }
    Ok(())
}

/// What was needed to bind ports below 1024.
fn lay_down_capabilities() {
    if let Err(error) = transport::lay_down_capabilities() {
        tracing::warn!("{error}; a service unit that restricts system calls has to let `capset` pass");
    }
}

/// A state directory that is made by root belongs to the user that will write there.
fn make_state_directory(directory: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    std::os::unix::fs::chown(directory, Some(uid), Some(gid))
}

fn control_text(address: &ControlAddress) -> String {
    match address {
        ControlAddress::Tcp(address) => address.to_string(),
        ControlAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Every address, as the log and `status` say it: `udp+tcp 127.0.0.1:5300`, `control 127.0.0.1:8053`.
fn listening(dns: &[(Transport, SocketAddr)], control: Option<&str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for (transport, address) in dns {
        let text = match transport {
            Transport::Udp if dns.contains(&(Transport::Tcp, *address)) => format!("udp+tcp {address}"),
            Transport::Tcp if dns.contains(&(Transport::Udp, *address)) => continue,
            Transport::Udp => format!("udp {address}"),
            Transport::Tcp => format!("tcp {address}"),
            Transport::Tls => format!("tls {address}"),
            Transport::Https => format!("https {address}"),
            Transport::Quic => format!("quic {address}"),
        };
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all.extend(control.map(|address| format!("control {address}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_and_tcp_of_one_address_are_said_once() {
        let one: SocketAddr = "127.0.0.1:5300".parse().unwrap();
        let two: SocketAddr = "[::1]:5300".parse().unwrap();
        let dns = [
            (Transport::Udp, one),
            (Transport::Tcp, one),
            (Transport::Udp, two),
            (Transport::Tcp, two),
            (Transport::Tls, one),
        ];
        let expected =
            ["udp+tcp 127.0.0.1:5300", "udp+tcp [::1]:5300", "tls 127.0.0.1:5300", "control unix:/run/c.sock"];
        assert_eq!(listening(&dns, Some("unix:/run/c.sock")), expected);
    }

    #[test]
    fn a_state_dir_made_by_root_is_private() {
        use std::os::unix::fs::MetadataExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("state");
        let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        make_state_directory(&directory, uid, gid).unwrap();
        let found = std::fs::metadata(&directory).unwrap();
        assert_eq!((found.mode() & 0o777, found.uid(), found.gid()), (0o700, uid, gid));
    }
}
