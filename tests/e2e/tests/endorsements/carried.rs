//! Bundles and the mirror: documents go from broker to broker, and each authenticates them.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use e2e::{broker::Broker, process::Said};
use serde_json::Value;
use softtee::services::{Faults, Services};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::guests::{SnpGuest, attest_td, broker, document, fetching, services, sources, status};

fn export(broker: &Broker, directory: &TempDir) -> PathBuf {
    let bundle = directory.path().join("endorsements.bundle");
    let mut command = broker.admin(&["endorsements", "export"]).unwrap();
    Said::by(command.arg(&bundle)).unwrap().done().unwrap();
    bundle
}

fn import(broker: &Broker, bundle: &Path) -> Said {
    let mut command = broker.admin(&["endorsements", "import"]).unwrap();
    Said::by(command.arg(bundle)).unwrap()
}

/// A broker that fetched what a Milan guest on chip 1 and a TD need.
fn supplied(services: &Services, more: &str) -> Broker {
    let broker = fetching(services, more);
    let client = broker.client().unwrap();
    assert_eq!(SnpGuest::on_chip(1).attest(&client).status, 200);
    assert_eq!(attest_td(&client).status, 200);
    broker
}

#[test]
fn a_broker_without_a_network_verifies_with_what_another_exported() {
    let services = services();
    let directory = TempDir::new().unwrap();
    let bundle = export(&supplied(&services, ""), &directory);
    drop(services);
    let offline = broker("");
    let client = offline.client().unwrap();
    assert_eq!(SnpGuest::on_chip(1).attest(&client).status, 403);
    assert_eq!(attest_td(&client).status, 403);
    import(&offline, &bundle).done().unwrap();
    let answer = SnpGuest::on_chip(1).attest(&client);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(attest_td(&client).status, 200);
    // The same bundle again is no harm.
    import(&offline, &bundle).done().unwrap();
}

#[test]
fn a_bundle_with_any_byte_changed_is_refused() {
    let services = services();
    let directory = TempDir::new().unwrap();
    let bundle = export(&supplied(&services, ""), &directory);
    let whole = fs::read(&bundle).unwrap();
    let offline = broker("");
    let changed = directory.path().join("changed.bundle");
    for at in (0..whole.len()).step_by(whole.len().div_ceil(12)) {
        let mut bytes = whole.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
        fs::write(&changed, bytes).unwrap();
        let said = import(&offline, &changed);
        assert_eq!(said.status, 1, "byte {at}");
        assert!(said.stderr.contains("parse.endorsement_bundle."), "{}", said.stderr);
    }
    assert_eq!(status(&offline).get("documents"), Some(&Value::Array(Vec::new())));
}

#[test]
fn a_bundle_is_refused_after_the_end_of_its_lists_unless_the_operator_lets_them_count() {
    let services = services();
    services.become_faulty(Faults { lists_end_in: Some(25), ..Faults::default() });
    let directory = TempDir::new().unwrap();
    let source = fetching(&services, "");
    assert_eq!(SnpGuest::on_chip(1).attest(&source.client().unwrap()).status, 200);
    let ends = document(&status(&source), "amd/crl/Milan/vcek").unwrap();
    let ends = OffsetDateTime::parse(ends.get("ends_at").and_then(Value::as_str).unwrap(), &Rfc3339).unwrap();
    let bundle = export(&source, &directory);
    let strict = broker("");
    import(&strict, &bundle).done().unwrap();
    assert_eq!(SnpGuest::on_chip(1).attest(&strict.client().unwrap()).status, 200);
    while OffsetDateTime::now_utc() <= ends.saturating_add(time::Duration::seconds(2)) {
        sleep(Duration::from_millis(200));
    }
    // Stale is not fresh, for what is held and for what is brought.
    let answer = SnpGuest::on_chip(1).attest(&strict.client().unwrap());
    assert_eq!((answer.status, answer.code()), (403, "endorsement.snp.crl_stale"), "{}", answer.body);
    let other = broker("");
    let said = import(&other, &bundle);
    assert_eq!(said.status, 1);
    assert!(said.stderr.contains("endorsement.document.stale"), "{}", said.stderr);
    assert_eq!(status(&other).get("documents"), Some(&Value::Array(Vec::new())));

    let patient = broker("[endorsements]\nstale_crl = { warn_hours = 1 }\n");
    import(&patient, &bundle).done().unwrap();
    let answer = SnpGuest::on_chip(1).attest(&patient.client().unwrap());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let decision = answer.body.get("attestation_id").and_then(Value::as_str).unwrap();
    let said = patient.explain(decision).unwrap();
    assert!(said.contains("crl_age"), "{said}");
}

#[test]
fn another_verifier_of_the_site_uses_the_mirror() {
    let services = services();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let first = supplied(&services, &format!("[mirror]\nlisten = \"127.0.0.1:{port}\"\n"));
    let mut fetch = first.admin(&["endorsements", "fetch", "--product", "milan"]).unwrap();
    Said::by(&mut fetch).unwrap().done().unwrap();
    drop(services);
    let mirror = format!("http://127.0.0.1:{port}");
    let second = broker(&sources(&mirror));
    let client = second.client().unwrap();
    let answer = SnpGuest::on_chip(1).attest(&client);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = attest_td(&client);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut fetch = second.admin(&["endorsements", "fetch", "amd/chain/Milan/vcek", "amd/crl/Milan/vlek"]).unwrap();
    Said::by(&mut fetch).unwrap().done().unwrap();
    // What the mirror does not have it says so, and asks nobody.
    let answer = SnpGuest::on_chip(2).attest(&client);
    assert_eq!((answer.status, answer.code()), (403, "endorsement.snp.vek_missing"), "{}", answer.body);
}
