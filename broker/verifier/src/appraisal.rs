//! Appraisal of authenticated claims: baseline, then reference values, then policy, all reasons together.

use std::collections::BTreeSet;

use evidence_formats::code::{Code, Coded};
use serde::Serialize;
use thiserror::Error;

use crate::{
    Authentic, Claims, Timestamp, Unchecked,
    ar4si::{Tier, TrustLabel, TrustVector},
    baseline::{Baseline, BaselineOutcome},
    policy::{AppraisalInput, AppraisalPolicy, PolicyError, PolicyId, PolicyVerdict},
    reference::{PARAVISOR_MEASUREMENT, ReferenceOutcome, References},
};

/// Whether an appraisal policy runs.
#[derive(Debug, Clone, Copy)]
pub enum Policing<'a> {
    /// The policy judges.
    Apply(&'a AppraisalPolicy),
    /// No policy judges: `appraisal_policy` is listed in `unchecked` with this reason, and nothing is affirmed.
    Unapplied {
        /// Why, for people.
        reason: &'static str,
    },
}

/// Which warnings of the trust vector are good enough.
#[derive(Debug, Clone, Copy)]
pub enum Warnings<'a> {
    /// None: every claim that is made must be affirming.
    Refuse,
    /// Warnings of these labels pass, and each that did is listed in `relaxed` as `warning.<label>`.
    Allow(&'a [TrustLabel]),
}

/// Everything that authenticated claims are appraised by.
#[derive(Debug, Clone, Copy)]
pub struct Criteria<'a> {
    /// Typed rules.
    pub baseline: &'a Baseline,
    /// Expected measurements.
    pub references: References<'a>,
    /// The operator's policy.
    pub policing: Policing<'a>,
    /// Warnings that pass.
    pub warnings: Warnings<'a>,
}

/// The stage that gave a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Typed rules.
    Baseline,
    /// Expected measurements.
    Reference,
    /// The operator's policy.
    Policy,
}

/// One reason why evidence is not affirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Who says so.
    pub stage: Stage,
    /// Stable code.
    pub code: Code,
    /// In words.
    pub text: String,
}

/// What every stage found about authenticated claims.
#[derive(Debug, Clone, PartialEq)]
pub struct Appraisal {
    claims: Claims,
    baseline: BaselineOutcome,
    references: ReferenceOutcome,
    policy: Option<PolicyId>,
    verdict: PolicyVerdict,
    reasons: Vec<Reason>,
    relaxed: Vec<String>,
    unchecked: Vec<Unchecked>,
    appraised_at: Timestamp,
}

const WARNING: Code = Code::new("policy.warning");
const CONTRAINDICATED: Code = Code::new("policy.contraindicated");
const NO_CLAIM: Code = Code::new("policy.no_claim");
const UNAPPLIED: Code = Code::new("policy.unapplied");

/// Appraises authenticated claims. Every stage runs whatever the one before it found, so that all reasons are known at once.
#[must_use]
pub fn appraise(evidence: &Authentic<Claims>, criteria: &Criteria<'_>, now: Timestamp) -> Appraisal {
    let claims = evidence.claims();
    let baseline = criteria.baseline.judge(claims);
    let references = criteria.references.judge(claims, now);
    let (policy, judged) = match criteria.policing {
        Policing::Apply(policy) => {
            let input = AppraisalInput { claims, baseline: &baseline, reference_values: &references, now };
            (Some(policy.id().clone()), policy.evaluate(&input))
        }
        Policing::Unapplied { .. } => (None, Ok(PolicyVerdict::default())),
    };
    let mut reasons = baseline_reasons(&baseline);
    reasons.extend(references.refusal().map(|refusal| Reason::new(Stage::Reference, refusal)));
    let mut relaxed = baseline.relaxed.clone();
    if policy.is_some() {
        let (passed, refused) = policy_reasons(&judged, criteria.warnings);
        relaxed.extend(passed);
        reasons.extend(refused);
    }
    let unchecked = everything_unchecked(claims, &baseline, &references, criteria.policing);
    // A policy that failed affirms nothing: its vector is empty.
    let verdict = judged.unwrap_or_default();
    Appraisal {
        claims: claims.clone(),
        baseline,
        references,
        policy,
        verdict,
        reasons,
        relaxed,
        unchecked,
        appraised_at: now,
    }
}

