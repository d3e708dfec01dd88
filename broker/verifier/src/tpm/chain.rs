//! Certificate chains of TPM keys: a leaf, the intermediates that travel with it or are at hand, a pinned root.

use std::{cmp::Reverse, sync::Arc};

use thiserror::Error;

use crate::{
    Endorsements, Revocation, Timestamp, Unchecked,
    x509::{Certificate, CertificateError, Crl, CrlTimeError, Oid, SignatureError, ValidityError},
};

/// Longest chain: leaf, two intermediates, root.
const MAX_DEPTH: usize = 4;
/// Certificates or lists of one name whose signature is checked at most.
const MAX_NAMESAKES: usize = 16;

/// What an issuer's certificate may hold as critical. Anything else (name constraints) may forbid this very leaf (RFC 5280
/// section 6.1.4); policies restrict nothing, as none is asked for.
const UNDERSTOOD: [Oid; 3] = [Oid::BASIC_CONSTRAINTS, Oid::KEY_USAGE, Oid::CERTIFICATE_POLICIES];

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

/// Walks from the leaf to a root: issuer by name, proven by signature, at most [`MAX_DEPTH`] certificates. CAs renew their
/// keys under the old name, so that the order of the certificates must not decide which of them is tried.
fn build<'a, R: Copy>(
    leaf: &Certificate,
    candidates: &'a [Arc<Certificate>],
    roots: &'a [(R, Arc<Certificate>)],
) -> Result<(R, Vec<&'a Certificate>), TpmChainError> {
    let mut current = leaf;
    let mut issuers: Vec<&'a Certificate> = Vec::new();
    while issuers.len() < MAX_DEPTH.saturating_sub(1) {
        let brought = candidates.iter().map(|candidate| (None, candidate));
        let known = roots.iter().map(|(name, root)| (Some(*name), root)).chain(brought);
        let (root, issuer) = signer(current, known)?;
        let unknown = issuer.unknown_critical_extension(&UNDERSTOOD);
        if !issuer.may_sign_certificates() || !path_length_allows(issuer, issuers.len()) || unknown.is_some() {
            return Err(TpmChainError::IssuerNotCa);
        }
        issuers.push(issuer);
        if let Some(root) = root {
            return Ok((root, issuers));
        }
        current = issuer;
    }
    Err(TpmChainError::IssuerMissing)
}

/// The first of the certificates with the issuer's name that did sign `subject`.
fn signer<'a, R>(
    subject: &Certificate,
    known: impl Iterator<Item = (Option<R>, &'a Arc<Certificate>)>,
) -> Result<(Option<R>, &'a Certificate), TpmChainError> {
    let mut refusal = TpmChainError::IssuerMissing;
    for (root, issuer) in known.filter(|(_, issuer)| subject.names_issuer(issuer)).take(MAX_NAMESAKES) {
        match subject.verify_signed_by(issuer.public_key()) {
            Ok(()) => return Ok((root, issuer)),
            Err(error) => refusal = error.into(),
        }
    }
    Err(refusal)
}

/// `below` intermediates stand between this issuer and the leaf (RFC 5280 section 4.2.1.9).
fn path_length_allows(issuer: &Certificate, below: usize) -> bool {
    let limit = issuer.basic_constraints().and_then(|constraints| constraints.path_length);
    limit.is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| below <= limit))
}

/// Whoever any CRL of the issuer names is refused, current or not; a list that is out of date proves nothing else.
fn require_unrevoked(
    leaf: &Certificate,
    issuers: &[&Certificate],
    material: &ChainMaterial<'_>,
) -> Result<Option<Unchecked>, TpmChainError> {
    let mut missing = None;
    let subjects = std::iter::once(leaf).chain(issuers.iter().copied());
    for (certificate, issuer) in subjects.zip(issuers.iter().copied()) {
        let lists = lists_of(issuer, material.endorsements)?;
        if lists.iter().any(|crl| crl.revokes(certificate.serial())) {
            return Err(TpmChainError::Revoked);
        }
        // One that speaks for now is enough; of several that do not, the newest says why.
        match lists.iter().max_by_key(|crl| (crl.current_at(material.now).is_ok(), crl.this_update())) {
            None => missing = missing.or(Some(TpmChainError::CrlMissing)),
            Some(newest) => missing = newest.current_at(material.now).err().map(Into::into).or(missing),
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

/// The newest CRLs that `issuer` signed. When there are some of its name and none is signed by it, the last one says why.
fn lists_of<'a>(issuer: &Certificate, endorsements: &'a Endorsements) -> Result<Vec<&'a Crl>, TpmChainError> {
    let mut named: Vec<_> = endorsements.crls().filter(|crl| crl.issuer().raw() == issuer.subject().raw()).collect();
    named.sort_by_key(|crl| Reverse(crl.this_update()));
    let (mut signed, mut refusal) = (Vec::new(), None);
    for crl in named.into_iter().take(MAX_NAMESAKES) {
        match crl.verify_signed_by(issuer.public_key()) {
            Ok(()) => signed.push(&**crl),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(error) if signed.is_empty() => Err(error.into()),
        _ => Ok(signed),
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
