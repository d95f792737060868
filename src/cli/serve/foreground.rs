//! The process around the server: signals, the end, and what is said when it cannot start.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::program::Program;
use super::replace::{self, Successor};
use super::systemd::{self, Reporter};
use super::{Origin, RunningServer, ServeOptions, start_from, takeover};
use crate::cli::args::ServeArgs;
use crate::config::diagnostic::LoadError;
use crate::control::replacing::{ReplaceReply, Replacements};
use crate::{config, telemetry, transport};

/// Two signals to stop within this time are one.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// Runs the server until it is told to stop. Exit code 0 after SIGTERM or SIGINT, or when a successor took over; 2 when it
/// could not be started.
pub fn run(_: &ServeArgs, config: Option<PathBuf>) -> ExitCode {
    // Both look at the environment, so before there are threads.
    let program = Program::current();
    let origin = match takeover::predecessor() {
        Ok(Some(origin)) => Ok(origin),
        Ok(None) => systemd::activated(),
        Err(error) => Err(error),
    };
    let origin = match origin {
        Ok(origin) => origin,
        Err(error) => return refuse(&error.message),
    };
    transport::raise_descriptor_limit();
    // This thread binds; none of the others needs to be able to.
    let begin = || drop(transport::lay_down_capabilities());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(begin).build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(serve(config, origin, program));
    runtime.shutdown_background();
    telemetry::flush();
    code
}

/// The signals that the server heeds, caught from the first moment on: unheeded, most would end the process.
struct Signals {
    hangup: Signal,
    replace: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What a signal asks for.
enum Asked {
    /// SIGTERM or SIGINT.
    Stop(&'static str),
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Replace,
}

impl Signals {
    fn catch() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            replace: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Asked::Stop(name) = self.next().await {
                return name;
            }
        }
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.hangup.recv() => Asked::Reload,
            _ = self.replace.recv() => Asked::Replace,
        }
    }
}

async fn serve(config_file: Option<PathBuf>, mut origin: Origin, program: Result<Program, String>) -> ExitCode {
    origin.replaceable = true;
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return refuse(&format!("cannot catch signals: {error}")),
    };
    let mut server = match start_beside_signals(config_file, &mut origin, &mut signals).await {
        Ok(server) => server,
        Err(code) => return code,
    };
    // What was offered and not wanted is closed now: queries to such an address are refused from here on.
    drop(origin);
    let reporter = Reporter::start(&server.control, &server.transports.counters());
    let requests = server.requests.take();
    match attend(&server, &mut signals, requests, program).await {
        End::Stop(name) => {
            drop(reporter);
            systemd::stopping();
            tracing::info!("{name}: answering what is in flight, then stopping; a second signal stops at once");
            finish(server.stop(), signals).await
        }
        End::Replaced(successor) => {
            drop(reporter);
            tracing::info!("replaced by process {}: finishing what is in flight", successor.replaced.pid);
            finish(successor.leave_to(server), signals).await
        }
    }
}

/// Starts the server; a signal to stop ends the attempt.
async fn start_beside_signals(
    config_file: Option<PathBuf>,
    origin: &mut Origin,
    signals: &mut Signals,
) -> Result<RunningServer, ExitCode> {
    let mut hung_up = false;
    let starting = load_and_start(config_file, origin);
    tokio::pin!(starting);
    let server = loop {
        tokio::select! {
            server = &mut starting => break server?,
            signal = signals.next() => match signal {
                Asked::Stop(name) => {
                    tracing::info!("{name} before ready: stopping");
                    return Err(ExitCode::SUCCESS);
                }
                // The files may be newer than what is being started with.
                Asked::Reload => hung_up = true,
                Asked::Replace => tracing::warn!("SIGUSR2 before ready: there is nothing to replace yet"),
            }
        }
    };
    if hung_up {
        server.hang_up();
    }
    Ok(server)
}

/// Loads beside the signals: a large zone takes seconds, and SIGTERM need not wait for it.
async fn load_and_start(config_file: Option<PathBuf>, origin: &mut Origin) -> Result<RunningServer, ExitCode> {
    let refused = |origin: &Origin, message: &str| {
        if let Some(predecessor) = &origin.predecessor {
            predecessor.refuse(message);
        }
    };
    let file = config_file.clone();
    let plan = match tokio::task::spawn_blocking(move || config::load(file.as_deref())).await {
        Ok(Ok(plan)) => plan,
        Ok(Err(error)) => {
            let said: Vec<&str> = error.diagnostics.iter().map(|one| one.rendered.trim_end()).collect();
            refused(origin, &said.join("\n\n"));
            return Err(refuse_load(&error));
        }
        Err(error) => {
            let message = format!("the files could not be loaded: {error}");
            refused(origin, &message);
            return Err(refuse(&message));
        }
    };
    let told =
        telemetry::start(&plan.server.log_level, plan.server.log_json, || drop(transport::lay_down_capabilities()));
    let started = match told {
        Ok(()) => start_from(ServeOptions { config_file, plan }, origin).await.map_err(|error| error.message),
        Err(message) => Err(message),
    };
    started.map_err(|message| {
        refused(origin, &message);
        refuse(&message)
    })
}

/// How the server's work ends.
enum End {
    Stop(&'static str),
    Replaced(Successor),
}

/// Heeds signals and requests to be replaced until one of them ends the server.
async fn attend(
    server: &RunningServer,
    signals: &mut Signals,
    requests: Option<Replacements>,
    program: Result<Program, String>,
) -> End {
    let mut requests = requests.unwrap_or_else(|| server.control.replacements());
    loop {
        let reply: Option<ReplaceReply> = tokio::select! {
            signal = signals.next() => match signal {
                Asked::Stop(name) => return End::Stop(name),
                Asked::Reload => {
                    server.hang_up();
                    continue;
                }
                Asked::Replace => None,
            },
            Some(reply) = requests.recv() => Some(reply),
        };
        tracing::info!("starting a successor");
        systemd::replacing();
        let attempt = async {
            match &program {
                Ok(program) => replace::replace(server, program).await,
                Err(why) => Err(why.clone()),
            }
        };
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            name = signals.end() => return End::Stop(name),
        };
        match outcome {
            Ok(successor) => {
                systemd::replaced(successor.replaced.pid);
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(successor.replaced.clone()));
                }
                return End::Replaced(successor);
            }
            Err(why) => {
                tracing::error!("not replaced, this server goes on: {why}");
                systemd::not_replaced(&why);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(why));
                }
            }
        }
    }
}

/// Ends in order, or at once on a second signal.
async fn finish(ending: impl Future<Output = ()>, mut signals: Signals) -> ExitCode {
    let again = async {
        // `timeout` and terminals signal the process and then its group: twice within a moment is once.
        tokio::time::sleep(SAME_SIGNAL).await;
        match Signals::catch() {
            Ok(mut signals) => signals.end().await,
            Err(_) => signals.end().await,
        }
    };
    tokio::select! {
        () = ending => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        name = again => {
            tracing::warn!("{name} again: stopping at once");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the files. Exit code 2.
pub(in crate::cli) fn refuse_load(error: &LoadError) -> ExitCode {
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
