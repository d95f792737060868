//! DNS over TCP and over TLS: one accept loop, one connection function (RFC 7766, RFC 7858). DNS over HTTPS is accepted here
//! too, and spoken in `https`.
//!
//! ```text
//! accept -> place among the connections -> [TLS handshake] -> frames in -> respond() -> frames out, in order
//! ```
//!
//! A connection is served message by message, so there is never more than one of its queries in flight, and what it does
//! not read stops what is read from it.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::{FutureExt, SinkExt, StreamExt};
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counters::Block;
use super::https;
use super::limits::{Admission, Place};
use super::respond;
use crate::engine::snapshot::Snapshot;
use crate::engine::{Asker, MAX_REPLY, Transport};

/// From one whole message (or the connection's start) to the next. Single octets do not renew it (RFC 7766 6.2.3 asks
/// for seconds; BIND waits 30, NSD 120 and less when busy).
pub(super) const MESSAGE_DEADLINE: Duration = Duration::from_secs(10);
/// For a client to take in what was written to it.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// For a TLS handshake.
pub(super) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Octets for reading and for writing that each connection begins with: enough for usual queries, little enough for ten
/// thousand idle ones. Both grow when they must.
const BUFFER: usize = 1024;
/// How long a server that goes waits for one more query of a connection: what is on its way, of a pipeline too, is answered.
pub(super) const LAST_QUERY: Duration = Duration::from_millis(250);
/// After so long it closes behind a reply, whatever comes: less than a drain takes, in which all are closed at once.
pub(super) const LEAVING: Duration = Duration::from_secs(3);
/// A pipeline's replies leave together up to so many octets.
const FLUSH_AT: usize = 8 * 1024;
/// The accept loop's pause when descriptors or memory ran out; it doubles up to [`LONGEST_ACCEPT_PAUSE`].
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What of an OPT stands before its options: root, type, size, the 32 bits of the TTL, and the length.
const OPT_HEAD: usize = 11;
/// The option edns-tcp-keepalive.
const KEEPALIVE: u16 = 11;

/// What every connection of one transport shares.
pub(super) struct Service {
    pub(super) transport: Transport,
    /// Which draw counters: one past the last UDP worker.
    pub(super) worker: usize,
    pub(super) snapshots: Arc<ArcSwap<Snapshot>>,
    pub(super) counters: Arc<Block>,
    pub(super) admission: Arc<Admission>,
    pub(super) tls: Option<TlsAcceptor>,
    /// No new connections.
    pub(super) closing: CancellationToken,
    /// No new messages beyond those already received.
    pub(super) stop: CancellationToken,
    /// Ends every connection at once.
    pub(super) abort: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// Accepts until told to stop. Out of descriptors, it makes room, waits, and goes on; it never spins and never ends.
pub(super) async fn accept(listener: TcpListener, service: Arc<Service>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = service.closing.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, client)) => {
                pause = ACCEPT_PAUSE;
                let client = client.ip().to_canonical();
                let (place, evicted) = service.admission.admit(client, &service.abort);
                service.counters.accepted.add(1);
                service.counters.evicted.add(evicted);
                let connection = contained(serve(stream, client, place, service.clone()), service.clone());
                service.tasks.spawn(connection);
                if evicted > 0 {
                    // Lets the evicted close before the next is accepted.
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if is_exhaustion(&error) => {
                service.counters.accept_waits.add(1);
                if service.admission.evict_idlest() {
                    service.counters.evicted.add(1);
                }
                if pause == ACCEPT_PAUSE {
                    tracing::warn!("accepting connections has to wait: {error}");
                }
                tokio::select! {
                    () = sleep(pause) => {}
                    () = service.closing.cancelled() => return Ok(()),
                }
                pause = LONGEST_ACCEPT_PAUSE;
            }
            // The client went away before it was accepted (accept(2)): the next one is not to blame.
            Err(error) if is_of_one_connection(&error) => tokio::task::yield_now().await,
            // Whatever it is, it may last: without a pause this loop would spin.
            Err(error) => {
                service.counters.accept_waits.add(1);
                tracing::debug!("accepting a connection failed: {error}");
                tokio::select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    () = service.closing.cancelled() => return Ok(()),
                }
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// Errors that accept(2) reports in place of a connection that it has taken off the queue.
fn is_of_one_connection(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::ECONNABORTED
                | Errno::ECONNRESET
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EINTR
                | Errno::ENETDOWN
                | Errno::ENETUNREACH
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EPERM
                | Errno::EPROTO
        )
    )
}

