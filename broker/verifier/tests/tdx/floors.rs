//! What was once seen is not taken back.

use evidence_formats::evidence::{Evidence, TdxEvidence};
use softtee::intel::{AT, Collateral, TdxPlatform};
use time::Duration;
use verifier::{CrlFloors, RawClaims, x509::CrlNumber};

use crate::bench::{Bench, endorsements};

type Change = fn(&mut Collateral);

fn evidence(platform: &TdxPlatform) -> Evidence {
    let quote = platform.quote(&platform.td()).to_bytes(platform);
    Evidence::Tdx(Box::new(TdxEvidence::parse(&quote, None).unwrap()))
}

/// Floors after the healthy collateral was seen.
fn floors(bench: &Bench) -> CrlFloors {
    let claims = bench.judge(&evidence(&bench.platform)).unwrap();
    let RawClaims::Tdx(raw) = &claims.raw else { panic!("expected TDX claims") };
    let mut floors = CrlFloors::default();
    raw.collateral.floors.iter().for_each(|floor| floors.raise(&floor.subject, floor.number));
    floors
}

#[test]
fn older_collateral_than_was_seen_is_refused_by_name() {
    let bench = Bench::new();
    let floors = floors(&bench);
    let evidence = evidence(&bench.platform);
    let with = |change: Change| {
        let mut collateral = bench.platform.collateral(AT);
        change(&mut collateral);
        bench.judge_by(&evidence, &endorsements(&collateral), &floors).map(|_claims| ())
    };
    assert_eq!(with(|_same| {}), Ok(()));
    assert_eq!(with(|newer| newer.tcb_info.tcb_evaluation_data_number += 1), Ok(()));
    let table: [(Change, &str); 6] = [
        (|it| it.tcb_info.tcb_evaluation_data_number -= 1, "endorsement.tdx.tcb_info_rollback"),
        (|it| it.qe_identity.tcb_evaluation_data_number -= 1, "endorsement.tdx.qe_identity_rollback"),
        (|it| it.root_crl = it.root_crl.clone().numbered(0), "endorsement.tdx.root_crl_rollback"),
        (|it| it.pck_crl = it.pck_crl.clone().numbered(0), "endorsement.tdx.pck_crl_rollback"),
        (|it| it.root_crl.this_update -= Duration::hours(1), "endorsement.tdx.root_crl_rollback"),
        (|it| it.pck_crl.this_update -= Duration::hours(1), "endorsement.tdx.pck_crl_rollback"),
    ];
    for (index, (change, code)) in table.into_iter().enumerate() {
        assert_eq!(with(change), Err(code.to_owned()), "row {index}");
        // Without the memory each is as good as another.
        let mut collateral = bench.platform.collateral(AT);
        change(&mut collateral);
        assert!(bench.judge_by(&evidence, &endorsements(&collateral), CrlFloors::NONE).is_ok(), "row {index}");
    }
}

#[test]
fn the_number_of_another_kind_of_processor_says_nothing_about_this_one() {
    let bench = Bench::new();
    let mut floors = CrlFloors::default();
    floors.raise("tcbEvaluationDataNumber of TCB info ffffffffffff", CrlNumber::from(99));
    let outcome = bench.judge_by(&evidence(&bench.platform), &bench.endorsements, &floors);
    assert!(outcome.is_ok());
}
