//! One vendor document by itself: is it what its name says, and the vendor's?
//!
//! What is fetched or imported passes here before it is kept, so that nobody on the way can fill a cache with documents
//! that refuse genuine guests. Authentication of evidence does not rely on it and checks everything again.

use evidence_formats::{
    code::{Code, Coded},
    endorsement::EndorsementId,
    tdx::{CollateralError, Fmspc},
};
use thiserror::Error;

use crate::{
    EndorsementError, EndorsementKind, Endorsements, Timestamp, TrustAnchors,
    snp::{self, SnpError},
    tdx,
    x509::CrlNumber,
};

/// What a document is judged by.
#[derive(Debug, Clone, Copy)]
pub struct DocumentTerms<'a> {
    /// What is trusted without proof.
    pub anchors: &'a TrustAnchors,
    /// What is known already: a document whose issuer one of these lists revokes is refused.
    pub known: &'a Endorsements,
    /// The newest document of the same name that was seen: an older one is refused.
    pub floor: Option<DocumentFloor>,
    /// The time.
    pub now: Timestamp,
}

/// How new a document of some name must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentFloor {
    /// Lowest CRL number; absent for other documents. Intel gives every list the same number.
    pub number: Option<CrlNumber>,
    /// Earliest date of issue.
    pub from: Timestamp,
}

/// An authentic document. Only this module makes one.
#[derive(Debug, Clone)]
pub struct AuthenticDocument {
    id: EndorsementId,
    from: Timestamp,
    until: Timestamp,
    number: Option<CrlNumber>,
    content: Endorsements,
}

impl AuthenticDocument {
    /// Which document.
    #[must_use]
    pub const fn id(&self) -> &EndorsementId {
        &self.id
    }

    /// When it was issued, or from when it is valid.
    #[must_use]
    pub const fn from(&self) -> Timestamp {
        self.from
    }

    /// The last second at which it speaks: for lists and signed documents the newer one is due then.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// CRL number, of revocation lists.
    #[must_use]
    pub const fn number(&self) -> Option<CrlNumber> {
        self.number
    }

    /// Whether it speaks for `now`.
    #[must_use]
    pub fn is_current_at(&self, now: Timestamp) -> bool {
        self.from <= now && now <= self.until
    }

    /// Everything in it, parsed, to be given to [`crate::authenticate`].
    #[must_use]
    pub const fn content(&self) -> &Endorsements {
        &self.content
    }

    /// What a later document of this name must reach.
    #[must_use]
    pub const fn floor(&self) -> DocumentFloor {
        DocumentFloor { number: self.number, from: self.from }
    }
}

/// What a platform's rules found out about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) number: Option<CrlNumber>,
}

/// A document is not what its name says, or not the vendor's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] EndorsementError),
    /// It is a document of another kind, or several.
    #[error("expected exactly {expected}")]
    Kind {
        /// What the name stands for.
        expected: &'static str,
    },
    /// A VCEK that is none, or not AMD's.
    #[error(transparent)]
    Vcek(#[from] SnpError),
    /// A document about something else.
    #[error("expected a document about {expected}")]
    Subject {
        /// What the name stands for.
        expected: &'static str,
    },
    /// TCB info of other processors.
    #[error("expected TCB info for FMSPC {expected}, found {found}")]
    Fmspc {
        /// Of the name.
        expected: Fmspc,
        /// Of the document.
        found: Fmspc,
    },
    /// A signed JSON document that is malformed.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// No trusted root, or none whose name fits.
    #[error("expected a document under a trusted root")]
    Untrusted,
    /// The certificate that signed the document was not given, or cannot sign such documents.
    #[error("expected the certificate of the signer, issued by a trusted root and valid now")]
    Signer,
    /// The signer is revoked.
    #[error("expected a signer that is not revoked")]
    SignerRevoked,
    /// The signature is not the vendor's.
    #[error("expected a document signed by its vendor")]
    Signature,
    /// It is from the future.
    #[error("expected a document that is in force, this one is from {from}")]
    NotYetValid {
        /// First second.
        from: Timestamp,
    },
    /// It has run out.
    #[error("expected a current document, this one ended at {until}")]
    Stale {
        /// Last second.
        until: Timestamp,
    },
    /// A newer one was seen before.
    #[error("expected a document as new as the one that was seen before, or newer")]
    Rollback,
}