fn baseline_reasons(baseline: &BaselineOutcome) -> Vec<Reason> {
    let text = |expected: &str, actual: &str| format!("expected {expected}, found {actual}");
    let violations = baseline.violations.iter();
    violations
        .map(|violation| Reason {
            stage: Stage::Baseline,
            code: violation.code,
            text: text(&violation.expected, &violation.actual),
        })
        .collect()
}

/// What the answer of a policy comes to: the warnings that pass, by their names in `relaxed`, and the reasons to refuse.
#[must_use]
pub fn policy_reasons(
    judged: &Result<PolicyVerdict, PolicyError>,
    warnings: Warnings<'_>,
) -> (Vec<String>, Vec<Reason>) {
    let verdict = match judged {
        Ok(verdict) => verdict,
        Err(error) => return (Vec::new(), vec![Reason::new(Stage::Policy, error)]),
    };
    let mut passed = Vec::new();
    let mut refused = Vec::new();
    for (label, value) in verdict.trust_vector.iter() {
        let tier = value.tier();
        let code = match tier {
            Tier::Contraindicated => CONTRAINDICATED,
            Tier::Warning if warnings.allow(label) => {
                passed.push(format!("warning.{label}"));
                continue;
            }
            Tier::Warning => WARNING,
            Tier::None if value.is_undecided() => NO_CLAIM,
            Tier::None | Tier::Affirming => continue,
        };
        let text = format!("{label} is {} ({tier})", value.as_i8());
        refused.push(Reason { stage: Stage::Policy, code, text });
    }
    if verdict.trust_vector.is_empty() {
        let text = "expected at least one claim in the trust vector, found none".to_owned();
        refused.push(Reason { stage: Stage::Policy, code: NO_CLAIM, text });
    }
    if !refused.is_empty() {
        let texts = verdict.reasons.iter().cloned();
        let code = refused.iter().map(|reason| reason.code).min_by_key(gravity).unwrap_or(NO_CLAIM);
        refused.extend(texts.map(|text| Reason { stage: Stage::Policy, code, text }));
    }
    (passed, refused)
}

/// The gravest code first.
fn gravity(code: &Code) -> u8 {
    match *code {
        code if code == CONTRAINDICATED => 0,
        code if code == WARNING => 1,
        _ => 2,
    }
}

/// What no stage checked. A reference set for the paravisor settles `paravisor_measurement`.
fn everything_unchecked(
    claims: &Claims,
    baseline: &BaselineOutcome,
    references: &ReferenceOutcome,
    policing: Policing<'_>,
) -> Vec<Unchecked> {
    let settled =
        |unchecked: &&Unchecked| unchecked.what == PARAVISOR_MEASUREMENT && !references.paravisor().is_empty();
    let mut all: Vec<Unchecked> = claims.unchecked.iter().filter(|unchecked| !settled(unchecked)).cloned().collect();
    let unapplied = match policing {
        Policing::Apply(_) => None,
        Policing::Unapplied { reason } => Some(Unchecked { what: "appraisal_policy", reason }),
    };
    let later = baseline.unchecked.iter().cloned().chain(references.as_unchecked()).chain(unapplied);
    for unchecked in later {
        if !all.contains(&unchecked) {
            all.push(unchecked);
        }
    }
    all
}

impl Warnings<'_> {
    fn allow(self, label: TrustLabel) -> bool {
        match self {
            Self::Refuse => false,
            Self::Allow(labels) => labels.contains(&label),
        }
    }
}

impl Reason {
    fn new(stage: Stage, error: &impl Coded) -> Self {
        Self { stage, code: error.code(), text: error.to_string() }
    }
}

impl Appraisal {
    /// Every code that the policy stage gives, besides those of [`PolicyError`].
    pub const CODES: [Code; 4] = [WARNING, CONTRAINDICATED, NO_CLAIM, UNAPPLIED];

    /// The claims.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// What the baseline found.
    #[must_use]
    pub const fn baseline(&self) -> &BaselineOutcome {
        &self.baseline
    }

    /// What the reference values found.
    #[must_use]
    pub const fn reference_values(&self) -> &ReferenceOutcome {
        &self.references
    }

