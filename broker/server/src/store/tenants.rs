//! Tenants, as far as the store knows them.

use serde::Serialize;
use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// A tenant that has rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StoredTenant {
    /// Its name.
    pub(crate) name: TenantId,
    /// When it was first served.
    pub(crate) created_at: Timestamp,
    /// How many people and programs may administer or watch it.
    pub(crate) administrators: u64,
}

/// Stores which tenants there are. A tenant is never removed: what it signed and decided stays its own.
pub(crate) trait TenantStore {
    /// Makes a tenant, unless it is there.
    fn ensure_tenant<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> StoreFuture<'a, ()>;

    /// Every tenant, by name.
    fn tenants(&self) -> StoreFuture<'_, Vec<StoredTenant>>;
}
