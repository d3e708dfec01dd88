//! The compiled policies and the interpreter, two implementations of one language, give one answer to every guest of a
//! corpus: software SNP guests and TDs, healthy and not, and the genuine TPM and Azure evidence beside the checkout.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use evidence_formats::{
    azure::AzureSnpEvidence,
    bytes::ReportData,
    evidence::{Evidence, SnpEvidence, TdxEvidence},
    snp::{CertTable, ProductLine, SnpReport},
    tpm::TpmEvidence,
};
use serde_json::{Value, json, value::to_raw_value};
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    intel::TdxPlatform,
};
use time::{OffsetDateTime, macros::datetime};
use verifier::{
    Authentic, Claims, Criteria, CrlFloors, Endorsements, Expected, Forgetful, Policing, Revocation, Terms, Timestamp,
    TrustAnchors, Warnings, appraise,
    ar4si::TrustLabel,
    authenticate,
    baseline::Baseline,
    policy::{AppraisalPolicy, GrantFacts, LeaseFacts, ReleaseInput, ReleasePolicy},
    reference::{ReferenceValues, References},
    tpm::{PinnedAk, TpmTerms},
};

const AT: OffsetDateTime = datetime!(2026-11-22 0:00 UTC);
const UNCHECKED: Expected = Expected::Unchecked { reason: "a corpus is made for nobody" };
const MANUAL: &str = include_str!("../../../docs/policies.md");

/// What judges the corpus: both built-in policies, that of the manual, one that fails on most guests, one that is always
/// the same, and one that looks at everything.
fn appraisal_policies() -> Vec<AppraisalPolicy> {
    let documented = MANUAL.split("```rego\n").nth(1).unwrap().split("```").next().unwrap();
    let head = "package countersign.appraisal\n";
    let sources = [
        AppraisalPolicy::BUILT_IN_SOURCE.to_owned(),
        documented.to_owned(),
        format!("{head}trust_vector := {{\"hardware\": 2}} if input.claims.tcb.status\nreasons := set()\n"),
        format!("{head}trust_vector := {{\"hardware\": 2}}\nreasons := {{\"the same for all\"}}\n"),
        format!(
            "{head}trust_vector := {{\"executables\": count(input.claims.measurement.runtime) % 100}}\n\
             reasons contains sprintf(\"%s %v\", [name, register]) if some name, register in input.claims.measurement.runtime\n\
             reasons contains sprintf(\"%v\", [path]) if walk(input.claims.tcb, path)\n\
             reasons contains concat(\" \", [v.code, v.expected, v.actual]) if some v in input.baseline.violations\n"
        ),
    ];
    sources.iter().filter_map(|source| AppraisalPolicy::compile("corpus", source).ok()).collect()
}

fn terms<'a>(anchors: &'a TrustAnchors, tpm: &'a TpmTerms, now: OffsetDateTime) -> Terms<'a> {
    Terms {
        anchors,
        revocation: Revocation::IfPresent,
        expected: UNCHECKED,
        now: Timestamp::from_unix(now.unix_timestamp()),
        memory: &Forgetful,
        crl_floors: CrlFloors::NONE,
        tpm,
    }
}

/// SNP guests of every product line, each with one thing changed.
fn snp() -> Vec<Authentic<Claims>> {
    let changes: [fn(&mut ReportSpec); 6] = [
        |_| {},
        |report| report.policy |= 1 << 19,
        |report| report.vmpl = 2,
        |report| report.measurement.0 = [1; 48],
        |report| report.host_data.0 = [2; 32],
        |report| report.report_data = ReportData([3; 64]),
    ];
    let mut guests = Vec::new();
    for product in [ProductLine::Milan, ProductLine::Genoa, ProductLine::Turin] {
        let chip = SecureProcessor::new(product);
        let anchors = TrustAnchors::from_files(chip.pki.anchors().iter().map(Vec::as_slice)).unwrap();
        let certificates = CertTable::parse(&chip.certificates().to_bytes()).unwrap();
        for (change, with_crl) in changes.iter().flat_map(|change| [(change, true), (change, false)]) {
            let mut report = chip.guest();
            change(&mut report);
            let mut endorsements = Endorsements::new();
            if with_crl {
                endorsements.add(&chip.pki.sign_crl(&chip.pki.crl(AT))).unwrap();
            }
            let report = SnpReport::parse(&chip.report(&report)).unwrap();
            let evidence =
                Evidence::Snp(SnpEvidence { report, certificates: Some(certificates.clone()), init_data: None });
            guests.push(authenticate(&evidence, &endorsements, &terms(&anchors, TpmTerms::DEFAULT, AT)).unwrap());
        }
    }
    guests
}

/// TDs, with and without the log of their boot.
fn tdx() -> Vec<Authentic<Claims>> {
    let platform = TdxPlatform::new();
    let mut guests = Vec::new();
    for (debug, outdated, log) in [(0, false, true), (0, false, false), (1, false, true), (0, true, true)] {
        let mut td = platform.td();
        td.info.attributes.0 |= debug;
        let mut collateral = platform.collateral(AT);
        for level in collateral.tcb_info.tcb_levels.iter_mut().filter(|_| outdated) {
            "OutOfDate".clone_into(&mut level.tcb_status);
        }
        let mut endorsements = Endorsements::new();
        for (_, file) in collateral.files() {
            endorsements.add(&file).unwrap();
        }
        let log = log.then(|| TdxPlatform::event_log().to_bytes());
        let quote = platform.quote(&td).to_bytes(&platform);
        let evidence = Evidence::Tdx(Box::new(TdxEvidence::parse(&quote, log.as_deref()).unwrap()));
        let anchors = TrustAnchors::from_files([platform.pki.root.der().as_slice()]).unwrap();
        guests.push(authenticate(&evidence, &endorsements, &terms(&anchors, TpmTerms::DEFAULT, AT)).unwrap());
    }
    guests
}

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

