//! TLS of probes: settings, for `https` one a profile that targets share, and the handshake of those that are not HTTP/1.
//!
//! Sessions are not resumed: a resumed session shows no certificate, and a certificate that expired would go unseen.
//! For `https` ALPN offers HTTP/1.1 alone: a probe is one request on one connection, and `Host` then means what it says.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Report, reason};
use crate::engine::probe::TlsProbe;

type Verifier = Arc<dyn ServerCertVerifier>;

/// The settings for a profile. `pinned`: the address that the certificate must be for when the URL cannot say it.
pub(super) fn client_config(tls: &TlsProbe, pinned: Option<IpAddr>) -> Result<ClientConfig, String> {
    let provider = provider();
    let mut verifier: Verifier = match (&tls.ca, tls.verify) {
        (_, false) => Arc::new(Unverified(provider.clone())),
        (Some(pem), true) => private_ca(pem, &provider)?,
        (None, true) => SYSTEM.clone()?,
    };
    if let Some(address) = pinned {
        verifier = Arc::new(Pinned { name: ServerName::IpAddress(address.into()), verifier });
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(|error| format!("client certificate: {error}"))?;
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("client key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("client certificate: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// What a handshake needs: settings, and the name that is asked for and verified.
pub(super) struct Session {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Session {
    /// The error is the reason with which every probe fails.
    pub(super) fn new(tls: &TlsProbe, host: &str, alpn: &[&str]) -> Result<Session, String> {
        let name = tls.server_name.as_deref().unwrap_or_else(|| super::http::without_port(host));
        let name = match super::http::address(name) {
            Some(address) => ServerName::IpAddress(address.into()),
            None => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|_| format!("{name:?} is not a host name"))?,
        };
        let mut config = client_config(tls, None)?;
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Session { config: Arc::new(config), name })
    }

    /// Speaks TLS on a connection.
    pub(super) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Report> {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(self.name.clone(), stream).await.map_err(|error| reason::of_chain(&error))
    }
}

/// Settings for clients that never use TLS; without them each client would load the system's roots.
pub(super) fn unused() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS: {error}"))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// ring, also as the process' default unless another is set: reqwest asks for one.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Arc::new(rustls::crypto::ring::default_provider())
    });
    PROVIDER.clone()
}

/// The system's roots, read once.
static SYSTEM: LazyLock<Result<Verifier, String>> =
    LazyLock::new(|| match rustls_platform_verifier::Verifier::new(provider()) {
        Ok(verifier) => Ok(Arc::new(verifier) as Verifier),
        Err(error) => Err(format!("the system's root certificates cannot be read: {error}")),
    });

fn private_ca(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Verifier, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| format!("tls.ca: {error}"))? {
        roots.add(certificate).map_err(|error| format!("tls.ca: {error}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    Ok(verifier.build().map_err(|error| format!("tls.ca: {error}"))?)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in the file".into()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// `verify = false`: whatever certificate is shown will do.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies against another name than the URL's: an address that is not the one connected to.
#[derive(Debug)]
struct Pinned {
    name: ServerName<'static>,
    verifier: Verifier,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
