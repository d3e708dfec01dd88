//! A machine with a TPM, its agent, and a broker that knows its maker.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use e2e::{
    binaries::binary,
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    http::{Answer, attest_request},
    process::Said,
};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    digest::{Digest, HashAlgorithm},
    tpm::TpmDocument,
};
use keys::{jwk::TeeKeyType, random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::{Value, json};
use softtee::{
    pem,
    swtpm::{SwTpm, TpmPki, is_installed},
};
use tee::tpm::{AkKind, EkKind, Key, Pcrs, Quote, Tpm};
use tempfile::TempDir;

use crate::{SECRET, boot_log::BootLog};

/// A machine that has booted.
pub(crate) struct Machine {
    pub(crate) tpm: SwTpm,
    directory: TempDir,
}

/// A machine of the maker that the broker knows; `None` where there is no swtpm.
pub(crate) fn machine() -> Option<Machine> {
    is_installed().then(|| Machine::boot(SwTpm::start().unwrap()))
}

impl Machine {
    /// Measures the boot of the good kernel.
    pub(crate) fn boot(tpm: SwTpm) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let machine = Self { tpm, directory };
        machine.boots(b"good kernel");
        machine
    }

    /// Measures a boot and leaves its log.
    pub(crate) fn boots(&self, kernel: &[u8]) {
        let log = BootLog::of(kernel);
        log.measure(&self.tpm.connect().unwrap());
        fs::write(self.event_log(), log.bytes()).unwrap();
    }

    pub(crate) fn event_log(&self) -> PathBuf {
        self.directory.path().join("event-log")
    }

    /// The agent on this machine, without a word about configfs-tsm.
    pub(crate) fn agent(&self) -> Command {
        let mut command = Command::new(binary("countersign-agent").unwrap());
        command.args(["--sev-guest-device", "/nonexistent"]);
        command.args(["--tpm-ima-log", "/nonexistent", "--tpm-address", &self.tpm.address().to_string()]);
        command.arg("--tpm-event-log").arg(self.event_log());
        command
    }

    /// `countersign-agent ARGS` with a broker.
    pub(crate) fn run(&self, broker: &Broker, args: &[&str]) -> Said {
        let mut command = self.agent();
        command
            .args(["--tsm-root", "/nonexistent"])
            .args(args)
            .args(["--timeout", "20", "--broker", &broker.url(), "--broker-ca"])
            .arg(broker.ca());
        Said::by(&mut command).unwrap()
    }

    /// The registers as they are now.
    pub(crate) fn pcrs(&self) -> BTreeMap<u8, Digest> {
        self.tpm.connect().unwrap().pcr_read(&Pcrs::all(HashAlgorithm::Sha256)).unwrap()
    }

    /// What a reference set says of this machine as it is.
    pub(crate) fn reference(&self) -> String {
        let pcrs = self.pcrs();
        let pinned = [4, 7, 11].map(|pcr| (format!("pcr{pcr}"), Value::from(pcrs[&pcr].to_string())));
        json!([{ "runtime": Value::Object(pinned.into_iter().collect()) }]).to_string()
    }

    /// Measures one thing more, as malware would be, into PCR 11 of the good kernel.
    pub(crate) fn measures_more(&self) {
        let log = BootLog::of(b"good kernel").and(11, b"something else");
        log.measure_last(&self.tpm.connect().unwrap());
        fs::write(self.event_log(), log.bytes()).unwrap();
    }
}

/// A broker that knows the maker of TPMs, and this machine as its workload.
pub(crate) fn broker(machine: &Machine, approval: &str) -> Broker {
    let place = machine.directory.path();
    let anchors: String = TpmPki::new().anchors().iter().map(|der| pem::certificate(der)).collect();
    fs::write(place.join("ek-ca.pem"), anchors).unwrap();
    let more = format!(
        "[enrolment]\nek_trust_anchors = [{:?}]\napproval = {approval:?}\nowner = \"tests\"\n",
        place.join("ek-ca.pem")
    );
    let reference = machine.reference();
    let broker = Broker::start(&Setup { measurements: Some(&reference), more: &more, ..Setup::default() }).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    broker
}

