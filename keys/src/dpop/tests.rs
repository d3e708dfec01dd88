#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{random::SystemRandom, sign::SigningKey};

const NOW: i64 = 1_800_000_000;
const URL: &str = "https://rs.example/orders";
const TOKEN: &str = "aa.bb.cc";
const ES256: &[SignatureAlgorithm] = &[SignatureAlgorithm::Es256];

fn key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap()
}

fn expected() -> Expected<'static> {
    Expected {
        algorithms: ES256,
        method: "GET",
        url: URL,
        now: NOW,
        window: 60,
        token: ShownToken::Token(TOKEN),
        nonce: ExpectedNonce::Exactly("n1"),
    }
}

fn header(key: &SigningKey) -> Value {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": serde_json::to_value(key.verifying_key().bare()).unwrap()})
}

fn claims() -> Value {
    json!({"jti": "j1", "htm": "GET", "htu": URL, "iat": NOW, "ath": token_hash(TOKEN), "nonce": "n1"})
}

fn signed(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = encode(key.sign(message.as_bytes()).unwrap());
    format!("{message}.{signature}")
}

/// One change of a good document; `null` takes the member away.
fn changed(mut document: Value, member: &str, value: Value) -> Value {
    if value.is_null() {
        document.as_object_mut().unwrap().remove(member);
    } else {
        document[member] = value;
    }
    document
}

#[test]
fn what_a_client_proves_is_accepted_with_its_key_and_id() {
    let key = key();
    let request = Request {
        method: "GET",
        url: "https://rs.example/orders?page=2",
        id: "j1",
        now: NOW,
        token: ShownToken::Token(TOKEN),
        nonce: Some("n1"),
    };
    let text = prove(&key, &request).unwrap();
    let proof = Proof::verify(&text, &expected()).unwrap();
    assert_eq!(proof.thumbprint(), key.verifying_key().key_id().as_str());
    assert_eq!((proof.nonce(), proof.expires_at()), (Some("n1"), NOW + 61));
    let other = Proof::verify(&prove(&key, &Request { id: "j2", ..request }).unwrap(), &expected()).unwrap();
    assert_ne!(proof.id(), other.id());
    assert!(proof.clone().of_key(key.verifying_key().key_id().as_str()).is_ok());
    assert_eq!(proof.of_key("another"), Err(DpopError::OtherKey));
}

/// Every rule of RFC 9449 §4.3, broken one at a time.
#[test]
fn each_rule_is_broken_once() {
    let key = key();
    let private =
        json!({"kty": "EC", "crv": "P-256", "x": header(&key)["jwk"]["x"], "y": header(&key)["jwk"]["y"], "d": "AA"});
    let other_key = serde_json::to_value(self::key().verifying_key().bare()).unwrap();
    let headers = [
        ("typ", json!("JWT"), DpopError::Type),
        ("typ", json!("at+jwt"), DpopError::Type),
        ("typ", Value::Null, DpopError::Header),
        ("alg", json!("none"), DpopError::Header),
        ("alg", json!("HS256"), DpopError::Header),
        ("alg", json!("ES384"), DpopError::Algorithm { found: SignatureAlgorithm::Es384 }),
        ("alg", json!("RS256"), DpopError::Algorithm { found: SignatureAlgorithm::Rs256 }),
        ("jwk", Value::Null, DpopError::Header),
        ("jwk", json!({"kty": "oct", "k": "AA"}), DpopError::Key),
        ("jwk", private, DpopError::Key),
        ("jwk", json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), DpopError::Key),
        ("jwk", other_key, DpopError::Signature),
        ("crit", json!(["b64"]), DpopError::Header),
    ];
    for (member, value, error) in headers {
        let proof = signed(&key, &changed(header(&key), member, value.clone()), &claims());
        assert_eq!(Proof::verify(&proof, &expected()), Err(error), "{member}: {value}");
    }
    let absent = |error: &DpopError| matches!(error, DpopError::Claims { .. });
    for member in ["jti", "htm", "htu", "iat"] {
        let proof = signed(&key, &header(&key), &changed(claims(), member, Value::Null));
        assert!(absent(&Proof::verify(&proof, &expected()).unwrap_err()), "{member}");
    }
    for (member, value) in
        [("jti", json!("")), ("jti", json!("x".repeat(257))), ("iat", json!("now")), ("nonce", json!(""))]
    {
        let proof = signed(&key, &header(&key), &changed(claims(), member, value.clone()));
        assert!(absent(&Proof::verify(&proof, &expected()).unwrap_err()), "{member}: {value}");
    }
    let bodies = [
        ("htm", json!("POST"), DpopError::Method),
        ("htm", json!("get"), DpopError::Method),
        ("htu", json!("https://rs.example/admin"), DpopError::Url),
        ("htu", json!("https://evil.example/orders"), DpopError::Url),
        ("htu", json!("orders"), DpopError::Url),
        ("iat", json!(NOW - 61), DpopError::Time { iat: NOW - 61 }),
        ("iat", json!(NOW + 61), DpopError::Time { iat: NOW + 61 }),
        ("iat", json!(i64::MIN), DpopError::Time { iat: i64::MIN }),
        ("ath", Value::Null, DpopError::Token),
        ("ath", json!(token_hash("another")), DpopError::Token),
        ("nonce", Value::Null, DpopError::Nonce),
        ("nonce", json!("n2"), DpopError::Nonce),
    ];
    for (member, value, error) in bodies {
        let proof = signed(&key, &header(&key), &changed(claims(), member, value.clone()));
        assert_eq!(Proof::verify(&proof, &expected()), Err(error), "{member}: {value}");
    }
    for proof in ["", "a", "a.b", "a.b.c", &"x".repeat(PROOF_LIMIT + 1)] {
        assert_eq!(Proof::verify(proof, &expected()), Err(DpopError::Form));
    }
    assert!(Proof::verify(&signed(&key, &header(&key), &claims()), &expected()).is_ok());
}

