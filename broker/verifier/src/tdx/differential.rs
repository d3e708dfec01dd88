//! The same evidence through `dcap-qvl`, an independent implementation, with a table of the differences.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests read vectors")]

use std::path::Path;

use dcap_qvl::{QuoteCollateralV3, configs::RustCryptoConfig, verify::QuoteVerifier};
use evidence_formats::tdx::{CollateralBundle, CollateralKind, SignedDocument};

use super::tests::{cases, endorsements, outcome_of, vectors};
use crate::{Endorsements, TcbStatus, Timestamp, TrustAnchors};

/// Where the two answers differ, and why ours is meant.
const DIFFERENCES: [(&str, &str); 31] = [
    ("b_attr_", "TD attributes are judged by the baseline here, by the verifier there"),
    ("a_natural_sept_ve", "TD attributes are judged by the baseline here, by the verifier there"),
    ("azure_", "TD attributes are judged by the baseline here, by the verifier there"),
    ("b_tcbinfo_v4", "structure version 3 is the only one that is published"),
    ("b_qeid_v3", "structure version 2 is the only one that is published"),
    ("b_tcbinfo_tcbtype1", "how another tcbType is compared is not known"),
    ("b_tcbinfo_other_pceid", "PCEID is compared here"),
    ("b_tcbinfo_dup_levels", "of two equal levels neither is right"),
    ("b_tcbinfo_two_members", "of two equal members neither is right"),
    ("b_tcbinfo_edge", "the second of nextUpdate is included here, for CRLs too"),
    ("b_tcbinfo_signer_wrong_cn", "the name of the signing certificate is compared here"),
    ("b_qe_reportdata_tail", "all 64 bytes are compared here"),
    ("b_qe_auth_", "any length of QE authentication data is legal"),
    ("b_pck_crl_future", "thisUpdate is compared here"),
    ("b_pck_wrong_cn", "the name of the PCK certificate is compared here"),
    ("b_chain_", "exactly three certificates here"),
    ("b_outer_type_", "the outer type is compared here"),
    ("b_auth_trailing", "sizes are exact here"),
    ("b_inner_trailing", "sizes are exact here"),
    ("a_tcb_chain_", "a second root of the same name is refused here, ignored there"),
    ("b_crls_swapped", "CRLs are told apart by issuer here, by place there"),
    ("b_root_crl_as_both", "what is missing is not a refusal here"),
    ("b_trailing_junk", "what follows the quote is judged by the baseline here"),
    ("b_module_Revoked", "a revoked TCB is refused by the baseline here"),
    ("b_qe_Revoked", "a revoked TCB is refused by the baseline here"),
    ("b_tcb_Revoked", "a revoked TCB is refused by the baseline here"),
    ("b_seam_attributes_unmasked", "SEAMATTRIBUTES must be zero here"),
    ("b_service_td", "service TDs are judged by the baseline here"),
    ("b_tcbinfo_signer_expired", "every supplied certificate of the signer must be valid here"),
    ("b_pem_extra_text", "comments before the first certificate are accepted here"),
    ("gotdx_spr_e4_v4", "TD attributes are judged by the baseline here, by the verifier there"),
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

fn ours(quote: &[u8], endorsements: &Endorsements, anchors: &TrustAnchors, now: i64) -> Option<(String, Vec<String>)> {
    let (claims, _) = outcome_of(quote, endorsements, anchors, now).ok()?;
    let status = claims.tcb.status.filter(|status| *status != TcbStatus::Revoked)?;
    Some((format!("{status:?}"), claims.tcb.advisories))
}

#[test]
fn both_implementations_agree_or_the_table_says_why_not() {
    let Some(vectors) = vectors() else { return };
    let mut unexplained = Vec::new();
    let mut agreed = 0_u32;
    for case in cases(&vectors) {
        let Some(collateral) = collateral(&case.collateral) else { continue };
        let anchors = TrustAnchors::from_files([case.root.as_slice()]).unwrap();
        let ours = ours(&case.quote, &endorsements(&case.collateral), &anchors, case.now);
        let theirs = theirs(&case.quote, &collateral, &case.root, case.now);
        if ours == theirs {
            agreed = agreed.saturating_add(1);
        } else if !DIFFERENCES.iter().any(|(prefix, _)| case.name.starts_with(prefix)) {
            unexplained.push(format!("{}: ours {ours:?}, theirs {theirs:?}", case.name));
        }
    }
    assert_eq!(unexplained, Vec::<String>::new());
    assert!(agreed > 200, "{agreed}");
}

#[test]
fn the_samples_of_the_published_crate_verify_at_their_time() {
    let metadata = cargo_metadata::MetadataCommand::new().other_options(["--offline".to_owned()]).exec().unwrap();
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "dcap-qvl").unwrap();
    let sample = package.manifest_path.parent().unwrap().join("sample");
    let anchors = TrustAnchors::vendor();
    for (name, now, expected) in [
        ("tdx_quote", "2025-07-04T10:16:31Z", "Ok(UpToDate)"),
        ("tdx_quote_td15ex", "2026-10-23T00:06:48Z", "Ok(UpToDate)"),
        ("tdx_quote_outdated", "2026-03-05T10:50:03Z", "Err(\"endorsement.tdx.tcb_not_supported\")"),
    ] {
        let quote = std::fs::read(sample.join(name)).unwrap();
        let combined = std::fs::read(sample.join(format!("{name}_collateral.json"))).unwrap();
        assert!(CollateralBundle::parse(&combined).is_some(), "{name}");
        let mut endorsements = Endorsements::new();
        endorsements.add(&combined).unwrap();
        let now = Timestamp::parse_rfc3339(now).unwrap().as_unix();
        let outcome = outcome_of(&quote, &endorsements, &anchors, now);
        let actual = format!("{:?}", outcome.map(|(claims, _)| claims.tcb.status.unwrap()).map_err(|(code, _)| code));
        assert_eq!(actual, expected, "{name}");
    }
}
