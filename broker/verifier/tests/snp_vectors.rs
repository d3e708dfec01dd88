//! Every SNP vector, genuine and forged, with the verdict and the code that names the cause.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "snp/policy.rs"]
mod policy;
#[path = "snp/vectors.rs"]
mod vectors;

use std::{collections::BTreeSet, fs};

use evidence_formats::{
    code::Coded,
    evidence::{Evidence, SnpEvidence},
    snp::{CertTable, SnpReport},
};
use serde_json::Value;
use vectors::Case;
use verifier::{
    Claims, CrlFloors, Expected, Platform, RawClaims, Revocation, TrustAnchors,
    baseline::Baseline,
    snp::{SnpClaims, VekKind},
};

/// Report and certificate table of a case.
fn evidence_of(case: &Case) -> Result<Evidence, String> {
    let report = SnpReport::parse(&case.report()).map_err(|error| error.code().to_string())?;
    let table = case.file("cert_table.bin").map(|bytes| CertTable::parse(&bytes)).transpose();
    let certificates = table.map_err(|error| error.code().to_string())?;
    Ok(Evidence::Snp(SnpEvidence { report, certificates, init_data: None }))
}

fn snp(claims: &Claims) -> &SnpClaims {
    let RawClaims::Snp(snp) = &claims.raw else { panic!("not SNP claims: {:?}", claims.raw) };
    snp
}

#[test]
fn genuine_evidence_authenticates_and_says_what_it_says() {
    let Some(root) = vectors::root() else { return };
    let anchors = TrustAnchors::vendor();
    let cases = vectors::cases(&root);
    for case in &cases {
        let terms = vectors::terms(&anchors, Revocation::IfPresent, case.time("/test_now"));
        let evidence = evidence_of(case).unwrap();
        let authentic = vectors::outcome(&evidence, &case.endorsements(), &terms)
            .unwrap_or_else(|code| panic!("{}: {code}", case.name));
        let claims = authentic.claims();
        says(case, claims);
        let unchecked: Vec<_> = claims.unchecked.iter().map(|unchecked| unchecked.what).collect();
        assert_eq!(unchecked, ["report_data", "revocation"], "{}", case.name);
        assert_ne!(claims.platform, Platform::Simulated, "{}", case.name);
    }
    println!("{} genuine vectors", cases.len());
}

/// The parsed fields are those that the vector's independent parser found.
fn says(case: &Case, claims: &Claims) {
    let (name, snp) = (&case.name, snp(claims));
    let text = |field: &str| case.text(&format!("/parsed/{field}")).to_owned();
    for (field, actual) in [
        ("report_data", snp.report_data.to_string()),
        ("measurement", snp.measurement.to_string()),
        ("host_data", snp.host_data.to_string()),
        ("family_id", snp.family_id.to_string()),
        ("image_id", snp.image_id.to_string()),
        ("id_key_digest", snp.id_key_digest.to_string()),
        ("author_key_digest", snp.author_key_digest.to_string()),
        ("report_id", snp.report_id.to_string()),
        ("report_id_ma", snp.report_id_ma.to_string()),
        ("chip_id", snp.chip_id.to_string()),
        ("policy/value_hex", format!("{:#x}", snp.policy.value)),
        ("platform_info/value_hex", format!("{:#x}", snp.platform_info.value)),
        ("key_info/signing_key", snp.key_info.signing_key.to_string()),
        ("current_tcb/raw_hex", snp.tcb.current.to_version().to_string()),
        ("reported_tcb/raw_hex", snp.tcb.reported.to_version().to_string()),
        ("committed_tcb/raw_hex", snp.tcb.committed.to_version().to_string()),
        ("launch_tcb/raw_hex", snp.tcb.launch.to_version().to_string()),
    ] {
        assert_eq!(actual, text(field), "{name}: {field}");
    }
    assert_eq!(snp.product.name(), case.text("/product_line"), "{name}");
    assert_eq!(snp.vek.sha256.to_string(), case.text("/vek/sha256"), "{name}");
    let number = |pointer: &str| case.expected.pointer(pointer).and_then(Value::as_u64);
    assert_eq!(Some(u64::from(snp.guest_svn)), number("/parsed/guest_svn"), "{name}");
    let vector = |vector: Option<u64>| vector.map(|bits| format!("{bits:#x}")).unwrap_or_default();
    assert_eq!(vector(snp.launch_mit_vector), text("launch_mit_vector"), "{name}");
    assert_eq!(vector(snp.current_mit_vector), text("current_mit_vector"), "{name}");
    assert_eq!(snp.vek.csp_id.as_deref().unwrap_or_default(), case.text("/vek/extensions/csp_id"), "{name}");
}

