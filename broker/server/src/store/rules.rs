//! What guests are judged by: reference values and policies, in versions that are never changed once written.

use verifier::Timestamp;

use super::{StoreError, StoreFuture, TenantId};

/// Which decision a policy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PolicyKind {
    /// From claims to a trust vector (`package countersign.appraisal`)
    Appraisal,
    /// Whether a guest gets a grant (`package countersign.release`)
    Release,
}

impl PolicyKind {
    /// As written in the store and in URLs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Appraisal => "appraisal",
            Self::Release => "release",
        }
    }

    /// Reads what [`PolicyKind::as_str`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        match text {
            "appraisal" => Ok(Self::Appraisal),
            "release" => Ok(Self::Release),
            unknown => Err(StoreError::Unknown { what: "policy kind", found: unknown.to_owned() }),
        }
    }
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct PolicyVersion {
    /// Which decision it makes.
    pub(crate) kind: PolicyKind,
    /// Counts from 1; 0 is the one that is built in.
    pub(crate) version: u32,
    /// SHA-256 of the source, lower-case hex.
    pub(crate) digest: String,
    /// Who set it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// Rego.
    pub(crate) source: String,
}

/// One version of a reference set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredReferenceSet {
    /// The set's id.
    pub(crate) id: String,
    /// The set's own version.
    pub(crate) version: u32,
    /// The set as JSON.
    pub(crate) definition: String,
    /// Who added it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// From when on it no longer matches, when an administrator said so.
    pub(crate) retired_at: Option<Timestamp>,
}

/// Stores reference values and policies.
pub(crate) trait RuleStore {
    /// Grows whenever a policy or reference value changes.
    fn rulebook_generation(&self) -> StoreFuture<'_, u64>;

    /// Stores a policy as the newest version of its kind; `version` of the argument is ignored, the one given is returned.
    fn insert_policy<'a>(&'a self, tenant: &'a TenantId, policy: &'a PolicyVersion) -> StoreFuture<'a, u32>;

    /// Every version of the policies of one kind, newest first.
    fn policies<'a>(&'a self, tenant: &'a TenantId, kind: PolicyKind) -> StoreFuture<'a, Vec<PolicyVersion>>;

    /// Stores sets, all or none. [`StoreError::Conflict`] when an id and version was used before.
    fn insert_reference_sets<'a>(&'a self, tenant: &'a TenantId, sets: &'a [StoredReferenceSet])
    -> StoreFuture<'a, ()>;

    /// Every set, by id and version.
    fn reference_sets<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StoredReferenceSet>>;

    /// Ends one version of the set `id`, or all of them, at `at`; says how many that changed. An end only moves earlier.
    fn retire_reference_sets<'a>(
        &'a self,
        tenant: &'a TenantId,
        id: &'a str,
        version: Option<u32>,
        at: Timestamp,
    ) -> StoreFuture<'a, u64>;
}
