#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};

use aws_lc_rs::digest::{SHA256, digest};

use super::*;
use crate::encoding::decode;
use crate::random::{Prepared, SystemRandom};

fn key(algorithm: SignatureAlgorithm) -> SigningKey {
    SigningKey::generate(algorithm, &mut SystemRandom::new()).unwrap()
}

#[test]
fn the_header_is_deterministic_and_names_the_key() {
    let key = key(SignatureAlgorithm::Es256);
    let token = sign_jwt(&key, TokenType::EatJwt, &json!({"a": 1})).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let header = String::from_utf8(decode(parts[0]).unwrap()).unwrap();
    assert_eq!(header, format!(r#"{{"alg":"ES256","kid":"{}","typ":"eat+jwt"}}"#, key.verifying_key().key_id()));
    assert_eq!(decode(parts[1]).unwrap(), br#"{"a":1}"#);
    assert_eq!(decode(parts[2]).unwrap().len(), 64);
}

/// RFC 7638 §3 computed by hand over the published members.
#[test]
fn the_key_id_is_the_thumbprint() {
    let jwk = serde_json::to_value(key(SignatureAlgorithm::Es384).verifying_key()).unwrap();
    let members = format!(r#"{{"crv":"P-384","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    assert_eq!(jwk["kid"], encode(digest(&SHA256, members.as_bytes())));
}

#[test]
fn a_key_survives_pkcs8() {
    for algorithm in [SignatureAlgorithm::Es256, SignatureAlgorithm::Es384] {
        let key = key(algorithm);
        let again = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
    }
}

#[test]
fn a_pkcs8_document_of_another_curve_is_refused() {
    let document = key(SignatureAlgorithm::Es384).to_pkcs8().unwrap();
    for document in [document, SecretBytes::new(Vec::new())] {
        let refused = SigningKey::from_pkcs8(SignatureAlgorithm::Es256, &document).err();
        assert_eq!(refused, Some(SignError::Pkcs8 { algorithm: SignatureAlgorithm::Es256 }));
    }
}

#[test]
fn keys_come_from_the_given_randomness() {
    let make = || SigningKey::generate(SignatureAlgorithm::Es256, &mut Prepared::new(&[&[7; 32]])).unwrap();
    assert_eq!(make().verifying_key(), make().verifying_key());
    let zero = SigningKey::generate(SignatureAlgorithm::Es256, &mut Prepared::new(&[&[0; 32]]));
    assert_eq!(zero.err(), Some(SignError::NotAKey));
}

#[test]
fn a_foreign_set_keeps_usable_keys_only() {
    let key = key(SignatureAlgorithm::Es256);
    let mut jwk = serde_json::to_value(key.verifying_key()).unwrap();
    jwk["kid"] = json!("chosen by its owner");
    let encryption = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "e", "use": "enc"});
    let set = json!({"keys": [{"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"}, encryption, jwk, {}], "more": 1});
    let jwks = Jwks::parse(&serde_json::to_vec(&set).unwrap()).unwrap();
    assert_eq!(jwks.keys().len(), 1);
    assert!(jwks.key("chosen by its owner").is_some());
    assert!(Jwks::parse(b"[]").is_err());
}

/// Another implementation accepts our tokens and our key set.
#[test]
fn a_foreign_library_verifies_our_tokens() {
    // Features of other packages may bring a second provider, so the choice is explicit; a second call changes nothing.
    let _: Result<(), _> = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    for (ours, theirs) in [
        (SignatureAlgorithm::Es256, jsonwebtoken::Algorithm::ES256),
        (SignatureAlgorithm::Es384, jsonwebtoken::Algorithm::ES384),
    ] {
        let key = key(ours);
        let claims = json!({"iss": "i", "aud": "a", "exp": 4_000_000_000_u64});
        let token = sign_jwt(&key, TokenType::Jwt, &claims).unwrap();
        let set = serde_json::to_string(&Jwks::new([key.verifying_key().clone()])).unwrap();
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set).unwrap();
        let found = set.find(key.verifying_key().key_id().as_str()).unwrap();
        let mut rules = jsonwebtoken::Validation::new(theirs);
        rules.set_issuer(&["i"]);
        rules.set_audience(&["a"]);
        let decoding = jsonwebtoken::DecodingKey::from_jwk(found).unwrap();
        let verified = jsonwebtoken::decode::<Value>(&token, &decoding, &rules).unwrap();
        assert_eq!(verified.claims, claims);
        assert_eq!(verified.header.kid.as_deref(), Some(key.verifying_key().key_id().as_str()));
    }
}
