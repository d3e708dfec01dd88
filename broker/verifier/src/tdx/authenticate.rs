//! Authenticates a quote: PCK chain, QE report, attestation key, collateral, TCB and event log.

use std::sync::Arc;

use aws_lc_rs::digest;
use evidence_formats::{
    code::{Code, Coded},
    tdx::{CertificationType, TdxQuote},
};
use thiserror::Error;

use super::{
    certs::{PckCertificate, PckError, verify_p256},
    claims::{Authenticated, claims},
    collateral::{AuthenticCollateral, CollateralPool, EndorsementError},
    eventlog::{self, EventLogError},
    tcb::{TcbError, TcbEvaluation},
};
use crate::{ChainKey, ChainMemory, Claims, Revocation, Timestamp, VerifiedChain, x509::Certificate};

/// What a quote is authenticated with.
pub(crate) struct TdxInput<'a> {
    /// The quote.
    pub quote: &'a TdxQuote,
    /// The event log, as received.
    pub event_log: Option<&'a [u8]>,
    /// Trust anchors: the root of a PCK chain is one of them, byte for byte.
    pub roots: &'a [Certificate],
    /// Whether the anchors are an operator's own instead of Intel's.
    pub simulated: bool,
    /// What was supplied beside the quote.
    pub pool: &'a CollateralPool<'a>,
    /// Digest over everything in `pool`, `roots` and `revocation`; any difference must change it.
    pub pool_digest: [u8; 32],
    /// How an absent CRL is judged.
    pub revocation: Revocation,
    /// When.
    pub now: Timestamp,
    /// Chains that were verified before.
    pub memory: &'a dyn ChainMemory,
}

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
    Endorsement(#[from] EndorsementError),
    /// The TCB.
    #[error(transparent)]
    Tcb(#[from] TcbError),
    /// The event log.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
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
            Self::EventLog(error) => error.code(),
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
            | Self::EventLog(_) => false,
        }
    }
}

/// What [`ChainMemory`] keeps: a platform whose chain and collateral were verified.
struct KnownPlatform {
    pck: PckCertificate,
    collateral: AuthenticCollateral,
}

/// Authenticates a quote and returns its claims; the binding of REPORTDATA is the caller's to check.
///
/// Everything that the quote alone can answer is checked before the endorsements, so that what is missing is only
/// reported for evidence that a genuine quoting enclave on a genuine platform made.
///
/// # Errors
/// [`TdxError`] names the first rule that is broken.
pub(crate) fn authenticate(input: &TdxInput<'_>) -> Result<Claims, TdxError> {
    let quote = input.quote;
    if quote.certification_type != CertificationType::PckChain {
        return Err(TdxError::CertificationType { found: quote.certification_type });
    }
    let key = ChainKey(platform_key(quote.certification_data(), &input.pool_digest));
    let known = input.memory.recall(&key).and_then(|chain| chain.proof_at::<KnownPlatform>(input.now));
    let platform = match known {
        Some(platform) => {
            require_signatures(quote, &platform.pck)?;
            platform
        }
        None => {
            let pck = PckCertificate::authenticate(quote.certification_data(), input.roots, input.now)?;
            require_signatures(quote, &pck)?;
            let collateral = AuthenticCollateral::authenticate(&pck, input.pool, input.revocation, input.now)?;
            let window = collateral.window;
            let platform = Arc::new(KnownPlatform { pck, collateral });
            input.memory.remember(key, VerifiedChain::new(Arc::clone(&platform), window.from, window.until));
            platform
        }
    };
    let KnownPlatform { pck, collateral } = &*platform;
    let tcb = TcbEvaluation::of(pck, &quote.body, &quote.qe_report, &collateral.tcb_info, &collateral.qe_identity)?;
    let events = input.event_log.map(|log| eventlog::authenticate(log, &quote.body.info.rtmr)).transpose()?;
    Ok(claims(Authenticated { quote, pck, collateral, tcb, events, simulated: input.simulated, now: input.now }))
}

fn platform_key(chain: &[u8], pool_digest: &[u8; 32]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"tdx platform\0");
    context.update(pool_digest);
    context.update(chain);
    let mut key = [0; 32];
    key.copy_from_slice(context.finish().as_ref());
    key
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
