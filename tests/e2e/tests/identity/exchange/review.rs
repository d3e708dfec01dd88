//! A cluster that is asked about its tokens: a TLS server with the rules that Kubernetes publishes for TokenReview.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::scene::{Form, ORDERS, Scene, claims, code_of, kubernetes};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// What the cluster knows and does.
#[derive(Default)]
struct State {
    /// The credential that may ask.
    credential: String,
    /// The uids of pods that are.
    pods: BTreeSet<String>,
    /// Whether it understands audiences.
    knows_audiences: bool,
    /// Answers with this status and nothing else.
    broken: Option<u16>,
    asked: u32,
}

struct Cluster {
    state: Arc<Mutex<State>>,
    port: u16,
    place: TempDir,
}

impl Cluster {
    fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(place.path().join("ca.pem"), certificate.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let pods = BTreeSet::from(["p1".to_owned()]);
        let state = State { credential: "first".to_owned(), pods, knows_audiences: true, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                answer(StreamOwned::new(tls, stream), &shared);
            }
        });
        let cluster = Self { state, port, place };
        cluster.give("first\n");
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// What stands in the broker's file.
    fn give(&self, credential: &str) {
        fs::write(self.path("reviewer.token"), credential).unwrap();
    }

    fn line(&self) -> String {
        format!(
            "token_review = {{ url = \"https://127.0.0.1:{}\", ca = {:?}, token_file = {:?} }}",
            self.port,
            self.path("ca.pem"),
            self.path("reviewer.token")
        )
    }

    fn now(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}

fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>, state: &Mutex<State>) {
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let Some((head, body)) = request(&mut stream) else { return };
    let mut state = state.lock().unwrap();
    state.asked += 1;
    let (status, body) = match state.broken {
        Some(status) => (status, Value::Null),
        None => review(&state, &head, &body),
    };
    let body = body.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).unwrap();
    stream.conn.send_close_notify();
    let _gone = stream.flush();
}

