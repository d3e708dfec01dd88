//! How the TCB versions of one report relate to each other.

use evidence_formats::snp::{ProductLine, ReportFields, SnpReportError, TcbComponents, TcbVersion, offset};

use super::{SnpError, claims::TcbSet};

/// Reads every TCB version of a report in the layout of `line`.
pub(super) fn read(fields: &ReportFields, line: ProductLine) -> Result<TcbSet, SnpReportError> {
    fields.fits_product(line)?;
    let components = |version: TcbVersion, offset| -> Result<TcbComponents, SnpReportError> {
        version.components(line.tcb_layout()).ok_or(SnpReportError::Reserved { offset })
    };
    Ok(TcbSet {
        current: components(fields.current_tcb, offset::CURRENT_TCB)?,
        reported: components(fields.reported_tcb, offset::REPORTED_TCB)?,
        committed: components(fields.committed_tcb, offset::COMMITTED_TCB)?,
        launch: components(fields.launch_tcb, offset::LAUNCH_TCB)?,
    })
}

/// Firmware never reports or commits to more than it runs (AMD 56860, SNP_COMMIT and SNP_SET_CONFIG). The launch TCB may
/// be above or below, since a guest can be imported from another machine.
pub(super) fn order(tcb: &TcbSet) -> Result<(), SnpError> {
    if !tcb.current.at_least(&tcb.reported) {
        return Err(SnpError::TcbOrder { lower: "the reported" });
    }
    if !tcb.current.at_least(&tcb.committed) {
        return Err(SnpError::TcbOrder { lower: "the committed" });
    }
    Ok(())
}
