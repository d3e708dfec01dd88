//! One GET: bounded in time and size, and no redirect is followed.

use std::{fs, io, path::PathBuf, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri, body::Bytes, header};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, pem, pem::PemObject};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

/// For the TCP connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection stays open.
const IDLE: Duration = Duration::from_secs(30);
/// What this client says it is.
const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));
/// Where distributions keep the public certificate authorities, in the order in which they are looked for.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// An HTTP client of one service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// An answer with status 200.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A request had no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The service could not be reached, or the connection broke.
    #[error("expected an answer: {cause}")]
    Transport {
        /// What went wrong, with its causes.
        cause: String,
    },
    /// The service took too long.
    #[error("expected a whole answer in time")]
    Timeout,
    /// The body is over the limit.
    #[error("expected a body of at most {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Another status than 200; a redirect is one, too.
    #[error("expected status 200, found {status}")]
    Status {
        /// The status.
        status: u16,
        /// How long the service asks to be left alone.
        retry_after: Option<Duration>,
    },
}

/// The certificate authorities for TLS cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsRootsError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM with certificates.
    #[error("expected PEM with certificates in {}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

impl Client {
    /// A client that trusts the certificates in `ca`, or the system's. TLS keeps a fetch private and adds no trust: every
    /// document is signed.
    pub(crate) fn new(ca: Option<&PathBuf>) -> Result<Self, TlsRootsError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(tls_roots(ca)?)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { inner })
    }

    /// Asks for `uri`. `metadata` adds the header that keeps a cloud's metadata service from answering forwarded requests.
    pub(crate) async fn get(
        &self,
        uri: Uri,
        metadata: bool,
        limit: usize,
        deadline: Instant,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(Method::GET).uri(uri).header(header::USER_AGENT, USER_AGENT);
        if metadata {
            request = request.header("Metadata", "true");
        }
        let request = request.body(Empty::new()).map_err(|error| transport(&error))?;
        let answered = timeout_at(deadline, self.exchange(request, limit)).await;
        answered.map_err(|_elapsed| ClientError::Timeout)?
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>, limit: usize) -> Result<Answer, ClientError> {
        let response = self.inner.request(request).await.map_err(|error| transport(&error))?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(ClientError::Status { status: head.status.as_u16(), retry_after: retry_after(&head.headers) });
        }
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { ClientError::TooLong { limit } } else { transport(&*error) }
        })?;
        Ok(Answer { headers: head.headers, body: body.to_bytes().to_vec() })
    }
}

/// The seconds of `Retry-After` (RFC 9110 section 10.2.3). The form with a date is not used by these services, and would
/// make the wait depend on two clocks.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn transport(error: &(dyn std::error::Error + 'static)) -> ClientError {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        cause.push_str(": ");
        cause.push_str(&error.to_string());
        source = error.source();
    }
    ClientError::Transport { cause }
}

/// The certificates in `ca`, or the public certificate authorities of this system; none when it has none.
///
/// # Errors
/// When the file cannot be read or is not PEM.
pub fn tls_roots(ca: Option<&PathBuf>) -> Result<RootCertStore, TlsRootsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca.cloned().or_else(|| SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.is_file())) else {
        // Without any, https fails with a certificate error and plain http works: this machine has no public CAs.
        return Ok(roots);
    };
    let bytes = fs::read(&path).map_err(|source| TlsRootsError::Read { path: path.clone(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsRootsError::Pem { path, source })?;
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}
