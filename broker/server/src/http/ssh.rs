//! What sshd and ssh read: the public keys of the CAs, and which certificates ended.

use std::{num::NonZeroU64, sync::Arc};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use keys::ssh::{CertificateKind, revocation_list};
use serde::Deserialize;

use super::{Path, problem::Problem};
use crate::{
    broker::Broker,
    clock,
    identity::{SSH_CERTIFICATE, ssh_purpose, ssh_serial},
};

/// Seconds that the end of a lease is told: longer than any certificate lives.
const TOLD: i64 = 3600 + 600;

/// Whose certificates.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    User,
    Host,
}

impl From<Kind> for CertificateKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::User => Self::User,
            Kind::Host => Self::Host,
        }
    }
}

/// `GET /v1/ssh/ca/{user|host}`: the CA's public keys, one a line, for `TrustedUserCAKeys` or `@cert-authority`. A key that
/// will sign soon is among them.
pub(crate) async fn authorities(State(broker): State<Arc<Broker>>, Path(kind): Path<Kind>) -> Response {
    let keys = broker.keyring.load().ssh_authorities(ssh_purpose(kind.into()));
    let lines: String = keys.iter().map(|key| key.to_line("countersign") + "\n").collect();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "max-age=60")], lines)
        .into_response()
}

/// `GET /v1/ssh/revoked/{user|host}`: the revocation list (KRL), made from the store for every request: what ended a moment
/// ago is in it.
pub(crate) async fn revoked(State(broker): State<Arc<Broker>>, Path(kind): Path<Kind>) -> Result<Response, Problem> {
    let now = clock::now();
    let keys = broker.keyring.load().ssh_authorities(ssh_purpose(kind.into()));
    // Before the ends are read, so that a list with a number has at least the ends up to it.
    let version = broker.store.newest_lease_event().await?;
    let ended = broker.store.places_ended_since(&broker.tenant, SSH_CERTIFICATE, now.plus_seconds(-TOLD)).await?;
    let serials: Vec<NonZeroU64> = ended.into_iter().map(ssh_serial).collect();
    let made_at = u64::try_from(now.as_unix()).unwrap_or_default();
    let list = revocation_list(version, made_at, &keys, &serials);
    Ok(([(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, "max-age=1")], list)
        .into_response())
}
