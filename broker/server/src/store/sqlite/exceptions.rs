//! The register of exceptions in SQLite.

use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use verifier::Timestamp;

use super::{
    super::{
        Added, Exception, ExceptionAct, ExceptionCounts, ExceptionStore, HandedOver, Handover, Notice, RotationPlan,
        StoreError, StoreFuture, TenantId,
    },
    SqliteStore, audit, to_i64, to_u32, to_u64,
};
use crate::audit::Kind;

/// Seconds.
const MINUTE: i64 = 60;
const DAY: i64 = 24 * 3600;
/// Who acts when nobody does.
const BROKER: &str = "broker";

/// The columns of an exception.
macro_rules! select_exceptions {
    ($condition:literal) => {
        concat!(
            "SELECT id, name, owner, reason, system, secret, client, sources, extends, author, created_at, expires_at,
                    uses, last_use_at, ended_at, end_cause, alerted_days, rotate_seconds, rotate_by, joins
             FROM exceptions WHERE tenant = ?1 AND ",
            $condition
        )
    };
}

impl ExceptionStore for SqliteStore {
    fn add_exception<'a>(&'a self, tenant: &'a TenantId, exception: &'a Exception) -> StoreFuture<'a, Added> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let added = add(&mut transaction, tenant, exception).await?;
            // What was refused leaves nothing, not even the end of what it extends.
            if added == Added::Yes {
                transaction.commit().await?;
            }
            Ok(added)
        })
    }

    fn exceptions<'a>(&'a self, tenant: &'a TenantId, all: bool, limit: u32) -> StoreFuture<'a, Vec<Exception>> {
        Box::pin(async move {
            let rows = sqlx::query(select_exceptions!(
                "(?2 OR ended_at IS NULL) ORDER BY ended_at IS NOT NULL, expires_at, name LIMIT ?3"
            ))
            .bind(tenant.as_str())
            .bind(all)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(exception_of).collect()
        })
    }

    fn exception<'a>(&'a self, tenant: &'a TenantId, name_or_id: &'a str) -> StoreFuture<'a, Option<Exception>> {
        Box::pin(async move {
            let row = sqlx::query(select_exceptions!(
                "(name = ?2 OR id = ?2) ORDER BY ended_at IS NOT NULL, created_at DESC, rowid DESC LIMIT 1"
            ))
            .bind(tenant.as_str())
            .bind(name_or_id)
            .fetch_optional(&self.pool)
            .await?;
            row.as_ref().map(exception_of).transpose()
        })
    }

    fn exception_history<'a>(&'a self, id: &'a str, limit: u32) -> StoreFuture<'a, Vec<ExceptionAct>> {
        Box::pin(async move {
            let rows = sqlx::query(
                "SELECT at, act, by, detail FROM exception_history WHERE exception = ? ORDER BY sequence DESC LIMIT ?",
            )
            .bind(id)
            .bind(limit)
            .fetch_all(&self.pool)
            .await?;
            rows.iter().map(act_of).collect()
        })
    }

    fn hand_over<'a>(
        &'a self,
        tenant: &'a TenantId,
        handover: &'a Handover<'a>,
        now: Timestamp,
    ) -> StoreFuture<'a, HandedOver> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let handed_over = hand_over(&mut transaction, tenant, handover, now).await?;
            transaction.commit().await?;
            Ok(handed_over)
        })
    }

    fn end_exception<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        by: &'a str,
        reason: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            end_expired(&mut transaction, tenant, now).await?;
            let live = live(&mut transaction, tenant, id).await?;
            if let Some(exception) = &live {
                end(&mut transaction, tenant, exception, End { cause: "ended", by, detail: reason }, now).await?;
            }
            transaction.commit().await?;
            Ok(live.is_some())
        })
    }

    fn tend_exceptions<'a>(
        &'a self,
        tenant: &'a TenantId,
        alert_days: &'a [u32],
        now: Timestamp,
    ) -> StoreFuture<'a, Vec<Notice>> {
        Box::pin(async move {
            let furthest = i64::from(alert_days.iter().copied().max().unwrap_or(0)).saturating_mul(DAY);
            // Most of the time nothing is near its end, and a look costs no write lock.
            let near = sqlx::query(select_exceptions!("ended_at IS NULL AND expires_at <= ?2"))
                .bind(tenant.as_str())
                .bind(now.plus_seconds(furthest).as_unix())
                .fetch_all(&self.pool)
                .await?;
            let due = |row: &SqliteRow| -> Result<bool, StoreError> {
                let exception = exception_of(row)?;
                Ok(exception.expires_at <= now || alert_due(row, &exception, alert_days, now)?.is_some())
            };
            let mut any = false;
            for row in &near {
                any |= due(row)?;
            }
            if !any {
                return Ok(Vec::new());
            }
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let mut notices = end_expired(&mut transaction, tenant, now).await?;
            notices.extend(alert(&mut transaction, tenant, alert_days, now).await?);
            transaction.commit().await?;
            Ok(notices)
        })
    }

    fn rotated<'a>(
        &'a self,
        tenant: &'a TenantId,
        exception: &'a str,
        (secret, version): (&'a str, u32),
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let Some(exception) = live(&mut transaction, tenant, exception).await? else { return Ok(false) };
            if !promote(&mut transaction, tenant, (secret, version), now).await? {
                return Ok(false);
            }
            record(&mut transaction, tenant, &exception, ("rotated", BROKER, &format!("version {version}")), now)
                .await?;
            tell(&mut transaction, tenant, &exception, "exception-rotated", json!({"version": version}), now).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn rotation_pending<'a>(
        &'a self,
        tenant: &'a TenantId,
        exception: &'a str,
        version: u32,
        why: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let marked = sqlx::query(
                "UPDATE exceptions SET rotation_told = ?1 WHERE tenant = ?2 AND id = ?3 AND ended_at IS NULL
                 AND (rotation_told IS NULL OR rotation_told < ?1)",
            )
            .bind(version)
            .bind(tenant.as_str())
            .bind(exception)
            .execute(&mut *transaction)
            .await?;
            let Some(exception) = live(&mut transaction, tenant, exception).await? else { return Ok(false) };
            if marked.rows_affected() == 0 {
                return Ok(false);
            }
            let detail = format!("version {version}: {why}");
            record(&mut transaction, tenant, &exception, ("rotation-due", BROKER, &detail), now).await?;
            let data = json!({"version": version, "why": why});
            tell(&mut transaction, tenant, &exception, "exception-rotation-due", data, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn count_exceptions<'a>(&'a self, tenant: &'a TenantId, now: Timestamp) -> StoreFuture<'a, ExceptionCounts> {
        Box::pin(async move {
            let row = sqlx::query(
                "SELECT COUNT(*) AS live, COUNT(alerted_days) AS ending FROM exceptions
                 WHERE tenant = ? AND ended_at IS NULL AND expires_at > ?",
            )
            .bind(tenant.as_str())
            .bind(now.as_unix())
            .fetch_one(&self.pool)
            .await?;
            let count = |name: &str| to_u64("count", row.try_get(name)?);
            Ok(ExceptionCounts { live: count("live")?, ending: count("ending")? })
        })
    }
}

async fn add(connection: &mut SqliteConnection, tenant: &TenantId, exception: &Exception) -> Result<Added, StoreError> {
    let now = exception.created_at;
    end_expired(connection, tenant, now).await?;
    if let Some(extended) = &exception.extends {
        let Some(old) = live(connection, tenant, extended).await? else { return Ok(Added::Over) };
        let detail = format!("by {}: {}", exception.id, exception.reason);
        end(connection, tenant, &old, End { cause: "extended", by: &exception.author, detail: &detail }, now).await?;
    }
    for (column, taken) in [("name", Added::NameTaken), ("secret", Added::SecretTaken)] {
        let (statement, value) = match column {
            "name" => (select_exceptions!("ended_at IS NULL AND name = ?2"), &exception.name),
            _ => (select_exceptions!("ended_at IS NULL AND secret = ?2"), &exception.secret),
        };
        let found = sqlx::query(statement).bind(tenant.as_str()).bind(value).fetch_optional(&mut *connection).await?;
        if found.is_some() {
            return Ok(taken);
        }
    }
    let sources: Vec<String> = exception.sources.iter().map(ToString::to_string).collect();
    sqlx::query(
        "INSERT INTO exceptions (id, tenant, name, owner, reason, system, secret, client, sources, extends, author,
                                 created_at, expires_at, rotate_seconds, rotate_by, joins)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&exception.id)
    .bind(tenant.as_str())
    .bind(&exception.name)
    .bind(&exception.owner)
    .bind(&exception.reason)
    .bind(&exception.system)
    .bind(&exception.secret)
    .bind(exception.client.as_ref().map(ToString::to_string))
    .bind(sources.join(" "))
    .bind(&exception.extends)
    .bind(&exception.author)
    .bind(now.as_unix())
    .bind(exception.expires_at.as_unix())
    .bind(exception.rotation.as_ref().map(|plan| plan.seconds))
    .bind(exception.rotation.as_ref().and_then(|plan| plan.driver.as_ref()))
    .bind(exception.joins)
    .execute(&mut *connection)
    .await?;
    let detail = format!("until {}: {}", exception.expires_at, exception.reason);
    record(connection, tenant, exception, ("added", &exception.author, &detail), now).await?;
    tell(connection, tenant, exception, "exception-added", json!({"by": exception.author}), now).await?;
    Ok(Added::Yes)
}

