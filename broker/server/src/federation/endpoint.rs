//! The bundle endpoint of this trust domain with the profile `https_spiffe`: a listener whose certificate is an X.509-SVID of
//! the broker itself. (The profile `https_web` is served with everything else.)
//!
//! The key is made here, lives in memory for an hour at most and never leaves it. No guest can have this SPIFFE ID: paths
//! that begin with its first segment are refused.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use axum::{Router, routing::get};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use verifier::Timestamp;

use crate::{
    broker::Broker,
    http,
    identity::{KeyRing, RESERVED_SEGMENT, TrustDomain},
};

/// Seconds that the endpoint's certificate lives; it is replaced at half of that.
const LIFE: i64 = 3600;

/// The certificate that the endpoint shows.
pub(crate) struct BundleEndpoint(Mutex<Option<Shown>>);

struct Shown {
    certificate: Arc<CertifiedKey>,
    /// The id of the CA that issued it.
    authority: String,
    replace_at: Timestamp,
}

impl fmt::Debug for BundleEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleEndpoint")
    }
}

impl Default for BundleEndpoint {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl BundleEndpoint {
    /// Makes a certificate when there is none, it is half over, or another CA signs.
    pub(crate) fn renew(&self, trust_domain: &TrustDomain, keyring: &KeyRing, now: Timestamp) -> Result<()> {
        let (authority, ca) = keyring.ca_with_id().context("expected a CA for the bundle endpoint")?;
        let stands = |shown: &Shown| shown.authority == authority && shown.replace_at > now;
        if self.lock().as_ref().is_some_and(stands) {
            return Ok(());
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let spiffe_id = format!("spiffe://{trust_domain}/{RESERVED_SEGMENT}/bundle");
        let until = now.plus_seconds(LIFE);
        let chain = ca.certify(&key, &spiffe_id, (now, until), None)?.chain;
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = aws_lc_rs::sign::any_supported_type(&key).context("the key of the bundle endpoint is of no use")?;
        let half = until.min(ca.validity().not_after).as_unix().saturating_sub(now.as_unix()).checked_div(2);
        let replace_at = now.plus_seconds(half.unwrap_or(0));
        let certificate = Arc::new(CertifiedKey::new(chain, key));
        *self.lock() = Some(Shown { certificate, authority: authority.to_owned(), replace_at });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for BundleEndpoint {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.lock().as_ref().map(|shown| Arc::clone(&shown.certificate))
    }
}

/// TLS of the endpoint: no client authentication (SPIFFE Federation §5.2).
pub(crate) fn tls(endpoint: Arc<BundleEndpoint>) -> Result<Arc<ServerConfig>> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let mut config = builder.with_protocol_versions(&[&TLS13])?.with_no_client_auth().with_cert_resolver(endpoint);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The routes of the endpoint.
pub(crate) fn routes() -> Router<Arc<Broker>> {
    Router::new().route("/", get(http::spiffe_bundle)).route("/.well-known/spiffe-bundle", get(http::spiffe_bundle))
}
