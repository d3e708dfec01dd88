//! The closed list of signature algorithms and public keys that vendors' certificates and CRLs use.
//!
//! An algorithm is recognised by the exact bytes of its AlgorithmIdentifier, as there is exactly one right encoding
//! (two for RSASSA-PSS); everything else is unknown. Signatures are checked over the received bytes by aws-lc-rs.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA384, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use thiserror::Error;

use super::der::{Der, DerError, Element};

/// A signature algorithm with all its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes (AMD).
    RsaPssSha384,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (TPM and cloud attestation key chains).
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsaPkcs1Sha512,
    /// ECDSA on P-256 with SHA-256 (Intel).
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
}

/// RFC 4055 section 3.1, without the trailerField whose value is the default (DER).
const PSS_SHA384_SALT48: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// The same with the default trailerField written out: all of AMD's CA certificates, and its VEKs until 2024.
const PSS_SHA384_SALT48_TRAILER: &[u8] = &[
    0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];
/// RFC 4055 section 5: `sha256WithRSAEncryption` with NULL.
const PKCS1_SHA256: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
const PKCS1_SHA384: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c, 0x05, 0x00];
const PKCS1_SHA512: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d, 0x05, 0x00];
/// RFC 5758 section 3.2: `ecdsa-with-SHA256`, parameters absent. The curve comes from the issuer's key.
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];

impl SignatureAlgorithm {
    /// The algorithm whose AlgorithmIdentifier is exactly `der` (header included).
    #[must_use]
    pub fn recognise(der: &[u8]) -> Option<Self> {
        let known = [
            (PSS_SHA384_SALT48, Self::RsaPssSha384),
            (PSS_SHA384_SALT48_TRAILER, Self::RsaPssSha384),
            (PKCS1_SHA256, Self::RsaPkcs1Sha256),
            (PKCS1_SHA384, Self::RsaPkcs1Sha384),
            (PKCS1_SHA512, Self::RsaPkcs1Sha512),
            (ECDSA_SHA256, Self::EcdsaP256Sha256),
            (ECDSA_SHA384, Self::EcdsaP384Sha384),
        ];
        known.into_iter().find(|(bytes, _)| *bytes == der).map(|(_, algorithm)| algorithm)
    }

    /// The algorithm that a document names twice: inside of its signed part and outside (RFC 5280 section 4.1.1.2).
    pub(super) fn agreed(inside: &[u8], outside: &[u8]) -> Result<Self, SignatureError> {
        if inside != outside {
            return Err(SignatureError::AlgorithmMismatch);
        }
        Self::recognise(outside).ok_or(SignatureError::UnknownAlgorithm)
    }
}

/// A public key of a type that vendors use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PublicKey {
    /// RSA of 2048 to 8192 bits with an exponent of 65537 or more.
    Rsa {
        /// Modulus, big-endian without leading zeros.
        modulus: Vec<u8>,
        /// Exponent, big-endian without leading zeros.
        exponent: Vec<u8>,
    },
    /// A P-256 point, uncompressed: 0x04 ‖ x ‖ y.
    P256([u8; 65]),
    /// A P-384 point, uncompressed: 0x04 ‖ x ‖ y.
    P384([u8; 97]),
}

/// RFC 3279 section 2.3.1: `rsaEncryption` with NULL.
const SPKI_RSA: &[u8] = &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// RFC 5480 section 2.1.1: `id-ecPublicKey` with a named curve.
const SPKI_P256: &[u8] = &[
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];
const SPKI_P384: &[u8] =
    &[0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];

/// Why a SubjectPublicKeyInfo is not a [`PublicKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PublicKeyError {
    /// Not DER of the expected shape.
    #[error(transparent)]
    Der(#[from] DerError),
    /// Neither RSA nor P-256 nor P-384.
    #[error("expected an RSA, P-256 or P-384 public key")]
    UnknownType,
    /// RSA modulus outside 2048..=8192 bits, or even.
    #[error("expected an odd RSA modulus of 2048 to 8192 bits, found {bits} bits")]
    Modulus {
        /// Length of the modulus.
        bits: usize,
    },
    /// RSA exponent below 65537, above 2^33 or even.
    #[error("expected an odd RSA exponent from 65537 to 2^33")]
    Exponent,
    /// Not an uncompressed point of the curve's size.
    #[error("expected an uncompressed point of {length} bytes")]
    Point {
        /// Length of a point of the named curve.
        length: usize,
    },
}

