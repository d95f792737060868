//! Moves bytes. Knows `respond()` and how to read a snapshot, nothing more.
//!
//! ```text
//! bind (as root) -> become_user -> check_readable_after_drop -> start -> ... -> drain
//!
//! udp      one thread a worker and address, recvmmsg/sendmmsg        \
//! stream   TCP and TLS on tokio, length-prefixed frames               >  engine::respond()
//! https    HTTP/2 by hyper, behind stream's listener and limits      /
//! hickory  QUIC, where listed                                       /
//! ```

mod bind;
mod certificate;
mod counters;
mod hickory;
mod https;
mod limits;
#[cfg(all(feature = "panic-drill", not(test)))]
mod panic_drill;
mod privilege;
mod stream;
#[cfg(test)]
mod tests;
mod udp;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
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
pub use certificate::{CertificateError, check_readable_after_drop};
pub use counters::{Counted, Counters, RCODES};
pub use privilege::{PrivilegeError, become_user, raise_descriptor_limit};

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

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct Bound {
    dns: Vec<bind::DnsSockets>,
    tls: Vec<TcpListener>,
    https: Vec<TcpListener>,
    quic: Vec<UdpSocket>,
    certificates: Option<Arc<Certificates>>,
    udp_workers: usize,
    max_udp_payload: usize,
}

impl Bound {
    /// Binds every address, while still root where that is needed. Certificates are read and checked here too.
    ///
    /// DoH and DoQ sockets belong to tokio, so a runtime must be entered by the time of [`Bound::start`].
    pub fn bind(listen: &Listen) -> Result<Bound, BindError> {
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
        let udp_workers = listen.udp_workers.max(1);
        let mut dns = Vec::new();
        for &(address, optional) in &listen.dns {
            dns.extend(bind::bind_dns(address, optional, udp_workers)?);
        }
        Ok(Bound {
            dns,
            tls: bind_all(&listen.tls, bind::bind_tcp)?,
            https: bind_all(&listen.https, bind::bind_tcp)?,
            quic: bind_all(&listen.quic, bind::bind_quic)?,
            certificates,
            udp_workers,
            max_udp_payload: usize::from(listen.max_udp_payload),
        })
    }

    /// What was bound, port 0 resolved, in the order of the lists: for each `dns` address UDP and TCP, then the others.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let dns =
            self.dns.iter().flat_map(|sockets| [(Transport::Udp, sockets.address), (Transport::Tcp, sockets.address)]);
        let tls = self.tls.iter().flat_map(|it| Some((Transport::Tls, it.local_addr().ok()?)));
        let https = self.https.iter().flat_map(|it| Some((Transport::Https, it.local_addr().ok()?)));
        let quic = self.quic.iter().flat_map(|it| Some((Transport::Quic, it.local_addr().ok()?)));
        dns.chain(tls).chain(https).chain(quic).collect()
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
        let mut counters = Counters::default();
        let admission = Admission::new(limits);
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
                    counters: counters.add(Transport::Udp, index),
                    stop: stop_udp.clone(),
                    limiter: std::cell::RefCell::default(),
                };
                udp_threads.push(worker.spawn().expect("the system allows a thread for each UDP worker"));
            }
            tasks.spawn(accept(sockets.tcp, tcp.clone()));
        }
        for (listener, tls) in self.tls.into_iter().zip(std::iter::repeat(tls).flatten()) {
            tasks.spawn(accept(listener, tls));
        }
        for (listener, https) in self.https.into_iter().zip(std::iter::repeat(https).flatten()) {
            tasks.spawn(accept(listener, https));
        }

        let carrier = self.certificates.as_ref().filter(|_| !self.quic.is_empty());
        let carrier = carrier.map(|certificates| {
            let quic = counters.add(Transport::Quic, worker);
            let mut carrier = hickory::Carrier::new(snapshots.clone(), worker, quic);
            for socket in self.quic {
                if let Err(error) = carrier.add_quic(socket, server_config(certificates, "doq")) {
                    tracing::error!("DNS over QUIC does not run: {error}");
                }
            }
            carrier
        });

        if let Some(certificates) = self.certificates.clone() {
            let stop = stop.clone();
            tasks.spawn(async move {
                let mut look = tokio::time::interval(certificate::LOOK_EVERY);
                look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                while stop.run_until_cancelled(look.tick()).await.is_some() {
                    certificates.reload_if_changed();
                }
            });
        }

        Running {
            counters: Arc::new(counters),
            certificates: self.certificates,
            carrier,
            udp_threads,
            stop_udp,
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
    carrier: Option<hickory::Carrier>,
    udp_threads: Vec<JoinHandle<()>>,
    stop_udp: Arc<AtomicBool>,
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

    /// Stops accepting, answers what is in flight, and returns, after 5 s at the latest.
    pub async fn drain(mut self) {
        let deadline = Instant::now() + DRAIN_DEADLINE;
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
        self.stop.cancel();
        self.abort.cancel();
    }
}

fn bind_all<T>(addresses: &[SocketAddr], bind: fn(SocketAddr) -> Result<T, BindError>) -> Result<Vec<T>, BindError> {
    addresses.iter().map(|address| bind(*address)).collect()
}

fn server_config(certificates: &Arc<Certificates>, protocol: &str) -> Arc<rustls::ServerConfig> {
    certificates.server_config(protocol).expect("ring offers the default protocol versions")
}

async fn accept(listener: TcpListener, service: Arc<stream::Service>) {
    if let Err(error) = stream::accept(listener, service).await {
        tracing::error!("a listener does not run: {error}");
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
