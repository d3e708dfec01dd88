//! What the broker remembers, behind traits, so that a second database is a second implementation and nothing else.
//!
//! What must happen exactly once (a nonce, a secret version, a policy version) is a constraint or a transaction of the
//! database, never a lock of this process: many brokers may share one store.

use std::{fmt, future::Future, pin::Pin};

use thiserror::Error;
use uuid::Uuid;
use verifier::reference::ReferenceError;

mod audit;
mod break_glass;
mod certificates;
mod credentials;
mod decisions;
mod endorsements;
mod enrolments;
mod exceptions;
mod exchanges;
mod exposure;
mod federation;
mod floors;
mod joins;
mod keys;
mod leases;
mod references;
mod rules;
mod secrets;
mod shadow;
pub(crate) mod sqlite;
mod tenants;

pub(crate) use audit::{AuditQuery, AuditRetention, AuditStore, DecisionDigests, StoredCheckpoint};
pub(crate) use break_glass::{BreakGlass, BreakGlassStore, GlassApproved, GlassTarget, GlassTerms, GlassUse};
pub(crate) use certificates::{
    CertificateStore, EndedCertificate, EndedCertificates, IssuedCertificate, SERIAL_LENGTH,
};
pub(crate) use credentials::{CredentialStore, DATABASE_ROLE, EndingRole, RoleIntent, StandingRole};
pub(crate) use decisions::{DecisionQuery, DecisionStore, Retention, Settled, Settlement, StoredDecision, TpmCounters};
pub(crate) use endorsements::{EndorsementStore, StoredEndorsement};
pub(crate) use enrolments::{
    Act, EnrolmentBounds, EnrolmentRecord, EnrolmentState, EnrolmentStore, PendingEnrolment, Registered, StoredEk,
};
pub(crate) use exceptions::{
    Added, Exception, ExceptionAct, ExceptionCounts, ExceptionStore, HandedOver, Handover, Notice, RotationPlan,
};
pub(crate) use exchanges::{
    ExchangeOpening, ExchangeSettled, ExchangeSettlement, ExchangeStore, HeldLease, Spending, UsedProof,
};
pub(crate) use exposure::{Exposure, ExposureStore};
pub(crate) use federation::{Federation, FederationProfile, FederationStore, Fetched, StoredFederation};
pub(crate) use floors::FloorStore;
pub(crate) use joins::{JoinStore, JoinToken, Joining};
pub(crate) use keys::{Administrator, KeyPurpose, KeyStore, KeyTimes, ProtectedKey, Removed, Right, Role};
pub(crate) use leases::{
    EndCause, Ground, GroundKind, GuestQuery, GuestRecord, GuestReported, Lease, LeaseEvent, LeaseSelector, LeaseStore,
    Opening, Revocation, StoredGuest, StoredLease, WorkloadSummary,
};
pub(crate) use references::{
    ReferenceChange, ReferenceEvent, ReferenceKey, ReferenceSource, ReferenceStore, StoredReferenceSet,
};
pub(crate) use rules::{PolicyKind, PolicyVersion, RuleStore};
pub(crate) use secrets::{OfflineAllowance, Rotation, SecretMetadata, SecretStore, SecretVersion};
pub(crate) use tenants::{StoredTenant, TenantStore};

pub(crate) use shadow::{ShadowCount, ShadowDifference, ShadowStore, StagedPolicy};

/// A boxed future, because a trait object cannot have `async fn`.
pub(crate) type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Everything that a broker stores.
pub(crate) trait Store:
    AuditStore
    + BreakGlassStore
    + CertificateStore
    + CredentialStore
    + DecisionStore
    + EndorsementStore
    + EnrolmentStore
    + ExceptionStore
    + ExposureStore
    + FederationStore
    + ExchangeStore
    + FloorStore
    + JoinStore
    + KeyStore
    + LeaseStore
    + ReferenceStore
    + RuleStore
    + SecretStore
    + ShadowStore
    + TenantStore
    + Send
    + Sync
    + fmt::Debug
{
    /// Whether the store answers.
    fn ping(&self) -> StoreFuture<'_, ()>;
}

/// The store could not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The database failed or is out of reach.
    #[error("the store failed")]
    Database(#[from] sqlx::Error),
    /// The embedded migrations do not fit the database.
    #[error("the store's schema could not be brought up to date")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database file could not be made or protected.
    #[error("the store's file could not be opened")]
    File(#[from] std::io::Error),
    /// A row says what this version does not understand.
    #[error("the store holds an unknown {what}: {found:?}")]
    Unknown {
        /// Which column.
        what: &'static str,
        /// Its content.
        found: String,
    },
    /// A reference set is in a state from which the change is not possible.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Somebody else wrote the same version at the same time; asking again helps.
    #[error("the same version was written at the same time")]
    Conflict,
    /// The store is closing or its writer ended.
    #[error("the store is closed")]
    Closed,
}

/// Names a tenant: 1 to 32 of `a-z 0-9 -`, beginning and ending with a letter or digit, so that it is the same in a URL, a
/// table and a log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub(crate) struct TenantId(String);

impl TenantId {
    /// Reads a name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let plain = (1..=32).contains(&text.len()) && text.bytes().all(allowed);
        (plain && !text.starts_with('-') && !text.ends_with('-')).then(|| Self(text.to_owned()))
    }

    /// Where its routes begin: nothing for the tenant that exists from the start.
    pub(crate) fn path(&self) -> String {
        if *self == Self::default_tenant() { String::new() } else { format!("/t/{}", self.0) }
    }

    /// The tenant that exists from the start.
    pub(crate) fn default_tenant() -> Self {
        Self("default".to_owned())
    }

    /// A tenant as a row of the store names it.
    pub(crate) const fn stored(name: String) -> Self {
        Self(name)
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id for a record that is written often. It grows with time (UUID version 7, RFC 9562), so that the indexes over such ids
/// grow at one end and settlements that share a commit share the pages that it writes. It is unique; it is no secret.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// Whether `text` may name a secret or a reference set: 1 to 128 of `a-z A-Z 0-9 . _ - /`, starting with a letter
/// or digit and without an empty, `.` or `..` segment, so that it is the same in a URL, a table and a log.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    text.len() <= 128
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::{TenantId, is_name};

    #[test]
    fn tenants_have_plain_names_and_paths() {
        for good in ["default", "a", "acme-2", &"x".repeat(32)] {
            assert!(TenantId::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "a.b", "a_b", "ä", "a b", &"x".repeat(33)] {
            assert!(TenantId::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(TenantId::default_tenant().path(), "");
        assert_eq!(TenantId::parse("acme").map(|tenant| tenant.path()).as_deref(), Some("/t/acme"));
    }

    #[test]
    fn names_are_plain() {
        for good in ["disk-key", "a", "team/db_password.v2", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "a/../b", ".hidden", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
