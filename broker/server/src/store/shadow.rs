//! Policies that do not decide yet, and what they would have decided.

use serde::Serialize;
use verifier::Timestamp;

use super::{PolicyKind, StoreFuture, TenantId};
use crate::shadow::Comparison;

/// A policy that does not decide yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StagedPolicy {
    /// Which decision it would make.
    pub(crate) kind: PolicyKind,
    /// SHA-256 of the source, hex.
    pub(crate) digest: String,
    /// The grants for which a release policy has to agree with the one in force.
    pub(crate) enforced: Vec<String>,
    /// Who staged it.
    pub(crate) author: String,
    /// When.
    pub(crate) created_at: Timestamp,
    /// Rego.
    #[serde(skip)]
    pub(crate) source: String,
}

/// How often a staged rule was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShadowCount {
    /// The rule.
    pub(crate) rule: String,
    /// `evidence`, or the name of a grant.
    pub(crate) subject: String,
    /// Comparisons.
    pub(crate) compared: u64,
    /// Those that differed.
    pub(crate) differed: u64,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShadowDifference {
    /// The rule.
    pub(crate) rule: String,
    /// `evidence`, or the name of a grant.
    pub(crate) subject: String,
    /// The decision.
    pub(crate) decision: String,
    /// When.
    pub(crate) at: Timestamp,
    /// What was enforced.
    pub(crate) was: String,
    /// What the rule says.
    pub(crate) would_be: String,
    /// Why.
    pub(crate) why: String,
}

/// Stores staged policies and comparisons.
pub(crate) trait ShadowStore {
    /// Stages a policy in the place of the staged one of its kind. Every replica takes it over like a policy in force.
    fn stage_policy<'a>(&'a self, tenant: &'a TenantId, policy: &'a StagedPolicy) -> StoreFuture<'a, ()>;

    /// Takes the staged policy of a kind away; whether there was one.
    fn unstage_policy<'a>(
        &'a self,
        tenant: &'a TenantId,
        kind: PolicyKind,
        by: &'a str,
        now: Timestamp,
    ) -> StoreFuture<'a, bool>;

    /// Every staged policy.
    fn staged_policies<'a>(&'a self, tenant: &'a TenantId) -> StoreFuture<'a, Vec<StagedPolicy>>;

    /// Counts comparisons of one decision, and keeps the newest differences.
    fn add_comparisons<'a>(
        &'a self,
        tenant: &'a TenantId,
        decision: &'a str,
        comparisons: &'a [Comparison],
        now: Timestamp,
    ) -> StoreFuture<'a, ()>;

    /// Every count, by rule and subject, and the newest differences.
    fn comparisons<'a>(
        &'a self,
        tenant: &'a TenantId,
        limit: u32,
    ) -> StoreFuture<'a, (Vec<ShadowCount>, Vec<ShadowDifference>)>;
}
