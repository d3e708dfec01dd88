//! Why a launch digest cannot be predicted.

use evidence_formats::code::{Code, Coded};
use thiserror::Error;

use super::super::firmware::FirmwareError;

/// A launch digest cannot be predicted from these inputs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnpLaunchError {
    /// The firmware or SVSM image.
    #[error("firmware cannot be measured")]
    Firmware(#[from] FirmwareError),
    /// A section that is exactly one page is not.
    #[error("expected a {what} section of one page, found {actual} bytes")]
    SectionSize {
        /// Which section.
        what: &'static str,
        /// Its size in bytes.
        actual: usize,
    },
    /// A kernel is given and the firmware does not measure one.
    #[error(
        "expected firmware that measures kernel, initrd and command line (SNP_KERNEL_HASHES section): this one does not, so the kernel would be unmeasured"
    )]
    KernelUnmeasured,
    /// The table of kernel hashes is outside the section that holds it.
    #[error("expected the kernel hash table at {gpa:#x} within the page of the SNP_KERNEL_HASHES section")]
    HashTable {
        /// Guest physical address of the table.
        gpa: u64,
    },
    /// The processor signature is needed and not given.
    #[error("expected the type of the virtual processors: QEMU starts them with their CPUID signature in RDX")]
    Signature,
    /// The firmware says nothing about where further processors start.
    #[error("expected an SEV-ES reset address in the firmware: without one only a single processor starts")]
    NoResetAddress,
    /// An SVSM is given for another host than QEMU.
    #[error("expected QEMU as the host of an SVSM")]
    SvsmHost,
    /// The SVSM's entry point is not below 4 GiB.
    #[error("expected an SVSM entry point below 4 GiB, found {gpa:#x}")]
    SvsmEntry {
        /// Guest physical address.
        gpa: u64,
    },
}

impl Coded for SnpLaunchError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Firmware(error) => return error.code(),
            Self::SectionSize { .. } => "measure.snp.section",
            Self::KernelUnmeasured => "measure.snp.kernel_unmeasured",
            Self::HashTable { .. } => "measure.snp.hash_table",
            Self::Signature => "measure.snp.vcpu_type",
            Self::NoResetAddress => "measure.snp.reset_address",
            Self::SvsmHost | Self::SvsmEntry { .. } => "measure.snp.svsm",
        })
    }
}
