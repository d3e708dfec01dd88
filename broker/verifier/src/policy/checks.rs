//! Tests of the policy engine and of the built-in policies.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::{
    Affirmed, Claims, Criteria, Platform, Policing, TcbStatus, Warnings, appraise,
    ar4si::{Tier, TrustLabel},
    fixtures::{LAUNCH, authentic, claims, launch, now, set, strict, values, vtpm_claims},
    reference::{Measurement, ReferenceValues, References},
};
use evidence_formats::{bytes::LaunchDigest, code::Coded};
use proptest::prelude::*;

type Fault = fn(&mut Claims);

const HEAD: &str = "package countersign.appraisal\n";

fn judge(claims: &Claims, references: &ReferenceValues) -> PolicyVerdict {
    let policy = AppraisalPolicy::built_in().unwrap();
    let baseline = strict().judge(claims);
    let references = references.judge(claims, now());
    let input = AppraisalInput { claims, baseline: &baseline, reference_values: &references, now: now() };
    let verdict = policy.evaluate(&input).unwrap();
    assert_eq!(policy.interpret(&input).unwrap(), verdict, "the interpreter disagrees");
    verdict
}

fn value(verdict: &PolicyVerdict, label: TrustLabel) -> i8 {
    verdict.trust_vector.value(label).as_i8()
}

fn appraisal_error(source: &str) -> PolicyError {
    match AppraisalPolicy::compile("p", source) {
        Err(error) => error,
        Ok(policy) => {
            let claims = claims();
            let baseline = strict().judge(&claims);
            let references = ReferenceValues::new().judge(&claims, now());
            let input =
                AppraisalInput { claims: &claims, baseline: &baseline, reference_values: &references, now: now() };
            policy.evaluate(&input).unwrap_err()
        }
    }
}

#[test]
fn built_in_policy_affirms_a_good_guest_in_every_claim_it_makes() {
    let verdict = judge(&claims(), &values([set(1, launch(LAUNCH))]));
    assert_eq!(
        serde_json::to_string(&verdict.trust_vector).unwrap(),
        r#"{"instance-identity":2,"configuration":2,"executables":3,"hardware":2,"runtime-opaque":2}"#
    );
    assert!(verdict.reasons.is_empty());
}

#[test]
fn built_in_policy_judges_each_fault() {
    let good = values([set(1, launch(LAUNCH))]);
    let cases: [(&str, Fault, TrustLabel, i8); 9] = [
        ("debug", |c| c.debug = true, TrustLabel::RuntimeOpaque, 96),
        ("debug breaks the baseline", |c| c.debug = true, TrustLabel::Configuration, 96),
        ("unknown code", |c| c.measurement.launch = Some(LaunchDigest([1; 48])), TrustLabel::Executables, 33),
        ("fleet key", |c| c.instance = None, TrustLabel::InstanceIdentity, 0),
        ("simulated hardware", |c| c.platform = Platform::Simulated, TrustLabel::Hardware, 0),
        ("simulated memory", |c| c.platform = Platform::Simulated, TrustLabel::RuntimeOpaque, 0),
        ("out of date", |c| c.tcb.status = Some(TcbStatus::OutOfDate), TrustLabel::Hardware, 32),
        ("advisory", |c| c.tcb.advisories.push("INTEL-SA-00001".to_owned()), TrustLabel::Hardware, 32),
        ("revoked", |c| c.tcb.status = Some(TcbStatus::Revoked), TrustLabel::Hardware, 96),
    ];
    for (name, fault, label, wanted) in cases {
        let mut claims = claims();
        fault(&mut claims);
        assert_eq!(value(&judge(&claims, &good), label), wanted, "{name}");
    }
}

#[test]
fn built_in_policy_affirms_run_time_code_that_is_pinned() {
    let claims = vtpm_claims();
    let runtime = [("pcr4".parse().unwrap(), "44".repeat(32).parse().unwrap())].into();
    let verdict = judge(&claims, &values([set(1, Measurement { runtime, ..Measurement::default() })]));
    assert_eq!(value(&verdict, TrustLabel::Executables), 2);
}

