//! Why evidence of an Azure confidential VM is not authentic.

use evidence_formats::{
    code::{Code, Coded},
    hcl::HclError,
};
use thiserror::Error;

use crate::{snp::SnpError, tdx::TdxError, tpm::TpmAuthenticateError};

/// Evidence of an Azure confidential VM is not authentic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AzureAuthenticateError {
    /// The SNP report.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// The TD quote.
    #[error(transparent)]
    Tdx(#[from] TdxError),
    /// The hardware report does not bind the runtime claims.
    #[error("expected a hardware report whose report data is the hash of the runtime claims and zeros")]
    ClaimsBinding,
    /// The TD quote is of another TD than the report inside the paravisor's.
    #[error("expected a TD quote of the TD that the paravisor's report is of")]
    TdReportMismatch,
    /// The runtime claims are bound but not what they should be.
    #[error("runtime claims")]
    RuntimeClaims(#[source] HclError),
    /// The runtime claims carry other user data, or none.
    #[error("expected other user data in the runtime claims")]
    UserData,
    /// The quote and its key.
    #[error(transparent)]
    Tpm(#[from] TpmAuthenticateError),
    /// The evidence has Secure Boot on in one place and off in the other.
    #[error("runtime claims and event log disagree about secure boot")]
    SecureBootMismatch,
}

impl AzureAuthenticateError {
    /// Whether more endorsements could change the answer.
    #[must_use]
    pub fn is_missing_endorsement(&self) -> bool {
        match self {
            Self::Snp(error) => error.is_missing_endorsement(),
            Self::Tdx(error) => error.is_missing_endorsement(),
            Self::Tpm(error) => error.is_missing_endorsement(),
            Self::ClaimsBinding
            | Self::TdReportMismatch
            | Self::RuntimeClaims(_)
            | Self::UserData
            | Self::SecureBootMismatch => false,
        }
    }
}

impl Coded for AzureAuthenticateError {
    fn code(&self) -> Code {
        match self {
            Self::Snp(error) => error.code(),
            Self::Tdx(error) => error.code(),
            Self::ClaimsBinding => Code::new("authenticate.azure.claims_binding"),
            Self::TdReportMismatch => Code::new("authenticate.azure.td_report"),
            Self::RuntimeClaims(error) => error.code(),
            Self::UserData => Code::new("binding.azure.user_data"),
            Self::Tpm(error) => error.code(),
            Self::SecureBootMismatch => Code::new("authenticate.azure.secure_boot"),
        }
    }
}
