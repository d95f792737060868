//! The `http` and `https` checks, made with reqwest: connection, status and body are right within the timeout.
//!
//! No proxy, no redirect, no retry, no connection used twice, no name resolved. All plain HTTP targets with one timeout and
//! source share one client; an `https` target whose name is not its address has one of its own (2.5 KiB) over a shared profile.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use reqwest::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Request, Url};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::reason::{self, BODY_TIMEOUT, CONNECT_TIMEOUT, RESPONSE_TIMEOUT};
use super::tcp::{Found, Search};
use super::{Report, tls};
use crate::engine::feedback::{Health, Said};
use crate::engine::probe::{HttpProbe, ProbeKind, ProbeSpec, TlsProbe};

/// How much of a body is searched for `expect_body`, octets.
const BODY_LIMIT: usize = 64 * 1024;

/// The client's own connect timeout fires this much before the whole probe is cut off, so that it can say what it waited for.
const GRACE: Duration = Duration::from_millis(10);

/// A target made ready. There may be tens of thousands: what is the same for many is shared.
pub(super) struct HttpTarget {
    spec: Arc<ProbeSpec>,
    client: Arc<Shared>,
    method: Method,
    url: Url,
    /// `None` where the check has a `Host` of its own among its headers.
    host: Option<HeaderValue>,
    headers: Arc<HeaderMap>,
}

impl HttpTarget {
    /// Whether it is an `https` target.
    pub(super) fn is_tls(&self) -> bool {
        matches!(&self.spec.kind, ProbeKind::Http(http) if http.tls.is_some())
    }

    /// The request's path.
    #[cfg(feature = "panic-drill")]
    pub(super) fn path(&self) -> &str {
        self.url.path()
    }

    /// The request of one probe.
    fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.reserve(self.headers.len() + 1);
        // First, as RFC 9110 section 7.2 would have it.
        if let Some(host) = &self.host {
            headers.insert(HOST, host.clone());
        }
        for (name, value) in self.headers.iter() {
            headers.append(name, value.clone());
        }
        request
    }
}

/// Clients and TLS profiles in use; those that no target uses any more are forgotten.
#[derive(Default)]
pub(super) struct Clients {
    clients: HashMap<ClientKey, Weak<Shared>>,
    profiles: HashMap<Profile, Weak<ClientConfig>>,
    headers: HashMap<Vec<(String, String)>, Weak<HeaderMap>>,
    sweep_at: usize,
}

struct Shared {
    client: Client,
    /// Keeps the profile alive for others to share.
    _profile: Option<Arc<ClientConfig>>,
}

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    profile: Option<Profile>,
    source: Option<IpAddr>,
    timeout: Duration,
    resolve: Option<(String, SocketAddr)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Profile {
    tls: TlsProbe,
    pinned: Option<IpAddr>,
}

pub(super) async fn probe(target: &HttpTarget) -> Report {
    let ProbeKind::Http(http) = &target.spec.kind else {
        return Report::Failed("not an http check".into());
    };
    let begun = Instant::now();
    let limit = target.spec.timing.timeout;
    let deadline = begun + limit + GRACE;
    let response = match timeout_at(deadline, target.client.client.execute(target.request())).await {
        Err(_) => return Report::TimedOut(RESPONSE_TIMEOUT.into()),
        Ok(Err(error)) => return of_reqwest(&error),
        Ok(Ok(response)) => response,
    };
    let status = response.status().as_u16();
    let said = http.feedback.0.then(|| feedback(&response));
    let report = if !http.expect_status.iter().any(|&(low, high)| (low..=high).contains(&status)) {
        Report::Failed(format!("status {status}"))
    } else if let Some(text) = &http.expect_body {
        match timeout_at(deadline, body_has(response, text)).await {
            Err(_) => Report::TimedOut(BODY_TIMEOUT.into()),
            Ok(Err(error)) => of_reqwest(&error),
            Ok(Ok(true)) => Report::Passed(format!("status {status}")),
            Ok(Ok(false)) => Report::Failed(format!("body lacks {text:?}")),
        }
    } else {
        Report::Passed(format!("status {status}"))
    };
    match (report, said) {
        (Report::Passed(_), _) if begun.elapsed() > limit => Report::TimedOut(RESPONSE_TIMEOUT.into()),
        (Report::Passed(reason), Some(said)) => heard(true, reason, said),
        (Report::Failed(reason), Some(said)) => heard(false, reason, said),
        (report, _) => report,
    }
}

