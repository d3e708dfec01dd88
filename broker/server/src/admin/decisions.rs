//! `/v1/admin/decisions`

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::value::RawValue;
use verifier::Timestamp;

use crate::{
    broker::Broker,
    decision::Outcome,
    http::{
        Path, Query,
        identity::Reader,
        problem::{Problem, RequestError},
    },
    store::DecisionQuery,
};

/// Most records of one answer.
const MOST: u32 = 1000;

/// Which decisions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    outcome: Option<Outcome>,
    since: Option<Timestamp>,
    before: Option<String>,
    limit: Option<u32>,
}

/// The newest decisions, newest first.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(Listing { outcome, since, before, limit }): Query<Listing>,
) -> Result<axum::Json<Vec<Box<RawValue>>>, Problem> {
    let outcome = outcome.map(Outcome::as_str);
    let query = DecisionQuery { outcome, since, before, limit: limit.unwrap_or(100).min(MOST) };
    let records = broker.store.decisions(&broker.tenant, &query).await?;
    records.into_iter().map(raw).collect::<Result<_, _>>().map(axum::Json)
}

/// One decision.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(id): Path<String>,
) -> Result<axum::Json<Box<RawValue>>, Problem> {
    match broker.store.decision(&broker.tenant, &id).await? {
        Some(record) => raw(record).map(axum::Json),
        None => Err(RequestError::NotFound { what: "decision" }.into()),
    }
}

/// A stored record is JSON already.
fn raw(record: String) -> Result<Box<RawValue>, Problem> {
    RawValue::from_string(record).map_err(|error| Problem::internal(&error))
}
