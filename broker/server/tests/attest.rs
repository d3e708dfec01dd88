//! Attestation against a real broker: release, refusal, and that a nonce is answered once, whatever happens.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/guest.rs"]
mod guest;
mod support;

use std::{fs, thread};

use evidence_formats::{bundle::Bundle, cbor};
use guest::{Guest, attest, broker};
use keys::{grant::GrantPayload, seal::Sealed};
use serde_json::{Value, json};
use support::{Answer, Broker, countersign};

#[test]
fn attestation_releases_refuses_and_answers_each_nonce_once() {
    let guest = Guest::new();
    let mut broker = broker(&guest);
    let request = the_right_guest_gets_its_key(&broker, &guest);
    assert_eq!(attest(&broker, &request).code(), "binding.nonce.replayed");
    wrong_guests_are_refused_and_explained(&broker, &guest);
    garbage_leaves_no_record(&broker, &guest);
    cbor_says_the_same(&broker, &guest);
    a_nonce_is_answered_once_under_a_race(&broker, &guest);
    broker.kill();
    broker.launch();
    assert_eq!(attest(&broker, &request).code(), "binding.nonce.replayed");
    assert!(!broker.log().contains("correct horse"));
    assert!(broker.terminate(), "{}", broker.log());
}

fn the_right_guest_gets_its_key(broker: &Broker, guest: &Guest) -> Value {
    let request = guest.request(&broker.nonce(), |_| {});
    let answer = attest(broker, &request);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert!(answer.head.contains("x-trace-id: "), "{}", answer.head);
    let response = answer.json();
    let sealed: Sealed = serde_json::from_value(response["grants"][0]["sealed"].clone()).unwrap();
    let payload = GrantPayload::parse(&guest.key.open(&sealed).unwrap()).unwrap();
    assert_eq!((payload.grant.as_str(), payload.version), ("disk-key", 1));
    assert_eq!(payload.value.expose(), b"correct horse");
    let denied = response["denied"].as_array().unwrap();
    // A secret for somebody else and a secret that does not exist look the same.
    for (denied, name) in denied.iter().zip(["not-for-web", "absent"]) {
        assert_eq!(denied["code"], "release.policy.denied");
        assert_eq!(denied["reasons"][0], format!("{name} is not for this workload"));
    }
    releases_and_denials_are_explained(broker, response["attestation_id"].as_str().unwrap());
    let token = broker.place().join("token");
    fs::write(&token, response["result"].as_str().unwrap()).unwrap();
    let url = format!("https://localhost:{}", broker.port);
    let ca = broker.place().join("tls/ca.pem");
    let arguments = ["token", "verify", token.to_str().unwrap(), "--issuer", &url, "--audience", &url];
    let verified =
        countersign(&[&arguments[..], &["--server", &url, "--ca", ca.to_str().unwrap(), "--format", "json"]].concat());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let claims: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(claims["claims"]["eat_nonce"], request["nonce"]);
    assert_eq!(claims["claims"]["cnf"]["jwk"], request["tee_key"]);
    assert_eq!(claims["claims"]["submods"]["cpu"]["ear_verifier_claims"]["platform"], "simulated");
    request
}

fn releases_and_denials_are_explained(broker: &Broker, id: &str) {
    let admin = broker.place().join("admin");
    let explained = countersign(&["explain", id, "--admin", admin.to_str().unwrap()]);
    let words = String::from_utf8(explained.stdout).unwrap();
    let shown: Vec<&str> = words
        .lines()
        .filter(|line| line.starts_with("secret ") || line.starts_with("  -") || line.starts_with("  Next"))
        .map(|line| line.split(", lease ").next().unwrap().split("@sha256:").next().unwrap())
        .collect();
    insta::assert_snapshot!("explained_grants", shown.join("\n"));
}

fn wrong_guests_are_refused_and_explained(broker: &Broker, guest: &Guest) {
    let other = Guest::new();
    let nonce = broker.nonce();
    let mut stolen = guest.request(&nonce, |_| {});
    stolen["tee_key"] = serde_json::to_value(other.key.public()).unwrap();
    assert_eq!(attest(broker, &stolen).code().split('.').next(), Some("binding"));
    let changed = guest.request(&broker.nonce(), |report| report.measurement.0[0] ^= 1);
    let answer = attest(broker, &changed);
    assert_eq!((answer.status, answer.code().as_str()), (403, "reference.no_match"), "{answer:?}");
    let id = answer.json()["attestation_id"].as_str().unwrap().to_owned();
    let admin = broker.place().join("admin");
    let explained = countersign(&["explain", &id, "--admin", admin.to_str().unwrap()]);
    let words = String::from_utf8(explained.stdout).unwrap();
    assert!(words.contains("because of reference.no_match") && words.contains("web-prod"), "{words}");
    // A refused nonce is spent.
    assert_eq!(attest(broker, &changed).code(), "binding.nonce.replayed");
}

fn garbage_leaves_no_record(broker: &Broker, guest: &Guest) {
    let decisions = |broker: &Broker| broker.admin("GET", "/v1/admin/decisions", "", b"").json();
    let before = decisions(broker);
    let nonce = broker.nonce();
    let mut garbage = guest.request(&nonce, |_| {});
    garbage["evidence"] = json!({});
    let answer = attest(broker, &garbage);
    assert_eq!((answer.status, answer.code().split('.').next()), (403, Some("parse")), "{answer:?}");
    assert_eq!(decisions(broker), before);
    // The nonce is not spent either.
    assert_eq!(attest(broker, &guest.request(&nonce, |_| {})).status, 200);
}

fn cbor_says_the_same(broker: &Broker, guest: &Guest) {
    #[derive(serde::Serialize)]
    struct Request<'a> {
        nonce: &'a str,
        tee_key: &'a keys::jwk::TeePublicKey,
        evidence: &'a Bundle,
    }
    let nonce = broker.nonce();
    let evidence = guest.bundle(&nonce, |_| {});
    let request = Request { nonce: &nonce, tee_key: guest.key.public(), evidence: &evidence };
    let answer = broker.post("/v1/attest", "application/cbor", &cbor::to_vec(&request).unwrap());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

fn a_nonce_is_answered_once_under_a_race(broker: &Broker, guest: &Guest) {
    let request = serde_json::to_vec(&guest.request(&broker.nonce(), |_| {})).unwrap();
    let answers: Vec<Answer> = thread::scope(|scope| {
        let post = || broker.post("/v1/attest", "application/json", &request);
        let racers: Vec<_> = (0..50).map(|_| scope.spawn(post)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    let replayed = answers.iter().filter(|answer| answer.status == 403 && answer.code() == "binding.nonce.replayed");
    assert_eq!(replayed.count(), 49);
}
