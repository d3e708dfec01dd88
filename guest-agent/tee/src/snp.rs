//! SEV-SNP: from what hardware and host gave to a bundle.

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    snp::{CertTable, SnpReport},
};

use crate::{
    attester::Collected,
    error::{AttestError, Warning},
};

/// The bundle of a report and the host's certificate table.
///
/// The table is written anew from what was parsed: what the host put between and behind the certificates stays here.
///
/// # Errors
/// When the report does not parse or carries other report data than ours. A certificate table that does not parse is
/// dropped with a warning: the host wrote it, and the broker can get the certificates elsewhere.
pub(crate) fn evidence(
    report: Vec<u8>,
    certificates: Option<Vec<u8>>,
    report_data: &ReportData,
) -> Result<Collected, AttestError> {
    if SnpReport::parse(&report)?.fields().report_data != *report_data {
        return Err(AttestError::OtherReportData);
    }
    let mut bundle = Bundle::new();
    bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::SnpReport, bytes: report })?;
    let mut warnings = Vec::new();
    match certificates.map(|bytes| CertTable::parse(&bytes)).transpose() {
        Ok(None) => {}
        Ok(Some(table)) => {
            let bytes = table.to_bytes();
            bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes })?;
        }
        Err(malformed) => warnings.push(Warning::CertificateTable(malformed)),
    }
    Ok(Collected { bundle, warnings })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use evidence_formats::snp::{CertGuid, CertTableError, SnpReportError, offset};

    use super::*;

    const DATA: ReportData = ReportData([0x5A; 64]);

    /// The least that parses: version 2, the only signature algorithm, the policy bit that is always one, the key that
    /// signs a report on an unmasked chip.
    fn report() -> Vec<u8> {
        let mut report = vec![0; 1184];
        report[offset::VERSION] = 2;
        report[offset::POLICY + 2] = 2;
        report[offset::SIGNATURE_ALGO] = 1;
        report[offset::REPORT_DATA..offset::REPORT_DATA + 64].copy_from_slice(DATA.as_bytes());
        report
    }

    fn table() -> CertTable {
        CertTable::from_entries(vec![(CertGuid([1; 16]), vec![0x30, 0x00])])
    }

    #[test]
    fn a_good_report_and_table_are_carried() {
        let Collected { bundle, warnings } = evidence(report(), Some(table().to_bytes()), &DATA).unwrap();
        assert_eq!(bundle.item(ItemName::Cpu).unwrap().bytes, report());
        assert_eq!(bundle.item(ItemName::Certs).unwrap().bytes, table().to_bytes());
        assert_eq!(warnings, []);
    }

    #[test]
    fn what_the_host_put_behind_the_table_is_not_carried() {
        let mut padded = table().to_bytes();
        padded.extend_from_slice(b"left over in the page");
        let Collected { bundle, warnings } = evidence(report(), Some(padded), &DATA).unwrap();
        assert_eq!(bundle.item(ItemName::Certs).unwrap().bytes, table().to_bytes());
        assert_eq!(warnings, []);
    }

    #[test]
    fn a_hostile_table_is_dropped_by_name_and_the_report_goes_on() {
        let mut pointing_outside = table().to_bytes();
        pointing_outside[20..24].copy_from_slice(&0x1_0000_u32.to_le_bytes());
        for bytes in [pointing_outside, vec![0xFF; 4096], vec![1]] {
            let Collected { bundle, warnings } = evidence(report(), Some(bytes), &DATA).unwrap();
            assert_eq!(bundle.item(ItemName::Certs), None);
            assert!(matches!(warnings[..], [Warning::CertificateTable(_)]), "{warnings:?}");
        }
        let warning = Warning::CertificateTable(CertTableError::Overlap);
        assert_eq!(warning.to_string(), "dropped the host's certificate table: expected blobs that do not overlap");
    }

    #[test]
    fn a_report_for_somebody_else_is_refused_here() {
        let other = ReportData([0x5B; 64]);
        assert_eq!(evidence(report(), None, &other), Err(AttestError::OtherReportData));
    }

    #[test]
    fn what_is_no_report_is_refused_here() {
        let error = AttestError::SnpReport(SnpReportError::Length { actual: 3 });
        assert_eq!(evidence(vec![1, 2, 3], None, &DATA), Err(error));
    }
}
