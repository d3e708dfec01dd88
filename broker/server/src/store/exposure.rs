//! What is out there: for how long, and how much of it.

use serde::Serialize;
use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// The open leases of one class of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Exposure {
    /// The kind of grant.
    pub(crate) class: String,
    /// Leases that are open.
    pub(crate) open: u64,
    /// Guests that hold them.
    pub(crate) guests: u64,
    /// Seconds from the issue to the end of the longest of them; absent when none is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) longest_seconds: Option<u64>,
    /// When the last of them ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latest_end: Option<Timestamp>,
    /// When one was given or renewed last, also if it has ended since.
    pub(crate) last_given: Timestamp,
}

/// Reads how much is out there.
pub(crate) trait ExposureStore {
    /// Every class that leases are known of, by name.
    fn exposure<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<Exposure>>;
}
