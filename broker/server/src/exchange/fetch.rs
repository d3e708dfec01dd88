//! One GET over TLS: bounded in time and size, and no redirect is followed.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// For connection, request and answer together.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER: usize = 256 * 1024;
/// Where distributions keep the public certificate authorities, in the order in which they are looked for.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What stands at `url`. The TLS server is authenticated by `ca`, or by the system's authorities: the keys of an issuer are
/// believed for nothing else.
pub(super) async fn get(url: &str, ca: Option<&PathBuf>) -> Result<Bytes> {
    let uri: Uri = url.parse().context("expected a URL")?;
    ensure!(uri.scheme_str() == Some("https"), "expected https");
    let host = uri.host().context("expected a host")?;
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let authority = format!("{host}:{}", uri.port_u16().unwrap_or(443));
    let connector = connector(ca).await?;
    let answered = timeout(DEADLINE, async {
        let stream = TcpStream::connect(&authority).await?;
        let stream = connector.connect(ServerName::try_from(name)?, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, &authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        ensure!(status == StatusCode::OK, "expected status 200, found {status}");
        let body = Limited::new(response.into_body(), ANSWER).collect().await;
        connection.abort();
        Ok(body.map_err(|error| anyhow::anyhow!("the answer could not be read: {error}"))?.to_bytes())
    });
    answered.await.context("no answer in time")?
}

async fn connector(ca: Option<&PathBuf>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.is_file());
    let path = ca.cloned().or_else(system).context("expected a CA: name one for the issuer")?;
    let read = tokio::task::spawn_blocking(move || fs::read(&path).with_context(|| format!("{}", path.display())));
    let certificates = CertificateDer::pem_slice_iter(&read.await??).collect::<Result<Vec<_>, _>>()?;
    roots.add_parsable_certificates(certificates);
    // Issuers of a site may still speak TLS 1.2.
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
