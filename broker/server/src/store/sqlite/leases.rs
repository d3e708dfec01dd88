//! Leases, guests, revocations and events in SQLite.

use evidence_formats::guest_report::GuestReport;
use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        EndCause, Ground, GroundKind, GuestQuery, GuestReported, LeaseEvent, LeaseSelector, LeaseStore, Revocation,
        StoreError, StoreFuture, StoredGuest, StoredLease, TenantId, WorkloadSummary,
    },
    SqliteStore, audit, ends, to_i64, to_u32, to_u64,
};
use crate::audit::Kind;

/// Seconds that an ended lease stays: longer than anything that it vouched for.
const KEEP_ENDED: i64 = 24 * 3600;
/// Seconds that an event can be read again.
const KEEP_EVENTS: i64 = 7 * 24 * 3600;
/// Seconds that a guest without leases stays in the inventory.
const KEEP_GUESTS: i64 = 30 * 24 * 3600;

/// The number of the newest event, also of one that was swept: numbers that follow from it never go back.
const NEWEST_EVENT: &str =
    "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'lease_events'), 0) AS newest";

/// The columns of a guest.
macro_rules! select_guests {
    ($condition:literal) => {
        concat!(
            "SELECT id, workloads, platform, hwmodel, tcb_status, measurement, chip, decision_id, first_at, last_at,
                    reported_secrets, reported_complete, reported_at
             FROM guests WHERE tenant = ?1 AND ",
            $condition
        )
    };
}

/// The columns of a lease.
macro_rules! select_leases {
    ($condition:literal) => {
        concat!(
            "SELECT id, guest, kind, name, version, status, issued_at, expires_at, ended_at
             FROM leases WHERE tenant = ?1 AND ",
            $condition
        )
    };
}

