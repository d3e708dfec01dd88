//! What each role may do, over every route of the API's description.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use support::{Answer, Broker, countersign};

/// What an observer may ask for, by GET alone.
const OBSERVED: [&str; 6] = [
    "/v1/admin/inventory",
    "/v1/events",
    "/v1/admin/workloads",
    "/v1/admin/workloads/{id}",
    "/v1/admin/exceptions",
    "/v1/admin/exceptions/{name}",
];

fn credential(broker: &Broker, role: &str) -> PathBuf {
    credential_of(broker, role, broker)
}

/// From the CA of `issuer`.
fn credential_of(broker: &Broker, role: &str, issuer: &Broker) -> PathBuf {
    let out = broker.directory.path().join(role);
    let path = |path: &str| issuer.place().join(path).to_str().unwrap().to_owned();
    let admin = broker.place().join("admin");
    let made = countersign(&[
        "administrators",
        "add",
        role,
        "--role",
        role,
        "--out",
        out.to_str().unwrap(),
        "--ca",
        &path("tls/admin-ca.pem"),
        "--ca-key",
        &path("ca/admin-ca.key"),
        "--admin",
        admin.to_str().unwrap(),
    ]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

/// As the holder of a credential.
fn ask(broker: &Broker, who: &Path, method: &str, path: &str, media_type: &str, body: &[u8]) -> Answer {
    let certificate = CertificateDer::from_pem_file(who.join("client.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(who.join("client.key")).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(support::root(&broker.place().join("tls/ca.pem")))
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    support::request(broker.connect_as(&Arc::new(config)), method, path, media_type, body)
}

#[test]
fn a_registered_certificate_of_another_ca_administers_nothing() {
    // With guests' certificates at the token endpoint, the handshake takes every certificate.
    let (broker, other) = (Broker::start("[exchange]\nmtls = true\n"), Broker::start(""));
    let inventory = |who: &Path| ask(&broker, who, "GET", "/v1/admin/workloads", "application/json", b"");
    assert_eq!(inventory(&credential(&broker, "auditor")).status, 200);
    let stranger = inventory(&credential_of(&broker, "observer", &other));
    assert_eq!((stranger.status, stranger.code().as_str()), (401, "request.unauthenticated"), "{stranger:?}");
}

#[test]
fn an_observer_sees_the_stream_and_the_inventory_and_nothing_else() {
    let broker = Broker::start("");
    let (observer, auditor) = (credential(&broker, "observer"), credential(&broker, "auditor"));
    let openapi = broker.get("/v1/openapi.json").json();
    let mut asked = 0;
    for (route, item) in openapi["paths"].as_object().unwrap() {
        let administered = route.starts_with("/v1/admin/") || route == "/v1/events";
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters" && administered) {
            let path = route.replace("{name}", "x").replace("{kind}", "release").replace("{id}", "x");
            // A stream that began would not end.
            let path = path.replace("/v1/events", "/v1/events?after=x");
            let method = method.to_uppercase();
            let asked_by = |who| ask(&broker, who, &method, &path, "application/json", b"{}");
            let (seen, read) = (asked_by(&observer), asked_by(&auditor));
            let observed = method == "GET" && OBSERVED.contains(&route.as_str());
            assert_eq!(seen.status == 403, !observed, "observer: {method} {path}: {seen:?}");
            assert_eq!(read.status == 403, method != "GET", "auditor: {method} {path}: {read:?}");
            for answer in [seen, read].into_iter().filter(|answer| answer.status == 403) {
                assert_eq!(answer.code(), "request.forbidden", "{method} {path}");
            }
            let nobody = support::request(broker.connect(), &method, &path, "application/json", b"{}");
            assert_eq!(nobody.code(), "request.unauthenticated", "{method} {path}: {nobody:?}");
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
}

#[test]
fn a_removed_credential_counts_no_more_and_the_last_administrator_stays() {
    let broker = Broker::start("");
    let observer = credential(&broker, "observer");
    let admin = broker.place().join("admin");
    let run = |args: &[&str]| countersign(&[args, &["--admin", admin.to_str().unwrap()]].concat());
    let watch = || ask(&broker, &observer, "GET", "/v1/admin/workloads", "", b"");
    assert_eq!(watch().status, 200);
    let listed = String::from_utf8(run(&["administrators", "list"]).stdout).unwrap();
    assert!(listed.contains("observer  observer"), "{listed}");
    assert!(run(&["administrators", "remove", "observer"]).status.success());
    assert_eq!(watch().code(), "request.unauthenticated");
    let last = run(&["administrators", "remove", "admin"]);
    assert!(String::from_utf8_lossy(&last.stderr).contains("request.administrator.last"), "{last:?}");
    // An observer makes no credential for itself.
    let body = format!(r#"{{"name":"me","role":"admin","fingerprint":"{}"}}"#, "00".repeat(32));
    let path = "/v1/admin/administrators";
    assert_eq!(ask(&broker, &observer, "POST", path, "application/json", body.as_bytes()).status, 401);
}
