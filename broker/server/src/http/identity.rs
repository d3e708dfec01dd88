//! Who administers: extractors that only the holder of a registered client certificate passes.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::request::Parts,
};
use serde_json::json;

use super::{
    TraceId,
    listener::Peer,
    problem::{Problem, RequestError},
};
use crate::{
    audit::{Entry, Kind},
    broker::Broker,
    clock,
    store::{Administrator, Right},
};

/// Somebody who may see the event stream, the inventory and the exceptions: anybody who is registered.
#[derive(Debug)]
pub(crate) struct Observer(pub(crate) Administrator);

/// Somebody who may read all metadata and decisions.
#[derive(Debug)]
pub(crate) struct Reader;

/// Somebody who may change things. That they ask for a change is in the audit log before they are let through: without, nothing
/// is changed.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Administrator);

/// Whoever is at the other end, if they have this right.
async fn authorised(parts: &Parts, broker: &Broker, right: Right) -> Result<Administrator, Problem> {
    let fingerprint = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate);
    let fingerprint = fingerprint.ok_or(RequestError::Unauthenticated)?;
    // The CA's signature was checked by TLS; the tenant's register says whether this certificate counts here.
    let administrator =
        broker.store.administrator(&broker.tenant, &fingerprint).await?.ok_or(RequestError::Unauthenticated)?;
    if administrator.role.may(right) {
        return Ok(administrator);
    }
    Err(RequestError::Forbidden { role: right.role().as_str() }.into())
}

/// Who asks for which change. Bodies are not recorded: what they change is, in the transaction that changes it.
async fn record(parts: &Parts, broker: &Broker, administrator: &Administrator) -> Result<(), Problem> {
    let body = json!({
        "by": administrator.name,
        "role": administrator.role.as_str(),
        "fingerprint": hex::encode(administrator.fingerprint),
        "method": parts.method.as_str(),
        "route": parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str),
        "path": parts.uri.path(),
        "trace_id": parts.extensions.get::<TraceId>().map(|trace| &trace.0),
    });
    let entry = Entry::new(clock::now(), Kind::AdminAct, &body).map_err(|error| Problem::internal(&error))?;
    Ok(broker.store.append_audit(&broker.tenant, entry).await?)
}

impl FromRequestParts<Arc<Broker>> for Observer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, broker: &Arc<Broker>) -> Result<Self, Problem> {
        authorised(parts, broker, Right::Observe).await.map(Self)
    }
}

impl FromRequestParts<Arc<Broker>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, broker: &Arc<Broker>) -> Result<Self, Problem> {
        authorised(parts, broker, Right::Read).await.map(|_administrator| Self)
    }
}

impl FromRequestParts<Arc<Broker>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, broker: &Arc<Broker>) -> Result<Self, Problem> {
        let administrator = authorised(parts, broker, Right::Change).await?;
        record(parts, broker, &administrator).await?;
        Ok(Self(administrator))
    }
}
