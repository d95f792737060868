//! Moves bytes. Knows `respond()` and how to read a snapshot, nothing more.
//!
//! ```text
//! bind (as root) -> become_user -> lay_down_capabilities -> check_readable_after_drop -> start -> ... -> drain
//!
//! udp      one thread a worker and address, recvmmsg/sendmmsg        \
//! stream   TCP and TLS on tokio, length-prefixed frames               >  engine::respond()
//! https    HTTP/2 by hyper, behind stream's listener and limits      /
//! quic     QUIC by quinn, under the same limits                     /
//! ```

mod bind;
mod cells;
mod certificate;
mod counters;
mod https;
mod inherit;
mod limits;
#[cfg(all(feature = "panic-drill", not(test)))]
mod panic_drill;
mod privilege;
mod quic;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod udp;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Transport;
#[cfg(not(any(test, feature = "panic-drill")))]
use crate::engine::respond;
#[cfg(not(test))]
use crate::engine::respond_in_place;
use crate::engine::snapshot::Snapshot;
#[cfg(all(feature = "panic-drill", not(test)))]
use panic_drill::respond;
#[cfg(test)]
use tests::{respond, respond_in_place};

pub use bind::BindError;
pub use cells::{BOUNDS, TYPES, Timed, ZONES, ZoneCounted};
pub use certificate::{CertificateError, check_readable_after_drop};
pub use counters::{Counted, Counters, RCODES};
pub use inherit::{Inherited, Label, List};
pub use privilege::{PrivilegeError, become_user, lay_down_capabilities, raise_descriptor_limit};
pub use tap::{Sample, Tapped, Wanted};

use certificate::Certificates;
use limits::{Admission, Limits};

/// What is to be bound. Plain data, so that this layer need not know the configuration's types.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// UDP and TCP; `true`: skipped, not refused, where there is no IPv6.
    pub dns: Vec<(SocketAddr, bool)>,
    /// DNS over TLS.
    pub tls: Vec<SocketAddr>,
    /// DNS over HTTPS.
    pub https: Vec<SocketAddr>,
    /// DNS over QUIC.
    pub quic: Vec<SocketAddr>,
    /// PEM chain and key.
    pub certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
    /// UDP worker threads for each address.
    pub udp_workers: usize,
    /// Largest UDP reply, octets.
    pub max_udp_payload: u16,
}

/// How long a drain may take: half a second below the 5 s that are promised, for what comes after it.
const DRAIN_DEADLINE: Duration = Duration::from_millis(4500);
/// How long clients of a replaced server may go on using their connections: longer than an idle one lives.
const LINGER: Duration = Duration::from_secs(15);
/// Before an accept loop that panicked starts anew.
const RESTART_PAUSE: Duration = Duration::from_millis(10);

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct Bound {
    dns: Vec<bind::DnsSockets>,
    tls: Vec<(SocketAddr, TcpListener)>,
    https: Vec<(SocketAddr, TcpListener)>,
    quic: Vec<(SocketAddr, UdpSocket)>,
    certificates: Option<Arc<Certificates>>,
    udp_workers: usize,
    max_udp_payload: usize,
}

impl Bound {
    /// Binds every address, while still root where that is needed. Certificates are read and checked here too.
    ///
    /// DoH and DoQ sockets belong to tokio, so a runtime must be entered by the time of [`Bound::start`].
    pub fn bind(listen: &Listen) -> Result<Bound, BindError> {
        Bound::bind_inheriting(listen, &mut Inherited::default())
    }

