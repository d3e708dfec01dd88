//! Settling one attestation, inside a transaction: one statement reads everything that could refuse it, one batch of
//! statements writes everything that it changes, the audit record among it. Each of the two is one hand-over to the thread
//! that owns the database.

use serde_json::{Value, json};
use sqlx::{Row, SqliteConnection};

use super::{
    super::{
        EndCause, Ground, GroundKind, Lease, LeaseSelector, Opening, Settled, Settlement, StoreError, StoredDecision,
    },
    audit, break_glass, certificates, counters, credentials, ends, to_i64,
};
use crate::audit::{Kind, Place, Record};

/// Settles one attestation, or says why not; then nothing was written.
pub(super) async fn settle(connection: &mut SqliteConnection, settlement: &Settlement) -> Result<Settled, StoreError> {
    // First, because a settlement that is refused here leaves nothing, in a transaction that it shares with others.
    let head = match refusal(connection, settlement).await? {
        Verdict::Refused(refused) => return Ok(refused),
        Verdict::Stands(head) => head,
    };
    if let Some(used) = &settlement.break_glass
        && !break_glass::spend(connection, settlement, used).await?
    {
        return Ok(Settled::Overtaken);
    }
    if let Some(opening) = &settlement.opening
        && !credentials::roles_stand(connection, opening).await?
    {
        return Ok(Settled::Overtaken);
    }
    if let Some(counters) = &settlement.counters {
        if counters::have_gone_back(connection, settlement, counters).await? {
            return Ok(Settled::WentBack);
        }
        counters::remember(connection, settlement, counters).await?;
    }
    let decision = &settlement.decision;
    match &settlement.opening {
        Some(opening) => write_opening(connection, settlement, opening, head).await?,
        None => write_decision(connection, settlement, head).await?,
    }
    if let Some(guest) = &settlement.ends_guest {
        let (tenant, at) = (&decision.tenant, decision.decided_at);
        ends::end(connection, tenant, LeaseSelector::Guest(guest), EndCause::Evidence, at).await?;
    }
    if let Some(used) = &settlement.break_glass {
        break_glass::record_use(connection, settlement, used).await?;
    }
    Ok(Settled::Recorded)
}

/// What the look before a settlement found.
enum Verdict {
    /// It does not count.
    Refused(Settled),
    /// It counts, behind this end of the audit log: nobody else writes before this transaction is over.
    Stands(Place),
}

/// What may not be there for a settlement to count, in one statement: its nonce among the consumed ones, a set that it rests on
/// but that ended, a standing revocation of something that it rests on, a lease to renew that is not open. Inside the
/// transaction, so that a revocation that commits first wins.
const REFUSAL: &str = concat!(
    "SELECT
    EXISTS (SELECT 1 FROM consumed_nonces WHERE nonce = ?1) AS replayed,
    EXISTS (SELECT 1 FROM json_each(?3) AS wanted WHERE NOT EXISTS (
        SELECT 1 FROM reference_sets
        WHERE tenant = ?2 AND id = wanted.value ->> 0 AND version = wanted.value ->> 1
        AND revoked_at IS NULL AND (retired_at IS NULL OR retired_at > ?7))) AS overtaken,
    (SELECT json_array(revocations.kind, revocations.value) FROM json_each(?4) AS ground
        CROSS JOIN revocations ON revocations.tenant = ?2 AND revocations.kind = ground.value ->> 0
        AND revocations.value = ground.value ->> 1 AND revocations.lifted_at IS NULL LIMIT 1) AS revoked,
    EXISTS (SELECT 1 FROM json_each(?5) AS renewed WHERE NOT EXISTS (
        SELECT 1 FROM leases
        WHERE tenant = ?2 AND id = renewed.value AND guest = ?6 AND ended_at IS NULL AND expires_at > ?7)) AS ended, ",
    audit::head_column!("?2"),
    " AS head"
);

