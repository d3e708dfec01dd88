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
    super::{Settled, Settlement, StoreError},
    settle,
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
        outcomes.push(settle::settle(&mut transaction, &job.settlement).await?);
    }
    transaction.commit().await?;
    Ok(outcomes)
}
