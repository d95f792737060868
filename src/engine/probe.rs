//! What a probe asks of a target, as a value. Its equality is the probe's identity: equal values anywhere are one probe.
//!
//! Knows no socket; `config` makes these, `checker` runs them, `control` counts their results.

mod kinds;

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use kinds::{
    AgentProbe, CertificateProbe, ClientCertificate, DnsProbe, ExecProbe, FileProbe, GrpcProbe, HttpProbe, OfMember,
    OfProbe, ProbeKind, PushProbe, TlsProbe,
};

use super::feedback::Said;

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
    /// Successes in a row after which failures are forgotten (gdnsd's ok_thresh); 0 and 1: one success is enough.
    pub forgive: Later<u32>,
}

/// A key that came in a later version. Without its value it leaves no trace in a fingerprint: kept verdicts of probes that
/// do not use it are found again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Later<T>(pub T);

impl<T: Hash + Default + PartialEq> Hash for Later<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        if self.0 != T::default() {
            "later".hash(hasher);
            self.0.hash(hasher);
        }
    }
}

/// How often a target is probed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Cadence {
    /// Every `interval`.
    #[default]
    Normal,
    /// Every `fast_interval`: a contrary result waits for its decision.
    Fast,
}

/// How one probe ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether what was asked came back as expected.
    pub passed: bool,
    /// Why, in words: `connected`, `status 200`, `connection refused`, `timed out connecting`, `body lacks "ok"`.
    pub reason: String,
    /// From start to verdict.
    pub latency: Duration,
    /// What the backend said of itself; `None`: it was not heard this time, and what it said before stays.
    pub said: Option<Said>,
}

impl ProbeSpec {
    /// Whether the verdict follows from others' and nothing is probed.
    pub fn is_calculated(&self) -> bool {
        matches!(self.kind, ProbeKind::Of(_))
    }

    /// Whether backends send their heartbeats to this probe.
    pub fn is_pushed(&self) -> bool {
        matches!(self.kind, ProbeKind::Push(_))
    }

    /// A stable text for this identity, the same in every run of the same version: the key of kept verdicts.
    pub fn fingerprint(&self) -> String {
        use siphasher::sip128::{Hasher128, SipHasher13};
        let mut hasher = SipHasher13::new_with_keys(0x726f_6c6c, 0x6361_6c6c);
        self.hash(&mut hasher);
        let hash = hasher.finish128();
        format!("{}-{:016x}{:016x}", self.target, hash.h1, hash.h2)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn timing() -> Timing {
        Timing {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            fast_interval: Some(Duration::from_millis(500)),
            jitter_permille: 100,
            rise: 2,
            fall: 3,
            forgive: Later(0),
        }
    }

    fn specs() -> Vec<ProbeSpec> {
        let tls = TlsProbe {
            verify: true,
            ca: Some(Arc::from(&b"pem"[..])),
            server_name: Some("x.example".to_owned()),
            client: Some((Arc::from(&b"chain"[..]), Arc::from(&b"key"[..]))),
        };
        let http = HttpProbe {
            tls: None,
            path: "/healthz".to_owned(),
            host: "www.example".to_owned(),
            method: "GET".to_owned(),
            headers: vec![("X-Check".to_owned(), "one".to_owned())],
            expect_status: vec![(200, 399)],
            expect_body: Some("ok".to_owned()),
            feedback: Later(false),
        };
        let tcp = ProbeSpec {
            target: ([192, 0, 2, 1], 80).into(),
            source: Some([192, 0, 2, 9].into()),
            invert: false,
            watch: true,
            timing: timing(),
            kind: ProbeKind::Tcp { send: Some("PING".to_owned()), expect: None },
        };
        let http_spec = ProbeSpec { kind: ProbeKind::Http(http.clone()), source: None, ..tcp.clone() };
        let https = ProbeKind::Http(HttpProbe { tls: Some(tls), ..http });
        vec![tcp.clone(), http_spec, ProbeSpec { kind: https, target: "[2001:db8::1]:443".parse().unwrap(), ..tcp }]
    }

    #[test]
    fn fingerprints_of_the_first_versions_hold() {
        // Written down when there were three check types: verdicts kept by such a version are still found.
        let seen: Vec<String> = specs().iter().map(ProbeSpec::fingerprint).collect();
        assert_eq!(
            seen,
            [
                "192.0.2.1:80-d1e7ea99d764b75fc01d3caadf28340c",
                "192.0.2.1:80-6f6d585b624020e0e25fbdc0d53b2922",
                "[2001:db8::1]:443-90d9d0ed597f1125fa90f2245c6d5acf",
            ]
        );
    }

    #[test]
    fn a_later_key_that_is_set_makes_another_probe() {
        let one = specs().remove(0);
        let mut other = one.clone();
        other.timing.forgive = Later(10);
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_ne!(one, other);
    }
}
