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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use aws_lc_rs::{
        encoding::{AsDer, PublicKeyX509Der},
        rand::SystemRandom,
        rsa::KeySize,
        signature::{
            ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
            KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
            RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
        },
    };

    use super::*;

    const MESSAGE: &[u8] = b"\xff\x54\x43\x47 a quote";
    const SHA256: HashAlgorithm = HashAlgorithm::Sha256;
    const SHA384: HashAlgorithm = HashAlgorithm::Sha384;
    const SHA512: HashAlgorithm = HashAlgorithm::Sha512;
    const FREE: SigningScheme = SigningScheme::Unspecified;

    /// An RSA key and its signatures.
    struct Rsa(RsaKeyPair);

    impl Rsa {
        fn new(size: KeySize) -> (Self, AkKey) {
            let pair = RsaKeyPair::generate(size).unwrap();
            let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            let key = AkKey::new(PublicKey::parse_spki(spki.as_ref()).unwrap()).unwrap();
            (Self(pair), key)
        }

        fn sign(&self, encoding: &'static dyn RsaEncoding) -> Vec<u8> {
            let mut signature = vec![0; self.0.public_modulus_len()];
            self.0.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature).unwrap();
            signature
        }
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> (AkKey, Vec<u8>, Vec<u8>) {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let point = pair.public_key().as_ref();
        let key = match <[u8; 65]>::try_from(point) {
            Ok(point) => PublicKey::P256(point),
            Err(_longer) => PublicKey::P384(point.try_into().unwrap()),
        };
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
        (AkKey::new(key).unwrap(), r.to_vec(), s.to_vec())
    }

    #[test]
    fn both_rsa_schemes_verify_with_every_hash_and_never_as_each_other() {
        let (pair, key) = Rsa::new(KeySize::Rsa2048);
        let pkcs1: [(_, &'static dyn RsaEncoding); 3] =
            [(SHA256, &RSA_PKCS1_SHA256), (SHA384, &RSA_PKCS1_SHA384), (SHA512, &RSA_PKCS1_SHA512)];
        let pss: [(_, &'static dyn RsaEncoding); 3] =
            [(SHA256, &RSA_PSS_SHA256), (SHA384, &RSA_PSS_SHA384), (SHA512, &RSA_PSS_SHA512)];
        let wrong = Err(TpmAuthenticateError::Signature);
        let mismatch = Err(TpmAuthenticateError::SignatureScheme);
        for (hash, encoding) in pkcs1 {
            let signature = pair.sign(encoding);
            let named = TpmSignature::Rsassa { hash, signature: signature.clone() };
            let as_pss = TpmSignature::Rsapss { hash, signature: signature.clone() };
            assert_eq!(key.verify(FREE, MESSAGE, &named), Ok(hash));
            assert_eq!(key.verify(SigningScheme::Rsassa(hash), MESSAGE, &named), Ok(hash));
            assert_eq!(key.verify(SigningScheme::Rsapss(hash), MESSAGE, &named), mismatch);
            assert_eq!(key.verify(FREE, MESSAGE, &as_pss), wrong);
            assert_eq!(key.verify(FREE, b"another quote", &named), wrong);
            let bare = TpmSignature::BareRsa { signature };
            assert_eq!(key.verify(SigningScheme::Rsassa(hash), MESSAGE, &bare), Ok(hash));
            // Without a scheme a bare signature is what Azure's paravisors make.
            assert_eq!(key.verify(FREE, MESSAGE, &bare).is_ok(), hash == SHA256);
        }
        for (hash, encoding) in pss {
            let signature = pair.sign(encoding);
            let named = TpmSignature::Rsapss { hash, signature: signature.clone() };
            assert_eq!(key.verify(FREE, MESSAGE, &named), Ok(hash));
            assert_eq!(key.verify(SigningScheme::Rsapss(hash), MESSAGE, &named), Ok(hash));
            assert_eq!(key.verify(SigningScheme::Rsassa(hash), MESSAGE, &named), mismatch);
            let bare = TpmSignature::BareRsa { signature: signature.clone() };
            assert_eq!(key.verify(SigningScheme::Rsapss(hash), MESSAGE, &bare), Ok(hash));
            assert_eq!(key.verify(FREE, MESSAGE, &bare), wrong);
            assert_eq!(key.verify(FREE, MESSAGE, &TpmSignature::Rsassa { hash, signature }), wrong);
        }
        let sha1 = HashAlgorithm::Sha1;
        let named = TpmSignature::Rsassa { hash: sha1, signature: pair.sign(&RSA_PKCS1_SHA256) };
        assert_eq!(key.verify(FREE, MESSAGE, &named), Err(TpmAuthenticateError::SignatureHash { hash: sha1 }));
    }

    #[test]
    fn longer_rsa_keys_sign_too() {
        let (pair, key) = Rsa::new(KeySize::Rsa3072);
        let signature = TpmSignature::Rsapss { hash: SHA256, signature: pair.sign(&RSA_PSS_SHA256) };
        assert_eq!(key.verify(SigningScheme::Rsapss(SHA256), MESSAGE, &signature), Ok(SHA256));
        let (_, other) = Rsa::new(KeySize::Rsa3072);
        assert_eq!(other.verify(FREE, MESSAGE, &signature), Err(TpmAuthenticateError::Signature));
    }

    #[test]
    fn ecdsa_verifies_on_either_curve_with_its_own_hash() {
        for (algorithm, hash, other) in
            [(&ECDSA_P256_SHA256_FIXED_SIGNING, SHA256, SHA384), (&ECDSA_P384_SHA384_FIXED_SIGNING, SHA384, SHA256)]
        {
            let (key, r, s) = ecdsa(algorithm);
            let signature = |hash, r: &[u8], s: &[u8]| TpmSignature::Ecdsa { hash, r: r.to_vec(), s: s.to_vec() };
            let judge = |hash, r: &[u8], s: &[u8]| key.verify(FREE, MESSAGE, &signature(hash, r, s));
            let wrong = Err(TpmAuthenticateError::Signature);
            assert_eq!(judge(hash, &r, &s), Ok(hash));
            assert_eq!(key.verify(SigningScheme::Ecdsa(hash), MESSAGE, &signature(hash, &r, &s)), Ok(hash));
            // TPMs write numbers without leading zeros.
            let short = r.iter().position(|byte| *byte != 0).and_then(|first| r.get(first..)).unwrap();
            assert_eq!(judge(hash, short, &s), Ok(hash));
            assert_eq!(judge(hash, &[&[0], r.as_slice()].concat(), &s), wrong);
            assert_eq!(judge(hash, &s, &r), wrong);
            assert_eq!(judge(hash, &[], &[]), wrong);
            assert_eq!(judge(hash, &[0; 32], &s), wrong);
            assert_eq!(judge(other, &r, &s), Err(TpmAuthenticateError::SignatureScheme));
            let bare = TpmSignature::BareRsa { signature: vec![1; 256] };
            assert_eq!(key.verify(FREE, MESSAGE, &bare), Err(TpmAuthenticateError::SignatureScheme));
            assert_eq!(
                key.verify(SigningScheme::Rsassa(hash), MESSAGE, &signature(hash, &r, &s)),
                Err(TpmAuthenticateError::SignatureScheme)
            );
        }
    }
}
