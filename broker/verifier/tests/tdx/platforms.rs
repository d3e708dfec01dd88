//! Which platform a TD runs on, what its lists must look like, and how long a judgement of it holds.

use evidence_formats::{
    bytes::Sha384Digest,
    code::Coded,
    evidence::{Evidence, TdxEvidence},
};
use softtee::{
    intel::{AT, Collateral, TdxPlatform},
    x509::{CrlSpec, oids},
};
use time::Duration;
use verifier::{
    Authentic, Claims, Criteria, CrlFloors, Policing, RawClaims, Revocation, Terms, Timestamp, Warnings, appraise,
    authenticate,
    baseline::Baseline,
    reference::References,
    result::{AttestationResult, ResultProfile, ResultTerms},
    tdx::TdxClaims,
};

use crate::bench::{Bench, endorsements};

fn evidence(bench: &Bench) -> Evidence {
    let quote = bench.platform.quote(&bench.platform.td()).to_bytes(&bench.platform);
    Evidence::Tdx(Box::new(TdxEvidence::parse(&quote, None).unwrap()))
}

fn tdx(claims: &Claims) -> &TdxClaims {
    let RawClaims::Tdx(tdx) = &claims.raw else { panic!("expected TDX claims") };
    tdx
}

#[test]
fn a_platform_is_allowed_or_denied_by_its_certificate() {
    let bench = Bench::new();
    let claims = bench.judge(&evidence(&bench)).unwrap();
    let pck = &tdx(&claims).pck;
    let (fmspc, ppid) = (pck.fmspc.to_string(), pck.ppid.to_string());
    let instance = pck.platform_instance.clone().unwrap();
    let (no_fmspc, nobody) = ("ffffffffffff".to_owned(), "ee".repeat(16));
    let table = [
        (format!("fmspc = [\"{fmspc}\"]"), ""),
        (format!("fmspc = [\"{no_fmspc}\", \"{fmspc}\"]"), ""),
        (format!("fmspc = [\"{no_fmspc}\"]"), "baseline.tdx.fmspc"),
        ("fmspc = []".to_owned(), "baseline.tdx.fmspc"),
        (format!("platforms = [\"{nobody}\", \"{ppid}\"]"), ""),
        (format!("platforms = [\"{instance}\"]"), ""),
        (format!("platforms = [\"{nobody}\"]"), "baseline.tdx.platform_not_allowed"),
        ("platforms = []".to_owned(), "baseline.tdx.platform_not_allowed"),
        (format!("denied_platforms = [\"{nobody}\"]"), ""),
        (format!("denied_platforms = [\"{ppid}\"]"), "baseline.tdx.platform_denied"),
        (format!("denied_platforms = [\"{instance}\"]"), "baseline.tdx.platform_denied"),
        (format!("platforms = [\"{ppid}\"]\ndenied_platforms = [\"{instance}\"]"), "baseline.tdx.platform_denied"),
    ];
    for (rule, expected) in table {
        let outcome = Baseline::from_toml(&format!("[baseline.tdx]\n{rule}")).unwrap().judge(&claims);
        let code = outcome.violations.first().map_or("", |violation| violation.code.as_str());
        assert_eq!(code, expected, "{rule}");
    }
    for malformed in ["fmspc = [\"00\"]", "platforms = [\"00\"]", "denied_platforms = [1]"] {
        assert!(Baseline::from_toml(&format!("[baseline.tdx]\n{malformed}")).is_err(), "{malformed}");
    }
}

#[test]
fn lists_without_the_key_identifier_of_their_issuer_are_refused() {
    let bench = Bench::new();
    let without = |list: &CrlSpec| {
        let mut list = list.clone();
        list.extensions.retain(|extension| extension.oid != oids::AUTHORITY_KEY_IDENTIFIER);
        list
    };
    let judge = |change: &dyn Fn(&mut Collateral)| {
        let mut collateral = bench.platform.collateral(AT);
        change(&mut collateral);
        bench.judge_by(&evidence(&bench), &endorsements(&collateral), CrlFloors::NONE).map(|_claims| ())
    };
    assert_eq!(judge(&|_same| {}), Ok(()));
    let refused = |code: &str| Err(code.to_owned());
    assert_eq!(judge(&|it| it.root_crl = without(&it.root_crl)), refused("endorsement.tdx.root_crl_format"));
    assert_eq!(judge(&|it| it.pck_crl = without(&it.pck_crl)), refused("endorsement.tdx.pck_crl_format"));
}

