//! The certificate of DoT, DoH and DoQ: read in one place, read again when its files change.
//!
//! A renewal that does not load keeps the old certificate serving and is logged with the reason.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// How often the files are looked at: a renewal is weeks early, so seconds do not matter.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CertificateError {
    /// File, cause, remedy.
    pub message: String,
}

/// The certificate in use, and where it came from.
#[derive(Debug)]
pub(super) struct Certificates {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    seen: Mutex<Stamp>,
}

impl Certificates {
    pub(super) fn load(chain: &Path, key: &Path) -> Result<Arc<Certificates>, CertificateError> {
        let stamp = Stamp::of(chain, key);
        let loaded = load(chain, key)?;
        Ok(Arc::new(Certificates {
            chain: chain.to_owned(),
            key: key.to_owned(),
            current: ArcSwap::from_pointee(loaded),
            seen: Mutex::new(stamp),
        }))
    }

    /// Reads the files again; what does not load changes nothing.
    pub(super) fn reload(&self) -> Result<(), CertificateError> {
        let stamp = Stamp::of(&self.chain, &self.key);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        self.current.store(Arc::new(load(&self.chain, &self.key)?));
        Ok(())
    }

    /// Reads the files again if they look changed, and logs what came of it.
    pub(super) fn reload_if_changed(&self) {
        let stamp = Stamp::of(&self.chain, &self.key);
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == stamp {
            return;
        }
        match self.reload() {
            Ok(()) => tracing::info!("certificate renewed from {}", self.chain.display()),
            Err(error) => {
                tracing::warn!("certificate not renewed, the old one stays in use: {error}")
            }
        }
    }

    /// When the certificate in use ends, Unix seconds.
    pub(super) fn not_after(&self) -> Option<i64> {
        let current = self.current.load();
        let (_, leaf) = x509_parser::parse_x509_certificate(current.cert.first()?).ok()?;
        Some(leaf.validity().not_after.timestamp())
    }

    /// TLS as a server, with this certificate and one ALPN protocol.
    pub(super) fn server_config(
        self: &Arc<Certificates>,
        protocol: &str,
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| CertificateError { message: format!("TLS cannot be set up: {error}") })?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// Whether `user`, which the process has become, can read `files`: a key that only root reads would serve now and fail at
/// its renewal months later, so it is refused at start.
pub fn check_readable_after_drop(files: &[&Path], user: &str) -> Result<(), CertificateError> {
    for file in files {
        if let Err(error) = std::fs::File::open(file) {
            let shown = file.display();
            return Err(CertificateError {
                message: format!(
                    "{shown}: user \"{user}\" cannot read it ({error}), so a renewal could not be taken in; \
                     try `chgrp {user} {shown} && chmod 640 {shown}`, and let {user} pass through its directories"
                ),
            });
        }
    }
    Ok(())
}

fn load(chain: &Path, key: &Path) -> Result<CertifiedKey, CertificateError> {
    let wrong = |file: &Path, cause: String| CertificateError { message: format!("{}: {cause}", file.display()) };
    let chain_pem = std::fs::read(chain).map_err(|error| wrong(chain, error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(chain, format!("not a PEM certificate chain: {error}")))?;
    if certificates.is_empty() {
        return Err(wrong(chain, "holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)".into()));
    }
    let key_pem = std::fs::read(key).map_err(|error| wrong(key, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|error| wrong(key, format!("holds no usable PEM private key: {error}")))?;
    CertifiedKey::from_der(certificates, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            wrong(key, format!("is not the key of the certificate in {}", chain.display()))
        }
        error => wrong(chain, format!("certificate or key cannot be used: {error}")),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a changed file shows without being read: modification time, inode (renamed over, or a symlink's new target), size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp([Option<(SystemTime, u64, u64)>; 2]);

impl Stamp {
    fn of(chain: &Path, key: &Path) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        Stamp([chain, key].map(|file| {
            let metadata = std::fs::metadata(file).ok()?;
            Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(directory: &Path) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["ns1.example".to_owned()]).unwrap();
        let (chain, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (chain, key)
    }

    fn leaf(certificates: &Certificates) -> Vec<u8> {
        certificates.current.load().cert[0].to_vec()
    }

    #[test]
    fn a_renewed_certificate_takes_effect_and_a_broken_one_keeps_the_old() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = write_pair(directory.path());
        let certificates = Certificates::load(&chain, &key).unwrap();
        let first = leaf(&certificates);
        // What rcgen gives when it is not told otherwise: the end of the year 4095.
        assert_eq!(certificates.not_after(), Some(67_090_118_400));

        let elsewhere = tempfile::tempdir().unwrap();
        let (new_chain, new_key) = write_pair(elsewhere.path());
        std::fs::rename(new_chain, &chain).unwrap();
        certificates.reload_if_changed();
        assert_eq!(leaf(&certificates), first, "half a renewal must not be used");
        let error = certificates.reload().unwrap_err();
        assert!(error.message.contains("is not the key of"), "{error}");

        std::fs::rename(new_key, &key).unwrap();
        certificates.reload_if_changed();
        let second = leaf(&certificates);
        assert_ne!(second, first);

        std::fs::remove_file(&key).unwrap();
        certificates.reload_if_changed();
        assert_eq!(leaf(&certificates), second);
    }

    #[test]
    fn errors_name_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let (chain, key) = write_pair(directory.path());
        let absent = directory.path().join("absent.pem");
        assert!(Certificates::load(&absent, &key).unwrap_err().message.contains("absent.pem"));
        let error = Certificates::load(&chain, &chain).unwrap_err();
        assert!(error.message.contains("no usable PEM private key"), "{error}");
        let error = Certificates::load(&key, &key).unwrap_err();
        assert!(error.message.contains("holds no PEM certificate"), "{error}");
    }

    #[test]
    fn an_unreadable_key_is_found_with_the_remedy() {
        let absent = Path::new("/nonexistent/key.pem");
        let error = check_readable_after_drop(&[absent], "rollcall").unwrap_err();
        assert!(error.message.contains("chgrp rollcall /nonexistent/key.pem"), "{error}");
    }
}
