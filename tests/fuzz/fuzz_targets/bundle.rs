//! Evidence bundles in JSON and CBOR: whatever parses survives both encodings.
#![no_main]

use evidence_formats::{bundle::Bundle, evidence::Evidence};
use fuzz::within_memory;

fn round_trip(bundle: &Bundle) {
    let json = bundle.to_json().expect("a bundle is JSON");
    assert_eq!(Bundle::parse_json(&json).as_ref(), Ok(bundle));
    let cbor = bundle.to_cbor().expect("a bundle is CBOR");
    assert_eq!(Bundle::parse_cbor(&cbor).as_ref(), Ok(bundle));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let parsed = within_memory(|| [Bundle::parse_json(bytes), Bundle::parse_cbor(bytes)]);
    for bundle in parsed.into_iter().flatten() {
        round_trip(&bundle);
        let _ = within_memory(|| Evidence::from_bundle(&bundle));
    }
});
