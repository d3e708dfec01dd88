//! A simulated guest, and a broker that knows it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;

use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    snp::ProductLine,
};
use keys::{random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::{Value, json};
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    pem,
};
use time::OffsetDateTime;

use crate::support::{Answer, Broker, countersign};

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

/// A simulated guest and its key.
pub(crate) struct Guest {
    pub(crate) processor: SecureProcessor,
    pub(crate) key: TeeKeyPair,
}

impl Guest {
    /// On a chip of its own.
    pub(crate) fn new() -> Self {
        let key = TeeKeyPair::generate(keys::jwk::TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
        Self { processor: SecureProcessor::new(ProductLine::Milan), key }
    }

    /// An honest request with `nonce`, after `change` was made to the report.
    pub(crate) fn request(&self, nonce: &str, change: impl FnOnce(&mut ReportSpec)) -> Value {
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

    /// The evidence alone.
    pub(crate) fn bundle(&self, nonce: &str, change: impl FnOnce(&mut ReportSpec)) -> Bundle {
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

/// Sends a request.
pub(crate) fn attest(broker: &Broker, request: &Value) -> Answer {
    broker.post("/v1/attest", "application/json", &serde_json::to_vec(request).unwrap())
}

/// A broker that trusts the simulated chip, knows the guest's measurement and holds two secrets.
pub(crate) fn broker(guest: &Guest) -> Broker {
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