/// What the header `Rollcall` says; a response without it says that nothing is special.
fn feedback(response: &reqwest::Response) -> Said {
    let lines = response.headers().get_all("rollcall").iter().filter_map(|line| line.to_str().ok());
    let text = lines.collect::<Vec<_>>().join(",");
    Said { whole: true, ..Said::read(&text).unwrap_or_else(Said::nothing_special) }
}

/// A word that the backend is down fails the probe, whatever the status.
fn heard(passed: bool, mut reason: String, said: Said) -> Report {
    let down = matches!(said.health, Some(Health::Down | Health::Failed | Health::Stopped));
    if down {
        reason.push_str(&format!(", and the backend says \"{said}\""));
        if !said.note.is_empty() {
            reason.push_str(&format!(": {}", said.note));
        }
    }
    Report::Heard { passed: passed && !down, reason, said }
}

async fn body_has(mut response: reqwest::Response, text: &str) -> reqwest::Result<bool> {
    let mut search = Search::new(text, BODY_LIMIT);
    if search.push(b"") == Found::Yes {
        return Ok(true);
    }
    while let Some(piece) = response.chunk().await? {
        match search.push(&piece) {
            Found::Yes => return Ok(true),
            Found::Never => return Ok(false),
            Found::NotYet => {}
        }
    }
    Ok(false)
}

fn of_reqwest(error: &reqwest::Error) -> Report {
    if error.is_timeout() {
        let reason = if error.is_connect() { CONNECT_TIMEOUT } else { RESPONSE_TIMEOUT };
        return Report::TimedOut(reason.into());
    }
    reason::of_chain(error)
}

