//! Policies over a realistic guest: 200 images of four registers each, 1,000 revoked chips, 60 events.
#![expect(clippy::arithmetic_side_effects, reason = "small constants")]

use std::{collections::BTreeMap, hint::black_box};

use anyhow::{Context, Result, ensure};
use bench::{
    clock::{Compared, compare, cost},
    fixture::{Case, Remember},
    table::{Limit, Row},
};
use verifier::{
    Claims, Criteria, Policing, RuntimeMeasurement, Timestamp, Warnings, appraise, authenticate,
    baseline::Baseline,
    policy::{AppraisalInput, AppraisalPolicy, GrantFacts, LeaseFacts, ReleaseInput, ReleasePolicy},
    reference::{ReferenceValues, References},
};

const ROUNDS: usize = 101;
const IMAGES: usize = 200;
const CHIPS: usize = 1000;
const REGISTERS: usize = 4;
const EVENTS: usize = 60;

/// Every row about policies.
pub(super) fn rows(case: &Case) -> Result<Vec<Row>> {
    let memory = Remember::default();
    let authentic = authenticate(&case.evidence, &case.endorsements, &case.terms(&memory))?;
    let now = case.terms(&memory).now;
    let claims = realistic(authentic.claims());
    let images = images(now)?;
    let baseline = Baseline::default();
    let plain = AppraisalPolicy::built_in()?;
    let with_chips = AppraisalPolicy::compile("chips", &refusing_chips())?;

    let outcome = baseline.judge(&claims);
    let matched = images.judge(&claims, now);
    ensure!(matched.matched().len() == 1, "expected one image to match");
    let input = AppraisalInput { claims: &claims, baseline: &outcome, reference_values: &matched, now };
    let mut rows = vec![
        alone("match 200 images of 4 registers", Limit::None, &mut || {
            black_box(images.judge(black_box(&claims), now));
            Ok(())
        })?,
        beside_interpreter("evaluate the built-in appraisal policy", &plain, &input)?,
        beside_text(&plain, &input)?,
        beside_interpreter("the same, refusing 1,000 revoked chips", &with_chips, &input)?,
    ];
    let whole = "appraise: baseline, 200 images, policy with 1,000 revoked chips, 60 events";
    rows.push(alone(whole, Limit::Micros(100.0), &mut || {
        let baseline = baseline.judge(&claims);
        let matched = images.judge(&claims, now);
        let input = AppraisalInput { claims: &claims, baseline: &baseline, reference_values: &matched, now };
        black_box(with_chips.evaluate(&input)?);
        Ok(())
    })?);
    let unchecked = References::Unchecked { reason: "a benchmark" };
    let policing = Policing::Apply(&plain);
    let criteria = Criteria { baseline: &baseline, references: unchecked, policing, warnings: Warnings::Refuse };
    rows.push(alone("appraise an SNP guest without event log", Limit::None, &mut || {
        black_box(appraise(&authentic, &criteria, now));
        Ok(())
    })?);
    let affirmed = appraise(&authentic, &criteria, now).affirm()?;
    let release = ReleasePolicy::built_in()?;
    let workloads = vec!["web".to_owned()];
    rows.push(alone("evaluate the built-in release policy", Limit::Micros(100.0), &mut || {
        let grant = GrantFacts { name: "disk-key", kind: "secret", workloads: &workloads, seal: "tee-key" };
        let lease = LeaseFacts { requested_ttl: 900, renewal: false };
        black_box(release.evaluate(&ReleaseInput::new(&affirmed, grant, lease, "default", now))?);
        Ok(())
    })?);
    Ok(rows)
}

fn alone(name: &'static str, limit: Limit, work: &mut dyn FnMut() -> Result<()>) -> Result<Row> {
    let ours = cost(ROUNDS, 50, work)?;
    Ok(Row { name, beside: "", costs: Compared { ours, other: 0.0, ratio: 0.0 }, limit })
}

fn beside_interpreter(name: &'static str, policy: &AppraisalPolicy, input: &AppraisalInput<'_>) -> Result<Row> {
    ensure!(policy.evaluate(input)? == policy.interpret(input)?, "expected one answer of both implementations");
    let mut compiled = || {
        black_box(policy.evaluate(input)?);
        Ok(())
    };
    let mut interpreted = || {
        black_box(policy.interpret(input)?);
        Ok(())
    };
    let costs = compare(ROUNDS, 20, &mut compiled, &mut interpreted)?;
    Ok(Row { name, beside: "the interpreter", costs, limit: Limit::None })
}

/// Facts become a value directly; the other way writes them as JSON and reads that.
fn beside_text(policy: &AppraisalPolicy, input: &AppraisalInput<'_>) -> Result<Row> {
    let mut direct = || {
        black_box(policy.evaluate(input)?);
        Ok(())
    };
    let mut through_text = || {
        black_box(policy.replay(&serde_json::value::to_raw_value(input)?)?);
        Ok(())
    };
    let costs = compare(ROUNDS, 20, &mut direct, &mut through_text)?;
    let name = "evaluate the built-in appraisal policy";
    Ok(Row { name, beside: "facts through JSON text", costs, limit: Limit::None })
}

/// The claims of a guest with an event log: 60 events in four registers.
fn realistic(claims: &Claims) -> Claims {
    let mut claims = claims.clone();
    for register in 0..REGISTERS {
        let events: BTreeMap<String, Vec<String>> = (0..EVENTS / REGISTERS)
            .map(|event| (format!("event-{register}-{event}"), vec![digest(1000 + event)]))
            .collect();
        let value = digest(register);
        claims.measurement.runtime.insert(format!("pcr{register}"), RuntimeMeasurement { value, events });
    }
    claims
}

/// Sets that differ in their last register; the last set is the guest's.
fn images(now: Timestamp) -> Result<ReferenceValues> {
    let sets: Vec<serde_json::Value> = (0..IMAGES)
        .map(|image| {
            let last = if image + 1 == IMAGES { REGISTERS - 1 } else { 10_000 + image };
            let mut registers: BTreeMap<String, String> =
                (0..REGISTERS - 1).map(|register| (format!("pcr{register}"), digest(register))).collect();
            registers.insert(format!("pcr{}", REGISTERS - 1), digest(last));
            serde_json::json!({
                "id": format!("image-{image}"), "version": 1, "workload": "web", "provenance": "benchmark",
                "not_before": now.plus_seconds(-3600), "not_after": now.plus_seconds(3600),
                "measurements": [{"runtime": registers}],
            })
        })
        .collect();
    let document = serde_json::json!({"format": "countersign.reference-values/1", "sets": sets});
    ReferenceValues::parse(&serde_json::to_vec(&document)?).context("the benchmark's reference values")
}

/// The built-in policy with a list of chips that make hardware contraindicated.
fn refusing_chips() -> String {
    let chips: Vec<String> = (0..CHIPS).map(|chip| format!("\"{}\"", digest(100_000 + chip).repeat(2))).collect();
    let unless_revoked = "\tup_to_date\n\tnot input.claims.instance in revoked_chips\n}";
    let policy = AppraisalPolicy::BUILT_IN_SOURCE.replacen("\tup_to_date\n}", unless_revoked, 1);
    format!("{policy}\nrevoked_chips := {{{}}}\n", chips.join(",\n"))
}

/// A text like a SHA-256 digest, another one for each number.
fn digest(number: usize) -> String {
    format!("{number:064x}")
}
