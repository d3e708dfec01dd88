//! Accepting connections: so many and no more, each with a deadline at every step, and an orderly end.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use rustls_pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::tls::ServerTls;
use crate::{config::Limits, metrics::Metrics};

/// Who is at the other end of a connection; a request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The address.
    pub(crate) address: IpAddr,
    /// SHA-256 of the client certificate, which the administrators' CA issued.
    pub(crate) certificate: Option<[u8; 32]>,
}

/// The certificates that a client showed, leaf first; a request extension. TLS has checked that the client holds the leaf's key.
#[derive(Debug, Clone)]
pub(crate) struct ClientChain(pub(crate) Arc<[CertificateDer<'static>]>);

/// Serves `router` over TLS until `stop` is ready, then lets open requests end.
pub(crate) async fn serve_tls(
    listener: TcpListener,
    tls: ServerTls,
    router: Router,
    limits: &Limits,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()>,
) {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let graceful = GracefulShutdown::new();
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(limits.connections));
    let header_time = Duration::from_secs(limits.header_seconds);
    let http = http(limits);
    tokio::pin!(stop);
    loop {
        let (place, stream, address) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (acceptor, router, http, metrics) = (acceptor.clone(), router.clone(), http.clone(), Arc::clone(&metrics));
        let (watcher, tls) = (graceful.watcher(), tls.clone());
        connections.spawn(async move {
            metrics.connections.inc();
            match timeout(header_time, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let chain = client_chain(&stream);
                    let peer = Peer { address: address.ip(), certificate: administrator(&chain, &tls) };
                    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                        request.extensions_mut().insert(chain.clone());
                        answer(router.clone(), peer, request)
                    });
                    // How a connection ends is the peer's business: a reset or a missed deadline is not an error of ours.
                    let _ended = watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await;
                }
                Ok(Err(_)) | Err(_) => {
                    metrics.failed_handshakes.inc();
                }
            }
            metrics.connections.dec();
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    let _deadline = timeout(Duration::from_secs(limits.shutdown_seconds), async {
        graceful.shutdown().await;
        connections.wait().await;
    })
    .await;
}

/// Serves `router` in the clear until `stop` is ready: for the metrics of this host only.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: impl Future<Output = ()>,
) {
    let http = http(limits);
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(16));
    tokio::pin!(stop);
    loop {
        let (place, stream, address) = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let peer = Peer { address: address.ip(), certificate: None };
        let (router, http) = (router.clone(), http.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(router.clone(), peer, request));
            let _ended = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_seconds))
        .max_buf_size(limits.header_bytes)
        .max_headers(64);
    http
}

/// The next connection, as soon as there is a place for it: until then peers wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (tokio::sync::OwnedSemaphorePermit, TcpStream, SocketAddr) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            // The semaphore is never closed; without a place nothing is accepted.
            std::future::pending::<()>().await;
            continue;
        };
        match listener.accept().await {
            Ok((stream, address)) => {
                let _best_effort = stream.set_nodelay(true);
                return (place, stream, address);
            }
            Err(error) => {
                // Out of file descriptors, most likely: wait for connections to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(
    router: Router,
    peer: Peer,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
}

fn client_chain(stream: &TlsStream<TcpStream>) -> ClientChain {
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().unwrap_or_default();
    ClientChain(shown.iter().map(|certificate| certificate.clone().into_owned()).collect())
}

/// The fingerprint of a certificate that the administrators' CA issued.
fn administrator(ClientChain(chain): &ClientChain, tls: &ServerTls) -> Option<[u8; 32]> {
    let (leaf, chain) = chain.split_first()?;
    tls.is_of_administrators(leaf, chain).then(|| digest(&SHA256, leaf).as_ref().try_into().ok()).flatten()
}
