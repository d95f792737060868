//! DNS over QUIC (RFC 9250): quinn speaks QUIC, `respond()` answers. Under the limits on connections that TCP has.
//!
//! ```text
//! incoming -> [proves its address] -> place among the connections -> handshake -> a stream a query -> respond() -> reply
//! ```
//!
//! Unlike TCP's, a QUIC client's address is only claimed until a packet of the server has reached it: where many handshakes are
//! under way, newcomers must prove theirs first (a Retry, which costs nothing here), so that forged ones push nobody out.
//! What one connection may hold is bounded as over HTTPS: so many streams, so many octets of queries, so many of replies.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Connection, Endpoint, EndpointConfig, Incoming, RecvStream, SendStream, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::limits::{Activity, Place};
use super::stream::{
    Answered, HANDSHAKE_DEADLINE, LAST_QUERY, LEAVING, MESSAGE_DEADLINE, Service, WRITE_DEADLINE, answer, contained,
};
use crate::engine::MAX_REPLY;

/// Streams of one connection at a time: its queries in flight. More wait at the client.
const STREAMS: u32 = 100;
/// Octets of queries of one connection that are not yet whole, and of replies that it has not taken yet.
const UNREAD: usize = 4 * MAX_REPLY;
/// Handshakes of clients that have not proved their address; beyond that they must.
const UNPROVEN: usize = 32;
/// For the last packets of connections that are closed.
const CLOSING: Duration = Duration::from_millis(300);

/// RFC 9250 8.4.
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);
const EXCESSIVE_LOAD: VarInt = VarInt::from_u32(4);

/// All endpoints.
pub(super) struct Carrier {
    endpoints: Vec<Endpoint>,
    service: Arc<Service>,
}

impl Carrier {
    pub(super) fn new(service: Arc<Service>) -> Carrier {
        Carrier { endpoints: Vec::new(), service }
    }

    /// Reads the socket from now on.
    pub(super) fn add(&mut self, socket: UdpSocket, tls: Arc<rustls::ServerConfig>) -> io::Result<()> {
        let endpoint = endpoint(socket, tls)?;
        self.endpoints.push(endpoint.clone());
        let service = self.service.clone();
        service.tasks.spawn(contained(accept(endpoint, service.clone()), service.clone()));
        Ok(())
    }

    /// Answers what is in flight, and closes.
    pub(super) async fn drain(self) {
        self.service.stop.cancel();
        self.service.tasks.close();
        self.service.tasks.wait().await;
        self.close().await;
    }

    /// Closes at once: a successor reads the same sockets, and packets must not be taken from it.
    pub(super) async fn leave(self) {
        self.service.abort.cancel();
        self.close().await;
    }

    async fn close(self) {
        for endpoint in &self.endpoints {
            endpoint.close(NO_ERROR, b"");
        }
        let all = async {
            for endpoint in &self.endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = timeout(CLOSING, all).await;
    }
}

fn endpoint(socket: UdpSocket, tls: Arc<rustls::ServerConfig>) -> io::Result<Endpoint> {
    let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(0u32.into())
        .max_idle_timeout(Some(MESSAGE_DEADLINE.try_into().map_err(io::Error::other)?))
        .stream_receive_window((MAX_REPLY as u32 + 2).into())
        .receive_window((UNREAD as u32).into())
        .send_window(UNREAD as u64)
        .datagram_receive_buffer_size(None);
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))
}

/// Accepts until told to stop.
pub(super) async fn accept(endpoint: Endpoint, service: Arc<Service>) {
    let unproven = Arc::new(Semaphore::new(UNPROVEN));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = service.closing.cancelled() => {
                // Who comes now is left to a successor, if there is one, and not refused.
                endpoint.set_server_config(None);
                return;
            }
        };
        let Some(incoming) = incoming else { return };
        let proven = incoming.remote_address_validated();
        let permit = if proven { None } else { unproven.clone().try_acquire_owned().ok() };
        if !proven && permit.is_none() {
            // It fails only for who has proved it already.
            let _ = incoming.retry();
            continue;
        }
        let client = incoming.remote_address().ip().to_canonical();
        let (place, evicted) = service.admission.admit(client, &service.abort);
        service.counters.accepted.add(1);
        service.counters.evicted.add(evicted);
        service.tasks.spawn(contained(serve(incoming, permit, place, service.clone()), service.clone()));
    }
}

