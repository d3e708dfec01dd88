#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{random::SystemRandom, tee_key::TeeKeyPair};

/// The P-256 point of RFC 7517 Appendix A.1 in the form of the KBS protocol.
fn p256() -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    })
}

fn parse(jwk: &Value) -> Result<TeePublicKey, JwkError> {
    TeePublicKey::parse(&serde_json::to_vec(jwk).unwrap())
}

#[test]
fn every_type_round_trips_with_its_exact_members() {
    for (key_type, members) in [
        (TeeKeyType::P256, &["alg", "crv", "kty", "x", "y"][..]),
        (TeeKeyType::X25519, &["alg", "crv", "kty", "x"]),
        (TeeKeyType::XWing, &["alg", "kty", "pub"]),
    ] {
        let pair = TeeKeyPair::generate(key_type, &mut SystemRandom::new()).unwrap();
        let jwk = serde_json::to_value(pair.public()).unwrap();
        let names: BTreeSet<_> = jwk.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, members.iter().copied().collect());
        assert_eq!(parse(&jwk).as_ref(), Ok(pair.public()));
        assert_eq!(pair.public().key_type(), key_type);
    }
}

#[test]
fn a_missing_added_or_doubled_member_is_refused() {
    assert!(parse(&p256()).is_ok());
    for member in ["kty", "crv", "alg", "x", "y"] {
        let mut jwk = p256();
        jwk.as_object_mut().unwrap().remove(member);
        assert!(matches!(parse(&jwk), Err(JwkError::Members { .. })), "{member}");
    }
    for member in ["kid", "use", "d", "key_ops"] {
        let mut jwk = p256();
        jwk[member] = json!("x");
        assert!(matches!(parse(&jwk), Err(JwkError::Members { .. })), "{member}");
    }
    let text = serde_json::to_string(&p256()).unwrap();
    let doubled = text.replacen("{", r#"{"x":"AA","#, 1);
    assert!(matches!(TeePublicKey::parse(doubled.as_bytes()), Err(JwkError::Members { .. })));
}

#[test]
fn other_values_are_refused() {
    for (member, value) in [
        ("kty", "RSA"),
        ("kty", "OKP"),
        ("crv", "P-384"),
        ("crv", "X25519"),
        ("alg", "ECDH-ES"),
        ("alg", "RSA-OAEP-256"),
    ] {
        let mut jwk = p256();
        jwk[member] = json!(value);
        assert!(matches!(parse(&jwk), Err(JwkError::Members { .. })), "{member} {value}");
    }
}

#[test]
fn coordinates_have_their_fixed_length() {
    let short = encode([1; 31]);
    let long = encode([1; 33]);
    for text in [
        "",
        &short,
        &long,
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4=",
        "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D5",
    ] {
        let mut jwk = p256();
        jwk["x"] = json!(text);
        assert_eq!(parse(&jwk), Err(JwkError::Length { member: "x", bytes: 32 }), "{text}");
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    let mut jwk = p256();
    jwk["y"] = jwk["x"].clone();
    assert_eq!(parse(&jwk), Err(JwkError::Point));
    for x in [[0; 32], [0xff; 32]] {
        jwk["x"] = json!(encode(x));
        assert_eq!(parse(&jwk), Err(JwkError::Point));
    }
}

#[test]
fn x25519_keys_of_small_order_are_refused() {
    let mut one = [0; 32];
    one[0] = 1;
    for x in [[0; 32], one] {
        let jwk = json!({"kty": "OKP", "crv": "X25519", "alg": "ECDH-ES+A256KW", "x": encode(x)});
        assert_eq!(parse(&jwk), Err(JwkError::Point));
    }
}

#[test]
fn x_wing_keys_that_are_not_reduced_are_refused() {
    let jwk = |key: &[u8]| json!({"kty": "AKP", "alg": "HPKE-X-Wing", "pub": encode(key)});
    assert_eq!(parse(&jwk(&[0xff; 1216])), Err(JwkError::Point));
    assert_eq!(parse(&jwk(&[0; 1215])), Err(JwkError::Length { member: "pub", bytes: 1216 }));
}

/// RFC 8037 Appendix A.3 for the OKP form; the EC form follows RFC 7638 §3.2.
#[test]
fn thumbprints_are_over_the_required_members() {
    let hashed = digest(
        &SHA256,
        br#"{"crv":"P-256","kty":"EC","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#,
    );
    assert_eq!(parse(&p256()).unwrap().thumbprint(), encode(hashed));
}
