//! The kinds of probes, one a check type, and their own keys.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Later, ProbeSpec};
use crate::engine::name::Name;

/// The kind of a probe and its own keys. New kinds stand last: fingerprints count them from the top.
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
    /// Passes when the backend's gRPC health service (grpc.health.v1) says SERVING.
    Grpc(GrpcProbe),
    /// Passes when the backend answers a DNS question as expected.
    Dns(DnsProbe),
    /// Passes when a TLS handshake succeeds and the certificate lasts long enough.
    Tls(CertificateProbe),
    /// Passes when an ICMP echo comes back (RFC 792, RFC 4443).
    Icmp,
    /// Passes when a program exits with 0.
    Exec(ExecProbe),
    /// Passes when a file says so.
    File(FileProbe),
    /// Passes while heartbeats come.
    Push(PushProbe),
    /// Passes when an agent's line says so (HAProxy's agent-check).
    Agent(AgentProbe),
    /// Passes when enough other probes do (Route 53's calculated checks). Not probed: follows from verdicts.
    Of(OfProbe),
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
    /// Whether the response header `Rollcall` is heeded.
    pub feedback: Later<bool>,
}

/// TLS of a check. Files are read when the configuration is loaded, so a changed file is a changed probe.
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

/// A `grpc` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcProbe {
    /// `None`: plaintext HTTP/2 with prior knowledge.
    pub tls: Option<TlsProbe>,
    /// `:authority`, and SNI unless `tls.server_name` says otherwise.
    pub host: String,
    /// The service asked about; empty: the server as a whole.
    pub service: String,
}

/// A `dns` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DnsProbe {
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub rtype: u16,
    /// RCODEs that pass.
    pub expect_rcode: Vec<u16>,
    /// Text that must stand in the data of one record of the answer section, as master files write it.
    pub expect: Option<String>,
}

/// A `tls` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateProbe {
    /// As of `https`.
    pub tls: TlsProbe,
    /// The name asked for and verified, unless `tls.server_name` says otherwise.
    pub host: String,
    /// Least days until the certificate expires.
    pub days: u32,
}

/// An `exec` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExecProbe {
    /// Program (an absolute path) and arguments.
    pub command: Vec<String>,
    /// `ROLLCALL_BACKEND`
    pub backend: String,
    /// `ROLLCALL_HOST`
    pub host: String,
}

/// A `file` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileProbe {
    /// The state file, absolute.
    pub path: PathBuf,
    /// The backend's name, by which a line may name it.
    pub backend: String,
    /// The backend's address, by which a line may name it.
    pub address: IpAddr,
    /// What a backend is that no line names: up or down.
    pub default_up: bool,
}

/// A `push` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PushProbe {
    /// The check's name: two heartbeats of one backend are two probes.
    pub check: String,
    /// Longest silence.
    pub ttl: Duration,
}

/// An `agent` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentProbe {
    /// Sent once connected.
    pub send: Option<String>,
    /// Whether weight, load and state are heeded, not `up` and `down` alone.
    pub feedback: bool,
}

/// An `of` check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OfProbe {
    /// How many must pass: 0 always passes, more than there are never does.
    pub need: u32,
    /// The others.
    pub members: Vec<OfMember>,
}

/// One of the probes that an `of` check counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OfMember {
    /// The check's name, for people.
    pub check: String,
    /// Whose verdict counts.
    pub spec: Arc<ProbeSpec>,
    /// Counts as passing while that is down.
    pub inverted: bool,
}
