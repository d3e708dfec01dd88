//! `/v1/admin/administrators`: whose client certificates count, and for what.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use evidence_formats::code::Code;
use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::{Administrator, Removed, Role, TenantId, is_name},
};

/// One administrator, as the API describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Described {
    name: String,
    role: Role,
    /// SHA-256 of the client certificate, hex.
    fingerprint: String,
    created_at: Timestamp,
}

/// A certificate that shall count from now on. The administrators' CA must have issued it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    name: String,
    role: Role,
    /// SHA-256 of the client certificate, hex.
    fingerprint: String,
}

/// Everybody who is registered.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<Described>>, Problem> {
    described(&broker, &broker.tenant).await
}

/// Everybody who is registered at a tenant.
pub(super) async fn described(broker: &Broker, tenant: &TenantId) -> Result<axum::Json<Vec<Described>>, Problem> {
    let all = broker.store.administrators(tenant).await?;
    Ok(axum::Json(all.into_iter().map(|(administrator, created_at)| describe(administrator, created_at)).collect()))
}

/// Registers a certificate for a role.
pub(crate) async fn add(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(registration): Json<Registration>,
) -> Result<(StatusCode, axum::Json<Described>), Problem> {
    register(&broker, &broker.tenant, &administrator, registration).await
}

/// Registers a certificate for a role at a tenant, on the word of `by`.
pub(super) async fn register(
    broker: &Broker,
    tenant: &TenantId,
    by: &Administrator,
    Registration { name, role, fingerprint }: Registration,
) -> Result<(StatusCode, axum::Json<Described>), Problem> {
    let digest = hex::decode(&fingerprint).ok().and_then(|digest| <[u8; 32]>::try_from(digest).ok());
    let (Some(fingerprint), true) = (digest, is_name(&name)) else {
        let detail = "expected a plain name and the fingerprint as 64 hex digits".to_owned();
        return Err(RequestError::Malformed { detail }.into());
    };
    let (added, now) = (Administrator { fingerprint, name, role }, clock::now());
    broker.store.insert_administrator(tenant, &added, now).await?;
    let (tenant, role) = (tenant.as_str(), role.as_str());
    tracing::warn!(tenant, name = added.name, role, by = by.name, "administrator registered");
    Ok((StatusCode::CREATED, axum::Json(describe(added, now))))
}

/// Removes an administrator by name: the next request with its certificate is refused.
pub(crate) async fn remove(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    match broker.store.remove_administrator(&broker.tenant, &name, clock::now()).await? {
        Removed::Yes => {
            tracing::warn!(name, by = administrator.name, "administrator removed");
            Ok(StatusCode::NO_CONTENT)
        }
        Removed::Absent => Err(RequestError::NotFound { what: "administrator" }.into()),
        Removed::Last => {
            let code = Code::new("request.administrator.last");
            Err(Problem::new(StatusCode::CONFLICT, code, "expected another administrator with the role admin to stay"))
        }
    }
}

fn describe(Administrator { fingerprint, name, role }: Administrator, created_at: Timestamp) -> Described {
    Described { name, role, fingerprint: hex::encode(fingerprint), created_at }
}