    /// The policy that ran.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyId> {
        self.policy.as_ref()
    }

    /// The trustworthiness vector; empty when no policy ran or it failed.
    #[must_use]
    pub const fn trust_vector(&self) -> TrustVector {
        self.verdict.trust_vector
    }

    /// The overall status: that of the trust vector, contraindicated when an earlier stage refuses.
    #[must_use]
    pub fn status(&self) -> Tier {
        let earlier = self.reasons.iter().any(|reason| reason.stage != Stage::Policy);
        if earlier { Tier::Contraindicated } else { self.trust_vector().status() }
    }

    /// What the policy said in words.
    #[must_use]
    pub const fn remarks(&self) -> &BTreeSet<String> {
        &self.verdict.reasons
    }

    /// Every reason to refuse, in stage order; empty when nothing refuses.
    #[must_use]
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// Code of the first reason.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.reasons.first().map(|reason| reason.code)
    }

    /// Relaxations that changed the outcome.
    #[must_use]
    pub fn relaxed(&self) -> &[String] {
        &self.relaxed
    }

    /// Checks that did not run.
    #[must_use]
    pub fn unchecked(&self) -> &[Unchecked] {
        &self.unchecked
    }

    /// What the policy read, or would have read: what a recorded decision is replayed from.
    #[must_use]
    pub const fn policy_input(&self) -> AppraisalInput<'_> {
        AppraisalInput {
            claims: &self.claims,
            baseline: &self.baseline,
            reference_values: &self.references,
            now: self.appraised_at,
        }
    }

    /// When it was appraised.
    #[must_use]
    pub const fn appraised_at(&self) -> Timestamp {
        self.appraised_at
    }

    /// The proof that every stage passed, or the reasons why not.
    ///
    /// # Errors
    /// [`Refusal`] when any stage gave a reason, or no policy ran.
    pub fn affirm(self) -> Result<Affirmed, Box<Refusal>> {
        if self.reasons.is_empty() && self.policy.is_some() {
            Ok(Affirmed { appraisal: self })
        } else {
            Err(Box::new(Refusal { appraisal: self }))
        }
    }
}

/// An appraisal in which every stage passed. Only [`Appraisal::affirm`] makes one.
///
/// It cannot be forged, and neither can the [`Authentic`] claims before it:
///
/// ```compile_fail,E0451
/// fn forge(appraisal: verifier::Appraisal) -> verifier::Affirmed {
///     verifier::Affirmed { appraisal }
/// }
/// ```
///
/// ```compile_fail,E0451
/// fn forge(claims: verifier::Claims) -> verifier::Authentic<verifier::Claims> {
///     verifier::Authentic { claims }
/// }
/// ```
///
/// ```compile_fail,E0624
/// fn forge(claims: verifier::Claims) -> verifier::Authentic<verifier::Claims> {
///     verifier::Authentic::new(claims)
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Affirmed {
    appraisal: Appraisal,
}

impl Affirmed {
    /// The appraisal that was affirmed.
    #[must_use]
    pub const fn appraisal(&self) -> &Appraisal {
        &self.appraisal
    }
}

/// An appraisal that is not affirmed.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("expected an affirming appraisal, found {}", reasons_in_words(&self.appraisal))]
pub struct Refusal {
    appraisal: Appraisal,
}

impl Refusal {
    /// The appraisal that was refused.
    #[must_use]
    pub const fn appraisal(&self) -> &Appraisal {
        &self.appraisal
    }
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        self.appraisal.code().unwrap_or(UNAPPLIED)
    }
}

