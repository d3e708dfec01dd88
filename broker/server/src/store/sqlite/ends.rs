//! Ending leases: one event for each, then the mark, in the caller's transaction.

use sqlx::SqliteConnection;
use verifier::Timestamp;

use super::super::{EndCause, LeaseSelector, StoreError, TenantId};

/// The two statements that end the open leases of a condition over `?4` and following.
/// `?1` tenant, `?2` time, `?3` cause.
macro_rules! statements {
    ($condition:literal) => {
        (
            concat!(
                "INSERT INTO lease_events (tenant, at, lease, guest, kind, name, status, cause)
                 SELECT tenant, ?2, id, guest, kind, name, status, ?3 FROM leases
                 WHERE tenant = ?1 AND ended_at IS NULL AND ",
                $condition
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
    let mut ended = 0;
    for statement in [tell, mark] {
        let mut query = sqlx::query(statement).bind(tenant.as_str()).bind(now.as_unix()).bind(cause.as_str());
        for value in &values {
            query = query.bind(value.as_str());
        }
        ended = query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(ended)
}

/// Ends every open lease whose time is over; says how many.
pub(super) async fn end_expired(connection: &mut SqliteConnection, now: Timestamp) -> Result<u64, StoreError> {
    let (now, cause) = (now.as_unix(), EndCause::Expired.as_str());
    sqlx::query(
        "INSERT INTO lease_events (tenant, at, lease, guest, kind, name, status, cause)
         SELECT tenant, ?1, id, guest, kind, name, status, ?2 FROM leases WHERE ended_at IS NULL AND expires_at <= ?1",
    )
    .bind(now)
    .bind(cause)
    .execute(&mut *connection)
    .await?;
    let ended =
        sqlx::query("UPDATE leases SET ended_at = ?1, end_cause = ?2 WHERE ended_at IS NULL AND expires_at <= ?1")
            .bind(now)
            .bind(cause)
            .execute(&mut *connection)
            .await?;
    Ok(ended.rows_affected())
}