/// Genuine evidence of TPMs, alone and in Azure.
fn vtpm() -> Vec<Authentic<Claims>> {
    let Some(vectors) = vectors() else { return Vec::new() };
    let read = |name: &str, file: &str| fs::read(vectors.join(name).join(file)).unwrap();
    let document = |name: &str, quote: &str| {
        let encoded = |file: &str| STANDARD.encode(read(name, file));
        let pcrs: Value = serde_json::from_slice(&read(name, "pcrs_sha256.json")).unwrap();
        json!({
            "quote": {"message": encoded(&format!("{quote}.msg")), "signature": encoded(&format!("{quote}.sig"))},
            "pcrs": {"sha256": pcrs},
        })
    };
    let anchors = TrustAnchors::vendor();
    let mut guests = Vec::new();
    for quote in ["quote_sha256_rsa", "quote_sha256_ecc"] {
        let name = "swtpm-full-ubuntu2404";
        let mut document = document(name, quote);
        let area = read(name, if quote.ends_with("ecc") { "ak_ecc_pub.tpm2b" } else { "ak_pub.tpm2b" });
        let area = area.get(2..).unwrap();
        document["ak_public"] = STANDARD.encode(area).into();
        document["event_log"] = STANDARD.encode(read(name, "eventlog.bin")).into();
        let evidence = Evidence::Tpm(TpmEvidence::from_document(document.to_string().as_bytes()).unwrap());
        let tpm = TpmTerms { pinned_ak: Some(PinnedAk::parse(area).unwrap()), ..TpmTerms::default() };
        guests.push(authenticate(&evidence, &Endorsements::new(), &terms(&anchors, &tpm, AT)).unwrap());
    }
    for name in ["azure-snp-attrs-v1", "azure-snp-trustee-v1", "azure-snp-trustee-v2"] {
        let mut document = document(name, "quote");
        document["hcl_report"] = STANDARD.encode(read(name, "hcl_report.bin")).into();
        let evidence = AzureSnpEvidence::from_document(document.to_string().as_bytes()).unwrap();
        let mut endorsements = Endorsements::new();
        endorsements.add(&read(name, "vcek.der")).unwrap();
        let evidence = Evidence::AzureSnp(Box::new(evidence));
        guests.push(authenticate(&evidence, &endorsements, &terms(&anchors, TpmTerms::DEFAULT, AT)).unwrap());
    }
    guests
}

/// No reference values, those of softtee's healthy guests, and those of somebody else.
fn references() -> Vec<ReferenceValues> {
    let set = |launch: &str| {
        let document = json!({"format": "countersign.reference-values/1", "sets": [{
            "id": "web-prod", "version": 4, "workload": "web", "provenance": "corpus",
            "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
            "measurements": [{"launch": launch.repeat(48)}],
        }]});
        ReferenceValues::parse(document.to_string().as_bytes()).unwrap()
    };
    vec![ReferenceValues::new(), set("4d"), set("01")]
}

/// Both answers, and that of the input as it would be recorded.
fn agree(policy: &AppraisalPolicy, guest: &Authentic<Claims>, criteria: &Criteria<'_>) {
    let appraisal = appraise(guest, criteria, Timestamp::from_unix(AT.unix_timestamp()));
    let input = appraisal.policy_input();
    let compiled = policy.evaluate(&input);
    assert_eq!(compiled.is_ok(), policy.interpret(&input).is_ok(), "{input:?}");
    assert_eq!(policy.replay(&to_raw_value(&input).unwrap()), compiled, "{input:?}");
    if let Ok(verdict) = &compiled {
        assert_eq!(policy.interpret(&input).as_ref(), Ok(verdict), "{input:?}");
    }
    let Ok(affirmed) = appraisal.affirm() else { return };
    let release = ReleasePolicy::built_in().unwrap();
    for workload in ["web", "db"] {
        let workloads = [workload.to_owned()];
        let grant = GrantFacts { name: "disk-key", kind: "secret", workloads: &workloads, seal: "tee-key" };
        let lease = LeaseFacts { requested_ttl: 900, renewal: false };
        let now = Timestamp::from_unix(AT.unix_timestamp());
        let question = ReleaseInput::new(&affirmed, grant, lease, "default", now);
        let decision = release.evaluate(&question).unwrap();
        assert_eq!(release.interpret(&question).unwrap(), decision, "{question:?}");
        assert_eq!(release.replay(&to_raw_value(&question).unwrap()).unwrap(), decision, "{question:?}");
    }
}

#[test]
fn the_interpreter_agrees_with_the_compiled_policies_on_every_guest() {
    let policies = appraisal_policies();
    assert!(policies.len() >= 4, "expected the corpus of policies to compile");
    let guests: Vec<Authentic<Claims>> = snp().into_iter().chain(tdx()).chain(vtpm()).collect();
    assert!(guests.len() >= 40, "{}", guests.len());
    let references = references();
    let baseline = Baseline::default();
    for guest in &guests {
        for (policy, values) in policies.iter().flat_map(|policy| references.iter().map(move |values| (policy, values)))
        {
            let criteria = Criteria {
                baseline: &baseline,
                references: References::Require(values),
                policing: Policing::Apply(policy),
                warnings: Warnings::Allow(&TrustLabel::ALL),
            };
            agree(policy, guest, &criteria);
        }
    }
}
