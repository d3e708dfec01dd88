//! Doors for the fuzz targets of `tests/fuzz`: the parsers of what strangers send, without the server around them.

use crate::{
    attest::request::{AttestRequest, Encoding},
    enrolment::wire::{EnrolAnswer, EnrolRequest},
    exchange::form::ExchangeRequest,
};

/// Parses the body of `POST /v1/attest` in both encodings.
#[must_use]
pub fn parses_as_attest_body(body: &[u8]) -> bool {
    [Encoding::Json, Encoding::Cbor].into_iter().any(|encoding| AttestRequest::parse(body, encoding).is_ok())
}

/// Parses the bodies of `POST /v1/enroll` and `POST /v1/enroll/{id}`.
#[must_use]
pub fn parses_as_enroll_body(body: &[u8]) -> bool {
    EnrolRequest::parse(body).is_ok() || serde_json::from_slice::<EnrolAnswer>(body).is_ok()
}

/// Parses the body of `POST /v1/token`.
#[must_use]
pub fn parses_as_token_body(body: &[u8]) -> bool {
    ExchangeRequest::parse(body).is_ok()
}
