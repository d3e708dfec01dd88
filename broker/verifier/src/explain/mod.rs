//! A decision in words: every check in order, with what was expected, what was found and which document said so.

mod earlier;

use evidence_formats::code::{Code, Coded};
use serde::Serialize;

use self::earlier::{STAGES, stage_of};
use crate::{
    Appraisal, Stage,
    ar4si::{Tier, TrustLabel, TrustValue},
    recommendation::{meaning, recommendation},
    reference::{MatchedSet, NearMiss, ReferenceRefusal},
};

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// It passed.
    Passed,
    /// It failed: a reason to refuse.
    Failed,
    /// It was relaxed by name.
    Relaxed,
    /// It did not run.
    Unchecked,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stage.
    pub stage: &'static str,
    /// What was looked at.
    pub check: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// Which document or policy said so.
    pub source: String,
    /// What became of it.
    pub outcome: CheckOutcome,
}

/// A decision, check by check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Code of the first refusal; absent when nothing refuses.
    pub code: Option<Code>,
    /// What a refusal of that stage means, for somebody who sees one for the first time.
    pub meaning: Option<&'static str>,
    /// The checks in the order in which they ran.
    pub checks: Vec<Check>,
    /// Stages that did not run, because an earlier one refused.
    pub not_run: Vec<&'static str>,
    /// What the operator should do next, when something refuses.
    pub recommendation: Option<&'static str>,
}

impl Explanation {
    /// Of evidence that was refused before it could be appraised: stages before that of the error passed, later ones did
    /// not run.
    #[must_use]
    pub fn of_refusal(error: &impl Coded) -> Self {
        let code = error.code();
        let failed = stage_of(code);
        let text = error.to_string();
        // The house form of an error is "expected …, found …".
        let (expected, found) = text.split_once(", found ").unwrap_or((text.as_str(), ""));
        let refusal = Check {
            stage: failed,
            check: code.to_string(),
            expected: expected.strip_prefix("expected ").unwrap_or(expected).to_owned(),
            found: found.to_owned(),
            source: earlier::source_of(code),
            outcome: CheckOutcome::Failed,
        };
        let mut checks = earlier::passed_before(failed);
        checks.push(refusal);
        let not_run = STAGES.into_iter().skip_while(|stage| *stage != failed).skip(1).collect();
        let recommendation = Some(recommendation(code));
        Self { code: Some(code), meaning: meaning(code), checks, not_run, recommendation }
    }

    /// Of authentic evidence.
    #[must_use]
    pub fn of_appraisal(appraisal: &Appraisal) -> Self {
        let mut checks = earlier::passed(appraisal.claims(), appraisal.unchecked());
        checks.extend(unchecked(appraisal));
        checks.extend(baseline(appraisal));
        checks.extend(references(appraisal));
        checks.extend(policy(appraisal));
        checks.sort_by_key(|check| STAGES.iter().position(|stage| *stage == check.stage));
        let code = appraisal.code();
        let recommendation = code.map(recommendation);
        Self { code, meaning: code.and_then(meaning), checks, not_run: Vec::new(), recommendation }
    }
}

fn unchecked(appraisal: &Appraisal) -> impl Iterator<Item = Check> {
    appraisal.unchecked().iter().map(|unchecked| Check {
        stage: match unchecked.what {
            _ if appraisal.baseline().unchecked.contains(unchecked) => "baseline",
            "revocation" => "endorsement",
            "report_data" | "binding" | "nonce" => "binding",
            "reference_values" | "paravisor_measurement" => "reference",
            "appraisal_policy" => "policy",
            _ => "authenticate",
        },
        check: unchecked.what.to_owned(),
        expected: "the check to run".to_owned(),
        found: unchecked.reason.to_owned(),
        source: "the request".to_owned(),
        outcome: CheckOutcome::Unchecked,
    })
}

