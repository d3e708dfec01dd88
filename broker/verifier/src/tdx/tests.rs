//! Real and mutated evidence against its known verdicts.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests read vectors"
)]

use std::path::{Path, PathBuf};

use evidence_formats::{
    code::Coded,
    eventlog::EventLog,
    evidence::{Evidence, TdxEvidence},
    tdx::TdxQuote,
};
use serde_json::Value;

use super::{TdxBaseline, baseline::Findings};
use crate::{
    ChainKey, ChainMemory, Claims, CrlFloors, Endorsements, Expected, Forgetful, RawClaims, Revocation, Terms,
    Timestamp, TrustAnchors, VerifiedChain, authenticate,
};

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.parent()?;
    let found =
        ["../shared/vectors/tdx", "../../shared/vectors/tdx"].iter().map(|path| root.join(path)).find(|p| p.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The outcome of one verification: claims and baseline findings, or the code of the refusal and whether it is for want
/// of an endorsement.
type Outcome = Result<(Claims, Findings), (String, bool)>;

fn endorsements(folder: &Path) -> Endorsements {
    let mut endorsements = Endorsements::new();
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        // What is no endorsement is ignored, as the command line does.
        let _unknown = endorsements.add(&std::fs::read(&path).unwrap());
    }
    endorsements
}

fn terms<'a>(anchors: &'a TrustAnchors, now: i64, memory: &'a dyn ChainMemory) -> Terms<'a> {
    Terms {
        anchors,
        revocation: Revocation::Require,
        expected: Expected::Unchecked { reason: "a test" },
        now: Timestamp::from_unix(now),
        memory,
        crl_floors: CrlFloors::NONE,
        tpm: crate::tpm::TpmTerms::DEFAULT,
    }
}

fn verify(quote: &[u8], collateral: &Path, anchors: &TrustAnchors, now: i64) -> Outcome {
    outcome_of(quote, &endorsements(collateral), anchors, now)
}

fn outcome_of(quote: &[u8], endorsements: &Endorsements, anchors: &TrustAnchors, now: i64) -> Outcome {
    let evidence = TdxEvidence::parse(quote, None).map_err(|error| (error.code().to_string(), false))?;
    let authentic = authenticate(&Evidence::Tdx(Box::new(evidence)), endorsements, &terms(anchors, now, &Forgetful))
        .map_err(|error| (error.code().to_string(), error.is_missing_endorsement()))?;
    let claims = authentic.claims().clone();
    let RawClaims::Tdx(raw) = &claims.raw else { panic!("expected TDX claims") };
    let findings = TdxBaseline::default().judge(raw);
    Ok((claims, findings))
}

/// Keeps everything.
#[derive(Default)]
struct Memory(std::cell::RefCell<Vec<(ChainKey, VerifiedChain)>>);

impl ChainMemory for Memory {
    fn recall(&self, key: &ChainKey) -> Option<VerifiedChain> {
        self.0.borrow().iter().find(|(known, _)| known == key).map(|(_, chain)| chain.clone())
    }

    fn remember(&self, key: ChainKey, chain: VerifiedChain) {
        self.0.borrow_mut().push((key, chain));
    }
}

#[test]
fn a_remembered_platform_gives_the_same_claims_until_something_changes() {
    let Some(vectors) = vectors() else { return };
    let case = vectors.join("phala_td15ex_v5");
    let quote = std::fs::read(case.join("quote.bin")).unwrap();
    let mut endorsements = endorsements(&case.join("collateral/20261023"));
    let (anchors, memory) = (TrustAnchors::vendor(), Memory::default());
    let verify = |quote: &[u8], endorsements: &Endorsements, now: i64| {
        let evidence = Evidence::Tdx(Box::new(TdxEvidence::parse(quote, None).unwrap()));
        authenticate(&evidence, endorsements, &terms(&anchors, now, &memory))
            .map(|authentic| authentic.claims().clone())
            .map_err(|error| error.code().to_string())
    };
    let cold = verify(&quote, &endorsements, 1_792_714_008).unwrap();
    assert_eq!(memory.0.borrow().len(), 1);
    assert_eq!(verify(&quote, &endorsements, 1_792_714_008), Ok(cold));
    assert_eq!(memory.0.borrow().len(), 1);
    // The signatures of the quote itself are checked every time.
    let mut forged = quote.clone();
    forged[600] ^= 1;
    assert_eq!(verify(&forged, &endorsements, 1_792_714_008), Err("authenticate.tdx.signature".to_owned()));
    // Once a document has run out, memory does not help.
    assert!(verify(&quote, &endorsements, 1_800_000_000).unwrap_err().ends_with("_expired"));
    // Another document is another platform.
    endorsements.add(&std::fs::read(vectors.join("_root/Intel_SGX_PCK_Processor_CA.pem")).unwrap()).unwrap();
    assert!(verify(&quote, &endorsements, 1_792_714_008).is_ok());
    assert_eq!(memory.0.borrow().len(), 2);
}

