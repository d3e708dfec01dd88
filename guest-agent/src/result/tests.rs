#![expect(clippy::unwrap_used, reason = "tests")]

use keys::{jwk::TeeKeyType, random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::json;

use super::*;

const NONCE: Nonce = Nonce([3; 32]);

fn token(claims: &Value) -> String {
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn only_a_result_for_our_nonce_and_key_is_ours() {
    let pair = || TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
    let (ours, other) = (pair(), pair());
    let jwk = serde_json::to_value(ours.public()).unwrap();
    let check = |claims: Value| is_ours(&token(&claims), &NONCE, ours.public());
    assert_eq!(check(json!({"eat_nonce": NONCE, "cnf": {"jwk": jwk}})), Ok(()));
    assert_eq!(check(json!({"eat_nonce": [NONCE], "cnf": {"jwk": jwk}})), Ok(()));
    assert_eq!(check(json!({"eat_nonce": [NONCE, NONCE], "cnf": {"jwk": jwk}})), Err(ResultError::Nonce));
    assert_eq!(check(json!({"eat_nonce": Nonce([4; 32]), "cnf": {"jwk": jwk}})), Err(ResultError::Nonce));
    assert_eq!(check(json!({"cnf": {"jwk": jwk}})), Err(ResultError::Nonce));
    assert_eq!(check(json!({"eat_nonce": NONCE, "cnf": {"jwk": other.public()}})), Err(ResultError::Key));
    assert_eq!(check(json!({"eat_nonce": NONCE, "cnf": {}})), Err(ResultError::Key));
    assert_eq!(check(json!({"eat_nonce": NONCE})), Err(ResultError::Key));
}

#[test]
fn what_is_no_jwt_is_none() {
    let key = TeeKeyPair::generate(TeeKeyType::X25519, &mut SystemRandom::new()).unwrap();
    for text in ["", "a.b", "a.b.c.d", "e30.!!.c", "e30.W10.c"] {
        assert_eq!(is_ours(text, &NONCE, key.public()), Err(ResultError::NotAToken), "{text}");
    }
}