/// The staged version becomes what the name stands for, and nothing older is kept.
async fn promote(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    (secret, version): (&str, u32),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let promoted = sqlx::query(
        "UPDATE secrets SET staged = 0
         WHERE tenant = ?1 AND name = ?2 AND version = ?3 AND staged = 1 AND bridge = 1 AND envelope IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM secrets WHERE tenant = ?1 AND name = ?2 AND version > ?3)",
    )
    .bind(tenant.as_str())
    .bind(secret)
    .bind(version)
    .execute(&mut *connection)
    .await?;
    if promoted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE secrets SET envelope = NULL, staged = 0, deleted_at = ?
         WHERE tenant = ? AND name = ? AND version < ? AND envelope IS NOT NULL",
    )
    .bind(now.as_unix())
    .bind(tenant.as_str())
    .bind(secret)
    .bind(version)
    .execute(connection)
    .await?;
    Ok(true)
}

async fn hand_over(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    handover: &Handover<'_>,
    now: Timestamp,
) -> Result<HandedOver, StoreError> {
    let found = live(connection, tenant, handover.exception).await?;
    let Some(exception) = found.filter(|exception| exception.is_live(now)) else { return Ok(HandedOver::Over) };
    let row =
        sqlx::query("SELECT COUNT(*) AS uses FROM exception_history WHERE exception = ? AND act = 'used' AND at > ?")
            .bind(&exception.id)
            .bind(now.plus_seconds(MINUTE.saturating_neg()).as_unix())
            .fetch_one(&mut *connection)
            .await?;
    if to_u64("count", row.try_get("uses")?)? >= u64::from(handover.per_minute) {
        return Ok(HandedOver::TooOften);
    }
    let uses = exception.uses.saturating_add(1);
    sqlx::query("UPDATE exceptions SET uses = ?, last_use_at = ? WHERE id = ?")
        .bind(to_i64("count", uses)?)
        .bind(now.as_unix())
        .bind(&exception.id)
        .execute(&mut *connection)
        .await?;
    let Handover { client, source, version, .. } = handover;
    let detail = format!("version {version} to {source}");
    record(connection, tenant, &exception, ("used", client, &detail), now).await?;
    let data = json!({"client": client, "source": source, "version": version, "uses": uses});
    tell(connection, tenant, &exception, "exception-used", data, now).await?;
    Ok(HandedOver::Counted(uses))
}

