//! The documentation of policies, checked against the real thing.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use serde_json::Value;

use super::*;
use crate::{
    Claims, Signer, TcbStatus,
    baseline::{BaselineOutcome, Violation},
    fixtures::{LAUNCH, claims, launch, now, set, values, vtpm_claims},
    reference::{ReferenceValues, SetKind},
};

const PAGE: &str = include_str!("../../../../docs/policies.md");

/// The part of JSON Schema that `docs/policy-input.schema.json` uses; another keyword fails the test.
fn conforms(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                conforms(value, root.pointer(pointer).unwrap(), root, at)?;
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
                        conforms(member, schema, root, &format!("{at}/{name}"))?;
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
                    conforms(member, wanted, root, &format!("{at}/{name}"))?;
                }
            }
            "items" => {
                for (index, item) in value.as_array().unwrap().iter().enumerate() {
                    conforms(item, wanted, root, &format!("{at}/{index}"))?;
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
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/policy-input.schema.json")).unwrap();
    for input in inputs() {
        conforms(&input, &schema, &schema, "").unwrap();
    }
}

#[test]
fn the_schema_refuses_what_it_does_not_describe() {
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/policy-input.schema.json")).unwrap();
    let mut input = inputs().remove(0);
    input["claims"]["extra"] = Value::Null;
    assert!(conforms(&input, &schema, &schema, "").is_err());
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
