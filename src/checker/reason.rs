//! Why a probe failed, in words that tell an operator what to mend.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError};

use super::Report;

pub(super) const CONNECT_TIMEOUT: &str = "timed out connecting";
pub(super) const RESPONSE_TIMEOUT: &str = "timed out waiting for the response";
pub(super) const BODY_TIMEOUT: &str = "timed out reading the body";

/// What an input or output error says about the target, or about this host.
pub(super) fn of_io(error: &io::Error) -> Report {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    match errno {
        Some(Errno::EMFILE | Errno::ENFILE) => {
            return Report::Unable("no file descriptor left".into());
        }
        Some(Errno::ENOBUFS | Errno::ENOMEM) => {
            return Report::Unable("no memory left for a socket".into());
        }
        Some(Errno::EAGAIN) => return Report::Unable("no local port left".into()),
        _ => {}
    }
    let reason = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "connection reset",
        ErrorKind::ConnectionAborted => "connection aborted",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::NetworkUnreachable => "network unreachable",
        ErrorKind::AddrNotAvailable => "the local address or port is not available",
        ErrorKind::PermissionDenied => "not permitted by this host (firewall or policy)",
        ErrorKind::UnexpectedEof => "connection closed too early",
        ErrorKind::TimedOut => return Report::TimedOut(CONNECT_TIMEOUT.into()),
        _ => return Report::Failed(error.to_string()),
    };
    Report::Failed(reason.into())
}

/// The most telling link of an error's chain.
pub(super) fn of_chain(error: &(dyn Error + 'static)) -> Report {
    let mut deepest = error;
    let mut link = Some(error);
    while let Some(current) = link {
        if let Some(tls) = current.downcast_ref::<rustls::Error>() {
            return Report::Failed(of_tls(tls));
        }
        if let Some(io) = current.downcast_ref::<io::Error>() {
            // `source()` of an io::Error skips the error that it wraps.
            match io.get_ref() {
                Some(inner) => {
                    let inner: &(dyn Error + 'static) = inner;
                    if inner.is::<rustls::Error>() || inner.is::<io::Error>() || inner.source().is_some() {
                        link = Some(inner);
                        deepest = inner;
                        continue;
                    }
                }
                None => return of_io(io),
            }
            if io.kind() != ErrorKind::Other && io.kind() != ErrorKind::InvalidData {
                return of_io(io);
            }
        }
        deepest = current;
        link = current.source();
    }
    Report::Failed(deepest.to_string())
}

/// What a TLS error means.
pub(super) fn of_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server requires a client certificate".into()
        }
        rustls::Error::AlertReceived(alert) => format!("TLS refused by the server: {alert:?}"),
        rustls::Error::InvalidMessage(_) => "the server does not speak TLS".into(),
        other => format!("TLS: {other}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("certificate expired {}", date(*not_after))
        }
        CertificateError::Expired => "certificate expired".into(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("certificate not valid before {}", date(*not_before))
        }
        CertificateError::NotValidYet => "certificate not valid yet".into(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            format!("certificate is for {names}, not {}", plain(expected))
        }
        CertificateError::NotValidForName => "certificate is for another name".into(),
        CertificateError::UnknownIssuer => "certificate is not trusted: unknown issuer".into(),
        CertificateError::BadSignature => "certificate is not trusted: bad signature".into(),
        CertificateError::Revoked => "certificate is revoked".into(),
        // webpki has no public type for this in rustls: what `openssl req -x509` makes by default.
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "certificate is not trusted: it is a CA's own (self-signed), not a server's".into()
        }
        other => format!("certificate is not trusted: {other}"),
    }
}

/// `DnsName("x")` says `x`.
fn bare(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"')
}

fn plain(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        other => other.to_str().into_owned(),
    }
}

/// The day, as certificates' owners write it.
fn date(time: UnixTime) -> String {
    date_of(time.as_secs())
}

/// The day of a Unix time.
pub(super) fn date_of(seconds: u64) -> String {
    // humantime prints no year of five digits.
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string().chars().take(10).collect()
}
