//! Federation relationships in SQLite.

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        Federation, FederationProfile, FederationStore, Fetched, StoreError, StoreFuture, StoredFederation, TenantId,
    },
    SqliteStore, audit, to_i64, to_u32,
};
use crate::audit::Kind;

impl FederationStore for SqliteStore {
    fn federations<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StoredFederation>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, trust_domain, url, profile, endpoint, roots, longest_age, author, created_at, bundle,
                        fetched_at, changed_at, next_at, failures, error
                 FROM federations WHERE tenant = ? ORDER BY trust_domain",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(federation_of).collect()
        })
    }

    fn insert_federation<'a>(
        &'a self,
        tenant: &'a TenantId,
        federation: &'a Federation,
        bundle: Option<Fetched<'a>>,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let sequence = bundle.and_then(|bundle| bundle.sequence);
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let inserted = sqlx::query(
                "INSERT INTO federations (id, tenant, trust_domain, url, profile, endpoint, roots, longest_age, author,
                                          created_at, bundle, sequence, fetched_at, changed_at, next_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13, ?10) ON CONFLICT DO NOTHING",
            )
            .bind(&federation.id)
            .bind(tenant.as_str())
            .bind(&federation.trust_domain)
            .bind(&federation.url)
            .bind(federation.profile.as_str())
            .bind(&federation.endpoint)
            .bind(&federation.roots)
            .bind(federation.longest_age)
            .bind(&federation.author)
            .bind(federation.created_at.as_unix())
            .bind(bundle.map(|bundle| bundle.bundle))
            .bind(sequence.map(|sequence| to_i64("bundle sequence", sequence)).transpose()?)
            .bind(bundle.map(|bundle| bundle.at.as_unix()))
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() == 0 {
                return Err(StoreError::Conflict);
            }
            let body = json!({
                "id": federation.id, "trust_domain": federation.trust_domain, "url": federation.url,
                "profile": federation.profile.as_str(), "by": federation.author,
            });
            audit::append(&mut transaction, tenant, federation.created_at, Kind::FederationAdded, body).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn remove_federation<'a>(
        &'a self,
        tenant: &'a TenantId,
        trust_domain: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let removed = sqlx::query("DELETE FROM federations WHERE tenant = ? AND trust_domain = ?")
                .bind(tenant.as_str())
                .bind(trust_domain)
                .execute(&mut *transaction)
                .await?;
            if removed.rows_affected() > 0 {
                let body = json!({"trust_domain": trust_domain});
                audit::append(&mut transaction, tenant, now, Kind::FederationRemoved, body).await?;
            }
            transaction.commit().await?;
            Ok(removed.rows_affected() > 0)
        })
    }

    fn claim_federation<'a>(&'a self, id: &'a str, now: Timestamp, until: Timestamp) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let claimed = sqlx::query("UPDATE federations SET next_at = ? WHERE id = ? AND next_at <= ?")
                .bind(until.as_unix())
                .bind(id)
                .bind(now.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(claimed.rows_affected() > 0)
        })
    }

    fn keep_bundle<'a>(&'a self, id: &'a str, fetched: Fetched<'a>) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            // A bundle that once had a number has one for ever.
            let kept = sqlx::query(
                "UPDATE federations
                 SET changed_at = CASE WHEN bundle IS ?2 THEN changed_at ELSE ?4 END,
                     bundle = ?2, sequence = ?3, fetched_at = ?4, next_at = ?5, failures = 0, error = NULL
                 WHERE id = ?1 AND (sequence IS NULL OR sequence <= ?3)",
            )
            .bind(id)
            .bind(fetched.bundle)
            .bind(fetched.sequence.map(|sequence| to_i64("bundle sequence", sequence)).transpose()?)
            .bind(fetched.at.as_unix())
            .bind(fetched.next_at.as_unix())
            .execute(&self.pool)
            .await?;
            Ok(kept.rows_affected() > 0)
        })
    }

    fn remember_failure<'a>(&'a self, id: &'a str, error: &'a str, next_at: Timestamp) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE federations SET failures = failures + 1, error = ?2, next_at = ?3 WHERE id = ?1")
                .bind(id)
                .bind(error)
                .bind(next_at.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}

fn federation_of(row: &SqliteRow) -> Result<StoredFederation, StoreError> {
    let time = |column: &str| -> Result<Option<Timestamp>, StoreError> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix))
    };
    Ok(StoredFederation {
        federation: Federation {
            id: row.try_get("id")?,
            trust_domain: row.try_get("trust_domain")?,
            url: row.try_get("url")?,
            profile: FederationProfile::parse(&row.try_get::<String, _>("profile")?)?,
            endpoint: row.try_get("endpoint")?,
            roots: row.try_get("roots")?,
            longest_age: to_u32("longest age", row.try_get("longest_age")?)?,
            author: row.try_get("author")?,
            created_at: Timestamp::from_unix(row.try_get("created_at")?),
        },
        bundle: row.try_get("bundle")?,
        fetched_at: time("fetched_at")?,
        changed_at: time("changed_at")?,
        next_at: Timestamp::from_unix(row.try_get("next_at")?),
        failures: to_u32("failures", row.try_get("failures")?)?,
        error: row.try_get("error")?,
    })
}
