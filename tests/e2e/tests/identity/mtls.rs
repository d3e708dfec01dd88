//! X.509-SVIDs on both sides of a TLS connection: rustls here, OpenSSL (by Python) there, in both directions.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use e2e::broker::{Broker, Setup};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{aws_lc_rs::default_provider, verify_tls13_signature},
    server::{ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;

use crate::{
    guest::Guest,
    spiffe::{Svid, authorities, authorities_pem, spiffe_id},
};

const PYTHON: &str = "/usr/bin/python3";
/// Connects or listens with OpenSSL, and says who is at the other end.
const PEER: &str = r"
import socket, ssl, sys
role, port, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role == 'server' else ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_REQUIRED
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain('svid.pem')
context.load_verify_locations('bundle.pem')
def talk(stream):
    names = stream.getpeercert()['subjectAltName']
    if names != (('URI', wanted),):
        sys.exit('another SPIFFE ID: %r' % (names,))
    if role == 'server':
        stream.sendall(stream.recv(5).upper())
    else:
        stream.sendall(b'hello')
        print(stream.recv(5).decode())
if role == 'server':
    listener = socket.create_server(('127.0.0.1', port))
    print('ready', flush=True)
    plain, _ = listener.accept()
else:
    plain = socket.create_connection(('127.0.0.1', port))
plain.settimeout(10)
with context.wrap_socket(plain, server_side=role == 'server') as stream:
    talk(stream)
";

/// The certificate's chain and, beyond it, exactly one SPIFFE ID.
#[derive(Debug)]
struct OneSpiffeId {
    roots: RootCertStore,
    wanted: String,
}

impl ServerCertVerifier for OneSpiffeId {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let algorithms = default_provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        match spiffe_id(end_entity) {
            Some(id) if id == self.wanted => Ok(ServerCertVerified::assertion()),
            other => Err(Error::General(format!("another SPIFFE ID: {other:?}"))),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn roots(bundle: &Value) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for authority in authorities(bundle) {
        roots.add(authority).unwrap();
    }
    roots
}

/// Says hello over TLS as a client with `svid`, to a server that must be `wanted` under `bundle`.
fn connect(port: u16, svid: &Svid, bundle: &Value, wanted: &str) -> Result<String, String> {
    let verifier = OneSpiffeId { roots: roots(bundle), wanted: wanted.to_owned() };
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(svid.chain(), svid.private_key())
        .unwrap();
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(tls, TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap());
    stream.sock.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 5];
    let talked = stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut answer));
    talked.map(|()| String::from_utf8(answer.to_vec()).unwrap()).map_err(|error| error.to_string())
}

/// Answers one client over TLS as a server with `svid`; who it was, under `bundle`.
fn accept(listener: &TcpListener, svid: &Svid, bundle: &Value) -> Result<String, String> {
    let provider = Arc::new(default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(bundle)), Arc::clone(&provider)).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(svid.chain(), svid.private_key())
        .unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream);
    let mut said = [0; 5];
    stream.read_exact(&mut said).map_err(|error| error.to_string())?;
    let peer = stream.conn.peer_certificates().and_then(|chain| spiffe_id(chain.first()?)).ok_or("no SPIFFE ID")?;
    stream.write_all(&said.to_ascii_uppercase()).map_err(|error| error.to_string())?;
    stream.conn.send_close_notify();
    let _sent = stream.flush();
    Ok(peer)
}

