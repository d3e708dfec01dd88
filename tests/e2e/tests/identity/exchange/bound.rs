//! Proof of possession: at the token endpoint, and where the token is used.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::http::Client;
use keys::{
    dpop::{self, ShownToken},
    relying::Presented,
    secret::SecretBytes,
    sign::{SignatureAlgorithm, Signer, SigningKey},
    tee_key::TeeKeyPair,
};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::scene::{Form, ORDERS, Scene, code_of, id};
use crate::{guest::Guest, tokens::now};

#[test]
fn a_captured_token_is_worth_nothing_without_its_key() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let answer = scene.exchange(&guest, &Form::of(&result).audience(ORDERS));
    let token = answer.body["access_token"].as_str().unwrap();
    let proof = scene.use_proof(&guest, token);
    assert!(scene.resource_server(token, Some(&proof)).is_ok());
    let thief = scene.guest();
    assert_eq!(scene.resource_server(token, Some(&proof)).unwrap_err(), "binding.dpop.replayed");
    assert_eq!(scene.resource_server(token, None).unwrap_err(), "binding.token.proof_required");
    let theirs = scene.use_proof(&thief, token);
    assert_eq!(scene.resource_server(token, Some(&theirs)).unwrap_err(), "binding.dpop.other_key");
    let elsewhere = scene.use_proof(&guest, "another token");
    assert_eq!(scene.resource_server(token, Some(&elsewhere)).unwrap_err(), "binding.dpop.token");
}

/// A proof with one change in its header or claims; a null takes the member away.
struct Change<'a>(&'a str, &'a str, Value);

fn proof(scene: &Scene, key: &SigningKey, change: &Change<'_>) -> String {
    let jwk = serde_json::to_value(key.verifying_key()).unwrap();
    let jwk = json!({"kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"]});
    let mut header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let nonce = scene.client.challenge().unwrap();
    let htu = format!("{}/v1/token", scene.broker.url());
    let mut claims = json!({"jti": id(), "htm": "POST", "htu": htu, "iat": now(), "nonce": nonce.to_string()});
    let Change(part, member, value) = change;
    let document = if *part == "header" { &mut header } else { &mut claims };
    if value.is_null() {
        document.as_object_mut().unwrap().remove(*member);
    } else {
        document[*member] = value.clone();
    }
    let text = |document: &Value| BASE64_URL_SAFE_NO_PAD.encode(document.to_string());
    let message = format!("{}.{}", text(&header), text(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).unwrap());
    format!("{message}.{signature}")
}

#[test]
fn a_proof_that_breaks_any_rule_gets_no_token() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let form = Form::of(&result).audience(ORDERS);
    let key = guest.key.signing_key().unwrap();
    let send = |proof: &str| scene.send(&format!("DPoP: {proof}\r\n"), &form);
    let private = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "AA"});
    let cases = [
        (Change("header", "typ", json!("JWT")), "authenticate.dpop.type"),
        (Change("header", "alg", json!("none")), "parse.dpop.header"),
        (Change("header", "alg", json!("RS256")), "authenticate.dpop.algorithm"),
        (Change("header", "jwk", Value::Null), "parse.dpop.header"),
        (Change("header", "jwk", private), "authenticate.dpop.key"),
        (Change("header", "crit", json!(["x"])), "parse.dpop.header"),
        (Change("claims", "jti", Value::Null), "parse.dpop.claims"),
        (Change("claims", "htm", json!("GET")), "binding.dpop.method"),
        (Change("claims", "htu", json!("https://elsewhere.example/v1/token")), "binding.dpop.url"),
        (Change("claims", "htu", json!(format!("{}/v1/attest", scene.broker.url()))), "binding.dpop.url"),
        (Change("claims", "iat", json!(now() - 120)), "binding.dpop.time"),
        (Change("claims", "iat", json!(now() + 120)), "binding.dpop.time"),
    ];
    for (change, code) in cases {
        let answer = send(&proof(&scene, &key, &change));
        assert_eq!(code_of(&answer), ("invalid_dpop_proof", code), "{} {}", change.1, change.2);
    }
    for nonce in [Value::Null, json!("AAAA"), json!("A".repeat(43))] {
        let answer = send(&proof(&scene, &key, &Change("claims", "nonce", nonce)));
        assert_eq!(code_of(&answer), ("use_dpop_nonce", "binding.dpop.nonce"));
    }
    assert_eq!(code_of(&scene.send("", &form)), ("invalid_dpop_proof", "binding.dpop.absent"));
    let stranger = scene.guest();
    assert_eq!(code_of(&scene.exchange(&stranger, &form)), ("invalid_dpop_proof", "binding.dpop.other_key"));
    let (one, two) = (scene.proof(&guest), scene.proof(&guest));
    let both = scene.send(&format!("DPoP: {one}\r\nDPoP: {two}\r\n"), &form);
    assert_eq!(code_of(&both), ("invalid_dpop_proof", "parse.dpop.form"));
    // Once, also for a request that was refused.
    assert_eq!(send(&one).status, 200);
    assert_eq!(code_of(&send(&one)), ("invalid_dpop_proof", "binding.dpop.replayed"));
    let header = format!("DPoP: {two}\r\n");
    assert_eq!(code_of(&scene.send(&header, &Form::of(&result).audience("https://x.example"))).0, "invalid_target");
    assert_eq!(code_of(&send(&two)), ("invalid_dpop_proof", "binding.dpop.replayed"));
}

