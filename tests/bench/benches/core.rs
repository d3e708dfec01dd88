//! Criterion's view of the core: `cargo bench -p bench`. Ratios and limits are `scripts/bench`.

use std::hint::black_box;

use bench::fixture::{Case, Remember};
use criterion::{Criterion, criterion_group, criterion_main};
use evidence_formats::snp::SnpReport;
use verifier::{
    Criteria, Forgetful, Policing, Warnings, appraise, authenticate,
    baseline::Baseline,
    policy::AppraisalPolicy,
    reference::{ReferenceValues, References},
};

/// Reference sets of 200 images with four alternatives each; the last one is the simulated guest's.
fn two_hundred_images(launch: &str) -> Option<ReferenceValues> {
    let set = |version: usize| {
        let alternative = |index: usize| match (version, index) {
            (200, 3) => format!("{{\"launch\":\"{launch}\"}}"),
            _ => format!("{{\"launch\":\"{:096x}\"}}", version.saturating_mul(8).saturating_add(index)),
        };
        let alternatives: Vec<String> = (0..4).map(alternative).collect();
        format!(
            "{{\"id\":\"web\",\"version\":{version},\"workload\":\"web\",\"not_before\":\"2026-01-01T00:00:00Z\",\
             \"not_after\":\"2027-01-01T00:00:00Z\",\"provenance\":\"bench\",\"measurements\":[{}]}}",
            alternatives.join(",")
        )
    };
    let sets: Vec<String> = (1..=200).map(set).collect();
    let document = format!("{{\"format\":\"countersign.reference-values/1\",\"sets\":[{}]}}", sets.join(","));
    ReferenceValues::parse(document.as_bytes()).ok()
}

fn core(criterion: &mut Criterion) {
    let Ok(case) = Case::simulated() else { return };
    let bytes = case.report().as_bytes();
    criterion.bench_function("parse a report", |bench| bench.iter(|| SnpReport::parse(black_box(bytes)).is_ok()));
    let memory = Remember::default();
    let warm = case.terms(&memory);
    criterion.bench_function("authenticate, warm", |bench| {
        bench.iter(|| authenticate(black_box(&case.evidence), &case.endorsements, &warm).is_ok());
    });
    let cold = case.terms(&Forgetful);
    criterion.bench_function("authenticate, cold", |bench| {
        bench.iter(|| authenticate(black_box(&case.evidence), &case.endorsements, &cold).is_ok());
    });
}

fn policy(criterion: &mut Criterion) {
    let Ok(case) = Case::simulated() else { return };
    let terms = case.terms(&Forgetful);
    let Ok(evidence) = authenticate(&case.evidence, &case.endorsements, &terms) else { return };
    let launch = evidence.claims().measurement.launch.map(|digest| digest.to_string()).unwrap_or_default();
    let (Some(references), Ok(policy)) = (two_hundred_images(&launch), AppraisalPolicy::built_in()) else { return };
    let criteria = Criteria {
        baseline: &Baseline::default(),
        references: References::Require(&references),
        policing: Policing::Apply(&policy),
        warnings: Warnings::Refuse,
    };
    let appraisal = appraise(&evidence, &criteria, terms.now);
    let input = appraisal.policy_input();
    criterion.bench_function("evaluate the built-in appraisal policy", |bench| {
        bench.iter(|| policy.evaluate(black_box(&input)).is_ok());
    });
    criterion.bench_function("appraise against 200 images", |bench| {
        bench.iter(|| appraise(black_box(&evidence), &criteria, terms.now).code());
    });
}

criterion_group!(benches, core, policy);
criterion_main!(benches);
