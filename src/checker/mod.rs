//! Asks the outside world and reports. Never decides who is up.
//!
//! ```text
//! Checker (handle) --Command--> driver (one task) --what is due when--> schedule, --who gets a slot--> slots, crowd   (all pure)
//!                                 |  spawns one task a probe in flight: tcp, http, grpc, dns, certificate, icmp, exec, agent;
//!                                 |      and for those that only look: file, push
//!                                 |  spawns one task a watched target:  watch  --broken--> a burst of probes
//!                                 +--Observation--> bounded channel --> control
//! ```
//!
//! - All of it runs on one thread of its own, where probes, their schedule and the sockets wake nobody else; only what computes
//!   for long (TLS) or starts programs is spread over the server's other threads.
//! - Only the monotonic clock is read. Only the driver reads it; the others get it as an argument.
//! - A failure of this host (no descriptor, no free port, a stopped process) is no verdict on a backend: it is counted,
//!   logged and the target probed again at its next turn, but nothing is reported.
//! - A panic in a probe costs that probe: it counts as failed with the reason `internal error`.

mod agent;
mod certificate;
mod crowd;
mod dns;
mod driver;
mod errand;
mod exec;
mod file;
mod grpc;
mod http;
mod icmp;
mod push;
mod reason;
pub(crate) mod schedule;
mod slots;
mod tcp;
mod tls;
mod watch;

pub(crate) use errand::{client_tls, error_words, run_program};

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::driver::Driver;
use crate::engine::feedback::Said;
use crate::engine::probe::{Cadence, Outcome, ProbeId, ProbeKind, ProbeSpec};

/// One result of one probe, `invert` already applied to `outcome.passed` (the reason says what was seen).
#[derive(Debug, Clone)]
pub struct Observation {
    /// Whose.
    pub probe: ProbeId,
    /// What came out.
    pub outcome: Outcome,
}

/// Limits of the whole checker.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most descriptors held at once: probes in flight plus watches (which take at most half).
    pub in_flight: usize,
}

/// The checker's share of `nofile` descriptors (`RLIMIT_NOFILE`): half, so that DNS, control and files always find theirs.
///
/// At least 16, and at most 32,768: enough for 100,000 silent targets every 10 s with a timeout of 2 s, with room to spare.
pub fn limits_for(nofile: u64) -> Limits {
    Limits { in_flight: (nofile / 2).clamp(16, 32_768) as usize }
}

/// What the checker did since it started. Totals, except where said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Probes begun.
    pub started: u64,
    /// Results reported.
    pub reported: u64,
    /// Probes that could not be made for want of something on this host; not reported.
    pub unable: u64,
    /// Probes that panicked; reported as failed.
    pub panicked: u64,
    /// Probes begun later than a tenth of their interval.
    pub late: u64,
    /// The largest lateness of a probe.
    pub latest: Duration,
    /// Targets, now.
    pub targets: u64,
    /// Probes in flight, now.
    pub in_flight: u64,
    /// Connections that watches hold or open, now.
    pub watches: u64,
    /// Watches that broke.
    pub watches_broken: u64,
}

