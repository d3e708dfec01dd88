//! A vTPM inside of an SVSM: the SVSM's report commits to a manifest, which is the endorsement key of the vTPM.

use evidence_formats::{
    bundle::{BundleItem, ItemName, MediaType},
    bytes::ReportData,
    svsm::SvsmManifest,
};

use super::GuestTpm;
use crate::{
    attester::{Attester, Collected},
    error::AttestError,
    snp,
    throttle::Throttle,
    tsm::{self, Blobs, Request, TsmRoot},
};

/// Evidence of an SVSM and its vTPM.
#[derive(Debug)]
pub(super) struct SvsmAttester {
    root: TsmRoot,
    tpm: GuestTpm,
    throttle: Throttle,
}

impl SvsmAttester {
    pub(super) fn new(root: TsmRoot, tpm: GuestTpm) -> Self {
        Self { root, tpm, throttle: Throttle::default() }
    }

    /// Report and manifest: what an enrolment brings in place of a certificate.
    fn report(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let request = Request { report_data, privilege_level: None, svsm_vtpm: true };
        let Blobs { report, auxiliary, manifest, .. } = tsm::collect(&self.root, &request)?;
        let manifest = manifest.ok_or(AttestError::NoManifest)?;
        // The report carries the hash of our data and the manifest.
        let bound = SvsmManifest::parse(&manifest)?.report_data(report_data);
        let mut collected = snp::evidence(report, auxiliary, &bound)?;
        let item = BundleItem { media_type: MediaType::SvsmManifest, bytes: manifest };
        collected.bundle.insert(ItemName::Svsm, item)?;
        Ok(collected)
    }
}

impl Attester for SvsmAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        let Collected { mut bundle, mut warnings } = self.report(report_data)?;
        self.tpm.add_to(&mut bundle, report_data, &mut warnings)?;
        Ok(Collected { bundle, warnings })
    }

    fn tpm(&mut self) -> Option<&mut GuestTpm> {
        Some(&mut self.tpm)
    }

    fn enrols_by_report(&self) -> bool {
        true
    }

    fn enrolment_report(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.report(report_data)
    }
}
