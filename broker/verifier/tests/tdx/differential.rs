//! The same evidence through `dcap-qvl`, an independent implementation, with a table of the differences.

use std::path::Path;

use dcap_qvl::{QuoteCollateralV3, configs::RustCryptoConfig, verify::QuoteVerifier};
use evidence_formats::tdx::{CollateralBundle, CollateralKind, SignedDocument};
use verifier::{Claims, Endorsements, TcbStatus, TrustAnchors, baseline::Baseline};

use crate::vectors::{cases, endorsements, judge, sample, vectors};

/// Why the two answers differ.
#[derive(Clone, Copy)]
enum Reason {
    /// The other implementation refuses while it verifies; here the evidence is authentic, and the default baseline refuses
    /// it with this code.
    Baseline(&'static str),
    /// This implementation is stricter.
    Stricter(&'static str),
    /// This implementation accepts what the specification allows.
    Allowed(&'static str),
}
use Reason::{Allowed, Baseline as ByBaseline, Stricter};

const SEPT_VE: Reason = ByBaseline("baseline.tdx.sept_ve_disable");
const RESERVED: Reason = ByBaseline("baseline.tdx.reserved_attributes");
const OUTER_TYPE: Reason = Stricter("the outer type is compared here");
const ROOTS: Reason = Stricter("a second root of the same name is refused here, ignored there");

/// Every case on which the two differ, by its exact name. Some cases of the index are not always shipped.
const DIFFERENCES: [(&str, Reason); 39] = [
    ("a_natural_sept_ve", SEPT_VE),
    ("a_tcb_chain_2033_root", ROOTS),
    ("a_tcb_chain_selfmade_root", ROOTS),
    ("azure_live2026_v4 collateral/20260325", SEPT_VE),
    ("azure_live2026_v4 collateral/20260401", SEPT_VE),
    ("azure_teekit_v4 collateral/20251031", SEPT_VE),
    ("azure_teekit_v4 collateral/20260222", SEPT_VE),
    ("azure_trustee_v4 collateral/20251031", SEPT_VE),
    ("azure_trustee_v4 collateral/20260222", SEPT_VE),
    ("azure_zkdcap_v4 collateral/20250205", SEPT_VE),
    ("azure_zkdcap_v4 collateral/20251031", SEPT_VE),
    ("azure_zkdcap_v4 collateral/20260222", SEPT_VE),
    ("b_attr_migratable", ByBaseline("baseline.tdx.migratable")),
    ("b_attr_reserved_bit32", RESERVED),
    ("b_attr_reserved_bit8", RESERVED),
    ("b_attr_sept_ve_disable_0", SEPT_VE),
    ("b_attr_servtd_ext_bit17", ByBaseline("baseline.tdx.servtd_ext")),
    ("b_attr_tud_bit7", RESERVED),
    ("b_attr_tud_reserved_bit1", RESERVED),
    ("b_auth_trailing", Stricter("sizes are exact here")),
    ("b_chain_4", Stricter("exactly three certificates here")),
    ("b_chain_no_root", Stricter("exactly three certificates here")),
    ("b_crls_swapped", Allowed("CRLs are told apart by issuer here, by place there")),
    ("b_inner_trailing", Stricter("sizes are exact here")),
    ("b_outer_type_0", OUTER_TYPE),
    ("b_outer_type_5", OUTER_TYPE),
    ("b_outer_type_7", OUTER_TYPE),
    ("b_pck_crl_future", Stricter("thisUpdate is compared here")),
    ("b_pck_wrong_cn", Stricter("the name of the PCK certificate is compared here")),
    ("b_qe_auth_33", Allowed("any length of QE authentication data is legal")),
    ("b_qe_auth_empty", Allowed("any length of QE authentication data is legal")),
    ("b_qe_reportdata_tail", Stricter("all 64 bytes of the QE report data are compared here")),
    ("b_qeid_v3", Stricter("structure version 2 is the only one that is published")),
    ("b_tcbinfo_dup_levels", Stricter("of two equal levels neither is right")),
    ("b_tcbinfo_edge", Allowed("the second of nextUpdate is included here, for CRLs too")),
    ("b_tcbinfo_other_pceid", Stricter("the PCEID is compared here")),
    ("b_tcbinfo_signer_wrong_cn", Stricter("the name of the signing certificate is compared here")),
    ("b_tcbinfo_tcbtype1", Stricter("how another tcbType is compared is not known")),
    ("b_tcbinfo_v4", Stricter("structure version 3 is the only one that is published")),
];

/// The collateral of a folder as that library takes it; absent when a document cannot even be taken apart.
fn collateral(folder: &Path) -> Option<QuoteCollateralV3> {
    let bytes = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(bytes(name)).unwrap();
    let tcb_info = SignedDocument::parse(CollateralKind::TcbInfo, &bytes("tcb_info.json")).ok()?;
    let qe_identity = SignedDocument::parse(CollateralKind::QeIdentity, &bytes("qe_identity.json")).ok()?;
    Some(QuoteCollateralV3 {
        pck_crl_issuer_chain: text("pck_crl_issuer_chain.pem"),
        root_ca_crl: bytes("root_ca_crl.der"),
        pck_crl: bytes("pck_crl.der"),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain.pem"),
        tcb_info: tcb_info.signed_text().to_owned(),
        tcb_info_signature: tcb_info.signature().as_bytes().to_vec(),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain.pem"),
        qe_identity: qe_identity.signed_text().to_owned(),
        qe_identity_signature: qe_identity.signature().as_bytes().to_vec(),
        pck_certificate_chain: None,
    })
}

fn theirs(quote: &[u8], collateral: &QuoteCollateralV3, root: &[u8], now: i64) -> Option<(String, Vec<String>)> {
    let verifier = QuoteVerifier::<RustCryptoConfig>::new_with_config(root.to_vec());
    let now = u64::try_from(now).unwrap();
    let report = verifier.allow_debug(true).allow_service_td(true).verify(quote, collateral, now).ok()?;
    let mut advisories = report.advisory_ids;
    advisories.sort();
    Some((report.status, advisories))
}

/// Ours, with what the default baseline says of it.
fn ours(outcome: &Result<Claims, String>) -> Option<(String, Vec<String>)> {
    let claims = outcome.as_ref().ok()?;
    let status = claims.tcb.status.filter(|status| *status != TcbStatus::Revoked)?;
    Some((format!("{status:?}"), claims.tcb.advisories.clone()))
}

/// Whether `reason` is what really sets `outcome` apart.
fn explains(reason: Reason, outcome: &Result<Claims, String>) -> Result<(), String> {
    let codes = |claims: &Claims| Baseline::default().judge(claims).violations.into_iter().map(|found| found.code);
    match (reason, outcome) {
        (ByBaseline(code), Ok(claims)) if codes(claims).any(|found| found.as_str() == code) => Ok(()),
        (Stricter(_), Err(_)) | (Allowed(_), Ok(_)) => Ok(()),
        (ByBaseline(reason) | Stricter(reason) | Allowed(reason), outcome) => Err(format!("{reason}: {outcome:?}")),
    }
}

#[test]
fn both_implementations_agree_or_the_table_says_why_not() {
    let Some(vectors) = vectors() else { return };
    let (mut found, mut shipped) = (Vec::new(), Vec::new());
    let mut agreed = 0_u32;
    for case in cases(&vectors) {
        shipped.push(case.name.clone());
        let Some(collateral) = collateral(&case.collateral) else { continue };
        let anchors = TrustAnchors::from_files([case.root.as_slice()]).unwrap();
        let outcome = judge(&case.quote, &endorsements(&case.collateral), &anchors, case.now);
        let theirs = theirs(&case.quote, &collateral, &case.root, case.now);
        if ours(&outcome) == theirs {
            agreed = agreed.saturating_add(1);
            continue;
        }
        let row = DIFFERENCES.iter().find(|(name, _)| *name == case.name);
        let (_, reason) = row.unwrap_or_else(|| panic!("{}: ours {:?}, theirs {theirs:?}", case.name, ours(&outcome)));
        assert_eq!(explains(*reason, &outcome), Ok(()), "{}", case.name);
        found.push(case.name);
    }
    // A row whose difference is gone explains nothing any more.
    let here = |name: &&str| shipped.iter().any(|case| case == name);
    let rows: Vec<_> = DIFFERENCES.iter().map(|(name, _)| *name).filter(here).collect();
    assert_eq!(found, rows);
    assert!(agreed > 200, "{agreed}");
}

#[test]
fn the_samples_of_the_published_crate_verify_at_their_time() {
    let anchors = TrustAnchors::vendor();
    for (name, now, expected) in [
        ("tdx_quote", "2025-07-04T10:16:31Z", "Ok(UpToDate)"),
        ("tdx_quote_td15ex", "2026-10-23T00:06:48Z", "Ok(UpToDate)"),
        ("tdx_quote_outdated", "2026-03-05T10:50:03Z", "Err(\"endorsement.tdx.tcb_not_supported\")"),
    ] {
        let sample = sample(name, now);
        assert!(CollateralBundle::parse(&sample.collateral).is_some(), "{name}");
        let mut endorsements = Endorsements::new();
        endorsements.add(&sample.collateral).unwrap();
        let outcome = judge(&sample.quote, &endorsements, &anchors, sample.now);
        assert_eq!(format!("{:?}", outcome.map(|claims| claims.tcb.status.unwrap())), expected, "{name}");
    }
}
