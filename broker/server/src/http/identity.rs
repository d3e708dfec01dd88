//! Who administers: extractors that only the holder of a registered client certificate passes.

use std::sync::Arc;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{
    listener::Peer,
    problem::{Problem, RequestError},
};
use crate::{
    broker::Broker,
    store::{Administrator, Role},
};

/// Somebody who may read metadata and decisions: any registered administrator.
#[derive(Debug)]
pub(crate) struct Reader(pub(crate) Administrator);

/// Somebody who may change things.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Administrator);

impl FromRequestParts<Arc<Broker>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, broker: &Arc<Broker>) -> Result<Self, Problem> {
        let fingerprint = parts.extensions.get::<Peer>().and_then(|peer| peer.certificate);
        let fingerprint = fingerprint.ok_or(RequestError::Unauthenticated)?;
        // The CA's signature was checked by TLS; the register says whether this certificate still counts.
        match broker.store.administrator(&fingerprint).await? {
            Some(administrator) => Ok(Self(administrator)),
            None => Err(RequestError::Unauthenticated.into()),
        }
    }
}

impl FromRequestParts<Arc<Broker>> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, broker: &Arc<Broker>) -> Result<Self, Problem> {
        let Reader(administrator) = Reader::from_request_parts(parts, broker).await?;
        match administrator.role {
            Role::Admin => Ok(Self(administrator)),
            Role::Auditor => Err(RequestError::Forbidden { role: Role::Admin.as_str() }.into()),
        }
    }
}
