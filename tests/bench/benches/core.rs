//! Criterion's view of the core: `cargo bench -p bench`. Ratios and limits are `scripts/bench`.

use std::hint::black_box;

use bench::fixture::{Case, Remember};
use criterion::{Criterion, criterion_group, criterion_main};
use evidence_formats::snp::SnpReport;
use verifier::{Forgetful, authenticate};

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

criterion_group!(benches, core);
criterion_main!(benches);