#[test]
fn a_wrong_or_missing_output_is_an_error() {
    let reasons = "reasons := set()\n";
    let vector = "trust_vector := {\"hardware\": 2}\n";
    let digits = "d := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n";
    let cases = [
        ("policy.source", format!("{HEAD}{reasons}")),
        ("policy.source", format!("{HEAD}{vector}")),
        ("policy.source", "package other\n".to_owned()),
        ("policy.source", "package countersign.appraisal\nthis is not rego".to_owned()),
        ("policy.source", " ".repeat(300_000)),
        ("policy.builtin", format!("{HEAD}{reasons}trust_vector := {{\"hardware\": time.now_ns()}}\n")),
        ("policy.builtin", format!("{HEAD}{reasons}trust_vector := {{\"hardware\": count(numbers.range(0, 2))}}\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := 2 if input.nothing\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := {{\"hardware\": 128}}\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := {{\"hardware\": 2.5}}\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := {{\"hardware\": \"2\"}}\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := {{\"hardwear\": 2}}\n")),
        ("policy.output", format!("{HEAD}{reasons}trust_vector := [2]\n")),
        ("policy.output", format!("{HEAD}{vector}reasons := {{1}}\n")),
        ("policy.output", format!("{HEAD}{vector}reasons := \"none\"\n")),
        (
            "policy.output",
            format!(
                "{HEAD}{vector}{digits}reasons := {{sprintf(\"%d%d%d%d\", [a, b, c, e]) | a := d[_]; b := d[_]; c := d[_]; e := d[_]}}\n"
            ),
        ),
        (
            "policy.output",
            format!(
                "{HEAD}{vector}t := \"0123456789abcdef\"\nu := concat(t, [t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t, t])\nreasons := {{concat(u, [u, u, u, u, u, u, u, u, u, u, u])}}\n"
            ),
        ),
        ("policy.output", format!("{HEAD}{reasons}{vector}trust_vector := {{\"hardware\": 3}} if true\n")),
    ];
    for (code, source) in cases {
        assert_eq!(appraisal_error(&source).code().as_str(), code, "{}", source.get(..200).unwrap_or(&source));
    }
}

#[test]
fn an_endless_policy_is_stopped() {
    let digits = "d := [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\n";
    let source = format!(
        "{HEAD}{digits}reasons := set()\ntrust_vector := {{\"hardware\": count([1 | d[_]; d[_]; d[_]; d[_]; d[_]; d[_]; d[_]; d[_]])}}\n"
    );
    assert_eq!(appraisal_error(&source).code().as_str(), "policy.limit");
}

#[test]
fn an_input_that_is_too_long_is_refused() {
    let mut claims = claims();
    claims.report_data = "0".repeat(2 * 1024 * 1024);
    let baseline = strict().judge(&claims);
    let references = ReferenceValues::new().judge(&claims, now());
    let input = AppraisalInput { claims: &claims, baseline: &baseline, reference_values: &references, now: now() };
    let error = AppraisalPolicy::built_in().unwrap().evaluate(&input).unwrap_err();
    assert_eq!(error.code().as_str(), "policy.input");
}

#[test]
fn the_digest_names_the_source() {
    let policy = AppraisalPolicy::built_in().unwrap();
    let id = policy.id().to_string();
    assert!(id.starts_with("default-appraisal@sha256:"), "{id}");
    let other = AppraisalPolicy::compile("default-appraisal", &format!("{}\n", AppraisalPolicy::BUILT_IN_SOURCE));
    assert_ne!(other.unwrap().id().to_string(), id);
}

#[test]
fn programs_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&AppraisalPolicy::built_in().unwrap());
    shared(&ReleasePolicy::built_in().unwrap());
}

#[test]
fn a_recorded_input_gives_the_same_verdict() {
    let claims = claims();
    let baseline = strict().judge(&claims);
    let references = values([set(1, launch(LAUNCH))]).judge(&claims, now());
    let input = AppraisalInput { claims: &claims, baseline: &baseline, reference_values: &references, now: now() };
    let policy = AppraisalPolicy::built_in().unwrap();
    let recorded = serde_json::value::to_raw_value(&input).unwrap();
    assert_eq!(policy.replay(&recorded).unwrap(), policy.evaluate(&input).unwrap());
}

fn affirmed(claims: Claims, references: References<'_>) -> Affirmed {
    let policy = AppraisalPolicy::built_in().unwrap();
    let criteria =
        Criteria { baseline: &strict(), references, policing: Policing::Apply(&policy), warnings: Warnings::Refuse };
    appraise(&authentic(claims), &criteria, now()).affirm().unwrap()
}

