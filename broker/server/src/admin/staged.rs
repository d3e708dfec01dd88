//! `/v1/admin/policies/{kind}/staged` and `/v1/admin/shadow`: policies that do not decide yet.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use evidence_formats::code::Coded;
use serde::{Deserialize, Serialize};
use verifier::policy::{PolicyDigest, PolicyPackage, RegoProgram};

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::{PolicyKind, ShadowCount, ShadowDifference, StagedPolicy, is_name},
};

/// Largest policy in bytes.
const LARGEST: usize = 256 * 1024;
/// Most grants for which a policy has to agree.
const GRANTS: usize = 64;
/// Differences of one report.
const LISTED: u32 = 1000;

/// A policy to try.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    /// Rego.
    source: String,
    /// The grants for which it has to agree with the policy in force; release policies only.
    #[serde(default)]
    enforced: Vec<String>,
}

/// The dual run.
#[derive(Debug, Serialize)]
pub(crate) struct DualRun {
    staged: Vec<StagedPolicy>,
    /// What staged policies and proposed reference sets were compared with.
    compared: Vec<ShadowCount>,
    /// Newest first.
    differences: Vec<ShadowDifference>,
}

/// Stages a policy: it is asked beside the one in force, and decides nothing but a denial of the grants in `enforced`.
pub(crate) async fn stage(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(kind): Path<PolicyKind>,
    Json(Stage { source, enforced }): Json<Stage>,
) -> Result<(StatusCode, axum::Json<StagedPolicy>), Problem> {
    let package = match kind {
        PolicyKind::Appraisal => PolicyPackage::Appraisal,
        PolicyKind::Release => PolicyPackage::Release,
    };
    let named = enforced.len() <= GRANTS && enforced.iter().all(|grant| is_name(grant));
    if source.len() > LARGEST || !named || (kind == PolicyKind::Appraisal && !enforced.is_empty()) {
        let detail = format!(
            "expected a policy of at most {LARGEST} bytes, and with a release policy at most {GRANTS} names of grants"
        );
        return Err(RequestError::Malformed { detail }.into());
    }
    RegoProgram::compile(package, kind.as_str(), &source)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()))?;
    let digest = PolicyDigest::of(&source).to_string();
    let policy = StagedPolicy { kind, digest, enforced, author: administrator.name, created_at: clock::now(), source };
    broker.store.stage_policy(&broker.tenant, &policy).await?;
    broker.refresh_rules().await.map_err(|error| Problem::internal(&*error))?;
    tracing::info!(kind = kind.as_str(), digest = policy.digest, by = policy.author, "policy staged");
    Ok((StatusCode::CREATED, axum::Json(policy)))
}

/// Takes the staged policy away.
pub(crate) async fn unstage(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(kind): Path<PolicyKind>,
) -> Result<StatusCode, Problem> {
    if !broker.store.unstage_policy(&broker.tenant, kind, &administrator.name, clock::now()).await? {
        return Err(RequestError::NotFound { what: "staged policy" }.into());
    }
    broker.refresh_rules().await.map_err(|error| Problem::internal(&*error))?;
    tracing::info!(kind = kind.as_str(), by = administrator.name, "staged policy taken away");
    Ok(StatusCode::NO_CONTENT)
}

/// What staged rules would have decided otherwise.
pub(crate) async fn report(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<DualRun>, Problem> {
    let staged = broker.store.staged_policies(&broker.tenant).await?;
    let (compared, differences) = broker.store.comparisons(&broker.tenant, LISTED).await?;
    Ok(axum::Json(DualRun { staged, compared, differences }))
}
