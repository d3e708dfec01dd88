//! Finding the hardware and asking it.

use std::{fmt, path::PathBuf};

use evidence_formats::{bundle::Bundle, bytes::ReportData};

use crate::{
    azure::MetadataService,
    error::{AttestError, Warning},
    init_data,
    rtmr::{HeldLog, RegisterPaths},
    sev_guest::SevGuest,
    snp, tdx,
    tdx_guest::TdxGuest,
    throttle::Throttle,
    tsm::{self, Blobs, Request, TsmError, TsmProvider, TsmRoot},
    vtpm::{self, GuestTpm, TpmSettings},
};

/// Where the kernel's interfaces are, and what to ask them for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The directory of configfs-tsm reports.
    pub tsm_root: TsmRoot,
    /// The SEV-SNP guest device.
    pub sev_guest: PathBuf,
    /// The TDX guest device.
    pub tdx_guest: PathBuf,
    /// TDX: the firmware's event log (ACPI table CCEL).
    pub cc_event_log: PathBuf,
    /// TDX: the registers that this guest extends, and their log.
    pub registers: RegisterPaths,
    /// The init-data that the host handed over at launch, where there are any.
    pub init_data: Option<PathBuf>,
    /// The privilege level (SNP: VMPL, 0 to 3) to report; `None`: the most privileged that this guest may ask for.
    pub privilege_level: Option<u8>,
    /// Where the TPM is, and what to ask it for.
    pub tpm: TpmSettings,
    /// The cloud's metadata service, asked where a paravisor runs.
    pub metadata: MetadataService,
}

impl Default for Paths {
    /// The kernel's own places.
    fn default() -> Self {
        Self {
            tsm_root: TsmRoot::default(),
            sev_guest: PathBuf::from("/dev/sev-guest"),
            tdx_guest: PathBuf::from("/dev/tdx_guest"),
            cc_event_log: PathBuf::from("/sys/firmware/acpi/tables/data/CCEL"),
            registers: RegisterPaths::default(),
            init_data: None,
            privilege_level: None,
            tpm: TpmSettings::default(),
            metadata: MetadataService::default(),
        }
    }
}

/// Evidence, and what is missing from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The evidence.
    pub bundle: Bundle,
    /// For the person who looks for the reason when the broker misses something.
    pub warnings: Vec<Warning>,
}

/// What attests this guest (RFC 9334).
pub trait Attester: fmt::Debug + Send {
    /// Gathers evidence that carries `report_data`. Blocks: the kernel waits up to a minute for a host that is busy.
    ///
    /// # Errors
    /// [`AttestError`] when the hardware, the host or the kernel gives no evidence, or gives other evidence than asked.
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError>;

    /// The TPM that has a part in the evidence: its key can be enrolled, and it opens what is sealed to it.
    fn tpm(&mut self) -> Option<&mut GuestTpm> {
        None
    }

    /// Whether a report proves the TPM's endorsement key, in place of a certificate.
    fn enrols_by_report(&self) -> bool {
        false
    }

    /// The report that proves the endorsement key for an enrolment.
    ///
    /// # Errors
    /// [`AttestError::NoManifest`] where nothing but a certificate proves it.
    fn enrolment_report(&mut self, _report_data: &ReportData) -> Result<Collected, AttestError> {
        Err(AttestError::NoManifest)
    }
}

/// Finds hardware and TPM from what the kernel offers. The hardware is asked nothing, the TPM for certificates.
///
/// # Errors
/// [`AttestError::NoTee`] when there is none, otherwise why what is there does not work.
pub fn detect(paths: &Paths) -> Result<Box<dyn Attester>, AttestError> {
    vtpm::beside(detect_hardware(paths), paths)
}

fn detect_hardware(paths: &Paths) -> Result<Box<dyn Attester>, AttestError> {
    match tsm::probe(&paths.tsm_root) {
        Ok(TsmProvider::SevGuest | TsmProvider::TdxGuest) => Ok(Box::new(TsmAttester::new(paths))),
        // The directory is there before a driver is, and the device may come without the directory.
        Err(TsmError::Absent | TsmError::NoProvider) if paths.sev_guest.exists() => {
            let device = SevGuest::open(&paths.sev_guest)?;
            Ok(Box::new(SevGuestAttester { device, paths: paths.clone(), throttle: Throttle::default() }))
        }
        Err(TsmError::Absent | TsmError::NoProvider) if paths.tdx_guest.exists() => {
            let device = TdxGuest::open(&paths.tdx_guest)?;
            Ok(Box::new(TdxGuestAttester { device, paths: paths.clone(), throttle: Throttle::default() }))
        }
        Err(TsmError::Absent) => {
            let tsm_root = paths.tsm_root.path().to_owned();
            Err(AttestError::NoTee { tsm_root, sev_guest: paths.sev_guest.clone() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Evidence through configfs-tsm.
#[derive(Debug)]
struct TsmAttester {
    paths: Paths,
    throttle: Throttle,
}

impl TsmAttester {
    fn new(paths: &Paths) -> Self {
        Self { paths: paths.clone(), throttle: Throttle::default() }
    }
}

impl Attester for TsmAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let request = Request { report_data, privilege_level: self.paths.privilege_level, svsm_vtpm: false };
        // Before the quote: what it shows must be what the log says.
        let runtime_log = HeldLog::hold(&self.paths.registers.log);
        let Blobs { provider, report, auxiliary, .. } = tsm::collect(&self.paths.tsm_root, &request)?;
        let collected = match provider {
            TsmProvider::SevGuest => snp::evidence(report, auxiliary, report_data),
            TsmProvider::TdxGuest => tdx::evidence(report, report_data, &self.paths.cc_event_log, runtime_log),
        }?;
        init_data::beside(collected, self.paths.init_data.as_deref())
    }
}

/// Evidence through `/dev/sev-guest`.
#[derive(Debug)]
struct SevGuestAttester {
    device: SevGuest,
    paths: Paths,
    throttle: Throttle,
}

impl Attester for SevGuestAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let raw = self.device.collect(report_data, self.paths.privilege_level.unwrap_or(0))?;
        let collected = snp::evidence(raw.report, raw.certificates, report_data)?;
        init_data::beside(collected, self.paths.init_data.as_deref())
    }
}

/// Evidence through `/dev/tdx_guest` and the host's quote generation service.
#[derive(Debug)]
struct TdxGuestAttester {
    device: TdxGuest,
    paths: Paths,
    throttle: Throttle,
}

impl Attester for TdxGuestAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let runtime_log = HeldLog::hold(&self.paths.registers.log);
        let quote = self.device.quote(report_data)?;
        let collected = tdx::evidence(quote, report_data, &self.paths.cc_event_log, runtime_log)?;
        init_data::beside(collected, self.paths.init_data.as_deref())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn no_tee_is_an_error_that_says_where_was_looked() {
        let paths = Paths {
            tsm_root: TsmRoot::new("/nonexistent/tsm"),
            sev_guest: "/nonexistent/sev-guest".into(),
            tdx_guest: "/nonexistent/tdx_guest".into(),
            tpm: TpmSettings { address: None, ..TpmSettings::default() },
            ..Paths::default()
        };
        let error = detect(&paths).map(|_attester| ()).unwrap_err();
        let text = "expected confidential hardware: neither /nonexistent/tsm nor /nonexistent/sev-guest is there";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn a_plain_directory_is_no_configfs_tsm_and_stays_clean() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths { tsm_root: TsmRoot::new(directory.path()), ..Paths::default() };
        assert!(detect(&paths).is_err());
        assert_eq!(directory.path().read_dir().unwrap().count(), 0);
    }
}