fn decide(affirmed: &Affirmed, workloads: &[&str]) -> ReleaseDecision {
    let workloads: Vec<String> = workloads.iter().map(|workload| (*workload).to_owned()).collect();
    let grant = GrantFacts { name: "disk-key", kind: "secret", workloads: &workloads, seal: "tee-key" };
    let lease = LeaseFacts { requested_ttl: 900, renewal: false };
    let input = ReleaseInput::new(affirmed, grant, lease, "default", now());
    let policy = ReleasePolicy::built_in().unwrap();
    let decision = policy.evaluate(&input).unwrap();
    assert_eq!(policy.interpret(&input).unwrap(), decision, "the interpreter disagrees");
    decision
}

#[test]
fn a_grant_is_released_to_the_workload_it_names() {
    let good = values([set(1, launch(LAUNCH))]);
    let affirmed = affirmed(claims(), References::Require(&good));
    assert_eq!(affirmed.appraisal().status(), Tier::Affirming);
    let decision = decide(&affirmed, &["db", "web"]);
    assert_eq!(decision, ReleaseDecision { allowed: true, deny: [].into(), max_ttl: 900 });
}

#[test]
fn a_grant_is_denied_with_the_reason() {
    let good = values([set(1, launch(LAUNCH))]);
    let plain = affirmed(claims(), References::Require(&good));
    let mut claims_simulated = claims();
    claims_simulated.platform = Platform::Simulated;
    let simulated = affirmed(claims_simulated, References::Require(&good));
    let without_references = affirmed(claims(), References::Unchecked { reason: "none given" });
    let mut claims_unrevoked = claims();
    claims_unrevoked.unchecked.push(crate::Unchecked { what: "revocation", reason: "no CRL" });
    let unrevoked = affirmed(claims_unrevoked, References::Require(&good));
    let runtime = [("pcr4".parse().unwrap(), "44".repeat(32).parse().unwrap())].into();
    let vtpm_set = values([set(1, Measurement { runtime, ..Measurement::default() })]);
    let vtpm = affirmed(vtpm_claims(), References::Require(&vtpm_set));
    let cases = [
        (&plain, vec!["db"], "the grant disk-key is not for the workload that was attested"),
        (&plain, vec![], "the grant disk-key is not for the workload that was attested"),
        (&simulated, vec!["web"], "the platform is simulated"),
        (&without_references, vec!["web"], "the check reference_values did not run"),
        (&unrevoked, vec!["web"], "the check revocation did not run"),
        (&vtpm, vec!["web"], "the check paravisor_measurement did not run"),
    ];
    for (affirmed, workloads, reason) in cases {
        let decision = decide(affirmed, &workloads);
        assert!(!decision.allowed && decision.deny.contains(reason), "{reason}: {decision:?}");
    }
}

#[test]
fn a_release_policy_that_allows_and_denies_denies() {
    let source = "package countersign.release\nallow := true\ndeny := {\"no\"}\nmax_ttl := 60\n";
    let policy = ReleasePolicy::compile("p", source).unwrap();
    let good = values([set(1, launch(LAUNCH))]);
    let affirmed = affirmed(claims(), References::Require(&good));
    let grant = GrantFacts { name: "k", kind: "secret", workloads: &[], seal: "tee-key" };
    let lease = LeaseFacts { requested_ttl: 1, renewal: false };
    let decision = policy.evaluate(&ReleaseInput::new(&affirmed, grant, lease, "t", now())).unwrap();
    assert!(!decision.allowed);
}

#[test]
fn tests_of_a_policy_run() {
    let tests = include_str!("default_appraisal_test.rego");
    let outcomes = RegoProgram::run_tests(PolicyPackage::Appraisal, AppraisalPolicy::BUILT_IN_SOURCE, tests).unwrap();
    assert!(outcomes.len() >= 5);
    for outcome in outcomes {
        assert!(outcome.passed, "{outcome:?}");
    }
    let tests = include_str!("default_release_test.rego");
    let outcomes = RegoProgram::run_tests(PolicyPackage::Release, ReleasePolicy::BUILT_IN_SOURCE, tests).unwrap();
    assert!(outcomes.len() >= 5);
    for outcome in outcomes {
        assert!(outcome.passed, "{outcome:?}");
    }
}

