//! What vendors say about their hardware: held in memory, kept in the store, fetched when it is missing.
//!
//! Sources in their order: what the evidence brings, what is held or kept, the operator's directory, the network. Whatever
//! comes in, from the network or in a bundle, is authenticated by the core before it is kept ([`shelf`]) and again with the
//! evidence that it is used for.

mod carry;
pub(crate) mod settings;
mod shelf;
mod status;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Result;
use endorsements::{Provider, Reason, Unavailable};
use evidence_formats::{
    endorsement::{EndorsementId, TcbUpdate},
    evidence::{Evidence, SnpEvidence},
};
use tokio::task::JoinSet;
use verifier::{Endorsements, Revocation, Timestamp, wanted_of_chip, wanted_of_machine, wanted_of_vendor};

pub(crate) use carry::{CarryError, Imported};
pub(crate) use shelf::Ground;
use shelf::Shelf;
pub(crate) use status::Status;

use crate::{
    clock,
    config::{Endorsements as Settings, StaleCrl},
    store::{Store, StoreError},
};

/// How long a document that could not be refreshed is left alone.
const AFTER_FAILURE: i64 = 300;

/// Every vendor document that this broker has or can get.
#[derive(Debug)]
pub(crate) struct Library {
    shelf: Arc<Shelf>,
    provider: Provider,
    settings: Settings,
}

/// What evidence is judged by.
#[derive(Debug)]
pub(crate) struct Held {
    /// The documents.
    pub(crate) endorsements: Arc<Endorsements>,
    arrivals: u64,
}

/// What evidence could not be judged by.
#[derive(Debug)]
pub(crate) struct Lacks {
    /// Whether documents came while it was judged: they may be those that it lacked.
    pub(crate) arrived: bool,
    /// Whether one about its machine is not held.
    pub(crate) of_machine: bool,
    /// Documents for it that are not held now.
    pub(crate) ids: Vec<EndorsementId>,
}

/// What became of documents that were missing.
#[derive(Debug, Default)]
pub(crate) struct Obtained {
    /// Whether any is held now that was not before.
    pub(crate) any: bool,
    /// Why the others are not, those that may come later first.
    pub(crate) missing: Vec<Unavailable>,
}

impl Obtained {
    /// When asking again makes sense; `None` when nothing that is missing will come by itself.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.missing.iter().filter_map(|missing| missing.reason.retry_after()).max()
    }
}

impl Library {
    /// Reads what the store has and prepares the sources; nothing is asked yet.
    pub(crate) async fn open(store: Arc<dyn Store>, ground: Ground, settings: &Settings) -> Result<Self> {
        let shelf = Arc::new(Shelf::new(store, ground));
        shelf.catch_up(clock::now()).await?;
        let keeper: Arc<dyn endorsements::Keeper> = shelf.clone();
        let provider = Provider::new(keeper, settings.sources.clone(), settings.limits())?;
        Ok(Self { shelf, provider, settings: settings.clone() })
    }

    /// Takes over other trust anchors and another directory.
    pub(crate) async fn stand_on(&self, ground: Ground) -> Result<(), StoreError> {
        self.shelf.stand_on(ground);
        self.shelf.catch_up(clock::now()).await
    }

    /// How strictly revocation is judged: the operator's mode with what is said about stale lists.
    pub(crate) fn revocation(&self, mode: Revocation) -> Revocation {
        match (mode, self.settings.stale_crl) {
            (Revocation::Require, StaleCrl::WarnHours(hours)) => Revocation::RequireWithin { hours },
            (mode, _) => mode,
        }
    }

    /// What is here to judge `evidence` by, besides what it brings.
    pub(crate) fn for_evidence(&self, evidence: &Evidence) -> Held {
        let (endorsements, arrivals) = self.shelf.with_machine(&wanted_of_machine(evidence));
        Held { endorsements, arrivals }
    }

    /// What is here to judge a report by itself.
    pub(crate) fn for_report(&self, report: &SnpEvidence) -> Arc<Endorsements> {
        self.shelf.with_machine(&wanted_of_chip(report)).0
    }

