//! The API over real sockets, in front of a real supervisor of a small zone.

mod authority;
mod changes;
mod document;
mod limits;
mod lists;
mod states;

use std::fs;
use std::path::Path;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::events::MAX_WATCHERS;
use super::limits::MAX_BODY;
use super::*;
use crate::config;
use crate::config::plan::{AdminState, ControlAddress};
use crate::control::client::{Client, ClientError};
use crate::control::view::{ExplainQuery, OverrideStatus, Problem, StateChange};
use crate::control::{ControlError, ReloadCause, Start};

/// Far more than anything here takes; only a test that fails reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

const ZONE: &str = r#"
zone = "lb.example.com"

[records]
"@" = { NS = "ns1" }
ns1 = { A = "192.0.2.53" }

[pools.web]
backends = [{ name = "a", address = "192.0.2.1" }, { name = "b", address = "192.0.2.2" }]

[names]
www = "web"
"#;

struct Running {
    address: ControlAddress,
    control: Control,
    stop: oneshot::Sender<()>,
    task: JoinHandle<io::Result<()>>,
    files: tempfile::TempDir,
}

impl Running {
    async fn start(address: &ControlAddress) -> Running {
        Running::start_with(address, "", "").await
    }

    async fn start_with(address: &ControlAddress, server: &str, tokens: &str) -> Running {
        Running::start_of(address, server, tokens, &[("lb", ZONE)]).await
    }

    /// With these zones, each by the name of its file: what is written later is an edit that is taken at its own time.
    async fn start_of(address: &ControlAddress, server: &str, tokens: &str, zones: &[(&str, &str)]) -> Running {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("rollcall.toml");
        fs::write(&file, server).unwrap();
        fs::write(files.path().join("tokens.toml"), tokens).unwrap();
        fs::create_dir(files.path().join("zones")).unwrap();
        for (name, zone) in zones {
            fs::write(files.path().join(format!("zones/{name}.toml")), zone).unwrap();
        }
        let plan = config::load(Some(&file)).unwrap();
        let control = Control::start(Start { plan, config_file: Some(file) }).unwrap();
        tokio::time::timeout(PATIENCE, control.ready()).await.expect("pools without checks are ready");

        let listener = ControlListener::bind(address).unwrap();
        let address = listener.address().clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, control.clone(), async move {
            let _ = stopped.await;
        }));
        Running { address, control, stop, task, files }
    }

    async fn tcp() -> Running {
        Running::start(&ControlAddress::Tcp("127.0.0.1:0".parse().unwrap())).await
    }

    async fn unix(directory: &Path) -> Running {
        Running::start(&ControlAddress::Unix(directory.join("control.sock"))).await
    }

    fn write_zone(&self, text: &str) {
        fs::write(self.files.path().join("zones/lb.toml"), text).unwrap();
    }

    async fn override_of(&self, backend: &str) -> Option<OverrideStatus> {
        let status = self.client().status().await.unwrap();
        let mut backends = status.zones[0].pools[0].backends.iter();
        backends.find(|found| found.backend == backend).unwrap().forced.clone()
    }

    fn client(&self) -> Client {
        Client::new(self.address.clone()).unwrap()
    }

    /// Sends `request` as it stands and returns everything that comes back until the connection is closed.
    async fn raw(&self, request: &str) -> String {
        match &self.address {
            ControlAddress::Tcp(address) => exchange(TcpStream::connect(address).await.unwrap(), request).await,
            ControlAddress::Unix(path) => exchange(UnixStream::connect(path).await.unwrap(), request).await,
        }
    }

    /// What comes back to a request, its status and its body as JSON; `null` where it is none.
    async fn json(&self, line: &str, body: &str) -> (u16, serde_json::Value) {
        let headers = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let reply = self.raw(&request(line, headers, body)).await;
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        // Chunks, where there are any, are one for each of our bodies.
        let begin = body.find(['{', '[']).unwrap_or(0);
        let end = body.rfind(['}', ']']).map_or(0, |end| end + 1);
        let value = body.get(begin..end).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        (head[9..12].parse().unwrap(), value)
    }

    /// What its router is made of.
    fn api(&self) -> Api {
        let (_, stopping) = watch::channel(false);
        Api {
            control: self.control.clone(),
            watchers: Arc::new(Semaphore::new(1)),
            drills: Arc::new(Semaphore::new(1)),
            stopping,
        }
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(PATIENCE, self.task).await.expect("the listener stops").unwrap().unwrap();
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // An error after a reply is a server that closed with input unread: the reply counts.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.expect("the server closes");
    String::from_utf8(reply).unwrap()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "host: localhost\r\n" };
    format!("{line} HTTP/1.1\r\n{host}{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn change(backend: &str) -> StateChange {
    StateChange { backend: backend.to_string(), state: AdminState::Down, for_ms: None, reason: None, by: None }
}

