//! The audit log: what was decided, released, ended and changed, in a chain that shows every edit, removal and reorder.
//!
//! The store appends a record in the transaction that does what it records (`store/sqlite/audit.rs`), and [`tend`] signs how
//! far the chain is. What is checked afterwards, on a broker's store or on an export alone, is checked by [`Checker`].

mod check;
mod checkpoint;
mod record;
mod tend;

pub(crate) use check::{Broken, Checked, Checker};
pub(crate) use checkpoint::Checkpoint;
pub(crate) use record::{Entry, LONGEST, Place, Record, RecordHash};
pub(crate) use tend::{final_checkpoint, tend, verification_keys};

/// The kind of a record that says that those up to `through` were dropped.
pub(crate) const PRUNED: &str = "audit.pruned";

/// What kinds of records there are. [`Kind::as_str`] is what stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An administrator asked for a change; written before it is made.
    AdminAct,
    /// Evidence was judged, and with it each grant.
    AttestationDecided,
    /// Evidence was not authentic: how often since the last such record.
    NotAuthentic,
    /// A token was exchanged, or not.
    ExchangeDecided,
    /// Leases ended.
    LeaseEnded,
    /// Something is revoked from now on.
    RevocationAdded,
    /// A revocation was lifted.
    RevocationLifted,
    /// Another policy decides.
    PolicySet,
    /// A policy is tried.
    PolicyStaged,
    /// It is not any more.
    PolicyUnstaged,
    /// A reference set was added or changed its state.
    ReferenceChanged,
    /// A version of a secret was stored.
    SecretStored,
    /// A staged version became the current one.
    SecretPromoted,
    /// Old versions were erased.
    SecretRetired,
    /// Whether guests may keep it for reboots without the broker.
    SecretOffline,
    /// Every version was erased.
    SecretErased,
    /// A key of the broker was made.
    KeyMade,
    /// Keys of the broker are not used any more.
    KeyRetired,
    /// A client certificate may administer.
    AdministratorAdded,
    /// It may not any more.
    AdministratorRemoved,
    /// An attestation key came into the register.
    EnrolmentAdded,
    /// A key of the register was approved.
    EnrolmentApproved,
    /// A key of the register was revoked.
    EnrolmentRevoked,
    /// Something happened to an exception; a use is written before the secret leaves.
    Exception,
    /// Another trust domain is trusted for its own.
    FederationAdded,
    /// It is not any more.
    FederationRemoved,
    /// Somebody asks for a release that the policies refuse.
    BreakGlassRequested,
    /// Somebody else approves it.
    BreakGlassApproved,
    /// It was taken back.
    BreakGlassRevoked,
    /// The secret was released.
    BreakGlassUsed,
    /// Old records were dropped behind a signed checkpoint.
    Pruned,
}

impl Kind {
    /// As written in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AdminAct => "admin.act",
            Self::AttestationDecided => "attestation.decided",
            Self::NotAuthentic => "attestation.not-authentic",
            Self::ExchangeDecided => "exchange.decided",
            Self::LeaseEnded => "lease.ended",
            Self::RevocationAdded => "revocation.added",
            Self::RevocationLifted => "revocation.lifted",
            Self::PolicySet => "policy.set",
            Self::PolicyStaged => "policy.staged",
            Self::PolicyUnstaged => "policy.unstaged",
            Self::ReferenceChanged => "reference.changed",
            Self::SecretStored => "secret.stored",
            Self::SecretPromoted => "secret.promoted",
            Self::SecretRetired => "secret.retired",
            Self::SecretOffline => "secret.offline",
            Self::SecretErased => "secret.erased",
            Self::KeyMade => "key.made",
            Self::KeyRetired => "key.retired",
            Self::AdministratorAdded => "administrator.added",
            Self::AdministratorRemoved => "administrator.removed",
            Self::EnrolmentAdded => "enrolment.added",
            Self::EnrolmentApproved => "enrolment.approved",
            Self::EnrolmentRevoked => "enrolment.revoked",
            Self::Exception => "exception.changed",
            Self::FederationAdded => "federation.added",
            Self::FederationRemoved => "federation.removed",
            Self::BreakGlassRequested => "break-glass.requested",
            Self::BreakGlassApproved => "break-glass.approved",
            Self::BreakGlassRevoked => "break-glass.revoked",
            Self::BreakGlassUsed => "break-glass.used",
            Self::Pruned => PRUNED,
        }
    }
}
