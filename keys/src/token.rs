//! Verification of a JWT against a JWKS, at an explicit time.

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    encoding::decode,
    sign::{Jwks, SignatureAlgorithm},
};

/// Most bytes of a token.
pub const TOKEN_LIMIT: usize = 256 * 1024;

/// What a token must say to be accepted. Nothing has a default.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The algorithms that are allowed; the key's own algorithm must match the token's besides.
    pub algorithms: &'a [SignatureAlgorithm],
    /// The exact `iss`.
    pub issuer: &'a str,
    /// Who the token must be for.
    pub audience: Audience<'a>,
    /// The time, seconds since the Unix epoch.
    pub now: i64,
    /// How far clocks may differ, seconds: added to `exp`, taken off `nbf`.
    pub leeway: u32,
}

/// Who a token must be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// `aud` is this text, or a list with it.
    Exactly(&'a str),
    /// Not checked, for a reason that the caller shows.
    Unchecked {
        /// Why.
        reason: &'a str,
    },
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Not three parts of base64url, or larger than [`TOKEN_LIMIT`].
    #[error("expected a compact JWS of at most {TOKEN_LIMIT} bytes")]
    Form,
    /// The header is not JSON with a known `alg` and a `kid`, or asks for an extension (`crit`).
    #[error("expected a header with a known algorithm, a key id and no critical extension")]
    Header,
    /// The algorithm is known but not allowed here, or is not the key's.
    #[error("expected an allowed algorithm, found {}", .found.as_str())]
    Algorithm {
        /// What the header says.
        found: SignatureAlgorithm,
    },
    /// No key of the set has this id.
    #[error("expected a key id of the key set, found {kid:?}")]
    UnknownKey {
        /// What the header says, cut to 64 characters.
        kid: String,
    },
    /// The signature is not of this key over this token.
    #[error("expected a signature of the named key over the token")]
    Signature,
    /// The payload is not JSON of the wanted claims.
    #[error("expected claims: {reason}")]
    Claims {
        /// What the parser said.
        reason: String,
    },
    /// `exp` is in the past.
    #[error("expected a token that is still valid, expired at {exp}")]
    Expired {
        /// Seconds since the Unix epoch.
        exp: i64,
    },
    /// `nbf` is in the future.
    #[error("expected a token that is valid already, valid from {nbf}")]
    NotYetValid {
        /// Seconds since the Unix epoch.
        nbf: i64,
    },
    /// Another `iss`, or none.
    #[error("expected a token of the trusted issuer")]
    Issuer,
    /// Another `aud`, or none.
    #[error("expected a token for this audience")]
    Audience,
}

impl TokenError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form => "parse.token.form",
            Self::Header => "parse.token.header",
            Self::Algorithm { .. } => "authenticate.token.algorithm",
            Self::UnknownKey { .. } => "authenticate.token.unknown_key",
            Self::Signature => "authenticate.token.signature",
            Self::Claims { .. } => "parse.token.claims",
            Self::Expired { .. } => "authenticate.token.expired",
            Self::NotYetValid { .. } => "authenticate.token.not_yet_valid",
            Self::Issuer => "authenticate.token.issuer",
            Self::Audience => "authenticate.token.audience",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: SignatureAlgorithm,
    kid: String,
    /// RFC 7515 §4.1.11: a token with extensions that we do not know, which are all of them, is refused.
    crit: Option<serde_json::Value>,
}

/// The claims that every token is judged by. `exp` is required; RFC 7519 §2 allows fractions of a second, we do not.
#[derive(Deserialize)]
struct Registered {
    iss: Option<String>,
    aud: Option<OneOrMany>,
    exp: i64,
    nbf: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Verifies `token` with the key of `jwks` that it names and returns its claims.
///
/// # Errors
/// [`TokenError`]: the first rule that it breaks. Claims are looked at only after the signature.
pub fn verify<T: DeserializeOwned>(token: &str, jwks: &Jwks, expected: &Expected<'_>) -> Result<T, TokenError> {
    let payload = authenticate(token, jwks, expected.algorithms)?;
    let registered: Registered = claims(&payload)?;
    let leeway = i64::from(expected.leeway);
    if expected.now >= registered.exp.saturating_add(leeway) {
        return Err(TokenError::Expired { exp: registered.exp });
    }
    if let Some(nbf) = registered.nbf.filter(|nbf| expected.now < nbf.saturating_sub(leeway)) {
        return Err(TokenError::NotYetValid { nbf });
    }
    if registered.iss.as_deref() != Some(expected.issuer) {
        return Err(TokenError::Issuer);
    }
    let for_audience = match (expected.audience, &registered.aud) {
        (Audience::Unchecked { .. }, _) => true,
        (Audience::Exactly(_), None) => false,
        (Audience::Exactly(wanted), Some(OneOrMany::One(found))) => found == wanted,
        (Audience::Exactly(wanted), Some(OneOrMany::Many(found))) => found.iter().any(|found| found == wanted),
    };
    if for_audience { claims(&payload) } else { Err(TokenError::Audience) }
}

/// The payload, after the signature was verified.
fn authenticate(token: &str, jwks: &Jwks, allowed: &[SignatureAlgorithm]) -> Result<Vec<u8>, TokenError> {
    if token.len() > TOKEN_LIMIT {
        return Err(TokenError::Form);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Form)?;
    let part = |text: &str| decode(text).ok_or(TokenError::Form);
    let (header, payload, signature) = (part(header)?, part(payload)?, part(signature)?);

    let header: Header = serde_json::from_slice(&header).map_err(|_not_it| TokenError::Header)?;
    if header.crit.is_some() {
        return Err(TokenError::Header);
    }
    let algorithm = TokenError::Algorithm { found: header.alg };
    if !allowed.contains(&header.alg) {
        return Err(algorithm);
    }
    let unknown = || TokenError::UnknownKey { kid: header.kid.chars().take(64).collect() };
    let key = jwks.key(&header.kid).ok_or_else(unknown)?;
    if key.algorithm() != header.alg {
        return Err(algorithm);
    }
    if key.verifies(message.as_bytes(), &signature) { Ok(payload) } else { Err(TokenError::Signature) }
}

fn claims<T: DeserializeOwned>(payload: &[u8]) -> Result<T, TokenError> {
    serde_json::from_slice(payload).map_err(|error| TokenError::Claims { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
