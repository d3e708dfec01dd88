//! `/v1/admin/database-roles`: the roles that stand on databases, or should be gone and are not yet.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    broker::Broker,
    http::{identity::Reader, problem::Problem},
    store::StandingRole,
};

/// Every role that may be there, by server.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Reader,
) -> Result<axum::Json<Vec<StandingRole>>, Problem> {
    Ok(axum::Json(broker.store.standing_roles(Some(&broker.tenant)).await?))
}
