//! The keys and administrators of tenants in SQLite.

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        Administrator, KeyPurpose, KeyStore, KeyTimes, ProtectedKey, Removed, Role, StoreError, StoreFuture, TenantId,
    },
    SqliteStore, audit,
};
use crate::audit::Kind;

impl KeyStore for SqliteStore {
    fn protected_keys<'a>(&'a self, tenant: &'a TenantId, purpose: KeyPurpose) -> StoreFuture<'a, Vec<ProtectedKey>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, envelope, created_at, active_at FROM protected_keys
                 WHERE tenant = ? AND purpose = ? AND retired_at IS NULL ORDER BY created_at DESC, id",
            )
            .bind(tenant.as_str())
            .bind(purpose.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(|row| key_of(row, purpose)).collect()
        })
    }

    fn every_protected_key<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> StoreFuture<'a, Vec<ProtectedKey>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, envelope, created_at, active_at FROM protected_keys
                 WHERE tenant = ? AND purpose = ? ORDER BY created_at DESC, id",
            )
            .bind(tenant.as_str())
            .bind(purpose.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(|row| key_of(row, purpose)).collect()
        })
    }

    fn insert_protected_key<'a>(&'a self, tenant: &'a TenantId, key: &'a ProtectedKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(
                "INSERT INTO protected_keys (tenant, id, purpose, envelope, created_at, active_at) VALUES (?, ?, ?, ?, ?, ?)",
            )
            .bind(tenant.as_str())
            .bind(&key.id)
            .bind(key.purpose.as_str())
            .bind(&key.envelope)
            .bind(key.created_at.as_unix())
            .bind(key.active_at.as_unix())
            .execute(&mut *transaction)
            .await?;
            record_key(&mut transaction, tenant, key).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn insert_successor<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a ProtectedKey,
        after: &'a str,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let inserted = sqlx::query(
                "INSERT INTO protected_keys (tenant, id, purpose, envelope, created_at, active_at)
                 SELECT ?7, ?1, ?2, ?3, ?4, ?5
                 WHERE EXISTS (
                     SELECT 1 FROM protected_keys WHERE tenant = ?7 AND id = ?6 AND purpose = ?2 AND retired_at IS NULL)
                 AND NOT EXISTS (
                     SELECT 1 FROM protected_keys AS newer, protected_keys AS known
                     WHERE known.tenant = ?7 AND known.id = ?6
                     AND newer.tenant = ?7 AND newer.purpose = ?2 AND newer.retired_at IS NULL
                     AND (newer.active_at, newer.id) > (known.active_at, known.id))",
            )
            .bind(&key.id)
            .bind(key.purpose.as_str())
            .bind(&key.envelope)
            .bind(key.created_at.as_unix())
            .bind(key.active_at.as_unix())
            .bind(after)
            .bind(tenant.as_str())
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() > 0 {
                record_key(&mut transaction, tenant, key).await?;
            }
            transaction.commit().await?;
            Ok(inserted.rows_affected() > 0)
        })
    }

    fn key_times<'a>(&'a self, tenant: &'a TenantId, purpose: KeyPurpose) -> StoreFuture<'a, Vec<KeyTimes>> {
        Box::pin(async move {
            let rows =
                sqlx::query("SELECT created_at, retired_at FROM protected_keys WHERE tenant = ? AND purpose = ?")
                    .bind(tenant.as_str())
                    .bind(purpose.as_str())
                    .fetch_all(&self.pool)
                    .await?;
            rows.iter()
                .map(|row| {
                    Ok(KeyTimes {
                        created_at: Timestamp::from_unix(row.try_get("created_at")?),
                        retired_at: row.try_get::<Option<i64>, _>("retired_at")?.map(Timestamp::from_unix),
                    })
                })
                .collect()
        })
    }

    fn retire_keys<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        keep: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let retired = sqlx::query(
                "UPDATE protected_keys SET retired_at = ?
                 WHERE tenant = ? AND purpose = ? AND id <> ? AND retired_at IS NULL",
            )
            .bind(now.as_unix())
            .bind(tenant.as_str())
            .bind(purpose.as_str())
            .bind(keep)
            .execute(&mut *transaction)
            .await?;
            if retired.rows_affected() > 0 {
                let body = json!({"purpose": purpose.as_str(), "keeps": keep, "retired": retired.rows_affected()});
                audit::append(&mut transaction, tenant, now, Kind::KeyRetired, body).await?;
            }
            transaction.commit().await?;
            Ok(retired.rows_affected())
        })
    }

    fn administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        fingerprint: &'a [u8; 32],
    ) -> StoreFuture<'a, Option<Administrator>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT name, role FROM administrators WHERE tenant = ? AND fingerprint = ? AND removed_at IS NULL",
            )
            .bind(tenant.as_str())
            .bind(fingerprint.as_slice())
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| {
                let role = Role::parse(&row.try_get::<String, _>("role")?)?;
                Ok(Administrator { fingerprint: *fingerprint, name: row.try_get("name")?, role })
            })
            .transpose()
        })
    }

    fn insert_administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        administrator: &'a Administrator,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let inserted = sqlx::query(
                "INSERT INTO administrators (tenant, fingerprint, name, role, created_at) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(tenant.as_str())
            .bind(administrator.fingerprint.as_slice())
            .bind(&administrator.name)
            .bind(administrator.role.as_str())
            .bind(now.as_unix())
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() != 1 {
                return Err(StoreError::Conflict);
            }
            let body = json!({
                "name": administrator.name, "role": administrator.role.as_str(),
                "fingerprint": hex::encode(administrator.fingerprint),
            });
            audit::append(&mut transaction, tenant, now, Kind::AdministratorAdded, body).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn administrators<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<(Administrator, Timestamp)>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT fingerprint, name, role, created_at FROM administrators
                 WHERE tenant = ? AND removed_at IS NULL ORDER BY name",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter()
                .map(|row| {
                    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
                    let fingerprint = fingerprint.try_into().map_err(|found: Vec<u8>| StoreError::Unknown {
                        what: "fingerprint",
                        found: hex::encode(found),
                    })?;
                    let role = Role::parse(&row.try_get::<String, _>("role")?)?;
                    let administrator = Administrator { fingerprint, name: row.try_get("name")?, role };
                    Ok((administrator, Timestamp::from_unix(row.try_get("created_at")?)))
                })
                .collect()
        })
    }

    fn remove_administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, Removed> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let removed = sqlx::query(
                "UPDATE administrators SET removed_at = ? WHERE tenant = ? AND name = ? AND removed_at IS NULL",
            )
            .bind(now.as_unix())
            .bind(tenant.as_str())
            .bind(name)
            .execute(&mut *transaction)
            .await?;
            if removed.rows_affected() == 0 {
                return Ok(Removed::Absent);
            }
            let left = sqlx::query(
                "SELECT 1 FROM administrators WHERE tenant = ? AND role = ? AND removed_at IS NULL LIMIT 1",
            )
            .bind(tenant.as_str())
            .bind(Role::Admin.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
            if left.is_none() {
                return Ok(Removed::Last);
            }
            let body = json!({"name": name});
            audit::append(&mut transaction, tenant, now, Kind::AdministratorRemoved, body).await?;
            transaction.commit().await?;
            Ok(Removed::Yes)
        })
    }
}

async fn record_key(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    key: &ProtectedKey,
) -> Result<(), StoreError> {
    let body = json!({"id": key.id, "purpose": key.purpose.as_str(), "active_at": key.active_at});
    audit::append(connection, tenant, key.created_at, Kind::KeyMade, body).await
}

fn key_of(row: &SqliteRow, purpose: KeyPurpose) -> Result<ProtectedKey, StoreError> {
    Ok(ProtectedKey {
        id: row.try_get("id")?,
        purpose,
        envelope: row.try_get("envelope")?,
        created_at: Timestamp::from_unix(row.try_get("created_at")?),
        active_at: Timestamp::from_unix(row.try_get("active_at")?),
    })
}
