//! Authenticates a quote: PCK chain, QE report, attestation key, collateral, TCB and event log.

use std::sync::Arc;

use aws_lc_rs::digest;
use evidence_formats::{
    code::{Code, Coded},
    evidence::TdxEvidence,
    tdx::{CertificationType, TdxQuote},
};
use thiserror::Error;

use super::{
    certs::{PckCertificate, PckError, verify_p256},
    claims::{Authenticated, claims},
    collateral::{AuthenticCollateral, TdxEndorsementError},
    eventlog::{self, EventLogError},
    floors::{RollbackError, SeenNumbers},
    tcb::{TcbError, TcbEvaluation},
};
use crate::{
    AnchorOrigin, Authentic, ChainKey, Claims, Endorsements, Expected, InitDataClaims, Revocation, Terms, Unchecked,
    VerifiedChain,
};

/// A quote is not authentic, or its endorsements do not speak for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxError {
    /// The quote names its platform in a way that only a service could resolve.
    #[error("expected a PCK certificate chain in the quote, found {found:?}")]
    CertificationType {
        /// What it has instead.
        found: CertificationType,
    },
    /// The PCK chain.
    #[error(transparent)]
    Pck(#[from] PckError),
    /// The QE report is not signed by the PCK key.
    #[error("expected the QE report to be signed by the PCK key")]
    QeReportSignature,
    /// The QE report does not vouch for the attestation key.
    #[error("expected the QE report to carry the hash of the attestation key")]
    QeReportData,
    /// The quote is not signed by the attestation key.
    #[error("expected the quote to be signed by its attestation key")]
    Signature,
    /// An endorsement.
    #[error(transparent)]
    Endorsement(#[from] TdxEndorsementError),
    /// The TCB.
    #[error(transparent)]
    Tcb(#[from] TcbError),
    /// Older collateral than was seen before.
    #[error(transparent)]
    Rollback(#[from] RollbackError),
    /// The event log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// The guest committed to something else.
    #[error("expected the report data of this request, found other data")]
    ReportData,
    /// The launch committed to other init-data, or to none.
    #[error("expected MRCONFIGID to be the digest of the init-data")]
    InitData,
}

impl Coded for TdxError {
    fn code(&self) -> Code {
        match self {
            Self::CertificationType { .. } => Code::new("authenticate.tdx.certification_type"),
            Self::Pck(error) => error.code(),
            Self::QeReportSignature => Code::new("authenticate.tdx.qe_report_signature"),
            Self::QeReportData => Code::new("authenticate.tdx.qe_report_data"),
            Self::Signature => Code::new("authenticate.tdx.signature"),
            Self::Endorsement(error) => error.code(),
            Self::Tcb(error) => error.code(),
            Self::Rollback(error) => error.code(),
            Self::EventLog(error) => error.code(),
            Self::ReportData => Code::new("binding.tdx.report_data"),
            Self::InitData => Code::new("binding.tdx.init_data"),
        }
    }
}

impl TdxError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub const fn is_missing_endorsement(&self) -> bool {
        match self {
            Self::Endorsement(error) => error.is_missing(),
            Self::CertificationType { .. }
            | Self::Pck(_)
            | Self::QeReportSignature
            | Self::QeReportData
            | Self::Signature
            | Self::Tcb(_)
            | Self::Rollback(_)
            | Self::EventLog(_)
            | Self::ReportData
            | Self::InitData => false,
        }
    }
}

/// What [`ChainMemory`] keeps: a platform whose chain and collateral were verified.
struct KnownPlatform {
    pck: PckCertificate,
    collateral: AuthenticCollateral,
    seen: SeenNumbers,
}

/// Authenticates TDX evidence, the binding included.
///
/// # Errors
/// [`TdxError`] names the first rule that is broken; that an endorsement is missing is said when nothing else is wrong.
pub(crate) fn authenticate(
    evidence: &TdxEvidence,
    endorsements: &Endorsements,
    terms: &Terms<'_>,
) -> Result<Authentic<Claims>, TdxError> {
    let outcome = quote_claims(evidence, endorsements, terms);
    // What is wrong with the evidence comes first, what is missing last.
    if outcome.as_ref().err().is_none_or(TdxError::is_missing_endorsement) {
        require_binding(&evidence.quote, terms)?;
        require_init_data(evidence)?;
    }
    let mut claims = outcome?;
    claims.init_data = evidence.init_data.as_ref().map(InitDataClaims::new);
    if let Expected::Unchecked { reason } = terms.expected {
        claims.unchecked.push(Unchecked { what: "report_data", reason });
    }
    Ok(Authentic::new(claims))
}

/// All 64 bytes of REPORTDATA are compared.
fn require_binding(quote: &TdxQuote, terms: &Terms<'_>) -> Result<(), TdxError> {
    let expected = match terms.expected {
        Expected::ReportData(expected) => expected,
        Expected::Binding(digest) => digest.report_data(),
        Expected::Unchecked { .. } => return Ok(()),
    };
    if quote.body.report_data == expected { Ok(()) } else { Err(TdxError::ReportData) }
}

/// All 48 bytes of MRCONFIGID are compared.
fn require_init_data(evidence: &TdxEvidence) -> Result<(), TdxError> {
    let Some(init_data) = &evidence.init_data else { return Ok(()) };
    if init_data.launch_field() == Some(evidence.quote.body.info.mr_config_id.0) {
        Ok(())
    } else {
        Err(TdxError::InitData)
    }
}

/// Authenticates a quote and returns its claims; what REPORTDATA must be is the caller's to check.
///
/// Everything that the quote alone can answer is checked before the endorsements, so that what is missing is only
/// reported for evidence that a genuine quoting enclave on a genuine platform made.
///
/// # Errors
/// [`TdxError`] names the first rule that is broken.
fn quote_claims(evidence: &TdxEvidence, endorsements: &Endorsements, terms: &Terms<'_>) -> Result<Claims, TdxError> {
    let quote = &evidence.quote;
    let replay = |log| eventlog::authenticate(log, evidence.runtime_log.as_ref(), &quote.body.info.rtmr);
    let platform = platform(quote, endorsements, terms);
    let events = match &platform {
        // A log that does not replay is wrong, whatever is missing.
        Err(error) if !error.is_missing_endorsement() => None,
        Ok(_) | Err(_) => evidence.event_log.as_ref().map(replay).transpose()?,
    };
    let platform = platform?;
    let KnownPlatform { pck, collateral, seen } = &*platform;
    seen.require_above(terms.crl_floors)?;
    let tcb = TcbEvaluation::of(pck, &quote.body, &quote.qe_report, &collateral.tcb_info, &collateral.qe_identity)?;
    let simulated = terms.anchors.origin() == AnchorOrigin::Operator;
    Ok(claims(Authenticated { quote, pck, collateral, seen, tcb, events, simulated, now: terms.now }))
}

/// The platform of the quote, remembered or verified now; either way the quote is signed on it.
fn platform(quote: &TdxQuote, endorsements: &Endorsements, terms: &Terms<'_>) -> Result<Arc<KnownPlatform>, TdxError> {
    if quote.certification_type != CertificationType::PckChain {
        return Err(TdxError::CertificationType { found: quote.certification_type });
    }
    let key = platform_key(quote.certification_data(), endorsements, terms);
    let known = terms.memory.recall(&key).and_then(|chain| chain.proof_at::<KnownPlatform>(terms.now));
    if let Some(platform) = known {
        require_signatures(quote, &platform.pck)?;
        return Ok(platform);
    }
    let pck = PckCertificate::authenticate(quote.certification_data(), terms.anchors, terms.now)?;
    require_signatures(quote, &pck)?;
    let collateral = AuthenticCollateral::authenticate(&pck, endorsements, terms.revocation, terms.now)?;
    let window = collateral.window;
    let seen = SeenNumbers::of(&collateral);
    let platform = Arc::new(KnownPlatform { pck, collateral, seen });
    terms.memory.remember(key, VerifiedChain::new(Arc::clone(&platform), window.from, window.until));
    Ok(platform)
}

/// Stands for every document that the verification of a platform reads.
fn platform_key(chain: &[u8], endorsements: &Endorsements, terms: &Terms<'_>) -> ChainKey {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(match terms.revocation {
        Revocation::Require => b"tdx, revocation required".as_slice(),
        Revocation::RequireWithin { .. } => b"tdx, revocation required lately",
        Revocation::IfPresent => b"tdx, revocation optional",
    });
    context.update(&terms.revocation.grace().to_be_bytes());
    context.update(terms.anchors.digest().as_bytes());
    context.update(endorsements.digest().as_bytes());
    context.update(chain);
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    ChainKey(key)
}

/// PCK key → QE report → attestation key → quote (DCAP QVL, quote verification).
fn require_signatures(quote: &TdxQuote, pck: &PckCertificate) -> Result<(), TdxError> {
    if !pck.signed(quote.qe_report_bytes(), &quote.qe_report_signature) {
        return Err(TdxError::QeReportSignature);
    }
    // All 64 bytes: SHA-256 over the attestation key and the QE authentication data, then zeros.
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(quote.attestation_key.as_bytes());
    context.update(quote.qe_auth_data());
    let mut expected = [0; 64];
    let hash = context.finish();
    for (to, from) in expected.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    if quote.qe_report.report_data != expected {
        return Err(TdxError::QeReportData);
    }
    let mut point = [0x04; 65];
    for (to, from) in point.iter_mut().skip(1).zip(quote.attestation_key.as_bytes()) {
        *to = *from;
    }
    if !verify_p256(&point, quote.signed_bytes(), &quote.signature) {
        return Err(TdxError::Signature);
    }
    Ok(())
}
