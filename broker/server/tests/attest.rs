//! Attestation against a real broker: release, refusal, and that a nonce is answered once, whatever happens.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{fs, thread};

use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    cbor,
    snp::ProductLine,
};
use keys::{grant::GrantPayload, random::SystemRandom, seal::Sealed, tee_key::TeeKeyPair};
use serde_json::{Value, json};
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    pem,
};
use support::{Answer, Broker, countersign};
use time::OffsetDateTime;

/// The default release policy refuses simulated platforms; this one is otherwise the same in spirit.
const RELEASE: &str = r#"package countersign.release
default allow := false
allow if {
	count(deny) == 0
	some workload in input.grant.workloads
	workload in input.result.workloads
}
max_ttl := 60
deny contains sprintf("%s is not for this workload", [input.grant.name]) if not named
named if {
	some workload in input.grant.workloads
	workload in input.result.workloads
}
"#;

struct Guest {
    processor: SecureProcessor,
    key: TeeKeyPair,
}

impl Guest {
    fn new() -> Self {
        let key = TeeKeyPair::generate(keys::jwk::TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
        Self { processor: SecureProcessor::new(ProductLine::Milan), key }
    }

    /// An honest request with `nonce`, after `change` was made to the report.
    fn request(&self, nonce: &str, change: impl FnOnce(&mut ReportSpec)) -> Value {
        let bundle = self.bundle(nonce, change);
        json!({
            "nonce": nonce,
            "tee_key": self.key.public(),
            "evidence": serde_json::from_slice::<Value>(&bundle.to_json().unwrap()).unwrap(),
            "grants": [
                {"id": "g1", "type": "secret", "name": "disk-key"},
                {"id": "g2", "type": "secret", "name": "not-for-web"},
                {"id": "g3", "type": "secret", "name": "absent"},
            ],
        })
    }

    fn bundle(&self, nonce: &str, change: impl FnOnce(&mut ReportSpec)) -> Bundle {
        let parsed: Nonce = nonce.parse().unwrap();
        let mut report = self.processor.guest();
        report.report_data = BindingDigest::native(&parsed, self.key.public()).unwrap().report_data();
        change(&mut report);
        let mut bundle = Bundle::new();
        let cpu = BundleItem { media_type: MediaType::SnpReport, bytes: self.processor.report(&report) };
        bundle.insert(ItemName::Cpu, cpu).unwrap();
        let bytes = self.processor.certificates().to_bytes();
        bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes }).unwrap();
        bundle
    }
}

fn attest(broker: &Broker, request: &Value) -> Answer {
    broker.post("/v1/attest", "application/json", &serde_json::to_vec(request).unwrap())
}

/// A broker that trusts the simulated chip, knows the guest's measurement and holds two secrets.
fn broker(guest: &Guest) -> Broker {
    let mut broker = Broker::start("");
    let place = broker.place();
    broker.kill();
    let anchors: String = guest.processor.pki.anchors().iter().map(|der| pem::certificate(der)).collect();
    fs::write(place.join("simulated.pem"), anchors).unwrap();
    let crl = guest.processor.pki.sign_crl(&guest.processor.pki.crl(OffsetDateTime::now_utc()));
    fs::write(place.join("endorsements/crl.der"), crl).unwrap();
    let config = place.join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}trust_anchors = [\"simulated.pem\"]\n")).unwrap();
    broker.launch();
    let document = json!({"format": "countersign.reference-values/1", "sets": [{
        "id": "web-prod", "version": 1, "workload": "web", "provenance": "test",
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z",
        "measurements": [{"launch": guest.processor.guest().measurement.to_string()}],
    }]});
    let file = place.join("values.json");
    fs::write(&file, serde_json::to_vec(&document).unwrap()).unwrap();
    fs::write(place.join("release.rego"), RELEASE).unwrap();
    fs::write(place.join("key"), b"correct horse").unwrap();
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    for arguments in [
        vec!["reference-values", "add", &at("values.json")],
        vec!["policy", "set", "release", &at("release.rego")],
        vec!["secrets", "put", "disk-key", "--file", &at("key"), "--workload", "web"],
        vec!["secrets", "put", "not-for-web", "--file", &at("key"), "--workload", "db"],
    ] {
        let admin = at("admin");
        let output = countersign(&[arguments.as_slice(), &["--admin", &admin]].concat());
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    }
    broker
}

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
