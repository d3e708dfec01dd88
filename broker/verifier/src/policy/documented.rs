//! The documentation of policies, checked against the real thing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use serde_json::Value;

use super::*;
use crate::{
    Claims, Criteria, Policing, Signer, TcbStatus, Warnings, appraise,
    baseline::{BaselineOutcome, Violation},
    fixtures::{LAUNCH, authentic, claims, launch, now, set, strict, values, vtpm_claims},
    reference::{ReferenceValues, References, SetKind},
};

const PAGE: &str = include_str!("../../../../docs/policies.md");

const APPRAISAL: &str = "policy-input.schema.json";
const RELEASE: &str = "release-input.schema.json";

/// The document that a reference names, and what stands behind the `#`. Without a name it is `here`.
fn document<'r>(reference: &'r str, here: &'r str) -> (&'r str, &'r str, Value) {
    let (file, pointer) = reference.split_once('#').unwrap();
    let file = if file.is_empty() { here } else { file };
    let text = match file {
        APPRAISAL => include_str!("../../../../docs/policy-input.schema.json"),
        RELEASE => include_str!("../../../../docs/release-input.schema.json"),
        "policy-output.schema.json" => include_str!("../../../../docs/policy-output.schema.json"),
        other => panic!("the schema names {other}, which this test does not know"),
    };
    (file, pointer, serde_json::from_str(text).unwrap())
}

/// Whether `value` is what the schema at `reference` describes.
fn conforms_to(value: &Value, reference: &str) -> Result<(), String> {
    let (file, pointer, root) = document(reference, "");
    conforms(value, root.pointer(pointer).unwrap(), file, "")
}

/// The part of JSON Schema that the documents use; another keyword fails the test.
fn conforms(value: &Value, schema: &Value, here: &str, at: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let (file, pointer, root) = document(wanted.as_str().unwrap(), here);
                conforms(value, root.pointer(pointer).unwrap(), file, at)?;
            }
            "type" => {
                let found = match value {
                    Value::Null => "null",
                    Value::Bool(_) => "boolean",
                    Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
                    Value::Number(_) => "number",
                    Value::String(_) => "string",
                    Value::Array(_) => "array",
                    Value::Object(_) => "object",
                };
                if wanted != found {
                    return Err(format!("{at}: expected {wanted}, found {found}"));
                }
            }
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    return Err(format!("{at}: {value} is not one of {wanted}"));
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return Err(format!("{at}: {name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        conforms(member, schema, here, &format!("{at}/{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let others = value.as_object().unwrap().iter();
                for (name, member) in others.filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name))) {
                    if wanted == &Value::Bool(false) {
                        return Err(format!("{at}: {name} is not documented"));
                    }
                    conforms(member, wanted, here, &format!("{at}/{name}"))?;
                }
            }
            "items" => {
                for (index, item) in value.as_array().unwrap().iter().enumerate() {
                    conforms(item, wanted, here, &format!("{at}/{index}"))?;
                }
            }
            other => panic!("the schema uses {other}, which this test does not know"),
        }
    }
    Ok(())
}

fn input(claims: &Claims, baseline: &BaselineOutcome, references: &ReferenceValues) -> Value {
    let references = references.judge(claims, now());
    serde_json::to_value(AppraisalInput { claims, baseline, reference_values: &references, now: now() }).unwrap()
}

fn inputs() -> Vec<Value> {
    let mut rich = vtpm_claims();
    rich.signer =
        Some(Signer { id_key_digest: "66".repeat(48), author_key_digest: Some("77".repeat(48)), guest_svn: Some(5) });
    rich.tcb.status = Some(TcbStatus::OutOfDate);
    rich.tcb.evaluated_at = Some(now());
    rich.tcb.advisories.push("INTEL-SA-00001".to_owned());
    rich.tcb.versions.insert("current", [("snp", 8)].into());
    let broken = BaselineOutcome {
        violations: vec![Violation {
            code: evidence_formats::code::Code::new("baseline.snp.vmpl"),
            expected: "0".to_owned(),
            actual: "1".to_owned(),
        }],
        relaxed: vec!["snp.allow_smt".to_owned()],
        unchecked: rich.unchecked.clone(),
    };
    let mut named = launch(LAUNCH);
    named.name = Some("4 vCPUs".to_owned());
    let mut paravisor = set(2, named.clone());
    paravisor.kind = SetKind::Paravisor;
    let good = BaselineOutcome::default();
    vec![
        input(&claims(), &good, &values([set(1, named.clone())])),
        input(&rich, &broken, &values([set(1, named), paravisor])),
    ]
}

