//! What an attacker on the network or in the host tries with real evidence.

use std::{thread::sleep, time::Duration};

use e2e::{
    broker::{Broker, Setup},
    guest::{Guest, can_mount},
    http::attest_request,
};
use keys::{grant::GrantPayload, jwk::TeeKeyType, random::SystemRandom, seal::Sealed, tee_key::TeeKeyPair};

use crate::SECRET;

fn key(key_type: TeeKeyType) -> TeeKeyPair {
    TeeKeyPair::generate(key_type, &mut SystemRandom::new()).unwrap()
}

#[test]
fn a_captured_response_is_useless_without_the_guests_key() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let (guest, client) = (Guest::start("").unwrap(), broker.client().unwrap());
    for key_type in [TeeKeyType::P256, TeeKeyType::X25519, TeeKeyType::XWing] {
        let (ours, thief) = (key(key_type), key(key_type));
        let nonce = client.challenge().unwrap();
        let evidence = guest.evidence(&nonce, ours.public()).unwrap();
        let request = attest_request(&nonce, ours.public(), &evidence, "disk-key").unwrap();
        let answer = client.send("POST", "/v1/attest", Some(&request)).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let captured = answer.body.to_string();
        assert!(!captured.contains("disk key"));
        let sealed = answer.body.pointer("/grants/0/sealed").unwrap().clone();
        let sealed: Sealed = serde_json::from_value(sealed).unwrap();
        assert!(thief.open(&sealed).is_err());
        let payload = GrantPayload::parse(&ours.open(&sealed).unwrap()).unwrap();
        assert_eq!((payload.grant.as_str(), payload.value.expose()), ("disk-key", SECRET));
    }
}

#[test]
fn a_nonce_is_accepted_once() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let (guest, client) = (Guest::start("").unwrap(), broker.client().unwrap());
    let (ours, nonce) = (key(TeeKeyType::P256), client.challenge().unwrap());
    let evidence = guest.evidence(&nonce, ours.public()).unwrap();
    let request = attest_request(&nonce, ours.public(), &evidence, "disk-key").unwrap();
    assert_eq!(client.send("POST", "/v1/attest", Some(&request)).unwrap().status, 200);
    for _ in 0..3 {
        let replay = client.send("POST", "/v1/attest", Some(&request)).unwrap();
        assert_eq!((replay.status, replay.code()), (403, "binding.nonce.replayed"));
    }
}

#[test]
fn a_refused_attestation_uses_its_nonce_up() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    let (guest, client) = (Guest::start("").unwrap(), broker.client().unwrap());
    let (ours, nonce) = (key(TeeKeyType::P256), client.challenge().unwrap());
    guest.becomes("[snp]\npolicy = 0xb0137").unwrap();
    let debuggable = guest.evidence(&nonce, ours.public()).unwrap();
    let request = attest_request(&nonce, ours.public(), &debuggable, "disk-key").unwrap();
    let refused = client.send("POST", "/v1/attest", Some(&request)).unwrap();
    assert_eq!((refused.status, refused.code()), (403, "baseline.snp.debug"));
    guest.becomes("").unwrap();
    let healthy = guest.evidence(&nonce, ours.public()).unwrap();
    let request = attest_request(&nonce, ours.public(), &healthy, "disk-key").unwrap();
    let replay = client.send("POST", "/v1/attest", Some(&request)).unwrap();
    assert_eq!((replay.status, replay.code()), (403, "binding.nonce.replayed"));
}

#[test]
fn evidence_for_another_key_or_another_nonce_is_refused() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup::default()).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    let (guest, client) = (Guest::start("").unwrap(), broker.client().unwrap());
    let (ours, thief) = (key(TeeKeyType::P256), key(TeeKeyType::P256));

    let nonce = client.challenge().unwrap();
    let evidence = guest.evidence(&nonce, ours.public()).unwrap();
    let request = attest_request(&nonce, thief.public(), &evidence, "disk-key").unwrap();
    let answer = client.send("POST", "/v1/attest", Some(&request)).unwrap();
    assert_eq!(answer.status, 403);
    assert!(answer.code().starts_with("binding."), "{}", answer.body);

    let (old, fresh) = (client.challenge().unwrap(), client.challenge().unwrap());
    let evidence = guest.evidence(&old, ours.public()).unwrap();
    let request = attest_request(&fresh, ours.public(), &evidence, "disk-key").unwrap();
    let answer = client.send("POST", "/v1/attest", Some(&request)).unwrap();
    assert_eq!(answer.status, 403);
    assert!(answer.code().starts_with("binding."), "{}", answer.body);
}

#[test]
fn a_nonce_expires_and_none_can_be_made_up() {
    if !can_mount() {
        return;
    }
    let broker = Broker::start(&Setup { nonce_seconds: 1, ..Setup::default() }).unwrap();
    let (guest, client) = (Guest::start("").unwrap(), broker.client().unwrap());
    let ours = key(TeeKeyType::P256);
    let nonce = client.challenge().unwrap();
    let mut made_up = nonce;
    for byte in made_up.0.iter_mut().take(1) {
        *byte ^= 1;
    }
    sleep(Duration::from_millis(2100));
    for (nonce, code) in [(nonce, "binding.nonce.expired"), (made_up, "binding.nonce.unknown")] {
        let evidence = guest.evidence(&nonce, ours.public()).unwrap();
        let request = attest_request(&nonce, ours.public(), &evidence, "disk-key").unwrap();
        let answer = client.send("POST", "/v1/attest", Some(&request)).unwrap();
        assert_eq!((answer.status, answer.code()), (403, code));
    }
}
