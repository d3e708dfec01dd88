//! Certificate revocation lists: the received bytes are kept.
#![no_main]

use fuzz::within_memory;
use verifier::x509::Crl;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        if let Ok(crl) = Crl::parse_der(bytes) {
            assert_eq!(crl.der(), bytes);
            let _ = crl.revokes(bytes);
        }
    });
});
