//! Another policy in the place of the one that decided: what it would have said to recorded decisions.
//!
//! A decision's record holds everything that its policies read. Nothing here can change a decision, and nothing runs in
//! the broker: the administrator's own machine evaluates the candidate.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};
use verifier::{
    Warnings,
    ar4si::{TrustLabel, TrustVector},
    policy::{AppraisalPolicy, PolicyError, PolicyVerdict, ReleasePolicy},
    policy_reasons,
};

use crate::{attest::request::SealTo, decision::Outcome};

/// The policy that is tried.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// In the place of the appraisal policy.
    Appraisal(AppraisalPolicy),
    /// In the place of the release policy.
    Release(ReleasePolicy),
}

/// One thing that the candidate would have decided otherwise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// The decision.
    pub(crate) decision: String,
    /// When it was made.
    pub(crate) decided_at: String,
    /// `evidence`, or the name of the grant.
    pub(crate) subject: String,
    /// What was decided.
    pub(crate) was: String,
    /// What the candidate says.
    pub(crate) would_be: String,
    /// Why, in words.
    pub(crate) why: Vec<String>,
}

/// What a replay found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    /// Decisions that were looked at.
    pub(crate) examined: usize,
    /// Those among them in which no such policy was asked: the evidence was not authentic, or no grant was asked for.
    pub(crate) not_judged: usize,
    /// Whether every decision since the given time was looked at.
    pub(crate) complete: bool,
    /// What would be decided otherwise.
    pub(crate) changes: Vec<Change>,
}

/// The part of a record that a replay reads.
#[derive(Debug, Deserialize)]
struct Recorded<'a> {
    id: String,
    tenant: String,
    decided_at: String,
    outcome: Outcome,
    code: Option<String>,
    reasons: Vec<RecordedReason>,
    #[serde(borrow)]
    claims: Option<&'a RawValue>,
    #[serde(borrow)]
    appraisal: Option<RecordedAppraisal<'a>>,
    #[serde(borrow)]
    grants: Vec<RecordedGrant<'a>>,
    /// Only in the record of a token exchange, which appraised nothing.
    exchange: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct RecordedReason {
    code: String,
}

#[derive(Debug, Deserialize)]
struct RecordedAppraisal<'a> {
    #[serde(borrow)]
    status: &'a RawValue,
    trust_vector: BTreeMap<String, i64>,
    #[serde(borrow)]
    policy: &'a RawValue,
    #[serde(borrow)]
    baseline: &'a RawValue,
    #[serde(borrow)]
    reference_values: &'a RawValue,
    relaxed: Vec<String>,
    allowed_warnings: Vec<TrustLabel>,
    unchecked: Vec<RecordedUnchecked>,
}

#[derive(Debug, Deserialize)]
struct RecordedUnchecked {
    what: String,
}

#[derive(Debug, Deserialize)]
struct RecordedGrant<'a> {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    workloads: Vec<String>,
    #[serde(default = "tee_key")]
    seal: String,
    requested_ttl: u32,
    /// What was exchanged, in the record of an exchange.
    #[serde(default, borrow)]
    exchange: Option<&'a RawValue>,
    code: Option<String>,
}

/// What every grant was sealed to before there was a choice.
fn tee_key() -> String {
    SealTo::TeeKey.as_str().to_owned()
}

/// The input of an appraisal policy, as it was.
#[derive(Serialize)]
struct AppraisalFacts<'a> {
    claims: &'a RawValue,
    baseline: &'a RawValue,
    reference_values: &'a RawValue,
    now: &'a str,
}

/// The input of a release policy, as it was.
#[derive(Serialize)]
struct ReleaseFacts<'a> {
    result: ResultFacts<'a>,
    claims: &'a RawValue,
    grant: GrantFacts<'a>,
    lease: LeaseFacts,
    tenant: &'a str,
    now: &'a str,
}

#[derive(Serialize)]
struct ResultFacts<'a> {
    status: &'a RawValue,
    trust_vector: &'a BTreeMap<String, i64>,
    workloads: Vec<&'a str>,
    reference_values: &'a RawValue,
    relaxed: &'a [String],
    unchecked: Vec<&'a str>,
    policy: &'a RawValue,
}

#[derive(Serialize)]
struct GrantFacts<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    workloads: &'a [String],
    seal: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<&'a RawValue>,
}

/// A grant that is asked for now, on the strength of a recorded attestation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// The workloads that may have it.
    pub(crate) workloads: &'a [String],
    /// Seconds that are asked for.
    pub(crate) requested_ttl: u32,
    /// Whose policy is asked.
    pub(crate) tenant: &'a str,
    /// The time, RFC 3339.
    pub(crate) now: &'a str,
    /// What is exchanged.
    pub(crate) exchange: &'a RawValue,
}

