//! The guest's public key as a JWK (RFC 7517) with an exact member set.
//!
//! | key | members |
//! |---|---|
//! | P-256 | `kty` `EC`, `crv` `P-256`, `alg` `ECDH-ES+A256KW`, `x`, `y` (RFC 7518 §6.2; the form of the KBS protocol) |
//! | X25519 | `kty` `OKP`, `crv` `X25519`, `alg` `ECDH-ES+A256KW`, `x` (RFC 8037 §2) |
//! | X-Wing | `kty` `AKP`, `alg` `HPKE-X-Wing`, `pub` (key type AKP of the JOSE ML-DSA draft; the `alg` name is ours, see [`crate::seal`]) |
//!
//! No member may be missing, none may be added: the binding digest covers the JWK, so it has exactly one form.

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ParsedPublicKey, PrivateKey, UnparsedPublicKey, X25519},
    digest::{SHA256, digest},
};
use hpke::{Deserializable as _, kem::XWing};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::encoding::{decode_array, encode};

/// Bytes of an X-Wing public key (draft-connolly-cfrg-xwing-kem: ML-KEM-768 key, then X25519 key).
pub const X_WING_PUBLIC_LENGTH: usize = 1216;

/// A key that grants can be sealed to. The point is on its curve, and not one of small order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Jwk", into = "Jwk")]
pub struct TeePublicKey(pub(crate) PublicKey);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    P256 { x: [u8; 32], y: [u8; 32] },
    X25519([u8; 32]),
    XWing(Box<[u8; X_WING_PUBLIC_LENGTH]>),
}

/// Which kind of key a guest makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TeeKeyType {
    /// ECDH on P-256: the default, and the only one of the KBS protocol here.
    P256,
    /// ECDH on Curve25519.
    X25519,
    /// X-Wing: ML-KEM-768 and X25519 together, safe while either holds.
    XWing,
}

/// The wire form, before points are checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kty", deny_unknown_fields)]
enum Jwk {
    #[serde(rename = "EC")]
    Ec { crv: EcCurve, alg: EcdhAlg, x: String, y: String },
    #[serde(rename = "OKP")]
    Okp { crv: OkpCurve, alg: EcdhAlg, x: String },
    #[serde(rename = "AKP")]
    Akp { alg: HpkeAlg, r#pub: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EcCurve {
    #[serde(rename = "P-256")]
    P256,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OkpCurve {
    X25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EcdhAlg {
    #[serde(rename = "ECDH-ES+A256KW")]
    EcdhEsA256Kw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HpkeAlg {
    #[serde(rename = "HPKE-X-Wing")]
    XWing,
}

/// Why a JWK is not a key that grants can be sealed to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum JwkError {
    /// Not a JSON object of one of the exact member sets.
    #[error("expected a JWK of an exact member set: {reason}")]
    Members {
        /// What the parser said.
        reason: String,
    },
    /// A coordinate is not base64url without padding of its curve's fixed length.
    #[error("expected {bytes} bytes of base64url without padding in member {member}")]
    Length {
        /// The member.
        member: &'static str,
        /// The fixed length, bytes.
        bytes: usize,
    },
    /// Not a point of the curve, or one of small order; for X-Wing, not a reduced ML-KEM key.
    #[error("expected a valid public key of its curve")]
    Point,
}

impl JwkError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Members { .. } => "parse.tee_key.members",
            Self::Length { .. } => "parse.tee_key.length",
            Self::Point => "parse.tee_key.point",
        }
    }
}

impl TeePublicKey {
    /// Parses the JSON text of a JWK.
    ///
    /// # Errors
    /// [`JwkError`] when a member is missing, unknown, twice there, of another length, or not a valid point.
    pub fn parse(json: &[u8]) -> Result<Self, JwkError> {
        let jwk: Jwk = serde_json::from_slice(json).map_err(|error| JwkError::Members { reason: error.to_string() })?;
        jwk.try_into()
    }

    /// What kind of key it is.
    #[must_use]
    pub const fn key_type(&self) -> TeeKeyType {
        match self.0 {
            PublicKey::P256 { .. } => TeeKeyType::P256,
            PublicKey::X25519(_) => TeeKeyType::X25519,
            PublicKey::XWing(_) => TeeKeyType::XWing,
        }
    }

