//! Breaking the glass: persons together let one secret go to one guest that the policies refuse, and nothing weaker passes.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[path = "support/guest.rs"]
mod guest;
#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::{fs, path::Path};

use aws_lc_rs::digest::{SHA256, digest};
use guest::{Guest, attest, broker};
use keys::{grant::GrantPayload, seal::Sealed};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use support::{Broker, countersign};

/// Takes evidence of software TEEs.
const SIMULATED: &str = "accept_simulated = true";

/// A broker whose glass alice, bob and carol break together, each with a credential in the directory of their name.
fn prepared(guest: &Guest, more: &str) -> Broker {
    let mut broker = broker(guest);
    let place = broker.place();
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let mut section = format!("\n[break_glass]\napprovals = 2\n{more}\n");
    for name in ["alice", "bob", "carol", "mallory"] {
        let made = countersign(&[
            "administrators",
            "add",
            name,
            "--role",
            "admin",
            "--out",
            &at(name),
            "--ca",
            &at("tls/admin-ca.pem"),
            "--ca-key",
            &at("ca/admin-ca.key"),
            "--admin",
            &at("admin"),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let certificate = CertificateDer::from_pem_file(place.join(name).join("client.pem")).unwrap();
        let fingerprint = hex::encode(digest(&SHA256, &certificate));
        if name != "mallory" {
            section.push_str(&format!("[[break_glass.person]]\nname = {name:?}\nfingerprints = [{fingerprint:?}]\n"));
        }
    }
    broker.kill();
    let config = place.join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + &section).unwrap();
    broker.launch();
    broker
}

/// Exit status, standard output as JSON where it is some, and standard error.
fn as_person(broker: &Broker, name: &str, arguments: &[&str]) -> (bool, Value, String) {
    let admin = broker.place().join(name);
    let base = ["break-glass"];
    let more = ["--admin", admin.to_str().unwrap(), "--format", "json"];
    let done = countersign(&[&base[..], arguments, &more[..]].concat());
    let said = serde_json::from_slice(&done.stdout).unwrap_or_default();
    (done.status.success(), said, String::from_utf8_lossy(&done.stderr).into_owned())
}

/// What the guest with another kernel sends, for one secret.
fn request(broker: &Broker, guest: &Guest, secret: &str) -> Value {
    let mut request = guest.request(&broker.nonce(), |report| report.measurement.0[0] ^= 1);
    request["grants"] = json!([{"id": "g1", "type": "secret", "name": secret}]);
    request
}

fn approved(broker: &Broker, ask: &[&str]) -> String {
    let base = ["request", "--secret", "disk-key", "--reason", "the update of today", "--minutes", "10"];
    let (asked, said, error) = as_person(broker, "alice", &[&base[..], ask].concat());
    assert!(asked, "{error}");
    let id = said["id"].as_str().unwrap().to_owned();
    for name in ["bob", "carol"] {
        let (done, _, error) = as_person(broker, name, &["approve", &id]);
        assert!(done, "{error}");
    }
    id
}

#[test]
fn simulated_hardware_breaks_no_glass_unless_the_settings_say_so() {
    let guest = Guest::new();
    let broker = prepared(&guest, "");
    let refused = attest(&broker, &request(&broker, &guest, "disk-key"));
    let attestation = refused.json()["attestation_id"].as_str().unwrap().to_owned();
    approved(&broker, &["--attestation", &attestation]);
    let still = attest(&broker, &request(&broker, &guest, "disk-key"));
    assert_eq!((still.status, still.code().as_str()), (403, "reference.no_match"), "{still:?}");
}

#[test]
fn persons_together_release_one_secret_once_to_the_guest_that_they_name() {
    let guest = Guest::new();
    let broker = prepared(&guest, SIMULATED);
    let refused = attest(&broker, &request(&broker, &guest, "disk-key"));
    assert_eq!(refused.code(), "reference.no_match", "{refused:?}");
    let attestation = refused.json()["attestation_id"].as_str().unwrap().to_owned();
    let ask = ["request", "--secret", "disk-key", "--attestation", &attestation, "--reason", "the update of today"];
    // Who is not named may not, whatever role they have.
    let (asked, _, error) = as_person(&broker, "mallory", &ask);
    assert!(!asked && error.contains("request.break_glass.person"), "{error}");
    let (asked, said, error) = as_person(&broker, "alice", &ask);
    assert!(asked, "{error}");
    let id = said["id"].as_str().unwrap();
    let still_refused = || {
        let answer = attest(&broker, &request(&broker, &guest, "disk-key"));
        assert_eq!((answer.status, answer.code().as_str()), (403, "reference.no_match"), "{answer:?}");
    };
    still_refused();
    for (name, code) in [("alice", "request.break_glass.own"), ("mallory", "request.break_glass.person")] {
        let (done, _, error) = as_person(&broker, name, &["approve", id]);
        assert!(!done && error.contains(code), "{name} {error}");
    }
    assert!(as_person(&broker, "bob", &["approve", id]).0);
    let (done, _, error) = as_person(&broker, "bob", &["approve", id]);
    assert!(!done && error.contains("request.break_glass.twice"), "{error}");
    still_refused();
    assert!(as_person(&broker, "carol", &["approve", id]).0);
    nothing_weaker_passes(&broker, &guest);
    let answer = attest(&broker, &request(&broker, &guest, "disk-key"));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let response = answer.json();
    let sealed: Sealed = serde_json::from_value(response["grants"][0]["sealed"].clone()).unwrap();
    let payload = GrantPayload::parse(&guest.key.open(&sealed).unwrap()).unwrap();
    assert_eq!(payload.value.expose(), b"correct horse");
    // The signed result affirms nothing.
    let result = response["result"].as_str().unwrap().split('.').nth(1).unwrap().to_owned();
    let result = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, result).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_ne!(result["submods"]["cpu"]["ear_status"], 2, "{result}");
    assert_ne!(result["submods"]["cpu"]["ear_status"], "affirming", "{result}");
    // Once.
    still_refused();
    everything_is_told(&broker, id, response["attestation_id"].as_str().unwrap());
}

