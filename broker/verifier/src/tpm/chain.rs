//! Certificate chains of TPM keys: a leaf, the intermediates that travel with it or are at hand, a pinned root.

use std::sync::Arc;

use thiserror::Error;

use crate::{
    Endorsements, Revocation, Timestamp, Unchecked,
    x509::{Certificate, CertificateError, CrlTimeError, SignatureError, ValidityError},
};

/// Longest chain: leaf, two intermediates, root.
const MAX_DEPTH: usize = 4;

/// Everything a chain is built from and held against, besides its roots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChainMaterial<'a> {
    /// Leaf first, then whatever intermediates travelled with it (DER).
    pub(crate) evidence: &'a [Vec<u8>],
    /// Further intermediates, and CRLs of the issuers.
    pub(crate) endorsements: &'a Endorsements,
    /// Time of the verification.
    pub(crate) now: Timestamp,
    /// What a missing CRL means.
    pub(crate) revocation: Revocation,
}

/// A leaf whose chain leads to a pinned root.
#[derive(Debug, Clone)]
pub(crate) struct ProvenLeaf<R> {
    pub(crate) leaf: Certificate,
    /// What the caller calls the root.
    pub(crate) root: R,
    pub(crate) unchecked: Option<Unchecked>,
}

/// Verifies signatures, rights, validity and revocation from the leaf up to one of `roots`. What the leaf may be used for
/// is the caller's to judge.
pub(crate) fn prove_leaf<R: Copy>(
    material: &ChainMaterial<'_>,
    roots: &[(R, Arc<Certificate>)],
) -> Result<ProvenLeaf<R>, TpmChainError> {
    let brought = material.evidence.iter().map(|der| Certificate::parse_der(der)).collect::<Result<Vec<_>, _>>()?;
    let mut brought = brought.into_iter();
    let leaf = brought.next().ok_or(TpmChainError::IssuerMissing)?;
    let mut candidates: Vec<Arc<Certificate>> = brought.map(Arc::new).collect();
    candidates.extend(material.endorsements.certificates().cloned());
    let (root, issuers) = build(&leaf, &candidates, roots)?;
    for certificate in std::iter::once(&leaf).chain(issuers.iter().copied()) {
        certificate.validity().at(material.now)?;
    }
    let unchecked = require_unrevoked(&leaf, &issuers, material)?;
    Ok(ProvenLeaf { leaf, root, unchecked })
}

/// Walks from the leaf to a root: issuer by name, proven by signature, at most [`MAX_DEPTH`] certificates.
fn build<'a, R: Copy>(
    leaf: &Certificate,
    candidates: &'a [Arc<Certificate>],
    roots: &'a [(R, Arc<Certificate>)],
) -> Result<(R, Vec<&'a Certificate>), TpmChainError> {
    let mut current = leaf;
    let mut issuers: Vec<&'a Certificate> = Vec::new();
    while issuers.len() < MAX_DEPTH.saturating_sub(1) {
        let root = roots.iter().find(|(_, root)| current.names_issuer(root));
        let brought = || candidates.iter().find(|candidate| current.names_issuer(candidate));
        let issuer = root.map(|(_, root)| root).or_else(brought).ok_or(TpmChainError::IssuerMissing)?;
        current.verify_signed_by(issuer.public_key())?;
        if !issuer.may_sign_certificates() || !path_length_allows(issuer, issuers.len()) {
            return Err(TpmChainError::IssuerNotCa);
        }
        issuers.push(issuer);
        if let Some((name, _)) = root {
            return Ok((*name, issuers));
        }
        current = issuer;
    }
    Err(TpmChainError::IssuerMissing)
}

/// `below` intermediates stand between this issuer and the leaf (RFC 5280 section 4.2.1.9).
fn path_length_allows(issuer: &Certificate, below: usize) -> bool {
    let limit = issuer.basic_constraints().and_then(|constraints| constraints.path_length);
    limit.is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| below <= limit))
}

/// Whoever a CRL of the issuer names is refused, current or not; a list that is out of date proves nothing else.
fn require_unrevoked(
    leaf: &Certificate,
    issuers: &[&Certificate],
    material: &ChainMaterial<'_>,
) -> Result<Option<Unchecked>, TpmChainError> {
    let mut missing = None;
    let subjects = std::iter::once(leaf).chain(issuers.iter().copied());
    for (certificate, issuer) in subjects.zip(issuers.iter().copied()) {
        let Some(crl) = material.endorsements.crls().find(|crl| crl.issuer().raw() == issuer.subject().raw()) else {
            missing = missing.or(Some(TpmChainError::CrlMissing));
            continue;
        };
        crl.verify_signed_by(issuer.public_key())?;
        if crl.revokes(certificate.serial()) {
            return Err(TpmChainError::Revoked);
        }
        if let Err(stale) = crl.current_at(material.now) {
            missing = Some(stale.into());
        }
    }
    match (missing, material.revocation) {
        (None, _) => Ok(None),
        (Some(error), Revocation::Require | Revocation::RequireWithin { .. }) => Err(error),
        (Some(_), Revocation::IfPresent) => Ok(Some(Unchecked {
            what: "revocation",
            reason: "no current CRL for every issuer of the TPM key's certificate",
        })),
    }
}

/// The certificate of a TPM's key does not lead to a pinned root.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TpmChainError {
    /// Not a certificate.
    #[error("expected a certificate")]
    Certificate(#[from] CertificateError),
    /// No certificate of the issuer up to a pinned root.
    #[error("expected the issuer's certificate, up to a pinned root")]
    IssuerMissing,
    /// An issuer that may not sign certificates, or not so many below it.
    #[error("expected an issuer that may sign certificates")]
    IssuerNotCa,
    /// A signature in the chain.
    #[error("certificate or CRL signature")]
    Signature(#[from] SignatureError),
    /// A certificate is not valid now.
    #[error("certificate validity")]
    Validity(#[from] ValidityError),
    /// A CRL is not current.
    #[error("CRL validity")]
    CrlTime(#[from] CrlTimeError),
    /// No CRL where one is demanded.
    #[error("expected a CRL of every issuer of the certificate")]
    CrlMissing,
    /// Revoked.
    #[error("the certificate or one of its issuers is revoked")]
    Revoked,
}

impl TpmChainError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        matches!(self, Self::IssuerMissing | Self::CrlMissing | Self::CrlTime(_))
    }
}