#[test]
fn what_the_guest_committed_to_is_compared_whole() {
    let Some(vectors) = vectors() else { return };
    let case = vectors.join("phala_td15ex_v5");
    let evidence = TdxEvidence::parse(&std::fs::read(case.join("quote.bin")).unwrap(), None).unwrap();
    let mut report_data = evidence.quote.body.report_data;
    let evidence = Evidence::Tdx(Box::new(evidence));
    let endorsements = endorsements(&case.join("collateral/20261023"));
    let anchors = TrustAnchors::vendor();
    let verify = |report_data, endorsements: &Endorsements| {
        let terms = Terms { expected: Expected::ReportData(report_data), ..terms(&anchors, 1_792_714_008, &Forgetful) };
        authenticate(&evidence, endorsements, &terms).map(|_| ()).map_err(|error| error.code().to_string())
    };
    assert_eq!(verify(report_data, &endorsements), Ok(()));
    assert_eq!(verify(report_data, &Endorsements::new()), Err("endorsement.tdx.root_crl_missing".to_owned()));
    report_data.0[63] ^= 1;
    assert_eq!(verify(report_data, &endorsements), Err("binding.tdx.report_data".to_owned()));
    assert_eq!(verify(report_data, &Endorsements::new()), Err("binding.tdx.report_data".to_owned()));
}

