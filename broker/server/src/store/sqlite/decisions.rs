//! Decisions and consumed nonces in SQLite.

use sqlx::{Row, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{DecisionQuery, DecisionStore, Settled, Settlement, StoreError, StoreFuture, TenantId},
    SqliteStore,
};

/// Seconds that a consumed nonce stays after it expired, so that a clock that is set back cannot revive it.
const NONCE_GRACE: i64 = 3600;

impl DecisionStore for SqliteStore {
    fn settle(&self, settlement: Settlement) -> StoreFuture<'_, Settled> {
        Box::pin(self.writer.settle(settlement))
    }

    fn is_consumed<'a>(&'a self, nonce: &'a [u8; 32]) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let row = sqlx::query("SELECT 1 FROM consumed_nonces WHERE nonce = ?")
                .bind(nonce.as_slice())
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.is_some())
        })
    }

    fn decision<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<String>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT record FROM decisions WHERE tenant = ? AND id = ?")
                .bind(tenant.as_str())
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(record_of).transpose()
        })
    }

    fn decisions<'a>(&'a self, tenant: &'a TenantId, query: &'a DecisionQuery) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT record FROM decisions WHERE tenant = ?1 AND (?2 IS NULL OR outcome = ?2)
                 ORDER BY sequence DESC LIMIT ?3",
            )
            .bind(tenant.as_str())
            .bind(query.outcome)
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(record_of).collect()
        })
    }

    fn sweep(&self, now: Timestamp, keep_unauthenticated: u32) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM consumed_nonces WHERE expires_at < ?")
                .bind(now.plus_seconds(-NONCE_GRACE).as_unix())
                .execute(&self.pool)
                .await?;
            sqlx::query(
                "DELETE FROM decisions WHERE authenticated = 0 AND sequence <=
                 (SELECT sequence FROM decisions WHERE authenticated = 0 ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
            )
            .bind(keep_unauthenticated)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }
}

fn record_of(row: &SqliteRow) -> Result<String, StoreError> {
    Ok(row.try_get("record")?)
}