proptest! {
    #[test]
    fn any_changed_byte_is_refused(at in 0_usize..300, flip in 1_u8..=255) {
        let key = key();
        let mut bytes = signed(&key, &header(&key), &claims()).into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(Proof::verify(&text, &expected()).is_err());
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".*") {
        let _ = Proof::verify(&text, &expected());
    }
}

#[test]
fn a_long_proof_is_not_looked_at() {
    let key = key();
    let claims = changed(claims(), "htu", format!("{URL}?{}", "x".repeat(PROOF_LIMIT)).into());
    let refused = Proof::verify(&signed(&key, &header(&key), &claims), &expected());
    assert_eq!(refused, Err(DpopError::Form));
}

/// Neither an algorithm that is not allowed, nor one that the key does not have.
#[test]
fn the_algorithm_is_allowed_and_the_keys_own() {
    let key = SigningKey::generate(SignatureAlgorithm::Es384, &mut SystemRandom::new()).unwrap();
    let own = changed(header(&key), "alg", "ES384".into());
    let judge = |header: &Value, expected| Proof::verify(&signed(&key, header, &claims()), &expected);
    let es384 = SignatureAlgorithm::Es384;
    assert_eq!(judge(&own, expected()), Err(DpopError::Algorithm { found: es384 }));
    let every = Expected { algorithms: &SignatureAlgorithm::ALL, ..expected() };
    assert!(judge(&own, every).is_ok());
    let found = SignatureAlgorithm::Es256;
    assert_eq!(judge(&header(&key), every), Err(DpopError::Algorithm { found }));
}

#[test]
fn proofs_of_two_keys_never_share_an_id() {
    let id = |key: &SigningKey| Proof::verify(&signed(key, &header(key), &claims()), &expected()).unwrap().id();
    let one = key();
    assert_eq!(id(&one), id(&one));
    assert_ne!(id(&one), id(&key()));
}

/// Coordinates of other lengths that give the same point would be another thumbprint of one key.
#[test]
fn a_key_has_one_spelling() {
    let key = key();
    let jwk = header(&key)["jwk"].clone();
    let bytes = |member: &str| crate::encoding::decode(jwk[member].as_str().unwrap()).unwrap();
    let (x, mut y) = (bytes("x"), bytes("y"));
    y.insert(0, x[31]);
    let moved = json!({"kty": "EC", "crv": "P-256", "x": encode(&x[..31]), "y": encode(y)});
    assert!(VerifyingKey::from_public_jwk(&jwk).is_some());
    assert!(VerifyingKey::from_public_jwk(&moved).is_none());
}