/// A panic costs the connection it happens in, and is counted.
pub(super) async fn contained(connection: impl Future<Output = ()>, service: Arc<Service>) {
    if AssertUnwindSafe(connection).catch_unwind().await.is_err() {
        service.counters.panics.add(1);
        tracing::error!("a connection over {:?} panicked and was closed", service.transport);
    }
}

async fn serve(stream: TcpStream, client: IpAddr, place: Place, service: Arc<Service>) {
    // Replies are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let connection = async {
        match &service.tls {
            None => converse(stream, client, &place, &service).await,
            // Apart, since a task is as large as the largest of its ways: a plain connection must not pay for HTTP/2.
            Some(tls) => Box::pin(encrypted(stream, tls, client, &place, &service)).await,
        }
    };
    tokio::select! {
        () = connection => {}
        () = place.closed().cancelled() => {}
    }
}

async fn encrypted(stream: TcpStream, tls: &TlsAcceptor, client: IpAddr, place: &Place, service: &Arc<Service>) {
    match timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) if service.transport == Transport::Https => {
            Box::pin(https::converse(stream, client, place, service)).await;
        }
        Ok(Ok(stream)) => converse(stream, client, place, service).await,
        Ok(Err(_)) => {}
        Err(_) => service.counters.timed_out.add(1),
    }
}

/// Serves one connection to its end.
async fn converse<S>(stream: S, client: IpAddr, place: &Place, service: &Service)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let codec = LengthDelimitedCodec::builder().length_field_type::<u16>().max_frame_length(MAX_REPLY).new_codec();
    let mut frames = Framed::with_capacity(stream, codec, BUFFER);
    frames.set_backpressure_boundary(FLUSH_AT);
    let mut out = Vec::new();
    let mut deadline = Instant::now() + MESSAGE_DEADLINE;
    // A server that goes closes in a pause, and right behind a reply only when its time is over: a query that crosses the end, or
    // came by half, would be lost to its client.
    let (mut leaving, mut answered) = (false, false);
    loop {
        // What is already here is answered before anything is flushed: a pipeline's replies leave together. tokio's
        // budget ends the run of a client that sends without pause.
        let frame = match frames.next().now_or_never() {
            Some(frame) => frame,
            None => {
                if !in_time(SinkExt::<&[u8]>::flush(&mut frames), service).await {
                    return;
                }
                if leaving && answered && Instant::now() >= deadline {
                    break;
                }
                // The rest of a query whose beginning is here may take as long as there is.
                let wait = match leaving && frames.read_buffer().is_empty() {
                    true => deadline.min(Instant::now() + LAST_QUERY),
                    false => deadline,
                };
                tokio::select! {
                    biased;
                    frame = timeout_at(wait, frames.next()) => match frame {
                        Ok(frame) => frame,
                        Err(_) if leaving && !frames.read_buffer().is_empty() && Instant::now() < deadline => continue,
                        Err(_) if leaving => break,
                        Err(_) => {
                            service.counters.timed_out.add(1);
                            break;
                        }
                    },
                    () = service.stop.cancelled(), if !leaving => {
                        (leaving, answered) = (true, false);
                        deadline = deadline.min(Instant::now() + LEAVING);
                        continue;
                    }
                }
            }
        };
        // `None`: the client sends no more (it may still read), so what is written is flushed and that was it.
        let Some(Ok(query)) = frame else { break };
        #[cfg(all(feature = "panic-drill", not(test)))]
        super::panic_drill::outside(&query);
        match answer(&query, client, service, &mut out) {
            Answered::Reply(length) => {
                place.touch();
                answered = true;
                if !leaving {
                    deadline = Instant::now() + MESSAGE_DEADLINE;
                }
                if !in_time(frames.feed(&out[..length]), service).await {
                    return;
                }
            }
            // Renews nothing: who sends only what has no answer runs into the deadline, also without a pause in which the
            // timer would be looked at.
            Answered::Silence if Instant::now() < deadline => {}
            Answered::Silence => {
                service.counters.timed_out.add(1);
                break;
            }
            Answered::Panic => break,
        }
    }
    // Flushes, tells TLS's end, and shuts the connection down.
    in_time(SinkExt::<&[u8]>::close(&mut frames), service).await;
}

