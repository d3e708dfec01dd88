//! The register of exceptions and the bridge, by the API, the command line and a legacy client's TLS.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use ::aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use support::{Answer, Broker, countersign};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const SECRET: &[u8] = b"hunter2-of-the-legacy-erp";

/// A broker with a bridge.
struct Bridged {
    broker: Broker,
    port: u16,
    ca: CertifiedIssuer<'static, KeyPair>,
    _directory: tempfile::TempDir,
}

/// A legacy client's certificate and key, PEM.
struct Legacy {
    certificate: String,
    key: String,
}

impl Bridged {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let client_ca = directory.path().join("clients.pem");
        fs::write(&client_ca, ca.pem()).unwrap();
        let broker = Broker::start(&format!(
            "[metrics]\nlisten = \"{metrics}\"\n[bridge]\nlisten = \"127.0.0.1:{port}\"\nclient_ca = {client_ca:?}\nuses_per_minute = 3\n"
        ));
        let bridged = Self { broker, port, ca, _directory: directory };
        let stored = bridged.admin("PUT", "/v1/admin/secrets/erp-password?bridge=true", SECRET);
        assert_eq!(stored.status, 201, "{stored:?}");
        bridged
    }

    fn admin(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.broker.admin(method, path, "application/json", body)
    }

    fn add(&self, draft: &Value) -> Answer {
        self.admin("POST", "/v1/admin/exceptions", draft.to_string().as_bytes())
    }

    /// A client of the bridge's CA with this name.
    fn client(&self, name: &str) -> Legacy {
        let (params, key) = client(name);
        Legacy { certificate: params.signed_by(&key, &self.ca).unwrap().pem(), key: key.serialize_pem() }
    }

    /// Asks the bridge as `legacy`, or the reason why there is no answer.
    fn fetch(&self, legacy: Option<&Legacy>, exception: &str) -> Answer {
        self.ask(legacy, "POST", &format!("/v1/bridge/{exception}"))
    }

    fn ask(&self, legacy: Option<&Legacy>, method: &str, path: &str) -> Answer {
        self.send(legacy, method, path, ("", b""))
    }

    /// Brings the key of `legacy` with a token.
    fn join(&self, legacy: &Legacy, exception: &str, token: &str) -> Answer {
        let body = json!({"token": token}).to_string();
        self.send(Some(legacy), "POST", &format!("/v1/join/{exception}"), ("application/json", body.as_bytes()))
    }

    /// A fresh join token, or why there is none.
    fn token(&self, exception: &str, draft: &Value) -> Answer {
        self.admin("POST", &format!("/v1/admin/exceptions/{exception}/join-token"), draft.to_string().as_bytes())
    }

    fn send(&self, legacy: Option<&Legacy>, method: &str, path: &str, (kind, body): (&str, &[u8])) -> Answer {
        let roots = support::root(&self.broker.place().join("tls/ca.pem"));
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match legacy {
            None => config.with_no_client_auth(),
            Some(Legacy { certificate, key }) => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), stream);
        support::request(tls, method, path, kind, body)
    }
}

fn client(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params, KeyPair::generate().unwrap())
}

