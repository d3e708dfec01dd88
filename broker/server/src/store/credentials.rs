//! What leases stand on in other systems: roles of databases, and certificates that hosts must learn the end of.

use serde::Serialize;
use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// The kind of grant whose leases stand on a role of a database.
pub(crate) const DATABASE_ROLE: &str = "postgres";

/// A role that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleIntent {
    /// Its name.
    pub(crate) role: String,
    /// The lease that will stand on it.
    pub(crate) lease: String,
    /// The name of the database server.
    pub(crate) server: String,
    /// The time.
    pub(crate) requested_at: Timestamp,
    /// Without a lease by then, it goes.
    pub(crate) settle_by: Timestamp,
}

/// A role that must go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndingRole {
    /// Its name.
    pub(crate) role: String,
    /// The lease that stood, or would have stood, on it.
    pub(crate) lease: String,
    /// Whether a lease stood on it.
    pub(crate) settled: bool,
    /// How often it was tried in vain.
    pub(crate) attempts: u32,
}

/// A role that stands, or must go and did not go yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StandingRole {
    /// Its name.
    pub(crate) role: String,
    /// Its lease.
    pub(crate) lease: String,
    /// The name of the database server.
    pub(crate) server: String,
    /// `requested`, `active` or `ending`.
    pub(crate) state: String,
    /// How often it was tried in vain to drop it.
    pub(crate) attempts: u32,
    /// Why it was in vain the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
    /// When it was asked for.
    pub(crate) requested_at: Timestamp,
}

/// Stores what leases stand on. [`super::DecisionStore::settle`] makes a requested role an active one, with its lease.
pub(crate) trait CredentialStore {
    /// The name of this store to other systems.
    fn installation(&self) -> StoreFuture<'_, String>;

    /// Writes down durably that a role will be made; whether it may: `most` stand at once on one server.
    fn request_role<'a>(&'a self, tenant: &'a TenantId, intent: &'a RoleIntent, most: u32) -> StoreFuture<'a, bool>;

    /// A requested role has no lease and will have none: it must go.
    fn abandon_role<'a>(&'a self, role: &'a str) -> StoreFuture<'a, ()>;

    /// Marks what must go, durably, and returns what is to be tried on `server` at the moment `now_ms` (milliseconds).
    fn roles_to_drop<'a>(
        &'a self,
        tenant: &'a TenantId,
        server: &'a str,
        now_ms: i64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<EndingRole>>;

    /// It is gone.
    fn role_dropped<'a>(&'a self, role: &'a str, now: Timestamp) -> StoreFuture<'a, ()>;

    /// It is still there; it is tried again at `next_try_ms`.
    fn role_not_dropped<'a>(&'a self, role: &'a str, error: &'a str, next_try_ms: i64) -> StoreFuture<'a, ()>;

    /// Every role of a tenant, or of all of them, that may be there, by server.
    fn standing_roles<'a>(&'a self, tenant: Option<&'a TenantId>) -> StoreFuture<'a, Vec<StandingRole>>;

    /// Drops the rows of roles that ended before `before`.
    fn sweep_roles(&self, before: Timestamp) -> StoreFuture<'_, ()>;

    /// The places in the status lists of the leases of `kind` that ended after `since`, for whatever cause.
    fn places_ended_since<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: &'a str,
        since: Timestamp,
    ) -> StoreFuture<'a, Vec<u64>>;
}
