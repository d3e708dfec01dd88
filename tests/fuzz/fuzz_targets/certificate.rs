//! X.509 certificates in DER and PEM: the received bytes are kept.
#![no_main]

use fuzz::within_memory;
use verifier::x509::{Certificate, parse_pem};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        if let Ok(certificate) = Certificate::parse_der(bytes) {
            assert_eq!(certificate.der(), bytes);
        }
        for block in parse_pem(bytes).unwrap_or_default() {
            let _ = Certificate::parse_der(&block.contents);
        }
    });
});
