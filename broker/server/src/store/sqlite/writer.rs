//! One task that writes settlements, many in one transaction.
//!
//! A durable commit costs a flush of the disk. Requests that wait for one share the next, so the cost of a flush is
//! divided by the load, and a single request still waits for one flush only.

use std::{mem, slice};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::super::{Lease, ReferenceKey, Settled, Settlement, StoreError};

/// Settlements that share one commit at most.
const BATCH: usize = 64;
/// Settlements that may wait; callers beyond that wait for a place.
const WAITING: usize = 256;

struct Job {
    settlement: Settlement,
    reply: oneshot::Sender<Result<Settled, StoreError>>,
}

/// The handle of the writer task. Dropping it ends the task after what it was handed is written.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    _task: JoinHandle<()>,
}

impl Writer {
    /// Opens the writer's own connection and starts the task.
    pub(super) async fn start(options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let connection = SqliteConnection::connect_with(options).await?;
        let (jobs, queue) = mpsc::channel(WAITING);
        Ok(Self { jobs, _task: tokio::spawn(write_all(connection, queue)) })
    }

    /// Writes one settlement; returns after it is on the disk.
    pub(super) async fn settle(&self, settlement: Settlement) -> Result<Settled, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { settlement, reply }).await.map_err(|_ended| StoreError::Closed)?;
        answer.await.map_err(|_ended| StoreError::Closed)?
    }
}

async fn write_all(mut connection: SqliteConnection, mut queue: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        let jobs = mem::take(&mut batch);
        match commit(&mut connection, &jobs).await {
            Ok(outcomes) => {
                for (job, settled) in jobs.into_iter().zip(outcomes) {
                    let _caller_is_gone = job.reply.send(Ok(settled));
                }
            }
            // One bad settlement must not refuse the others: each gets a transaction of its own.
            Err(_) => {
                for job in jobs {
                    let outcome = commit(&mut connection, slice::from_ref(&job)).await;
                    let settled = outcome.and_then(|settled| settled.first().copied().ok_or(StoreError::Closed));
                    let _caller_is_gone = job.reply.send(settled);
                }
            }
        }
    }
}

/// One transaction for all jobs; what each of them came to, in their order.
async fn commit(connection: &mut SqliteConnection, jobs: &[Job]) -> Result<Vec<Settled>, StoreError> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        outcomes.push(write(&mut transaction, &job.settlement).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}

async fn write(connection: &mut SqliteConnection, settlement: &Settlement) -> Result<Settled, StoreError> {
    for set in &settlement.rests_on {
        if !stands(connection, settlement, set).await? {
            return Ok(Settled::Overtaken);
        }
    }
    let consumed =
        sqlx::query("INSERT INTO consumed_nonces (nonce, expires_at) VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING")
            .bind(settlement.nonce.as_slice())
            .bind(settlement.nonce_expires_at.as_unix())
            .execute(&mut *connection)
            .await?;
    if consumed.rows_affected() == 0 {
        return Ok(Settled::Replayed);
    }
    let decision = &settlement.decision;
    sqlx::query(
        "INSERT INTO decisions (id, tenant, decided_at, outcome, code, authenticated, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&decision.id)
    .bind(decision.tenant.as_str())
    .bind(decision.decided_at.as_unix())
    .bind(decision.outcome)
    .bind(&decision.code)
    .bind(decision.authenticated)
    .bind(&decision.record)
    .execute(&mut *connection)
    .await?;
    // Only leases can end early: what rests on a set without one needs no line.
    for set in settlement.rests_on.iter().filter(|_| !settlement.leases.is_empty()) {
        write_rest(connection, settlement, set).await?;
    }
    for lease in &settlement.leases {
        write_lease(connection, settlement, lease).await?;
    }
    Ok(Settled::Recorded)
}

/// Whether a set that the evidence matched is still neither revoked nor retired: this transaction and the one that ends a
/// set come one after the other, so that no lease slips in between.
async fn stands(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    set: &ReferenceKey,
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT 1 FROM reference_sets WHERE tenant = ? AND id = ? AND version = ?
         AND revoked_at IS NULL AND (retired_at IS NULL OR retired_at > ?)",
    )
    .bind(settlement.decision.tenant.as_str())
    .bind(&set.id)
    .bind(set.version)
    .bind(settlement.decision.decided_at.as_unix())
    .fetch_optional(connection)
    .await?;
    Ok(row.is_some())
}

async fn write_rest(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    set: &ReferenceKey,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO decision_reference_sets (decision_id, tenant, set_id, version) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&settlement.decision.id)
    .bind(settlement.decision.tenant.as_str())
    .bind(&set.id)
    .bind(set.version)
    .execute(connection)
    .await?;
    Ok(())
}

async fn write_lease(
    connection: &mut SqliteConnection,
    settlement: &Settlement,
    lease: &Lease,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO leases (id, tenant, decision_id, kind, name, version, issued_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&lease.id)
    .bind(settlement.decision.tenant.as_str())
    .bind(&settlement.decision.id)
    .bind(lease.kind)
    .bind(&lease.name)
    .bind(lease.version)
    .bind(lease.issued_at.as_unix())
    .bind(lease.expires_at.as_unix())
    .execute(&mut *connection)
    .await?;
    Ok(())
}
