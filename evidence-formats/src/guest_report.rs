//! What a guest says of itself beside its evidence.
//!
//! No hardware vouches for it: the evidence commits to these bytes, so it is known which guest said them, and no more.

use serde::{Deserialize, Serialize};

/// The outcome of a search for static secrets, as the guest reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestReport {
    /// How many were found.
    pub static_secrets: u32,
    /// Whether everything was looked at.
    pub complete: bool,
}
