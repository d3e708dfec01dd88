//! Opening and renewing leases, in the transaction that settles the decision.

use sqlx::{Row, SqliteConnection};

use super::{
    super::{
        EndCause, Ground, GroundKind, GuestRecord, Lease, LeaseSelector, Opening, ReferenceKey, Settled, StoreError,
        StoredDecision,
    },
    ends, to_i64,
};

/// Why `opening` may not be written, if so. Inside the transaction, so that a revocation that commits first wins.
pub(super) async fn refusal(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: &Opening,
) -> Result<Option<Settled>, StoreError> {
    let tenant = decision.tenant.as_str();
    for set in &opening.sets {
        if !stands(connection, decision, set).await? {
            return Ok(Some(Settled::Overtaken));
        }
    }
    let revoked = sqlx::query(
        "SELECT revocations.kind AS kind, revocations.value AS value FROM json_each(?2) AS ground
         CROSS JOIN revocations ON revocations.tenant = ?1 AND revocations.kind = ground.value ->> 0
          AND revocations.value = ground.value ->> 1 AND revocations.lifted_at IS NULL LIMIT 1",
    )
    .bind(tenant)
    .bind(pairs(&opening.grounds))
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = revoked {
        let kind = GroundKind::parse(&row.try_get::<String, _>("kind")?)?;
        return Ok(Some(Settled::Revoked(Ground { kind, value: row.try_get("value")? })));
    }
    for renewed in &opening.renews {
        let open = sqlx::query(
            "SELECT 1 FROM leases WHERE tenant = ? AND id = ? AND guest = ? AND ended_at IS NULL AND expires_at > ?",
        )
        .bind(tenant)
        .bind(renewed)
        .bind(&opening.guest.id)
        .bind(decision.decided_at.as_unix())
        .fetch_optional(&mut *connection)
        .await?;
        if open.is_none() {
            return Ok(Some(Settled::LeaseEnded));
        }
    }
    Ok(None)
}

/// Whether a set that the evidence matched is still neither revoked nor retired: this transaction and the one that ends a
/// set come one after the other, so that no lease slips in between.
async fn stands(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    set: &ReferenceKey,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM reference_sets WHERE tenant = ? AND id = ? AND version = ?
         AND revoked_at IS NULL AND (retired_at IS NULL OR retired_at > ?)",
    )
    .bind(decision.tenant.as_str())
    .bind(&set.id)
    .bind(set.version)
    .bind(decision.decided_at.as_unix())
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

/// Writes guest, grounds and leases of a decision that is stored already.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: &Opening,
) -> Result<(), StoreError> {
    write_guest(connection, decision, &opening.guest).await?;
    sqlx::query(
        "INSERT OR IGNORE INTO grounds (tenant, kind, value, decision_id)
         SELECT ?1, ground.value ->> 0, ground.value ->> 1, ?3 FROM json_each(?2) AS ground",
    )
    .bind(decision.tenant.as_str())
    .bind(pairs(&opening.grounds))
    .bind(&decision.id)
    .execute(&mut *connection)
    .await?;
    for lease in &opening.leases {
        write_lease(connection, decision, &opening.guest.id, lease).await?;
    }
    let denied = opening.renews.iter().filter(|renewed| !opening.leases.iter().any(|lease| lease.id == **renewed));
    for lease in denied {
        let (tenant, at) = (&decision.tenant, decision.decided_at);
        ends::end(connection, tenant, LeaseSelector::Lease(lease), EndCause::Denied, at).await?;
    }
    Ok(())
}

async fn write_guest(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    guest: &GuestRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO guests (id, tenant, decision_id, workloads, platform, hwmodel, tcb_status, measurement, chip,
                             tee_key, first_at, last_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)
         ON CONFLICT (id) DO UPDATE SET decision_id = ?3, workloads = ?4, platform = ?5, hwmodel = ?6, tcb_status = ?7,
                                        measurement = ?8, chip = ?9, tee_key = ?10, last_at = ?11",
    )
    .bind(&guest.id)
    .bind(decision.tenant.as_str())
    .bind(&decision.id)
    .bind(guest.workloads.join(" "))
    .bind(&guest.platform)
    .bind(&guest.hwmodel)
    .bind(&guest.tcb_status)
    .bind(&guest.measurement)
    .bind(&guest.chip)
    .bind(&guest.tee_key)
    .bind(decision.decided_at.as_unix())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// A lease that is in the store already is renewed: its place stays, and one that ended stays ended.
async fn write_lease(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    guest: &str,
    lease: &Lease,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (id, tenant, guest, decision_id, kind, name, version, status, issued_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (id) DO UPDATE SET decision_id = ?4, version = ?7, issued_at = ?9, expires_at = ?10
         WHERE ended_at IS NULL AND tenant = ?2 AND guest = ?3 AND kind = ?5 AND name = ?6",
    )
    .bind(&lease.id)
    .bind(decision.tenant.as_str())
    .bind(guest)
    .bind(&decision.id)
    .bind(lease.kind)
    .bind(&lease.name)
    .bind(lease.version)
    .bind(to_i64("status place", lease.status)?)
    .bind(lease.issued_at.as_unix())
    .bind(lease.expires_at.as_unix())
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Grounds as a JSON list of pairs, for one statement over all of them.
fn pairs(grounds: &[Ground]) -> String {
    let pairs = grounds.iter().map(|ground| serde_json::json!([ground.kind.as_str(), ground.value])).collect();
    serde_json::Value::Array(pairs).to_string()
}
