//! Keys that sign quotes, and their signatures.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use evidence_formats::{
    digest::HashAlgorithm,
    tpm::{EccCurve, SigningScheme, TpmKey, TpmSignature},
};
use thiserror::Error;

use super::TpmAuthenticateError;
use crate::x509::{PublicKey, PublicKeyError};

/// RFC 8017 exponent of every TPM key: 65537.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// Public part of an attestation key: RSA of at least 2048 bits with exponent 65537, P-256 or P-384.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AkKey(PublicKey);

/// A key that no attestation key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AkKeyError {
    /// Not SubjectPublicKeyInfo of a known type.
    #[error("expected SubjectPublicKeyInfo of RSA, P-256 or P-384")]
    Spki(#[from] PublicKeyError),
    /// RSA that is too short, even, or with another exponent than 65537.
    #[error("expected an RSA key of 2048 to 4096 bits with exponent 65537")]
    Rsa,
}

impl AkKey {
    /// Takes a key from a certificate or SubjectPublicKeyInfo.
    pub(crate) fn new(key: PublicKey) -> Result<Self, AkKeyError> {
        if let PublicKey::Rsa { modulus, exponent } = &key {
            let sound = matches!(modulus.len(), 256..=512)
                && modulus.first().is_some_and(|byte| byte & 0x80 != 0)
                && modulus.last().is_some_and(|byte| byte & 1 == 1)
                && *exponent == EXPONENT;
            if !sound {
                return Err(AkKeyError::Rsa);
            }
        }
        Ok(Self(key))
    }

    /// Takes the key of a public area.
    pub(crate) fn of_area(key: &TpmKey) -> Result<Self, AkKeyError> {
        Self::new(match key {
            TpmKey::Rsa { modulus, exponent: 65_537 } => {
                PublicKey::Rsa { modulus: modulus.clone(), exponent: EXPONENT.to_vec() }
            }
            TpmKey::Rsa { .. } => return Err(AkKeyError::Rsa),
            TpmKey::Ecc { curve: EccCurve::P256, x, y } => PublicKey::P256(uncompressed(x, y)),
            TpmKey::Ecc { curve: EccCurve::P384, x, y } => PublicKey::P384(uncompressed(x, y)),
        })
    }

    /// Whether it is an RSA key.
    pub(crate) const fn is_rsa(&self) -> bool {
        matches!(self.0, PublicKey::Rsa { .. })
    }

    /// SHA-256 of the modulus or of the uncompressed point, in hex: names the key whatever else is known of it.
    pub(crate) fn fingerprint(&self) -> String {
        let bytes = match &self.0 {
            PublicKey::Rsa { modulus, .. } => modulus.as_slice(),
            PublicKey::P256(point) => point.as_slice(),
            PublicKey::P384(point) => point.as_slice(),
        };
        HashAlgorithm::Sha256.digest(&[bytes]).to_string()
    }

    /// Checks the signature of a quote and tells the hash of its scheme.
    ///
    /// `scheme` is that of the key's public area; a key known only by its bits takes the scheme of the signature.
    pub(crate) fn verify(
        &self,
        scheme: SigningScheme,
        message: &[u8],
        signature: &TpmSignature,
    ) -> Result<HashAlgorithm, TpmAuthenticateError> {
        let used = match signature {
            TpmSignature::Rsassa { hash, .. } => SigningScheme::Rsassa(*hash),
            TpmSignature::Rsapss { hash, .. } => SigningScheme::Rsapss(*hash),
            TpmSignature::Ecdsa { hash, .. } => SigningScheme::Ecdsa(*hash),
            // A bare signature says nothing about its scheme: the key's, or what every Azure paravisor's key has.
            TpmSignature::BareRsa { .. } if scheme == SigningScheme::Unspecified => {
                SigningScheme::Rsassa(HashAlgorithm::Sha256)
            }
            TpmSignature::BareRsa { .. } => scheme,
        };
        if scheme != SigningScheme::Unspecified && used != scheme {
            return Err(TpmAuthenticateError::SignatureScheme);
        }
        match (used, signature) {
            (
                SigningScheme::Rsassa(hash),
                TpmSignature::Rsassa { signature, .. } | TpmSignature::BareRsa { signature },
            ) => self.verify_rsa(false, hash, message, signature),
            (
                SigningScheme::Rsapss(hash),
                TpmSignature::Rsapss { signature, .. } | TpmSignature::BareRsa { signature },
            ) => self.verify_rsa(true, hash, message, signature),
            (SigningScheme::Ecdsa(hash), TpmSignature::Ecdsa { r, s, .. }) => self.verify_ecdsa(hash, message, r, s),
            (
                SigningScheme::Unspecified
                | SigningScheme::Encryption
                | SigningScheme::Rsassa(_)
                | SigningScheme::Rsapss(_)
                | SigningScheme::Ecdsa(_),
                _,
            ) => Err(TpmAuthenticateError::SignatureScheme),
        }
    }

