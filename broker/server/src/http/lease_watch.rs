//! `GET /v1/leases/{id}`: a guest asks how its leases stand, and may wait until one of them ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use evidence_formats::code::Coded;
use keys::lease::LeaseAction;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use verifier::Timestamp;

use super::{Path, Query, problem::Problem};
use crate::{
    attest::refuse_lease,
    broker::Broker,
    clock,
    leases::Proof,
    store::{StoreError, StoredLease},
};

/// Longest wait in seconds; less where requests may take less.
const LONGEST: u64 = 60;
/// How often a waiting request looks into the store at most, however many leases of others end.
const LOOK: Duration = Duration::from_millis(300);

/// How to wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    /// How many open leases the guest knows of: the answer comes when there is another number of them.
    open: Option<usize>,
    /// Seconds after which it comes anyway.
    #[serde(default)]
    wait: u64,
}

/// The open leases of the guest.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    leases: Vec<OpenLease>,
    /// Whether the request waited as long as it was asked to; otherwise the guest asks again later, not at once.
    waited: bool,
}

#[derive(Debug, Serialize)]
struct OpenLease {
    id: String,
    kind: String,
    name: String,
    expires_at: Timestamp,
}

impl From<StoredLease> for OpenLease {
    fn from(lease: StoredLease) -> Self {
        Self { id: lease.id, kind: lease.kind, name: lease.name, expires_at: lease.expires_at }
    }
}

/// The leases that are open, at once or as soon as their number is another one.
///
/// The nonce is not consumed: the proof shows nothing but the guest's own leases.
pub(crate) async fn watch(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    Query(Wait { open, wait }): Query<Wait>,
    headers: HeaderMap,
) -> Result<axum::Json<Standing>, Problem> {
    let proof = Proof::of(&headers, id).map_err(|error| refuse_lease(&broker, error))?;
    let live = broker.nonces.recognise(&proof.nonce, clock::now());
    live.map_err(|error| Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string()))?;
    let mut newest = broker.newest_event.subscribe();
    let until = Instant::now().checked_add(patience(&broker, wait));
    let place = broker.watchers.try_acquire().ok();
    loop {
        newest.mark_unchanged();
        let leases = standing(&broker, &proof).await?;
        let left = until.and_then(|until| until.checked_duration_since(Instant::now())).unwrap_or_default();
        let changed = open.is_none_or(|known| known != leases.len());
        if changed || place.is_none() || left.is_zero() || broker.stopping.is_cancelled() {
            let leases = leases.into_iter().map(OpenLease::from).collect();
            return Ok(axum::Json(Standing { leases, waited: left.is_zero() }));
        }
        let event = async {
            tokio::select! {
                () = broker.stopping.cancelled() => {}
                // The sender lives as long as the broker.
                _ended_elsewhere = newest.changed() => sleep(LOOK.min(left)).await,
            }
        };
        // Time over is looked at in the next round.
        let _over = timeout(left, event).await;
    }
}

/// How long to wait: the answer has to come before the request's own deadline.
fn patience(broker: &Broker, wait: u64) -> Duration {
    let most = broker.limits.request_seconds.saturating_sub(5).min(LONGEST);
    Duration::from_secs(wait.min(most))
}

/// What the guest holds, after its proof was checked; a refusal when the lease itself ended.
async fn standing(broker: &Broker, proof: &Proof) -> Result<Vec<StoredLease>, Problem> {
    let checked: Result<_, StoreError> = proof.check(broker, LeaseAction::Watch, "", clock::now()).await;
    let held = checked?.map_err(|error| refuse_lease(broker, error))?;
    Ok(held.guest.leases)
}
