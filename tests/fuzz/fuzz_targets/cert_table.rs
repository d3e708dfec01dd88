//! GHCB certificate tables, which the host writes: whatever parses survives its own encoding.
#![no_main]

use evidence_formats::snp::CertTable;
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        if let Ok(table) = CertTable::parse(bytes) {
            let again = CertTable::parse(&table.to_bytes());
            assert!(again.is_ok_and(|again| again.entries().eq(table.entries())));
        }
    });
});
