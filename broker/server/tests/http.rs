//! The HTTP interface of a real broker: limits, problem documents, administration.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use support::{Broker, countersign};

const TIGHT: &str = "[limits]\nheader_seconds = 1\nrequest_seconds = 2\n\n[metrics]\nlisten = \"127.0.0.1:0\"";

/// One broker for all claims: each start costs seconds of a debug build.
#[test]
fn the_interface_holds_its_limits() {
    let mut broker = Broker::start(TIGHT);
    health_and_keys_are_public(&broker);
    problems_have_stable_codes(&broker);
    administration_needs_the_certificate(&broker);
    slow_clients_are_cut(&broker);
    large_headers_and_bodies_are_refused(&broker);
    only_tls_1_3_with_a_hybrid_key_exchange_is_spoken(&broker);
    secrets_never_come_back(&broker);
    init_never_overwrites(&broker);
    policies_are_tested_offline(&broker);
    assert!(!broker.log().contains("hunter2"), "a secret was logged");
    assert!(broker.terminate(), "{}", broker.log());
}

fn health_and_keys_are_public(broker: &Broker) {
    assert_eq!(broker.get("/healthz").body, b"ok\n");
    assert_eq!(broker.get("/readyz").status, 200);
    assert_ne!(broker.nonce(), broker.nonce());
    let jwks = broker.get("/.well-known/jwks.json").json();
    assert_eq!(jwks["keys"][0]["alg"], "ES256", "{jwks}");
    assert!(jwks["keys"][0].get("d").is_none());
    let openapi = broker.get("/v1/openapi.json").json();
    for (path, item) in openapi["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "x").replace("{kind}", "release").replace("{id}", "x").replace("{list}", "0");
        // A stream that began would not end.
        let path = path.replace("/v1/events", "/v1/events?after=x");
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let answer = broker.admin(&method.to_uppercase(), &path, "text/plain", b"");
            let code = if answer.status == 200 { String::new() } else { answer.code() };
            let known = code != "request.method" && !answer.json_says("expected an existing path");
            assert!(known, "{method} {path}: {answer:?}");
        }
    }
}

trait Says {
    fn json_says(&self, detail: &str) -> bool;
}

impl Says for support::Answer {
    fn json_says(&self, detail: &str) -> bool {
        String::from_utf8_lossy(&self.body).contains(detail)
    }
}

/// Method, path, media type, body, and the status and code that are wanted.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);