    /// The same, where some sockets are bound already: an address that one of them serves is not bound anew. What no
    /// address takes is left.
    pub fn bind_inheriting(listen: &Listen, inherited: &mut Inherited) -> Result<Bound, BindError> {
        let encrypted = !(listen.tls.is_empty() && listen.https.is_empty() && listen.quic.is_empty());
        let certificates = match &listen.certificate {
            Some((chain, key)) if encrypted => {
                Some(Certificates::load(chain, key).map_err(|error| BindError { message: error.message })?)
            }
            None if encrypted => {
                return Err(BindError {
                    message: "`listen.tls`, `listen.https` and `listen.quic` need a certificate: set `cert` and `key` \
                              under `[tls]`"
                        .to_owned(),
                });
            }
            _ => None,
        };
        let mut udp_workers = listen.udp_workers.max(1);
        let mut dns = Vec::new();
        for &(address, optional) in &listen.dns {
            let (udp, tcp) = inherited.take(List::Dns, address);
            match udp.is_empty() && tcp.is_empty() {
                true => dns.extend(bind::bind_dns(address, optional, udp_workers)?),
                false => dns.push(bind::adopt_dns(address, udp, tcp, udp_workers)?),
            }
        }
        for sockets in &dns {
            udp_workers = udp_workers.max(sockets.udp.len());
        }
        let mut tcp = |list, addresses: &[SocketAddr]| -> Result<Vec<_>, BindError> {
            let bind = |&address: &SocketAddr| match inherited.take(list, address).1.pop() {
                Some(listener) => Ok((address, bind::adopt_tcp(address, listener)?)),
                None => Ok((address, bind::bind_tcp(address)?)),
            };
            addresses.iter().map(bind).collect()
        };
        let (tls, https) = (tcp(List::Tls, &listen.tls)?, tcp(List::Https, &listen.https)?);
        let bind_quic = |&address: &SocketAddr| match inherited.take(List::Quic, address).0.pop() {
            Some(socket) => Ok((address, bind::adopt_quic(address, socket)?)),
            None => Ok((address, bind::bind_quic(address)?)),
        };
        let quic = listen.quic.iter().map(bind_quic).collect::<Result<_, BindError>>()?;
        Ok(Bound {
            dns,
            tls,
            https,
            quic,
            certificates,
            udp_workers,
            max_udp_payload: usize::from(listen.max_udp_payload),
        })
    }

