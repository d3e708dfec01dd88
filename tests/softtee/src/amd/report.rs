//! Attestation reports with every field settable.
use evidence_formats::bytes::{LaunchDigest, ReportData};
use openssl::hash::MessageDigest;

use super::{ProductLine, Tcb, VekKind};
use crate::keys::PrivateKey;

/// Length of a report in bytes.
const REPORT_LENGTH: usize = 0x4a0;
/// Length of the part that the signature covers.
const SIGNED_LENGTH: usize = 0x2a0;

/// A firmware version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareVersion {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// The content of a report (56860 table 22), before signing.
///
/// [`Self::healthy`] is what a well-run guest shows. A field that the version does not have is left out of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSpec {
    /// `VERSION`: 2 to 5 exist.
    pub version: u32,
    /// `GUEST_SVN`.
    pub guest_svn: u32,
    /// `POLICY`; healthy: ABI 1.55, SMT allowed, bit 17.
    pub policy: u64,
    /// `FAMILY_ID`.
    pub family_id: [u8; 16],
    /// `IMAGE_ID`.
    pub image_id: [u8; 16],
    /// `VMPL`; healthy: 0.
    pub vmpl: u32,
    /// `SIGNATURE_ALGO`; 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// `CURRENT_TCB`, as [`Tcb::to_bytes`] gives it.
    pub current_tcb: [u8; 8],
    /// `PLATFORM_INFO`; healthy: SMT, ECC and, from version 3, the alias check.
    pub platform_info: u64,
    /// Flags and signing key; healthy: no flag, VCEK.
    pub key_info: u32,
    /// `REPORT_DATA`.
    pub report_data: ReportData,
    /// `MEASUREMENT`.
    pub measurement: LaunchDigest,
    /// `HOST_DATA`.
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`; healthy: zero, no ID block.
    pub id_key_digest: [u8; 48],
    /// `AUTHOR_KEY_DIGEST`; healthy: zero.
    pub author_key_digest: [u8; 48],
    /// `REPORT_ID`.
    pub report_id: [u8; 32],
    /// `REPORT_ID_MA`; healthy: all ones, no migration agent.
    pub report_id_ma: [u8; 32],
    /// `REPORTED_TCB`.
    pub reported_tcb: [u8; 8],
    /// Combined CPUID family, model and stepping; from version 3.
    pub cpuid: [u8; 3],
    /// `CHIP_ID`.
    pub chip_id: [u8; 64],
    /// `COMMITTED_TCB`.
    pub committed_tcb: [u8; 8],
    /// Version of the running firmware.
    pub current_version: FirmwareVersion,
    /// Version of the committed firmware.
    pub committed_version: FirmwareVersion,
    /// `LAUNCH_TCB`.
    pub launch_tcb: [u8; 8],
    /// `LAUNCH_MIT_VECTOR`; from version 5.
    pub launch_mitigations: u64,
    /// `CURRENT_MIT_VECTOR`; from version 5.
    pub current_mitigations: u64,
    /// Offsets and bytes written over everything else before signing: for reserved fields.
    pub patches: Vec<(usize, Vec<u8>)>,
}

impl ReportSpec {
    /// Healthy `POLICY`: ABI 1.55, SMT allowed, reserved bit 17 set.
    pub const POLICY: u64 = 0x3_0137;

    /// A well-run guest: report version 3 on Milan and 5 on newer lines, all four TCBs equal, VMPL 0, no debugging.
    #[must_use]
    pub fn healthy(product: ProductLine) -> Self {
        let tcb = Tcb::healthy(product).to_bytes(product);
        let firmware = FirmwareVersion { major: 1, minor: 55, build: 61 };
        Self {
            version: if product == ProductLine::Milan { 3 } else { 5 },
            guest_svn: 0,
            policy: Self::POLICY,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: 0x25,
            key_info: 0,
            report_data: ReportData([0; 64]),
            measurement: LaunchDigest([0x4d; 48]),
            host_data: [0; 32],
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0x1d; 32],
            report_id_ma: [0xff; 32],
            reported_tcb: tcb,
            cpuid: product.cpuid(),
            chip_id: [0; 64],
            committed_tcb: tcb,
            current_version: firmware,
            committed_version: firmware,
            launch_tcb: tcb,
            launch_mitigations: 0xb,
            current_mitigations: 0xb,
            patches: Vec::new(),
        }
    }

    /// Sets all four TCB fields.
    pub fn set_tcb(&mut self, tcb: [u8; 8]) -> &mut Self {
        (self.current_tcb, self.reported_tcb) = (tcb, tcb);
        (self.committed_tcb, self.launch_tcb) = (tcb, tcb);
        self
    }

    /// Sets the signing key field of `KEY_INFO` (bits 4:2), other bits untouched.
    pub fn set_signing_key(&mut self, kind: VekKind) -> &mut Self {
        let code = match kind {
            VekKind::Vcek => 0,
            VekKind::Vlek => 1,
        };
        self.key_info = (self.key_info & !0x1c) | (code << 2);
        self
    }

    /// The report with a zero signature.
    #[must_use]
    pub fn unsigned(&self) -> Vec<u8> {
        let mut report = vec![0; REPORT_LENGTH];
        for (offset, bytes) in self.fields() {
            overwrite(&mut report, offset, &bytes);
        }
        for (offset, bytes) in &self.patches {
            overwrite(&mut report, *offset, bytes);
        }
        report
    }

    /// The report signed by an endorsement key.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        let mut report = self.unsigned();
        let signed = report.get(..SIGNED_LENGTH).unwrap_or_default();
        let (mut r, mut s) = key.sign_ecdsa(MessageDigest::sha384(), signed);
        // 56860 §2.4: both components are little-endian, in 72 bytes each.
        r.reverse();
        s.reverse();
        overwrite(&mut report, SIGNED_LENGTH, &r);
        overwrite(&mut report, SIGNED_LENGTH.saturating_add(72), &s);
        report
    }

    fn fields(&self) -> Vec<(usize, Vec<u8>)> {
        let mut fields = vec![
            (0x000, self.version.to_le_bytes().to_vec()),
            (0x004, self.guest_svn.to_le_bytes().to_vec()),
            (0x008, self.policy.to_le_bytes().to_vec()),
            (0x010, self.family_id.to_vec()),
            (0x020, self.image_id.to_vec()),
            (0x030, self.vmpl.to_le_bytes().to_vec()),
            (0x034, self.signature_algo.to_le_bytes().to_vec()),
            (0x038, self.current_tcb.to_vec()),
            (0x040, self.platform_info.to_le_bytes().to_vec()),
            (0x048, self.key_info.to_le_bytes().to_vec()),
            (0x050, self.report_data.as_bytes().to_vec()),
            (0x090, self.measurement.as_bytes().to_vec()),
            (0x0c0, self.host_data.to_vec()),
            (0x0e0, self.id_key_digest.to_vec()),
            (0x110, self.author_key_digest.to_vec()),
            (0x140, self.report_id.to_vec()),
            (0x160, self.report_id_ma.to_vec()),
            (0x180, self.reported_tcb.to_vec()),
            (0x1a0, self.chip_id.to_vec()),
            (0x1e0, self.committed_tcb.to_vec()),
            (0x1e8, version_bytes(self.current_version)),
            (0x1ec, version_bytes(self.committed_version)),
            (0x1f0, self.launch_tcb.to_vec()),
        ];
        if self.version >= 3 {
            fields.push((0x188, self.cpuid.to_vec()));
        }
        if self.version >= 5 {
            fields.push((0x1f8, self.launch_mitigations.to_le_bytes().to_vec()));
            fields.push((0x200, self.current_mitigations.to_le_bytes().to_vec()));
        }
        fields
    }
}

/// Build, minor, major: the order in a report.
fn version_bytes(version: FirmwareVersion) -> Vec<u8> {
    vec![version.build, version.minor, version.major]
}

/// Writes what fits; a patch past the end is cut.
fn overwrite(report: &mut [u8], offset: usize, bytes: &[u8]) {
    for (place, byte) in report.iter_mut().skip(offset).zip(bytes) {
        *place = *byte;
    }
}
