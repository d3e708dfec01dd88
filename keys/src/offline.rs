//! Keys that a guest's TPM keeps for reboots without the broker.
//!
//! The broker says with a grant whether and how long ([`OfflineTerms`]). The guest's TPM keeps a key of 32 random bytes under
//! these terms, and the secret is kept beside it ([`KeptKey`]), encrypted under that key together with the terms: nothing of what
//! is kept is secret, and nothing of it can be changed.

mod kept;
mod terms;
#[cfg(test)]
mod tests;

pub use kept::{Asked, KeptKey, KeptKeyError, KeptObject, KeptTerms};
pub use terms::OfflineTerms;
pub(crate) use terms::WireTerms;
