//! TPMT_PUBLIC and names (TPM 2.0 part 2, section 12.2; part 1, section 16).

use std::fmt;

use super::{TpmError, attest::sized};
use crate::{
    bytes::Reader,
    digest::{HashAlgorithm, write_hex},
};

const ALG_RSA: u16 = 0x0001;
const ALG_ECC: u16 = 0x0023;
const ALG_NULL: u16 = 0x0010;
pub(super) const ALG_RSASSA: u16 = 0x0014;
const ALG_RSAES: u16 = 0x0015;
pub(super) const ALG_RSAPSS: u16 = 0x0016;
const ALG_OAEP: u16 = 0x0017;
pub(super) const ALG_ECDSA: u16 = 0x0018;

/// Name of a TPM object: its name algorithm and the hash of its public area; what certificates and credentials vouch for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TpmName(Vec<u8>);

impl TpmName {
    /// Parses a name: hash algorithm u16 and a digest of its length. (Handles and empty names are not names of keys.)
    ///
    /// # Errors
    /// [`TpmError`] when the algorithm is unknown or the length is not that of its digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u16_be()?;
        let hash = HashAlgorithm::from_tpm_id(id).ok_or(TpmError::Field { field: "name.hash", value: id.into() })?;
        if reader.remaining() != hash.length() {
            return Err(TpmError::Length { field: "name", length: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Name of an object: algorithm ‖ H(public area).
    #[must_use]
    pub fn of_public_area(hash: HashAlgorithm, public_area: &[u8]) -> Self {
        Self([&hash.tpm_id().to_be_bytes(), hash.digest(&[public_area]).as_bytes()].concat())
    }

    /// Qualified name of an object with this name under a parent with the qualified name `parent`; a primary object's
    /// parent is the four bytes of its hierarchy handle (part 1, section 26.5).
    #[must_use]
    pub fn qualified_under(&self, hash: HashAlgorithm, parent: &[u8]) -> Self {
        Self([&hash.tpm_id().to_be_bytes(), hash.digest(&[parent, &self.0]).as_bytes()].concat())
    }

    /// The hash algorithm of the object's public area.
    #[must_use]
    pub fn hash(&self) -> Option<HashAlgorithm> {
        let id = self.0.first_chunk()?;
        HashAlgorithm::from_tpm_id(u16::from_be_bytes(*id))
    }

    /// The bytes: algorithm and digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TpmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TpmName({self})")
    }
}

/// TPMA_OBJECT (part 2, section 8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectAttributes(pub u32);

impl ObjectAttributes {
    /// The key can never leave this TPM.
    pub const FIXED_TPM: Self = Self(1 << 1);
    /// The key can never be moved under another parent.
    pub const FIXED_PARENT: Self = Self(1 << 4);
    /// The TPM made the private part.
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    /// The object's authorisation value authorises its use.
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    /// No dictionary-attack protection.
    pub const NO_DA: Self = Self(1 << 10);
    /// The key signs only what the TPM made, or data that does not look like it.
    pub const RESTRICTED: Self = Self(1 << 16);
    /// The key decrypts.
    pub const DECRYPT: Self = Self(1 << 17);
    /// The key signs.
    pub const SIGN: Self = Self(1 << 18);
    /// The key signs X.509 certificates.
    pub const X509_SIGN: Self = Self(1 << 19);
    /// Bits without a meaning, which are zero.
    const RESERVED: u32 = !0x000F_0CF6;

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets of bits.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Signature scheme of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningScheme {
    /// The scheme is chosen at each use.
    Unspecified,
    /// RSASSA-PKCS1-v1_5 with this hash.
    Rsassa(HashAlgorithm),
    /// RSASSA-PSS with this hash.
    Rsapss(HashAlgorithm),
    /// ECDSA with this hash.
    Ecdsa(HashAlgorithm),
    /// Not a signature scheme (RSAES, OAEP).
    Encryption,
}

/// AES of a storage key (TPMT_SYM_DEF_OBJECT): what its children and credentials are encrypted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AesCipher {
    /// Key length in bits.
    pub key_bits: u16,
    /// Mode, TPM_ALG_ID.
    pub mode: u16,
}

impl AesCipher {
    /// TPM_ALG_CFB, the mode of every storage key.
    pub const CFB: u16 = 0x0043;
}

/// Curves that keys may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EccCurve {
    /// TPM_ECC_NIST_P256.
    P256,
    /// TPM_ECC_NIST_P384.
    P384,
}

impl EccCurve {
    /// Length of a coordinate in bytes.
    #[must_use]
    pub const fn coordinate_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// Public key of a TPM object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmKey {
    /// RSA.
    Rsa {
        /// Modulus, big-endian.
        modulus: Vec<u8>,
        /// Public exponent.
        exponent: u32,
    },
    /// ECC; coordinates are padded to the curve's length.
    Ecc {
        /// The curve.
        curve: EccCurve,
        /// x, big-endian.
        x: Vec<u8>,
        /// y, big-endian.
        y: Vec<u8>,
    },
}

/// TPMT_PUBLIC of an asymmetric key. The bytes that the name is made of are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmPublic {
    bytes: Vec<u8>,
    /// Algorithm of the name.
    pub name_algorithm: HashAlgorithm,
    /// Attributes.
    pub attributes: ObjectAttributes,
    /// Policy digest, empty when the key has none.
    pub auth_policy: Vec<u8>,
    /// Cipher of a storage key; signing keys have none.
    pub symmetric: Option<AesCipher>,
    /// Signature scheme.
    pub scheme: SigningScheme,
    /// The key.
    pub key: TpmKey,
}

