//! Public areas to make keys from.

use super::{NvIndex, command::Writer};

/// TPM_ALG identifiers (TCG Algorithm Registry).
const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_KEYEDHASH: u16 = 0x0008;
const ALG_SHA256: u16 = 0x000B;
const ALG_NULL: u16 = 0x0010;
const ALG_RSASSA: u16 = 0x0014;
const ALG_ECDSA: u16 = 0x0018;
const ALG_ECC: u16 = 0x0023;
const ALG_CFB: u16 = 0x0043;
/// TPM_ECC_NIST_P256.
const CURVE_P256: u16 = 0x0003;

/// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
const EK_ATTRIBUTES: u32 = 0x0003_00B2;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
const AK_ATTRIBUTES: u32 = 0x0005_0472;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, decrypt.
const STORAGE_ATTRIBUTES: u32 = 0x0003_0472;
/// fixedTPM, fixedParent, adminWithPolicy, noDA; userWithAuth is clear, so that nothing but the policy opens it.
const SEALED_ATTRIBUTES: u32 = 0x0000_0492;

/// PolicyA: TPM2_PolicySecret(endorsement) (TCG EK Credential Profile, section B.6.2).
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24, 0xFD, 0x52, 0xD7,
    0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];

/// What makes our attestation key another one than a key of the same kind that others make in the same hierarchy.
const AK_UNIQUE: &[u8; 32] = b"countersign attestation key v1\0\0";

/// TPMT_PUBLIC as a template of a key: the same template and the same seed make the same primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicTemplate(Vec<u8>);

impl PublicTemplate {
    /// A template of somebody else, TPMT_PUBLIC without a size before it. The TPM says what is wrong with it.
    #[must_use]
    pub fn new(public_area: impl Into<Vec<u8>>) -> Self {
        Self(public_area.into())
    }

    /// The TPMT_PUBLIC.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The parent of what is sealed on this machine: the storage root key of the TPM v2.0 Provisioning Guidance, on P-256.
    pub(super) fn storage_parent() -> Self {
        Self::of(start(ALG_ECC, STORAGE_ATTRIBUTES, &[]).u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_NULL))
            .with(|writer| writer.u16(CURVE_P256).u16(ALG_NULL).sized(&[0; 32]).sized(&[0; 32]))
    }

    /// A sealed object under `policy`.
    pub(super) fn sealed(policy: &[u8]) -> Self {
        Self::of(start(ALG_KEYEDHASH, SEALED_ATTRIBUTES, policy).u16(ALG_NULL).sized(&[]))
    }

    fn of(writer: Writer) -> Self {
        Self(writer.as_bytes().to_vec())
    }

    fn with(self, more: impl FnOnce(Writer) -> Writer) -> Self {
        Self::of(more(Writer::default().bytes(&self.0)))
    }
}

/// Type, name algorithm, attributes, policy.
fn start(kind: u16, attributes: u32, policy: &[u8]) -> Writer {
    Writer::default().u16(kind).u16(ALG_SHA256).u32(attributes).sized(policy)
}

/// Kinds of endorsement keys (TCG EK Credential Profile, annex B: templates of the low range).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EkKind {
    /// Template L-1: RSA 2048.
    Rsa2048,
    /// Template L-2: ECC P-256.
    EccP256,
}

impl EkKind {
    /// Both, the older one first.
    pub const ALL: [Self; 2] = [Self::Rsa2048, Self::EccP256];

    /// Where the manufacturer leaves the certificate.
    #[must_use]
    pub const fn certificate_index(self) -> NvIndex {
        match self {
            Self::Rsa2048 => NvIndex(0x01C0_0002),
            Self::EccP256 => NvIndex(0x01C0_000A),
        }
    }

    /// The template of the profile.
    #[must_use]
    pub fn template(self) -> PublicTemplate {
        let kind = match self {
            Self::Rsa2048 => ALG_RSA,
            Self::EccP256 => ALG_ECC,
        };
        let storage = start(kind, EK_ATTRIBUTES, &POLICY_A).u16(ALG_AES).u16(128).u16(ALG_CFB).u16(ALG_NULL);
        PublicTemplate::of(match self {
            Self::Rsa2048 => storage.u16(2048).u32(0).sized(&[0; 256]),
            Self::EccP256 => storage.u16(CURVE_P256).u16(ALG_NULL).sized(&[0; 32]).sized(&[0; 32]),
        })
    }
}

/// Kinds of attestation keys: restricted, fixed to their TPM, signing over SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AkKind {
    /// RSA 2048, RSASSA. A hardware TPM may need a minute to make it.
    Rsa2048,
    /// ECC P-256, ECDSA.
    #[default]
    EccP256,
}

impl AkKind {
    /// The template: the same key comes out of it until the endorsement seed changes, so nothing has to be kept.
    #[must_use]
    pub fn template(self) -> PublicTemplate {
        match self {
            Self::Rsa2048 => {
                let unique = [AK_UNIQUE.as_slice(), &[0; 224]].concat();
                let signing = start(ALG_RSA, AK_ATTRIBUTES, &[]).u16(ALG_NULL).u16(ALG_RSASSA).u16(ALG_SHA256);
                PublicTemplate::of(signing.u16(2048).u32(0).sized(&unique))
            }
            Self::EccP256 => {
                let signing = start(ALG_ECC, AK_ATTRIBUTES, &[]).u16(ALG_NULL).u16(ALG_ECDSA).u16(ALG_SHA256);
                PublicTemplate::of(signing.u16(CURVE_P256).u16(ALG_NULL).sized(AK_UNIQUE).sized(&[0; 32]))
            }
        }
    }
}
