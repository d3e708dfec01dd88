//! Authenticates and appraises attestation evidence (RFC 9334): the one decision that everything else hangs on.
//!
//! The core is pure: every function is synchronous and depends on its arguments alone; `now`, collateral and remembered
//! chains are arguments. The way the data goes is a chain of types that only this crate can make:
//! evidence → [`Authentic`] → `Appraisal` → `Affirmed`.
#![forbid(unsafe_code)]

mod authentic;
mod chains;
mod claims;
mod revocation;
mod timestamp;
pub mod x509;

pub use authentic::Authentic;
pub use chains::{ChainKey, ChainMemory, Forgetful, VerifiedChain};
pub use claims::{
    Claims, Measurements, Platform, RawClaims, RuntimeMeasurement, Signer, TcbClaims, TcbStatus, Unchecked,
};
pub use revocation::Revocation;
pub use timestamp::Timestamp;
