//! Ending leases: one event for each, then the mark and the audit record, in the caller's transaction.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{EndCause, LeaseSelector, StoreError, TenantId},
    audit,
};
use crate::audit::Kind;

/// Most leases of one audit record.
const LEASES: usize = 100;

/// The two statements that end the open leases of a condition over `?4` and following.
/// `?1` tenant, `?2` time, `?3` cause.
macro_rules! statements {
    ($condition:literal) => {
        (
            concat!(
                "INSERT INTO lease_events (tenant, at, lease, guest, kind, name, status, cause)
                 SELECT tenant, ?2, id, guest, kind, name, status, ?3 FROM leases
                 WHERE tenant = ?1 AND ended_at IS NULL AND ",
                $condition,
                " RETURNING lease, guest, kind, name"
            ),
            concat!(
                "UPDATE leases SET ended_at = ?2, end_cause = ?3
                 WHERE tenant = ?1 AND ended_at IS NULL AND ",
                $condition
            ),
        )
    };
}

/// Ends the open leases that `selector` names; says how many.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    selector: LeaseSelector<'_>,
    cause: EndCause,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let ((tell, mark), values) = match selector {
        LeaseSelector::Lease(id) => (statements!("id = ?4"), vec![id.to_owned()]),
        LeaseSelector::Guest(id) => (statements!("guest = ?4"), vec![id.to_owned()]),
        LeaseSelector::Credential { kind, name, version: None } => {
            (statements!("kind = ?4 AND name = ?5"), vec![kind.to_owned(), name.to_owned()])
        }
        LeaseSelector::Credential { kind, name, version: Some(version) } => (
            statements!("kind = ?4 AND name = ?5 AND version = CAST(?6 AS INTEGER)"),
            vec![kind.to_owned(), name.to_owned(), version.to_string()],
        ),
        LeaseSelector::Ground(ground) => (
            statements!(
                "decision_id IN (SELECT decision_id FROM grounds WHERE tenant = ?1 AND kind = ?4 AND value = ?5)"
            ),
            vec![ground.kind.as_str().to_owned(), ground.value.clone()],
        ),
    };
    let bind = |statement| {
        let query = sqlx::query(statement).bind(tenant.as_str()).bind(now.as_unix()).bind(cause.as_str());
        values.iter().fold(query, |query, value| query.bind(value.as_str()))
    };
    let told = bind(tell).fetch_all(&mut *connection).await?;
    if told.is_empty() {
        return Ok(0);
    }
    let ended = bind(mark).execute(&mut *connection).await?.rows_affected();
    let leases = told.iter().map(described).collect::<Result<Vec<_>, _>>()?;
    record(connection, tenant, &leases, cause, now).await?;
    Ok(ended)
}

/// Ends every open lease whose time is over; says how many.
pub(super) async fn end_expired(connection: &mut SqliteConnection, now: Timestamp) -> Result<u64, StoreError> {
    let told = sqlx::query(
        "INSERT INTO lease_events (tenant, at, lease, guest, kind, name, status, cause)
         SELECT tenant, ?1, id, guest, kind, name, status, ?2 FROM leases WHERE ended_at IS NULL AND expires_at <= ?1
         RETURNING tenant, lease, guest, kind, name",
    )
    .bind(now.as_unix())
    .bind(EndCause::Expired.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let ended =
        sqlx::query("UPDATE leases SET ended_at = ?1, end_cause = ?2 WHERE ended_at IS NULL AND expires_at <= ?1")
            .bind(now.as_unix())
            .bind(EndCause::Expired.as_str())
            .execute(&mut *connection)
            .await?;
    let mut by_tenant: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in &told {
        by_tenant.entry(row.try_get("tenant")?).or_default().push(described(row)?);
    }
    for (tenant, leases) in by_tenant {
        record(connection, &TenantId::stored(tenant), &leases, EndCause::Expired, now).await?;
    }
    Ok(ended.rows_affected())
}

/// A lease that ended, for the audit log.
fn described(row: &SqliteRow) -> Result<Value, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    Ok(json!({"id": text("lease")?, "guest": text("guest")?, "kind": text("kind")?, "name": text("name")?}))
}

async fn record(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    leases: &[Value],
    cause: EndCause,
    now: Timestamp,
) -> Result<(), StoreError> {
    let entry = |leases| audit::entry(now, Kind::LeaseEnded, &json!({"cause": cause.as_str(), "leases": leases}));
    let entries = leases.chunks(LEASES).map(entry).collect::<Result<_, _>>()?;
    audit::append_all(connection, tenant, entries).await
}
