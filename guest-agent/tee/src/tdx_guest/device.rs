//! The system calls: an ioctl for the TDREPORT, and a vsock to the host.
#![expect(unsafe_code, reason = "the kernel interfaces are an ioctl over a structure and a socket address")]

use std::{
    fs::{File, OpenOptions},
    mem::size_of,
    path::Path,
    ptr,
    time::Duration,
};

use evidence_formats::{bytes::ReportData, tdx::TdReport};
use rustix::{
    io::Errno,
    ioctl::{Opcode, Updater, ioctl},
    net::{
        AddressFamily, SocketFlags, SocketType,
        addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque},
        connect as connect_socket, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};

use super::TdxGuestError;

/// `TDX_CMD_GET_REPORT0`: `_IOWR('T', 1, struct tdx_report_req)` (Linux `include/uapi/linux/tdx-guest.h`).
const TDX_CMD_GET_REPORT0: Opcode = 0xC440_5401;
/// The host (`VMADDR_CID_HOST`, Linux `include/uapi/linux/vm_sockets.h`).
const CID_HOST: u32 = 2;
const AF_VSOCK: u16 = 40;
/// As long as the kernel itself waits for a quote.
const PATIENCE: Duration = Duration::from_secs(30);

/// `struct tdx_report_req`.
#[repr(C)]
struct ReportRequest {
    report_data: [u8; 64],
    report: [u8; TdReport::LENGTH],
}

const _: () = assert!(size_of::<ReportRequest>() == 0x440);

/// The open device.
#[derive(Debug)]
pub(super) struct Device {
    file: File,
}

impl Device {
    pub(super) fn open(path: &Path) -> Result<Self, TdxGuestError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file =
            file.map_err(|error| TdxGuestError::Open { errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) })?;
        Ok(Self { file })
    }

    pub(super) fn report(&self, report_data: &ReportData) -> Result<[u8; TdReport::LENGTH], TdxGuestError> {
        let mut request = ReportRequest { report_data: *report_data.as_bytes(), report: [0; TdReport::LENGTH] };
        // SAFETY: the opcode takes a pointer to `struct tdx_report_req`, whose size is asserted above.
        let updater = unsafe { Updater::<TDX_CMD_GET_REPORT0, ReportRequest>::new(&mut request) };
        // SAFETY: the driver reads and writes the structure above only, which lives until the call returns.
        let outcome = unsafe { ioctl(&self.file, updater) };
        outcome.map_err(|errno| TdxGuestError::Report { errno })?;
        Ok(request.report)
    }
}

/// `struct sockaddr_vm`.
#[repr(C)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

const _: () = assert!(size_of::<VsockAddress>() == 16);

// SAFETY: the pointer is to the structure itself, and the length is its length.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(ptr::from_ref(self).cast(), 16)
    }
}

/// A stream to the host's service. Closed when dropped; neither direction waits longer than the kernel would.
pub(super) fn connect(port: u32) -> Result<File, TdxGuestError> {
    let failed = |errno| TdxGuestError::Service { port, errno };
    let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(failed)?;
    for direction in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, direction, Some(PATIENCE)).map_err(failed)?;
    }
    let address = VsockAddress { family: AF_VSOCK, reserved: 0, port, cid: CID_HOST, flags: 0, zero: [0; 3] };
    connect_socket(&socket, &address).map_err(failed)?;
    Ok(File::from(socket))
}
