//! What a broker sends a guest (sealed JWE) and a guest a broker (JWK), and tokens: never a panic, and nothing opens that
//! was not sealed to the key.
#![no_main]

use std::sync::LazyLock;

use fuzz::within_memory;
use keys::{
    jwk::{TeeKeyType, TeePublicKey},
    random::{NoRandomness, Random},
    seal::Sealed,
    sign::{Jwks, SignatureAlgorithm},
    tee_key::TeeKeyPair,
    token::{Audience, Expected, verify},
};

/// The same keys in every run.
struct Fixed;

impl Random for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        bytes.fill(0x17);
        Ok(())
    }
}

static PAIRS: LazyLock<Vec<TeeKeyPair>> = LazyLock::new(|| {
    [TeeKeyType::P256, TeeKeyType::X25519, TeeKeyType::XWing]
        .into_iter()
        .map(|key_type| TeeKeyPair::generate(key_type, &mut Fixed).expect("fixed bytes are a key"))
        .collect()
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let pairs = &*PAIRS;
    within_memory(|| {
        if let Ok(sealed) = serde_json::from_slice::<Sealed>(bytes) {
            for pair in pairs {
                let _ = pair.open(&sealed);
            }
        }
        if let Ok(key) = TeePublicKey::parse(bytes) {
            let again = serde_json::to_vec(&key).expect("a key is JSON");
            assert_eq!(TeePublicKey::parse(&again), Ok(key));
        }
        let jwks = Jwks::parse(bytes).unwrap_or_default();
        if let Ok(token) = std::str::from_utf8(bytes) {
            let audience = Audience::Unchecked { reason: "fuzzing" };
            let algorithms = &[SignatureAlgorithm::Es256, SignatureAlgorithm::Es384];
            let expected = Expected { algorithms, issuer: "i", audience, now: 0, leeway: 0 };
            assert!(verify::<serde_json::Value>(token, &jwks, &expected).is_err());
        }
    });
});
