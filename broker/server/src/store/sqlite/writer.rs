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

use super::{
    super::{EndCause, LeaseSelector, Settled, Settlement, StoreError},
    counters, ends, openings,
};

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
                    let settled = outcome.and_then(|settled| settled.into_iter().next().ok_or(StoreError::Closed));
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
    // First, because a settlement that is refused here leaves nothing, in a transaction that it shares with others.
    if let Some(opening) = &settlement.opening
        && let Some(refused) = openings::refusal(connection, &settlement.decision, opening).await?
    {
        return Ok(refused);
    }
    if let Some(counters) = &settlement.counters
        && counters::have_gone_back(connection, settlement, counters).await?
    {
        return Ok(Settled::WentBack);
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
    if let Some(counters) = &settlement.counters {
        counters::remember(connection, settlement, counters).await?;
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
    if let Some(guest) = &settlement.ends_guest {
        let (tenant, at) = (&decision.tenant, decision.decided_at);
        ends::end(connection, tenant, LeaseSelector::Guest(guest), EndCause::Evidence, at).await?;
    }
    if let Some(opening) = &settlement.opening {
        openings::write(connection, decision, opening).await?;
    }
    Ok(Settled::Recorded)
}