/// What runs the vTPM is welcome: the launch measurement of softtee's SNP guest is in a set of its own.
pub(crate) fn welcome_what_runs_it(broker: &Broker) {
    let document = json!({ "format": "countersign.reference-values/1", "sets": [{
        "id": "vtpm", "version": 1, "workload": "vtpm", "kind": "paravisor", "provenance": "softtee",
        "not_before": "2020-01-01T00:00:00Z", "not_after": "2100-01-01T00:00:00Z",
        "measurements": [{ "launch": hex::encode(GOOD_MEASUREMENT) }],
    }]});
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), document.to_string()).unwrap();
    let mut add = broker.admin(&["reference-values", "add"]).unwrap();
    Said::by(add.arg(file.path())).unwrap().done().unwrap();
}

/// An attacker with the machine's TPM who speaks to the broker without the agent.
pub(crate) struct Attacker {
    pub(crate) key: TeeKeyPair,
    pub(crate) nonce: Nonce,
}

/// What an attacker sends in place of what the agent would.
pub(crate) struct Forged<'a> {
    pub(crate) ak_public: &'a [u8],
    pub(crate) quote: Quote,
    pub(crate) values: BTreeMap<u8, Digest>,
    pub(crate) event_log: Option<Vec<u8>>,
}

impl Attacker {
    pub(crate) fn new(broker: &Broker) -> Self {
        let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
        Self { key, nonce: broker.client().unwrap().challenge().unwrap() }
    }

    pub(crate) fn binding(&self) -> BindingDigest {
        BindingDigest::native(&self.nonce, self.key.public()).unwrap()
    }

    /// What the agent would send, to be bent.
    pub(crate) fn honest<'a>(&self, tpm: &Tpm, ak: &'a Key) -> Forged<'a> {
        let quoted = tpm.quote_pcrs(ak, &self.binding().0, &Pcrs::all(HashAlgorithm::Sha256)).unwrap();
        Forged { ak_public: ak.public().as_bytes(), quote: quoted.quote, values: quoted.values, event_log: None }
    }

    pub(crate) fn send(&self, broker: &Broker, forged: &Forged<'_>, seal: bool) -> Answer {
        let document = TpmDocument {
            ak_public: forged.ak_public,
            ak_certificates: &[],
            message: &forged.quote.message,
            signature: &forged.quote.signature,
            pcrs: &forged.values,
        };
        let mut bundle = Bundle::new();
        let bytes = document.to_json().unwrap();
        bundle.insert(ItemName::Tpm, BundleItem { media_type: MediaType::TpmQuote, bytes }).unwrap();
        if let Some(bytes) = forged.event_log.clone() {
            bundle.insert(ItemName::EventlogTcg2, BundleItem { media_type: MediaType::Tcg2Log, bytes }).unwrap();
        }
        let mut request = attest_request(&self.nonce, self.key.public(), &bundle, "disk-key").unwrap();
        if seal {
            request["grants"][0]["seal"] = json!("tpm");
        }
        broker.client().unwrap().send("POST", "/v1/attest", Some(&request)).unwrap()
    }
}

/// `POST /v1/enroll` for these keys, with a certificate by `pki`.
pub(crate) fn enrol_request(broker: &Broker, tpm: &Tpm, pki: &TpmPki, ak_public: &[u8]) -> Answer {
    let ek = tpm.create_ek(EkKind::Rsa2048).unwrap();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let request = json!({
        "ek_certificates": [encode(&pki.ek_certificate(ek.public()).unwrap().der())],
        "ek_public": encode(ek.public().as_bytes()),
        "ak_public": encode(ak_public),
    });
    broker.client().unwrap().send("POST", "/v1/enroll", Some(&request)).unwrap()
}

/// The agent's own key.
pub(crate) fn agents_key(tpm: &Tpm) -> Key {
    tpm.create_ak(AkKind::EccP256).unwrap()
}
