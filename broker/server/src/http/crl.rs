//! `GET /v1/crl`: the revocation lists of X.509-SVIDs. They are signed, so they may be fetched without TLS, too.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use pem::{EncodeConfig, LineEnding, Pem};

use super::{
    Path,
    problem::{Problem, RequestError},
};
use crate::{broker::Broker, clock, identity::Ca};

/// `GET /v1/crl/{authority}`: the list of one CA, DER (RFC 5280 §4.2.1.13, RFC 2585 §4.2).
pub(crate) async fn one(State(broker): State<Arc<Broker>>, Path(authority): Path<String>) -> Result<Response, Problem> {
    let ca = broker.keyring.load().published_cas().find(|(id, _)| *id == authority).map(|(_, ca)| Arc::clone(ca));
    let ca = ca.ok_or(RequestError::NotFound { what: "revocation list" })?;
    let list = current(&broker, &authority, &ca).await?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl"), (header::CACHE_CONTROL, "max-age=1")], list).into_response())
}

/// `GET /v1/crl`: the lists of every CA whose certificates may still verify, PEM, for what reads one file.
pub(crate) async fn all(State(broker): State<Arc<Broker>>) -> Result<Response, Problem> {
    let cas: Vec<_> = broker.keyring.load().published_cas().map(|(id, ca)| (id.to_owned(), Arc::clone(ca))).collect();
    let mut lists = String::new();
    for (id, ca) in cas {
        let list = current(&broker, &id, &ca).await?;
        let pem = Pem::new("X509 CRL", &*list);
        lists.push_str(&pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF)));
    }
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file"), (header::CACHE_CONTROL, "max-age=1")], lists)
        .into_response())
}

async fn current(broker: &Broker, authority: &str, ca: &Ca) -> Result<Bytes, Problem> {
    let list = broker.revocation_lists.current(&*broker.store, authority, ca, clock::now()).await;
    list.map_err(|error| Problem::internal(&*error))
}