/// Of many requests with one proof one gets a token.
#[test]
fn a_proof_is_used_once_by_whoever_is_first() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let (header, form) = (format!("DPoP: {}\r\n", scene.proof(&guest)), Form::of(&result).audience(ORDERS).to_string());
    let client = &scene.client;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let send = || scope.spawn(|| client.post_form("/v1/token", &header, &form).unwrap().status);
        let all: Vec<_> = std::iter::repeat_with(send).take(8).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

#[test]
fn a_key_that_cannot_sign_cannot_exchange() {
    let scene = Scene::start("");
    let mut x25519 = Guest::new(scene.client.clone());
    let result = scene.attest(&mut x25519);
    let other = scene.guest();
    let answer = scene.exchange(&other, &Form::of(&result).audience(ORDERS));
    assert_eq!(code_of(&answer), ("invalid_grant", "binding.dpop.key_kind"));
}

#[test]
fn a_token_is_bound_to_the_certificate_of_the_attested_key() {
    let scene = Scene::start("");
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = CertificateParams::new(vec!["web.example".to_owned()]).unwrap().self_signed(&made).unwrap();
    let key = TeeKeyPair::from_pkcs8(&SecretBytes::new(made.serialize_der())).unwrap();
    let mut guest = Guest::with_key(scene.client.clone(), key);
    let result = scene.attest(&mut guest);
    let client = |place: &str, certificate: &str, key: &str| {
        let place = scene.place.path().join(place);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("client.pem"), certificate).unwrap();
        std::fs::write(place.join("client.key"), key).unwrap();
        let port = scene.broker.url().rsplit_once(':').unwrap().1.parse().unwrap();
        Client::administrator(port, &scene.broker.ca(), &place).unwrap()
    };
    let form = Form::of(&result).audience(ORDERS).to_string();
    let ours = client("ours", &certificate.pem(), &made.serialize_pem());
    let answer = ours.post_form("/v1/token", "", &form).unwrap();
    assert_eq!((answer.status, &answer.body["token_type"]), (200, &json!("Bearer")), "{}", answer.text);
    let token = answer.body["access_token"].as_str().unwrap();
    assert!(scene.accept(token, Presented::Certificate { der: certificate.der() }).is_ok());
    assert_eq!(scene.accept(token, Presented::Bearer).unwrap_err(), "binding.token.proof_required");
    // A certificate of another key proves nothing, and a stranger's certificate makes no administrator.
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let theirs = CertificateParams::new(vec!["web.example".to_owned()]).unwrap().self_signed(&other).unwrap();
    let thief = client("theirs", &theirs.pem(), &other.serialize_pem());
    assert_eq!(
        code_of(&thief.post_form("/v1/token", "", &form).unwrap()),
        ("invalid_dpop_proof", "binding.dpop.absent")
    );
    assert_eq!(
        scene.accept(token, Presented::Certificate { der: theirs.der() }).unwrap_err(),
        "binding.token.certificate"
    );
    assert_eq!(thief.send("GET", "/v1/admin/workloads", None).unwrap().status, 401);
    assert_eq!(scene.broker.administrator().unwrap().send("GET", "/v1/admin/workloads", None).unwrap().status, 200);
}

#[test]
fn proofs_of_other_algorithms_are_not_for_the_attested_key() {
    let scene = Scene::start("");
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let es384 = SigningKey::generate(SignatureAlgorithm::Es384, &mut keys::random::SystemRandom::new()).unwrap();
    let url = format!("{}/v1/token", scene.broker.url());
    let nonce = scene.client.challenge().unwrap().to_string();
    let (id, token) = (id(), ShownToken::None);
    let request = dpop::Request { method: "POST", url: &url, id: &id, now: now(), token, nonce: Some(&nonce) };
    let proof = dpop::prove(&es384, &request).unwrap();
    let answer = scene.send(&format!("DPoP: {proof}\r\n"), &Form::of(&result).audience(ORDERS));
    assert_eq!(code_of(&answer), ("invalid_dpop_proof", "authenticate.dpop.algorithm"));
}
