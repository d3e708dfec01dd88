//! Many who need the same document: one request.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evidence_formats::endorsement::EndorsementId;
use serde::Serialize;
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    Document, Limits, Source, SourceKind, TlsRootsError,
    fetch::{Service, Trial},
};

/// Answers "not there" that are remembered at once.
const NEGATIVES: usize = 16 * 1024;
/// What a caller is told to wait when nothing better is known.
const SOON: Duration = Duration::from_secs(2);

/// A future that a [`Keeper`] gives.
pub type KeeperFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who checks documents and keeps them.
pub trait Keeper: fmt::Debug + Send + Sync + 'static {
    /// Whether a current document is held. Called under a lock: it must not wait.
    fn holds(&self, id: &EndorsementId) -> bool;

    /// Looks for a current document where looking takes time, before any source is asked; says whether one is held now.
    fn recall(&self, id: EndorsementId) -> KeeperFuture<'_, bool>;

    /// Authenticates `document` as `id` and keeps it; afterwards [`Keeper::holds`] is true.
    fn keep<'a>(
        &'a self,
        id: EndorsementId,
        document: Document,
        source: &'a Source,
    ) -> KeeperFuture<'a, Result<(), KeepError>>;
}

/// A document was not kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeepError {
    /// It is not what it was taken for; the next source is asked.
    #[error("refused: {0}")]
    Refused(String),
    /// It could not be stored.
    #[error("not stored: {0}")]
    NotStored(String),
}

/// Why a document is not to be had now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{id} is not to be had: {reason}")]
pub struct Unavailable {
    /// Which.
    pub id: EndorsementId,
    /// Why.
    pub reason: Reason,
}

/// Why a document is not to be had now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Reason {
    /// No configured source has such documents.
    #[error("no source is configured for it")]
    NoSource,
    /// Every source that could have it says that there is none.
    #[error("its vendor says that there is none")]
    Absent,
    /// It may be there later.
    #[error("{cause}")]
    Later {
        /// What went wrong.
        cause: String,
        /// When asking again makes sense.
        after: Duration,
    },
}

impl Reason {
    /// How long to wait before asking again; `None`: waiting does not help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoSource | Self::Absent => None,
            Self::Later { after, .. } => Some(*after),
        }
    }
}

/// The state of one source, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// How it is spoken to.
    pub kind: SourceKind,
    /// Where it is.
    pub url: String,
    /// Seconds that it is left alone, because it failed or asked for it.
    pub left_alone_seconds: Option<u64>,
}

type Outcome = Result<(), Unavailable>;
type Flight = watch::Receiver<Option<Outcome>>;

/// Gets documents. Cloning gives another handle of the same.
#[derive(Debug, Clone)]
pub struct Provider {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keeper: Arc<dyn Keeper>,
    services: Vec<Service>,
    limits: Limits,
    state: Mutex<State>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    flights: HashMap<EndorsementId, Flight>,
    negatives: HashMap<EndorsementId, (Instant, Reason)>,
}

/// Whether a held document is good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    Any,
    Fresh,
}

impl Provider {
    /// Prepares the sources; nothing is asked yet.
    ///
    /// # Errors
    /// When the certificate authorities of a source cannot be read.
    pub fn new(keeper: Arc<dyn Keeper>, sources: Vec<Source>, limits: Limits) -> Result<Self, TlsRootsError> {
        let services = sources.into_iter().map(|source| Service::new(source, &limits)).collect::<Result<_, _>>()?;
        let tasks = TaskTracker::new();
        Ok(Self { shared: Arc::new(Shared { keeper, services, limits, state: Mutex::default(), tasks }) })
    }

    /// Makes the keeper hold `id`, unless it does. Waits for at most `patience`; the fetch goes on without the caller.
    ///
    /// # Errors
    /// [`Unavailable`] says whether asking later makes sense.
    pub async fn obtain(&self, id: EndorsementId, patience: Duration) -> Outcome {
        self.get(id, patience, Demand::Any).await
    }

    /// Fetches `id` anew, although one is held.
    ///
    /// # Errors
    /// As for [`Provider::obtain`]; what is held stays.
    pub async fn refresh(&self, id: EndorsementId, patience: Duration) -> Outcome {
        self.get(id, patience, Demand::Fresh).await
    }

    /// Every source in its order.
    #[must_use]
    pub fn sources(&self) -> Vec<SourceStatus> {
        let now = Instant::now();
        let status = |service: &Service| SourceStatus {
            kind: service.source.kind,
            url: service.source.url.to_string(),
            left_alone_seconds: service.gate.closed_for(now).map(|wait| wait.as_secs().saturating_add(1)),
        };
        self.shared.services.iter().map(status).collect()
    }

    /// Whether any source has documents like `id`.
    #[must_use]
    pub fn serves(&self, id: &EndorsementId) -> bool {
        self.shared.services.iter().any(|service| service.source.plan(id).is_some())
    }

