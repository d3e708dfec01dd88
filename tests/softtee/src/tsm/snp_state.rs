//! The SNP half of the state file.
use evidence_formats::bytes::{LaunchDigest, Sha384Digest};
use evidence_formats::snp::{
    ChipId, FamilyId, FirmwareVersion, HostData, ImageId, ProductLine, ReportId, TcbComponents,
};
use serde::Deserialize;
use time::OffsetDateTime;

use super::state::{HexBytes, a_month_ago, set};
use crate::amd::{AmdPki, CertTableSpec, ReportSpec, SecureProcessor, VekKind};

/// How the host's certificate table looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateTable {
    /// VEK, its issuer and the root in DER.
    #[default]
    Der,
    /// The same in PEM.
    Pem,
    /// No table.
    None,
    /// Two entries claim the same bytes.
    Overlapping,
    /// An entry claims bytes past the end.
    PastTheEnd,
    /// Two entries of one kind.
    Duplicated,
    /// No end of the header.
    Unterminated,
}

impl CertificateTable {
    /// The table of an honest host, made to look like this.
    #[must_use]
    pub fn to_bytes(self, honest: CertTableSpec) -> Vec<u8> {
        match self {
            Self::Der => honest.to_bytes(),
            Self::Pem => honest.into_pem().to_bytes(),
            Self::None => Vec::new(),
            Self::Overlapping => honest.overlapping().to_bytes(),
            Self::PastTheEnd => honest.past_the_end().to_bytes(),
            Self::Duplicated => honest.duplicated().to_bytes(),
            Self::Unterminated => honest.unterminated().to_bytes(),
        }
    }
}

/// The guest as SEV-SNP sees it. What is `None` is as in [`ReportSpec::healthy`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpState {
    /// The processor.
    pub product: ProductLine,
    /// The key that signs.
    pub signing_key: VekKind,
    /// Whether the whole hierarchy is an attacker's imitation.
    pub rogue: bool,
    /// From when the endorsement key is valid; default: thirty days before the report.
    #[serde(with = "time::serde::rfc3339::option")]
    pub issued_at: Option<OffsetDateTime>,
    /// The host's certificate table.
    pub certificates: CertificateTable,
    /// The chip's id.
    pub hardware_id: Option<HexBytes>,
    /// The cloud named in a VLEK.
    pub csp_id: Option<String>,
    /// The reported TCB, which is the endorsement key's, and the others unless they are given.
    pub tcb: Option<TcbComponents>,
    /// The running firmware's TCB.
    pub current_tcb: Option<TcbComponents>,
    /// The committed TCB.
    pub committed_tcb: Option<TcbComponents>,
    /// The TCB at launch.
    pub launch_tcb: Option<TcbComponents>,
    /// Report version.
    pub version: Option<u32>,
    /// The guest's own VMPL: the floor of what it can ask for. Above 0 it runs under an SVSM.
    pub vmpl: u32,
    /// The SVSM's manifest.
    pub service_manifest: Option<HexBytes>,
    /// Guest policy.
    pub policy: Option<u64>,
    /// Guest security version.
    pub guest_svn: Option<u32>,
    /// Platform flags.
    pub platform_info: Option<u64>,
    /// Launch measurement.
    pub measurement: Option<LaunchDigest>,
    /// Host data.
    pub host_data: Option<HostData>,
    /// What reports say of the chip, when it is not the id that the certificate has: all zero is a masked id.
    pub chip_id: Option<ChipId>,
    /// Report id of a migration agent.
    pub report_id_ma: Option<ReportId>,
    /// Family id.
    pub family_id: Option<FamilyId>,
    /// Image id.
    pub image_id: Option<ImageId>,
    /// Digest of the ID key.
    pub id_key_digest: Option<Sha384Digest>,
    /// Digest of the author key; also sets `AUTHOR_KEY_EN`.
    pub author_key_digest: Option<Sha384Digest>,
    /// Running firmware.
    pub current_version: Option<FirmwareVersion>,
    /// Committed firmware.
    pub committed_version: Option<FirmwareVersion>,
    /// Launch mitigation vector.
    pub launch_mitigations: Option<u64>,
    /// Current mitigation vector.
    pub current_mitigations: Option<u64>,
}

impl Default for SnpState {
    fn default() -> Self {
        Self {
            product: ProductLine::Milan,
            signing_key: VekKind::Vcek,
            rogue: false,
            issued_at: None,
            certificates: CertificateTable::default(),
            hardware_id: None,
            csp_id: None,
            tcb: None,
            current_tcb: None,
            committed_tcb: None,
            launch_tcb: None,
            version: None,
            vmpl: 0,
            service_manifest: None,
            policy: None,
            guest_svn: None,
            platform_info: None,
            measurement: None,
            host_data: None,
            chip_id: None,
            report_id_ma: None,
            family_id: None,
            image_id: None,
            id_key_digest: None,
            author_key_digest: None,
            current_version: None,
            committed_version: None,
            launch_mitigations: None,
            current_mitigations: None,
        }
    }
}

impl SnpState {
    /// The chip under this guest.
    #[must_use]
    pub fn processor(&self) -> SecureProcessor {
        let mut processor = SecureProcessor::new(self.product);
        if self.rogue {
            processor.pki = AmdPki::rogue(self.product);
        }
        processor.kind = self.signing_key;
        processor.issued_at = self.issued_at.unwrap_or_else(a_month_ago);
        set(&mut processor.tcb, self.tcb.map(|tcb| self.complete(tcb)));
        set(&mut processor.csp_id, self.csp_id.clone());
        set(&mut processor.hardware_id, self.hardware_id.clone().map(|HexBytes(bytes)| bytes));
        processor
    }

    /// The TCB in the product's layout, whatever the file says of the FMC.
    fn complete(&self, tcb: TcbComponents) -> TcbComponents {
        let fmc = match self.product {
            ProductLine::Milan | ProductLine::Genoa => None,
            ProductLine::Turin => Some(tcb.fmc.unwrap_or_default()),
        };
        TcbComponents { fmc, ..tcb }
    }

    /// What its reports say, but for the request.
    #[must_use]
    pub fn guest(&self, processor: &SecureProcessor) -> ReportSpec {
        let mut report = processor.guest();
        let tcb = |tcb: Option<TcbComponents>| tcb.map(|tcb| self.complete(tcb).to_version());
        set(&mut report.current_tcb, tcb(self.current_tcb));
        set(&mut report.committed_tcb, tcb(self.committed_tcb));
        set(&mut report.launch_tcb, tcb(self.launch_tcb));
        set(&mut report.version, self.version);
        set(&mut report.policy, self.policy);
        set(&mut report.guest_svn, self.guest_svn);
        set(&mut report.platform_info, self.platform_info);
        set(&mut report.measurement, self.measurement);
        set(&mut report.host_data, self.host_data);
        set(&mut report.chip_id, self.chip_id);
        set(&mut report.report_id_ma, self.report_id_ma);
        set(&mut report.family_id, self.family_id);
        set(&mut report.image_id, self.image_id);
        set(&mut report.id_key_digest, self.id_key_digest);
        set(&mut report.current_version, self.current_version);
        set(&mut report.committed_version, self.committed_version);
        set(&mut report.launch_mitigations, self.launch_mitigations);
        set(&mut report.current_mitigations, self.current_mitigations);
        if let Some(author) = self.author_key_digest {
            report.author_key_digest = author;
            report.key_info |= 1;
        }
        report
    }
}
