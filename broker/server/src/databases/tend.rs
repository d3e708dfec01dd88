//! Drops the roles whose leases ended, until they are gone.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{DatabaseError, Server};
use crate::{broker::Broker, clock, metrics::RoleLabels, store::EndingRole};

/// How often roles that must go are looked for.
const EVERY: Duration = Duration::from_millis(200);
/// How often roles without a row are looked for, after the first time.
const STRAYS_EVERY: Duration = Duration::from_secs(60);
/// Roles that are tried in one round.
const ROUND: u32 = 64;
/// Wait before the second attempt, and the longest, in milliseconds.
const FIRST_WAIT: i64 = 250;
const LONGEST_WAIT: i64 = 15_000;

/// Tends every database server until `stop`, each in a task of its own: one that hangs holds up no other.
pub(crate) async fn keep(broker: Arc<Broker>, stop: CancellationToken) {
    warn_of_unknown_servers(&broker).await;
    let mut tasks = JoinSet::new();
    for server in &broker.databases.servers {
        tasks.spawn(keep_server(Arc::clone(&broker), Arc::clone(server), stop.clone()));
    }
    tasks.join_all().await;
}

/// Roles of a server that is no longer configured cannot be dropped from here.
async fn warn_of_unknown_servers(broker: &Broker) {
    let Ok(standing) = broker.store.standing_roles(Some(&broker.tenant)).await else { return };
    let known = |name: &str| broker.databases.servers.iter().any(|server| server.settings.name == name);
    let unknown: HashSet<_> = standing.iter().map(|role| role.server.as_str()).filter(|name| !known(name)).collect();
    for server in unknown {
        tracing::error!(server, "roles stand on a database server that is not configured: they cannot be dropped");
    }
}

async fn keep_server(broker: Arc<Broker>, server: Arc<Server>, stop: CancellationToken) {
    let mut strays_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = drop_ending(&broker, &server).await {
            tracing::error!(
                server = server.settings.name,
                error = format!("{error:#}"),
                "the roles were not looked at"
            );
        }
        if Instant::now() >= strays_at {
            let found = drop_strays(&broker, &server).await;
            let wait = if found.is_ok() { STRAYS_EVERY } else { Duration::from_secs(5) };
            strays_at = Instant::now().checked_add(wait).unwrap_or(strays_at);
            if let Err(error) = found {
                tracing::warn!(server = server.settings.name, error = format!("{error:#}"), "strays not looked for");
            }
        }
    }
}

/// One round over what must go.
async fn drop_ending(broker: &Arc<Broker>, server: &Arc<Server>) -> Result<()> {
    let due = broker.store.roles_to_drop(&broker.tenant, &server.settings.name, clock::now_ms(), ROUND).await?;
    let mut tasks = JoinSet::new();
    for ending in due {
        let (broker, server) = (Arc::clone(broker), Arc::clone(server));
        tasks.spawn(async move { drop_one(&broker, &server, ending).await });
    }
    for done in tasks.join_all().await {
        done?;
    }
    Ok(())
}

async fn drop_one(broker: &Broker, server: &Server, ending: EndingRole) -> Result<()> {
    let _turn = server.turn().await;
    let EndingRole { role, lease, settled, attempts } = ending;
    let (name, count) = (&server.settings.name, |outcome| broker.metrics.database_roles.get_or_create(&outcome).inc());
    match server.drop_role(&role).await {
        Ok(()) => {
            broker.store.role_dropped(&role, clock::now()).await?;
            count(RoleLabels { outcome: "dropped" });
            tracing::info!(server = name, role, lease, settled, "database role dropped");
        }
        Err(error) => {
            let text = told(&error);
            let next = clock::now_ms().saturating_add(wait(attempts));
            broker.store.role_not_dropped(&role, &text, next).await?;
            count(RoleLabels { outcome: "not_dropped" });
            tracing::warn!(server = name, role, lease, attempts, error = text, "database role not dropped yet");
        }
    }
    Ok(())
}

/// Doubles with each attempt.
fn wait(attempts: u32) -> i64 {
    1_i64.checked_shl(attempts.min(16)).unwrap_or(1).saturating_mul(FIRST_WAIT).min(LONGEST_WAIT)
}

/// Roles that bear our comment and are in no row.
async fn drop_strays(broker: &Broker, server: &Server) -> Result<()> {
    // In this order: a role that is made meanwhile has its row already.
    let there = server.roles_of(&broker.databases.comment()).await?;
    if there.is_empty() {
        return Ok(());
    }
    // Of all servers and tenants: two entries of the configuration may be two databases of one server, where roles are common.
    let standing = broker.store.standing_roles(None).await?;
    let standing: HashSet<_> = standing.iter().map(|role| role.role.as_str()).collect();
    for role in there.iter().filter(|role| !standing.contains(role.as_str())) {
        tracing::warn!(server = server.settings.name, role, "a role of ours is in no row: dropping it");
        server.drop_role(role).await?;
        broker.metrics.database_roles.get_or_create(&RoleLabels { outcome: "stray" }).inc();
    }
    Ok(())
}

/// An error with its causes.
pub(crate) fn told(error: &DatabaseError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        assert_eq!([0, 1, 2, 5, 6, 60, u32::MAX].map(wait), [250, 500, 1000, 8000, 15_000, 15_000, 15_000]);
    }
}
