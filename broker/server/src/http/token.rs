//! `POST /v1/token` (RFC 8693) and `GET /.well-known/oauth-authorization-server` (RFC 8414).

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use evidence_formats::code::{Code, Coded};
use keys::dpop::DpopError;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    TraceId,
    body::{content_type, read},
    listener::ClientChain,
    problem::{Problem, RequestError},
};
use crate::{
    broker::Broker,
    clock,
    exchange::{
        self, ExchangeError, Exchanged, Failure, Possession,
        form::{BODY_LIMIT, ExchangeRequest, GRANT_TYPE},
        joined, token_endpoint,
    },
};

/// The header of a proof, and of the nonce that the next one is to have.
const DPOP: HeaderName = HeaderName::from_static("dpop");
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// The answer of an exchange (RFC 8693 §2.2.1).
#[derive(Debug, Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    /// The lease; an extension.
    lease: &'a str,
    /// The decision; an extension.
    decision: &'a str,
}

/// A refusal (RFC 6749 §5.2).
#[derive(Debug, Serialize)]
struct ErrorResponse {
    error: &'static str,
    error_description: String,
    /// Our stable code; an extension.
    code: Code,
    /// The decision, for the operator; an extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<String>,
}

/// A token for a token.
pub(crate) async fn token(
    State(broker): State<Arc<Broker>>,
    Extension(trace_id): Extension<TraceId>,
    request: Request,
) -> Response {
    let answer = match answer(&broker, &trace_id, request).await {
        Ok(answer) => answer,
        Err(Failure::Problem(problem)) => problem.into_response(),
        Err(Failure::Refused { error, decision }) => refusal(&error, decision),
    };
    finished(&broker, answer)
}

async fn answer(broker: &Arc<Broker>, trace_id: &TraceId, request: Request) -> Result<Response, Failure> {
    if content_type(request.headers()) != Some("application/x-www-form-urlencoded") {
        let expected = "application/x-www-form-urlencoded";
        return Err(Problem::from(RequestError::MediaType { expected }).into());
    }
    let certificate = request.extensions().get::<ClientChain>().and_then(|shown| shown.0.first());
    let possession = Possession { proof: proof(request.headers())?, certificate: certificate.cloned() };
    let body = read(request, BODY_LIMIT).await?;
    let request = ExchangeRequest::parse(&body)?;
    let issued_token_type = request.issued_type;
    let exchanged = exchange::exchange(broker, trace_id, request, possession).await?;
    let Exchanged { issued, decision, lease, now } = &exchanged;
    let response = TokenResponse {
        access_token: &issued.token,
        issued_token_type,
        token_type: if issued.dpop { "DPoP" } else { "Bearer" },
        expires_in: issued.expires_at.as_unix().saturating_sub(now.as_unix()),
        scope: joined(&issued.scope),
        lease,
        decision,
    };
    Ok(Json(response).into_response())
}

/// The only `DPoP` header (RFC 9449 §4.3: not more than one).
fn proof(headers: &HeaderMap) -> Result<Option<String>, ExchangeError> {
    let mut values = headers.get_all(DPOP).iter();
    let (first, second) = (values.next(), values.next());
    let Some(first) = first else { return Ok(None) };
    match (first.to_str(), second) {
        (Ok(proof), None) => Ok(Some(proof.to_owned())),
        (_, Some(_)) | (Err(_), None) => Err(ExchangeError::Proof(DpopError::Form)),
    }
}

/// Reasons of the policy are in the record alone: their words would tell which audiences exist.
fn refusal(error: &ExchangeError, decision: Option<String>) -> Response {
    let body = ErrorResponse {
        error: error.oauth(),
        // RFC 6749 §5.2: neither quotes nor backslashes, ASCII only.
        error_description: error
            .to_string()
            .replace(['"', '\\'], "'")
            .replace(|c: char| !c.is_ascii_graphic() && c != ' ', "?"),
        code: error.code(),
        decision,
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Tokens are kept by nobody on the way; the next proof finds its nonce in every answer (RFC 9449 §8.2).
fn finished(broker: &Broker, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let expires_at = clock::now().plus_seconds(i64::from(broker.limits.nonce_seconds));
    let nonce = broker.nonces.issue(expires_at).ok().and_then(|nonce| HeaderValue::from_str(&nonce.to_string()).ok());
    if let Some(nonce) = nonce {
        headers.insert(DPOP_NONCE, nonce);
    }
    response
}

/// What a client has to know to exchange tokens (RFC 8414 §3).
pub(crate) async fn metadata(State(broker): State<Arc<Broker>>) -> Json<Value> {
    let issuer = &broker.issuer;
    let scopes: std::collections::BTreeSet<_> = broker.exchange.grant.iter().flat_map(|entry| &entry.scopes).collect();
    Json(json!({
        "issuer": issuer,
        "token_endpoint": token_endpoint(issuer),
        "jwks_uri": format!("{}/.well-known/jwks.json", issuer.trim_end_matches('/')),
        "grant_types_supported": [GRANT_TYPE],
        "response_types_supported": [],
        "scopes_supported": scopes,
        // The client is the attested guest: its attestation result and the proof of its key say who it is.
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "tls_client_certificate_bound_access_tokens": broker.exchange.mtls,
    }))
}
