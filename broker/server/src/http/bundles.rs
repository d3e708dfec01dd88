//! `GET /v1/leases/{id}/bundles`: the trust bundles that go with a SPIFFE identity, fresh, without attesting again.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use evidence_formats::code::Coded;
use keys::lease::LeaseAction;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Path,
    problem::{Problem, RequestError},
};
use crate::{
    attest::{refuse_lease, request::GrantKind},
    broker::Broker,
    clock,
    config::SvidEntry,
    federation::bundles_for,
    leases::Proof,
    store::StoredLease,
};

/// How many times a guest asks within the shortest refresh hint, so that a key that was taken back is gone in time.
const TIMES: u64 = 5;

/// What the guest gets.
#[derive(Serialize)]
struct Bundles<'a> {
    /// The own trust domain.
    trust_domain: &'a str,
    /// SPIFFE bundles (JWK sets) by trust domain, the own included.
    trust_bundles: BTreeMap<&'a str, &'a RawValue>,
    /// When to ask again.
    refresh_seconds: u64,
}

/// The bundles of the entry that the lease is for; for the guest's own lease those of all its SPIFFE identities. The proof is
/// that of the lease, over a nonce that is not consumed: what is read here is public, and ends with the lease.
pub(crate) async fn bundles(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = clock::now();
    let proof = Proof::of(&headers, id).map_err(|error| refuse_lease(&broker, error))?;
    let live = broker.nonces.recognise(&proof.nonce, now);
    live.map_err(|error| Problem::new(StatusCode::FORBIDDEN, error.code(), error.to_string()))?;
    let held = proof.check(&broker, LeaseAction::Bundles, "", now).await?;
    let held = held.map_err(|error| refuse_lease(&broker, error))?;
    let entries: Vec<_> = held.wanted().filter_map(|lease| entry(&broker, lease)).collect();
    let (Some(own), false) = (&broker.identity.trust_domain, entries.is_empty()) else {
        return Err(RequestError::NotFound { what: "SPIFFE identity among these leases" }.into());
    };
    let (keyring, federations) = (broker.keyring.load(), broker.federations.load());
    let wanted = || entries.iter().flat_map(|entry| &entry.federates_with);
    let hint = u64::from(broker.identity.bundle.refresh_hint_seconds);
    let foreign = federations.shortest_hint(wanted().map(crate::identity::TrustDomain::as_str));
    let answer = Bundles {
        trust_domain: own.as_str(),
        trust_bundles: bundles_for(own, &keyring, &federations, wanted()),
        refresh_seconds: hint.min(foreign.unwrap_or(hint)).checked_div(TIMES).unwrap_or(1).max(1),
    };
    let body = serde_json::to_vec(&answer).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

/// The entry that a lease was given for, as the configuration has it now.
fn entry<'a>(broker: &'a Broker, lease: &StoredLease) -> Option<&'a SvidEntry> {
    let spiffe = [GrantKind::X509Svid, GrantKind::JwtSvid].iter().any(|kind| kind.as_str() == lease.kind);
    broker.identity.svid.iter().find(|entry| spiffe && entry.name == lease.name)
}