/// The input of the release policy for a grant that a guest asks for after its attestation, whose record is given.
///
/// # Errors
/// When the record is not one that this version wrote of an affirmed attestation.
pub(crate) fn release_input(record: &str, asked: &Asked<'_>) -> Result<Box<RawValue>, serde_json::Error> {
    let recorded: Recorded<'_> = serde_json::from_str(record)?;
    let missing = |what| <serde_json::Error as serde::de::Error>::missing_field(what);
    let claims = recorded.claims.ok_or_else(|| missing("claims"))?;
    let appraisal = recorded.appraisal.as_ref().ok_or_else(|| missing("appraisal"))?;
    let &Asked { name, kind, workloads, requested_ttl, tenant, now, exchange } = asked;
    let grant = GrantFacts { name, kind, workloads, seal: SealTo::TeeKey.as_str(), exchange: Some(exchange) };
    let lease = LeaseFacts { requested_ttl, renewal: false };
    appraisal.release_facts(claims, grant, lease, (tenant, now))
}

#[derive(Serialize)]
struct LeaseFacts {
    requested_ttl: u32,
    renewal: bool,
}

/// The sets that matched, as they were and by workload.
#[derive(Deserialize)]
struct References<'a> {
    #[serde(borrow)]
    matched: &'a RawValue,
}

#[derive(Deserialize)]
struct Matched {
    workload: String,
}

impl Report {
    /// Tries the candidate on one recorded decision (JSON).
    ///
    /// # Errors
    /// When the record is not one that this version wrote.
    pub(crate) fn examine(&mut self, record: &RawValue, candidate: &Candidate) -> Result<(), serde_json::Error> {
        let record: Recorded<'_> = serde_json::from_str(record.get())?;
        self.examined = self.examined.saturating_add(1);
        let (Some(claims), Some(appraisal)) = (record.claims, &record.appraisal) else {
            self.not_judged = self.not_judged.saturating_add(1);
            return Ok(());
        };
        match candidate {
            // An exchange rests on an attestation, which has a record of its own.
            Candidate::Appraisal(_) if record.exchange.is_some() => self.not_judged = self.not_judged.saturating_add(1),
            Candidate::Appraisal(policy) => self.changes.extend(record.appraise(claims, appraisal, policy)?),
            Candidate::Release(_) if record.grants.is_empty() => self.not_judged = self.not_judged.saturating_add(1),
            Candidate::Release(policy) => {
                for grant in &record.grants {
                    self.changes.extend(record.release(claims, appraisal, grant, policy)?);
                }
            }
        }
        Ok(())
    }
}

impl Recorded<'_> {
    fn appraise(
        &self,
        claims: &RawValue,
        appraisal: &RecordedAppraisal<'_>,
        policy: &AppraisalPolicy,
    ) -> Result<Option<Change>, serde_json::Error> {
        let (baseline, reference_values) = (appraisal.baseline, appraisal.reference_values);
        let facts = AppraisalFacts { claims, baseline, reference_values, now: &self.decided_at };
        let judged = policy.replay(&to_raw_value(&facts)?);
        let code = self.refused_earlier().map_or_else(|| refusal(&judged, &appraisal.allowed_warnings), Some);
        let was = verdict(self.outcome, self.code.as_deref());
        let would_be = verdict(if code.is_some() { Outcome::Refused } else { Outcome::Affirmed }, code.as_deref());
        let mut why = differences(&appraisal.trust_vector, judged.as_ref().ok().map(|verdict| verdict.trust_vector));
        if was == would_be && why.is_empty() {
            return Ok(None);
        }
        match judged {
            Ok(verdict) => why.extend(verdict.reasons),
            Err(error) => why.push(error.to_string()),
        }
        Ok(Some(self.change("evidence", was, would_be, why)))
    }

    /// The code with which a stage before the policy refused: no policy overrules it.
    fn refused_earlier(&self) -> Option<String> {
        let earlier = |reason: &&RecordedReason| !reason.code.starts_with("policy.");
        self.reasons.iter().find(earlier).map(|reason| reason.code.clone())
    }

    fn release(
        &self,
        claims: &RawValue,
        appraisal: &RecordedAppraisal<'_>,
        grant: &RecordedGrant<'_>,
        policy: &ReleasePolicy,
    ) -> Result<Option<Change>, serde_json::Error> {
        let asked = GrantFacts {
            name: &grant.name,
            kind: &grant.kind,
            workloads: &grant.workloads,
            seal: &grant.seal,
            exchange: grant.exchange,
        };
        let lease = LeaseFacts { requested_ttl: grant.requested_ttl, renewal: false };
        let facts = appraisal.release_facts(claims, asked, lease, (&self.tenant, &self.decided_at))?;
        // What does not exist, or could not be opened, is no matter of policy.
        let was_allowed = !grant
            .code
            .as_deref()
            .is_some_and(|code| code.starts_with("policy.") || code == crate::release::DENIED_BY_POLICY.as_str());
        let (allowed, why) = match policy.replay(&facts) {
            Ok(decision) => (decision.allowed, decision.deny.into_iter().collect()),
            Err(error) => (false, vec![error.to_string()]),
        };
        let words = |allowed: bool| if allowed { "allowed" } else { "denied" }.to_owned();
        let changed = was_allowed != allowed;
        Ok(changed.then(|| self.change(&grant.name, words(was_allowed), words(allowed), why)))
    }

    fn change(&self, subject: &str, was: String, would_be: String, why: Vec<String>) -> Change {
        let (decision, decided_at) = (self.id.clone(), self.decided_at.clone());
        Change { decision, decided_at, subject: subject.to_owned(), was, would_be, why }
    }
}

