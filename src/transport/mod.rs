//! Moves bytes. Knows `respond()` and how to read a snapshot, nothing more.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::engine::Transport;
use crate::engine::snapshot::Snapshot;

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

/// Bound sockets that nobody reads yet.
#[derive(Debug)]
pub struct Bound {}

/// Running transports.
#[derive(Debug)]
pub struct Running {}

/// A listener that could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// Address, cause, remedy.
    pub message: String,
}

impl Bound {
    /// Binds every address, while still root where that is needed. Certificates are read and checked here too.
    pub fn bind(listen: &Listen) -> Result<Bound, BindError> {
        let _ = listen;
        Ok(Bound {})
    }

    /// What was bound, port 0 resolved.
    pub fn addresses(&self) -> Vec<(Transport, SocketAddr)> {
        Vec::new()
    }

    /// Starts the UDP workers' threads and the stream listeners on the current runtime.
    pub fn start(self, snapshots: Arc<ArcSwap<Snapshot>>) -> Running {
        let _ = snapshots;
        Running {}
    }
}

impl Running {
    /// Stops accepting, answers what is in flight, and returns, after 5 s at the latest.
    pub async fn drain(self) {}
}