#[test]
fn the_schema_describes_real_inputs() {
    for input in inputs() {
        conforms_to(&input, "policy-input.schema.json#").unwrap();
    }
}

#[test]
fn the_schema_refuses_what_it_does_not_describe() {
    let mut input = inputs().remove(0);
    input["claims"]["extra"] = Value::Null;
    assert!(conforms_to(&input, "policy-input.schema.json#").is_err());
    let mut input = release_input();
    conforms_to(&input, "release-input.schema.json#").unwrap();
    input["claims"]["tcb"]["status"] = Value::from("Fine");
    assert!(conforms_to(&input, "release-input.schema.json#").is_err());
}

fn release_input() -> Value {
    let good = values([set(1, launch(LAUNCH))]);
    let policy = AppraisalPolicy::built_in().unwrap();
    let criteria = Criteria {
        baseline: &strict(),
        references: References::Require(&good),
        policing: Policing::Apply(&policy),
        warnings: Warnings::Refuse,
    };
    let affirmed = appraise(&authentic(claims()), &criteria, now()).affirm().unwrap();
    let workloads = ["web".to_owned()];
    let grant = GrantFacts { name: "disk-key", kind: "secret", workloads: &workloads, seal: "tee-key" };
    let lease = LeaseFacts { requested_ttl: 900, renewal: false };
    serde_json::to_value(ReleaseInput::new(&affirmed, grant, lease, "default", now())).unwrap()
}

#[test]
fn the_guests_that_policies_are_tried_on_are_of_the_form() {
    use super::check::probes;
    for guest in [probes::good_guest(), probes::bad_guest()] {
        conforms_to(&guest, "policy-input.schema.json#").unwrap();
    }
    for question in [probes::good_release(), probes::bad_release()] {
        conforms_to(&question, "release-input.schema.json#").unwrap();
    }
}

#[test]
fn the_answers_are_of_the_documented_form() {
    let raw = |value: &Value| serde_json::value::to_raw_value(value).unwrap();
    let verdict = AppraisalPolicy::built_in().unwrap().replay(&raw(&inputs().remove(1))).unwrap();
    conforms_to(&serde_json::to_value(verdict).unwrap(), "policy-output.schema.json#/$defs/appraisal").unwrap();
    let decision = ReleasePolicy::built_in().unwrap().replay(&raw(&release_input())).unwrap();
    let answer = serde_json::json!({"allow": decision.allowed, "deny": decision.deny, "max_ttl": decision.max_ttl});
    conforms_to(&answer, "policy-output.schema.json#/$defs/release").unwrap();
}

#[test]
fn the_documented_policy_and_test_run() {
    let blocks: Vec<&str> = PAGE.split("```rego\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let [policy, tests] = blocks.as_slice() else { panic!("expected two examples, found {}", blocks.len()) };
    AppraisalPolicy::compile("documented", policy).unwrap();
    let outcomes = RegoProgram::run_tests(PolicyPackage::Appraisal, AppraisalPolicy::BUILT_IN_SOURCE, tests).unwrap();
    assert!(outcomes.len() == 1 && outcomes[0].passed, "{outcomes:?}");
}

#[test]
fn the_documented_checks_are_those_of_the_release_policy() {
    let checks =
        ReleasePolicy::BUILT_IN_SOURCE.split("required_checks := {").nth(1).unwrap().split('}').next().unwrap();
    for check in checks.split('"').skip(1).step_by(2) {
        assert!(PAGE.contains(&format!("`{check}`")), "{check}");
    }
}