impl LeaseStore for SqliteStore {
    fn end_leases<'a>(
        &'a self,
        tenant: &'a TenantId,
        selector: LeaseSelector<'a>,
        cause: EndCause,
        now: Timestamp,
    ) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let ended = ends::end(&mut transaction, tenant, selector, cause, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
    }

    fn end_expired(&self, now: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            // Most of the time nothing is over, and a look costs no write lock.
            let due = sqlx::query("SELECT 1 FROM leases WHERE ended_at IS NULL AND expires_at <= ? LIMIT 1")
                .bind(now.as_unix())
                .fetch_optional(&self.pool)
                .await?;
            if due.is_none() {
                return Ok(0);
            }
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let ended = ends::end_expired(&mut transaction, now).await?;
            transaction.commit().await?;
            Ok(ended)
        })
    }

    fn lease<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<StoredLease>> {
        Box::pin(async move {
            let row = sqlx::query(select_leases!("id = ?2"))
                .bind(tenant.as_str())
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(lease_of).transpose()
        })
    }

    fn guest<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<StoredGuest>> {
        Box::pin(async move {
            let row = sqlx::query(select_guests!("id = ?2"))
                .bind(tenant.as_str())
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
            match row {
                Some(row) => Ok(Some(self.with_leases(tenant, guest_of(&row)?).await?)),
                None => Ok(None),
            }
        })
    }

    fn guests<'a>(&'a self, tenant: &'a TenantId, query: &'a GuestQuery) -> StoreFuture<'a, Vec<StoredGuest>> {
        Box::pin(async move {
            let rows = sqlx::query(select_guests!(
                "(?2 IS NULL OR instr(' ' || workloads || ' ', ' ' || ?2 || ' ') > 0)
                 AND (?3 = 0 OR EXISTS (SELECT 1 FROM leases WHERE guest = guests.id AND ended_at IS NULL))
                 ORDER BY last_at DESC, rowid DESC LIMIT ?4"
            ))
            .bind(tenant.as_str())
            .bind(&query.workload)
            .bind(query.open_only)
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await?;
            let mut guests = Vec::with_capacity(rows.len());
            for row in &rows {
                guests.push(self.with_leases(tenant, guest_of(row)?).await?);
            }
            Ok(guests)
        })
    }

    fn workload_summaries<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<WorkloadSummary>> {
        Box::pin(async move {
            // A guest may match more than one workload: names have no spaces and need no escapes in JSON.
            let rows = sqlx::query(
                "WITH matched AS (
                     SELECT guests.*, guests.rowid AS place, name.value AS workload,
                            (SELECT COUNT(*) FROM leases WHERE guest = guests.id AND ended_at IS NULL) AS held
                     FROM guests, json_each('[\"' || replace(workloads, ' ', '\",\"') || '\"]') AS name
                     WHERE tenant = ?1 AND workloads <> ''
                 ), newest AS (
                     SELECT workload, reported_secrets, reported_complete, reported_at,
                            ROW_NUMBER() OVER (PARTITION BY workload ORDER BY reported_at DESC, place DESC) AS age
                     FROM matched WHERE reported_at IS NOT NULL
                 )
                 SELECT matched.workload AS workload, COUNT(*) AS guests, SUM(held) AS leases, MAX(last_at) AS last_at,
                        newest.reported_secrets AS reported_secrets, newest.reported_complete AS reported_complete,
                        newest.reported_at AS reported_at
                 FROM matched LEFT JOIN newest ON newest.workload = matched.workload AND newest.age = 1
                 GROUP BY matched.workload ORDER BY matched.workload",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            let summary = |row: &SqliteRow| {
                Ok(WorkloadSummary {
                    workload: row.try_get("workload")?,
                    guests: to_u64("count", row.try_get("guests")?)?,
                    leases: to_u64("count", row.try_get("leases")?)?,
                    last_at: time(row, "last_at")?,
                    guest_reported: reported_of(row)?,
                })
            };
            rows.iter().map(summary).collect()
        })
    }

    fn revoke<'a>(&'a self, tenant: &'a TenantId, revocation: &'a Revocation) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let ground = &revocation.ground;
            let inserted = sqlx::query(
                "INSERT INTO revocations (id, tenant, kind, value, reason, author, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(&revocation.id)
            .bind(tenant.as_str())
            .bind(ground.kind.as_str())
            .bind(&ground.value)
            .bind(&revocation.reason)
            .bind(&revocation.author)
            .bind(revocation.created_at.as_unix())
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() == 0 {
                return Err(StoreError::Conflict);
            }
            let selector = LeaseSelector::Ground(ground);
            // The cause before its effects.
            let body = json!({
                "id": revocation.id, "revoked": ground.kind.as_str(), "value": ground.value,
                "reason": revocation.reason, "by": revocation.author,
            });
            audit::append(&mut transaction, tenant, revocation.created_at, Kind::RevocationAdded, body).await?;
            let ended = ends::end(&mut transaction, tenant, selector, EndCause::Revoked, revocation.created_at).await?;
            transaction.commit().await?;
            Ok(ended)
        })
    }

    fn lift_revocation<'a>(&'a self, tenant: &'a TenantId, id: &'a str, now: Timestamp) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let lifted =
                sqlx::query("UPDATE revocations SET lifted_at = ? WHERE tenant = ? AND id = ? AND lifted_at IS NULL")
                    .bind(now.as_unix())
                    .bind(tenant.as_str())
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
            if lifted.rows_affected() > 0 {
                audit::append(&mut transaction, tenant, now, Kind::RevocationLifted, json!({"id": id})).await?;
            }
            transaction.commit().await?;
            Ok(lifted.rows_affected() > 0)
        })
    }

    fn revocations<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<Revocation>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT id, kind, value, reason, author, created_at FROM revocations
                 WHERE tenant = ? AND lifted_at IS NULL ORDER BY created_at DESC, id",
            )
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(revocation_of).collect()
        })
    }

    fn lease_events<'a>(&'a self, tenant: &'a TenantId, after: u64, limit: u32) -> StoreFuture<'a, Vec<LeaseEvent>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT sequence, at, lease, guest, kind, name, status, cause, event, data FROM lease_events
                 WHERE tenant = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            )
            .bind(tenant.as_str())
            .bind(to_i64("event number", after)?)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(event_of).collect()
        })
    }

    fn newest_lease_event(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query(NEWEST_EVENT).fetch_one(&self.pool).await?;
            to_u64("event number", row.try_get("newest")?)
        })
    }

    fn take_status_places(&self, count: u32) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query("UPDATE status_places SET next = next + ?1 RETURNING next - ?1 AS first")
                .bind(count)
                .fetch_one(&self.pool)
                .await?;
            to_u64("status place", row.try_get("first")?)
        })
    }

    fn next_status_place(&self) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let row = sqlx::query("SELECT next FROM status_places").fetch_one(&self.pool).await?;
            to_u64("status place", row.try_get("next")?)
        })
    }

    fn ended_status_places<'a>(&'a self, tenant: &'a TenantId, first: u64, count: u32) -> StoreFuture<'a, Vec<u64>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT status FROM leases
                 WHERE status >= ?1 AND status < ?1 + ?2 AND ended_at IS NOT NULL AND end_cause <> ?3 AND tenant = ?4",
            )
            .bind(to_i64("status place", first)?)
            .bind(count)
            .bind(EndCause::Expired.as_str())
            .bind(tenant.as_str())
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(|row| to_u64("status place", row.try_get("status")?)).collect()
        })
    }

    fn sweep_leases(&self, now: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let steps = [
                ("DELETE FROM lease_events WHERE at < ?", KEEP_EVENTS),
                ("DELETE FROM leases WHERE ended_at < ?", KEEP_ENDED),
                ("DELETE FROM guests WHERE last_at < ? AND id NOT IN (SELECT guest FROM leases)", KEEP_GUESTS),
            ];
            for (statement, keep) in steps {
                sqlx::query(statement)
                    .bind(now.plus_seconds(keep.saturating_neg()).as_unix())
                    .execute(&self.pool)
                    .await?;
            }
            sqlx::query("DELETE FROM grounds WHERE decision_id NOT IN (SELECT decision_id FROM leases)")
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}

