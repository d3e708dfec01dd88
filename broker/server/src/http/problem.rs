//! RFC 9457 problem documents: every refusal has a status, a stable code and a text that helps its caller.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use evidence_formats::code::{Code, Coded};
use serde::Serialize;
use thiserror::Error;

use crate::store::StoreError;

/// An answer that is not the one asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Box<Document>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Document {
    /// Always `about:blank`: the code says more than a URI could.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: Code,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    attestation_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem with this status and code.
    pub(crate) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Document {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            attestation_id: None,
            reasons: Vec::new(),
            retry_after: None,
        }))
    }

    /// Names the decision record.
    pub(crate) fn with_decision(mut self, attestation_id: String, reasons: Vec<String>) -> Self {
        self.0.attestation_id = Some(attestation_id);
        self.0.reasons = reasons;
        self
    }

    /// Says when asking again makes sense.
    pub(crate) fn with_retry_after(mut self, seconds: u32) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }

    /// Our fault: logged here with all causes, and the caller learns nothing but the code.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut causes = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push_str(": ");
            causes.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = causes, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::new("internal.error"), "the broker could not do this")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A request that is refused for what it is, before anything was judged.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RequestError {
    /// Not the body, path or query that the route takes.
    #[error("{detail}")]
    Malformed {
        /// What was expected where.
        detail: String,
    },
    /// The body is over the limit.
    #[error("expected a body of at most {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Neither JSON nor CBOR.
    #[error("expected content type {expected}")]
    MediaType {
        /// What the route takes.
        expected: &'static str,
    },
    /// No such thing.
    #[error("expected an existing {what}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
    },
    /// The route exists, the method does not.
    #[error("expected another method for this path")]
    Method,
    /// The request took too long.
    #[error("expected the whole request within {seconds} s")]
    Timeout {
        /// The limit.
        seconds: u64,
    },
    /// This peer asks too often.
    #[error("expected fewer requests from one address")]
    Rate,
    /// Too many requests wait already.
    #[error("expected less load: try again later")]
    Overloaded,
    /// No administrator's certificate.
    #[error("expected the client certificate of an administrator")]
    Unauthenticated,
    /// The administrator's role does not allow it.
    #[error("expected the role {role}")]
    Forbidden {
        /// The role that may.
        role: &'static str,
    },
    /// Somebody changed the same thing at the same time.
    #[error("the same thing was changed at the same time: try again")]
    Conflict,
}

impl RequestError {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Timeout { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Rate => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Conflict => StatusCode::CONFLICT,
        }
    }
}

impl Coded for RequestError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Malformed { .. } => "request.malformed",
            Self::TooLarge { .. } => "request.too_large",
            Self::MediaType { .. } => "request.media_type",
            Self::NotFound { .. } => "request.not_found",
            Self::Method => "request.method",
            Self::Timeout { .. } => "request.timeout",
            Self::Rate => "request.rate",
            Self::Overloaded => "request.overloaded",
            Self::Unauthenticated => "request.unauthenticated",
            Self::Forbidden { .. } => "request.forbidden",
            Self::Conflict => "request.conflict",
        })
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let mut problem = Self::new(error.status(), error.code(), error.to_string());
        problem.0.retry_after = matches!(error, RequestError::Rate | RequestError::Overloaded).then_some(1);
        problem
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => RequestError::Conflict.into(),
            StoreError::Reference(error) => Self::new(StatusCode::CONFLICT, error.code(), error.to_string()),
            error @ (StoreError::Database(_)
            | StoreError::Migration(_)
            | StoreError::File(_)
            | StoreError::Unknown { .. }
            | StoreError::Closed) => Self::internal(&error),
        }
    }
}
