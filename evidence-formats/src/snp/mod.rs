//! AMD SEV-SNP evidence: attestation report and certificate table.
//!
//! Sources: AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification" (report, policy, TCB) and AMD 56421
//! "SEV-ES Guest-Hypervisor Communication Block Standardization" (certificate table).

mod cert_table;
pub mod offset;
mod policy;
mod report;
mod tcb;

pub use cert_table::{CertGuid, CertTable, CertTableError};
pub use policy::{GuestPolicy, KeyInfo, PlatformInfo, SigningKey, Vmpl};
pub use report::{ReportFields, ReportSignature, SnpReport, SnpReportError};
pub use tcb::{FirmwareVersion, ProductLine, TcbComponents, TcbLayout, TcbVersion};

use crate::bytes::byte_newtypes;

byte_newtypes! {
    /// CHIP_ID: 64 bytes; all zero when masked, 8 bytes and 56 zeros on Turin.
    ChipId: 64;
    /// HOST_DATA: 32 bytes that the host fixed at launch.
    HostData: 32;
    /// FAMILY_ID of the ID block: 16 bytes.
    FamilyId: 16;
    /// IMAGE_ID of the ID block: 16 bytes.
    ImageId: 16;
    /// REPORT_ID or REPORT_ID_MA: 32 bytes.
    ReportId: 32;
}
