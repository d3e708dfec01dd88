//! Token signing: JWTs as compact JWS (RFC 7515), their keys as JWKS (RFC 7517).
//!
//! Keys stand behind the [`Signer`] trait, so that one may live in an HSM. The key id is always the RFC 7638 thumbprint.

use std::fmt;

use aws_lc_rs::{
    agreement::{ECDH_P256, ECDH_P384, PrivateKey},
    digest::{SHA256, digest},
    encoding::{AsDer, EcPrivateKeyRfc5915Der},
    rand::SystemRandom as AwsLcRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair,
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    encoding::{decode, encode},
    random::{NoRandomness, Random},
    secret::SecretBytes,
};

/// Signature algorithms of our tokens, closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
}

impl SignatureAlgorithm {
    /// The JOSE name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }

    const fn curve(self) -> &'static str {
        match self {
            Self::Es256 => "P-256",
            Self::Es384 => "P-384",
        }
    }

    /// Bytes of a coordinate.
    const fn coordinate(self) -> usize {
        match self {
            Self::Es256 => 32,
            Self::Es384 => 48,
        }
    }

    pub(crate) fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED,
        }
    }

    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }
}

/// What a token is, as the `typ` header says (RFC 8725 §3.11: explicit typing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// A plain JWT.
    Jwt,
    /// An attestation result (RFC 9782).
    EatJwt,
    /// A token status list.
    StatusList,
}

impl TokenType {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::EatJwt => "eat+jwt",
            Self::StatusList => "statuslist+jwt",
        }
    }
}

/// The id of a signing key: its RFC 7638 thumbprint.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub(crate) String);

impl KeyId {
    /// The text, base64url.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key that verifies tokens: a member of a JWKS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyingKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    r#use: &'static str,
    alg: SignatureAlgorithm,
    kid: KeyId,
}

impl VerifyingKey {
    /// From an uncompressed SEC 1 point.
    fn from_point(alg: SignatureAlgorithm, point: &[u8]) -> Option<Self> {
        let (tag, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(alg.coordinate())?;
        if *tag != 4 || y.len() != alg.coordinate() {
            return None;
        }
        let (crv, x, y) = (alg.curve(), encode(x), encode(y));
        // RFC 7638 §3.2: the required members in lexicographic order.
        let members = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = KeyId(encode(digest(&SHA256, members.as_bytes())));
        Some(Self { kty: "EC", crv, x, y, r#use: "sig", alg, kid })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.alg
    }

    /// The key id.
    #[must_use]
    pub const fn key_id(&self) -> &KeyId {
        &self.kid
    }

    /// The uncompressed SEC 1 point.
    pub(crate) fn point(&self) -> Option<Vec<u8>> {
        uncompressed(&self.x, &self.y)
    }
}

fn uncompressed(x: &str, y: &str) -> Option<Vec<u8>> {
    Some([vec![4], decode(x)?, decode(y)?].concat())
}

/// A set of keys that verify tokens (RFC 7517 §5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
}

/// Text is not a JWKS.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected a JWK set: {reason}")]
pub struct NotAJwks {
    /// What the parser said.
    pub reason: String,
}

impl NotAJwks {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "parse.jwks.syntax"
    }
}

impl Jwks {
    /// A set of `keys`.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// Parses a JWKS document. Keys that are not for ES256 or ES384 signatures are left out, as RFC 7517 §5 asks: no
    /// token verifies with them.
    ///
    /// # Errors
    /// When it is not a JSON object with a list of `keys`.
    pub fn parse(json: &[u8]) -> Result<Self, NotAJwks> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        let document: Document =
            serde_json::from_slice(json).map_err(|error| NotAJwks { reason: error.to_string() })?;
        Ok(Self::new(document.keys.into_iter().filter_map(foreign_key)))
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.iter().find(|key| key.kid.as_str() == kid)
    }

    /// Every key.
    #[must_use]
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }
}

/// A key of someone else's set. It keeps the id its owner gave it.
fn foreign_key(value: serde_json::Value) -> Option<VerifyingKey> {
    #[derive(Deserialize)]
    struct Foreign {
        kty: String,
        crv: String,
        x: String,
        y: String,
        kid: KeyId,
        r#use: Option<String>,
        alg: Option<SignatureAlgorithm>,
    }
    let key: Foreign = serde_json::from_value(value).ok()?;
    let alg = match key.crv.as_str() {
        "P-256" => SignatureAlgorithm::Es256,
        "P-384" => SignatureAlgorithm::Es384,
        _ => return None,
    };
    let of_signatures = key.r#use.is_none_or(|usage| usage == "sig") && key.alg.is_none_or(|named| named == alg);
    if key.kty != "EC" || !of_signatures {
        return None;
    }
    let verifying = VerifyingKey::from_point(alg, &uncompressed(&key.x, &key.y)?)?;
    Some(VerifyingKey { kid: key.kid, ..verifying })
}

