//! What an authenticated report says.

use std::collections::BTreeMap;

use evidence_formats::{
    bytes::{LaunchDigest, ReportData, Sha256Digest, Sha384Digest},
    snp::{
        ChipId, FamilyId, FirmwareVersion, GuestPolicy, HostData, ImageId, PlatformInfo, ProductLine, ReportFields,
        ReportId, TcbComponents, Vmpl,
    },
};
use serde::{Serialize, Serializer};

use super::{
    certs::{VekKind, VekOwner},
    chain::VekProof,
    revocation::Standing,
};
use crate::{
    AnchorOrigin, Claims, Measurements, Platform, RawClaims, Signer, TcbClaims, Timestamp, Unchecked, x509::CrlNumber,
};

/// Every field of an authenticated report, named as in AMD 56860, with what the certificates add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnpClaims {
    /// VERSION.
    pub version: u32,
    /// Product line that the certificate chain proves.
    pub product: ProductLine,
    /// GUEST_SVN; chosen by the host unless an ID block is enforced.
    pub guest_svn: u32,
    /// POLICY.
    pub policy: GuestPolicyClaims,
    /// FAMILY_ID; as GUEST_SVN.
    pub family_id: FamilyId,
    /// IMAGE_ID; as GUEST_SVN.
    pub image_id: ImageId,
    /// VMPL: 0 to 3, or `null` when the host asked for the report.
    #[serde(serialize_with = "vmpl_number")]
    pub vmpl: Vmpl,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfoClaims,
    /// Key information.
    pub key_info: KeyInfoClaims,
    /// REPORT_DATA.
    pub report_data: ReportData,
    /// MEASUREMENT.
    pub measurement: LaunchDigest,
    /// HOST_DATA.
    pub host_data: HostData,
    /// ID_KEY_DIGEST.
    pub id_key_digest: Sha384Digest,
    /// AUTHOR_KEY_DIGEST.
    pub author_key_digest: Sha384Digest,
    /// REPORT_ID.
    pub report_id: ReportId,
    /// REPORT_ID_MA.
    pub report_id_ma: ReportId,
    /// Every TCB version by component.
    pub tcb: TcbSet,
    /// CPUID family, model, stepping; absent in version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuid: Option<(u8, u8, u8)>,
    /// CHIP_ID.
    pub chip_id: ChipId,
    /// Whether CHIP_ID is all zero.
    pub chip_id_masked: bool,
    /// Firmware version that is running.
    pub current_version: FirmwareVersion,
    /// Firmware version that is committed.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_MIT_VECTOR; absent before version 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch_mit_vector: Option<u64>,
    /// CURRENT_MIT_VECTOR; absent before version 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_mit_vector: Option<u64>,
    /// The endorsement key that signed it.
    pub vek: VekClaims,
    /// The CRL that the chain was checked against; absent when none was required and none was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<CrlClaims>,
}

/// The TCB versions of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TcbSet {
    /// CURRENT_TCB: what is running.
    pub current: TcbComponents,
    /// REPORTED_TCB: what the endorsement key was derived for.
    pub reported: TcbComponents,
    /// COMMITTED_TCB: what cannot be rolled back.
    pub committed: TcbComponents,
    /// LAUNCH_TCB: what ran when the guest was launched or imported.
    pub launch: TcbComponents,
}

/// POLICY, bit by bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuestPolicyClaims {
    /// All bits.
    pub value: u64,
    /// ABI_MAJOR.
    pub abi_major: u8,
    /// ABI_MINOR.
    pub abi_minor: u8,
    /// SMT.
    pub smt: bool,
    /// MIGRATE_MA.
    pub migrate_ma: bool,
    /// DEBUG.
    pub debug: bool,
    /// SINGLE_SOCKET.
    pub single_socket: bool,
    /// CXL_ALLOW.
    pub cxl_allow: bool,
    /// MEM_AES_256_XTS.
    pub mem_aes_256_xts: bool,
    /// RAPL_DIS.
    pub rapl_dis: bool,
    /// CIPHERTEXT_HIDING_DRAM.
    pub ciphertext_hiding_dram: bool,
    /// PAGE_SWAP_DISABLE.
    pub page_swap_disable: bool,
}

