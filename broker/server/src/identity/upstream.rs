//! An upstream CA: it certifies the CAs that issue SVIDs, so that what relying parties trust already covers them.
//!
//! Everything that a verifier will check about the chain is checked here, before anything is certified: an SVID that
//! nobody can verify is an outage that shows late.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use keys::secret::SecretBytes;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use thiserror::Error;
use verifier::{
    Timestamp,
    x509::{Certificate, ValidityError},
};

use super::{TrustDomain, ca::certificate_pem, spiffe};
use crate::config::UpstreamFiles;

/// Most certificates of a chain or a file of roots.
const MOST: usize = 8;

/// An upstream CA that was checked for a trust domain.
pub(crate) struct Upstream {
    issuer: Issuer<'static, KeyPair>,
    /// The certifying CA first, without roots. Empty when the certifying CA is a root.
    chain: Vec<CertificateDer<'static>>,
    /// The roots, the one of the chain first.
    roots: Vec<CertificateDer<'static>>,
    begins: Timestamp,
    ends: Timestamp,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({} certificates)", self.chain.len())
    }
}

/// The upstream CA cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum UpstreamError {
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
        /// Which.
        path: PathBuf,
        /// What should stand in it.
        what: &'static str,
    },
    /// A certificate is not what a verifier of SVIDs would accept at its place.
    #[error("certificate {place} of the upstream CA: expected {expected}")]
    Certificate {
        /// From the certifying CA, 0, to the root.
        place: usize,
        /// What.
        expected: &'static str,
    },
    /// A certificate is not valid now.
    #[error("certificate {place} of the upstream CA")]
    Validity {
        /// From the certifying CA, 0, to the root.
        place: usize,
        /// Which end was missed.
        source: ValidityError,
    },
    /// The key is not the certificate's.
    #[error("expected the private key of the upstream CA's certificate")]
    Key,
    /// There is no trust domain that it could be for.
    #[error("expected identity.trust_domain with an upstream CA")]
    NoTrustDomain,
}

impl Upstream {
    /// Reads and checks the files.
    pub(crate) fn read(
        files: &UpstreamFiles,
        trust_domain: Option<&TrustDomain>,
        now: Timestamp,
    ) -> Result<Self, UpstreamError> {
        let trust_domain = trust_domain.ok_or(UpstreamError::NoTrustDomain)?;
        let chain = certificates(&files.certificate)?;
        let roots = certificates(&files.roots)?;
        let key = SecretBytes::new(read(&files.key)?);
        let key = std::str::from_utf8(key.expose()).ok().and_then(|text| KeyPair::from_pem(text).ok());
        let key = key.ok_or_else(|| UpstreamError::Pem { path: files.key.clone(), what: "a private key" })?;
        Self::new(chain, roots, key, trust_domain, now)
    }

