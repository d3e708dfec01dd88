//! Doors for the fuzz targets of `tests/fuzz`: the parsers of what strangers send, without the server around them.

use crate::attest::request::{AttestRequest, Encoding};

/// Parses the body of `POST /v1/attest` in both encodings.
#[must_use]
pub fn parses_as_attest_body(body: &[u8]) -> bool {
    [Encoding::Json, Encoding::Cbor].into_iter().any(|encoding| AttestRequest::parse(body, encoding).is_ok())
}
