//! `/v1/admin/reference-values`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use evidence_formats::code::Coded;
use serde::{Deserialize, Serialize};
use verifier::{
    Timestamp,
    reference::{
        Change, EndOfLife, ReferenceError, ReferenceSet, ReferenceValues, SetId, SetState, WorkloadName,
        corim::{CorimNames, import},
    },
};

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Query, body,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    rulebook,
    store::{ReferenceChange, ReferenceEvent, ReferenceSource, StoredReferenceSet},
};

/// Largest document in bytes.
const LARGEST: usize = 1024 * 1024;
/// Longest reason of a change in bytes.
const REASON: usize = 1024;
/// Most lines of history in one answer.
const HISTORY: u32 = 10_000;

/// One set in a listing.
#[derive(Debug, Serialize)]
pub(crate) struct SetSummary {
    id: String,
    version: u32,
    workload: String,
    /// `holds`, or why it does not.
    state: &'static str,
    /// Where it stands in its life, whatever the time.
    lifecycle: SetState,
    not_before: Timestamp,
    ends_at: Timestamp,
    measurements: usize,
    provenance: String,
    source: ReferenceSource,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    digest: String,
    author: String,
    created_at: Timestamp,
    /// In the answer to an import only: what is in the manifest and not in the set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

/// Which sets are meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    id: Option<String>,
    version: Option<u32>,
}

/// Which set changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activate {
    id: String,
    version: Option<u32>,
    reason: Option<String>,
}

/// Which set ends, when and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retire {
    id: String,
    version: Option<u32>,
    at: Option<Timestamp>,
    reason: Option<String>,
}

/// Every set, or the versions of one.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(which): Query<Which>,
) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    Ok(axum::Json(summaries(&broker, |set| which.means(set)).await?))
}

/// The document of the sets that are meant, as `add` takes it: each with what became of it since.
pub(crate) async fn document(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(which): Query<Which>,
) -> Result<axum::Json<ReferenceValues>, Problem> {
    let mut rows = broker.store.reference_sets(&broker.tenant).await?;
    rows.retain(|set| which.means(set));
    if rows.is_empty() {
        return Err(RequestError::NotFound { what: "reference set" }.into());
    }
    Ok(axum::Json(rulebook::references(&rows).map_err(|error| Problem::internal(&error))?))
}

/// Who changed what, and when, oldest first.
pub(crate) async fn history(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(which): Query<Which>,
) -> Result<axum::Json<Vec<ReferenceEvent>>, Problem> {
    let mut events = broker.store.reference_history(&broker.tenant, which.id.as_deref(), HISTORY).await?;
    events.retain(|event| which.version.is_none_or(|version| version == event.version));
    Ok(axum::Json(events))
}

/// Adds the sets of a document, or the set of a CoRIM, all or none.
pub(crate) async fn add(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Query(names): Query<Names>,
    request: Request,
) -> Result<(StatusCode, axum::Json<Vec<SetSummary>>), Problem> {
    let form = Form::of(request.headers())?;
    let document = body::read(request, LARGEST).await?;
    let origin = match form {
        Form::Json => Origin::document(ReferenceValues::parse(&document), &names)?,
        Form::Toml => Origin::document(ReferenceValues::parse_toml(&document), &names)?,
        Form::Corim => Origin::corim(&broker, &document, names)?,
    };
    insert(&broker, &origin, &administrator.name).await
}

/// What a body is, by its media type.
enum Form {
    Json,
    Toml,
    Corim,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match body::content_type(headers) {
            Some("application/json") => Ok(Self::Json),
            Some("application/toml") => Ok(Self::Toml),
            Some("application/rim+cose" | "application/rim+cbor") => Ok(Self::Corim),
            _ => Err(RequestError::MediaType {
                expected: "application/json, application/toml, application/rim+cose or application/rim+cbor",
            }
            .into()),
        }
    }
}

/// What stands beside a body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Names {
    id: Option<SetId>,
    version: Option<u32>,
    workload: Option<WorkloadName>,
    #[serde(default)]
    proposed: bool,
}

/// Sets, and where they come from.
struct Origin {
    sets: Vec<ReferenceSet>,
    source: ReferenceSource,
    signer: Option<String>,
    left_out: Vec<String>,
}

impl Origin {
    fn document(read: Result<ReferenceValues, ReferenceError>, names: &Names) -> Result<Self, Problem> {
        let values = read.map_err(|error| refused(&error))?;
        if names.id.is_some() || names.version.is_some() || names.workload.is_some() {
            return Err(body::malformed("query", &"expected id, version and workload beside a CoRIM only"));
        }
        let mut sets = values.sets().to_vec();
        for set in &mut sets {
            set.proposed |= names.proposed;
        }
        Ok(Self { sets, source: ReferenceSource::Document, signer: None, left_out: Vec::new() })
    }

