//! A client of the instance metadata service: plain HTTP to the host, whose answers nothing vouches for. It fetches
//! endorsements and quotes, which are signed, and is believed in nothing else.

use std::{
    fmt,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    str::FromStr,
    thread::sleep,
    time::{Duration, Instant},
};

use thiserror::Error;

/// Longest answer: certificates and quotes are smaller by far.
const MAX_ANSWER: usize = 256 * 1024;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest time for all attempts at one request.
const LIMIT: Duration = Duration::from_secs(20);
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// Where the service is: `http://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataService {
    /// As in the `Host` header.
    authority: String,
    address: String,
}

impl Default for MetadataService {
    /// The link-local address of every Azure VM.
    fn default() -> Self {
        Self { authority: "169.254.169.254".to_owned(), address: "169.254.169.254:80".to_owned() }
    }
}

impl fmt::Display for MetadataService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// A text that is no address of a metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("expected the metadata service as http://host[:port], found {found:?}")]
pub struct NotAService {
    /// What was given.
    pub found: String,
}

impl FromStr for MetadataService {
    type Err = NotAService;

    fn from_str(text: &str) -> Result<Self, NotAService> {
        let wrong = || NotAService { found: text.to_owned() };
        let authority = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        let authority = authority.filter(|it| !it.is_empty() && it.bytes().all(plain)).ok_or_else(wrong)?;
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && (!host.contains(':') || host.ends_with(']')) && port.parse::<u16>().is_ok()
        });
        if !has_port && authority.contains(':') && !authority.ends_with(']') {
            return Err(wrong());
        }
        let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority: authority.to_owned(), address })
    }
}

/// Why the metadata service gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// No connection, or it ended early.
    #[error("expected an answer of the metadata service at {service}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        service: String,
        /// What the system said.
        reason: String,
    },
    /// It says no.
    #[error("expected status 200 of the metadata service for {path}, found {status}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// What it said.
        status: u16,
    },
    /// What came is no answer to the request.
    #[error("expected {expected} from the metadata service")]
    Answer {
        /// What it should be.
        expected: &'static str,
    },
}

impl MetadataService {
    /// GET `path`.
    pub(super) fn get(&self, path: &'static str) -> Result<Vec<u8>, MetadataError> {
        self.ask(path, "GET", &[])
    }

    /// POST of a JSON document to `path`.
    pub(super) fn post(&self, path: &'static str, document: &[u8]) -> Result<Vec<u8>, MetadataError> {
        self.ask(path, "POST", document)
    }

    /// Asks until there is an answer, a refusal, or the attempts are used up.
    fn ask(&self, path: &'static str, method: &str, body: &[u8]) -> Result<Vec<u8>, MetadataError> {
        let begun = Instant::now();
        let mut attempts = 1;
        loop {
            let error = match self.ask_once(path, method, body, begun) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passing = match &error {
                MetadataError::Unreachable { .. } => true,
                MetadataError::Status { status, .. } => *status == 429 || *status >= 500,
                MetadataError::Answer { .. } => false,
            };
            if !passing || attempts >= ATTEMPTS || begun.elapsed() > LIMIT {
                return Err(error);
            }
            sleep(PAUSE.saturating_mul(attempts));
            attempts = attempts.saturating_add(1);
        }
    }

    fn ask_once(
        &self,
        path: &'static str,
        method: &str,
        body: &[u8],
        begun: Instant,
    ) -> Result<Vec<u8>, MetadataError> {
        let failed = |error: std::io::Error| self.unreachable(&error);
        let mut stream = self.connect()?;
        stream.set_write_timeout(Some(CONNECT_LIMIT)).map_err(failed)?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nMetadata: true\r\n", self.authority);
        head.push_str("Accept: application/json\r\nConnection: close\r\n");
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).map_err(failed)?;
        let answer = self.read(&mut stream, begun)?;
        parse(path, &answer)
    }

    fn connect(&self) -> Result<TcpStream, MetadataError> {
        let addresses: Vec<SocketAddr> =
            self.address.to_socket_addrs().map_err(|error| self.unreachable(&error))?.collect();
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(&last))
    }

    /// Everything until the answer is whole or the connection ends, in bounded time and space.
    fn read(&self, stream: &mut TcpStream, begun: Instant) -> Result<Vec<u8>, MetadataError> {
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let left = LIMIT.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).map_err(|error| self.unreachable(&error))?;
            let count = stream.read(&mut chunk).map_err(|error| self.unreachable(&error))?;
            answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if answer.len() > MAX_ANSWER {
                return Err(MetadataError::Answer { expected: "a short answer" });
            }
            if count == 0 || is_whole(&answer) {
                return Ok(answer);
            }
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> MetadataError {
        MetadataError::Unreachable { service: self.to_string(), reason: error.to_string() }
    }
}

/// Status, and what the headers say about the body.
struct Head<'a> {
    status: u16,
    length: Option<usize>,
    chunked: bool,
    body: &'a [u8],
}

fn head(answer: &[u8]) -> Option<Head<'_>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let mut head = Head { status, length: None, chunked: false, body: answer.get(end.checked_add(4)?..)? };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Some(value.trim().parse().ok()?);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            head.chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    Some(head)
}

fn is_whole(answer: &[u8]) -> bool {
    head(answer).is_some_and(|head| match head.length {
        Some(length) if !head.chunked => head.body.len() >= length,
        Some(_) | None => head.chunked && dechunked(head.body).is_some(),
    })
}

fn parse(path: &'static str, answer: &[u8]) -> Result<Vec<u8>, MetadataError> {
    let malformed = MetadataError::Answer { expected: "an HTTP response" };
    if answer.is_empty() {
        return Err(MetadataError::Unreachable { service: path.to_owned(), reason: "it hung up".to_owned() });
    }
    let Some(head) = head(answer) else { return Err(malformed) };
    if head.status != 200 {
        return Err(MetadataError::Status { path, status: head.status });
    }
    if head.chunked {
        return dechunked(head.body).ok_or(malformed);
    }
    match head.length {
        Some(length) => head.body.get(..length).map(<[u8]>::to_vec).ok_or(malformed),
        None => Ok(head.body.to_vec()),
    }
}

/// A whole chunked body (RFC 9112 section 7.1); none when something is missing.
fn dechunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(body.get(..end)?).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        body = body.get(end.checked_add(2)?..)?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..size)?);
        body = body.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn addresses_are_plain_http() {
        for (text, address) in [
            ("http://169.254.169.254", "169.254.169.254:80"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("http://[::1]:80", "[::1]:80"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<MetadataService>().unwrap().address, address);
        }
        for text in
            ["https://host", "http://", "http://host/path", "http://host:port", "http://a b", "host:80", "http://::1"]
        {
            assert_eq!(text.parse::<MetadataService>(), Err(NotAService { found: text.to_owned() }), "{text}");
        }
    }

    #[test]
    fn bodies_of_every_kind_are_read_whole_or_not_at_all() {
        let body = |text: &str| parse("/", text.as_bytes());
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap(), b"{}");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\n{}").unwrap(), b"{}");
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), b"{}");
        assert_eq!(body("HTTP/1.1 404 Not\r\n\r\n").unwrap_err(), MetadataError::Status { path: "/", status: 404 });
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
        ] {
            assert_eq!(body(text), Err(MetadataError::Answer { expected: "an HTTP response" }), "{text}");
        }
    }
}
