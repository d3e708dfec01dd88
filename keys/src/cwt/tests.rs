#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::json;

use super::*;
use crate::{random::SystemRandom, sign::SigningKey};

const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn claims() -> Json {
    json!({
        "eat_profile": "tag:ietf.org,2026:rats/ear#04", "iss": "https://b", "aud": "https://b", "iat": 100, "nbf": 100,
        "exp": 1000, "jti": "j", "eat_nonce": NONCE,
        "cnf": {"jwk": {"kty": "OKP", "crv": "X25519", "alg": "ECDH-ES+A256KW", "x": NONCE}},
        "status": {"status_list": {"idx": 1, "uri": "https://b/v1/status/0"}},
        "ear_verifier_id": {"developer": "d", "build": "b"}, "ear_status": "affirming",
        "submods": {"cpu": {"ear_status": "affirming", "ear_trustworthiness_vector": {"hardware": 2},
                            "ear_attester_claims": {"debug": false}}},
    })
}

fn key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap()
}

fn expected() -> Expected<'static> {
    Expected {
        algorithms: &[SignatureAlgorithm::Es256],
        issuer: "https://b",
        audience: Audience::Exactly("https://b"),
        now: 500,
        leeway: 0,
    }
}

#[test]
fn claims_stand_under_their_labels() {
    let key = key();
    let token = sign(&key, &claims()).unwrap();
    assert_eq!(token[..2], [0xd2, 0x84], "tag 18, four parts");
    let read = verify(&token, &Jwks::new([key.verifying_key().clone()]), &expected()).unwrap();
    assert_eq!(read.label(10), Some(&Item::Bytes(vec![0; 32])));
    assert_eq!(read.label(7), Some(&Item::Bytes(b"j".to_vec())));
    assert_eq!(read.label(1000), Some(&Item::Int(2)));
    let cnf = read.label(8).unwrap().label(1).unwrap();
    assert_eq!((cnf.label(1), cnf.label(-1)), (Some(&Item::Int(1)), Some(&Item::Int(4))));
    let json = to_json(&read);
    assert_eq!(json["submods"]["cpu"]["ear_trustworthiness_vector"], json!({"4": 2}));
    assert_eq!(json["status"]["status_list"]["idx"], 1);
}

#[test]
fn any_changed_byte_and_any_other_expectation_are_refused() {
    let key = key();
    let jwks = Jwks::new([key.verifying_key().clone()]);
    let token = sign(&key, &claims()).unwrap();
    for at in 0..token.len() {
        let mut changed = token.clone();
        changed[at] ^= 1;
        assert!(verify(&changed, &jwks, &expected()).is_err(), "byte {at}");
    }
    let refused = |expected: Expected<'_>| verify(&token, &jwks, &expected).unwrap_err();
    assert_eq!(refused(Expected { now: 1000, ..expected() }), TokenError::Expired { exp: 1000 });
    assert_eq!(refused(Expected { now: 99, ..expected() }), TokenError::NotYetValid { nbf: 100 });
    assert_eq!(refused(Expected { issuer: "https://c", ..expected() }), TokenError::Issuer);
    assert_eq!(refused(Expected { audience: Audience::Exactly("c"), ..expected() }), TokenError::Audience);
    assert!(matches!(verify(&token, &Jwks::new([]), &expected()).unwrap_err(), TokenError::UnknownKey { .. }));
}

#[test]
fn a_key_without_a_form_is_no_cwt() {
    let mut claims = claims();
    claims["cnf"] = json!({"jwk": {"kty": "AKP", "alg": "HPKE-X-Wing", "pub": "AA"}});
    assert!(matches!(sign(&key(), &claims), Err(CwtError::Claim { claim: "cnf" })));
}

/// A token whose headers are these, signed as it stands.
fn with_headers(key: &SigningKey, protected: Vec<(Item, Item)>, unprotected: Vec<(Item, Item)>) -> Vec<u8> {
    let payload = cbor::to_vec(&labelled(&claims()).unwrap()).unwrap();
    let protected = cbor::to_vec(&Item::Map(protected)).unwrap();
    let signature = key.sign(&to_be_signed(&protected, &payload).unwrap()).unwrap();
    let parts = vec![Item::Bytes(protected), Item::Map(unprotected), Item::Bytes(payload), Item::Bytes(signature)];
    [vec![TAG], cbor::to_vec(&Item::Array(parts)).unwrap()].concat()
}

#[test]
fn headers_that_nobody_knows_are_refused() {
    let key = key();
    let jwks = Jwks::new([key.verifying_key().clone()]);
    let kid = Item::Bytes(key.verifying_key().key_id().as_str().as_bytes().to_vec());
    let known = || vec![(Item::Int(1), Item::Int(ES256)), (Item::Int(4), kid.clone())];
    assert!(verify(&with_headers(&key, known(), Vec::new()), &jwks, &expected()).is_ok());
    let unprotected = with_headers(&key, known(), known());
    assert_eq!(verify(&unprotected, &jwks, &expected()), Err(TokenError::Form));
    let critical = [vec![(Item::Int(2), Item::Array(vec![Item::Int(9)]))], known()].concat();
    assert_eq!(verify(&with_headers(&key, critical, Vec::new()), &jwks, &expected()), Err(TokenError::Header));
    let found = SignatureAlgorithm::Es256;
    let others = Expected { algorithms: &[SignatureAlgorithm::Es384], ..expected() };
    let refused = verify(&with_headers(&key, known(), Vec::new()), &jwks, &others);
    assert_eq!(refused, Err(TokenError::Algorithm { found }));
}
