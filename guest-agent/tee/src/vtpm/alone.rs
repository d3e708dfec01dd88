//! A TPM without confidential hardware.

use evidence_formats::{bundle::Bundle, bytes::ReportData};

use super::{AkSource, GuestTpm, TpmSettings};
use crate::{
    attester::{Attester, Collected},
    error::AttestError,
    tpm::{Tpm, TpmAddress},
};

/// Evidence of a TPM alone.
#[derive(Debug)]
pub(super) struct TpmAttester {
    tpm: GuestTpm,
}

impl TpmAttester {
    /// Looks whether a cloud certified an attestation key.
    pub(super) fn open(address: &TpmAddress, settings: &TpmSettings) -> Result<Self, AttestError> {
        let certified = AkSource::certified(&Tpm::open(address)?)?;
        let (source, certificates) = match certified {
            Some((source, certificate)) => (source, vec![certificate]),
            None => (AkSource::Own(settings.ak), Vec::new()),
        };
        Ok(Self { tpm: GuestTpm::new(address.clone(), settings.clone(), source, certificates) })
    }
}

impl Attester for TpmAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        let (mut bundle, mut warnings) = (Bundle::new(), Vec::new());
        self.tpm.add_to(&mut bundle, report_data, &mut warnings)?;
        Ok(Collected { bundle, warnings })
    }

    fn tpm(&mut self) -> Option<&mut GuestTpm> {
        Some(&mut self.tpm)
    }
}
