//! Enrolments in SQLite.

use serde_json::json;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::{Timestamp, tpm::AkProvenance};

use super::{
    super::{
        Act, EnrolmentBounds, EnrolmentRecord, EnrolmentState, EnrolmentStore, PendingEnrolment, Registered,
        StoreError, StoreFuture, StoredEk, TenantId,
    },
    SqliteStore, audit,
};
use crate::audit::Kind;

const COLUMNS: &str = "ak_name, ek_name, ek_public, provenance, details, owner, reason, state, requested_at, approved_by, \
                       enrolled_at, revoked_by, revoked_at";

impl EnrolmentStore for SqliteStore {
    fn add_pending<'a>(
        &'a self,
        tenant: &'a TenantId,
        pending: &'a PendingEnrolment,
        now: Timestamp,
        limit: u32,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query("DELETE FROM pending_enrolments WHERE expires_at <= ?")
                .bind(now.as_unix())
                .execute(&mut *transaction)
                .await?;
            let added = sqlx::query(
                "INSERT INTO pending_enrolments
                 (id, tenant, secret_digest, ak_name, ek_name, ek_public, provenance, details, expires_at)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                 WHERE (SELECT COUNT(*) FROM pending_enrolments WHERE tenant = ?2) < ?10",
            )
            .bind(&pending.id)
            .bind(tenant.as_str())
            .bind(pending.secret_digest.as_slice())
            .bind(&pending.ak_name)
            .bind(&pending.ek.name)
            .bind(&pending.ek.public)
            .bind(pending.provenance.as_str())
            .bind(&pending.details)
            .bind(pending.expires_at.as_unix())
            .bind(limit)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(added.rows_affected() == 1)
        })
    }

    fn take_pending<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<PendingEnrolment>> {
        Box::pin(async move {
            let row = sqlx::query(
                "DELETE FROM pending_enrolments WHERE tenant = ? AND id = ?
                 RETURNING id, secret_digest, ak_name, ek_name, ek_public, provenance, details, expires_at",
            )
            .bind(tenant.as_str())
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(pending_of).transpose()
        })
    }

    fn register<'a>(
        &'a self,
        tenant: &'a TenantId,
        record: &'a EnrolmentRecord,
        bounds: EnrolmentBounds,
    ) -> StoreFuture<'a, Registered> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let query = format!("SELECT {COLUMNS} FROM enrolments WHERE tenant = ? AND ak_name = ?");
            let known = sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(tenant.as_str())
                .bind(&record.ak_name)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(row) = known {
                return Ok(Registered::Known(Box::new(record_of(&row)?)));
            }
            let counts = sqlx::query(
                "SELECT COUNT(*) AS records, COUNT(*) FILTER (WHERE state = 'awaiting-approval') AS awaiting,
                 COUNT(*) FILTER (WHERE ek_name = ?2) AS keys FROM enrolments WHERE tenant = ?1",
            )
            .bind(tenant.as_str())
            .bind(record.ek.as_ref().map(|ek| ek.name.as_str()))
            .fetch_one(&mut *transaction)
            .await?;
            let reached = |column: &str, most: u32| -> Result<bool, StoreError> {
                Ok(counts.try_get::<i64, _>(column)? >= i64::from(most))
            };
            if reached("keys", bounds.keys_per_ek)? {
                return Ok(Registered::TooManyKeys);
            }
            let awaits = record.state == EnrolmentState::AwaitingApproval;
            if reached("records", bounds.records)? || (awaits && reached("awaiting", bounds.awaiting)?) {
                return Ok(Registered::Full);
            }
            let query = format!(
                "INSERT INTO enrolments (tenant, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)"
            );
            sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(tenant.as_str())
                .bind(&record.ak_name)
                .bind(record.ek.as_ref().map(|ek| ek.name.as_str()))
                .bind(record.ek.as_ref().map(|ek| ek.public.as_slice()))
                .bind(record.provenance.as_str())
                .bind(&record.details)
                .bind(&record.owner)
                .bind(&record.reason)
                .bind(record.state.as_str())
                .bind(record.requested_at.as_unix())
                .bind(record.approved.as_ref().map(|act| act.by.as_str()))
                .bind(record.approved.as_ref().map(|act| act.at.as_unix()))
                .execute(&mut *transaction)
                .await?;
            let body = json!({
                "ak_name": record.ak_name, "ek_name": record.ek.as_ref().map(|ek| &ek.name),
                "provenance": record.provenance.as_str(), "state": record.state.as_str(), "owner": record.owner,
                "by": record.approved.as_ref().map(|act| &act.by),
            });
            audit::append(&mut transaction, tenant, record.requested_at, Kind::EnrolmentAdded, body).await?;
            transaction.commit().await?;
            Ok(Registered::New)
        })
    }

    fn enrolment<'a>(&'a self, tenant: &'a TenantId, ak_name: &'a str) -> StoreFuture<'a, Option<EnrolmentRecord>> {
        Box::pin(async move {
            let query = format!("SELECT {COLUMNS} FROM enrolments WHERE tenant = ? AND ak_name = ?");
            let row = sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(tenant.as_str())
                .bind(ak_name)
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(record_of).transpose()
        })
    }

    fn enrolments<'a>(
        &'a self,
        tenant: &'a TenantId,
        state: Option<EnrolmentState>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<EnrolmentRecord>> {
        Box::pin(async move {
            let query = format!(
                "SELECT {COLUMNS} FROM enrolments WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2)
                 ORDER BY requested_at DESC, ak_name LIMIT ?3"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(tenant.as_str())
                .bind(state.map(EnrolmentState::as_str))
                .bind(limit)
                .fetch_all(&self.pool)
                .await?;
            rows.iter().map(record_of).collect()
        })
    }

    fn approve_enrolment<'a>(
        &'a self,
        tenant: &'a TenantId,
        ak_name: &'a str,
        owner: &'a str,
        act: &'a Act,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let changed = sqlx::query(
                "UPDATE enrolments SET state = 'enrolled', owner = ?, approved_by = ?, enrolled_at = ?
                 WHERE tenant = ? AND ak_name = ? AND state = 'awaiting-approval'",
            )
            .bind(owner)
            .bind(&act.by)
            .bind(act.at.as_unix())
            .bind(tenant.as_str())
            .bind(ak_name)
            .execute(&mut *transaction)
            .await?;
            if changed.rows_affected() == 1 {
                let body = json!({"ak_name": ak_name, "owner": owner, "by": act.by});
                audit::append(&mut transaction, tenant, act.at, Kind::EnrolmentApproved, body).await?;
            }
            transaction.commit().await?;
            Ok(changed.rows_affected() == 1)
        })
    }

    fn revoke_enrolment<'a>(
        &'a self,
        tenant: &'a TenantId,
        ak_name: &'a str,
        signers: &'a [String],
        reason: &'a str,
        act: &'a Act,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let changed = sqlx::query(
                "UPDATE enrolments SET state = 'revoked', reason = ?, revoked_by = ?, revoked_at = ?
                 WHERE tenant = ? AND ak_name = ? AND state <> 'revoked'",
            )
            .bind(reason)
            .bind(&act.by)
            .bind(act.at.as_unix())
            .bind(tenant.as_str())
            .bind(ak_name)
            .execute(&mut *transaction)
            .await?;
            if changed.rows_affected() == 1 {
                for signer in signers {
                    sqlx::query("INSERT OR IGNORE INTO revoked_signers (tenant, qualified_name) VALUES (?, ?)")
                        .bind(tenant.as_str())
                        .bind(signer)
                        .execute(&mut *transaction)
                        .await?;
                }
                let body = json!({"ak_name": ak_name, "reason": reason, "by": act.by});
                audit::append(&mut transaction, tenant, act.at, Kind::EnrolmentRevoked, body).await?;
            }
            transaction.commit().await?;
            Ok(changed.rows_affected() == 1)
        })
    }

    fn is_revoked_signer<'a>(&'a self, tenant: &'a TenantId, qualified_name: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let row = sqlx::query("SELECT 1 FROM revoked_signers WHERE tenant = ? AND qualified_name = ?")
                .bind(tenant.as_str())
                .bind(qualified_name)
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.is_some())
        })
    }

    fn consume_nonce<'a>(&'a self, nonce: &'a [u8; 32], expires_at: Timestamp) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let consumed = sqlx::query(
                "INSERT INTO consumed_nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING",
            )
            .bind(nonce.as_slice())
            .bind(expires_at.as_unix())
            .execute(&self.pool)
            .await?;
            Ok(consumed.rows_affected() == 1)
        })
    }
}