/// What an approved request does not override.
fn nothing_weaker_passes(broker: &Broker, guest: &Guest) {
    let refused = |request: &Value, code: &str| {
        let answer = attest(broker, request);
        assert_eq!((answer.status, answer.code().starts_with(code)), (403, true), "{code} {answer:?}");
    };
    // Another kernel than the one that was named.
    let one = |change: fn(&mut softtee::amd::ReportSpec)| {
        let mut request = guest.request(&broker.nonce(), change);
        request["grants"] = json!([{"id": "g1", "type": "secret", "name": "disk-key"}]);
        request
    };
    refused(&one(|report| report.measurement.0[0] ^= 2), "reference.");
    // Another key has another binding.
    let mut stolen = request(broker, guest, "disk-key");
    stolen["tee_key"] = serde_json::to_value(Guest::new().key.public()).unwrap();
    refused(&stolen, "binding.");
    // The same image on another chip.
    let mut other = Guest::new();
    other.processor.hardware_id[0] ^= 1;
    refused(&request(broker, &other, "disk-key"), "reference.");
    // A guest that can be debugged is beyond what persons may allow.
    refused(
        &one(|report| {
            report.measurement.0[0] ^= 1;
            report.policy |= 1 << 19;
        }),
        "baseline.",
    );
    // A version by its number, or another kind of grant of that name.
    for grant in [
        json!({"id": "g1", "type": "secret", "name": "disk-key", "version": 1}),
        json!({"id": "g1", "type": "jwt-svid", "name": "disk-key", "audience": "db.example"}),
    ] {
        let mut otherwise = request(broker, guest, "disk-key");
        otherwise["grants"] = json!([grant]);
        refused(&otherwise, "reference.");
    }
    // Another secret, and more than one.
    refused(&request(broker, guest, "not-for-web"), "reference.");
    refused(&guest.request(&broker.nonce(), |report| report.measurement.0[0] ^= 1), "reference.");
}

fn everything_is_told(broker: &Broker, id: &str, attestation: &str) {
    let records = broker.admin("GET", &format!("/v1/admin/audit?limit=1000&contains={id}"), "", b"").json();
    let kinds: Vec<_> = records.as_array().unwrap().iter().map(|record| record["kind"].as_str().unwrap()).collect();
    for kind in ["break-glass.requested", "break-glass.approved", "break-glass.used"] {
        assert!(kinds.contains(&kind), "{kind} {kinds:?}");
    }
    let log = broker.log();
    assert!(log.contains("a secret was released that the policies refuse") && log.contains("WARN"), "{log}");
    let decision = broker.admin("GET", &format!("/v1/admin/decisions/{attestation}"), "", b"").json();
    assert_eq!((&decision["outcome"], &decision["break_glass"]), (&json!("refused"), &json!(id)), "{decision}");
    let listed = broker.admin("GET", "/v1/admin/break-glass", "", b"").json();
    assert_eq!(listed[0]["used_by"], attestation);
    assert_eq!(listed[0]["approvals"], json!(["bob", "carol"]));
}

#[test]
fn a_denial_of_the_release_policy_is_overridden_for_the_workload_and_no_other() {
    let guest = Guest::new();
    let broker = prepared(&guest, SIMULATED);
    let policy = broker.place().join("never.rego");
    fs::write(&policy, "package countersign.release\ndefault allow := false\nmax_ttl := 60\ndeny := {\"closed\"}\n")
        .unwrap();
    let admin = broker.place().join("admin");
    let set = countersign(&["policy", "set", "release", at(&policy), "--admin", at(&admin)]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    let attested = || {
        let mut request = guest.request(&broker.nonce(), |_| {});
        request["grants"] = json!([{"id": "g1", "type": "secret", "name": "disk-key"}]);
        attest(&broker, &request).json()
    };
    assert_eq!(attested()["denied"][0]["code"], "release.policy.denied");
    approved(&broker, &["--workload", "db"]);
    assert_eq!(attested()["denied"][0]["code"], "release.policy.denied", "another workload");
    let id = approved(&broker, &["--workload", "web"]);
    assert_eq!(attested()["grants"].as_array().unwrap().len(), 1);
    assert_eq!(attested()["denied"][0]["code"], "release.policy.denied", "once");
    let (done, _, error) = as_person(&broker, "alice", &["revoke", &id]);
    assert!(!done && error.contains("request.not_found"), "{error}");
    // What is revoked stays revoked.
    let id = approved(&broker, &["--workload", "web"]);
    let revoked = countersign(&["revoke", "workload", "web", "--reason", "left", "--admin", at(&admin)]);
    assert!(revoked.status.success());
    assert!(attested().get("grants").is_none());
    assert!(as_person(&broker, "alice", &["revoke", &id]).0, "it was not spent");
}

fn at(path: &Path) -> &str {
    path.to_str().unwrap()
}
