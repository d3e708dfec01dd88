//! Private keys and the signatures that the made-up vendors make with them.
//!
//! RSA and P-256 run on OpenSSL and P-384 on RustCrypto, so that the product, which verifies with aws-lc-rs, is checked
//! by code that shares nothing with it. Signatures are deterministic: the same document has the same bytes in every
//! process, and a trust anchor pinned by its exact bytes stays pinned.
#![expect(clippy::expect_used, reason = "the keys are fixed; a failure here means a broken build, not an input")]

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::hash::{MessageDigest, hash};
use openssl::nid::Nid;
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use p384::ecdsa::signature::Signer;

use crate::der;
use crate::pss;

/// How a certificate or revocation list is signed, and how its `AlgorithmIdentifier` says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48, with the explicit default `trailerField [3] 1` (older AMD documents).
    PssSha384ExplicitTrailer,
    /// The same without `trailerField` (AMD's newer VEKs and CRLs).
    PssSha384,
    /// RSASSA-PSS, SHA-384, salt 32: not in AMD's profile.
    PssSha384Salt32,
    /// RSASSA-PSS, SHA-256, salt 32: not in AMD's profile.
    PssSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384: not in AMD's profile.
    Pkcs1Sha384,
    /// ECDSA with SHA-256.
    EcdsaSha256,
    /// ECDSA with SHA-384.
    EcdsaSha384,
}

impl SignatureAlgorithm {
    /// The DER `AlgorithmIdentifier`.
    #[must_use]
    pub fn identifier(self) -> Vec<u8> {
        match self {
            Self::PssSha384ExplicitTrailer => pss_identifier(SHA384_OID, 48, true),
            Self::PssSha384 => pss_identifier(SHA384_OID, 48, false),
            Self::PssSha384Salt32 => pss_identifier(SHA384_OID, 32, false),
            Self::PssSha256 => pss_identifier(SHA256_OID, 32, false),
            Self::Pkcs1Sha384 => der::sequence(&[der::oid("1.2.840.113549.1.1.12"), der::null()]),
            Self::EcdsaSha256 => der::sequence(&[der::oid("1.2.840.10045.4.3.2")]),
            Self::EcdsaSha384 => der::sequence(&[der::oid("1.2.840.10045.4.3.3")]),
        }
    }

    fn digest(self) -> MessageDigest {
        match self {
            Self::PssSha384ExplicitTrailer
            | Self::PssSha384
            | Self::PssSha384Salt32
            | Self::Pkcs1Sha384
            | Self::EcdsaSha384 => MessageDigest::sha384(),
            Self::PssSha256 | Self::EcdsaSha256 => MessageDigest::sha256(),
        }
    }
}

const SHA256_OID: &str = "2.16.840.1.101.3.4.2.1";
const SHA384_OID: &str = "2.16.840.1.101.3.4.2.2";

/// RFC 4055 §3.1 `RSASSA-PSS-params`.
fn pss_identifier(hash_oid: &str, salt_length: u64, trailer: bool) -> Vec<u8> {
    let hash = der::sequence(&[der::oid(hash_oid), der::null()]);
    let mgf1 = der::sequence(&[der::oid("1.2.840.113549.1.1.8"), hash.clone()]);
    let mut parameters =
        vec![der::explicit(0, &hash), der::explicit(1, &mgf1), der::explicit(2, &der::unsigned(salt_length))];
    if trailer {
        parameters.push(der::explicit(3, &der::unsigned(1)));
    }
    der::sequence(&[der::oid("1.2.840.113549.1.1.10"), der::sequence(&parameters)])
}

/// A private key of the made-up PKI. Worthless by design, hence cloneable and printable by name only.
#[derive(Clone)]
pub enum PrivateKey {
    /// An RSA key (AMD's ARK, ASK, ASVK).
    Rsa(Rsa<Private>),
    /// A P-384 key (AMD's VEKs).
    P384(p384::ecdsa::SigningKey),
    /// A P-256 key (everything of Intel's).
    P256(EcKey<Private>),
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rsa(_) => "PrivateKey::Rsa",
            Self::P384(_) => "PrivateKey::P384",
            Self::P256(_) => "PrivateKey::P256",
        })
    }
}

