//! The settings of TLS: the certificates on both sides, all of them from memory.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use knockd_types::fleet::Engine;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};

/// The settings with which the servers of `engine` are reached.
///
/// # Errors
///
/// Returns an error that names the text that is not valid.
pub(crate) fn config(engine: &Engine) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in certificates(&engine.authorities).context("the authorities of the engine")? {
        roots.add(authority).context("an authority of the engine")?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let name = ServerName::try_from(engine.server_name.clone())
        .with_context(|| format!("{:?} is no name of a server", engine.server_name))?;
    let verifier = NamedServer {
        name,
        verifier: verifier.build()?,
    };
    let chain = certificates(&engine.certificate).context("the certificate for the engine")?;
    let key = PrivateKeyDer::from_pem_slice(engine.key.expose().as_bytes())
        .ok()
        .context("the key for the engine is no private key in PEM")?;
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)
        .context("the certificate for the engine and its key")
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.context("not PEM")?;
    ensure!(!certificates.is_empty(), "there is no certificate");
    Ok(certificates)
}

/// Verifies that a server has a certificate of an authority for one name. The client of NATS asks
/// for the address instead, at which the servers may be replaced.
#[derive(Debug)]
struct NamedServer {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for NamedServer {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _address: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(certificate, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