/// A client of no CA.
fn stranger(name: &str) -> Legacy {
    let (params, key) = client(name);
    Legacy { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn in_seconds(seconds: i64) -> String {
    (OffsetDateTime::now_utc() + time::Duration::seconds(seconds)).format(&Rfc3339).unwrap()
}

fn draft(name: &str, client: &str) -> Value {
    json!({
        "name": name,
        "owner": "erp-team",
        "reason": "the vendor has no federation yet",
        "system": "erp",
        "secret": "erp-password",
        "expires_at": in_seconds(3600),
        "client": client,
    })
}

#[test]
fn nothing_is_registered_without_what_is_required() {
    let bridged = Bridged::start();
    for field in ["name", "owner", "reason", "system", "secret", "expires_at"] {
        let mut draft = draft("erp", "dns:erp.example");
        draft.as_object_mut().unwrap().remove(field);
        let refused = bridged.add(&draft);
        assert_eq!((refused.status, refused.code()), (422, format!("request.exception.{field}_missing")));
        assert!(refused.json()["detail"].as_str().unwrap().contains(field), "{refused:?}");
        draft[field] = json!("");
        let refused = bridged.add(&draft);
        assert!(matches!(refused.status, 400 | 422), "{field}: {refused:?}");
    }
    let put = bridged.admin("PUT", "/v1/admin/secrets/attested?workload=web", SECRET);
    assert_eq!(put.status, 201);
    for (field, value, code) in [
        ("expires_at", json!(in_seconds(90 * 86_400 + 60)), "request.exception.expiry"),
        ("expires_at", json!(in_seconds(-1)), "request.exception.expiry"),
        ("owner", json!("a\nb"), "request.exception.text"),
        ("client", json!("cn:erp"), "request.exception.client"),
        ("sources", json!(["192.0.2.1/24"]), "request.exception.source"),
        ("secret", json!("nothing"), "request.exception.secret_absent"),
        ("secret", json!("attested"), "request.exception.attested_only"),
    ] {
        let mut draft = draft("erp", "dns:erp.example");
        draft[field] = value;
        let refused = bridged.add(&draft);
        assert_eq!((refused.status, refused.code().as_str()), (422, code), "{field}");
    }
    assert_eq!(bridged.admin("GET", "/v1/admin/exceptions?all=true", b"").json(), json!([]));
    // What is for attested guests does not become a secret for the bridge.
    let changed = bridged.admin("PUT", "/v1/admin/secrets/attested?bridge=true", b"x");
    assert_eq!((changed.status, changed.code().as_str()), (409, "request.secret.bridge_changed"));
    let longest = bridged.add(&json!({"expires_at": in_seconds(90 * 86_400 - 60), "name": "erp", "owner": "o",
        "reason": "r", "system": "s", "secret": "erp-password"}));
    assert_eq!(longest.status, 201, "{longest:?}");
}

#[test]
fn the_bridge_serves_the_right_client_while_the_exception_lives() {
    let bridged = Bridged::start();
    let erp = bridged.client("erp.example");
    let refused = bridged.fetch(Some(&erp), "erp");
    assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.client"));
    assert_eq!(bridged.add(&draft("erp", "dns:erp.example")).status, 201);
    let got = bridged.fetch(Some(&erp), "erp");
    assert_eq!((got.status, got.body.as_slice()), (200, SECRET), "{got:?}");
    assert!(got.head.to_lowercase().contains("cache-control: no-store"), "{}", got.head);
    assert!(got.head.to_lowercase().contains("x-secret-version: 1"), "{}", got.head);
    // A new version is handed over at once.
    assert_eq!(bridged.admin("PUT", "/v1/admin/secrets/erp-password?bridge=true", b"rotated").status, 201);
    assert_eq!(bridged.fetch(Some(&erp), "erp").body, b"rotated");
    // Others learn the same, whether there is such an exception or not.
    for other in [bridged.client("crm.example"), stranger("erp.example")] {
        for name in ["erp", "crm"] {
            let refused = bridged.fetch(Some(&other), name);
            assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.client"));
        }
    }
    assert_eq!(bridged.fetch(None, "erp").status, 0, "without a certificate there is no connection");
    // The bridge is nothing else, and the API is no bridge.
    assert_eq!(bridged.ask(Some(&erp), "GET", "/v1/bridge/erp").status, 405);
    for path in ["/v1/admin/exceptions", "/v1/challenge", "/healthz"] {
        assert_eq!(bridged.ask(Some(&erp), "GET", path).status, 404, "{path}");
    }
    assert_eq!(bridged.admin("POST", "/v1/bridge/erp", b"").status, 404);
    // Three a minute.
    assert_eq!(bridged.fetch(Some(&erp), "erp").status, 200);
    let often = bridged.fetch(Some(&erp), "erp");
    assert_eq!((often.status, often.code().as_str()), (429, "release.bridge.rate"));
    assert!(often.head.to_lowercase().contains("retry-after: 60"), "{}", often.head);
    let shown = bridged.admin("GET", "/v1/admin/exceptions/erp", b"").json();
    assert_eq!(shown["uses"], 3, "{shown}");
    assert_eq!(shown["history"][0]["detail"], "version 2 to 127.0.0.1", "{shown}");
    let log = bridged.broker.log();
    let warned = |line: &&str| line.contains("\"WARN\"") && line.contains("a static secret went over the bridge");
    assert_eq!(log.lines().filter(warned).count(), 3, "{log}");
    assert!(!log.contains("hunter2") && !log.contains("rotated"), "{log}");
    let ended = bridged.admin("POST", "/v1/admin/exceptions/erp/end", br#"{"reason":"migrated"}"#);
    assert_eq!((ended.status, ended.json()["end_cause"].as_str()), (200, Some("ended")));
    let refused = bridged.fetch(Some(&erp), "erp");
    assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.over"));
}

#[test]
fn a_pinned_key_and_a_network_bind_the_client() {
    let bridged = Bridged::start();
    let (pinned, other) = (stranger("old.example"), stranger("old.example"));
    let directory = tempfile::tempdir().unwrap();
    let certificate = directory.path().join("client.pem");
    fs::write(&certificate, &pinned.certificate).unwrap();
    let admin = bridged.broker.place().join("admin");
    let run = |args: &[&str]| countersign(&[args, &["--admin", admin.to_str().unwrap()]].concat());
    let added = run(&[
        "exceptions",
        "add",
        "erp",
        "--owner",
        "erp-team",
        "--reason",
        "no federation yet",
        "--system",
        "erp",
        "--secret",
        "erp-password",
        "--days",
        "30",
        "--source",
        "127.0.0.0/8",
        "--client-certificate",
        certificate.to_str().unwrap(),
    ]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    assert_eq!(bridged.fetch(Some(&pinned), "erp").body, SECRET);
    assert_eq!(bridged.fetch(Some(&other), "erp").code(), "release.bridge.client");
    // An extension is a new exception: a new reason, the same client, uses from zero.
    let same = run(&["exceptions", "extend", "erp", "--reason", "No federation yet", "--days", "60"]);
    assert!(String::from_utf8_lossy(&same.stderr).contains("request.exception.same_reason"), "{same:?}");
    let extended = run(&["exceptions", "extend", "erp", "--reason", "vendor slipped to spring", "--days", "60"]);
    assert!(extended.status.success(), "{extended:?}");
    assert_eq!(bridged.fetch(Some(&pinned), "erp").body, SECRET);
    let listed = String::from_utf8(run(&["exceptions", "list", "--all"]).stdout).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.contains("extended"), "{listed}");
    let shown = String::from_utf8(run(&["exceptions", "show", "erp"]).stdout).unwrap();
    assert!(shown.contains("from        127.0.0.0/8") && shown.contains("vendor slipped"), "{shown}");
    assert!(run(&["exceptions", "end", "erp", "--reason", "done"]).status.success());
    // From elsewhere it is refused.
    let mut elsewhere = draft("erp", "dns:erp.example");
    elsewhere["sources"] = json!(["192.0.2.0/24"]);
    assert_eq!(bridged.add(&elsewhere).status, 201);
    assert_eq!(bridged.fetch(Some(&bridged.client("erp.example")), "erp").code(), "release.bridge.source");
}

#[test]
fn an_exception_ends_by_itself_and_everybody_is_told() {
    let bridged = Bridged::start();
    let erp = bridged.client("erp.example");
    let mut short = draft("erp", "dns:erp.example");
    short["expires_at"] = json!(in_seconds(3));
    assert_eq!(bridged.add(&short).status, 201);
    assert_eq!(bridged.fetch(Some(&erp), "erp").status, 200);
    let begun = Instant::now();
    while bridged.fetch(Some(&erp), "erp").status == 200 || bridged.fetch(Some(&erp), "erp").status == 429 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it should have ended");
        sleep(Duration::from_millis(100));
    }
    assert_eq!(bridged.fetch(Some(&erp), "erp").code(), "release.bridge.over");
    let begun = Instant::now();
    let told = loop {
        let log = bridged.broker.log();
        if log.contains("exception ended") || begun.elapsed() > Duration::from_secs(10) {
            break log;
        }
        sleep(Duration::from_millis(100));
    };
    assert!(told.contains("exception ends soon") && told.contains("exception ended"), "{told}");
    let shown = bridged.admin("GET", "/v1/admin/exceptions/erp", b"").json();
    assert_eq!(shown["end_cause"], "expired");
    let acts: Vec<&str> = shown["history"].as_array().unwrap().iter().map(|act| act["act"].as_str().unwrap()).collect();
    assert_eq!(acts.first(), Some(&"ended"));
    assert!(acts.contains(&"ending") && acts.contains(&"used"), "{acts:?}");
    assert_eq!(metric(&bridged, "countersign_exception_alerts_total"), "1");
    assert_eq!(metric(&bridged, "countersign_exceptions{tenant=\"default\"}"), "0");
}

#[test]
fn a_secret_at_rest_is_sealed_and_a_deleted_one_is_not_handed_over() {
    let bridged = Bridged::start();
    let erp = bridged.client("erp.example");
    assert_eq!(bridged.add(&draft("erp", "dns:erp.example")).status, 201);
    assert_eq!(bridged.fetch(Some(&erp), "erp").status, 200);
    for file in files(&bridged.broker.place().join("data")) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET), "{}", file.display());
    }
    assert_eq!(bridged.admin("DELETE", "/v1/admin/secrets/erp-password", b"").status, 200);
    assert_eq!(bridged.fetch(Some(&erp), "erp").code(), "release.bridge.secret");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The value of a metric without labels.