async fn refusal(connection: &mut SqliteConnection, settlement: &Settlement) -> Result<Verdict, StoreError> {
    let decision = &settlement.decision;
    let opening = settlement.opening.as_ref();
    let row = sqlx::query(REFUSAL)
        .bind(settlement.nonce.as_slice())
        .bind(decision.tenant.as_str())
        .bind(opening.map(sets))
        .bind(opening.map(grounds))
        .bind(opening.map(|opening| json!(opening.renews).to_string()))
        .bind(opening.map(|opening| opening.guest.id.as_str()))
        .bind(decision.decided_at.as_unix())
        .fetch_one(connection)
        .await?;
    if row.try_get::<bool, _>("replayed")? {
        return Ok(Verdict::Refused(Settled::Replayed));
    }
    if row.try_get::<bool, _>("overtaken")? {
        return Ok(Verdict::Refused(Settled::Overtaken));
    }
    if let Some(revoked) = row.try_get::<Option<String>, _>("revoked")? {
        return Ok(Verdict::Refused(Settled::Revoked(ground(&revoked)?)));
    }
    if row.try_get::<bool, _>("ended")? {
        return Ok(Verdict::Refused(Settled::LeaseEnded));
    }
    Ok(Verdict::Stands(audit::head_of(row.try_get("head")?)?))
}

/// The audit record of a settlement: the decision by the digest of its record, and every lease that it opens or renews.
fn audited(settlement: &Settlement, head: Place) -> Result<Record, StoreError> {
    let decision = &settlement.decision;
    let opening = settlement.opening.as_ref();
    let lease = |lease: &Lease| {
        json!({"id": lease.id, "kind": lease.kind, "name": lease.name, "version": lease.version,
               "expires_at": lease.expires_at})
    };
    let leases: Option<Vec<Value>> = opening.map(|opening| opening.leases.iter().map(lease).collect());
    let sets: Option<Vec<_>> =
        opening.map(|opening| opening.sets.iter().map(|set| format!("{}@{}", set.id, set.version)).collect());
    let body = json!({
        "attestation": decision.id,
        "outcome": decision.outcome,
        "code": decision.code,
        "record_digest": audit::digest_of(&decision.record),
        "evidence_digest": decision.digests.evidence,
        "policies": decision.digests.policies,
        "guest": opening.map(|opening| &opening.guest.id),
        "reference_sets": sets,
        "leases": leases,
        "ends_guest": settlement.ends_guest,
    });
    let entry = audit::entry(decision.decided_at, Kind::AttestationDecided, &body)?;
    Ok(Record::chain(decision.tenant.as_str(), head, entry))
}

/// The nonce is spent and the decision is stored. Parameters are `$N`, which count over all statements of a
/// batch; SQLite gives `?N` a place in each statement also where it is not used.
macro_rules! decided {
    () => {
        "INSERT INTO consumed_nonces (nonce, expires_at) VALUES ($1, $2);
         INSERT INTO decisions (id, tenant, decided_at, outcome, code, authenticated, record)
         VALUES ($3, $4, $5, $6, $7, $8, $9);"
    };
}

/// It is in the audit log.
macro_rules! audited {
    () => {
        "INSERT INTO audit_log (tenant, sequence, at, kind, body, previous, hash)
         VALUES ($4, $10, $5, $11, $12, $13, $14);"
    };
}

/// The same with the guest, what the decision rests on, and the leases. A lease that is in the store already is renewed: its
/// place stays, and one that ended stays ended.
const OPENED: &str = concat!(
    decided!(),
    audited!(),
    "INSERT INTO guests (id, tenant, decision_id, workloads, platform, hwmodel, tcb_status, measurement, chip,
                         tee_key, first_at, last_at, reported_secrets, reported_complete, reported_at)
     VALUES ($15, $4, $3, $16, $17, $18, $19, $20, $21, $22, $5, $5, $25, $26, $27)
     ON CONFLICT (id) DO UPDATE SET decision_id = $3, workloads = $16, platform = $17, hwmodel = $18, tcb_status = $19,
                                    measurement = $20, chip = $21, tee_key = $22, last_at = $5,
                                    reported_secrets = COALESCE($25, reported_secrets),
                                    reported_complete = COALESCE($26, reported_complete),
                                    reported_at = COALESCE($27, reported_at);
     INSERT OR IGNORE INTO grounds (tenant, kind, value, decision_id)
     SELECT $4, ground.value ->> 0, ground.value ->> 1, $3 FROM json_each($23) AS ground;
     INSERT INTO leases (id, tenant, guest, decision_id, kind, name, version, status, issued_at, expires_at)
     SELECT lease.value ->> 0, $4, $15, $3, lease.value ->> 1, lease.value ->> 2, lease.value ->> 3, lease.value ->> 4,
            lease.value ->> 5, lease.value ->> 6 FROM json_each($24) AS lease WHERE true
     ON CONFLICT (id) DO UPDATE SET decision_id = excluded.decision_id, version = excluded.version,
                                    issued_at = excluded.issued_at, expires_at = excluded.expires_at
     WHERE ended_at IS NULL AND tenant = excluded.tenant AND guest = excluded.guest AND kind = excluded.kind
     AND name = excluded.name;"
);