#[test]
fn the_strict_baseline_refuses_genuine_but_unwelcome_evidence() {
    let Some(root) = vectors::root() else { return };
    let anchors = TrustAnchors::vendor();
    let mut debug = 0;
    for case in &vectors::cases(&root) {
        let terms = vectors::terms(&anchors, Revocation::IfPresent, case.time("/test_now"));
        let evidence = evidence_of(case).unwrap();
        let authentic = vectors::outcome(&evidence, &case.endorsements(), &terms).unwrap();
        let snp = snp(authentic.claims());
        let outcome = Baseline::default().judge(authentic.claims());
        let codes: Vec<_> = outcome.violations.iter().map(|violation| violation.code.as_str()).collect();
        let flag = |pointer: &str| case.expected.pointer(pointer) == Some(&Value::Bool(true));
        let vmpl = case.expected.pointer("/parsed/vmpl").and_then(Value::as_u64);
        let expected = [
            (case.text("/default_policy_verdict") == "reject:debug-allowed", "baseline.snp.debug"),
            (flag("/parsed/policy/migrate_ma_allowed"), "baseline.snp.migrate_ma"),
            (vmpl != Some(0), "baseline.snp.vmpl"),
            (snp.vek.kind == VekKind::Vcek && flag("/parsed/chip_id_masked"), "baseline.snp.chip_id_masked"),
            (snp.vek.kind == VekKind::Vlek, "baseline.snp.vlek"),
        ];
        let expected: Vec<_> = expected.into_iter().filter(|(broken, _)| *broken).map(|(_, code)| code).collect();
        assert_eq!(codes, expected, "{}", case.name);
        debug += u32::from(authentic.claims().debug);
        assert!(outcome.relaxed.is_empty());
        assert_eq!(outcome.unchecked.first().map(|unchecked| unchecked.what), Some("tcb_floor"));
    }
    assert!(debug >= 3, "{debug}");
}

