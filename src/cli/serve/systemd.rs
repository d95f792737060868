//! What a service manager gives and wants: sockets by name (sd_listen_fds(3)), and word of how things stand (sd_notify(3)).
//!
//! Without systemd's environment variables all of this does nothing.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Origin, StartError};
use crate::config::plan::ControlAddress;
use crate::control::Control;
use crate::transport::{Counters, Inherited, Label, List, Listen};

/// Between two lines for `systemctl status`, however often things change.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// A UDP worker goes round ten times a second at least; looked at more often, a calm one would seem to hang.
const BEATS_WITHIN: Duration = Duration::from_millis(500);

/// The sockets that the service manager has bound. Their names (`FileDescriptorName=`) say what they are for: `dns` (UDP and
/// TCP), `tls`, `https`, `quic`, `control`.
///
/// To be called before other threads run: it reads and clears environment variables.
pub(super) fn activated() -> Result<Origin, StartError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = ListenFd::from_env();
    let mut origin = Origin::default();
    let mut names = names.split(':');
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let list = match name {
            "dns" => List::Dns,
            "tls" => List::Tls,
            "https" => List::Https,
            "quic" => List::Quic,
            "control" => {
                origin.control = Some(control(&mut given, index)?);
                continue;
            }
            other => {
                return Err(wrong(format!(
                    "the service manager passed a socket named {other:?}; FileDescriptorName= must be dns, tls, https, \
                     quic or control"
                )));
            }
        };
        let (bound, udp, socket) = dns_socket(&mut given, index, name, list)?;
        if !origin.managed.contains(&list) {
            origin.managed.push(list);
        }
        origin.sockets.add(Label { list, udp, configured: bound, bound }, socket);
    }
    Ok(origin)
}

fn wrong(message: String) -> StartError {
    StartError { message }
}

fn dns_socket(
    given: &mut ListenFd,
    index: usize,
    name: &str,
    list: List,
) -> Result<(SocketAddr, bool, OwnedFd), StartError> {
    let wants = match list {
        List::Dns => "ListenDatagram= or ListenStream=",
        List::Quic => "ListenDatagram=",
        List::Tls | List::Https => "ListenStream=",
    };
    if matches!(list, List::Dns | List::Quic)
        && let Ok(Some(socket)) = given.take_udp_socket(index)
    {
        let bound = UdpSocket::local_addr(&socket).map_err(|error| wrong(format!("socket {name}: {error}")))?;
        return Ok((bound, true, socket.into()));
    }
    if list != List::Quic
        && let Ok(Some(listener)) = given.take_tcp_listener(index)
    {
        let bound = TcpListener::local_addr(&listener).map_err(|error| wrong(format!("socket {name}: {error}")))?;
        return Ok((bound, false, listener.into()));
    }
    Err(wrong(format!(
        "the service manager passed a socket named {name:?} that cannot serve as such: it must come from {wants} with an IP \
         address"
    )))
}

fn control(given: &mut ListenFd, index: usize) -> Result<super::GivenControl, StartError> {
    let unusable =
        "the service manager passed a socket named \"control\" that is neither a unix stream nor a TCP listener";
    if let Ok(Some(listener)) = given.take_unix_listener(index) {
        let address = UnixListener::local_addr(&listener).ok().and_then(|it| it.as_pathname().map(Into::into));
        let path = address.ok_or_else(|| wrong("the control socket that was passed has no path".to_owned()))?;
        return Ok(super::GivenControl { address: ControlAddress::Unix(path), socket: listener.into(), managed: true });
    }
    match given.take_tcp_listener(index) {
        Ok(Some(listener)) => {
            let address = listener.local_addr().map_err(|error| wrong(format!("{unusable}: {error}")))?;
            Ok(super::GivenControl { address: ControlAddress::Tcp(address), socket: listener.into(), managed: true })
        }
        _ => Err(wrong(unusable.to_owned())),
    }
}

/// The service manager's word counts: a list for which it passed sockets is served on these, and on no others.
pub(super) fn listen_where_told(listen: &mut Listen, sockets: &Inherited, managed: &[List]) {
    let of = |list| -> Vec<SocketAddr> {
        let bound: BTreeSet<SocketAddr> = sockets
            .labels()
            .filter(|label| label.list == list && managed.contains(&list))
            .map(|label| label.bound)
            .collect();
        bound.into_iter().collect()
    };
    let said = |list, configured: &[SocketAddr], told: &[SocketAddr]| {
        for address in configured.iter().filter(|address| !told.contains(address)) {
            tracing::info!(
                "not listening on {address}: the service manager's sockets named \"{list}\" are used instead"
            );
        }
    };
    let dns = of(List::Dns);
    if !dns.is_empty() {
        let configured: Vec<SocketAddr> =
            listen.dns.iter().filter(|(_, optional)| !optional).map(|(address, _)| *address).collect();
        said("dns", &configured, &dns);
        listen.dns = dns.into_iter().map(|address| (address, false)).collect();
    }
    for (list, name, addresses) in [
        (List::Tls, "tls", &mut listen.tls),
        (List::Https, "https", &mut listen.https),
        (List::Quic, "quic", &mut listen.quic),
    ] {
        let told = of(list);
        if !told.is_empty() {
            said(name, addresses, &told);
            *addresses = told;
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: {error}");
    }
}

/// The server is going.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("answering what is in flight")]);
}

