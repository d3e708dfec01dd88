//! TLS 1.3 only, aws-lc-rs, post-quantum key exchange preferred.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, UnixTime,
    pem::{self, PemObject},
};
use thiserror::Error;

use crate::config;

/// The TLS settings cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not the PEM that was expected.
    #[error("expected PEM with {what} in {}", path.display())]
    Pem {
        /// What should stand in it.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// There is nothing in the file.
    #[error("expected a certificate in {}", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or are of no use for TLS.
    #[error("certificate and key cannot be used for TLS")]
    Unusable(#[from] rustls::Error),
    /// The administrators' CA cannot be used.
    #[error("the administrators' CA cannot be used")]
    AdminCa(#[from] VerifierBuilderError),
}

/// The server's side, and who tells administrators from others.
#[derive(Debug, Clone)]
pub(crate) struct ServerTls {
    /// For the handshakes.
    pub(crate) config: Arc<ServerConfig>,
    /// Those of the administrators' CA; without it nobody is an administrator.
    pub(crate) administrators: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerTls {
    /// Whether the administrators' CA vouches for this certificate, now.
    pub(crate) fn is_of_administrators(&self, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> bool {
        let vouches = |ca: &Arc<dyn ClientCertVerifier>| ca.verify_client_cert(leaf, chain, UnixTime::now()).is_ok();
        self.administrators.as_ref().is_some_and(vouches)
    }
}

/// Asks for a certificate and has the client prove that it holds its key; who that is, the route decides.
pub(crate) struct HoldsItsKey {
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
}

impl HoldsItsKey {
    /// Whether a client must have a certificate is the caller's to say.
    pub(crate) fn new(provider: &CryptoProvider, mandatory: bool) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, mandatory }
    }
}

impl fmt::Debug for HoldsItsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HoldsItsKey")
    }
}

impl ClientCertVerifier for HoldsItsKey {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None: a client with a certificate of any CA, or of its own making, is to show it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        ParsedCertificate::try_from(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Which client certificates a handshake takes. None is needed at this layer; the routes that need one ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clients {
    /// Those of the administrators' CA.
    Administrators,
    /// Every one.
    Any,
}

/// The server's side.
pub(crate) fn server_tls(tls: &config::Tls, clients: Clients) -> Result<ServerTls, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.admin_ca)? {
        roots.add(certificate)?;
    }
    let administrators: Arc<dyn ClientCertVerifier> =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
    let clients: Arc<dyn ClientCertVerifier> = match clients {
        Clients::Administrators => Arc::clone(&administrators),
        Clients::Any => Arc::new(HoldsItsKey::new(&provider, false)),
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls { config: Arc::new(config), administrators: Some(administrators) })
}

/// Every certificate of a PEM file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = fs::read(path).map_err(|source| TlsError::Read { path: path.to_path_buf(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what: "certificates", path: path.to_path_buf(), source })?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_path_buf() });
    }
    Ok(certificates)
}

/// The private key of a PEM file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = fs::read(path).map_err(|source| TlsError::Read { path: path.to_path_buf(), source })?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|source| TlsError::Pem {
        what: "a private key",
        path: path.to_path_buf(),
        source,
    })
}
