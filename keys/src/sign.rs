//! Token signing: JWTs as compact JWS (RFC 7515), their keys as JWKS (RFC 7517).
//!
//! Keys stand behind the [`Signer`] trait, so that one may live in an HSM. The key id is always the RFC 7638 thumbprint.

use aws_lc_rs::{
    agreement::{ECDH_P256, ECDH_P384, PrivateKey},
    encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der},
    rand::SystemRandom as AwsLcRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, KeyPair,
        RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

pub use crate::jwks::{AuthorityKey, Jwks, KeyId, KeyUse, NotAJwks, VerifyingKey, x509_authority};
use crate::{
    encoding::encode,
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
    /// RSA PKCS #1 v1.5 with SHA-256: for relying parties that know nothing else, as some clouds do.
    #[serde(rename = "RS256")]
    Rs256,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Es256, Self::Es384, Self::Rs256];

    /// The JOSE name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
        }
    }

    /// Name of the curve and bytes of a coordinate, for ECDSA.
    pub(crate) const fn curve(self) -> Option<(&'static str, usize)> {
        match self {
            Self::Es256 => Some(("P-256", 32)),
            Self::Es384 => Some(("P-384", 48)),
            Self::Rs256 => None,
        }
    }

    pub(crate) fn verification(self) -> Option<&'static EcdsaVerificationAlgorithm> {
        match self {
            Self::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Some(&ECDSA_P384_SHA384_FIXED),
            Self::Rs256 => None,
        }
    }

    fn signing(self) -> Option<&'static EcdsaSigningAlgorithm> {
        match self {
            Self::Es256 => Some(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::Es384 => Some(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::Rs256 => None,
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
    /// An access token (RFC 9068).
    AccessToken,
    /// A proof that its sender has the key of a token (RFC 9449).
    DpopProof,
    /// How far an audit log was at one time.
    AuditCheckpoint,
}

impl TokenType {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "JWT",
            Self::EatJwt => "eat+jwt",
            Self::StatusList => "statuslist+jwt",
            Self::AccessToken => "at+jwt",
            Self::DpopProof => "dpop+jwt",
            Self::AuditCheckpoint => "audit-checkpoint+jwt",
        }
    }
}

/// Signs for tokens. A key in a file and a key in an HSM look the same from here.
pub trait Signer: Send + Sync {
    /// The public half.
    fn verifying_key(&self) -> &VerifyingKey;

    /// Signs `message` with the algorithm of the key: for ECDSA `r ‖ s`, each of the curve's length.
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

/// A signing key in memory, wiped when dropped.
#[expect(missing_debug_implementations, reason = "a private key is never printed")]
pub struct SigningKey {
    pair: Pair,
    verifying: VerifyingKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// Makes an ECDSA key from random bytes of the curve's length.
    ///
    /// # Errors
    /// When `rng` fails or hands out what is no private key (once in 2³² times for ES256: try again), and for RSA, whose
    /// keys are not made from a given number of random bytes: see [`SigningKey::from_pkcs8`].
    pub fn generate(algorithm: SignatureAlgorithm, rng: &mut impl Random) -> Result<Self, SignError> {
        let (_, length) = algorithm.curve().ok_or(SignError::NotAKey)?;
        let curve = if algorithm == SignatureAlgorithm::Es384 { &ECDH_P384 } else { &ECDH_P256 };
        let mut scalar = Zeroizing::new(vec![0; length]);
        rng.fill(&mut scalar)?;
        let key = PrivateKey::from_private_key(curve, &scalar).map_err(|_rejected| SignError::NotAKey)?;
        let der: EcPrivateKeyRfc5915Der<'_> = key.as_der().map_err(|_unspecified| SignError::NotAKey)?;
        let signing = algorithm.signing().ok_or(SignError::NotAKey)?;
        let pair = EcdsaKeyPair::from_private_key_der(signing, der.as_ref());
        pair.ok().and_then(|pair| Self::of_ecdsa(algorithm, pair)).ok_or(SignError::NotAKey)
    }

    /// Reads a PKCS#8 document, as [`SigningKey::to_pkcs8`] writes it. RSA keys have 2048 bits at least.
    ///
    /// # Errors
    /// [`SignError::Pkcs8`] when it is not one for `algorithm`.
    pub fn from_pkcs8(algorithm: SignatureAlgorithm, document: &SecretBytes) -> Result<Self, SignError> {
        let key = match algorithm.signing() {
            Some(signing) => EcdsaKeyPair::from_pkcs8(signing, document.expose())
                .ok()
                .and_then(|pair| Self::of_ecdsa(algorithm, pair)),
            None => RsaKeyPair::from_pkcs8(document.expose()).ok().and_then(Self::of_rsa),
        };
        key.ok_or(SignError::Pkcs8 { algorithm })
    }

    /// The PKCS#8 document, to be sealed under a root key before it is stored.
    ///
    /// # Errors
    /// [`SignError::Crypto`] when the library cannot encode it.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, SignError> {
        let failed = |_unspecified| SignError::Crypto;
        Ok(SecretBytes::new(match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                document.as_ref().to_vec()
            }
        }))
    }

    fn of_ecdsa(algorithm: SignatureAlgorithm, pair: EcdsaKeyPair) -> Option<Self> {
        let verifying = VerifyingKey::from_point(algorithm, pair.public_key().as_ref())?;
        Some(Self { pair: Pair::Ecdsa(pair), verifying })
    }

    fn of_rsa(pair: RsaKeyPair) -> Option<Self> {
        let (modulus, exponent) = rsa_numbers(pair.public_key().as_ref())?;
        let verifying = VerifyingKey::from_rsa(modulus, exponent)?;
        Some(Self { pair: Pair::Rsa(pair), verifying })
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1), which is a SEQUENCE of two INTEGERs.
fn rsa_numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, rest) = element(0x30, der)?;
    let (modulus, sequence) = element(2, sequence)?;
    let (exponent, more) = element(2, sequence)?;
    (rest.is_empty() && more.is_empty()).then_some((modulus, exponent))
}

/// The content of a DER element of this tag, and what comes after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (bytes.iter().fold(0, |length: usize, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

impl Signer for SigningKey {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// The per-signature nonce of ECDSA is the library's business: it draws it itself and ignores what it is given.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_unspecified| SignError::Crypto;
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&AwsLcRandom::new(), message).map_err(failed)?.as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &AwsLcRandom::new(), message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
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
    let header = Header { alg: key.algorithm().as_str(), kid: key.key_id(), typ: token_type.as_str() };
    let mut token = encode(json(&header)?);
    token.push('.');
    token.push_str(&encode(json(claims)?));
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&encode(signature));
    Ok(token)
}

pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, SignError> {
    serde_json::to_vec(value).map_err(|error| SignError::Claims { reason: error.to_string() })
}

#[cfg(test)]
mod tests;
