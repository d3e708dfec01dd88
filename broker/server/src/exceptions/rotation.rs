//! Changing legacy secrets on a schedule: in the legacy system first, and then what the name stands for.
//!
//! ```text
//! due ──new version staged──▶ the system takes it ──promoted, older ones erased──▶ done
//! ```
//!
//! The staged version is in the store before the system has it, and the name stands for the old one until the system said that
//! it took the new one. A broker that is killed in between leaves a staged version: the next one gives the same to the system
//! again, which does no harm, and promotes it. Where no driver is configured somebody does it by hand, and is told.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keys::secret::SecretBytes;
use thiserror::Error;
use verifier::Timestamp;
use zeroize::Zeroizing;

use crate::{
    broker::Broker,
    config::RotationDriver,
    databases::{self, DatabaseError},
    metrics::TenantLabels,
    release,
    store::{Exception, Rotation, RotationPlan, SecretMetadata, StoreError},
    vault::VaultError,
};

/// Most exceptions that are looked at.
const MOST: u32 = 1000;
/// Wait after the first failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// When an exception whose driver failed is tried again.
#[derive(Debug, Default)]
pub(crate) struct Pauses(Mutex<HashMap<String, (Duration, Instant)>>);

impl Pauses {
    fn is_over(&self, exception: &str) -> bool {
        let paused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        paused.get(exception).is_none_or(|(_, until)| *until <= Instant::now())
    }

    fn failed(&self, exception: &str) {
        let mut paused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = paused.get(exception).map_or(FIRST_WAIT, |(wait, _)| wait.saturating_mul(2).min(LONGEST_WAIT));
        let now = Instant::now();
        paused.insert(exception.to_owned(), (wait, now.checked_add(wait).unwrap_or(now)));
    }

    fn succeeded(&self, exception: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(exception);
    }
}

/// A secret was not changed.
#[derive(Debug, Error)]
enum RotationError {
    #[error("the store failed")]
    Store(#[from] StoreError),
    #[error("the new version cannot be stored or opened")]
    Vault(#[from] VaultError),
    #[error("no new secret can be made")]
    Randomness(#[from] keys::random::NoRandomness),
    #[error("{0}")]
    System(String),
}

impl From<DatabaseError> for RotationError {
    fn from(error: DatabaseError) -> Self {
        Self::System(databases::told(&error))
    }
}

/// The versions of a secret that matter here.
struct Versions {
    current: SecretMetadata,
    /// What it is being changed to.
    staged: Option<u32>,
}

impl Broker {
    /// Changes every legacy secret that is due.
    pub(crate) async fn rotate_exceptions(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut overdue = 0_i64;
        for exception in self.store.exceptions(&self.tenant, false, MOST).await? {
            let Some(plan) = exception.rotation.as_ref().filter(|_| exception.is_live(now)) else { continue };
            let Some(versions) = self.versions(&exception.secret, now).await? else { continue };
            let due = versions.current.created_at.plus_seconds(i64::from(plan.seconds));
            if due > now && versions.staged.is_none() {
                continue;
            }
            overdue = overdue.saturating_add(1);
            if self.rotation_pauses.is_over(&exception.id) {
                self.rotate(&exception, plan, &versions, now).await?;
            }
        }
        let of_tenant = TenantLabels { tenant: self.tenant.as_str().to_owned() };
        self.metrics.exceptions_rotation_due.get_or_create(&of_tenant).set(overdue);
        Ok(())
    }

    async fn versions(&self, secret: &str, now: Timestamp) -> Result<Option<Versions>, StoreError> {
        let versions = self.store.secret_metadata(&self.tenant, Some(secret)).await?;
        let current = versions.iter().find(|version| !version.staged && version.bridge).cloned();
        let Some(current) = current else { return Ok(None) };
        let staged = versions.iter().find(|version| version.staged).map(|version| version.version);
        if staged.is_some_and(|staged| staged < current.version) {
            // Somebody stored a newer version by hand meanwhile.
            self.store.retire_secrets(&self.tenant, secret, current.version, now).await?;
            return Ok(Some(Versions { current, staged: None }));
        }
        Ok(Some(Versions { current, staged }))
    }

    async fn rotate(
        &self,
        exception: &Exception,
        plan: &RotationPlan,
        versions: &Versions,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let driver = plan.driver.as_ref().map(|name| (name, self.exceptions.driver(name)));
        let why = match driver {
            None => "store a new version by hand".to_owned(),
            Some((name, None)) => format!("the driver {name} is not configured"),
            Some((_, Some(driver))) => match self.change(exception, driver, versions, now).await {
                Ok(version) => {
                    self.rotation_pauses.succeeded(&exception.id);
                    self.metrics.exception_rotations.inc();
                    let Exception { id, name, secret, .. } = exception;
                    tracing::warn!(exception = id, name, secret, version, "a legacy secret was changed");
                    return Ok(());
                }
                Err(error) => error.to_string(),
            },
        };
        self.rotation_pauses.failed(&exception.id);
        let version = versions.current.version;
        let Exception { id, name, owner, secret, .. } = exception;
        if self.store.rotation_pending(&self.tenant, id, version, &why, now).await? {
            tracing::warn!(exception = id, name, owner, secret, version, why, "a legacy secret is due to be changed");
        }
        Ok(())
    }

    /// Gives the system a new secret, and lets the name stand for it; its version.
    async fn change(
        &self,
        exception: &Exception,
        driver: &RotationDriver,
        versions: &Versions,
        now: Timestamp,
    ) -> Result<u32, RotationError> {
        let version = match versions.staged {
            Some(version) => version,
            None => self.stage(exception, driver, now).await?,
        };
        let stored = self.store.secret_version(&self.tenant, &exception.secret, version).await?;
        let stored = stored.ok_or(StoreError::Conflict)?;
        let secret = self.vault.open_secret(&self.tenant, &exception.secret, &stored)?;
        let secret = std::str::from_utf8(secret.expose()).map_err(|_other| RotationError::System(TEXT.to_owned()))?;
        self.databases.change_password(&driver.server, &driver.role, secret).await?;
        if !self.store.rotated(&self.tenant, &exception.id, (&exception.secret, version), now).await? {
            return Err(StoreError::Conflict.into());
        }
        Ok(version)
    }

    /// Stores a new secret that the name does not stand for yet; its version.
    async fn stage(
        &self,
        exception: &Exception,
        driver: &RotationDriver,
        now: Timestamp,
    ) -> Result<u32, RotationError> {
        let key = release::generate()?;
        // Text of 256 bits, which every system takes as a password.
        let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(key.expose()));
        let metadata = SecretMetadata {
            name: exception.secret.clone(),
            version: 0,
            workloads: Vec::new(),
            bridge: true,
            rotation: Rotation::Operator,
            offline: None,
            staged: true,
            created_by: driver.name.clone(),
            created_at: now,
        };
        let content = SecretBytes::new(text.as_bytes().to_vec());
        Ok(self.vault.put_secret(&self.tenant, metadata, &content).await?.version)
    }
}

const TEXT: &str = "expected a secret that is text";
