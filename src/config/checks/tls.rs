//! The table `tls` of a check: what is verified, and what is shown to the backend.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::super::keys;
use super::super::reader::{Table, Value};
use super::super::source::{Problem, Report};
use super::host;
use crate::engine::probe::TlsProbe;

/// Without the table.
pub(super) const TLS_DEFAULTS: TlsProbe = TlsProbe { verify: true, ca: None, server_name: None, client: None };

/// Reads it.
pub(super) fn read(value: &Value<'_>, base: &Path, report: &mut Report) -> Option<TlsProbe> {
    let table = value.table(report)?;
    table.expect_keys(&[&keys::CHECK_TLS], &[], report);
    let certificate = |pem: &[u8]| {
        let mut all = CertificateDer::pem_slice_iter(pem).peekable();
        all.peek().is_some() && all.all(|each| each.is_ok())
    };
    let private_key = |pem: &[u8]| PrivateKeyDer::from_pem_slice(pem).is_ok();
    let ca = pem_file(&table, "ca", base, "PEM certificate", certificate, report);
    let cert = pem_file(&table, "cert", base, "PEM certificate", certificate, report);
    let key = pem_file(&table, "key", base, "PEM private key", private_key, report);
    if table.get("cert").is_some() != table.get("key").is_some() {
        let (has, lacks) = if cert.is_some() { ("cert", "key") } else { ("key", "cert") };
        let message = format!("{:?} has {has:?} and lacks {lacks:?}: a client certificate needs both", table.path);
        report.add(Problem::error(table.place, message).key(table.path.as_str()));
    }
    Some(TlsProbe {
        verify: table.get("verify").and_then(|value| value.boolean(report)).unwrap_or(true),
        ca,
        server_name: table.get("server_name").and_then(|value| host(&value, report)),
        client: cert.zip(key),
    })
}

fn pem_file(
    table: &Table<'_>,
    key: &str,
    base: &Path,
    what: &str,
    is_good: impl Fn(&[u8]) -> bool,
    report: &mut Report,
) -> Option<Arc<[u8]>> {
    let value = table.get(key)?;
    let path = base.join(value.string(report)?);
    let octets = report.read_octets(&path, Some(value.place))?;
    if !is_good(&octets) {
        let message = format!("{} holds no {what}, or a broken one", path.display());
        report.add(Problem::error(value.place, message).key(value.path.as_str()));
        return None;
    }
    Some(octets.into())
}
