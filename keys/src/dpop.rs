//! DPoP (RFC 9449): a signed proof that the sender of a request has the key that a token is bound to.
//!
//! Verification is a function of proof, request, time and rules. What it cannot know is whether the proof was used before:
//! a verified [`Proof`] has an id, and a [`ReplayGuard`] or a store says whether it is the first time.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::{
    encoding::encode,
    sign::{SignError, SignatureAlgorithm, Signer, TokenType, VerifyingKey, json},
    token::{Parts, claims},
};

mod replay;
mod url;

pub use self::{
    replay::{RecentProofs, ReplayGuard},
    url::same_resource,
};

/// Most bytes of a proof.
pub const PROOF_LIMIT: usize = 8 * 1024;
/// Most bytes of `jti` and of `nonce`.
const ID_LIMIT: usize = 256;

/// What a proof must be about. Nothing has a default.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The algorithms that are allowed; the key's own must match besides.
    pub algorithms: &'a [SignatureAlgorithm],
    /// The method of the request, as sent.
    pub method: &'a str,
    /// The absolute URL of the request; query and fragment are not compared (RFC 9449 §4.3).
    pub url: &'a str,
    /// The time, seconds since the Unix epoch.
    pub now: i64,
    /// How many seconds `iat` may be before or after `now`.
    pub window: u32,
    /// The access token that is shown together with the proof.
    pub token: ShownToken<'a>,
    /// The nonce that the server gave.
    pub nonce: ExpectedNonce<'a>,
}

/// What is shown together with a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownToken<'a> {
    /// An access token: `ath` must be of it.
    Token(&'a str),
    /// None: this is a request for one.
    None,
}

/// Which `nonce` a proof must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedNonce<'a> {
    /// This one, which the server gave.
    Exactly(&'a str),
    /// The server gives none, or judges [`Proof::nonce`] itself.
    ByCaller,
}

/// Why a proof is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DpopError {
    /// Not three parts of base64url, or larger than [`PROOF_LIMIT`].
    #[error("expected a DPoP proof: a compact JWS of at most {PROOF_LIMIT} bytes")]
    Form,
    /// The header is not JSON with `typ`, a known `alg` and a `jwk`, or asks for an extension (`crit`).
    #[error("expected a header with typ, a known algorithm, a key and no critical extension")]
    Header,
    /// `typ` is another one.
    #[error("expected typ dpop+jwt")]
    Type,
    /// The algorithm is known but not allowed here, or is not the key's.
    #[error("expected an allowed algorithm, found {}", .found.as_str())]
    Algorithm {
        /// What the header says.
        found: SignatureAlgorithm,
    },
    /// `jwk` is no public key of a known kind, or has private members.
    #[error("expected a public key of a known kind in the header")]
    Key,
    /// The signature is not of this key over this proof.
    #[error("expected a signature of the proof's own key")]
    Signature,
    /// The payload lacks a claim, or has one of another form.
    #[error("expected the claims jti, htm, htu and iat: {reason}")]
    Claims {
        /// What the parser said.
        reason: String,
    },
    /// `htm` is another method.
    #[error("expected a proof for the method of this request")]
    Method,
    /// `htu` is another URL.
    #[error("expected a proof for the URL of this request")]
    Url,
    /// `iat` is too far from now.
    #[error("expected a proof that was made at this time, found iat {iat}")]
    Time {
        /// Seconds since the Unix epoch.
        iat: i64,
    },
    /// `ath` is missing or of another token.
    #[error("expected a proof for the token that is shown with it")]
    Token,
    /// `nonce` is missing or another one.
    #[error("expected the nonce that the server gave")]
    Nonce,
    /// The key is not the one that the token is bound to.
    #[error("expected a proof of the key that the token is bound to")]
    OtherKey,
    /// The proof was used before, or the memory for proofs is full.
    #[error("expected a proof that was not used before")]
    Replayed,
}

impl DpopError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form => "parse.dpop.form",
            Self::Header => "parse.dpop.header",
            Self::Claims { .. } => "parse.dpop.claims",
            Self::Type => "authenticate.dpop.type",
            Self::Algorithm { .. } => "authenticate.dpop.algorithm",
            Self::Key => "authenticate.dpop.key",
            Self::Signature => "authenticate.dpop.signature",
            Self::Method => "binding.dpop.method",
            Self::Url => "binding.dpop.url",
            Self::Time { .. } => "binding.dpop.time",
            Self::Token => "binding.dpop.token",
            Self::Nonce => "binding.dpop.nonce",
            Self::OtherKey => "binding.dpop.other_key",
            Self::Replayed => "binding.dpop.replayed",
        }
    }
}

/// A verified proof. Whether it is used for the first time is still to be asked: see [`Proof::id`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Proof {
    thumbprint: String,
    id: ProofId,
    nonce: Option<String>,
    expires_at: i64,
}

/// Names a proof: SHA-256 over its key's thumbprint and its `jti`, so that no two keys share ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofId(pub [u8; 32]);

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: SignatureAlgorithm,
    jwk: Value,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    ath: Option<String>,
    nonce: Option<String>,
}