impl PublicKey {
    /// Parses a DER SubjectPublicKeyInfo; nothing may follow it.
    ///
    /// # Errors
    /// [`PublicKeyError`] says what was expected.
    pub fn parse_spki(der: &[u8]) -> Result<Self, PublicKeyError> {
        let mut reader = Der::new(der);
        let element = reader.sequence("a SubjectPublicKeyInfo")?;
        reader.finish()?;
        Self::from_element(&element)
    }

    pub(super) fn from_element(element: &Element<'_>) -> Result<Self, PublicKeyError> {
        let mut spki = element.reader();
        let algorithm = spki.sequence("a public key AlgorithmIdentifier")?;
        let key = spki.whole_byte_string("a subjectPublicKey")?;
        spki.finish()?;
        match algorithm.raw {
            SPKI_RSA => rsa(key),
            SPKI_P256 => point(key).map(Self::P256),
            SPKI_P384 => point(key).map(Self::P384),
            _ => Err(PublicKeyError::UnknownType),
        }
    }
}

fn rsa(der: &[u8]) -> Result<PublicKey, PublicKeyError> {
    let mut outer = Der::new(der);
    let mut reader = outer.sequence("an RSAPublicKey")?.reader();
    outer.finish()?;
    let modulus = reader.unsigned("an RSA modulus")?;
    let exponent = reader.unsigned("an RSA exponent")?;
    reader.finish()?;
    let unused = modulus.first().map_or(0, |first| first.leading_zeros());
    let bits = modulus.len().saturating_mul(8).saturating_sub(usize::try_from(unused).unwrap_or(0));
    if !(2048..=8192).contains(&bits) || modulus.last().is_none_or(|last| last & 1 == 0) {
        return Err(PublicKeyError::Modulus { bits });
    }
    let value = exponent.iter().take(6).fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    if exponent.len() > 5 || !(65537..=1 << 33).contains(&value) || value & 1 == 0 {
        return Err(PublicKeyError::Exponent);
    }
    Ok(PublicKey::Rsa { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
}

fn point<const N: usize>(key: &[u8]) -> Result<[u8; N], PublicKeyError> {
    let wrong = PublicKeyError::Point { length: N };
    let point: [u8; N] = key.try_into().ok().ok_or(wrong)?;
    if point.first() == Some(&0x04) { Ok(point) } else { Err(wrong) }
}

/// Why a signature of a certificate or CRL does not stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The algorithm is not on the list.
    #[error("expected a known signature algorithm")]
    UnknownAlgorithm,
    /// The algorithm inside of the signed part differs from the one outside.
    #[error("expected the same signature algorithm inside and outside of the signed part")]
    AlgorithmMismatch,
    /// The issuer's key is of another type than the algorithm needs.
    #[error("expected an issuer key for {algorithm:?}")]
    KeyMismatch {
        /// The algorithm of the signature.
        algorithm: SignatureAlgorithm,
    },
    /// The signature is not by the issuer's key over these bytes.
    #[error("expected a signature by the issuer's key")]
    Wrong,
}

/// Checks that `signature` is by `issuer` over `message` with `algorithm`.
///
/// # Errors
/// [`SignatureError::KeyMismatch`] when the key cannot make such signatures, [`SignatureError::Wrong`] when it did not.
pub fn verify_signature(
    issuer: &PublicKey,
    algorithm: SignatureAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    use SignatureAlgorithm::{
        EcdsaP256Sha256, EcdsaP384Sha384, RsaPkcs1Sha256, RsaPkcs1Sha384, RsaPkcs1Sha512, RsaPssSha384,
    };
    let rsa = |parameters: &'static RsaParameters| match issuer {
        PublicKey::Rsa { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
            .verify(parameters, message, signature)
            .or(Err(SignatureError::Wrong)),
        PublicKey::P256(_) | PublicKey::P384(_) => Err(SignatureError::KeyMismatch { algorithm }),
    };
    match (algorithm, issuer) {
        (RsaPssSha384, _) => rsa(&RSA_PSS_2048_8192_SHA384),
        (RsaPkcs1Sha256, _) => rsa(&RSA_PKCS1_2048_8192_SHA256),
        (RsaPkcs1Sha384, _) => rsa(&RSA_PKCS1_2048_8192_SHA384),
        (RsaPkcs1Sha512, _) => rsa(&RSA_PKCS1_2048_8192_SHA512),
        (EcdsaP256Sha256, PublicKey::P256(point)) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(message, signature)
            .or(Err(SignatureError::Wrong)),
        (EcdsaP384Sha384, PublicKey::P384(point)) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point)
            .verify(message, signature)
            .or(Err(SignatureError::Wrong)),
        (EcdsaP256Sha256 | EcdsaP384Sha384, _) => Err(SignatureError::KeyMismatch { algorithm }),
    }
}
