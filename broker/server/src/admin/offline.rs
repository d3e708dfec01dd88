//! `/v1/admin/offline/{name}`: whether a secret may be kept by the guests' TPMs for reboots without the broker.

use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;

use crate::{
    broker::Broker,
    clock,
    http::{
        Json, Path,
        identity::Admin,
        problem::{Problem, RequestError},
    },
    store::{OfflineAllowance, SecretMetadata},
};

/// For how long, and how many starts of the machine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    seconds: u32,
    boots: u32,
}

/// Allows it from the next release on.
pub(crate) async fn allow(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(Wanted { seconds, boots }): Json<Wanted>,
) -> Result<axum::Json<Vec<SecretMetadata>>, Problem> {
    let allowance = OfflineAllowance::new(seconds, boots).ok_or_else(|| RequestError::Malformed {
        detail: format!(
            "expected 1 to {} seconds and 1 to {} starts",
            OfflineAllowance::MOST_SECONDS,
            OfflineAllowance::MOST_BOOTS
        ),
    })?;
    let stored = set(&broker, &name, Some(allowance)).await?;
    let by = administrator.name;
    tracing::warn!(secret = name, seconds, boots, by, "guests may keep the secret for reboots without the broker");
    Ok(stored)
}

/// Forbids it: guests drop what they keep with their next release.
pub(crate) async fn forbid(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
) -> Result<axum::Json<Vec<SecretMetadata>>, Problem> {
    let stored = set(&broker, &name, None).await?;
    tracing::info!(secret = name, by = administrator.name, "guests may not keep the secret any more");
    Ok(stored)
}

async fn set(
    broker: &Broker,
    name: &str,
    allowance: Option<OfflineAllowance>,
) -> Result<axum::Json<Vec<SecretMetadata>>, Problem> {
    if broker.store.allow_offline(&broker.tenant, name, allowance, clock::now()).await? == 0 {
        return Err(RequestError::NotFound { what: "secret" }.into());
    }
    Ok(axum::Json(broker.store.secret_metadata(&broker.tenant, Some(name)).await?))
}