/// What became of a query over a stream.
pub(super) enum Answered {
    Reply(usize),
    Silence,
    Panic,
}

/// Answers one query into `out`, and counts it.
pub(super) fn answer(query: &[u8], client: IpAddr, service: &Service, out: &mut Vec<u8>) -> Answered {
    // Made at the first message: ten thousand idle connections need no buffers.
    out.resize(MAX_REPLY, 0);
    let asker = Asker { address: client, transport: service.transport, worker: service.worker };
    service.counters.queries.add(1);
    let snapshot = service.snapshots.load();
    let begun = std::time::Instant::now();
    let reply = catch_unwind(AssertUnwindSafe(|| respond(&snapshot, &asker, query, out)));
    service.counters.durations.note(begun.elapsed());
    let Ok(reply) = reply else {
        service.counters.panics.add(1);
        return Answered::Panic;
    };
    let length = reply.length.min(out.len());
    if length == 0 {
        service.counters.silent.add(1);
        return Answered::Silence;
    }
    if service.closing.is_cancelled() {
        tell_to_leave(&mut out[..length], usize::from(reply.options_length));
    }
    service.counters.answered(reply, client, &out[..length]);
    Answered::Reply(length)
}

/// A server that is about to go says so where keepalive is answered: 0 asks the client to close (RFC 7828 3.4). The last
/// `options` octets of the reply are its OPT.
fn tell_to_leave(reply: &mut [u8], options: usize) {
    let Some(mut rest) = reply.len().checked_sub(options).and_then(|at| reply.get_mut(at..)?.get_mut(OPT_HEAD..))
    else {
        return;
    };
    while let Some((head, behind)) = rest.split_first_chunk_mut::<4>() {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some((data, next)) = behind.split_at_mut_checked(length) else { return };
        if u16::from_be_bytes([head[0], head[1]]) == KEEPALIVE {
            data.fill(0);
        }
        rest = next;
    }
}

