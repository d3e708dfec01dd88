//! Confidential hardware beside a vTPM that the host runs and certified (Google Cloud): both carry the same binding.

use evidence_formats::bytes::ReportData;

use super::GuestTpm;
use crate::{
    attester::{Attester, Collected},
    error::{AttestError, Warning},
};

/// Evidence of hardware and TPM.
#[derive(Debug)]
pub(super) struct HostedAttester {
    hardware: Box<dyn Attester>,
    /// Or why it is left out.
    tpm: Result<GuestTpm, Warning>,
}

impl HostedAttester {
    pub(super) fn new(hardware: Box<dyn Attester>, tpm: Result<GuestTpm, Warning>) -> Self {
        Self { hardware, tpm }
    }
}

impl Attester for HostedAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        let Collected { mut bundle, mut warnings } = self.hardware.collect(report_data)?;
        match &mut self.tpm {
            Ok(tpm) => tpm.add_to(&mut bundle, report_data, &mut warnings)?,
            Err(left_out) => warnings.push(left_out.clone()),
        }
        Ok(Collected { bundle, warnings })
    }

    fn tpm(&mut self) -> Option<&mut GuestTpm> {
        self.tpm.as_mut().ok()
    }
}
