//! What an operator can set for SEV-SNP (`[baseline.snp]`).

use std::{collections::BTreeMap, str::FromStr};

use evidence_formats::{
    bytes::Sha384Digest,
    snp::{FamilyId, FirmwareVersion, ImageId, ProductLine, TcbComponents, TcbLayout},
};
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use crate::InitDataRule;

/// Baseline rules for SEV-SNP. The default refuses debug, migration, CXL, VMPLs other than 0, VLEKs, masked chip ids and
/// platforms that break the guest's policy; a report that the host asked for is always refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SnpBaseline {
    /// Accepts guests that their host can debug.
    pub allow_debug: bool,
    /// Accepts guests that a migration agent may move, or has moved.
    pub allow_migration_agent: bool,
    /// Accepts guests that allow CXL devices.
    pub allow_cxl: bool,
    /// Accepts reports signed by a cloud provider's fleet key; needs [`Self::csp_ids`].
    pub allow_vlek: bool,
    /// The cloud providers whose fleet keys are accepted, by the CSP_ID of their certificate.
    pub csp_ids: Vec<String>,
    /// Accepts reports whose chip id is masked, so that they are bound to no chip.
    pub allow_masked_chip_id: bool,
    /// Accepts platforms that break the guest's own policy.
    pub allow_policy_contradiction: bool,
    /// VMPLs that may ask for a report.
    pub vmpls: Vec<u8>,

    /// Refuses guests that accept a host with SMT.
    pub forbid_smt: bool,
    /// Refuses platforms with SMT on.
    pub forbid_platform_smt: bool,
    /// Refuses platforms with trusted I/O on.
    pub forbid_tio: bool,
    /// Refuses firmware that can still be rolled back.
    pub forbid_provisional_firmware: bool,
    /// Requires guests that run on one socket only.
    pub require_single_socket: bool,
    /// Requires guests that require AES-256-XTS memory encryption.
    pub require_aes_256_xts: bool,
    /// Requires RAPL to be off, by the guest's policy and on the platform.
    pub require_rapl_disabled: bool,
    /// Requires DRAM ciphertext hiding, by the guest's policy and on the platform.
    pub require_ciphertext_hiding: bool,
    /// Requires guests that forbid page swapping.
    pub require_page_swap_disabled: bool,
    /// Requires transparent memory encryption.
    pub require_tsme: bool,
    /// Requires ECC memory.
    pub require_ecc: bool,
    /// Requires the check for aliased memory (AMD-SB-3015).
    pub require_alias_check: bool,

    /// Whether init-data must be there: `"if_present"` (default) or `"require"`. What is there must be what HOST_DATA
    /// commits to, always.
    pub init_data: InitDataRule,

    /// Lowest ABI version of the guest policy, `"major.minor"`.
    pub minimum_abi: Option<MinimumVersion>,
    /// Lowest running firmware, `"major.minor"` or `"major.minor.build"`.
    pub minimum_current_firmware: Option<MinimumVersion>,
    /// Lowest committed firmware, likewise.
    pub minimum_committed_firmware: Option<MinimumVersion>,
    /// Lowest TCB by product line: `[baseline.snp.minimum_tcb.milan]`.
    pub minimum_tcb: BTreeMap<ProductLine, TcbFloors>,
    /// Bits that LAUNCH_MIT_VECTOR must have.
    pub required_launch_mitigations: u64,
    /// Bits that CURRENT_MIT_VECTOR must have.
    pub required_current_mitigations: u64,

    /// Chips that are accepted, by chip id in hex; empty accepts every chip.
    pub allowed_chips: Vec<ChipPin>,
    /// Chips that are refused, by chip id in hex.
    pub denied_chips: Vec<ChipPin>,
    /// Requires an ID block.
    pub require_id_block: bool,
    /// Requires an author key in [`Self::author_keys`].
    pub require_author_key: bool,
    /// Digests of trusted ID keys; not empty requires one, or a trusted author.
    pub id_keys: Vec<Sha384Digest>,
    /// Digests of trusted author keys.
    pub author_keys: Vec<Sha384Digest>,
    /// Lowest GUEST_SVN; requires an ID block.
    pub minimum_guest_svn: Option<u32>,
    /// FAMILY_IDs that are accepted; not empty requires an ID block.
    pub family_ids: Vec<FamilyId>,
    /// IMAGE_IDs that are accepted; not empty requires an ID block.
    pub image_ids: Vec<ImageId>,
}