macro_rules! bind_decision {
    ($statements:expr, $settlement:expr) => {
        sqlx::query($statements)
            .bind($settlement.nonce.as_slice())
            .bind($settlement.nonce_expires_at.as_unix())
            .bind(&$settlement.decision.id)
            .bind($settlement.decision.tenant.as_str())
            .bind($settlement.decision.decided_at.as_unix())
            .bind($settlement.decision.outcome)
            .bind(&$settlement.decision.code)
            .bind($settlement.decision.authenticated)
            .bind(&$settlement.decision.record)
    };
    ($statements:expr, $settlement:expr, $record:expr) => {
        bind_decision!($statements, $settlement)
            .bind(to_i64("record number", $record.sequence)?)
            .bind(&$record.entry.kind)
            .bind(&$record.entry.body)
            .bind($record.previous.0.as_slice())
            .bind($record.hash.0.as_slice())
    };
}

async fn write_decision(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    head: Place,
) -> Result<(), StoreError> {
    if settlement.decision.authenticated {
        let record = audited(settlement, head)?;
        bind_decision!(concat!(decided!(), audited!()), settlement, record).execute(connection).await?;
    } else {
        // Anybody can send evidence that is not authentic: such decisions are counted in the log (`audit::tend`), so that
        // a flood of them does not push out what else is there.
        bind_decision!(decided!(), settlement).execute(connection).await?;
    }
    Ok(())
}

async fn write_opening(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    opening: &Opening,
    head: Place,
) -> Result<(), StoreError> {
    let guest = &opening.guest;
    let record = audited(settlement, head)?;
    bind_decision!(OPENED, settlement, record)
        .bind(&guest.id)
        .bind(guest.workloads.join(" "))
        .bind(&guest.platform)
        .bind(&guest.hwmodel)
        .bind(&guest.tcb_status)
        .bind(&guest.measurement)
        .bind(&guest.chip)
        .bind(&guest.tee_key)
        .bind(grounds(opening))
        .bind(leases(&opening.leases)?)
        .bind(guest.report.map(|report| report.static_secrets))
        .bind(guest.report.map(|report| report.complete))
        .bind(guest.report.map(|_report| settlement.decision.decided_at.as_unix()))
        .execute(&mut *connection)
        .await?;
    credentials::activate_roles(connection, opening).await?;
    certificates::record(connection, opening).await?;
    end_denied(connection, &settlement.decision, opening).await
}

/// Leases that were to be renewed and were not granted again end.
async fn end_denied(
    connection: &mut SqliteConnection,
    decision: &StoredDecision,
    opening: &Opening,
) -> Result<(), StoreError> {
    let denied = opening.renews.iter().filter(|renewed| !opening.leases.iter().any(|lease| lease.id == **renewed));
    for lease in denied {
        let (tenant, at) = (&decision.tenant, decision.decided_at);
        ends::end(connection, tenant, LeaseSelector::Lease(lease), EndCause::Denied, at).await?;
    }
    Ok(())
}

/// Reference sets as a JSON list of (id, version), for one statement over all of them.
fn sets(opening: &Opening) -> String {
    let sets = opening.sets.iter().map(|set| json!([set.id, set.version])).collect();
    Value::Array(sets).to_string()
}

/// Grounds as a JSON list of (kind, value).
fn grounds(opening: &Opening) -> String {
    let grounds = opening.grounds.iter().map(|ground| json!([ground.kind.as_str(), ground.value])).collect();
    Value::Array(grounds).to_string()
}

/// Leases as a JSON list of (id, kind, name, version, status, issued at, expires at).
fn leases(leases: &[Lease]) -> Result<String, StoreError> {
    let mut rows = Vec::with_capacity(leases.len());
    for lease in leases {
        let status = to_i64("status place", lease.status)?;
        let (from, to) = (lease.issued_at.as_unix(), lease.expires_at.as_unix());
        rows.push(json!([lease.id, lease.kind, lease.name, lease.version, status, from, to]));
    }
    Ok(Value::Array(rows).to_string())
}

/// A ground out of the JSON that [`REFUSAL`] makes.
fn ground(pair: &str) -> Result<Ground, StoreError> {
    let unknown = || StoreError::Unknown { what: "revocation", found: pair.to_owned() };
    let (kind, value): (String, String) = serde_json::from_str(pair).map_err(|_not_a_pair| unknown())?;
    Ok(Ground { kind: GroundKind::parse(&kind)?, value })
}
