//! `/v1/admin/enrollments`: the register of attestation keys.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use evidence_formats::tpm::{TpmName, TpmPublic};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use verifier::{
    Timestamp,
    tpm::{AkProvenance, require_attestation_area},
};

use crate::{
    broker::Broker,
    clock,
    enrolment::{self, wire::Base64Url},
    http::{
        Json, Path, Query,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::{Act, EnrolmentRecord, EnrolmentState, Registered},
};

/// Most keys of one listing.
const LISTED: u32 = 1000;
/// Longest owner or reason in bytes.
const TEXT: usize = 512;

/// One key, as the API describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Enrollment {
    ak_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ek_name: Option<String>,
    provenance: AkProvenance,
    state: EnrolmentState,
    owner: String,
    reason: String,
    requested_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    details: Box<RawValue>,
}

/// Which keys to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    state: Option<String>,
}

/// Who answers for the machine from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    owner: String,
}

/// Why a key must not be believed any more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    reason: String,
}

/// A key that the operator vouches for: by its public area, or by its name alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pin {
    ak_public: Option<Base64Url>,
    ak_name: Option<String>,
    owner: String,
    reason: String,
}

/// The newest keys.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(filter): Query<Filter>,
) -> Result<axum::Json<Vec<Enrollment>>, Problem> {
    let unknown = |_unknown| malformed("state: expected awaiting-approval, enrolled or revoked".to_owned());
    let state = filter.state.as_deref().map(EnrolmentState::parse).transpose().map_err(unknown)?;
    let records = broker.store.enrolments(&broker.tenant, state, LISTED).await?;
    Ok(axum::Json(records.into_iter().map(described).collect::<Result<_, _>>()?))
}

/// One key.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(name): Path<String>,
) -> Result<axum::Json<Enrollment>, Problem> {
    Ok(axum::Json(find(&broker, &name).await?))
}

/// Approves a key that waits for it.
pub(crate) async fn approve(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(approve): Json<Approve>,
) -> Result<axum::Json<Enrollment>, Problem> {
    let owner = text("owner", approve.owner)?;
    let act = Act { by: administrator.name, at: clock::now() };
    let changed = broker.store.approve_enrolment(&broker.tenant, &name, &owner, &act).await?;
    settled(&broker, &name, changed, EnrolmentState::Enrolled, &act).await
}

/// Revokes a key, for good.
pub(crate) async fn revoke(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(revoke): Json<Revoke>,
) -> Result<axum::Json<Enrollment>, Problem> {
    let reason = text("reason", revoke.reason)?;
    let act = Act { by: administrator.name, at: clock::now() };
    let changed =
        broker.store.revoke_enrolment(&broker.tenant, &name, &enrolment::signers(&name), &reason, &act).await?;
    settled(&broker, &name, changed, EnrolmentState::Revoked, &act).await
}

/// Puts a key into the register on the administrator's word.
pub(crate) async fn pin(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(pin): Json<Pin>,
) -> Result<(StatusCode, axum::Json<Enrollment>), Problem> {
    let now = clock::now();
    let record = EnrolmentRecord {
        ak_name: pinned_name(pin.ak_public, pin.ak_name)?,
        ek: None,
        provenance: AkProvenance::Pinned,
        details: "{}".to_owned(),
        owner: text("owner", pin.owner)?,
        reason: text("reason", pin.reason)?,
        state: EnrolmentState::Enrolled,
        requested_at: now,
        approved: Some(Act { by: administrator.name, at: now }),
        revoked: None,
    };
    match broker.store.register(&broker.tenant, &record, broker.enrolment.load().bounds()).await? {
        Registered::New => {}
        Registered::Known(known) => {
            return Err(malformed(format!("{} is in the register already: {}", known.ak_name, known.state.as_str())));
        }
        Registered::TooManyKeys | Registered::Full => return Err(RequestError::Overloaded.into()),
    }
    tracing::info!(ak_name = record.ak_name, owner = record.owner, "attestation key pinned");
    Ok((StatusCode::CREATED, axum::Json(described(record)?)))
}

/// A name covers the attributes, which are judged here when the public area is given and at each quote in any case.
fn pinned_name(area: Option<Base64Url>, name: Option<String>) -> Result<String, Problem> {
    match (area, name) {
        (Some(area), None) => {
            let area = TpmPublic::parse(&area.0).map_err(|error| malformed(format!("ak_public: {error}")))?;
            require_attestation_area(&area).map_err(|error| malformed(format!("ak_public: {error}")))?;
            Ok(area.name().to_string())
        }
        (None, Some(text)) => {
            let bytes = hex::decode(&text).map_err(|error| malformed(format!("ak_name: {error}")))?;
            let name = TpmName::parse(&bytes).map_err(|error| malformed(format!("ak_name: {error}")))?;
            Ok(name.to_string())
        }
        _ => Err(malformed("expected ak_public or ak_name".to_owned())),
    }
}

async fn settled(
    broker: &Broker,
    name: &str,
    changed: bool,
    state: EnrolmentState,
    act: &Act,
) -> Result<axum::Json<Enrollment>, Problem> {
    let found = find(broker, name).await?;
    if !changed {
        return Err(malformed(format!("{name} cannot become {}: it is {}", state.as_str(), found.state.as_str())));
    }
    tracing::info!(ak_name = name, state = state.as_str(), by = act.by, "enrolment changed");
    Ok(axum::Json(found))
}

async fn find(broker: &Broker, name: &str) -> Result<Enrollment, Problem> {
    match broker.store.enrolment(&broker.tenant, name).await? {
        Some(record) => described(record),
        None => Err(RequestError::NotFound { what: "enrollment" }.into()),
    }
}

fn described(record: EnrolmentRecord) -> Result<Enrollment, Problem> {
    let (approved_by, enrolled_at) = record.approved.map(|act| (act.by, act.at)).unzip();
    let (revoked_by, revoked_at) = record.revoked.map(|act| (act.by, act.at)).unzip();
    Ok(Enrollment {
        ak_name: record.ak_name,
        ek_name: record.ek.map(|ek| ek.name),
        provenance: record.provenance,
        state: record.state,
        owner: record.owner,
        reason: record.reason,
        requested_at: record.requested_at,
        approved_by,
        enrolled_at,
        revoked_by,
        revoked_at,
        details: RawValue::from_string(record.details).map_err(|error| Problem::internal(&error))?,
    })
}

fn text(what: &str, value: String) -> Result<String, Problem> {
    let plain = !value.trim().is_empty() && value.len() <= TEXT && !value.chars().any(char::is_control);
    if plain { Ok(value) } else { Err(malformed(format!("{what}: expected 1 to {TEXT} bytes of text"))) }
}

fn malformed(detail: String) -> Problem {
    RequestError::Malformed { detail }.into()
}
