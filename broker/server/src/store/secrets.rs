//! Secrets with versions. The store sees envelopes only; see [`crate::vault`] for what makes and opens them.

use verifier::Timestamp;

use super::{StoreFuture, TenantId};

/// One stored version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretVersion {
    /// Counts from 1, never reused.
    pub(crate) version: u32,
    /// The workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Whether it may go over the bridge to a client that does not attest.
    pub(crate) bridge: bool,
    /// The encrypted content.
    pub(crate) envelope: Vec<u8>,
}

/// What may be shown about one version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct SecretMetadata {
    /// The secret's name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: u32,
    /// The workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Whether it may go over the bridge to a client that does not attest.
    pub(crate) bridge: bool,
    /// Which administrator stored it.
    pub(crate) created_by: String,
    /// When it was stored.
    pub(crate) created_at: Timestamp,
}

/// Stores secrets.
pub(crate) trait SecretStore {
    /// The number that the next version of `name` gets.
    fn next_secret_version<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, u32>;

    /// Stores one version. [`StoreError::Conflict`](super::StoreError::Conflict) when that number was taken meanwhile.
    fn insert_secret<'a>(
        &'a self,
        tenant: &'a TenantId,
        metadata: &'a SecretMetadata,
        envelope: &'a [u8],
    ) -> StoreFuture<'a, ()>;

    /// The newest version of `name`.
    fn newest_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, Option<SecretVersion>>;

    /// Every version of `name`, newest first; of every secret, by name, when `name` is absent.
    fn secret_metadata<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: Option<&'a str>,
    ) -> StoreFuture<'a, Vec<SecretMetadata>>;

    /// Erases the content of every version of `name`; says how many there were.
    fn delete_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str, now: Timestamp) -> StoreFuture<'a, u64>;
}
