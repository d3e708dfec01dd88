//! The structures of `/dev/sev-guest` (Linux `include/uapi/linux/sev-guest.h`, `Documentation/virt/coco/sev-guest.rst`).

use std::mem::size_of;

use evidence_formats::bytes::ReportData;

/// `SNP_GET_REPORT`: `_IOWR('S', 0x0, struct snp_guest_request_ioctl)`.
pub(super) const SNP_GET_REPORT: u32 = 0xC020_5300;

/// `SNP_GET_EXT_REPORT`: `_IOWR('S', 0x2, struct snp_guest_request_ioctl)`.
pub(super) const SNP_GET_EXT_REPORT: u32 = 0xC020_5302;

/// The most that the driver copies for the host: `SEV_FW_BLOB_MAX_SIZE`, four pages.
pub(super) const CERTIFICATES_MAX: usize = 0x4000;

/// Length of a report in every version so far (SEV-SNP ABI 56860, table 23).
pub(super) const REPORT_LENGTH: usize = 1184;

const RESPONSE_LENGTH: usize = 4000;

/// `struct snp_report_req`.
#[repr(C)]
#[derive(Debug, Clone)]
pub(super) struct ReportRequest {
    user_data: [u8; 64],
    vmpl: u32,
    reserved: [u8; 28],
}

impl ReportRequest {
    pub(super) const fn new(report_data: &ReportData, vmpl: u8) -> Self {
        // `u32::from` is not const.
        Self { user_data: *report_data.as_bytes(), vmpl: u32::from_le_bytes([vmpl, 0, 0, 0]), reserved: [0; 28] }
    }
}

/// `struct snp_ext_report_req`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct ExtendedReportRequest {
    pub(super) data: ReportRequest,
    pub(super) certs_address: u64,
    pub(super) certs_len: u32,
    pub(super) padding: u32,
}

/// `struct snp_report_resp`: `MSG_REPORT_RSP` of the firmware, then zeros.
#[repr(C)]
#[derive(Clone)]
pub(super) struct ReportResponse {
    pub(super) data: [u8; RESPONSE_LENGTH],
}

impl ReportResponse {
    pub(super) const fn zeroed() -> Self {
        Self { data: [0; RESPONSE_LENGTH] }
    }
}

/// `struct snp_guest_request_ioctl`; the last member is the union of `exitinfo2` and `{ fw_error, vmm_error }`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct GuestRequest {
    pub(super) msg_version: u8,
    pub(super) padding: [u8; 7],
    pub(super) req_data: u64,
    pub(super) resp_data: u64,
    pub(super) exitinfo2: u64,
}

const _: () = assert!(size_of::<ReportRequest>() == 96);
const _: () = assert!(size_of::<ExtendedReportRequest>() == 112);
const _: () = assert!(size_of::<ReportResponse>() == RESPONSE_LENGTH);
const _: () = assert!(size_of::<GuestRequest>() == 32);