fn metric(bridged: &Bridged, name: &str) -> String {
    use std::io::{Read, Write};
    let config = fs::read_to_string(bridged.broker.place().join("countersign.toml")).unwrap();
    let address = config.split("[metrics]\nlisten = \"").nth(1).unwrap().split('"').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The pin of a client's key.
fn pin(client: &Legacy) -> String {
    let key = KeyPair::from_pem(&client.key).unwrap().subject_public_key_info();
    format!("sha256/{}", BASE64_STANDARD.encode(digest(&SHA256, &key)))
}

/// An exception whose client is to come with a token.
fn joining(name: &str) -> Value {
    let mut draft = draft(name, "");
    draft["client"] = Value::Null;
    draft["bootstrap"] = json!("join-token");
    draft
}

#[test]
fn a_join_token_lets_one_key_join_once() {
    let bridged = Bridged::start();
    assert_eq!(bridged.add(&joining("erp")).status, 201);
    let (node, thief) = (stranger("node.example"), stranger("thief.example"));
    assert_eq!(bridged.fetch(Some(&node), "erp").code(), "release.bridge.client");
    let made = bridged.token("erp", &json!({}));
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();

    // Neither another name, nor another token, nor nobody's key.
    assert_eq!(bridged.join(&node, "other", &token).code(), "release.bridge.join");
    assert_eq!(bridged.join(&node, "erp", &token[..token.len() - 1]).code(), "release.bridge.join");
    assert!(bridged.fetch(Some(&node), "erp").status == 403);

    let joined = bridged.join(&node, "erp", &token);
    assert_eq!(joined.status, 200, "{joined:?}");
    assert_eq!(bridged.fetch(Some(&node), "erp").body, SECRET);
    // The second use, by whomever.
    for again in [&node, &thief] {
        let refused = bridged.join(again, "erp", &token);
        assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.join"));
    }
    assert_eq!(bridged.fetch(Some(&thief), "erp").code(), "release.bridge.client");

    // It is an exception like every other: listed with owner and end, its acts told, and over when it is over.
    let shown = bridged.admin("GET", "/v1/admin/exceptions/erp", b"").json();
    assert_eq!(shown["client"], joined.json()["client"]);
    let acts = shown["history"].as_array().unwrap().iter().filter_map(|act| act["act"].as_str());
    let acts: Vec<&str> = acts.filter(|act| *act != "ending").collect();
    assert_eq!(acts, ["used", "joined", "join-token", "added"]);
    assert!(!shown.to_string().contains(&token));
    assert!(!bridged.broker.log().contains(&token));
    let ended = bridged.admin("POST", "/v1/admin/exceptions/erp/end", br#"{"reason": "migrated"}"#);
    assert_eq!(ended.status, 200);
    assert_eq!(bridged.fetch(Some(&node), "erp").code(), "release.bridge.over");
    assert_eq!(bridged.token("erp", &json!({})).code(), "request.exception.over");
}

#[test]
fn a_join_token_is_for_one_key_and_a_short_time_and_the_newest_counts() {
    let bridged = Bridged::start();
    assert_eq!(bridged.add(&joining("erp")).status, 201);
    let (node, thief) = (stranger("node.example"), stranger("thief.example"));
    for (wrong, code) in [
        (json!({"seconds": 601}), "request.exception.join_life"),
        (json!({"seconds": 0}), "request.exception.join_life"),
        (json!({"client": "dns:node.example"}), "request.exception.join_key"),
    ] {
        assert_eq!(bridged.token("erp", &wrong).code(), code);
    }
    let token = |draft: &Value| bridged.token("erp", draft).json()["token"].as_str().unwrap().to_owned();
    let first = token(&json!({}));
    let pinned = token(&json!({"client": pin(&node)}));
    assert_eq!(bridged.join(&node, "erp", &first).code(), "release.bridge.join", "a newer one was made");
    assert_eq!(bridged.join(&thief, "erp", &pinned).code(), "release.bridge.join", "another key");
    assert_eq!(bridged.join(&node, "erp", &pinned).status, 200, "a wrong key uses nothing up");
    let short = token(&json!({"seconds": 1}));
    sleep(Duration::from_millis(2100));
    assert_eq!(bridged.join(&thief, "erp", &short).code(), "release.bridge.join", "too late");
    assert_eq!(bridged.fetch(Some(&node), "erp").body, SECRET);
}

#[test]
fn no_join_token_leads_to_what_is_for_attested_guests() {
    let bridged = Bridged::start();
    let node = stranger("node.example");
    assert_eq!(bridged.admin("PUT", "/v1/admin/secrets/attested?workload=web", SECRET).status, 201);
    let mut attested = joining("attested");
    attested["secret"] = json!("attested");
    assert_eq!(bridged.add(&attested).code(), "request.exception.attested_only");
    assert_eq!(bridged.token("attested", &json!({})).status, 404);
    // Nor is there one for an exception that was not registered for it.
    assert_eq!(bridged.add(&draft("plain", "dns:erp.example")).status, 201);
    assert_eq!(bridged.token("plain", &json!({})).code(), "request.exception.joins_not");
    let ended = bridged.admin("POST", "/v1/admin/exceptions/plain/end", br#"{"reason": "the next one joins"}"#);
    assert_eq!(ended.status, 200);
    let mut both = joining("both");
    both["client"] = json!("dns:erp.example");
    assert_eq!(bridged.add(&both).code(), "request.exception.two_clients");

    // Who joined has what the exception is about, and nothing else.
    assert_eq!(bridged.add(&joining("erp")).status, 201);
    let token = bridged.token("erp", &json!({})).json()["token"].as_str().unwrap().to_owned();
    assert_eq!(bridged.join(&node, "erp", &token).status, 200);
    for name in ["attested", "plain"] {
        let refused = bridged.fetch(Some(&node), name);
        assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.client"), "{name}");
        let refused = bridged.join(&node, name, &token);
        assert_eq!((refused.status, refused.code().as_str()), (403, "release.bridge.join"), "{name}");
    }
    for path in ["/v1/admin/secrets", "/v1/attest", "/v1/token"] {
        assert_eq!(bridged.ask(Some(&node), "POST", path).status, 404, "{path}: the bridge has two routes");
    }
}
