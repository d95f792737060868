//! What a probe asks of a target, as a value. Its equality is the probe's identity: equal values anywhere are one probe.
//!
//! Knows no socket; `config` makes these, `checker` runs them, `control` counts their results.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A probe's number, given out by control and kept across reloads for as long as the identity exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProbeId(pub u32);

/// Everything that makes a probe what it is, after defaults: the check's keys (not its name), address, port and host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProbeSpec {
    /// Where the probe connects to.
    pub target: SocketAddr,
    /// Local address of the probe; `None` lets the kernel choose.
    pub source: Option<IpAddr>,
    /// Flips every result.
    pub invert: bool,
    /// Holds one idle TCP connection to the target beside the interval; when it breaks, the target is probed at once.
    pub watch: bool,
    /// When and how often.
    pub timing: Timing,
    /// What is asked and expected.
    pub kind: ProbeKind,
}

/// When a probe runs and how many results decide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    /// Start to start.
    pub interval: Duration,
    /// The whole probe: connect, TLS, headers, body. At most `interval`.
    pub timeout: Duration,
    /// The interval between a first contrary result and the decision.
    pub fast_interval: Option<Duration>,
    /// Spread of each due time, ±, in thousandths of the interval (`"10%"` = 100).
    pub jitter_permille: u16,
    /// Successes in a row that make a target that is down up. At least 1.
    pub rise: u32,
    /// Failures in a row that make a target that is up down. At least 1.
    pub fall: u32,
}

/// The kind of a probe and its own keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Passes when the connection opens and, with `expect`, that text comes back.
    Tcp {
        /// Sent once connected.
        send: Option<String>,
        /// Must come back within the timeout.
        expect: Option<String>,
    },
    /// Passes when connection, status and body are right.
    Http(HttpProbe),
}

/// An `http` or `https` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// `Some` for `https`.
    pub tls: Option<TlsProbe>,
    /// Request target, begins with `/`.
    pub path: String,
    /// `Host` header, and SNI unless `tls.server_name` says otherwise.
    pub host: String,
    /// Request method, upper case.
    pub method: String,
    /// Further request headers, in the order of the file.
    pub headers: Vec<(String, String)>,
    /// Inclusive ranges of passing status codes.
    pub expect_status: Vec<(u16, u16)>,
    /// Text that must lie within the first 64 KiB of the body.
    pub expect_body: Option<String>,
}

/// TLS of an `https` check. Files are read when the configuration is loaded, so a changed file is a changed probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsProbe {
    /// Whether the certificate is verified. Default true.
    pub verify: bool,
    /// PEM of the private CA that takes the place of the system's roots.
    pub ca: Option<Arc<[u8]>>,
    /// SNI and the name the certificate is verified against; defaults to the host.
    pub server_name: Option<String>,
    /// PEM certificate chain and private key shown to the backend.
    pub client: Option<ClientCertificate>,
}

/// PEM certificate chain and private key.
pub type ClientCertificate = (Arc<[u8]>, Arc<[u8]>);

/// How often a target is probed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Cadence {
    /// Every `interval`.
    #[default]
    Normal,
    /// Every `fast_interval`: a contrary result waits for its decision.
    Fast,
}

/// How one probe ended, before `invert`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether what was asked came back as expected.
    pub passed: bool,
    /// Why, in words: `connected`, `status 200`, `connection refused`, `timed out connecting`, `body lacks "ok"`.
    pub reason: String,
    /// From start to verdict.
    pub latency: Duration,
}

impl ProbeSpec {
    /// A stable text for this identity, the same in every run of the same version: the key of kept verdicts.
    pub fn fingerprint(&self) -> String {
        use siphasher::sip128::{Hasher128, SipHasher13};
        use std::hash::Hash;
        let mut hasher = SipHasher13::new_with_keys(0x726f_6c6c, 0x6361_6c6c);
        self.hash(&mut hasher);
        let hash = hasher.finish128();
        format!("{}-{:016x}{:016x}", self.target, hash.h1, hash.h2)
    }
}