impl SqliteStore {
    async fn with_leases(&self, tenant: &TenantId, guest: StoredGuest) -> Result<StoredGuest, StoreError> {
        let rows = sqlx::query(select_leases!("guest = ?2 AND ended_at IS NULL ORDER BY kind, name, id"))
            .bind(tenant.as_str())
            .bind(&guest.id)
            .fetch_all(&self.pool)
            .await?;
        let leases = rows.iter().map(lease_of).collect::<Result<_, _>>()?;
        Ok(StoredGuest { leases, ..guest })
    }
}

fn time(row: &SqliteRow, column: &str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_unix(row.try_get(column)?))
}

pub(super) fn lease_of(row: &SqliteRow) -> Result<StoredLease, StoreError> {
    Ok(StoredLease {
        id: row.try_get("id")?,
        guest: row.try_get("guest")?,
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        version: to_u32("lease version", row.try_get("version")?)?,
        status: to_u64("status place", row.try_get("status")?)?,
        issued_at: time(row, "issued_at")?,
        expires_at: time(row, "expires_at")?,
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp::from_unix),
    })
}

fn guest_of(row: &SqliteRow) -> Result<StoredGuest, StoreError> {
    Ok(StoredGuest {
        id: row.try_get("id")?,
        workloads: row.try_get::<String, _>("workloads")?.split_whitespace().map(str::to_owned).collect(),
        platform: row.try_get("platform")?,
        hwmodel: row.try_get("hwmodel")?,
        tcb_status: row.try_get("tcb_status")?,
        measurement: row.try_get("measurement")?,
        chip: row.try_get("chip")?,
        attestation_id: row.try_get("decision_id")?,
        first_at: time(row, "first_at")?,
        last_at: time(row, "last_at")?,
        guest_reported: reported_of(row)?,
        leases: Vec::new(),
    })
}

fn reported_of(row: &SqliteRow) -> Result<Option<GuestReported>, StoreError> {
    let Some(at) = row.try_get::<Option<i64>, _>("reported_at")? else { return Ok(None) };
    let static_secrets = to_u32("reported secrets", row.try_get("reported_secrets")?)?;
    let report = GuestReport { static_secrets, complete: row.try_get("reported_complete")? };
    Ok(Some(GuestReported { report, at: Timestamp::from_unix(at) }))
}

fn revocation_of(row: &SqliteRow) -> Result<Revocation, StoreError> {
    let kind = GroundKind::parse(&row.try_get::<String, _>("kind")?)?;
    Ok(Revocation {
        id: row.try_get("id")?,
        ground: Ground { kind, value: row.try_get("value")? },
        reason: row.try_get("reason")?,
        author: row.try_get("author")?,
        created_at: time(row, "created_at")?,
    })
}

fn event_of(row: &SqliteRow) -> Result<LeaseEvent, StoreError> {
    Ok(LeaseEvent {
        sequence: to_u64("event number", row.try_get("sequence")?)?,
        at: time(row, "at")?,
        lease: row.try_get("lease")?,
        guest: row.try_get("guest")?,
        kind: row.try_get("kind")?,
        name: row.try_get("name")?,
        status: to_u64("status place", row.try_get("status")?)?,
        cause: row.try_get("cause")?,
        event: row.try_get("event")?,
        data: row.try_get("data")?,
    })
}
