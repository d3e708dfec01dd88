//! Finding the hardware and asking it.

use std::{fmt, path::PathBuf};

use evidence_formats::{bundle::Bundle, bytes::ReportData};

use crate::{
    error::{AttestError, Warning},
    sev_guest::SevGuest,
    snp, tdx,
    tdx_guest::TdxGuest,
    throttle::Throttle,
    tsm::{self, Blobs, Request, TsmError, TsmProvider, TsmRoot},
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
    /// The privilege level (SNP: VMPL, 0 to 3) to report; `None`: the most privileged that this guest may ask for.
    pub privilege_level: Option<u8>,
}

impl Default for Paths {
    /// The kernel's own places.
    fn default() -> Self {
        Self {
            tsm_root: TsmRoot::default(),
            sev_guest: PathBuf::from("/dev/sev-guest"),
            tdx_guest: PathBuf::from("/dev/tdx_guest"),
            cc_event_log: PathBuf::from("/sys/firmware/acpi/tables/data/CCEL"),
            privilege_level: None,
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
}

/// Finds the hardware from what the kernel offers. Nothing is asked of the hardware.
///
/// # Errors
/// [`AttestError::NoTee`] when there is none, otherwise why what is there does not work.
pub fn detect(paths: &Paths) -> Result<Box<dyn Attester>, AttestError> {
    match tsm::probe(&paths.tsm_root) {
        Ok(TsmProvider::SevGuest | TsmProvider::TdxGuest) => Ok(Box::new(TsmAttester::new(paths))),
        // The directory is there before a driver is, and the device may come without the directory.
        Err(TsmError::Absent | TsmError::NoProvider) if paths.sev_guest.exists() => {
            let device = SevGuest::open(&paths.sev_guest)?;
            let vmpl = paths.privilege_level.unwrap_or(0);
            Ok(Box::new(SevGuestAttester { device, vmpl, throttle: Throttle::default() }))
        }
        Err(TsmError::Absent | TsmError::NoProvider) if paths.tdx_guest.exists() => {
            let device = TdxGuest::open(&paths.tdx_guest)?;
            let cc_event_log = paths.cc_event_log.clone();
            Ok(Box::new(TdxGuestAttester { device, cc_event_log, throttle: Throttle::default() }))
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
    root: TsmRoot,
    cc_event_log: PathBuf,
    privilege_level: Option<u8>,
    throttle: Throttle,
}

impl TsmAttester {
    fn new(paths: &Paths) -> Self {
        let Paths { tsm_root: root, cc_event_log, privilege_level, .. } = paths.clone();
        Self { root, cc_event_log, privilege_level, throttle: Throttle::default() }
    }
}

impl Attester for TsmAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let request = Request { report_data, privilege_level: self.privilege_level };
        let Blobs { provider, report, auxiliary } = tsm::collect(&self.root, &request)?;
        match provider {
            TsmProvider::SevGuest => snp::evidence(report, auxiliary, report_data),
            TsmProvider::TdxGuest => tdx::evidence(report, report_data, &self.cc_event_log),
        }
    }
}

/// Evidence through `/dev/sev-guest`.
#[derive(Debug)]
struct SevGuestAttester {
    device: SevGuest,
    vmpl: u8,
    throttle: Throttle,
}

impl Attester for SevGuestAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        let raw = self.device.collect(report_data, self.vmpl)?;
        snp::evidence(raw.report, raw.certificates, report_data)
    }
}

/// Evidence through `/dev/tdx_guest` and the host's quote generation service.
#[derive(Debug)]
struct TdxGuestAttester {
    device: TdxGuest,
    cc_event_log: PathBuf,
    throttle: Throttle,
}

impl Attester for TdxGuestAttester {
    fn collect(&mut self, report_data: &ReportData) -> Result<Collected, AttestError> {
        self.throttle.wait();
        tdx::evidence(self.device.quote(report_data)?, report_data, &self.cc_event_log)
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
