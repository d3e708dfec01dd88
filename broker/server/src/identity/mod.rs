//! Identities that other systems understand: OIDC tokens and SPIFFE SVIDs, made from what the evidence showed.
//!
//! Whoever asks names an entry of the configuration. What the token then says comes from the claims of affirmed evidence,
//! through the entry's templates, and never from the request.

mod ca;
mod issue;
mod keyring;
mod template;

pub(crate) use ca::{Ca, read_csr};
pub(crate) use issue::{IssueError, Issuer, Offer, Terms};
pub(crate) use keyring::{KeyRing, KeyState, add_key, ensure_keys, signs_from};
pub(crate) use template::{Facts, SpiffePath, Template, TrustDomain};
