//! A real TPM against a real broker: enrolment, attestation, secrets that the TPM opens, and what is refused.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::{collections::BTreeMap, fs};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    digest::{Digest, HashAlgorithm},
};
use keys::{random::SystemRandom, seal::Sealed, secret::SecretBytes, tee_key::TeeKeyPair, tpm::TpmGrant};
use serde_json::{Value, json};
use softtee::{
    pem,
    swtpm::{SwTpm, TpmPki, is_installed},
};
use support::{Answer, Broker, countersign};
use tee::tpm::{AkKind, EkKind, ImportedSecret, Key, Pcrs, Tpm};

const DISK_KEY: &[u8] = b"correct horse";
/// Longer than a TPM object holds.
const LONG: usize = 3000;

/// A machine with a TPM, and the key pair of its agent.
struct Machine {
    swtpm: SwTpm,
    key: TeeKeyPair,
    kind: (EkKind, AkKind),
}

impl Machine {
    fn new(kind: (EkKind, AkKind)) -> Self {
        let key = TeeKeyPair::generate(keys::jwk::TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
        Self { swtpm: SwTpm::start().unwrap(), key, kind }
    }

    fn with_keys<T>(&self, work: impl FnOnce(&Tpm, &Key, &Key) -> T) -> T {
        let tpm = self.swtpm.connect().unwrap();
        let (ek, ak) = (tpm.create_ek(self.kind.0).unwrap(), tpm.create_ak(self.kind.1).unwrap());
        work(&tpm, &ek, &ak)
    }

    /// The body of the first request, with certificates of `pki`.
    fn enrolment(&self, pki: &TpmPki) -> Value {
        self.with_keys(|_, ek, ak| {
            let certificate = pki.ek_certificate(ek.public()).unwrap().der();
            let chain: Vec<String> =
                [vec![certificate], pki.intermediates()].concat().iter().map(|der| BASE64.encode(der)).collect();
            json!({
                "ek_certificates": chain,
                "ek_public": BASE64.encode(ek.public().as_bytes()),
                "ak_public": BASE64.encode(ak.public().as_bytes()),
            })
        })
    }

    /// Opens the credential of the first answer.
    fn activate(&self, challenge: &Value) -> Vec<u8> {
        let bytes = |member: &str| BASE64.decode(challenge["credential"][member].as_str().unwrap()).unwrap();
        self.with_keys(|tpm, ek, ak| {
            tpm.activate_credential(ak, ek, &bytes("blob"), &bytes("secret")).unwrap().to_vec()
        })
    }

    fn pcrs(&self) -> BTreeMap<u8, Digest> {
        self.swtpm.connect().unwrap().pcr_read(&Pcrs::all(HashAlgorithm::Sha256)).unwrap()
    }

    fn attest(&self, broker: &Broker) -> Answer {
        self.attest_naming(broker, &|document| document)
    }

    /// With a document that `change` made of the honest one.
    fn attest_naming(&self, broker: &Broker, change: &dyn Fn(Value) -> Value) -> Answer {
        let nonce = broker.nonce();
        let parsed: Nonce = nonce.parse().unwrap();
        let binding = BindingDigest::native(&parsed, self.key.public()).unwrap();
        let document = self.with_keys(|tpm, _, ak| {
            let quoted = tpm.quote_pcrs(ak, &binding.0, &Pcrs::all(HashAlgorithm::Sha256)).unwrap();
            let values: BTreeMap<String, String> =
                quoted.values.iter().map(|(pcr, value)| (pcr.to_string(), value.to_string())).collect();
            json!({
                "ak_public": BASE64.encode(ak.public().as_bytes()),
                "quote": {
                    "message": BASE64.encode(&quoted.quote.message),
                    "signature": BASE64.encode(&quoted.quote.signature),
                },
                "pcrs": { "sha256": values },
            })
        });
        let mut bundle = Bundle::new();
        let bytes = serde_json::to_vec(&change(document)).unwrap();
        bundle.insert(ItemName::Tpm, BundleItem { media_type: MediaType::TpmQuote, bytes }).unwrap();
        let request = json!({
            "nonce": nonce,
            "tee_key": self.key.public(),
            "evidence": serde_json::from_slice::<Value>(&bundle.to_json().unwrap()).unwrap(),
            "grants": [
                {"id": "short", "type": "secret", "name": "disk-key", "seal": "tpm"},
                {"id": "long", "type": "secret", "name": "long", "seal": "tpm"},
            ],
        });
        post(broker, "/v1/attest", &request)
    }

    /// Opens one sealed grant with the agent's key and the TPM.
    fn open(&self, answer: &Value, index: usize) -> Result<SecretBytes, String> {
        let sealed: Sealed = serde_json::from_value(answer["grants"][index]["sealed"].clone()).unwrap();
        let grant = TpmGrant::parse(&self.key.open(&sealed).unwrap()).unwrap();
        assert_eq!((grant.bank.name(), grant.pcrs.as_slice()), ("sha256", [7, 11].as_slice()));
        let secret = ImportedSecret {
            public: grant.object.public.clone(),
            duplicate: grant.object.duplicate.clone(),
            symseed: grant.object.symseed.clone(),
        };
        let pcrs = Pcrs::new(HashAlgorithm::Sha256, grant.pcrs.iter().copied());
        let unsealed = self.with_keys(|tpm, ek, _| tpm.unseal_imported(ek, &secret, &pcrs));
        let unsealed = unsealed.map_err(|error| error.to_string())?;
        Ok(grant.open(SecretBytes::new(unsealed.to_vec())).unwrap())
    }
}

fn post(broker: &Broker, path: &str, body: &Value) -> Answer {
    broker.post(path, "application/json", &serde_json::to_vec(body).unwrap())
}

fn run(broker: &Broker, arguments: &[&str]) -> Value {
    let admin = broker.place().join("admin");
    let output = countersign(&[arguments, &["--format", "json", "--admin", admin.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A broker that knows the TPMs' CA, the machine's PCRs and two secrets.
fn broker(machine: &Machine, approval: &str) -> Broker {
    let mut broker = Broker::start("");
    let place = broker.place();
    broker.kill();
    let anchors: String = TpmPki::new().anchors().iter().map(|der| pem::certificate(der)).collect();
    fs::write(place.join("ek-ca.pem"), anchors).unwrap();
    let config = place.join("countersign.toml");
    let text = fs::read_to_string(&config).unwrap();
    let section = "[enrolment]\nek_trust_anchors = [\"ek-ca.pem\"]\nrevocation = \"if-present\"\n";
    fs::write(&config, format!("{text}\n{section}approval = \"{approval}\"\n")).unwrap();
    broker.launch();
    let pcrs = machine.pcrs();
    let document = json!({"format": "countersign.reference-values/1", "sets": [{
        "id": "node", "version": 1, "workload": "node", "provenance": "test",
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2036-01-01T00:00:00Z",
        "measurements": [{"runtime": {"pcr7": pcrs[&7].to_string(), "pcr11": pcrs[&11].to_string()}}],
    }]});
    let at = |name: &str| place.join(name).to_str().unwrap().to_owned();
    fs::write(at("values.json"), serde_json::to_vec(&document).unwrap()).unwrap();
    fs::write(at("short"), DISK_KEY).unwrap();
    fs::write(at("long"), vec![0x5A; LONG]).unwrap();
    run(&broker, &["reference-values", "add", &at("values.json")]);
    run(&broker, &["secrets", "put", "disk-key", "--file", &at("short"), "--workload", "node"]);
    run(&broker, &["secrets", "put", "long", "--file", &at("long"), "--workload", "node"]);
    broker
}

/// Both steps.
fn enrol(broker: &Broker, machine: &Machine) -> Answer {
    let challenge = post(broker, "/v1/enroll", &machine.enrolment(&TpmPki::new()));
    assert_eq!(challenge.status, 200, "{}", String::from_utf8_lossy(&challenge.body));
    let challenge = challenge.json();
    let path = format!("/v1/enroll/{}", challenge["enrollment_id"].as_str().unwrap());
    post(broker, &path, &json!({ "secret": BASE64.encode(machine.activate(&challenge)) }))
}

#[test]
fn a_tpm_enrols_attests_and_opens_what_is_sealed_to_it() {
    if !is_installed() {
        return;
    }
    let mut machine = Machine::new((EkKind::Rsa2048, AkKind::EccP256));
    let broker = broker(&machine, "operator");
    assert_eq!(machine.attest(&broker).code(), "authenticate.tpm.ak_unproven");
    wrong_enrolments_are_refused(&broker, &machine);
    let proven = enrol(&broker, &machine);
    assert_eq!(proven.status, 200, "{}", String::from_utf8_lossy(&proven.body));
    let name = proven.json()["ak_name"].as_str().unwrap().to_owned();
    assert_eq!(proven.json(), json!({"ak_name": name, "provenance": "ek-activated", "state": "awaiting-approval"}));
    assert_eq!(machine.attest(&broker).code(), "authenticate.tpm.ak_awaiting_approval");
    let waiting = run(&broker, &["enrollments", "list", "--state", "awaiting-approval"]);
    assert_eq!(waiting[0]["details"]["ek_certificate"]["tpm"]["model"], "swtpm");
    let approved = run(&broker, &["enrollments", "approve", &name, "--owner", "team-a"]);
    assert_eq!((&approved["state"], &approved["approved_by"]), (&json!("enrolled"), &json!("admin")));
    // Once more: the key is known.
    assert_eq!(enrol(&broker, &machine).json()["state"], "enrolled");

    let answer = machine.attest(&broker);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let answer = answer.json();
    the_claims_name_the_owner(&broker, &answer);
    assert_eq!(machine.open(&answer, 0).unwrap().expose(), DISK_KEY);
    assert_eq!(machine.open(&answer, 1).unwrap().expose(), vec![0x5A; LONG]);
    counters_that_went_back_are_refused(&broker, &mut machine);
    // What the boot measures later closes it, and another machine never opens it.
    let answer = machine.attest(&broker).json();
    assert_eq!(machine.open(&answer, 0).unwrap().expose(), DISK_KEY);
    let event = HashAlgorithm::Sha256.digest(&[b"ready"]);
    machine.swtpm.connect().unwrap().pcr_extend(11, &[event]).unwrap();
    assert!(machine.open(&answer, 0).is_err());
    assert_eq!(machine.attest(&broker).code(), "reference.no_match");

    // Evidence that does not say which key signed it.
    let nameless = |mut document: Value| {
        document.as_object_mut().unwrap().remove("ak_public").unwrap();
        document
    };
    assert_eq!(machine.attest_naming(&broker, &nameless).code(), "authenticate.tpm.ak_unproven");
    let revoked = run(&broker, &["enrollments", "revoke", &name, "--reason", "stolen"]);
    assert_eq!(revoked["state"], "revoked");
    assert_eq!(machine.attest(&broker).code(), "authenticate.tpm.ak_revoked");
    assert_eq!(machine.attest_naming(&broker, &nameless).code(), "authenticate.tpm.ak_revoked");
    assert_eq!(post(&broker, "/v1/enroll", &machine.enrolment(&TpmPki::new())).code(), "enroll.ak.revoked");
}

fn the_claims_name_the_owner(broker: &Broker, answer: &Value) {
    let path = format!("/v1/admin/decisions/{}", answer["attestation_id"].as_str().unwrap());
    let decision = broker.admin("GET", &path, "", b"").json();
    let tpm = &decision["claims"]["raw"]["tpm"];
    assert_eq!((&tpm["ak_provenance"], &tpm["enrolment"]["owner"]), (&json!("ek-activated"), &json!("team-a")));
    assert!(tpm["enrolment"]["enrolled_at"].is_string() && tpm["ek_name"].is_string(), "{tpm}");
    assert_eq!(decision["grants"][0]["seal"], "tpm");
}

fn wrong_enrolments_are_refused(broker: &Broker, machine: &Machine) {
    let good = machine.enrolment(&TpmPki::new());
    let refused = |wanted: &str, change: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        change(&mut body);
        assert_eq!(post(broker, "/v1/enroll", &body).code(), wanted);
    };
    refused("request.malformed", &|body| body["nonce"] = json!("x"));
    refused("request.malformed", &|body| body["ek_certificates"] = json!([]));
    refused("request.malformed", &|body| drop(body.as_object_mut().unwrap().remove("ek_public")));
    refused("enroll.ak.area", &|body| body["ak_public"] = json!("AAAA"));
    // The endorsement key is no attestation key, and the other way round.
    refused("enroll.ak.attributes", &|body| body["ak_public"] = body["ek_public"].clone());
    refused("enroll.ek.template", &|body| body["ek_public"] = body["ak_public"].clone());
    let rogue = machine.enrolment(&TpmPki::rogue());
    assert_eq!(post(broker, "/v1/enroll", &rogue).code().split('.').take(2).collect::<Vec<_>>(), ["enroll", "ek"]);
    let other = Machine::new(machine.kind).enrolment(&TpmPki::new());
    refused("enroll.ek.key_mismatch", &|body| body["ek_certificates"] = other["ek_certificates"].clone());

    // A wrong secret spends the credential.
    let challenge = post(broker, "/v1/enroll", &good).json();
    let path = format!("/v1/enroll/{}", challenge["enrollment_id"].as_str().unwrap());
    let wrong = json!({ "secret": BASE64.encode([0; 32]) });
    assert_eq!(post(broker, &path, &wrong).code(), "enroll.challenge.secret");
    let right = json!({ "secret": BASE64.encode(machine.activate(&challenge)) });
    assert_eq!(post(broker, &path, &right).code(), "enroll.challenge.unknown");
}

/// A machine whose TPM went back to an earlier boot was rolled back or cloned.
fn counters_that_went_back_are_refused(broker: &Broker, machine: &mut Machine) {
    // Shut down in order: else the clock is not safe after the roll-back, which is refused anyway.
    machine.swtpm.connect().unwrap().shutdown().unwrap();
    let before = machine.swtpm.state().unwrap();
    machine.swtpm.restart().unwrap();
    machine.swtpm.restart().unwrap();
    assert_eq!(machine.attest(broker).status, 200);
    machine.swtpm.roll_back(&before).unwrap();
    let refused = machine.attest(broker);
    assert_eq!((refused.status, refused.code().as_str()), (403, "authenticate.tpm.counters_went_back"));
    let path = format!("/v1/admin/decisions/{}", refused.json()["attestation_id"].as_str().unwrap());
    assert_eq!(broker.admin("GET", &path, "", b"").json()["code"], "authenticate.tpm.counters_went_back");
    // Overtakes what was seen.
    machine.swtpm.restart().unwrap();
    machine.swtpm.restart().unwrap();
    assert_eq!(machine.attest(broker).status, 200);
}

#[test]
fn keys_of_every_kind_enrol_by_themselves_where_the_operator_says_so() {
    if !is_installed() {
        return;
    }
    let machine = Machine::new((EkKind::EccP256, AkKind::Rsa2048));
    let broker = broker(&machine, "automatic");
    let proven = enrol(&broker, &machine).json();
    assert_eq!((&proven["state"], &proven["provenance"]), (&json!("enrolled"), &json!("ek-activated")));
    let answer = machine.attest(&broker);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(machine.open(&answer.json(), 0).unwrap().expose(), DISK_KEY);
    let shown = run(&broker, &["enrollments", "show", proven["ak_name"].as_str().unwrap()]);
    assert_eq!((&shown["approved_by"], &shown["owner"]), (&json!("automatic"), &json!("automatic")));
}

#[test]
fn a_pinned_key_is_the_administrators_word_and_nothing_is_sealed_to_its_tpm() {
    if !is_installed() {
        return;
    }
    let machine = Machine::new((EkKind::Rsa2048, AkKind::EccP256));
    let broker = broker(&machine, "operator");
    let file = broker.place().join("ak");
    fs::write(&file, machine.with_keys(|_, _, ak| ak.public().as_bytes().to_vec())).unwrap();
    let arguments =
        ["enrollments", "pin", "--ak", file.to_str().unwrap(), "--owner", "team-b", "--reason", "no EK certificate"];
    let pinned = run(&broker, &arguments);
    assert_eq!((&pinned["provenance"], &pinned["state"]), (&json!("pinned"), &json!("enrolled")));
    let answer = machine.attest(&broker);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let denied = &answer.json()["denied"];
    assert_eq!(denied[0]["code"], "release.tpm.no_endorsement_key", "{denied}");
}
