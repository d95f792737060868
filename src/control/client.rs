//! Talks to the control listener of a running server, over a unix socket or loopback TCP.
//!
//! Says apart what a script must tell apart: a server that cannot be reached, and one that says no.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::drill::{DrillEvent, DrillPlan, DrillRequest};
use super::journal::{JournalPage, JournalQuery};
use super::replacing::Replaced;
use super::status::time_text;
use super::tail::{Answer, Lost, TailQuery};
use super::view::{ExplainQuery, Explanation, Problem, Push, Pushed, ReloadStatus, StateChange, StateChanged, Status};
use crate::config::plan::ControlAddress;

/// To connect; the server is on this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole answer: longer than the server's own limit on a request, so that its word arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// A server that is being replaced sends away whom it can no longer answer: asked again, the successor answers.
const ATTEMPTS: usize = 20;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(100);
/// Events come, or a sign of life every few seconds; after this the server is taken for gone.
const EVENTS_SILENCE: Duration = Duration::from_secs(30);
/// One event is one status; a server with a hundred thousand backends stays below this.
const MAX_EVENT: usize = 256 * 1024 * 1024;

/// A client of one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    base: String,
    token: Option<HeaderValue>,
}

/// Why a server did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no server answers at {address}: {cause}")]
    Unreachable {
        /// As `--control` takes it.
        address: String,
        /// In words.
        cause: String,
    },
    /// Somebody answers, but what comes back is not what this version understands.
    #[error("{address} does not answer as rollcall does: {cause}")]
    Garbled {
        /// As `--control` takes it.
        address: String,
        /// In words.
        cause: String,
    },
    /// The server says no.
    #[error("{error}")]
    Refused {
        /// HTTP status code.
        status: u16,
        /// The server's own sentence.
        error: String,
    },
}

/// The statuses that a server sends, one at once and one for each new generation.
#[derive(Debug)]
pub struct Events(Stream);

/// What a server tells while a drill runs.
#[derive(Debug)]
pub struct DrillEvents(Stream);

/// Live answers, as a server tells them.
#[derive(Debug)]
pub struct Answers(Stream);

/// What [`Answers`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tapped {
    /// An answer that was given.
    Answer(Box<Answer>),
    /// What was wanted and could not be told.
    Lost(Lost),
}

/// Server-sent events.
#[derive(Debug)]
struct Stream {
    response: reqwest::Response,
    received: Vec<u8>,
    address: String,
}

/// Reads `127.0.0.1:8053`, `[::1]:8053` or `unix:/path`, as `--control` and `listen.control` have it.
pub fn parse_address(text: &str) -> Result<ControlAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("a path must follow `unix:`, e.g. unix:/run/rollcall/control.sock".to_string());
        }
        return Ok(ControlAddress::Unix(PathBuf::from(path)));
    }
    text.parse::<SocketAddr>().map(ControlAddress::Tcp).map_err(|_| {
        "must be an address with a port, e.g. 127.0.0.1:8053, or a unix socket, e.g. unix:/run/rollcall/control.sock"
            .to_string()
    })
}