impl PrivateKey {
    /// One of the fixed RSA keys.
    pub(crate) fn rsa_from_pem(pem: &[u8]) -> Self {
        Self::Rsa(Rsa::private_key_from_pem(pem).expect("fixed key"))
    }

    /// The P-384 key that belongs to a label: always the same one, as hardware derives its keys from its seed.
    #[must_use]
    pub fn p384_from_label(label: &[u8]) -> Self {
        let scalar = digest(MessageDigest::sha384(), &[b"softtee P-384 ", label]);
        Self::P384(p384::ecdsa::SigningKey::from_slice(&scalar).expect("a digest is a scalar, but for one in 2^190"))
    }

    /// The P-256 key that belongs to a label: always the same one.
    #[must_use]
    pub fn p256_from_label(label: &[u8]) -> Self {
        // Half a digest as scalar: below the group order, and strong enough for a key that anyone can compute.
        let mut scalar = digest(MessageDigest::sha256(), &[b"softtee P-256 ", label]);
        scalar.truncate(31);
        let group = p256();
        let private = BigNum::from_slice(&scalar).expect("memory");
        let mut context = BigNumContext::new().expect("memory");
        let mut public = EcPoint::new(&group).expect("memory");
        public.mul_generator2(&group, &private, &mut context).expect("scalar below the order");
        Self::P256(EcKey::from_private_components(&group, &private, &public).expect("matching halves"))
    }

    /// The DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn public_key_info(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => {
                let numbers = der::sequence(&[der::integer(&key.n().to_vec()), der::integer(&key.e().to_vec())]);
                let algorithm = der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::null()]);
                der::sequence(&[algorithm, der::bits(&numbers)])
            }
            Self::P384(_) => ec_public_key_info("1.3.132.0.34", &self.public_key_bits()),
            Self::P256(_) => ec_public_key_info("1.2.840.10045.3.1.7", &self.public_key_bits()),
        }
    }

    /// The content of the public key's BIT STRING: what key identifiers are the SHA-1 of (RFC 5280 §4.2.1.2).
    #[must_use]
    pub fn public_key_bits(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => der::sequence(&[der::integer(&key.n().to_vec()), der::integer(&key.e().to_vec())]),
            Self::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Self::P256(key) => {
                let mut context = BigNumContext::new().expect("memory");
                let form = PointConversionForm::UNCOMPRESSED;
                key.public_key().to_bytes(key.group(), form, &mut context).expect("valid point")
            }
        }
    }

    /// SHA-1 of [`Self::public_key_bits`], the usual key identifier.
    #[must_use]
    pub fn key_identifier(&self) -> Vec<u8> {
        digest(MessageDigest::sha1(), &[&self.public_key_bits()])
    }

    /// Signs a to-be-signed document; the result is the content of the outer BIT STRING.
    ///
    /// An algorithm of another key family gives bytes that cannot verify, which is a test case too.
    #[must_use]
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(key) => rsa_sign(key, algorithm, message),
            Self::P384(_) | Self::P256(_) => {
                let (r, s) = self.sign_ecdsa(algorithm.digest(), message);
                der::sequence(&[der::integer(&r), der::integer(&s)])
            }
        }
    }

    /// ECDSA over the digest of `message`; `r` and `s` as big-endian bytes of the curve's width.
    /// From an RSA key they are zero.
    #[must_use]
    pub fn sign_ecdsa(&self, algorithm: MessageDigest, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::P384(key) if algorithm == MessageDigest::sha384() => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                let (r, s) = signature.split_bytes();
                (r.to_vec(), s.to_vec())
            }
            Self::P384(key) => {
                use p384::ecdsa::signature::hazmat::PrehashSigner;
                let prehash = digest(algorithm, &[message]);
                let signature: p384::ecdsa::Signature = key.sign_prehash(&prehash).expect("32 bytes or more");
                let (r, s) = signature.split_bytes();
                (r.to_vec(), s.to_vec())
            }
            Self::P256(key) => p256_sign(key, &digest(algorithm, &[message])),
            Self::Rsa(_) => (vec![0; 48], vec![0; 48]),
        }
    }
}