async fn serve(incoming: Incoming, unproven: Option<OwnedSemaphorePermit>, place: Place, service: Arc<Service>) {
    let handshake = async { incoming.accept()?.await };
    let connection = tokio::select! {
        done = timeout(HANDSHAKE_DEADLINE, handshake) => match done {
            Ok(Ok(connection)) => connection,
            Ok(Err(_)) => return,
            Err(_) => return service.counters.timed_out.add(1),
        },
        () = place.closed().cancelled() => return,
        // Forged ones would hold up every stop.
        () = service.stop.cancelled() => return,
    };
    drop(unproven);
    let conversation = Arc::new(Conversation {
        connection,
        service,
        activity: place.activity(),
        begun: Instant::now(),
        answered: AtomicU64::new(0),
        unread: Arc::new(Semaphore::new(UNREAD)),
        untaken: Arc::new(Semaphore::new(UNREAD)),
        out: Mutex::default(),
    });
    let code = tokio::select! {
        code = conversation.converse() => code,
        () = place.closed().cancelled() => match conversation.service.abort.is_cancelled() {
            true => NO_ERROR,
            false => EXCESSIVE_LOAD,
        },
    };
    conversation.connection.close(code, b"");
}

/// What the streams of one connection share.
struct Conversation {
    connection: Connection,
    service: Arc<Service>,
    activity: Activity,
    begun: Instant,
    /// Milliseconds after `begun` of the last answer.
    answered: AtomicU64,
    unread: Arc<Semaphore>,
    untaken: Arc<Semaphore>,
    out: Mutex<Vec<u8>>,
}

impl Conversation {
    fn last_answer(&self) -> Instant {
        self.begun + Duration::from_millis(self.answered.load(Relaxed))
    }

    /// Serves it to its end; returns why it is closed. Streams under way then end with it.
    async fn converse(self: &Arc<Conversation>) -> VarInt {
        let mut streams = JoinSet::new();
        let mut leave_by = None;
        loop {
            let now = Instant::now();
            let deadline = match leave_by {
                Some(by) => (now + LAST_QUERY).min(by),
                None => self.last_answer() + MESSAGE_DEADLINE,
            };
            if deadline <= now && leave_by.is_none() {
                self.service.counters.timed_out.add(1);
                return NO_ERROR;
            }
            tokio::select! {
                stream = self.connection.accept_bi() => match stream {
                    Ok((send, receive)) => {
                        let conversation = self.clone();
                        streams.spawn(contained(
                            async move { conversation.query(send, receive).await },
                            self.service.clone(),
                        ));
                    }
                    Err(_) => return NO_ERROR,
                },
                Some(_) = streams.join_next() => {}
                () = sleep_until(deadline) => if leave_by.is_some() { break },
                () = self.service.stop.cancelled(), if leave_by.is_none() => leave_by = Some(Instant::now() + LEAVING),
            }
        }
        // What has come is answered, and read if the client does read.
        while streams.join_next().await.is_some() {}
        NO_ERROR
    }

    /// One stream: a query, its reply.
    async fn query(&self, mut send: SendStream, mut receive: RecvStream) {
        let query = match timeout(MESSAGE_DEADLINE, self.read(&mut receive)).await {
            Ok(Some(query)) => query,
            Ok(None) => return,
            Err(_) => {
                self.service.counters.timed_out.add(1);
                let _ = send.reset(NO_ERROR);
                return;
            }
        };
        let (query, _unread) = query;
        // RFC 9250 4.2.1: the ID is 0; there is nothing here that it could tell apart.
        if query.get(..2).is_some_and(|id| id != [0, 0]) {
            self.connection.close(PROTOCOL_ERROR, b"the message ID is not 0");
            return;
        }
        // Room for the largest reply first; what it does not need is given back.
        let Ok(mut room) = self.untaken.clone().acquire_many_owned(MAX_REPLY as u32).await else { return };
        let client = self.connection.remote_address().ip().to_canonical();
        let framed: Vec<u8> = {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            match answer(&query, client, &self.service, &mut out) {
                Answered::Reply(length) => [&(length as u16).to_be_bytes(), &out[..length]].concat(),
                Answered::Silence | Answered::Panic => {
                    let _ = send.reset(INTERNAL_ERROR);
                    return;
                }
            }
        };
        let _until_taken = room.split(framed.len().min(MAX_REPLY)).unwrap_or(room);
        self.activity.touch();
        self.answered.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
        let sent = async {
            send.write_all(&framed).await.ok()?;
            send.finish().ok()?;
            // Until it has arrived: a connection that is closed takes along what has not.
            send.stopped().await.ok()
        };
        if timeout(WRITE_DEADLINE, sent).await.is_err() {
            self.service.counters.timed_out.add(1);
        }
    }

    /// The query of a stream, and its octets among those that the connection may hold; `None` where the stream ends before.
    async fn read(&self, receive: &mut RecvStream) -> Option<(Vec<u8>, OwnedSemaphorePermit)> {
        let mut length = [0; 2];
        receive.read_exact(&mut length).await.ok()?;
        let length = u16::from_be_bytes(length);
        let held = self.unread.clone().acquire_many_owned(length.into()).await.ok()?;
        let mut query = vec![0; length.into()];
        receive.read_exact(&mut query).await.ok()?;
        Some((query, held))
    }
}
