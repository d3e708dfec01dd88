//! Guests of which the right answer is known, put to the policy.

use serde_json::{Value, json, value::to_raw_value};

use super::Finding;
use crate::{
    ar4si::Tier,
    policy::{AppraisalPolicy, PolicyError, PolicyPackage, ReleasePolicy},
};

/// What the policy's answers about known guests give away.
pub(super) fn findings(package: PolicyPackage, source: &str) -> Result<Vec<Finding>, PolicyError> {
    match package {
        PolicyPackage::Appraisal => appraisal(&AppraisalPolicy::compile("checked", source)?),
        PolicyPackage::Release => release(&ReleasePolicy::compile("checked", source)?),
    }
}

fn appraisal(policy: &AppraisalPolicy) -> Result<Vec<Finding>, PolicyError> {
    let affirms = |input: &Value| {
        let verdict = policy.replay(&raw(input)?)?;
        Ok(verdict.trust_vector.status() == Tier::Affirming)
    };
    let bad = "a guest on revoked hardware that its host can read and whose code nobody knows";
    Ok([
        trusted(affirms(&json!({})), "affirms", "a guest that says nothing"),
        trusted(affirms(&bad_guest()), "affirms", bad),
        distrusted(affirms(&good_guest()), "does not affirm even"),
    ]
    .into_iter()
    .flatten()
    .collect())
}

fn release(policy: &ReleasePolicy) -> Result<Vec<Finding>, PolicyError> {
    let allows = |input: &Value| Ok(policy.replay(&raw(input)?)?.allowed);
    let bad = "a grant for another workload to a simulated guest of which nothing was checked";
    Ok([
        trusted(allows(&json!({})), "allows", "a grant to a guest that says nothing"),
        trusted(allows(&bad_release()), "allows", bad),
        distrusted(allows(&good_release()), "denies a grant even to"),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// A probe that nobody should trust.
fn trusted(answer: Result<bool, PolicyError>, verb: &str, whom: &str) -> Option<Finding> {
    match answer {
        Ok(true) => Some(Finding::mistake(1, format!("the policy {verb} {whom}"))),
        Ok(false) => None,
        // A failure refuses, and so does no harm; but its author meant to say something else.
        Err(error) => Some(Finding::warning(1, format!("the policy fails on a guest that says nothing: {error}")))
            .filter(|_| whom.ends_with("says nothing")),
    }
}

/// A probe that most policies trust.
fn distrusted(answer: Result<bool, PolicyError>, verb: &str) -> Option<Finding> {
    match answer {
        Ok(true) => None,
        Ok(false) => Some(Finding::warning(1, format!("the policy {verb} a guest in which nothing is wrong"))),
        Err(error) => {
            Some(Finding::mistake(1, format!("the policy fails on a guest in which nothing is wrong: {error}")))
        }
    }
}

fn raw(input: &Value) -> Result<Box<serde_json::value::RawValue>, PolicyError> {
    to_raw_value(input).map_err(|error| PolicyError::Input { message: error.to_string() })
}

/// An appraisal of a guest in which nothing is wrong.
pub(in crate::policy) fn good_guest() -> Value {
    json!({
        "claims": claims(false, "bare", "UpToDate"),
        "baseline": {"violations": [], "relaxed": [], "unchecked": []},
        "reference_values": {"configured": true, "matched": [matched()], "paravisor": [], "near_misses": []},
        "now": "2026-11-22T00:00:00Z",
    })
}

/// An appraisal of a guest in which everything is wrong.
pub(in crate::policy) fn bad_guest() -> Value {
    let violation = json!({"code": "baseline.snp.debug", "expected": "no debugging", "actual": "debugging"});
    json!({
        "claims": claims(true, "simulated", "Revoked"),
        "baseline": {"violations": [violation], "relaxed": ["snp.allow_smt"], "unchecked": []},
        "reference_values": {"configured": true, "matched": [], "paravisor": [], "near_misses": []},
        "now": "2026-11-22T00:00:00Z",
    })
}

/// A question for a grant that the guest should have.
pub(in crate::policy) fn good_release() -> Value {
    release_input("bare", &["web"], &[])
}

/// A question for a grant that no such guest should have.
pub(in crate::policy) fn bad_release() -> Value {
    let unchecked = [
        "appraisal_policy",
        "binding",
        "nonce",
        "paravisor_measurement",
        "reference_values",
        "report_data",
        "revocation",
        "user_data",
    ];
    release_input("simulated", &["other"], &unchecked)
}

fn release_input(platform: &str, workloads: &[&str], unchecked: &[&str]) -> Value {
    json!({
        "result": {
            "status": "affirming",
            "trust_vector": {"instance-identity": 2, "configuration": 2, "executables": 2, "hardware": 2, "runtime-opaque": 2},
            "workloads": ["web"], "reference_values": [matched()], "relaxed": [], "unchecked": unchecked,
            "policy": "default-appraisal@sha256:00",
        },
        "claims": claims(false, platform, "UpToDate"),
        "grant": {"name": "disk-key", "type": "secret", "workloads": workloads, "seal": "tee-key"},
        "lease": {"requested_ttl": 900, "renewal": false},
        "tenant": "default",
        "now": "2026-11-22T00:00:00Z",
    })
}

fn claims(debug: bool, platform: &str, status: &str) -> Value {
    json!({
        "hwmodel": "amd-genoa", "platform": platform, "debug": debug,
        "measurement": {"launch": "9f".repeat(48), "runtime": {}},
        "tcb": {"status": status, "versions": {}, "advisories": []},
        "instance": "11".repeat(64), "host_data": "00".repeat(32), "report_data": "22".repeat(64),
        "unchecked": [], "raw": {},
    })
}

fn matched() -> Value {
    json!({
        "id": "web-prod", "version": 4, "workload": "web", "pinned": ["launch", "event.kernel"],
        "holds_until": "2027-01-01T00:00:00Z",
    })
}
