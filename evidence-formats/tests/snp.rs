//! Report parsing: every reserved range, every enumeration, round trip and arbitrary bytes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use evidence_formats::{
    bytes::ReportData,
    code::Coded,
    snp::{CertTable, ProductLine, SigningKey, SnpReport, SnpReportError, Vmpl, offset},
};
use proptest::prelude::*;

/// A minimal well-formed report: version 5 on Genoa.
fn good() -> Vec<u8> {
    let mut report = vec![0; SnpReport::LENGTH];
    patch(&mut report, offset::VERSION, &[5]);
    patch(&mut report, offset::POLICY, &0x3_0000_u64.to_le_bytes());
    patch(&mut report, offset::SIGNATURE_ALGO, &[1]);
    patch(&mut report, offset::CPUID_FAM_ID, &[0x19, 0x11, 1]);
    report
}

fn patch(report: &mut [u8], at: usize, bytes: &[u8]) {
    report[at..][..bytes.len()].copy_from_slice(bytes);
}

fn refusal(at: usize, bytes: &[u8]) -> &'static str {
    let mut report = good();
    patch(&mut report, at, bytes);
    SnpReport::parse(&report).unwrap_err().code().as_str()
}

#[test]
fn a_minimal_report_parses() {
    let report = SnpReport::parse(&good()).unwrap();
    assert_eq!(report.fields().version, 5);
    assert_eq!(report.fields().product, Some(ProductLine::Genoa));
    assert_eq!(report.fields().vmpl, Vmpl::Guest(0));
    assert_eq!(report.fields().key_info.signing_key, SigningKey::Vcek);
    assert_eq!(report.fields().report_data, ReportData([0; 64]));
    assert_eq!(report.as_bytes().as_slice(), good());
    assert_eq!(report.signed_bytes().as_slice(), &good()[..offset::SIGNED_LENGTH]);
}

#[test]
fn every_wrong_field_has_its_code() {
    let table: &[(usize, &[u8], &str)] = &[
        (offset::VERSION, &[1], "parse.snp.version"),
        (offset::VERSION, &[6], "parse.snp.version"),
        (offset::VERSION, &[5, 0, 1], "parse.snp.version"),
        (offset::SIGNATURE_ALGO, &[0], "parse.snp.signature_algorithm"),
        (offset::SIGNATURE_ALGO, &[1, 0, 0, 1], "parse.snp.signature_algorithm"),
        (offset::KEY_INFO, &[1 << 5], "parse.snp.reserved"),
        (offset::KEY_INFO, &[0, 0, 0, 0x80], "parse.snp.reserved"),
        (offset::KEY_INFO, &[2 << 2], "parse.snp.signing_key"),
        (offset::KEY_INFO, &[6 << 2], "parse.snp.signing_key"),
        (offset::KEY_INFO, &[1], "parse.snp.author_key"),
        (offset::POLICY, &[0, 0, 1], "parse.snp.policy"),
        (offset::POLICY, &[0, 0, 3, 4], "parse.snp.policy"),
        (offset::POLICY, &[0, 0, 3, 0, 0, 0, 0, 0x80], "parse.snp.policy"),
        (offset::VMPL, &[4], "parse.snp.vmpl"),
        (offset::VMPL, &[0xff, 0xff, 0xff, 0x7f], "parse.snp.vmpl"),
        (offset::CPUID_FAM_ID, &[0x1b], "parse.snp.product"),
        (offset::CPUID_MOD_ID, &[0x50], "parse.snp.product"),
        (offset::RESERVED_04C, &[1], "parse.snp.reserved"),
        (offset::RESERVED_18B, &[1], "parse.snp.reserved"),
        (offset::CHIP_ID - 1, &[1], "parse.snp.reserved"),
        (offset::RESERVED_1EB, &[1], "parse.snp.reserved"),
        (offset::RESERVED_1EF, &[1], "parse.snp.reserved"),
        (offset::RESERVED_208, &[1], "parse.snp.reserved"),
        (offset::SIGNATURE_R - 1, &[1], "parse.snp.reserved"),
        (offset::SIGNATURE_R + 48, &[1], "parse.snp.reserved"),
        (offset::SIGNATURE_R + 71, &[1], "parse.snp.reserved"),
        (offset::SIGNATURE_S + 48, &[1], "parse.snp.reserved"),
        (offset::SIGNATURE_RESERVED, &[1], "parse.snp.reserved"),
        (offset::LENGTH - 1, &[1], "parse.snp.reserved"),
        (offset::CURRENT_TCB + 2, &[1], "parse.snp.reserved"),
        (offset::REPORTED_TCB + 3, &[1], "parse.snp.reserved"),
        (offset::COMMITTED_TCB + 4, &[1], "parse.snp.reserved"),
        (offset::LAUNCH_TCB + 5, &[1], "parse.snp.reserved"),
    ];
    for (at, bytes, code) in table {
        assert_eq!(refusal(*at, bytes), *code, "offset {at:#x}");
    }
}

#[test]
fn mitigation_vectors_and_cpuid_are_reserved_in_earlier_versions() {
    for version in [3, 4] {
        let mut report = good();
        patch(&mut report, offset::VERSION, &[version]);
        assert!(SnpReport::parse(&report).is_ok());
        patch(&mut report, offset::CURRENT_MIT_VECTOR, &[1]);
        let reserved = SnpReportError::Reserved { offset: offset::LAUNCH_MIT_VECTOR };
        assert_eq!(SnpReport::parse(&report), Err(reserved));
    }
    let mut report = good();
    patch(&mut report, offset::VERSION, &[2]);
    assert_eq!(SnpReport::parse(&report), Err(SnpReportError::Reserved { offset: offset::CPUID_FAM_ID }));
    patch(&mut report, offset::CPUID_FAM_ID, &[0, 0, 0]);
    assert_eq!(SnpReport::parse(&report).unwrap().fields().product, None);
}

#[test]
fn turin_has_its_own_layout() {
    let mut report = good();
    patch(&mut report, offset::CPUID_FAM_ID, &[0x1a, 2, 1]);
    patch(&mut report, offset::CURRENT_TCB, &[1, 2, 0, 4, 0, 0, 0, 0x47]);
    patch(&mut report, offset::CHIP_ID, &[1; 8]);
    assert!(SnpReport::parse(&report).is_ok());
    patch(&mut report, offset::CHIP_ID + 8, &[1]);
    assert_eq!(SnpReport::parse(&report), Err(SnpReportError::ChipId { length: 8 }));
}

#[test]
fn only_the_exact_length_is_a_report() {
    for length in [0, 1, 0x2a0, 1183, 1185, 4000] {
        assert_eq!(SnpReport::parse(&vec![0; length]), Err(SnpReportError::Length { actual: length }));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = SnpReport::parse(&bytes);
        let _ = CertTable::parse(&bytes);
    }

    #[test]
    fn what_parses_is_kept_byte_for_byte(at in 0..offset::LENGTH, value: u8) {
        let mut report = good();
        report[at] = value;
        if let Ok(parsed) = SnpReport::parse(&report) {
            prop_assert_eq!(parsed.as_bytes().as_slice(), report);
        }
    }
}
