//! Roles of databases, between the decision and its settlement: each is written down, then made, then settled with its
//! lease. What could not be made is taken out of the answer.

use evidence_formats::code::Code;

use super::{Admitted, prepare::Prepared};
use crate::{
    broker::Broker,
    databases::{DatabaseError, told},
    http::problem::Problem,
    metrics::RoleLabels,
    release::{Denied, Released},
    store::{DATABASE_ROLE, Lease},
};

/// Makes or prolongs the role of every grant that has one; the names of those that were made, whose leases are not settled yet.
pub(super) async fn provide(
    broker: &Broker,
    admitted: &Admitted,
    prepared: &mut Prepared,
) -> Result<Vec<String>, Problem> {
    let mut made = Vec::new();
    let leases: Vec<(usize, Lease)> = prepared.grants.iter().enumerate().filter_map(role_of).collect();
    for (place, lease) in leases {
        let outcome = match admitted.renewal {
            Some(_) => prolong(broker, &lease).await,
            None => make(broker, admitted, &lease, &mut made).await?,
        };
        if let Err(denied) = outcome {
            prepared.withdraw(place, &lease.id, denied);
        }
    }
    Ok(made)
}

/// The decision does not stand: no lease will be opened on these roles.
pub(super) async fn abandon(broker: &Broker, made: &[String]) {
    for role in made {
        // What is not marked now is found when its time is over.
        if let Err(error) = broker.store.abandon_role(role).await {
            tracing::warn!(role, %error, "a role that was made in vain stays for a while");
        }
    }
}

fn role_of((place, grant): (usize, &Result<Released, Denied>)) -> Option<(usize, Lease)> {
    let released = grant.as_ref().ok()?;
    (released.lease.kind == DATABASE_ROLE).then(|| (place, released.lease.clone()))
}

async fn make(
    broker: &Broker,
    admitted: &Admitted,
    lease: &Lease,
    made: &mut Vec<String>,
) -> Result<Result<(), Denied>, Problem> {
    let Some((server, entry)) = broker.databases.entry(&lease.name) else { return Ok(Err(unavailable())) };
    let intent = broker.databases.intent(server, &lease.id, admitted.now);
    if !broker.store.request_role(&broker.tenant, &intent, server.settings.max_roles).await? {
        let reasons = vec!["as many roles stand on the database server as may: try again later".to_owned()];
        return Ok(Err(Denied { code: Code::new("release.postgres.full"), reasons }));
    }
    match broker.databases.make(server, entry, &lease.id, lease.expires_at).await {
        Ok(()) => {
            broker.metrics.database_roles.get_or_create(&RoleLabels { outcome: "made" }).inc();
            tracing::info!(server = server.settings.name, role = intent.role, lease = lease.id, "database role made");
            made.push(intent.role);
            Ok(Ok(()))
        }
        Err(error) => {
            // A statement that may still run is not raced: such a role goes when the time of its row is over.
            if error.is_rolled_back() {
                broker.store.abandon_role(&intent.role).await?;
            }
            failed(broker, &server.settings.name, &intent.role, &error);
            Ok(Err(unavailable()))
        }
    }
}

/// The lease stands whatever comes of this: a server that is away for a moment ends nothing, it only prolongs nothing.
async fn prolong(broker: &Broker, lease: &Lease) -> Result<(), Denied> {
    let Some((server, _)) = broker.databases.entry(&lease.name) else { return Err(unavailable()) };
    match broker.databases.prolong(server, &lease.id, lease.expires_at).await {
        Ok(()) => {
            broker.metrics.database_roles.get_or_create(&RoleLabels { outcome: "prolonged" }).inc();
            Ok(())
        }
        Err(error) => {
            failed(broker, &server.settings.name, &broker.databases.role(&lease.id), &error);
            Err(unavailable())
        }
    }
}

fn failed(broker: &Broker, server: &str, role: &str, error: &DatabaseError) {
    broker.metrics.database_roles.get_or_create(&RoleLabels { outcome: "not_made" }).inc();
    tracing::error!(server, role, error = told(error), "database role neither made nor prolonged");
}

fn unavailable() -> Denied {
    let reasons = vec!["the database server did not make or prolong the role: try again later".to_owned()];
    Denied { code: Code::new("release.postgres.unavailable"), reasons }
}