/// Ends every exception whose time is over.
async fn end_expired(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    now: Timestamp,
) -> Result<Vec<Notice>, StoreError> {
    let rows = sqlx::query(select_exceptions!("ended_at IS NULL AND expires_at <= ?2"))
        .bind(tenant.as_str())
        .bind(now.as_unix())
        .fetch_all(&mut *connection)
        .await?;
    let mut notices = Vec::with_capacity(rows.len());
    for row in &rows {
        let exception = exception_of(row)?;
        let over = End { cause: "expired", by: BROKER, detail: "its time is over" };
        end(connection, tenant, &exception, over, now).await?;
        notices.push(Notice { exception, within_days: None });
    }
    Ok(notices)
}

/// Records the alerts that are due.
async fn alert(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    alert_days: &[u32],
    now: Timestamp,
) -> Result<Vec<Notice>, StoreError> {
    let rows = sqlx::query(select_exceptions!("ended_at IS NULL")).bind(tenant.as_str());
    let rows = rows.fetch_all(&mut *connection).await?;
    let mut notices = Vec::new();
    for row in &rows {
        let exception = exception_of(row)?;
        let Some(days) = alert_due(row, &exception, alert_days, now)? else { continue };
        sqlx::query("UPDATE exceptions SET alerted_days = ? WHERE id = ?")
            .bind(days)
            .bind(&exception.id)
            .execute(&mut *connection)
            .await?;
        let detail = format!("ends at {}, within {days} days", exception.expires_at);
        record(connection, tenant, &exception, ("ending", BROKER, &detail), now).await?;
        tell(connection, tenant, &exception, "exception-ending", json!({"within_days": days}), now).await?;
        notices.push(Notice { exception, within_days: Some(days) });
    }
    Ok(notices)
}

