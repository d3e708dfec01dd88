//! The public half of a TPM's endorsement key, and the seeds that only its TPM recovers.

use aws_lc_rs::{
    agreement::{self, ECDH_P256, ECDH_P384, ParsedPublicKey, PrivateKey, UnparsedPublicKey},
    digest,
    kdf::{SskdfDigestAlgorithmId, get_sskdf_digest_algorithm, sskdf_digest},
    rsa::{
        OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm, OaepPublicEncryptingKey,
        PublicEncryptingKey,
    },
    signature::RsaPublicKeyComponents,
};
use thiserror::Error;
use zeroize::Zeroizing;

use super::wrap::sized;
use crate::random::{NoRandomness, Random};

/// RFC 8017 exponent of every TPM key.
const EXPONENT: [u8; 3] = [1, 0, 1];
/// How often an ephemeral private key is drawn; one draw in 2³² is none on P-256, fewer on P-384.
const DRAWS: usize = 4;

/// A hash algorithm of TPM names, seeds and PCR banks. SHA-1 is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TpmHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl TpmHash {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Name as in `sha256`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of a digest in bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// TPM_ALG_ID (part 2, section 6.3).
    pub(super) const fn tpm_id(self) -> u16 {
        match self {
            Self::Sha256 => 0x000B,
            Self::Sha384 => 0x000C,
            Self::Sha512 => 0x000D,
        }
    }

    /// Digest over the parts, one after the other.
    pub(super) fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut context = digest::Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        });
        for part in parts {
            context.update(part);
        }
        context.finish().as_ref().to_vec()
    }

    fn oaep(self) -> &'static OaepAlgorithm {
        match self {
            Self::Sha256 => &OAEP_SHA256_MGF1SHA256,
            Self::Sha384 => &OAEP_SHA384_MGF1SHA384,
            Self::Sha512 => &OAEP_SHA512_MGF1SHA512,
        }
    }

    const fn sskdf(self) -> SskdfDigestAlgorithmId {
        match self {
            Self::Sha256 => SskdfDigestAlgorithmId::Sha256,
            Self::Sha384 => SskdfDigestAlgorithmId::Sha384,
            Self::Sha512 => SskdfDigestAlgorithmId::Sha512,
        }
    }
}

/// The symmetric cipher of a storage key, in CFB mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmCipher {
    /// AES with 128-bit keys.
    Aes128,
    /// AES with 256-bit keys.
    Aes256,
}

impl TpmCipher {
    /// Length of a key in bytes.
    pub(super) const fn key_length(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }
}

/// The public half of a TPM's restricted decryption key: what is encrypted to it is opened by that TPM alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmStorageKey {
    public: Public,
    pub(super) hash: TpmHash,
    pub(super) cipher: TpmCipher,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Rsa(Vec<u8>),
    Ecc(Curve, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

/// A key that nothing can be sealed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected an RSA key of 2048 to 4096 bits with exponent 65537, or a point of P-256 or P-384")]
pub struct NotAStorageKey;

impl NotAStorageKey {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "parse.tpm.storage_key"
    }
}

/// Nothing was sealed to the TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TpmSealError {
    /// More than the TPM takes.
    #[error("expected at most {limit} bytes, found {actual}")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
        /// What was given, bytes.
        actual: usize,
    },
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The cryptographic library refused; with a [`TpmStorageKey`] and bounded input it does not.
    #[error("the cryptographic library refused to encrypt")]
    Crypto,
}

impl TpmSealError {
    /// Its stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "release.tpm.size",
            Self::Randomness(error) => error.code(),
            Self::Crypto => "internal.keys.tpm_seal",
        }
    }
}

/// A seed, and the form of it that goes to the TPM.
pub(super) struct Seed {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// TPM2B_ENCRYPTED_SECRET.
    pub(super) encrypted: Vec<u8>,
}

impl TpmStorageKey {
    /// An RSA key with exponent 65537; `modulus` is big-endian, 256, 384 or 512 bytes.
    ///
    /// # Errors
    /// [`NotAStorageKey`] for another length or an even modulus.
    pub fn rsa(modulus: &[u8], hash: TpmHash, cipher: TpmCipher) -> Result<Self, NotAStorageKey> {
        let full = matches!(modulus.len(), 256 | 384 | 512) && modulus.first().is_some_and(|byte| byte & 0x80 != 0);
        let odd = modulus.last().is_some_and(|byte| byte & 1 == 1);
        if full && odd { Ok(Self { public: Public::Rsa(modulus.to_vec()), hash, cipher }) } else { Err(NotAStorageKey) }
    }

