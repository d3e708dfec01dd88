//! The administrators' API under `/v1/admin`. Every handler takes [`Admin`](crate::http::identity::Admin),
//! [`Reader`](crate::http::identity::Reader) or [`Observer`](crate::http::identity::Observer): what has none of them cannot be reached without a test noticing.

use std::sync::Arc;

use axum::{
    Router,
    routing::{delete, get, post, put},
};

use crate::broker::Broker;

mod administrators;
mod audit;
mod break_glass;
mod database_roles;
mod decisions;
mod endorsements;
mod enrollments;
mod exceptions;
mod exposure;
mod federation;
mod keys;
mod offline;
mod policies;
mod reference_values;
mod revocations;
mod secrets;
mod staged;
mod tenants;
mod workloads;

/// What only an operator has: an administrator of the tenant that exists from the start. Vendors' documents are common to all
/// tenants.
pub(crate) fn operator_routes() -> Router<Arc<Broker>> {
    Router::new()
        .route("/tenants", get(tenants::list))
        .route("/tenants/{name}/administrators", get(tenants::administrators).post(tenants::add_administrator))
        .route("/endorsements", get(endorsements::status))
        .route("/endorsements/fetch", post(endorsements::fetch))
        .route("/endorsements/bundle", get(endorsements::export).put(endorsements::import))
}

/// The routes of every tenant, to be nested.
pub(crate) fn routes() -> Router<Arc<Broker>> {
    Router::new()
        .route("/secrets", get(secrets::list))
        .route(
            "/secrets/{*name}",
            get(secrets::metadata).put(secrets::put).post(secrets::generate).delete(secrets::delete),
        )
        .route("/offline/{*name}", put(offline::allow).delete(offline::forbid))
        .route("/reference-values", get(reference_values::list).post(reference_values::add))
        .route("/reference-values/document", get(reference_values::document))
        .route("/reference-values/history", get(reference_values::history))
        .route("/reference-values/activate", post(reference_values::activate))
        .route("/reference-values/retire", post(reference_values::retire))
        .route("/reference-values/revoke", post(reference_values::revoke))
        .route("/policies/{kind}", get(policies::show).put(policies::set))
        .route("/policies/{kind}/staged", put(staged::stage).delete(staged::unstage))
        .route("/shadow", get(staged::report))
        .route("/policies/{kind}/rollback", post(policies::roll_back))
        .route("/enrollments", get(enrollments::list).post(enrollments::pin))
        .route("/enrollments/{name}", get(enrollments::show))
        .route("/enrollments/{name}/approve", post(enrollments::approve))
        .route("/enrollments/{name}/revoke", post(enrollments::revoke))
        .route("/administrators", get(administrators::list).post(administrators::add))
        .route("/administrators/{name}", delete(administrators::remove))
        .route("/audit", get(audit::list))
        .route("/audit/checkpoints", get(audit::checkpoints))
        .route("/audit/keys", get(audit::keys))
        .route("/break-glass", get(break_glass::list).post(break_glass::request))
        .route("/break-glass/{id}/approve", post(break_glass::approve))
        .route("/break-glass/{id}/revoke", post(break_glass::revoke))
        .route("/exceptions", get(exceptions::list).post(exceptions::add))
        .route("/exceptions/{name}", get(exceptions::show))
        .route("/exceptions/{name}/extend", post(exceptions::extend))
        .route("/exceptions/{name}/end", post(exceptions::end))
        .route("/exceptions/{name}/join-token", post(exceptions::join_token))
        .route("/exposure", get(exposure::report))
        .route("/federation", get(federation::list).post(federation::add))
        .route("/federation/{name}", get(federation::show).delete(federation::remove))
        .route("/federation/{name}/refresh", post(federation::refresh))
        .route("/keys", get(keys::list))
        .route("/keys/rotate", post(keys::rotate))
        .route("/database-roles", get(database_roles::list))
        .route("/workloads", get(workloads::list))
        .route("/inventory", get(workloads::inventory))
        .route("/workloads/{id}", get(workloads::show))
        .route("/revocations", get(revocations::list).post(revocations::revoke))
        .route("/revocations/{id}", delete(revocations::lift))
        .route("/decisions", get(decisions::list))
        .route("/decisions/{id}", get(decisions::show))
}
