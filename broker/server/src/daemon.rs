//! `countersign serve`: starts everything, owns every task, ends in order.

use std::{future::Future, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    broker::Broker,
    clock,
    config::Config,
    databases, federation,
    http::{
        self, listener,
        tls::{self, Clients, ServerTls},
    },
};

/// How often changed rules are looked for.
const RULES_EVERY: Duration = Duration::from_millis(500);
/// How often changed signing keys are looked for.
const KEYS_EVERY: Duration = Duration::from_secs(2);
/// How often ended leases are looked for.
const LEASES_EVERY: Duration = Duration::from_millis(250);
/// How often ends of exceptions are looked for.
const EXCEPTIONS_EVERY: Duration = Duration::from_secs(1);
/// How often the CA of SVIDs is looked at.
const AUTHORITY_EVERY: Duration = Duration::from_secs(60);
/// How often bundles of other trust domains are looked at.
const FEDERATION_EVERY: Duration = Duration::from_millis(500);
/// How often expired nonces and surplus records are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Runs the broker of the configuration file at `path` until SIGTERM or SIGINT.
pub(crate) async fn run(path: &Path) -> Result<()> {
    let config = Config::read(path)?;
    let clients = if config.exchange.mtls { Clients::Any } else { Clients::Administrators };
    let tls = tls::server_tls(&config.tls, clients)?;
    let broker = Broker::open(&config).await?;
    broker.tend_authority().await?;
    broker.refresh_keys().await?;
    let api = bind(config.listen).await?;
    let metrics = match &config.metrics {
        Some(metrics) => Some(bind(metrics.listen).await?),
        None => None,
    };
    let mirror = match &config.mirror {
        Some(mirror) => Some(bind(mirror.listen).await?),
        None => None,
    };
    let bridge = match &config.bridge {
        Some(bridge) => Some((bind(bridge.listen).await?, http::bridge::server_tls(&config.tls)?)),
        None => None,
    };
    let endpoint = match config.identity.bundle.listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    watch_signals(&mut tasks, &stop, &broker, path)?;
    tasks.spawn(keep_rules(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_keys(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_authority(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_federations(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_leases(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_exceptions(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_swept(Arc::clone(&broker), stop.clone()));
    tasks.spawn(databases::keep(Arc::clone(&broker), stop.clone()));
    tasks.spawn(keep_endorsements(Arc::clone(&broker), stop.clone()));
    if let Some(listener) = metrics {
        let (router, limits, stop) = (http::metrics(Arc::clone(&broker)), config.limits.clone(), stop.clone());
        tasks.spawn(async move { listener::serve_plain(listener, router, &limits, stop.cancelled()).await });
    }
    if let (Some(settings), Some(listener)) = (&config.mirror, mirror) {
        tasks.spawn(mirrored(listener, settings.tls.then(|| tls.clone()), Arc::clone(&broker), stop.clone()));
    }
    if let Some((listener, tls)) = bridge {
        tasks.spawn(bridged(listener, tls, Arc::clone(&broker), stop.clone()));
    }
    if let Some(listener) = endpoint {
        let tls = federation::endpoint_tls(Arc::clone(&broker.bundle_endpoint))?;
        tasks.spawn(bundle_endpoint(listener, tls, Arc::clone(&broker), stop.clone()));
    }
    let address = api.local_addr()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    let router = http::api(Arc::clone(&broker));
    let counted = Arc::clone(&broker.metrics);
    listener::serve_tls(api, tls, router, &config.limits, counted, stop.cancelled()).await;
    tasks.join_all().await;
    broker.library.finish().await;
    tracing::info!("stopped");
    Ok(())
}

/// Serves the bridge until `stop`.
async fn bridged(listener: TcpListener, tls: ServerTls, broker: Arc<Broker>, stop: CancellationToken) {
    let (limits, metrics) = (broker.limits.clone(), Arc::clone(&broker.metrics));
    listener::serve_tls(listener, tls, http::bridge::routes(broker), &limits, metrics, stop.cancelled()).await;
}

/// Serves the own trust bundle under an X.509-SVID until `stop`.
async fn bundle_endpoint(
    listener: TcpListener,
    config: Arc<rustls::ServerConfig>,
    broker: Arc<Broker>,
    stop: CancellationToken,
) {
    let (limits, metrics) = (broker.limits.clone(), Arc::clone(&broker.metrics));
    let router = http::bundle_endpoint(broker);
    let tls = ServerTls { config, administrators: None };
    listener::serve_tls(listener, tls, router, &limits, metrics, stop.cancelled()).await;
}

/// Serves the mirror until `stop`.
async fn mirrored(listener: TcpListener, tls: Option<ServerTls>, broker: Arc<Broker>, stop: CancellationToken) {
    let (limits, metrics) = (broker.limits.clone(), Arc::clone(&broker.metrics));
    let router = http::mirror(broker);
    match tls {
        Some(tls) => listener::serve_tls(listener, tls, router, &limits, metrics, stop.cancelled()).await,
        None => listener::serve_plain(listener, router, &limits, stop.cancelled()).await,
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{address} cannot be listened on"))
}

/// SIGTERM and SIGINT stop the broker; SIGHUP reads trust anchors, endorsements, baseline and upstream CA again.
fn watch_signals(tasks: &mut JoinSet<()>, stop: &CancellationToken, broker: &Arc<Broker>, path: &Path) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, broker, path) = (stop.clone(), Arc::clone(broker), path.to_path_buf());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    if let Err(error) = reload(&broker, &path).await {
                        tracing::error!(error = format!("{error:#}"), "not reloaded: what was configured before stays");
                    }
                }
            }
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

async fn reload(broker: &Broker, path: &Path) -> Result<()> {
    broker.reload_collateral(&Config::read(path)?).await
}

async fn keep_endorsements(broker: Arc<Broker>, stop: CancellationToken) {
    every(broker.library.refresh_period(), &stop, || async {
        if let Err(error) = broker.refresh_endorsements().await {
            tracing::error!(error = format!("{error:#}"), "endorsements not refreshed");
        }
    })
    .await;
}

async fn keep_rules(broker: Arc<Broker>, stop: CancellationToken) {
    every(RULES_EVERY, &stop, || async {
        if let Err(error) = broker.refresh_rules().await {
            tracing::error!(error = format!("{error:#}"), "the rules in force stay as they were");
        }
    })
    .await;
}

async fn keep_keys(broker: Arc<Broker>, stop: CancellationToken) {
    every(KEYS_EVERY, &stop, || async {
        if let Err(error) = broker.refresh_keys().await {
            tracing::error!(error = format!("{error:#}"), "the signing keys stay as they were");
        }
    })
    .await;
}

async fn keep_authority(broker: Arc<Broker>, stop: CancellationToken) {
    every(AUTHORITY_EVERY, &stop, || async {
        if let Err(error) = broker.tend_authority().await {
            tracing::error!(error = format!("{error:#}"), "the CA of SVIDs was not looked at");
        }
    })
    .await;
}

async fn keep_federations(broker: Arc<Broker>, stop: CancellationToken) {
    every(FEDERATION_EVERY, &stop, || async {
        if let Err(error) = federation::keep_fresh(&broker).await {
            tracing::error!(error = format!("{error:#}"), "bundles of other trust domains stay as they were");
        }
    })
    .await;
}

async fn keep_leases(broker: Arc<Broker>, stop: CancellationToken) {
    every(LEASES_EVERY, &stop, || async {
        if let Err(error) = broker.tend_leases().await {
            tracing::error!(error = format!("{error:#}"), "the leases were not looked at");
        }
    })
    .await;
    broker.stopping.cancel();
}

async fn keep_exceptions(broker: Arc<Broker>, stop: CancellationToken) {
    every(EXCEPTIONS_EVERY, &stop, || async {
        if let Err(error) = broker.tend_exceptions(clock::now()).await {
            tracing::error!(%error, "the exceptions were not looked at");
        }
    })
    .await;
}

async fn keep_swept(broker: Arc<Broker>, stop: CancellationToken) {
    every(SWEEP_EVERY, &stop, || async {
        if let Err(error) = broker.sweep().await {
            tracing::error!(error = format!("{error:#}"), "not swept");
        }
    })
    .await;
}

/// Does `work` now and then until `stop`.
async fn every<F: Future<Output = ()>>(period: Duration, stop: &CancellationToken, work: impl Fn() -> F) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(period) => work().await,
        }
    }
}
