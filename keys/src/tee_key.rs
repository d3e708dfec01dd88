//! The guest's key pair: made per request, in memory only.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey, X25519},
    encoding::{AsDer, Pkcs8V1Der},
};
use hpke::{Kem as _, Serializable as _, kem::XWing};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    jwk::{PublicKey, TeeKeyType, TeePublicKey},
    random::{NoRandomness, Random, draw},
    secret::{SecretArray, SecretBytes},
    sign::{SignatureAlgorithm, SigningKey},
};

/// How often a private key is drawn. A draw for P-256 must be redone once in 2³² times (zero, or not below the order).
const DRAWS: usize = 4;

/// A key pair that never leaves the memory it was made in: no serialization, no copy, wiped when dropped.
#[expect(missing_debug_implementations, reason = "a private key is never printed")]
pub struct TeeKeyPair {
    pub(crate) private: TeePrivateKey,
    public: TeePublicKey,
}

/// aws-lc wipes the keys it frees, `hpke` the X-Wing seed.
pub(crate) enum TeePrivateKey {
    P256(PrivateKey),
    X25519(PrivateKey),
    XWing(Box<<XWing as hpke::Kem>::PrivateKey>),
}

/// A key pair could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyPairError {
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Several draws were no private key of the curve. For P-256 one draw in 2³² is not, so the source is broken.
    #[error("expected random bytes that are a private key of the curve")]
    NotAKey,
}

impl KeyPairError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Randomness(error) => error.code(),
            Self::NotAKey => "internal.keys.generate",
        }
    }
}

impl TeeKeyPair {
    /// Makes a fresh key pair from 32 bytes of `rng`.
    ///
    /// # Errors
    /// When `rng` fails or hands out what is no private key again and again.
    pub fn generate(key_type: TeeKeyType, rng: &mut impl Random) -> Result<Self, KeyPairError> {
        for _ in 0..DRAWS {
            let seed: SecretArray<32> = Zeroizing::new(draw(rng)?);
            let made = match key_type {
                TeeKeyType::P256 | TeeKeyType::X25519 => Self::ecdh(key_type, &seed),
                TeeKeyType::XWing => x_wing(&seed),
            };
            if let Some(pair) = made {
                return Ok(pair);
            }
        }
        Err(KeyPairError::NotAKey)
    }

    /// A P-256 pair from a PKCS#8 document, for a guest whose programs use the key as well, to prove that a token is theirs.
    #[must_use]
    pub fn from_pkcs8(document: &SecretBytes) -> Option<Self> {
        let private = PrivateKey::from_private_key_der(&ECDH_P256, document.expose()).ok()?;
        let point = private.compute_public_key().ok()?;
        let public = TeePublicKey(PublicKey::p256_from_uncompressed(point.as_ref())?);
        Some(Self { private: TeePrivateKey::P256(private), public })
    }

    /// The same P-256 key as one that signs (ES256), which proves that a token bound to it is shown by this guest. X25519
    /// and X-Wing keys cannot sign: `None`.
    #[must_use]
    pub fn signing_key(&self) -> Option<SigningKey> {
        match &self.private {
            TeePrivateKey::P256(private) => {
                let document: Pkcs8V1Der<'_> = private.as_der().ok()?;
                let document = SecretBytes::new(document.as_ref().to_vec());
                SigningKey::from_pkcs8(SignatureAlgorithm::Es256, &document).ok()
            }
            TeePrivateKey::X25519(_) | TeePrivateKey::XWing(_) => None,
        }
    }

    fn ecdh(key_type: TeeKeyType, seed: &SecretArray<32>) -> Option<Self> {
        let x25519 = key_type == TeeKeyType::X25519;
        let algorithm = if x25519 { &X25519 } else { &ECDH_P256 };
        let private = PrivateKey::from_private_key(algorithm, seed.as_slice()).ok()?;
        let point = private.compute_public_key().ok()?;
        let public = TeePublicKey(if x25519 {
            PublicKey::X25519(point.as_ref().try_into().ok()?)
        } else {
            PublicKey::p256_from_uncompressed(point.as_ref())?
        });
        let private = if x25519 { TeePrivateKey::X25519(private) } else { TeePrivateKey::P256(private) };
        Some(Self { private, public })
    }

    /// The public half, as it is bound to the evidence and sent to the broker.
    #[must_use]
    pub const fn public(&self) -> &TeePublicKey {
        &self.public
    }
}

fn x_wing(seed: &SecretArray<32>) -> Option<TeeKeyPair> {
    let (private, public) = XWing::derive_keypair(seed.as_slice());
    let public = PublicKey::XWing(Box::new(public.to_bytes().as_slice().try_into().ok()?));
    Some(TeeKeyPair { private: TeePrivateKey::XWing(Box::new(private)), public: TeePublicKey(public) })
}
