//! The commonest refusals, each made by evidence that goes the whole way, as `countersign explain` tells them to
//! somebody who has never seen the source. The snapshots are read by people: review them when they change.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    bytes::ReportData,
    snp::ProductLine,
    tdx::TdAttributes,
};
use serde_json::{Value, json};
use softtee::{
    amd::{ReportSpec, SecureProcessor},
    intel::{Collateral, TdxPlatform},
    pem,
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime, macros::datetime};

const AT: OffsetDateTime = datetime!(2026-11-22 0:00 UTC);
const REPORT_DATA: ReportData = ReportData([0x22; 64]);
const APPRAISAL: &str = include_str!("../../verifier/src/policy/default_appraisal.rego");
const SNP_FLOORS: &str = "[baseline.snp.minimum_tcb.genoa]\n\
    reported = { bootloader = 1, tee = 0, snp = 1, microcode = 1 }\n\
    committed = { bootloader = 1, tee = 0, snp = 1, microcode = 1 }\n";

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

/// What `countersign explain` says; hexadecimal digits beyond the first eight are left out.
fn explain(arguments: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .arg("explain")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    shortened(&String::from_utf8(output.stdout).unwrap())
}

fn shortened(text: &str) -> String {
    let mut short = String::new();
    let mut digits = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            digits.push(c);
            continue;
        }
        // The digest of a policy changes with every word of it.
        let shown = match digits.len() {
            0..32 => digits.clone(),
            _ if short.ends_with("sha256:") => "…".to_owned(),
            _ => format!("{}…", &digits[..8]),
        };
        short.push_str(&shown);
        digits.clear();
        short.push(c);
    }
    short.trim_end().to_owned()
}

fn args(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// One healthy guest on a simulated chip; each case changes one thing.
struct Snp {
    folder: Folder,
    chip: SecureProcessor,
    report: ReportSpec,
    crl: Option<Vec<u8>>,
    anchors: Vec<Vec<u8>>,
    baseline: String,
    policy: String,
    set: Value,
    report_data: ReportData,
    on_the_way: fn(&mut Vec<u8>),
}

impl Snp {
    fn new() -> Self {
        let chip = SecureProcessor::new(ProductLine::Genoa);
        let mut report = chip.guest();
        report.report_data = REPORT_DATA;
        let launch = report.measurement.to_string();
        Self {
            folder: Folder::new(),
            crl: Some(chip.pki.sign_crl(&chip.pki.crl(AT))),
            anchors: chip.pki.anchors().to_vec(),
            baseline: SNP_FLOORS.to_owned(),
            policy: APPRAISAL.to_owned(),
            set: json!({
                "id": "web-prod", "version": 4, "workload": "web", "provenance": "pipeline web-image, build 1874",
                "not_before": "2026-11-01T00:00:00Z", "not_after": "2027-02-01T00:00:00Z",
                "measurements": [{"hwmodel": ["amd-genoa"], "launch": launch}],
            }),
            report_data: REPORT_DATA,
            on_the_way: |_| {},
            chip,
            report,
        }
    }

    fn explained(change: impl FnOnce(&mut Self)) -> String {
        let mut case = Self::new();
        change(&mut case);
        let Self { folder, chip, report, crl, anchors, baseline, policy, set, report_data, on_the_way } = case;
        let mut cpu = chip.report(&report);
        on_the_way(&mut cpu);
        let mut bundle = Bundle::new();
        bundle.insert(ItemName::Cpu, BundleItem { media_type: MediaType::SnpReport, bytes: cpu }).unwrap();
        let bytes = chip.certificates().to_bytes();
        bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes }).unwrap();
        let bundle = bundle.to_json().unwrap();
        let pem: String = anchors.iter().map(|der| pem::certificate(der)).collect();
        let document = json!({"format": "countersign.reference-values/1", "sets": [set]});
        let mut arguments = args(&["--bundle", &folder.write("bundle.json", bundle), "--at", "2026-11-22T00:00:00Z"]);
        arguments.extend(args(&["--report-data", &hex::encode(report_data.0)]));
        arguments.extend(args(&["--baseline", &folder.write("baseline.toml", baseline)]));
        arguments.extend(args(&["--policy", &folder.write("our-policy.rego", policy)]));
        arguments.extend(args(&["--reference-values", &folder.write("values.json", document.to_string())]));
        if !anchors.is_empty() {
            arguments.extend(args(&["--trust-anchor", &folder.write("anchors.pem", pem)]));
        }
        if let Some(crl) = crl {
            arguments.extend(args(&["--endorsements", &folder.write("crl.der", crl)]));
        }
        explain(&arguments)
    }
}

