//! Keys of the broker, which all replicas share, and the credentials of its administrators.

use verifier::Timestamp;

use super::{StoreError, StoreFuture, TenantId};

/// What a stored key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyPurpose {
    /// Signs attestation results.
    AttestationResult,
    /// Authenticates nonces.
    Nonce,
    /// Derives the keys that guests prove their leases with.
    Lease,
    /// Signs tokens for other systems, with RS256.
    #[serde(rename = "token-rs256")]
    TokenRs256,
    /// The same, with ES256.
    #[serde(rename = "token-es256")]
    TokenEs256,
    /// Signs JWT-SVIDs.
    JwtSvid,
    /// Certifies X.509-SVIDs.
    #[serde(rename = "x509-ca")]
    X509Ca,
    /// Certifies SSH users.
    SshUserCa,
    /// Certifies SSH hosts.
    SshHostCa,
    /// Derives the passwords of database roles.
    DatabasePassword,
    /// Signs checkpoints of the audit log.
    AuditCheckpoint,
}

impl KeyPurpose {
    /// Those that sign, each with keys of its own.
    pub(crate) const SIGNING: [Self; 8] = [
        Self::AttestationResult,
        Self::TokenRs256,
        Self::TokenEs256,
        Self::JwtSvid,
        Self::X509Ca,
        Self::SshUserCa,
        Self::SshHostCa,
        Self::AuditCheckpoint,
    ];

    /// As written in the store and in the envelope's associated data.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AttestationResult => "attestation-result",
            Self::Nonce => "nonce",
            Self::Lease => "lease",
            Self::TokenRs256 => "token-rs256",
            Self::TokenEs256 => "token-es256",
            Self::JwtSvid => "jwt-svid",
            Self::X509Ca => "x509-ca",
            Self::SshUserCa => "ssh-user-ca",
            Self::SshHostCa => "ssh-host-ca",
            Self::DatabasePassword => "database-password",
            Self::AuditCheckpoint => "audit-checkpoint",
        }
    }
}

/// A key under its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProtectedKey {
    /// Names it; for signing keys the `kid`.
    pub(crate) id: String,
    /// What it is for.
    pub(crate) purpose: KeyPurpose,
    /// The encrypted key.
    pub(crate) envelope: Vec<u8>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// From when on it signs.
    pub(crate) active_at: Timestamp,
}

/// When a key came and went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyTimes {
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When it was retired, if it was.
    pub(crate) retired_at: Option<Timestamp>,
}

/// What an administrator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Everything.
    Admin,
    /// Read metadata and decisions; change nothing.
    Auditor,
    /// See the event stream, the inventory and the exceptions; nothing else.
    Observer,
}

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Event stream, inventory and exceptions.
    Observe,
    /// All metadata and decisions.
    Read,
    /// Everything.
    Change,
}

impl Right {
    /// The least role that has it.
    pub(crate) const fn role(self) -> Role {
        match self {
            Self::Observe => Role::Observer,
            Self::Read => Role::Auditor,
            Self::Change => Role::Admin,
        }
    }
}

impl Role {
    /// As written in the store.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Observer => "observer",
        }
    }

    /// Whether it has a right. What is not here is denied.
    pub(crate) const fn may(self, right: Right) -> bool {
        match (self, right) {
            (Self::Admin, Right::Observe | Right::Read | Right::Change)
            | (Self::Auditor, Right::Observe | Right::Read)
            | (Self::Observer, Right::Observe) => true,
            (Self::Auditor, Right::Change) | (Self::Observer, Right::Read | Right::Change) => false,
        }
    }

    /// Reads what [`Role::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "admin" => Ok(Self::Admin),
            "auditor" => Ok(Self::Auditor),
            "observer" => Ok(Self::Observer),
            unknown => Err(StoreError::Unknown { what: "role", found: unknown.to_owned() }),
        }
    }
}

/// Who may administer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Administrator {
    /// SHA-256 of the client certificate (DER).
    pub(crate) fingerprint: [u8; 32],
    /// Shown as author of what they change.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
}

/// What became of the removal of an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Removed {
    /// Nothing is allowed to it any more.
    Yes,
    /// There is none of this name.
    Absent,
    /// Nobody else may change anything: it stays.
    Last,
}

/// Stores the keys and administrators of tenants.
pub(crate) trait KeyStore {
    /// Keys of one purpose that are not retired, newest first.
    fn protected_keys<'a>(&'a self, tenant: &'a TenantId, purpose: KeyPurpose) -> StoreFuture<'a, Vec<ProtectedKey>>;

    /// Every key that a purpose ever had, retired ones too, newest first.
    fn every_protected_key<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
    ) -> StoreFuture<'a, Vec<ProtectedKey>>;

    /// Stores a key.
    fn insert_protected_key<'a>(&'a self, tenant: &'a TenantId, key: &'a ProtectedKey) -> StoreFuture<'a, ()>;

    /// Stores a key, unless its purpose has a newer one than `after` by now; whether it was stored.
    fn insert_successor<'a>(
        &'a self,
        tenant: &'a TenantId,
        key: &'a ProtectedKey,
        after: &'a str,
    ) -> StoreFuture<'a, bool>;

    /// The times of every key that a purpose ever had.
    fn key_times<'a>(&'a self, tenant: &'a TenantId, purpose: KeyPurpose) -> StoreFuture<'a, Vec<KeyTimes>>;

    /// Retires every key of a purpose but one: from now on nothing verifies with them. Says how many.
    fn retire_keys<'a>(
        &'a self,
        tenant: &'a TenantId,
        purpose: KeyPurpose,
        keep: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, u64>;

    /// The administrator of this tenant with this certificate.
    fn administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        fingerprint: &'a [u8; 32],
    ) -> StoreFuture<'a, Option<Administrator>>;

    /// Every administrator with the time of registration, by name.
    fn administrators<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<(Administrator, Timestamp)>>;

    /// Registers an administrator. [`StoreError::Conflict`] when name or certificate is registered already.
    fn insert_administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        administrator: &'a Administrator,
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Removes an administrator by name.
    fn remove_administrator<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, Removed>;
}
