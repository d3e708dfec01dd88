//! The counters that each attestation key was seen with, in SQLite. Read and written in the transaction of a settlement: two
//! brokers never accept the same step back.

use sqlx::{Row, SqliteConnection};
use verifier::Timestamp;

use super::{
    super::{Settlement, StoreError, TpmCounters},
    to_u32,
};

/// Whether `counters` are behind what the same key was seen with.
pub(super) async fn have_gone_back(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    counters: &TpmCounters,
) -> Result<bool, StoreError> {
    let seen = seen(connection, settlement, counters).await?;
    Ok(seen.is_some_and(|(seen, seen_at)| counters.are_behind(&seen, seen_at)))
}

/// Remembers `counters` when they are ahead, and in any case when they were settled.
pub(super) async fn remember(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    counters: &TpmCounters,
) -> Result<(), StoreError> {
    let highest = match seen(connection, settlement, counters).await? {
        Some((seen, _)) if !counters.are_ahead_of(&seen) => seen,
        Some(_) | None => counters.clone(),
    };
    sqlx::query(
        "INSERT INTO tpm_counters (tenant, ak_key, reset_count, restart_count, clock, seen_at) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (tenant, ak_key) DO UPDATE SET reset_count = excluded.reset_count,
         restart_count = excluded.restart_count, clock = excluded.clock, seen_at = MAX(seen_at, excluded.seen_at)",
    )
    .bind(settlement.decision.tenant.as_str())
    .bind(&counters.ak_key)
    .bind(highest.reset_count)
    .bind(highest.restart_count)
    .bind(i64::try_from(highest.clock).unwrap_or(i64::MAX))
    .bind(settlement.decision.decided_at.as_unix())
    .execute(connection)
    .await?;
    Ok(())
}

async fn seen(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    counters: &TpmCounters,
) -> Result<Option<(TpmCounters, Timestamp)>, StoreError> {
    let row = sqlx::query(
        "SELECT reset_count, restart_count, clock, seen_at FROM tpm_counters WHERE tenant = ? AND ak_key = ?",
    )
    .bind(settlement.decision.tenant.as_str())
    .bind(&counters.ak_key)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let clock: i64 = row.try_get("clock")?;
    let unknown = StoreError::Unknown { what: "TPM clock", found: clock.to_string() };
    let seen_at = Timestamp::from_unix(row.try_get("seen_at")?);
    let seen = TpmCounters {
        ak_key: counters.ak_key.clone(),
        reset_count: to_u32("reset count", row.try_get("reset_count")?)?,
        restart_count: to_u32("restart count", row.try_get("restart_count")?)?,
        clock: u64::try_from(clock).map_err(|_negative| unknown)?,
        asked_at: seen_at,
    };
    Ok(Some((seen, seen_at)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{
        super::{DecisionStore, Settled, StoredDecision, TenantId},
        SqliteStore,
    };
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    /// Counters (reset, restart, clock) of a quote that was asked for and settled at these seconds.
    fn settlement(nonce: u8, (reset, restart, clock): (u32, u32, u64), asked: i64, settled: i64) -> Settlement {
        let decision = StoredDecision {
            id: format!("decision-{nonce}"),
            tenant: TenantId::default_tenant(),
            decided_at: NOW.plus_seconds(settled),
            outcome: "affirmed",
            code: None,
            authenticated: true,
            record: "{}".to_owned(),
            digests: crate::store::DecisionDigests::default(),
        };
        let counters = TpmCounters {
            ak_key: "key".to_owned(),
            reset_count: reset,
            restart_count: restart,
            clock,
            asked_at: NOW.plus_seconds(asked),
        };
        Settlement {
            nonce: [nonce; 32],
            nonce_expires_at: NOW.plus_seconds(300),
            decision,
            counters: Some(counters),
            opening: None,
            ends_guest: None,
            break_glass: None,
        }
    }

    #[tokio::test]
    async fn counters_never_go_back_and_the_nonce_of_one_that_did_is_unspent() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        let steps = [
            ((5, 0, 1000), 0, 1, Settled::Recorded),
            // The same again, and later.
            ((5, 0, 1000), 2, 3, Settled::Recorded),
            ((5, 0, 2000), 4, 5, Settled::Recorded),
            // Clock back, restart back, reset back.
            ((5, 0, 1999), 6, 7, Settled::WentBack),
            ((5, 1, 3000), 8, 9, Settled::Recorded),
            ((5, 0, 4000), 10, 11, Settled::WentBack),
            ((4, 9, 9000), 12, 13, Settled::WentBack),
            // A clock that was cleared at a reset is not behind.
            ((6, 0, 10), 14, 15, Settled::Recorded),
            ((5, 2, 9999), 16, 17, Settled::WentBack),
        ];
        for (number, (counters, asked, settled, wanted)) in (0..).zip(steps) {
            let outcome = store.settle(settlement(number, counters, asked, settled)).await.unwrap();
            assert_eq!(outcome, wanted, "step {number}");
            assert_eq!(store.is_consumed(&[number; 32]).await.unwrap(), wanted == Settled::Recorded);
        }
    }

    #[tokio::test]
    async fn attestations_that_overlap_may_be_settled_in_another_order() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        assert_eq!(store.settle(settlement(1, (5, 0, 2000), 0, 4)).await.unwrap(), Settled::Recorded);
        // Asked for before the other was settled: quoted before it, and no step back.
        assert_eq!(store.settle(settlement(2, (5, 0, 1000), 3, 5)).await.unwrap(), Settled::Recorded);
        // The higher clock stays.
        assert_eq!(store.settle(settlement(3, (5, 0, 1500), 6, 7)).await.unwrap(), Settled::WentBack);
        // A boot before is one, however the requests overlap.
        assert_eq!(store.settle(settlement(4, (4, 0, 9000), 0, 8)).await.unwrap(), Settled::WentBack);
    }
}
