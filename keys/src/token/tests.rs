#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    encoding::encode,
    random::SystemRandom,
    sign::{Signer, SigningKey, TokenType, sign_jwt},
};

const NOW: i64 = 1_800_000_000;
const ES256: &[SignatureAlgorithm] = &[SignatureAlgorithm::Es256];

fn expected<'a>() -> Expected<'a> {
    Expected { algorithms: ES256, issuer: "issuer", audience: Audience::Exactly("me"), now: NOW, leeway: 30 }
}

fn claims_with(changes: &[(&str, Value)]) -> Value {
    let mut claims = json!({"iss": "issuer", "aud": "me", "exp": NOW + 300, "nbf": NOW, "sub": "guest"});
    for (name, value) in changes {
        claims[*name] = value.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(*name);
        }
    }
    claims
}

fn key() -> SigningKey {
    SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap()
}

fn judge(key: &SigningKey, claims: &Value, expected: &Expected<'_>) -> Result<Value, TokenError> {
    let token = sign_jwt(key, TokenType::Jwt, claims).unwrap();
    verify(&token, &Jwks::new([key.verifying_key().clone()]), expected)
}

#[test]
fn a_good_token_gives_its_claims() {
    assert_eq!(judge(&key(), &claims_with(&[]), &expected()), Ok(claims_with(&[])));
    let among = claims_with(&[("aud", json!(["you", "me"]))]);
    assert!(judge(&key(), &among, &expected()).is_ok());
}

#[test]
fn each_claim_is_judged_at_the_given_time() {
    let cases = [
        (("exp", json!(NOW - 30)), TokenError::Expired { exp: NOW - 30 }),
        (("nbf", json!(NOW + 31)), TokenError::NotYetValid { nbf: NOW + 31 }),
        (("iss", json!("other")), TokenError::Issuer),
        (("iss", Value::Null), TokenError::Issuer),
        (("aud", json!("you")), TokenError::Audience),
        (("aud", json!(["you"])), TokenError::Audience),
        (("aud", Value::Null), TokenError::Audience),
    ];
    for (change, error) in cases {
        assert_eq!(judge(&key(), &claims_with(std::slice::from_ref(&change)), &expected()), Err(error), "{change:?}");
    }
    for change in [("exp", json!(NOW - 29)), ("nbf", json!(NOW + 30)), ("nbf", Value::Null)] {
        assert!(judge(&key(), &claims_with(std::slice::from_ref(&change)), &expected()).is_ok(), "{change:?}");
    }
    for change in [("exp", Value::Null), ("exp", json!(1.5)), ("exp", json!("1"))] {
        let refused = judge(&key(), &claims_with(std::slice::from_ref(&change)), &expected());
        assert!(matches!(refused, Err(TokenError::Claims { .. })), "{change:?}");
    }
}

#[test]
fn an_unchecked_audience_is_named() {
    let expected = Expected { audience: Audience::Unchecked { reason: "inspection" }, ..expected() };
    assert!(judge(&key(), &claims_with(&[("aud", Value::Null)]), &expected).is_ok());
}

#[test]
fn extreme_times_do_not_overflow() {
    for (exp, now) in [(i64::MAX, i64::MIN), (i64::MIN, i64::MAX)] {
        let expected = Expected { now, leeway: u32::MAX, ..expected() };
        let claims = claims_with(&[("exp", json!(exp)), ("nbf", json!(i64::MIN))]);
        assert_eq!(judge(&key(), &claims, &expected).is_ok(), exp == i64::MAX);
    }
}

#[test]
fn the_header_decides_nothing_that_the_verifier_has_not_allowed() {
    let key = key();
    let jwks = Jwks::new([key.verifying_key().clone()]);
    let token = sign_jwt(&key, TokenType::Jwt, &claims_with(&[])).unwrap();
    let kid = key.verifying_key().key_id().as_str();
    let with_header = |header: Value| {
        let (_, rest) = token.split_once('.').unwrap();
        verify::<Value>(&format!("{}.{rest}", encode(header.to_string())), &jwks, &expected())
    };
    assert_eq!(with_header(json!({"alg": "none", "kid": kid})), Err(TokenError::Header));
    assert_eq!(with_header(json!({"alg": "HS256", "kid": kid})), Err(TokenError::Header));
    assert_eq!(with_header(json!({"alg": "ES256"})), Err(TokenError::Header));
    assert_eq!(with_header(json!({"alg": "ES256", "kid": kid, "crit": ["b64"]})), Err(TokenError::Header));
    assert_eq!(
        with_header(json!({"alg": "ES384", "kid": kid})),
        Err(TokenError::Algorithm { found: SignatureAlgorithm::Es384 })
    );
    assert_eq!(with_header(json!({"alg": "ES256", "kid": "x"})), Err(TokenError::UnknownKey { kid: "x".to_owned() }));
    // Well-formed, but not the header that was signed.
    assert_eq!(with_header(json!({"alg": "ES256", "kid": kid, "typ": "other"})), Err(TokenError::Signature));
    let both = Expected { algorithms: &[SignatureAlgorithm::Es256, SignatureAlgorithm::Es384], ..expected() };
    assert!(verify::<Value>(&token, &jwks, &both).is_ok());
    let none = Expected { algorithms: &[], ..expected() };
    assert!(matches!(verify::<Value>(&token, &jwks, &none), Err(TokenError::Algorithm { .. })));
}

#[test]
fn other_forms_are_refused() {
    let jwks = Jwks::default();
    let large = "a".repeat(TOKEN_LIMIT + 1);
    for token in ["", ".", "..", "a.b", "a.b.c.d", "*.a.a", "e30=.e30.e30", &large] {
        let refused = verify::<Value>(token, &jwks, &expected());
        assert!(matches!(refused, Err(TokenError::Form | TokenError::Header)), "{token:.20}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_is_refused(bit: usize) {
        let key = key();
        let token = sign_jwt(&key, TokenType::Jwt, &claims_with(&[])).unwrap();
        let mut parts: Vec<Vec<u8>> = token.split('.').map(|part| decode(part).unwrap()).collect();
        let index = bit % 3;
        let bit = bit % (parts[index].len() * 8);
        parts[index][bit / 8] ^= 1 << (bit % 8);
        let changed: Vec<String> = parts.iter().map(encode).collect();
        let jwks = Jwks::new([key.verifying_key().clone()]);
        prop_assert!(verify::<Value>(&changed.join("."), &jwks, &expected()).is_err());
    }

    #[test]
    fn arbitrary_text_never_panics(token: String) {
        prop_assert!(verify::<Value>(&token, &Jwks::default(), &expected()).is_err());
    }
}

/// The key of the set has one algorithm, whatever a header says of it, and a long token is not looked at.
#[test]
fn a_header_of_another_algorithm_and_a_long_token_are_refused() {
    let key = key();
    let jwks = Jwks::new([key.verifying_key().clone()]);
    let header = json!({"alg": "ES384", "kid": key.verifying_key().key_id()});
    let message = format!("{}.{}", encode(header.to_string()), encode(claims_with(&[]).to_string()));
    let token = format!("{message}.{}", encode(key.sign(message.as_bytes()).unwrap()));
    let every = Expected { algorithms: &SignatureAlgorithm::ALL, ..expected() };
    let found = SignatureAlgorithm::Es384;
    assert_eq!(verify::<Value>(&token, &jwks, &every), Err(TokenError::Algorithm { found }));
    let long = claims_with(&[("more", "x".repeat(TOKEN_LIMIT).into())]);
    assert_eq!(judge(&key, &long, &expected()), Err(TokenError::Form));
}