/// PLATFORM_INFO, bit by bit; bits without a name only show in `value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlatformInfoClaims {
    /// All bits.
    pub value: u64,
    /// SMT_EN.
    pub smt_en: bool,
    /// TSME_EN.
    pub tsme_en: bool,
    /// ECC_EN.
    pub ecc_en: bool,
    /// RAPL_DIS.
    pub rapl_dis: bool,
    /// CIPHERTEXT_HIDING_DRAM_EN.
    pub ciphertext_hiding_dram_en: bool,
    /// ALIAS_CHECK_COMPLETE.
    pub alias_check_complete: bool,
    /// TIO_EN.
    pub tio_en: bool,
}

/// Key information.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyInfoClaims {
    /// SIGNING_KEY.
    pub signing_key: VekKind,
    /// AUTHOR_KEY_EN.
    pub author_key_en: bool,
    /// MASK_CHIP_KEY.
    pub mask_chip_key: bool,
}

/// The endorsement key certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VekClaims {
    /// VCEK or VLEK.
    pub kind: VekKind,
    /// productName.
    pub product_name: String,
    /// CSP_ID of a VLEK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub csp_id: Option<String>,
    /// SHA-256 of the certificate.
    pub sha256: Sha256Digest,
}

/// The CRL that a chain was checked against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CrlClaims {
    /// Issuer, as the floors of the verification name it.
    pub issuer: String,
    /// CRL number.
    #[serde(serialize_with = "as_text")]
    pub number: CrlNumber,
    /// When a newer one is due.
    pub next_update: Timestamp,
}

fn vmpl_number<S: Serializer>(vmpl: &Vmpl, serializer: S) -> Result<S::Ok, S::Error> {
    match vmpl {
        Vmpl::Guest(level) => serializer.serialize_u8(*level),
        Vmpl::Host => serializer.serialize_none(),
    }
}

fn as_text<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl From<GuestPolicy> for GuestPolicyClaims {
    fn from(policy: GuestPolicy) -> Self {
        let (abi_major, abi_minor) = policy.abi();
        Self {
            value: policy.bits(),
            abi_major,
            abi_minor,
            smt: policy.smt_allowed(),
            migrate_ma: policy.migration_agent_allowed(),
            debug: policy.debug_allowed(),
            single_socket: policy.single_socket_required(),
            cxl_allow: policy.cxl_allowed(),
            mem_aes_256_xts: policy.aes_256_xts_required(),
            rapl_dis: policy.rapl_disabled_required(),
            ciphertext_hiding_dram: policy.ciphertext_hiding_required(),
            page_swap_disable: policy.page_swap_disabled(),
        }
    }
}

impl From<PlatformInfo> for PlatformInfoClaims {
    fn from(info: PlatformInfo) -> Self {
        Self {
            value: info.0,
            smt_en: info.smt_enabled(),
            tsme_en: info.tsme_enabled(),
            ecc_en: info.ecc_enabled(),
            rapl_dis: info.rapl_disabled(),
            ciphertext_hiding_dram_en: info.ciphertext_hiding_enabled(),
            alias_check_complete: info.alias_check_complete(),
            tio_en: info.tio_enabled(),
        }
    }
}