/// The cause that a vector names, and the codes of ours that name the same cause. Several where one bit reaches more
/// than one field, or where an earlier stage sees it first.
const CAUSES: &[(&str, &[&str])] = &[
    ("bad-length", &["parse.snp.length"]),
    ("unsupported-version", &["parse.snp.version"]),
    ("bad-sig-algo", &["parse.snp.signature_algorithm"]),
    ("reserved-nonzero", &["parse.snp.reserved"]),
    ("bad-signing-key", &["parse.snp.signing_key"]),
    ("bad-policy", &["parse.snp.policy"]),
    ("bad-vmpl", &["parse.snp.vmpl"]),
    ("unknown-product", &["parse.snp.product"]),
    ("bad-chip-id", &["parse.snp.chip_id"]),
    ("author-key-inconsistent", &["parse.snp.author_key"]),
    ("unsigned", &["authenticate.snp.unsigned"]),
    // A flipped bit may also make a field malformed, or contradict the endorsement key certificate: both are told first.
    (
        "bad-signature",
        &[
            "authenticate.snp.signature",
            "authenticate.snp.tcb",
            "authenticate.snp.hwid",
            "authenticate.snp.product",
            "authenticate.snp.signing_key",
            "parse.snp.reserved",
            "parse.snp.author_key",
            "parse.snp.product",
            "parse.snp.vmpl",
        ],
    ),
    ("hwid-mismatch", &["authenticate.snp.hwid"]),
    ("tcb-mismatch", &["authenticate.snp.tcb"]),
    ("product-mismatch", &["authenticate.snp.product"]),
    ("signing-key-mismatch", &["authenticate.snp.signing_key"]),
    ("tcb-inconsistent", &["authenticate.snp.tcb_inconsistent"]),
    ("bad-cert", &["parse.x509.trailing_bytes", "parse.x509.der"]),
    (
        "bad-cert-signature",
        &[
            "authenticate.snp.vek_signature",
            "authenticate.snp.intermediate_signature",
            "authenticate.snp.certificate_algorithm",
        ],
    ),
    ("cert-expired", &["authenticate.snp.certificate_expired"]),
    ("cert-not-yet-valid", &["authenticate.snp.certificate_not_yet_valid"]),
    ("untrusted-root", &["authenticate.snp.untrusted_root"]),
    ("issuer-not-ca", &["authenticate.snp.vek_issuer"]),
    ("bad-issuer", &["authenticate.snp.vek_issuer"]),
    ("missing-extension", &["authenticate.snp.vek_extension_missing"]),
    ("bad-extension", &["authenticate.snp.vek_extension"]),
    ("bad-subject", &["authenticate.snp.vek_subject"]),
    ("bad-key-type", &["authenticate.snp.vek_key"]),
    ("bad-sig-alg", &["authenticate.snp.certificate_algorithm"]),
    ("revoked", &["authenticate.snp.revoked"]),
    ("crl-stale", &["endorsement.snp.crl_stale"]),
    ("crl-not-yet-valid", &["endorsement.snp.crl_not_yet_valid"]),
    ("crl-bad-signature", &["endorsement.snp.crl_signature"]),
    ("crl-wrong-issuer", &["endorsement.snp.crl_issuer"]),
    ("crl-rollback", &["endorsement.snp.crl_rollback"]),
    // Nothing is wrong with the evidence: undecided.
    ("crl-missing", &["endorsement.snp.crl_missing?"]),
    (
        "cert-table",
        &[
            "parse.cert_table.bounds",
            "parse.cert_table.terminator",
            "parse.cert_table.duplicate",
            "parse.cert_table.zero_guid",
            "parse.cert_table.overlap",
        ],
    ),
    ("vlek-not-allowed", &["baseline.snp.vlek"]),
    ("csp-mismatch", &["baseline.snp.csp_id"]),
    ("debug-allowed", &["baseline.snp.debug"]),
    ("migrate-ma-allowed", &["baseline.snp.migrate_ma"]),
    ("smt-allowed", &["baseline.snp.smt"]),
    ("single-socket", &["baseline.snp.single_socket"]),
    ("abi-too-low", &["baseline.snp.abi"]),
    ("cxl-allowed", &["baseline.snp.cxl"]),
    ("mem-aes-256-xts", &["baseline.snp.aes_256_xts"]),
    ("rapl", &["baseline.snp.rapl"]),
    ("ciphertext-hiding", &["baseline.snp.ciphertext_hiding", "baseline.snp.platform_ciphertext_hiding"]),
    ("page-swap", &["baseline.snp.page_swap"]),
    ("vmpl", &["baseline.snp.vmpl", "baseline.snp.host_requested"]),
    ("chip-id-masked", &["baseline.snp.chip_id_masked"]),
    ("chip-not-allowed", &["baseline.snp.chip_not_allowed"]),
    ("guest-svn", &["baseline.snp.guest_svn"]),
    ("tcb-too-low", &["baseline.snp.tcb_reported"]),
    ("launch-tcb-too-low", &["baseline.snp.tcb_launch"]),
    ("committed-tcb-too-low", &["baseline.snp.tcb_committed"]),
    ("provisional-firmware", &["baseline.snp.provisional_firmware"]),
    ("fw-version", &["baseline.snp.firmware_current", "baseline.snp.firmware_committed"]),
    ("platform-smt", &["baseline.snp.platform_smt"]),
    ("platform-tsme", &["baseline.snp.platform_tsme"]),
    ("platform-alias-check", &["baseline.snp.platform_alias_check"]),
    ("platform-ecc", &["baseline.snp.platform_ecc"]),
    ("platform-tio", &["baseline.snp.platform_tio"]),
    ("mit-vector", &["baseline.snp.mitigation_launch", "baseline.snp.mitigation_current"]),
    ("measurement", &["reference.measurement"]),
    ("host-data", &["reference.host_data"]),
    ("report-data", &["binding.snp.report_data"]),
    ("family-id", &["baseline.snp.family_id"]),
    ("image-id", &["baseline.snp.image_id"]),
    ("id-block", &["baseline.snp.id_block"]),
    ("id-key", &["baseline.snp.id_key"]),
    ("author-key", &["baseline.snp.author_key"]),
    ("migration-agent", &["baseline.snp.migration_agent"]),
];

/// Vectors whose expectation does not hold, with the reason.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[(
    "168-real-amd-genoa-crl-4-inside-its-window",
    &["endorsement.snp.crl_stale"],
    "the case's time lies after the nextUpdate of the CRL that it carries (2025-11-03)",
)];

