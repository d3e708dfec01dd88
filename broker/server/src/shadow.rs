//! Rules that are tried beside those in force: what they would have decided is compared and told, and decides nothing.
//!
//! A staged appraisal policy and proposed reference sets appraise the same authentic evidence a second time; a staged release
//! policy is replayed on the finished record. Neither result is looked at when something is released. The one exception only
//! takes away: for the grants that a staged release policy names as enforced it has to agree with the policy in force
//! (`release.rs`).

use serde::Serialize;
use serde_json::value::RawValue;
use verifier::{
    Authentic, Claims, Criteria, Policing, Timestamp, Warnings,
    ar4si::TrustLabel,
    baseline::Baseline,
    policy::{AppraisalPolicy, ReleasePolicy},
    reference::{ReferenceValues, References},
};

use crate::{
    broker::Broker,
    decision::{DecisionRecord, Outcome},
    replay::{Candidate, Report},
};

/// Most reasons of one difference.
const REASONS: usize = 16;

/// What is tried.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    /// On evidence.
    pub(crate) evidence: Option<StagedEvidence>,
    /// On grants.
    pub(crate) release: Option<StagedRelease>,
}

/// Rules over evidence that do not decide yet.
#[derive(Debug)]
pub(crate) struct StagedEvidence {
    /// Their names, for the report.
    pub(crate) rule: String,
    /// The sets in force with the proposed ones.
    pub(crate) references: ReferenceValues,
    /// The staged policy; absent: the one in force.
    pub(crate) appraisal: Option<AppraisalPolicy>,
}

/// A release policy that does not decide yet.
#[derive(Debug)]
pub(crate) struct StagedRelease {
    /// Its name, for the report.
    pub(crate) rule: String,
    /// Always [`Candidate::Release`].
    pub(crate) candidate: Candidate,
    /// The grants for which it has to agree.
    pub(crate) enforced: Vec<String>,
}

/// What the staged rules say of evidence.
#[derive(Debug)]
pub(crate) struct Tried {
    rule: String,
    code: Option<String>,
    why: Vec<String>,
}

/// One comparison of a staged rule with what was enforced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Comparison {
    /// The staged rule.
    pub(crate) rule: String,
    /// `evidence`, or the name of a grant that exists.
    pub(crate) subject: String,
    /// What differs, if anything does.
    pub(crate) difference: Option<Difference>,
}

/// What a staged rule would have decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// What was enforced.
    pub(crate) was: String,
    /// What the staged rule says.
    pub(crate) would_be: String,
    /// Why, in words.
    pub(crate) why: String,
}

impl StagedRelease {
    /// The policy, when it has to agree to the grant called `name`.
    pub(crate) fn enforced_on(&self, name: &str) -> Option<&ReleasePolicy> {
        let policy = match &self.candidate {
            Candidate::Release(policy) => Some(policy),
            Candidate::Appraisal(_) => None,
        };
        policy.filter(|_| self.enforced.iter().any(|grant| grant == name))
    }
}

impl StagedEvidence {
    /// Appraises with the staged rules.
    pub(crate) fn appraise(
        &self,
        evidence: &Authentic<Claims>,
        baseline: &Baseline,
        in_force: &AppraisalPolicy,
        warnings: &[TrustLabel],
        now: Timestamp,
    ) -> Tried {
        let criteria = Criteria {
            baseline,
            references: References::Require(&self.references),
            policing: Policing::Apply(self.appraisal.as_ref().unwrap_or(in_force)),
            warnings: Warnings::Allow(warnings),
        };
        let appraisal = verifier::appraise(evidence, &criteria, now);
        let code = appraisal.code().map(|code| code.as_str().to_owned());
        let why = appraisal.reasons().iter().take(REASONS).map(|reason| reason.text.clone()).collect();
        Tried { rule: self.rule.clone(), code, why }
    }
}

/// Compares what was decided with what the staged rules say. `text` is the record as it is stored.
pub(crate) fn compare(
    staged: &Staged,
    tried: Option<&Tried>,
    record: &DecisionRecord,
    text: &str,
) -> Result<Vec<Comparison>, serde_json::Error> {
    let mut comparisons = Vec::new();
    if !record.authenticated || record.break_glass.is_some() {
        return Ok(comparisons);
    }
    comparisons.extend(tried.and_then(|tried| evidence(tried, record)));
    if let Some(release) = &staged.release
        && record.outcome == Outcome::Affirmed
    {
        let mut report = Report::default();
        let raw: &RawValue = serde_json::from_str(text)?;
        report.examine(raw, &release.candidate)?;
        // A name that stands for nothing has no workloads; guests can make up many of them.
        for grant in record.grants.iter().filter(|grant| !grant.workloads.is_empty()) {
            let change = report.changes.iter().find(|change| change.subject == grant.name);
            let difference = change.map(|change| Difference {
                was: change.was.clone(),
                would_be: change.would_be.clone(),
                why: change.why.iter().take(REASONS).cloned().collect::<Vec<_>>().join("; "),
            });
            comparisons.push(Comparison { rule: release.rule.clone(), subject: grant.name.clone(), difference });
        }
    }
    Ok(comparisons)
}

/// Only what the stages of an appraisal decided is compared: a revocation or a lease is no matter of these rules.
fn evidence(tried: &Tried, record: &DecisionRecord) -> Option<Comparison> {
    let code = record.code.map(|code| code.as_str().to_owned());
    let appraised = |code: &String| ["baseline.", "reference.", "policy."].iter().any(|stage| code.starts_with(stage));
    if !code.as_ref().is_none_or(appraised) {
        return None;
    }
    let difference = (code != tried.code).then(|| Difference {
        was: verdict(code.as_deref()),
        would_be: verdict(tried.code.as_deref()),
        why: tried.why.join("; "),
    });
    Some(Comparison { rule: tried.rule.clone(), subject: "evidence".to_owned(), difference })
}

fn verdict(code: Option<&str>) -> String {
    code.map_or_else(|| "affirmed".to_owned(), |code| format!("refused: {code}"))
}

/// Tells the differences, and keeps them for the report. What fails here changes nothing that was decided.
pub(crate) async fn tell(broker: &Broker, record: &DecisionRecord, comparisons: &[Comparison]) {
    for Comparison { rule, subject, difference } in comparisons {
        let outcome = if difference.is_some() { "differs" } else { "same" };
        broker.metrics.shadow.get_or_create(&crate::metrics::ShadowLabels { outcome }).inc();
        if let Some(Difference { was, would_be, why }) = difference {
            tracing::info!(attestation_id = record.id, rule, subject, was, would_be, why, "a staged rule differs");
        }
    }
    let stored = broker.store.add_comparisons(&broker.tenant, &record.id, comparisons, record.decided_at).await;
    if let Err(error) = stored {
        tracing::error!(%error, "what staged rules say was not stored");
    }
}
