//! Limits on connections, bodies and time; every error a problem.

use std::convert::Infallible;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::routing::post;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::super::limits::{limit_time, read_body};
use super::super::server::MAX_CONNECTIONS;
use super::*;

/// A router whose handler never ends, behind both limits on time.
fn endless() -> TowerToHyperService<Router> {
    let forever = || async { std::future::pending::<&'static str>().await };
    let router = Router::new()
        .route("/", post(forever))
        .route_layer(axum::middleware::from_fn(read_body))
        .layer(axum::middleware::from_fn(limit_time));
    TowerToHyperService::new(router)
}

async fn problem_of(body: Body) -> (u16, Problem) {
    let response = endless().call(Request::post("/").body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_and_what_never_comes_end_as_problems() {
    let begin = tokio::time::Instant::now();
    let (status, problem) = problem_of(Body::empty()).await;
    assert_eq!((status, problem.status, begin.elapsed().as_secs()), (504, 504, 60));

    let begin = tokio::time::Instant::now();
    let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let (status, problem) = problem_of(silent).await;
    assert_eq!((status, problem.status, begin.elapsed().as_secs()), (408, 408, 10));
}

#[tokio::test]
async fn a_body_is_limited_whether_its_length_is_told_or_not() {
    let server = Running::tcp().await;
    let body = "x".repeat(MAX_BODY + 1);
    for (line, headers) in
        [("PUT /v1/push/lb.example.com/web/a", ""), ("PUT /v1/state", "content-type: application/json\r\n")]
    {
        let told = server.raw(&request(line, headers, &body)).await;
        let chunked = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        for reply in [told, server.raw(&chunked).await] {
            assert!(reply.starts_with("HTTP/1.1 413 ") && reply.contains("application/problem+json"), "{reply}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_until_one_ends() {
    let server = Running::tcp().await;
    let ControlAddress::Tcp(address) = server.address else { panic!("a TCP address") };
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Answered and kept: it holds its place.
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        idle.push(stream);
    }
    let mut further = TcpStream::connect(address).await.unwrap();
    further.write_all(request("GET /livez", "", "").as_bytes()).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), further.read(&mut [0; 1])).await;
    assert!(early.is_err(), "it waits");
    idle.pop();
    let mut head = [0; 12];
    tokio::time::timeout(PATIENCE, further.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn a_supervisor_that_is_gone_is_a_problem_on_every_route_that_asks_it() {
    let server = Running::tcp().await;
    server.control.shutdown().await;
    for line in ["GET /v1/zones", "GET /v1/names", "GET /v1/changes", "GET /v1/events?kinds=all", "POST /v1/reload"] {
        let (status, problem) = server.json(line, "").await;
        assert_eq!((status, problem["status"].as_u64()), (503, Some(503)), "{line}: {problem}");
    }
}

#[tokio::test]
async fn the_supervisor_outlives_whatever_a_heartbeat_says() {
    let server = Running::tcp().await;
    let (status, problem) = server.json("PUT /v1/push/lb.example.com/web/a", "load=1.éé/2").await;
    assert_eq!((status, problem["status"].as_u64()), (400, Some(400)), "{problem}");
    assert!(server.client().status().await.is_ok());
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_says_nothing_is_closed_in_time() {
    let server = Running::tcp().await;
    let ControlAddress::Tcp(address) = server.address else { panic!("a TCP address") };
    let begin = tokio::time::Instant::now();
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0, "closed");
    assert!(begin.elapsed() >= super::super::server::HEADER_TIMEOUT, "{:?}", begin.elapsed());
    server.stop().await;
}
