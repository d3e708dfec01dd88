//! Why evidence of hardware and a vTPM is not authentic.

use evidence_formats::{
    code::{Code, Coded},
    snp::Vmpl,
};
use thiserror::Error;

use crate::{
    snp::SnpError,
    tdx::TdxError,
    tpm::{AkProvenance, EkError, TpmAuthenticateError},
};

/// Evidence of hardware and a vTPM is not authentic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VtpmAuthenticateError {
    /// The SNP report.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// The TD quote.
    #[error(transparent)]
    Tdx(#[from] TdxError),
    /// The quote and its key.
    #[error(transparent)]
    Tpm(#[from] TpmAuthenticateError),
    /// The attestation key is proven by what does not belong to this composite.
    #[error("expected another proof of the attestation key beside this hardware, found {}", provenance.as_str())]
    AkProvenance {
        /// What proves it.
        provenance: AkProvenance,
    },
    /// The report is not of VMPL 0, where the SVSM runs.
    #[error("expected a report of VMPL 0, which an SVSM asks for, found VMPL {vmpl}")]
    Vmpl {
        /// Level of the report.
        vmpl: Vmpl,
    },
    /// Nothing says what the guest committed to, so that nothing binds the manifest either.
    #[error("expected to know what the guest committed to: without it the report does not bind the services manifest")]
    ManifestUnbound,
    /// The manifest's endorsement key is not one.
    #[error("endorsement key of the services manifest")]
    EndorsementKey(#[source] EkError),
    /// The attestation key was enrolled under another endorsement key.
    #[error("expected the endorsement key that the attestation key was enrolled under in the services manifest")]
    OtherEndorsementKey,
}

impl VtpmAuthenticateError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub fn is_missing_endorsement(&self) -> bool {
        match self {
            Self::Snp(error) => error.is_missing_endorsement(),
            Self::Tdx(error) => error.is_missing_endorsement(),
            Self::Tpm(error) => error.is_missing_endorsement(),
            Self::AkProvenance { .. }
            | Self::Vmpl { .. }
            | Self::ManifestUnbound
            | Self::EndorsementKey(_)
            | Self::OtherEndorsementKey => false,
        }
    }
}

impl Coded for VtpmAuthenticateError {
    fn code(&self) -> Code {
        match self {
            Self::Snp(error) => error.code(),
            Self::Tdx(error) => error.code(),
            Self::Tpm(error) => error.code(),
            Self::AkProvenance { .. } => Code::new("authenticate.vtpm.ak_provenance"),
            Self::Vmpl { .. } => Code::new("authenticate.svsm.vmpl"),
            Self::ManifestUnbound => Code::new("binding.svsm.manifest"),
            Self::EndorsementKey(_) | Self::OtherEndorsementKey => Code::new("authenticate.svsm.endorsement_key"),
        }
    }
}
