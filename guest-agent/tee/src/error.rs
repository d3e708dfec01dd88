//! Errors and warnings of gathering evidence.

use std::path::PathBuf;

use evidence_formats::{
    bundle::BundleError,
    init_data::InitDataError,
    snp::{CertTableError, SnpReportError},
    svsm::SvsmError,
    tdx::QuoteError,
};
use rustix::io::Errno;
use thiserror::Error;

use crate::{
    azure::{MetadataError, ParavisorError},
    sev_guest::SevGuestError,
    tdx_guest::TdxGuestError,
    tpm::TpmError,
    tsm::TsmError,
};

/// Why there is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttestError {
    /// The kernel offers no interface to confidential hardware.
    #[error("expected confidential hardware: neither {} nor {} is there", tsm_root.display(), sev_guest.display())]
    NoTee {
        /// Where configfs-tsm was looked for.
        tsm_root: PathBuf,
        /// Where the SEV-SNP guest device was looked for.
        sev_guest: PathBuf,
    },
    /// configfs-tsm failed.
    #[error("configfs-tsm gave no evidence")]
    Tsm(#[from] TsmError),
    /// `/dev/sev-guest` failed.
    #[error("the SEV-SNP guest device gave no evidence")]
    SevGuest(#[from] SevGuestError),
    /// `/dev/tdx_guest` or the host's quote generation service failed.
    #[error("the TDX guest device gave no evidence")]
    TdxGuest(#[from] TdxGuestError),
    /// The TPM failed.
    #[error("the TPM gave no evidence")]
    Tpm(#[from] TpmError),
    /// The paravisor, or the cloud around it, failed.
    #[error("the paravisor gave no evidence")]
    Paravisor(#[from] ParavisorError),
    /// The SVSM gave no manifest.
    #[error("expected the manifest of an SVSM, which names the endorsement key of its vTPM")]
    NoManifest,
    /// The SVSM's manifest is malformed.
    #[error("expected the manifest of an SVSM")]
    Manifest(#[from] SvsmError),
    /// What came as a report is none.
    #[error("expected an SNP attestation report from the hardware")]
    SnpReport(#[from] SnpReportError),
    /// What came as a quote is none.
    #[error("expected a TDX quote from the hardware")]
    TdxQuote(#[from] QuoteError),
    /// The report carries something else than what was asked for: the host or another process interfered.
    #[error("expected a report that carries our report data")]
    OtherReportData,
    /// The init-data cannot be read.
    #[error("expected init-data in {}, found {errno}", path.display())]
    InitDataFile {
        /// Where they were looked for.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// The init-data are malformed.
    #[error("expected init-data")]
    InitData(#[from] InitDataError),
    /// The pieces do not fit into a bundle.
    #[error("expected evidence that fits into a bundle")]
    Bundle(#[from] BundleError),
}

/// Something that is missing from evidence which is good otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Warning {
    /// The host's certificate table is malformed; the evidence goes without it.
    #[error("dropped the host's certificate table: {0}")]
    CertificateTable(CertTableError),
    /// The TPM cannot be used; the evidence goes without it.
    #[error("left out the TPM: {0}")]
    Tpm(TpmError),
    /// The metadata service did not give the processor's certificates; the evidence goes without them.
    #[error("left out the processor's certificates: {0}")]
    Metadata(MetadataError),
    /// The firmware's event log cannot be read; the evidence goes without it.
    #[error("left out the event log: {errno}")]
    EventLog {
        /// What the kernel said.
        errno: Errno,
    },
    /// The runtime event log cannot be read; the evidence goes without it.
    #[error("left out the runtime event log: {errno}")]
    RuntimeEventLog {
        /// What the kernel said.
        errno: Errno,
    },
    /// There is a runtime event log and no log of the firmware that it continues; the evidence goes without it.
    #[error("left out the runtime event log: there is no event log of the firmware")]
    RuntimeEventLogAlone,
    /// An event log is larger than a bundle's item may be; the evidence goes without it.
    #[error("left out the event log: expected at most {limit} bytes")]
    EventLogSize {
        /// The bound, in bytes.
        limit: usize,
    },
}