fn baseline(appraisal: &Appraisal) -> Vec<Check> {
    let outcome = appraisal.baseline();
    let check = |check: &str, expected: &str, found: &str, outcome| Check {
        stage: "baseline",
        check: check.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
        source: "the baseline".to_owned(),
        outcome,
    };
    let mut checks: Vec<Check> = outcome
        .violations
        .iter()
        .map(|broken| check(broken.code.as_str(), &broken.expected, &broken.actual, CheckOutcome::Failed))
        .collect();
    if checks.is_empty() {
        checks.push(check("every rule", "no rule broken", "no rule broken", CheckOutcome::Passed));
    }
    checks.extend(
        outcome
            .relaxed
            .iter()
            .map(|name| check(name, "the strict rule", "relaxed by name in the configuration", CheckOutcome::Relaxed)),
    );
    checks
}

fn references(appraisal: &Appraisal) -> Vec<Check> {
    let references = appraisal.reference_values();
    let matched = references.matched().iter().chain(references.paravisor()).map(matched_check);
    let refused = references.refusal().map(|refusal| match refusal {
        ReferenceRefusal::NoMatch { near_misses } if !near_misses.is_empty() => {
            near_misses.iter().flat_map(differences).collect()
        }
        ReferenceRefusal::NoMatch { .. }
        | ReferenceRefusal::NoneConfigured
        | ReferenceRefusal::Revoked { .. }
        | ReferenceRefusal::Retired { .. }
        | ReferenceRefusal::Expired { .. }
        | ReferenceRefusal::NotYetValid { .. }
        | ReferenceRefusal::Proposed { .. } => vec![refused_check(refusal)],
    });
    matched.chain(refused.into_iter().flatten()).collect()
}

fn matched_check(set: &MatchedSet) -> Check {
    Check {
        stage: "reference",
        check: set.pinned.join(", "),
        expected: format!("the values of workload {}", set.workload),
        found: set.alternative.as_ref().map_or_else(|| "the same".to_owned(), |name| format!("the same ({name})")),
        source: format!("{} v{}", set.id, set.version),
        outcome: CheckOutcome::Passed,
    }
}

fn differences(miss: &NearMiss) -> impl Iterator<Item = Check> {
    miss.differences.iter().map(move |difference| Check {
        stage: "reference",
        check: difference.what.clone(),
        expected: difference.expected.clone(),
        found: difference.actual.clone(),
        source: miss.to_string(),
        outcome: CheckOutcome::Failed,
    })
}

fn refused_check(refusal: &ReferenceRefusal) -> Check {
    let text = refusal.to_string();
    let (expected, found) = text.split_once(", found ").unwrap_or((text.as_str(), "none"));
    Check {
        stage: "reference",
        check: refusal.code().to_string(),
        expected: expected.strip_prefix("expected ").unwrap_or(expected).to_owned(),
        found: found.to_owned(),
        source: "the reference values".to_owned(),
        outcome: CheckOutcome::Failed,
    }
}

/// What a policy affirms under a label (AR4SI section 2.3.3).
const fn affirmed_when(label: TrustLabel) -> &'static str {
    match label {
        TrustLabel::InstanceIdentity => "affirming: a machine that is known by its identity",
        TrustLabel::Configuration => "affirming: a configuration that is approved",
        TrustLabel::Executables => "affirming: code that is approved",
        TrustLabel::FileSystem => "affirming: a file system that is approved",
        TrustLabel::Hardware => "affirming: genuine hardware without known faults",
        TrustLabel::RuntimeOpaque => "affirming: memory that the host cannot read",
        TrustLabel::StorageOpaque => "affirming: storage that only the guest can read",
        TrustLabel::SourcedData => "affirming: launch data that are expected",
    }
}

