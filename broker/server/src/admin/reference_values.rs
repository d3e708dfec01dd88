//! `/v1/admin/reference-values`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use evidence_formats::code::Coded;
use serde::{Deserialize, Serialize};
use verifier::{
    Timestamp,
    reference::{EndOfLife, ReferenceError, ReferenceSet, ReferenceValues},
};

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, body,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    rulebook,
    store::StoredReferenceSet,
};

/// Largest document in bytes.
const LARGEST: usize = 1024 * 1024;

/// One set in a listing.
#[derive(Debug, Serialize)]
pub(crate) struct SetSummary {
    id: String,
    version: u32,
    workload: String,
    /// `holds`, or why it does not.
    state: &'static str,
    not_before: Timestamp,
    ends_at: Timestamp,
    measurements: usize,
    provenance: String,
    author: String,
    created_at: Timestamp,
}

/// Which set ends, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retire {
    id: String,
    version: Option<u32>,
    at: Option<Timestamp>,
}

/// Every set.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    Ok(axum::Json(summaries(&broker, |_| true).await?))
}

/// Adds the sets of a document, all or none.
pub(crate) async fn add(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    request: Request,
) -> Result<(StatusCode, axum::Json<Vec<SetSummary>>), Problem> {
    let document = body::read(request, LARGEST).await?;
    let values = ReferenceValues::parse(&document).map_err(|error| refused(&error))?;
    let now = clock::now();
    let rows = values
        .sets()
        .iter()
        .map(|set| row(set, &administrator.name, now))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Problem::internal(&error))?;
    // What the store holds and what is added must go together before it is stored.
    let mut together = broker.store.reference_sets(&broker.tenant).await?;
    together.extend(rows.iter().cloned());
    match rulebook::references(&together) {
        Ok(_) => {}
        Err(rulebook::RulebookError::References(error)) => return Err(refused(&error)),
        Err(error) => return Err(Problem::internal(&error)),
    }
    broker.store.insert_reference_sets(&broker.tenant, &rows).await?;
    take_effect(&broker).await?;
    tracing::info!(sets = rows.len(), by = administrator.name, "reference values added");
    let added = |set: &StoredReferenceSet| rows.iter().any(|row| row.id == set.id && row.version == set.version);
    Ok((StatusCode::CREATED, axum::Json(summaries(&broker, added).await?)))
}

/// Ends one version of a set, or all of them.
pub(crate) async fn retire(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Retire { id, version, at }): Json<Retire>,
) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    let meant = |set: &StoredReferenceSet| set.id == id && version.is_none_or(|version| version == set.version);
    if summaries(&broker, meant).await?.is_empty() {
        return Err(RequestError::NotFound { what: "reference set" }.into());
    }
    let at = at.unwrap_or_else(clock::now);
    broker.store.retire_reference_sets(&broker.tenant, &id, version, at).await?;
    take_effect(&broker).await?;
    tracing::info!(set = id, version, %at, by = administrator.name, "reference set retired");
    Ok(axum::Json(summaries(&broker, meant).await?))
}

/// The answer to a change means that it is in force here; other replicas follow within a second.
async fn take_effect(broker: &Broker) -> Result<(), Problem> {
    broker.refresh_rules().await.map_err(|error| Problem::internal(&*error))
}

async fn summaries(broker: &Broker, wanted: impl Fn(&StoredReferenceSet) -> bool) -> Result<Vec<SetSummary>, Problem> {
    let mut rows = broker.store.reference_sets(&broker.tenant).await?;
    rows.retain(wanted);
    let values = rulebook::references(&rows).map_err(|error| Problem::internal(&error))?;
    let now = clock::now();
    Ok(rows.iter().zip(values.sets()).map(|(row, set)| summary(row, set, now)).collect())
}

fn summary(row: &StoredReferenceSet, set: &ReferenceSet, now: Timestamp) -> SetSummary {
    SetSummary {
        id: row.id.clone(),
        version: row.version,
        workload: set.workload.to_string(),
        state: match set.holds_at(now) {
            Ok(()) => "holds",
            Err(EndOfLife::Revoked) => "revoked",
            Err(EndOfLife::Retired) => "retired",
            Err(EndOfLife::Expired) => "expired",
            Err(EndOfLife::NotYetValid) => "not yet valid",
        },
        not_before: set.not_before,
        ends_at: set.holds_until(),
        measurements: set.measurements.len(),
        provenance: set.provenance.clone(),
        author: row.author.clone(),
        created_at: row.created_at,
    }
}

fn row(set: &ReferenceSet, author: &str, now: Timestamp) -> Result<StoredReferenceSet, serde_json::Error> {
    Ok(StoredReferenceSet {
        id: set.id.to_string(),
        version: set.version,
        definition: serde_json::to_string(set)?,
        author: author.to_owned(),
        created_at: now,
        retired_at: None,
    })
}

fn refused(error: &ReferenceError) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string())
}
