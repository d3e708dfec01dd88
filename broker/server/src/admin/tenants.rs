//! `/v1/admin/tenants`: the tenants of this broker and their administrators, for operators. A tenant's own rows are not for them.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::Serialize;
use verifier::Timestamp;

use super::administrators::{Described, Registration, described, register};
use crate::{
    broker::Broker,
    common::Served,
    http::{
        Json, Path,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
    store::TenantId,
};

/// One tenant, as the API describes it.
#[derive(Debug, Serialize)]
pub(crate) struct Tenant {
    name: TenantId,
    /// Where its routes begin, below the address of the broker.
    path: String,
    /// Issuer and trust domain; absent when the configuration does not name it any more: it is not served then.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_domain: Option<String>,
    created_at: Timestamp,
    /// How many people and programs may administer or watch it.
    administrators: u64,
}

/// Every tenant that is served or was.
pub(crate) async fn list(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Vec<Tenant>>, Problem> {
    let stored = broker.store.tenants().await?.into_iter();
    let described = stored.map(|stored| {
        let served = broker.served.iter().find(|served| served.name == stored.name);
        Tenant {
            path: stored.name.path(),
            name: stored.name,
            issuer: served.map(|served| served.issuer.clone()),
            trust_domain: served.and_then(|served| served.trust_domain.clone()),
            created_at: stored.created_at,
            administrators: stored.administrators,
        }
    });
    Ok(axum::Json(described.collect()))
}

/// Everybody who is registered at a tenant.
pub(crate) async fn administrators(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Path(name): Path<String>,
) -> Result<axum::Json<Vec<Described>>, Problem> {
    described(&broker, served(&broker, &name)?).await
}

/// Registers a certificate at a tenant: its first administrator, or one after the last key was lost. The tenant sees it.
pub(crate) async fn add_administrator(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(registration): Json<Registration>,
) -> Result<(StatusCode, axum::Json<Described>), Problem> {
    register(&broker, served(&broker, &name)?, &administrator, registration).await
}

fn served<'a>(broker: &'a Broker, name: &str) -> Result<&'a TenantId, Problem> {
    let found = broker.served.iter().map(|Served { name, .. }| name).find(|served| served.as_str() == name);
    found.ok_or_else(|| RequestError::NotFound { what: "tenant" }.into())
}
