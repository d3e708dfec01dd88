//! Secrets in SQLite.

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        OfflineAllowance, Rotation, SecretMetadata, SecretStore, SecretVersion, StoreError, StoreFuture, TenantId,
    },
    SqliteStore, audit, to_u32,
};
use crate::audit::Kind;

impl SecretStore for SqliteStore {
    fn next_secret_version<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, u32> {
        Box::pin(async move {
            let row =
                sqlx::query("SELECT COALESCE(MAX(version), 0) + 1 AS next FROM secrets WHERE tenant = ? AND name = ?")
                    .bind(tenant.as_str())
                    .bind(name)
                    .fetch_one(&self.pool)
                    .await?;
            to_u32("secret version", row.try_get("next")?)
        })
    }

    fn insert_secret<'a>(
        &'a self,
        tenant: &'a TenantId,
        metadata: &'a SecretMetadata,
        envelope: &'a [u8],
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let inserted = sqlx::query(
                "INSERT INTO secrets (tenant, name, version, envelope, workloads, bridge, rotation, offline_seconds, offline_boots,
                 staged, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(tenant.as_str())
            .bind(&metadata.name)
            .bind(metadata.version)
            .bind(envelope)
            .bind(metadata.workloads.join(" "))
            .bind(metadata.bridge)
            .bind(metadata.rotation.as_str())
            .bind(metadata.offline.map(|allowance| allowance.seconds))
            .bind(metadata.offline.map(|allowance| allowance.boots))
            .bind(metadata.staged)
            .bind(&metadata.created_by)
            .bind(metadata.created_at.as_unix())
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() != 1 {
                return Err(StoreError::Conflict);
            }
            let body = json!({
                "name": metadata.name, "version": metadata.version, "workloads": metadata.workloads,
                "bridge": metadata.bridge, "rotation": metadata.rotation.as_str(), "staged": metadata.staged,
                "by": metadata.created_by,
            });
            audit::append(&mut transaction, tenant, metadata.created_at, Kind::SecretStored, body).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn newest_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, Option<SecretVersion>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT version, workloads, bridge, rotation, offline_seconds, offline_boots, envelope FROM secrets
                 WHERE tenant = ? AND name = ? AND staged = 0 AND envelope IS NOT NULL ORDER BY version DESC LIMIT 1",
            )
            .bind(tenant.as_str())
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(version_of).transpose()
        })
    }

    fn staged_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, Option<SecretVersion>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT version, workloads, bridge, rotation, offline_seconds, offline_boots, envelope FROM secrets
                 WHERE tenant = ? AND name = ? AND staged = 1 AND envelope IS NOT NULL",
            )
            .bind(tenant.as_str())
            .bind(name)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(version_of).transpose()
        })
    }

    fn secret_version<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        version: u32,
    ) -> StoreFuture<'a, Option<SecretVersion>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT version, workloads, bridge, rotation, offline_seconds, offline_boots, envelope FROM secrets
                 WHERE tenant = ? AND name = ? AND version = ? AND envelope IS NOT NULL",
            )
            .bind(tenant.as_str())
            .bind(name)
            .bind(version)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(version_of).transpose()
        })
    }

    fn promote_secret<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        version: u32,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let promoted = sqlx::query(
                "UPDATE secrets SET staged = 0
                 WHERE tenant = ?1 AND name = ?2 AND version = ?3 AND staged = 1 AND envelope IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM secrets WHERE tenant = ?1 AND name = ?2 AND version > ?3)",
            )
            .bind(tenant.as_str())
            .bind(name)
            .bind(version)
            .execute(&mut *transaction)
            .await?;
            if promoted.rows_affected() == 1 {
                let body = json!({"name": name, "version": version});
                audit::append(&mut transaction, tenant, now, Kind::SecretPromoted, body).await?;
            }
            transaction.commit().await?;
            Ok(promoted.rows_affected() == 1)
        })
    }

    fn retire_secrets<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        below: u32,
        now: Timestamp,
    ) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let retired = sqlx::query(
                "UPDATE secrets SET envelope = NULL, staged = 0, deleted_at = ?
                 WHERE tenant = ? AND name = ? AND version < ? AND envelope IS NOT NULL",
            )
            .bind(now.as_unix())
            .bind(tenant.as_str())
            .bind(name)
            .bind(below)
            .execute(&mut *transaction)
            .await?;
            if retired.rows_affected() > 0 {
                let body = json!({"name": name, "below": below, "versions": retired.rows_affected()});
                audit::append(&mut transaction, tenant, now, Kind::SecretRetired, body).await?;
            }
            transaction.commit().await?;
            Ok(retired.rows_affected())
        })
    }

    fn secret_metadata<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: Option<&'a str>,
    ) -> StoreFuture<'a, Vec<SecretMetadata>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT name, version, workloads, bridge, rotation, offline_seconds, offline_boots, staged, created_by, created_at
                 FROM secrets
                 WHERE tenant = ?1 AND (?2 IS NULL OR name = ?2) AND envelope IS NOT NULL ORDER BY name, version DESC",
            )
            .bind(tenant.as_str())
            .bind(name)
            .fetch_all(&self.pool)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(SecretMetadata {
                        name: row.try_get("name")?,
                        version: to_u32("secret version", row.try_get("version")?)?,
                        workloads: words(&row.try_get::<String, _>("workloads")?),
                        bridge: row.try_get("bridge")?,
                        rotation: Rotation::parse(&row.try_get::<String, _>("rotation")?)?,
                        offline: offline_of(row)?,
                        staged: row.try_get("staged")?,
                        created_by: row.try_get("created_by")?,
                        created_at: Timestamp::from_unix(row.try_get("created_at")?),
                    })
                })
                .collect()
        })
    }

    fn allow_offline<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        allowance: Option<OfflineAllowance>,
        now: Timestamp,
    ) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let set = sqlx::query(
                "UPDATE secrets SET offline_seconds = ?, offline_boots = ?
                 WHERE tenant = ? AND name = ? AND envelope IS NOT NULL",
            )
            .bind(allowance.map(|allowance| allowance.seconds))
            .bind(allowance.map(|allowance| allowance.boots))
            .bind(tenant.as_str())
            .bind(name)
            .execute(&mut *transaction)
            .await?;
            if set.rows_affected() > 0 {
                let body = json!({"name": name, "offline": allowance});
                audit::append(&mut transaction, tenant, now, Kind::SecretOffline, body).await?;
            }
            transaction.commit().await?;
            Ok(set.rows_affected())
        })
    }

    fn delete_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str, now: Timestamp) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let deleted = sqlx::query(
                "UPDATE secrets SET envelope = NULL, staged = 0, deleted_at = ?
                 WHERE tenant = ? AND name = ? AND envelope IS NOT NULL",
            )
            .bind(now.as_unix())
            .bind(tenant.as_str())
            .bind(name)
            .execute(&mut *transaction)
            .await?;
            if deleted.rows_affected() > 0 {
                let body = json!({"name": name, "versions": deleted.rows_affected()});
                audit::append(&mut transaction, tenant, now, Kind::SecretErased, body).await?;
            }
            transaction.commit().await?;
            Ok(deleted.rows_affected())
        })
    }
}

fn version_of(row: &SqliteRow) -> Result<SecretVersion, StoreError> {
    Ok(SecretVersion {
        version: to_u32("secret version", row.try_get("version")?)?,
        workloads: words(&row.try_get::<String, _>("workloads")?),
        bridge: row.try_get("bridge")?,
        rotation: Rotation::parse(&row.try_get::<String, _>("rotation")?)?,
        offline: offline_of(row)?,
        envelope: row.try_get("envelope")?,
    })
}

/// What is stored outside of the caps allows nothing.
fn offline_of(row: &SqliteRow) -> Result<Option<OfflineAllowance>, StoreError> {
    let (seconds, boots): (Option<u32>, Option<u32>) = (row.try_get("offline_seconds")?, row.try_get("offline_boots")?);
    Ok(seconds.zip(boots).and_then(|(seconds, boots)| OfflineAllowance::new(seconds, boots)))
}

/// Names have no spaces, so a list of them is stored with spaces between.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
