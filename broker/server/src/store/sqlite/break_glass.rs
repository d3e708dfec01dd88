//! Break-glass requests in SQLite.

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        BreakGlass, BreakGlassStore, GlassApproved, GlassTarget, GlassTerms, GlassUse, Settlement, StoreError,
        StoreFuture, TenantId,
    },
    SqliteStore, audit, to_u32,
};
use crate::audit::Kind;

/// Open requests of a tenant. `?1` tenant, `?2` time.
macro_rules! open {
    () => {
        "tenant = ?1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > ?2"
    };
}

/// Open requests that may be used: whoever asked is an administrator still, and so are enough other persons who approved.
/// `?3` fingerprints that count (JSON), `?4` approvals at least.
macro_rules! usable {
    () => {
        concat!(
            open!(),
            " AND EXISTS (SELECT 1 FROM administrators WHERE administrators.tenant = break_glass.tenant
                 AND administrators.fingerprint = break_glass.fingerprint
                 AND role = 'admin' AND removed_at IS NULL)
             AND lower(hex(break_glass.fingerprint)) IN (SELECT value FROM json_each(?3))
             AND (SELECT COUNT(*) FROM break_glass_approvals AS approval
                  JOIN administrators ON administrators.tenant = break_glass.tenant
                  AND administrators.fingerprint = approval.fingerprint
                  AND administrators.role = 'admin' AND administrators.removed_at IS NULL
                  WHERE approval.request = break_glass.id AND approval.fingerprint <> break_glass.fingerprint
                  AND approval.person <> break_glass.requested_by
                  AND lower(hex(approval.fingerprint)) IN (SELECT value FROM json_each(?3))) >= MAX(needed, ?4)"
        )
    };
}

/// The columns of a request.
macro_rules! select {
    () => {
        "SELECT id, secret, reason, workload, measurement, chip, requested_by, fingerprint, requested_at, expires_at,
                needed, used_at, used_by, revoked_at, revoked_by,
                (SELECT json_group_array(person) FROM break_glass_approvals WHERE request = break_glass.id) AS approvals
         FROM break_glass WHERE "
    };
}

impl BreakGlassStore for SqliteStore {
    fn request_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        request: &'a BreakGlass,
        most: u32,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let (workload, measurement, chip) = match &request.target {
                GlassTarget::Workload(workload) => (Some(workload), None, None),
                GlassTarget::Guest { measurement, chip } => (None, Some(measurement), Some(chip)),
            };
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let inserted = sqlx::query(concat!(
                "INSERT INTO break_glass (id, tenant, secret, reason, workload, measurement, chip, requested_by, fingerprint,
                                          requested_at, expires_at, needed)
                 SELECT ?3, ?1, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?2, ?11, ?12
                 WHERE (SELECT COUNT(*) FROM break_glass WHERE ",
                open!(),
                ") < ?13"
            ))
            .bind(tenant.as_str())
            .bind(request.requested_at.as_unix())
            .bind(&request.id)
            .bind(&request.secret)
            .bind(&request.reason)
            .bind(workload)
            .bind(measurement)
            .bind(chip)
            .bind(&request.requested_by)
            .bind(request.fingerprint.as_slice())
            .bind(request.expires_at.as_unix())
            .bind(request.needed)
            .bind(most)
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() == 0 {
                return Ok(false);
            }
            let body = json!({
                "id": request.id, "secret": request.secret, "target": request.target, "reason": request.reason,
                "by": request.requested_by, "expires_at": request.expires_at, "needed": request.needed,
            });
            audit::append(&mut transaction, tenant, request.requested_at, Kind::BreakGlassRequested, body).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn approve_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        person: &'a str,
        fingerprint: &'a [u8; 32],
        now: Timestamp,
    ) -> StoreFuture<'a, GlassApproved> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let row =
                sqlx::query(concat!("SELECT requested_by, fingerprint FROM break_glass WHERE id = ?3 AND ", open!()))
                    .bind(tenant.as_str())
                    .bind(now.as_unix())
                    .bind(id)
                    .fetch_optional(&mut *transaction)
                    .await?;
            let Some(row) = row else { return Ok(GlassApproved::Absent) };
            let (asked, certificate): (String, Vec<u8>) = (row.try_get("requested_by")?, row.try_get("fingerprint")?);
            if asked == person || certificate == fingerprint {
                return Ok(GlassApproved::Own);
            }
            let inserted = sqlx::query(
                "INSERT INTO break_glass_approvals (request, person, fingerprint, at) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(id)
            .bind(person)
            .bind(fingerprint.as_slice())
            .bind(now.as_unix())
            .execute(&mut *transaction)
            .await?;
            if inserted.rows_affected() == 0 {
                return Ok(GlassApproved::Twice);
            }
            let row = sqlx::query("SELECT COUNT(*) AS approvals FROM break_glass_approvals WHERE request = ?")
                .bind(id)
                .fetch_one(&mut *transaction)
                .await?;
            let approvals = to_u32("approvals", row.try_get("approvals")?)?;
            let body = json!({"id": id, "by": person, "approvals": approvals});
            audit::append(&mut transaction, tenant, now, Kind::BreakGlassApproved, body).await?;
            transaction.commit().await?;
            Ok(GlassApproved::Counted(approvals))
        })
    }

    fn revoke_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        by: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let revoked = sqlx::query(concat!(
                "UPDATE break_glass SET revoked_at = ?2, revoked_by = ?4 WHERE id = ?3 AND ",
                open!()
            ))
            .bind(tenant.as_str())
            .bind(now.as_unix())
            .bind(id)
            .bind(by)
            .execute(&mut *transaction)
            .await?;
            if revoked.rows_affected() == 1 {
                let body = json!({"id": id, "by": by});
                audit::append(&mut transaction, tenant, now, Kind::BreakGlassRevoked, body).await?;
            }
            transaction.commit().await?;
            Ok(revoked.rows_affected() == 1)
        })
    }

    fn break_glass<'a>(&'a self, tenant: &'a TenantId, limit: u32) -> StoreFuture<'a, Vec<BreakGlass>> {
        Box::pin(async move {
            let rows = sqlx::query(concat!(select!(), "tenant = ? ORDER BY requested_at DESC, id LIMIT ?"))
                .bind(tenant.as_str())
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(request_of).collect()
        })
    }

    fn approved_break_glass<'a>(
        &'a self,
        tenant: &'a TenantId,
        secret: &'a str,
        terms: &'a GlassTerms,
        now: Timestamp,
    ) -> StoreFuture<'a, Vec<BreakGlass>> {
        Box::pin(async move {
            let rows = sqlx::query(concat!(select!(), usable!(), " AND secret = ?5 ORDER BY requested_at, id"))
                .bind(tenant.as_str())
                .bind(now.as_unix())
                .bind(json!(terms.trusted).to_string())
                .bind(terms.least)
                .bind(secret)
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(request_of).collect()
        })
    }
}