/// Whether a write went through within [`WRITE_DEADLINE`].
async fn in_time(write: impl Future<Output = io::Result<()>>, service: &Service) -> bool {
    match timeout(WRITE_DEADLINE, write).await {
        Ok(result) => result.is_ok(),
        Err(_) => {
            service.counters.timed_out.add(1);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::super::counters::Counters;
    use super::super::limits::Limits;
    use super::*;

    /// A query that the tests' stand-in answers with itself.
    const ECHO: &[u8] = b"\0\x1b\0\x01\0\0\0\x01\0\0\0\0\0\0\x09hook-echo\0\0\x01\0\x01";
    /// One that it answers with 65,535 octets.
    const FILL: &[u8] = b"\0\x1b\0\x02\0\0\0\x01\0\0\0\0\0\0\x09hook-fill\0\0\x01\0\x01";

    /// A connection whose client is the returned stream, and the task that serves it.
    fn connect(room: usize) -> (DuplexStream, JoinHandle<()>, Arc<Service>) {
        let limits = Limits { connections: 8, per_network: 8 };
        let service = Arc::new(Service {
            transport: Transport::Tcp,
            worker: 0,
            snapshots: Arc::default(),
            counters: Counters::default().add(Transport::Tcp, 0),
            admission: Admission::new(limits),
            tls: None,
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let (client, server) = duplex(room);
        let address = IpAddr::from([192, 0, 2, 1]);
        let (place, _) = service.admission.admit(address, &service.abort);
        let shared = service.clone();
        let task = tokio::spawn(async move { converse(server, address, &place, &shared).await });
        (client, task, service)
    }

    #[tokio::test(start_paused = true)]
    async fn single_octets_do_not_renew_the_deadline() {
        let (mut client, task, service) = connect(1 << 16);
        let begun = Instant::now();
        for octet in ECHO {
            if client.write_all(&[*octet]).await.is_err() {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        task.await.unwrap();
        assert!(begun.elapsed() >= MESSAGE_DEADLINE);
        assert!(begun.elapsed() < MESSAGE_DEADLINE + Duration::from_secs(2));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(service.admission.open(), 0, "the place is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_message_renews_the_deadline() {
        let (mut client, _task, _service) = connect(1 << 16);
        let mut reply = [0; 29];
        for _ in 0..5 {
            sleep(MESSAGE_DEADLINE - Duration::from_millis(1)).await;
            client.write_all(ECHO).await.unwrap();
            client.read_exact(&mut reply).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up() {
        let (mut client, task, service) = connect(1024);
        let begun = Instant::now();
        client.write_all(FILL).await.unwrap();
        task.await.unwrap();
        assert_eq!(begun.elapsed(), WRITE_DEADLINE);
        assert_eq!(service.admission.open(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_no_answer_renews_nothing() {
        let (mut client, task, _service) = connect(1 << 16);
        let begun = Instant::now();
        while !task.is_finished() {
            // A response (QR=1) is met with silence.
            let _ = client.write_all(b"\0\x0c\0\x01\x80\0\0\0\0\0\0\0\0\0").await;
            sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() < MESSAGE_DEADLINE + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_answers_what_comes_in_pieces_and_closes_in_a_pause() {
        let (mut client, task, service) = connect(1 << 16);
        let mut reply = [0; 29];
        client.write_all(ECHO).await.unwrap();
        client.read_exact(&mut reply).await.unwrap();
        service.stop.cancel();
        // A pipeline with gaps between its packets, the last query cut in two.
        for _ in 0..5 {
            sleep(LAST_QUERY / 2).await;
            client.write_all(ECHO).await.unwrap();
            client.read_exact(&mut reply).await.unwrap();
        }
        client.write_all(&ECHO[..7]).await.unwrap();
        sleep(2 * LAST_QUERY).await;
        client.write_all(&ECHO[7..]).await.unwrap();
        client.read_exact(&mut reply).await.unwrap();
        let begun = Instant::now();
        assert_eq!(client.read(&mut reply).await.unwrap(), 0);
        assert!(begun.elapsed() >= LAST_QUERY && begun.elapsed() < 2 * LAST_QUERY, "{:?}", begun.elapsed());
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_closes_behind_a_reply_to_who_asks_without_end() {
        let (mut client, task, service) = connect(1 << 16);
        service.stop.cancel();
        let begun = Instant::now();
        let mut reply = [0; 29];
        let mut answered = 0;
        loop {
            let asked = client.write_all(ECHO).await;
            if asked.is_err() || client.read_exact(&mut reply).await.is_err() {
                break;
            }
            answered += 1;
            sleep(Duration::from_millis(100)).await;
        }
        assert!(answered > 20 && begun.elapsed() < LEAVING + 2 * LAST_QUERY, "{answered} in {:?}", begun.elapsed());
        assert_eq!(service.counters.queries.read(), answered, "each that was taken was answered");
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_plain_connection_costs_no_more_than_it_needs() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_client, _task, service) = connect(1 << 16);
        let address = IpAddr::from([192, 0, 2, 1]);
        let (place, _) = service.admission.admit(address, &service.abort);
        let connection = contained(serve(stream, address, place, service.clone()), service);
        // Ten thousand of them may be idle.
        assert!(size_of_val(&connection) <= 2048, "{} octets", size_of_val(&connection));
    }

    #[test]
    fn who_stays_connected_is_told_to_leave_a_server_that_goes() {
        let option = |code: u8, data: &[u8]| [&[0, code, 0, data.len() as u8][..], data].concat();
        let opt = |timeout: [u8; 2]| {
            let options = [option(3, b"nsid"), option(11, &timeout), option(10, &[7; 24])].concat();
            [&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8][..], &options].concat()
        };
        let mut reply = [&ECHO[2..], &opt([0, 100])].concat();
        let options = opt([0, 0]).len();
        tell_to_leave(&mut reply, options);
        assert_eq!(reply, [&ECHO[2..], &opt([0, 0])].concat());
        // Without an OPT, and with one that is not whole, nothing is touched.
        for options in [0, 5, 11, 400] {
            let before = reply.clone();
            tell_to_leave(&mut reply, options);
            assert_eq!(reply, before);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_gets_no_answer_renews_nothing_however_fast_it_comes() {
        let (mut client, task, service) = connect(1 << 16);
        let begun = Instant::now();
        let silent = b"\0\x0c\0\x01\x80\0\0\0\0\0\0\0\0\0".repeat(100);
        // There is always something to read: the server never comes to wait for the client.
        while !task.is_finished() && begun.elapsed() < 3 * MESSAGE_DEADLINE {
            let _ = client.write_all(&silent).await;
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!(begun.elapsed() < MESSAGE_DEADLINE + Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(service.admission.open(), 0);
    }
}