    /// What was bound, port 0 resolved, in the order of the lists: for each `dns` address UDP and TCP, then the others.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let dns =
            self.dns.iter().flat_map(|sockets| [(Transport::Udp, sockets.address), (Transport::Tcp, sockets.address)]);
        let tls = self.tls.iter().flat_map(|(_, it)| Some((Transport::Tls, it.local_addr().ok()?)));
        let https = self.https.iter().flat_map(|(_, it)| Some((Transport::Https, it.local_addr().ok()?)));
        let quic = self.quic.iter().flat_map(|(_, it)| Some((Transport::Quic, it.local_addr().ok()?)));
        dns.chain(tls).chain(https).chain(quic).collect()
    }

    /// UDP workers for each address: as many as asked for, or more where more sockets were inherited.
    pub fn udp_workers(&self) -> usize {
        self.udp_workers
    }

    /// Every socket once more, with what it is for.
    fn duplicates(&self) -> io::Result<Vec<(Label, OwnedFd)>> {
        let mut all = Vec::new();
        let label = |list, udp, configured, bound| Label { list, udp, configured, bound };
        for sockets in &self.dns {
            for udp in &sockets.udp {
                all.push((label(List::Dns, true, sockets.configured, sockets.address), udp.try_clone()?.into()));
            }
            all.push((label(List::Dns, false, sockets.configured, sockets.address), sockets.tcp.try_clone()?.into()));
        }
        for (list, listeners) in [(List::Tls, &self.tls), (List::Https, &self.https)] {
            for (configured, listener) in listeners {
                all.push((label(list, false, *configured, listener.local_addr()?), listener.try_clone()?.into()));
            }
        }
        for (configured, socket) in &self.quic {
            all.push((label(List::Quic, true, *configured, socket.local_addr()?), socket.try_clone()?.into()));
        }
        Ok(all)
    }

    /// Starts the UDP workers' threads and the stream listeners on the current runtime.
    ///
    /// # Panics
    ///
    /// When the system refuses a thread, or outside a tokio runtime: nothing could be served.
    pub fn start(self, snapshots: Arc<ArcSwap<Snapshot>>) -> Running {
        self.start_within(snapshots, Limits::from_descriptors(privilege::descriptor_limit()))
    }

    fn start_within(self, snapshots: Arc<ArcSwap<Snapshot>>, limits: Limits) -> Running {
        let sockets = self.duplicates().unwrap_or_else(|error| {
            tracing::warn!("no descriptors left to hand the sockets to a successor with: {error}");
            Vec::new()
        });
        let mut counters = Counters::default();
        let admission = Admission::new(limits);
        let closing = CancellationToken::new();
        let stop = CancellationToken::new();
        let abort = CancellationToken::new();
        let tasks = TaskTracker::new();
        let stop_udp = Arc::new(AtomicBool::new(false));
        let worker = self.udp_workers;

        let mut service = |transport, tls| {
            Arc::new(stream::Service {
                transport,
                worker,
                snapshots: snapshots.clone(),
                counters: counters.add(transport, worker),
                admission: admission.clone(),
                tls,
                closing: closing.clone(),
                stop: stop.clone(),
                abort: abort.clone(),
                tasks: tasks.clone(),
            })
        };
        let tcp = service(Transport::Tcp, None);
        let tls = self
            .certificates
            .as_ref()
            .map(|certificates| service(Transport::Tls, Some(TlsAcceptor::from(server_config(certificates, "dot")))));
        let https = self
            .certificates
            .as_ref()
            .map(|certificates| service(Transport::Https, Some(TlsAcceptor::from(server_config(certificates, "h2")))));

        let mut udp_threads = Vec::new();
        for sockets in self.dns {
            for (index, socket) in sockets.udp.into_iter().enumerate() {
                let worker = udp::Worker {
                    socket,
                    index,
                    wildcard: udp::is_wildcard(sockets.address),
                    max_payload: self.max_udp_payload,
                    snapshots: snapshots.clone(),
                    counters: counters.add_udp(index, sockets.address.is_ipv6()),
                    stop: stop_udp.clone(),
                    limiter: std::cell::RefCell::default(),
                };
                udp_threads.push(worker.spawn().expect("the system allows a thread for each UDP worker"));
            }
            tasks.spawn(accept(sockets.tcp, tcp.clone()));
        }
        for ((_, listener), tls) in self.tls.into_iter().zip(std::iter::repeat(tls).flatten()) {
            tasks.spawn(accept(listener, tls));
        }
        for ((_, listener), https) in self.https.into_iter().zip(std::iter::repeat(https).flatten()) {
            tasks.spawn(accept(listener, https));
        }

        let carrier = self.certificates.as_ref().filter(|_| !self.quic.is_empty());
        let carrier = carrier.map(|certificates| {
            // Of its own: over a shared socket it cannot linger as long as the others.
            let service = stream::Service {
                transport: Transport::Quic,
                worker,
                snapshots: snapshots.clone(),
                counters: counters.add(Transport::Quic, worker),
                admission: admission.clone(),
                tls: None,
                closing: closing.clone(),
                stop: stop.child_token(),
                abort: abort.child_token(),
                tasks: TaskTracker::new(),
            };
            let mut carrier = quic::Carrier::new(Arc::new(service));
            for (_, socket) in self.quic {
                if let Err(error) = carrier.add(socket, server_config(certificates, "doq")) {
                    tracing::error!("DNS over QUIC does not run: {error}");
                }
            }
            carrier
        });

        if let Some(certificates) = self.certificates.clone() {
            let closing = closing.clone();
            tasks.spawn(async move {
                let mut look = tokio::time::interval(certificate::LOOK_EVERY);
                look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                while closing.run_until_cancelled(look.tick()).await.is_some() {
                    certificates.reload_if_changed();
                }
            });
        }

        if let Some(certificates) = &self.certificates {
            counters.certificate(certificates.clone());
        }
        Running {
            counters: Arc::new(counters),
            certificates: self.certificates,
            carrier,
            sockets,
            udp_threads,
            stop_udp,
            closing,
            stop,
            abort,
            tasks,
        }
    }
}