#[test]
fn an_old_tcb_is_accepted_by_name_and_until_its_date() {
    let Some(vectors) = vectors() else { return };
    let case = vectors.join("phala_tdx_quote_v4");
    let quote = std::fs::read(case.join("quote.bin")).unwrap();
    let outcome = verify(&quote, &case.join("collateral/20261023"), &TrustAnchors::vendor(), 1_792_714_008);
    let (claims, strict) = outcome.unwrap();
    assert_eq!(strict.violations.first().unwrap().0.as_str(), "baseline.tdx.tcb_status");
    let judge = |rule: &str| {
        let baseline = crate::baseline::Baseline::from_toml(&format!("[baseline.tdx]\n{rule}")).unwrap();
        let outcome = baseline.judge(&claims);
        outcome.violations.first().map_or_else(|| outcome.relaxed.join(" "), |first| first.code.to_string())
    };
    // Judged on 2026-10-23; the TCB is of 2025-05-14.
    let relaxed = "tdx.accept_tcb.OutOfDate";
    assert_eq!(judge(r#"accept_tcb = ["OutOfDate"]"#), relaxed);
    assert_eq!(judge(r#"accept_tcb = ["SWHardeningNeeded"]"#), "baseline.tdx.tcb_status");
    for (limit, accepted) in [
        (r#"until = "2026-10-24T00:00:00Z""#, true),
        (r#"until = "2026-10-22T00:00:00Z""#, false),
        ("days_after_tcb_date = 600", true),
        ("days_after_tcb_date = 30", false),
    ] {
        let expected = if accepted { relaxed } else { "baseline.tdx.tcb_status" };
        assert_eq!(judge(&format!("accept_tcb = [{{ status = \"OutOfDate\", {limit} }}]")), expected, "{limit}");
    }
    let accepted = r#"accept_tcb = ["OutOfDate"]"#;
    assert_eq!(judge(&format!("{accepted}\nallow_advisories = [\"INTEL-SA-01192\"]")), "baseline.tdx.advisory");
    assert_eq!(judge(&format!("{accepted}\nrefuse_advisories = [\"INTEL-SA-01192\"]")), "baseline.tdx.advisory");
    assert_eq!(judge(&format!("{accepted}\nmin_evaluation_number = 21")), "baseline.tdx.evaluation_number");
    assert_eq!(judge(&format!("{accepted}\nmax_collateral_age_days = 1")), "baseline.tdx.collateral_age");
    assert_eq!(judge(&format!("{accepted}\nrequire_quote_v5 = true")), "baseline.tdx.quote_version");
    assert_eq!(judge(&format!("{accepted}\nmr_seam = []")), "baseline.tdx.mr_seam");
    let revoked = crate::baseline::Baseline::from_toml("[baseline.tdx]\naccept_tcb = [\"Revoked\"]");
    assert!(revoked.is_err());
}

#[test]
fn every_real_quote_has_its_true_verdict_at_every_time() {
    let Some(vectors) = vectors() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(&vectors).unwrap() {
        let case = entry.unwrap().path();
        let Ok(quote) = std::fs::read(case.join("quote.bin")) else { continue };
        for set in json(&case.join("expected.json"))["collateral_sets"].as_array().unwrap() {
            let name = format!("{} {}", case.display(), set["dir"]);
            let expected = &set["expected"];
            let collateral = case.join(set["dir"].as_str().unwrap());
            let now = set["now"].as_i64().unwrap();
            let outcome = verify(&quote, &collateral, &TrustAnchors::vendor(), now);
            checked += 1;
            if expected["verdict"] == "REJECT" {
                let code = match expected["code"].as_str().unwrap() {
                    "PCK_CHAIN_EXPIRED" => "authenticate.tdx.pck_chain_validity",
                    "TCB_NOT_SUPPORTED" => "endorsement.tdx.tcb_not_supported",
                    other => panic!("{other}"),
                };
                assert_eq!(outcome.unwrap_err(), (code.to_owned(), false), "{name}");
                continue;
            }
            let (claims, _) = outcome.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            let RawClaims::Tdx(raw) = &claims.raw else { panic!("expected TDX claims") };
            assert_eq!(serde_json::to_value(claims.tcb.status).unwrap(), expected["tcb_status"], "{name}");
            assert_eq!(serde_json::to_value(&claims.tcb.advisories).unwrap(), expected["advisory_ids"], "{name}");
            let launch = &raw.tcb.evaluation.launch;
            assert_eq!(raw.tcb.evaluation_number, expected["tcb_evaluation_data_number"], "{name}");
            assert_eq!(Timestamp::from_unix(launch.date.0).to_string(), expected["tcb_date"], "{name}");
            assert_eq!(serde_json::to_value(launch.platform).unwrap(), expected["platform_tcb_status"], "{name}");
            assert_eq!(serde_json::to_value(launch.module).unwrap(), expected["tdx_module_status"], "{name}");
            assert_eq!(serde_json::to_value(launch.enclave).unwrap(), expected["qe_status"], "{name}");
            let current = raw.tcb.evaluation.current.as_ref().map(|current| current.status);
            assert_eq!(serde_json::to_value(current).unwrap(), expected["current_tcb"]["status"], "{name}");
        }
    }
    assert!(checked > 40, "{checked}");
}

/// The cause of every refusal in the mutations, and the codes that name it here.
const CAUSES: [(&str, &[&str]); 55] = [
    ("QUOTE_FORMAT", &["parse.tdx.length", "parse.tdx.size_field", "parse.tdx.certification_type"]),
    ("QUOTE_VERSION", &["parse.tdx.version"]),
    ("ATT_KEY_TYPE", &["parse.tdx.attestation_key_type"]),
    ("TEE_TYPE", &["parse.tdx.tee_type"]),
    ("QE_VENDOR", &["parse.tdx.qe_vendor"]),
    ("BODY_TYPE", &["parse.tdx.body_type"]),
    ("BODY_SIZE", &["parse.tdx.body_size"]),
    ("CERT_TYPE_OUTER", &["parse.tdx.certification_type"]),
    ("CERT_TYPE_INNER", &["parse.tdx.certification_type"]),
    ("CERT_TYPE_INNER_UNSUPPORTED", &["authenticate.tdx.certification_type"]),
    // A chain of a thousand certificates is more than any quote holds.
    ("PCK_CHAIN_LEN", &["authenticate.tdx.pck_chain_length", "parse.tdx.length"]),
    ("PCK_ROOT_UNTRUSTED", &["authenticate.tdx.root_untrusted"]),
    // A flipped bit may also hit a name, which is looked at before the signature.
    (
        "PCK_CHAIN_SIG",
        &["authenticate.tdx.pck_chain_signature", "authenticate.tdx.pck_chain_format", "authenticate.tdx.pck_name"],
    ),
    ("PCK_CHAIN_EXPIRED", &["authenticate.tdx.pck_chain_validity"]),
    ("PCK_LEAF_CN", &["authenticate.tdx.pck_name"]),
    ("PCK_EXT", &["authenticate.tdx.pck_extension"]),
    ("QE_REPORT_SIG", &["authenticate.tdx.qe_report_signature"]),
    ("QE_REPORT_DATA", &["authenticate.tdx.qe_report_data"]),
    ("QUOTE_SIG", &["authenticate.tdx.signature"]),
    ("ROOT_CRL_SIG", &["endorsement.tdx.root_crl_signature"]),
    ("ROOT_CRL_EXPIRED", &["endorsement.tdx.root_crl_expired"]),
    ("ROOT_REVOKED", &["endorsement.tdx.root_revoked"]),
    ("ICA_REVOKED", &["endorsement.tdx.intermediate_revoked"]),
    ("PCK_REVOKED", &["endorsement.tdx.pck_revoked"]),
    ("PCK_CRL_ISSUER", &["endorsement.tdx.pck_crl_issuer"]),
    ("PCK_CRL_SIG", &["endorsement.tdx.pck_crl_signature"]),
    ("PCK_CRL_EXPIRED", &["endorsement.tdx.pck_crl_expired"]),
    ("TCB_INFO_SIG", &["endorsement.tdx.tcb_info_signature"]),
    ("TCB_INFO_EXPIRED", &["endorsement.tdx.tcb_info_expired"]),
    ("TCB_INFO_FORMAT", &["endorsement.tdx.tcb_info_format"]),
    ("TCB_INFO_ID", &["endorsement.tdx.tcb_info_id", "endorsement.tdx.tcb_info_version"]),
    ("TCB_TYPE", &["endorsement.tdx.tcb_type"]),
    // Certificates are told apart by who signed, not by the number in a file.
    ("TCB_INFO_CHAIN_LEN", &["endorsement.tdx.tcb_info_signer"]),
    ("TCB_INFO_SIGNER_CN", &["endorsement.tdx.tcb_info_signer"]),
    ("TCB_INFO_ROOT_UNTRUSTED", &["endorsement.tdx.tcb_info_root_untrusted"]),
    ("TCB_INFO_SIGNER_EXPIRED", &["endorsement.tdx.tcb_signing_validity"]),
    ("TCB_INFO_SIGNER_REVOKED", &["endorsement.tdx.tcb_signing_revoked"]),
    ("QE_IDENTITY_SIG", &["endorsement.tdx.qe_identity_signature"]),
    ("QE_IDENTITY_EXPIRED", &["endorsement.tdx.qe_identity_expired"]),
    ("QE_IDENTITY_ID", &["endorsement.tdx.qe_identity_id", "endorsement.tdx.qe_identity_version"]),
    ("QE_IDENTITY_CHAIN_LEN", &["endorsement.tdx.qe_identity_signer"]),
    ("QE_IDENTITY_MISMATCH", &["endorsement.tdx.qe_identity_mismatch"]),
    ("FMSPC_MISMATCH", &["endorsement.tdx.fmspc"]),
    ("PCEID_MISMATCH", &["endorsement.tdx.pce_id"]),
    // In a quote that was changed after signing, the signature is what is wrong first.
    ("TDX_MODULE_MISMATCH", &["endorsement.tdx.module_identity", "authenticate.tdx.signature"]),
    ("TCB_NOT_SUPPORTED", &["endorsement.tdx.tcb_not_supported"]),
    ("TCB_STATUS_UNRECOGNIZED", &["endorsement.tdx.tcb_status_unknown"]),
    // Genuine evidence of a revoked platform keeps its claims; no baseline accepts it.
    ("TCB_REVOKED", &["baseline.tdx.tcb_revoked"]),
    ("TD_DEBUG", &["baseline.tdx.debug"]),
    ("SEPT_VE_DISABLE", &["baseline.tdx.sept_ve_disable"]),
    ("RESERVED_ATTR", &["baseline.tdx.reserved_attributes"]),
    ("TD_PROFILING", &["baseline.tdx.profiling"]),
    ("MIGRATABLE", &["baseline.tdx.migratable"]),
    ("SERVTD_EXT", &["baseline.tdx.servtd_ext"]),
    ("XFAM", &["baseline.tdx.xfam"]),
];
const POLICY_CAUSES: [(&str, &[&str]); 4] = [
    ("SERVICE_TD", &["baseline.tdx.service_td"]),
    ("TRAILING", &["baseline.tdx.trailing"]),
    ("TCB_EVAL_NUMBER", &["baseline.tdx.evaluation_number"]),
    ("CURRENT_TCB_OutOfDate", &["baseline.tdx.current_tcb_status"]),
];
/// Cases whose answer here differs on purpose: documents are told apart by content, not by file name.
const BY_CONTENT: [(&str, Option<&str>); 4] = [
    // The two CRLs have each other's file name, and are both there.
    ("b_crls_swapped", None),
    // There is no PCK CRL: not decided.
    ("b_root_crl_as_both", Some("endorsement.tdx.pck_crl_missing")),
    ("b_pck_crl_empty", Some("endorsement.tdx.pck_crl_missing")),
    // The quote's own chain does not lead to the anchor: its collateral is not looked at.
    ("b_self_made_root", Some("authenticate.tdx.root_untrusted")),
];

#[test]
fn every_mutation_is_refused_with_the_code_of_its_cause() {
    let Some(vectors) = vectors() else { return };
    let mut checked = 0;
    for entry in std::fs::read_dir(vectors.join("_neg")).unwrap() {
        let case = entry.unwrap().path();
        let Ok(quote) = std::fs::read(case.join("quote.bin")) else { continue };
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let description = json(&case.join("case.json"));
        let expected = &description["expected"];
        let root = std::fs::read(case.join("root.der")).unwrap();
        let anchors = TrustAnchors::from_files([root.as_slice()]).unwrap();
        let outcome = verify(&quote, &case.join("collateral"), &anchors, description["now"].as_i64().unwrap());
        checked += 1;
        let code = match &outcome {
            Ok((claims, findings)) => {
                assert_eq!(serde_json::to_value(claims.tcb.status).unwrap(), expected_status(expected), "{name}");
                findings.violations.first().map(|(code, ..)| code.to_string())
            }
            Err((code, _)) => Some(code.clone()),
        };
        if let Some((_, wanted)) = BY_CONTENT.iter().find(|(case, _)| *case == name) {
            assert_eq!(code.as_deref(), *wanted, "{name}");
            continue;
        }
        assert!(outcome.is_ok() || !outcome.unwrap_err().1, "{name}: nothing is missing");
        let policy = expected["policy"].as_str().unwrap();
        let wanted: &[&str] = match policy.strip_prefix("REJECT:") {
            None => {
                assert_eq!((policy, code), ("ACCEPT", None), "{name}");
                continue;
            }
            Some(cause) => match CAUSES.iter().chain(&POLICY_CAUSES).find(|(known, _)| *known == cause) {
                Some((_, codes)) => codes,
                None if cause.starts_with("TCB_") => &["baseline.tdx.tcb_status"],
                None => panic!("{name}: {cause} is not in the table"),
            },
        };
        let code = code.unwrap_or_else(|| panic!("{name} was accepted"));
        assert!(wanted.contains(&code.as_str()), "{name}: {code}, expected one of {wanted:?}");
    }
    assert!(checked > 200, "{checked}");
}

fn expected_status(expected: &Value) -> Value {
    if expected["tcb"].is_null() { Value::from("UpToDate") } else { expected["tcb"].clone() }
}

#[test]
fn every_mutated_log_is_judged_by_its_replay() {
    let Some(vectors) = vectors() else { return };
    for entry in std::fs::read_dir(vectors.join("_neg")).unwrap() {
        let case = entry.unwrap().path();
        let Ok(log) = std::fs::read(case.join("ccel.bin")) else { continue };
        let expected = json(&case.join("case.json"));
        let rtmrs: Vec<_> =
            expected["quote_rtmrs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().parse().unwrap()).collect();
        let actual = match EventLog::parse(&log) {
            Ok(log) => {
                super::eventlog::authenticate(&log, None, &rtmrs.try_into().unwrap()).err().map(|error| error.code())
            }
            Err(error) => Some(error.code()),
        };
        let wanted = match expected["expected"].as_str().unwrap() {
            // Text that no digest proves is not looked at.
            "MATCH" | "MATCH_DATA_UNVERIFIABLE" => None,
            "MATCH_BUT_DATA_MISMATCH" => Some("authenticate.tdx.event_log_data"),
            "MISMATCH" => Some("authenticate.tdx.event_log_replay"),
            "REJECT" => Some("parse.eventlog"),
            other => panic!("{other}"),
        };
        let actual = actual.as_ref().map(|code| code.as_str());
        let malformed = actual.is_some_and(|code| code.starts_with("parse.eventlog."));
        assert_eq!(if malformed { Some("parse.eventlog") } else { actual }, wanted, "{}", case.display());
    }
}

#[test]
fn a_genuine_log_names_what_it_proves_and_only_with_its_own_quote() {
    let Some(vectors) = vectors() else { return };
    let replay = |case: &str, log: &str| {
        let quote = TdxQuote::parse(&std::fs::read(vectors.join(case).join("quote.bin")).unwrap()).unwrap();
        let log = EventLog::parse(&std::fs::read(vectors.join(case).join(log)).unwrap()).unwrap();
        super::eventlog::authenticate(&log, None, &quote.body.info.rtmr)
    };
    let [rtmr0, rtmr1, rtmr2, rtmr3] = replay("gcp_cos113_v4_ccel", "ccel.bin").unwrap();
    assert_eq!(rtmr0["secure_boot"], ["disabled"]);
    assert!(rtmr0["firmware"][0].starts_with("58bed422"));
    assert!(rtmr1["boot_loader"][0].starts_with("5a10026c") && rtmr1["boot_loader"].len() == 2);
    assert!(rtmr2["kernel"][0].starts_with("b1012372"));
    assert!(rtmr2["command_line"][0].starts_with("/syslinux/vmlinuz.A init=/usr/lib/systemd/systemd"));
    assert!(rtmr3.is_empty());
    let [_, rtmr1, rtmr2, _] = replay("live2026_v4_ccel", "ccel.bin").unwrap();
    assert!(rtmr1["boot_loader"][0].starts_with("ffbcfc53") && rtmr2["initrd"][0].starts_with("b88ab090"));
    for (case, log) in [
        ("live2026_v4_ccel", "ccel_other_boot_NEG.bin"),
        ("gcp_cos113_v4_ccel", "ccel_dupe_separator_NEG.bin"),
        ("ccapi_nonprod_v4", "ccel.bin"),
    ] {
        assert!(replay(case, log).is_err(), "{case} {log}");
    }
}

#[test]
fn a_log_of_one_mebibyte_replays_in_time() {
    let Some(vectors) = vectors() else { return };
    let original = std::fs::read(vectors.join("gcp_cos113_v4_ccel/ccel.bin")).unwrap();
    // One event of the log, over and over.
    let mut log = original[..12131].to_vec();
    while log.len() + 85 <= 1 << 20 {
        log.extend_from_slice(&original[12131..12216]);
    }
    let start = std::time::Instant::now();
    let parsed = EventLog::parse(&log).unwrap();
    let outcome = super::eventlog::authenticate(&parsed, None, &[evidence_formats::bytes::Sha384Digest([0; 48]); 4]);
    eprintln!("{} bytes in {:?}", log.len(), start.elapsed());
    assert_eq!(outcome.unwrap_err().code().as_str(), "authenticate.tdx.event_log_replay");
}