fn provenance_of(row: &SqliteRow) -> Result<AkProvenance, StoreError> {
    let text: String = row.try_get("provenance")?;
    let known = AkProvenance::ALL.into_iter().find(|provenance| provenance.as_str() == text);
    known.ok_or(StoreError::Unknown { what: "provenance", found: text })
}

fn pending_of(row: &SqliteRow) -> Result<PendingEnrolment, StoreError> {
    let digest: Vec<u8> = row.try_get("secret_digest")?;
    let unknown = StoreError::Unknown { what: "secret digest", found: format!("{} bytes", digest.len()) };
    Ok(PendingEnrolment {
        id: row.try_get("id")?,
        secret_digest: digest.try_into().map_err(|_length| unknown)?,
        ak_name: row.try_get("ak_name")?,
        ek: StoredEk { name: row.try_get("ek_name")?, public: row.try_get("ek_public")? },
        provenance: provenance_of(row)?,
        details: row.try_get("details")?,
        expires_at: Timestamp::from_unix(row.try_get("expires_at")?),
    })
}

fn record_of(row: &SqliteRow) -> Result<EnrolmentRecord, StoreError> {
    let name: Option<String> = row.try_get("ek_name")?;
    let public: Option<Vec<u8>> = row.try_get("ek_public")?;
    let act = |by: &str, at: &str| -> Result<Option<Act>, StoreError> {
        let (by, at): (Option<String>, Option<i64>) = (row.try_get(by)?, row.try_get(at)?);
        Ok(by.zip(at).map(|(by, at)| Act { by, at: Timestamp::from_unix(at) }))
    };
    Ok(EnrolmentRecord {
        ak_name: row.try_get("ak_name")?,
        ek: name.zip(public).map(|(name, public)| StoredEk { name, public }),
        provenance: provenance_of(row)?,
        details: row.try_get("details")?,
        owner: row.try_get("owner")?,
        reason: row.try_get("reason")?,
        state: EnrolmentState::parse(&row.try_get::<String, _>("state")?)?,
        requested_at: Timestamp::from_unix(row.try_get("requested_at")?),
        approved: act("approved_by", "enrolled_at")?,
        revoked: act("revoked_by", "revoked_at")?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
    const BOUNDS: EnrolmentBounds = EnrolmentBounds { keys_per_ek: 2, awaiting: 2, records: 4 };

    fn tenant() -> TenantId {
        TenantId::default_tenant()
    }

    async fn store(directory: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
    }

    fn pending(id: &str) -> PendingEnrolment {
        PendingEnrolment {
            id: id.to_owned(),
            secret_digest: [1; 32],
            ak_name: "000b01".to_owned(),
            ek: StoredEk { name: "000b02".to_owned(), public: vec![2] },
            provenance: AkProvenance::EkActivated,
            details: "{}".to_owned(),
            expires_at: NOW.plus_seconds(60),
        }
    }

    fn record(ak: &str, ek: &str, state: EnrolmentState) -> EnrolmentRecord {
        EnrolmentRecord {
            ak_name: ak.to_owned(),
            ek: Some(StoredEk { name: ek.to_owned(), public: vec![1] }),
            provenance: AkProvenance::EkActivated,
            details: "{}".to_owned(),
            owner: String::new(),
            reason: String::new(),
            state,
            requested_at: NOW,
            approved: None,
            revoked: None,
        }
    }

    #[tokio::test]
    async fn challenges_are_bounded_and_answered_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        assert!(store.add_pending(&tenant(), &pending("a"), NOW, 2).await.unwrap());
        assert!(store.add_pending(&tenant(), &pending("b"), NOW, 2).await.unwrap());
        assert!(!store.add_pending(&tenant(), &pending("c"), NOW, 2).await.unwrap());
        assert_eq!(store.take_pending(&tenant(), "a").await.unwrap(), Some(pending("a")));
        assert_eq!(store.take_pending(&tenant(), "a").await.unwrap(), None);
        // Those that expired make room.
        assert!(store.add_pending(&tenant(), &pending("d"), NOW.plus_seconds(60), 1).await.unwrap());
        assert_eq!(store.take_pending(&tenant(), "b").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_register_is_bounded_and_a_key_stands_in_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let waits = EnrolmentState::AwaitingApproval;
        let put = async |record: EnrolmentRecord| store.register(&tenant(), &record, BOUNDS).await.unwrap();
        assert_eq!(put(record("a", "e", waits)).await, Registered::New);
        let known = Registered::Known(Box::new(record("a", "e", waits)));
        assert_eq!(put(record("a", "other", EnrolmentState::Enrolled)).await, known);
        assert_eq!(put(record("b", "e", waits)).await, Registered::New);
        assert_eq!(put(record("c", "e", EnrolmentState::Enrolled)).await, Registered::TooManyKeys);
        assert_eq!(put(record("c", "f", waits)).await, Registered::Full);
        assert_eq!(put(record("c", "f", EnrolmentState::Enrolled)).await, Registered::New);
        assert_eq!(put(record("d", "f", EnrolmentState::Enrolled)).await, Registered::New);
        assert_eq!(put(record("e", "g", EnrolmentState::Enrolled)).await, Registered::Full);
    }

    #[tokio::test]
    async fn a_key_is_approved_once_and_revoked_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let act = Act { by: "admin".to_owned(), at: NOW };
        let waiting = record("a", "e", EnrolmentState::AwaitingApproval);
        let _new = store.register(&tenant(), &waiting, BOUNDS).await.unwrap();
        assert!(store.approve_enrolment(&tenant(), "a", "team", &act).await.unwrap());
        assert!(!store.approve_enrolment(&tenant(), "a", "team", &act).await.unwrap());
        let found = store.enrolment(&tenant(), "a").await.unwrap().unwrap();
        assert_eq!((found.state, found.owner.as_str()), (EnrolmentState::Enrolled, "team"));
        assert_eq!(found.approved, Some(act.clone()));
        let signers = ["qualified".to_owned()];
        assert!(!store.is_revoked_signer(&tenant(), "qualified").await.unwrap());
        assert!(store.revoke_enrolment(&tenant(), "a", &signers, "stolen", &act).await.unwrap());
        assert!(!store.revoke_enrolment(&tenant(), "a", &signers, "again", &act).await.unwrap());
        assert!(store.is_revoked_signer(&tenant(), "qualified").await.unwrap());
        assert!(!store.approve_enrolment(&tenant(), "a", "team", &act).await.unwrap());
        let revoked = store.enrolments(&tenant(), Some(EnrolmentState::Revoked), 10).await.unwrap();
        assert_eq!(revoked.first().map(|record| record.reason.as_str()), Some("stolen"));
        assert_eq!(store.enrolments(&tenant(), Some(EnrolmentState::Enrolled), 10).await.unwrap(), []);
    }
}