/// A successor is being started.
pub(super) fn replacing() {
    reloading("being replaced");
}

/// It did not come up.
pub(super) fn not_replaced(why: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("not replaced: {}", why.lines().next().unwrap_or("")))]);
}

/// It did: from now on the service manager heeds that process.
pub(super) fn replaced(pid: u32) {
    notify(&[NotifyState::MainPid(pid), NotifyState::Ready, NotifyState::Status("replaced")]);
}

fn reloading(status: &str) {
    let mut states = vec![NotifyState::Reloading, NotifyState::Status(status)];
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// Tells the service manager how things stand, and pats its watchdog, until dropped.
pub(super) struct Reporter {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Reporter {
    /// Says READY first.
    pub(super) fn start(control: &Control, counters: &Arc<Counters>) -> Reporter {
        let stop = Arc::new(AtomicBool::new(false));
        if let Some(period) = sd_notify::watchdog_enabled() {
            let watchdog = Watchdog { control: control.clone(), counters: counters.clone(), stop: stop.clone() };
            let handle = Handle::current();
            let thread = std::thread::Builder::new().name("watchdog".to_owned());
            if let Err(error) = thread.spawn(move || watchdog.run(period, &handle)) {
                tracing::error!("no thread to pat the watchdog with: {error}");
            }
        }
        notify(&[NotifyState::Ready]);
        let task = match std::env::var_os("NOTIFY_SOCKET") {
            Some(_) => tokio::spawn(report(control.clone())),
            None => tokio::spawn(async {}),
        };
        Reporter { task, stop }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.task.abort();
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn report(control: Control) {
    let (mut reloads, mut generations) = (control.reloads(), control.generations());
    let mut begun = 0;
    loop {
        let (total, active) = *reloads.borrow_and_update();
        // Each reload is announced: systemd waits for a READY that is younger than its own request.
        if total != begun {
            begun = total;
            reloading("reloading");
        }
        if active == 0 {
            generations.borrow_and_update();
            let Ok(pulse) = control.pulse().await else { return };
            notify(&[NotifyState::Ready, NotifyState::Status(&pulse.to_string())]);
        }
        let calm = async {
            tokio::time::sleep(STATUS_EVERY).await;
            generations.changed().await
        };
        let over = tokio::select! {
            changed = reloads.changed() => changed.is_err(),
            changed = calm, if active == 0 => changed.is_err(),
        };
        if over {
            return;
        }
    }
}

/// Pats the service manager's watchdog while every part of the server shows signs of life.
struct Watchdog {
    control: Control,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
}

impl Watchdog {
    fn run(&self, period: Duration, runtime: &Handle) {
        let mut beats = Beats::new(self.counters.beats(), Instant::now());
        let mut silent = false;
        while !self.stop.load(Ordering::Relaxed) {
            // Half of the period is what sd_watchdog_enabled(3) advises; a third leaves time for a slow pulse.
            std::thread::sleep(period / 3);
            let hung = match runtime.block_on(self.control.pulse()) {
                Ok(_) => beats.look(self.counters.beats(), Instant::now()),
                Err(_) => Some("control does not answer".to_owned()),
            };
            match hung {
                _ if self.stop.load(Ordering::Relaxed) => return,
                None => {
                    notify(&[NotifyState::Watchdog]);
                    silent = false;
                }
                Some(what) => {
                    if !std::mem::replace(&mut silent, true) {
                        tracing::error!("the watchdog is not patted: {what}");
                        notify(&[NotifyState::Status(&what)]);
                    }
                }
            }
        }
    }
}

/// Whether the UDP workers go round.
struct Beats {
    seen: Vec<u64>,
    since: Instant,
}

impl Beats {
    fn new(seen: Vec<u64>, now: Instant) -> Beats {
        Beats { seen, since: now }
    }

    /// `Some`: who has not moved since the last look.
    fn look(&mut self, now_seen: Vec<u64>, now: Instant) -> Option<String> {
        if now.duration_since(self.since) >= BEATS_WITHIN {
            let still = self.seen.iter().zip(&now_seen).filter(|(before, after)| before == after).count();
            if still > 0 {
                return Some(format!("{still} of {} UDP workers hang", now_seen.len()));
            }
            (self.seen, self.since) = (now_seen, now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_seen_and_one_looked_at_too_soon_is_not_blamed() {
        let start = Instant::now();
        let mut beats = Beats::new(vec![1, 1], start);
        assert_eq!(beats.look(vec![1, 1], start + BEATS_WITHIN / 2), None);
        assert_eq!(beats.look(vec![9, 9], start + BEATS_WITHIN), None);
        let said = beats.look(vec![10, 9], start + 2 * BEATS_WITHIN).unwrap();
        assert_eq!(said, "1 of 2 UDP workers hang");
        assert!(beats.look(vec![11, 9], start + 3 * BEATS_WITHIN).is_some(), "as long as it stands still");
        assert_eq!(beats.look(vec![12, 10], start + 4 * BEATS_WITHIN), None);
    }
}
