//! What guests are judged by, compiled once and shared by all requests: reference values and policies.

use thiserror::Error;
use verifier::{
    Timestamp,
    policy::{AppraisalPolicy, PolicyError, ReleasePolicy},
    reference::{ReferenceError, ReferenceValues},
};

use crate::{
    replay::Candidate,
    shadow::{Staged, StagedEvidence, StagedRelease},
    store::{PolicyKind, PolicyVersion, StagedPolicy, Store, StoreError, StoredReferenceSet, TenantId},
};

/// The rules of one tenant at one moment.
#[derive(Debug)]
pub(crate) struct Rulebook {
    /// Which state of the store this is.
    pub(crate) generation: u64,
    /// Expected measurements.
    pub(crate) references: ReferenceValues,
    /// Claims to trust vector.
    pub(crate) appraisal: AppraisalPolicy,
    /// Affirmed evidence to grants.
    pub(crate) release: ReleasePolicy,
    /// What is tried beside these.
    pub(crate) staged: Staged,
}

/// The stored rules cannot be used. What was in force before stays in force.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum RulebookError {
    /// The store failed.
    #[error("the rules cannot be read")]
    Store(#[from] StoreError),
    /// A policy does not compile, although it did when it was set.
    #[error("a stored policy cannot be used")]
    Policy(#[from] PolicyError),
    /// A stored set is not a reference set.
    #[error("the stored reference set {id} version {version} cannot be read")]
    Set {
        /// Its id.
        id: String,
        /// Its version.
        version: u32,
        /// Why.
        source: serde_json::Error,
    },
    /// The sets contradict each other.
    #[error("the stored reference sets cannot be used")]
    References(#[from] ReferenceError),
}

impl Rulebook {
    /// Reads and compiles everything.
    pub(crate) async fn load(store: &dyn Store, tenant: &TenantId) -> Result<Self, RulebookError> {
        // The generation first: a change that comes after it makes the next look reload.
        let generation = store.rulebook_generation().await?;
        let sets = store.reference_sets(tenant).await?;
        let references = references(&sets)?;
        let staged = staged(&store.staged_policies(tenant).await?, &sets)?;
        let appraisal = match newest(store, tenant, PolicyKind::Appraisal).await? {
            Some(policy) => AppraisalPolicy::compile(&policy_name(&policy), &policy.source)?,
            None => AppraisalPolicy::built_in()?,
        };
        let release = match newest(store, tenant, PolicyKind::Release).await? {
            Some(policy) => ReleasePolicy::compile(&policy_name(&policy), &policy.source)?,
            None => ReleasePolicy::built_in()?,
        };
        Ok(Self { generation, references, appraisal, release, staged })
    }
}

/// What is tried: staged policies, and the proposed sets as if they were in force.
fn staged(policies: &[StagedPolicy], rows: &[StoredReferenceSet]) -> Result<Staged, RulebookError> {
    let mut staged = Staged::default();
    let mut rules = Vec::new();
    let mut appraisal = None;
    for policy in policies {
        let name = format!("staged-{}", policy.kind.as_str());
        match policy.kind {
            PolicyKind::Appraisal => {
                let compiled = AppraisalPolicy::compile(&name, &policy.source)?;
                rules.push(compiled.id().to_string());
                appraisal = Some(compiled);
            }
            PolicyKind::Release => {
                let compiled = ReleasePolicy::compile(&name, &policy.source)?;
                let (rule, enforced) = (compiled.id().to_string(), policy.enforced.clone());
                staged.release = Some(StagedRelease { rule, candidate: Candidate::Release(compiled), enforced });
            }
        }
    }
    let mut references = ReferenceValues::new();
    for row in rows {
        let unreadable = |source| RulebookError::Set { id: row.id.clone(), version: row.version, source };
        let mut set = row.to_set().map_err(unreadable)?;
        if set.proposed {
            rules.push(format!("{}@{}", row.id, row.version));
            set.proposed = false;
        }
        references.insert(set)?;
    }
    if !rules.is_empty() {
        staged.evidence = Some(StagedEvidence { rule: rules.join(" "), references, appraisal });
    }
    Ok(staged)
}

/// The built-in policy of a kind, in the form of a stored one.
pub(crate) fn built_in(kind: PolicyKind) -> PolicyVersion {
    let source = match kind {
        PolicyKind::Appraisal => AppraisalPolicy::BUILT_IN_SOURCE,
        PolicyKind::Release => ReleasePolicy::BUILT_IN_SOURCE,
    };
    PolicyVersion {
        kind,
        version: 0,
        digest: verifier::policy::PolicyDigest::of(source).to_string(),
        author: "built in".to_owned(),
        created_at: Timestamp::from_unix(0),
        restores: None,
        source: source.to_owned(),
    }
}

/// What results and decisions call a policy, for example `release-v3`.
fn policy_name(policy: &PolicyVersion) -> String {
    format!("{}-v{}", policy.kind.as_str(), policy.version)
}

async fn newest(store: &dyn Store, tenant: &TenantId, kind: PolicyKind) -> Result<Option<PolicyVersion>, StoreError> {
    Ok(store.policies(tenant, kind).await?.into_iter().next())
}

/// Stored rows as the core's reference values, with what became of each set since it was added.
pub(crate) fn references(rows: &[StoredReferenceSet]) -> Result<ReferenceValues, RulebookError> {
    let mut values = ReferenceValues::new();
    for row in rows {
        let set = row.to_set();
        let unreadable = |source| RulebookError::Set { id: row.id.clone(), version: row.version, source };
        values.insert(set.map_err(unreadable)?)?;
    }
    Ok(values)
}
