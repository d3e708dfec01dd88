//! `/v1/admin/audit`: the audit log, its checkpoints, and the keys that these are signed with.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use verifier::Timestamp;

use crate::{
    audit,
    broker::Broker,
    http::{Query, identity::Reader, problem::Problem},
    store::{AuditQuery, StoredCheckpoint},
};

/// Most records of one answer.
const MOST: u32 = 1000;

/// Which records.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    #[serde(default)]
    after: u64,
    kind: Option<String>,
    contains: Option<String>,
    since: Option<Timestamp>,
    limit: Option<u32>,
}

/// Which checkpoints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed {
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

/// Records in the form that their hashes are over, oldest first.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(Listing { after, kind, contains, since, limit }): Query<Listing>,
) -> Result<axum::Json<Vec<Box<RawValue>>>, Problem> {
    let query = AuditQuery { after, kind, contains, since, limit: limit.unwrap_or(100).min(MOST) };
    let records = broker.store.audit_records(&broker.tenant, &query).await?;
    let raw = |line| RawValue::from_string(line).map_err(|error| Problem::internal(&error));
    records.iter().map(|record| raw(record.line())).collect::<Result<_, _>>().map(axum::Json)
}

/// Checkpoints, oldest first.
pub(crate) async fn checkpoints(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(Signed { after, limit }): Query<Signed>,
) -> Result<axum::Json<Vec<StoredCheckpoint>>, Problem> {
    let limit = limit.unwrap_or(MOST).min(MOST);
    Ok(axum::Json(broker.store.audit_checkpoints(&broker.tenant, after, limit).await?))
}

/// The public keys (JWKS) of every checkpoint that this broker ever signed.
pub(crate) async fn keys(State(broker): State<Arc<Broker>>, _: Reader) -> Result<Response, Problem> {
    let keys = audit::verification_keys(&broker.vault).await.map_err(|error| Problem::internal(&*error))?;
    let keys = serde_json::to_vec(&keys).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::CONTENT_TYPE, "application/jwk-set+json")], keys).into_response())
}
