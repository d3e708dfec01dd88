//! TDX: from what the hardware gave to a bundle.

use std::path::Path;

use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    tdx::TdxQuote,
};

use crate::{
    attester::Collected,
    error::{AttestError, Warning},
    event_log,
    rtmr::HeldLog,
};

/// The bundle of a quote, the firmware's event log at `cc_event_log`, where there is one, and the log that continues it.
///
/// # Errors
/// When the quote does not parse or carries other report data than ours.
pub(crate) fn evidence(
    quote: Vec<u8>,
    report_data: &ReportData,
    cc_event_log: &Path,
    runtime_log: Result<Option<HeldLog>, Warning>,
) -> Result<Collected, AttestError> {
    if TdxQuote::parse(&quote)?.body.report_data != *report_data {
        return Err(AttestError::OtherReportData);
    }
    let mut bundle = Bundle::new();
    bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::TdxQuote, bytes: quote })?;
    let mut warnings = Vec::new();
    match event_log::cc(cc_event_log) {
        Ok(None) => {}
        Ok(Some(log)) => bundle.insert(ItemName::EventlogCc, log)?,
        Err(left_out) => warnings.push(left_out),
    }
    match runtime_log {
        Ok(None) => {}
        Ok(Some(_)) if bundle.item(ItemName::EventlogCc).is_none() => warnings.push(Warning::RuntimeEventLogAlone),
        Ok(Some(log)) => bundle.insert(ItemName::EventlogRuntime, log.into_item())?,
        Err(left_out) => warnings.push(left_out),
    }
    Ok(Collected { bundle, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_quote_is_refused_here() {
        let refused = evidence(vec![4, 0, 2], &ReportData([0; 64]), Path::new("/nonexistent"), Ok(None));
        assert!(matches!(refused, Err(AttestError::TdxQuote(_))));
    }
}