    /// What `evidence` could not be judged by when it was judged by `held`.
    pub(crate) fn lacking(&self, evidence: &Evidence, held: &Held) -> Lacks {
        let now = clock::now();
        let arrived = self.shelf.arrivals() != held.arrivals;
        let lacks = |ids: Vec<EndorsementId>| ids.into_iter().filter(|id| !self.shelf.holds_at(id, now));
        let mut ids: Vec<_> = lacks(wanted_of_machine(evidence)).collect();
        let of_machine = !ids.is_empty();
        ids.extend(lacks(wanted_of_vendor(evidence, self.update())));
        Lacks { arrived, of_machine, ids }
    }

    /// Gets documents, all at once, and waits no longer than an attestation may.
    pub(crate) async fn obtain(&self, ids: &[EndorsementId]) -> Obtained {
        let patience = Duration::from_secs(self.settings.wait_seconds);
        let mut tasks = JoinSet::new();
        for id in ids.iter().copied() {
            let provider = self.provider.clone();
            tasks.spawn(async move { provider.obtain(id, patience).await });
        }
        let mut obtained = Obtained::default();
        while let Some(outcome) = tasks.join_next().await {
            match outcome {
                Ok(Ok(())) => obtained.any = true,
                Ok(Err(missing)) => obtained.missing.push(missing),
                Err(error) => tracing::error!(%error, "a fetch ended early"),
            }
        }
        obtained.missing.sort_by_key(|missing| missing.reason.retry_after().is_none());
        obtained
    }

    /// Fetches documents anew; says of each what became of it.
    pub(crate) async fn fetch(&self, ids: Vec<EndorsementId>) -> Vec<(EndorsementId, Result<(), Unavailable>)> {
        let patience = Duration::from_secs(self.settings.wait_seconds);
        let mut tasks = JoinSet::new();
        for id in ids {
            let provider = self.provider.clone();
            tasks.spawn(async move { (id, provider.refresh(id, patience).await) });
        }
        let mut outcomes: Vec<_> = tasks.join_all().await;
        outcomes.sort_by_cached_key(|(id, _)| id.to_string());
        outcomes
    }

    /// Names of everything that is held about many machines.
    pub(crate) fn held(&self) -> Vec<EndorsementId> {
        self.shelf.shared().iter().map(|held| *held.document.id()).collect()
    }

    /// Takes over what other brokers on the same store fetched, and fetches what grows old.
    pub(crate) async fn keep_fresh(&self) -> Result<()> {
        let now = clock::now();
        self.shelf.catch_up(now).await?;
        for id in self.shelf.due(now, self.settings.refresh_seconds) {
            if !self.provider.serves(&id) {
                continue;
            }
            match self.provider.refresh(id, Duration::from_secs(self.settings.wait_seconds)).await {
                Ok(()) => tracing::info!(%id, "endorsement refreshed"),
                Err(error) => {
                    self.shelf.leave_alone(id, now.plus_seconds(AFTER_FAILURE));
                    self.complain(&id, &error.reason, now);
                }
            }
        }
        Ok(())
    }

    /// Half of a document's life without a newer one needs an operator.
    fn complain(&self, id: &EndorsementId, reason: &Reason, now: Timestamp) {
        let Some(until) = self.shelf.past_half_life(id, now) else {
            tracing::warn!(%id, %reason, "an endorsement could not be refreshed");
            return;
        };
        tracing::error!(%id, %reason, %until, "an endorsement runs out and could not be refreshed for half of its life");
    }

    /// How often [`Library::keep_fresh`] should be called.
    pub(crate) fn refresh_period(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.refresh_seconds.clamp(1, 30)))
    }

    /// Which of Intel's judgements counts.
    pub(crate) const fn update(&self) -> TcbUpdate {
        self.settings.tcb_update
    }

    /// A current document as it was received, for the mirror.
    pub(crate) async fn received(
        &self,
        id: EndorsementId,
    ) -> Result<Option<crate::store::StoredEndorsement>, StoreError> {
        self.shelf.received(id, clock::now()).await
    }

    /// Waits for fetches that are under way.
    pub(crate) async fn finish(&self) {
        self.provider.finish().await;
    }
}

/// Resolves the paths of `settings` against `directory`.
pub(crate) fn paths(settings: &mut Settings) -> impl Iterator<Item = &mut PathBuf> {
    settings.sources.iter_mut().filter_map(|source| source.ca.as_mut())
}
