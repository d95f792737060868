//! The API over real sockets, in front of a supervisor that answers by rote.

use std::path::Path;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::config::plan::{AdminState, ControlAddress};
use crate::control::client::{Client, ClientError};
use crate::control::view::{Explanation, Health, ReloadStatus, StateChanged, Status};
use crate::control::{Command, Control};

/// Far more than anything here takes; only a test that fails reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A supervisor that answers by rote: its status tells the generation, its state change tells who asked.
fn rote() -> (Control, watch::Sender<u64>) {
    let (commands, mut received) = mpsc::channel(8);
    let (publish, generations) = watch::channel(1);
    let published = generations.clone();
    tokio::spawn(async move {
        while let Some(command) = received.recv().await {
            let generation = *published.borrow();
            match command {
                Command::Status(reply) => drop(reply.send(status_of(generation))),
                Command::Explain(query, reply) => drop(reply.send(explain_by_rote(query))),
                Command::SetState(change, reply) => drop(reply.send(change_by_rote(change))),
                Command::Reload(_, reply) => drop(reply.send(status_of(generation).reload)),
                #[allow(unreachable_patterns)]
                _ => {}
            }
        }
    });
    (
        Control {
            commands,
            snapshots: Arc::new(ArcSwap::from_pointee(Default::default())),
            generations,
        },
        publish,
    )
}

fn status_of(generation: u64) -> Status {
    Status {
        version: "1".to_string(),
        pid: 1,
        started: String::new(),
        now: String::new(),
        generation,
        health: Health::Ok,
        listening: Vec::new(),
        // Reloads are refused at odd generations.
        reload: ReloadStatus {
            ok: generation.is_multiple_of(2),
            at: String::new(),
            cause: "command".to_string(),
            messages: vec!["zones/a.toml:1: no".to_string()],
            rendered: Vec::new(),
        },
        zones: Vec::new(),
        transitions: Vec::new(),
    }
}

fn explain_by_rote(query: ExplainQuery) -> Result<Explanation, ControlError> {
    if query.name == "bad" {
        return Err(ControlError::Invalid("bad name".to_string()));
    }
    let question = format!("{} {:?} {:?}", query.name, query.rtype, query.client);
    let (rcode, answer, steps) = ("REFUSED".to_string(), Vec::new(), Vec::new());
    Ok(Explanation {
        question,
        zone: None,
        exists: false,
        rcode,
        answer,
        steps,
    })
}

fn change_by_rote(change: StateChange) -> Result<StateChanged, ControlError> {
    match change.backend.as_str() {
        "none/none/none" => Err(ControlError::NotFound(
            "no backend is called so".to_string(),
        )),
        "disk/is/full" => Err(ControlError::Failed("not kept: disk full".to_string())),
        _ => Ok(StateChanged {
            backends: vec![change.by.unwrap_or_default()],
            kept: true,
            warnings: Vec::new(),
        }),
    }
}