/// Handle to the running checker. Dropping the last one stops it.
#[derive(Debug, Clone)]
pub struct Checker {
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
enum Command {
    Change { remove: Vec<ProbeId>, add: Vec<(ProbeId, Arc<ProbeSpec>)> },
    Cadence(ProbeId, Cadence),
    ProbeNow(ProbeId),
    Pushed(ProbeId, Said),
}

impl Checker {
    /// Starts the checker on a thread of its own, beside the current runtime. A full `observations` channel makes it wait;
    /// nothing is dropped.
    ///
    /// It also ends when the receiver of `observations` is dropped. The error is the system's, which gives no thread or no
    /// descriptor.
    pub fn start(limits: Limits, observations: mpsc::Sender<Observation>) -> io::Result<Checker> {
        let (checker, driver, inbox) = Checker::new(Network::default(), limits, observations);
        let driver = driver.spread_over(Handle::current());
        let (tell, begun) = std::sync::mpsc::sync_channel(1);
        // The runtime is made where it ends: it may not be dropped on a thread of another.
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _ = tell.send(Ok(()));
                // As a task: what `block_on` itself waits for is polled only behind another look at all descriptors.
                let ended = runtime.block_on(runtime.spawn(driver.run(inbox)));
                // A look at a file on a disk that hangs is not waited for.
                runtime.shutdown_background();
                if let Err(error) = ended
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            }
            Err(error) => _ = tell.send(Err(error)),
        };
        std::thread::Builder::new().name("checker".to_owned()).spawn(run)?;
        begun.recv().map_err(io::Error::other)??;
        Ok(checker)
    }

    /// The same on the current runtime, whose time may be paused.
    #[cfg(test)]
    fn start_with<P: Prober>(prober: P, limits: Limits, observations: mpsc::Sender<Observation>) -> Checker {
        let (checker, driver, inbox) = Checker::new(prober, limits, observations);
        tokio::spawn(driver.run(inbox));
        checker
    }

    fn new<P: Prober>(
        prober: P,
        limits: Limits,
        observations: mpsc::Sender<Observation>,
    ) -> (Checker, Driver<P>, mpsc::UnboundedReceiver<Command>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let driver = Driver::new(prober, limits, observations, counters.clone());
        (Checker { commands, counters }, driver, inbox)
    }

    /// Removes and adds targets in one step. A new target is probed at once (first probes are spread over at most a second
    /// when there are many); a removed one reports nothing after this is processed, and its probe in flight is given up.
    pub fn change(&self, remove: Vec<ProbeId>, add: Vec<(ProbeId, Arc<ProbeSpec>)>) {
        let _ = self.commands.send(Command::Change { remove, add });
    }

    /// Tells how often the target is to be probed from now on. `Fast` without a `fast_interval` is `Normal`.
    pub fn cadence(&self, probe: ProbeId, cadence: Cadence) {
        let _ = self.commands.send(Command::Cadence(probe, cadence));
    }

    /// Probes a target now, out of its turn (never two in flight). Its later turns stay as they were.
    pub fn probe_now(&self, probe: ProbeId) {
        let _ = self.commands.send(Command::ProbeNow(probe));
    }

    /// Hands on a heartbeat, which the target's probe takes in at once.
    pub fn pushed(&self, probe: ProbeId, said: Said) {
        let _ = self.commands.send(Command::Pushed(probe, said));
    }

    /// Totals and present sizes; each is read on its own.
    pub fn statistics(&self) -> Statistics {
        let c = &self.counters;
        Statistics {
            started: c.started.load(Relaxed),
            reported: c.reported.load(Relaxed),
            unable: c.unable.load(Relaxed),
            panicked: c.panicked.load(Relaxed),
            late: c.late.load(Relaxed),
            latest: Duration::from_micros(c.latest_us.load(Relaxed)),
            targets: c.targets.load(Relaxed),
            in_flight: c.in_flight.load(Relaxed),
            watches: c.watches.load(Relaxed),
            watches_broken: c.watches_broken.load(Relaxed),
        }
    }
}

/// Written by the driver alone.
#[derive(Debug, Default)]
struct Counters {
    started: AtomicU64,
    reported: AtomicU64,
    unable: AtomicU64,
    panicked: AtomicU64,
    late: AtomicU64,
    latest_us: AtomicU64,
    targets: AtomicU64,
    in_flight: AtomicU64,
    watches: AtomicU64,
    watches_broken: AtomicU64,
}

/// How one probe ended, before `invert`.
#[derive(Debug, Clone, PartialEq)]
enum Report {
    Passed(String),
    Failed(String),
    /// Passed or failed, and the backend said something of itself.
    Heard {
        passed: bool,
        reason: String,
        said: Said,
    },
    /// There is nothing to say yet: no result.
    Unknown,
    /// Failed at the deadline: the target is silent, and such targets share a part of the slots.
    TimedOut(String),
    /// Failed by our own fault or the configuration's; `invert` must not make that a success.
    Broken(String),
    /// Something on this host kept the probe from being made: says nothing about the target.
    Unable(String),
}

