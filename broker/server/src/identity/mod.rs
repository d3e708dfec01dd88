//! Identities that other systems understand: OIDC tokens and SPIFFE SVIDs, made from what the evidence showed.
//!
//! Whoever asks names an entry of the configuration. What the token then says comes from the claims of affirmed evidence,
//! through the entry's templates, and never from the request.

mod authority;
mod bundle;
mod ca;
mod crl;
mod issue;
mod keyring;
pub(crate) mod spiffe;
mod ssh;
mod template;
mod upstream;

pub(crate) use authority::{AuthorityTerms, Succession};
pub(crate) use bundle::{BUNDLE_BYTES, BundleError, TrustBundle, distrusted};
pub(crate) use ca::{Ca, read_csr};
pub(crate) use crl::RevocationLists;
pub(crate) use issue::{IssueError, Issuer, Offer, Terms};
pub(crate) use keyring::{KeyRing, KeyState, LONGEST_REFRESH, add_key, ensure_keys, signs_from, succeed};
pub(crate) use ssh::{SSH_CERTIFICATE, purpose as ssh_purpose, serial as ssh_serial};
pub(crate) use template::{Facts, RESERVED_SEGMENT, SpiffePath, Template, TrustDomain};
pub(crate) use upstream::{Upstream, UpstreamError};