/// The most urgent alert that is due and was not given. One that is short from the start is alerted at once.
fn alert_due(
    row: &SqliteRow,
    exception: &Exception,
    alert_days: &[u32],
    now: Timestamp,
) -> Result<Option<u32>, StoreError> {
    let alerted: Option<i64> = row.try_get("alerted_days")?;
    let left = exception.expires_at.as_unix().saturating_sub(now.as_unix());
    let due = alert_days.iter().copied().filter(|days| left <= i64::from(*days).saturating_mul(DAY)).min();
    Ok(due.filter(|days| alerted.is_none_or(|alerted| i64::from(*days) < alerted)))
}

/// How an exception ends.
struct End<'a> {
    cause: &'static str,
    by: &'a str,
    detail: &'a str,
}

async fn end(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    exception: &Exception,
    End { cause, by, detail }: End<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE exceptions SET ended_at = ?, end_cause = ? WHERE id = ? AND ended_at IS NULL")
        .bind(now.as_unix())
        .bind(cause)
        .bind(&exception.id)
        .execute(&mut *connection)
        .await?;
    record(connection, tenant, exception, ("ended", by, &format!("{cause}: {detail}")), now).await?;
    let data = json!({"cause": cause, "by": by, "uses": exception.uses});
    tell(connection, tenant, exception, "exception-ended", data, now).await
}

/// One that nobody ended, by id; its time may be over.
pub(super) async fn live(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    id: &str,
) -> Result<Option<Exception>, StoreError> {
    let row = sqlx::query(select_exceptions!("id = ?2 AND ended_at IS NULL"))
        .bind(tenant.as_str())
        .bind(id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(exception_of).transpose()
}

/// Writes history, and the audit log.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    exception: &Exception,
    (act, by, detail): (&str, &str, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO exception_history (exception, at, act, by, detail) VALUES (?, ?, ?, ?, ?)")
        .bind(&exception.id)
        .bind(now.as_unix())
        .bind(act)
        .bind(by)
        .bind(detail)
        .execute(&mut *connection)
        .await?;
    let body = json!({
        "exception": exception.id, "name": exception.name, "system": exception.system, "secret": exception.secret,
        "act": act, "by": by, "detail": detail,
    });
    audit::append(connection, tenant, now, Kind::Exception, body).await
}

/// Tells the event streams.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    exception: &Exception,
    event: &str,
    more: serde_json::Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut data = json!({
        "at": now,
        "exception": exception.id,
        "name": exception.name,
        "owner": exception.owner,
        "system": exception.system,
        "secret": exception.secret,
        "expires_at": exception.expires_at,
    });
    if let (Some(data), serde_json::Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    sqlx::query(
        "INSERT INTO lease_events (tenant, at, lease, guest, kind, name, status, cause, event, data)
         VALUES (?, ?, '', '', 'exception', ?, 0, '', ?, ?)",
    )
    .bind(tenant.as_str())
    .bind(now.as_unix())
    .bind(&exception.name)
    .bind(event)
    .bind(data.to_string())
    .execute(connection)
    .await?;
    Ok(())
}

fn exception_of(row: &SqliteRow) -> Result<Exception, StoreError> {
    let unknown = |what: &'static str, found: &str| StoreError::Unknown { what, found: found.to_owned() };
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map(|time| time.map(Timestamp::from_unix));
    let client: Option<String> = row.try_get("client")?;
    let client = client.map(|text| text.parse().map_err(|_error| unknown("client", &text))).transpose()?;
    let sources: String = row.try_get("sources")?;
    let sources = sources.split_whitespace().map(|text| text.parse().map_err(|_error| unknown("network", text)));
    let rotation = row.try_get::<Option<i64>, _>("rotate_seconds")?.map(|seconds| {
        let plan = RotationPlan { seconds: to_u32("rotation", seconds)?, driver: row.try_get("rotate_by")? };
        Ok::<_, StoreError>(plan)
    });
    Ok(Exception {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        owner: row.try_get("owner")?,
        reason: row.try_get("reason")?,
        system: row.try_get("system")?,
        secret: row.try_get("secret")?,
        client,
        sources: sources.collect::<Result<_, _>>()?,
        rotation: rotation.transpose()?,
        joins: row.try_get("joins")?,
        extends: row.try_get("extends")?,
        author: row.try_get("author")?,
        created_at: Timestamp::from_unix(row.try_get("created_at")?),
        expires_at: Timestamp::from_unix(row.try_get("expires_at")?),
        uses: to_u64("count", row.try_get("uses")?)?,
        last_use_at: time("last_use_at")?,
        ended_at: time("ended_at")?,
        end_cause: row.try_get("end_cause")?,
    })
}

fn act_of(row: &SqliteRow) -> Result<ExceptionAct, StoreError> {
    Ok(ExceptionAct {
        at: Timestamp::from_unix(row.try_get("at")?),
        act: row.try_get("act")?,
        by: row.try_get("by")?,
        detail: row.try_get("detail")?,
    })
}
