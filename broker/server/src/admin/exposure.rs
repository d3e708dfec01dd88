//! `/v1/admin/exposure`: what a leak would be worth, by class of credentials.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use serde::Serialize;

use crate::{
    attest::request::GrantKind,
    broker::Broker,
    http::{identity::Reader, problem::Problem},
    store::Exposure,
};

/// Every class, and all of them together.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    classes: Vec<Class>,
    /// Open leases.
    open: u64,
    /// Seconds that nothing outlives, whatever its class: results end then, and everything ends with them.
    cap_seconds: u32,
}

#[derive(Debug, Serialize)]
struct Class {
    #[serde(flatten)]
    exposure: Exposure,
    /// Seconds that one of this class lives at most, as it is configured now.
    cap_seconds: u32,
}

/// Counted from the lease table.
pub(crate) async fn report(State(broker): State<Arc<Broker>>, _: Reader) -> Result<axum::Json<Report>, Problem> {
    let (cap_seconds, caps) = (broker.limits.result_seconds, caps(&broker));
    let class = |exposure: Exposure| {
        let own = caps.get(exposure.class.as_str()).copied().unwrap_or(cap_seconds);
        Class { cap_seconds: own.min(cap_seconds), exposure }
    };
    let classes: Vec<_> = broker.store.exposure(&broker.tenant).await?.into_iter().map(class).collect();
    let open = classes.iter().map(|class| class.exposure.open).fold(0, u64::saturating_add);
    Ok(axum::Json(Report { classes, open, cap_seconds }))
}

/// The longest life that an entry of the configuration gives to its class.
fn caps(broker: &Broker) -> BTreeMap<&'static str, u32> {
    let tokens = broker.identity.token.iter().map(|entry| (GrantKind::Token, entry.ttl_seconds));
    let svids = broker
        .identity
        .svid
        .iter()
        .flat_map(|entry| [GrantKind::JwtSvid, GrantKind::X509Svid].map(|kind| (kind, entry.ttl_seconds)));
    let ssh = broker.ssh.user.iter().chain(&broker.ssh.host).map(|entry| (GrantKind::SshCert, entry.max_ttl_seconds));
    let roles = broker.databases.longest().map(|seconds| (GrantKind::Postgres, seconds));
    let mut caps = BTreeMap::new();
    for (kind, seconds) in tokens.chain(svids).chain(ssh).chain(roles) {
        let cap = caps.entry(kind.as_str()).or_insert(0);
        *cap = seconds.max(*cap);
    }
    caps
}
