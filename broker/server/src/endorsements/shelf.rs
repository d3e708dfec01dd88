//! The documents that are held: each was authenticated by the core before it came here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use endorsements::{Document, KeepError, Keeper, KeeperFuture, Source};
use evidence_formats::{
    code::Coded,
    endorsement::{EndorsementId, Vendor},
};
use verifier::{
    AnchorOrigin, AuthenticDocument, DocumentError, DocumentTerms, Endorsements, Timestamp, TrustAnchors,
    authenticate_document, reauthenticate_document,
};

use crate::{
    clock,
    store::{Store, StoreError, StoredEndorsement},
};

/// Documents about one machine that are held in memory; the others wait in the store.
const MACHINES: usize = 8192;

/// What documents are judged by, and what the operator gave by hand.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    /// What is trusted without proof.
    pub(crate) anchors: TrustAnchors,
    /// The documents of the operator's directory.
    pub(crate) directory: Endorsements,
}

/// The documents.
#[derive(Debug)]
pub(super) struct Shelf {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ground: Arc<Ground>,
    shared: BTreeMap<String, Held>,
    /// Directory and shared documents together.
    base: Arc<Endorsements>,
    machines: HashMap<EndorsementId, (AuthenticDocument, u64)>,
    uses: u64,
    /// Grows with every document that comes.
    arrivals: u64,
    /// What was read from the store.
    change: i64,
    /// Documents that could not be refreshed, and until when they are left alone.
    left_alone: HashMap<EndorsementId, Timestamp>,
}

/// A document that is about many machines.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) document: AuthenticDocument,
    pub(super) source: String,
    pub(super) fetched_at: Timestamp,
}

impl Shelf {
    pub(super) fn new(store: Arc<dyn Store>, ground: Ground) -> Self {
        let base = Arc::new(ground.directory.clone());
        let state = State {
            ground: Arc::new(ground),
            shared: BTreeMap::new(),
            base,
            machines: HashMap::new(),
            uses: 0,
            arrivals: 0,
            change: 0,
            left_alone: HashMap::new(),
        };
        Self { store, state: Mutex::new(state) }
    }

    /// Forgets everything that other anchors vouched for; [`Shelf::catch_up`] reads it again.
    pub(super) fn stand_on(&self, ground: Ground) {
        let mut state = self.lock();
        state.base = Arc::new(ground.directory.clone());
        state.ground = Arc::new(ground);
        state.shared.clear();
        state.machines.clear();
        state.left_alone.clear();
        state.change = 0;
    }

    /// Reads what was written to the store since the last time. What does not authenticate any more, because the trust
    /// anchors changed or its signer was revoked, is removed.
    pub(super) async fn catch_up(&self, now: Timestamp) -> Result<(), StoreError> {
        let since = self.lock().change;
        let (rows, change) = self.store.shared_endorsements(since).await?;
        // Roots' lists come first in the order of their names or not; a document that a list refuses is refused at the
        // next start at the latest, and with every evidence at once.
        for row in rows {
            match self.authentic(&row, now) {
                Ok(document) => self.insert(document, row.source, row.fetched_at),
                Err(error) => {
                    tracing::warn!(id = %row.id, %error, "a kept endorsement is not authentic any more: removed");
                    self.store.forget_endorsement(row.id).await?;
                }
            }
        }
        let mut state = self.lock();
        state.change = state.change.max(change);
        Ok(())
    }

    /// The base, with those documents about one machine that are held; and how many documents had come by then.
    pub(super) fn with_machine(&self, ids: &[EndorsementId]) -> (Arc<Endorsements>, u64) {
        let mut state = self.lock();
        let mut base = Arc::clone(&state.base);
        for id in ids {
            if let Some(document) = state.machine(id) {
                // Full: what does not fit is as good as not held, which refuses.
                let _full = Arc::make_mut(&mut base).extend(document.content());
            }
        }
        (base, state.arrivals)
    }

    /// How many documents came so far.
    pub(super) fn arrivals(&self) -> u64 {
        self.lock().arrivals
    }