/// One healthy TD on a simulated platform.
fn tdx(change: impl FnOnce(&mut TdAttributes, &mut Collateral, &mut Vec<&'static str>)) -> String {
    let folder = Folder::new();
    let platform = TdxPlatform::new();
    let mut td = platform.td();
    td.report_data = REPORT_DATA;
    let mut collateral = platform.collateral(AT);
    let mut left_out = Vec::new();
    change(&mut td.info.attributes, &mut collateral, &mut left_out);
    let quote = platform.quote(&td).to_bytes(&platform);
    let mut arguments = args(&["--type", "tdx", "--evidence", &folder.write("quote.bin", quote)]);
    arguments.extend(args(&["--at", "2026-11-22T00:00:00Z", "--report-data", &hex::encode(REPORT_DATA.0)]));
    let root = pem::certificate(&platform.pki.root.der());
    arguments.extend(args(&["--trust-anchor", &folder.write("root.pem", root)]));
    for (name, content) in collateral.files().into_iter().filter(|(name, _)| !left_out.contains(name)) {
        arguments.extend(args(&["--endorsements", &folder.write(name, content)]));
    }
    explain(&arguments)
}

fn told(cases: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (number, (title, words)) in (1..).zip(cases) {
        let _infallible = writeln!(text, "=== {number}. {title}\n{words}\n");
    }
    text
}

#[test]
fn refusals_of_snp_and_tdx() {
    let other = |report: &mut ReportSpec| report.measurement.0[0] ^= 1;
    let cases = [
        ("nothing is wrong", Snp::explained(|_| {})),
        ("SNP: the file is cut short", Snp::explained(|case| case.on_the_way = |report| report.truncate(1000))),
        (
            "SNP: a bit of the report was changed on its way",
            Snp::explained(|case| case.on_the_way = |report| report[0x90] ^= 1),
        ),
        ("SNP: nobody trusts who vouches for the chip", Snp::explained(|case| case.anchors.clear())),
        ("SNP: no revocation list", Snp::explained(|case| case.crl = None)),
        (
            "SNP: the revocation list is stale",
            Snp::explained(|case| {
                let old = case.chip.pki.crl(AT - Duration::days(800));
                case.crl = Some(case.chip.pki.sign_crl(&old));
            }),
        ),
        (
            "SNP: the vendor revoked the intermediate",
            Snp::explained(|case| {
                let serial = case.chip.pki.ask.certificate.serial.clone();
                case.crl = Some(case.chip.pki.sign_crl(&case.chip.pki.crl(AT).revoking(&serial)));
            }),
        ),
        ("SNP: evidence of another request", Snp::explained(|case| case.report_data.0[0] ^= 1)),
        ("SNP: debugging is allowed", Snp::explained(|case| case.report.policy |= 1 << 19)),
        ("SNP: not at the most privileged level", Snp::explained(|case| case.report.vmpl = 2)),
        (
            "SNP: the firmware is older than the floor",
            Snp::explained(|case| case.baseline = SNP_FLOORS.replace("snp = 1,", "snp = 99,")),
        ),
        ("SNP: another image", Snp::explained(|case| other(&mut case.report))),
        (
            "SNP: right image, wrong launch data",
            Snp::explained(|case| case.set["measurements"][0]["host_data"] = "11".repeat(32).into()),
        ),
        (
            "SNP: the reference set has run out",
            Snp::explained(|case| case.set["not_after"] = "2026-11-15T00:00:00Z".into()),
        ),
        (
            "SNP: the policy warns",
            Snp::explained(|case| {
                case.policy = APPRAISAL.replacen("default file_system := 0", "default file_system := 33", 1);
            }),
        ),
        (
            "SNP: the policy fails",
            Snp::explained(|case| {
                case.policy = APPRAISAL.replacen("default hardware := 97\n", "", 1).replacen(
                    "hardware := 0 if simulated\n",
                    "",
                    1,
                );
            }),
        ),
        ("TDX: debugging is allowed", tdx(|attributes, _, _| attributes.0 |= 1)),
        (
            "TDX: the platform is out of date",
            tdx(|_, collateral, _| {
                for level in &mut collateral.tcb_info.tcb_levels {
                    "OutOfDate".clone_into(&mut level.tcb_status);
                }
            }),
        ),
        (
            "TDX: no TCB information",
            tdx(|_, _, left_out| left_out.extend(["tcb_info.json", "tcb_info_issuer_chain.pem"])),
        ),
        (
            "TDX: the TCB information has run out",
            tdx(|_, collateral, _| {
                collateral.tcb_info.issue_date = AT - Duration::days(31);
                collateral.tcb_info.next_update = AT - Duration::days(1);
            }),
        ),
        ("a nonce that was used before", explain(&args(&["--code", "binding.nonce.replayed"]))),
    ];
    insta::assert_snapshot!(told(&cases));
}

fn vectors() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = ["..", "../.."].iter().map(|up| root.join(up).join("shared/vectors/vtpm")).find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("../shared/vectors is not here: skipped");
    }
    found
}

