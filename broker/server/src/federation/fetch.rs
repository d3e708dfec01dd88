//! One GET of a bundle: bounded in time and size, without redirects, cookies or credentials.

use std::{sync::Arc, time::Duration};

use evidence_formats::code::{Code, Coded};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Bytes,
    client::conn::http1,
    header::{self, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::identity::BUNDLE_BYTES;

/// For the whole of it.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest URL, in bytes.
const URL: usize = 2048;
/// What this client says it is.
const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// A bundle could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum FetchError {
    /// Not the address of a bundle.
    #[error("expected an https URL without user, fragment and empty host")]
    Url,
    /// The endpoint could not be reached, did not prove itself, or broke off.
    #[error("expected an answer: {cause}")]
    Transport {
        /// What went wrong.
        cause: String,
    },
    /// It took too long.
    #[error("expected a whole answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// The body is over the limit.
    #[error("expected a bundle of at most {BUNDLE_BYTES} bytes")]
    TooLong,
    /// The body is not text.
    #[error("expected a bundle in UTF-8")]
    Text,
    /// Another status than 200; a redirect is one, too.
    #[error("expected status 200, found {status}")]
    Status {
        /// The status.
        status: u16,
        /// Seconds that the endpoint asks to be left alone.
        retry_after: Option<u32>,
    },
}

impl Coded for FetchError {
    fn code(&self) -> Code {
        Code::new(match self {
            Self::Url => "endorsement.spiffe_bundle.url",
            Self::Transport { .. } => "endorsement.spiffe_bundle.transport",
            Self::Timeout => "endorsement.spiffe_bundle.timeout",
            Self::TooLong => "endorsement.spiffe_bundle.length",
            Self::Text => "endorsement.spiffe_bundle.text",
            Self::Status { .. } => "endorsement.spiffe_bundle.status",
        })
    }
}

/// The address of a bundle endpoint (SPIFFE Federation §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// An absolute `https` URL.
    pub(crate) fn parse(text: &str) -> Result<Self, FetchError> {
        let uri: Uri = text.parse().ok().filter(|_| text.len() <= URL && !text.contains('#')).ok_or(FetchError::Url)?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(FetchError::Url) };
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(FetchError::Url);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), path: path.to_owned() })
    }
}

/// Fetches the document.
pub(super) async fn get(url: &Url, tls: ClientConfig) -> Result<String, FetchError> {
    timeout(DEADLINE, exchange(url, tls)).await.map_err(|_elapsed| FetchError::Timeout)?
}

async fn exchange(url: &Url, tls: ClientConfig) -> Result<String, FetchError> {
    let name = ServerName::try_from(url.host.clone()).map_err(|_neither_name_nor_address| FetchError::Url)?;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| transport(&error))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|error| transport(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| transport(&error))?;
    let connection = tokio::spawn(connection);
    let answered = answer(&mut sender, request(url)?).await;
    connection.abort();
    answered
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, FetchError> {
    let host = if url.host.contains(':') {
        format!("[{}]:{}", url.host, url.port)
    } else {
        format!("{}:{}", url.host, url.port)
    };
    Request::builder()
        .method(Method::GET)
        .uri(&url.path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Empty::new())
        .map_err(|_unwritable| FetchError::Url)
}

async fn answer(
    sender: &mut http1::SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
) -> Result<String, FetchError> {
    let response = sender.send_request(request).await.map_err(|error| transport(&error))?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(FetchError::Status { status: head.status.as_u16(), retry_after: retry_after(&head.headers) });
    }
    let body = Limited::new(body, BUNDLE_BYTES)
        .collect()
        .await
        .map_err(|error| if error.is::<LengthLimitError>() { FetchError::TooLong } else { transport(&*error) })?;
    String::from_utf8(body.to_bytes().to_vec()).map_err(|_not_utf_8| FetchError::Text)
}

/// The seconds of `Retry-After`; the form with a date is not used by bundle endpoints.
fn retry_after(headers: &HeaderMap<HeaderValue>) -> Option<u32> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn transport(error: &dyn std::error::Error) -> FetchError {
    let mut cause = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        cause.push_str(": ");
        cause.push_str(&error.to_string());
        source = error.source();
    }
    FetchError::Transport { cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_https_urls_are_addresses_of_bundles() {
        let url = |text: &str| Url::parse(text).map(|url| (url.host, url.port, url.path));
        assert_eq!(url("https://a.example"), Ok(("a.example".to_owned(), 443, "/".to_owned())));
        assert_eq!(url("https://[::1]:8443/b?c=d"), Ok(("::1".to_owned(), 8443, "/b?c=d".to_owned())));
        for wrong in ["", "a.example", "http://a.example", "https://", "https://u:p@a.example/", "https://a.example/#f"]
        {
            assert_eq!(url(wrong), Err(FetchError::Url), "{wrong}");
        }
        assert_eq!(url(&format!("https://a.example/{}", "x".repeat(URL))), Err(FetchError::Url));
    }
}