    fn new(
        mut chain: Vec<CertificateDer<'static>>,
        roots: Vec<CertificateDer<'static>>,
        key: KeyPair,
        trust_domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self, UpstreamError> {
        let refused = |place| move |expected| UpstreamError::Certificate { place, expected };
        let certifying = chain.first().ok_or_else(|| refused(0)("a certificate"))?.clone();
        // A root at the end of the chain belongs to the roots.
        if chain.last().is_some_and(|last| roots.contains(last)) {
            chain.pop();
        }
        let mut path = Vec::new();
        for (place, der) in chain.iter().enumerate() {
            path.push(authority(der, place, trust_domain, now)?);
        }
        let place = path.len();
        let mut trusted = Vec::new();
        for der in &roots {
            trusted.push(authority(der, place, trust_domain, now)?);
        }
        for (place, pair) in path.windows(2).enumerate() {
            let [below, above] = pair else { continue };
            signed_by(below, above, place)?;
        }
        let root = match path.last() {
            Some(last) => trusted.iter().position(|root| signed_by(last, root, place.saturating_sub(1)).is_ok()),
            None => roots.iter().position(|root| *root == certifying),
        };
        let named = |last: &Certificate| trusted.iter().any(|root| last.names_issuer(root));
        let root = root.ok_or_else(|| match path.last().is_some_and(named) {
            true => {
                refused(place)("a root whose key verifies the chain: P-256 with SHA-256, P-384 with SHA-384, or RSA")
            }
            false => refused(place)("a root that certified the chain"),
        })?;
        let (mut roots, mut trusted) = (roots, trusted);
        roots.swap(0, root);
        trusted.swap(0, root);
        let own = trusted.first().ok_or_else(|| refused(place)("a root"))?;
        if !own.is_self_issued() || own.verify_signed_by(own.public_key()).is_err() {
            return Err(refused(place)("a root that certified itself"));
        }
        if Certificate::parse_der(&certifying).ok().is_none_or(|parsed| parsed.spki() != key.subject_public_key_info())
        {
            return Err(UpstreamError::Key);
        }
        let all = || path.iter().chain([own]).map(Certificate::validity);
        Ok(Self {
            begins: all().map(|validity| validity.not_before).max().unwrap_or(now),
            ends: all().map(|validity| validity.not_after).min().unwrap_or(now),
            issuer: Issuer::from_ca_cert_der(&certifying, key)
                .map_err(|_unreadable| refused(0)("a subject that can be an issuer"))?,
            chain,
            roots,
        })
    }

    /// An intermediate CA under a root, made up, that ends then.
    #[cfg(test)]
    pub(super) fn for_tests(ends: i64) -> Self {
        tests::made_up(ends)
    }

    /// From when on the whole chain is valid.
    pub(crate) const fn begins(&self) -> Timestamp {
        self.begins
    }

    /// When the first certificate of the chain ends.
    pub(crate) const fn ends(&self) -> Timestamp {
        self.ends
    }

    /// The certifying CA and what is between it and the root, DER.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What relying parties trust, DER.
    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The certificate of the certifying CA, DER.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        self.chain.first().or_else(|| self.roots.first()).map(|der| &**der)
    }

    /// Certifies a CA, PEM.
    pub(crate) fn certify(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Result<String, rcgen::Error> {
        Ok(certificate_pem(params.signed_by(key, &self.issuer)?.der()))
    }
}

/// A CA that may stand `place` certificates above the one that certifies our CA.
fn authority(
    der: &CertificateDer<'_>,
    place: usize,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<Certificate, UpstreamError> {
    let refused = |expected| UpstreamError::Certificate { place, expected };
    let parsed = Certificate::parse_der(der)
        .map_err(|_unreadable| refused("a version 3 certificate with an RSA, P-256 or P-384 key"))?;
    // RFC 5280 §4.2.1.9: below it stand `place` others and our own.
    let follow = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
    match parsed.basic_constraints() {
        Some(constraints) if constraints.ca => {
            if constraints.path_length.is_some_and(|most| most < follow) {
                return Err(refused("a path length with room for the broker's own CA"));
            }
        }
        Some(_) | None => return Err(refused("a CA (basicConstraints CA:TRUE)")),
    }
    if !parsed.may_sign_certificates() {
        return Err(refused("the key usage keyCertSign"));
    }
    parsed.validity().at(now).map_err(|source| UpstreamError::Validity { place, source })?;
    spiffe::allows(der, trust_domain).map_err(refused)?;
    Ok(parsed)
}

fn signed_by(below: &Certificate, above: &Certificate, place: usize) -> Result<(), UpstreamError> {
    let refused = |expected| UpstreamError::Certificate { place, expected };
    if !below.names_issuer(above) {
        return Err(refused("the next certificate to be its issuer"));
    }
    below.verify_signed_by(above.public_key()).map_err(|_wrong| refused("a signature of the next certificate"))
}

fn read(path: &Path) -> Result<Vec<u8>, UpstreamError> {
    fs::read(path).map_err(|source| UpstreamError::Read { path: path.to_path_buf(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let bytes = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().ok();
    certificates
        .filter(|certificates| (1..=MOST).contains(&certificates.len()))
        .ok_or_else(|| UpstreamError::Pem { path: path.to_path_buf(), what: "one to eight certificates" })
}

#[cfg(test)]
mod tests;