/// Signs for tokens. A key in a file and a key in an HSM look the same from here.
pub trait Signer: Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> &VerifyingKey;

    /// Signs `message` with the algorithm of the key: `r ‖ s`, each of the curve's length.
    ///
    /// # Errors
    /// When the key or its device fails.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Nothing was signed, or there is no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignError {
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The random bytes are no private key of the curve.
    #[error("expected random bytes that are a private key of the curve")]
    NotAKey,
    /// Not a PKCS#8 document of a private key for the algorithm.
    #[error("expected a PKCS#8 private key for {}", .algorithm.as_str())]
    Pkcs8 {
        /// The algorithm that was asked for.
        algorithm: SignatureAlgorithm,
    },
    /// The claims cannot be JSON.
    #[error("expected claims that can be JSON: {reason}")]
    Claims {
        /// What the serializer said.
        reason: String,
    },
    /// The cryptographic library or device refused.
    #[error("the key could not sign")]
    Crypto,
}

impl SignError {
    /// Its stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Randomness(error) => error.code(),
            Self::NotAKey => "internal.keys.generate",
            Self::Pkcs8 { .. } => "internal.keys.pkcs8",
            Self::Claims { .. } => "internal.keys.claims",
            Self::Crypto => "internal.keys.sign",
        }
    }
}

/// An ECDSA signing key in memory, wiped when dropped.
#[expect(missing_debug_implementations, reason = "a private key is never printed")]
pub struct SigningKey {
    pair: EcdsaKeyPair,
    verifying: VerifyingKey,
}

impl SigningKey {
    /// Makes a key from random bytes of the curve's length.
    ///
    /// # Errors
    /// When `rng` fails or hands out what is no private key (once in 2³² times for ES256: try again).
    pub fn generate(algorithm: SignatureAlgorithm, rng: &mut impl Random) -> Result<Self, SignError> {
        let mut scalar = Zeroizing::new(vec![0; algorithm.coordinate()]);
        rng.fill(&mut scalar)?;
        let curve = match algorithm {
            SignatureAlgorithm::Es256 => &ECDH_P256,
            SignatureAlgorithm::Es384 => &ECDH_P384,
        };
        let key = PrivateKey::from_private_key(curve, &scalar).map_err(|_rejected| SignError::NotAKey)?;
        let der: EcPrivateKeyRfc5915Der<'_> = key.as_der().map_err(|_unspecified| SignError::NotAKey)?;
        let pair = EcdsaKeyPair::from_private_key_der(algorithm.signing(), der.as_ref());
        Self::of_pair(algorithm, pair.ok()).ok_or(SignError::NotAKey)
    }

    /// Reads a PKCS#8 document, as [`SigningKey::to_pkcs8`] writes it.
    ///
    /// # Errors
    /// [`SignError::Pkcs8`] when it is not one for `algorithm`.
    pub fn from_pkcs8(algorithm: SignatureAlgorithm, document: &SecretBytes) -> Result<Self, SignError> {
        let pair = EcdsaKeyPair::from_pkcs8(algorithm.signing(), document.expose());
        Self::of_pair(algorithm, pair.ok()).ok_or(SignError::Pkcs8 { algorithm })
    }

    /// The PKCS#8 document, to be sealed under a root key before it is stored.
    ///
    /// # Errors
    /// [`SignError::Crypto`] when the library cannot encode it.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, SignError> {
        let document = self.pair.to_pkcs8v1().map_err(|_unspecified| SignError::Crypto)?;
        Ok(SecretBytes::new(document.as_ref().to_vec()))
    }

    fn of_pair(algorithm: SignatureAlgorithm, pair: Option<EcdsaKeyPair>) -> Option<Self> {
        let pair = pair?;
        let verifying = VerifyingKey::from_point(algorithm, pair.public_key().as_ref())?;
        Some(Self { pair, verifying })
    }
}

impl Signer for SigningKey {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The per-signature nonce of ECDSA is the library's business: it draws it itself and ignores what it is given.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signature = self.pair.sign(&AwsLcRandom::new(), message).map_err(|_unspecified| SignError::Crypto)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// Signs `claims` as a JWT with the header `{"alg":…,"kid":…,"typ":…}`, in that order.
///
/// # Errors
/// When the claims cannot be JSON or the key cannot sign.
pub fn sign_jwt(signer: &dyn Signer, token_type: TokenType, claims: &impl Serialize) -> Result<String, SignError> {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'static str,
        kid: &'a KeyId,
        typ: &'static str,
    }
    let key = signer.verifying_key();
    let header = Header { alg: key.alg.as_str(), kid: &key.kid, typ: token_type.as_str() };
    let mut token = encode(json(&header)?);
    token.push('.');
    token.push_str(&encode(json(claims)?));
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&encode(signature));
    Ok(token)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, SignError> {
    serde_json::to_vec(value).map_err(|error| SignError::Claims { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