impl Default for SnpBaseline {
    fn default() -> Self {
        Self {
            allow_debug: false,
            allow_migration_agent: false,
            allow_cxl: false,
            allow_vlek: false,
            csp_ids: Vec::new(),
            allow_masked_chip_id: false,
            allow_policy_contradiction: false,
            vmpls: vec![0],
            forbid_smt: false,
            forbid_platform_smt: false,
            forbid_tio: false,
            forbid_provisional_firmware: false,
            require_single_socket: false,
            require_aes_256_xts: false,
            require_rapl_disabled: false,
            require_ciphertext_hiding: false,
            require_page_swap_disabled: false,
            require_tsme: false,
            require_ecc: false,
            require_alias_check: false,
            init_data: InitDataRule::default(),
            minimum_abi: None,
            minimum_current_firmware: None,
            minimum_committed_firmware: None,
            minimum_tcb: BTreeMap::new(),
            required_launch_mitigations: 0,
            required_current_mitigations: 0,
            allowed_chips: Vec::new(),
            denied_chips: Vec::new(),
            require_id_block: false,
            require_author_key: false,
            id_keys: Vec::new(),
            author_keys: Vec::new(),
            minimum_guest_svn: None,
            family_ids: Vec::new(),
            image_ids: Vec::new(),
        }
    }
}

/// Lowest TCB of one product line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TcbFloors {
    /// For REPORTED_TCB.
    pub reported: Option<TcbFloor>,
    /// For COMMITTED_TCB: below it the host cannot roll back.
    pub committed: Option<TcbFloor>,
    /// For LAUNCH_TCB.
    pub launch: Option<TcbFloor>,
    /// For CURRENT_TCB.
    pub current: Option<TcbFloor>,
}

/// Lowest patch level of every component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbFloor {
    /// Turin only, and required there.
    pub fmc: Option<u8>,
    /// Boot loader.
    pub bootloader: u8,
    /// PSP operating system.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

impl From<TcbFloor> for TcbComponents {
    fn from(floor: TcbFloor) -> Self {
        let TcbFloor { fmc, bootloader, tee, snp, microcode } = floor;
        Self { fmc, bootloader, tee, snp, microcode }
    }
}

/// Settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnpBaselineError {
    /// VLEKs are allowed, but of no provider.
    #[error("expected csp_ids beside allow_vlek")]
    CspIds,
    /// An author key is required, but none is trusted.
    #[error("expected author_keys beside require_author_key")]
    AuthorKeys,
    /// A VMPL above 3, or none at all.
    #[error("expected one or more VMPLs from 0 to 3 in vmpls")]
    Vmpls,
    /// A floor with a component that the product line does not have, or without one that it has.
    #[error("expected fmc in the minimum TCB of Turin, and of no other product line, found the opposite for {line}")]
    Fmc {
        /// The product line.
        line: ProductLine,
    },
}

impl SnpBaseline {
    /// Checks that the settings do not contradict each other.
    pub(crate) fn consistent(&self) -> Result<(), SnpBaselineError> {
        if self.allow_vlek == self.csp_ids.is_empty() {
            return Err(SnpBaselineError::CspIds);
        }
        if self.require_author_key && self.author_keys.is_empty() {
            return Err(SnpBaselineError::AuthorKeys);
        }
        if self.vmpls.is_empty() || self.vmpls.iter().any(|level| *level > 3) {
            return Err(SnpBaselineError::Vmpls);
        }
        for (line, floors) in &self.minimum_tcb {
            let all = [floors.reported, floors.committed, floors.launch, floors.current];
            let has_fmc = line.tcb_layout() == TcbLayout::Turin;
            if all.iter().flatten().any(|floor| floor.fmc.is_some() != has_fmc) {
                return Err(SnpBaselineError::Fmc { line: *line });
            }
        }
        Ok(())
    }
}

/// A version such as `"1.55"` or `"1.55.29"`; a build that is not given is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinimumVersion(pub FirmwareVersion);

impl MinimumVersion {
    pub(super) const fn major_minor(self) -> (u8, u8) {
        (self.0.major, self.0.minor)
    }
}

impl FromStr for MinimumVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = "expected a version such as \"1.55\" or \"1.55.29\"";
        let numbers: Result<Vec<u8>, _> = text.split('.').map(str::parse).collect();
        match numbers.ok().ok_or(malformed)?.as_slice() {
            [major, minor] => Ok(Self(FirmwareVersion { major: *major, minor: *minor, build: 0 })),
            [major, minor, build] => Ok(Self(FirmwareVersion { major: *major, minor: *minor, build: *build })),
            _ => Err(malformed),
        }
    }
}

impl<'de> Deserialize<'de> for MinimumVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A chip id as its product line writes it: 64 bytes, or 8 on Turin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipPin(Vec<u8>);

impl ChipPin {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for ChipPin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = hex::decode(text).ok().filter(|bytes| matches!(bytes.len(), 8 | 64));
        bytes.map(Self).ok_or("expected a chip id of 128 hex digits, or of 16 on Turin")
    }
}

impl<'de> Deserialize<'de> for ChipPin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
