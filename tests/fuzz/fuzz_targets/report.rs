//! SNP attestation reports: whatever parses is kept byte for byte.
#![no_main]

use evidence_formats::snp::SnpReport;
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        if let Ok(report) = SnpReport::parse(bytes) {
            assert_eq!(report.as_bytes().as_slice(), bytes);
        }
    });
});