    /// A key on P-256 (coordinates of 32 bytes) or P-384 (48 bytes), big-endian.
    ///
    /// # Errors
    /// [`NotAStorageKey`] for other lengths or a point that is not on the curve.
    pub fn ecc(x: &[u8], y: &[u8], hash: TpmHash, cipher: TpmCipher) -> Result<Self, NotAStorageKey> {
        let curve = match (x.len(), y.len()) {
            (32, 32) => Curve::P256,
            (48, 48) => Curve::P384,
            _ => return Err(NotAStorageKey),
        };
        let point = [&[4], x, y].concat();
        ParsedPublicKey::try_from(curve.unparsed(&point)).map_err(|_rejected| NotAStorageKey)?;
        Ok(Self { public: Public::Ecc(curve, point), hash, cipher })
    }

    /// A fresh seed of the name algorithm's length (part 1, annexes B.10.3 and C.6.3). `label` ends with its NUL.
    pub(super) fn protect_seed(&self, label: &[u8], rng: &mut impl Random) -> Result<Seed, TpmSealError> {
        match &self.public {
            Public::Rsa(modulus) => self.encrypt_seed(modulus, label, rng),
            Public::Ecc(curve, point) => self.agree_on_seed(*curve, point, label, rng),
        }
    }

    fn encrypt_seed(&self, modulus: &[u8], label: &[u8], rng: &mut impl Random) -> Result<Seed, TpmSealError> {
        let mut bytes = Zeroizing::new(vec![0; self.hash.length()]);
        rng.fill(&mut bytes)?;
        let components = RsaPublicKeyComponents { n: modulus, e: EXPONENT.as_slice() };
        let key: PublicEncryptingKey = components.try_into().map_err(|_unspecified| TpmSealError::Crypto)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_unspecified| TpmSealError::Crypto)?;
        let mut ciphertext = vec![0; key.ciphertext_size()];
        let written = key.encrypt(self.hash.oaep(), &bytes, &mut ciphertext, Some(label));
        let encrypted = sized(written.map_err(|_unspecified| TpmSealError::Crypto)?).ok_or(TpmSealError::Crypto)?;
        Ok(Seed { bytes, encrypted })
    }

    /// The seed is KDFe over the agreed x coordinate and both public x coordinates; the TPM gets the ephemeral point.
    fn agree_on_seed(
        &self,
        curve: Curve,
        point: &[u8],
        label: &[u8],
        rng: &mut impl Random,
    ) -> Result<Seed, TpmSealError> {
        let ephemeral = curve.generate(rng)?;
        let public = ephemeral.compute_public_key().map_err(|_unspecified| TpmSealError::Crypto)?;
        let (x, y) = curve.coordinates(public.as_ref()).ok_or(TpmSealError::Crypto)?;
        let (static_x, _) = curve.coordinates(point).ok_or(TpmSealError::Crypto)?;
        let info = [label, x, static_x].concat();
        let mut bytes = Zeroizing::new(vec![0; self.hash.length()]);
        agreement::agree(&ephemeral, curve.unparsed(point), TpmSealError::Crypto, |z| {
            let kdf = get_sskdf_digest_algorithm(self.hash.sskdf()).ok_or(TpmSealError::Crypto)?;
            sskdf_digest(kdf, z, &info, &mut bytes).map_err(|_unspecified| TpmSealError::Crypto)
        })?;
        let point = [sized(x), sized(y)].into_iter().collect::<Option<Vec<_>>>().ok_or(TpmSealError::Crypto)?.concat();
        Ok(Seed { bytes, encrypted: sized(&point).ok_or(TpmSealError::Crypto)? })
    }
}

impl Curve {
    const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
        }
    }

    fn unparsed(self, point: &[u8]) -> UnparsedPublicKey<Vec<u8>> {
        UnparsedPublicKey::new(self.algorithm(), point.to_vec())
    }

    fn generate(self, rng: &mut impl Random) -> Result<PrivateKey, TpmSealError> {
        let mut scalar = Zeroizing::new(vec![0; self.coordinate_length()]);
        for _ in 0..DRAWS {
            rng.fill(&mut scalar)?;
            if let Ok(key) = PrivateKey::from_private_key(self.algorithm(), &scalar) {
                return Ok(key);
            }
        }
        Err(TpmSealError::Crypto)
    }

    /// x and y of an uncompressed point.
    fn coordinates(self, point: &[u8]) -> Option<(&[u8], &[u8])> {
        let (tag, coordinates) = point.split_first()?;
        let (x, y) = coordinates.split_at_checked(self.coordinate_length())?;
        (*tag == 4 && y.len() == x.len()).then_some((x, y))
    }
}
