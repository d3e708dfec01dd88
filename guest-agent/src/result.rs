//! Whether an attestation result is about this guest's own request.
//!
//! The signature is for the relying party to verify, who knows which keys to trust; the agent only makes sure that it was
//! not handed somebody else's token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use evidence_formats::binding::Nonce;
use keys::jwk::TeePublicKey;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// Why a result is not the answer to our request.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultError {
    /// Not a JWT.
    #[error("expected an attestation result as a JWT")]
    NotAToken,
    /// Made for another challenge.
    #[error("expected an attestation result for our nonce")]
    Nonce,
    /// Made for another guest key.
    #[error("expected an attestation result for our key")]
    Key,
}

#[derive(Deserialize)]
struct Claims {
    eat_nonce: Option<OneOrMany>,
    cnf: Option<Confirmation>,
    iss: Option<String>,
    iat: Option<i64>,
    sub: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Confirmation {
    jwk: Option<Value>,
}

/// Checks that `token` names `nonce` (EAT `eat_nonce`) and `key` (RFC 7800 `cnf`).
pub(crate) fn is_ours(token: &str, nonce: &Nonce, key: &TeePublicKey) -> Result<(), ResultError> {
    let claims = claims(token).ok_or(ResultError::NotAToken)?;
    let expected = nonce.to_string();
    let same_nonce = match claims.eat_nonce {
        Some(OneOrMany::One(found)) => found == expected,
        Some(OneOrMany::Many(found)) => found == [expected],
        None => false,
    };
    if !same_nonce {
        return Err(ResultError::Nonce);
    }
    let ours = serde_json::to_value(key).map_err(|_unserializable| ResultError::Key)?;
    if claims.cnf.and_then(|confirmation| confirmation.jwk) == Some(ours) { Ok(()) } else { Err(ResultError::Key) }
}

/// When the broker made `token`, by its clock, seconds since the epoch.
pub(crate) fn issued_at(token: &str) -> Option<i64> {
    claims(token)?.iat
}

/// Who issued a result and when, in its own words: for a proof that its issuer is to accept.
pub(crate) fn issued(token: &str) -> Result<(String, i64), ResultError> {
    let claims = claims(token).ok_or(ResultError::NotAToken)?;
    claims.iss.zip(claims.iat).ok_or(ResultError::NotAToken)
}

/// Whom `token` is about, whoever says so.
pub(crate) fn subject(token: &str) -> Option<String> {
    claims(token)?.sub
}

fn claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests;
