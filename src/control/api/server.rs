//! HTTP/1 over the control socket with limits on everything: connections, headers, and the time to leave.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::either::Either;

use super::ControlListener;
use super::auth::Tokens;
use super::error::ApiError;
use super::guard::{self, Refusal};
use super::listener::Socket;

/// Connections at once; more wait in the kernel's backlog.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// For a request's header, and between requests: a connection that says nothing is closed.
pub(super) const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// For requests in flight at shutdown.
const DRAIN_TIME: Duration = Duration::from_millis(1500);
/// After a failed accept (descriptors run out): no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over TCP.
    Address(SocketAddr),
    /// Over a unix socket: the peer's user.
    User(Option<u32>),
}

impl Peer {
    /// Whether it is not on this machine's loopback, nor at a unix socket.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Peer::Address(address) if !address.ip().to_canonical().is_loopback())
    }

    /// As overrides record it.
    pub(super) fn who(&self) -> String {
        match self {
            Peer::Address(address) => address.ip().to_string(),
            Peer::User(Some(uid)) => user_name(*uid),
            Peer::User(None) => "somebody".to_string(),
        }
    }
}

/// The name of a user, or `uid 1234` where it has none.
fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

/// Serves `router` behind the check of `Host` and `Origin` until `shutdown` completes. Where `tokens` are in force any host
/// is its own: a page that was led here by DNS rebinding has no token.
pub(crate) async fn serve_router(
    listener: ControlListener,
    router: Router,
    tokens: Option<Tokens>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let ControlListener { socket, file, .. } = listener;
    let socket = Accepting::from_socket(socket)?;
    let router = router.layer(axum::middleware::from_fn_with_state((socket.address(), tokens), refuse_foreign));
    serve_accepted(socket, router, shutdown).await;
    // Only now: while requests are in flight the name still stands for this server.
    drop(file);
    Ok(())
}

/// The socket as the runtime reads it.
enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn from_socket(socket: Socket) -> io::Result<Accepting> {
        Ok(match socket {
            Socket::Tcp(listener) => Accepting::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener) => Accepting::Unix(UnixListener::from_std(listener)?),
        })
    }

    fn address(&self) -> Option<SocketAddr> {
        match self {
            Accepting::Tcp(listener) => listener.local_addr().ok(),
            Accepting::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<(Either<TcpStream, UnixStream>, Peer)> {
        match self {
            Accepting::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Either::Left(stream), Peer::Address(address)))
            }
            Accepting::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Either::Right(stream), Peer::User(user)))
            }
        }
    }
}

async fn refuse_foreign(
    State((own, tokens)): State<(Option<SocketAddr>, Option<Tokens>)>,
    request: Request,
    next: Next,
) -> Response {
    let any_host = own.is_some() && tokens.is_some_and(|tokens| tokens.load().is_some());
    match guard::check(request.version(), request.uri(), request.headers(), own, any_host) {
        Ok(()) => next.run(request).await,
        Err(refusal) => ApiError::from(refusal).into_response(),
    }
}

async fn serve_accepted(socket: Accepting, router: Router, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    // Dropped at the end: what has not finished by then is cut off.
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await;
            (slot, socket.accept().await)
        };
        let (slot, (stream, peer)) = tokio::select! {
            _ = &mut shutdown => break,
            (slot, accepted) = accepted => match accepted {
                Ok(accepted) => (slot, accepted),
                Err(error) => {
                    tracing::warn!(%error, "control listener: cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(router.clone().layer(Extension(peer)));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            let _slot = slot;
            // A client that breaks off is its own affair.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "control listener: connection ended");
            }
        });
    }
    let _ = tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await;
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> ApiError {
        match refusal {
            Refusal::BadHost => {
                ApiError(StatusCode::BAD_REQUEST, "a request carries exactly one Host (RFC 9112 3.2)".to_string())
            }
            Refusal::ForeignHost(host) => ApiError(
                StatusCode::FORBIDDEN,
                format!("Host {host:?} is foreign: ask for localhost or a loopback address"),
            ),
            Refusal::ForeignOrigin(origin) => {
                ApiError(StatusCode::FORBIDDEN, format!("Origin {origin:?} is foreign: other sites may not ask"))
            }
        }
    }
}
