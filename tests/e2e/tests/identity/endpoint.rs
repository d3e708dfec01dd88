//! A bundle endpoint of somebody else, which answers what the test wants.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::spawn,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::aws_lc_rs::default_provider, version::TLS13};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;

/// A server on this machine with a certificate of its own.
pub(crate) struct Endpoint {
    answer: Arc<Mutex<String>>,
    port: u16,
    directory: TempDir,
}

impl Endpoint {
    pub(crate) fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(String::new()));
        let (config, shared) = (Arc::new(config), Arc::clone(&answer));
        // Ends with the test's process.
        spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that does not trust us goes away; the next one is served.
                let _ended = serve(stream, &config, &shared);
            }
        });
        Self { answer, port, directory }
    }

    /// What it answers from now on; each header line with its end.
    pub(crate) fn answers(&self, status: u16, headers: &str, body: &str) {
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        *self.answer.lock().unwrap() = answer;
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/bundle", self.port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>, answer: &Mutex<String>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(tls, stream);
    let (mut request, mut part) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Ok(());
        }
        request.extend(part.iter().take(read));
    }
    let answer = answer.lock().unwrap().clone();
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