impl TpmPublic {
    /// Parses TPMT_PUBLIC, or TPM2B_PUBLIC around it (told apart by the first field).
    ///
    /// # Errors
    /// [`TpmError`] naming the field.
    pub fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut outer = Reader::new(bytes);
        let first = outer.u16_be()?;
        let area = match first {
            ALG_RSA | ALG_ECC => bytes,
            size if usize::from(size) == outer.remaining() => outer.rest(),
            other => return Err(TpmError::Field { field: "public.type", value: other.into() }),
        };
        let mut reader = Reader::new(area);
        let kind = reader.u16_be()?;
        let hash_id = reader.u16_be()?;
        let unknown_hash = TpmError::Field { field: "public.nameAlg", value: hash_id.into() };
        let name_algorithm = HashAlgorithm::from_tpm_id(hash_id).ok_or(unknown_hash)?;
        let attributes = ObjectAttributes(reader.u32_be()?);
        if attributes.0 & ObjectAttributes::RESERVED != 0 {
            return Err(TpmError::Field { field: "public.objectAttributes", value: attributes.0.into() });
        }
        let auth_policy = sized(&mut reader, "public.authPolicy", name_algorithm.length())?.to_vec();
        if !auth_policy.is_empty() && auth_policy.len() != name_algorithm.length() {
            return Err(TpmError::Length { field: "public.authPolicy", length: auth_policy.len() });
        }
        let symmetric = parse_symmetric(&mut reader)?;
        let scheme = parse_scheme(&mut reader)?;
        let key = match kind {
            ALG_RSA => parse_rsa(&mut reader)?,
            ALG_ECC => parse_ecc(&mut reader)?,
            _ => return Err(TpmError::Field { field: "public.type", value: kind.into() }),
        };
        if !reader.is_empty() {
            return Err(TpmError::Trailing { structure: "public area", offset: reader.offset() });
        }
        Ok(Self { bytes: area.to_vec(), name_algorithm, attributes, auth_policy, symmetric, scheme, key })
    }

    /// The public area that the name is made of.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Name of the key, computed from the public area.
    #[must_use]
    pub fn name(&self) -> TpmName {
        TpmName::of_public_area(self.name_algorithm, &self.bytes)
    }
}

/// TPMT_SYM_DEF_OBJECT: NULL, or AES with key bits and mode (storage keys).
fn parse_symmetric(reader: &mut Reader<'_>) -> Result<Option<AesCipher>, TpmError> {
    const ALG_AES: u16 = 0x0006;
    match reader.u16_be()? {
        ALG_NULL => Ok(None),
        ALG_AES => Ok(Some(AesCipher { key_bits: reader.u16_be()?, mode: reader.u16_be()? })),
        other => Err(TpmError::Field { field: "public.symmetric", value: other.into() }),
    }
}

fn parse_scheme(reader: &mut Reader<'_>) -> Result<SigningScheme, TpmError> {
    let scheme = reader.u16_be()?;
    match scheme {
        ALG_NULL => return Ok(SigningScheme::Unspecified),
        ALG_RSAES => return Ok(SigningScheme::Encryption),
        ALG_RSASSA | ALG_RSAPSS | ALG_OAEP | ALG_ECDSA => {}
        _ => return Err(TpmError::Field { field: "public.scheme", value: scheme.into() }),
    }
    let id = reader.u16_be()?;
    let hash =
        HashAlgorithm::from_tpm_id(id).ok_or(TpmError::Field { field: "public.scheme.hash", value: id.into() })?;
    Ok(match scheme {
        ALG_RSASSA => SigningScheme::Rsassa(hash),
        ALG_RSAPSS => SigningScheme::Rsapss(hash),
        ALG_ECDSA => SigningScheme::Ecdsa(hash),
        _ => SigningScheme::Encryption,
    })
}

fn parse_rsa(reader: &mut Reader<'_>) -> Result<TpmKey, TpmError> {
    let bits = reader.u16_be()?;
    let exponent = match reader.u32_be()? {
        // Zero means the default exponent (part 2, section 12.2.3.5).
        0 => 65_537,
        exponent => exponent,
    };
    let modulus = sized(reader, "public.modulus", 512)?.to_vec();
    if modulus.len().checked_mul(8) != Some(bits.into()) {
        return Err(TpmError::Length { field: "public.modulus", length: modulus.len() });
    }
    Ok(TpmKey::Rsa { modulus, exponent })
}

fn parse_ecc(reader: &mut Reader<'_>) -> Result<TpmKey, TpmError> {
    let curve = match reader.u16_be()? {
        0x0003 => EccCurve::P256,
        0x0004 => EccCurve::P384,
        other => return Err(TpmError::Field { field: "public.curve", value: other.into() }),
    };
    let kdf = reader.u16_be()?;
    if kdf != ALG_NULL {
        return Err(TpmError::Field { field: "public.kdf", value: kdf.into() });
    }
    let length = curve.coordinate_length();
    let mut coordinate = |field| sized(reader, field, length).map(|bytes| left_padded(bytes, length));
    Ok(TpmKey::Ecc { curve, x: coordinate("public.x")?, y: coordinate("public.y")? })
}

/// A big-endian integer of at most `length` bytes as exactly `length` bytes: the same number.
fn left_padded(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut padded = vec![0; length.saturating_sub(bytes.len())];
    padded.extend_from_slice(bytes);
    padded
}
