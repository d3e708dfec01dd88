//! A connection to a database server: by its Unix socket, by TLS 1.3 under one CA, or in the clear to this machine.

use std::{fs, future::Future, io, path::Path, pin::Pin, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage,
    config::SslMode,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::config::{DatabaseServer, DatabaseTls};

/// How long connecting may take, login included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long one script may take.
const SCRIPT: Duration = Duration::from_secs(10);
/// The server ends by itself what takes longer than we wait, or waits for others too long. Milliseconds.
const OPTIONS: &str = "-c statement_timeout=8000 -c lock_timeout=3000 -c idle_in_transaction_session_timeout=8000 -c client_min_messages=error";

/// The server did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum DatabaseError {
    /// It cannot be reached.
    #[error("expected the database server to be reached")]
    Unreachable(#[source] io::Error),
    /// It took too long.
    #[error("expected the database server to answer in time")]
    Slow,
    /// It refused: the state, and the message unless that repeats what must not be told.
    #[error("{state}: {message}")]
    Refused {
        /// SQLSTATE.
        state: String,
        /// What it said.
        message: String,
    },
    /// The connection failed while it was used.
    #[error("expected the connection to the database server to last")]
    Broken(#[source] tokio_postgres::Error),
    /// The password or CA file cannot be used.
    #[error("expected to read {path}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not configured.
    #[error("expected the name of a database server")]
    Unknown,
    /// The CA or the host's name cannot be used for TLS.
    #[error("expected a CA (PEM) and a host name for TLS")]
    Tls,
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] keys::random::NoRandomness),
}

impl DatabaseError {
    /// Whether the server rolled everything back: it said so itself.
    pub(crate) const fn is_rolled_back(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    fn of(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(said) => {
                // A statement that does not parse is quoted in the message.
                let telling = said.message().contains("SCRAM-SHA-256");
                let message = if telling { "(the message quotes a password)" } else { said.message() };
                Self::Refused { state: said.code().code().to_owned(), message: message.to_owned() }
            }
            None => Self::Broken(error),
        }
    }
}

/// How a server is reached; read once.
pub(super) enum Endpoint {
    Socket,
    Plain,
    Tls(TlsConnector, ServerName<'static>),
}

impl Endpoint {
    pub(super) fn new(settings: &DatabaseServer, ca: Option<&str>) -> Result<Self, DatabaseError> {
        match (settings.tls, ca) {
            _ if settings.is_socket() => Ok(Self::Socket),
            (DatabaseTls::LoopbackPlaintext, _) => Ok(Self::Plain),
            (DatabaseTls::VerifyFull, ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or_default().as_bytes()) {
                    let certificate = certificate.map_err(|_not_pem| DatabaseError::Tls)?;
                    roots.add(certificate).map_err(|_unusable| DatabaseError::Tls)?;
                }
                if roots.is_empty() {
                    return Err(DatabaseError::Tls);
                }
                let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_protocol_versions(&[&TLS13])
                    .map_err(|_unsupported| DatabaseError::Tls)?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::try_from(settings.host.clone()).map_err(|_no_name| DatabaseError::Tls)?;
                Ok(Self::Tls(TlsConnector::from(Arc::new(config)), name))
            }
        }
    }
}

/// A session; dropping it ends it.
pub(super) struct Session {
    client: Client,
    _driver: AbortOnDropHandle<()>,
}

impl Session {
    /// Connects and logs in.
    pub(super) async fn open(settings: &DatabaseServer, endpoint: &Endpoint) -> Result<Self, DatabaseError> {
        timeout(CONNECT, Self::connect(settings, endpoint)).await.map_err(|_elapsed| DatabaseError::Slow)?
    }

    async fn connect(settings: &DatabaseServer, endpoint: &Endpoint) -> Result<Self, DatabaseError> {
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database).application_name("countersign").options(OPTIONS);
        if let Some(path) = &settings.password_file {
            config.password(read_password(path)?.as_slice());
        }
        let tcp = || async {
            let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match endpoint {
            Endpoint::Socket => {
                let path = Path::new(&settings.host).join(format!(".s.PGSQL.{}", settings.port));
                let stream = UnixStream::connect(path).await.map_err(DatabaseError::Unreachable)?;
                Self::start(config.ssl_mode(SslMode::Disable), stream, NoTls).await
            }
            Endpoint::Plain => {
                let stream = tcp().await.map_err(DatabaseError::Unreachable)?;
                Self::start(config.ssl_mode(SslMode::Disable), stream, NoTls).await
            }
            Endpoint::Tls(connector, name) => {
                let stream = tcp().await.map_err(DatabaseError::Unreachable)?;
                let tls = Tls { connector: connector.clone(), name: name.clone() };
                Self::start(config.ssl_mode(SslMode::Require), stream, tls).await
            }
        }
    }

    async fn start<S, T>(config: &Config, stream: S, tls: T) -> Result<Self, DatabaseError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: TlsConnect<S>,
        T::Stream: Send + 'static,
    {
        let (client, connection) = config.connect_raw(stream, tls).await.map_err(DatabaseError::of)?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told of the error there.
            let _ended = connection.await;
        });
        Ok(Self { client, _driver: AbortOnDropHandle::new(driver) })
    }

    /// Whether it can be used no more.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a script as one simple query, which is one transaction.
    pub(super) async fn run(&self, script: &str) -> Result<(), DatabaseError> {
        let done = timeout(SCRIPT, self.client.batch_execute(script)).await;
        done.map_err(|_elapsed| DatabaseError::Slow)?.map_err(DatabaseError::of)
    }

    /// The first columns of all rows of a query.
    pub(super) async fn column(&self, query: &str) -> Result<Vec<String>, DatabaseError> {
        let done = timeout(SCRIPT, self.client.simple_query(query)).await;
        let messages = done.map_err(|_elapsed| DatabaseError::Slow)?.map_err(DatabaseError::of)?;
        let first = |message: SimpleQueryMessage| {
            if let SimpleQueryMessage::Row(row) = message { row.get(0).map(str::to_owned) } else { None }
        };
        Ok(messages.into_iter().filter_map(first).collect())
    }
}

fn read_password(path: &Path) -> Result<Zeroizing<Vec<u8>>, DatabaseError> {
    let read = fs::read(path);
    let read = read.map_err(|source| DatabaseError::File { path: path.display().to_string(), source })?;
    let mut password = Zeroizing::new(read);
    while password.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        password.pop();
    }
    Ok(password)
}

/// TLS as the database client asks for it.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

/// A stream under TLS.
pub(super) struct Wrapped(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsConnect<TcpStream> for Tls {
    type Stream = Wrapped;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wrapped>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move { Ok(Wrapped(self.connector.connect(self.name, stream).await?)) })
    }
}

impl TlsStream for Wrapped {
    /// The certificate was checked against the server's own CA: nothing is left to be bound.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
