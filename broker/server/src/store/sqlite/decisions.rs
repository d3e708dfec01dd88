//! Decisions and consumed nonces in SQLite.

use sqlx::{AssertSqlSafe, Row, SqlitePool, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{DecisionQuery, DecisionStore, Retention, Settled, Settlement, StoreError, StoreFuture, TenantId},
    SqliteStore,
};

/// Seconds that a consumed nonce stays after it expired, so that a clock that is set back cannot revive it.
const NONCE_GRACE: i64 = 3600;

impl DecisionStore for SqliteStore {
    fn settle(&self, settlement: Settlement) -> StoreFuture<'_, Settled> {
        Box::pin(self.writer.settle(settlement))
    }

    fn is_consumed<'a>(&'a self, nonce: &'a [u8; 32]) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let row = sqlx::query("SELECT 1 FROM consumed_nonces WHERE nonce = ?")
                .bind(nonce.as_slice())
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.is_some())
        })
    }

    fn decision<'a>(&'a self, tenant: &'a TenantId, id: &'a str) -> StoreFuture<'a, Option<String>> {
        Box::pin(async move {
            let row = sqlx::query("SELECT record FROM decisions WHERE tenant = ? AND id = ?")
                .bind(tenant.as_str())
                .bind(id)
                .fetch_optional(&self.pool)
                .await?;
            row.as_ref().map(record_of).transpose()
        })
    }

    fn decisions<'a>(&'a self, tenant: &'a TenantId, query: &'a DecisionQuery) -> StoreFuture<'a, Vec<String>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT record FROM decisions WHERE tenant = ?1 AND (?2 IS NULL OR outcome = ?2)
                 AND (?3 IS NULL OR decided_at >= ?3)
                 AND (?4 IS NULL OR sequence < (SELECT sequence FROM decisions WHERE tenant = ?1 AND id = ?4))
                 ORDER BY sequence DESC LIMIT ?5",
            )
            .bind(tenant.as_str())
            .bind(query.outcome)
            .bind(query.since.map(Timestamp::as_unix))
            .bind(&query.before)
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(record_of).collect()
        })
    }

    fn sweep<'a>(&'a self, tenant: &'a TenantId, now: Timestamp, keep: Retention) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM consumed_nonces WHERE expires_at < ?")
                .bind(now.plus_seconds(-NONCE_GRACE).as_unix())
                .execute(&self.pool)
                .await?;
            sqlx::query(
                "DELETE FROM decisions WHERE tenant = ?1 AND authenticated = 0 AND sequence <=
                 (SELECT sequence FROM decisions WHERE tenant = ?1 AND authenticated = 0
                  ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
            )
            .bind(tenant.as_str())
            .bind(keep.unauthenticated)
            .execute(&self.pool)
            .await?;
            drop_old(&self.pool, tenant, now, keep).await
        })
    }
}

