//! The demo's backends: four small HTTP servers on one port of four loopback addresses. Killing one closes its listener and
//! every connection to it, as the end of a process does; reviving opens the listener again.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use super::super::view::screen::Process;

/// How many backends there are; the zone names them b1 to b4.
pub(super) const BACKENDS: u8 = 4;
/// Ports to try before all four addresses have one in common that is free.
const ATTEMPTS: usize = 50;

pub(super) struct Farm {
    port: u16,
    backends: Mutex<Vec<Backend>>,
}

struct Backend {
    name: String,
    address: SocketAddr,
    /// `None` while it is dead.
    running: Option<JoinHandle<()>>,
}

/// What became of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Killed,
    Revived,
    /// It was so already.
    Nothing,
}

impl Farm {
    /// Starts the backends on a port that the kernel chose and that is free on every address.
    pub(super) async fn start() -> io::Result<Farm> {
        let (port, listeners) = bind_all().await?;
        let mut backends = Vec::new();
        for (index, listener) in (1..=BACKENDS).zip(listeners) {
            let name = format!("b{index}");
            let running = Some(tokio::spawn(serve(listener, name.clone())));
            backends.push(Backend { name, address: SocketAddr::new(address(index), port), running });
        }
        Ok(Farm { port, backends: Mutex::new(backends) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) async fn processes(&self) -> Vec<Process> {
        let backends = self.backends.lock().await;
        backends
            .iter()
            .map(|backend| Process {
                name: backend.name.clone(),
                address: backend.address.to_string(),
                alive: backend.running.is_some(),
            })
            .collect()
    }

    /// Makes a backend live or not; `None` when there is none of that name. When this returns, the sockets are closed or open.
    pub(super) async fn set(&self, name: &str, alive: bool) -> Option<io::Result<(Done, IpAddr)>> {
        let mut backends = self.backends.lock().await;
        let backend = backends.iter_mut().find(|backend| backend.name == name)?;
        let done = match (backend.running.take(), alive) {
            (Some(running), false) => {
                running.abort();
                // Once the task is gone, so are its listener and its connections.
                let _ = running.await;
                Done::Killed
            }
            (None, true) => match TcpListener::bind(backend.address).await {
                Ok(listener) => {
                    backend.running = Some(tokio::spawn(serve(listener, backend.name.clone())));
                    Done::Revived
                }
                Err(error) => return Some(Err(error)),
            },
            (running, _) => {
                backend.running = running;
                Done::Nothing
            }
        };
        Some(Ok((done, backend.address.ip())))
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        for backend in self.backends.get_mut() {
            if let Some(running) = &backend.running {
                running.abort();
            }
        }
    }
}

/// `b1` is 127.0.0.11, and so on.
fn address(index: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 10 + index))
}

async fn bind_all() -> io::Result<(u16, Vec<TcpListener>)> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let first = TcpListener::bind((address(1), 0)).await?;
        let port = first.local_addr()?.port();
        let mut listeners = vec![first];
        for index in 2..=BACKENDS {
            match TcpListener::bind((address(index), port)).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => last = Some(error),
            }
        }
        if listeners.len() == usize::from(BACKENDS) {
            return Ok((port, listeners));
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no port is free")))
}

async fn serve(listener: TcpListener, name: String) {
    // Aborting this task drops the set, which aborts every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let name = name.clone();
                    connections.spawn(async move {
                        let answer = service_fn(move |_: Request<Incoming>| {
                            let body = format!("{name} is well\n");
                            async move { Ok::<_, Infallible>(Response::new(body)) }
                        });
                        // A client that breaks off is its own affair.
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                    });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_kill_closes_listener_and_connections_and_a_revival_opens_them_again() {
        let farm = Farm::start().await.unwrap();
        let place: SocketAddr = farm.processes().await[1].address.parse().unwrap();
        let mut idle = TcpStream::connect(place).await.unwrap();
        idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: b2\r\n\r\n").await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"b2 is well\n") {
            let mut chunk = [0; 512];
            let length = idle.read(&mut chunk).await.unwrap();
            assert_ne!(length, 0, "closed before it answered");
            seen.extend_from_slice(&chunk[..length]);
        }

        assert_eq!(farm.set("b2", false).await.unwrap().unwrap().0, Done::Killed);
        assert_eq!(farm.set("b2", false).await.unwrap().unwrap().0, Done::Nothing);
        assert!(matches!(idle.read(&mut [0; 16]).await, Ok(0) | Err(_)), "the idle connection is closed");
        assert_eq!(TcpStream::connect(place).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(!farm.processes().await[1].alive);

        assert_eq!(farm.set("b2", true).await.unwrap().unwrap().0, Done::Revived);
        assert!(TcpStream::connect(place).await.is_ok());
        assert!(farm.set("b9", true).await.is_none());
    }

    #[tokio::test]
    async fn two_farms_live_side_by_side_each_on_one_port() {
        let (first, second) = (Farm::start().await.unwrap(), Farm::start().await.unwrap());
        assert_ne!(first.port(), second.port());
        for process in first.processes().await {
            assert!(process.address.ends_with(&format!(":{}", first.port())));
        }
    }
}
