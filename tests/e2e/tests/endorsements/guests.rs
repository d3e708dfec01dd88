//! Guests made in this process, so that there can be many; and brokers that fetch from softtee's services.

use e2e::{
    broker::{Broker, GOOD_MEASUREMENT, Setup},
    http::{Answer, Client, attest_request},
    process::Said,
};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    snp::ProductLine,
};
use keys::{jwk::TeeKeyType, jwk::TeePublicKey, random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::{Value, json};
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    intel::TdxPlatform,
    keys::PrivateKey,
    services::{Fault, Faults, Kind, Services, What},
};

use crate::SECRET;

/// A guest on a chip that no host certificate speaks for.
pub(crate) struct SnpGuest {
    spec: ReportSpec,
    key: PrivateKey,
}

impl SnpGuest {
    /// On chip `number`, on Milan.
    pub(crate) fn on_chip(number: u8) -> Self {
        Self::of(ProductLine::Milan, number)
    }

    /// On chip `number` of a product line.
    pub(crate) fn of(product: ProductLine, number: u8) -> Self {
        let mut processor = SecureProcessor::new(product);
        for byte in processor.hardware_id.iter_mut().take(1) {
            *byte = number;
        }
        Self { spec: processor.guest(), key: processor.vek().key }
    }

    pub(crate) fn evidence(&self, nonce: &Nonce, tee_key: &TeePublicKey) -> Bundle {
        let mut spec = self.spec.clone();
        spec.report_data = BindingDigest::native(nonce, tee_key).unwrap().report_data();
        let mut bundle = Bundle::new();
        let report = BundleItem { media_type: MediaType::SnpReport, bytes: spec.sign(&self.key) };
        bundle.insert(ItemName::Cpu, report).unwrap();
        bundle
    }

    /// One attestation that asks for the secret.
    pub(crate) fn attest(&self, client: &Client) -> Answer {
        attest(client, |nonce, key| self.evidence(nonce, key))
    }
}

/// One attestation of a TD.
pub(crate) fn attest_td(client: &Client) -> Answer {
    let platform = TdxPlatform::new();
    attest(client, |nonce, key| {
        let mut td = platform.td();
        td.report_data = BindingDigest::native(nonce, key).unwrap().report_data();
        platform.bundle(&platform.quote(&td), None).unwrap()
    })
}

pub(crate) fn attest(client: &Client, evidence: impl Fn(&Nonce, &TeePublicKey) -> Bundle) -> Answer {
    let (key, nonce) = (tee_key(), client.challenge().unwrap());
    let request = attest_request(&nonce, key.public(), &evidence(&nonce, key.public()), "disk-key").unwrap();
    client.send("POST", "/v1/attest", Some(&request)).unwrap()
}

pub(crate) fn tee_key() -> TeeKeyPair {
    TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap()
}

/// The healthy SNP guest and the healthy TD.
fn measurements() -> String {
    let info = TdxPlatform::new().td().info;
    let [_, _, rtmr2, _] = info.rtmr;
    let launch = hex::encode(GOOD_MEASUREMENT);
    json!([{"launch": launch}, {"launch": info.mr_td.to_string(), "runtime": {"rtmr2": rtmr2.to_string()}}]).to_string()
}

/// A broker whose directory is empty, with `more` in its configuration and a secret to give.
pub(crate) fn broker(more: &str) -> Broker {
    let measurements = measurements();
    let setup = Setup { measurements: Some(&measurements), has_endorsements: false, more, ..Setup::default() };
    let broker = Broker::start(&setup).unwrap();
    broker.put_secret("disk-key", SECRET).unwrap();
    broker
}

/// A broker that fetches from `services`, with more lines of `[endorsements]`.
pub(crate) fn fetching(services: &Services, more: &str) -> Broker {
    broker(&format!("{}\n{more}\n", sources(&services.url())))
}

/// `[endorsements]` with a KDS and a PCS at `url`.
pub(crate) fn sources(url: &str) -> String {
    format!(
        "[endorsements]\nsources = [{{ kind = \"kds\", url = \"{url}\" }}, {{ kind = \"pccs\", url = \"{url}\" }}]\n"
    )
}

pub(crate) fn services() -> Services {
    Services::start("127.0.0.1:0".parse().unwrap(), Faults::default()).unwrap()
}

/// The same fault on `kind`, so many times.
pub(crate) fn faulty(services: &Services, on: Kind, what: What, times: Option<u32>) {
    services.become_faulty(Faults::one(Fault { on, what, times, seconds: 1 }));
}

/// What `countersign endorsements status` says, JSON.
pub(crate) fn status(broker: &Broker) -> Value {
    let mut command = broker.admin(&["endorsements", "status"]).unwrap();
    serde_json::from_str(&Said::by(command.args(["--format", "json"])).unwrap().done().unwrap()).unwrap()
}

/// The status of one document.
pub(crate) fn document(status: &Value, id: &str) -> Option<Value> {
    let documents = status.get("documents").and_then(Value::as_array).unwrap();
    documents.iter().find(|document| document.get("id").and_then(Value::as_str) == Some(id)).cloned()
}

pub(crate) fn assert_unavailable(answer: &Answer) {
    assert_eq!((answer.status, answer.code()), (503, "endorsement.unavailable"), "{}", answer.body);
    assert!(answer.retry_after.is_some_and(|seconds| (1..=300).contains(&seconds)), "{:?}", answer.retry_after);
}
