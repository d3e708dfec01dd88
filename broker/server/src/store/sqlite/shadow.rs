//! Staged policies and comparisons in SQLite.

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{PolicyKind, ShadowCount, ShadowDifference, ShadowStore, StagedPolicy, StoreError, StoreFuture, TenantId},
    SqliteStore, audit, to_u64,
};
use crate::{audit::Kind, shadow::Comparison};

/// Differences that are kept.
const KEPT: i64 = 1000;
/// Counts that are kept of one tenant: rules of before go when there are more.
const COUNTS: i64 = 10_000;

impl ShadowStore for SqliteStore {
    fn stage_policy<'a>(&'a self, tenant: &'a TenantId, policy: &'a StagedPolicy) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin_change().await?;
            sqlx::query(
                "INSERT INTO staged_policies (tenant, kind, digest, source, enforced, author, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (tenant, kind) DO UPDATE SET digest = excluded.digest, source = excluded.source,
                     enforced = excluded.enforced, author = excluded.author, created_at = excluded.created_at",
            )
            .bind(tenant.as_str())
            .bind(policy.kind.as_str())
            .bind(&policy.digest)
            .bind(&policy.source)
            .bind(policy.enforced.join(" "))
            .bind(&policy.author)
            .bind(policy.created_at.as_unix())
            .execute(&mut *transaction)
            .await?;
            let body = json!({
                "policy": policy.kind.as_str(), "digest": policy.digest, "enforced": policy.enforced, "by": policy.author,
            });
            audit::append(&mut transaction, tenant, policy.created_at, Kind::PolicyStaged, body).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn unstage_policy<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: PolicyKind,
        by: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.begin_change().await?;
            let removed = sqlx::query("DELETE FROM staged_policies WHERE tenant = ? AND kind = ?")
                .bind(tenant.as_str())
                .bind(kind.as_str())
                .execute(&mut *transaction)
                .await?;
            if removed.rows_affected() == 0 {
                return Ok(false);
            }
            let body = json!({"policy": kind.as_str(), "by": by});
            audit::append(&mut transaction, tenant, now, Kind::PolicyUnstaged, body).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn staged_policies<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StagedPolicy>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT kind, digest, source, enforced, author, created_at FROM staged_policies WHERE tenant = ?
                 ORDER BY kind",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(staged_of).collect()
        })
    }

    fn add_comparisons<'a>(
        &'a self,
        tenant: &'a TenantId,
        decision: &'a str,
        comparisons: &'a [Comparison],
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for Comparison { rule, subject, difference } in comparisons {
                sqlx::query(
                    "INSERT INTO shadow_counts (tenant, rule, subject, compared, differed)
                     SELECT ?1, ?2, ?3, 1, ?4 WHERE (SELECT COUNT(*) FROM shadow_counts WHERE tenant = ?1) < ?5
                     ON CONFLICT (tenant, rule, subject)
                     DO UPDATE SET compared = compared + 1, differed = differed + excluded.differed",
                )
                .bind(tenant.as_str())
                .bind(rule)
                .bind(subject)
                .bind(i64::from(difference.is_some()))
                .bind(COUNTS)
                .execute(&mut *transaction)
                .await?;
                let Some(difference) = difference else { continue };
                sqlx::query(
                    "INSERT INTO shadow_differences (tenant, rule, subject, decision, at, was, would_be, why)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(tenant.as_str())
                .bind(rule)
                .bind(subject)
                .bind(decision)
                .bind(now.as_unix())
                .bind(&difference.was)
                .bind(&difference.would_be)
                .bind(&difference.why)
                .execute(&mut *transaction)
                .await?;
            }
            sqlx::query(
                "DELETE FROM shadow_differences WHERE tenant = ?1 AND sequence <= (SELECT sequence FROM shadow_differences
                 WHERE tenant = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
            )
            .bind(tenant.as_str())
            .bind(KEPT)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn comparisons<'a>(
        &'a self,
        tenant: &'a TenantId,
        limit: u32,
    ) -> StoreFuture<'a, (Vec<ShadowCount>, Vec<ShadowDifference>)> {
        Box::pin(async move {
            let counts = sqlx::query(
                "SELECT rule, subject, compared, differed FROM shadow_counts WHERE tenant = ? ORDER BY rule, subject",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            let differences = sqlx::query(
                "SELECT rule, subject, decision, at, was, would_be, why FROM shadow_differences WHERE tenant = ?
                 ORDER BY sequence DESC LIMIT ?",
            )
            .bind(tenant.as_str())
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            Ok((
                counts.iter().map(count_of).collect::<Result<_, _>>()?,
                differences.iter().map(difference_of).collect::<Result<_, _>>()?,
            ))
        })
    }
}

fn staged_of(row: &SqliteRow) -> Result<StagedPolicy, StoreError> {
    Ok(StagedPolicy {
        kind: PolicyKind::parse(&row.try_get::<String, _>("kind")?)?,
        digest: row.try_get("digest")?,
        enforced: row.try_get::<String, _>("enforced")?.split_whitespace().map(str::to_owned).collect(),
        author: row.try_get("author")?,
        created_at: Timestamp::from_unix(row.try_get("created_at")?),
        source: row.try_get("source")?,
    })
}

fn count_of(row: &SqliteRow) -> Result<ShadowCount, StoreError> {
    Ok(ShadowCount {
        rule: row.try_get("rule")?,
        subject: row.try_get("subject")?,
        compared: to_u64("count", row.try_get("compared")?)?,
        differed: to_u64("count", row.try_get("differed")?)?,
    })
}

fn difference_of(row: &SqliteRow) -> Result<ShadowDifference, StoreError> {
    Ok(ShadowDifference {
        rule: row.try_get("rule")?,
        subject: row.try_get("subject")?,
        decision: row.try_get("decision")?,
        at: Timestamp::from_unix(row.try_get("at")?),
        was: row.try_get("was")?,
        would_be: row.try_get("would_be")?,
        why: row.try_get("why")?,
    })
}
