#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::VecDeque;

use super::*;

/// What the fake driver answers to one request.
struct Answer {
    status: u32,
    report_size: u32,
    certificates: Vec<u8>,
    certificates_length: u32,
    failure: Option<Failure>,
}

impl Default for Answer {
    fn default() -> Self {
        Self { status: 0, report_size: 1184, certificates: vec![], certificates_length: 0x4000, failure: None }
    }
}

fn too_small(certificates_length: u32) -> Answer {
    let failure = Some(Failure { errno: Errno::IO, exit: ExitInfo { firmware: 0, host: 1 } });
    Answer { certificates_length, failure, ..Answer::default() }
}

fn failing(errno: Errno, exitinfo2: u64) -> Answer {
    Answer { failure: Some(Failure { errno, exit: exitinfo2.into() }), ..Answer::default() }
}

#[derive(Default)]
struct Fake {
    answers: VecDeque<Answer>,
    buffers: Vec<usize>,
    plain: u32,
}

impl Fake {
    fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: answers.into_iter().collect(), ..Self::default() }
    }
}

fn fill(answer: &Answer, response: &mut ReportResponse) -> Result<(), Failure> {
    response.data[0..4].copy_from_slice(&answer.status.to_le_bytes());
    response.data[4..8].copy_from_slice(&answer.report_size.to_le_bytes());
    response.data[0x20..0x20 + 1184].fill(0xAB);
    answer.failure.map_or(Ok(()), Err)
}

impl Requests for Fake {
    fn lock(&mut self) -> Result<(), SevGuestError> {
        Ok(())
    }

    fn unlock(&mut self) {}

    fn report(&mut self, _: &ReportRequest, response: &mut ReportResponse) -> Result<(), Failure> {
        self.plain += 1;
        fill(&self.answers.pop_front().unwrap_or_default(), response)
    }

    fn extended_report(
        &mut self,
        _: &ReportRequest,
        certificates: &mut [u8],
        response: &mut ReportResponse,
    ) -> (u32, Result<(), Failure>) {
        self.buffers.push(certificates.len());
        let answer = self.answers.pop_front().unwrap_or_default();
        certificates[..answer.certificates.len()].copy_from_slice(&answer.certificates);
        (answer.certificates_length, fill(&answer, response))
    }
}

fn ask(fake: &mut Fake) -> Result<RawReport, SevGuestError> {
    collect(fake, &ReportRequest::new(&ReportData([1; 64]), 0))
}

#[test]
fn the_report_and_exactly_the_certificates_that_the_kernel_counts_come_back() {
    let answer = Answer { certificates: vec![9; 24], certificates_length: 24, ..Answer::default() };
    let raw = ask(&mut Fake::with([answer])).unwrap();
    assert_eq!(raw.report, [0xAB; 1184]);
    assert_eq!(raw.certificates, Some(vec![9; 24]));
}

#[test]
fn a_host_without_certificates_gives_none() {
    assert_eq!(ask(&mut Fake::default()).unwrap().certificates, None);
}

#[test]
fn a_certificate_length_beyond_the_buffer_reads_nothing_beyond_it() {
    let answer = Answer { certificates: vec![9; 24], certificates_length: u32::MAX, ..Answer::default() };
    assert_eq!(ask(&mut Fake::with([answer])).unwrap().certificates.unwrap().len(), 0x4000);
}

#[test]
fn the_buffer_follows_the_host_for_three_tries_and_then_the_report_goes_without() {
    let mut fake = Fake::with([too_small(0x1000), too_small(0x2001), too_small(0x1000)]);
    assert_eq!(ask(&mut fake).unwrap().certificates, None);
    assert_eq!(fake.buffers, [0x4000, 0x1000, 0x3000]);
    assert_eq!(fake.plain, 1);
}

#[test]
fn a_host_that_wants_more_than_16_kib_gets_no_buffer() {
    for wanted in [0x4001, 0x10_0000, u32::MAX, 0] {
        let mut fake = Fake::with([too_small(wanted)]);
        assert_eq!(ask(&mut fake).unwrap().certificates, None);
        assert_eq!(fake.buffers, [0x4000]);
    }
}

#[test]
fn the_status_and_the_size_of_the_report_are_looked_at() {
    for status in [0x16, 0x27, 1] {
        let answer = Answer { status, ..Answer::default() };
        assert_eq!(ask(&mut Fake::with([answer])), Err(SevGuestError::Status { status }));
    }
    for found in [0, 1183, 1185, u32::MAX] {
        let answer = Answer { report_size: found, ..Answer::default() };
        assert_eq!(ask(&mut Fake::with([answer])), Err(SevGuestError::ReportSize { found }));
    }
}

#[test]
fn kernel_errors_are_explained() {
    let table = [
        (failing(Errno::NOTTY, 0xff), SevGuestError::KeyDisabled),
        (failing(Errno::TIMEDOUT, 2 << 32), SevGuestError::Throttled),
        (
            failing(Errno::IO, 0x16),
            SevGuestError::Failed { errno: Errno::IO, exit: ExitInfo { firmware: 0x16, host: 0 } },
        ),
    ];
    for (answer, error) in table {
        assert_eq!(ask(&mut Fake::with([answer])), Err(error));
    }
}

#[test]
fn exit_info_says_who_failed() {
    let said = |value: u64| ExitInfo::from(value).to_string();
    assert_eq!(said(0xff), "the firmware was not reached");
    assert_eq!(said(0xffff_ffff), "the firmware was not reached");
    assert_eq!(said(0x16), "firmware status 0x16");
    assert_eq!(said(2 << 32), "the host is busy");
    assert_eq!(said(1 << 32), "the host says that the certificate buffer is too small");
    assert_eq!(said((7 << 32) | 3), "host status 0x7, firmware status 0x3");
}

#[test]
fn the_request_has_the_layout_of_the_kernel() {
    let request = ReportRequest::new(&ReportData([0x5A; 64]), 3);
    assert_eq!(std::mem::offset_of!(abi::ExtendedReportRequest, certs_address), 96);
    assert_eq!(std::mem::offset_of!(abi::ExtendedReportRequest, certs_len), 104);
    assert_eq!(std::mem::offset_of!(abi::GuestRequest, req_data), 8);
    assert_eq!(std::mem::offset_of!(abi::GuestRequest, exitinfo2), 24);
    assert!(format!("{request:?}").contains("vmpl: 3"));
}

#[test]
fn a_device_that_is_none_says_that_the_request_is_unknown() {
    let mut device = SevGuest::open(Path::new("/dev/null")).unwrap();
    assert_eq!(device.collect(&ReportData([0; 64]), 0), Err(SevGuestError::KeyDisabled));
}
