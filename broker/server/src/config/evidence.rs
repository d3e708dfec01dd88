//! How good evidence must be at least.

use serde::Deserialize;
use verifier::{Claims, Platform, RawClaims};

/// The least evidence that a credential is given for, weakest first. A release policy can ask for more, never for less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MinEvidence {
    /// Anything, also a software TEE under an operator's own trust anchor: for tests.
    Simulated,
    /// A TPM alone.
    Tpm,
    /// A confidential guest: SEV-SNP or TDX under the vendor's roots.
    Hardware,
}

impl MinEvidence {
    /// What authentic claims show.
    pub(crate) const fn shown_by(claims: &Claims) -> Self {
        match (claims.platform, &claims.raw) {
            (Platform::Simulated, _) => Self::Simulated,
            (_, RawClaims::Tpm(_)) => Self::Tpm,
            (
                _,
                RawClaims::Snp(_)
                | RawClaims::Tdx(_)
                | RawClaims::Azure(_)
                | RawClaims::HostedVtpm(_)
                | RawClaims::Svsm(_),
            ) => Self::Hardware,
        }
    }

    /// As in the configuration.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Simulated => "simulated",
            Self::Tpm => "tpm",
            Self::Hardware => "hardware",
        }
    }
}