fn request(stream: impl Read) -> Option<(Vec<String>, Vec<u8>)> {
    let (mut reader, mut head) = (BufReader::new(stream), Vec::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// What an API server answers (Kubernetes API reference, TokenReview v1).
fn review(state: &State, head: &[String], body: &[u8]) -> (u16, Value) {
    let has = |line: &str| head.iter().any(|sent| sent == line);
    if head[0] != format!("POST {PATH} HTTP/1.1") {
        return (404, Value::Null);
    }
    if !has(&format!("authorization: Bearer {}", state.credential)) {
        return (401, Value::Null);
    }
    if !has("content-type: application/json") {
        return (415, Value::Null);
    }
    let asked: Value = serde_json::from_slice(body).unwrap();
    let kind = (asked["apiVersion"].as_str(), asked["kind"].as_str());
    let Some(token) = asked["spec"]["token"].as_str().filter(|_| kind == (Some(KIND.0), Some(KIND.1))) else {
        return (400, Value::Null);
    };
    let token = claims(token);
    let pod = &token["kubernetes.io"]["pod"];
    let wanted = asked["spec"]["audiences"].as_array().unwrap();
    let lives = pod["uid"].as_str().is_some_and(|uid| state.pods.contains(uid));
    let for_whom: Vec<_> =
        wanted.iter().filter(|wanted| token["aud"].as_array().unwrap().contains(wanted)).cloned().collect();
    let status = if !lives {
        json!({"authenticated": false, "error": "service account token has been invalidated", "user": {}})
    } else if state.knows_audiences && for_whom.is_empty() {
        json!({"authenticated": false, "error": "token audiences is invalid for the target audiences", "user": {}})
    } else {
        let (account, node) = (&token["kubernetes.io"]["serviceaccount"], &token["kubernetes.io"]["node"]);
        let extra = |name: &str| format!("authentication.kubernetes.io/{name}");
        let mut status = json!({
            "authenticated": true,
            "user": {
                "username": token["sub"], "uid": account["uid"],
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "extra": {
                    extra("pod-name"): [pod["name"]], extra("pod-uid"): [pod["uid"]],
                    extra("node-name"): [node["name"]], extra("node-uid"): [node["uid"]],
                },
            },
        });
        if state.knows_audiences {
            status["audiences"] = json!(for_whom);
        }
        status
    };
    (201, json!({"apiVersion": KIND.0, "kind": KIND.1, "metadata": {}, "spec": asked["spec"], "status": status}))
}

const KIND: (&str, &str) = ("authentication.k8s.io/v1", "TokenReview");

#[test]
fn the_token_of_a_deleted_pod_counts_no_more() {
    let cluster = Cluster::start();
    let scene = Scene::reviewed("", &cluster.line());
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let subject = scene.issue(&kubernetes("shop", "web"));
    let ask = |subject: &str| scene.exchange(&guest, &Form::on_behalf(subject, &result).audience(ORDERS));
    let good = ask(&subject);
    assert_eq!(good.status, 200, "{}", good.text);

    cluster.now(|state| state.pods.clear());
    let refused = ask(&subject);
    assert_eq!(code_of(&refused), ("invalid_grant", "release.exchange.token_review"));
    let explained = scene.broker.explain(refused.body["decision"].as_str().unwrap()).unwrap();
    assert!(explained.contains("release.exchange.token_review"), "{explained}");

    // A pod of the same name is another pod.
    cluster.now(|state| state.pods = BTreeSet::from(["p2".to_owned()]));
    assert_eq!(code_of(&ask(&subject)), ("invalid_grant", "release.exchange.token_review"));
    let mut claims = kubernetes("shop", "web");
    claims["kubernetes.io"]["pod"]["uid"] = json!("p2");
    assert_eq!(ask(&scene.issue(&claims)).status, 200);

    // What the cluster did not sign it is not asked about.
    let asked = cluster.state.lock().unwrap().asked;
    assert_eq!(code_of(&ask(&scene.forge(&claims))), ("invalid_grant", "authenticate.token.unknown_key"));
    assert_eq!(cluster.state.lock().unwrap().asked, asked);
    // Nor does its word replace the grant's own rules.
    let other = scene.issue(&{
        let mut other = kubernetes("shop", "db");
        other["kubernetes.io"]["pod"]["uid"] = json!("p2");
        other
    });
    assert_eq!(code_of(&ask(&other)), ("invalid_grant", "release.exchange.binding_mismatch"));
}

#[test]
fn without_an_answer_of_the_cluster_there_is_no_token() {
    let cluster = Cluster::start();
    let scene = Scene::reviewed("", &cluster.line());
    let mut guest = scene.guest();
    let result = scene.attest(&mut guest);
    let subject = scene.issue(&kubernetes("shop", "web"));
    let ask = || scene.exchange(&guest, &Form::on_behalf(&subject, &result).audience(ORDERS));
    assert_eq!(ask().status, 200);
    for status in [200, 403, 500] {
        cluster.now(|state| state.broken = Some(status));
        assert_eq!(ask().status, 503, "{status}");
    }
    cluster.now(|state| state.broken = None);
    // A cluster that says nothing of audiences confirms none.
    cluster.now(|state| state.knows_audiences = false);
    assert_eq!(code_of(&ask()), ("invalid_grant", "release.exchange.token_review"));
    cluster.now(|state| state.knows_audiences = true);
    // The broker's own credential changes without a restart, and stands in no log.
    cluster.now(|state| state.credential = "second-credential".to_owned());
    assert_eq!(ask().status, 503);
    cluster.give("second-credential\n");
    assert_eq!(ask().status, 200);
    // A cluster that is not the one of the CA gets neither token nor credential.
    let impostor = Cluster::start();
    fs::copy(impostor.path("ca.pem"), cluster.path("ca.pem")).unwrap();
    assert_eq!(ask().status, 503);
    let log = scene.broker.log().unwrap();
    assert!(!log.contains("second-credential") && !log.contains(&subject), "{log}");
}
