//! SEV-SNP: from what hardware and host gave to a bundle.

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
};

use crate::{attester::Collected, error::AttestError};

/// The bundle of a report and the host's certificate table.
///
/// # Errors
/// When the report does not parse or carries other report data than ours. A certificate table that does not parse is
/// dropped with a warning: the host wrote it, and the broker can get the certificates elsewhere.
pub(crate) fn evidence(
    report: Vec<u8>,
    certificates: Option<Vec<u8>>,
    report_data: &ReportData,
) -> Result<Collected, AttestError> {
    // REPORT_DATA is at 0x50 (SEV-SNP ABI 56860, table 23).
    if report.get(0x50..0x90) != Some(report_data.as_bytes().as_slice()) {
        return Err(AttestError::OtherReportData);
    }
    let mut bundle = Bundle::new();
    bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::SnpReport, bytes: report })?;
    let warnings = Vec::new();
    if let Some(bytes) = certificates {
        bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes })?;
    }
    Ok(Collected { bundle, warnings })
}
