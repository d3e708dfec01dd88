//! What a client of the token exchange sends: the form, DPoP proofs, and tokens before anything is verified. Never a panic, and
//! no proof or token without a signature is accepted.
#![no_main]

use fuzz::within_memory;
use keys::{
    dpop::{Expected, ExpectedNonce, Proof, ShownToken, same_resource},
    relying::{Presented, Trust, access_token, attestation_result, attestation_result_cwt, jwt_svid},
    sign::{Jwks, SignatureAlgorithm},
    token::{Audience, dangerous_label},
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    within_memory(|| {
        let _ = countersign::fuzzing::parses_as_token_body(bytes);
        let jwks = Jwks::default();
        let audience = Audience::Unchecked { reason: "fuzzing" };
        let trust = Trust { jwks: &jwks, issuer: "i", audience, now: 0, leeway: 0 };
        let unchecked = || Presented::Unchecked { reason: "fuzzing" };
        assert!(attestation_result_cwt(bytes, &trust, unchecked()).is_err());
        if let Ok(text) = std::str::from_utf8(bytes) {
            let _ = dangerous_label(text);
            let _ = same_resource(text, "https://b.example/v1/token");
            let expected = Expected {
                algorithms: &SignatureAlgorithm::ALL,
                method: "POST",
                url: "https://b.example/v1/token",
                now: 1_800_000_000,
                window: 60,
                token: ShownToken::Token(text),
                nonce: ExpectedNonce::Exactly("n"),
            };
            assert!(Proof::verify(text, &expected).is_err(), "a proof cannot have its own hash in it");
            assert!(access_token(text, &trust, unchecked()).is_err());
            assert!(attestation_result(text, &trust, unchecked()).is_err());
            assert!(jwt_svid(text, &trust, unchecked()).is_err());
        }
    });
});
