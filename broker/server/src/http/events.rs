//! `GET /v1/events`: every end of a lease, and what happens to exceptions, as server-sent events for registered observers.
//!
//! Events are read from the store, so they come exactly in their order, also those that other brokers made, and a client
//! that lost its connection goes on where it was with `Last-Event-ID`. A stream keeps one batch in memory and ends after a
//! while; a client that reads slowly is waited for, and holds up nobody else.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Query,
    identity::Observer,
    problem::{Problem, RequestError},
};
use crate::{broker::Broker, store::LeaseEvent};

/// Events that are read at once.
const BATCH: u32 = 256;
/// How often a quiet stream says that it lives.
const QUIET: Duration = Duration::from_secs(15);
/// How long a stream lasts; clients connect again.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// How long a client waits before it connects again, milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// Where to begin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct From {
    /// The number of the last event that is known; `Last-Event-ID` says the same. Default: the newest.
    after: Option<u64>,
}

/// Events from now on, or from an event that the client knows.
pub(crate) async fn events(
    State(broker): State<Arc<Broker>>,
    Observer(reader): Observer,
    Query(From { after }): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = Arc::clone(&broker.streams).try_acquire_owned().map_err(|_none_free| RequestError::Overloaded)?;
    let known = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
            RequestError::Malformed { detail: "last-event-id: expected the number of an event".to_owned() }
        })?),
        None => after,
    };
    let known = match known {
        Some(known) => known,
        None => broker.store.newest_lease_event().await?,
    };
    tracing::info!(by = reader.name, after = known, "event stream opened");
    let cursor = Cursor {
        newest: broker.newest_event.subscribe(),
        broker,
        known,
        until: Instant::now().checked_add(LONGEST).unwrap_or_else(Instant::now),
        _place: place,
    };
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(EventBody::new(cursor))).into_response())
}

/// Where a stream is.
struct Cursor {
    broker: Arc<Broker>,
    newest: watch::Receiver<u64>,
    known: u64,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

/// What comes next; the cursor comes back unless the stream is over.
type Next = Pin<Box<dyn Future<Output = (Vec<Bytes>, Option<Cursor>)> + Send>>;

impl Cursor {
    /// Waits for events, a sign of life or the end.
    async fn next(mut self) -> (Vec<Bytes>, Option<Self>) {
        loop {
            self.newest.mark_unchanged();
            match self.broker.store.lease_events(&self.broker.tenant, self.known, BATCH).await {
                Ok(events) if !events.is_empty() => {
                    self.known = events.last().map_or(self.known, |event| event.sequence);
                    return (events.iter().map(frame).collect(), Some(self));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, "an event stream ended");
                    return (Vec::new(), None);
                }
            }
            let broker = Arc::clone(&self.broker);
            let changed = async {
                tokio::select! {
                    () = broker.stopping.cancelled() => None,
                    changed = timeout(QUIET, self.newest.changed()) => Some(changed.is_ok_and(|known| known.is_ok())),
                }
            };
            match timeout_at(self.until, changed).await {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return (vec![Bytes::from_static(b": quiet\n\n")], Some(self)),
                Ok(None) | Err(_) => return (Vec::new(), None),
            }
        }
    }
}

/// An event in the form of the HTML standard, §9.2. The data is one line of JSON.
fn frame(event: &LeaseEvent) -> Bytes {
    let LeaseEvent { sequence, event: kind, .. } = event;
    let data = event.data.clone().unwrap_or_else(|| serde_json::to_string(event).unwrap_or_default());
    Bytes::from(format!("id: {sequence}\nevent: {kind}\ndata: {data}\n\n"))
}

/// The body of the answer: made while it is read.
struct EventBody {
    ready: VecDeque<Bytes>,
    next: Option<Next>,
}

impl EventBody {
    fn new(cursor: Cursor) -> Self {
        Self { ready: VecDeque::from([Bytes::from_static(RETRY.as_bytes())]), next: Some(Box::pin(cursor.next())) }
    }
}

impl hyper::body::Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(next) = self.next.as_mut() else { return Poll::Ready(None) };
            let (frames, cursor) = ready!(next.as_mut().poll(context));
            self.ready.extend(frames);
            self.next = cursor.map(|cursor| -> Next { Box::pin(cursor.next()) });
        }
    }
}