fn ask(name: &str) -> ExplainQuery {
    let (rtype, client) = (Some("A".to_string()), Some("203.0.113.7".to_string()));
    ExplainQuery { name: name.to_string(), rtype, client, shares: false, down: None }
}

#[tokio::test]
async fn both_kinds_of_socket_give_the_same_answers() {
    let directory = tempfile::tempdir().unwrap();
    for server in [Running::tcp().await, Running::unix(directory.path()).await] {
        let client = server.client();
        let status = client.status().await.unwrap();
        assert_eq!(status.zones[0].zone, "lb.example.com");
        let explanation = client.explain(&ask("www.lb.example.com")).await.unwrap();
        assert_eq!(explanation.zone.as_deref(), Some("lb.example.com"));
        assert_eq!(explanation.answer.len(), 2, "{explanation:?}");
        assert_eq!(client.explain(&ask("a&b c=d.example")).await.unwrap().zone, None);
        assert_eq!(client.set_state(&change("*/web/a")).await.unwrap().backends, ["lb.example.com/web/a"]);
        assert!(server.raw(&request("GET /livez", "", "")).await.starts_with("HTTP/1.1 200"));
        assert!(server.raw(&request("GET /readyz", "", "")).await.starts_with("HTTP/1.1 200"));
        server.stop().await;
    }
    assert!(!directory.path().join("control.sock").exists(), "the socket's file goes with the listener");
}

#[tokio::test]
async fn a_refused_reload_is_an_answer_that_says_why() {
    let server = Running::tcp().await;
    server.write_zone(&ZONE.replace("backends", "backend"));
    let report = server.client().reload(false).await.unwrap();
    assert!(!report.ok && report.messages.iter().any(|message| message.contains("lb.toml")), "{report:?}");
    let reply = server.raw(&request("POST /v1/reload", "", "")).await;
    assert!(reply.starts_with("HTTP/1.1 422 "), "{reply}");
    server.write_zone(ZONE);
    assert!(server.client().reload(false).await.unwrap().ok);
}

#[tokio::test]
async fn who_asks_is_recorded_unless_said() {
    let directory = tempfile::tempdir().unwrap();
    let (tcp, unix) = (Running::tcp().await, Running::unix(directory.path()).await);
    let own = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    let by = async |server: &Running, change: &StateChange| {
        server.client().set_state(change).await.unwrap();
        server.override_of("a").await.unwrap().by.unwrap()
    };
    assert_eq!(by(&tcp, &change("*/*/a")).await, "127.0.0.1");
    assert_eq!(by(&unix, &change("*/*/a")).await, own);
    let said = StateChange { by: Some("deploy".to_string()), ..change("*/*/a") };
    assert_eq!(by(&unix, &said).await, "deploy");
}

#[test]
fn what_control_refuses_has_its_status() {
    let status = |error| ApiError::from(error).0.as_u16();
    assert_eq!(status(ControlError::NotFound(String::new())), 404);
    assert_eq!(status(ControlError::Invalid(String::new())), 400);
    assert_eq!(status(ControlError::Refused(String::new())), 409);
    assert_eq!(status(ControlError::Failed(String::new())), 500);
    assert_eq!(status(ControlError::Gone), 503);
}

