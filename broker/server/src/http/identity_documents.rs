//! What relying parties read to verify our tokens and SVIDs.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::problem::{Problem, RequestError};
use crate::broker::Broker;

/// `GET /.well-known/openid-configuration` (OpenID Connect Discovery §3): enough to verify tokens; nobody logs in here, so
/// the authorization endpoint is empty.
pub(crate) async fn openid_configuration(State(broker): State<Arc<Broker>>) -> Json<Value> {
    let issuer = &broker.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
        "authorization_endpoint": "",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "claims_supported": ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"],
    }))
}

/// `GET /.well-known/spiffe-bundle`: the trust bundle of the trust domain, for the profile `https_web` of SPIFFE Federation.
pub(crate) async fn spiffe_bundle(State(broker): State<Arc<Broker>>) -> Result<Response, Problem> {
    if broker.identity.trust_domain.is_none() {
        return Err(RequestError::NotFound { what: "trust domain" }.into());
    }
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "max-age=60")];
    Ok((headers, broker.keyring.load().bundle.clone()).into_response())
}
