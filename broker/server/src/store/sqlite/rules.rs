//! Policies in SQLite.

use serde_json::json;
use sqlx::{Row, Sqlite, Transaction, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{PolicyKind, PolicyVersion, RuleStore, StoreError, StoreFuture, TenantId},
    SqliteStore, audit, to_u32,
};
use crate::audit::Kind;

impl RuleStore for SqliteStore {
    fn rulebook_generation(&self) -> StoreFuture<'_, u64> {
        Box::pin(async {
            let row = sqlx::query("SELECT generation FROM rulebook_generation").fetch_one(&self.pool).await?;
            let generation: i64 = row.try_get("generation")?;
            u64::try_from(generation)
                .map_err(|_negative| StoreError::Unknown { what: "generation", found: generation.to_string() })
        })
    }

    fn insert_policy<'a>(&'a self, tenant: &'a TenantId, policy: &'a PolicyVersion) -> StoreFuture<'a, u32> {
        Box::pin(async move {
            let mut transaction = self.begin_change().await?;
            let row = sqlx::query(
                "INSERT INTO policies (tenant, kind, version, digest, source, author, created_at, restores)
                 SELECT ?1, ?2, COALESCE(MAX(version), 0) + 1, ?3, ?4, ?5, ?6, ?7 FROM policies
                 WHERE tenant = ?1 AND kind = ?2
                 RETURNING version",
            )
            .bind(tenant.as_str())
            .bind(policy.kind.as_str())
            .bind(&policy.digest)
            .bind(&policy.source)
            .bind(&policy.author)
            .bind(policy.created_at.as_unix())
            .bind(policy.restores)
            .fetch_one(&mut *transaction)
            .await?;
            let version = to_u32("policy version", row.try_get("version")?)?;
            let body = json!({
                "policy": policy.kind.as_str(), "version": version, "digest": policy.digest, "by": policy.author,
                "restores": policy.restores,
            });
            audit::append(&mut transaction, tenant, policy.created_at, Kind::PolicySet, body).await?;
            transaction.commit().await?;
            Ok(version)
        })
    }

    fn policies<'a>(&'a self, tenant: &'a TenantId, kind: PolicyKind) -> StoreFuture<'a, Vec<PolicyVersion>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT kind, version, digest, author, created_at, restores, source FROM policies
                 WHERE tenant = ? AND kind = ? ORDER BY version DESC",
            )
            .bind(tenant.as_str())
            .bind(kind.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(policy_of).collect()
        })
    }
}

impl SqliteStore {
    /// A transaction that holds the write lock from the start and tells every replica to reload its rules.
    pub(super) async fn begin_change(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE rulebook_generation SET generation = generation + 1").execute(&mut *transaction).await?;
        Ok(transaction)
    }
}

fn policy_of(row: &SqliteRow) -> Result<PolicyVersion, StoreError> {
    Ok(PolicyVersion {
        kind: PolicyKind::parse(&row.try_get::<String, _>("kind")?)?,
        version: to_u32("policy version", row.try_get("version")?)?,
        digest: row.try_get("digest")?,
        author: row.try_get("author")?,
        created_at: Timestamp::from_unix(row.try_get("created_at")?),
        restores: row.try_get::<Option<i64>, _>("restores")?.map(|of| to_u32("policy version", of)).transpose()?,
        source: row.try_get("source")?,
    })
}