impl Clients {
    /// Makes a target ready. The error is the reason with which all its probes fail.
    pub(super) fn target(&mut self, spec: &Arc<ProbeSpec>, http: &HttpProbe) -> Result<HttpTarget, String> {
        let target = spec.target;
        let scheme = if http.tls.is_some() { "https" } else { "http" };
        let mut authority = target.ip();
        let mut resolve = None;
        let mut profile = None;
        let mut url = None;
        if let Some(tls) = &http.tls {
            let name = tls.server_name.as_deref().unwrap_or_else(|| without_port(&http.host));
            let mut pinned = None;
            match address(name) {
                Some(ip) => pinned = (ip != target.ip()).then_some(ip),
                None => {
                    let named = parse(scheme, name.trim_end_matches('.'), target.port(), &http.path)?;
                    // The URL's own spelling: lower case, internationalised labels in their ASCII form.
                    match named.host_str().map(|host| (host.to_owned(), address(host))) {
                        Some((host, None)) => resolve = Some((host, target)),
                        _ => return Err(format!("{name:?} is not a host name")),
                    }
                    url = Some(named);
                }
            }
            profile = Some(Profile { tls: TlsProbe { server_name: None, ..tls.clone() }, pinned });
        }
        if let IpAddr::V6(v6) = authority
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            authority = IpAddr::V4(v4);
        }
        let url = match url {
            Some(url) => url,
            None => parse(scheme, &bracketed(authority), target.port(), &http.path)?,
        };
        let method = Method::from_bytes(http.method.as_bytes())
            .map_err(|_| format!("{:?} is not a request method", http.method))?;
        let headers = self.headers(http)?;
        let host = match headers.contains_key(HOST) {
            true => None,
            false => Some(host(http, target.port())?),
        };
        let key = ClientKey { profile, source: spec.source, timeout: spec.timing.timeout, resolve };
        Ok(HttpTarget { spec: spec.clone(), client: self.client(key)?, method, url, host, headers })
    }

    /// All headers but a `Host` of ours.
    fn headers(&mut self, http: &HttpProbe) -> Result<Arc<HeaderMap>, String> {
        if let Some(headers) = self.headers.get(&http.headers).and_then(Weak::upgrade) {
            return Ok(headers);
        }
        let headers = Arc::new(headers(http)?);
        self.headers.insert(http.headers.clone(), Arc::downgrade(&headers));
        self.sweep();
        Ok(headers)
    }

    fn client(&mut self, key: ClientKey) -> Result<Arc<Shared>, String> {
        if let Some(client) = self.clients.get(&key).and_then(Weak::upgrade) {
            return Ok(client);
        }
        let profile = match &key.profile {
            Some(profile) => Some(self.profile(profile)?),
            None => None,
        };
        let config = match &profile {
            Some(config) => ClientConfig::clone(config),
            None => tls::unused()?,
        };
        let mut builder = Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(0)
            .connect_timeout(key.timeout)
            // A connection that ends within the timeout: nothing to keep alive.
            .tcp_keepalive(None)
            .tcp_keepalive_interval(None)
            .tcp_keepalive_retries(None)
            .tcp_user_timeout(None)
            .local_address(key.source)
            .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")));
        if let Some((name, address)) = &key.resolve {
            builder = builder.resolve(name, *address);
        }
        let client = builder.build().map_err(|error| format!("HTTP client: {error}"))?;
        let shared = Arc::new(Shared { client, _profile: profile });
        self.clients.insert(key, Arc::downgrade(&shared));
        self.sweep();
        Ok(shared)
    }

    fn profile(&mut self, profile: &Profile) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.profiles.get(profile).and_then(Weak::upgrade) {
            return Ok(config);
        }
        let config = Arc::new(tls::client_config(&profile.tls, profile.pinned)?);
        self.profiles.insert(profile.clone(), Arc::downgrade(&config));
        Ok(config)
    }

    /// Forgets what nobody uses, each time the table has doubled.
    fn sweep(&mut self) {
        if self.clients.len() + self.headers.len() < self.sweep_at {
            return;
        }
        self.clients.retain(|_, client| client.strong_count() > 0);
        self.profiles.retain(|_, config| config.strong_count() > 0);
        self.headers.retain(|_, headers| headers.strong_count() > 0);
        self.sweep_at = ((self.clients.len() + self.headers.len()) * 2).max(64);
    }
}

/// The request's own headers: those of the check win over `Connection`. The connection is used once, and says so.
fn headers(http: &HttpProbe) -> Result<HeaderMap, String> {
    let bad = |name: &str| format!("header {name:?} cannot be sent");
    let mut own = HeaderMap::with_capacity(http.headers.len() + 1);
    for (name, value) in &http.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
        // A name given twice is sent twice.
        own.append(header, HeaderValue::from_str(value).map_err(|_| bad(name))?);
    }
    if !own.contains_key(CONNECTION) {
        own.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(own)
}

/// `Host` carries the port unless it is the scheme's own (RFC 9110 section 7.2), as every browser sends it.
fn host(http: &HttpProbe, port: u16) -> Result<HeaderValue, String> {
    let usual_port = if http.tls.is_some() { 443 } else { 80 };
    let host = match address(&http.host) {
        Some(ip) => bracketed(ip),
        None => http.host.clone(),
    };
    let host = if port == usual_port || without_port(&host) != host { host } else { format!("{host}:{port}") };
    HeaderValue::from_str(&host).map_err(|_| "header \"Host\" cannot be sent".to_owned())
}

fn parse(scheme: &str, host: &str, port: u16, path: &str) -> Result<Url, String> {
    Url::parse(&format!("{scheme}://{host}:{port}{path}")).map_err(|error| format!("{host:?} or {path:?}: {error}"))
}

/// An address, with or without brackets.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    text.parse().ok()
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// `example.com:8443` without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if (!name.contains(':') || name.ends_with(']')) && port.bytes().all(|octet| octet.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}
