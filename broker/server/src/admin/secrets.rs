//! `/v1/admin/secrets`: content goes in and is never given back.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use keys::secret::SecretBytes;
use serde::Serialize;

use crate::{
    broker::Broker,
    clock,
    http::{
        Path, body,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::{SecretMetadata, is_name},
    vault::VaultError,
};

/// Largest secret in bytes: a sealed grant carries it whole, in base64.
const LARGEST: usize = 512 * 1024;
/// Most workloads of one secret.
const WORKLOADS: usize = 64;

/// How many versions were erased.
#[derive(Debug, Serialize)]
pub(crate) struct Deleted {
    deleted: u64,
}

/// Every version of every secret.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
) -> Result<axum::Json<Vec<SecretMetadata>>, Problem> {
    Ok(axum::Json(broker.store.secret_metadata(&broker.tenant, None).await?))
}

/// Every version of one secret.
pub(crate) async fn metadata(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(name): Path<String>,
) -> Result<axum::Json<Vec<SecretMetadata>>, Problem> {
    let versions = broker.store.secret_metadata(&broker.tenant, Some(&name)).await?;
    if versions.is_empty() { Err(absent()) } else { Ok(axum::Json(versions)) }
}

/// Stores the body as a new version, for the workloads in the query.
pub(crate) async fn put(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, axum::Json<SecretMetadata>), Problem> {
    require_name("secret", &name)?;
    let workloads = workloads(request.uri().query().unwrap_or_default())?;
    let content = body::read(request, LARGEST).await?;
    // The only reference to the buffer: taken over, so that it is wiped.
    let content = SecretBytes::new(Vec::from(content));
    if content.is_empty() {
        return Err(malformed("expected a secret of at least one byte".to_owned()));
    }
    let metadata =
        SecretMetadata { name, version: 0, workloads, created_by: administrator.name, created_at: clock::now() };
    let stored = broker.vault.put_secret(&broker.tenant, metadata, &content).await.map_err(refused)?;
    tracing::info!(secret = stored.name, version = stored.version, by = stored.created_by, "secret stored");
    Ok((StatusCode::CREATED, axum::Json(stored)))
}

/// Erases every version.
pub(crate) async fn delete(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
) -> Result<axum::Json<Deleted>, Problem> {
    let deleted = broker.store.delete_secret(&broker.tenant, &name, clock::now()).await?;
    if deleted == 0 {
        return Err(absent());
    }
    tracing::info!(secret = name, by = administrator.name, "secret erased");
    Ok(axum::Json(Deleted { deleted }))
}

/// The values of `workload=…` in a query; names need no escapes.
fn workloads(query: &str) -> Result<Vec<String>, Problem> {
    let mut workloads = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some(("workload", workload)) = pair.split_once('=') else {
            return Err(malformed("query: expected only workload=NAME".to_owned()));
        };
        require_name("workload", workload)?;
        workloads.push(workload.to_owned());
    }
    if workloads.is_empty() || workloads.len() > WORKLOADS {
        return Err(malformed(format!("query: expected 1 to {WORKLOADS} times workload=NAME")));
    }
    Ok(workloads)
}

fn require_name(what: &str, name: &str) -> Result<(), Problem> {
    if is_name(name) {
        return Ok(());
    }
    Err(malformed(format!("expected a {what} name of 1 to 128 characters a-z A-Z 0-9 . _ - and / between segments")))
}

fn malformed(detail: String) -> Problem {
    RequestError::Malformed { detail }.into()
}

fn absent() -> Problem {
    RequestError::NotFound { what: "secret" }.into()
}

fn refused(error: VaultError) -> Problem {
    match error {
        VaultError::Store(error) => error.into(),
        VaultError::Envelope(error) => Problem::internal(&error),
    }
}
