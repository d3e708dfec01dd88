//! Signing how far the chain is, and dropping what is old.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use keys::sign::{Jwks, SignatureAlgorithm, Signer, SigningKey};
use serde_json::json;
use verifier::Timestamp;

use super::{Checkpoint, Entry, Kind, Place};
use crate::{
    broker::Broker,
    config::Audit,
    store::{AuditRetention, KeyPurpose},
    vault::Vault,
};

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// Signs a checkpoint when one is due: records came since the last one, and they are many, or it is old.
pub(crate) async fn tend(broker: &Broker, now: Timestamp) -> Result<()> {
    let last = broker.store.newest_audit_checkpoint(&broker.tenant).await?;
    let (signed, at) = last.map_or((0, None), |last| (last.sequence, Some(last.at)));
    if is_due(&broker.audit, broker.not_authentic.load(Ordering::Relaxed).min(1), at, now) {
        count_not_authentic(broker, now).await?;
    }
    let head = broker.store.audit_head(&broker.tenant).await?;
    if is_due(&broker.audit, head.sequence.saturating_sub(signed), at, now) {
        sign(broker, head, now).await?;
    }
    Ok(())
}

/// Says how often evidence was not authentic since the log said it last. Anybody can cause such a decision, so each has no
/// record of its own.
async fn count_not_authentic(broker: &Broker, now: Timestamp) -> Result<()> {
    let count = broker.not_authentic.swap(0, Ordering::Relaxed);
    if count > 0 {
        let entry = Entry::new(now, Kind::NotAuthentic, &json!({"decisions": count}))?;
        broker.store.append_audit(&broker.tenant, entry).await?;
    }
    Ok(())
}

/// Signs the end of the chain, before the broker stops.
pub(crate) async fn final_checkpoint(broker: &Broker, now: Timestamp) -> Result<()> {
    count_not_authentic(broker, now).await?;
    let head = broker.store.audit_head(&broker.tenant).await?;
    let last = broker.store.newest_audit_checkpoint(&broker.tenant).await?;
    if head.sequence > last.map_or(0, |last| last.sequence) {
        sign(broker, head, now).await?;
    }
    Ok(())
}

/// What is kept of the log at `now`.
pub(super) fn retention(audit: &Audit, now: Timestamp) -> AuditRetention {
    AuditRetention {
        since: now.plus_seconds(i64::from(audit.keep_days.value()).saturating_mul(-DAY)),
        records: u64::from(audit.keep_records.value()),
    }
}

/// The public keys of every checkpoint of this broker: those of retired keys, too.
pub(crate) async fn verification_keys(vault: &Vault) -> Result<Jwks> {
    let keys = vault.every_key(KeyPurpose::AuditCheckpoint).await?;
    let keys = keys.iter().map(|(key, opened)| {
        let key = SigningKey::from_pkcs8(SignatureAlgorithm::Es256, opened).with_context(|| key.id.clone())?;
        Ok(key.verifying_key().clone())
    });
    Ok(Jwks::new(keys.collect::<Result<Vec<_>>>()?))
}

fn is_due(audit: &Audit, unsigned: u64, last: Option<Timestamp>, now: Timestamp) -> bool {
    let old = |at: Timestamp| now >= at.plus_seconds(i64::from(audit.checkpoint_seconds.value()));
    unsigned >= u64::from(audit.checkpoint_records.value()) || (unsigned > 0 && last.is_none_or(old))
}

/// The line in the log is a checkpoint, too: whoever keeps the logs elsewhere can hold the chain against it.
async fn sign(broker: &Broker, head: Place, now: Timestamp) -> Result<()> {
    let keyring = broker.keyring.load_full();
    let signer = keyring.signer(KeyPurpose::AuditCheckpoint).context("expected a key that signs checkpoints")?;
    let token = Checkpoint::new(&broker.issuer, broker.tenant.as_str(), head, now).sign(&**signer)?;
    broker.store.insert_audit_checkpoint(&broker.tenant, head, &token, now).await?;
    tracing::info!(tenant = broker.tenant.as_str(), sequence = head.sequence, hash = %head.hash, "audit checkpoint");
    Ok(())
}

impl Broker {
    /// Drops records of the audit log that are older than it is kept, behind a checkpoint.
    pub(crate) async fn prune_audit(&self, now: Timestamp) -> Result<()> {
        let dropped = self.store.prune_audit(&self.tenant, retention(&self.audit, now), now).await?;
        if dropped > 0 {
            tracing::info!(tenant = self.tenant.as_str(), dropped, "old audit records dropped");
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_count_or_by_time_and_never_without_a_record() {
        let audit: Audit = toml::from_str("checkpoint_seconds = 60\ncheckpoint_records = 100").unwrap();
        let now = Timestamp::from_unix(1_800_000_000);
        let ago = |seconds: i64| Some(now.plus_seconds(-seconds));
        for (unsigned, last, due) in [
            (0, None, false),
            (1, None, true),
            (0, ago(1000), false),
            (1, ago(59), false),
            (1, ago(60), true),
            (99, ago(1), false),
            (100, ago(1), true),
        ] {
            assert_eq!(is_due(&audit, unsigned, last, now), due, "{unsigned} {last:?}");
        }
    }
}