#[test]
fn registers_without_a_log_are_named_as_unexplained() {
    let bench = Bench::new();
    let names_log = |extended: bool, log: Option<&[u8]>| {
        let mut td = bench.platform.td();
        if !extended {
            td.info.rtmr = [Sha384Digest([0; 48]); 4];
        }
        let quote = bench.platform.quote(&td).to_bytes(&bench.platform);
        let evidence = Evidence::Tdx(Box::new(TdxEvidence::parse(&quote, log).unwrap()));
        let claims = bench.judge(&evidence).unwrap();
        claims.unchecked.iter().any(|unchecked| unchecked.what == "event_log")
    };
    assert!(names_log(true, None));
    assert!(!names_log(true, Some(&TdxPlatform::event_log().to_bytes())));
    // Behind a paravisor nothing is ever extended.
    assert!(!names_log(false, None));
}

#[test]
fn where_lists_are_optional_one_that_ran_out_still_revokes() {
    let bench = Bench::new();
    let pck = bench.platform.pki.pck(&bench.platform.pck).certificate.serial;
    let judge = |revocation, change: &dyn Fn(&mut Collateral)| {
        let mut collateral = bench.platform.collateral(AT);
        change(&mut collateral);
        let terms = Terms { revocation, ..bench.terms(CrlFloors::NONE) };
        let outcome = authenticate(&evidence(&bench), &endorsements(&collateral), &terms);
        outcome.map_err(|error| error.code().to_string()).map(|authentic| {
            let what = authentic.claims().unchecked.iter().map(|unchecked| unchecked.what);
            what.filter(|what| *what != "event_log").collect::<Vec<_>>().join(" ")
        })
    };
    let stale = |it: &mut Collateral| it.pck_crl.next_update = Some(AT - Duration::hours(1));
    let future = |it: &mut Collateral| it.root_crl.this_update = AT + Duration::hours(1);
    let revoking = |it: &mut Collateral| {
        stale(it);
        it.pck_crl = it.pck_crl.clone().revoking(&pck);
    };
    let ok = |unchecked: &str| Ok(unchecked.to_owned());
    let refused = |code: &str| Err(code.to_owned());
    assert_eq!(judge(Revocation::IfPresent, &|_same| {}), ok("report_data"));
    assert_eq!(judge(Revocation::IfPresent, &stale), ok("revocation report_data"));
    assert_eq!(judge(Revocation::IfPresent, &future), ok("revocation report_data"));
    assert_eq!(judge(Revocation::IfPresent, &revoking), refused("endorsement.tdx.pck_revoked"));
    assert_eq!(judge(Revocation::Require, &stale), refused("endorsement.tdx.pck_crl_expired"));
    assert_eq!(judge(Revocation::Require, &future), refused("endorsement.tdx.root_crl_expired"));
    assert_eq!(judge(Revocation::Require, &revoking), refused("endorsement.tdx.pck_revoked"));
}

#[test]
fn a_result_ends_with_the_collateral_that_it_rests_on() {
    let bench = Bench::new();
    let authentic = |now: Timestamp, revocation| -> Authentic<Claims> {
        let terms = Terms { revocation, now, ..bench.terms(CrlFloors::NONE) };
        authenticate(&evidence(&bench), &bench.endorsements, &terms).unwrap()
    };
    let ends = |now: Timestamp, revocation| {
        let baseline = Baseline::default();
        let criteria = Criteria {
            baseline: &baseline,
            references: References::Unchecked { reason: "a test" },
            policing: Policing::Unapplied { reason: "a test" },
            warnings: Warnings::Refuse,
        };
        let appraisal = appraise(&authentic(now, revocation), &criteria, now);
        let terms = ResultTerms {
            issuer: "https://broker.example",
            audience: &[],
            token_id: "1",
            nonce: "AAAA",
            key: &"key",
            status: None,
            issued_at: now,
            lifetime: 900,
            developer: "test",
            build: "1",
        };
        AttestationResult::new(ResultProfile::EarDraft04, &appraisal, terms).expires_at()
    };
    let now = Timestamp::from_unix(AT.unix_timestamp());
    assert_eq!(ends(now, Revocation::Require), now.plus_seconds(900));
    let until = tdx(authentic(now, Revocation::Require).claims()).collateral.valid_until;
    let late = until.plus_seconds(-60);
    assert_eq!(ends(late, Revocation::Require), until);
    assert!(Duration::seconds(until.as_unix() - now.as_unix()) > Duration::days(1));
}
