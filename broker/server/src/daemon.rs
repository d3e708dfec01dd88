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
    audit,
    broker::Broker,
    clock,
    config::Config,
    databases, federation,
    http::{
        self, listener,
        tls::{self, Clients, ServerTls},
    },
    tenants::Tenants,
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
/// How often the end of the audit log is looked at.
const AUDIT_EVERY: Duration = Duration::from_secs(1);
/// How often expired nonces and surplus records are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Runs the broker of the configuration file at `path` until SIGTERM or SIGINT.
pub(crate) async fn run(path: &Path) -> Result<()> {
    let config = Config::read(path)?;
    let any_client = config.all().any(|config| config.exchange.mtls);
    let clients = if any_client { Clients::Any } else { Clients::Administrators };
    let tls = tls::server_tls(&config.tls, clients)?;
    let tenants = Arc::new(Tenants::open(&config).await?);
    for broker in tenants.all() {
        broker.tend_authority().await?;
        broker.refresh_keys().await?;
    }
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
    let mut endpoints = Vec::new();
    for broker in tenants.all() {
        if let Some(address) = broker.identity.bundle.listen {
            endpoints.push((bind(address).await?, Arc::clone(broker)));
        }
    }
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    watch_signals(&mut tasks, &stop, &tenants, path)?;
    for broker in tenants.all() {
        keep_tenant(&mut tasks, broker, &stop);
    }
    tasks.spawn(keep_leases(Arc::clone(&tenants), stop.clone()));
    tasks.spawn(keep_swept(Arc::clone(&tenants), stop.clone()));
    tasks.spawn(keep_endorsements(Arc::clone(&tenants), stop.clone()));
    let broker = tenants.first();
    if let Some(listener) = metrics {
        let (router, limits, stop) = (http::metrics(Arc::clone(broker)), config.limits.clone(), stop.clone());
        tasks.spawn(async move { listener::serve_plain(listener, router, &limits, stop.cancelled()).await });
    }
    if let (Some(settings), Some(listener)) = (&config.mirror, mirror) {
        tasks.spawn(mirrored(listener, settings.tls.then(|| tls.clone()), Arc::clone(broker), stop.clone()));
    }
    if let Some((listener, tls)) = bridge {
        tasks.spawn(bridged(listener, tls, Arc::clone(&tenants), stop.clone()));
    }
    for (listener, broker) in endpoints {
        let tls = federation::endpoint_tls(Arc::clone(&broker.bundle_endpoint))?;
        tasks.spawn(bundle_endpoint(listener, tls, broker, stop.clone()));
    }
    let address = api.local_addr()?;
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "serving");
    let router = http::api(&tenants);
    let counted = Arc::clone(&tenants.common.metrics);
    listener::serve_tls(api, tls, router, &config.limits, counted, stop.cancelled()).await;
    tasks.join_all().await;
    for broker in tenants.all() {
        audit::final_checkpoint(broker, clock::now()).await?;
    }
    tenants.common.library.finish().await;
    tracing::info!("stopped");
    Ok(())
}

/// Serves the bridge until `stop`.
async fn bridged(listener: TcpListener, tls: ServerTls, tenants: Arc<Tenants>, stop: CancellationToken) {
    let (limits, metrics) = (tenants.first().limits.clone(), Arc::clone(&tenants.common.metrics));
    listener::serve_tls(listener, tls, http::bridge::routes(&tenants), &limits, metrics, stop.cancelled()).await;
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
fn watch_signals(tasks: &mut JoinSet<()>, stop: &CancellationToken, tenants: &Arc<Tenants>, path: &Path) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (stop, tenants, path) = (stop.clone(), Arc::clone(tenants), path.to_path_buf());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    if let Err(error) = reload(&tenants, &path).await {
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

async fn reload(tenants: &Tenants, path: &Path) -> Result<()> {
    tenants.reload(&Config::read(path)?).await
}

/// What each tenant needs to have looked at, by itself: what goes wrong for one holds up no other.
fn keep_tenant(tasks: &mut JoinSet<()>, broker: &Arc<Broker>, stop: &CancellationToken) {
    tasks.spawn(keep_rules(Arc::clone(broker), stop.clone()));
    tasks.spawn(keep_keys(Arc::clone(broker), stop.clone()));
    tasks.spawn(keep_authority(Arc::clone(broker), stop.clone()));
    tasks.spawn(keep_federations(Arc::clone(broker), stop.clone()));
    tasks.spawn(keep_exceptions(Arc::clone(broker), stop.clone()));
    tasks.spawn(keep_audit(Arc::clone(broker), stop.clone()));
    tasks.spawn(databases::keep(Arc::clone(broker), stop.clone()));
}

async fn keep_endorsements(tenants: Arc<Tenants>, stop: CancellationToken) {
    every(tenants.common.library.refresh_period(), &stop, || async {
        if let Err(error) = tenants.common.refresh_endorsements().await {
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

async fn keep_leases(tenants: Arc<Tenants>, stop: CancellationToken) {
    every(LEASES_EVERY, &stop, || async {
        if let Err(error) = tenants.common.tend_leases().await {
            tracing::error!(error = format!("{error:#}"), "the leases were not looked at");
        }
    })
    .await;
    tenants.common.stopping.cancel();
}

async fn keep_exceptions(broker: Arc<Broker>, stop: CancellationToken) {
    every(EXCEPTIONS_EVERY, &stop, || async {
        if let Err(error) = broker.tend_exceptions(clock::now()).await {
            tracing::error!(%error, "the exceptions were not looked at");
        }
        if let Err(error) = broker.rotate_exceptions(clock::now()).await {
            tracing::error!(%error, "no legacy secret was changed");
        }
    })
    .await;
}

async fn keep_audit(broker: Arc<Broker>, stop: CancellationToken) {
    every(AUDIT_EVERY, &stop, || async {
        if let Err(error) = audit::tend(&broker, clock::now()).await {
            tracing::error!(error = format!("{error:#}"), "the audit log was not signed");
        }
    })
    .await;
}

async fn keep_swept(tenants: Arc<Tenants>, stop: CancellationToken) {
    every(SWEEP_EVERY, &stop, || async {
        if let Err(error) = sweep(&tenants).await {
            tracing::error!(error = format!("{error:#}"), "not swept");
        }
    })
    .await;
}

async fn sweep(tenants: &Tenants) -> Result<()> {
    tenants.common.sweep().await?;
    for broker in tenants.all() {
        broker.sweep().await?;
    }
    Ok(())
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
