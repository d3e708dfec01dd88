//! Keys that verify tokens, and sets of them (RFC 7517). The key id of our own keys is the RFC 7638 thumbprint.

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rsa::PublicKeyComponents,
    signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    encoding::{decode, encode},
    sign::SignatureAlgorithm,
};

/// Bytes that an RSA modulus may have.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

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
    #[serde(flatten)]
    material: Material,
    r#use: KeyUse,
    alg: SignatureAlgorithm,
    kid: KeyId,
}

/// What a published key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum KeyUse {
    /// Any token (RFC 7517 §4.2).
    #[serde(rename = "sig")]
    Signature,
    /// JWT-SVIDs of a SPIFFE bundle.
    #[serde(rename = "jwt-svid")]
    JwtSvid,
}

/// The members that a key's type asks for, in lexicographic order but for `kty`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kty")]
enum Material {
    /// A point.
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    /// Exponent and modulus, big endian without leading zeros.
    #[serde(rename = "RSA")]
    Rsa { e: String, n: String },
}

impl VerifyingKey {
    /// From an uncompressed SEC 1 point.
    pub(crate) fn from_point(alg: SignatureAlgorithm, point: &[u8]) -> Option<Self> {
        let (crv, length) = alg.curve()?;
        let (tag, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(length)?;
        if *tag != 4 || y.len() != length {
            return None;
        }
        let (x, y) = (encode(x), encode(y));
        // RFC 7638 §3.2: the required members in lexicographic order.
        let members = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Some(Self::new(Material::Ec { crv, x, y }, alg, &members))
    }

    /// From an RSA modulus (2048 to 8192 bits) and exponent, big endian; leading zeros are dropped.
    pub(crate) fn from_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let plain = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let (n, e) = (plain(modulus), plain(exponent));
        if !RSA_BYTES.contains(&n.len()) || !(1..=8).contains(&e.len()) {
            return None;
        }
        let (n, e) = (encode(n), encode(e));
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        Some(Self::new(Material::Rsa { e, n }, SignatureAlgorithm::Rs256, &members))
    }

    fn new(material: Material, alg: SignatureAlgorithm, members: &str) -> Self {
        let kid = KeyId(encode(digest(&SHA256, members.as_bytes())));
        Self { material, r#use: KeyUse::Signature, alg, kid }
    }

    /// The same key, published for another use.
    #[must_use]
    pub fn published_for(self, r#use: KeyUse) -> Self {
        Self { r#use, ..self }
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> SignatureAlgorithm {
        self.alg
    }

    /// The uncompressed SEC 1 point of an ECDSA key.
    pub(crate) fn point(&self) -> Option<Vec<u8>> {
        match &self.material {
            Material::Ec { x, y, .. } => uncompressed(x, y),
            Material::Rsa { .. } => None,
        }
    }

    /// The key id.
    #[must_use]
    pub const fn key_id(&self) -> &KeyId {
        &self.kid
    }

    /// Whether `signature` is of this key over `message`, by the key's own algorithm.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ec { x, y, .. } => {
                let point = uncompressed(x, y).zip(self.alg.verification());
                point.is_some_and(|(point, algorithm)| {
                    UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
                })
            }
            Material::Rsa { e, n } => decode(n).zip(decode(e)).is_some_and(|(n, e)| {
                PublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }),
        }
    }
}

/// The public key of a CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKey<'a> {
    /// A point of the algorithm's curve, uncompressed.
    Point(SignatureAlgorithm, &'a [u8]),
    /// An RSA key, big endian.
    Rsa {
        /// Modulus.
        modulus: &'a [u8],
        /// Exponent.
        exponent: &'a [u8],
    },
}

/// A CA of a SPIFFE bundle (SPIFFE Trust Domain and Bundle §4.2.1): its key, and its certificate, DER. `None` when the key is
/// out of the bounds of [`VerifyingKey`].
#[must_use]
pub fn x509_authority(key: &AuthorityKey<'_>, certificate: &[u8]) -> Option<serde_json::Value> {
    let key = match key {
        AuthorityKey::Point(algorithm, point) => VerifyingKey::from_point(*algorithm, point)?,
        AuthorityKey::Rsa { modulus, exponent } => VerifyingKey::from_rsa(modulus, exponent)?,
    };
    let mut jwk = serde_json::to_value(&key.material).ok()?;
    let members = jwk.as_object_mut()?;
    members.insert("use".to_owned(), "x509-svid".into());
    members.insert("x5c".to_owned(), vec![STANDARD.encode(certificate)].into());
    Some(jwk)
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

    /// Parses a JWKS document, or the JWT keys of a SPIFFE bundle. Keys that are not for ES256, ES384 or RS256 signatures are
    /// left out, as RFC 7517 §5 asks: no token verifies with them.
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
        kid: KeyId,
        r#use: Option<String>,
        alg: Option<SignatureAlgorithm>,
        #[serde(flatten)]
        material: ForeignMaterial,
    }
    let key: Foreign = serde_json::from_value(value).ok()?;
    let verifying = key.material.verifying()?;
    let usable = key.r#use.is_none_or(|usage| matches!(usage.as_str(), "sig" | "jwt-svid"))
        && key.alg.is_none_or(|named| named == verifying.alg);
    usable.then_some(VerifyingKey { kid: key.kid, ..verifying })
}

/// The members of a key by its type.
#[derive(Deserialize)]
#[serde(tag = "kty")]
enum ForeignMaterial {
    #[serde(rename = "EC")]
    Ec { crv: String, x: String, y: String },
    #[serde(rename = "RSA")]
    Rsa { e: String, n: String },
}

impl ForeignMaterial {
    fn verifying(&self) -> Option<VerifyingKey> {
        match self {
            Self::Ec { crv, x, y } => {
                let named = |alg: &SignatureAlgorithm| alg.curve().filter(|(name, _)| name == crv);
                let alg = SignatureAlgorithm::ALL.into_iter().find(|alg| named(alg).is_some())?;
                let (_, length) = named(&alg)?;
                let whole = [x, y].into_iter().all(|half| decode(half).is_some_and(|bytes| bytes.len() == length));
                whole.then(|| VerifyingKey::from_point(alg, &uncompressed(x, y)?)).flatten()
            }
            Self::Rsa { e, n } => VerifyingKey::from_rsa(&decode(n)?, &decode(e)?),
        }
    }
}

/// Members that only private and symmetric keys have (RFC 7518 §6.2.2, §6.3.2, §6.4.1; `priv` of the AKP key type).
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

impl VerifyingKey {
    /// A public key that somebody shows, a JWK of an EC key on P-256 or P-384 or of an RSA key. Its id is its thumbprint;
    /// `alg` and `use` are not looked at, because the key of an attestation result is named for agreement and signs as well.
    #[must_use]
    pub fn from_public_jwk(jwk: &serde_json::Value) -> Option<Self> {
        if PRIVATE_MEMBERS.iter().any(|member| jwk.get(member).is_some()) {
            return None;
        }
        ForeignMaterial::deserialize(jwk).ok()?.verifying()
    }

    /// The members of the key itself, without use, algorithm and id.
    pub(crate) fn bare(&self) -> impl Serialize {
        &self.material
    }
}