fn problems_have_stable_codes(broker: &Broker) {
    let json = "application/json";
    let nonce = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let key =
        r#"{"kty":"OKP","crv":"X25519","alg":"ECDH-ES+A256KW","x":"CQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
    let unknown = format!(r#"{{"nonce":"{nonce}","tee_key":{key},"evidence":{{}},"grants":[]}}"#);
    let cases: [Case<'_>; 9] = [
        ("GET", "/nowhere", "", b"", 404, "request.not_found"),
        ("GET", "/v1/attest", "", b"", 405, "request.method"),
        ("POST", "/v1/challenge", "text/plain", b"{}", 415, "request.media_type"),
        ("POST", "/v1/challenge", json, b"{\"a\":1}", 400, "request.malformed"),
        ("POST", "/v1/attest", json, b"\xff\x00", 400, "request.malformed"),
        ("POST", "/v1/attest", "application/cbor", b"\x9f\x9f\x9f", 400, "request.malformed"),
        ("POST", "/v1/attest", "application/xml", b"", 415, "request.media_type"),
        ("POST", "/v1/attest", json, unknown.as_bytes(), 403, "binding.nonce.unknown"),
        ("GET", "/v1/admin/secrets", "", b"", 401, "request.unauthenticated"),
    ];
    let mut shown = String::new();
    for (method, path, media_type, body, status, code) in cases {
        let answer = support::request(broker.connect(), method, path, media_type, body);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{method} {path} {answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{}", answer.head);
        assert!(answer.head.contains("x-trace-id: "), "{}", answer.head);
        shown.push_str(&String::from_utf8_lossy(&answer.body));
        shown.push('\n');
    }
    insta::assert_snapshot!("problems", shown);
}

fn administration_needs_the_certificate(broker: &Broker) {
    let routes = [
        ("GET", "/v1/admin/secrets"),
        ("GET", "/v1/admin/secrets/a"),
        ("PUT", "/v1/admin/secrets/a?workload=w"),
        ("DELETE", "/v1/admin/secrets/a"),
        ("GET", "/v1/admin/reference-values"),
        ("POST", "/v1/admin/reference-values"),
        ("GET", "/v1/admin/reference-values/document"),
        ("GET", "/v1/admin/reference-values/history"),
        ("POST", "/v1/admin/reference-values/activate"),
        ("POST", "/v1/admin/reference-values/retire"),
        ("POST", "/v1/admin/reference-values/revoke"),
        ("GET", "/v1/admin/policies/release"),
        ("PUT", "/v1/admin/policies/release"),
        ("GET", "/v1/admin/decisions"),
        ("GET", "/v1/admin/decisions/a"),
    ];
    for (method, path) in routes {
        let answer = support::request(broker.connect(), method, path, "application/json", b"{}");
        assert_eq!((answer.status, answer.code().as_str()), (401, "request.unauthenticated"), "{method} {path}");
    }
    assert_eq!(broker.admin("GET", "/v1/admin/secrets", "", b"").status, 200);
}

fn slow_clients_are_cut(broker: &Broker) {
    // Headers that never end.
    let started = Instant::now();
    let mut stream = broker.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: ").unwrap();
    let answer = support::read_answer(stream);
    assert_ne!(answer.status, 200);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    // A body that never ends.
    let started = Instant::now();
    let mut stream = broker.connect();
    let head = "POST /v1/attest HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = support::read_answer(stream);
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // A peer that says nothing at all.
    let started = Instant::now();
    let mut silent = std::net::TcpStream::connect(("127.0.0.1", broker.port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(matches!(silent.read(&mut [0; 16]), Ok(0) | Err(_)));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

fn large_headers_and_bodies_are_refused(broker: &Broker) {
    let mut stream = broker.connect();
    let header = "x".repeat(64 * 1024);
    let _cut_early = stream.write_all(format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {header}\r\n\r\n").as_bytes());
    assert_ne!(support::read_answer(stream).status, 200);
    // Refused by what it announces, before it is sent.
    let mut stream = broker.connect();
    let head = "POST /v1/attest HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let answer = support::read_answer(stream);
    assert_eq!((answer.status, answer.code().as_str()), (413, "request.too_large"));
}

fn only_tls_1_3_with_a_hybrid_key_exchange_is_spoken(broker: &Broker) {
    let mut stream = broker.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _closed = stream.read_to_end(&mut answer);
    assert_eq!(stream.conn.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

fn secrets_never_come_back(broker: &Broker) {
    let path = "/v1/admin/secrets/team/disk-key";
    let put = broker.admin("PUT", &format!("{path}?workload=web"), "application/octet-stream", b"hunter2");
    assert_eq!(put.status, 201, "{put:?}");
    let again = broker.admin("PUT", &format!("{path}?workload=web"), "application/octet-stream", b"hunter2");
    assert_eq!(again.json()["version"], 2);
    for answer in [&put, &broker.admin("GET", path, "", b""), &broker.admin("GET", "/v1/admin/secrets", "", b"")] {
        assert!(!answer.json_says("hunter2"), "{answer:?}");
    }
    let bad = broker.admin("PUT", "/v1/admin/secrets/..%2fx?workload=web", "application/octet-stream", b"x");
    assert_eq!(bad.code(), "request.malformed");
    let admin = broker.place().join("admin");
    let listed = countersign(&["secrets", "list", "--admin", admin.to_str().unwrap()]);
    let table = String::from_utf8(listed.stdout).unwrap();
    assert!(table.contains("team/disk-key  2        web"), "{table} {}", String::from_utf8_lossy(&listed.stderr));
    assert_eq!(broker.admin("DELETE", path, "", b"").json()["deleted"], 2);
    assert_eq!(broker.admin("GET", path, "", b"").status, 404);
    let after = broker.admin("PUT", &format!("{path}?workload=web"), "application/octet-stream", b"x");
    assert_eq!(after.json()["version"], 3, "a version number was used twice");
}

fn init_never_overwrites(broker: &Broker) {
    let place = broker.place();
    let before = std::fs::read(place.join("root.key")).unwrap();
    let again = countersign(&["init", "--dir", place.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(std::fs::read(place.join("root.key")).unwrap(), before);
    for secret in ["root.key", "tls/server.key", "admin/client.key", "ca/ca.key", "data/countersign.db"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&place.join(secret).metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
}

fn policies_are_tested_offline(broker: &Broker) {
    let at = |name: &str| broker.directory.path().join(name).to_str().unwrap().to_owned();
    let policy = "package countersign.release\ndefault allow := false\ndeny := set()\nmax_ttl := 60\n\
                  allow if input.result.status == \"affirming\"\n";
    let tests = "package countersign.release_test\n\
                 test_allowed if data.countersign.release.allow with input as {\"result\": {\"status\": \"affirming\"}}\n";
    std::fs::write(at("good.rego"), policy).unwrap();
    std::fs::write(at("bad.rego"), policy.replace("affirming", "none")).unwrap();
    std::fs::write(at("test.rego"), tests).unwrap();
    let status =
        |policy: &str| countersign(&["policy", "test", "release", &at(policy), &at("test.rego")]).status.code();
    assert_eq!((status("good.rego"), status("bad.rego")), (Some(0), Some(1)));
}