#[tokio::test]
async fn errors_have_their_status_and_a_sentence() {
    let server = Running::tcp().await;
    let error = server.client().set_state(&change("none/none/none")).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { status: 404, error } if !error.is_empty()), "{error:?}");
    let error = server.client().explain(&ask("..")).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { status: 400, error } if !error.is_empty()), "{error:?}");

    let json = "content-type: application/json\r\n";
    for (line, headers, body, status) in [
        ("GET /nothing", "", "", 404),
        ("POST /v1/status", "", "", 405),
        ("GET /v1/explain", "", "", 400),
        ("PUT /v1/state", json, "{", 400),
        ("PUT /v1/state", json, "{\"backend\": 1, \"state\": \"down\"}", 422),
        ("PUT /v1/state", json, "{\"backend\": \"a/b/c\", \"state\": \"sideways\"}", 422),
        ("PUT /v1/state", "", "{\"backend\": \"a/b/c\", \"state\": \"down\"}", 415),
    ] {
        let reply = server.raw(&request(line, headers, body)).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {body}: {reply}");
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(serde_json::from_str::<Problem>(body).is_ok_and(|problem| !problem.error.is_empty()), "{line}: {body}");
    }
    let empty = server.raw(&request("GET /v1/explain?name=www.lb.example.com&type=&client=", "", "")).await;
    assert!(empty.starts_with("HTTP/1.1 200 ") && empty.contains("192.0.2.1"), "{empty}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let server = Running::tcp().await;
    let body = format!("{{\"backend\": \"{}\"", "x".repeat(MAX_BODY));
    let reply = server.raw(&request("PUT /v1/state", "content-type: application/json\r\n", &body)).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_on_every_route() {
    let directory = tempfile::tempdir().unwrap();
    for server in [Running::tcp().await, Running::unix(directory.path()).await] {
        for line in
            ["GET /v1/status", "PUT /v1/state", "POST /v1/reload", "GET /v1/events", "GET /livez", "GET /nothing"]
        {
            for headers in ["host: evil.example\r\n", "host: localhost\r\norigin: http://evil.example\r\n"] {
                let reply = server.raw(&request(line, headers, "")).await;
                assert!(reply.starts_with("HTTP/1.1 403 "), "{line} {headers}: {reply}");
            }
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_zone_is_exported_as_text_and_by_any_name() {
    let server = Running::tcp().await;
    let slash = "0/25.2.0.192.in-addr.arpa";
    fs::write(server.files.path().join("zones/slash.toml"), ZONE.replace("lb.example.com", slash)).unwrap();
    assert!(server.control.reload(ReloadCause::Command).await.unwrap().ok);
    let text = server.client().export(slash, None).await.unwrap();
    assert!(text.contains("\n$ORIGIN 0/25.2.0.192.in-addr.arpa.\n"), "{text}");
    server.client().set_state(&change("lb.example.com/*/a")).await.unwrap();
    let reply = server.raw(&request("GET /v1/zones/LB.example.com./export", "", "")).await;
    assert!(reply.contains("content-type: text/dns\r\n") && reply.contains(" A     192.0.2.2\n"), "{reply}");
    assert!(!reply.contains("192.0.2.1\n"), "drained: {reply}");
    let error = server.client().export("other.example", None).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 404, .. }), "{error:?}");
    let error = server.client().export("a..b", None).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 400, .. }), "{error:?}");
    server.stop().await;
}

#[tokio::test]
async fn events_tell_each_change_and_end_with_the_server() {
    let server = Running::tcp().await;
    let mut events = server.client().events().await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    server.client().set_state(&change("*/*/a")).await.unwrap();
    let second = events.next().await.unwrap().unwrap();
    assert!(second.generation > first.generation);
    assert!(second.zones[0].pools[0].backends[0].forced.is_some());
    server.stop().await;
    assert!(events.next().await.unwrap().is_none());
}

#[tokio::test]
async fn watchers_never_shut_out_commands() {
    let server = Running::tcp().await;
    let mut watchers = Vec::new();
    for _ in 0..MAX_WATCHERS {
        watchers.push(server.client().events().await.unwrap());
    }
    let error = server.client().events().await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 429, .. }), "{error:?}");
    assert!(server.client().status().await.is_ok());
    drop(watchers);
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_hold_up_the_end() {
    let server = Running::tcp().await;
    let ControlAddress::Tcp(address) = server.address else { panic!("a TCP address") };
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"GET /v1/st").await.unwrap();
    server.client().status().await.unwrap();
    server.stop().await;
    assert!(matches!(silent.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_supervisor_that_is_gone_is_503() {
    let server = Running::tcp().await;
    server.control.shutdown().await;
    let client = server.client();
    assert!(matches!(client.status().await.unwrap_err(), ClientError::Refused { status: 503, .. }));
    assert!(matches!(client.events().await.unwrap_err(), ClientError::Refused { status: 503, .. }));
}