/// Drops old decisions of a tenant with their leases. A decision stays while one of its leases has not ended.
async fn drop_old(pool: &SqlitePool, tenant: &TenantId, now: Timestamp, keep: Retention) -> Result<(), StoreError> {
    // Each side has its index: by time, and by place within the tenant.
    let old = "((decided_at < ?1 AND +tenant = ?3) OR (tenant = ?3 AND sequence <=
        (SELECT sequence FROM decisions WHERE tenant = ?3 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)))";
    let ended = format!(
        "DELETE FROM leases WHERE ended_at IS NOT NULL AND expires_at < ?4 AND decision_id IN (SELECT id FROM decisions WHERE {old})"
    );
    let unused = format!(
        "DELETE FROM decisions WHERE {old} AND NOT EXISTS (SELECT 1 FROM leases WHERE decision_id = decisions.id)"
    );
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query(AssertSqlSafe(ended))
        .bind(keep.since.as_unix())
        .bind(keep.decisions)
        .bind(tenant.as_str())
        .bind(now.as_unix())
        .execute(&mut *transaction)
        .await?;
    sqlx::query(AssertSqlSafe(unused))
        .bind(keep.since.as_unix())
        .bind(keep.decisions)
        .bind(tenant.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

fn record_of(row: &SqliteRow) -> Result<String, StoreError> {
    Ok(row.try_get("record")?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::store::{GuestRecord, Lease, LeaseStore, Opening, StoredDecision};

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn settlement(nonce: u8, id: &str, authenticated: bool) -> Settlement {
        let decision = StoredDecision {
            id: id.to_owned(),
            tenant: TenantId::default_tenant(),
            decided_at: NOW,
            outcome: "refused",
            code: None,
            authenticated,
            record: format!("{{\"id\":\"{id}\"}}"),
            digests: crate::store::DecisionDigests::default(),
        };
        Settlement {
            nonce: [nonce; 32],
            nonce_expires_at: NOW.plus_seconds(300),
            decision,
            counters: None,
            opening: None,
            ends_guest: None,
            break_glass: None,
        }
    }

    fn lease(id: &str, status: u64, ends: i64) -> Lease {
        let (name, expires_at) = ("disk-key".to_owned(), NOW.plus_seconds(ends));
        Lease { id: id.to_owned(), kind: "secret", name, version: 1, status, issued_at: NOW, expires_at }
    }

    /// A guest with these leases, which rests on nothing.
    fn opening(leases: Vec<Lease>) -> Opening {
        let guest = GuestRecord {
            id: "guest".to_owned(),
            workloads: Vec::new(),
            platform: "bare".to_owned(),
            hwmodel: "amd-milan".to_owned(),
            tcb_status: None,
            measurement: None,
            chip: None,
            tee_key: "thumbprint".to_owned(),
            report: None,
        };
        Opening { guest, sets: Vec::new(), grounds: Vec::new(), leases, certificates: Vec::new(), renews: Vec::new() }
    }

    async fn store(directory: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(&directory.path().join("store.db")).await.unwrap()
    }

    async fn ids(store: &SqliteStore) -> Vec<String> {
        let query = DecisionQuery { limit: 100, ..DecisionQuery::default() };
        store.decisions(&TenantId::default_tenant(), &query).await.unwrap()
    }

    #[tokio::test]
    async fn a_nonce_settles_once_also_after_the_store_was_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let first = store(&directory).await;
        assert_eq!(first.settle(settlement(1, "a", true)).await.unwrap(), Settled::Recorded);
        assert_eq!(first.settle(settlement(1, "b", true)).await.unwrap(), Settled::Replayed);
        let second = store(&directory).await;
        assert_eq!(second.settle(settlement(1, "c", true)).await.unwrap(), Settled::Replayed);
        assert!(second.is_consumed(&[1; 32]).await.unwrap());
        assert_eq!(ids(&second).await, [r#"{"id":"a"}"#]);
    }

    #[tokio::test]
    async fn a_settlement_is_stored_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let mut broken = settlement(2, "broken", true);
        // Two leases in one place.
        broken.opening = Some(opening(vec![lease("a", 1, 60), lease("b", 1, 60)]));
        // Beside a good one in the same batch, which must not suffer.
        let (good, bad) = tokio::join!(store.settle(settlement(3, "good", true)), store.settle(broken));
        assert_eq!(good.unwrap(), Settled::Recorded);
        assert!(bad.is_err());
        assert!(!store.is_consumed(&[2; 32]).await.unwrap());
        assert_eq!(ids(&store).await, [r#"{"id":"good"}"#]);
    }

    fn keep(unauthenticated: u32) -> Retention {
        Retention { unauthenticated, decisions: 100, since: NOW }
    }

    fn at(mut settlement: Settlement, seconds: i64, lease_ends: Option<i64>) -> Settlement {
        settlement.decision.decided_at = NOW.plus_seconds(seconds);
        let place = u64::from(settlement.nonce[0]);
        settlement.opening = lease_ends.map(|end| opening(vec![lease(&settlement.decision.id, place, end)]));
        settlement
    }

    #[tokio::test]
    async fn old_decisions_go_and_those_with_a_running_lease_stay() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let all = [
            at(settlement(1, "old", true), 0, None),
            at(settlement(2, "ended", true), 0, Some(50)),
            at(settlement(3, "running", true), 0, Some(500)),
            at(settlement(4, "new", true), 100, None),
            at(settlement(5, "newest", true), 101, None),
        ];
        for settlement in all {
            let _recorded = store.settle(settlement).await.unwrap();
        }
        let (now, since) = (NOW.plus_seconds(200), NOW.plus_seconds(100));
        store.end_expired(now).await.unwrap();
        store.sweep(&TenantId::default_tenant(), now, Retention { since, ..keep(9) }).await.unwrap();
        assert_eq!(ids(&store).await, [r#"{"id":"newest"}"#, r#"{"id":"new"}"#, r#"{"id":"running"}"#]);
        store.end_expired(NOW.plus_seconds(501)).await.unwrap();
        store
            .sweep(&TenantId::default_tenant(), NOW.plus_seconds(501), Retention { since, decisions: 1, ..keep(9) })
            .await
            .unwrap();
        assert_eq!(ids(&store).await, [r#"{"id":"newest"}"#]);
    }

    #[tokio::test]
    async fn a_listing_begins_where_it_is_told_and_goes_on_from_an_id() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        for (nonce, id, seconds) in [(1, "a", 0), (2, "b", 10), (3, "c", 20)] {
            let _recorded = store.settle(at(settlement(nonce, id, true), seconds, None)).await.unwrap();
        }
        let list = |since: Option<i64>, before: Option<&str>| {
            let since = since.map(|seconds| NOW.plus_seconds(seconds));
            DecisionQuery { since, before: before.map(str::to_owned), limit: 100, outcome: None }
        };
        let tenant = TenantId::default_tenant();
        let since = store.decisions(&tenant, &list(Some(10), None)).await.unwrap();
        assert_eq!(since, [r#"{"id":"c"}"#, r#"{"id":"b"}"#]);
        assert_eq!(store.decisions(&tenant, &list(Some(10), Some("c"))).await.unwrap(), [r#"{"id":"b"}"#]);
        assert!(store.decisions(&tenant, &list(None, Some("unknown"))).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn sweeping_drops_old_nonces_and_surplus_records_of_unauthentic_evidence_only() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        for (nonce, id, authenticated) in [(1, "a", false), (2, "b", true), (3, "c", false), (4, "d", false)] {
            let _recorded = store.settle(settlement(nonce, id, authenticated)).await.unwrap();
        }
        store.sweep(&TenantId::default_tenant(), NOW.plus_seconds(600), keep(2)).await.unwrap();
        assert_eq!(ids(&store).await, [r#"{"id":"d"}"#, r#"{"id":"c"}"#, r#"{"id":"b"}"#]);
        assert!(store.is_consumed(&[1; 32]).await.unwrap(), "an expired nonce stays for the grace time");
        store.sweep(&TenantId::default_tenant(), NOW.plus_seconds(300 + NONCE_GRACE + 1), keep(2)).await.unwrap();
        assert!(!store.is_consumed(&[1; 32]).await.unwrap());
    }
}
