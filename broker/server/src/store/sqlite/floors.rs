//! CRL numbers in SQLite.

use sqlx::Row;
use verifier::{CrlFloors, x509::CrlNumber};

use super::{
    super::{FloorStore, StoreError, StoreFuture},
    SqliteStore,
};

impl FloorStore for SqliteStore {
    fn crl_floors(&self) -> StoreFuture<'_, CrlFloors> {
        Box::pin(async {
            let mut floors = CrlFloors::default();
            for row in sqlx::query("SELECT issuer, number FROM crl_floors").fetch_all(&self.pool).await? {
                let number: String = row.try_get("number")?;
                let unknown = || StoreError::Unknown { what: "CRL number", found: number.clone() };
                let parsed = CrlNumber::from_hex(&number).ok_or_else(unknown)?;
                floors.raise(&row.try_get::<String, _>("issuer")?, parsed);
            }
            Ok(floors)
        })
    }

    fn raise_crl_floor<'a>(&'a self, issuer: &'a str, number: CrlNumber) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            // Numbers of one length are ordered like their digits.
            let digits = format!("{:0>40}", number.to_string());
            sqlx::query(
                "INSERT INTO crl_floors (issuer, number) VALUES (?, ?)
                 ON CONFLICT (issuer) DO UPDATE SET number = excluded.number WHERE excluded.number > number",
            )
            .bind(issuer)
            .bind(digits)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_floor_only_rises_and_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let store = SqliteStore::open(&path).await.unwrap();
        for number in [9, 0x100, 7] {
            store.raise_crl_floor("ARK-Milan", CrlNumber::from(number)).await.unwrap();
        }
        // Intel's collateral has subjects of its own, and dates for numbers.
        let subject = "tcbEvaluationDataNumber of TCB info 00806f050000";
        for number in [17, 20, 19] {
            store.raise_crl_floor(subject, CrlNumber::from(number)).await.unwrap();
        }
        for time in [1_792_714_008, 1_792_714_007] {
            store.raise_crl_floor("thisUpdate of CN=root", CrlNumber::from(time)).await.unwrap();
        }
        drop(store);
        let floors = SqliteStore::open(&path).await.unwrap().crl_floors().await.unwrap();
        assert_eq!(floors.of("ARK-Milan"), Some(CrlNumber::from(0x100)));
        assert_eq!(floors.of("ARK-Genoa"), None);
        assert_eq!(floors.of(subject), Some(CrlNumber::from(20)));
        assert_eq!(floors.of("thisUpdate of CN=root"), Some(CrlNumber::from(1_792_714_008)));
    }
}
