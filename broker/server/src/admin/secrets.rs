//! `/v1/admin/secrets`: content goes in and is never given back.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::StatusCode,
};
use evidence_formats::code::Code;
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
    release,
    store::{Rotation, SecretMetadata, is_name},
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
    let Audience { workloads, bridge, rotation } = audience(request.uri().query().unwrap_or_default())?;
    let content = body::read(request, LARGEST).await?;
    // The only reference to the buffer: taken over, so that it is wiped.
    let content = SecretBytes::new(Vec::from(content));
    if content.is_empty() {
        return Err(malformed("expected a secret of at least one byte".to_owned()));
    }
    let metadata = SecretMetadata {
        name,
        version: 0,
        workloads,
        bridge,
        rotation,
        offline: None,
        staged: false,
        created_by: administrator.name,
        created_at: clock::now(),
    };
    // A secret that was for attested guests stays that: under the same name it never becomes one for the bridge.
    let before = broker.store.newest_secret(&broker.tenant, &metadata.name).await?;
    if before.as_ref().is_some_and(|before| before.rotation == Rotation::Guest) {
        let code = Code::new("request.secret.guest_rotates");
        let detail = "expected no other content for a key that its guest changes: the guest's disk would stay closed";
        return Err(Problem::new(StatusCode::CONFLICT, code, detail));
    }
    if before.as_ref().is_some_and(|before| before.bridge != bridge) {
        let code = Code::new("request.secret.bridge_changed");
        let detail = "expected the same right to the bridge as the version before: use another name";
        return Err(Problem::new(StatusCode::CONFLICT, code, detail));
    }
    // What was allowed for the name holds for each version of it.
    let metadata = SecretMetadata { offline: before.and_then(|before| before.offline), ..metadata };
    let stored = broker.vault.put_secret(&broker.tenant, metadata, &content).await.map_err(refused)?;
    tracing::info!(secret = stored.name, version = stored.version, by = stored.created_by, "secret stored");
    Ok((StatusCode::CREATED, axum::Json(stored)))
}

/// Stores a new random key, for the workloads in the query.
pub(crate) async fn generate(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    request: Request,
) -> Result<(StatusCode, axum::Json<SecretMetadata>), Problem> {
    require_name("secret", &name)?;
    let Audience { workloads, bridge, rotation } = audience(request.uri().query().unwrap_or_default())?;
    if bridge {
        return Err(malformed("query: expected no bridge for a generated key".to_owned()));
    }
    if broker.store.newest_secret(&broker.tenant, &name).await?.is_some() {
        let code = Code::new("request.secret.exists");
        let detail = "expected no secret of this name: what it opens would stay closed";
        return Err(Problem::new(StatusCode::CONFLICT, code, detail));
    }
    let key = release::generate().map_err(|error| Problem::internal(&error))?;
    let created_by = administrator.name;
    let created_at = clock::now();
    let metadata = SecretMetadata {
        name,
        version: 0,
        workloads,
        bridge,
        rotation,
        offline: None,
        staged: false,
        created_by,
        created_at,
    };
    let stored = broker.vault.put_secret(&broker.tenant, metadata, &key).await.map_err(refused)?;
    tracing::info!(secret = stored.name, version = stored.version, by = stored.created_by, "secret generated");
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

/// Who may have a secret.
struct Audience {
    workloads: Vec<String>,
    bridge: bool,
    rotation: Rotation,
}

/// The values of `workload=…`, `bridge=true` and `rotation=guest` in a query; names need no escapes.
fn audience(query: &str) -> Result<Audience, Problem> {
    let mut audience = Audience { workloads: Vec::new(), bridge: false, rotation: Rotation::Operator };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("workload", workload)) => {
                require_name("workload", workload)?;
                audience.workloads.push(workload.to_owned());
            }
            Some(("bridge", "true")) => audience.bridge = true,
            Some(("rotation", "guest")) => audience.rotation = Rotation::Guest,
            _ => {
                let detail = "query: expected only workload=NAME, bridge=true and rotation=guest";
                return Err(malformed(detail.to_owned()));
            }
        }
    }
    let Audience { workloads, bridge, rotation } = &audience;
    if *bridge && *rotation == Rotation::Guest {
        return Err(malformed("query: expected bridge or rotation, not both".to_owned()));
    }
    if (workloads.is_empty() && !bridge) || workloads.len() > WORKLOADS {
        return Err(malformed(format!("query: expected 1 to {WORKLOADS} times workload=NAME, or bridge=true")));
    }
    Ok(audience)
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
