//! `/dev/tdx_guest` and the host's quote generation service: TDX quotes on kernels without configfs-tsm (Linux 6.2 and
//! later). The device gives a TDREPORT; the service, on the host behind a vsock, makes the quote of it.

mod device;
mod qgs;

use std::path::Path;

use evidence_formats::{bytes::ReportData, tdx::TdReport};
use rustix::io::Errno;
use thiserror::Error;

use self::device::Device;

/// Configuration of the service's address in Intel's guest packages.
const ATTEST_CONF: &str = "/etc/tdx-attest.conf";
/// Port of the service unless its configuration says otherwise.
const DEFAULT_PORT: u32 = 4050;

/// Why `/dev/tdx_guest` or the host's service gave no quote.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TdxGuestError {
    /// The device could not be opened.
    #[error("expected to open the device, found {errno}: it belongs to root")]
    Open {
        /// What the kernel said.
        errno: Errno,
    },
    /// The TDX module gave no report.
    #[error("expected a TDREPORT, found {errno}")]
    Report {
        /// What the kernel said.
        errno: Errno,
    },
    /// The report is for somebody else, or none.
    #[error("expected a TDREPORT that carries our report data")]
    OtherReport,
    /// The host's service could not be reached or went away.
    #[error("expected the host's quote generation service at vsock port {port}, found {errno}")]
    Service {
        /// Where it was looked for.
        port: u32,
        /// What the kernel said.
        errno: Errno,
    },
    /// The host's service answered with an error.
    #[error("expected a quote from the host's quote generation service, found error {code:#x}")]
    Refused {
        /// What it said.
        code: u32,
    },
    /// The host's service answered with something else.
    #[error("expected a response of the quote generation protocol")]
    Protocol,
}

/// The open device.
#[derive(Debug)]
pub struct TdxGuest {
    device: Device,
    port: u32,
}

impl TdxGuest {
    /// Opens the device. Nothing is asked of it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(device: &Path) -> Result<Self, TdxGuestError> {
        let port = std::fs::read_to_string(ATTEST_CONF).ok().and_then(|text| configured_port(&text));
        Ok(Self { device: Device::open(device)?, port: port.unwrap_or(DEFAULT_PORT) })
    }

    /// A quote that carries `report_data`.
    ///
    /// # Errors
    /// [`TdxGuestError`] says who failed.
    pub(crate) fn quote(&self, report_data: &ReportData) -> Result<Vec<u8>, TdxGuestError> {
        let report = self.device.report(report_data)?;
        let parsed = TdReport::parse(&report).map_err(|_malformed| TdxGuestError::OtherReport)?;
        if parsed.report_data != *report_data {
            return Err(TdxGuestError::OtherReport);
        }
        let mut stream = device::connect(self.port)?;
        qgs::quote(&mut stream, &report, self.port)
    }
}

/// The port in a configuration with lines such as `port=4050`.
fn configured_port(text: &str) -> Option<u32> {
    text.lines().find_map(|line| line.split_once('=').filter(|(name, _)| name.trim() == "port")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_configuration() {
        assert_eq!(configured_port("# vsock\nport = 5000\n"), Some(5000));
        assert_eq!(configured_port("#port=1\nport=x\n"), None);
    }
}
