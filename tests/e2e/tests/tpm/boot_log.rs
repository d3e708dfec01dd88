//! The event log of a machine's boot, and the boot itself.

use evidence_formats::digest::{Digest, HashAlgorithm};
use tee::tpm::Tpm;

/// Event types (TCG PC Client Platform Firmware Profile, section 10.4.1).
const NO_ACTION: u32 = 3;
const SEPARATOR: u32 = 4;
const IPL: u32 = 13;
const BANK: HashAlgorithm = HashAlgorithm::Sha256;

/// A log of the SHA-256 bank, and what it says was measured.
pub(crate) struct BootLog {
    bytes: Vec<u8>,
    measured: Vec<(u8, Digest)>,
}

impl BootLog {
    /// Firmware that hands over, then a kernel image called `kernel` in PCR 11.
    pub(crate) fn of(kernel: &[u8]) -> Self {
        let spec_id =
            [b"Spec ID Event03\0".as_slice(), &[0; 4], &[0, 2, 0, 2], &[1, 0, 0, 0], &[0x0B, 0], &[32, 0], &[0]];
        let spec_id = spec_id.concat();
        let size = u32::try_from(spec_id.len()).unwrap();
        let header = [&[0; 4], &NO_ACTION.to_le_bytes()[..], &[0; 20], &size.to_le_bytes(), &spec_id];
        let mut log = Self { bytes: header.concat(), measured: Vec::new() };
        for pcr in 0..8 {
            log.add(pcr, SEPARATOR, &[0; 4]);
        }
        log.add(11, IPL, kernel);
        log
    }

    fn add(&mut self, pcr: u8, kind: u32, data: &[u8]) {
        let digest = BANK.digest(&[data]);
        let size = u32::try_from(data.len()).unwrap();
        let event = [
            &u32::from(pcr).to_le_bytes()[..],
            &kind.to_le_bytes(),
            &1_u32.to_le_bytes(),
            &[0x0B, 0],
            digest.as_bytes(),
            &size.to_le_bytes(),
            data,
        ];
        self.bytes.extend(event.concat());
        self.measured.push((pcr, digest));
    }

    /// Something more that is measured after the boot.
    pub(crate) fn and(mut self, pcr: u8, data: &[u8]) -> Self {
        self.add(pcr, IPL, data);
        self
    }

    /// The registers follow with the last event alone.
    pub(crate) fn measure_last(&self, tpm: &Tpm) {
        let (pcr, digest) = self.measured.last().unwrap();
        tpm.pcr_extend(*pcr, &[*digest]).unwrap();
    }

    /// As the kernel shows it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The boot: what the log says goes into the registers.
    pub(crate) fn measure(&self, tpm: &Tpm) {
        for (pcr, digest) in &self.measured {
            tpm.pcr_extend(*pcr, &[*digest]).unwrap();
        }
    }
}
