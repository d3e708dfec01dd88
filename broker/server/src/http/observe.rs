//! Around every request: a trace id, the rate limit, the deadline, one log line and the counters.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use evidence_formats::code::Code;
use tokio::time::timeout;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    listener::Peer,
    problem::{Problem, RequestError},
};
use crate::{broker::Broker, metrics::RequestLabels};

/// Ties the log lines and the decision record of one request together. Always made here, never taken from the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) String);

/// The header that tells the caller the trace id.
const TRACE_HEADER: &str = "x-trace-id";

/// The middleware.
pub(crate) async fn observe(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let trace_id = Uuid::new_v4().simple().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(TraceId(trace_id.clone()));
    let span = tracing::info_span!("request", trace_id, route, %method);
    let mut response = limited(&broker, peer, request, next, started).instrument(span.clone()).await;
    let status = response.status().as_u16();
    let elapsed = started.elapsed();
    span.in_scope(|| tracing::info!(status, seconds = elapsed.as_secs_f64(), peer = %peer.address, "answered"));
    broker.metrics.request_seconds.observe(elapsed.as_secs_f64());
    broker.metrics.requests.get_or_create(&RequestLabels { route, status }).inc();
    if let Ok(value) = HeaderValue::from_str(&trace_id) {
        response.headers_mut().insert(TRACE_HEADER, value);
    }
    response
}

async fn limited(broker: &Broker, peer: Peer, request: Request, next: Next, started: Instant) -> Response {
    if !broker.rate.admit(peer.address, started) {
        return Problem::from(RequestError::Rate).into_response();
    }
    let seconds = broker.limits.request_seconds;
    match timeout(Duration::from_secs(seconds), next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::from(RequestError::Timeout { seconds }).into_response(),
    }
}

/// A panic in a handler ends that request and nothing else.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, Code::new("internal.error"), "the broker could not do this")
        .into_response()
}
