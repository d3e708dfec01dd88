//! Tenants in SQLite.

use sqlx::Row;
use verifier::Timestamp;

use super::{
    super::{StoreError, StoreFuture, StoredTenant, TenantId, TenantStore},
    SqliteStore, to_u64,
};

impl TenantStore for SqliteStore {
    fn ensure_tenant<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("INSERT INTO tenants (id, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(tenant.as_str())
                .bind(now.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn tenants(&self) -> StoreFuture<'_, Vec<StoredTenant>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, created_at, (SELECT COUNT(*) FROM administrators
                     WHERE administrators.tenant = tenants.id AND removed_at IS NULL) AS administrators
                 FROM tenants ORDER BY id",
            )
            .fetch_all(&self.pool)
            .await?;
            rows.iter()
                .map(|row| {
                    let name: String = row.try_get("id")?;
                    let unknown = || StoreError::Unknown { what: "tenant", found: name.clone() };
                    Ok(StoredTenant {
                        name: TenantId::parse(&name).ok_or_else(unknown)?,
                        created_at: Timestamp::from_unix(row.try_get("created_at")?),
                        administrators: to_u64("count of administrators", row.try_get("administrators")?)?,
                    })
                })
                .collect()
        })
    }
}
