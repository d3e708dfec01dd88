//! `POST /v1/attest`

use std::sync::Arc;

use axum::{
    Extension,
    body::Bytes,
    extract::{Request, State},
};

use super::{
    TraceId,
    body::{announced, content_type, read},
    problem::{Problem, RequestError},
};
use crate::{
    attest::{
        self,
        request::{AttestResponse, Encoding},
    },
    broker::Broker,
};

/// Bodies that announce at most so many bytes are read at once; of longer ones only a bounded number is in memory, so that
/// many connections cannot exhaust it together. Evidence without event logs is an order of magnitude shorter.
const SHORT: usize = 128 * 1024;

/// Evidence in, sealed grants out. The body is JSON or CBOR, the answer is JSON.
pub(crate) async fn attest(
    State(broker): State<Arc<Broker>>,
    Extension(trace_id): Extension<TraceId>,
    request: Request,
) -> Result<axum::Json<AttestResponse>, Problem> {
    let (body, encoding) = read_evidence(&broker, request).await?;
    Ok(axum::Json(attest::attest(&broker, trace_id, body, encoding, None).await?))
}

/// The body of a request with evidence, and how it is encoded.
pub(crate) async fn read_evidence(broker: &Broker, request: Request) -> Result<(Bytes, Encoding), Problem> {
    let encoding = match content_type(request.headers()) {
        Some("application/json") => Encoding::Json,
        Some("application/cbor") => Encoding::Cbor,
        _ => return Err(RequestError::MediaType { expected: "application/json or application/cbor" }.into()),
    };
    let _place = if announced(request.headers()).is_some_and(|length| length <= SHORT) {
        None
    } else {
        Some(broker.long_bodies.try_acquire().map_err(|_none_free| RequestError::Overloaded)?)
    };
    let body = read(request, broker.limits.body_bytes).await?;
    Ok((body, encoding))
}
