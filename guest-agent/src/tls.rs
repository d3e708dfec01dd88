//! TLS 1.3 to a pinned broker.
//!
//! A guest that trusted any broker could be given a disk key that an attacker chose, so nothing is trusted but the pins:
//! neither the system's roots nor anything that a certificate says about itself.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls13_signature},
    server::ParsedCertificate,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;

/// A file of certificates is small; whatever is larger is another file.
const CA_FILE_LIMIT: usize = 256 * 1024;

/// Why a pin is no good.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The file of the authority cannot be read.
    #[error("expected to read the broker's authority from {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no certificate in PEM.
    #[error("expected certificates in PEM in {}", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
    },
    /// A pin is not the digest of a key.
    #[error("expected a pin as sha256/ and the base64 of 32 bytes, found {found:?}")]
    Spki {
        /// What was given.
        found: String,
    },
    /// TLS cannot be set up.
    #[error("expected TLS 1.3 with these pins")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What the broker is known by: an authority, digests of its public key, or both (then both must hold).
#[derive(Debug, Clone)]
pub(crate) struct BrokerPins {
    authorities: Vec<CertificateDer<'static>>,
    keys: Vec<SpkiPin>,
}

impl BrokerPins {
    /// Reads the authority's certificates and the digests.
    pub(crate) fn load(ca: Option<&Path>, spki: &[String]) -> Result<Self, PinError> {
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        let keys = spki.iter().map(|pin| SpkiPin::parse(pin)).collect::<Result<_, _>>()?;
        Ok(Self { authorities, keys })
    }

    /// A TLS 1.3 client that trusts these pins and nothing else.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, PinError> {
        self.config(None)
    }

    /// The same for certificates that are valid at another time than now: good for asking what time it is, and for nothing else.
    pub(crate) fn dangerous_client_config_at(&self, time: UnixTime) -> Result<ClientConfig, PinError> {
        self.config(Some(time))
    }

    fn config(&self, at: Option<UnixTime>) -> Result<ClientConfig, PinError> {
        let provider = Arc::new(provider::default_provider());
        let chain: Option<Arc<dyn ServerCertVerifier>> = if self.authorities.is_empty() {
            None
        } else {
            let mut roots = RootCertStore::empty();
            for authority in &self.authorities {
                roots.add(authority.clone()).map_err(|error| PinError::Tls(error.into()))?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            Some(verifier.map_err(|error| PinError::Tls(error.into()))?)
        };
        let verifier = PinnedBroker { chain, keys: self.keys.clone(), at, provider: Arc::clone(&provider) };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let mut config = builder
            .map_err(|error| PinError::Tls(error.into()))?
            .dangerous() // "custom verifier" in rustls's words: ours is stricter than its own
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, PinError> {
    let bytes = fs::read(path).map_err(|source| PinError::Read { path: path.to_owned(), source })?;
    let wrong = || PinError::Certificates { path: path.to_owned() };
    if bytes.len() > CA_FILE_LIMIT {
        return Err(wrong());
    }
    let blocks = pem::parse_many(&bytes).ok().ok_or_else(wrong)?;
    let found: Vec<_> = blocks
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(|block| CertificateDer::from(block.into_contents()))
        .collect();
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// SHA-256 of a DER SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SpkiPin([u8; 32]);

impl SpkiPin {
    fn parse(text: &str) -> Result<Self, PinError> {
        let decoded = text.strip_prefix("sha256/").and_then(decode_any_base64);
        decoded
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| PinError::Spki { found: text.to_owned() })
    }
}

/// Both alphabets, padded or not: pins are copied from many tools.
fn decode_any_base64(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = GeneralPurpose::new(&alphabet::STANDARD, config);
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, config);
    standard.decode(text).or_else(|_other_alphabet| url_safe.decode(text)).ok()
}

/// Accepts the pinned broker only.
struct PinnedBroker {
    /// Chain, name and dates against the pinned authority, where one is pinned.
    chain: Option<Arc<dyn ServerCertVerifier>>,
    /// The broker's own key must be one of these, where any are pinned.
    keys: Vec<SpkiPin>,
    /// The time at which certificates must be valid; now, when absent.
    at: Option<UnixTime>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for PinnedBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedBroker").field("chain", &self.chain).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The broker's key is another one than the pinned.
#[derive(Debug, Error)]
#[error("expected a broker whose public key is pinned")]
pub(crate) struct NotThePinnedKey;

impl ServerCertVerifier for PinnedBroker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.chain.is_none() && self.keys.is_empty() {
            return Err(CertificateError::UnknownIssuer.into());
        }
        if !self.keys.is_empty() {
            let spki = ParsedCertificate::try_from(end_entity)?.subject_public_key_info();
            let found = digest::digest(&digest::SHA256, &spki);
            if !self.keys.iter().any(|pin| verify_slices_are_equal(&pin.0, found.as_ref()).is_ok()) {
                return Err(CertificateError::Other(OtherError(Arc::new(NotThePinnedKey))).into());
            }
        }
        match &self.chain {
            Some(chain) => {
                let time = self.at.unwrap_or(now);
                chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
            }
            // The key itself is pinned: name and dates would add nothing that its holder could not write.
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests;
