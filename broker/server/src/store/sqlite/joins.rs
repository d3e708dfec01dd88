//! Join tokens in SQLite.

use serde_json::json;
use verifier::Timestamp;

use super::{
    super::{JoinStore, JoinToken, Joining, StoreFuture, TenantId},
    SqliteStore,
    exceptions::{live, record, tell},
};

impl JoinStore for SqliteStore {
    fn add_join_token<'a>(&'a self, tenant: &'a TenantId, token: &'a JoinToken) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            let now = token.created_at;
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let found = live(&mut transaction, tenant, &token.exception).await?;
            let Some(exception) = found.filter(|exception| exception.joins && exception.is_live(now)) else {
                return Ok(false);
            };
            sqlx::query("DELETE FROM join_tokens WHERE exception = ? AND used_at IS NULL")
                .bind(&exception.id)
                .execute(&mut *transaction)
                .await?;
            sqlx::query(
                "INSERT INTO join_tokens (digest, tenant, exception, pin, author, created_at, expires_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(token.digest.as_slice())
            .bind(tenant.as_str())
            .bind(&exception.id)
            .bind(&token.pin)
            .bind(&token.author)
            .bind(now.as_unix())
            .bind(token.expires_at.as_unix())
            .execute(&mut *transaction)
            .await?;
            let detail = format!("until {} for {}", token.expires_at, token.pin.as_deref().unwrap_or("one key"));
            record(&mut transaction, tenant, &exception, ("join-token", &token.author, &detail), now).await?;
            let data = json!({"by": token.author, "until": token.expires_at, "client": token.pin});
            tell(&mut transaction, tenant, &exception, "exception-join-token", data, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn join<'a>(&'a self, tenant: &'a TenantId, joining: &'a Joining<'a>, now: Timestamp) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            // Whoever makes up tokens costs no write lock.
            let known = sqlx::query("SELECT 1 FROM join_tokens WHERE digest = ? AND used_at IS NULL");
            if known.bind(joining.digest.as_slice()).fetch_optional(&self.pool).await?.is_none() {
                return Ok(false);
            }
            let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            let found = live(&mut transaction, tenant, joining.exception).await?;
            let Some(exception) = found.filter(|exception| exception.joins && exception.is_live(now)) else {
                return Ok(false);
            };
            // One statement finds the token and uses it up: of two that come at once one finds it used.
            let used = sqlx::query(
                "UPDATE join_tokens SET used_at = ?1
                 WHERE digest = ?2 AND tenant = ?3 AND exception = ?4 AND used_at IS NULL AND expires_at > ?1
                 AND (pin IS NULL OR pin = ?5)",
            )
            .bind(now.as_unix())
            .bind(joining.digest.as_slice())
            .bind(tenant.as_str())
            .bind(&exception.id)
            .bind(joining.pin)
            .execute(&mut *transaction)
            .await?;
            if used.rows_affected() == 0 {
                return Ok(false);
            }
            sqlx::query("UPDATE exceptions SET client = ? WHERE id = ?")
                .bind(joining.pin)
                .bind(&exception.id)
                .execute(&mut *transaction)
                .await?;
            let detail = format!("with a join token from {}", joining.source);
            record(&mut transaction, tenant, &exception, ("joined", joining.pin, &detail), now).await?;
            let data = json!({"client": joining.pin, "source": joining.source});
            tell(&mut transaction, tenant, &exception, "exception-joined", data, now).await?;
            transaction.commit().await?;
            Ok(true)
        })
    }

    fn sweep_join_tokens(&self, before: Timestamp) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            sqlx::query("DELETE FROM join_tokens WHERE expires_at < ?")
                .bind(before.as_unix())
                .execute(&self.pool)
                .await?;
            Ok(())
        })
    }
}
