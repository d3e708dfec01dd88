//! A real broker in a temporary directory, and a small HTTPS client.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tempfile::TempDir;

/// A running broker; killed when dropped.
pub(crate) struct Broker {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    child: Option<Child>,
    anonymous: Arc<ClientConfig>,
    admin: Arc<ClientConfig>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json().pointer("/code").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

/// The binary under test.
pub(crate) fn countersign(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The CA in a file.
pub(crate) fn root(path: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
    roots
}

impl Broker {
    /// Makes and starts a broker whose configuration has `more` at its end.
    pub(crate) fn start(more: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let port = free_port();
        let place = directory.path().join("broker");
        let made = countersign(&[
            "init",
            "--offline",
            "--dir",
            place.to_str().unwrap(),
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = place.join("countersign.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, format!("{text}\n{more}\n")).unwrap();
        let builder = || {
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(&[&TLS13])
                .unwrap()
                .with_root_certificates(root(&place.join("tls/ca.pem")))
        };
        let certificate = CertificateDer::from_pem_file(place.join("admin/client.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(place.join("admin/client.key")).unwrap();
        let admin = builder().with_client_auth_cert(vec![certificate], key).unwrap();
        let anonymous = builder().with_no_client_auth();
        let mut broker = Self { directory, port, child: None, anonymous: Arc::new(anonymous), admin: Arc::new(admin) };
        broker.launch();
        broker
    }

    /// The directory that `init` made.
    pub(crate) fn place(&self) -> PathBuf {
        self.directory.path().join("broker")
    }

    /// Starts the process and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["serve", "--config"])
            .arg(self.place().join("countersign.toml"))
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || self.get("/readyz").status != 200 {
            assert!(Instant::now() < deadline, "{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What it logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap()
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks it to stop and waits; whether it ended well.
    pub(crate) fn terminate(&mut self) -> bool {
        let mut child = self.child.take().unwrap();
        let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        child.wait().unwrap().success()
    }

    /// A TLS connection of nobody in particular.
    pub(crate) fn connect(&self) -> StreamOwned<ClientConnection, TcpStream> {
        self.connect_as(&self.anonymous)
    }

    /// A TLS connection with these settings.
    pub(crate) fn connect_as(&self, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        request(self.connect(), "GET", path, "", b"")
    }

    pub(crate) fn post(&self, path: &str, media_type: &str, body: &[u8]) -> Answer {
        request(self.connect(), "POST", path, media_type, body)
    }

    /// As administrator.
    pub(crate) fn admin(&self, method: &str, path: &str, media_type: &str, body: &[u8]) -> Answer {
        request(self.connect_as(&self.admin), method, path, media_type, body)
    }

    /// A fresh nonce.
    pub(crate) fn nonce(&self) -> String {
        let answer = self.post("/v1/challenge", "application/json", b"{}");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["nonce"].as_str().unwrap().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    mut stream: StreamOwned<ClientConnection, TcpStream>,
    method: &str,
    path: &str,
    media_type: &str,
    body: &[u8],
) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // A server that refuses early may close before it has read everything.
    let _early_refusal = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read_answer(stream)
}

/// Reads until the peer closes.
pub(crate) fn read_answer(mut stream: impl Read) -> Answer {
    let mut bytes = Vec::new();
    let _closed = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let body = bytes.get(end.saturating_add(4)..).unwrap_or_default().to_vec();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head, body }
}
