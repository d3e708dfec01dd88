//! TPM 2.0 structures of an attestation: quote, signature, public area, PCR values (TCG TPM 2.0 Library parts 1 and 2).
//!
//! Everything is big-endian, exact to the last byte, and keeps the bytes that were signed or named.

mod attest;
mod document;
mod error;
mod public;
mod signature;

pub use attest::{ClockInfo, PcrSelection, TpmQuote};
pub(crate) use document::FullDocument;
pub use document::{AkPublic, TpmDocument, TpmEvidence};
pub use error::TpmError;
pub use public::{AesCipher, EccCurve, ObjectAttributes, SigningScheme, TpmKey, TpmName, TpmPublic};
pub use signature::TpmSignature;
