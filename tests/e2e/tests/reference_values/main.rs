//! The life of signed reference values with the real binaries: import, roll-out, retirement, revocation.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use e2e::{
    binaries::binary,
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    guest::{Guest, can_mount},
    process::Said,
};
use evidence_formats::binding::Nonce;
use keys::{
    random::SystemRandom,
    sign::{SignatureAlgorithm, Signer, SigningKey},
};
use serde_json::{Value, json};

const SECRET: &[u8] = b"disk key";

/// A launch digest that no guest has.
fn nobody() -> String {
    "00".repeat(48)
}

/// softtee's publisher: a signer and its manifests for set `web-corim` v1.
fn publisher(directory: &Path) -> PathBuf {
    let out = directory.join("corim");
    let mut corim = Command::new(binary("softtee").unwrap());
    corim.arg("corim").arg("--out").arg(&out).args(["--id", "web-corim", "--launch", &hex::encode(GOOD_MEASUREMENT)]);
    Said::by(&mut corim).unwrap().done().unwrap();
    out
}

/// A broker that takes manifests of `signers`, and knows no guest.
fn broker(signers: &[(&str, &Path)], more: &str) -> Broker {
    let signers: Vec<String> =
        signers.iter().map(|(name, file)| format!("{{ name = {name:?}, file = {file:?} }}")).collect();
    let more = format!("[reference_values]\nsigners = [{}]\n{more}\n", signers.join(", "));
    let measurements = json!([{"launch": nobody()}]).to_string();
    let setup = Setup { measurements: Some(&measurements), more: &more, ..Setup::default() };
    let broker = Broker::start(&setup).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    broker
}

fn reference_values(broker: &Broker, args: &[&str]) -> Said {
    let args: Vec<&str> = ["reference-values"].iter().chain(args).copied().collect();
    Said::by(&mut broker.admin(&args).unwrap()).unwrap()
}

fn add(broker: &Broker, file: &Path) -> Said {
    reference_values(broker, &["add", file.to_str().unwrap()])
}

fn json_of(said: Said) -> Value {
    serde_json::from_str(&said.done().unwrap()).unwrap()
}

fn assert_refused(guest: &Guest, broker: &Broker, code: &str) {
    let said = guest.get(broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (1, b"".as_slice()), "{}", said.stderr);
    assert!(said.stderr.starts_with(&format!("countersign-agent: refused: {code}")), "{code}: {}", said.stderr);
}

fn assert_served(guest: &Guest, broker: &Broker) {
    let said = guest.get(broker, "disk-key", &[]).unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
}

#[test]
fn a_signed_manifest_is_imported_and_every_other_one_is_refused_with_its_code() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = publisher(directory.path());
    let broker = broker(&[("pipeline", &manifests.join("signer.pem"))], "");
    for (file, code) in [
        ("expired.cose", "authenticate.corim.expired"),
        ("profile.cose", "reference.corim.profile"),
        ("stranger.cose", "authenticate.corim.signer"),
        ("tampered.cose", "authenticate.corim.signature"),
        ("malformed.cose", "parse.corim.cbor"),
        ("unsigned.cbor", "authenticate.corim.unsigned"),
    ] {
        let said = add(&broker, &manifests.join(file));
        assert_eq!(said.status, 1, "{file}");
        assert!(said.stderr.contains(code), "{file}: {}", said.stderr);
    }
    let sets = json_of(reference_values(&broker, &["list", "--format", "json"]));
    assert_eq!(sets.as_array().unwrap().len(), 1, "nothing was added: {sets}");
    add(&broker, &manifests.join("good.cose")).done().unwrap();
    let again = add(&broker, &manifests.join("good.cose"));
    assert!(again.stderr.contains("reference.duplicate"), "{}", again.stderr);
    let sets = json_of(reference_values(&broker, &["list", "--format", "json"]));
    let imported = sets.as_array().unwrap().iter().find(|set| set["id"] == "web-corim").unwrap();
    assert_eq!((&imported["source"], &imported["lifecycle"]), (&json!("corim"), &json!("active")));
    assert!(imported["signer"].as_str().unwrap().starts_with("pipeline sha256:"), "{imported}");
}

#[test]
fn an_unsigned_manifest_is_taken_where_the_configuration_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let manifests = publisher(directory.path());
    let broker = broker(&[], "allow_unsigned_corim = true");
    add(&broker, &manifests.join("unsigned.cbor")).done().unwrap();
    let sets = json_of(reference_values(&broker, &["list", "--format", "json"]));
    assert!(sets.as_array().unwrap().iter().any(|set| set["source"] == "corim-unsigned"), "{sets}");
}

