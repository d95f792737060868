//! Who may ask for what: every route of the document, by every token, over every kind of listener.

use super::super::document::operations;
use super::*;

const TOKENS: &str = r#"
grafana = { secret = "reads-reads-reads-reads", scopes = ["read"] }
ops     = { secret = "writes-writes-writes-w", scopes = ["write"] }
cron    = { secret = "pushes-pushes-pushes-p", scopes = ["push"] }
"#;

/// What no token is needed for: nothing in it is of this server alone.
const OPEN: &[&str] =
    &["GET /", "GET /dashboard.css", "GET /dashboard.js", "GET /openapi.json", "GET /livez", "GET /readyz"];

/// Every operation of the document with the scope that it says it needs.
fn table(running: &Running) -> Vec<(String, Option<String>)> {
    let (_, mut document) = parts(&running.api());
    operations(&mut document)
        .map(|(path, method, operation)| {
            let security = serde_json::to_value(&operation.security).unwrap();
            let scope = security[0]["bearer"][0].as_str().map(str::to_owned);
            (format!("{method} {path}"), scope)
        })
        .collect()
}

/// With the names of a thing that is there.
fn filled(operation: &str) -> String {
    let line = operation
        .replace("{zone}", "lb.example.com")
        .replace("{pool}", "web")
        .replace("{backend}", "a")
        .replace("{name}", "www.lb.example.com")
        .replace("{route}", "none");
    assert!(!line.contains('{'), "{operation}: say here what stands for its parameter");
    line
}

/// The status code of a reply, without waiting for an event stream's end.
async fn code_of(address: &ControlAddress, line: &str, token: Option<&str>) -> u16 {
    let body = if line.contains("/state") && !line.starts_with("GET") { r#"{"state": "auto"}"# } else { "" };
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let headers = format!("{authorization}content-type: application/json\r\n");
    let text = request(line, &headers, body);
    match address {
        ControlAddress::Tcp(address) => first_code(TcpStream::connect(address).await.unwrap(), &text).await,
        ControlAddress::Unix(path) => first_code(UnixStream::connect(path).await.unwrap(), &text).await,
    }
}

async fn first_code(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> u16 {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut head = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
}

/// No token, one of another server, and one of each scope with what it may.
const CALLERS: [(Option<&str>, &[&str]); 5] = [
    (None, &[]),
    (Some("no-token-of-this-server"), &[]),
    (Some("reads-reads-reads-reads"), &["read"]),
    (Some("writes-writes-writes-w"), &["read", "write"]),
    (Some("pushes-pushes-pushes-p"), &["push"]),
];

#[tokio::test]
async fn each_route_wants_its_scope_by_every_token_and_listener() {
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let socket = ControlAddress::Unix(directory.path().join("control.sock"));
    let with_tokens = "[control]\ntokens = \"tokens.toml\"\n";
    let guarded = Running::start_with(&loopback, with_tokens, TOKENS).await;
    let trusting = Running::start_with(&loopback, "", "").await;
    let local = Running::start_with(&socket, with_tokens, TOKENS).await;
    let table = table(&guarded);
    assert!(table.len() > 30, "{table:?}");
    for (operation, scope) in &table {
        let line = filled(operation);
        for (token, may) in CALLERS {
            let code = code_of(&guarded.address, &line, token).await;
            match scope.as_deref() {
                Some(scope) if may.contains(&scope) => assert!(code != 401 && code != 403, "{line} {token:?}: {code}"),
                Some(_) => assert_eq!(code, if may.is_empty() { 401 } else { 403 }, "{line} {token:?}"),
                None => assert_eq!(code, 200, "{line} {token:?}"),
            }
            // Who reaches these is trusted, whatever is sent along.
            for open in [&trusting, &local] {
                let code = code_of(&open.address, &line, token).await;
                assert!(code != 401 && code != 403, "{line} {token:?} at {:?}: {code}", open.address);
            }
        }
    }
    for running in [guarded, trusting, local] {
        running.stop().await;
    }
}

#[tokio::test]
async fn what_changes_something_wants_write_and_what_looks_wants_read() {
    let running = Running::tcp().await;
    for (operation, scope) in table(&running) {
        let (method, path) = operation.split_once(' ').unwrap();
        let expected = match method {
            _ if OPEN.contains(&operation.as_str()) => None,
            // Whom clients are is not for everybody who looks.
            "GET" if path == "/v1/tail" => Some("write"),
            "GET" => Some("read"),
            _ if path.starts_with("/v1/push/") => Some("push"),
            _ => Some("write"),
        };
        assert_eq!(scope.as_deref(), expected, "{operation}");
    }
}

#[tokio::test]
async fn the_name_of_the_token_is_who_did_it_and_its_secret_is_nowhere() {
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let running = Running::start_with(&loopback, "[control]\ntokens = \"tokens.toml\"\n", TOKENS).await;
    let client = running.client().with_token("writes-writes-writes-w").unwrap();
    client.set_state(&change("lb.example.com/web/a")).await.unwrap();
    let status = client.status().await.unwrap();
    let forced = status.zones[0].pools[0].backends[0].forced.clone().unwrap();
    assert_eq!(forced.by.as_deref(), Some("ops"));
    assert!(!format!("{status:?} {client:?}").contains("writes-writes"), "a secret is never told");
    running.stop().await;
}

#[tokio::test]
async fn tokens_follow_a_reload_and_a_bad_file_keeps_the_old_ones() {
    let loopback = ControlAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let running = Running::start_with(&loopback, "[control]\ntokens = \"tokens.toml\"\n", TOKENS).await;
    let file = running.files.path().join("tokens.toml");
    let ops = running.client().with_token("writes-writes-writes-w").unwrap();

    fs::write(&file, "ops = { secret = \"too-short\", scopes = [\"write\"] }\n").unwrap();
    let refused = ops.reload(false).await.unwrap();
    assert!(!refused.ok);
    assert!(refused.rendered.iter().all(|text| !text.contains("too-short")), "{refused:?}");
    assert_eq!(code_of(&running.address, "GET /v1/status", Some("reads-reads-reads-reads")).await, 200);

    fs::write(&file, "ops = { secret = \"another-secret-of-ops\", scopes = [\"write\"] }\n").unwrap();
    assert!(ops.reload(false).await.unwrap().ok);
    assert_eq!(code_of(&running.address, "GET /v1/status", Some("writes-writes-writes-w")).await, 401);
    assert_eq!(code_of(&running.address, "GET /v1/status", Some("another-secret-of-ops")).await, 200);
    running.stop().await;
}

#[tokio::test]
async fn a_unix_socket_needs_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let address = ControlAddress::Unix(directory.path().join("control.sock"));
    let running = Running::start_with(&address, "[control]\ntokens = \"tokens.toml\"\n", TOKENS).await;
    running.client().status().await.unwrap();
    running.stop().await;
}
