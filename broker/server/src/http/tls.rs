//! TLS 1.3 only, aws-lc-rs, post-quantum key exchange preferred.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{VerifierBuilderError, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
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

/// The server's side. A client certificate is optional at this layer and, when there is one, must come from the
/// administrators' CA; the routes that need one ask for it.
pub(crate) fn server_config(tls: &config::Tls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.admin_ca)? {
        roots.add(certificate)?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
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