impl Proof {
    /// Verifies a proof (RFC 9449 §4.3, in its order as far as costs allow).
    ///
    /// # Errors
    /// [`DpopError`]: the first rule that it breaks.
    pub fn verify(proof: &str, expected: &Expected<'_>) -> Result<Self, DpopError> {
        let (key, claims) = authenticate(proof, expected.algorithms)?;
        if claims.htm != expected.method {
            return Err(DpopError::Method);
        }
        if !same_resource(&claims.htu, expected.url) {
            return Err(DpopError::Url);
        }
        let window = u64::from(expected.window);
        if claims.iat.abs_diff(expected.now) > window {
            return Err(DpopError::Time { iat: claims.iat });
        }
        match expected.token {
            ShownToken::Token(token) if claims.ath.as_deref() != Some(&token_hash(token)) => {
                return Err(DpopError::Token);
            }
            ShownToken::Token(_) | ShownToken::None => {}
        }
        match expected.nonce {
            ExpectedNonce::Exactly(nonce) if claims.nonce.as_deref() != Some(nonce) => return Err(DpopError::Nonce),
            ExpectedNonce::Exactly(_) | ExpectedNonce::ByCaller => {}
        }
        let thumbprint = key.key_id().as_str().to_owned();
        let id = ProofId::of(&thumbprint, &claims.jti);
        // One second more: it is valid through the last second of its window.
        let expires_at = claims.iat.saturating_add(i64::from(expected.window)).saturating_add(1);
        Ok(Self { thumbprint, id, nonce: claims.nonce, expires_at })
    }

    /// The same proof, when its key is the one with this RFC 7638 thumbprint.
    ///
    /// # Errors
    /// [`DpopError::OtherKey`]
    pub fn of_key(self, thumbprint: &str) -> Result<Self, DpopError> {
        if self.thumbprint == thumbprint { Ok(self) } else { Err(DpopError::OtherKey) }
    }

    /// The RFC 7638 thumbprint of its key, base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// What must be seen once only.
    #[must_use]
    pub const fn id(&self) -> ProofId {
        self.id
    }

    /// From when on the proof is refused for its age, so that its id need not be remembered: seconds since the Unix epoch.
    #[must_use]
    pub const fn expires_at(&self) -> i64 {
        self.expires_at
    }

    /// The server's nonce that it answers.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }
}

impl ProofId {
    fn of(thumbprint: &str, jti: &str) -> Self {
        // A thumbprint has a fixed length, so no two pairs have the same text.
        let hash = digest(&SHA256, format!("countersign dpop v1 {thumbprint} {jti}").as_bytes());
        let mut bytes = hash.as_ref().iter().copied();
        Self(std::array::from_fn(|_| bytes.next().unwrap_or_default()))
    }
}

/// Form, key and signature.
fn authenticate(proof: &str, allowed: &[SignatureAlgorithm]) -> Result<(VerifyingKey, Claims), DpopError> {
    if proof.len() > PROOF_LIMIT {
        return Err(DpopError::Form);
    }
    let Parts { header, payload, signature, message } = Parts::of(proof).map_err(|_not_a_jws| DpopError::Form)?;
    let header: Header = serde_json::from_slice(&header).map_err(|_not_it| DpopError::Header)?;
    if header.crit.is_some() {
        return Err(DpopError::Header);
    }
    if header.typ != TokenType::DpopProof.as_str() {
        return Err(DpopError::Type);
    }
    let key = VerifyingKey::from_public_jwk(&header.jwk).ok_or(DpopError::Key)?;
    if !allowed.contains(&header.alg) || key.algorithm() != header.alg {
        return Err(DpopError::Algorithm { found: header.alg });
    }
    if !key.verifies(message.as_bytes(), &signature) {
        return Err(DpopError::Signature);
    }
    let claims: Claims = claims(&payload).map_err(|error| DpopError::Claims { reason: error.to_string() })?;
    let bounded = |text: &str| (1..=ID_LIMIT).contains(&text.len());
    if !bounded(&claims.jti) || !claims.nonce.as_deref().is_none_or(bounded) {
        return Err(DpopError::Claims { reason: format!("jti and nonce of 1 to {ID_LIMIT} bytes") });
    }
    Ok((key, claims))
}

/// `ath`: base64url of the SHA-256 of the token's text.
#[must_use]
pub fn token_hash(token: &str) -> String {
    encode(digest(&SHA256, token.as_bytes()))
}

/// What a client proves.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// Its absolute URL; query and fragment are left out of the proof.
    pub url: &'a str,
    /// An id that no other proof of this key has, such as 16 random bytes in base64url.
    pub id: &'a str,
    /// The time, seconds since the Unix epoch.
    pub now: i64,
    /// The token that is shown together with it.
    pub token: ShownToken<'a>,
    /// The nonce that the server gave, if it gave one.
    pub nonce: Option<&'a str>,
}

/// A proof by `signer` for one request.
///
/// # Errors
/// When the key cannot sign.
pub fn prove(signer: &dyn Signer, request: &Request<'_>) -> Result<String, SignError> {
    #[derive(Serialize)]
    struct ProofHeader<J> {
        typ: &'static str,
        alg: &'static str,
        jwk: J,
    }
    #[derive(Serialize)]
    struct ProofClaims<'a> {
        jti: &'a str,
        htm: &'a str,
        htu: &'a str,
        iat: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        ath: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        nonce: Option<&'a str>,
    }
    let key = signer.verifying_key();
    let alg = key.algorithm().as_str();
    let header = ProofHeader { typ: TokenType::DpopProof.as_str(), alg, jwk: key.bare() };
    let ath = match request.token {
        ShownToken::Token(token) => Some(token_hash(token)),
        ShownToken::None => None,
    };
    let &Request { method: htm, url, id: jti, now: iat, nonce, .. } = request;
    let htu = url.split(['?', '#']).next().unwrap_or_default();
    let claims = ProofClaims { jti, htm, htu, iat, ath, nonce };
    let message = format!("{}.{}", encode(json(&header)?), encode(json(&claims)?));
    let signature = signer.sign(message.as_bytes())?;
    Ok(format!("{message}.{}", encode(signature)))
}

#[cfg(test)]
mod tests;