/// The address as [`parse_address`] reads it.
pub fn address_text(address: &ControlAddress) -> String {
    match address {
        ControlAddress::Tcp(address) => address.to_string(),
        ControlAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// `listen.control` of a server file; `Ok(None)` when it has none.
///
/// Reads that key alone, and past errors elsewhere in the file: while a broken edit waits to be mended, `rollcall status`
/// is how one learns what is wrong with it.
pub fn address_in_file(file: &Path) -> Result<Option<ControlAddress>, String> {
    let text = std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    let Some(control) = control_in(&text)? else {
        return Ok(None);
    };
    let control = control.as_str();
    let address = parse_address(control).map_err(|error| format!("listen.control = {control:?}: {error}"))?;
    Ok(Some(match address {
        // As every path of the server file: relative to it.
        ControlAddress::Unix(path) if path.is_relative() => {
            ControlAddress::Unix(file.parent().unwrap_or(Path::new("")).join(path))
        }
        other => other,
    }))
}

fn control_in(text: &str) -> Result<Option<String>, String> {
    let (table, errors) = toml::de::DeTable::parse_recoverable(text);
    let listen = table.get_ref().get("listen").and_then(|listen| listen.get_ref().as_table());
    if let Some(control) = listen.and_then(|listen| listen.get("control")) {
        let control = control.get_ref().as_str().ok_or("listen.control must be a string")?;
        return Ok(Some(control.to_string()));
    }
    // An array or string that is never closed swallows what follows: then the line itself is looked for.
    Ok(if errors.is_empty() { None } else { control_line(text) })
}

/// `control = "…"` below a line `[listen]`.
fn control_line(text: &str) -> Option<String> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[listen]").skip(1);
    let line = lines.by_ref().take_while(|line| !line.starts_with('[')).find(|line| line.starts_with("control"))?;
    let table: toml::Table = line.parse().ok()?;
    table.get("control")?.as_str().map(str::to_string)
}

impl Client {
    /// A client of the server at `address`. Connects at the first call.
    pub fn new(address: ControlAddress) -> Result<Client, ClientError> {
        let text = address_text(&address);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(tls) = no_tls() {
            builder = builder.tls_backend_preconfigured(tls);
        }
        let base = match &address {
            ControlAddress::Tcp(address) => format!("http://{address}"),
            ControlAddress::Unix(path) => {
                builder = builder.unix_socket(path.as_path());
                "http://localhost".to_string()
            }
        };
        let http = builder.build().map_err(|error| unreachable(&text, &error))?;
        Ok(Client { http, address: text, base, token: None })
    }

    /// Sends this bearer token with every request; an error when it holds what no token may.
    pub fn with_token(self, token: &str) -> Result<Client, ClientError> {
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_| self.garbled("the token holds octets that no header may".to_owned()))?;
        header.set_sensitive(true);
        Ok(Client { token: Some(header), ..self })
    }

    /// Where the server is, as `--control` takes it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `GET /v1/status`
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.read(self.http.get(self.url("/v1/status"))).await
    }

    /// `GET /v1/journal`
    pub async fn journal(&self, query: &JournalQuery) -> Result<JournalPage, ClientError> {
        let mut url = self.parsed_url("/v1/journal")?;
        {
            let mut pairs = url.query_pairs_mut();
            for (name, at) in [("since", query.since), ("until", query.until)] {
                if let Some(at) = at {
                    pairs.append_pair(name, &time_text(at));
                }
            }
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
        }
        self.read(self.http.get(url)).await
    }

    /// `GET /v1/explain`
    pub async fn explain(&self, query: &ExplainQuery) -> Result<Explanation, ClientError> {
        let mut url = self.parsed_url("/v1/explain")?;
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("name", &query.name);
            if let Some(rtype) = &query.rtype {
                pairs.append_pair("type", rtype);
            }
            if let Some(client) = &query.client {
                pairs.append_pair("client", client);
            }
            if query.shares {
                pairs.append_pair("shares", "true");
            }
            if let Some(down) = &query.down {
                pairs.append_pair("down", down);
            }
        }
        self.read(self.http.get(url)).await
    }

    /// `GET /v1/zones/{zone}/export`
    pub async fn export(&self, zone: &str, client: Option<IpAddr>) -> Result<String, ClientError> {
        let mut url = self.parsed_url("/")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v1", "zones", zone, "export"]);
        }
        if let Some(client) = client {
            url.query_pairs_mut().append_pair("client", &client.to_string());
        }
        let response = self.accepted(self.send(self.http.get(url).timeout(ANSWER_TIMEOUT)).await?).await?;
        response.text().await.map_err(|error| unreachable(&self.address, &error))
    }

    /// `PUT /v1/state`
    pub async fn set_state(&self, change: &StateChange) -> Result<StateChanged, ClientError> {
        self.read(self.http.put(self.url("/v1/state")).json(change)).await
    }

    /// `PUT /v1/push/ZONE/POOL/BACKEND`
    pub async fn push(&self, push: &Push) -> Result<Pushed, ClientError> {
        let mut url = self.parsed_url("/v1/push")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(push.backend.split('/'));
        }
        if let Some(check) = &push.check {
            url.query_pairs_mut().append_pair("check", check);
        }
        self.read(self.http.put(url).body(push.status.clone().unwrap_or_default())).await
    }

    /// `POST /v1/reload`. A reload that was refused is an answer, not an error: `ok` is false then.
    /// `force`: taken whatever share of the clients it moves.
    pub async fn reload(&self, force: bool) -> Result<ReloadStatus, ClientError> {
        let path = if force { "/v1/reload?force=true" } else { "/v1/reload" };
        let response = self.send(self.http.post(self.url(path)).timeout(ANSWER_TIMEOUT)).await?;
        if response.status() == reqwest::StatusCode::UNPROCESSABLE_ENTITY {
            return self.decode(response).await;
        }
        self.decode(self.accepted(response).await?).await
    }

    /// `POST /v1/replace`: returns when another process answers in the server's place.
    pub async fn replace(&self) -> Result<Replaced, ClientError> {
        self.read(self.http.post(self.url("/v1/replace"))).await
    }

    /// `GET /v1/events`. The stream as a whole has no limit; [`Events::next`] limits each silence.
    pub async fn events(&self) -> Result<Events, ClientError> {
        Ok(Events(self.stream(self.http.get(self.url("/v1/events"))).await?))
    }

    /// `POST /v1/drill`, dry: what it would do.
    pub async fn drill_plan(&self, request: &DrillRequest) -> Result<DrillPlan, ClientError> {
        let request = DrillRequest { dry_run: true, ..request.clone() };
        self.read(self.http.post(self.url("/v1/drill")).json(&request)).await
    }

    /// `POST /v1/drill`. It ends when the stream is dropped.
    pub async fn drill(&self, request: &DrillRequest) -> Result<DrillEvents, ClientError> {
        let request = DrillRequest { dry_run: false, ..request.clone() };
        Ok(DrillEvents(self.stream(self.http.post(self.url("/v1/drill")).json(&request)).await?))
    }

    /// `GET /v1/tail`
    pub async fn tail(&self, query: &TailQuery) -> Result<Answers, ClientError> {
        let mut url = self.parsed_url("/v1/tail")?;
        {
            let rate = query.rate.map(|rate| rate.to_string());
            let mut pairs = url.query_pairs_mut();
            for (key, value) in
                [("name", &query.name), ("client", &query.client), ("rcode", &query.rcode), ("rate", &rate)]
            {
                if let Some(value) = value {
                    pairs.append_pair(key, value);
                }
            }
        }
        Ok(Answers(self.stream(self.http.get(url)).await?))
    }

    async fn stream(&self, request: reqwest::RequestBuilder) -> Result<Stream, ClientError> {
        let response = self.send(request.header("accept", "text/event-stream")).await?;
        let response = self.accepted(response).await?;
        Ok(Stream { response, received: Vec::new(), address: self.address.clone() })
    }

    /// A request to a route of another listener of the same make, e.g. the demo's: `POST` without a body.
    pub async fn post<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ClientError> {
        let mut url = self.parsed_url("/")?;
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        self.read(self.http.post(url)).await
    }

    async fn read<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request.timeout(ANSWER_TIMEOUT)).await?;
        self.decode(self.accepted(response).await?).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let request = match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        };
        for _ in 1..ATTEMPTS {
            let Some(again) = request.try_clone() else { break };
            match again.send().await {
                Ok(response) if response.status() != reqwest::StatusCode::SERVICE_UNAVAILABLE => return Ok(response),
                Ok(_) => {}
                // Closed between the connection and the answer, as by a server that is leaving.
                Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {}
                Err(error) => return Err(unreachable(&self.address, &error)),
            }
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        request.send().await.map_err(|error| unreachable(&self.address, &error))
    }

    async fn accepted(&self, response: reqwest::Response) -> Result<reqwest::Response, ClientError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|error| unreachable(&self.address, &error))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Refused { status: status.as_u16(), error: problem.error }),
            Err(_) => Err(self.garbled(format!("HTTP status {status}"))),
        }
    }

    async fn decode<T: DeserializeOwned>(&self, response: reqwest::Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|error| unreachable(&self.address, &error))?;
        serde_json::from_slice(&body).map_err(|error| self.garbled(error.to_string()))
    }

    fn garbled(&self, cause: String) -> ClientError {
        ClientError::Garbled { address: self.address.clone(), cause }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn parsed_url(&self, path: &str) -> Result<reqwest::Url, ClientError> {
        self.url(path).parse().map_err(|error| self.garbled(format!("{error}")))
    }
}