/// What runs probes: the network, and in tests a script.
trait Prober: Send + 'static {
    /// A target made ready, so that a probe repeats no work that can be done once.
    type Target: Clone + Send + 'static;
    fn prepare(&mut self, spec: &Arc<ProbeSpec>) -> Self::Target;
    fn probe(target: Self::Target) -> impl Future<Output = Report> + Send + 'static;

    /// Whether a probe computes for so long, or blocks, that it would hold up the others on the checker's thread.
    fn is_heavy(_target: &Self::Target) -> bool {
        false
    }

    /// What is held beside the interval once a probe has run: when it breaks, the target is probed at once. `regular`: it was
    /// the probe's own turn, so that what breaks at once is not opened again before the next.
    fn watch(_target: &Self::Target, spec: &ProbeSpec, seen_up: bool, regular: bool) -> Option<Watch> {
        (spec.watch && seen_up && regular).then(|| Watch::of_connection(spec))
    }

    /// A heartbeat came.
    fn pushed(_target: &Self::Target, _said: Said) {}
}

/// A watch while it is held.
struct Watch {
    ended: Pin<Box<dyn Future<Output = watch::Ended> + Send>>,
    /// Whether it takes a descriptor, of which there are so many.
    holds_descriptor: bool,
}

impl Watch {
    fn of_connection(spec: &ProbeSpec) -> Watch {
        Watch { ended: Box::pin(watch::hold(spec.target, spec.source, spec.timing.timeout)), holds_descriptor: true }
    }

    /// Of what is in memory: there may be any number.
    fn of_memory(ended: impl Future<Output = watch::Ended> + Send + 'static) -> Watch {
        Watch { ended: Box::pin(ended), holds_descriptor: false }
    }
}

/// The real one. Keeps what targets share: HTTP clients and TLS settings, ICMP sockets, state files, and how many programs run.
#[derive(Default)]
struct Network {
    clients: http::Clients,
    sockets: icmp::Sockets,
    files: file::Files,
    programs: exec::Programs,
}

/// One variant a check type.
#[derive(Clone)]
enum Target {
    Tcp(Arc<ProbeSpec>),
    Http(Arc<http::HttpTarget>),
    Grpc(Arc<grpc::GrpcTarget>),
    Dns(Arc<ProbeSpec>),
    Certificate(Arc<certificate::CertificateTarget>),
    Icmp(Arc<ProbeSpec>, icmp::Sockets),
    Exec(Arc<ProbeSpec>, exec::Programs),
    File(Arc<file::FileTarget>),
    Push(Arc<push::PushTarget>),
    Agent(Arc<agent::AgentTarget>),
    /// Cannot be probed as it is written: every probe fails and says why.
    Unusable(Arc<str>),
}

impl Prober for Network {
    type Target = Target;

    fn prepare(&mut self, spec: &Arc<ProbeSpec>) -> Target {
        let made = match &spec.kind {
            ProbeKind::Tcp { .. } => Ok(Target::Tcp(spec.clone())),
            ProbeKind::Http(http) => self.clients.target(spec, http).map(|target| Target::Http(Arc::new(target))),
            ProbeKind::Grpc(grpc) => grpc::GrpcTarget::new(spec, grpc).map(|target| Target::Grpc(Arc::new(target))),
            ProbeKind::Dns(_) => Ok(Target::Dns(spec.clone())),
            ProbeKind::Tls(tls) => {
                certificate::CertificateTarget::new(spec, tls).map(|target| Target::Certificate(Arc::new(target)))
            }
            ProbeKind::Icmp => Ok(Target::Icmp(spec.clone(), self.sockets.clone())),
            ProbeKind::Exec(_) => Ok(Target::Exec(spec.clone(), self.programs.clone())),
            ProbeKind::File(file) => Ok(Target::File(Arc::new(self.files.target(file)))),
            ProbeKind::Push(push) => Ok(Target::Push(Arc::new(push::PushTarget::new(push)))),
            ProbeKind::Agent(agent) => Ok(Target::Agent(Arc::new(agent::AgentTarget::new(spec, agent)))),
            ProbeKind::Of(_) => Err("follows from other checks and is not probed".to_owned()),
        };
        made.unwrap_or_else(|reason| Target::Unusable(reason.into()))
    }