#[test]
fn forged_evidence_is_refused_for_its_cause() {
    let Some(root) = vectors::root() else { return };
    let (vendor, synthetic) = (TrustAnchors::vendor(), vectors::synthetic_anchors(&root));
    let mut wrong = Vec::new();
    let mut seen = 0;
    // The paravisor's envelope is another format: its cases are judged where it is parsed.
    for case in vectors::cases(&root.join("negative")).iter().filter(|case| case.text("/cls") != "azure-hcl") {
        seen += 1;
        let anchors = if case.text("/trust") == "amd" { &vendor } else { &synthetic };
        let codes = judge(case, anchors);
        let cause = case.text("/expect/code");
        let exception = EXCEPTIONS.iter().find(|(name, ..)| *name == case.name);
        let wanted = match exception {
            Some((_, codes, _)) => codes,
            None if case.text("/expect/verdict") == "accept" => &[][..],
            None => CAUSES
                .iter()
                .find(|(known, _)| *known == cause)
                .map_or(&["a row for this cause"][..], |(_, codes)| codes),
        };
        let named = if wanted.is_empty() { codes.is_empty() } else { wanted.iter().any(|code| codes.contains(*code)) };
        if !named {
            wrong.push(format!("{}: {cause}: expected {wanted:?}, found {codes:?}", case.name));
        }
    }
    println!("{seen} forged vectors");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every code that refuses the case; none when it is accepted.
fn judge(case: &Case, anchors: &TrustAnchors) -> BTreeSet<String> {
    let policy = &case.expected["policy"];
    let revocation = if policy["revocation"] == "require" { Revocation::Require } else { Revocation::IfPresent };
    let mut terms = vectors::terms(anchors, revocation, case.time("/now"));
    if let Some(expected) = policy["report_data"].as_str() {
        terms.expected = Expected::ReportData(expected.parse().unwrap());
    }
    let mut floors = CrlFloors::default();
    if case.text("/expect/code") == "crl-rollback" {
        let seen = anchors.certificates().find(|anchor| anchor.subject().common_name() == Some("ARK-Milan")).unwrap();
        floors.raise(&seen.subject().to_string(), 7_u64.into());
    }
    terms.crl_floors = &floors;
    let outcome = evidence_of(case).and_then(|evidence| vectors::outcome(&evidence, &case.endorsements(), &terms));
    match outcome {
        Err(code) => BTreeSet::from([code]),
        Ok(authentic) => {
            let outcome = policy::baseline(policy).judge(authentic.claims());
            let violations = outcome.violations.iter().map(|violation| violation.code.to_string());
            violations.chain(policy::references(policy, snp(authentic.claims()))).collect()
        }
    }
}

#[test]
fn reports_without_a_published_key_parse() {
    let Some(root) = vectors::root() else { return };
    let folder = root.join("parse_only");
    let index: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    for entry in index.as_array().unwrap() {
        let bytes = fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap();
        let report = SnpReport::parse(&bytes).unwrap_or_else(|error| panic!("{}: {}", entry["file"], error.code()));
        assert_eq!(report.as_bytes().as_slice(), bytes);
        assert_eq!(Value::from(report.fields().version), entry["parsed"]["version"]);
        assert_eq!(Value::from(report.fields().measurement.to_string()), entry["parsed"]["measurement"]);
    }
}

#[test]
fn a_genuine_chain_is_checked_against_the_genuine_revocation_list() {
    let Some(root) = vectors::root() else { return };
    let anchors = TrustAnchors::vendor();
    let cases = vectors::cases(&root);
    let crl = fs::read(root.join("roots/milan_crl_6_20250506.der")).unwrap();
    let other = fs::read(root.join("roots/genoa_crl_4_20241023.der")).unwrap();
    let mut checked = 0;
    for case in cases.iter().filter(|case| case.text("/product_line") == "Milan") {
        let evidence = evidence_of(case).unwrap();
        let mut endorsements = case.endorsements();
        let now = verifier::Timestamp::parse_rfc3339("2025-09-01T00:00:00Z").unwrap();
        let terms = vectors::terms(&anchors, Revocation::Require, now);
        let without = vectors::outcome(&evidence, &endorsements, &terms).map(|_| ());
        // Some keys were issued later, and fleet keys live for a year.
        if without.as_ref().is_err_and(|code| code.starts_with("authenticate.snp.certificate_")) {
            continue;
        }
        assert_eq!(without, Err("endorsement.snp.crl_missing?".to_owned()), "{}", case.name);
        endorsements.add(&other).unwrap();
        endorsements.add(&crl).unwrap();
        let authentic = vectors::outcome(&evidence, &endorsements, &terms).unwrap();
        let crl = snp(authentic.claims()).crl.as_ref().unwrap();
        assert_eq!(crl.number, 6_u64.into());
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}
