//! Properties of the whole path, on a genuine quote of a published crate and on simulated ones.

use std::sync::LazyLock;

use evidence_formats::{
    eventlog::{EventLog, RuntimeLog},
    evidence::{Evidence, TdxEvidence},
    init_data::InitData,
    tdx::{MrServiceTd, TdAttribute, TdAttributes, TdReport, TdxQuote, Xfam},
};
use proptest::prelude::*;
use softtee::intel::{PckSpec, TdxPlatform};
use verifier::{
    Claims, Endorsements, InitDataRule, TcbStatus, TrustAnchors,
    baseline::Baseline,
    tdx::{AcceptedTcb, TdxBaseline},
};

use crate::{
    bench::{Bench, endorsements},
    vectors::{Sample, judge, sample},
};

/// Header, TD report 1.0: what the attestation key signs in a quote of version 4.
const SIGNED: usize = 632;
/// Where the authentication data of a quote of version 4 begin: signature, attestation key.
const SIGNATURE: usize = 636;
/// Outer certification data header, then QE report, its signature, and the QE authentication data of 32 bytes.
const QE_REPORT: usize = SIGNATURE + 128 + 6;
const CERTIFICATION: usize = QE_REPORT + 384 + 64 + 2 + 32;

struct Genuine {
    sample: Sample,
    endorsements: Endorsements,
    anchors: TrustAnchors,
}

static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let sample = sample("tdx_quote", "2025-07-04T10:16:31Z");
    let mut endorsements = Endorsements::new();
    endorsements.add(&sample.collateral).unwrap();
    Genuine { sample, endorsements, anchors: TrustAnchors::vendor() }
});

fn genuine(quote: &[u8]) -> Result<Claims, String> {
    judge(quote, &GENUINE.endorsements, &GENUINE.anchors, GENUINE.sample.now)
}

#[test]
fn the_genuine_quote_is_one_of_version_4_with_32_bytes_of_authentication_data() {
    let quote = &GENUINE.sample.quote;
    assert_eq!(quote[..2], [4, 0]);
    assert_eq!(quote[CERTIFICATION - 34..CERTIFICATION - 32], [32, 0]);
    assert_eq!(genuine(quote).unwrap().tcb.status, Some(TcbStatus::UpToDate));
}

#[test]
fn a_flipped_bit_in_every_byte_before_the_certificates_is_refused() {
    for at in 0..CERTIFICATION {
        let mut quote = GENUINE.sample.quote.clone();
        quote[at] ^= 1 << (at % 8);
        assert!(genuine(&quote).is_err(), "offset {at}");
    }
}

/// A TD of many kinds, on a platform of two.
fn claims() -> impl Strategy<Value = Claims> {
    let attributes = prop::sample::select(vec![
        0x1000_0000_u64,
        0,
        0x1000_0001,
        0x3000_0000,
        0x8000_0000_1000_0000,
        0x1000_0002,
        0x4000_0000_1000_0000,
    ]);
    let xfam = prop::sample::select(vec![0x6_02e7_u64, 0x3, 0x8000_0003, 0x1]);
    (attributes, xfam, any::<bool>(), 0..3_u8, 0..3_usize).prop_map(
        |(attributes, xfam, outdated, service, trailing)| {
            let mut platform = TdxPlatform::new();
            if outdated {
                platform.pck.set_components(PckSpec::OUTDATED);
            }
            let mut td = if service == 0 { platform.td() } else { platform.td15() };
            td.info.attributes = TdAttributes(attributes);
            td.info.xfam = Xfam(xfam);
            if let Some(td15) = &mut td.td15 {
                td15.mr_service_td = MrServiceTd([service - 1; 48]);
            }
            let mut quote = platform.quote(&td);
            quote.trailing = vec![7; trailing];
            let bench = Bench::new();
            let evidence = TdxEvidence::parse(&quote.to_bytes(&platform), None).unwrap();
            let collateral = endorsements(&platform.collateral(softtee::intel::AT));
            bench.judge_by(&Evidence::Tdx(Box::new(evidence)), &collateral, verifier::CrlFloors::NONE).unwrap()
        },
    )
}

