//! One TLS connection to the broker, and requests on it.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use crate::{
    clock::{self, ClockTrouble},
    protocol::Problem,
    settings::BrokerAddress,
};

/// Most bytes of an answer: a bundle's worth.
const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

/// Longest time for connection and TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Longest time for one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

const USER_AGENT: &str = concat!("countersign-agent/", env!("CARGO_PKG_VERSION"));

/// Why a request got no answer that means anything.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No TCP connection.
    #[error("expected to connect to {authority}")]
    Connect {
        /// The broker's address.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// The broker did not answer in time.
    #[error("expected {step} within {} s", limit.as_secs_f32())]
    Timeout {
        /// What was waited for.
        step: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The address is no name that a certificate can have.
    #[error("expected a host name or IP address, found {host:?}")]
    Name {
        /// What was given.
        host: String,
    },
    /// The TLS handshake broke off.
    #[error("expected a TLS handshake")]
    Handshake(#[source] io::Error),
    /// The other side is not the pinned broker, or cannot do TLS 1.3.
    #[error("expected the pinned broker")]
    Untrusted(#[source] rustls::Error),
    /// The pinned broker's certificate is not valid at the time that this machine's clock says.
    #[error("expected the pinned broker")]
    Dates {
        /// What is wrong with the dates.
        source: rustls::Error,
        /// The same, compared with the clock.
        trouble: ClockTrouble,
        /// What the broker's own clock says, in seconds since the Unix epoch. Not proven: for words alone.
        broker: Option<u64>,
    },
    /// The connection broke off in the middle of a request.
    #[error("expected an answer on the connection")]
    Broken(#[source] hyper::Error),
    /// The body of the answer broke off or is too large.
    #[error("expected a whole answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request that we cannot write.
    #[error("expected a request that can be written")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker cannot do it now.
    #[error("expected the broker to be ready, found status {status}")]
    Busy {
        /// The status: 429 or 5xx.
        status: u16,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that is not of this protocol.
    #[error("expected the broker's JSON with status {status}")]
    NotOurs {
        /// The status.
        status: u16,
        /// What was wrong, when there was JSON.
        source: Option<serde_json::Error>,
    },
    /// The broker refuses; final.
    #[error("refused with status {status}")]
    Refused {
        /// The status.
        status: u16,
        /// Its reasons.
        problem: Box<ProblemDocument>,
    },
}

/// A refusal of the broker in its own words.
#[derive(Debug)]
pub struct ProblemDocument(pub(crate) Problem);

impl TransportError {
    /// Whether the same request may succeed later.
    pub(crate) const fn may_mend(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Handshake(_) | Self::Broken(_) | Self::Busy { .. } => {
                true
            }
            Self::Body(_)
            | Self::Name { .. }
            | Self::Untrusted(_)
            | Self::Dates { .. }
            | Self::Request(_)
            | Self::NotOurs { .. }
            | Self::Refused { .. } => false,
        }
    }

    /// How long the broker asks to be left alone.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        if let Self::Busy { retry_after, .. } = self { *retry_after } else { None }
    }

    /// Whether there is no way to the broker's machine: no link, no route, no name.
    pub(crate) fn is_about_the_way(&self) -> bool {
        let Self::Connect { source, .. } = self else { return false };
        let no_way = [ErrorKind::NetworkUnreachable, ErrorKind::HostUnreachable, ErrorKind::NetworkDown];
        // A name that is not resolved has no error number.
        no_way.contains(&source.kind()) || source.raw_os_error().is_none()
    }
}

/// An open connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
    /// What stands before every path.
    base: String,
    /// What the broker's clock said with its last answer.
    date: Option<u64>,
    /// Owns the task that moves the bytes.
    _driver: JoinSet<()>,
}

/// One request.
struct Call<'a> {
    method: Method,
    path: &'a str,
    authorization: Option<&'a str>,
    /// JSON, or nothing.
    body: Vec<u8>,
    /// A DPoP proof, and the body is a form.
    proof: Option<&'a str>,
}

impl Connection {
    /// Connects within `left`.
    pub(crate) async fn open(
        address: &BrokerAddress,
        config: Arc<ClientConfig>,
        left: Duration,
    ) -> Result<Self, TransportError> {
        let limit = CONNECT_LIMIT.min(left);
        let opening = Box::pin(Self::connect(address, config));
        timeout(limit, opening).await.map_err(|_elapsed| TransportError::Timeout { step: "a connection", limit })?
    }

    async fn connect(address: &BrokerAddress, config: Arc<ClientConfig>) -> Result<Self, TransportError> {
        let host = &address.host;
        let name =
            ServerName::try_from(host.clone()).map_err(|_not_a_name| TransportError::Name { host: host.clone() })?;
        let tcp = TcpStream::connect((host.as_str(), address.port))
            .await
            .map_err(|source| TransportError::Connect { authority: address.authority.clone(), source })?;
        // Two small requests: nothing to gain from waiting for more bytes. Failing to say so costs time only.
        let _slower = tcp.set_nodelay(true);
        let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(handshake_error)?;
        let (sender, driver) = handshake(TokioIo::new(tls)).await.map_err(TransportError::Broken)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Whatever ends the connection is also the answer to the request that waits on it.
            let _reported_there = driver.await;
        });
        let (authority, base) = (address.authority.clone(), address.base.clone());
        Ok(Self { sender, authority, base, date: None, _driver: tasks })
    }

    /// Posts `message` as JSON and reads the answer, within `left`.
    pub(crate) async fn post<A: DeserializeOwned>(
        &mut self,
        path: &str,
        message: &(impl Serialize + Sync),
        left: Duration,
    ) -> Result<A, TransportError> {
        self.post_as(None, path, message, left).await
    }

    /// The same, with this `Authorization`.
    pub(crate) async fn post_as<A: DeserializeOwned>(
        &mut self,
        authorization: Option<&str>,
        path: &str,
        message: &(impl Serialize + Sync),
        left: Duration,
    ) -> Result<A, TransportError> {
        let body = serde_json::to_vec(message).map_err(|error| TransportError::Request(error.into()))?;
        let call = Call { method: Method::POST, path, authorization, body, proof: None };
        self.ask(call, left).await
    }

    /// Posts a form with a DPoP proof (RFC 9449 §4.1) and reads the answer, within `left`.
    pub(crate) async fn post_form<A: DeserializeOwned>(
        &mut self,
        path: &str,
        form: String,
        proof: &str,
        left: Duration,
    ) -> Result<A, TransportError> {
        let call =
            Call { method: Method::POST, path, authorization: None, body: form.into_bytes(), proof: Some(proof) };
        self.ask(call, left).await
    }

    /// Asks without a body and reads the answer, within `left`.
    pub(crate) async fn call<A: DeserializeOwned>(
        &mut self,
        method: Method,
        authorization: Option<&str>,
        path: &str,
        left: Duration,
    ) -> Result<A, TransportError> {
        self.ask(Call { method, path, authorization, body: Vec::new(), proof: None }, left).await
    }

    /// What the broker's clock said with its last answer, in seconds since the Unix epoch (RFC 9110 §6.6.1). Nothing is
    /// decided by it.
    pub(crate) const fn date(&self) -> Option<u64> {
        self.date
    }

    /// Asks for something that is no JSON, within `left`.
    pub(crate) async fn text(&mut self, path: &str, left: Duration) -> Result<String, TransportError> {
        let limit = REQUEST_LIMIT.min(left);
        let call = Call { method: Method::GET, path, authorization: None, body: Vec::new(), proof: None };
        let answered = timeout(limit, Box::pin(self.exchange(call))).await;
        let (status, retry_after, body) =
            answered.map_err(|_elapsed| TransportError::Timeout { step: "an answer", limit })??;
        if status != StatusCode::OK {
            return understand(status, retry_after, &body);
        }
        let text = String::from_utf8(body.into());
        text.map_err(|_binary| TransportError::NotOurs { status: status.as_u16(), source: None })
    }

    async fn ask<A: DeserializeOwned>(&mut self, call: Call<'_>, left: Duration) -> Result<A, TransportError> {
        let limit = REQUEST_LIMIT.min(left);
        let exchange = Box::pin(self.exchange(call));
        let answered = timeout(limit, exchange).await;
        let (status, retry_after, body) =
            answered.map_err(|_elapsed| TransportError::Timeout { step: "an answer", limit })??;
        understand(status, retry_after, &body)
    }

    async fn exchange(&mut self, call: Call<'_>) -> Result<(StatusCode, Option<Duration>, Bytes), TransportError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("{}{}", self.base, call.path))
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json, application/problem+json")
            .header(hyper::header::USER_AGENT, USER_AGENT);
        if let Some(proof) = call.proof {
            request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").header("DPoP", proof);
        } else if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = call.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::from(call.body)));
        let request = request.map_err(|error| TransportError::Request(error.into()))?;
        self.sender.ready().await.map_err(TransportError::Broken)?;
        let response = self.sender.send_request(request).await.map_err(TransportError::Broken)?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        self.date = response.headers().get(DATE).and_then(|date| clock::read_date(date.as_bytes()));
        let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await.map_err(body_error)?;
        Ok((status, retry_after, body.to_bytes()))
    }
}

