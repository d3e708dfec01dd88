//! Measured-boot logs: TCG2 and CCEL, the log of a running TD, and the IMA runtime log; and init-data.
#![no_main]

use evidence_formats::{
    eventlog::{EventLog, RuntimeLog, ima::ImaLog},
    init_data::InitData,
};
use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = EventLog::parse(bytes);
        let _ = RuntimeLog::parse(bytes);
        let _ = ImaLog::parse(bytes);
        let _ = InitData::parse(bytes);
    });
});