fn ec_public_key_info(curve: &str, point: &[u8]) -> Vec<u8> {
    der::sequence(&[der::sequence(&[der::oid("1.2.840.10045.2.1"), der::oid(curve)]), der::bits(point)])
}

fn rsa_sign(key: &Rsa<Private>, algorithm: SignatureAlgorithm, message: &[u8]) -> Vec<u8> {
    let prehash = digest(algorithm.digest(), &[message]);
    let (encoded, padding) = match algorithm {
        SignatureAlgorithm::PssSha384 | SignatureAlgorithm::PssSha384ExplicitTrailer => {
            (pss::encode(MessageDigest::sha384(), &prehash, 48, key.size()), Padding::NONE)
        }
        SignatureAlgorithm::PssSha384Salt32 => {
            (pss::encode(MessageDigest::sha384(), &prehash, 32, key.size()), Padding::NONE)
        }
        SignatureAlgorithm::PssSha256 => {
            (pss::encode(MessageDigest::sha256(), &prehash, 32, key.size()), Padding::NONE)
        }
        SignatureAlgorithm::Pkcs1Sha384 | SignatureAlgorithm::EcdsaSha256 | SignatureAlgorithm::EcdsaSha384 => {
            let info = der::sequence(&[der::sequence(&[der::oid(SHA384_OID), der::null()]), der::octets(&prehash)]);
            (info, Padding::PKCS1)
        }
    };
    let mut signature = vec![0; usize::try_from(key.size()).expect("a key size")];
    key.private_encrypt(&encoded, &mut signature, padding).expect("an encoded message of the key's size");
    signature
}

/// ECDSA with a nonce that is a hash of key and message. OpenSSL signs with random nonces only (before 3.2).
fn p256_sign(key: &EcKey<Private>, prehash: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let group = key.group();
    let mut context = BigNumContext::new().expect("memory");
    let mut order = BigNum::new().expect("memory");
    group.order(&mut order, &mut context).expect("a named curve");

    let mut nonce_bytes = digest(MessageDigest::sha256(), &[b"nonce", &key.private_key().to_vec(), prehash]);
    nonce_bytes.truncate(31);
    let nonce = BigNum::from_slice(&nonce_bytes).expect("memory");
    let mut point = EcPoint::new(group).expect("memory");
    point.mul_generator2(group, &nonce, &mut context).expect("nonce below the order");
    let (mut x, mut y) = (BigNum::new().expect("memory"), BigNum::new().expect("memory"));
    point.affine_coordinates(group, &mut x, &mut y, &mut context).expect("finite point");

    let number = || BigNum::new().expect("memory");
    let (mut r, mut product, mut sum, mut inverse, mut s) = (number(), number(), number(), number(), number());
    r.nnmod(&x, &order, &mut context).expect("memory");
    // SEC 1 §4.1.3: the leftmost 256 bits of the digest.
    let e = BigNum::from_slice(prehash.get(..32).unwrap_or(prehash)).expect("memory");
    product.mod_mul(&r, key.private_key(), &order, &mut context).expect("memory");
    sum.mod_add(&e, &product, &order, &mut context).expect("memory");
    inverse.mod_inverse(&nonce, &order, &mut context).expect("a prime order");
    s.mod_mul(&inverse, &sum, &order, &mut context).expect("memory");
    (r.to_vec_padded(32).expect("below the order"), s.to_vec_padded(32).expect("below the order"))
}

fn p256() -> EcGroup {
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a known curve")
}

/// Digest of the parts, one after the other.
pub(crate) fn digest(algorithm: MessageDigest, parts: &[&[u8]]) -> Vec<u8> {
    hash(algorithm, &parts.concat()).expect("a known digest").to_vec()
}