#[test]
fn a_set_goes_from_import_to_retirement_and_its_guest_with_it() {
    if !can_mount() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let manifests = publisher(directory.path());
    let broker = broker(&[("pipeline", &manifests.join("signer.pem"))], "");
    let guest = Guest::start("").unwrap();
    assert_refused(&guest, &broker, "reference.no_match");
    let good = manifests.join("good.cose");
    reference_values(&broker, &["add", good.to_str().unwrap(), "--proposed"]).done().unwrap();
    assert_refused(&guest, &broker, "reference.proposed");
    reference_values(&broker, &["activate", "web-corim"]).done().unwrap();
    assert_served(&guest, &broker);
    reference_values(&broker, &["retire", "web-corim", "--at", "2099-01-01T00:00:00Z"]).done().unwrap();
    assert_served(&guest, &broker);
    reference_values(&broker, &["retire", "web-corim", "--at", "2024-01-01T00:00:00Z"]).done().unwrap();
    assert_refused(&guest, &broker, "reference.retired");
    // An end never moves later.
    reference_values(&broker, &["retire", "web-corim", "--at", "2099-01-01T00:00:00Z"]).done().unwrap();
    assert_refused(&guest, &broker, "reference.retired");
    let again = reference_values(&broker, &["activate", "web-corim"]);
    assert!(again.stderr.contains("reference.transition"), "{}", again.stderr);
}

/// A key of the operator's own pipeline, as files: the private key, and the public one for the broker.
fn pipeline_key(directory: &Path) -> (PathBuf, PathBuf) {
    let key = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
    let jwk = serde_json::to_value(key.verifying_key()).unwrap();
    let coordinate = |name: &str| *jwk[name].as_str().unwrap().parse::<Nonce>().unwrap().as_bytes();
    // RFC 5480: SubjectPublicKeyInfo of a P-256 point.
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").unwrap();
    let public = [head, coordinate("x").to_vec(), coordinate("y").to_vec()].concat();
    let (private_file, public_file) = (directory.join("key.pem"), directory.join("key.pub"));
    let private = key.to_pkcs8().unwrap().expose().to_vec();
    fs::write(&private_file, pem::encode(&pem::Pem::new("PRIVATE KEY", private))).unwrap();
    fs::write(&public_file, pem::encode(&pem::Pem::new("PUBLIC KEY", public))).unwrap();
    (private_file, public_file)
}

#[test]
fn what_a_pipeline_signs_is_rolled_out_and_revoked_with_its_leases() {
    if !can_mount() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (private, public) = pipeline_key(directory.path());
    let document = |version: u32, launch: &str| {
        json!({"format": "countersign.reference-values/1", "sets": [{
            "id": "web-signed", "version": version, "workload": "web", "provenance": "pipeline",
            "not_before": "2020-01-01T00:00:00Z", "not_after": "2100-01-01T00:00:00Z",
            "measurements": [{"name": "4 vCPUs", "hwmodel": ["amd-milan"], "launch": launch}],
        }]})
    };
    let broker = broker(&[("pipeline", &public)], "");
    for (version, launch) in [(1, nobody()), (2, hex::encode(GOOD_MEASUREMENT))] {
        let file = directory.path().join(format!("web-{version}.json"));
        fs::write(&file, document(version, &launch).to_string()).unwrap();
        let manifest = directory.path().join(format!("web-{version}.cose"));
        let mut sign = Command::new(binary("countersign").unwrap());
        sign.args(["reference-values", "sign"]).arg(&file).arg("--key").arg(&private).arg("--out").arg(&manifest);
        Said::by(sign.args(["--signer", "pipeline"])).unwrap().done().unwrap();
        add(&broker, &manifest).done().unwrap();
    }
    let differs = reference_values(&broker, &["diff", "web-signed", "1", "2"]).done().unwrap();
    assert_eq!(differs.trim(), "4 vCPUs: launch digest differs");
    let guest = Guest::start("").unwrap();
    assert_served(&guest, &broker);
    reference_values(&broker, &["revoke", "web-signed", "--version", "2", "--reason", "ticket 7"]).done().unwrap();
    assert_refused(&guest, &broker, "reference.revoked");
    let history = json_of(reference_values(&broker, &["history", "web-signed", "--format", "json"]));
    let last = history.as_array().unwrap().last().unwrap();
    let told = (&last["version"], &last["change"], &last["leases_ended"], &last["reason"]);
    // The attestation result and the secret.
    assert_eq!(told, (&json!(2), &json!("revoked"), &json!(2), &json!("ticket 7")));
    // Everything that the broker holds goes out and comes back; what was revoked stays so.
    let exported = reference_values(&broker, &["export", "web-signed", "--version", "2"]).done().unwrap();
    assert!(exported.contains("revoked_at"), "{exported}");
    let shown = reference_values(&broker, &["show", "web-signed", "--version", "2"]).done().unwrap();
    assert!(shown.contains("web-signed v2: workload web, revoked"), "{shown}");
}