impl RecordedAppraisal<'_> {
    /// The input of a release policy, for one tenant at one time.
    fn release_facts(
        &self,
        claims: &RawValue,
        grant: GrantFacts<'_>,
        lease: LeaseFacts,
        (tenant, now): (&str, &str),
    ) -> Result<Box<RawValue>, serde_json::Error> {
        let references: References<'_> = serde_json::from_str(self.reference_values.get())?;
        let matched: Vec<Matched> = serde_json::from_str(references.matched.get())?;
        let mut workloads: Vec<&str> = matched.iter().map(|set| set.workload.as_str()).collect();
        let mut unchecked: Vec<&str> = self.unchecked.iter().map(|unchecked| unchecked.what.as_str()).collect();
        for names in [&mut workloads, &mut unchecked] {
            names.sort_unstable();
            names.dedup();
        }
        let result = ResultFacts {
            status: self.status,
            trust_vector: &self.trust_vector,
            workloads,
            reference_values: references.matched,
            relaxed: &self.relaxed,
            unchecked,
            policy: self.policy,
        };
        to_raw_value(&ReleaseFacts { result, claims, grant, lease, tenant, now })
    }
}

fn refusal(judged: &Result<PolicyVerdict, PolicyError>, allowed: &[TrustLabel]) -> Option<String> {
    let (_, reasons) = policy_reasons(judged, Warnings::Allow(allowed));
    reasons.first().map(|reason| reason.code.to_string())
}

fn verdict(outcome: Outcome, code: Option<&str>) -> String {
    code.map_or_else(|| outcome.as_str().to_owned(), |code| format!("{}: {code}", outcome.as_str()))
}

