//! Token exchanges in SQLite.

use serde_json::json;
use sqlx::{Row, SqliteConnection};
use verifier::Timestamp;

use super::{
    super::{
        ExchangeOpening, ExchangeSettled, ExchangeSettlement, ExchangeStore, Ground, GroundKind, HeldLease, Spending,
        StoreError, StoreFuture, StoredDecision, TenantId,
    },
    SqliteStore, audit,
    leases::lease_of,
    to_i64,
};
use crate::audit::Kind;

/// Seconds that a proof stays after it expired, so that a clock that is set back cannot revive it.
const PROOF_GRACE: i64 = 3600;

impl ExchangeStore for SqliteStore {
    fn lease_at<'a>(&'a self, tenant: &'a TenantId, status: u64) -> StoreFuture<'a, Option<HeldLease>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT id, guest, kind, name, version, status, issued_at, expires_at, ended_at, decision_id
                 FROM leases WHERE tenant = ? AND status = ?",
            )
            .bind(tenant.as_str())
            .bind(to_i64("status place", status)?)
            .fetch_optional(&self.pool)
            .await?;
            let held = |row| Ok(HeldLease { lease: lease_of(&row)?, decision: row.try_get("decision_id")? });
            row.map(held).transpose()
        })
    }

    fn is_proof_used<'a>(&'a self, proof: &'a [u8; 32]) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let row = sqlx::query("SELECT 1 FROM used_proofs WHERE proof = ?")
                .bind(proof.as_slice())
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.is_some())
        })
    }

    fn settle_exchange(&self, settlement: ExchangeSettlement) -> StoreFuture<'_, ExchangeSettled> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let settled = settle(&mut transaction, &settlement).await?;
            // What is not recorded is rolled back when the transaction is dropped.
            if settled == ExchangeSettled::Recorded {
                transaction.commit().await?;
            }
            Ok(settled)
        })
    }

    fn sweep_proofs(&self, now: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM used_proofs WHERE expires_at < ?")
                .bind(now.plus_seconds(-PROOF_GRACE).as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}

async fn settle(
    connection: &mut SqliteConnection,
    settlement: &ExchangeSettlement,
) -> Result<ExchangeSettled, StoreError> {
    let ExchangeSettlement { proof, decision, opening } = settlement;
    if let Some(proof) = proof {
        let used =
            sqlx::query("INSERT INTO used_proofs (proof, expires_at) VALUES (?, ?) ON CONFLICT (proof) DO NOTHING")
                .bind(proof.id.as_slice())
                .bind(proof.expires_at.as_unix())
                .execute(&mut *connection)
                .await?;
        if used.rows_affected() == 0 {
            return Ok(ExchangeSettled::Replayed);
        }
    }
    if let Some(opening) = opening
        && let Some(refused) = refusal(connection, decision, opening).await?
    {
        return Ok(refused);
    }
    sqlx::query(
        "INSERT INTO decisions (id, tenant, decided_at, outcome, code, authenticated, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&decision.id)
    .bind(decision.tenant.as_str())
    .bind(decision.decided_at.as_unix())
    .bind(decision.outcome)
    .bind(&decision.code)
    .bind(decision.authenticated)
    .bind(&decision.record)
    .execute(&mut *connection)
    .await?;
    if let Some(opening) = opening {
        open(connection, decision, opening).await?;
    }
    record(connection, decision, opening.as_ref()).await?;
    Ok(ExchangeSettled::Recorded)
}

/// Into the audit log: what was exchanged on which attestation, and what came of it.
async fn record(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: Option<&ExchangeOpening>,
) -> Result<(), StoreError> {
    let lease = opening.map(|opening| {
        let lease = &opening.lease;
        json!({"id": lease.id, "kind": lease.kind, "name": lease.name, "version": lease.version,
               "expires_at": lease.expires_at})
    });
    let body = json!({
        "exchange": decision.id,
        "attestation": decision.digests.attestation,
        "outcome": decision.outcome,
        "code": decision.code,
        "record_digest": audit::digest_of(&decision.record),
        "policies": decision.digests.policies,
        "guest": opening.map(|opening| &opening.guest),
        "lease": lease,
    });
    audit::append(connection, &decision.tenant, decision.decided_at, Kind::ExchangeDecided, body).await
}

/// Why it may not be opened, if so: this transaction and the one that ends a lease come one after the other.
async fn refusal(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: &ExchangeOpening,
) -> Result<Option<ExchangeSettled>, StoreError> {
    let tenant = decision.tenant.as_str();
    for held in &opening.rests_on {
        let stands = sqlx::query(
            "SELECT 1 FROM leases WHERE tenant = ? AND id = ? AND decision_id = ? AND ended_at IS NULL AND expires_at > ?",
        )
        .bind(tenant)
        .bind(&held.lease.id)
        .bind(&held.decision)
        .bind(decision.decided_at.as_unix())
        .fetch_optional(&mut *connection)
        .await?;
        if stands.is_none() {
            return Ok(Some(ExchangeSettled::Ended));
        }
    }
    // What the leases rest on is not revoked, or they had ended. The policy may be another one by now.
    let revoked = sqlx::query(
        "SELECT kind, value FROM revocations WHERE tenant = ? AND kind = ? AND value = ? AND lifted_at IS NULL LIMIT 1",
    )
    .bind(tenant)
    .bind(opening.policy.kind.as_str())
    .bind(&opening.policy.value)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(row) = revoked {
        let kind = GroundKind::parse(&row.try_get::<String, _>("kind")?)?;
        return Ok(Some(ExchangeSettled::Revoked(Ground { kind, value: row.try_get("value")? })));
    }
    match opening.spending {
        Some(spending) => spent(connection, opening, spending).await,
        None => Ok(None),
    }
}

/// Whether the guest's budget is spent, with the new token counted. A guest that attests anew is a new guest with the same
/// budget: what has its key counts as well, and what has its image on its chip, which no evidence tells apart.
async fn spent(
    connection: &mut SqliteConnection,
    opening: &ExchangeOpening,
    spending: Spending,
) -> Result<Option<ExchangeSettled>, StoreError> {
    let row = sqlx::query(
        "SELECT COUNT(*) AS tokens, COUNT(DISTINCT name) AS targets, COALESCE(SUM(name = ?4), 0) AS before
         FROM leases WHERE kind = ?2 AND issued_at > ?3 AND guest IN (
            SELECT other.id FROM guests AS own JOIN guests AS other ON other.tenant = own.tenant AND (
                other.id = own.id OR other.tee_key = own.tee_key
                OR (other.chip = own.chip AND other.measurement IS own.measurement AND other.platform = own.platform))
            WHERE own.id = ?1)",
    )
    .bind(&opening.guest)
    .bind(opening.lease.kind)
    .bind(spending.since.as_unix())
    .bind(&opening.lease.name)
    .fetch_one(&mut *connection)
    .await?;
    let (tokens, targets): (i64, i64) = (row.try_get("tokens")?, row.try_get("targets")?);
    let new_target = i64::from(row.try_get::<i64, _>("before")? == 0);
    let over = tokens.saturating_add(1) > i64::from(spending.tokens)
        || targets.saturating_add(new_target) > i64::from(spending.targets);
    Ok(over.then_some(ExchangeSettled::Spent { seconds: spending.seconds }))
}

async fn open(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: &ExchangeOpening,
) -> Result<(), StoreError> {
    let tenant = decision.tenant.as_str();
    for held in &opening.rests_on {
        sqlx::query(
            "INSERT OR IGNORE INTO grounds (tenant, kind, value, decision_id)
             SELECT tenant, kind, value, ?2 FROM grounds WHERE tenant = ?1 AND decision_id = ?3",
        )
        .bind(tenant)
        .bind(&decision.id)
        .bind(&held.decision)
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query("INSERT OR IGNORE INTO grounds (tenant, kind, value, decision_id) VALUES (?, ?, ?, ?)")
        .bind(tenant)
        .bind(opening.policy.kind.as_str())
        .bind(&opening.policy.value)
        .bind(&decision.id)
        .execute(&mut *connection)
        .await?;
    let lease = &opening.lease;
    sqlx::query(
        "INSERT INTO leases (id, tenant, guest, decision_id, kind, name, version, status, issued_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&lease.id)
    .bind(tenant)
    .bind(&opening.guest)
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
