//! Sealing: encryption to a guest's own key, as a flattened JWE (RFC 7516 §7.2.2).
//!
//! | key | protected header, byte for byte | key management |
//! |---|---|---|
//! | P-256 | `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"P-256","kty":"EC","x":…,"y":…}}` | RFC 7518 §4.6, §4.4 |
//! | X25519 | `{"alg":"ECDH-ES+A256KW","enc":"A256GCM","epk":{"crv":"X25519","kty":"OKP","x":…}}` | RFC 8037 §3.2 |
//! | X-Wing | `{"alg":"HPKE-X-Wing"}` | HPKE (RFC 9180) base mode, X-Wing / HKDF-SHA256 / AES-256-GCM |
//!
//! Clients of the KBS protocol parse the header and write it again before they authenticate it, so the order of its
//! members is part of the format.
//!
//! The X-Wing form is integrated encryption of draft-ietf-jose-hpke-encrypt (`encrypted_key` is the encapsulated key, `iv`
//! and `tag` are absent, the protected header is the HPKE `aad`, `info` is empty). X-Wing itself is
//! draft-connolly-cfrg-xwing-kem. Both are drafts and neither registers an `alg` for this suite: the name is ours, and
//! the form may change with them. Everything else here is RFC.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    encoding::decode,
    jwk::{PublicKey, TeePublicKey},
    random::{NoRandomness, Random},
    secret::SecretBytes,
    tee_key::{TeeKeyPair, TeePrivateKey},
};

mod ecdh;
#[cfg(test)]
mod tests;
mod x_wing;

/// Most bytes of a plaintext: 1 MiB.
pub const PLAINTEXT_LIMIT: usize = 1024 * 1024;
/// Most characters of a protected header.
const HEADER_LIMIT: usize = 1024;

/// A plaintext that only the private half of one TEE key opens: a flattened JWE.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    protected: String,
    encrypted_key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    iv: String,
    ciphertext: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    tag: String,
}

/// Ciphertext says nothing to people: only its size is shown.
impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("ciphertext_characters", &self.ciphertext.len()).finish_non_exhaustive()
    }
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// The plaintext is larger than a grant may be.
    #[error("expected at most {PLAINTEXT_LIMIT} bytes to seal, found {actual}")]
    TooLarge {
        /// Its size, bytes.
        actual: usize,
    },
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The cryptographic library refused; with a [`TeePublicKey`], whose point is valid, it does not.
    #[error("the cryptographic library refused to encrypt")]
    Crypto,
}

impl SealError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "release.seal.size",
            Self::Randomness(error) => error.code(),
            Self::Crypto => "internal.keys.seal",
        }
    }
}

/// Why a sealed JWE was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A member is not base64url of its length, or is there and must not be.
    #[error("expected a well-formed member {member}")]
    Malformed {
        /// The member.
        member: &'static str,
    },
    /// The protected header is not exactly the one that goes with the key's type.
    #[error("expected the protected header of a JWE for this key's type")]
    Header,
    /// The ephemeral or encapsulated key is not a valid one.
    #[error("expected a valid ephemeral key")]
    EphemeralKey,
    /// It was sealed to another key, or changed on the way.
    #[error("expected a JWE that was sealed to this key and not changed")]
    Refused,
}

impl OpenError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed { .. } => "parse.sealed.malformed",
            Self::Header => "parse.sealed.header",
            Self::EphemeralKey => "parse.sealed.ephemeral_key",
            Self::Refused => "authenticate.sealed.refused",
        }
    }
}

/// Seals `plaintext` to the key `to`.
///
/// Draws from `rng`: the ephemeral private key (32 bytes, again when it is none), the content key (32), the IV (12); for
/// X-Wing the 64 bytes of the encapsulation.
///
/// # Errors
/// [`SealError`]: too large, or a broken source of randomness.
pub fn seal(plaintext: &SecretBytes, to: &TeePublicKey, rng: &mut impl Random) -> Result<Sealed, SealError> {
    if plaintext.len() > PLAINTEXT_LIMIT {
        return Err(SealError::TooLarge { actual: plaintext.len() });
    }
    match &to.0 {
        PublicKey::P256 { .. } | PublicKey::X25519(_) => ecdh::seal(plaintext, to, rng),
        PublicKey::XWing(key) => x_wing::seal(plaintext, key, rng),
    }
}

impl TeeKeyPair {
    /// Opens what was sealed to this key.
    ///
    /// # Errors
    /// [`OpenError`]: the form is wrong, or it was not sealed to this key, or was changed.
    pub fn open(&self, sealed: &Sealed) -> Result<SecretBytes, OpenError> {
        match &self.private {
            TeePrivateKey::P256(private) | TeePrivateKey::X25519(private) => ecdh::open(private, sealed),
            TeePrivateKey::XWing(private) => x_wing::open(private, sealed),
        }
    }
}

impl Sealed {
    /// The JSON text of the protected header, bounded.
    fn header(&self) -> Result<Vec<u8>, OpenError> {
        if self.protected.len() > HEADER_LIMIT {
            return Err(OpenError::Header);
        }
        decode(&self.protected).ok_or(OpenError::Malformed { member: "protected" })
    }

    /// The ciphertext, bounded by what a plaintext may have and `overhead` bytes.
    fn ciphertext(&self, overhead: usize) -> Result<Vec<u8>, OpenError> {
        let malformed = OpenError::Malformed { member: "ciphertext" };
        let limit = PLAINTEXT_LIMIT.saturating_add(overhead).saturating_mul(4).div_ceil(3);
        if self.ciphertext.len() > limit {
            return Err(malformed);
        }
        decode(&self.ciphertext).ok_or(malformed)
    }
}