/// A body that breaks off may come whole next time; one that is too large will not shrink.
fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    if error.is::<LengthLimitError>() {
        return TransportError::Body(error);
    }
    match error.downcast::<hyper::Error>() {
        Ok(broken) => TransportError::Broken(*broken),
        Err(other) => TransportError::Body(other),
    }
}

/// rustls hands its own errors through `io::Error`.
fn handshake_error(error: io::Error) -> TransportError {
    match error.downcast::<rustls::Error>() {
        Ok(source) => match ClockTrouble::of(&source) {
            Some(trouble) => TransportError::Dates { source, trouble, broker: None },
            None => TransportError::Untrusted(source),
        },
        Err(broken) => TransportError::Handshake(broken),
    }
}

/// Seconds only: the date form needs a clock that a booting guest may not have.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn understand<A: DeserializeOwned>(
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Result<A, TransportError> {
    let number = status.as_u16();
    if status == StatusCode::OK {
        return serde_json::from_slice(body)
            .map_err(|source| TransportError::NotOurs { status: number, source: Some(source) });
    }
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(TransportError::Busy { status: number, retry_after });
    }
    let problem: Problem = serde_json::from_slice(body)
        .map_err(|source| TransportError::NotOurs { status: number, source: Some(source) })?;
    if problem.code.is_none() {
        return Err(TransportError::NotOurs { status: number, source: None });
    }
    Err(TransportError::Refused { status: number, problem: Box::new(ProblemDocument(problem)) })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::expect_used, reason = "tests")]

    use super::*;
    use crate::protocol::Challenge;

    fn answer(status: u16, body: &[u8]) -> TransportError {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        understand::<Challenge>(status, Some(Duration::from_secs(7)), body).expect_err("none of these is a challenge")
    }

    #[test]
    fn a_busy_broker_may_mend_and_says_when() {
        for status in [429, 500, 502, 503, 504] {
            let error = answer(status, b"whatever");
            assert!(error.may_mend());
            assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
        }
    }

    #[test]
    fn a_refusal_is_final_and_keeps_its_words() {
        let body = br#"{"title":"no","status":403,"code":"baseline.snp.debug","detail":"d","attestation_id":"a","reasons":["r"]}"#;
        let error = answer(403, body);
        assert!(!error.may_mend());
        let TransportError::Refused { status: 403, problem } = error else { unreachable!("a refusal") };
        assert_eq!(problem.0.code.as_deref(), Some("baseline.snp.debug"));
        assert_eq!(problem.0.reasons, ["r"]);
    }

    #[test]
    fn an_answer_of_another_protocol_is_final() {
        for (status, body) in [(200, &b"{}"[..]), (200, b"<html>"), (404, b"<html>"), (403, b"{}"), (302, b"")] {
            let error = answer(status, body);
            assert!(matches!(error, TransportError::NotOurs { .. }), "{error}");
            assert!(!error.may_mend());
        }
    }
}
