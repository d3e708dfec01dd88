//! TDX: from what the hardware gave to a bundle.

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    tdx::TdxQuote,
};

use crate::{attester::Collected, error::AttestError};

/// The bundle of a quote.
///
/// # Errors
/// When the quote does not parse or carries other report data than ours.
pub(crate) fn evidence(quote: Vec<u8>, report_data: &ReportData) -> Result<Collected, AttestError> {
    if TdxQuote::parse(&quote)?.body.report_data != *report_data {
        return Err(AttestError::OtherReportData);
    }
    let mut bundle = Bundle::new();
    bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::TdxQuote, bytes: quote })?;
    Ok(Collected { bundle, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_quote_is_refused_here() {
        assert!(matches!(evidence(vec![4, 0, 2], &ReportData([0; 64])), Err(AttestError::TdxQuote(_))));
    }
}