    /// Whether a document that speaks for `now` is held in memory.
    pub(super) fn holds_at(&self, id: &EndorsementId, now: Timestamp) -> bool {
        let mut state = self.lock();
        if id.is_of_one_machine() {
            return state.machine(id).is_some_and(|document| document.is_current_at(now));
        }
        state.shared.get(&id.to_string()).is_some_and(|held| held.document.is_current_at(now))
    }

    /// Every held document about many machines, in the order of their names.
    pub(super) fn shared(&self) -> Vec<Held> {
        self.lock().shared.values().cloned().collect()
    }

    /// Documents that are to be fetched again: older than `after` seconds, or in the last quarter of their life.
    pub(super) fn due(&self, now: Timestamp, after: u32) -> Vec<EndorsementId> {
        let mut state = self.lock();
        state.left_alone.retain(|_, until| now < *until);
        let due = |held: &&Held| {
            let (from, until) = (held.document.from(), held.document.until());
            let life = until.as_unix().saturating_sub(from.as_unix());
            let late = until.plus_seconds(life.checked_div(4).unwrap_or_default().saturating_neg());
            // Spread over a tenth, so that brokers that started together do not ask together.
            let spread = i64::from(after).checked_div(10).unwrap_or_default().saturating_mul(dice(held));
            let old = held
                .fetched_at
                .plus_seconds(i64::from(after).saturating_sub(spread.checked_div(16).unwrap_or_default()));
            now >= old || now >= late
        };
        let ids = state.shared.values().filter(due).map(|held| *held.document.id());
        ids.filter(|id| !state.left_alone.contains_key(id)).collect()
    }

    /// Leaves a document alone until `until`.
    pub(super) fn leave_alone(&self, id: EndorsementId, until: Timestamp) {
        self.lock().left_alone.insert(id, until);
    }

    /// When the held document ends, if more than half of its life is over.
    pub(super) fn past_half_life(&self, id: &EndorsementId, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let document = &state.shared.get(&id.to_string())?.document;
        let (from, until) = (document.from().as_unix(), document.until().as_unix());
        let half = from.midpoint(until);
        (now.as_unix() >= half).then(|| document.until())
    }

    /// A document as it was received, if it speaks for `now`.
    pub(super) async fn received(
        &self,
        id: EndorsementId,
        now: Timestamp,
    ) -> Result<Option<StoredEndorsement>, StoreError> {
        let row = self.store.endorsement(id).await?;
        Ok(row.filter(|row| self.authentic(row, now).is_ok_and(|document| document.is_current_at(now))))
    }

    /// Every document as it was received.
    pub(super) async fn all_received(&self) -> Result<Vec<StoredEndorsement>, StoreError> {
        self.store.endorsements().await
    }

    /// Authenticates a document, newer than what is held or the same. `Stale` when it has run out.
    pub(super) fn judge(
        &self,
        id: &EndorsementId,
        document: &Document,
        now: Timestamp,
    ) -> Result<AuthenticDocument, DocumentError> {
        let (ground, base, floor) = {
            let state = self.lock();
            let held = state.shared.get(&id.to_string());
            (Arc::clone(&state.ground), Arc::clone(&state.base), held.map(|held| held.document.floor()))
        };
        let terms = DocumentTerms { anchors: &ground.anchors, known: &base, floor, now };
        authenticate_document(id, &document.body, document.issuer_chain.as_deref(), &terms)
    }

    /// Keeps authentic documents in the store and in memory, all or none.
    pub(super) async fn put(
        &self,
        documents: Vec<(AuthenticDocument, Document)>,
        source: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows: Vec<StoredEndorsement> = documents
            .iter()
            .map(|(authentic, document)| StoredEndorsement {
                id: *authentic.id(),
                body: document.body.clone(),
                issuer_chain: document.issuer_chain.clone(),
                source: source.to_owned(),
                number: authentic.number(),
                valid_from: authentic.from(),
                valid_until: authentic.until(),
                fetched_at: now,
            })
            .collect();
        self.store.keep_endorsements(&rows).await?;
        for (document, _) in documents {
            self.raise_floors(&document).await?;
            self.insert(document, source.to_owned(), now);
        }
        Ok(())
    }

