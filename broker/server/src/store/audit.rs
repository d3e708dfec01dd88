//! The audit log. Records are appended by the stores themselves, in the transactions that do what they record.

use verifier::Timestamp;

use super::{StoreFuture, TenantId};
use crate::audit::{Entry, Place, Record};

/// What the audit log says of a decision beside its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct DecisionDigests {
    /// SHA-256 of the evidence, where there was some.
    pub(crate) evidence: Option<String>,
    /// The attestation that the decision rests on, where it is none itself.
    pub(crate) attestation: Option<String>,
    /// The policies that were asked, with their digests.
    pub(crate) policies: Vec<String>,
}

/// Which records, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct AuditQuery {
    /// Only those behind this one.
    pub(crate) after: u64,
    /// Only those of this kind.
    pub(crate) kind: Option<String>,
    /// Only those with this text somewhere in the body, for example an id.
    pub(crate) contains: Option<String>,
    /// Only those from this time on.
    pub(crate) since: Option<Timestamp>,
    /// At most so many.
    pub(crate) limit: u32,
}

/// How far a chain was, signed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct StoredCheckpoint {
    /// The last record.
    pub(crate) sequence: u64,
    /// When it was signed.
    pub(crate) at: Timestamp,
    /// The token.
    pub(crate) token: String,
}

/// What is kept of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuditRetention {
    /// Records from this moment on.
    pub(crate) since: Timestamp,
    /// The newest so many.
    pub(crate) records: u64,
}

/// Reads the audit log, and appends what has no other effect in the store.
pub(crate) trait AuditStore {
    /// Appends one record.
    fn append_audit<'a>(&'a self, tenant: &'a TenantId, entry: Entry) -> StoreFuture<'a, ()>;

    /// The end of a chain; [`Place::START`] before the first record.
    fn audit_head<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Place>;

    /// Records, oldest first.
    fn audit_records<'a>(&'a self, tenant: &'a TenantId, query: &'a AuditQuery) -> StoreFuture<'a, Vec<Record>>;

    /// Checkpoints behind `after`, oldest first, at most `limit`.
    fn audit_checkpoints<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: u64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<StoredCheckpoint>>;

    /// The newest checkpoint.
    fn newest_audit_checkpoint<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Option<StoredCheckpoint>>;

    /// Stores a checkpoint of `place`. One that is there already stays.
    fn insert_audit_checkpoint<'a>(
        &'a self,
        tenant: &'a TenantId,
        place: Place,
        token: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Drops old records up to a checkpoint, which stays and vouches for them, and says so in the chain; how many.
    fn prune_audit<'a>(&'a self, tenant: &'a TenantId, keep: AuditRetention, now: Timestamp) -> StoreFuture<'a, u64>;
}
