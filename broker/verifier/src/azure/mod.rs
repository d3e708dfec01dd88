//! Azure confidential VMs: a paravisor runs the vTPM, and the hardware vouches for the paravisor.
//!
//! Hardware report → runtime claims → attestation key → quote → logs: one tree, of which no link may be missing. The
//! vTPM is software, so the whole counts only when the paravisor's launch measurement is in a reference set of its own.

mod authenticate;
mod claims;
mod error;

pub(crate) use authenticate::{authenticate_snp, authenticate_tdx, claimed_ak_name};
pub use claims::AzureClaims;
pub use error::AzureAuthenticateError;
