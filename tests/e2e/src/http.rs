//! The least HTTP client that speaks the broker's API: one request on one connection, everything recorded.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use evidence_formats::{binding::Nonce, bundle::Bundle};
use keys::jwk::TeePublicKey;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs::default_provider, version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Value, json};

/// A client that trusts the broker's own authority.
#[derive(Debug, Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    port: u16,
    /// What stands before every path.
    base: String,
    patience: Duration,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Seconds of `Retry-After`, when it is there.
    pub retry_after: Option<u32>,
    /// JSON body, `null` when there is none.
    pub body: Value,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// `code` of a problem document, or nothing.
    #[must_use]
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Client {
    /// For the broker on `port` of this machine, whose authority is in `ca` (PEM).
    ///
    /// # Errors
    /// When the file holds no certificate.
    pub fn new(port: u16, ca: &Path) -> Result<Self> {
        Self::build(port, ca, None)
    }

    /// The same, with the client certificate that `countersign init` left in `directory`.
    ///
    /// # Errors
    /// When a file holds no certificate or key.
    pub fn administrator(port: u16, ca: &Path, directory: &Path) -> Result<Self> {
        Self::build(port, ca, Some(directory))
    }

    fn build(port: u16, ca: &Path, credential: Option<&Path>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for block in pem::parse_many(fs::read(ca)?)? {
            roots.add(CertificateDer::from(block.into_contents()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots);
        let config = match credential {
            None => config.with_no_client_auth(),
            Some(directory) => {
                let certificate = pem::parse(fs::read(directory.join("client.pem"))?)?.into_contents();
                let key = PrivateKeyDer::from_pem_file(directory.join("client.key"))?;
                config.with_client_auth_cert(vec![CertificateDer::from(certificate)], key)?
            }
        };
        Ok(Self { config: Arc::new(config), port, base: String::new(), patience: Duration::from_secs(20) })
    }

    /// The same client, which waits so long for an answer.
    #[must_use]
    pub const fn waiting(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same client for what is below a path, such as that of a tenant.
    #[must_use]
    pub fn under(mut self, path: &str) -> Self {
        path.clone_into(&mut self.base);
        self
    }

    /// The broker's port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sends one request, with `body` as JSON.
    ///
    /// # Errors
    /// When there is no whole answer: the broker is away, or went away.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        self.send_with(method, path, "", body)
    }

    /// The same, with more header lines, each with its end.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn send_with(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Result<Answer> {
        let mut stream = self.open(method, path, headers, body)?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        parse(&received)
    }

    /// Posts a form, with more header lines, each with its end.
    ///
    /// # Errors
    /// As for [`Client::send`].
    pub fn post_form(&self, path: &str, headers: &str, form: &str) -> Result<Answer> {
        let mut stream = self.write("POST", path, headers, ("application/x-www-form-urlencoded", form))?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        parse(&received)
    }

    /// Sends one request and leaves the answer to be read.
    ///
    /// # Errors
    /// When the request cannot be sent.
    pub fn open(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<&Value>,
    ) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.write(method, path, headers, ("application/json", &body))
    }

    fn write(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        (media_type, body): (&str, &str),
    ) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        tcp.set_read_timeout(Some(self.patience))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        let mut tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        tls.complete_io(&mut tcp)?;
        let (mut stream, base) = (StreamOwned::new(tls, tcp), &self.base);
        write!(
            stream,
            "{method} {base}{path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
             content-length: {}\r\n{headers}\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
        Ok(stream)
    }

    /// A fresh nonce.
    ///
    /// # Errors
    /// When the broker gives none.
    pub fn challenge(&self) -> Result<Nonce> {
        let answer = self.send("POST", "/v1/challenge", Some(&json!({})))?;
        let nonce = answer.body.get("nonce").and_then(Value::as_str).context("expected a nonce")?;
        Ok(nonce.parse()?)
    }

    /// Whether the broker is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.send("GET", "/readyz", None).is_ok_and(|answer| answer.status == 200)
    }
}

/// The message that asks for the secret `name`.
///
/// # Errors
/// When something cannot be JSON.
pub fn attest_request(nonce: &Nonce, tee_key: &TeePublicKey, evidence: &Bundle, name: &str) -> Result<Value> {
    Ok(json!({
        "nonce": nonce,
        "tee_key": serde_json::to_value(tee_key)?,
        "evidence": serde_json::to_value(evidence)?,
        "grants": [{"id": "g1", "type": "secret", "name": name}],
    }))
}

fn parse(received: &[u8]) -> Result<Answer> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").context("expected a whole head")?;
    let (head, rest) = received.split_at(end);
    let body = rest.get(4..).unwrap_or_default();
    let head = std::str::from_utf8(head)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("expected a status")?.parse()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    if let Some(length) = length {
        anyhow::ensure!(length.trim().parse::<usize>()? == body.len(), "expected a whole body");
    }
    let retry_after = head.lines().find_map(|line| line.strip_prefix("retry-after:"));
    let retry_after = retry_after.map(|seconds| seconds.trim().parse()).transpose()?;
    let text = String::from_utf8_lossy(body).into_owned();
    Ok(Answer { status, retry_after, body: serde_json::from_slice(body).unwrap_or_default(), text })
}
