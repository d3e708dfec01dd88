//! Typed request parts whose refusals are problem documents.

use axum::{
    body::{self, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{header, request::Parts},
};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use super::problem::{Problem, RequestError};

/// Largest body of a request other than an attestation, in bytes.
const SMALL: usize = 1024 * 1024;

/// A JSON body of at most one mebibyte.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if content_type(request.headers()) != Some("application/json") {
            return Err(RequestError::MediaType { expected: "application/json" }.into());
        }
        let bytes = read(request, SMALL).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| malformed("body", &error))
    }
}

/// The segments of the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        extracted.map(|axum::extract::Path(value)| Self(value)).map_err(|error| malformed("path", &error))
    }
}

/// The query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        extracted.map(|axum::extract::Query(value)| Self(value)).map_err(|error| malformed("query", &error))
    }
}

/// The media type of a request, without parameters.
pub(crate) fn content_type(headers: &axum::http::HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// How many bytes the body will have, when the request says so.
pub(crate) fn announced(headers: &axum::http::HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body, refused as soon as it is longer than `limit` bytes, or says that it will be.
pub(crate) async fn read(request: Request, limit: usize) -> Result<Bytes, Problem> {
    if announced(request.headers()).is_some_and(|length| length > limit) {
        return Err(RequestError::TooLarge { limit }.into());
    }
    body::to_bytes(request.into_body(), limit).await.map_err(|error| {
        let too_long = std::error::Error::source(&error).is_some_and(|cause| cause.is::<LengthLimitError>());
        match too_long {
            true => RequestError::TooLarge { limit }.into(),
            false => malformed("body", &error),
        }
    })
}

/// A part of the request is not what was expected. What serde says names place and expectation and quotes at most a
/// field name or a short scalar of the caller's own.
pub(crate) fn malformed(part: &str, error: &impl std::fmt::Display) -> Problem {
    RequestError::Malformed { detail: format!("{part}: {error}") }.into()
}
