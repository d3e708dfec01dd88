//! `/dev/sev-guest`: SEV-SNP reports on kernels without configfs-tsm (Linux 5.19 and later).

mod abi;
mod device;
mod exit_info;

use std::path::Path;

use evidence_formats::bytes::{Reader, ReportData};
use rustix::io::Errno;
use thiserror::Error;

pub use self::exit_info::ExitInfo;
use self::{
    abi::{CERTIFICATES_MAX, REPORT_LENGTH, ReportRequest, ReportResponse},
    device::Device,
};

/// How often the host may change its mind about the size of its certificates within one request.
const RESIZES: u32 = 3;

/// A page: the driver takes buffers of whole ones.
const PAGE: usize = 4096;

/// Why `/dev/sev-guest` gave no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SevGuestError {
    /// The device could not be opened.
    #[error("expected to open the device, found {errno}: it belongs to root")]
    Open {
        /// What the kernel said.
        errno: Errno,
    },
    /// Another process holds the device for longer than a request can take.
    #[error("expected the device to become free within a minute")]
    InUse,
    /// The kernel gave up the key it talks to the firmware with (VMPCK) after a host that misbehaved.
    #[error("expected a working message key: the kernel disabled the VMPCK, restart the virtual machine")]
    KeyDisabled,
    /// The host answered "busy" for as long as the driver was ready to wait.
    #[error("expected the host to answer within a minute: it throttles report requests, try again later")]
    Throttled,
    /// The host or the firmware failed the request.
    #[error("expected a report, found {errno} ({exit})")]
    Failed {
        /// What the kernel said.
        errno: Errno,
        /// What host and firmware said.
        exit: ExitInfo,
    },
    /// The firmware answered with an error (SEV-SNP ABI 56860, `MSG_REPORT_RSP`).
    #[error("expected report status 0, found {status:#x}{}", meaning(*status))]
    Status {
        /// The status word.
        status: u32,
    },
    /// The firmware answered with a report of another length.
    #[error("expected a report of {REPORT_LENGTH} bytes, found {found}")]
    ReportSize {
        /// What the answer says.
        found: u32,
    },
}

fn meaning(status: u32) -> &'static str {
    match status {
        0x16 => " (invalid parameter: is the VMPL below the guest's own?)",
        0x27 => " (invalid key)",
        _ => "",
    }
}

/// A request that the driver failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failure {
    errno: Errno,
    exit: ExitInfo,
}

impl From<Failure> for SevGuestError {
    fn from(Failure { errno, exit }: Failure) -> Self {
        match errno {
            Errno::NOTTY => Self::KeyDisabled,
            Errno::TIMEDOUT => Self::Throttled,
            errno => Self::Failed { errno, exit },
        }
    }
}

/// The driver's requests. The second implementation is a fake in tests.
trait Requests {
    /// Keeps other processes out until [`Requests::unlock`]: two requests at once can cost the message key.
    fn lock(&mut self) -> Result<(), SevGuestError>;

    /// Lets them in again.
    fn unlock(&mut self);

    /// `SNP_GET_REPORT`.
    fn report(&mut self, request: &ReportRequest, response: &mut ReportResponse) -> Result<(), Failure>;

    /// `SNP_GET_EXT_REPORT`; also gives the length of the certificates that the driver says it has.
    fn extended_report(
        &mut self,
        request: &ReportRequest,
        certificates: &mut [u8],
        response: &mut ReportResponse,
    ) -> (u32, Result<(), Failure>);
}

/// What the firmware and the host gave: bytes that nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawReport {
    /// The report.
    pub(crate) report: Vec<u8>,
    /// The host's certificate table; `None` when it has none or keeps changing its size.
    pub(crate) certificates: Option<Vec<u8>>,
}

/// The open device.
#[derive(Debug)]
pub(crate) struct SevGuest {
    device: Device,
}

impl SevGuest {
    /// Opens the device. Nothing is sent.
    ///
    /// # Errors
    /// [`SevGuestError::Open`].
    pub(crate) fn open(path: &Path) -> Result<Self, SevGuestError> {
        Device::open(path).map(|device| Self { device })
    }

    /// Asks for a report at privilege level `vmpl`.
    ///
    /// # Errors
    /// Every [`SevGuestError`].
    pub(crate) fn collect(&mut self, report_data: &ReportData, vmpl: u8) -> Result<RawReport, SevGuestError> {
        self.device.lock()?;
        let collected = collect(&mut self.device, &ReportRequest::new(report_data, vmpl));
        self.device.unlock();
        collected
    }
}

fn collect(device: &mut impl Requests, request: &ReportRequest) -> Result<RawReport, SevGuestError> {
    let mut wanted = CERTIFICATES_MAX;
    for _ in 0..RESIZES {
        // Zeroed each time: whatever the host leaves unwritten must not be memory of ours.
        let mut certificates = vec![0; wanted];
        let mut response = ReportResponse::zeroed();
        let (length, outcome) = device.extended_report(request, &mut certificates, &mut response);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match outcome {
            Ok(()) => {
                certificates.truncate(length);
                let present = certificates.iter().any(|byte| *byte != 0);
                return Ok(RawReport { report: report(&response)?, certificates: present.then_some(certificates) });
            }
            Err(failure) if failure.exit.is_invalid_length() => {
                wanted = length.next_multiple_of(PAGE);
                if wanted == 0 || wanted > CERTIFICATES_MAX {
                    break;
                }
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    // The certificates can be fetched elsewhere; the report cannot.
    let mut response = ReportResponse::zeroed();
    device.report(request, &mut response)?;
    Ok(RawReport { report: report(&response)?, certificates: None })
}

/// `MSG_REPORT_RSP`: status, report size, 24 reserved bytes, report (SEV-SNP ABI 56860, table 25).
fn report(response: &ReportResponse) -> Result<Vec<u8>, SevGuestError> {
    let mut reader = Reader::new(&response.data);
    let unreadable = |_truncated| SevGuestError::ReportSize { found: 0 };
    let status = reader.u32_le().map_err(unreadable)?;
    if status != 0 {
        return Err(SevGuestError::Status { status });
    }
    let found = reader.u32_le().map_err(unreadable)?;
    if usize::try_from(found) != Ok(REPORT_LENGTH) {
        return Err(SevGuestError::ReportSize { found });
    }
    reader.take(24).map_err(unreadable)?;
    Ok(reader.take(REPORT_LENGTH).map_err(unreadable)?.to_vec())
}

#[cfg(test)]
mod tests;