struct Running {
    address: ControlAddress,
    publish: watch::Sender<u64>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    fn start(address: &ControlAddress) -> Running {
        let listener = ControlListener::bind(address).unwrap();
        let address = listener.address().clone();
        let (control, publish) = rote();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, control, async move {
            let _ = stopped.await;
        }));
        Running {
            address,
            publish,
            stop,
            task,
        }
    }

    fn tcp() -> Running {
        Running::start(&ControlAddress::Tcp("127.0.0.1:0".parse().unwrap()))
    }

    fn unix(directory: &Path) -> Running {
        Running::start(&ControlAddress::Unix(directory.join("control.sock")))
    }

    fn client(&self) -> Client {
        Client::new(self.address.clone()).unwrap()
    }

    /// Sends `request` as it stands and returns everything that comes back until the connection is closed.
    async fn raw(&self, request: &str) -> String {
        match &self.address {
            ControlAddress::Tcp(address) => {
                exchange(TcpStream::connect(address).await.unwrap(), request).await
            }
            ControlAddress::Unix(path) => {
                exchange(UnixStream::connect(path).await.unwrap(), request).await
            }
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the listener stops")
            .unwrap()
            .unwrap();
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // An error after a reply is a server that closed with input unread: the reply counts.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply))
        .await
        .expect("the server closes");
    String::from_utf8(reply).unwrap()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    let host = if headers.to_ascii_lowercase().contains("host:") {
        ""
    } else {
        "host: localhost\r\n"
    };
    format!(
        "{line} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn change(backend: &str) -> StateChange {
    StateChange {
        backend: backend.to_string(),
        state: AdminState::Down,
        for_ms: None,
        reason: None,
        by: None,
    }
}

#[tokio::test]
async fn both_kinds_of_socket_give_the_same_answers() {
    let directory = tempfile::tempdir().unwrap();
    for server in [Running::tcp(), Running::unix(directory.path())] {
        let client = server.client();
        assert_eq!(client.status().await.unwrap().generation, 1);
        let query = ExplainQuery {
            name: "a&b c.example".to_string(),
            rtype: Some("A".to_string()),
            client: Some("::1".to_string()),
        };
        assert_eq!(
            client.explain(&query).await.unwrap().question,
            "a&b c.example Some(\"A\") Some(\"::1\")"
        );
        assert!(
            !client.reload().await.unwrap().ok,
            "a refused reload is an answer"
        );
        server.publish.send(2).unwrap();
        assert!(client.reload().await.unwrap().ok);
        assert!(
            server
                .raw(&request("GET /livez", "", ""))
                .await
                .starts_with("HTTP/1.1 200")
        );
        server.stop().await;
    }
    assert!(
        !directory.path().join("control.sock").exists(),
        "the socket's file goes with the listener"
    );
}

#[tokio::test]
async fn who_asks_is_recorded_unless_said() {
    let directory = tempfile::tempdir().unwrap();
    let (tcp, unix) = (Running::tcp(), Running::unix(directory.path()));
    let own = nix::unistd::User::from_uid(nix::unistd::getuid())
        .unwrap()
        .unwrap()
        .name;
    assert_eq!(
        tcp.client()
            .set_state(&change("a/b/c"))
            .await
            .unwrap()
            .backends,
        ["127.0.0.1"]
    );
    assert_eq!(
        unix.client()
            .set_state(&change("a/b/c"))
            .await
            .unwrap()
            .backends,
        [own]
    );
    let said = StateChange {
        by: Some("deploy".to_string()),
        ..change("a/b/c")
    };
    assert_eq!(
        unix.client().set_state(&said).await.unwrap().backends,
        ["deploy"]
    );
}

#[tokio::test]
async fn errors_have_their_status_and_a_sentence() {
    let server = Running::tcp();
    let refused = |status, error: &str| ClientError::Refused {
        status,
        error: error.to_string(),
    };
    let client = server.client();
    assert_eq!(
        client
            .set_state(&change("none/none/none"))
            .await
            .unwrap_err(),
        refused(404, "no backend is called so")
    );
    assert_eq!(
        client.set_state(&change("disk/is/full")).await.unwrap_err(),
        refused(500, "not kept: disk full")
    );
    let query = ExplainQuery {
        name: "bad".to_string(),
        rtype: None,
        client: None,
    };
    assert_eq!(
        client.explain(&query).await.unwrap_err(),
        refused(400, "bad name")
    );

    let json = "content-type: application/json\r\n";
    for (line, headers, body, status) in [
        ("GET /nothing", "", "", 404),
        ("POST /v1/status", "", "", 405),
        ("GET /v1/explain", "", "", 400),
        ("PUT /v1/state", json, "{", 400),
        (
            "PUT /v1/state",
            json,
            "{\"backend\": 1, \"state\": \"down\"}",
            422,
        ),
        (
            "PUT /v1/state",
            json,
            "{\"backend\": \"a/b/c\", \"state\": \"sideways\"}",
            422,
        ),
        (
            "PUT /v1/state",
            "",
            "{\"backend\": \"a/b/c\", \"state\": \"down\"}",
            415,
        ),
    ] {
        let reply = server.raw(&request(line, headers, body)).await;
        assert!(
            reply.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line} {body}: {reply}"
        );
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(
            serde_json::from_str::<Problem>(body).is_ok_and(|problem| !problem.error.is_empty()),
            "{line}: {body}"
        );
    }
    let empty = server
        .raw(&request("GET /v1/explain?name=x&type=&client=", "", ""))
        .await;
    assert!(empty.contains("x None None"), "{empty}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Running::tcp();
    let body = format!("{{\"backend\": \"{}\"", "x".repeat(MAX_BODY));
    let reply = server
        .raw(&request(
            "PUT /v1/state",
            "content-type: application/json\r\n",
            &body,
        ))
        .await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_on_every_route() {
    let directory = tempfile::tempdir().unwrap();
    for server in [Running::tcp(), Running::unix(directory.path())] {
        for line in [
            "GET /v1/status",
            "PUT /v1/state",
            "POST /v1/reload",
            "GET /v1/events",
            "GET /livez",
            "GET /nothing",
        ] {
            for headers in [
                "host: evil.example\r\n",
                "host: localhost\r\norigin: http://evil.example\r\n",
            ] {
                let reply = server.raw(&request(line, headers, "")).await;
                assert!(
                    reply.starts_with("HTTP/1.1 403 "),
                    "{line} {headers}: {reply}"
                );
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn events_tell_each_generation_and_end_with_the_server() {
    let server = Running::tcp();
    let mut events = server.client().events().await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().generation, 1);
    server.publish.send(2).unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().generation, 2);
    server.publish.send(7).unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().generation, 7);
    server.stop().await;
    assert!(events.next().await.unwrap().is_none());
}

#[tokio::test]
async fn watchers_never_shut_out_commands() {
    let server = Running::tcp();
    let mut watchers = Vec::new();
    for _ in 0..MAX_WATCHERS {
        watchers.push(server.client().events().await.unwrap());
    }
    let error = server.client().events().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 429, .. }),
        "{error:?}"
    );
    assert_eq!(server.client().status().await.unwrap().generation, 1);
    drop(watchers);
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let server = Running::tcp();
    let ControlAddress::Tcp(address) = server.address else {
        panic!("a TCP address")
    };
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"GET /v1/st").await.unwrap();
    server.client().status().await.unwrap();
    server.stop().await;
    assert!(matches!(silent.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_supervisor_that_is_gone_is_503() {
    let (commands, _) = mpsc::channel(1);
    let (_, generations) = watch::channel(0);
    let control = Control {
        commands,
        snapshots: Arc::new(ArcSwap::from_pointee(Default::default())),
        generations,
    };
    let listener =
        ControlListener::bind(&ControlAddress::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    let client = Client::new(listener.address().clone()).unwrap();
    tokio::spawn(serve(listener, control, std::future::pending()));
    assert!(matches!(
        client.status().await.unwrap_err(),
        ClientError::Refused { status: 503, .. }
    ));
    assert!(matches!(
        client.events().await.unwrap_err(),
        ClientError::Refused { status: 503, .. }
    ));
}
