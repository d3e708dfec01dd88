//! Hardware and a virtual TPM without a paravisor, as one tree.
//!
//! A hosted vTPM (Google Cloud) stands beside the guest: hardware and quote each carry the whole binding, and only together
//! they are evidence. Under an SVSM the tree has one root: SNP report → services manifest → endorsement key → the credential
//! that its TPM opened for the attestation key → quote → logs. No link may be missing. A vTPM is software: what runs it
//! counts only when its launch measurement is in a reference set of its own.

mod claims;
mod error;
mod hosted;
mod svsm;

pub use claims::VtpmClaims;
pub use error::VtpmAuthenticateError;
pub(crate) use hosted::authenticate as authenticate_hosted;
pub(crate) use svsm::authenticate as authenticate_svsm;
pub use svsm::{ProvenSvsm, authenticate_svsm_report};