impl Coded for DocumentError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Unreadable(error) => return error.code(),
            Self::Vcek(error) => return error.code(),
            Self::Collateral(error) => return error.code(),
            Self::Kind { .. } => "endorsement.document.kind",
            Self::Subject { .. } | Self::Fmspc { .. } => "endorsement.document.subject",
            Self::Untrusted => "endorsement.document.untrusted",
            Self::Signer => "endorsement.document.signer",
            Self::SignerRevoked => "endorsement.document.signer_revoked",
            Self::Signature => "endorsement.document.signature",
            Self::NotYetValid { .. } => "endorsement.document.not_yet_valid",
            Self::Stale { .. } => "endorsement.document.stale",
            Self::Rollback => "endorsement.document.rollback",
        })
    }
}

/// Authenticates a document as `id`. `issuer_chain` holds the certificates above its signature where they come beside it.
///
/// A document that has run out is refused last, as [`DocumentError::Stale`]; [`reauthenticate_document`] takes it.
///
/// # Errors
/// [`DocumentError`] names the first rule that is broken.
pub fn authenticate_document(
    id: &EndorsementId,
    body: &[u8],
    issuer_chain: Option<&[u8]>,
    terms: &DocumentTerms<'_>,
) -> Result<AuthenticDocument, DocumentError> {
    let document = reauthenticate_document(id, body, issuer_chain, terms)?;
    if document.is_current_at(terms.now) { Ok(document) } else { Err(DocumentError::Stale { until: document.until }) }
}

/// The same for a document that was kept before and may have run out since: a revocation that was seen counts for ever.
/// Whether it is current is the caller's to ask.
///
/// # Errors
/// As for [`authenticate_document`], [`DocumentError::Stale`] excepted.
pub fn reauthenticate_document(
    id: &EndorsementId,
    body: &[u8],
    issuer_chain: Option<&[u8]>,
    terms: &DocumentTerms<'_>,
) -> Result<AuthenticDocument, DocumentError> {
    let mut content = Endorsements::new();
    let kinds = content.add(body)?;
    let chain = issuer_chain.map(certificates).transpose()?;
    let found = match *id {
        EndorsementId::Vcek { line, chip_id, tcb } => {
            require_kinds(&kinds, &[EndorsementKind::Certificate], "a certificate")?;
            snp::document::vcek(&content, (line, chip_id, tcb), terms)?
        }
        EndorsementId::AmdChain { line, service } => {
            require_kinds(&kinds, &[EndorsementKind::Certificate; 2], "two certificates")?;
            snp::document::chain(&content, line, service, terms)?
        }
        EndorsementId::AmdCrl { line, .. } => {
            require_kinds(&kinds, &[EndorsementKind::Crl], "a revocation list")?;
            snp::document::crl(&content, line, terms)?
        }
        EndorsementId::TcbInfo { fmspc, .. } => {
            require_kinds(&kinds, &[EndorsementKind::TcbInfo], "TCB info")?;
            tdx::document::tcb_info(body, fmspc, chain.as_ref(), terms)?
        }
        EndorsementId::QeIdentity { .. } => {
            require_kinds(&kinds, &[EndorsementKind::QeIdentity], "a QE identity")?;
            tdx::document::qe_identity(body, chain.as_ref(), terms)?
        }
        EndorsementId::PckCrl { ca } => {
            require_kinds(&kinds, &[EndorsementKind::Crl], "a revocation list")?;
            tdx::document::pck_crl(&content, ca, chain.as_ref(), terms)?
        }
        EndorsementId::IntelRootCrl => {
            require_kinds(&kinds, &[EndorsementKind::Crl], "a revocation list")?;
            tdx::document::root_crl(&content, terms)?
        }
    };
    let Found { from, until, number } = found;
    if terms.now < from {
        return Err(DocumentError::NotYetValid { from });
    }
    // A VCEK is the same key whenever its certificate was issued; lists and judgements grow old.
    let ages = !matches!(id, EndorsementId::Vcek { .. } | EndorsementId::AmdChain { .. });
    if ages && terms.floor.is_some_and(|floor| number < floor.number || from < floor.from) {
        return Err(DocumentError::Rollback);
    }
    if let Some(chain) = &chain {
        content.extend(chain)?;
    }
    Ok(AuthenticDocument { id: *id, from, until, number, content })
}

fn certificates(chain: &[u8]) -> Result<Endorsements, DocumentError> {
    let mut certificates = Endorsements::new();
    let kinds = certificates.add(chain)?;
    if kinds.is_empty() || kinds.iter().any(|kind| *kind != EndorsementKind::Certificate) {
        return Err(DocumentError::Kind { expected: "certificates beside the document" });
    }
    Ok(certificates)
}

fn require_kinds(
    found: &[EndorsementKind],
    wanted: &[EndorsementKind],
    expected: &'static str,
) -> Result<(), DocumentError> {
    if found == wanted { Ok(()) } else { Err(DocumentError::Kind { expected }) }
}
