//! CoRIM manifests, signed and not, as far as they get without a signer.
#![no_main]

use evidence_formats::corim::{Corim, CorimDocument};
use fuzz::within_memory;
use verifier::{
    Timestamp,
    reference::corim::{CorimNames, CorimTerms, PlatformValues, UnsignedCorim, import},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let terms = CorimTerms {
            signers: &[],
            unsigned: UnsignedCorim::Allow,
            platform_values: PlatformValues::LeaveOut,
            now: Timestamp::from_unix(1_800_000_000),
        };
        let _ = import(bytes, &terms, &CorimNames::default());
        // What is inside of a signed one, which nobody reads before its signature is verified.
        let payload = match Corim::parse(bytes) {
            Ok(Corim::Signed(signed)) => CorimDocument::parse(signed.payload()),
            Ok(Corim::Unsigned(document)) => Ok(*document),
            Err(error) => Err(error),
        };
        if let Some(written) = payload.ok().and_then(|document| document.to_bytes().ok()) {
            let again = CorimDocument::parse(&written).and_then(|document| document.to_bytes());
            assert_eq!(again.as_deref(), Ok(written.as_slice()));
        }
    });
});
