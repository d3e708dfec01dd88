//! `cnf` (RFC 7800): the key that a token is bound to, and whether its presenter proved it.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;

use super::{Presented, RelyingError, prove};
use crate::{encoding::encode, sign::VerifyingKey};

/// The `cnf` of a token. A token that names several keys is good only with all of them, which nothing here can show.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Confirmation {
    /// The key itself.
    pub jwk: Option<Value>,
    /// The RFC 7638 thumbprint of a key, for DPoP (RFC 9449 §6.1).
    pub jkt: Option<String>,
    /// The thumbprint of a client certificate (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    pub certificate: Option<String>,
}

/// How the presenter of a token was shown to be its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmed {
    /// The token is bound to nothing: whoever has it may use it.
    Bearer,
    /// A DPoP proof of the key with this RFC 7638 thumbprint.
    Dpop {
        /// The thumbprint.
        thumbprint: String,
    },
    /// The TLS handshake with the certificate of this SHA-256 (base64url).
    Certificate {
        /// The thumbprint.
        thumbprint: String,
    },
    /// Not looked at.
    Unchecked {
        /// Why, as the caller said.
        reason: String,
    },
}

/// `x5t#S256`: base64url of the SHA-256 of a certificate, DER.
#[must_use]
pub fn certificate_thumbprint(der: &[u8]) -> String {
    encode(digest(&SHA256, der))
}

/// The one method of confirmation of a token.
enum Method {
    Key(String),
    Certificate(String),
}

impl Confirmation {
    fn method(&self) -> Result<Method, RelyingError> {
        match (&self.jwk, &self.jkt, &self.certificate) {
            (Some(jwk), None, None) => {
                // A key that cannot sign (X25519, X-Wing) can be proven by nothing here.
                let key = VerifyingKey::from_public_jwk(jwk).ok_or(RelyingError::Confirmation)?;
                Ok(Method::Key(key.key_id().as_str().to_owned()))
            }
            (None, Some(thumbprint), None) => Ok(Method::Key(thumbprint.clone())),
            (None, None, Some(thumbprint)) => Ok(Method::Certificate(thumbprint.clone())),
            (None, None, None) | (Some(_), ..) | (None, Some(_), Some(_)) => Err(RelyingError::Confirmation),
        }
    }

    /// The thumbprint of the key that proves this token by a signature, if it is one.
    #[must_use]
    pub fn key_thumbprint(&self) -> Option<String> {
        match self.method() {
            Ok(Method::Key(thumbprint)) => Some(thumbprint),
            Ok(Method::Certificate(_)) | Err(_) => None,
        }
    }
}

/// Whether what was presented proves `cnf`.
pub(super) fn confirm(
    token: &str,
    cnf: Option<&Confirmation>,
    presented: Presented<'_>,
    now: i64,
) -> Result<Confirmed, RelyingError> {
    let method = match (&presented, cnf) {
        (Presented::Unchecked { reason }, Some(_)) => return Ok(Confirmed::Unchecked { reason: (*reason).to_owned() }),
        // A presenter may have a client certificate for reasons of its own.
        (Presented::Bearer | Presented::Certificate { .. } | Presented::Unchecked { .. }, None) => {
            return Ok(Confirmed::Bearer);
        }
        (Presented::Dpop { .. }, None) => return Err(RelyingError::Unbound),
        (_, Some(cnf)) => cnf.method()?,
    };
    match (method, presented) {
        (Method::Key(thumbprint), Presented::Dpop { proof, method, url, nonce, window, guard }) => {
            prove((token, &thumbprint), (proof, method, url, nonce, window), guard, now)?;
            Ok(Confirmed::Dpop { thumbprint })
        }
        (Method::Certificate(thumbprint), Presented::Certificate { der }) => {
            if certificate_thumbprint(der) != thumbprint {
                return Err(RelyingError::Certificate);
            }
            Ok(Confirmed::Certificate { thumbprint })
        }
        (Method::Key(_) | Method::Certificate(_), _) => Err(RelyingError::ProofRequired),
    }
}
