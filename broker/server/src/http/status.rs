//! `GET /v1/status/{list}`: which tokens' leases ended before their time.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use keys::status::StatusList;

use super::{
    Path,
    problem::{Problem, RequestError},
};
use crate::{
    broker::Broker,
    clock,
    leases::{LIST_LENGTH, list_token, status_place},
    store::KeyPurpose,
};

/// The signed list. It is made from the store for every request: what ended a moment ago is in it.
pub(crate) async fn status_list(State(broker): State<Arc<Broker>>, Path(list): Path<u32>) -> Result<Response, Problem> {
    let first = u64::from(list).saturating_mul(u64::from(LIST_LENGTH));
    if first >= broker.store.next_status_place().await? {
        return Err(RequestError::NotFound { what: "status list" }.into());
    }
    let ended = broker.store.ended_status_places(&broker.tenant, first, LIST_LENGTH).await?;
    let places = ended.into_iter().filter_map(|place| usize::try_from(place.saturating_sub(first)).ok());
    let list = StatusList::new(usize::try_from(LIST_LENGTH).unwrap_or(usize::MAX), places);
    let (_, uri) = status_place(&broker.issuer, first);
    let keyring = broker.keyring.load();
    let signer = keyring.signer(KeyPurpose::AttestationResult).ok_or(RequestError::Overloaded)?;
    let token = list_token(&**signer, &broker.issuer, &uri, &list, clock::now());
    let token = token.map_err(|error| Problem::internal(&error))?;
    let headers = [(header::CONTENT_TYPE, "application/statuslist+jwt"), (header::CACHE_CONTROL, "max-age=1")];
    Ok((headers, token).into_response())
}