impl Events {
    /// The next status; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Status>, ClientError> {
        match self.0.next().await? {
            Some((_, data)) => self.0.read(&data).map(Some),
            None => Ok(None),
        }
    }
}

impl DrillEvents {
    /// The next event; `None` when the server ended the stream, which it does after the report.
    pub async fn next(&mut self) -> Result<Option<DrillEvent>, ClientError> {
        while let Some((kind, data)) = self.0.next().await? {
            return Ok(Some(match kind.as_str() {
                "progress" => DrillEvent::Progress(self.0.read(&data)?),
                "report" => DrillEvent::Report(self.0.read(&data)?),
                "failed" => DrillEvent::Failed(self.0.read::<Problem>(&data)?.error),
                // Of a newer server.
                _ => continue,
            }));
        }
        Ok(None)
    }
}

impl Answers {
    /// The next answer; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Tapped>, ClientError> {
        while let Some((kind, data)) = self.0.next().await? {
            return Ok(Some(match kind.as_str() {
                "answer" => Tapped::Answer(self.0.read(&data)?),
                "lost" => Tapped::Lost(self.0.read(&data)?),
                _ => continue,
            }));
        }
        Ok(None)
    }
}

impl Stream {
    fn read<T: DeserializeOwned>(&self, data: &str) -> Result<T, ClientError> {
        serde_json::from_str(data)
            .map_err(|error| ClientError::Garbled { address: self.address.clone(), cause: error.to_string() })
    }

