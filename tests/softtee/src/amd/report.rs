//! Attestation reports with every field settable.
use evidence_formats::bytes::{LaunchDigest, ReportData, Sha384Digest};
use evidence_formats::snp::{
    ChipId, FamilyId, FirmwareVersion, HostData, ImageId, ProductLine, ReportId, TcbVersion, offset,
};
use openssl::hash::MessageDigest;

use super::{VekKind, healthy_cpuid, healthy_tcb};
use crate::keys::PrivateKey;

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
    pub family_id: FamilyId,
    /// `IMAGE_ID`.
    pub image_id: ImageId,
    /// `VMPL`; healthy: 0.
    pub vmpl: u32,
    /// `SIGNATURE_ALGO`; 1 is ECDSA P-384 with SHA-384.
    pub signature_algo: u32,
    /// `CURRENT_TCB`, whose reserved bytes may be set.
    pub current_tcb: TcbVersion,
    /// `PLATFORM_INFO`; healthy: SMT, ECC and, from version 3, the alias check.
    pub platform_info: u64,
    /// Flags and signing key; healthy: no flag, VCEK.
    pub key_info: u32,
    /// `REPORT_DATA`.
    pub report_data: ReportData,
    /// `MEASUREMENT`.
    pub measurement: LaunchDigest,
    /// `HOST_DATA`.
    pub host_data: HostData,
    /// `ID_KEY_DIGEST`; healthy: zero, no ID block.
    pub id_key_digest: Sha384Digest,
    /// `AUTHOR_KEY_DIGEST`; healthy: zero.
    pub author_key_digest: Sha384Digest,
    /// `REPORT_ID`.
    pub report_id: ReportId,
    /// `REPORT_ID_MA`; healthy: all ones, no migration agent.
    pub report_id_ma: ReportId,
    /// `REPORTED_TCB`.
    pub reported_tcb: TcbVersion,
    /// Combined CPUID family, model and stepping; from version 3.
    pub cpuid: [u8; 3],
    /// `CHIP_ID`.
    pub chip_id: ChipId,
    /// `COMMITTED_TCB`.
    pub committed_tcb: TcbVersion,
    /// Version of the running firmware.
    pub current_version: FirmwareVersion,
    /// Version of the committed firmware.
    pub committed_version: FirmwareVersion,
    /// `LAUNCH_TCB`.
    pub launch_tcb: TcbVersion,
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
        let tcb = healthy_tcb(product).to_version();
        let firmware = FirmwareVersion { major: 1, minor: 55, build: 61 };
        Self {
            version: if product == ProductLine::Milan { 3 } else { 5 },
            guest_svn: 0,
            policy: Self::POLICY,
            family_id: FamilyId([0; 16]),
            image_id: ImageId([0; 16]),
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: 0x25,
            key_info: 0,
            report_data: ReportData([0; 64]),
            measurement: LaunchDigest([0x4d; 48]),
            host_data: HostData([0; 32]),
            id_key_digest: Sha384Digest([0; 48]),
            author_key_digest: Sha384Digest([0; 48]),
            report_id: ReportId([0x1d; 32]),
            report_id_ma: ReportId([0xff; 32]),
            reported_tcb: tcb,
            cpuid: healthy_cpuid(product),
            chip_id: ChipId([0; 64]),
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
    pub fn set_tcb(&mut self, tcb: TcbVersion) -> &mut Self {
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
        let mut report = vec![0; offset::LENGTH];
        for (start, bytes) in self.fields() {
            overwrite(&mut report, start, &bytes);
        }
        for (start, bytes) in &self.patches {
            overwrite(&mut report, *start, bytes);
        }
        report
    }

    /// The report signed by an endorsement key.
    #[must_use]
    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        let mut report = self.unsigned();
        let signed = report.get(..offset::SIGNED_LENGTH).unwrap_or_default();
        let (mut r, mut s) = key.sign_ecdsa(MessageDigest::sha384(), signed);
        // 56860 §2.4: both components are little-endian, in 72 bytes each.
        r.reverse();
        s.reverse();
        overwrite(&mut report, offset::SIGNATURE_R, &r);
        overwrite(&mut report, offset::SIGNATURE_S, &s);
        report
    }

    fn fields(&self) -> Vec<(usize, Vec<u8>)> {
        let mut fields = vec![
            (offset::VERSION, self.version.to_le_bytes().to_vec()),
            (offset::GUEST_SVN, self.guest_svn.to_le_bytes().to_vec()),
            (offset::POLICY, self.policy.to_le_bytes().to_vec()),
            (offset::FAMILY_ID, self.family_id.0.to_vec()),
            (offset::IMAGE_ID, self.image_id.0.to_vec()),
            (offset::VMPL, self.vmpl.to_le_bytes().to_vec()),
            (offset::SIGNATURE_ALGO, self.signature_algo.to_le_bytes().to_vec()),
            (offset::CURRENT_TCB, self.current_tcb.0.to_vec()),
            (offset::PLATFORM_INFO, self.platform_info.to_le_bytes().to_vec()),
            (offset::KEY_INFO, self.key_info.to_le_bytes().to_vec()),
            (offset::REPORT_DATA, self.report_data.as_bytes().to_vec()),
            (offset::MEASUREMENT, self.measurement.as_bytes().to_vec()),
            (offset::HOST_DATA, self.host_data.0.to_vec()),
            (offset::ID_KEY_DIGEST, self.id_key_digest.0.to_vec()),
            (offset::AUTHOR_KEY_DIGEST, self.author_key_digest.0.to_vec()),
            (offset::REPORT_ID, self.report_id.0.to_vec()),
            (offset::REPORT_ID_MA, self.report_id_ma.0.to_vec()),
            (offset::REPORTED_TCB, self.reported_tcb.0.to_vec()),
            (offset::CHIP_ID, self.chip_id.0.to_vec()),
            (offset::COMMITTED_TCB, self.committed_tcb.0.to_vec()),
            (offset::CURRENT_VERSION, version_bytes(self.current_version)),
            (offset::COMMITTED_VERSION, version_bytes(self.committed_version)),
            (offset::LAUNCH_TCB, self.launch_tcb.0.to_vec()),
        ];
        if self.version >= 3 {
            fields.push((offset::CPUID_FAM_ID, self.cpuid.to_vec()));
        }
        if self.version >= 5 {
            fields.push((offset::LAUNCH_MIT_VECTOR, self.launch_mitigations.to_le_bytes().to_vec()));
            fields.push((offset::CURRENT_MIT_VECTOR, self.current_mitigations.to_le_bytes().to_vec()));
        }
        fields
    }
}

/// Build, minor, major: the order in a report.
fn version_bytes(version: FirmwareVersion) -> Vec<u8> {
    vec![version.build, version.minor, version.major]
}

/// Writes what fits; a patch past the end is cut.
fn overwrite(report: &mut [u8], start: usize, bytes: &[u8]) {
    for (place, byte) in report.iter_mut().skip(start).zip(bytes) {
        *place = *byte;
    }
}
