//! Verification of a JWT against a JWKS, at an explicit time.
//!
//! [`verify`] is for any token; what a relying party verifies, with its type and the proof of its key, is in
//! [`crate::relying`].

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    encoding::decode,
    sign::{Jwks, SignatureAlgorithm, TokenType},
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
    /// The header's `typ` is of another kind of token (RFC 8725 §3.11).
    #[error("expected a token of type {}", .expected.as_str())]
    Type {
        /// What kind was wanted.
        expected: TokenType,
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
            Self::Type { .. } => "authenticate.token.type",
            Self::Signature => "authenticate.token.signature",
            Self::Claims { .. } => "parse.token.claims",
            Self::Expired { .. } => "authenticate.token.expired",
            Self::NotYetValid { .. } => "authenticate.token.not_yet_valid",
            Self::Issuer => "authenticate.token.issuer",
            Self::Audience => "authenticate.token.audience",
        }
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    alg: SignatureAlgorithm,
    kid: String,
    pub(crate) typ: Option<String>,
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

/// `aud`: one text or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }

    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(found) => found == wanted,
            Self::Many(found) => found.iter().any(|found| found == wanted),
        }
    }
}

/// A token whose signature was verified and whose claims were not looked at.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) header: Header,
    /// The header's JSON, for those who restrict its members.
    pub(crate) header_json: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

/// Whose `iss` a token must have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum IssuerRule<'a> {
    Exactly(&'a str),
    /// The kind of token has none (JWT-SVID §3): its key says whose it is.
    ByKey,
}

/// Who, for whom and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) issuer: IssuerRule<'a>,
    pub(crate) audience: Audience<'a>,
    pub(crate) now: i64,
    pub(crate) leeway: u32,
}

impl<'a> From<&Expected<'a>> for Terms<'a> {
    fn from(expected: &Expected<'a>) -> Self {
        let &Expected { issuer, audience, now, leeway, .. } = expected;
        Self { issuer: IssuerRule::Exactly(issuer), audience, now, leeway }
    }
}

/// What a token says of itself, unverified: good for choosing who verifies it, and for nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// The header's `typ`.
    pub typ: Option<String>,
    /// The `iss` of the payload.
    pub issuer: Option<String>,
}

/// Reads the label of a token without verifying anything.
///
/// # Errors
/// [`TokenError::Form`], [`TokenError::Header`] or [`TokenError::Claims`] when it is no JWT at all.
pub fn dangerous_label(token: &str) -> Result<Label, TokenError> {
    #[derive(Deserialize)]
    struct Typ {
        typ: Option<String>,
    }
    #[derive(Deserialize)]
    struct Iss {
        iss: Option<String>,
    }
    let Parts { header, payload, .. } = Parts::of(token)?;
    let Typ { typ } = serde_json::from_slice(&header).map_err(|_not_it| TokenError::Header)?;
    let Iss { iss: issuer } = claims(&payload)?;
    Ok(Label { typ, issuer })
}

/// Verifies `token` with the key of `jwks` that it names and returns its claims. Its `typ` is not looked at: see
/// [`verify_typed`].
///
/// # Errors
/// [`TokenError`]: the first rule that it breaks. Claims are looked at only after the signature.
pub fn verify<T: DeserializeOwned>(token: &str, jwks: &Jwks, expected: &Expected<'_>) -> Result<T, TokenError> {
    accept(&open(token, jwks, expected.algorithms)?.payload, Terms::from(expected))
}

/// The same for a token that must say what kind it is.
///
/// # Errors
/// As for [`verify`], and [`TokenError::Type`].
pub fn verify_typed<T: DeserializeOwned>(
    token: &str,
    token_type: TokenType,
    jwks: &Jwks,
    expected: &Expected<'_>,
) -> Result<T, TokenError> {
    let opened = open(token, jwks, expected.algorithms)?;
    if opened.header.typ.as_deref() != Some(token_type.as_str()) {
        return Err(TokenError::Type { expected: token_type });
    }
    accept(&opened.payload, Terms::from(expected))
}

/// Verifies a signed statement about something that stays true: it has no end, and is for nobody in particular.
///
/// # Errors
/// [`TokenError`]: the first rule that it breaks. Claims are looked at only after the signature.
pub fn verify_statement<T: DeserializeOwned>(
    token: &str,
    token_type: TokenType,
    jwks: &Jwks,
    algorithms: &[SignatureAlgorithm],
) -> Result<T, TokenError> {
    let opened = open(token, jwks, algorithms)?;
    if opened.header.typ.as_deref() != Some(token_type.as_str()) {
        return Err(TokenError::Type { expected: token_type });
    }
    claims(&opened.payload)
}

/// Judges the registered claims of a verified payload and returns the claims that are wanted.
pub(crate) fn accept<T: DeserializeOwned>(payload: &[u8], terms: Terms<'_>) -> Result<T, TokenError> {
    let registered: Registered = claims(payload)?;
    let leeway = i64::from(terms.leeway);
    if terms.now >= registered.exp.saturating_add(leeway) {
        return Err(TokenError::Expired { exp: registered.exp });
    }
    if let Some(nbf) = registered.nbf.filter(|nbf| terms.now < nbf.saturating_sub(leeway)) {
        return Err(TokenError::NotYetValid { nbf });
    }
    match terms.issuer {
        IssuerRule::Exactly(issuer) if registered.iss.as_deref() != Some(issuer) => return Err(TokenError::Issuer),
        IssuerRule::Exactly(_) | IssuerRule::ByKey => {}
    }
    let for_audience = match terms.audience {
        Audience::Unchecked { .. } => true,
        Audience::Exactly(wanted) => registered.aud.is_some_and(|found| found.contains(wanted)),
    };
    if for_audience { claims(payload) } else { Err(TokenError::Audience) }
}

/// The three parts of a compact JWS, decoded.
pub(crate) struct Parts<'a> {
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// What is signed.
    pub(crate) message: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_LIMIT {
            return Err(TokenError::Form);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Form)?;
        let part = |text: &str| decode(text).ok_or(TokenError::Form);
        Ok(Self { header: part(header)?, payload: part(payload)?, signature: part(signature)?, message })
    }
}

/// Header and payload, after the signature was verified.
pub(crate) fn open(token: &str, jwks: &Jwks, allowed: &[SignatureAlgorithm]) -> Result<Opened, TokenError> {
    let Parts { header: header_json, payload, signature, message } = Parts::of(token)?;
    let header: Header = serde_json::from_slice(&header_json).map_err(|_not_it| TokenError::Header)?;
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
    if key.verifies(message.as_bytes(), &signature) {
        Ok(Opened { header, header_json, payload })
    } else {
        Err(TokenError::Signature)
    }
}

pub(crate) fn claims<T: DeserializeOwned>(payload: &[u8]) -> Result<T, TokenError> {
    serde_json::from_slice(payload).map_err(|error| TokenError::Claims { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
