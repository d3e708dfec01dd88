//! The HTTP interface: one route, one typed handler.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use tower_http::catch_panic::CatchPanicLayer;

use crate::{admin, broker::Broker, federation, tenants::Tenants};

mod attest;
pub(crate) mod body;
pub(crate) mod bridge;
mod bundles;
mod challenge;
mod crl;
mod enroll;
mod events;
pub(crate) mod identity;
mod identity_documents;
mod lease_watch;
mod leases;
pub(crate) mod listener;
mod mirror;
mod observe;
pub(crate) mod problem;
pub(crate) mod rate;
mod ssh;
mod status;
pub(crate) mod tls;
mod token;

pub(crate) use body::{Json, Path, Query};
pub(crate) use identity_documents::spiffe_bundle;
pub(crate) use observe::TraceId;
use problem::{Problem, RequestError};

/// The description of the API, in the form that programs read.
const OPENAPI: &str = include_str!("openapi.json");

/// Every route of the API listener: those of the first tenant at `/`, those of each other one under its path.
pub(crate) fn api(tenants: &Tenants) -> Router {
    let operator = routes().nest("/v1/admin", admin::routes().merge(admin::operator_routes()));
    let mut all = of_tenant(operator, tenants.first());
    for broker in tenants.others() {
        let path = broker.tenant.path();
        let own = of_tenant(routes().nest("/v1/admin", admin::routes()), broker);
        all = all.nest(&path, own).merge(inserted(&path, broker));
    }
    all
}

/// What every tenant has.
fn routes() -> Router<Arc<Broker>> {
    Router::new()
        .route("/v1/challenge", post(challenge::challenge))
        .route("/v1/attest", post(attest::attest))
        .route("/v1/enroll", post(enroll::begin))
        .route("/v1/enroll/{id}", post(enroll::complete))
        .route("/v1/leases/{id}", delete(leases::release).get(lease_watch::watch))
        .route("/v1/leases/{id}/renew", post(leases::renew))
        .route("/v1/leases/{id}/bundles", get(bundles::bundles))
        .route("/v1/token", post(token::token))
        .route("/v1/events", get(events::events))
        .route("/v1/status/{list}", get(status::status_list))
        .route("/v1/crl", get(crl::all))
        .route("/v1/crl/{authority}", get(crl::one))
        .route("/v1/ssh/ca/{kind}", get(ssh::authorities))
        .route("/v1/ssh/revoked/{kind}", get(ssh::revoked))
        .route("/v1/openapi.json", get(openapi))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/.well-known/openid-configuration", get(identity_documents::openid_configuration))
        .route("/.well-known/spiffe-bundle", get(spiffe_bundle))
        .route("/.well-known/oauth-authorization-server", get(token::metadata))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
}

/// The documents of an issuer with a path, where RFC 8414 §3.1 looks for them: the well-known part stands before the path.
fn inserted(path: &str, broker: &Arc<Broker>) -> Router {
    let routes = Router::new()
        .route(&format!("/.well-known/oauth-authorization-server{path}"), get(token::metadata))
        .route(&format!("/.well-known/openid-configuration{path}"), get(identity_documents::openid_configuration));
    layered(routes, broker)
}

fn of_tenant(routes: Router<Arc<Broker>>, broker: &Arc<Broker>) -> Router {
    layered(routes.fallback(not_found).method_not_allowed_fallback(other_method), broker)
}

fn layered(routes: Router<Arc<Broker>>, broker: &Arc<Broker>) -> Router {
    routes
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(broker), observe::observe))
        .layer(DefaultBodyLimit::max(broker.limits.body_bytes))
        .with_state(Arc::clone(broker))
}

/// The route of the metrics listener.
pub(crate) fn metrics(broker: Arc<Broker>) -> Router {
    Router::new().route("/metrics", get(scrape)).fallback(not_found).with_state(broker)
}

/// Every route of the listener of the own trust bundle.
pub(crate) fn bundle_endpoint(broker: Arc<Broker>) -> Router {
    federation::endpoint_routes()
        .fallback(not_found)
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&broker), observe::observe))
        .with_state(broker)
}

/// Every route of the mirror's listener.
pub(crate) fn mirror(broker: Arc<Broker>) -> Router {
    mirror::routes()
        .fallback(not_found)
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&broker), observe::observe))
        .with_state(broker)
}

/// The process runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The broker can decide: its store answers.
async fn readyz(State(broker): State<Arc<Broker>>) -> Result<&'static str, Problem> {
    match broker.store.ping().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::error!(%error, "not ready");
            Err(RequestError::Overloaded.into())
        }
    }
}

async fn jwks(State(broker): State<Arc<Broker>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/jwk-set+json"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, broker.keyring.load().jwks.clone()).into_response()
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

async fn scrape(State(broker): State<Arc<Broker>>) -> Response {
    match broker.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_unwritable) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn not_found() -> Problem {
    RequestError::NotFound { what: "path" }.into()
}

async fn other_method() -> Problem {
    RequestError::Method.into()
}