/// OpenSSL at one end.
fn peer(directory: &Path, role: &str, port: u16, svid: &Svid, bundle: &Value, wanted: &str) -> Child {
    fs::write(directory.join("svid.pem"), svid.key.serialize_pem() + svid.pem()).unwrap();
    fs::write(directory.join("bundle.pem"), authorities_pem(bundle)).unwrap();
    Command::new(PYTHON)
        .args(["-c", PEER, role, &port.to_string(), wanted])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it said; the reason when it failed.
fn outcome(child: Child) -> Result<String, String> {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Two ends: who they are, what they show, and what they trust.
#[derive(Clone, Copy)]
struct Pair<'a> {
    rustls: &'a Svid,
    openssl: &'a Svid,
    bundle: &'a Value,
    /// Whom both demand at the other end.
    wanted: &'a str,
}

impl Pair<'_> {
    /// rustls connects, OpenSSL listens; what either end says.
    fn to_openssl(self) -> (Result<String, String>, Result<String, String>) {
        let (place, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut server = peer(place.path(), "server", port, self.openssl, self.bundle, self.wanted);
        let mut ready = [0; 6];
        server.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let ours = connect(port, self.rustls, self.bundle, self.wanted);
        (ours, outcome(server))
    }

    /// OpenSSL connects, rustls listens.
    fn to_rustls(self) -> (Result<String, String>, Result<String, String>) {
        let place = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = peer(place.path(), "client", port, self.openssl, self.bundle, self.wanted);
        let ours = accept(&listener, self.rustls, self.bundle);
        (ours, outcome(client))
    }
}

fn broker(trust_domain: &str) -> Broker {
    let more = format!(
        "[identity]\ntrust_domain = \"{trust_domain}\"\n[[identity.svid]]\nname = \"web\"\nworkloads = [\"web\"]\n\
         [[identity.svid]]\nname = \"brief\"\nworkloads = [\"web\"]\nttl_seconds = 1\n"
    );
    Broker::start(&Setup { more: &more, ..Setup::default() }).unwrap()
}

#[test]
fn svids_authenticate_both_ends_of_tls_between_rustls_and_openssl() {
    let broker = broker("example.org");
    let mut guest = Guest::new(broker.client().unwrap());
    let brief = Svid::fetch(&mut guest, "brief");
    let (first, second) = (Svid::fetch(&mut guest, "web"), Svid::fetch(&mut guest, "web"));
    let bundle = &first.value["trust_bundles"]["example.org"];
    let wanted = "spiffe://example.org/workload/web";
    let good = Pair { rustls: &first, openssl: &second, bundle, wanted };
    assert_eq!(good.to_openssl(), (Ok("HELLO".to_owned()), Ok(String::new())));
    assert_eq!(good.to_rustls(), (Ok(wanted.to_owned()), Ok("HELLO\n".to_owned())));

    // Another identity than the one that is wanted.
    let other = Pair { wanted: "spiffe://example.org/workload/db", ..good };
    let (ours, theirs) = other.to_openssl();
    assert!(ours.unwrap_err().contains("another SPIFFE ID") && theirs.is_err());
    assert!(other.to_rustls().1.unwrap_err().contains("another SPIFFE ID"));

    // An SVID whose time is over, at either end.
    sleep(Duration::from_secs(3));
    let late = Pair { openssl: &brief, ..good };
    assert!(late.to_openssl().0.unwrap_err().to_lowercase().contains("expired"));
    assert!(late.to_rustls().0.unwrap_err().to_lowercase().contains("expired"));
    let late = Pair { rustls: &brief, ..good };
    assert!(late.to_openssl().1.unwrap_err().contains("certificate has expired"));
    assert!(late.to_rustls().1.unwrap_err().contains("certificate has expired"));
}

#[test]
fn an_svid_of_another_trust_domain_is_nobody() {
    let (broker, foreign) = (broker("example.org"), broker("example.net"));
    let ours = Svid::fetch(&mut Guest::new(broker.client().unwrap()), "web");
    let theirs = Svid::fetch(&mut Guest::new(foreign.client().unwrap()), "web");
    let (bundle, wanted) = (&ours.value["trust_bundles"]["example.org"], "spiffe://example.org/workload/web");
    let pair = Pair { rustls: &ours, openssl: &theirs, bundle, wanted };
    assert!(pair.to_openssl().0.is_err() && pair.to_rustls().0.is_err());
    let pair = Pair { rustls: &theirs, openssl: &ours, bundle, wanted };
    assert!(pair.to_openssl().1.unwrap_err().contains("certificate verify failed"));
    assert!(pair.to_rustls().1.unwrap_err().contains("certificate verify failed"));
}
