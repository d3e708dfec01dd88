//! `POST /v1/leases/{id}/renew` and `DELETE /v1/leases/{id}`

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use evidence_formats::code::Coded;
use keys::lease::LeaseAction;
use serde::Serialize;

use super::{Path, TraceId, attest::read_evidence, problem::Problem};
use crate::{
    attest::{self, refuse_lease, request::AttestResponse},
    broker::Broker,
    clock,
    leases::Proof,
    store::{EndCause, LeaseSelector},
};

/// Fresh evidence in, renewed leases out. The guest's own lease renews all that it holds.
pub(crate) async fn renew(
    State(broker): State<Arc<Broker>>,
    Extension(trace_id): Extension<TraceId>,
    Path(id): Path<String>,
    request: Request,
) -> Result<axum::Json<AttestResponse>, Problem> {
    let proof = Proof::of(request.headers(), id).map_err(|error| refuse_lease(&broker, error))?;
    let (body, encoding) = read_evidence(&broker, request).await?;
    Ok(axum::Json(attest::attest(&broker, trace_id, body, encoding, Some(&proof)).await?))
}

/// How many leases ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    ended: u64,
}

/// The guest gives a lease back; its own lease ends all that it holds.
///
/// The nonce is not consumed: an end is never undone, so a proof that is used again ends nothing more.
pub(crate) async fn release(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<axum::Json<Ended>, Problem> {
    let now = clock::now();
    let proof = Proof::of(&headers, id).map_err(|error| refuse_lease(&broker, error))?;
    let live = broker.nonces.recognise(&proof.nonce, now);
    live.map_err(|error| Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string()))?;
    let held = proof.check(&broker, LeaseAction::Release, "", now).await?;
    let held = held.map_err(|error| refuse_lease(&broker, error))?;
    let selector = match held.lease.id == held.guest.id {
        true => LeaseSelector::Guest(&held.guest.id),
        false => LeaseSelector::Lease(&held.lease.id),
    };
    let ended = broker.store.end_leases(&broker.tenant, selector, EndCause::Released, now).await?;
    tracing::info!(lease = held.lease.id, guest = held.guest.id, ended, "leases released");
    Ok(axum::Json(Ended { ended }))
}
