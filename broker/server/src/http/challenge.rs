//! `POST /v1/challenge`

use std::sync::Arc;

use axum::extract::State;
use evidence_formats::binding::Nonce;
use serde::{Deserialize, Serialize};
use verifier::Timestamp;

use super::{Json, problem::Problem};
use crate::{broker::Broker, clock};

/// What a guest sends: nothing yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChallengeRequest {}

/// What it gets.
#[derive(Debug, Serialize)]
pub(crate) struct Challenge {
    nonce: Nonce,
    expires_at: Timestamp,
}

/// A fresh nonce. Nothing is stored: see [`crate::nonce`].
pub(crate) async fn challenge(
    State(broker): State<Arc<Broker>>,
    Json(ChallengeRequest {}): Json<ChallengeRequest>,
) -> Result<axum::Json<Challenge>, Problem> {
    let expires_at = clock::now().plus_seconds(i64::from(broker.limits.nonce_seconds));
    let nonce = broker.nonces.issue(expires_at).map_err(|error| Problem::internal(&error))?;
    Ok(axum::Json(Challenge { nonce, expires_at }))
}
