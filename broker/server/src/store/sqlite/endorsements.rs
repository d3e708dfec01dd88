//! Vendor documents in SQLite.

use evidence_formats::endorsement::EndorsementId;
use sqlx::{Row, sqlite::SqliteRow};
use verifier::{Timestamp, x509::CrlNumber};

use super::{
    super::{EndorsementStore, StoreError, StoreFuture, StoredEndorsement},
    SqliteStore,
};

impl EndorsementStore for SqliteStore {
    fn endorsement(&self, id: EndorsementId) -> StoreFuture<'_, Option<StoredEndorsement>> {
        Box::pin(async move {
            let query = sqlx::query("SELECT * FROM endorsements WHERE id = ?").bind(id.to_string());
            let row = query.fetch_optional(&self.pool).await?;
            row.as_ref().map(document).transpose()
        })
    }

    fn shared_endorsements(&self, change: i64) -> StoreFuture<'_, (Vec<StoredEndorsement>, i64)> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT * FROM endorsements WHERE one_machine = 0 AND change > ? ORDER BY change")
                .bind(change)
                .fetch_all(&self.pool)
                .await?;
            let newest = rows.last().map(|row| row.try_get("change")).transpose()?.unwrap_or(change);
            Ok((rows.iter().map(document).collect::<Result<_, _>>()?, newest))
        })
    }

    fn endorsements(&self) -> StoreFuture<'_, Vec<StoredEndorsement>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT * FROM endorsements ORDER BY id").fetch_all(&self.pool).await?;
            rows.iter().map(document).collect()
        })
    }

    fn keep_endorsements<'a>(&'a self, documents: &'a [StoredEndorsement]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for document in documents {
                sqlx::query(
                    "INSERT INTO endorsements (id, one_machine, body, issuer_chain, source, number, valid_from,
                                               valid_until, fetched_at, change)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT COALESCE(MAX(change), 0) + 1 FROM endorsements))
                     ON CONFLICT (id) DO UPDATE SET
                        body = excluded.body, issuer_chain = excluded.issuer_chain, source = excluded.source,
                        number = excluded.number, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
                        fetched_at = excluded.fetched_at, change = excluded.change
                     WHERE excluded.one_machine = 1
                        OR (excluded.valid_from >= valid_from AND COALESCE(excluded.number, '') >= COALESCE(number, ''))",
                )
                .bind(document.id.to_string())
                .bind(document.id.is_of_one_machine())
                .bind(&document.body)
                .bind(&document.issuer_chain)
                .bind(&document.source)
                // Numbers of one length are ordered like their digits.
                .bind(document.number.map(|number| format!("{:0>40}", number.to_string())))
                .bind(document.valid_from.as_unix())
                .bind(document.valid_until.as_unix())
                .bind(document.fetched_at.as_unix())
                .execute(&mut *transaction)
                .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    fn forget_endorsement(&self, id: EndorsementId) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM endorsements WHERE id = ?").bind(id.to_string()).execute(&self.pool).await?;
            Ok(())
        })
    }
}

fn document(row: &SqliteRow) -> Result<StoredEndorsement, StoreError> {
    let id: String = row.try_get("id")?;
    let number: Option<String> = row.try_get("number")?;
    let unknown = |what, found: &str| StoreError::Unknown { what, found: found.to_owned() };
    let parse = |number: String| CrlNumber::from_hex(&number).ok_or_else(|| unknown("CRL number", &number));
    let time = |column| row.try_get(column).map(Timestamp::from_unix);
    Ok(StoredEndorsement {
        id: id.parse().map_err(|_not_a_name| unknown("endorsement", &id))?,
        body: row.try_get("body")?,
        issuer_chain: row.try_get("issuer_chain")?,
        source: row.try_get("source")?,
        number: number.map(parse).transpose()?,
        valid_from: time("valid_from")?,
        valid_until: time("valid_until")?,
        fetched_at: time("fetched_at")?,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn list(number: u64, from: i64) -> StoredEndorsement {
        StoredEndorsement {
            id: "amd/crl/Milan/vcek".parse().unwrap(),
            body: vec![0x30, u8::try_from(number).unwrap()],
            issuer_chain: None,
            source: "test".to_owned(),
            number: Some(CrlNumber::from(number)),
            valid_from: Timestamp::from_unix(from),
            valid_until: Timestamp::from_unix(from.saturating_add(100)),
            fetched_at: Timestamp::from_unix(0),
        }
    }

    #[tokio::test]
    async fn a_list_is_replaced_by_a_newer_one_only_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = SqliteStore::open(&path).await.unwrap();
        for older_or_newer in [list(9, 1000), list(7, 2000), list(10, 900), list(0x10, 1000), list(0xf, 1001)] {
            store.keep_endorsements(&[older_or_newer]).await.unwrap();
        }
        drop(store);
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.endorsement(list(1, 1).id).await.unwrap(), Some(list(0x10, 1000)));
    }

    #[tokio::test]
    async fn a_replica_reads_what_others_wrote_since() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).await.unwrap();
        let vcek = StoredEndorsement {
            id: "amd/vcek/Turin/0102030405060708/0102000400000047".parse().unwrap(),
            number: None,
            ..list(1, 1)
        };
        store.keep_endorsements(&[list(1, 1), vcek.clone()]).await.unwrap();
        let (documents, change) = store.shared_endorsements(0).await.unwrap();
        assert_eq!(documents, [list(1, 1)]);
        assert_eq!(store.shared_endorsements(change).await.unwrap(), (vec![], change));
        store.keep_endorsements(&[list(2, 2)]).await.unwrap();
        assert_eq!(store.shared_endorsements(change).await.unwrap().0, [list(2, 2)]);
        assert_eq!(store.endorsement(vcek.id).await.unwrap(), Some(vcek.clone()));
        store.forget_endorsement(vcek.id).await.unwrap();
        assert_eq!(store.endorsements().await.unwrap(), [list(2, 2)]);
    }
}
