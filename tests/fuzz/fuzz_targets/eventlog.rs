//! Measured-boot logs: TCG2 and CCEL, and the IMA runtime log.
#![no_main]

use evidence_formats::eventlog::{EventLog, ima::ImaLog};
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = EventLog::parse(bytes);
        let _ = ImaLog::parse(bytes);
    });
});
