//! How much is out there, counted in SQLite.

use sqlx::Row;
use verifier::Timestamp;

use super::{
    super::{Exposure, ExposureStore, StoreFuture, TenantId},
    SqliteStore, to_u64,
};

impl ExposureStore for SqliteStore {
    fn exposure<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<Exposure>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT kind, SUM(ended_at IS NULL) AS open,
                        COUNT(DISTINCT CASE WHEN ended_at IS NULL THEN guest END) AS guests,
                        MAX(CASE WHEN ended_at IS NULL THEN expires_at - issued_at END) AS longest,
                        MAX(CASE WHEN ended_at IS NULL THEN expires_at END) AS latest,
                        MAX(issued_at) AS given
                 FROM leases WHERE tenant = ? GROUP BY kind ORDER BY kind",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter()
                .map(|row| {
                    let longest: Option<i64> = row.try_get("longest")?;
                    Ok(Exposure {
                        class: row.try_get("kind")?,
                        open: to_u64("count of leases", row.try_get("open")?)?,
                        guests: to_u64("count of guests", row.try_get("guests")?)?,
                        longest_seconds: longest.map(|longest| to_u64("life of a lease", longest)).transpose()?,
                        latest_end: row.try_get::<Option<i64>, _>("latest")?.map(Timestamp::from_unix),
                        last_given: Timestamp::from_unix(row.try_get("given")?),
                    })
                })
                .collect()
        })
    }
}
