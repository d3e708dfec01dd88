//! The administrator's side of the admin API: HTTPS with the client certificate that `countersign init` made.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::ServerName;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::output::Format;
use crate::http::tls::{certificates, private_key};

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of an answer.
const ANSWER: usize = 64 * 1024 * 1024;

/// How to reach the broker, and how to print what it answers.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// Directory with `admin.toml`, as `countersign init` made it
    #[arg(long, value_name = "DIR")]
    admin: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

/// `admin.toml`: paths are relative to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminFile {
    /// Where the broker listens, `https://host:port`; with the path of a tenant, `/t/NAME`.
    url: String,
    /// The CA of its certificate.
    ca: PathBuf,
    /// The administrator's certificate.
    certificate: PathBuf,
    /// Its key.
    key: PathBuf,
}

impl AdminFile {
    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join("admin.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// A broker that can be administered.
pub(crate) struct AdminClient {
    authority: String,
    /// What stands before every path: nothing, or the path of a tenant.
    base: String,
    host: ServerName<'static>,
    connector: TlsConnector,
    runtime: tokio::runtime::Runtime,
}

impl AdminArgs {
    /// Reads the credential; nothing is sent yet.
    pub(crate) fn client(&self) -> Result<AdminClient> {
        AdminClient::open(&self.admin)
    }

    /// The broker's address and the CA of its certificate (PEM).
    pub(crate) fn server(&self) -> Result<(String, String)> {
        let file = AdminFile::read(&self.admin)?;
        let ca = self.admin.join(&file.ca);
        let ca = fs::read_to_string(&ca).with_context(|| format!("{} cannot be read", ca.display()))?;
        Ok((file.url, ca))
    }
}

impl AdminClient {
    /// Reads the credential in `directory`; nothing is sent yet.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let file = AdminFile::read(directory)?;
        let key = private_key(&directory.join(&file.key))?;
        let chain = certificates(&directory.join(&file.certificate))?;
        let config = trusting(&directory.join(&file.ca))?.with_client_auth_cert(chain, key)?;
        Self::new(&file.url, config)
    }

    /// A client without a certificate, for what everybody may read.
    pub(crate) fn anonymous(url: &str, ca: &Path) -> Result<Self> {
        Self::new(url, trusting(ca)?.with_no_client_auth())
    }

    fn new(url: &str, config: ClientConfig) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("expected https://host:port[/t/TENANT], found {url:?}"))?;
        let (Some("https"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("expected https://host:port[/t/TENANT], found {url:?}");
        };
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(443)),
            base: uri.path().trim_end_matches('/').to_owned(),
            host: ServerName::try_from(name).with_context(|| format!("expected a host name or address in {url:?}"))?,
            connector: TlsConnector::from(Arc::new(config)),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Asks for JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None)
    }

    /// Sends a body and reads the JSON of the answer.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        media_type: &'static str,
        body: Bytes,
    ) -> Result<T> {
        self.call(method, path, Some((media_type, body)))
    }

    /// Asks for bytes.
    pub(crate) fn download(&self, path: &str) -> Result<Bytes> {
        self.answer(Method::GET, path, None)
    }

    /// Sends a request without a body and reads the JSON of the answer.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, Bytes)>,
    ) -> Result<T> {
        let answer = self.answer(method, path, body)?;
        let answer = if answer.is_empty() { b"null" } else { &*answer };
        serde_json::from_slice(answer).context("the broker's answer is not what this version expects")
    }

    fn answer(&self, method: Method, path: &str, body: Option<(&'static str, Bytes)>) -> Result<Bytes> {
        let path = format!("{}{path}", self.base);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        let (media_type, body) = body.unzip();
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        let request = request.body(Full::new(body.unwrap_or_default()))?;
        let answered = self.runtime.block_on(async { timeout(DEADLINE, self.exchange(request)).await });
        let (status, body) = answered.map_err(|_elapsed| anyhow!("{} did not answer in time", self.authority))??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => bail!("{}: {}", refusal.code, refusal.detail),
            Err(_) => bail!("the broker answered {status}"),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        let unreachable = || format!("{} cannot be reached", self.authority);
        let stream = TcpStream::connect(&self.authority).await.with_context(unreachable)?;
        let stream = self.connector.connect(self.host.clone(), stream).await.with_context(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.with_context(unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!("the answer could not be read: {error}"))?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

/// A problem document, as far as a person wants it.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    detail: String,
}

fn trusting(ca: &Path) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots))
}