    fn corim(broker: &Broker, bytes: &[u8], names: Names) -> Result<Self, Problem> {
        let Names { id, version, workload, proposed } = names;
        let trust = broker.reference_trust.load();
        let names = CorimNames { id, version, workload, proposed };
        let imported = import(bytes, &trust.terms(clock::now()), &names).map_err(|error| refused(&error))?;
        let source = match imported.signer {
            Some(_) => ReferenceSource::Corim,
            None => ReferenceSource::CorimUnsigned,
        };
        let signer = imported.signer.map(|signer| format!("{} sha256:{}", signer.name, signer.key));
        Ok(Self { sets: vec![imported.set], source, signer, left_out: imported.left_out })
    }
}

async fn insert(
    broker: &Broker,
    origin: &Origin,
    author: &str,
) -> Result<(StatusCode, axum::Json<Vec<SetSummary>>), Problem> {
    let now = clock::now();
    let rows = origin
        .sets
        .iter()
        .map(|set| row(set, origin, author, now))
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
    let note = (!origin.left_out.is_empty()).then(|| format!("left out: {}", origin.left_out.join(", ")));
    broker.store.insert_reference_sets(&broker.tenant, &rows, note.as_deref()).await?;
    take_effect(broker).await?;
    tracing::info!(sets = rows.len(), by = author, signer = origin.signer, "reference values added");
    let added = |set: &StoredReferenceSet| rows.iter().any(|row| row.id == set.id && row.version == set.version);
    let mut added = summaries(broker, added).await?;
    for summary in &mut added {
        summary.left_out.clone_from(&origin.left_out);
    }
    Ok((StatusCode::CREATED, axum::Json(added)))
}

/// Puts a proposed set in force.
pub(crate) async fn activate(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Activate { id, version, reason }): Json<Activate>,
) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    let (author, now) = (administrator.name, clock::now());
    change(&broker, ReferenceChange { id, version, change: Change::Activate, author, reason, now }).await
}

/// Ends one version of a set, or all of them.
pub(crate) async fn retire(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Retire { id, version, at, reason }): Json<Retire>,
) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    let (author, now) = (administrator.name, clock::now());
    let retire = Change::Retire { at: at.unwrap_or(now) };
    change(&broker, ReferenceChange { id, version, change: retire, author, reason, now }).await
}

/// Ends one version of a set, or all of them, for good and now, and the leases that rest on them.
pub(crate) async fn revoke(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Activate { id, version, reason }): Json<Activate>,
) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    let (author, now) = (administrator.name, clock::now());
    change(&broker, ReferenceChange { id, version, change: Change::Revoke { at: now }, author, reason, now }).await
}

async fn change(broker: &Broker, change: ReferenceChange) -> Result<axum::Json<Vec<SetSummary>>, Problem> {
    if change.reason.as_ref().is_some_and(|reason| reason.len() > REASON) {
        return Err(body::malformed("body", &"expected a reason of at most 1024 bytes"));
    }
    let changed = broker.store.change_reference_sets(&broker.tenant, &change).await?;
    if changed.is_empty() {
        return Err(RequestError::NotFound { what: "reference set" }.into());
    }
    take_effect(broker).await?;
    let done = change.change.as_str();
    tracing::info!(
        set = change.id,
        versions = changed.len(),
        change = done,
        by = change.author,
        "reference set changed"
    );
    let meant = |set: &StoredReferenceSet| changed.iter().any(|key| key.id == set.id && key.version == set.version);
    Ok(axum::Json(summaries(broker, meant).await?))
}

impl Which {
    fn means(&self, set: &StoredReferenceSet) -> bool {
        self.id.as_ref().is_none_or(|id| *id == set.id) && self.version.is_none_or(|version| version == set.version)
    }
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
    Ok(rows.into_iter().zip(values.sets()).map(|(row, set)| summary(row, set, now)).collect())
}

fn summary(row: StoredReferenceSet, set: &ReferenceSet, now: Timestamp) -> SetSummary {
    SetSummary {
        version: row.version,
        workload: set.workload.to_string(),
        state: match set.holds_at(now) {
            Ok(()) => "holds",
            Err(EndOfLife::Proposed) => "proposed",
            Err(EndOfLife::Revoked) => "revoked",
            Err(EndOfLife::Retired) => "retired",
            Err(EndOfLife::Expired) => "expired",
            Err(EndOfLife::NotYetValid) => "not yet valid",
        },
        lifecycle: set.state(),
        not_before: set.not_before,
        ends_at: set.holds_until(),
        measurements: set.measurements.len(),
        provenance: set.provenance.clone(),
        source: row.source,
        digest: row.digest(),
        id: row.id,
        signer: row.signer,
        author: row.author,
        created_at: row.created_at,
        left_out: Vec::new(),
    }
}

fn row(
    set: &ReferenceSet,
    origin: &Origin,
    author: &str,
    now: Timestamp,
) -> Result<StoredReferenceSet, serde_json::Error> {
    Ok(StoredReferenceSet {
        id: set.id.to_string(),
        version: set.version,
        definition: serde_json::to_string(set)?,
        source: origin.source,
        signer: origin.signer.clone(),
        author: author.to_owned(),
        created_at: now,
        activated_at: None,
        retired_at: set.retire_at,
        revoked_at: set.revoked_at,
    })
}

fn refused(error: &(impl Coded + std::fmt::Display)) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string())
}
