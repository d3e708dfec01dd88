//! How a bundle endpoint proves itself (SPIFFE Federation §5.2): by a web certificate for its host name, or by an X.509-SVID.

use std::sync::Arc;

use evidence_formats::code::{Code, Coded};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    server::ParsedCertificate,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use thiserror::Error;

use crate::identity::spiffe;

/// TLS cannot be set up for a bundle endpoint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// `https_spiffe` without the SPIFFE ID of the endpoint.
    #[error("expected the SPIFFE ID of the bundle endpoint")]
    NoEndpoint,
    /// `https_spiffe` without a CA of the endpoint's trust domain.
    #[error("expected a bundle of the endpoint's trust domain: give one as a file")]
    NoAuthority,
    /// The CAs cannot be read.
    #[error("expected PEM with CA certificates")]
    Roots,
    /// The system's CAs cannot be read.
    #[error("the system's CA certificates cannot be read")]
    System(#[from] endorsements::TlsRootsError),
    /// The library refuses.
    #[error("TLS cannot be used")]
    Tls(#[from] Error),
}

impl Coded for TlsError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::NoEndpoint => "endorsement.spiffe_bundle.no_endpoint",
            Self::NoAuthority => "endorsement.spiffe_bundle.no_authority",
            Self::Roots => "endorsement.spiffe_bundle.roots",
            Self::System(_) => "internal.tls.roots",
            Self::Tls(_) => "internal.tls",
        })
    }
}

/// The certificate authorities of this system.
fn system_roots() -> Result<RootCertStore, TlsError> {
    Ok(endorsements::tls_roots(None)?)
}

/// `https_web`: web CAs, those of `pem` or the system's, and the host name.
pub(super) fn web(pem: Option<&str>) -> Result<ClientConfig, TlsError> {
    let roots = match pem {
        Some(pem) => roots(pem)?,
        None => system_roots()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    Ok(http(builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots).with_no_client_auth()))
}

/// The CAs of a PEM text, at least one.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.map_err(|_not_pem| TlsError::Roots)?)?;
    }
    if roots.is_empty() { Err(TlsError::Roots) } else { Ok(roots) }
}

/// `https_spiffe`: an X.509-SVID with exactly this SPIFFE ID, under one of these CAs. The host name proves nothing.
pub(super) fn spiffe(endpoint: &str, authorities: &[CertificateDer<'static>]) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    // A CA with a key that is not known here authenticates nobody.
    let _of_unknown_types = roots.add_parsable_certificates(authorities.iter().cloned());
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = SvidVerifier { roots, spiffe_id: endpoint.to_owned(), provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
    Ok(http(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()))
}

fn http(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Takes an X.509-SVID in the place of a certificate for a host name (X509-SVID §5).
#[derive(Debug)]
struct SvidVerifier {
    roots: RootCertStore,
    spiffe_id: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SvidVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        match spiffe::svid_id(end_entity) {
            Some(id) if id == self.spiffe_id => Ok(ServerCertVerified::assertion()),
            Some(_) | None => Err(CertificateError::NotValidForName.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