    /// Waits until no fetch is under way any more.
    pub async fn finish(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    async fn get(&self, id: EndorsementId, patience: Duration, demand: Demand) -> Outcome {
        let Some(mut flight) = self.board(id, demand)? else { return Ok(()) };
        let landed = timeout(patience, flight.wait_for(Option::is_some)).await;
        match landed.map(|outcome| outcome.ok().and_then(|outcome| outcome.clone())) {
            Ok(Some(outcome)) => outcome,
            // Its task ended without a word, which only a panic can do.
            Ok(None) => Err(later(id, "the fetch ended early", SOON)),
            Err(_elapsed) => Err(later(id, "it is still being fetched", SOON)),
        }
    }

    /// Joins the fetch of `id` that is under way, or starts one; `None` when the document is held by now.
    fn board(&self, id: EndorsementId, demand: Demand) -> Result<Option<Flight>, Unavailable> {
        let mut state = self.shared.lock();
        if let Some(flight) = state.flights.get(&id) {
            return Ok(Some(flight.clone()));
        }
        // Under the lock: a fetch that has just landed was kept before it left the table.
        if demand == Demand::Any && self.shared.keeper.holds(&id) {
            return Ok(None);
        }
        let now = Instant::now();
        match state.negatives.get(&id) {
            Some((until, reason)) if now < *until && demand == Demand::Any => {
                return Err(Unavailable { id, reason: reason.clone() });
            }
            Some(_) | None => {}
        }
        state.negatives.remove(&id);
        if state.flights.len() >= self.shared.limits.waiting {
            return Err(later(id, "too many documents are being fetched", SOON));
        }
        let (land, flight) = watch::channel(None);
        state.flights.insert(id, flight.clone());
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let landing = Landing { shared: Arc::clone(&shared), id };
            let outcome = match demand == Demand::Any && shared.keeper.recall(id).await {
                true => Ok(()),
                false => shared.fetch(id).await,
            };
            landing.remember(&outcome);
            drop(landing);
            let _nobody_waits = land.send(Some(outcome));
        });
        Ok(Some(flight))
    }
}

/// Takes a fetch off the table when it ends, however it ends.
struct Landing {
    shared: Arc<Shared>,
    id: EndorsementId,
}

impl Landing {
    fn remember(&self, outcome: &Outcome) {
        let Err(Unavailable { reason, .. }) = outcome else { return };
        let negative = self.shared.limits.negative;
        let now = Instant::now();
        let until = match reason {
            Reason::NoSource => return,
            Reason::Absent => now.checked_add(negative),
            Reason::Later { after, .. } => now.checked_add((*after).min(negative)),
        };
        let mut state = self.shared.lock();
        if state.negatives.len() >= NEGATIVES {
            state.negatives.retain(|_, (until, _)| now < *until);
        }
        if let (Some(until), true) = (until, state.negatives.len() < NEGATIVES) {
            state.negatives.insert(self.id, (until, reason.clone()));
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.lock().flights.remove(&self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked between two map operations leaves usable maps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks each source in turn. Only when all of them say that there is none is there none.
    async fn fetch(&self, id: EndorsementId) -> Outcome {
        let mut worst: Option<Unavailable> = None;
        for service in &self.services {
            let failure = match service.ask(&id, self.limits.time).await {
                Trial::NotServed => continue,
                Trial::Found(document) => match self.keeper.keep(id, document, &service.source).await {
                    Ok(()) => return Ok(()),
                    // A metadata service only knows the certificate of its own machine.
                    Err(KeepError::Refused(_)) if service.source.kind == SourceKind::Thim => failure(id, Trial::Absent),
                    Err(error) => later(id, &error.to_string(), self.limits.negative),
                },
                trial @ (Trial::Absent | Trial::Busy { .. } | Trial::Failed { .. } | Trial::Malformed) => {
                    failure(id, trial)
                }
            };
            tracing::warn!(%id, source = %service.source.url, reason = %failure.reason, "an endorsement was not to be had");
            worst = match worst {
                Some(before) if failure.reason == Reason::Absent => Some(before),
                Some(_) | None => Some(failure),
            };
        }
        Err(worst.unwrap_or(Unavailable { id, reason: Reason::NoSource }))
    }
}

fn failure(id: EndorsementId, trial: Trial) -> Unavailable {
    match trial {
        Trial::NotServed | Trial::Found(_) => Unavailable { id, reason: Reason::NoSource },
        Trial::Absent => Unavailable { id, reason: Reason::Absent },
        Trial::Busy { wait } => later(id, "its source asks for patience", wait),
        Trial::Failed { error, wait } => later(id, &error.to_string(), wait.unwrap_or(SOON)),
        Trial::Malformed => later(id, "its source answers in another form", SOON),
    }
}

fn later(id: EndorsementId, cause: &str, after: Duration) -> Unavailable {
    Unavailable { id, reason: Reason::Later { cause: cause.to_owned(), after } }
}