/// A vector as the document that `--type` reads, with `change` made to it.
fn vtpm(vectors: &Path, name: &str, kind: &str, more: &[&str], change: impl FnOnce(&mut Value)) -> String {
    let at = vectors.join(name);
    let quote = if kind == "tpm" { "quote_sha256_rsa" } else { "quote" };
    let encoded = |file: &str| STANDARD.encode(fs::read(at.join(file)).unwrap());
    let pcrs: Value = serde_json::from_slice(&fs::read(at.join("pcrs_sha256.json")).unwrap()).unwrap();
    let mut document = json!({
        "quote": {"message": encoded(&format!("{quote}.msg")), "signature": encoded(&format!("{quote}.sig"))},
        "pcrs": {"sha256": pcrs},
    });
    if kind == "tpm" {
        let area = fs::read(at.join("ak_pub.tpm2b")).unwrap();
        document["ak_public"] = STANDARD.encode(&area[2..]).into();
        document["event_log"] = encoded("eventlog.bin").into();
    } else {
        document["hcl_report"] = encoded("hcl_report.bin").into();
    }
    change(&mut document);
    let folder = Folder::new();
    let file = folder.write("evidence.json", document.to_string());
    let mut arguments = args(&["--type", kind, "--evidence", &file, "--at", "2026-11-22T00:00:00Z"]);
    let vcek = at.join("vcek.der");
    if vcek.is_file() {
        arguments.extend(args(&["--endorsements", vcek.to_str().unwrap()]));
    }
    arguments.extend(args(&["--revocation", "if-present"]));
    let pinned =
        folder.write("ak.bin", fs::read(at.join("ak_pub.tpm2b")).map(|area| area[2..].to_vec()).unwrap_or_default());
    arguments.extend(more.iter().map(|word| if *word == "@ak" { pinned.clone() } else { (*word).to_owned() }));
    explain(&arguments)
}

#[test]
fn refusals_of_tpm_and_azure() {
    let Some(vectors) = vectors() else { return };
    let swtpm = "swtpm-full-ubuntu2404";
    let azure = "azure-snp-trustee-v2";
    let other_nonce = ["--report-data", "00112233", "--pinned-ak", "@ak"];
    let cases = [
        ("TPM: nobody vouches for the key", vtpm(&vectors, swtpm, "tpm", &[], |_| {})),
        ("TPM: a quote of another request", vtpm(&vectors, swtpm, "tpm", &other_nonce, |_| {})),
        (
            "TPM: a register was changed",
            vtpm(&vectors, swtpm, "tpm", &["--pinned-ak", "@ak"], |document| {
                document["pcrs"]["sha256"]["4"] = "00".repeat(32).into();
            }),
        ),
        (
            "Azure: a quote of another request",
            vtpm(&vectors, azure, "azure-snp", &["--report-data", "00112233"], |_| {}),
        ),
        (
            "Azure: a quote of another machine's TPM",
            vtpm(&vectors, azure, "azure-snp", &[], |document| {
                let other = vectors.join("azure-snp-trustee-v1");
                for (member, file) in [("message", "quote.msg"), ("signature", "quote.sig")] {
                    document["quote"][member] = STANDARD.encode(fs::read(other.join(file)).unwrap()).into();
                }
                let pcrs = fs::read(other.join("pcrs_sha256.json")).unwrap();
                document["pcrs"]["sha256"] = serde_json::from_slice(&pcrs).unwrap();
            }),
        ),
        (
            "Azure: the paravisor's claims were changed",
            vtpm(&vectors, azure, "azure-snp", &[], |document| {
                let mut hcl = STANDARD.decode(document["hcl_report"].as_str().unwrap()).unwrap();
                let at = hcl.windows(11).position(|text| text == b"secure-boot").unwrap();
                hcl[at] = b'S';
                document["hcl_report"] = STANDARD.encode(hcl).into();
            }),
        ),
    ];
    insta::assert_snapshot!(told(&cases));
}
