//! One document from the configured services, in their order, each behind its limit and its breaker.

use std::time::Duration;

use evidence_formats::endorsement::EndorsementId;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use crate::{
    ClientError, Document, Source, TlsRootsError,
    client::Client,
    gate::{Gate, Leave, pause},
    source::Plan,
};

/// How often one source is asked for one document when it fails in a way that may pass.
const ATTEMPTS: u32 = 3;

/// Bounds of fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one document from one source, pauses included.
    pub time: Duration,
    /// Requests to one source at once.
    pub concurrency: usize,
    /// How long an answer "there is no such document", or a document that was refused, is remembered.
    pub negative: Duration,
    /// Documents that are fetched or wait to be fetched at once.
    pub waiting: usize,
}

/// A source with its state.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) source: Source,
    pub(crate) gate: Gate,
    client: Client,
    places: Semaphore,
}

/// How one source answered one request for one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// It has no such documents, ever.
    NotServed,
    /// It says that there is no such document.
    Absent,
    /// It asked to be left alone, or is left alone because it failed before.
    Busy {
        /// How long.
        wait: Duration,
    },
    /// It failed.
    Failed {
        /// How.
        error: ClientError,
        /// How long it is left alone now.
        wait: Option<Duration>,
    },
    /// Its answer is not in the form of such a service.
    Malformed,
    /// A document came.
    Found(Document),
}

impl Service {
    pub(crate) fn new(source: Source, limits: &Limits) -> Result<Self, TlsRootsError> {
        let client = Client::new(source.ca.as_ref())?;
        Ok(Self { source, gate: Gate::default(), client, places: Semaphore::new(limits.concurrency) })
    }

    /// Asks for `id` until there is an answer or the time is up, which starts when it is this document's turn.
    pub(crate) async fn ask(&self, id: &EndorsementId, time: Duration) -> Trial {
        let Some(plan) = self.source.plan(id) else { return Trial::NotServed };
        // The semaphore is never closed.
        let Ok(_place) = self.places.acquire().await else { return Trial::NotServed };
        let now = Instant::now();
        let deadline = now.checked_add(time).unwrap_or(now);
        let mut attempt = 1;
        loop {
            let leave = match self.gate.admit(Instant::now()) {
                Ok(leave) => leave,
                Err(wait) => return Trial::Busy { wait },
            };
            let trial = self.once(&plan, leave, deadline).await;
            let Trial::Failed { wait: None, .. } = trial else { return trial };
            let next = Instant::now().checked_add(pause(attempt)).filter(|next| *next < deadline);
            attempt = attempt.saturating_add(1);
            match next {
                Some(next) if attempt <= ATTEMPTS => sleep(next.saturating_duration_since(Instant::now())).await,
                Some(_) | None => return trial,
            }
        }
    }

    async fn once(&self, plan: &Plan, leave: Leave<'_>, deadline: Instant) -> Trial {
        let answer = self.client.get(plan.uri.clone(), plan.metadata, plan.limit, deadline).await;
        let now = Instant::now();
        match answer {
            Ok(answer) => {
                leave.answered();
                plan.read(answer).map_or(Trial::Malformed, Trial::Found)
            }
            Err(ClientError::Status { status: 429, retry_after }) => {
                Trial::Busy { wait: leave.asked_to_wait(now, retry_after) }
            }
            // A service that is overloaded and says for how long is not asked again before.
            Err(ClientError::Status { status: 503, retry_after: Some(asked) }) => {
                Trial::Busy { wait: leave.asked_to_wait(now, Some(asked)) }
            }
            // 400: AMD's answer to an id that no chip has. 410: Intel's to a retired number.
            Err(ClientError::Status { status: 400 | 404 | 410, .. }) => {
                leave.answered();
                Trial::Absent
            }
            Err(error) => Trial::Failed { error, wait: leave.failed(now) },
        }
    }
}