impl SnpClaims {
    pub(super) fn new(fields: &ReportFields, tcb: TcbSet, proof: &VekProof) -> Self {
        Self {
            version: fields.version,
            product: proof.line,
            guest_svn: fields.guest_svn,
            policy: fields.policy.into(),
            family_id: fields.family_id,
            image_id: fields.image_id,
            vmpl: fields.vmpl,
            platform_info: fields.platform_info.into(),
            key_info: KeyInfoClaims {
                signing_key: proof.kind,
                author_key_en: fields.key_info.author_key_enabled,
                mask_chip_key: fields.key_info.mask_chip_key,
            },
            report_data: fields.report_data,
            measurement: fields.measurement,
            host_data: fields.host_data,
            id_key_digest: fields.id_key_digest,
            author_key_digest: fields.author_key_digest,
            report_id: fields.report_id,
            report_id_ma: fields.report_id_ma,
            tcb,
            cpuid: fields.cpuid,
            chip_id: fields.chip_id,
            chip_id_masked: fields.chip_id.is_zero(),
            current_version: fields.current_version,
            committed_version: fields.committed_version,
            launch_mit_vector: fields.launch_mit_vector,
            current_mit_vector: fields.current_mit_vector,
            vek: VekClaims {
                kind: proof.kind,
                product_name: proof.profile.product_name.clone(),
                csp_id: match &proof.profile.owner {
                    VekOwner::Chip(_) => None,
                    VekOwner::Csp(id) => Some(id.clone()),
                },
                sha256: proof.digest,
            },
            crl: match &proof.standing {
                Standing::Checked(crl) => {
                    Some(CrlClaims { issuer: crl.issuer.clone(), number: crl.number, next_update: crl.next_update })
                }
                Standing::NotCurrent(..) | Standing::Missing { .. } => None,
            },
        }
    }

    /// Whether an ID block was enforced at launch: without one, GUEST_SVN, FAMILY_ID and IMAGE_ID are the host's choice.
    #[must_use]
    pub fn id_block_enforced(&self) -> bool {
        !self.id_key_digest.is_zero()
    }

    /// The chip's identity in hex, when the report is bound to one chip: the bytes that its product line uses.
    #[must_use]
    pub fn chip(&self) -> Option<String> {
        let bound = self.vek.kind == VekKind::Vcek && !self.chip_id_masked;
        let used = self.chip_id.as_bytes().get(..self.product.chip_id_length());
        used.filter(|_| bound).map(hex::encode)
    }

    /// The claims in the schema that all platforms share.
    pub(super) fn into_claims(self, origin: AnchorOrigin, unchecked: Vec<Unchecked>) -> Claims {
        let versions = [
            ("current", &self.tcb.current),
            ("reported", &self.tcb.reported),
            ("committed", &self.tcb.committed),
            ("launch", &self.tcb.launch),
        ];
        let by_name = |tcb: &TcbComponents| tcb.named().map(|(name, level)| (name, u32::from(level))).collect();
        let signer = self.id_block_enforced().then(|| Signer {
            id_key_digest: self.id_key_digest.to_string(),
            author_key_digest: self.key_info.author_key_en.then(|| self.author_key_digest.to_string()),
            guest_svn: Some(self.guest_svn),
        });
        Claims {
            hwmodel: match self.product {
                ProductLine::Milan => "amd-milan",
                ProductLine::Genoa => "amd-genoa",
                ProductLine::Turin => "amd-turin",
            },
            platform: self.platform(origin),
            measurement: Measurements { launch: Some(self.measurement), runtime: BTreeMap::new() },
            tcb: TcbClaims {
                versions: versions.into_iter().map(|(kind, tcb)| (kind, by_name(tcb))).collect(),
                ..TcbClaims::default()
            },
            debug: self.policy.debug,
            instance: self.chip(),
            signer,
            host_data: Some(self.host_data.to_string()),
            init_data: None,
            report_data: self.report_data.to_string(),
            unchecked,
            raw: RawClaims::Snp(Box::new(self)),
        }
    }

    /// Whose machine it is, as far as the certificates prove it.
    fn platform(&self, origin: AnchorOrigin) -> Platform {
        match (origin, self.vek.csp_id.as_deref()) {
            (AnchorOrigin::Operator, _) => Platform::Simulated,
            (AnchorOrigin::Vendor, Some(csp)) if csp.ends_with(".amazonaws.com") => Platform::Aws,
            (AnchorOrigin::Vendor, _) => Platform::Bare,
        }
    }
}
