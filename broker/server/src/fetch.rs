//! One request to a system that the operator named: bounded in time and size, without redirects or cookies, and without a
//! credential unless it is given one.

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
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
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;

/// Longest URL, in bytes.
const URL: usize = 2048;
/// What this client says it is.
const USER_AGENT: &str = concat!("countersign/", env!("CARGO_PKG_VERSION"));

/// What an answer may cost, and what it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// For connection, request and answer together.
    pub(crate) deadline: Duration,
    /// Most bytes of the body.
    pub(crate) bytes: usize,
    /// The media types that are of use.
    pub(crate) accept: &'static str,
}

/// There is no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum FetchError {
    /// Not an address that can be asked.
    #[error("expected an https URL without user, fragment and empty host")]
    Url,
    /// The system could not be reached, did not prove itself, or broke off.
    #[error("expected an answer: {cause}")]
    Transport {
        /// What went wrong, with its causes.
        cause: String,
    },
    /// It took too long.
    #[error("expected a whole answer within {} s", limit.as_secs())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
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
        /// Seconds that the system asks to be left alone.
        retry_after: Option<u32>,
    },
}

/// An absolute `https` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads an absolute `https` URL.
    ///
    /// # Errors
    /// [`FetchError::Url`] for everything else, and for more than 2,048 bytes.
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

    /// The value of `Host`.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Ends the task that drives a connection, whatever became of the request.
struct Driver(JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Fetches the body. The system proves itself as `tls` wants it.
///
/// # Errors
/// When there is no answer with status 200 within `bounds`.
pub(crate) async fn get(url: &Url, tls: ClientConfig, bounds: Bounds) -> Result<Bytes, FetchError> {
    let limit = bounds.deadline;
    timeout(limit, exchange(url, tls, bounds, None)).await.map_err(|_elapsed| FetchError::Timeout { limit })?
}

/// Posts JSON with a credential (`Authorization`) and returns the body of the answer; 201 is as good as 200.
///
/// # Errors
/// As for [`get`].
pub(crate) async fn post(
    url: &Url,
    tls: ClientConfig,
    bounds: Bounds,
    posted: (HeaderValue, Bytes),
) -> Result<Bytes, FetchError> {
    let limit = bounds.deadline;
    timeout(limit, exchange(url, tls, bounds, Some(posted))).await.map_err(|_elapsed| FetchError::Timeout { limit })?
}

async fn exchange(
    url: &Url,
    tls: ClientConfig,
    bounds: Bounds,
    posted: Option<(HeaderValue, Bytes)>,
) -> Result<Bytes, FetchError> {
    let name = ServerName::try_from(url.host.clone()).map_err(|_neither_name_nor_address| FetchError::Url)?;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| transport(&error))?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(|error| transport(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| transport(&error))?;
    let _driver = Driver(tokio::spawn(connection));
    let request = Request::builder()
        .uri(&url.path)
        .header(header::HOST, url.authority())
        .header(header::ACCEPT, bounds.accept)
        .header(header::USER_AGENT, USER_AGENT);
    let created = posted.is_some();
    let request = match posted {
        None => request.body(Full::default()),
        Some((credential, body)) => request
            .method(Method::POST)
            .header(header::AUTHORIZATION, credential)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body)),
    };
    let request = request.map_err(|_unwritable| FetchError::Url)?;
    let response = sender.send_request(request).await.map_err(|error| transport(&error))?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK && !(created && head.status == StatusCode::CREATED) {
        return Err(FetchError::Status { status: head.status.as_u16(), retry_after: retry_after(&head.headers) });
    }
    let too_long = FetchError::TooLong { limit: bounds.bytes };
    let body = Limited::new(body, bounds.bytes).collect().await;
    let body = body.map_err(|error| if error.is::<LengthLimitError>() { too_long } else { transport(&*error) })?;
    Ok(body.to_bytes())
}

/// The seconds of `Retry-After`; the form with a date would make the wait depend on two clocks.
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
    fn only_plain_https_urls_are_asked() {
        let url = |text: &str| Url::parse(text).map(|url| (url.authority(), url.path));
        assert_eq!(url("https://a.example"), Ok(("a.example:443".to_owned(), "/".to_owned())));
        assert_eq!(url("https://[::1]:8443/b?c=d"), Ok(("[::1]:8443".to_owned(), "/b?c=d".to_owned())));
        for wrong in ["", "a.example", "http://a.example", "https://", "https://u:p@a.example/", "https://a.example/#f"]
        {
            assert_eq!(url(wrong), Err(FetchError::Url), "{wrong}");
        }
        assert_eq!(url(&format!("https://a.example/{}", "x".repeat(URL))), Err(FetchError::Url));
    }
}
