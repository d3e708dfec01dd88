//! Issued X.509-SVIDs in SQLite.

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{CertificateStore, EndCause, EndedCertificate, EndedCertificates, Opening, StoreError, StoreFuture},
    SqliteStore, to_u64,
};

impl CertificateStore for SqliteStore {
    fn ended_certificates<'a>(&'a self, authority: &'a str, since: Timestamp) -> StoreFuture<'a, EndedCertificates> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let row = sqlx::query("UPDATE revocation_lists SET number = number + 1 RETURNING number")
                .fetch_one(&mut *transaction)
                .await?;
            let number = to_u64("list number", row.try_get("number")?)?;
            let rows = sqlx::query(
                "SELECT serial, ended_at, end_cause = 'released' AS released
                 FROM svid_certificates JOIN leases ON leases.id = svid_certificates.lease
                 WHERE authority = ? AND svid_certificates.expires_at > ? AND ended_at IS NOT NULL AND end_cause <> ?
                 ORDER BY serial",
            )
            .bind(authority)
            .bind(since.as_unix())
            // What ran out took its certificate with it: a list of those would say nothing, at length.
            .bind(EndCause::Expired.as_str())
            .fetch_all(&mut *transaction)
            .await?;
            transaction.commit().await?;
            let ended = rows.iter().map(ended_of).collect::<Result<_, _>>()?;
            Ok(EndedCertificates { number, ended })
        })
    }

    fn sweep_certificates(&self, before: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM svid_certificates WHERE expires_at < ?")
                .bind(before.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}

/// The leases of the opening are written: so are the certificates that they stand for.
pub(super) async fn record(connection: &mut SqliteConnection, opening: &Opening) -> Result<(), StoreError> {
    for issued in &opening.certificates {
        sqlx::query("INSERT INTO svid_certificates (serial, authority, lease, expires_at) VALUES (?, ?, ?, ?)")
            .bind(issued.serial.as_slice())
            .bind(&issued.authority)
            .bind(&issued.lease)
            .bind(issued.expires_at.as_unix())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

fn ended_of(row: &SqliteRow) -> Result<EndedCertificate, StoreError> {
    Ok(EndedCertificate {
        serial: row.try_get("serial")?,
        ended_at: Timestamp::from_unix(row.try_get("ended_at")?),
        released: row.try_get("released")?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use verifier::Timestamp;

    use super::super::{
        super::{
            CertificateStore, DecisionDigests, DecisionStore, EndCause, GuestRecord, IssuedCertificate, Lease,
            LeaseSelector, LeaseStore, Opening, Settled, Settlement, StoredDecision, TenantId,
        },
        SqliteStore,
    };

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn certificate(serial: u8, authority: &str, lease: &str, seconds: i64) -> IssuedCertificate {
        let (authority, lease) = (authority.to_owned(), lease.to_owned());
        IssuedCertificate { serial: [serial; 16], authority, lease, expires_at: NOW.plus_seconds(seconds) }
    }

    /// Opens or renews the lease `lease` with these certificates.
    async fn settle(store: &SqliteStore, nonce: u8, lease: &str, certificates: Vec<IssuedCertificate>) {
        let guest = GuestRecord {
            id: "guest".to_owned(),
            workloads: vec!["web".to_owned()],
            platform: "bare".to_owned(),
            hwmodel: "amd-milan".to_owned(),
            tcb_status: None,
            measurement: None,
            chip: None,
            tee_key: "thumbprint".to_owned(),
            report: None,
        };
        let opened = Lease {
            id: lease.to_owned(),
            kind: "x509-svid",
            name: "web".to_owned(),
            version: 1,
            status: lease.bytes().map(u64::from).sum(),
            issued_at: NOW,
            expires_at: NOW.plus_seconds(900),
        };
        let (leases, renews) = (vec![opened], Vec::new());
        let opening = Opening { guest, sets: Vec::new(), grounds: Vec::new(), leases, certificates, renews };
        let decision = StoredDecision {
            id: format!("decision-{nonce}"),
            tenant: TenantId::default_tenant(),
            decided_at: NOW,
            outcome: "affirmed",
            code: None,
            authenticated: true,
            record: "{}".to_owned(),
            digests: DecisionDigests::default(),
        };
        let settlement = Settlement {
            nonce: [nonce; 32],
            nonce_expires_at: NOW.plus_seconds(300),
            decision,
            counters: None,
            opening: Some(opening),
            ends_guest: None,
            break_glass: None,
        };
        assert_eq!(store.settle(settlement).await.unwrap(), Settled::Recorded);
    }

    async fn end(store: &SqliteStore, lease: &str, cause: EndCause) {
        let selector = LeaseSelector::Lease(lease);
        assert_eq!(store.end_leases(&TenantId::default_tenant(), selector, cause, NOW).await.unwrap(), 1);
    }

    async fn listed(store: &SqliteStore, authority: &str) -> (u64, Vec<(u8, bool)>) {
        let list = store.ended_certificates(authority, NOW).await.unwrap();
        let serials = list.ended.iter().map(|ended| (*ended.serial.first().unwrap(), ended.released));
        (list.number, serials.collect())
    }

    #[tokio::test]
    async fn a_list_has_every_certificate_of_ended_leases_that_would_still_verify() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = SqliteStore::open(&path).await.unwrap();
        settle(&store, 1, "a", vec![certificate(1, "old", "a", 900)]).await;
        // Renewed twice, across a change of the CA; one is over already.
        settle(&store, 2, "a", vec![certificate(2, "new", "a", 900), certificate(3, "new", "a", 0)]).await;
        settle(&store, 3, "b", vec![certificate(4, "new", "b", 900)]).await;
        assert_eq!(listed(&store, "new").await, (1, vec![]));
        end(&store, "a", EndCause::Revoked).await;
        assert_eq!(listed(&store, "new").await, (2, vec![(2, false)]));
        assert_eq!(listed(&store, "old").await, (3, vec![(1, false)]));
        end(&store, "b", EndCause::Released).await;
        assert_eq!(listed(&store, "new").await, (4, vec![(2, false), (4, true)]));
        store.close().await;

        // Numbers go on where they were.
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(listed(&store, "new").await, (5, vec![(2, false), (4, true)]));
        settle(&store, 4, "c", vec![certificate(5, "new", "c", 900)]).await;
        end(&store, "c", EndCause::Expired).await;
        assert_eq!(listed(&store, "new").await, (6, vec![(2, false), (4, true)]), "not what ran out");
        store.sweep_certificates(NOW.plus_seconds(901)).await.unwrap();
        assert_eq!(listed(&store, "new").await, (7, vec![]));
    }
}