/// Running transports.
pub struct Running {
    counters: Arc<Counters>,
    certificates: Option<Arc<Certificates>>,
    carrier: Option<quic::Carrier>,
    /// Every socket once more, for a successor.
    sockets: Vec<(Label, OwnedFd)>,
    udp_threads: Vec<JoinHandle<()>>,
    stop_udp: Arc<AtomicBool>,
    closing: CancellationToken,
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// What was received, answered and dropped; the returned value stays readable after a drain.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Reads the certificate's files now instead of within seconds. What does not load keeps the old one in use.
    pub fn reload_certificates(&self) -> Result<(), CertificateError> {
        self.certificates.as_ref().map_or(Ok(()), |certificates| certificates.reload())
    }

    /// Every socket with what it is for. A successor that reads them loses nothing of what waits in them.
    pub fn sockets(&self) -> &[(Label, OwnedFd)] {
        &self.sockets
    }

    /// Leaves the sockets to a successor that reads them already. UDP ends at once; TCP, TLS and HTTPS clients may go on using
    /// their connections, for 15 s at the longest; QUIC connections are closed.
    pub async fn leave(mut self) {
        self.closing.cancel();
        self.stop_udp.store(true, Ordering::Relaxed);
        self.sockets.clear();
        self.tasks.close();
        if let Some(carrier) = self.carrier.take() {
            let _ = timeout(DRAIN_DEADLINE, carrier.leave()).await;
        }
        let _ = timeout(LINGER, self.tasks.wait()).await;
        self.drain().await;
    }

    /// Stops accepting, answers what is in flight, and returns, after 5 s at the latest.
    pub async fn drain(mut self) {
        let deadline = Instant::now() + DRAIN_DEADLINE;
        // A duplicate would keep the port open: clients would wait instead of being refused.
        self.sockets.clear();
        self.closing.cancel();
        self.stop.cancel();
        self.stop_udp.store(true, Ordering::Relaxed);
        self.tasks.close();

        let threads = std::mem::take(&mut self.udp_threads);
        let threads = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A worker catches its panics; what it has to say is in the log already.
                let _ = thread.join();
            }
        });
        let carrier = self.carrier.take();
        let carrier = async {
            if let Some(carrier) = carrier {
                carrier.drain().await;
            }
        };
        let all = async { tokio::join!(self.tasks.wait(), carrier, threads) };
        if timeout_at(deadline, all).await.is_err() {
            tracing::warn!("some connections did not end in time and are closed");
        }
        self.abort.cancel();
        let _ = timeout(Duration::from_millis(100), self.tasks.wait()).await;
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Running").field("udp_threads", &self.udp_threads.len()).finish_non_exhaustive()
    }
}

impl Drop for Running {
    /// Without a drain: everything ends at once.
    fn drop(&mut self) {
        self.stop_udp.store(true, Ordering::Relaxed);
        self.closing.cancel();
        self.stop.cancel();
        self.abort.cancel();
    }
}

fn server_config(certificates: &Arc<Certificates>, protocol: &str) -> Arc<rustls::ServerConfig> {
    certificates.server_config(protocol).expect("ring offers the default protocol versions")
}

/// Accepts until told to stop; a loop that panics is started anew on the same listener.
async fn accept(listener: TcpListener, service: Arc<stream::Service>) {
    loop {
        let run = async { stream::accept(listener.try_clone()?, service.clone()).await };
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => {
                tracing::error!("a listener does not run: {error}");
                return;
            }
            Err(_) => {
                service.counters.panics.add(1);
                service.counters.restarts.add(1);
                tracing::error!("an accept loop panicked and was started again");
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        }
    }
}

/// The files that must stay readable after the change of user.
impl Listen {
    /// Certificate and key, where something uses them: for [`check_readable_after_drop`].
    pub fn secret_files(&self) -> Vec<&Path> {
        let encrypted = !(self.tls.is_empty() && self.https.is_empty() && self.quic.is_empty());
        match &self.certificate {
            Some((chain, key)) if encrypted => vec![chain, key],
            _ => Vec::new(),
        }
    }
}
