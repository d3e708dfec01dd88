//! Why a key is not enrolled, or not believed.

use axum::http::StatusCode;
use evidence_formats::{
    binding::NotCanonical,
    bundle::BundleError,
    code::{Code, Coded},
    evidence::EvidenceError,
    tpm::TpmError,
};
use keys::tpm::TpmSealError;
use thiserror::Error;
use verifier::{
    tpm::{EkError, TpmAuthenticateError},
    vtpm::VtpmAuthenticateError,
};

use crate::http::problem::Problem;

/// A key is not enrolled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum EnrolError {
    /// The endorsement key's public area is malformed.
    #[error("expected ek_public as TPMT_PUBLIC")]
    EkArea(#[source] TpmError),
    /// The attestation key's public area is malformed.
    #[error("expected ak_public as TPMT_PUBLIC")]
    AkArea(#[source] TpmError),
    /// The attestation key is none.
    #[error("attestation key")]
    Ak(#[source] TpmAuthenticateError),
    /// The endorsement key or its certificate.
    #[error("endorsement key")]
    Ek(#[from] EkError),
    /// The SVSM's bundle is malformed.
    #[error("evidence of the SVSM")]
    Bundle(#[from] BundleError),
    /// The SVSM's evidence is malformed.
    #[error("evidence of the SVSM")]
    Evidence(#[from] EvidenceError),
    /// The SVSM's evidence is not authentic.
    #[error("evidence of the SVSM")]
    Svsm(#[from] VtpmAuthenticateError),
    /// The key was revoked.
    #[error("expected an attestation key that was not revoked")]
    Revoked,
    /// No such credential: unknown, answered before, or expired.
    #[error("expected the id of a credential that waits for its answer")]
    ChallengeUnknown,
    /// It was opened by another TPM, for another key, or not at all.
    #[error("expected the opened credential")]
    Secret,
    /// The TPM has enrolled as many keys as one may.
    #[error("expected a TPM with fewer attestation keys in the register")]
    TooManyKeys,
    /// Too many credentials or keys wait.
    #[error("expected less to wait: try again later")]
    Full,
    /// What the SVSM's report should commit to could not be computed.
    #[error("the binding cannot be computed")]
    Binding(#[from] NotCanonical),
    /// The credential could not be made.
    #[error("the credential cannot be made")]
    Credential(#[from] TpmSealError),
}

impl Coded for EnrolError {
    fn code(&self) -> Code {
        match self {
            Self::EkArea(_) => Code::new("enroll.ek.area"),
            Self::AkArea(_) => Code::new("enroll.ak.area"),
            Self::Ak(_) => Code::new("enroll.ak.attributes"),
            Self::Ek(error) => error.code(),
            Self::Bundle(_) | Self::Evidence(_) => Code::new("enroll.svsm.malformed"),
            Self::Svsm(_) => Code::new("enroll.svsm.evidence"),
            Self::Revoked => Code::new("enroll.ak.revoked"),
            Self::ChallengeUnknown => Code::new("enroll.challenge.unknown"),
            Self::Secret => Code::new("enroll.challenge.secret"),
            Self::TooManyKeys => Code::new("enroll.ek.keys"),
            Self::Full => Code::new("enroll.full"),
            Self::Binding(_) | Self::Credential(_) => Code::new("internal.enroll"),
        }
    }
}

impl From<EnrolError> for Problem {
    fn from(error: EnrolError) -> Self {
        let status = match &error {
            EnrolError::Binding(_) | EnrolError::Credential(_) => return Self::internal(&error),
            EnrolError::Full => StatusCode::SERVICE_UNAVAILABLE,
            EnrolError::EkArea(_)
            | EnrolError::AkArea(_)
            | EnrolError::Ak(_)
            | EnrolError::Ek(_)
            | EnrolError::Bundle(_)
            | EnrolError::Evidence(_)
            | EnrolError::Svsm(_)
            | EnrolError::Revoked
            | EnrolError::ChallengeUnknown
            | EnrolError::Secret
            | EnrolError::TooManyKeys => StatusCode::FORBIDDEN,
        };
        Self::new(status, error.code(), with_causes(&error))
    }
}

/// The text with its causes: all of it is about the caller's own bytes.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The register speaks against a key that evidence brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RegisterError {
    /// The key waits for approval.
    #[error("expected an attestation key that is approved, found one that awaits approval")]
    AwaitingApproval,
    /// The key was revoked.
    #[error("expected an attestation key that was not revoked")]
    Revoked,
    /// Its TPM's counters went back.
    #[error("expected TPM counters that do not go back: the TPM was rolled back, cloned or cleared")]
    CountersWentBack,
}

impl Coded for RegisterError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::AwaitingApproval => "authenticate.tpm.ak_awaiting_approval",
            Self::Revoked => "authenticate.tpm.ak_revoked",
            Self::CountersWentBack => "authenticate.tpm.counters_went_back",
        })
    }
}
