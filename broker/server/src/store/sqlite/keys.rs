//! The broker's own keys and administrators in SQLite.

use sqlx::Row;
use verifier::Timestamp;

use super::{
    super::{Administrator, KeyPurpose, KeyStore, ProtectedKey, Role, StoreFuture},
    SqliteStore,
};

impl KeyStore for SqliteStore {
    fn protected_keys(&self, purpose: KeyPurpose) -> StoreFuture<'_, Vec<ProtectedKey>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, envelope, created_at, active_at FROM protected_keys
                 WHERE purpose = ? AND retired_at IS NULL ORDER BY created_at DESC, id",
            )
            .bind(purpose.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter()
                .map(|row| {
                    Ok(ProtectedKey {
                        id: row.try_get("id")?,
                        purpose,
                        envelope: row.try_get("envelope")?,
                        created_at: Timestamp::from_unix(row.try_get("created_at")?),
                        active_at: Timestamp::from_unix(row.try_get("active_at")?),
                    })
                })
                .collect()
        })
    }

    fn insert_protected_key<'a>(&'a self, key: &'a ProtectedKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO protected_keys (id, purpose, envelope, created_at, active_at) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&key.id)
            .bind(key.purpose.as_str())
            .bind(&key.envelope)
            .bind(key.created_at.as_unix())
            .bind(key.active_at.as_unix())
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }

    fn retire_keys<'a>(&'a self, purpose: KeyPurpose, keep: &'a str, now: Timestamp) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let retired = sqlx::query(
                "UPDATE protected_keys SET retired_at = ? WHERE purpose = ? AND id <> ? AND retired_at IS NULL",
            )
            .bind(now.as_unix())
            .bind(purpose.as_str())
            .bind(keep)
            .execute(&self.pool)
            .await?;
            Ok(retired.rows_affected())
        })
    }

    fn administrator<'a>(&'a self, fingerprint: &'a [u8; 32]) -> StoreFuture<'a, Option<Administrator>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT name, role FROM administrators WHERE fingerprint = ?")
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

    fn insert_administrator<'a>(&'a self, administrator: &'a Administrator, now: Timestamp) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("INSERT INTO administrators (fingerprint, name, role, created_at) VALUES (?, ?, ?, ?)")
                .bind(administrator.fingerprint.as_slice())
                .bind(&administrator.name)
                .bind(administrator.role.as_str())
                .bind(now.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}