/// A baseline that allows this and that.
fn baseline() -> impl Strategy<Value = TdxBaseline> {
    let attributes = prop::collection::vec(prop::sample::select(TdAttribute::ALL.to_vec()), 0..4);
    let lists = (attributes.clone(), attributes, any::<[bool; 6]>());
    let numbers = (prop::option::of(0..30_u32), prop::option::of(0..60_u32), prop::option::of(any::<u64>()));
    let status = prop::sample::select(vec![TcbStatus::OutOfDate, TcbStatus::SWHardeningNeeded]);
    let tcb = (prop::collection::vec(status, 0..3), prop::option::of(Just(vec!["INTEL-SA-01036".to_owned()])));
    (lists, numbers, tcb).prop_map(|((allow, refuse, flags), (number, age, mask), (statuses, advisories))| {
        TdxBaseline {
            allow_debug: flags[0],
            allow_sept_ve: flags[1],
            allow_attributes: allow,
            refuse_attributes: refuse,
            xfam_mask: mask.map(|mask| mask | 3),
            mr_service_td: if flags[2] { vec![MrServiceTd([1; 48])] } else { Vec::new() },
            require_quote_v5: flags[3],
            accept_tcb: statuses.into_iter().map(|status| AcceptedTcb::unlimited(status).unwrap()).collect(),
            allow_advisories: advisories,
            min_evaluation_number: number,
            max_collateral_age_days: age,
            allow_trailing_data: flags[4],
            init_data: if flags[5] { InitDataRule::Require } else { InitDataRule::IfPresent },
            ..TdxBaseline::default()
        }
    })
}

/// The same rules, one of them tighter.
fn tighter(baseline: &TdxBaseline, how: usize) -> TdxBaseline {
    let mut tight = baseline.clone();
    match how {
        0 => tight.allow_debug = false,
        1 => tight.allow_sept_ve = false,
        2 => drop(tight.allow_attributes.pop()),
        3 => tight.refuse_attributes.push(TdAttribute::Perfmon),
        4 => tight.xfam_mask = Some(tight.xfam_mask.unwrap_or(Xfam::KNOWN) & 0xff | 3),
        5 => tight.mr_seam = Some(Vec::new()),
        6 => tight.mr_service_td.clear(),
        7 => tight.require_quote_v5 = true,
        8 => tight.mr_config_id = Some(Vec::new()),
        9 => tight.mr_owner = Some(Vec::new()),
        10 => tight.mr_owner_config = Some(Vec::new()),
        11 => drop(tight.accept_tcb.pop()),
        12 => tight.allow_advisories = Some(Vec::new()),
        13 => tight.refuse_advisories.push("INTEL-SA-01036".to_owned()),
        14 => tight.min_evaluation_number = Some(tight.min_evaluation_number.unwrap_or(17) + 5),
        15 => tight.max_collateral_age_days = Some(tight.max_collateral_age_days.unwrap_or(30) / 2),
        16 => tight.allow_trailing_data = false,
        17 => tight.fmspc = Some(Vec::new()),
        18 => tight.platforms = Some(Vec::new()),
        _ => tight.init_data = InitDataRule::Require,
    }
    tight
}

fn accepts(tdx: &TdxBaseline, claims: &Claims) -> bool {
    Baseline { tdx: tdx.clone(), ..Baseline::default() }.judge(claims).violations.is_empty()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_flipped_bit_in_the_signed_bytes_is_refused(at in 0..SIGNED, bit in 0..8_u32) {
        let mut quote = GENUINE.sample.quote.clone();
        quote[at] ^= 1 << bit;
        prop_assert!(genuine(&quote).is_err());
    }

    #[test]
    fn any_flipped_bit_in_what_the_platform_vouches_for_is_refused(at in SIGNATURE + 64..QE_REPORT + 384, bit in 0..8_u32) {
        let mut quote = GENUINE.sample.quote.clone();
        quote[at] ^= 1 << bit;
        prop_assert!(genuine(&quote).is_err());
    }

    #[test]
    fn tightening_a_baseline_never_turns_a_rejection_into_an_acceptance(
        claims in claims(),
        baseline in baseline(),
        how in prop::collection::vec(0..20_usize, 1..4),
    ) {
        let tight = how.iter().fold(baseline.clone(), |baseline, how| tighter(&baseline, *how));
        prop_assert!(accepts(&baseline, &claims) || !accepts(&tight, &claims), "{baseline:?} {how:?}");
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = TdxQuote::parse(&bytes);
        let _ = TdReport::parse(&bytes);
        let _ = EventLog::parse(&bytes);
        let _ = RuntimeLog::parse(&bytes);
        let _ = InitData::parse(&bytes);
        let _ = Endorsements::new().add(&bytes);
    }

    #[test]
    fn a_genuine_quote_with_arbitrary_bytes_in_it_never_panics(
        at in 0..6000_usize,
        bytes in prop::collection::vec(any::<u8>(), 1..64),
        cut in 0..6000_usize,
    ) {
        let mut quote = GENUINE.sample.quote.clone();
        let at = at % quote.len();
        let length = quote.len();
        let end = (at + bytes.len()).min(length);
        quote[at..end].copy_from_slice(&bytes[..end - at]);
        quote.truncate(length - cut % 64);
        let _ = genuine(&quote);
        let log = [RuntimeLog::empty(), bytes].concat();
        let _ = RuntimeLog::parse(&log);
    }
}
