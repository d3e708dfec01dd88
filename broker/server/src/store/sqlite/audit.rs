//! The audit log in SQLite.
//!
//! [`append`] works inside the transaction of what it records. Such a transaction holds the write lock from its start
//! (`BEGIN IMMEDIATE`), so whoever reads the end of the chain is the next to write it; the primary key is what makes a
//! fork impossible should one not.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{AuditQuery, AuditRetention, AuditStore, StoreError, StoreFuture, StoredCheckpoint, TenantId},
    SqliteStore, to_i64, to_u64,
};
use crate::audit::{Entry, Kind, Place, Record, RecordHash};

/// Most rows that one look at the retention drops.
const AT_ONCE: u64 = 20_000;
/// Seconds that records may outlive the retention, so that not every minute drops a few and says so.
const SLACK: i64 = 24 * 3600;

/// The end of a chain, as a column of another statement: JSON of number and hash, or null. `?N` is the tenant.
macro_rules! head_column {
    ($tenant:literal) => {
        concat!(
            "(SELECT json_array(sequence, lower(hex(hash))) FROM audit_log WHERE tenant = ",
            $tenant,
            " ORDER BY sequence DESC LIMIT 1)"
        )
    };
}
pub(super) use head_column;

/// Reads what [`head_column`] selected.
pub(super) fn head_of(column: Option<&str>) -> Result<Place, StoreError> {
    let Some(text) = column else { return Ok(Place::START) };
    let unknown = || StoreError::Unknown { what: "end of the audit log", found: text.to_owned() };
    let (sequence, hash): (u64, String) = serde_json::from_str(text).map_err(|_other| unknown())?;
    Ok(Place { sequence, hash: RecordHash::parse(&hash).ok_or_else(unknown)? })
}

/// An entry about something in the store.
pub(super) fn entry(at: Timestamp, kind: Kind, body: &impl Serialize) -> Result<Entry, StoreError> {
    Entry::new(at, kind, body).map_err(|error| StoreError::Unknown { what: "audit record", found: error.to_string() })
}

/// SHA-256 of stored text, hex.
pub(super) fn digest_of(text: &str) -> String {
    hex::encode(digest(&SHA256, text.as_bytes()))
}

/// Appends one record in the caller's transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    at: Timestamp,
    kind: Kind,
    body: serde_json::Value,
) -> Result<(), StoreError> {
    append_all(connection, tenant, vec![entry(at, kind, &body)?]).await
}

/// Appends records in the caller's transaction.
pub(super) async fn append_all(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    entries: Vec<Entry>,
) -> Result<(), StoreError> {
    let mut head = head(&mut *connection, tenant).await?;
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let record = Record::chain(tenant.as_str(), head, entry);
        head = record.place();
        rows.push(json!([
            record.sequence,
            record.entry.at.as_unix(),
            record.entry.kind,
            record.entry.body,
            record.previous.to_string(),
            record.hash.to_string()
        ]));
    }
    sqlx::query(
        "INSERT INTO audit_log (tenant, sequence, at, kind, body, previous, hash)
         SELECT ?1, record.value ->> 0, record.value ->> 1, record.value ->> 2, record.value ->> 3,
                unhex(record.value ->> 4), unhex(record.value ->> 5) FROM json_each(?2) AS record",
    )
    .bind(tenant.as_str())
    .bind(serde_json::Value::Array(rows).to_string())
    .execute(connection)
    .await?;
    Ok(())
}

async fn head(connection: &mut SqliteConnection, tenant: &TenantId) -> Result<Place, StoreError> {
    let row = sqlx::query(concat!("SELECT ", head_column!("?1"), " AS head"))
        .bind(tenant.as_str())
        .fetch_one(connection)
        .await?;
    head_of(row.try_get("head")?)
}

impl AuditStore for SqliteStore {
    fn append_audit<'a>(&'a self, tenant: &'a TenantId, entry: Entry) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            append_all(&mut transaction, tenant, vec![entry]).await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    fn audit_head<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Place> {
        Box::pin(async move {
            let mut connection = self.pool.acquire().await?;
            head(&mut connection, tenant).await
        })
    }

    fn audit_records<'a>(&'a self, tenant: &'a TenantId, query: &'a AuditQuery) -> StoreFuture<'a, Vec<Record>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT tenant, sequence, at, kind, body, previous, hash FROM audit_log
                 WHERE tenant = ?1 AND sequence > ?2 AND (?3 IS NULL OR kind = ?3)
                 AND (?4 IS NULL OR instr(body, ?4) > 0) AND (?5 IS NULL OR at >= ?5) ORDER BY sequence LIMIT ?6",
            )
            .bind(tenant.as_str())
            .bind(to_i64("record number", query.after)?)
            .bind(&query.kind)
            .bind(&query.contains)
            .bind(query.since.map(Timestamp::as_unix))
            .bind(query.limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(record_of).collect()
        })
    }

    fn audit_checkpoints<'a>(
        &'a self,
        tenant: &'a TenantId,
        after: u64,
        limit: u32,
    ) -> StoreFuture<'a, Vec<StoredCheckpoint>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT sequence, at, token FROM audit_checkpoints WHERE tenant = ? AND sequence > ?
                 ORDER BY sequence LIMIT ?",
            )
            .bind(tenant.as_str())
            .bind(to_i64("record number", after)?)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(checkpoint_of).collect()
        })
    }

    fn newest_audit_checkpoint<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Option<StoredCheckpoint>> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT sequence, at, token FROM audit_checkpoints WHERE tenant = ? ORDER BY sequence DESC LIMIT 1",
            )
            .bind(tenant.as_str())
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(checkpoint_of).transpose()
        })
    }

    fn insert_audit_checkpoint<'a>(
        &'a self,
        tenant: &'a TenantId,
        place: Place,
        token: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            sqlx::query(
                "INSERT INTO audit_checkpoints (tenant, sequence, at, token) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )
            .bind(tenant.as_str())
            .bind(to_i64("record number", place.sequence)?)
            .bind(now.as_unix())
            .bind(token)
            .execute(&self.pool)
            .await?;
            Ok(())
        })
    }

    fn prune_audit<'a>(&'a self, tenant: &'a TenantId, keep: AuditRetention, now: Timestamp) -> StoreFuture<'a, u64> {
        Box::pin(async move {
            // Most of the time nothing is old, and a look costs no write lock.
            let mut connection = self.pool.acquire().await?;
            if prunable(&mut connection, tenant, keep).await?.is_none() {
                return Ok(0);
            }
            drop(connection);
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let Some(through) = prunable(&mut transaction, tenant, keep).await? else { return Ok(0) };
            let dropped = prune(&mut transaction, tenant, through, now).await?;
            transaction.commit().await?;
            Ok(dropped)
        })
    }
}

