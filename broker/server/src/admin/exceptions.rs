//! `/v1/admin/exceptions`: the register of legacy static secrets.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::AppendHeaders,
};
use serde::{Deserialize, Serialize};
use verifier::Timestamp;
use zeroize::Zeroizing;

use crate::{
    broker::Broker,
    clock,
    exceptions::{self, Draft, ExceptionError, Extension, Field, JoinDraft, JoinError, NewToken},
    http::{
        Json, Path, Query,
        identity::{Admin, Observer},
        problem::{Problem, RequestError},
    },
    store::{Exception, ExceptionAct},
};

/// Most exceptions of one listing, and most acts of one history.
const MOST: u32 = 1000;

/// Which exceptions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    /// Those that ended, too.
    #[serde(default)]
    all: bool,
}

/// An exception and what happened to it, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    exception: Exception,
    history: Vec<ExceptionAct>,
}

/// Why one ends before its time.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ending {
    reason: Option<String>,
}

/// The register: what ends first stands first.
pub(crate) async fn list(
    State(broker): State<Arc<Broker>>,
    _: Observer,
    Query(Listing { all }): Query<Listing>,
) -> Result<axum::Json<Vec<Exception>>, Problem> {
    Ok(axum::Json(broker.store.exceptions(&broker.tenant, all, MOST).await?))
}

/// One exception, by name or id.
pub(crate) async fn show(
    State(broker): State<Arc<Broker>>,
    _: Observer,
    Path(name): Path<String>,
) -> Result<axum::Json<Shown>, Problem> {
    let exception = find(&broker, &name).await?;
    let history = broker.store.exception_history(&exception.id, MOST).await?;
    Ok(axum::Json(Shown { exception, history }))
}

/// Registers one.
pub(crate) async fn add(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Json(draft): Json<Draft>,
) -> Result<(StatusCode, axum::Json<Exception>), Problem> {
    let exception = draft.complete(&broker, administrator.name, clock::now())?;
    Ok((StatusCode::CREATED, axum::Json(exceptions::register(&broker, exception).await?)))
}

/// Continues one for a new reason: the old one ends, a new one begins.
pub(crate) async fn extend(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(extension): Json<Extension>,
) -> Result<(StatusCode, axum::Json<Exception>), Problem> {
    let old = find(&broker, &name).await?;
    let exception = extension.of(old, &broker, administrator.name, clock::now())?;
    Ok((StatusCode::CREATED, axum::Json(exceptions::register(&broker, exception).await?)))
}

/// Ends one now.
pub(crate) async fn end(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(Ending { reason }): Json<Ending>,
) -> Result<axum::Json<Exception>, Problem> {
    let reason = reason.filter(|reason| !reason.trim().is_empty() && reason.len() <= 1024);
    let reason = reason.ok_or(ExceptionError::Missing(Field::Reason))?;
    let exception = find(&broker, &name).await?;
    let by = administrator.name;
    if !broker.store.end_exception(&broker.tenant, &exception.id, &by, &reason, clock::now()).await? {
        return Err(ExceptionError::Over.into());
    }
    tracing::warn!(exception = exception.id, name = exception.name, by, reason, "exception ended");
    Ok(axum::Json(find(&broker, &exception.id).await?))
}

/// A join token as it is told, once.
#[derive(Serialize)]
pub(crate) struct JoinTokenMade {
    exception: String,
    token: Zeroizing<String>,
    expires_at: Timestamp,
}

/// Makes the token with which the client of an exception brings its key; one that was made before and not used is void.
pub(crate) async fn join_token(
    State(broker): State<Arc<Broker>>,
    Admin(administrator): Admin,
    Path(name): Path<String>,
    Json(draft): Json<JoinDraft>,
) -> Result<(StatusCode, AppendHeaders<[(HeaderName, &'static str); 1]>, axum::Json<JoinTokenMade>), Problem> {
    let exception = find(&broker, &name).await?;
    let NewToken { text, stored } =
        draft.token(&exception, administrator.name, clock::now()).map_err(|error| match error {
            JoinError::Refused(error) => error.into(),
            JoinError::Randomness(error) => Problem::internal(&error),
        })?;
    if !broker.store.add_join_token(&broker.tenant, &stored).await? {
        return Err(ExceptionError::Over.into());
    }
    let (expires_at, by, client) = (stored.expires_at, stored.author, stored.pin);
    tracing::warn!(exception = exception.id, name = exception.name, by, client, %expires_at, "a join token was made");
    let made = JoinTokenMade { exception: exception.name, token: text, expires_at };
    Ok((StatusCode::CREATED, AppendHeaders([(header::CACHE_CONTROL, "no-store")]), axum::Json(made)))
}

async fn find(broker: &Broker, name: &str) -> Result<Exception, Problem> {
    let found = broker.store.exception(&broker.tenant, name).await?;
    found.ok_or_else(|| RequestError::NotFound { what: "exception" }.into())
}
