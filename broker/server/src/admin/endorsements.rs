//! `/v1/admin/endorsements`

use std::sync::Arc;

use ::endorsements::Bundle;
use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use evidence_formats::{
    endorsement::{AmdService, EndorsementId, PckAuthority, Vendor},
    snp::ProductLine,
    tdx::Fmspc,
};
use serde::{Deserialize, Serialize};

use crate::{
    broker::Broker,
    endorsements::{CarryError, Imported, Status},
    http::{
        Json, Query, body,
        identity::{Admin, Reader},
        problem::{Problem, RequestError},
    },
};

/// Most documents of one fetch.
const FETCHES: usize = 64;

/// Which documents to fetch; nothing named: everything that is held about many machines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    /// Revocation lists and chains of these product lines.
    products: Vec<ProductLine>,
    /// TCB info of these processors, and everything of Intel's that it needs.
    fmspcs: Vec<Fmspc>,
    /// Documents by their names.
    ids: Vec<EndorsementId>,
}

/// What became of one document.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    id: EndorsementId,
    fetched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whose documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfVendor {
    vendor: Option<Vendor>,
}

impl Wanted {
    fn ids(self, broker: &Broker) -> Vec<EndorsementId> {
        if self.products.is_empty() && self.fmspcs.is_empty() && self.ids.is_empty() {
            return broker.library.held();
        }
        let update = broker.library.update();
        let mut ids = self.ids;
        for line in self.products {
            for service in AmdService::ALL {
                ids.extend([EndorsementId::AmdCrl { line, service }, EndorsementId::AmdChain { line, service }]);
            }
        }
        if !self.fmspcs.is_empty() {
            ids.extend([EndorsementId::IntelRootCrl, EndorsementId::QeIdentity { update }]);
            ids.extend(PckAuthority::ALL.map(|ca| EndorsementId::PckCrl { ca }));
            ids.extend(self.fmspcs.into_iter().map(|fmspc| EndorsementId::TcbInfo { fmspc, update }));
        }
        ids
    }
}

/// What is held.
pub(crate) async fn status(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Status>, Problem> {
    Ok(axum::Json(broker.library.status().await?))
}

/// Fetches documents now.
pub(crate) async fn fetch(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(wanted): Json<Wanted>,
) -> Result<axum::Json<Vec<Fetched>>, Problem> {
    let ids = wanted.ids(&broker);
    if ids.len() > FETCHES {
        let detail = format!("expected at most {FETCHES} documents, found {}", ids.len());
        return Err(RequestError::Malformed { detail }.into());
    }
    tracing::info!(documents = ids.len(), by = administrator.name, "endorsements are fetched");
    let outcomes = broker.library.fetch(ids).await;
    let fetched = outcomes.into_iter().map(|(id, outcome)| Fetched {
        id,
        fetched: outcome.is_ok(),
        reason: outcome.err().map(|unavailable| unavailable.reason.to_string()),
    });
    Ok(axum::Json(fetched.collect()))
}

/// Everything that is current, as a bundle.
pub(crate) async fn export(
    State(broker): State<Arc<Broker>>,
    _: Reader,
    Query(OfVendor { vendor }): Query<OfVendor>,
) -> Result<Response, Problem> {
    let bundle = broker.library.export(vendor).await.map_err(problem)?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bundle).into_response())
}

/// Takes a bundle, all of it or nothing.
pub(crate) async fn import(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    request: Request,
) -> Result<axum::Json<Imported>, Problem> {
    let bundle = body::read(request, Bundle::MAX_LENGTH).await?;
    let imported = broker.library.import(&bundle).await.map_err(problem)?;
    tracing::info!(documents = imported.imported, by = administrator.name, "endorsements imported");
    Ok(axum::Json(imported))
}

fn problem(error: CarryError) -> Problem {
    match error.code() {
        Some(code) => Problem::new(StatusCode::BAD_REQUEST, code, error.to_string()),
        None => Problem::internal(&error),
    }
}
