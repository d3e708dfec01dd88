//! `/v1/admin/policies/{kind}`

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use evidence_formats::code::Coded;
use serde::Deserialize;
use verifier::policy::{PolicyDigest, PolicyPackage, RegoProgram};

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Path, body,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    rulebook,
    store::{PolicyKind, PolicyVersion},
};

/// Largest policy in bytes.
const LARGEST: usize = 256 * 1024;

/// The policy that decides, then the ones before it; the built-in one is last.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(kind): Path<PolicyKind>,
) -> Result<axum::Json<Vec<PolicyVersion>>, Problem> {
    let mut versions = broker.store.policies(&broker.tenant, kind).await?;
    versions.push(rulebook::built_in(kind));
    Ok(axum::Json(versions))
}

/// Makes the body (Rego) the policy that decides.
pub(crate) async fn set(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(kind): Path<PolicyKind>,
    request: Request,
) -> Result<(StatusCode, axum::Json<PolicyVersion>), Problem> {
    let bytes = body::read(request, LARGEST).await?;
    let source = String::from_utf8(bytes.to_vec()).map_err(|error| body::malformed("body", &error))?;
    let package = match kind {
        PolicyKind::Appraisal => PolicyPackage::Appraisal,
        PolicyKind::Release => PolicyPackage::Release,
    };
    RegoProgram::compile(package, kind.as_str(), &source)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()))?;
    put_in_force(&broker, kind, source, administrator.name, None).await
}

/// Which version is taken up again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBack {
    /// Absent: the one before the one that decides. 0: the built-in one.
    to: Option<u32>,
}

/// Makes an earlier version decide again, as a new version with its text.
pub(crate) async fn roll_back(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(kind): Path<PolicyKind>,
    Json(RollBack { to }): Json<RollBack>,
) -> Result<(StatusCode, axum::Json<PolicyVersion>), Problem> {
    let mut versions = broker.store.policies(&broker.tenant, kind).await?;
    versions.push(rulebook::built_in(kind));
    let mut earlier = versions.into_iter().skip(1);
    let wanted = match to {
        Some(version) => earlier.find(|policy| policy.version == version),
        None => earlier.next(),
    };
    let wanted = wanted.ok_or(RequestError::NotFound { what: "earlier version of the policy" })?;
    put_in_force(&broker, kind, wanted.source, administrator.name, Some(wanted.version)).await
}

/// Stores a policy as the newest version. The answer means that it decides here; other replicas follow within a second.
async fn put_in_force(
    broker: &Broker,
    kind: PolicyKind,
    source: String,
    author: String,
    restores: Option<u32>,
) -> Result<(StatusCode, axum::Json<PolicyVersion>), Problem> {
    let digest = PolicyDigest::of(&source).to_string();
    let mut policy = PolicyVersion { kind, version: 0, digest, author, created_at: clock::now(), restores, source };
    policy.version = broker.store.insert_policy(&broker.tenant, &policy).await?;
    broker.refresh_rules().await.map_err(|error| Problem::internal(&*error))?;
    tracing::info!(
        kind = kind.as_str(),
        version = policy.version,
        digest = policy.digest,
        by = policy.author,
        restores,
        "policy set"
    );
    Ok((StatusCode::CREATED, axum::Json(policy)))
}
