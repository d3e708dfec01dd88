//! Real and mutated TDX evidence, parsed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests read vectors"
)]

use std::path::{Path, PathBuf};

use evidence_formats::{
    code::Coded,
    tdx::{
        CollateralKind, QeIdentity, QuoteError, QuoteVersion, SignedDocument, TcbInfo, TdAttribute, TdReport, TdxQuote,
        Trailing, recognise,
    },
};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let found =
        ["../shared/vectors/tdx", "../../shared/vectors/tdx"].iter().map(|path| root.join(path)).find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn cases(vectors: &Path) -> Vec<PathBuf> {
    let mut cases: Vec<_> = std::fs::read_dir(vectors)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.json").is_file() && path.join("quote.bin").is_file())
        .collect();
    cases.sort();
    cases
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn sample() -> Option<Vec<u8>> {
    Some(std::fs::read(vectors()?.join("phala_td15ex_v5/quote.bin")).unwrap())
}

#[test]
fn every_field_of_every_real_quote_is_read() {
    let Some(vectors) = vectors() else { return };
    for case in cases(&vectors) {
        let expected = json(&case.join("expected.json"));
        let quote = TdxQuote::parse(&std::fs::read(case.join("quote.bin")).unwrap()).unwrap();
        let fields = &expected["quote"]["body"];
        let name = case.display();
        let same = |field: &str, actual: String| assert_eq!(fields[field].as_str().unwrap(), actual, "{name}: {field}");
        same("tee_tcb_svn", quote.body.tee_tcb_svn.to_string());
        same("mr_seam", quote.body.mr_seam.to_string());
        same("mr_signer_seam", quote.body.mr_signer_seam.to_string());
        same("seam_attributes", quote.body.seam_attributes.to_string());
        same("td_attributes", hex::encode(quote.body.info.attributes.0.to_le_bytes()));
        same("xfam", hex::encode(quote.body.info.xfam.0.to_le_bytes()));
        same("mr_td", quote.body.info.mr_td.to_string());
        same("mr_config_id", quote.body.info.mr_config_id.to_string());
        same("mr_owner", quote.body.info.mr_owner.to_string());
        same("mr_owner_config", quote.body.info.mr_owner_config.to_string());
        for (index, rtmr) in quote.body.info.rtmr.iter().enumerate() {
            same(&format!("rtmr{index}"), rtmr.to_string());
        }
        same("report_data", quote.body.report_data.to_string());
        assert_eq!(quote.body.td15.is_some(), fields.get("mr_service_td").is_some(), "{name}");
        if let Some(td15) = &quote.body.td15 {
            same("tee_tcb_svn2", td15.current_tee_tcb_svn.to_string());
            same("mr_service_td", td15.mr_service_td.to_string());
            if let Some(extended) = &td15.extended {
                same("vmid", hex::encode([extended.vmid]));
                same("td_id", hex::encode(extended.td_id));
                same("init_tee_fmspc", hex::encode(extended.initial_fmspc));
                same("cur_service_td_hash", extended.current_service_td.to_string());
            }
        }
        let qe = &expected["quote"]["qe_report"];
        assert_eq!(qe["mr_enclave"], hex::encode(quote.qe_report.mr_enclave));
        assert_eq!(qe["mr_signer"], hex::encode(quote.qe_report.mr_signer));
        assert_eq!(qe["isv_svn"], quote.qe_report.isv_svn);
        assert_eq!(qe["report_data"], hex::encode(quote.qe_report.report_data));
        assert_eq!(expected["quote"]["qe_auth_data"], hex::encode(quote.qe_auth_data()));
        assert_eq!(expected["quote"]["attestation_key"], quote.attestation_key.to_string());
        assert_eq!(expected["quote"]["signed_len"], quote.signed_bytes().len());
        assert_eq!(expected["quote"]["header"]["version"], quote.version.number());
        assert_eq!(expected["canonical_len"], quote.canonical_bytes().len());
        let (length, zeros) = match quote.trailing {
            Trailing::None => (0, true),
            Trailing::Padding { length } => (length, true),
            Trailing::Data { length } => (length, false),
        };
        assert_eq!(expected["trailing_bytes"], length, "{name}");
        assert_eq!(expected["trailing_all_zero"], zeros, "{name}");
        assert_eq!(expected["td_flags"]["debug"], quote.body.info.attributes.has(TdAttribute::Debug));
        assert_eq!(quote.as_bytes().len(), quote.canonical_bytes().len() + length);
    }
}

#[test]
fn malformed_quotes_are_refused_for_their_cause() {
    let Some(vectors) = vectors() else { return };
    let causes = [
        ("QUOTE_VERSION", "parse.tdx.version"),
        ("ATT_KEY_TYPE", "parse.tdx.attestation_key_type"),
        ("TEE_TYPE", "parse.tdx.tee_type"),
        ("QE_VENDOR", "parse.tdx.qe_vendor"),
        ("BODY_TYPE", "parse.tdx.body_type"),
        ("BODY_SIZE", "parse.tdx.body_size"),
        ("CERT_TYPE_OUTER", "parse.tdx.certification_type"),
        ("CERT_TYPE_INNER", "parse.tdx.certification_type"),
    ];
    for entry in std::fs::read_dir(vectors.join("_neg")).unwrap() {
        let case = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(case.join("quote.bin")) else { continue };
        let expected = json(&case.join("case.json"));
        let code = expected["expected"]["code"].as_str().unwrap_or_default();
        let actual = TdxQuote::parse(&bytes).err().map(|error| error.code());
        if code == "QUOTE_FORMAT" {
            assert!(
                matches!(actual, Some(code) if ["parse.tdx.length", "parse.tdx.size_field", "parse.tdx.certification_type"].contains(&code.as_str())),
                "{}: {actual:?}",
                case.display()
            );
        } else if let Some((_, wanted)) = causes.iter().find(|(cause, _)| *cause == code) {
            assert_eq!(actual.map(|code| code.as_str()), Some(*wanted), "{}", case.display());
        } else if !case.ends_with("b_chain_1000") {
            assert_eq!(actual, None, "{}", case.display());
        }
    }
}

#[test]
fn a_quote_cut_anywhere_is_refused() {
    let Some(quote) = sample() else { return };
    for length in 0..quote.len() {
        assert!(TdxQuote::parse(&quote[..length]).is_err(), "{length}");
    }
    assert_eq!(TdxQuote::parse(&quote).unwrap().version, QuoteVersion::V5);
}

#[test]
fn padding_is_zeros_only_and_bounded() {
    let Some(mut quote) = sample() else { return };
    let length = quote.len();
    quote.resize(8000, 0);
    assert_eq!(TdxQuote::parse(&quote).unwrap().trailing, Trailing::Padding { length: 8000 - length });
    quote[7999] = 1;
    assert_eq!(TdxQuote::parse(&quote).unwrap().trailing, Trailing::Data { length: 8000 - length });
    quote.resize(65_537, 0);
    assert_eq!(TdxQuote::parse(&quote), Err(QuoteError::TooLong { found: 65_537 }));
}

#[test]
fn every_genuine_document_is_read_and_only_as_what_it_is() {
    let Some(vectors) = vectors() else { return };
    for folder in ["_root/tcb_info", "_root/qe_identity"] {
        for entry in std::fs::read_dir(vectors.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let kind = recognise(&bytes).unwrap();
            let document = SignedDocument::parse(kind, &bytes).unwrap();
            assert!(document.signed_text().starts_with('{') && document.signed_text().ends_with('}'));
            let tdx = path.to_string_lossy().contains("_TDX_") || path.to_string_lossy().contains("_TD_QE_");
            let outcome = match kind {
                CollateralKind::TcbInfo => TcbInfo::parse(&document).map(|_| ()),
                CollateralKind::QeIdentity => QeIdentity::parse(&document).map(|_| ()),
            };
            assert_eq!(outcome.is_ok(), tdx, "{}: {outcome:?}", path.display());
        }
    }
}

#[test]
fn td_report_fields_stand_where_the_quote_has_them() {
    let Some(vectors) = vectors() else { return };
    let hcl = std::fs::read(vectors.join("azure_trustee_v4/azure/hcl-report.bin")).unwrap();
    let quote = TdxQuote::parse(&std::fs::read(vectors.join("azure_trustee_v4/quote.bin")).unwrap()).unwrap();
    let report = TdReport::parse(&hcl[32..32 + TdReport::LENGTH]).unwrap();
    assert_eq!(report.info, quote.body.info);
    assert_eq!(report.report_data, quote.body.report_data);
    assert_eq!(report.mr_seam, quote.body.mr_seam);
    assert!(TdReport::parse(&hcl[32..32 + TdReport::LENGTH - 1]).is_err());
    assert!(TdReport::parse(&[0; TdReport::LENGTH]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = TdxQuote::parse(&bytes);
        let _ = TdReport::parse(&bytes);
        for kind in [CollateralKind::TcbInfo, CollateralKind::QeIdentity] {
            let _ = SignedDocument::parse(kind, &bytes);
        }
    }

    #[test]
    fn a_mutated_quote_never_panics_and_keeps_what_it_received(position in 0usize..5247, bit in 0u8..8) {
        if let Some(mut quote) = sample() {
            quote[position] ^= 1 << bit;
            if let Ok(parsed) = TdxQuote::parse(&quote) {
                prop_assert_eq!(parsed.as_bytes(), quote.as_slice());
            }
        }
    }
}