fn reasons_in_words(appraisal: &Appraisal) -> String {
    if appraisal.reasons.is_empty() {
        return "no appraisal policy applied".to_owned();
    }
    appraisal.reasons.iter().map(|reason| reason.text.as_str()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::{
        RawClaims,
        fixtures::{DEBUG, LAUNCH, authentic, baseline, claims, launch, now, set, strict, values, vtpm_claims},
        reference::{Measurement, ReferenceValues, SetKind},
    };

    fn judge(claims: Claims, references: References<'_>, warnings: Warnings<'_>) -> Appraisal {
        let policy = AppraisalPolicy::built_in().unwrap();
        let policing = Policing::Apply(&policy);
        appraise(&authentic(claims), &Criteria { baseline: &strict(), references, policing, warnings }, now())
    }

    fn good() -> ReferenceValues {
        values([set(1, launch(LAUNCH))])
    }

    #[test]
    fn a_good_guest_is_affirmed() {
        let appraisal = judge(claims(), References::Require(&good()), Warnings::Refuse);
        assert_eq!((appraisal.code(), appraisal.status()), (None, Tier::Affirming));
        assert!(appraisal.relaxed().is_empty() && appraisal.unchecked().is_empty());
        assert!(appraisal.affirm().is_ok());
    }

    #[test]
    fn all_reasons_are_listed_in_stage_order() {
        let mut bad = claims();
        bad.debug = true;
        let others = values([set(1, launch(evidence_formats::bytes::LaunchDigest([1; 48])))]);
        let appraisal = judge(bad, References::Require(&others), Warnings::Refuse);
        let codes: Vec<&str> = appraisal.reasons().iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(codes.first().copied(), Some(DEBUG));
        assert_eq!(codes.get(1).copied(), Some("reference.no_match"));
        assert!(codes.get(2..).unwrap().contains(&"policy.contraindicated"));
        assert_eq!(appraisal.status(), Tier::Contraindicated);
        let refusal = appraisal.affirm().unwrap_err();
        assert_eq!(refusal.code().as_str(), DEBUG);
    }

    #[test]
    fn without_a_policy_nothing_is_affirmed() {
        let policing = Policing::Unapplied { reason: "no policy given" };
        let references = References::Unchecked { reason: "none given" };
        let criteria = Criteria { baseline: &strict(), references, policing, warnings: Warnings::Refuse };
        let appraisal = appraise(&authentic(claims()), &criteria, now());
        assert_eq!((appraisal.code(), appraisal.status()), (None, Tier::None));
        let unchecked: Vec<&str> = appraisal.unchecked().iter().map(|unchecked| unchecked.what).collect();
        assert_eq!(unchecked, ["reference_values", "appraisal_policy"]);
        assert_eq!(appraisal.affirm().unwrap_err().code().as_str(), "policy.unapplied");
    }

    #[test]
    fn required_reference_values_that_are_not_there_refuse() {
        let appraisal = judge(claims(), References::Require(&ReferenceValues::new()), Warnings::Refuse);
        assert_eq!(appraisal.code().unwrap().as_str(), "reference.none_configured");
    }

    #[test]
    fn a_warning_passes_only_by_name_and_is_shown() {
        let mut vulnerable = claims();
        vulnerable.tcb.advisories.push("INTEL-SA-00001".to_owned());
        let refused = judge(vulnerable.clone(), References::Require(&good()), Warnings::Refuse);
        assert_eq!(refused.code().unwrap().as_str(), "policy.warning");
        let other = Warnings::Allow(&[TrustLabel::Executables]);
        assert!(judge(vulnerable.clone(), References::Require(&good()), other).affirm().is_err());
        let named = Warnings::Allow(&[TrustLabel::Hardware]);
        let allowed = judge(vulnerable, References::Require(&good()), named);
        assert_eq!(allowed.relaxed(), ["warning.hardware"]);
        assert_eq!(allowed.affirm().unwrap().appraisal().status(), Tier::Warning);
    }

    #[test]
    fn a_policy_that_claims_nothing_or_fails_affirms_nothing() {
        for (source, code) in [
            ("package countersign.appraisal\ntrust_vector := {}\nreasons := set()\n", "policy.no_claim"),
            ("package countersign.appraisal\ntrust_vector := {\"hardware\": 0}\nreasons := set()\n", "policy.no_claim"),
            (
                "package countersign.appraisal\ntrust_vector := {\"hardware\": 2, \"executables\": 1}\nreasons := set()\n",
                "policy.no_claim",
            ),
            ("package countersign.appraisal\ntrust_vector := 2 if input.x\nreasons := set()\n", "policy.output"),
        ] {
            let policy = AppraisalPolicy::compile("p", source).unwrap();
            let good = good();
            let criteria = Criteria {
                baseline: &strict(),
                references: References::Require(&good),
                policing: Policing::Apply(&policy),
                warnings: Warnings::Allow(&TrustLabel::ALL),
            };
            let refusal = appraise(&authentic(claims()), &criteria, now()).affirm().unwrap_err();
            assert_eq!(refusal.code().as_str(), code);
        }
    }

    #[test]
    fn a_reference_set_of_its_own_settles_the_paravisor() {
        let runtime = [("pcr4".parse().unwrap(), "44".repeat(32).parse().unwrap())].into();
        let workload = set(1, Measurement { runtime, ..Measurement::default() });
        let mut paravisor = set(2, launch(LAUNCH));
        paravisor.kind = SetKind::Paravisor;
        let alone = values([workload.clone()]);
        let unchecked = judge(vtpm_claims(), References::Require(&alone), Warnings::Refuse);
        assert_eq!(unchecked.unchecked().first().unwrap().what, "paravisor_measurement");
        let both = values([workload, paravisor]);
        let settled = judge(vtpm_claims(), References::Require(&both), Warnings::Refuse);
        assert!(settled.unchecked().is_empty());
        assert!(settled.affirm().is_ok());
    }

    #[test]
    fn the_launch_digest_of_a_paravisor_identifies_no_workload() {
        let only_launch = good();
        let appraisal = judge(vtpm_claims(), References::Require(&only_launch), Warnings::Refuse);
        assert_eq!(appraisal.code().unwrap().as_str(), "reference.no_match");
    }

    proptest! {
        /// Taking away a relaxation of the baseline, or raising its floor, never turns a rejection into an acceptance.
        #[test]
        fn a_tighter_baseline_never_accepts_what_was_rejected(
            debug: bool,
            migratable: bool,
            relaxed in (any::<bool>(), any::<bool>()),
            kept in (any::<bool>(), any::<bool>()),
            floor in 20u8..35,
            raised in 0u8..10,
        ) {
            let mut guest = claims();
            guest.debug = debug;
            let RawClaims::Snp(report) = &mut guest.raw else { unreachable!("the fixture is an SNP report") };
            report.policy.debug = debug;
            report.policy.migrate_ma = migratable;
            let settings = |(debug, migration): (bool, bool)| {
                format!("allow_debug = {debug}\nallow_migration_agent = {migration}")
            };
            let loose = baseline(&settings(relaxed), floor);
            let tight = baseline(&settings((relaxed.0 && kept.0, relaxed.1 && kept.1)), floor.saturating_add(raised));
            // The policy only repeats what the baseline says, so that nothing else refuses.
            let policy = AppraisalPolicy::compile(
                "p",
                "package countersign.appraisal\nreasons := set()\ndefault trust_vector := {\"configuration\": 96}\n\
                 trust_vector := {\"configuration\": 2} if count(input.baseline.violations) == 0\n",
            )
            .unwrap();
            let good = good();
            let accepts = |baseline: &Baseline| {
                let references = References::Require(&good);
                let policing = Policing::Apply(&policy);
                let criteria = Criteria { baseline, references, policing, warnings: Warnings::Refuse };
                appraise(&authentic(guest.clone()), &criteria, now()).affirm().is_ok()
            };
            prop_assert_eq!(accepts(&loose), floor <= 27 && (!debug || relaxed.0) && (!migratable || relaxed.1));
            prop_assert!(accepts(&loose) || !accepts(&tight));
        }

        /// Taking away reference sets, or allowed warnings, never turns a rejection into an acceptance.
        #[test]
        fn tightening_never_accepts_what_was_rejected(
            debug: bool,
            known: bool,
            advisory: bool,
            allow_hardware: bool,
            keep in proptest::collection::vec(any::<bool>(), 3),
        ) {
            let mut guest = claims();
            guest.debug = debug;
            if advisory {
                guest.tcb.advisories.push("INTEL-SA-00001".to_owned());
            }
            let digests = [if known { LAUNCH.0 } else { [7; 48] }, [1; 48], [2; 48]];
            let all = (1..).zip(digests).map(|(version, digest)| {
                set(version, launch(evidence_formats::bytes::LaunchDigest(digest)))
            });
            let kept = values(all.clone().zip(&keep).filter(|(_, keep)| **keep).map(|(set, _)| set));
            let all = values(all);
            let warnings = if allow_hardware { Warnings::Allow(&[TrustLabel::Hardware]) } else { Warnings::Refuse };
            let loose = judge(guest.clone(), References::Require(&all), warnings).affirm().is_ok();
            let fewer_sets = judge(guest.clone(), References::Require(&kept), warnings).affirm().is_ok();
            let fewer_warnings = judge(guest, References::Require(&all), Warnings::Refuse).affirm().is_ok();
            prop_assert!(loose || !fewer_sets);
            prop_assert!(loose || !fewer_warnings);
        }
    }
}
