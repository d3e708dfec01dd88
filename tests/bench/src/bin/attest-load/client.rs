//! One keep-alive connection to the broker.

use std::{net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use evidence_formats::binding::Nonce;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the broker is, and how it is recognised.
pub(crate) struct Endpoint {
    address: SocketAddr,
    tls: TlsConnector,
}

/// An open connection.
pub(crate) struct Client(SendRequest<Full<Bytes>>);

impl Endpoint {
    /// The broker at `address`, whose certificate comes from the CA in the file `ca`.
    pub(crate) fn new(address: SocketAddr, ca: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.connect(ServerName::from(self.address.ip()), tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Client(sender))
    }
}

impl Client {
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let (status, _) = self.send(Method::GET, "/readyz", Vec::new()).await?;
        ensure!(status == StatusCode::OK, "not ready: {status}");
        Ok(())
    }

    pub(crate) async fn challenge(&mut self) -> Result<Nonce> {
        #[derive(Deserialize)]
        struct Challenge {
            nonce: Nonce,
        }
        let (status, body) = self.send(Method::POST, "/v1/challenge", b"{}".to_vec()).await?;
        ensure!(status == StatusCode::OK, "challenge: {status} {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice::<Challenge>(&body).context("expected a challenge")?.nonce)
    }

    /// Sends one attest request and makes sure that the grant came.
    pub(crate) async fn attest(&mut self, body: Vec<u8>) -> Result<()> {
        let (status, body) = self.send(Method::POST, "/v1/attest", body).await?;
        let granted = body.windows(8).any(|window| window == b"\"sealed\"");
        ensure!(status == StatusCode::OK && granted, "attest: {status} {}", String::from_utf8_lossy(&body));
        Ok(())
    }

    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        self.0.ready().await?;
        let response = self.0.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
