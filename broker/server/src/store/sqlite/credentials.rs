//! What leases stand on, in SQLite.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        CredentialStore, DATABASE_ROLE, EndingRole, Lease, Opening, RoleIntent, StandingRole, StoreError, StoreFuture,
        TenantId,
    },
    SqliteStore, to_u32, to_u64,
};

/// Roles that must go and are not marked yet, by server `?1` at `?2` (milliseconds) of tenant `?3`: their lease ended or is gone,
/// or none came in time.
macro_rules! unmarked {
    ($begin:literal) => {
        concat!(
            $begin,
            " WHERE server = ?1 AND tenant = ?3 AND (
                (state = 'active' AND NOT EXISTS
                    (SELECT 1 FROM leases WHERE leases.id = lease AND leases.ended_at IS NULL))
                OR (state = 'requested' AND settle_by * 1000 <= ?2))"
        )
    };
}

impl CredentialStore for SqliteStore {
    fn installation(&self) -> StoreFuture<'_, String> {
        Box::pin(async move {
            let row = sqlx::query("SELECT id FROM installation").fetch_one(&self.pool).await?;
            Ok(row.try_get("id")?)
        })
    }

    fn request_role<'a>(&'a self, tenant: &'a TenantId, intent: &'a RoleIntent, most: u32) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let written = sqlx::query(
                "INSERT INTO database_roles (role, tenant, lease, server, state, requested_at, settle_by)
                 SELECT ?1, ?2, ?3, ?4, 'requested', ?5, ?6
                 WHERE (SELECT COUNT(*) FROM database_roles WHERE tenant = ?2 AND server = ?4 AND state <> 'ended') < ?7",
            )
            .bind(&intent.role)
            .bind(tenant.as_str())
            .bind(&intent.lease)
            .bind(&intent.server)
            .bind(intent.requested_at.as_unix())
            .bind(intent.settle_by.as_unix())
            .bind(most)
            .execute(&self.pool)
            .await?;
            Ok(written.rows_affected() == 1)
        })
    }

    fn abandon_role<'a>(&'a self, role: &'a str) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE database_roles SET state = 'ending' WHERE role = ? AND state = 'requested'")
                .bind(role)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn roles_to_drop<'a>(
        &'a self,
        tenant: &'a TenantId,
        server: &'a str,
        now_ms: i64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<EndingRole>> {
        Box::pin(async move {
            // Most of the time nothing ended, and a look costs no write lock.
            let look = sqlx::query(unmarked!("SELECT 1 FROM database_roles"));
            if look.bind(server).bind(now_ms).bind(tenant.as_str()).fetch_optional(&self.pool).await?.is_some() {
                let mark = sqlx::query(unmarked!("UPDATE database_roles SET state = 'ending'"));
                mark.bind(server).bind(now_ms).bind(tenant.as_str()).execute(&self.pool).await?;
            }
            let rows = sqlx::query(
                "SELECT role, lease, settled, attempts FROM database_roles
                 WHERE tenant = ? AND server = ? AND state = 'ending' AND next_try_ms <= ?
                 ORDER BY next_try_ms, role LIMIT ?",
            )
            .bind(tenant.as_str())
            .bind(server)
            .bind(now_ms)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(ending_of).collect()
        })
    }

    fn role_dropped<'a>(&'a self, role: &'a str, now: Timestamp) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("UPDATE database_roles SET state = 'ended', ended_at = ?, last_error = NULL WHERE role = ?")
                .bind(now.as_unix())
                .bind(role)
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn role_not_dropped<'a>(&'a self, role: &'a str, error: &'a str, next_try_ms: i64) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "UPDATE database_roles SET attempts = attempts + 1, last_error = ?, next_try_ms = ? WHERE role = ?",
            )
            .bind(error)
            .bind(next_try_ms)
            .bind(role)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }

    fn standing_roles<'a>(&'a self, tenant: Option<&'a TenantId>) -> StoreFuture<'a, Vec<StandingRole>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT role, lease, server, state, attempts, last_error, requested_at FROM database_roles
                 WHERE state <> 'ended' AND (?1 IS NULL OR tenant = ?1) ORDER BY server, requested_at, role",
            )
            .bind(tenant.map(TenantId::as_str))
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(standing_of).collect()
        })
    }

    fn sweep_roles(&self, before: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM database_roles WHERE state = 'ended' AND ended_at < ?")
                .bind(before.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }

    fn places_ended_since<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: &'a str,
        since: Timestamp,
    ) -> StoreFuture<'a, Vec<u64>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT status FROM leases
                 WHERE kind = ? AND ended_at IS NOT NULL AND ended_at > ? AND tenant = ? ORDER BY status",
            )
            .bind(kind)
            .bind(since.as_unix())
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(|row| to_u64("status place", row.try_get("status")?)).collect()
        })
    }
}

fn of_roles(opening: &Opening) -> impl Iterator<Item = &Lease> {
    opening.leases.iter().filter(|lease| lease.kind == DATABASE_ROLE)
}

/// Whether every lease that stands on a role has one that is not about to go.
pub(super) async fn roles_stand(connection: &mut SqliteConnection, opening: &Opening) -> Result<bool, StoreError> {
    for lease in of_roles(opening) {
        let stands = sqlx::query("SELECT 1 FROM database_roles WHERE lease = ? AND state IN ('requested', 'active')")
            .bind(&lease.id)
            .fetch_optional(&mut *connection)
            .await?;
        if stands.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The leases of the opening are written: their roles stand on them from now on.
pub(super) async fn activate_roles(connection: &mut SqliteConnection, opening: &Opening) -> Result<(), StoreError> {
    for lease in of_roles(opening) {
        sqlx::query("UPDATE database_roles SET state = 'active', settled = 1 WHERE lease = ? AND state = 'requested'")
            .bind(&lease.id)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn ending_of(row: &SqliteRow) -> Result<EndingRole, StoreError> {
    Ok(EndingRole {
        role: row.try_get("role")?,
        lease: row.try_get("lease")?,
        settled: row.try_get("settled")?,
        attempts: to_u32("attempts", row.try_get("attempts")?)?,
    })
}

fn standing_of(row: &SqliteRow) -> Result<StandingRole, StoreError> {
    Ok(StandingRole {
        role: row.try_get("role")?,
        lease: row.try_get("lease")?,
        server: row.try_get("server")?,
        state: row.try_get("state")?,
        attempts: to_u32("attempts", row.try_get("attempts")?)?,
        last_error: row.try_get("last_error")?,
        requested_at: Timestamp::from_unix(row.try_get("requested_at")?),
    })
}
