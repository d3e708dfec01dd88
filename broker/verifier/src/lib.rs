//! Authenticates and appraises attestation evidence (RFC 9334): the one decision that everything else hangs on.
//!
//! The core is pure: every function is synchronous and depends on its arguments alone; `now`, collateral and remembered
//! chains are arguments. The way the data goes is a chain of types that only this crate can make:
//! evidence → [`Authentic`] → `Appraisal` → `Affirmed`.
#![forbid(unsafe_code)]

mod anchors;
pub mod appraisal;
pub mod ar4si;
mod authentic;
mod authenticate;
pub mod azure;
pub mod baseline;
mod chains;
mod claims;
mod endorsements;
pub mod explain;
#[cfg(test)]
mod fixtures;
mod init_data;
pub mod measure;
pub mod policy;
mod recommendation;
pub mod reference;
pub mod result;
mod revocation;
pub mod snp;
pub mod tdx;
mod timestamp;
pub mod tpm;
mod vendor_document;
pub mod vtpm;
mod wanted;
pub mod x509;

pub use anchors::{AnchorError, AnchorOrigin, TrustAnchors};
pub use appraisal::{
    Affirmed, Appraisal, Criteria, Policing, Reason, Refusal, Stage, Warnings, appraise, policy_reasons,
};
pub use authentic::Authentic;
pub use authenticate::{AuthenticateError, CrlFloors, Expected, Floor, Terms, authenticate, claimed_ak_name};
pub use chains::{ChainKey, ChainMemory, Forgetful, VerifiedChain};
pub use claims::{
    Claims, Measurements, Platform, RawClaims, RuntimeMeasurement, Signer, TcbClaims, TcbStatus, Unchecked,
};
pub use endorsements::{EndorsementError, EndorsementKind, Endorsements};
pub use explain::Explanation;
pub use init_data::{InitDataClaims, InitDataRule};
pub use recommendation::{meaning, meaning_of, recommendation, recommendation_of};
pub use result::{AttestationResult, ResultProfile, ResultTerms, StatusPlace};
pub use revocation::Revocation;
pub use timestamp::Timestamp;
pub use vendor_document::{
    AuthenticDocument, DocumentError, DocumentFloor, DocumentTerms, authenticate_document, reauthenticate_document,
};
pub use wanted::{wanted_of_chip, wanted_of_machine, wanted_of_vendor};
