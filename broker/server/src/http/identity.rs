//! Who administers: extractors that only the holder of a registered client certificate passes.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    listener::Peer,
    problem::{Problem, RequestError},
};
use crate::{
    broker::Broker,
    store::{Administrator, Right},
};

/// Somebody who may see the event stream, the inventory and the exceptions: anybody who is registered.
#[derive(Debug)]
pub(crate) struct Observer(pub(crate) Administrator);

/// Somebody who may read all metadata and decisions.
#[derive(Debug)]
pub(crate) struct Reader;

/// Somebody who may change things.
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
        authorised(parts, broker, Right::Change).await.map(Self)
    }
}
