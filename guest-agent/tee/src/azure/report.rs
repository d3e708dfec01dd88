//! The paravisor's report in vTPM NV, with what we wrote in it.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use evidence_formats::{
    bytes::ReportData,
    hcl::{HclHardware, HclReport, RuntimeClaims},
    snp::SnpReport,
    tdx::TdReport,
};

use super::ParavisorError;
use crate::tpm::{NvAttributes, NvIndex, NvPublic, Tpm, TpmError};

/// Where the paravisor's report is.
pub(super) const REPORT: NvIndex = NvIndex(0x0140_0001);
/// Where the guest writes what the paravisor puts into the next report.
const USER_DATA: NvIndex = NvIndex(0x0140_0002);
/// A paravisor makes a new report when the last one is older than two seconds, and takes a while for it.
pub(super) const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);

/// A report, whole, and what the parts of it are.
#[derive(Debug)]
pub(super) struct Report {
    /// As the paravisor has it.
    pub(super) bytes: Vec<u8>,
    pub(super) parsed: HclReport,
}

/// Writes `user_data` and waits for a report that carries it, at most for `limit`.
///
/// The hardware's report data is compared with the claims too, so that a report which another process made the paravisor
/// replace while it was read is read again.
pub(super) fn with_user_data(tpm: &Tpm, user_data: &ReportData, limit: Duration) -> Result<Report, ParavisorError> {
    write(tpm, user_data)?;
    let begun = Instant::now();
    loop {
        let bytes = tpm.nv_read(REPORT)?;
        let parsed = HclReport::parse(&bytes)?;
        let claims = RuntimeClaims::parse(parsed.claims())?;
        if claims.user_data.as_ref() == Some(user_data) && hardware_binds(&parsed)? {
            return Ok(Report { bytes, parsed });
        }
        if begun.elapsed() > limit {
            return Err(ParavisorError::OtherUserData { limit });
        }
        sleep(PAUSE);
    }
}

/// The index is the guest's own: the owner makes it where it is not there yet.
fn write(tpm: &Tpm, user_data: &ReportData) -> Result<(), TpmError> {
    if tpm.nv_public(USER_DATA)?.is_none() {
        let attributes =
            [NvAttributes::AUTH_READ, NvAttributes::AUTH_WRITE, NvAttributes::OWNER_READ, NvAttributes::OWNER_WRITE];
        let attributes = attributes.into_iter().fold(NvAttributes::NO_DA, NvAttributes::union);
        tpm.nv_define(&NvPublic { index: USER_DATA, attributes, size: 64 })?;
    }
    tpm.nv_write(USER_DATA, user_data.as_bytes())
}

fn hardware_binds(report: &HclReport) -> Result<bool, ParavisorError> {
    let report_data = match report.hardware() {
        HclHardware::Snp => SnpReport::parse(report.hardware_report())?.fields().report_data,
        HclHardware::Tdx => TdReport::parse(report.hardware_report())?.report_data,
    };
    Ok(report_data == report.expected_report_data())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use softtee::{
        paravisor::{Paravisor, ParavisorState},
        swtpm::is_installed,
        tsm::{GuestState, StateSource},
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(400);

    fn paravisor(paravisor: ParavisorState) -> (Paravisor, Tpm) {
        let state = GuestState { paravisor, ..GuestState::default() };
        let paravisor = Paravisor::start(StateSource::Fixed(Box::new(state))).unwrap();
        let tpm = Tpm::open(&paravisor.tpm().to_string().parse().unwrap()).unwrap();
        (paravisor, tpm)
    }

    #[test]
    fn a_young_report_is_waited_out() {
        if !is_installed() {
            return;
        }
        let (_paravisor, tpm) = paravisor(ParavisorState { refresh_ms: 500, ..ParavisorState::default() });
        for byte in [1, 2] {
            let report = with_user_data(&tpm, &ReportData([byte; 64]), LIMIT).unwrap();
            let claims = RuntimeClaims::parse(report.parsed.claims()).unwrap();
            assert_eq!(claims.user_data, Some(ReportData([byte; 64])));
        }
    }

    #[test]
    fn a_paravisor_that_never_says_it_is_given_up() {
        if !is_installed() {
            return;
        }
        let table = [
            ParavisorState { frozen: true, ..ParavisorState::default() },
            ParavisorState { user_data: Some(ReportData([9; 64])), ..ParavisorState::default() },
            ParavisorState { bound: false, ..ParavisorState::default() },
        ];
        for state in table {
            let (_paravisor, tpm) = paravisor(state);
            // A frozen one has its report from before.
            tpm.nv_read(REPORT).unwrap();
            let outcome = with_user_data(&tpm, &ReportData([1; 64]), SHORT).map(|report| report.bytes);
            assert_eq!(outcome, Err(ParavisorError::OtherUserData { limit: SHORT }));
        }
    }
}
