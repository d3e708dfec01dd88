//! Reference sets in SQLite.

use serde_json::json;
use sqlx::{Row, Sqlite, SqliteConnection, Transaction, sqlite::SqliteRow};
use verifier::{
    Timestamp,
    reference::{Change, ReferenceError, ReferenceSet},
};

use super::{
    super::{
        EndCause, Ground, LeaseSelector, ReferenceChange, ReferenceEvent, ReferenceKey, ReferenceSource,
        ReferenceStore, StoreError, StoreFuture, StoredReferenceSet, TenantId,
    },
    SqliteStore, audit, ends, to_u32,
};
use crate::audit::Kind;

/// Every column of one tenant's sets.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, version, definition, source, signer, author, created_at, activated_at, retired_at, revoked_at \
             FROM reference_sets WHERE tenant = ?1 ",
            $rest
        )
    };
}

impl ReferenceStore for SqliteStore {
    fn insert_reference_sets<'a>(
        &'a self,
        tenant: &'a TenantId,
        sets: &'a [StoredReferenceSet],
        note: Option<&'a str>,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin_change().await?;
            for set in sets {
                insert(&mut transaction, tenant, set).await?;
                let proposed = set.to_set().map_err(|error| unreadable(set, &error))?.proposed;
                let event = event(set, if proposed { "proposed" } else { "added" }, &set.author, set.created_at);
                let event = ReferenceEvent { reason: note.map(ToOwned::to_owned), ..event };
                record(&mut transaction, tenant, &event).await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    fn reference_sets<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StoredReferenceSet>> {
        Box::pin(async move {
            let query = select!("ORDER BY id, version");
            let rows = sqlx::query(query).bind(tenant.as_str()).fetch_all(&self.pool).await?;
            rows.iter().map(set_of).collect()
        })
    }

    fn change_reference_sets<'a>(
        &'a self,
        tenant: &'a TenantId,
        change: &'a ReferenceChange,
    ) -> StoreFuture<'a, Vec<ReferenceKey>> {
        Box::pin(async move {
            let mut transaction = self.begin_change().await?;
            let rows = meant(&mut transaction, tenant, change).await?;
            let (mut changed, mut refused) = (Vec::new(), None);
            for row in rows {
                let mut set = row.to_set().map_err(|error| unreadable(&row, &error))?;
                match set.apply(change.change) {
                    Ok(()) => changed.push(write(&mut transaction, tenant, change, &row, &set).await?),
                    Err(source) => {
                        let error = ReferenceError::Transition { id: set.id.clone(), version: set.version, source };
                        refused = refused.or(Some(error));
                    }
                }
            }
            match refused {
                Some(error) if changed.is_empty() => Err(StoreError::Reference(error)),
                Some(_) | None => {
                    transaction.commit().await?;
                    Ok(changed)
                }
            }
        })
    }

    fn reference_history<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: Option<&'a str>,
        limit: u32,
    ) -> StoreFuture<'a, Vec<ReferenceEvent>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT * FROM (
                     SELECT sequence, id, version, changed_at, change, effective_at, author, reason, digest, leases_ended
                     FROM reference_history WHERE tenant = ?1 AND (?2 IS NULL OR id = ?2)
                     ORDER BY sequence DESC LIMIT ?3
                 ) ORDER BY sequence",
            )
            .bind(tenant.as_str())
            .bind(id)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(event_of).collect()
        })
    }
}

async fn meant(
    transaction: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    change: &ReferenceChange,
) -> Result<Vec<StoredReferenceSet>, StoreError> {
    let rows = sqlx::query(select!("AND id = ?2 AND (?3 IS NULL OR version = ?3) ORDER BY version"))
        .bind(tenant.as_str())
        .bind(&change.id)
        .bind(change.version)
        .fetch_all(&mut **transaction)
        .await?;
    rows.iter().map(set_of).collect()
}

/// Writes what became of `set`, the line of its history, and ends leases where it was revoked.
async fn write(
    transaction: &mut Transaction<'static, Sqlite>,
    tenant: &TenantId,
    change: &ReferenceChange,
    row: &StoredReferenceSet,
    set: &ReferenceSet,
) -> Result<ReferenceKey, StoreError> {
    let activated_at = match change.change {
        Change::Activate => Some(change.now),
        Change::Retire { .. } | Change::Revoke { .. } => row.activated_at,
    };
    sqlx::query(
        "UPDATE reference_sets SET activated_at = ?4, retired_at = ?5, revoked_at = ?6
         WHERE tenant = ?1 AND id = ?2 AND version = ?3",
    )
    .bind(tenant.as_str())
    .bind(&row.id)
    .bind(row.version)
    .bind(activated_at.map(Timestamp::as_unix))
    .bind(set.retire_at.map(Timestamp::as_unix))
    .bind(set.revoked_at.map(Timestamp::as_unix))
    .execute(&mut **transaction)
    .await?;
    let (effective_at, leases_ended) = match change.change {
        Change::Activate => (None, 0),
        Change::Retire { .. } => (set.retire_at, 0),
        Change::Revoke { .. } => (set.revoked_at, end_leases(transaction, tenant, change.now, row).await?),
    };
    let event = event(row, change.change.as_str(), &change.author, change.now);
    let event = ReferenceEvent { effective_at, reason: change.reason.clone(), leases_ended, ..event };
    record(transaction, tenant, &event).await?;
    Ok(ReferenceKey { id: row.id.clone(), version: row.version })
}

