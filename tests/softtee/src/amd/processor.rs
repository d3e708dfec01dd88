//! One simulated chip.
use evidence_formats::bundle::{Bundle, BundleError, BundleItem, ItemName, MediaType};
use evidence_formats::snp::{CertGuid, ProductLine, TcbComponents};
use time::OffsetDateTime;

use super::{AmdPki, CertEntry, CertTableSpec, ReportSpec, VekKind, healthy_tcb};
use crate::x509::{Issued, Validity};

/// A simulated secure processor: it knows its chip, its TCB and which endorsement key it uses.
#[derive(Debug, Clone)]
pub struct SecureProcessor {
    /// The authorities above its keys.
    pub pki: AmdPki,
    /// Chip id as the VCEK has it: 64 bytes, 8 on Turin.
    pub hardware_id: Vec<u8>,
    /// The TCB that it reports and whose endorsement key it uses.
    pub tcb: TcbComponents,
    /// Which key signs reports.
    pub kind: VekKind,
    /// The cloud named in a VLEK.
    pub csp_id: String,
    /// From when its endorsement key's certificate is valid.
    pub issued_at: OffsetDateTime,
}

impl SecureProcessor {
    /// A healthy chip that signs with its VCEK.
    #[must_use]
    pub fn new(product: ProductLine) -> Self {
        let hardware_id = (1..=64).take(product.chip_id_length()).collect();
        Self {
            pki: AmdPki::new(product),
            hardware_id,
            tcb: healthy_tcb(product),
            kind: VekKind::Vcek,
            csp_id: "CN=cc-test.example".to_owned(),
            issued_at: AmdPki::ISSUED_AT,
        }
    }

    /// The same chip with a key loaded by its cloud.
    #[must_use]
    pub fn with_vlek(mut self) -> Self {
        self.kind = VekKind::Vlek;
        self
    }

    /// The endorsement key in use, with its certificate.
    #[must_use]
    pub fn vek(&self) -> Issued {
        let (mut vek, years) = match self.kind {
            VekKind::Vcek => (self.pki.vcek(&self.hardware_id, self.tcb), 7),
            VekKind::Vlek => (self.pki.vlek(&self.csp_id, self.tcb), 1),
        };
        vek.certificate.validity = Validity::years(self.issued_at, years);
        vek
    }

    /// A healthy guest on this chip: its TCB, chip id and signing key are filled in.
    #[must_use]
    pub fn guest(&self) -> ReportSpec {
        let mut guest = ReportSpec::healthy(self.pki.product);
        guest.set_tcb(self.tcb.to_version()).set_signing_key(self.kind);
        // A VLEK names no chip; AWS masks the chip id in reports signed by one.
        if self.kind == VekKind::Vcek {
            for (place, byte) in guest.chip_id.0.iter_mut().zip(&self.hardware_id) {
                *place = *byte;
            }
        }
        guest
    }

    /// The guest's report, signed by the key in use.
    #[must_use]
    pub fn report(&self, guest: &ReportSpec) -> Vec<u8> {
        guest.sign(&self.vek().key)
    }

    /// The evidence that an agent gathers: report and certificate table.
    ///
    /// # Errors
    /// [`BundleError`] when a part is larger than a bundle carries.
    pub fn bundle(&self, guest: &ReportSpec) -> Result<Bundle, BundleError> {
        let (report, table) = (self.report(guest), self.certificates().to_bytes());
        let mut bundle = Bundle::new();
        bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::SnpReport, bytes: report })?;
        bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes: table })?;
        Ok(bundle)
    }

    /// What an honest host puts beside reports: VEK, its issuer and the root.
    #[must_use]
    pub fn certificates(&self) -> CertTableSpec {
        let (guid, issuer) = match self.kind {
            VekKind::Vcek => (CertGuid::VCEK, &self.pki.ask),
            VekKind::Vlek => (CertGuid::VLEK, &self.pki.asvk),
        };
        CertTableSpec::new(vec![
            CertEntry::new(guid, self.vek().der()),
            CertEntry::new(CertGuid::ASK, issuer.der()),
            CertEntry::new(CertGuid::ARK, self.pki.ark.der()),
        ])
    }
}