    /// The RFC 7638 thumbprint: base64url of the SHA-256 over the required members in order.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let members = match &self.0 {
            PublicKey::P256 { x, y } => {
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y))
            }
            PublicKey::X25519(x) => format!(r#"{{"crv":"X25519","kty":"OKP","x":"{}"}}"#, encode(x)),
            PublicKey::XWing(key) => {
                format!(r#"{{"alg":"HPKE-X-Wing","kty":"AKP","pub":"{}"}}"#, encode(key.as_slice()))
            }
        };
        encode(digest(&SHA256, members.as_bytes()))
    }
}

impl TryFrom<Jwk> for TeePublicKey {
    type Error = JwkError;

    fn try_from(jwk: Jwk) -> Result<Self, JwkError> {
        let key = match jwk {
            Jwk::Ec { crv: EcCurve::P256, alg: EcdhAlg::EcdhEsA256Kw, x, y } => {
                PublicKey::P256 { x: coordinate("x", &x)?, y: coordinate("y", &y)? }
            }
            Jwk::Okp { crv: OkpCurve::X25519, alg: EcdhAlg::EcdhEsA256Kw, x } => {
                PublicKey::X25519(coordinate("x", &x)?)
            }
            Jwk::Akp { alg: HpkeAlg::XWing, r#pub } => PublicKey::XWing(Box::new(coordinate("pub", &r#pub)?)),
        };
        key.require_valid_point()?;
        Ok(Self(key))
    }
}

impl From<TeePublicKey> for Jwk {
    fn from(key: TeePublicKey) -> Self {
        let alg = EcdhAlg::EcdhEsA256Kw;
        match key.0 {
            PublicKey::P256 { x, y } => Self::Ec { crv: EcCurve::P256, alg, x: encode(x), y: encode(y) },
            PublicKey::X25519(x) => Self::Okp { crv: OkpCurve::X25519, alg, x: encode(x) },
            PublicKey::XWing(key) => Self::Akp { alg: HpkeAlg::XWing, r#pub: encode(key.as_slice()) },
        }
    }
}

impl PublicKey {
    /// The key of a point in the uncompressed form of SEC 1, which is how aws-lc-rs prints P-256 keys.
    pub(crate) fn p256_from_uncompressed(point: &[u8]) -> Option<Self> {
        let (tag, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(32)?;
        if *tag != 4 {
            return None;
        }
        Some(Self::P256 { x: x.try_into().ok()?, y: y.try_into().ok()? })
    }

    /// For agreement, when it is a key of an ECDH curve.
    pub(crate) fn for_agreement(&self) -> Option<UnparsedPublicKey<Vec<u8>>> {
        match self {
            Self::P256 { x, y } => Some(UnparsedPublicKey::new(&ECDH_P256, [&[4], x.as_slice(), y].concat())),
            Self::X25519(x) => Some(UnparsedPublicKey::new(&X25519, x.to_vec())),
            Self::XWing(_) => None,
        }
    }

    fn require_valid_point(&self) -> Result<(), JwkError> {
        let valid = match self {
            Self::P256 { .. } => self.for_agreement().is_some_and(|key| ParsedPublicKey::try_from(key).is_ok()),
            Self::X25519(_) => self.for_agreement().is_some_and(has_large_order),
            Self::XWing(key) => <XWing as hpke::Kem>::PublicKey::from_bytes(key.as_slice()).is_ok(),
        };
        if valid { Ok(()) } else { Err(JwkError::Point) }
    }
}

/// Whether an X25519 key is not of small order (RFC 7748 §6.1: agreement with such a key is all zero, whatever the
/// private key, and aws-lc-rs refuses it; so any private key will do to find out).
fn has_large_order(key: UnparsedPublicKey<Vec<u8>>) -> bool {
    PrivateKey::from_private_key(&X25519, &[1; 32]).is_ok_and(|any| agreement::agree(&any, key, (), |_| Ok(())).is_ok())
}

fn coordinate<const N: usize>(member: &'static str, text: &str) -> Result<[u8; N], JwkError> {
    decode_array(text).ok_or(JwkError::Length { member, bytes: N })
}

#[cfg(test)]
mod tests;
