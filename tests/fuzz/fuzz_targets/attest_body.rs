//! Bodies of `POST /v1/attest`, in JSON and CBOR.
#![no_main]

use fuzz::within_memory;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| countersign::fuzzing::parses_as_attest_body(bytes));
});
