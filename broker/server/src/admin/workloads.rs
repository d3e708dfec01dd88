//! `/v1/admin/workloads`: every guest that attested, and what it holds.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::{
    broker::Broker,
    http::{
        Path, Query,
        identity::Observer,
        problem::{Problem, RequestError},
    },
    store::{Exception, GuestQuery, StoredGuest, WorkloadSummary},
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

/// What has an identity by attestation, and what still needs a static secret.
#[derive(Debug, Serialize)]
pub(crate) struct Inventory {
    /// Workloads that attest; those whose image holds most static secrets first.
    workloads: Vec<WorkloadSummary>,
    /// Systems that have no identity of their own: the live exceptions, what ends first first.
    exceptions: Vec<Exception>,
}

/// The inventory by workload and system.
pub(crate) async fn inventory(
    State(broker): State<Arc<Broker>>,
    _: Observer,
) -> Result<axum::Json<Inventory>, Problem> {
    let mut workloads = broker.store.workload_summaries(&broker.tenant).await?;
    let left = |summary: &WorkloadSummary| summary.guest_reported.map_or(0, |said| said.report.static_secrets);
    workloads.sort_by_key(|summary| std::cmp::Reverse(left(summary)));
    let exceptions = broker.store.exceptions(&broker.tenant, false, MOST).await?;
    Ok(axum::Json(Inventory { workloads, exceptions }))
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
