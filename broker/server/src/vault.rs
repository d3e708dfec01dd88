//! Secrets and keys at rest: envelopes under the root key, each bound to the row it stands in.
//!
//! The context of an envelope names tenant, name and version (or purpose and id), so that an envelope that is copied to
//! another row, or an old version that is put in the place of a new one, does not open.

use std::{fmt, sync::Arc};

use keys::{
    envelope::{Context, EnvelopeError, RootKey},
    random::SystemRandom,
    secret::SecretBytes,
};
use thiserror::Error;
use verifier::Timestamp;

use crate::store::{KeyPurpose, KeyTimes, ProtectedKey, SecretMetadata, SecretVersion, Store, StoreError, TenantId};

/// How often a version number that was taken meanwhile is tried again.
const ATTEMPTS: u32 = 8;

/// Seals and opens what the store holds.
pub(crate) struct Vault {
    store: Arc<dyn Store>,
    root: Arc<RootKey>,
    /// Whose keys these are.
    tenant: TenantId,
}

/// A secret or key cannot be stored or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum VaultError {
    /// The store failed.
    #[error("the secret cannot be read or written")]
    Store(#[from] StoreError),
    /// The envelope does not open: wrong root key, or the row was changed.
    #[error("the envelope cannot be made or opened")]
    Envelope(#[from] EnvelopeError),
}

fn secret_context(tenant: &TenantId, name: &str, version: u32) -> Context {
    Context::new(&["secret", tenant.as_str(), name, &version.to_string()])
}

/// The keys of the first tenant are named as they were before there were others; no name is that of another tenant's.
fn key_context(tenant: &TenantId, purpose: KeyPurpose, id: &str) -> Context {
    if *tenant == TenantId::default_tenant() {
        return Context::new(&["key", purpose.as_str(), id]);
    }
    Context::new(&["key", purpose.as_str(), id, "tenant", tenant.as_str()])
}

impl Vault {
    /// Over this store, under this root key, with the keys of the tenant that exists from the start.
    pub(crate) fn new(store: Arc<dyn Store>, root: RootKey) -> Self {
        Self { store, root: Arc::new(root), tenant: TenantId::default_tenant() }
    }

    /// The same, with the keys of another tenant.
    pub(crate) fn of_tenant(&self, tenant: &TenantId) -> Self {
        Self { store: Arc::clone(&self.store), root: Arc::clone(&self.root), tenant: tenant.clone() }
    }

    /// Stores a new version of a secret.
    pub(crate) async fn put_secret(
        &self,
        tenant: &TenantId,
        mut metadata: SecretMetadata,
        content: &SecretBytes,
    ) -> Result<SecretMetadata, VaultError> {
        for _ in 0..ATTEMPTS {
            metadata.version = self.store.next_secret_version(tenant, &metadata.name).await?;
            let envelope = self.seal_secret(tenant, &metadata.name, metadata.version, content)?;
            match self.store.insert_secret(tenant, &metadata, &envelope).await {
                Ok(()) => return Ok(metadata),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict.into())
    }

    /// Encrypts what is to be this version of a secret; nothing is stored.
    pub(crate) fn seal_secret(
        &self,
        tenant: &TenantId,
        name: &str,
        version: u32,
        content: &SecretBytes,
    ) -> Result<Vec<u8>, VaultError> {
        Ok(self.root.seal(&secret_context(tenant, name, version), content, &mut SystemRandom::new())?)
    }

    /// Opens one version of a secret.
    pub(crate) fn open_secret(
        &self,
        tenant: &TenantId,
        name: &str,
        secret: &SecretVersion,
    ) -> Result<SecretBytes, VaultError> {
        Ok(self.root.open(&secret_context(tenant, name, secret.version), &secret.envelope)?)
    }

    /// Stores a key of the tenant, which is used from `active_at` on.
    pub(crate) async fn put_key(
        &self,
        purpose: KeyPurpose,
        id: &str,
        key: &SecretBytes,
        now: Timestamp,
        active_at: Timestamp,
    ) -> Result<(), VaultError> {
        let envelope = self.root.seal(&key_context(&self.tenant, purpose, id), key, &mut SystemRandom::new())?;
        let key = ProtectedKey { id: id.to_owned(), purpose, envelope, created_at: now, active_at };
        Ok(self.store.insert_protected_key(&self.tenant, &key).await?)
    }

    /// Stores a key of the tenant after the key `after`, unless somebody else did; whether it was stored.
    pub(crate) async fn put_successor(
        &self,
        purpose: KeyPurpose,
        (id, key): (&str, &SecretBytes),
        after: &str,
        now: Timestamp,
        active_at: Timestamp,
    ) -> Result<bool, VaultError> {
        let envelope = self.root.seal(&key_context(&self.tenant, purpose, id), key, &mut SystemRandom::new())?;
        let key = ProtectedKey { id: id.to_owned(), purpose, envelope, created_at: now, active_at };
        Ok(self.store.insert_successor(&self.tenant, &key, after).await?)
    }

    /// Retires every key of one purpose but one; says how many.
    pub(crate) async fn retire_keys(&self, purpose: KeyPurpose, keep: &str, now: Timestamp) -> Result<u64, VaultError> {
        Ok(self.store.retire_keys(&self.tenant, purpose, keep, now).await?)
    }

    /// The times of every key that a purpose ever had.
    pub(crate) async fn key_times(&self, purpose: KeyPurpose) -> Result<Vec<KeyTimes>, VaultError> {
        Ok(self.store.key_times(&self.tenant, purpose).await?)
    }

    /// Opens every key of one purpose, newest first.
    pub(crate) async fn keys(&self, purpose: KeyPurpose) -> Result<Vec<(ProtectedKey, SecretBytes)>, VaultError> {
        self.store.protected_keys(&self.tenant, purpose).await?.into_iter().map(|key| self.open_key(key)).collect()
    }

    /// The same, with the retired ones.
    pub(crate) async fn every_key(&self, purpose: KeyPurpose) -> Result<Vec<(ProtectedKey, SecretBytes)>, VaultError> {
        self.store.every_protected_key(&self.tenant, purpose).await?.into_iter().map(|key| self.open_key(key)).collect()
    }

    fn open_key(&self, key: ProtectedKey) -> Result<(ProtectedKey, SecretBytes), VaultError> {
        let opened = self.root.open(&key_context(&self.tenant, key.purpose, &key.id), &key.envelope)?;
        Ok((key, opened))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault(root key {})", self.root.id())
    }
}
