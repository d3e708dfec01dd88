//! `POST /v1/bridge/{exception}`: a legacy secret for a legacy client, on a listener of its own; `POST /v1/join/{exception}`: how
//! such a client becomes known.
//!
//! TLS takes any client certificate, because exceptions pin keys of clients that belong to no CA, and shows that the client
//! holds its key. Which exception it is for is decided here, for each request, and nothing else can be reached. A client
//! that an exception is not for learns nothing, not even whether there is such an exception.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::header,
    middleware,
    response::{IntoResponse, Response},
    routing::post,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use serde::{Deserialize, Serialize};
use tower_http::catch_panic::CatchPanicLayer;
use verifier::Timestamp;
use zeroize::Zeroizing;

use super::{
    Json, Path,
    listener::{ClientChain, Peer},
    not_found, observe, other_method,
    problem::Problem,
    tls::{HoldsItsKey, ServerTls, TlsError, certificates, private_key},
};
use crate::{
    broker::Broker,
    clock, config,
    exceptions::{BridgeError, Recognition, pin_of, token_digest},
    store::{Exception, HandedOver, Handover, Joining, SecretVersion},
    tenants::Tenants,
    vault::VaultError,
};

/// What the bridge decides with.
#[derive(Debug)]
pub(crate) struct Bridge {
    /// Checks certificates of clients that exceptions know by name.
    pub(crate) authority: Option<Arc<dyn ClientCertVerifier>>,
    per_minute: u32,
}

impl Bridge {
    /// Reads the CA of the clients.
    pub(crate) fn open(settings: &config::Bridge) -> Result<Self, TlsError> {
        let per_minute = settings.uses_per_minute.value();
        let Some(path) = &settings.client_ca else { return Ok(Self { authority: None, per_minute }) };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authority = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
        Ok(Self { authority: Some(authority), per_minute })
    }
}

/// The routes of the bridge's listener, for each tenant that uses it.
pub(crate) fn routes(tenants: &Tenants) -> Router {
    let mut all = of_tenant(tenants.first());
    for broker in tenants.others().filter(|broker| broker.bridge.is_some()) {
        all = all.nest(&broker.tenant.path(), of_tenant(broker));
    }
    all
}

fn of_tenant(broker: &Arc<Broker>) -> Router {
    Router::new()
        .route("/v1/bridge/{*exception}", post(hand_over))
        .route("/v1/join/{*exception}", post(join))
        .fallback(not_found)
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(observe::panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(broker), observe::observe))
        .with_state(Arc::clone(broker))
}

/// What a client brings to become known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    token: Zeroizing<String>,
}

/// The exception that a client is known to now.
#[derive(Debug, Serialize)]
struct Joined {
    exception: String,
    client: String,
    expires_at: Timestamp,
}

/// `POST /v1/join/{exception}`: the key of this connection becomes the client of an exception, for a token that is used once. The
/// token is in the body, which nothing logs.
async fn join(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    Extension(ClientChain(chain)): Extension<ClientChain>,
    Path(name): Path<String>,
    Json(Join { token }): Json<Join>,
) -> Result<axum::Json<Joined>, Problem> {
    let now = clock::now();
    let refuse = |error| broker.refuse_bridge(&name, peer.address, error);
    let pin = chain.first().and_then(|leaf| pin_of(leaf)).ok_or_else(|| refuse(BridgeError::Join))?;
    let found = broker.store.exception(&broker.tenant, &name).await?.filter(|exception| exception.name == name);
    let exception = found.filter(|exception| exception.joins).ok_or_else(|| refuse(BridgeError::Join))?;
    if !exception.admits(peer.address) {
        return Err(refuse(BridgeError::Source));
    }
    let source = peer.address.to_string();
    let joining = Joining { digest: token_digest(&token), exception: &exception.id, pin: &pin, source: &source };
    if !broker.store.join(&broker.tenant, &joining, now).await? {
        return Err(refuse(BridgeError::Join));
    }
    broker.metrics.bridge("joined");
    let Exception { id, name, owner, system, expires_at, .. } = exception;
    tracing::warn!(exception = id, name, owner, system, client = pin, source, "a client joined with a token");
    Ok(axum::Json(Joined { exception: name, client: pin, expires_at }))
}

/// The secret, after the use is counted.
async fn hand_over(
    State(broker): State<Arc<Broker>>,
    Extension(peer): Extension<Peer>,
    Extension(ClientChain(chain)): Extension<ClientChain>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let now = clock::now();
    let refuse = |error| broker.refuse_bridge(&name, peer.address, error);
    let bridge = broker.bridge.as_ref().ok_or(BridgeError::Client)?;
    let recognition = Recognition { authority: bridge.authority.as_deref(), now };
    let found = broker.store.exception(&broker.tenant, &name).await?.filter(|exception| exception.name == name);
    let known = found.as_ref().and_then(|exception| exception.client.as_ref().map(|client| (exception, client)));
    let known = known.filter(|(_, client)| recognition.is(client, &chain));
    let (exception, client) = known.ok_or_else(|| refuse(BridgeError::Client))?;
    if !exception.is_live(now) {
        return Err(refuse(BridgeError::Over));
    }
    if !exception.admits(peer.address) {
        return Err(refuse(BridgeError::Source));
    }
    let stored = broker.store.newest_secret(&broker.tenant, &exception.secret).await?;
    let stored = stored.filter(|stored| stored.bridge).ok_or_else(|| refuse(BridgeError::Secret))?;
    // Opened first: what cannot be handed over is not counted. Counted durably before it leaves.
    let opened = broker.vault.open_secret(&broker.tenant, &exception.secret, &stored);
    let secret = opened.map_err(|error: VaultError| Problem::internal(&error))?;
    let client = client.to_string();
    let handover = Handover {
        exception: &exception.id,
        client: &client,
        source: peer.address.to_string(),
        version: stored.version,
        per_minute: bridge.per_minute,
    };
    match broker.store.hand_over(&broker.tenant, &handover, now).await? {
        HandedOver::Counted(uses) => {
            tell(&broker, exception, &handover, uses);
            Ok(answer(secret.expose().to_vec(), &stored, exception))
        }
        HandedOver::Over => Err(refuse(BridgeError::Over)),
        HandedOver::TooOften => Err(refuse(BridgeError::Rate)),
    }
}

fn tell(broker: &Broker, exception: &Exception, handover: &Handover<'_>, uses: u64) {
    let Exception { id, name, owner, system, secret, expires_at, .. } = exception;
    let Handover { client, source, version, .. } = handover;
    broker.metrics.bridge("handed_over");
    tracing::warn!(
        exception = id, name, owner, system, secret, version, client, source, uses, %expires_at,
        "a static secret went over the bridge"
    );
}

/// The bytes of the secret, not to be kept on the way.
fn answer(secret: Vec<u8>, stored: &SecretVersion, exception: &Exception) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (header::CACHE_CONTROL.as_str(), "no-store".to_owned()),
        ("x-secret-version", stored.version.to_string()),
        ("x-exception-ends", exception.expires_at.to_string()),
    ];
    (axum::response::AppendHeaders(headers), secret).into_response()
}

/// TLS of the bridge: the API's certificate, and a client certificate always.
pub(crate) fn server_tls(tls: &config::Tls) -> Result<ServerTls, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = Arc::new(HoldsItsKey::new(&provider, true));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls { config: Arc::new(config), administrators: None })
}
