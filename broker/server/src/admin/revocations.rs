//! `/v1/admin/revocations`

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::{EndCause, Ground, GroundKind, LeaseSelector, Revocation},
};

/// Longest value, in bytes: a digest in hex is 128.
const VALUE: usize = 256;
/// Longest reason, in bytes.
const REASON: usize = 1024;

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A workload by name: a standing revocation.
    Workload,
    /// A measurement, hex: a standing revocation.
    Measurement,
    /// A chip, hex: a standing revocation.
    Chip,
    /// A reference set, `ID` or `ID@VERSION`: a standing revocation.
    ReferenceSet,
    /// A policy by name, for example `release-v3`: a standing revocation.
    Policy,
    /// What was granted, `KIND/NAME` or `KIND/NAME@VERSION`: ends the leases of now.
    Credential,
    /// One running guest: ends the leases of now.
    Guest,
    /// One lease.
    Lease,
}

/// The request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Revoke {
    kind: Kind,
    value: String,
    reason: String,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    kind: Kind,
    value: String,
    /// The standing revocation, to lift it later; absent when only the leases of now ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// How many leases ended.
    ended: u64,
}

/// Every standing revocation.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<Revocation>>, Problem> {
    Ok(axum::Json(broker.store.revocations(&broker.tenant).await?))
}

/// Revokes: leases end now, and while a standing revocation stands, no new ones are given.
pub(crate) async fn revoke(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Revoke { kind, value, reason }): Json<Revoke>,
) -> Result<(StatusCode, axum::Json<Revoked>), Problem> {
    let plain = |text: &str, most: usize| !text.is_empty() && text.len() <= most && !text.chars().any(char::is_control);
    if !plain(&value, VALUE) || !plain(&reason, REASON) {
        let detail = format!("expected a value of at most {VALUE} and a reason of at most {REASON} bytes");
        return Err(RequestError::Malformed { detail }.into());
    }
    let now = clock::now();
    let ends = |selector| broker.store.end_leases(&broker.tenant, selector, EndCause::Revoked, now);
    let (id, ended) = match standing(kind) {
        Some(ground) => {
            // Digests are compared as they are stored.
            let hex = matches!(ground, GroundKind::Measurement | GroundKind::Chip);
            let ground = Ground::new(ground, if hex { value.to_ascii_lowercase() } else { value.clone() });
            let author = administrator.name.clone();
            let id = Uuid::new_v4().to_string();
            let revocation = Revocation { id: id.clone(), ground, reason: reason.clone(), author, created_at: now };
            (Some(id), broker.store.revoke(&broker.tenant, &revocation).await?)
        }
        None if kind == Kind::Guest => (None, ends(LeaseSelector::Guest(&value)).await?),
        None if kind == Kind::Lease => (None, ends(LeaseSelector::Lease(&value)).await?),
        None => (None, ends(credential(&value)?).await?),
    };
    tracing::warn!(?kind, value, reason, ended, by = administrator.name, "revoked");
    Ok((StatusCode::CREATED, axum::Json(Revoked { kind, value, id, ended })))
}

/// Lifts a standing revocation. What it ended stays ended.
pub(crate) async fn lift(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if !broker.store.lift_revocation(&broker.tenant, &id, clock::now()).await? {
        return Err(RequestError::NotFound { what: "revocation" }.into());
    }
    tracing::warn!(revocation = id, by = administrator.name, "revocation lifted");
    Ok(StatusCode::NO_CONTENT)
}

const fn standing(kind: Kind) -> Option<GroundKind> {
    match kind {
        Kind::Workload => Some(GroundKind::Workload),
        Kind::Measurement => Some(GroundKind::Measurement),
        Kind::Chip => Some(GroundKind::Chip),
        Kind::ReferenceSet => Some(GroundKind::ReferenceSet),
        Kind::Policy => Some(GroundKind::Policy),
        Kind::Credential | Kind::Guest | Kind::Lease => None,
    }
}

/// `KIND/NAME` or `KIND/NAME@VERSION`.
fn credential(value: &str) -> Result<LeaseSelector<'_>, Problem> {
    let wrong = || RequestError::Malformed { detail: "value: expected KIND/NAME or KIND/NAME@VERSION".to_owned() };
    let (kind, name) = value.split_once('/').ok_or_else(wrong)?;
    match name.split_once('@') {
        None => Ok(LeaseSelector::Credential { kind, name, version: None }),
        Some((name, version)) => {
            let version = version.parse().map_err(|_not_a_number| wrong())?;
            Ok(LeaseSelector::Credential { kind, name, version: Some(version) })
        }
    }
}
