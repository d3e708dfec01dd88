//! Bodies of `POST /v1/enroll` and its second step, and the plaintext of a grant for a TPM.
#![no_main]

use fuzz::within_memory;
use keys::{secret::SecretBytes, tpm::TpmGrant};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = countersign::fuzzing::parses_as_enroll_body(bytes);
        let plaintext = SecretBytes::new(bytes.to_vec());
        if let Ok(grant) = TpmGrant::parse(&plaintext) {
            let again = TpmGrant::parse(&grant.to_plaintext());
            assert_eq!(again.as_ref(), Ok(&grant));
        }
    });
});
