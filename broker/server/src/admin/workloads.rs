//! `/v1/admin/workloads`: every guest that attested, and what it holds.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use crate::{
    broker::Broker,
    http::{
        Path, Query,
        identity::Observer,
        problem::{Problem, RequestError},
    },
    store::{GuestQuery, StoredGuest},
};

/// Most guests of one answer.
const MOST: u32 = 1000;

/// Which guests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    /// Only those that matched this workload.
    workload: Option<String>,
    /// Only those that hold something now.
    #[serde(default)]
    open: bool,
    limit: Option<u32>,
}

/// Guests, those that attested last first.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Observer,
    Query(Listing { workload, open, limit }): Query<Listing>,
) -> Result<axum::Json<Vec<StoredGuest>>, Problem> {
    let query = GuestQuery { workload, open_only: open, limit: limit.unwrap_or(100).min(MOST) };
    Ok(axum::Json(broker.store.guests(&broker.tenant, &query).await?))
}

/// One guest.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Observer,
    Path(id): Path<String>,
) -> Result<axum::Json<StoredGuest>, Problem> {
    let guest = broker.store.guest(&broker.tenant, &id).await?;
    guest.map(axum::Json).ok_or_else(|| RequestError::NotFound { what: "guest" }.into())
}
