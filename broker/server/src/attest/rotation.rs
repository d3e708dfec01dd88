//! What a guest's steps do to a stored secret.

use super::Admitted;
use crate::{
    broker::Broker,
    http::problem::{Problem, RequestError},
    release::{Denied, Released, Rotating, SecretChange},
};

/// The secret that a grant of this name would change.
pub(super) async fn find(broker: &Broker, name: &str) -> Result<Option<Rotating>, Problem> {
    let Some(current) = broker.store.newest_secret(&broker.tenant, name).await? else { return Ok(None) };
    let staged = broker.store.staged_secret(&broker.tenant, name).await?;
    let next = broker.store.next_secret_version(&broker.tenant, name).await?;
    Ok(Some(Rotating { current, staged, next }))
}

/// After the decision is stored and before it is answered: who is not answered asks again, and every step may be asked for twice.
pub(super) async fn apply(
    broker: &Broker,
    admitted: &Admitted,
    grants: &[Result<Released, Denied>],
) -> Result<(), Problem> {
    let changes = grants.iter().filter_map(|grant| grant.as_ref().ok()).filter_map(|released| released.change.as_ref());
    for change in changes {
        match change {
            SecretChange::Stage { metadata, envelope } => {
                broker.store.insert_secret(&broker.tenant, metadata, envelope).await?;
                tracing::info!(secret = metadata.name, version = metadata.version, "secret staged by its guest");
            }
            SecretChange::Promote { name, version } => {
                if !broker.store.promote_secret(&broker.tenant, name, *version, admitted.now).await? {
                    return Err(RequestError::Conflict.into());
                }
                tracing::info!(secret = name, version, "secret promoted by its guest");
            }
            SecretChange::Retire { name, below } => {
                let retired = broker.store.retire_secrets(&broker.tenant, name, *below, admitted.now).await?;
                tracing::info!(secret = name, below, retired, "old versions retired by their guest");
            }
        }
    }
    Ok(())
}