    /// Name and data of the next event; `None` when the server ended the stream.
    async fn next(&mut self) -> Result<Option<(String, String)>, ClientError> {
        loop {
            if let Some(event) = self.take_event() {
                let Some(data) = event_data(&event) else {
                    continue;
                };
                let name = event.lines().find_map(|line| line.strip_prefix("event:")).unwrap_or_default();
                return Ok(Some((name.trim().to_owned(), data)));
            }
            if self.received.len() > MAX_EVENT {
                let cause = format!("an event of more than {MAX_EVENT} octets");
                return Err(ClientError::Garbled { address: self.address.clone(), cause });
            }
            let chunk = tokio::time::timeout(EVENTS_SILENCE, self.response.chunk()).await.map_err(|_| {
                let cause = format!("silent for {} s", EVENTS_SILENCE.as_secs());
                ClientError::Unreachable { address: self.address.clone(), cause }
            })?;
            match chunk.map_err(|error| unreachable(&self.address, &error))? {
                Some(chunk) => self.received.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }

    fn take_event(&mut self) -> Option<String> {
        let end = self.received.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = self.received.drain(..end + 2).collect();
        Some(String::from_utf8_lossy(&event).into_owned())
    }
}

/// The data of one server-sent event; `None` for a comment, which only says that the server lives.
fn event_data(event: &str) -> Option<String> {
    let lines: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// No connection of this client uses TLS. Handing over an empty configuration spares the search for system roots, and the
/// need for a process-wide crypto provider.
fn no_tls() -> Option<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

fn unreachable(address: &str, error: &reqwest::Error) -> ClientError {
    // The innermost cause is the one that says something: "Connection refused", "No such file or directory".
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let cause = if error.is_timeout() { "timed out".to_string() } else { cause.to_string() };
    ClientError::Unreachable { address: address.to_string(), cause }
}

/// Serializes for a request or a terminal; values of this crate always can be.
pub fn to_json<T: Serialize>(value: &T, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:8053", "[::1]:8053", "unix:/run/rollcall/control.sock"] {
            assert_eq!(address_text(&parse_address(text).unwrap()), text);
        }
        for text in ["", "8053", "localhost:8053", "127.0.0.1", "unix:", "/run/x.sock"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_broken_server_file_still_says_where_the_server_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("rollcall.toml");
        let address = |text: &str| {
            std::fs::write(&file, text).unwrap();
            address_in_file(&file)
        };
        let expected = Ok(Some(ControlAddress::Tcp("127.0.0.1:8053".parse().unwrap())));
        assert_eq!(address("[listen]\ncontrol = \"127.0.0.1:8053\"\n"), expected);
        assert_eq!(address("listen.control = \"127.0.0.1:8053\"\n"), expected);
        assert_eq!(address("zones = [\n\n[listen]\ncontrol = \"127.0.0.1:8053\"\n"), expected);
        assert_eq!(address("[listen]\ncontrol = \"127.0.0.1:8053\"\n[log\nlevel = = 3\n"), expected);
        assert_eq!(address("[listen]\nnonsense = 1\ncontrol = \"127.0.0.1:8053\"\n"), expected);
        assert_eq!(address("zones = \"zones\"\n"), Ok(None));
        assert_eq!(
            address("[listen]\ncontrol = \"unix:control.sock\"\n"),
            Ok(Some(ControlAddress::Unix(directory.path().join("control.sock"))))
        );
        assert!(address("[listen]\ncontrol = 8053\n").is_err());
        assert!(address("[listen]\ncontrol = \"somewhere\"\n").is_err());
    }

    #[test]
    fn events_are_told_from_signs_of_life() {
        assert_eq!(event_data(": still here\n\n"), None);
        assert_eq!(event_data("event: status\nid: 3\ndata: {}\n\n").as_deref(), Some("{}"));
        assert_eq!(event_data("data: a\ndata:b\n\n").as_deref(), Some("a\nb"));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable_and_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(ControlAddress::Unix(directory.path().join("none.sock"))).unwrap();
        let error = client.status().await.unwrap_err();
        assert!(matches!(&error, ClientError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("No such file"), "{error}");

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = Client::new(ControlAddress::Tcp(address)).unwrap().status().await.unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
    }
}
