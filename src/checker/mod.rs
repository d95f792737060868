//! Asks the outside world and reports. Never decides who is up.
//!
//! ```text
//! Checker (handle) --Command--> driver (one task) --what is due when--> schedule, --who gets a slot--> slots, crowd   (all pure)
//!                                 |  spawns one task a probe in flight: tcp, http
//!                                 |  spawns one task a watched target:  watch  --broken--> a burst of probes
//!                                 +--Observation--> bounded channel --> control
//! ```
//!
//! - Only the monotonic clock is read. Only the driver reads it; the others get it as an argument.
//! - A failure of this host (no descriptor, no free port, a stopped process) is no verdict on a backend: it is counted,
//!   logged and the target probed again at its next turn, but nothing is reported.
//! - A panic in a probe costs that probe: it counts as failed with the reason `internal error`.

mod crowd;
mod driver;
mod http;
mod reason;
pub(crate) mod schedule;
mod slots;
mod tcp;
mod tls;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;

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
    /// Watches open or opening, now.
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
}

impl Checker {
    /// Starts the checker on the current runtime. A full `observations` channel makes it wait; nothing is dropped.
    ///
    /// It also ends when the receiver of `observations` is dropped.
    pub fn start(limits: Limits, observations: mpsc::Sender<Observation>) -> Checker {
        Checker::start_with(Network::default(), limits, observations)
    }

    fn start_with<P: Prober>(prober: P, limits: Limits, observations: mpsc::Sender<Observation>) -> Checker {
        let (commands, inbox) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        tokio::spawn(driver::Driver::new(prober, limits, observations, counters.clone()).run(inbox));
        Checker { commands, counters }
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
#[derive(Debug, Clone, PartialEq, Eq)]
enum Report {
    Passed(String),
    Failed(String),
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
}

/// The real one. Keeps what targets share: HTTP clients and TLS settings.
#[derive(Default)]
struct Network {
    clients: http::Clients,
}

/// One variant a check type.
#[derive(Clone)]
enum Target {
    Tcp(Arc<ProbeSpec>),
    Http(Arc<http::HttpTarget>),
    /// Cannot be probed as it is written: every probe fails and says why.
    Unusable(Arc<str>),
}

impl Prober for Network {
    type Target = Target;

    fn prepare(&mut self, spec: &Arc<ProbeSpec>) -> Target {
        match &spec.kind {
            ProbeKind::Tcp { .. } => Target::Tcp(spec.clone()),
            ProbeKind::Http(http) => match self.clients.target(spec, http) {
                Ok(target) => Target::Http(Arc::new(target)),
                Err(reason) => Target::Unusable(reason.into()),
            },
        }
    }

    async fn probe(target: Target) -> Report {
        match target {
            Target::Tcp(spec) => tcp::probe(&spec).await,
            Target::Http(target) => http::probe(&target).await,
            Target::Unusable(reason) => Report::Broken(reason.to_string()),
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
}
