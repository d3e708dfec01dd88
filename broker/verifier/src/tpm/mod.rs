//! TPM quotes: whose key signed, what exactly it signed, and what a log says about it.
//!
//! The order of work is fixed: provenance of the attestation key, its attributes, signature, clock, freshness,
//! selection, digest, and only then the event log. PCR values exist for the rest of the crate only as [`VerifiedPcrs`],
//! which are made from the signed selection alone.

mod ak_certificate;
mod alone;
mod authenticate;
mod baseline;
pub mod boot;
mod chain;
mod claims;
mod endorsement_key;
mod enrolment;
mod error;
mod key;
mod pcrs;
mod pinned;
mod provenance;
mod terms;
mod uki;

pub(crate) use ak_certificate::{AkCertificate, authenticate_ak_certificate};
pub use ak_certificate::{AkCertificateError, GceInstance};
pub(crate) use alone::{authenticate, brought_key, certify, prove, quote_by};
pub(crate) use authenticate::authenticate_quote;
pub use baseline::TpmBaseline;
pub use chain::TpmChainError;
pub use claims::{AkHierarchy, TpmClaims, primary_qualified_names};
pub use endorsement_key::{
    EkCertificate, EkError, EkTerms, TpmModel, authenticate_endorsement_key, require_attestation_area,
    require_endorsement_key,
};
pub use enrolment::{EnrolledAk, Enrolment, EnrolmentProof};
pub use error::TpmAuthenticateError;
pub(crate) use key::AkKey;
pub use key::AkKeyError;
pub use pcrs::{NotAPcrSet, PcrSet, VerifiedPcrs};
pub use pinned::{NotAnAttestationKey, PinnedAk};
pub use provenance::AkProvenance;
pub(crate) use provenance::ProvenAk;
pub use terms::TpmTerms;
pub(crate) use terms::{ExpectedExtraData, QuoteTerms};
pub use uki::{UkiSection, predict_pcr11};
