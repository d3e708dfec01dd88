//! `POST /v1/enroll` and `POST /v1/enroll/{id}`

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{
    Json, Path,
    body::{content_type, read},
    problem::{Problem, RequestError},
};
use crate::{
    broker::Broker,
    enrolment::{
        self,
        wire::{EnrolAnswer, EnrolChallenge, EnrolOutcome, EnrolRequest},
    },
};

/// Largest request in bytes: the evidence of an SVSM has three items of at most 64 KiB, in base64.
const LARGEST: usize = 320 * 1024;

/// Two keys in, a credential out.
pub(crate) async fn begin(
    State(broker): State<Arc<Broker>>,
    request: Request,
) -> Result<axum::Json<EnrolChallenge>, Problem> {
    if content_type(request.headers()) != Some("application/json") {
        return Err(RequestError::MediaType { expected: "application/json" }.into());
    }
    let body = read(request, LARGEST).await?;
    Ok(axum::Json(enrolment::begin(&broker, EnrolRequest::parse(&body)?).await?))
}

/// The opened credential in, the key's standing out.
pub(crate) async fn complete(
    State(broker): State<Arc<Broker>>,
    Path(id): Path<String>,
    Json(answer): Json<EnrolAnswer>,
) -> Result<axum::Json<EnrolOutcome>, Problem> {
    Ok(axum::Json(enrolment::complete(&broker, &id, &answer).await?))
}
