//! Secrets with versions. The store sees envelopes only; see [`crate::vault`] for what makes and opens them.

use verifier::Timestamp;

use super::{StoreError, StoreFuture, TenantId};

/// Who may change a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rotation {
    /// An administrator alone.
    #[default]
    Operator,
    /// The attested guest that has it as well: it asks for a new random version and retires the old ones.
    Guest,
}

impl Rotation {
    /// As it is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Guest => "guest",
        }
    }

    /// Reads what [`Rotation::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "operator" => Ok(Self::Operator),
            "guest" => Ok(Self::Guest),
            unknown => Err(StoreError::Unknown { what: "rotation", found: unknown.to_owned() }),
        }
    }
}

/// How long a guest's TPM may keep a secret for reboots without the broker, counted from each release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct OfflineAllowance {
    /// For how many seconds.
    pub(crate) seconds: u32,
    /// For how many starts of the machine.
    pub(crate) boots: u32,
}

impl OfflineAllowance {
    /// Thirty days.
    pub(crate) const MOST_SECONDS: u32 = 30 * 86_400;
    /// Most starts.
    pub(crate) const MOST_BOOTS: u32 = 100;

    /// Within the caps, or none.
    pub(crate) fn new(seconds: u32, boots: u32) -> Option<Self> {
        let within = (1..=Self::MOST_SECONDS).contains(&seconds) && (1..=Self::MOST_BOOTS).contains(&boots);
        within.then_some(Self { seconds, boots })
    }
}

/// One stored version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretVersion {
    /// Counts from 1, never reused.
    pub(crate) version: u32,
    /// The workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Whether it may go over the bridge to a client that does not attest.
    pub(crate) bridge: bool,
    /// Who may change it.
    pub(crate) rotation: Rotation,
    /// Whether guests may keep it for reboots without the broker.
    pub(crate) offline: Option<OfflineAllowance>,
    /// The encrypted content.
    pub(crate) envelope: Vec<u8>,
}

/// What may be shown about one version of a secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct SecretMetadata {
    /// The secret's name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: u32,
    /// The workloads that may have it.
    pub(crate) workloads: Vec<String>,
    /// Whether it may go over the bridge to a client that does not attest.
    pub(crate) bridge: bool,
    /// Who may change it.
    pub(crate) rotation: Rotation,
    /// Whether guests may keep it for reboots without the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offline: Option<OfflineAllowance>,
    /// Whether a guest is changing to it, and the name does not stand for it yet.
    pub(crate) staged: bool,
    /// Which administrator stored it; `guest` for a version that the guest asked for.
    pub(crate) created_by: String,
    /// When it was stored.
    pub(crate) created_at: Timestamp,
}

/// Stores secrets.
pub(crate) trait SecretStore {
    /// The number that the next version of `name` gets.
    fn next_secret_version<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, u32>;

    /// Stores one version. [`StoreError::Conflict`](super::StoreError::Conflict) when that number was taken meanwhile.
    fn insert_secret<'a>(
        &'a self,
        tenant: &'a TenantId,
        metadata: &'a SecretMetadata,
        envelope: &'a [u8],
    ) -> StoreFuture<'a, ()>;

    /// The newest version of `name` that is not staged: what the name stands for.
    fn newest_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, Option<SecretVersion>>;

    /// The staged version of `name`.
    fn staged_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str) -> StoreFuture<'a, Option<SecretVersion>>;

    /// This version of `name`, staged or not, unless it is erased.
    fn secret_version<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        version: u32,
    ) -> StoreFuture<'a, Option<SecretVersion>>;

    /// Makes a staged version what `name` stands for; `false` when it is not staged, or a newer one came meanwhile.
    fn promote_secret<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        version: u32,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Erases the content of every version of `name` before `below`; says how many there were.
    fn retire_secrets<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        below: u32,
        now: Timestamp,
    ) -> StoreFuture<'a, u64>;

    /// Every version of `name`, newest first; of every secret, by name, when `name` is absent.
    fn secret_metadata<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: Option<&'a str>,
    ) -> StoreFuture<'a, Vec<SecretMetadata>>;

    /// Sets for every version of `name` whether guests may keep it; says how many there are.
    fn allow_offline<'a>(
        &'a self,
        tenant: &'a TenantId,
        name: &'a str,
        allowance: Option<OfflineAllowance>,
        now: Timestamp,
    ) -> StoreFuture<'a, u64>;

    /// Erases the content of every version of `name`; says how many there were.
    fn delete_secret<'a>(&'a self, tenant: &'a TenantId, name: &'a str, now: Timestamp) -> StoreFuture<'a, u64>;
}