    async fn probe(target: Target) -> Report {
        // Boxed, but for the two of which there are thousands: every probe in flight takes the room of the largest.
        match target {
            Target::Tcp(spec) => tcp::probe(&spec).await,
            #[cfg(feature = "panic-drill")]
            Target::Http(target) if target.path() == "/panic-drill" => panic!("the drill asked for a panic in a probe"),
            Target::Http(target) => http::probe(&target).await,
            Target::Grpc(target) => Box::pin(grpc::probe(&target)).await,
            Target::Dns(spec) => Box::pin(dns::probe(&spec)).await,
            Target::Certificate(target) => Box::pin(certificate::probe(&target)).await,
            Target::Icmp(spec, sockets) => Box::pin(icmp::probe(&spec, &sockets)).await,
            Target::Exec(spec, programs) => Box::pin(exec::probe(&spec, &programs)).await,
            Target::File(target) => Box::pin(file::probe(&target)).await,
            Target::Push(target) => push::probe(&target),
            Target::Agent(target) => Box::pin(agent::probe(&target)).await,
            Target::Unusable(reason) => Report::Broken(reason.to_string()),
        }
    }

    /// A handshake of TLS takes a millisecond, and so does the start of a program.
    fn is_heavy(target: &Target) -> bool {
        match target {
            Target::Http(target) => target.is_tls(),
            Target::Grpc(_) | Target::Certificate(_) | Target::Exec(..) => true,
            Target::Tcp(_) | Target::Dns(_) | Target::Icmp(..) => false,
            Target::File(_) | Target::Push(_) | Target::Agent(_) | Target::Unusable(_) => false,
        }
    }

    fn watch(target: &Target, spec: &ProbeSpec, seen_up: bool, regular: bool) -> Option<Watch> {
        match target {
            Target::File(target) => Some(Watch::of_memory(file::changed(target.clone()))),
            Target::Push(target) => Some(Watch::of_memory(push::silent(target.clone()))),
            _ => (spec.watch && seen_up && regular).then(|| Watch::of_connection(spec)),
        }
    }

    fn pushed(target: &Target, said: Said) {
        if let Target::Push(target) = target {
            target.push(said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_dns() {
        assert_eq!(limits_for(1024).in_flight, 512);
        assert_eq!(limits_for(20_000).in_flight, 10_000);
        assert_eq!(limits_for(u64::MAX).in_flight, 32_768);
        assert_eq!(limits_for(0).in_flight, 16);
    }

    /// Thousands may be in flight: what each takes is what TCP and HTTP need, not the largest of twelve types.
    #[test]
    fn a_probe_in_flight_takes_no_more_room_for_types_that_are_rare() {
        let spec = Arc::new(ProbeSpec {
            target: ([127, 0, 0, 1], 9).into(),
            source: None,
            invert: false,
            watch: false,
            timing: crate::engine::probe::Timing {
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(2),
                fast_interval: None,
                jitter_permille: 0,
                rise: 2,
                fall: 3,
                forgive: crate::engine::probe::Later(0),
            },
            kind: ProbeKind::Tcp { send: None, expect: None },
        });
        let tcp = size_of_val(&tcp::probe(&spec));
        let whole = size_of_val(&Network::probe(Target::Tcp(spec.clone())));
        let largest = tcp.max(future_size(http::probe));
        assert!(whole <= largest + 256, "{whole} octets, where TCP takes {tcp} and the larger of both {largest}");
    }

    /// Of a future that is never made: its type is enough.
    fn future_size<F: Future>(_: impl Fn(&'static http::HttpTarget) -> F) -> usize {
        size_of::<F>()
    }
}