/// Uses a request up, in the transaction of the settlement that it allows; whether it could be used.
pub(super) async fn spend(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    used: &GlassUse,
) -> Result<bool, StoreError> {
    let decision = &settlement.decision;
    let spent = sqlx::query(concat!("UPDATE break_glass SET used_at = ?2, used_by = ?6 WHERE id = ?5 AND ", usable!()))
        .bind(decision.tenant.as_str())
        .bind(decision.decided_at.as_unix())
        .bind(json!(used.terms.trusted).to_string())
        .bind(used.terms.least)
        .bind(&used.id)
        .bind(&decision.id)
        .execute(connection)
        .await?;
    Ok(spent.rows_affected() == 1)
}

/// That it was used, behind the record of the decision.
pub(super) async fn record_use(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    used: &GlassUse,
) -> Result<(), StoreError> {
    let decision = &settlement.decision;
    let body = json!({"id": used.id, "attestation": decision.id});
    audit::append(connection, &decision.tenant, decision.decided_at, Kind::BreakGlassUsed, body).await
}

fn request_of(row: &SqliteRow) -> Result<BreakGlass, StoreError> {
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map(|time| time.map(Timestamp::from_unix));
    let unknown = |what: &'static str, found: &str| StoreError::Unknown { what, found: found.to_owned() };
    let id: String = row.try_get("id")?;
    let target = match (row.try_get("workload")?, row.try_get("measurement")?) {
        (Some(workload), None) => GlassTarget::Workload(workload),
        (None, Some(measurement)) => GlassTarget::Guest { measurement, chip: row.try_get("chip")? },
        (Some(_), Some(_)) | (None, None) => return Err(unknown("break-glass target", &id)),
    };
    let fingerprint: Vec<u8> = row.try_get("fingerprint")?;
    let approvals: String = row.try_get("approvals")?;
    Ok(BreakGlass {
        secret: row.try_get("secret")?,
        reason: row.try_get("reason")?,
        target,
        requested_by: row.try_get("requested_by")?,
        fingerprint: fingerprint.try_into().map_err(|_length| unknown("fingerprint", &id))?,
        requested_at: Timestamp::from_unix(row.try_get("requested_at")?),
        expires_at: Timestamp::from_unix(row.try_get("expires_at")?),
        needed: to_u32("approvals", row.try_get("needed")?)?,
        approvals: serde_json::from_str(&approvals).map_err(|_other| unknown("approvals", &approvals))?,
        used_at: time("used_at")?,
        used_by: row.try_get("used_by")?,
        revoked_at: time("revoked_at")?,
        revoked_by: row.try_get("revoked_by")?,
        id,
    })
}