fn policy(appraisal: &Appraisal) -> Vec<Check> {
    let Some(policy) = appraisal.policy() else { return Vec::new() };
    let check = |check: String, expected: &str, found: String, outcome| Check {
        stage: "policy",
        check,
        expected: expected.to_owned(),
        found,
        source: policy.to_string(),
        outcome,
    };
    let allowed = |label: &str| appraisal.relaxed().iter().any(|name| name.strip_prefix("warning.") == Some(label));
    let claims = appraisal.trust_vector();
    let made = claims.iter().filter(|(_, value)| *value != TrustValue::NO_CLAIM);
    let mut checks: Vec<Check> = made
        .map(|(label, value)| {
            let outcome = match value.tier() {
                Tier::Affirming => CheckOutcome::Passed,
                Tier::Warning if allowed(label.as_str()) => CheckOutcome::Relaxed,
                Tier::None | Tier::Warning | Tier::Contraindicated => CheckOutcome::Failed,
            };
            check(label.to_string(), affirmed_when(label), format!("{} ({})", value.as_i8(), value.tier()), outcome)
        })
        .collect();
    if claims.is_empty() {
        let reasons = appraisal.reasons().iter().filter(|reason| reason.stage == Stage::Policy);
        checks.extend(reasons.map(|reason| {
            check(reason.code.to_string(), "a verdict of the policy", reason.text.clone(), CheckOutcome::Failed)
        }));
    }
    checks
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use evidence_formats::bytes::LaunchDigest;

    use super::*;
    use crate::{
        Claims, Criteria, Policing, Warnings, appraise,
        fixtures::{DEBUG, LAUNCH, authentic, claims, launch, now, set, strict, values},
        policy::AppraisalPolicy,
        reference::{Measurement, ReferenceError, ReferenceValues, References},
    };

    fn explain(claims: Claims, references: &ReferenceValues) -> Explanation {
        let policy = AppraisalPolicy::built_in().unwrap();
        let criteria = Criteria {
            baseline: &strict(),
            references: References::Require(references),
            policing: Policing::Apply(&policy),
            warnings: Warnings::Refuse,
        };
        let text = Explanation::of_appraisal(&appraise(&authentic(claims), &criteria, now()));
        let orders: Vec<usize> =
            text.checks.iter().map(|check| STAGES.iter().position(|stage| *stage == check.stage).unwrap()).collect();
        assert!(orders.is_sorted(), "{orders:?}");
        text
    }

    /// One line a check.
    fn lines(explanation: &Explanation) -> String {
        let line = |check: &Check| {
            let Check { stage, check, expected, found, source, outcome } = check;
            format!("{outcome:?} {stage} {check}: {expected}; {found} [{source}]\n")
        };
        without_digest(&explanation.checks.iter().map(line).collect::<String>())
    }

    fn without_digest(text: &str) -> String {
        let policy = AppraisalPolicy::built_in().unwrap().id().to_string();
        text.replace(&policy, "default-appraisal").replace(&"9f".repeat(48), "9f…").replace(&"01".repeat(48), "01…")
    }

    #[test]
    fn a_good_guest_in_words() {
        let wanted = "\
Passed parse form: evidence of a known kind and version, whole and without anything else; an SEV-SNP report, version 5 [the evidence]
Passed authenticate signatures: a signature of the hardware, under a chain to a trust anchor; signed by the key of one chip (VCEK), product Genoa [AMD's certificates]
Passed endorsement revocation: every certificate current and none revoked; none revoked [AMD's certificates]
Passed binding freshness: the nonce and the key of this request in the evidence; the evidence carries them [the request]
Passed baseline every rule: no rule broken; no rule broken [the baseline]
Passed reference launch: the values of workload web; the same [web-prod v4]
Passed policy instance-identity: affirming: a machine that is known by its identity; 2 (affirming) [default-appraisal]
Passed policy configuration: affirming: a configuration that is approved; 2 (affirming) [default-appraisal]
Passed policy executables: affirming: code that is approved; 3 (affirming) [default-appraisal]
Passed policy hardware: affirming: genuine hardware without known faults; 2 (affirming) [default-appraisal]
Passed policy runtime-opaque: affirming: memory that the host cannot read; 2 (affirming) [default-appraisal]
";
        let explanation = explain(claims(), &values([set(4, launch(LAUNCH))]));
        assert_eq!(lines(&explanation), wanted);
        assert_eq!((explanation.code, explanation.meaning, explanation.recommendation), (None, None, None));
    }

    #[test]
    fn a_near_miss_is_named_in_words() {
        let host_data = Some("01".repeat(48).parse().unwrap());
        let wanted = values([set(4, Measurement { host_data, ..launch(LAUNCH) })]);
        let explanation = explain(claims(), &wanted);
        assert_eq!(explanation.code.unwrap().as_str(), "reference.no_match");
        let text = lines(&explanation);
        let zero = "00".repeat(32);
        let wanted = format!("Failed reference host_data: 01…; {zero} [differs from web-prod v4 in host data only]");
        assert!(text.contains(&wanted), "{text}");
        let advice = explanation.recommendation.unwrap();
        assert!(advice.starts_with("compare the image with the set that is named nearest"), "{advice}");
    }

    #[test]
    fn every_refusal_of_reference_values_has_its_line() {
        let refusal = |change: fn(&mut crate::reference::ReferenceSet)| {
            let mut set = set(4, launch(LAUNCH));
            change(&mut set);
            let text = lines(&explain(claims(), &values([set])));
            text.lines().find(|line| line.starts_with("Failed reference ")).unwrap().to_owned()
        };
        assert!(refusal(|set| set.revoked_at = Some(now())).contains("; web-prod v4 revoked"));
        assert!(refusal(|set| set.not_after = now()).contains("; web-prod v4 expired on 2027-01-15T08:00:00Z"));
        let none = explain(claims(), &ReferenceValues::new());
        assert_eq!(none.code.unwrap().as_str(), "reference.none_configured");
    }

    #[test]
    fn what_the_baseline_left_out_is_told_at_its_stage() {
        let policy = AppraisalPolicy::built_in().unwrap();
        let references = values([set(4, launch(LAUNCH))]);
        let criteria = Criteria {
            baseline: &crate::baseline::Baseline::default(),
            references: References::Require(&references),
            policing: Policing::Apply(&policy),
            warnings: Warnings::Refuse,
        };
        let explanation = Explanation::of_appraisal(&appraise(&authentic(claims()), &criteria, now()));
        let left_out = explanation.checks.iter().find(|check| check.outcome == CheckOutcome::Unchecked).unwrap();
        assert_eq!((left_out.stage, left_out.check.as_str()), ("baseline", "tcb_floor"));
    }

    #[test]
    fn a_refusal_before_appraisal_stops_the_list() {
        let unknown = ReferenceError::Unknown { id: "web".parse().unwrap(), version: 3 };
        let explanation = Explanation::of_refusal(&unknown);
        let last = explanation.checks.last().unwrap();
        assert_eq!((last.stage, last.outcome), ("reference", CheckOutcome::Failed));
        assert_eq!((last.expected.as_str(), last.found.as_str()), ("a known set", "web version 3"));
        assert!(explanation.checks.iter().rev().skip(1).all(|check| check.outcome == CheckOutcome::Passed));
        assert!(explanation.recommendation.is_some());
    }

    #[test]
    fn debug_and_unknown_code_are_all_listed() {
        let mut bad = claims();
        bad.debug = true;
        let explanation = explain(bad, &values([set(4, launch(LaunchDigest([1; 48])))]));
        let failed: Vec<&str> = explanation
            .checks
            .iter()
            .filter(|check| check.outcome == CheckOutcome::Failed)
            .map(|check| check.check.as_str())
            .collect();
        assert_eq!(failed, [DEBUG, "launch", "configuration", "executables", "runtime-opaque"]);
    }
}