#[test]
fn a_false_an_undefined_and_a_failing_test_are_told_apart_from_a_passing_one() {
    let tests = "package countersign.appraisal_test\nimport data.countersign.appraisal\n\
        test_true if appraisal.trust_vector.hardware == 97 with input as {}\n\
        test_undefined if appraisal.trust_vector.hardware == 2 with input as {}\n\
        test_false := false\n\
        test_conflict := true\ntest_conflict := false\n";
    let outcomes = RegoProgram::run_tests(PolicyPackage::Appraisal, AppraisalPolicy::BUILT_IN_SOURCE, tests).unwrap();
    let names: Vec<(&str, bool, bool)> = outcomes
        .iter()
        .map(|outcome| (outcome.name.rsplit('.').next().unwrap(), outcome.passed, outcome.error.is_some()))
        .collect();
    assert_eq!(
        names,
        [
            ("test_true", true, false),
            ("test_undefined", false, false),
            ("test_false", false, false),
            ("test_conflict", false, true)
        ]
    );
}

#[derive(Debug, Clone, Copy)]
struct Guest {
    simulated: bool,
    debug: bool,
    named: bool,
    launched: bool,
    vtpm: bool,
    status: Option<TcbStatus>,
    advisory: bool,
    known: bool,
    unrevoked: bool,
}

fn guest() -> impl Strategy<Value = Guest> {
    let status = prop_oneof![
        Just(None),
        Just(Some(TcbStatus::UpToDate)),
        Just(Some(TcbStatus::SWHardeningNeeded)),
        Just(Some(TcbStatus::Revoked))
    ];
    let bits = proptest::collection::vec(any::<bool>(), 8);
    (status, bits).prop_map(|(status, bits)| Guest {
        simulated: bits[0],
        debug: bits[1],
        named: bits[2],
        launched: bits[3],
        vtpm: bits[4],
        status,
        advisory: bits[5],
        known: bits[6],
        unrevoked: bits[7],
    })
}

impl Guest {
    fn claims(self) -> Claims {
        let mut guest = if self.vtpm { vtpm_claims() } else { claims() };
        if self.simulated {
            guest.platform = Platform::Simulated;
        }
        guest.debug = self.debug;
        guest.tcb.status = self.status;
        if !self.named {
            guest.instance = None;
        }
        if !self.launched {
            guest.measurement.launch = None;
        }
        if self.advisory {
            guest.tcb.advisories.push("INTEL-SA-00001".to_owned());
        }
        if self.unrevoked {
            guest.unchecked.push(crate::Unchecked { what: "revocation", reason: "no CRL" });
        }
        guest
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Compiled and interpreted policies agree on every guest, and what is never to be trusted is never affirmed.
    #[test]
    fn both_implementations_agree(guest in guest()) {
        let digest = if guest.known { LAUNCH } else { LaunchDigest([1; 48]) };
        let references = values([set(1, launch(digest))]);
        let claims = guest.claims();
        let verdict = judge(&claims, &references);
        let policy = AppraisalPolicy::built_in().unwrap();
        let criteria = Criteria {
            baseline: &strict(),
            references: References::Require(&references),
            policing: Policing::Apply(&policy),
            warnings: Warnings::Allow(&TrustLabel::ALL),
        };
        let affirmed = appraise(&authentic(claims), &criteria, now()).affirm();
        prop_assert!(affirmed.is_err() || verdict.trust_vector.status() <= Tier::Warning);
        prop_assert!(affirmed.is_err() || (guest.known && guest.launched && !guest.debug && !guest.vtpm));
        if let Ok(affirmed) = affirmed {
            let decision = decide(&affirmed, &["web"]);
            let bad = guest.simulated || guest.unrevoked;
            prop_assert_eq!(decision.allowed, !bad);
            prop_assert!(!decide(&affirmed, &["db"]).allowed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A policy with a few bytes changed is refused, or judges a guest: it never panics.
    #[test]
    fn a_damaged_policy_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 32u8..127), 1..4),
        end in any::<prop::sample::Index>(),
        cut: bool,
    ) {
        let mut source = AppraisalPolicy::BUILT_IN_SOURCE.as_bytes().to_vec();
        for (index, byte) in edits {
            let at = index.index(source.len());
            source[at] = byte;
        }
        if cut {
            source.truncate(end.index(source.len()));
        }
        let source = String::from_utf8(source).unwrap();
        if let Ok(policy) = AppraisalPolicy::compile("p", &source) {
            let claims = claims();
            let baseline = strict().judge(&claims);
            let references = ReferenceValues::new().judge(&claims, now());
            let input =
                AppraisalInput { claims: &claims, baseline: &baseline, reference_values: &references, now: now() };
            let _ = policy.evaluate(&input);
        }
    }
}
