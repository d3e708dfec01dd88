//! `/v1/admin/keys`: the signing keys, and changing them.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use crate::{
    broker::Broker,
    clock,
    http::{
        Json,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    identity::{KeyState, add_key, signs_from},
    store::KeyPurpose,
};

/// What is changed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotate {
    purpose: KeyPurpose,
    /// The old keys are not trusted any more: the new one signs now, and nothing verifies with the old ones.
    #[serde(default)]
    at_once: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Rotated {
    id: String,
    purpose: &'static str,
    active_at: Timestamp,
    retired: u64,
}

/// Every key and how it stands.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> axum::Json<Vec<KeyState>> {
    axum::Json(broker.keyring.load().states())
}

/// Makes a new key. Unless it must be at once, it is published first and signs later, and the old one verifies until all
/// that it signed is over.
pub(crate) async fn rotate(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(Rotate { purpose, at_once }): Json<Rotate>,
) -> Result<(StatusCode, axum::Json<Rotated>), Problem> {
    if !KeyPurpose::SIGNING.contains(&purpose) {
        return Err(RequestError::Malformed { detail: "purpose: expected one that signs".to_owned() }.into());
    }
    let now = clock::now();
    let active_at = signs_from(now, at_once);
    let authority = broker.authority.load_full();
    let made = add_key(&broker.vault, purpose, Some(&authority), now, active_at).await;
    let id = made.map_err(|error| Problem::internal(&*error))?;
    let retired = match at_once {
        true => broker.vault.retire_keys(purpose, &id, now).await.map_err(|error| Problem::internal(&error))?,
        false => 0,
    };
    broker.refresh_keys().await.map_err(|error| Problem::internal(&*error))?;
    let purpose = purpose.as_str();
    tracing::warn!(purpose, id, %active_at, retired, by = administrator.name, "signing key changed");
    Ok((StatusCode::CREATED, axum::Json(Rotated { id, purpose, active_at, retired })))
}
