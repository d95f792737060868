//! DNS over QUIC: hickory-server carries it, this adapter answers through `respond()`.
//!
//! The only file that knows hickory-server, whose API changes with every minor release. What differs from the own transports:
//! - It knows no limit on connections, and one handshake at a time is made, of 5 s at most: a client that begins and says no
//!   more delays the others that long. A connection has 100 queries, one after another, and 10 s for each; of its streams 100
//!   may wait. The transport is off unless listed.
//! - Malformed queries, and client subnets of family 0, are answered (FORMERR, without question and OPT) before this handler
//!   sees them. An unknown TSIG key is told by its RCODE alone.
//! - The reply is decoded and encoded once more, so compression may differ; records of unknown types pass as octets.
//! - A drain ends connections at once, without their last replies.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use hickory_proto::op::{Header, HeaderCounts, Message, MessageType, Metadata, OpCode};
use hickory_proto::serialize::binary::BinDecoder;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponseBuilder, Queries};
use rustls::ServerConfig;

use super::counters::Block;
use super::respond;
use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, MAX_REPLY, Reply, Transport, rate_limit};

/// For a handshake, and for an idle connection.
const DEADLINE: Duration = Duration::from_secs(10);

/// Carries DoQ.
pub(super) struct Carrier {
    server: Server<Adapter>,
}

impl Carrier {
    pub(super) fn new(snapshots: Arc<ArcSwap<Snapshot>>, worker: usize, counters: Arc<Block>) -> Carrier {
        Carrier { server: Server::new(Adapter { snapshots, worker, counters }) }
    }

    pub(super) fn add_quic(&mut self, socket: std::net::UdpSocket, tls: Arc<ServerConfig>) -> std::io::Result<()> {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        self.server.register_quic_listener_and_tls_config(socket, DEADLINE, tls).map_err(std::io::Error::other)
    }

    /// Stops accepting and waits for the listeners.
    pub(super) async fn drain(mut self) {
        let _ = self.server.shutdown_gracefully().await;
    }
}

struct Adapter {
    snapshots: Arc<ArcSwap<Snapshot>>,
    worker: usize,
    counters: Arc<Block>,
}

impl Adapter {
    /// The reply to a request, decoded; `None` is silence.
    fn answer(&self, request: &Request) -> Option<Message> {
        let (transport, counters) = (Transport::Quic, &self.counters);
        let address = request.src().ip().to_canonical();
        let asker = Asker { address, transport, worker: self.worker };
        let mut out = vec![0; MAX_REPLY];
        counters.queries.add(1);
        let snapshot = self.snapshots.load();
        let respond = || respond(&snapshot, &asker, request.as_slice(), &mut out);
        let begun = std::time::Instant::now();
        let reply = catch_unwind(AssertUnwindSafe(respond));
        counters.durations.note(begun.elapsed());
        let Ok(reply) = reply else {
            counters.panics.add(1);
            return None;
        };
        let bytes = out.get(..reply.length)?;
        if bytes.is_empty() {
            counters.silent.add(1);
            return None;
        }
        let message = Message::from_vec(bytes).ok().or_else(|| without_records(bytes, &reply));
        match &message {
            Some(_) => counters.answered(reply, address, bytes),
            None => counters.send_failed.add(1),
        }
        message
    }
}

/// hickory-proto reads no TSIG without a MAC, which is what an unknown key is answered with (RFC 8945 5.2.1): the reply without
/// its records, so that the RCODE is told.
fn without_records(bytes: &[u8], reply: &Reply) -> Option<Message> {
    let mut bytes = bytes.to_vec();
    let length = rate_limit::slip(&mut bytes, reply);
    bytes.truncate(length);
    // Cut, but there is no more to come for.
    *bytes.get_mut(2)? &= !0x02;
    Message::from_vec(&bytes).ok()
}

#[async_trait::async_trait]
impl RequestHandler for Adapter {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut out: R) -> ResponseInfo {
        let Some(reply) = self.answer(request) else {
            return nothing(request);
        };
        // The only way to make an empty question section from outside hickory-server.
        let Ok(none) = Queries::read(&mut BinDecoder::new(&[]), 0) else {
            return nothing(request);
        };
        let question = if reply.queries.is_empty() { &none } else { &request.queries };
        let response = MessageResponseBuilder::new(question, reply.edns.as_ref()).build(
            reply.metadata,
            &reply.answers,
            &reply.authorities,
            [],
            &reply.additionals,
        );
        out.send_response(response).await.unwrap_or_else(|_| nothing(request))
    }
}

/// What hickory-server wants to know of a reply that was not sent.
fn nothing(request: &Request) -> ResponseInfo {
    let metadata = Metadata::new(request.metadata.id, MessageType::Response, OpCode::Query);
    ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
}