    /// A list that was seen is never replaced by an older one, whoever brings it: evidence is judged by this floor, too. A
    /// simulated authority has the names of a real one, so its numbers are not remembered.
    async fn raise_floors(&self, document: &AuthenticDocument) -> Result<(), StoreError> {
        if self.lock().ground.anchors.origin() != AnchorOrigin::Vendor || document.id().vendor() != Vendor::Amd {
            return Ok(());
        }
        for crl in document.content().crls() {
            self.store.raise_crl_floor(&crl.issuer().to_string(), crl.number()).await?;
        }
        Ok(())
    }

    fn authentic(&self, row: &StoredEndorsement, now: Timestamp) -> Result<AuthenticDocument, DocumentError> {
        let (ground, base) = {
            let state = self.lock();
            (Arc::clone(&state.ground), Arc::clone(&state.base))
        };
        let terms = DocumentTerms { anchors: &ground.anchors, known: &base, floor: None, now };
        reauthenticate_document(&row.id, &row.body, row.issuer_chain.as_deref(), &terms)
    }

    fn insert(&self, document: AuthenticDocument, source: String, fetched_at: Timestamp) {
        let mut state = self.lock();
        let id = *document.id();
        state.left_alone.remove(&id);
        state.arrivals = state.arrivals.saturating_add(1);
        if id.is_of_one_machine() {
            state.insert_machine(document);
            return;
        }
        let older = |held: &Held| document.from() < held.document.from();
        if state.shared.get(&id.to_string()).is_some_and(older) {
            return;
        }
        state.shared.insert(id.to_string(), Held { document, source, fetched_at });
        state.rebuild();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked between two map operations leaves usable maps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number from 0 to 15 that differs between documents and fetches.
fn dice(held: &Held) -> i64 {
    let text = held.document.id().to_string();
    let sum = text.bytes().fold(held.fetched_at.as_unix(), |sum, byte| sum.wrapping_add(i64::from(byte)));
    sum & 0xf
}

impl State {
    fn machine(&mut self, id: &EndorsementId) -> Option<&AuthenticDocument> {
        self.uses = self.uses.saturating_add(1);
        let (document, used) = self.machines.get_mut(id)?;
        *used = self.uses;
        Some(document)
    }

    fn insert_machine(&mut self, document: AuthenticDocument) {
        if self.machines.len() >= MACHINES {
            let oldest = self.machines.iter().min_by_key(|(_, (_, used))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| self.machines.remove(&id));
        }
        self.uses = self.uses.saturating_add(1);
        self.machines.insert(*document.id(), (document, self.uses));
    }

    /// In the order of names, so that the same documents are the same set.
    fn rebuild(&mut self) {
        let mut base = self.ground.directory.clone();
        for (name, held) in &self.shared {
            if let Err(error) = base.extend(held.document.content()) {
                tracing::error!(id = name, %error, "more endorsements than evidence can be judged by");
                break;
            }
        }
        self.base = Arc::new(base);
    }
}

impl Keeper for Shelf {
    fn holds(&self, id: &EndorsementId) -> bool {
        self.holds_at(id, clock::now())
    }

    fn recall(&self, id: EndorsementId) -> KeeperFuture<'_, bool> {
        Box::pin(async move {
            let now = clock::now();
            let row = match self.store.endorsement(id).await {
                Ok(Some(row)) => row,
                Ok(None) => return false,
                Err(error) => {
                    tracing::error!(%id, %error, "the store could not be asked for an endorsement");
                    return false;
                }
            };
            let Ok(document) = self.authentic(&row, now) else { return false };
            let current = document.is_current_at(now);
            self.insert(document, row.source, row.fetched_at);
            current
        })
    }

    fn keep<'a>(
        &'a self,
        id: EndorsementId,
        document: Document,
        source: &'a Source,
    ) -> KeeperFuture<'a, Result<(), KeepError>> {
        Box::pin(async move {
            let now = clock::now();
            let authentic = self.judge(&id, &document, now).map_err(|error| {
                tracing::warn!(%id, source = %source.url, code = %error.code(), %error, "a fetched document was refused");
                KeepError::Refused(error.to_string())
            })?;
            let name = source.url.to_string();
            let kept = self.put(vec![(authentic, document)], &name, now).await;
            kept.map_err(|error| KeepError::NotStored(error.to_string()))?;
            tracing::info!(%id, source = name, "endorsement fetched");
            Ok(())
        })
    }
}