/// Labels whose values differ, for example `hardware 2 → 32`. A policy that failed has no vector to compare.
fn differences(was: &BTreeMap<String, i64>, would_be: Option<TrustVector>) -> Vec<String> {
    let Some(would_be) = would_be else { return Vec::new() };
    let labels = TrustLabel::ALL.into_iter().filter_map(|label| {
        let was = was.get(label.as_str()).copied().unwrap_or(0);
        let now = i64::from(would_be.value(label).as_i8());
        (was != now).then(|| format!("{label} {was} → {now}"))
    });
    labels.collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn record(outcome: &str, code: Option<&str>) -> Value {
        json!({
            "id": "a1", "tenant": "default", "decided_at": "2026-11-22T00:00:00Z", "outcome": outcome, "code": code,
            "reasons": code.map(|code| vec![json!({"code": code, "text": "t"})]).unwrap_or_default(),
            "claims": {
                "hwmodel": "amd-genoa", "platform": "bare", "debug": false, "measurement": {"launch": "9f"},
                "tcb": {"versions": {}, "advisories": []}, "instance": "11"
            },
            "appraisal": {
                "status": "affirming", "policy": "default-appraisal@sha256:00",
                "trust_vector": {
                    "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2
                },
                "baseline": {"violations": [], "relaxed": [], "unchecked": []},
                "reference_values": {
                    "configured": true, "paravisor": [], "near_misses": [],
                    "matched": [{"id": "web-prod", "version": 4, "workload": "web", "pinned": ["launch"]}]
                },
                "relaxed": [], "allowed_warnings": ["hardware"], "unchecked": [], "remarks": []
            },
            "grants": [
                {"name": "disk-key", "type": "secret", "workloads": ["web"], "requested_ttl": 900, "code": null},
                {"name": "db-key", "type": "secret", "workloads": ["db"], "requested_ttl": 900,
                 "code": "release.policy.denied"},
                {"name": "absent", "type": "secret", "workloads": ["web"], "requested_ttl": 900,
                 "code": "release.secret.absent"}
            ]
        })
    }

    fn replay(record: &Value, candidate: &Candidate) -> Report {
        let mut report = Report::default();
        report.examine(&to_raw_value(record).unwrap(), candidate).unwrap();
        report
    }

    fn appraisal(policy: &str) -> Candidate {
        let source = AppraisalPolicy::BUILT_IN_SOURCE.replacen("up_to_date if {\n", policy, 1);
        Candidate::Appraisal(AppraisalPolicy::compile("candidate", &source).unwrap())
    }

    #[test]
    fn the_policies_that_decided_change_nothing() {
        let same = Candidate::Appraisal(AppraisalPolicy::built_in().unwrap());
        assert_eq!(replay(&record("affirmed", None), &same).changes, []);
        let same = Candidate::Release(ReleasePolicy::built_in().unwrap());
        assert_eq!(replay(&record("affirmed", None), &same).changes, []);
    }

    #[test]
    fn a_stricter_appraisal_refuses_and_says_why() {
        let strict = appraisal("up_to_date if {\n\tinput.claims.hwmodel == \"amd-turin\"\n");
        let mut record = record("affirmed", None);
        let report = replay(&record, &strict);
        // An allowed warning still passes: the vector is what changes.
        assert_eq!(report.changes.first().unwrap().would_be, "affirmed");
        assert_eq!(report.changes.first().unwrap().why, ["hardware 2 → 32"]);
        *record.pointer_mut("/appraisal/allowed_warnings").unwrap() = json!([]);
        let changes = replay(&record, &strict).changes;
        assert_eq!(changes.first().unwrap().would_be, "refused: policy.warning");
    }

    #[test]
    fn no_policy_overrules_an_earlier_refusal() {
        let refused = record("refused", Some("reference.no_match"));
        assert_eq!(replay(&refused, &Candidate::Appraisal(AppraisalPolicy::built_in().unwrap())).changes, []);
    }

    #[test]
    fn a_policy_that_fails_would_refuse() {
        let source =
            "package countersign.appraisal\ntrust_vector := {\"hardware\": 2} if input.nothing\nreasons := set()\n";
        let failing = Candidate::Appraisal(AppraisalPolicy::compile("candidate", source).unwrap());
        let report = replay(&record("affirmed", None), &failing);
        assert_eq!(report.changes.first().unwrap().would_be, "refused: policy.output");
    }

    #[test]
    fn a_release_policy_is_replayed_on_every_grant() {
        let source = "package countersign.release\nallow := \"db\" in input.grant.workloads\n\
            deny := set()\nmax_ttl := 60\n";
        let other = Candidate::Release(ReleasePolicy::compile("candidate", source).unwrap());
        let changes = replay(&record("affirmed", None), &other).changes;
        let told: Vec<_> = changes.iter().map(|c| (c.subject.as_str(), c.was.as_str(), c.would_be.as_str())).collect();
        assert_eq!(
            told,
            [("disk-key", "allowed", "denied"), ("db-key", "denied", "allowed"), ("absent", "allowed", "denied")]
        );
    }

    #[test]
    fn an_exchange_is_replayed_for_what_it_released_alone() {
        let mut record = record("affirmed", None);
        *record.pointer_mut("/grants").unwrap() = json!([{
            "name": "orders", "type": "exchange", "workloads": ["web"], "seal": "tee-key", "requested_ttl": 300, "code": null,
            "exchange": {"audience": "https://o.example", "scope": [], "subject": {"from": "ci", "issuer": "i", "claims": {}}}
        }]);
        record.as_object_mut().unwrap().insert("exchange".to_owned(), json!({"attestation": "a0"}));
        let source = "package countersign.release\nallow := input.grant.exchange.subject.from == \"attestation\"\n\
            deny := set()\nmax_ttl := 60\n";
        let other = Candidate::Release(ReleasePolicy::compile("candidate", source).unwrap());
        assert_eq!(replay(&record, &other).changes.first().unwrap().would_be, "denied");
        let same = Candidate::Release(ReleasePolicy::built_in().unwrap());
        assert_eq!(replay(&record, &same).changes, []);
        let appraisal = replay(&record, &Candidate::Appraisal(AppraisalPolicy::built_in().unwrap()));
        assert_eq!((appraisal.not_judged, appraisal.changes.len()), (1, 0));
    }

    #[test]
    fn what_was_not_authentic_is_counted_and_not_judged() {
        let mut record = record("refused", Some("authenticate.snp.signature"));
        record.as_object_mut().unwrap().remove("claims");
        let report = replay(&record, &Candidate::Release(ReleasePolicy::built_in().unwrap()));
        assert_eq!((report.examined, report.not_judged, report.changes.len()), (1, 1, 0));
    }
}
