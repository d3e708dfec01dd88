//! Policies, in versions that are never changed once written.

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
    /// The version whose text a roll-back took up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restores: Option<u32>,
    /// Rego.
    pub(crate) source: String,
}

/// Stores policies.
pub(crate) trait RuleStore {
    /// Grows whenever a policy or reference value changes.
    fn rulebook_generation(&self) -> StoreFuture<'_, u64>;

    /// Stores a policy as the newest version of its kind; `version` of the argument is ignored, the one given is returned.
    fn insert_policy<'a>(&'a self, tenant: &'a TenantId, policy: &'a PolicyVersion) -> StoreFuture<'a, u32>;

    /// Every version of the policies of one kind, newest first.
    fn policies<'a>(&'a self, tenant: &'a TenantId, kind: PolicyKind) -> StoreFuture<'a, Vec<PolicyVersion>>;
}
