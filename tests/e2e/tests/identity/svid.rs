use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use e2e::{
    binaries::binary,
    guest::{Guest as Machine, can_mount},
    process::Said,
};
use keys::{
    sign::{Jwks, SignatureAlgorithm},
    token::{Audience, Expected, verify},
};
use serde_json::{Value, json};

use crate::{
    guest::Guest,
    tokens::{broker, grant, now},
};

fn openssl(directory: &Path, args: &[&str]) -> Said {
    Said::by(Command::new("openssl").args(args).current_dir(directory)).unwrap()
}

#[test]
fn an_x509_svid_is_for_the_guests_own_key_and_verifies_with_openssl() {
    let broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let make = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem"];
    // What the CSR wishes for is not looked at.
    let wishes = ["-out", "csr.pem", "-subj", "/CN=root", "-addext", "subjectAltName=URI:spiffe://example.org/root"];
    openssl(place, &[&make[..], &wishes].concat()).done().unwrap();
    let csr = fs::read_to_string(place.join("csr.pem")).unwrap();
    let value = grant(&mut guest, json!({"id": "g", "type": "x509-svid", "name": "web", "csr": csr}));
    let value: Value = serde_json::from_slice(&value).unwrap();
    assert_eq!(value["spiffe_id"], "spiffe://example.org/workload/web");
    fs::write(place.join("svid.pem"), value["certificate"].as_str().unwrap()).unwrap();
    fs::write(place.join("bundle.pem"), value["bundle"].as_str().unwrap()).unwrap();
    for purpose in ["sslserver", "sslclient"] {
        let said =
            openssl(place, &["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "bundle.pem", "svid.pem"]);
        assert!(said.done().unwrap().contains("svid.pem: OK"));
    }
    let text = openssl(place, &["x509", "-in", "svid.pem", "-noout", "-text"]).done().unwrap();
    for wanted in [
        "URI:spiffe://example.org/workload/web",
        "X509v3 Subject Alternative Name: critical",
        "X509v3 Key Usage: critical",
        "CA:FALSE",
        "TLS Web Server Authentication, TLS Web Client Authentication",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!text.contains("spiffe://example.org/root") && !text.contains("CN = root"), "{text}");
    // Certificate and key belong together, and the key was never anywhere else.
    let public = openssl(place, &["x509", "-in", "svid.pem", "-noout", "-pubkey"]).done().unwrap();
    assert_eq!(openssl(place, &["pkey", "-in", "key.pem", "-pubout"]).done().unwrap(), public);
    // A CSR whose signature is not of its key.
    let broken: String = csr
        .lines()
        .enumerate()
        .map(|(line, text)| format!("{}\n", if line == 3 { swap(text) } else { text.to_owned() }))
        .collect();
    let refused = guest.attest(json!([{"id": "g", "type": "x509-svid", "name": "web", "csr": broken}]));
    assert_eq!(refused["denied"][0]["code"], "release.svid.csr", "{refused}");
}

/// Another letter in the middle of a line of base64.
fn swap(line: &str) -> String {
    let (before, after) = line.split_at(line.len() / 2);
    let other = if after.starts_with('A') { 'B' } else { 'A' };
    format!("{before}{other}{}", &after[1..])
}

#[test]
fn a_jwt_svid_verifies_with_the_bundle_and_has_a_plain_header() {
    let broker = broker();
    let client = broker.client().unwrap();
    let mut guest = Guest::new(client.clone());
    let request = json!({"id": "g", "type": "jwt-svid", "name": "web", "audience": "db.example"});
    let token = String::from_utf8(grant(&mut guest, request)).unwrap();
    let bundle = client.send("GET", "/.well-known/spiffe-bundle", None).unwrap();
    assert!(bundle.body["spiffe_sequence"].as_i64() > Some(0) && bundle.body["spiffe_refresh_hint"] == 300);
    let keys = bundle.body["keys"].as_array().unwrap();
    let of_use = |wanted: &str| keys.iter().filter(|key| key["use"] == wanted).cloned().collect::<Vec<_>>();
    let (authorities, signers) = (of_use("x509-svid"), of_use("jwt-svid"));
    assert_eq!((authorities.len(), signers.len(), keys.len()), (1, 1, 2), "{}", bundle.text);
    assert!(authorities[0].get("kid").is_none() && authorities[0]["x5c"].as_array().unwrap().len() == 1);
    let expected = Expected {
        algorithms: &[SignatureAlgorithm::Es256],
        issuer: &broker.url(),
        audience: Audience::Exactly("db.example"),
        now: now(),
        leeway: 0,
    };
    let claims: Value = verify(&token, &Jwks::parse(bundle.text.as_bytes()).unwrap(), &expected).unwrap();
    assert_eq!(claims["sub"], "spiffe://example.org/workload/web");
    // Who knows the discovery document alone verifies it, too; the bundle verifies nothing but SVIDs.
    let jwks = client.send("GET", "/.well-known/jwks.json", None).unwrap();
    let claims: Value = verify(&token, &Jwks::parse(jwks.text.as_bytes()).unwrap(), &expected).unwrap();
    assert_eq!(claims["sub"], "spiffe://example.org/workload/web");
    let result = guest.attest(json!([]))["result"].as_str().unwrap().to_owned();
    let expected = Expected { audience: Audience::Unchecked { reason: "any" }, ..expected };
    verify::<Value>(&result, &Jwks::parse(jwks.text.as_bytes()).unwrap(), &expected).unwrap();
    assert!(verify::<Value>(&result, &Jwks::parse(bundle.text.as_bytes()).unwrap(), &expected).is_err());
}

#[test]
fn the_agent_writes_credentials_as_files() {
    if !can_mount() {
        return;
    }
    let broker = broker();
    let guest = Machine::start("").unwrap();
    let run = |args: &[&str]| {
        let mut command = guest.agent().unwrap();
        command.arg("credentials").args(args).args(["--broker", &broker.url(), "--broker-ca"]).arg(broker.ca());
        Said::by(&mut command).unwrap()
    };
    fs::create_dir(guest.path("svid")).unwrap();
    let mut before = Vec::new();
    for _ in 0..2 {
        run(&["x509-svid", "web", "--directory", "svid"]).done().unwrap();
        let place = guest.path("svid");
        let verified = openssl(&place, &["verify", "-CAfile", "bundle.pem", "svid.pem"]).done().unwrap();
        assert!(verified.contains("svid.pem: OK"), "{verified}");
        let public = openssl(&place, &["x509", "-in", "svid.pem", "-noout", "-pubkey"]).done().unwrap();
        assert_eq!(openssl(&place, &["pkey", "-in", "svid.pem", "-pubout"]).done().unwrap(), public);
        assert_eq!(place.join("svid.pem").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2, "nothing is left beside the files");
        // Another key each time.
        let now = fs::read(place.join("svid.pem")).unwrap();
        assert_ne!(now, before);
        before = now;
    }
    run(&["token", "aws", "--out", "token"]).done().unwrap();
    let token = fs::read_to_string(guest.path("token")).unwrap();
    let mut verify = Command::new(binary("countersign").unwrap());
    verify.args(["token", "verify", "-", "--issuer", &broker.url(), "--audience", "sts.amazonaws.com"]);
    verify
        .args(["--server", &broker.url(), "--ca"])
        .arg(broker.ca())
        .stdin(fs::File::open(guest.path("token")).unwrap());
    Said::by(&mut verify).unwrap().done().unwrap();
    assert_eq!(token.split('.').count(), 3);
    run(&["jwt-svid", "web", "--audience", "db.example", "--out", "jwt"]).done().unwrap();
    let refused = run(&["jwt-svid", "web", "--audience", "elsewhere", "--out", "jwt"]);
    assert!(refused.status == 1 && refused.stderr.contains("release.svid.audience"), "{}", refused.stderr);
}

#[test]
fn an_attestation_result_is_a_cwt_on_request() {
    let broker = broker();
    let client = broker.client().unwrap();
    let guest = Guest::new(client.clone());
    let ask = |format: &str, profile: &str| {
        let (_, mut request) = guest.request(json!([]), |_| {});
        request["format"] = json!(format);
        request["profile"] = json!(profile);
        client.send("POST", "/v1/attest", Some(&request)).unwrap()
    };
    let answer = ask("cwt", "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let place = tempfile::tempdir().unwrap();
    let verify = |token: &str| {
        fs::write(place.path().join("token"), token).unwrap();
        let mut verify = Command::new(binary("countersign").unwrap());
        verify.args(["token", "verify", "token", "--format", "json", "--issuer", &broker.url(), "--audience"]);
        verify.args([&broker.url(), "--server", &broker.url(), "--ca"]).arg(broker.ca()).current_dir(place.path());
        Said::by(&mut verify).unwrap()
    };
    let token = answer.body["result"].as_str().unwrap();
    let said = verify(token);
    assert_eq!(said.status, 0, "{token}: {}", String::from_utf8_lossy(&said.stdout));
    let claims: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(claims["claims"]["submods"]["cpu"]["ear_verifier_claims"]["platform"], "simulated");
    assert_eq!(claims["claims"]["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
    assert_eq!(verify(&swap(token)).status, 1);
    assert_eq!(ask("cwt", "tag:github.com,2023:veraison/ear").code(), "request.malformed");
}
