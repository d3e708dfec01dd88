//! The system calls on `/dev/sev-guest`: the only `unsafe` code of the project.
#![expect(unsafe_code, reason = "the kernel interface is an ioctl over structures that hold addresses")]

use std::{
    fs::{File, OpenOptions},
    path::Path,
    ptr,
    thread::sleep,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    ioctl::{Opcode, Updater, ioctl},
};

use super::{
    ExitInfo, Failure, Requests, SevGuestError,
    abi::{ExtendedReportRequest, GuestRequest, ReportRequest, ReportResponse, SNP_GET_EXT_REPORT, SNP_GET_REPORT},
};

/// How often a locked device is looked at, and for how long: as long as the driver itself waits for a busy host.
const LOCK_POLL: Duration = Duration::from_millis(100);
const LOCK_POLLS: u32 = 600;

/// The open device.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
}

impl Device {
    /// Opens it. Nothing is sent.
    pub(super) fn open(path: &Path) -> Result<Self, SevGuestError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file =
            file.map_err(|error| SevGuestError::Open { errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) })?;
        Ok(Self { file })
    }

    fn request<const OPCODE: Opcode>(&self, req_data: u64, resp_data: u64) -> Result<(), Failure> {
        // 0xff: the firmware was not reached, unless the kernel says otherwise.
        let mut request =
            GuestRequest { msg_version: 1, padding: [0; 7], req_data, resp_data, exitinfo2: ExitInfo::NOT_REACHED };
        // SAFETY: both opcodes that this is called with take a pointer to `struct snp_guest_request_ioctl`, whose size is
        // asserted in `abi`.
        let updater = unsafe { Updater::<OPCODE, GuestRequest>::new(&mut request) };
        // SAFETY: the driver reads and writes only the structure above and what it points to; the callers below pass the
        // addresses of live, exclusively borrowed buffers of the sizes that the opcode asks for.
        let outcome = unsafe { ioctl(&self.file, updater) };
        outcome.map_err(|errno| Failure { errno, exit: ExitInfo::from(request.exitinfo2) })
    }
}

impl Requests for Device {
    fn lock(&mut self) -> Result<(), SevGuestError> {
        for _ in 0..LOCK_POLLS {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN | Errno::INTR) => sleep(LOCK_POLL),
                Err(errno) => return Err(SevGuestError::Open { errno }),
            }
        }
        Err(SevGuestError::InUse)
    }

    fn unlock(&mut self) {
        // Closing the device unlocks it as well.
        let _closed_later = flock(&self.file, FlockOperation::Unlock);
    }

    fn report(&mut self, request: &ReportRequest, response: &mut ReportResponse) -> Result<(), Failure> {
        self.request::<{ opcode(SNP_GET_REPORT) }>(address(ptr::from_ref(request)), address(ptr::from_mut(response)))
    }

    fn extended_report(
        &mut self,
        request: &ReportRequest,
        certificates: &mut [u8],
        response: &mut ReportResponse,
    ) -> (u32, Result<(), Failure>) {
        let mut extended = ExtendedReportRequest {
            data: request.clone(),
            certs_address: address(certificates.as_mut_ptr()),
            certs_len: u32::try_from(certificates.len()).unwrap_or(0),
            padding: 0,
        };
        let outcome = self.request::<{ opcode(SNP_GET_EXT_REPORT) }>(
            address(ptr::from_mut(&mut extended)),
            address(ptr::from_mut(response)),
        );
        (extended.certs_len, outcome)
    }
}

#[expect(clippy::as_conversions, reason = "the opcode type is wider than the constant and conversion is not const")]
const fn opcode(value: u32) -> Opcode {
    value as Opcode
}

/// The address in the form that the driver's structures hold. Exposes the provenance: the kernel writes through it.
fn address<T>(pointer: *const T) -> u64 {
    u64::try_from(pointer.expose_provenance()).unwrap_or(0)
}
