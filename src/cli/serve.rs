//! `rollcall serve`: the server in the foreground, and the same start for `demo` and for programs that embed it.
//!
//! ```text
//! load -> bind everything -> become `user` -> control -> first verdicts -> transports -> "ready" -> signals -> drain
//! ```
//!
//! Binding comes first, while the process may still be root; queries that come before the first verdicts wait in the
//! sockets' queues.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::args::ServeArgs;
use crate::config::diagnostic::LoadError;
use crate::config::plan::{ControlAddress, Plan, ServerPlan};
use crate::control::api::{self, ControlListener};
use crate::control::{Control, ReloadCause, Start};
use crate::engine::Transport;
use crate::transport::{self, Bound, Listen, Running};
use crate::{config, telemetry};

/// Two signals to stop within this time are one.
const SAME_SIGNAL: std::time::Duration = std::time::Duration::from_millis(300);

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
}

/// The control listener's task, and what ends it.
struct ControlTask {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// What failed, why, and the remedy.
    pub message: String,
}

/// Runs the server until it is told to stop. Exit code 0 after SIGTERM or SIGINT, 2 when it could not be started.
pub fn run(_: &ServeArgs, config: Option<PathBuf>) -> ExitCode {
    transport::raise_descriptor_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(serve(config));
    runtime.shutdown_background();
    telemetry::flush();
    code
}

/// Binds everything, waits for the first verdicts, and answers.
pub async fn start(options: ServeOptions) -> Result<RunningServer, StartError> {
    let ServeOptions { config_file, plan } = options;
    let server = plan.server.clone();
    for warning in &plan.warnings {
        tracing::warn!("{}", warning.rendered);
    }
    let listen = listen(&server);
    loopback_alone(&listen)?;
    let bound = Bound::bind(&listen).map_err(StartError::because)?;
    let listener = server.control.as_ref().map(ControlListener::bind).transpose().map_err(StartError::because)?;
    drop_privileges(&server, &listen, listener.as_ref())?;

    let dns = bound.addresses();
    let control_address = listener.as_ref().map(|listener| control_text(listener.address()));
    let listening = listening(&dns, control_address.as_deref());
    let control = Control::start(Start { plan, config_file }).map_err(StartError::because)?;
    control.set_listening(listening.clone()).await;
    let api = listener.map(|listener| ControlTask::start(listener, control.clone()));
    control.ready().await;
    let transports = bound.start(control.snapshots());
    control.set_traffic(transports.counters()).await;
    tracing::info!("rollcall {} ready: {}", crate::VERSION, listening.join(", "));
    Ok(RunningServer { control, dns, control_address, transports, api })
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

    /// Answers what is in flight, keeps what is to be kept, and returns.
    pub async fn stop(self) {
        let api = async {
            if let Some(api) = self.api {
                let _ = api.stop.send(());
                let _ = api.task.await;
            }
        };
        tokio::join!(self.transports.drain(), api);
        self.control.shutdown().await;
    }
}

impl ControlTask {
    fn start(listener: ControlListener, control: Control) -> ControlTask {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(error) = api::serve(listener, control, stopped).await {
                tracing::error!("the control listener stopped: {error}");
            }
        });
        ControlTask { stop, task }
    }
}

/// The signals that the server heeds, caught from the first moment on: unheeded, SIGHUP would end the process.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Some(name) = self.next().await {
                return name;
            }
        }
    }

    /// Waits for any: the name of one that ends the server, `None` for SIGHUP.
    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => None,
        }
    }
}

async fn serve(config_file: Option<PathBuf>) -> ExitCode {
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot catch signals: {error}")),
    };
    let mut hung_up = false;
    let server = {
        let starting = load_and_start(config_file);
        tokio::pin!(starting);
        loop {
            tokio::select! {
                server = &mut starting => match server {
                    Ok(server) => break server,
                    Err(code) => return code,
                },
                signal = signals.next() => match signal {
                    Some(name) => {
                        tracing::info!("{name} before ready: stopping");
                        return ExitCode::SUCCESS;
                    }
                    // The files may be newer than what is being started with.
                    None => hung_up = true,
                }
            }
        }
    };
    if hung_up {
        server.hang_up();
    }
    let name = loop {
        if let Some(name) = signals.next().await {
            break name;
        }
        server.hang_up();
    };
    tracing::info!("{name}: answering what is in flight, then stopping; a second signal stops at once");
    let again = async {
        // `timeout` and terminals signal the process and then its group: twice within a moment is once.
        tokio::time::sleep(SAME_SIGNAL).await;
        match Signals::catch() {
            Ok(mut signals) => signals.end().await,
            Err(_) => signals.end().await,
        }
    };
    tokio::select! {
        () = server.stop() => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        name = again => {
            tracing::warn!("{name} again: stopping at once");
            ExitCode::FAILURE
        }
    }
}

/// Loads beside the signals: a large zone takes seconds, and SIGTERM need not wait for it.
async fn load_and_start(config_file: Option<PathBuf>) -> Result<RunningServer, ExitCode> {
    let file = config_file.clone();
    let plan = match tokio::task::spawn_blocking(move || config::load(file.as_deref())).await {
        Ok(Ok(plan)) => plan,
        Ok(Err(error)) => return Err(refuse_load(&error)),
        Err(error) => return Err(refuse(&format!("the files could not be loaded: {error}"))),
    };
    telemetry::start(&plan.server.log_level, plan.server.log_json).map_err(|message| refuse(&message))?;
    start(ServeOptions { config_file, plan }).await.map_err(|error| refuse(&error.message))
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
    let Some(user) = &server.user else { return Ok(()) };
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
    transport::check_readable_after_drop(&listen.secret_files(), user).map_err(StartError::because)?;
    for path in &server.watched {
        let readable = if path.is_dir() { std::fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
        if let Err(error) = readable {
            tracing::warn!("{}: user \"{user}\" cannot read it ({error}): reloads will be refused", path.display());
        }
    }
    Ok(())
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

/// Says what is wrong with the files. Exit code 2.
pub(super) fn refuse_load(error: &LoadError) -> ExitCode {
    let mut stderr = io::stderr().lock();
    for diagnostic in &error.diagnostics {
        let _ = writeln!(stderr, "{}\n", diagnostic.rendered.trim_end());
    }
    ExitCode::from(2)
}

fn refuse(message: &str) -> ExitCode {
    // What was logged before comes first.
    telemetry::flush();
    let _ = writeln!(io::stderr(), "rollcall: {message}");
    ExitCode::from(2)
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