    /// PSS with a salt as long as the digest (TPM 2.0 part 1, annex B.7, FIPS 186 form).
    fn verify_rsa(
        &self,
        pss: bool,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<HashAlgorithm, TpmAuthenticateError> {
        let parameters = match (pss, hash) {
            (_, HashAlgorithm::Sha1) => return Err(TpmAuthenticateError::SignatureHash { hash }),
            (false, HashAlgorithm::Sha256) => &RSA_PKCS1_2048_8192_SHA256,
            (false, HashAlgorithm::Sha384) => &RSA_PKCS1_2048_8192_SHA384,
            (false, HashAlgorithm::Sha512) => &RSA_PKCS1_2048_8192_SHA512,
            (true, HashAlgorithm::Sha256) => &RSA_PSS_2048_8192_SHA256,
            (true, HashAlgorithm::Sha384) => &RSA_PSS_2048_8192_SHA384,
            (true, HashAlgorithm::Sha512) => &RSA_PSS_2048_8192_SHA512,
        };
        let PublicKey::Rsa { modulus, exponent } = &self.0 else {
            return Err(TpmAuthenticateError::SignatureScheme);
        };
        let key = RsaPublicKeyComponents { n: modulus, e: exponent };
        key.verify(parameters, message, signature).or(Err(TpmAuthenticateError::Signature))?;
        Ok(hash)
    }

    fn verify_ecdsa(
        &self,
        hash: HashAlgorithm,
        message: &[u8],
        r: &[u8],
        s: &[u8],
    ) -> Result<HashAlgorithm, TpmAuthenticateError> {
        let fixed = |length| -> Option<Vec<u8>> { Some([padded(r, length)?, padded(s, length)?].concat()) };
        let wrong = TpmAuthenticateError::Signature;
        match (&self.0, hash) {
            (PublicKey::P256(point), HashAlgorithm::Sha256) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, &fixed(32).ok_or(wrong.clone())?)
                .or(Err(wrong))?,
            (PublicKey::P384(point), HashAlgorithm::Sha384) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(message, &fixed(48).ok_or(wrong.clone())?)
                .or(Err(wrong))?,
            (_, HashAlgorithm::Sha1) => return Err(TpmAuthenticateError::SignatureHash { hash }),
            (PublicKey::Rsa { .. } | PublicKey::P256(_) | PublicKey::P384(_), _) => {
                return Err(TpmAuthenticateError::SignatureScheme);
            }
        }
        Ok(hash)
    }
}

/// SEC 1 uncompressed point; the coordinates have the curve's length.
fn uncompressed<const N: usize>(x: &[u8], y: &[u8]) -> [u8; N] {
    let mut point = [0; N];
    for (to, from) in point.iter_mut().zip([&[4], x, y].concat()) {
        *to = from;
    }
    point
}

/// The same big-endian number in exactly `length` bytes.
fn padded(number: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut padded = vec![0; length.checked_sub(number.len())?];
    padded.extend_from_slice(number);
    Some(padded)
}