/// Ends the open leases that rest on a set.
async fn end_leases(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    now: Timestamp,
    set: &StoredReferenceSet,
) -> Result<u32, StoreError> {
    let ground = Ground::reference_set(&set.id, Some(set.version));
    let ended = ends::end(connection, tenant, LeaseSelector::Ground(&ground), EndCause::Revoked, now).await?;
    Ok(u32::try_from(ended).unwrap_or(u32::MAX))
}

async fn insert(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    set: &StoredReferenceSet,
) -> Result<(), StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO reference_sets
             (tenant, id, version, definition, source, signer, author, created_at, activated_at, retired_at, revoked_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(tenant.as_str())
    .bind(&set.id)
    .bind(set.version)
    .bind(&set.definition)
    .bind(set.source.as_str())
    .bind(&set.signer)
    .bind(&set.author)
    .bind(set.created_at.as_unix())
    .bind(set.activated_at.map(Timestamp::as_unix))
    .bind(set.retired_at.map(Timestamp::as_unix))
    .bind(set.revoked_at.map(Timestamp::as_unix))
    .execute(connection)
    .await?;
    if inserted.rows_affected() == 0 { Err(StoreError::Conflict) } else { Ok(()) }
}

fn event(set: &StoredReferenceSet, change: &str, author: &str, changed_at: Timestamp) -> ReferenceEvent {
    ReferenceEvent {
        id: set.id.clone(),
        version: set.version,
        changed_at,
        change: change.to_owned(),
        effective_at: None,
        author: author.to_owned(),
        reason: None,
        digest: set.digest(),
        leases_ended: 0,
    }
}

async fn record(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    event: &ReferenceEvent,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reference_history
             (tenant, id, version, changed_at, change, effective_at, author, reason, digest, leases_ended)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(tenant.as_str())
    .bind(&event.id)
    .bind(event.version)
    .bind(event.changed_at.as_unix())
    .bind(&event.change)
    .bind(event.effective_at.map(Timestamp::as_unix))
    .bind(&event.author)
    .bind(&event.reason)
    .bind(&event.digest)
    .bind(event.leases_ended)
    .execute(&mut *connection)
    .await?;
    let body = json!({
        "id": event.id, "version": event.version, "change": event.change, "effective_at": event.effective_at,
        "digest": event.digest, "reason": event.reason, "by": event.author, "leases_ended": event.leases_ended,
    });
    audit::append(connection, tenant, event.changed_at, Kind::ReferenceChanged, body).await
}

fn unreadable(set: &StoredReferenceSet, error: &serde_json::Error) -> StoreError {
    StoreError::Unknown { what: "reference set", found: format!("{} v{}: {error}", set.id, set.version) }
}

fn time(row: &SqliteRow, column: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix))
}

fn set_of(row: &SqliteRow) -> Result<StoredReferenceSet, StoreError> {
    Ok(StoredReferenceSet {
        id: row.try_get("id")?,
        version: to_u32("reference set version", row.try_get("version")?)?,
        definition: row.try_get("definition")?,
        source: ReferenceSource::parse(&row.try_get::<String, _>("source")?)?,
        signer: row.try_get("signer")?,
        author: row.try_get("author")?,
        created_at: Timestamp::from_unix(row.try_get("created_at")?),
        activated_at: time(row, "activated_at")?,
        retired_at: time(row, "retired_at")?,
        revoked_at: time(row, "revoked_at")?,
    })
}

fn event_of(row: &SqliteRow) -> Result<ReferenceEvent, StoreError> {
    Ok(ReferenceEvent {
        id: row.try_get("id")?,
        version: to_u32("reference set version", row.try_get("version")?)?,
        changed_at: Timestamp::from_unix(row.try_get("changed_at")?),
        change: row.try_get("change")?,
        effective_at: time(row, "effective_at")?,
        author: row.try_get("author")?,
        reason: row.try_get("reason")?,
        digest: row.try_get("digest")?,
        leases_ended: to_u32("leases ended", row.try_get("leases_ended")?)?,
    })
}

#[cfg(test)]
mod checks;