/// The checkpoint up to which records go, if any do. The records behind it stay, so a chain is never empty again.
async fn prunable(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    keep: AuditRetention,
) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query(
        // Each of these looks at the ends of the chain, not at all of it.
        "SELECT (SELECT sequence FROM audit_log WHERE tenant = ?1 ORDER BY sequence LIMIT 1) AS first,
                (SELECT sequence FROM audit_log WHERE tenant = ?1 ORDER BY sequence DESC LIMIT 1) AS last,
                (SELECT at FROM audit_log WHERE tenant = ?1 ORDER BY sequence LIMIT 1) AS oldest,
                (SELECT sequence - 1 FROM audit_log WHERE tenant = ?1 AND at >= ?2 ORDER BY sequence LIMIT 1) AS old",
    )
    .bind(tenant.as_str())
    .bind(keep.since.as_unix())
    .fetch_one(&mut *connection)
    .await?;
    let (Some(first), Some(last)) = (row.try_get::<Option<i64>, _>("first")?, row.try_get::<Option<i64>, _>("last")?)
    else {
        return Ok(None);
    };
    let (first, last) = (to_u64("record number", first)?, to_u64("record number", last)?);
    let oldest: Option<i64> = row.try_get("oldest")?;
    let is_old = oldest.is_some_and(|at| at < keep.since.plus_seconds(SLACK.saturating_neg()).as_unix());
    let old = match (is_old, row.try_get::<Option<i64>, _>("old")?) {
        (true, Some(old)) => to_u64("record number", old)?,
        (true, None) => last,
        (false, _) => 0,
    };
    let surplus = last.saturating_sub(first).saturating_add(1) > keep.records.saturating_add(keep.records / 100);
    let surplus = if surplus { last.saturating_sub(keep.records) } else { 0 };
    let most = old.max(surplus).min(first.saturating_add(AT_ONCE)).min(last.saturating_sub(1));
    if most < first {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT MAX(sequence) AS through FROM audit_checkpoints WHERE tenant = ? AND sequence BETWEEN ? AND ?",
    )
    .bind(tenant.as_str())
    .bind(to_i64("record number", first)?)
    .bind(to_i64("record number", most)?)
    .fetch_one(connection)
    .await?;
    Ok(row.try_get("through")?)
}

async fn prune(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    through: i64,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let dropped = sqlx::query("DELETE FROM audit_log WHERE tenant = ? AND sequence <= ?")
        .bind(tenant.as_str())
        .bind(through)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    sqlx::query("DELETE FROM audit_checkpoints WHERE tenant = ? AND sequence < ?")
        .bind(tenant.as_str())
        .bind(through)
        .execute(&mut *connection)
        .await?;
    append(connection, tenant, now, Kind::Pruned, json!({"through": through, "records": dropped})).await?;
    Ok(dropped)
}

fn record_of(row: &SqliteRow) -> Result<Record, StoreError> {
    let hash = |column: &str| -> Result<RecordHash, StoreError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        // A hash of another length is no hash: nothing has it.
        Ok(bytes.try_into().map_or(RecordHash([0xff; 32]), RecordHash))
    };
    Ok(Record {
        tenant: row.try_get("tenant")?,
        sequence: to_u64("record number", row.try_get("sequence")?)?,
        entry: Entry {
            at: Timestamp::from_unix(row.try_get("at")?),
            kind: row.try_get("kind")?,
            body: row.try_get("body")?,
        },
        previous: hash("previous")?,
        hash: hash("hash")?,
    })
}

fn checkpoint_of(row: &SqliteRow) -> Result<StoredCheckpoint, StoreError> {
    Ok(StoredCheckpoint {
        sequence: to_u64("record number", row.try_get("sequence")?)?,
        at: Timestamp::from_unix(row.try_get("at")?),
        token: row.try_get("token")?,
    })
}
